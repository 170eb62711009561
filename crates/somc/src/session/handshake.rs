//! The two messages of a handshake, as values: nothing here does I/O.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy::primitives::{Address, B256};
use privatix_offering::{SessionId, SessionKey};
use snow::resolvers::{CryptoResolver as _, DefaultResolver};
use snow::{Builder, HandshakeState, StatelessTransportState, params::DHChoice};
use zeroize::Zeroizing;

use super::{PATTERN, SessionError, TAG};
use crate::VersionRange;

/// The first bytes of a session. The first byte of any frame of version 1 is zero.
pub(crate) const MAGIC: [u8; 4] = *b"PVX2";
/// Magic and length in front of the client's message: what the handshake authenticates besides its own messages.
pub(crate) const HEADER: usize = 6;
/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of what the client's message carries in clear: two versions and the agent.
const PAYLOAD: usize = 24;
/// The longest message of a client. What lies behind the known part of its payload is for later versions.
const MAX_START: usize = 1_024;
/// How long a client's message may be.
pub(crate) const LENGTHS: RangeInclusive<usize> = KEY + PAYLOAD..=MAX_START;
/// The most that the server's message carries.
pub(crate) const MAX_ANSWER_PAYLOAD: usize = 2_048;
/// The longest message of a server: its two keys, and what it carries.
pub(crate) const MAX_ANSWER: usize = KEY + KEY + TAG + MAX_ANSWER_PAYLOAD + TAG;

/// The secret half of the key with which an agent's server starts sessions, wiped when dropped. Make one for each
/// [`KeyBinding`](privatix_offering::KeyBinding) and never store it: whoever steals it then has it for as long as its binding counts.
#[derive(Clone)]
pub struct SessionSecret {
    secret: Zeroizing<[u8; KEY]>,
    public: SessionKey,
}

impl SessionSecret {
    /// A fresh key from the system's randomness.
    ///
    /// # Panics
    /// If the system has no randomness to give.
    pub fn generate() -> Self {
        Self::from_bytes(Zeroizing::new(rand::random()))
    }

    fn from_bytes(secret: Zeroizing<[u8; KEY]>) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the feature `use-curve25519` of snow is enabled in our manifest"
        )]
        let mut pair = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("X25519");
        pair.set(&*secret);
        let public = SessionKey::new(B256::from_slice(pair.pubkey()));
        Self { secret, public }
    }

    /// The public half, which the agent signs.
    pub const fn public(&self) -> SessionKey {
        self.public
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSecret").field("public", &self.public).finish_non_exhaustive()
    }
}

/// What a client says before anything is encrypted: readable by all, changed by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientStart {
    /// The versions that it may speak.
    pub(crate) versions: VersionRange,
    /// The agent that it wants.
    pub(crate) agent: Address,
}

impl ClientStart {
    fn to_bytes(self) -> [u8; PAYLOAD] {
        let mut bytes = [0; PAYLOAD];
        bytes[..2].copy_from_slice(&self.versions.min().to_be_bytes());
        bytes[2..4].copy_from_slice(&self.versions.max().to_be_bytes());
        bytes[4..].copy_from_slice(self.agent.as_slice());
        bytes
    }

    fn from_bytes(bytes: &[u8; PAYLOAD]) -> Option<Self> {
        let [a, b, c, d, agent @ ..] = bytes;
        let versions = VersionRange::new(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))?;
        Some(Self { versions, agent: Address::from(*agent) })
    }
}

/// A client's message as a server received it, not answered yet.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    header: [u8; HEADER],
    message: &'a [u8],
    /// What it says.
    pub(crate) client: ClientStart,
}

impl<'a> Start<'a> {
    /// Reads the message that came behind magic and length.
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, SessionError> {
        let length = u16::try_from(message.len()).ok().filter(|_| message.len() <= MAX_START);
        let length = length.ok_or(SessionError::Malformed("it is too long"))?;
        let known = message.get(KEY..).and_then(|payload| payload.first_chunk());
        let known = known.ok_or(SessionError::Malformed("it is too short"))?;
        let client = ClientStart::from_bytes(known)
            .ok_or(SessionError::Malformed("its range of versions is empty"))?;
        Ok(Self { header: header(length), message, client })
    }
}

fn header(length: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&length.to_be_bytes());
    header
}

fn builder(header: &[u8; HEADER]) -> Result<Builder<'_>, SessionError> {
    Ok(Builder::new(PATTERN.parse::<snow::params::NoiseParams>()?).prologue(header)?)
}

/// Both keys of a session: each direction has one, and each record of a direction a number.
pub(crate) type Keys = Arc<StatelessTransportState>;

/// A session that both sides have agreed on.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) keys: Keys,
    pub(crate) id: SessionId,
}

