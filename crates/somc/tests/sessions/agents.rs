//! Who is behind a session, and what somebody on the way can do to it.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use alloy::primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::Amount;
use privatix_offering::KeyBinding;
use privatix_somc::{
    BindingError, BoxStream, Client, ClientError, DirectTransport, Expected, Identities, Identity,
    KnownAgent, Paid, Peer, Recognition, Refusal, RetryPolicy, ServerLimits, SessionKey, SessionSecret,
    SomcAddress, Transport, TransportError, VersionRange,
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    time::Instant,
};

use crate::common::{
    Memory, Raw, RawAgent, Running, Script, agent, domain, expected, generous, hello, identity, identity_at,
    in_memory, limits, patient, pong, somewhere, soon, voucher, welcome,
};

/// Guards against hangs only.
const LONG: Duration = Duration::from_mins(2);

fn versions(min: u16, max: u16) -> VersionRange {
    VersionRange::new(min, max).unwrap()
}

async fn connect(expected: &Expected, address: &SomcAddress) -> Result<Client, ClientError> {
    soon(Client::connect_to(expected, &DirectTransport::anywhere(), address, patient())).await
}

/// A server that speaks for what a test gives it.
async fn speaking_for(identity: Identity) -> Running {
    let identities: Arc<dyn Identities> = Arc::new(BTreeMap::from(identity));
    Running::start_with("127.0.0.1:0".parse().unwrap(), Script::paid(), generous(), Some(identities)).await
}

#[tokio::test]
async fn one_port_serves_both_versions() {
    let running = Running::start(Script::paid(), generous()).await;
    let address = running.address();
    let in_clear = soon(Client::connect(&DirectTransport::anywhere(), &address, patient())).await.unwrap();
    let client = connect(&expected(versions(1, 2)), &address).await.unwrap();
    assert_eq!((in_clear.version(), in_clear.session()), (1, None));
    assert_eq!((client.version(), client.is_authenticated()), (2, true));
    for client in [in_clear, client] {
        assert_eq!(soon(client.pay(voucher(1, 5))).await.unwrap(), Paid { cumulative: Amount::new(5) });
    }
    assert_eq!(running.server.stats().sessions, 1);
}

#[tokio::test]
async fn every_session_has_a_name_of_its_own() {
    let running = Running::start(Script::new(), generous()).await;
    let (one, other) = (running.client().await, running.client().await);
    assert!(one.session().is_some());
    assert_ne!(one.session(), other.session());
}

#[tokio::test]
async fn an_agent_that_the_server_does_not_speak_for_is_unknown() {
    let running = Running::start(Script::new(), generous()).await;
    let agent = Address::repeat_byte(9);
    let expected = KnownAgent::new(agent, domain()).versions(versions(1, 2)).expected();
    let error = connect(&expected, &running.address()).await.unwrap_err();
    let ClientError::Unauthenticated { refusal } = &error else { panic!("{error}") };
    assert_eq!(*refusal, Refusal::UnknownAgent { agent });
    assert!(error.is_unprocessed() && error.is_transient());
    assert_eq!(error.refusal(), None, "nobody has proved to have said it");
    running.still_serves().await;
}

#[tokio::test]
async fn who_does_not_hold_the_agents_key_is_left() {
    let own = |error| matches!(error, ClientError::Binding(BindingError::Signature(_)));
    // The agent's word is no secret: whoever was answered once has it.
    let stolen = binding_of(&identity());
    let running = speaking_for(Identity::new(SessionSecret::generate(), stolen)).await;
    assert!(own(connect(&expected(versions(1, 2)), &running.address()).await.unwrap_err()));

    // A word of its own, about the agent.
    let mallory = alloy::signers::local::PrivateKeySigner::random();
    let secret = SessionSecret::generate();
    let (of, now) = (&domain(), SystemTime::now());
    let word =
        KeyBinding::issue(mallory.address(), None, &secret.public(), versions(1, 2), (of, now), &mallory)
            .unwrap();
    let running = speaking_for(Identity::new(secret, KeyBinding { agent: agent().address(), ..word })).await;
    assert!(own(connect(&expected(versions(1, 2)), &running.address()).await.unwrap_err()));
    assert_eq!(running.server.stats().requests, 0);
}

/// What the server of this agent shows to everybody.
fn binding_of(identity: &Identity) -> KeyBinding {
    *identity.binding()
}

