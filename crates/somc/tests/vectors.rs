//! The test vectors in `docs/somc-protocol.md` are what this implementation says and understands, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use alloy::{
    hex,
    primitives::{Address, B256, Signature, keccak256},
    signers::local::PrivateKeySigner,
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};
use async_trait::async_trait;
use hpke::{Deserializable as _, Kem as _, OpModeR, Serializable as _};
use parking_lot::Mutex;
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, Domain, OfferingHash, SignedVoucher, Voucher, sign_voucher,
};
use privatix_offering::{AccessRequest, RecipientKey, SealedAccess};
use privatix_somc::{
    Client, ClientError, ClientLimits, DirectListener, DirectTransport, Paid, Refusal, Server, ServerLimits,
    Service,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/somc-protocol.md");

/// The fenced block of this name.
fn block(name: &str) -> String {
    let document = std::fs::read_to_string(DOCUMENT).expect("the protocol document");
    let start = format!("```{name}\n");
    let (_, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no block {name}"));
    rest.split_once("```").expect("a closed block").0.to_owned()
}

/// A line of a transcript.
#[derive(Clone)]
struct Line {
    by_client: bool,
    frame: Vec<u8>,
}

fn transcript(name: &str) -> Vec<Line> {
    block(&format!("text {name}"))
        .lines()
        .map(|line| {
            let (who, rest) = line.split_once(' ').expect("who speaks");
            let (length, body) = rest.split_once(' ').expect("a length");
            assert_eq!(length, format!("{:08x}", body.len()), "the length of {body}");
            let by_client = match who {
                "C" => true,
                "S" => false,
                _ => panic!("{line}"),
            };
            Line { by_client, frame: [&hex::decode(length).unwrap(), body.as_bytes()].concat() }
        })
        .collect()
}

/// Sends all that `by_client` says and checks that the other side says the rest.
async fn play(stream: &mut TcpStream, lines: &[Line], as_client: bool, mut before: impl FnMut(&[u8])) {
    for line in lines {
        before(&line.frame);
        if line.by_client == as_client {
            stream.write_all(&line.frame).await.unwrap();
        } else {
            let mut said = vec![0; line.frame.len()];
            let read = stream.read_exact(&mut said);
            tokio::time::timeout(Duration::from_mins(1), read).await.expect("silence").unwrap();
            assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&line.frame));
        }
    }
}

/// The values that the vectors are made of.
struct Vectors {
    values: Value,
    domain: Domain,
    client: PrivateKeySigner,
    descriptor: ChannelDescriptor,
}

impl Vectors {
    fn read() -> Self {
        let values: Value = serde_json::from_str(&block("json values")).unwrap();
        let of = |name: &str| values[name].as_str().unwrap_or_else(|| panic!("{name}"));
        let domain = Domain::new(
            values["chainId"].as_u64().unwrap(),
            of("contract").parse().unwrap(),
            of("token").parse().unwrap(),
        );
        let client: PrivateKeySigner = of("clientSecret").parse().unwrap();
        let agent: PrivateKeySigner = of("agentSecret").parse().unwrap();
        let descriptor = ChannelDescriptor {
            client: client.address(),
            agent: agent.address(),
            offering: of("offeringHash").parse().unwrap(),
            nonce: values["nonce"].as_u64().unwrap(),
            signer: of("signer").parse().unwrap(),
        };
        Self { values, domain, client, descriptor }
    }