impl Established {
    fn new(state: HandshakeState) -> Result<Self, SessionError> {
        let id = SessionId::new(B256::from_slice(state.get_handshake_hash()));
        Ok(Self { keys: Arc::new(state.into_stateless_transport_mode()?), id })
    }
}

/// A client that waits for the server's message.
pub(crate) struct Initiator(HandshakeState);

impl Initiator {
    /// What to send first, magic and length included.
    pub(crate) fn start(client: ClientStart) -> Result<(Vec<u8>, Self), SessionError> {
        Self::start_with(client, |builder| builder)
    }

    fn start_with(
        client: ClientStart,
        change: impl FnOnce(Builder<'_>) -> Builder<'_>,
    ) -> Result<(Vec<u8>, Self), SessionError> {
        const LENGTH: u16 = 56;
        const { assert!(LENGTH as usize == KEY + PAYLOAD) };
        let header = header(LENGTH);
        let mut state = change(builder(&header)?).build_initiator()?;
        let mut message = vec![0; HEADER + KEY + PAYLOAD + TAG];
        message[..HEADER].copy_from_slice(&header);
        let length = state.write_message(&client.to_bytes(), &mut message[HEADER..])?;
        message.truncate(HEADER + length);
        Ok((message, Self(state)))
    }

    /// Takes the server's message: the session, the key that the server proved, and what it carries.
    pub(crate) fn finish(
        mut self,
        message: &[u8],
    ) -> Result<(Established, SessionKey, Vec<u8>), SessionError> {
        let mut payload = vec![0; message.len()];
        let length = self.0.read_message(message, &mut payload)?;
        payload.truncate(length);
        let key = self.0.get_remote_static().filter(|key| key.len() == KEY);
        let key = SessionKey::new(B256::from_slice(key.ok_or(SessionError::Malformed("it has no key"))?));
        Ok((Established::new(self.0)?, key, payload))
    }
}

/// A server's answer to a client's message: what to send, length included, and the session.
pub(crate) fn answer(
    start: &Start<'_>,
    secret: &SessionSecret,
    payload: &[u8],
) -> Result<(Vec<u8>, Established), SessionError> {
    answer_with(start, secret, payload, |builder| builder)
}

fn answer_with(
    start: &Start<'_>,
    secret: &SessionSecret,
    payload: &[u8],
    change: impl FnOnce(Builder<'_>) -> Builder<'_>,
) -> Result<(Vec<u8>, Established), SessionError> {
    const LENGTH: usize = 2;
    if payload.len() > MAX_ANSWER_PAYLOAD {
        return Err(SessionError::Malformed("it carries too much"));
    }
    let builder = builder(&start.header)?.local_private_key(&*secret.secret)?;
    let mut state = change(builder).build_responder()?;
    state.read_message(start.message, &mut [0; MAX_START])?;
    let mut message = vec![0; LENGTH + MAX_ANSWER];
    let length = state.write_message(payload, &mut message[LENGTH..])?;
    message.truncate(LENGTH + length);
    // Never above MAX_ANSWER, which fits.
    message[..LENGTH].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    Ok((message, Established::new(state)?))
}

#[cfg(test)]
pub(super) mod tests {
    use alloy::hex;
    use proptest::prelude::*;

    use super::*;

    /// What an agent says about its limits; any text does here.
    const HELLO: &[u8] = br#"{"hello":{"version":2}}"#;

    fn client() -> ClientStart {
        ClientStart { versions: VersionRange::new(1, 2).unwrap(), agent: Address::repeat_byte(0xa6) }
    }

    fn secret() -> SessionSecret {
        SessionSecret::from_bytes(Zeroizing::new([0x11; KEY]))
    }

    /// Both ends of a session.
    pub(in crate::session) fn established() -> (Established, Established) {
        let (message, initiator) = Initiator::start(client()).unwrap();
        let start = Start::read(&message[HEADER..]).unwrap();
        let (reply, server) = answer(&start, &secret(), HELLO).unwrap();
        let (ours, ..) = initiator.finish(&reply[2..]).unwrap();
        (ours, server)
    }

    #[test]
    fn both_sides_agree_on_all_that_was_said() {
        let (message, initiator) = Initiator::start(client()).unwrap();
        assert_eq!(message[..HEADER], *b"PVX2\0\x38");
        let start = Start::read(&message[HEADER..]).unwrap();
        assert_eq!(start.client, client());
        let (reply, server) = answer(&start, &secret(), HELLO).unwrap();
        assert_eq!(usize::from(u16::from_be_bytes([reply[0], reply[1]])), reply.len() - 2);
        let (ours, key, payload) = initiator.finish(&reply[2..]).unwrap();
        assert_eq!((ours.id, key, payload.as_slice()), (server.id, secret().public(), HELLO));
    }

    #[test]
    fn every_session_is_another() {
        let ids: std::collections::HashSet<_> = (0..8).map(|_| established().0.id).collect();
        assert_eq!(ids.len(), 8);
        assert_ne!(SessionSecret::generate().public(), SessionSecret::generate().public());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("SessionSecret {{ public: {:?}, .. }}", secret().public());
        assert_eq!(format!("{:?}", secret()), shown);
    }

    /// What the protocol's page shows. It was computed with another implementation of X25519, ChaCha20-Poly1305, SHA-256 and HKDF, by
    /// the text of Noise's specification.
    fn vector(name: &str) -> String {
        const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/somc-protocol.md");
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (_, block) = page.split_once("```text handshake\n").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no vector {name}")).to_owned()
    }

    #[test]
    fn the_bytes_of_a_handshake_are_these() {
        let (message, initiator) = Initiator::start_with(client(), |builder| {
            builder.fixed_ephemeral_key_for_testing_only(&[0x22; KEY])
        })
        .unwrap();
        assert_eq!(hex::encode(&message), vector("client"));
        let start = Start::read(&message[HEADER..]).unwrap();
        let (reply, server) = answer_with(&start, &secret(), HELLO, |builder| {
            builder.fixed_ephemeral_key_for_testing_only(&[0x33; KEY])
        })
        .unwrap();
        assert_eq!(hex::encode(&reply), vector("server"));
        assert_eq!(hex::encode(server.id.as_b256()), vector("hash"));
        let (ours, ..) = initiator.finish(&reply[2..]).unwrap();
        for (number, from, name) in [(0, &ours, "client0"), (1, &ours, "client1"), (0, &server, "server0")] {
            let mut sealed = [0; 4 + TAG];
            from.keys.write_message(number, b"ping", &mut sealed).unwrap();
            assert_eq!(hex::encode(sealed), vector(name));
        }
    }

    #[test]
    fn what_a_later_version_adds_to_the_first_message_is_ignored_and_authenticated() {
        let header = header(60);
        let mut state = builder(&header).unwrap().build_initiator().unwrap();
        let mut message = [0; 128];
        let payload = [&client().to_bytes()[..], b"more"].concat();
        let length = state.write_message(&payload, &mut message).unwrap();
        assert_eq!(length, 60);
        let start = Start::read(&message[..60]).unwrap();
        assert_eq!(start.client, client());
        let (reply, _) = answer(&start, &secret(), HELLO).unwrap();
        assert!(state.read_message(&reply[2..], &mut [0; 128]).is_ok());
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_a_handshake_ends_it(place in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
            let (message, initiator) = Initiator::start(client()).unwrap();
            let mut changed = message[HEADER..].to_vec();
            changed[place.index(KEY + PAYLOAD)] ^= by;
            if let Ok(start) = Start::read(&changed) {
                let (reply, _) = answer(&start, &secret(), HELLO).unwrap();
                prop_assert!(initiator.finish(&reply[2..]).is_err(), "the client's message");
            }

            let (message, initiator) = Initiator::start(client()).unwrap();
            let (mut reply, _) = answer(&Start::read(&message[HEADER..]).unwrap(), &secret(), HELLO).unwrap();
            let place = 2 + place.index(reply.len() - 2);
            reply[place] ^= by;
            prop_assert!(initiator.finish(&reply[2..]).is_err(), "the server's message");
        }

        #[test]
        fn any_bytes_are_a_handshake_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..1_200)) {
            if let Ok(start) = Start::read(&bytes) {
                prop_assert!((KEY + PAYLOAD..=MAX_START).contains(&bytes.len()));
                let _ = answer(&start, &secret(), HELLO);
            }
            let (_, initiator) = Initiator::start(client()).unwrap();
            prop_assert!(initiator.finish(&bytes).is_err());
        }
    }

    #[test]
    fn a_server_that_does_not_hold_its_key_is_found_out() {
        // The attacker knows the public key and the binding, and answers with a secret of its own in the same place.
        let (message, initiator) = Initiator::start(client()).unwrap();
        let start = Start::read(&message[HEADER..]).unwrap();
        let other = SessionSecret { secret: Zeroizing::new([0x12; KEY]), public: secret().public() };
        let (reply, _) = answer(&start, &other, HELLO).unwrap();
        let (_, key, _) = initiator.finish(&reply[2..]).unwrap();
        assert_ne!(key, secret().public(), "what it proves is the key that it holds");
    }

    #[test]
    fn an_answer_that_carries_too_much_is_not_made() {
        let (message, _) = Initiator::start(client()).unwrap();
        let start = Start::read(&message[HEADER..]).unwrap();
        let (reply, _) = answer(&start, &secret(), &[b'x'; MAX_ANSWER_PAYLOAD]).unwrap();
        assert_eq!(reply.len(), 2 + MAX_ANSWER);
        assert!(answer(&start, &secret(), &[b'x'; MAX_ANSWER_PAYLOAD + 1]).is_err());
    }
}