#[tokio::test]
async fn an_old_key_is_left() {
    let day = Duration::from_hours(24);
    let running = speaking_for(identity_at(SystemTime::now() - day - Duration::from_hours(1))).await;
    let error = connect(&expected(versions(1, 2)), &running.address()).await.unwrap_err();
    assert!(matches!(error, ClientError::Binding(BindingError::Expired { .. })), "{error}");

    // One that still counts, when a later one than it lasts was seen before.
    let identity = identity();
    let newest = Some(binding_of(&identity).expires_at);
    let running = speaking_for(identity).await;
    let expected = KnownAgent::new(agent().address(), domain()).seen(newest).expected();
    let error = connect(&expected, &running.address()).await.unwrap_err();
    assert!(matches!(error, ClientError::Binding(BindingError::Superseded { .. })), "{error}");
}

#[tokio::test]
async fn a_known_agent_remembers_the_newest_key() {
    let running = Running::start(Script::new(), generous()).await;
    let agent = agent().address();
    let known = Arc::new(KnownAgent::new(agent, domain()));
    let expected = Expected { agent, recognition: known.clone() };
    connect(&expected, &running.address()).await.unwrap();
    assert_eq!(known.newest(), Some(binding_of(&identity()).issued_at));
}

#[tokio::test]
async fn version_1_is_spoken_where_it_is_permitted_and_nothing_else_is() {
    let running = Running::start_with("127.0.0.1:0".parse().unwrap(), Script::paid(), generous(), None).await;
    let client = connect(&expected(versions(1, 2)), &running.address()).await.unwrap();
    assert_eq!((client.version(), client.is_authenticated()), (1, false));
    assert!(soon(client.pay(voucher(1, 5))).await.is_ok());
    let error = connect(&expected(versions(2, 2)), &running.address()).await.unwrap_err();
    let refusal = Refusal::UnsupportedVersion { client: versions(2, 2), server: versions(1, 1) };
    assert!(matches!(&error, ClientError::Unauthenticated { refusal: it } if *it == refusal), "{error}");
    let client = connect(&expected(versions(1, 1)), &running.address()).await.unwrap();
    assert_eq!(client.version(), 1);
    let error = connect(&expected(versions(3, 4)), &running.address()).await.unwrap_err();
    assert!(matches!(error, ClientError::NonePermitted { .. }), "{error}");
}

/// A server from before version 2 reads the beginning of a session as the length of a frame.
#[tokio::test]
async fn a_server_that_knows_no_sessions_is_talked_to_in_clear_where_that_is_permitted() {
    let old = RawAgent::bind().await;
    let too_large =
        json!({ "bye": { "code": "too_large", "details": { "size": 0x5056_5832_u64, "limit": 1024 } } });
    let refuse = || async {
        let mut first = old.accept().await;
        first.send(&too_large).await;
        first.finish().await;
    };
    let (permitted, address) = (expected(versions(1, 2)), old.address());
    let (client, _second) = tokio::join!(connect(&permitted, &address), async {
        refuse().await;
        let mut second = old.accept().await;
        assert_eq!(second.receive().await.unwrap(), hello(1, 1));
        second.send(&welcome(1)).await;
        second
    });
    assert_eq!(client.unwrap().version(), 1);

    let only_2 = expected(versions(2, 2));
    let (refused, ()) = tokio::join!(connect(&only_2, &address), refuse());
    assert!(matches!(
        refused.unwrap_err(),
        ClientError::Unauthenticated { refusal: Refusal::TooLarge { .. } }
    ));
}

#[tokio::test]
async fn a_refusal_in_clear_is_a_failure_of_the_network() {
    let anybody = RawAgent::bind().await;
    for bye in [
        json!({ "code": "busy", "details": { "retryAfterMs": u64::MAX } }),
        json!({ "code": "service_terminated" }),
        json!({ "code": "shutting_down" }),
    ] {
        let (permitted, address) = (expected(versions(1, 2)), anybody.address());
        let (refused, ()) = tokio::join!(connect(&permitted, &address), async {
            let mut first = anybody.accept().await;
            first.send(&json!({ "bye": bye })).await;
            first.finish().await;
        });
        let error = refused.unwrap_err();
        assert!(matches!(error, ClientError::Unauthenticated { .. }), "{error}");
        assert!(error.is_transient() && error.refusal().is_none());
    }
}

#[tokio::test]
async fn who_talks_before_the_session_has_begun_or_answers_nonsense_is_left() {
    let anybody = RawAgent::bind().await;
    let frame = |body: &serde_json::Value| crate::common::frame(body.to_string().as_bytes());
    let mut long = vec![0xff, 0xff];
    long.extend([7; 100]);
    for said in [frame(&pong(1)), frame(&welcome(1)), vec![0, 5, 1, 2, 3, 4, 5], long] {
        let (permitted, address) = (expected(versions(1, 2)), anybody.address());
        let (refused, ()) = tokio::join!(connect(&permitted, &address), async {
            let mut first = anybody.accept().await;
            first.send_bytes(&said).await;
            first.finish().await;
        });
        let error = refused.unwrap_err();
        assert!(matches!(error, ClientError::Handshake { .. }), "{said:?}: {error}");
        assert!(error.is_transient() && error.is_unprocessed());
    }
}