    fn text(&self, name: &str) -> &str {
        self.values[name].as_str().unwrap_or_else(|| panic!("{name}"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap()
    }

    fn hash(&self, name: &str) -> B256 {
        self.text(name).parse().unwrap()
    }

    fn access_domain(&self) -> Eip712Domain {
        eip712_domain! {
            name: "Privatix Access", version: "1",
            chain_id: self.domain.chain_id(), verifying_contract: self.domain.contract(),
        }
    }

    fn voucher(&self, cumulative: u128) -> SignedVoucher {
        let voucher =
            Voucher { channel: self.descriptor.id(&self.domain), cumulative: Amount::new(cumulative) };
        sign_voucher(&self.client, &self.domain, voucher).unwrap()
    }

    fn access_request(&self) -> AccessRequest {
        let recipient = RecipientKey::new(self.hash("recipient"));
        let now = UNIX_EPOCH + Duration::from_millis(self.values["issuedAt"].as_u64().unwrap());
        AccessRequest::sign(&self.descriptor, &self.domain, recipient, now, &self.client).unwrap()
    }

    fn sealed(&self) -> SealedAccess {
        serde_json::from_value(self.values["sealedAccess"].clone()).unwrap()
    }
}

mod typed {
    alloy::sol! {
        struct Offering { string message; }
        struct Voucher { bytes32 channelId; uint128 cumulativeAmount; }
        struct AccessRequest { bytes32 channel; bytes32 recipient; uint64 issuedAt; }
        struct SealedAccess { bytes32 channel; bytes32 offering; bytes32 recipient; bytes32 encapsulated; bytes ciphertext; }
    }
}

fn signer(signature: &[u8], digest: &B256) -> Address {
    Signature::try_from(signature).unwrap().recover_address_from_prehash(digest).unwrap()
}

#[test]
fn the_signed_things_are_made_as_the_document_says() {
    let vectors = Vectors::read();
    let descriptor = &vectors.descriptor;
    assert_eq!(vectors.text("client").parse(), Ok(descriptor.client));
    assert_eq!(vectors.text("agent").parse(), Ok(descriptor.agent));

    let wire = vectors.bytes("offeringBytes");
    assert_eq!(keccak256(&wire), vectors.hash("offeringHash"));
    let (message, signature) = wire.split_last_chunk::<65>().unwrap();
    assert_eq!(String::from_utf8_lossy(message), vectors.text("offeringMessage"));
    let domain = eip712_domain! { name: "Privatix Offering", version: "1", };
    let digest =
        typed::Offering { message: vectors.text("offeringMessage").into() }.eip712_signing_hash(&domain);
    assert_eq!(digest, vectors.hash("offeringDigest"));
    assert_eq!(signer(signature, &digest), descriptor.agent);

    let channel = descriptor.id(&vectors.domain);
    assert_eq!(descriptor.salt(), vectors.hash("salt"));
    assert_eq!(channel, ChannelId::new(vectors.hash("channel")));
    let word = |address: Address| address.into_word();
    let number = |number: u64| B256::left_padding_from(&number.to_be_bytes());
    assert_eq!(
        descriptor.salt(),
        keccak256([vectors.hash("offeringHash"), number(descriptor.nonce)].concat())
    );
    let preimage = [
        word(descriptor.client),
        word(descriptor.agent),
        word(vectors.domain.token()),
        descriptor.salt(),
        B256::ZERO,
        word(vectors.domain.contract()),
        number(vectors.domain.chain_id()),
    ];
    assert_eq!(keccak256(preimage.concat()), vectors.hash("channel"));

    let domain = eip712_domain! {
        name: "EVM Payment Channel", version: "1",
        chain_id: vectors.domain.chain_id(), verifying_contract: vectors.domain.contract(),
    };
    let voucher = typed::Voucher { channelId: channel.into(), cumulativeAmount: 1000 };
    assert_eq!(voucher.eip712_signing_hash(&domain), vectors.hash("voucherDigest"));
    let signed = vectors.voucher(1000);
    assert_eq!(hex::encode_prefixed(signed.signature.as_bytes()), vectors.text("voucherSignature"));
    assert_eq!(signer(signed.signature.as_bytes(), &vectors.hash("voucherDigest")), descriptor.client);

    let request = vectors.access_request();
    let digest = typed::AccessRequest {
        channel: channel.into(),
        recipient: vectors.hash("recipient"),
        issuedAt: request.issued_at,
    };
    assert_eq!(digest.eip712_signing_hash(&vectors.access_domain()), vectors.hash("accessRequestDigest"));
    assert_eq!(signer(request.signature.as_bytes(), &vectors.hash("accessRequestDigest")), descriptor.client);
}

type Suite = hpke::kem::X25519HkdfSha256;

#[test]
fn the_sealed_access_opens_as_the_document_says() {
    let vectors = Vectors::read();
    let (descriptor, sealed) = (&vectors.descriptor, vectors.sealed());
    let secret = <Suite as hpke::Kem>::PrivateKey::from_bytes(&vectors.bytes("recipientSecret")).unwrap();
    assert_eq!(*Suite::sk_to_pk(&secret).to_bytes(), *vectors.bytes("recipient"));

    let digest = typed::SealedAccess {
        channel: sealed.channel.into(),
        offering: descriptor.offering.into(),
        recipient: *sealed.recipient.as_b256(),
        encapsulated: sealed.encapsulated,
        ciphertext: sealed.ciphertext.clone(),
    };
    let digest = digest.eip712_signing_hash(&vectors.access_domain());
    assert_eq!(digest, vectors.hash("sealedAccessDigest"));
    assert_eq!(signer(sealed.signature.as_bytes(), &digest), descriptor.agent);

    let associated = [
        &vectors.domain.chain_id().to_be_bytes()[..],
        vectors.domain.contract().as_slice(),
        descriptor.id(&vectors.domain).as_slice(),
        descriptor.offering.as_slice(),
        descriptor.agent.as_slice(),
    ]
    .concat();
    assert_eq!(associated, vectors.bytes("accessAssociatedData"));
    let enc = <Suite as hpke::Kem>::EncappedKey::from_bytes(sealed.encapsulated.as_slice()).unwrap();
    let opened = hpke::single_shot_open::<hpke::aead::ChaCha20Poly1305, hpke::kdf::HkdfSha256, Suite>(
        &OpModeR::Base,
        &secret,
        &enc,
        b"privatix access 1",
        &sealed.ciphertext,
        &associated,
    );
    assert_eq!(String::from_utf8(opened.unwrap()).unwrap(), vectors.text("accessMessage"));
}

/// Answers with the vectors.
struct FromVectors(Vectors);

#[async_trait]
impl Service for FromVectors {
    async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, Refusal> {
        assert_eq!(hash, self.0.descriptor.offering);
        Ok(self.0.bytes("offeringBytes"))
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        assert_eq!(request, self.0.access_request());
        Ok(self.0.sealed())
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        let acknowledged = Amount::new(1000);
        assert_eq!(voucher, self.0.voucher(voucher.cumulative().get()));
        match voucher.cumulative() {
            lower if lower < acknowledged => Err(Refusal::Stale { acknowledged }),
            _ => Ok(Paid { cumulative: acknowledged }),
        }
    }
}

#[tokio::test]
async fn the_server_says_what_the_transcripts_say() {
    for name in ["session", "refusals", "version"] {
        let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr();
        let shutdown = CancellationToken::new();
        let server = Server::new(FromVectors(Vectors::read()), ServerLimits::default());
        let serving = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { server.serve(listener, shutdown).await }
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        play(&mut stream, &transcript(name), true, |frame| {
            if String::from_utf8_lossy(frame).contains("shutting_down") {
                shutdown.cancel();
            }
        })
        .await;
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the {name} transcript leaves something out");
        shutdown.cancel();
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn the_client_says_what_the_session_says_and_understands_its_answers() {
    let vectors = Vectors::read();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    let agent = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        play(&mut stream, &transcript("session"), false, |_| {}).await;
    });
    let transport = DirectTransport::anywhere();
    let client = Client::connect(&transport, &address, ClientLimits::default()).await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(client.offering(vectors.descriptor.offering).await.unwrap(), vectors.bytes("offeringBytes"));
    assert_eq!(client.access(vectors.access_request()).await.unwrap(), vectors.sealed());
    let acknowledged = Amount::new(1000);
    assert_eq!(client.pay(vectors.voucher(1000)).await.unwrap(), Paid { cumulative: acknowledged });
    let error = client.pay(vectors.voucher(500)).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::Stale { acknowledged }));
    client.closed().await;
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, ClientError::Bye(Refusal::ShuttingDown)), "{error}");
    agent.await.unwrap();
}