#[tokio::test]
async fn what_begins_no_session_gets_a_word_in_clear() {
    let running = Running::start(Script::new(), generous()).await;
    let mut empty_range = b"PVX2\0\x38".to_vec();
    empty_range.extend([1; 32]);
    empty_range.extend([0, 2, 0, 1]);
    empty_range.extend([0xA6; 20]);
    for bytes in [b"PVX2\0\0".to_vec(), b"PVX2\0\x37".to_vec(), b"PVX2\xff\xff".to_vec(), empty_range] {
        let mut raw = Raw::dial(running.socket).await;
        raw.send_bytes(&bytes).await;
        assert_eq!(raw.bye().await.0, "malformed", "{bytes:?}");
    }
    running.still_serves().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_drips_in_is_cut_off() {
    let (memory, _server, ..) =
        in_memory(Script::new(), limits(|limits| limits.handshake_timeout = Duration::from_secs(20)));
    let mut raw = Raw(memory.dial());
    let start = Instant::now();
    raw.send_bytes(b"PVX2\0\x38half").await;
    assert_eq!(raw.bye().await.0, "too_slow");
    assert_eq!(start.elapsed(), Duration::from_secs(20));
}

#[tokio::test]
async fn sessions_count_against_the_rate_of_a_peer() {
    let cost = ServerLimits::CONNECTION_COST + ServerLimits::SESSION_COST;
    let rate = privatix_somc::RateLimit::new(1, 2 * cost);
    let running = Running::start(Script::new(), limits(|limits| limits.peer_rate = rate)).await;
    let (_one, _other) = (running.client().await, running.client().await);
    let error = running.connect().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unauthenticated { refusal: Refusal::RateLimited { .. } }),
        "{error}"
    );
}

// ---------------------------------------------------------------- the end of a key

/// A day in which nothing else ends.
fn long_days() -> ServerLimits {
    limits(|limits| limits.idle_timeout = Duration::from_hours(1_000))
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_key() {
    let (memory, ..) = in_memory(Script::new(), long_days());
    let (client, start) = (memory.client().await, Instant::now());
    let lasts = binding_of(&identity()).expires().duration_since(SystemTime::now()).unwrap();
    client.closed().await;
    assert!(start.elapsed().abs_diff(lasts) < Duration::from_mins(1), "{:?} of {lasts:?}", start.elapsed());
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. } | ClientError::Bye(Refusal::SessionOver)), "{error}");
    assert!(error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn a_peer_begins_another_session_before_the_key_expires() {
    let (memory, server, ..) = in_memory(Script::new(), long_days());
    let retry = RetryPolicy::default();
    let peer = Peer::expecting(expected(versions(2, 2)), Arc::new(memory), somewhere(), patient(), retry);
    peer.ping().await.unwrap();
    let lasts = binding_of(&identity()).expires().duration_since(SystemTime::now()).unwrap();
    tokio::time::sleep(lasts.saturating_sub(Duration::from_mins(10))).await;
    peer.ping().await.unwrap();
    assert_eq!(server.stats().sessions, 1);
    tokio::time::sleep(Duration::from_mins(6)).await;
    peer.ping().await.unwrap();
    peer.ping().await.unwrap();
    assert_eq!(server.stats().sessions, 2);
}

/// What is known of the agent changes while a connection stands.
struct Learns(Mutex<VersionRange>);

#[async_trait]
impl Recognition for Learns {
    async fn versions(&self) -> VersionRange {
        *self.0.lock()
    }

    async fn check(&self, _: &SessionKey, _: &KeyBinding) -> Result<Duration, BindingError> {
        Ok(KeyBinding::VALIDITY)
    }
}

#[tokio::test]
async fn a_connection_in_clear_is_left_once_the_agent_has_proved_a_key_elsewhere() {
    let socket = "127.0.0.1:0".parse().unwrap();
    let running = Running::start_with(socket, Script::paid(), generous(), None).await;
    let recognition = Arc::new(Learns(Mutex::new(versions(1, 2))));
    let expected = Expected { agent: agent().address(), recognition: recognition.clone() };
    let retry = RetryPolicy::default();
    let transport = Arc::new(DirectTransport::anywhere());
    let peer = Peer::expecting(expected, transport, running.address(), patient(), retry).tried_once(LONG);
    soon(peer.ping()).await.unwrap();
    assert!(soon(peer.pay(voucher(1, 5))).await.is_ok());
    *recognition.0.lock() = versions(2, 2);
    let error = soon(peer.pay(voucher(1, 6))).await.unwrap_err();
    assert!(matches!(error, ClientError::Unauthenticated { .. }), "{error}");
    assert_eq!(running.server.stats().payments, 1);
}

// ---------------------------------------------------------------- on the way

/// What an attacker on the way sees and changes.
#[derive(Clone)]
struct Wire {
    to: Arc<Memory>,
    seen: Arc<Mutex<Vec<u8>>>,
    /// The byte to change: of what the agent sends, or else of what the client sends.
    change: Option<(bool, usize)>,
}

impl Wire {
    fn to(memory: Memory) -> Self {
        Self { to: Arc::new(memory), seen: Arc::default(), change: None }
    }
}

#[async_trait]
impl Transport for Wire {
    async fn connect(&self, _: &SomcAddress) -> Result<BoxStream, TransportError> {
        let io = self.to.dial();
        Ok(Box::new(Tapped { io, wire: self.clone(), read: 0, written: 0 }))
    }
}

struct Tapped {
    io: DuplexStream,
    wire: Wire,
    read: usize,
    written: usize,
}

impl Tapped {
    fn change(&self, is_agents: bool, from: usize, bytes: &mut [u8]) {
        if let Some((of_agent, place)) = self.wire.change
            && of_agent == is_agents
            && let Some(byte) = place.checked_sub(from).and_then(|place| bytes.get_mut(place))
        {
            *byte ^= 0x10;
        }
    }
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        let bytes = &mut out.filled_mut()[before..];
        self.change(true, self.read, bytes);
        self.wire.seen.lock().extend_from_slice(bytes);
        self.read += bytes.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut bytes = bytes.to_vec();
        self.change(false, self.written, &mut bytes);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes))?;
        self.wire.seen.lock().extend_from_slice(&bytes[..written]);
        self.written += written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Connects over a wire and pays; gives what came of it.