/// Gives the refusals that it was given, one per call.
struct Refusing(Mutex<Vec<Refusal>>);

#[async_trait]
impl Service for Refusing {
    async fn offering(&self, _: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Err(self.0.lock().pop().unwrap())
    }
    async fn access(&self, _: AccessRequest) -> Result<SealedAccess, Refusal> {
        Err(Refusal::Internal)
    }
    async fn pay(&self, _: SignedVoucher) -> Result<Paid, Refusal> {
        Err(Refusal::Internal)
    }
}

#[tokio::test]
async fn every_refusal_in_the_document_is_understood_and_said_back_the_same() {
    let written: Vec<Value> =
        block("json codes").lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    for refusal in &written {
        let row = format!("| `{}` |", refusal["code"].as_str().unwrap());
        assert!(document.contains(&row), "no row {row} in the table");
    }

    // Read by the client...
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let transport = DirectTransport::anywhere();
    let connect = Client::connect(&transport, &address, ClientLimits::default());
    let (client, mut stream) = tokio::join!(connect, async {
        let mut stream = listener.accept().await.unwrap().0;
        let mut lines = transcript("session");
        lines.truncate(2);
        play(&mut stream, &lines, false, |_| {}).await;
        stream
    });
    let client = client.unwrap();
    for (id, refusal) in written.iter().enumerate() {
        let body = json!({ "id": id, "error": refusal }).to_string();
        let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes(), body.as_bytes()].concat();
        let (answer, sent) = tokio::join!(client.ping(), stream.write_all(&frame));
        sent.unwrap();
        let Err(ClientError::Refused(understood)) = answer else { panic!("{answer:?} for {refusal}") };
        assert_eq!(understood.code(), refusal["code"]);
        assert!(!matches!(understood, Refusal::Other { .. }), "{refusal} is not understood");
        refusals.lock().push(understood);
    }

    // ...and said by the server.
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    let mut backwards = std::mem::take(&mut *refusals.lock());
    backwards.reverse();
    let server = Server::new(Refusing(Mutex::new(backwards)), ServerLimits::default());
    let serving = tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
    let mut lines = transcript("session");
    lines.truncate(2);
    play(&mut stream, &lines, true, |_| {}).await;
    for (id, refusal) in written.iter().enumerate() {
        let ask = json!({ "id": id, "method": "offering", "params": { "hash": B256::ZERO } }).to_string();
        stream
            .write_all(&[&u32::try_from(ask.len()).unwrap().to_be_bytes(), ask.as_bytes()].concat())
            .await
            .unwrap();
        let mut body = vec![0; usize::try_from(stream.read_u32().await.unwrap()).unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({ "id": id, "error": refusal }));
    }
    serving.abort();
}