async fn pay_over(wire: &Wire) -> Result<Paid, ClientError> {
    let client = Client::connect_to(&expected(versions(2, 2)), wire, &somewhere(), patient()).await?;
    client.pay(voucher(1, 5)).await
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_said_in_a_session_is_readable_on_the_way() {
    let (memory, ..) = in_memory(Script::paid(), generous());
    let wire = Wire::to(memory);
    pay_over(&wire).await.unwrap();
    let seen = wire.seen.lock();
    assert!(seen.len() > 500, "{}", seen.len());
    for word in ["cumulative", "hello", "channel", "signature", "pay", "0x01010101"] {
        assert!(!seen.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
}

/// Each byte of a session in turn, either way: the worst that comes of changing it is that there is no answer.
#[tokio::test(start_paused = true)]
async fn who_changes_a_byte_on_the_way_gets_nothing_taken() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let script = Script::new().pay({
        let taken = Arc::clone(&taken);
        move |voucher| {
            taken.lock().push(voucher);
            async move { Ok(Paid { cumulative: voucher.cumulative() }) }
        }
    });
    let (memory, ..) = in_memory(script, generous());
    let wire = Wire::to(memory);
    // What a whole exchange has; each direction has less.
    pay_over(&wire).await.unwrap();
    let length = wire.seen.lock().len();
    for of_agent in [true, false] {
        let (mut refused, mut unchanged) = (0, 0);
        for place in 0..length {
            let wire = Wire { change: Some((of_agent, place)), ..wire.clone() };
            if let Ok(paid) = pay_over(&wire).await {
                assert_eq!(paid, Paid { cumulative: Amount::new(5) });
                unchanged += 1;
            } else {
                // A greater length is waited for: who holds bytes back does the same.
                assert_eq!(unchanged, 0, "byte {place}: the exchange was over before it");
                refused += 1;
            }
        }
        assert!(refused > 150 && unchanged > 0, "{refused} and {unchanged}");
    }
    assert!(taken.lock().iter().all(|it| *it == voucher(1, 5)), "only what the client signed");
}

#[tokio::test]
async fn a_session_of_a_server_that_stops_ends_with_a_word() {
    let running = Running::start(Script::new(), generous()).await;
    let client = running.client().await;
    running.shutdown.cancel();
    soon(client.closed()).await;
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, ClientError::Bye(Refusal::ShuttingDown)), "{error}");
}
