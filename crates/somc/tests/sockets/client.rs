//! Agents that break the protocol.

use std::{sync::Arc, time::Duration};

use privatix_channel::Amount;
use privatix_offering::{MAX_ACCESS_SIZE, MAX_OFFERING_SIZE};
use privatix_somc::{Client, ClientError, ClientLimits, Refusal, VersionRange};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::{
    Raw, RawAgent, access_request, dial, frame, offering, patient, pong, sealed, somewhere, soon, voucher,
    welcome,
};

/// What a client gets that is told `said` (raw bytes) in place of a hello.
async fn greeted_with(said: &[u8]) -> Result<Client, ClientError> {
    let agent = RawAgent::bind().await;
    let greet = async {
        let mut connection = agent.accept().await;
        connection.receive().await.unwrap();
        connection.send_bytes(said).await;
        connection.finish().await;
    };
    tokio::join!(dial(agent.address(), patient()), greet).0
}

fn message(message: &Value) -> Vec<u8> {
    frame(message.to_string().as_bytes())
}

#[tokio::test]
async fn a_hello_that_is_none_is_told_from_a_loss() {
    type Expected<'a> = &'a dyn Fn(&ClientError) -> bool;
    let protocol = |error: &ClientError| matches!(error, ClientError::Protocol { .. });
    let lost = |error: &ClientError| matches!(error, ClientError::Lost { .. });
    let cases: [(Vec<u8>, Expected<'_>); 12] = [
        (vec![], &lost),
        (vec![0, 0], &lost),
        (message(&welcome(1))[..20].to_vec(), &lost),
        (message(&welcome(2)), &protocol),
        (message(&welcome(0)), &protocol),
        (message(&pong(0)), &protocol),
        (message(&json!({ "hello": { "version": 1 } })), &protocol),
        (message(&json!({ "hello": { "version": "1", "maxInFlight": 1, "idleTimeoutMs": 1 } })), &protocol),
        (frame(b""), &protocol),
        (frame(b"\xff"), &protocol),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), &protocol),
        (vec![0xff; 100], &protocol),
    ];
    for (said, expected) in cases {
        let error = greeted_with(&said).await.unwrap_err();
        assert!(expected(&error), "{:?}: {error}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn the_reason_for_turning_a_client_away_arrives() {
    let bye = message(
        &json!({ "bye": { "code": "busy", "message": "full", "details": { "retryAfterMs": 5000 } } }),
    );
    let error = greeted_with(&bye).await.unwrap_err();
    let busy = Refusal::Busy { retry_after: Duration::from_secs(5) };
    assert!(matches!(&error, ClientError::Bye(told) if *told == busy), "{error}");

    let details = json!({ "client": { "min": 1, "max": 1 }, "server": { "min": 2, "max": 4 } });
    let bye =
        message(&json!({ "bye": { "code": "unsupported_version", "message": "m", "details": details } }));
    let error = greeted_with(&bye).await.unwrap_err();
    let newer = VersionRange::new(2, 4).unwrap();
    assert!(matches!(&error, ClientError::Version { theirs, .. } if *theirs == newer), "{error}");
    assert_eq!(
        error.to_string(),
        "the agent speaks protocol version 2 to 4, this program 1; update the older one"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_agent_that_takes_the_connection_and_says_nothing_is_left() {
    let agent = RawAgent::bind().await;
    let mut limits = ClientLimits::default();
    limits.connect_timeout = Duration::from_millis(50);
    let error = dial(agent.address(), limits).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::ConnectTimeout { .. }), "{error}");
    assert!(error.is_transient() && error.is_unprocessed());
}

/// Asks `ask` of an agent that answers with these bytes and then closes; gives the error.
async fn answered_with<T: std::fmt::Debug, F: Future<Output = Result<T, ClientError>>>(
    ask: impl FnOnce(Client) -> F,
    said: &[u8],
) -> ClientError {
    let agent = RawAgent::bind().await;
    let asking = async {
        let client = dial(agent.address(), patient()).await.unwrap();
        soon(ask(client)).await.unwrap_err()
    };
    let answering = async {
        let mut connection = agent.accept_and_greet().await;
        connection.receive().await.unwrap();
        connection.send_bytes(said).await;
        connection.finish().await;
    };
    tokio::join!(asking, answering).0
}

#[tokio::test]
async fn an_answer_that_breaks_the_protocol_is_refused_with_the_reason() {
    let over = |limit: usize| format!("0x{}", "00".repeat(limit));
    let cases = [
        (pong(7), "not asked"),
        (welcome(1), "hello twice"),
        (json!({}), "neither"),
        (json!({ "id": 0 }), "neither"),
        (json!({ "id": 0, "ok": {}, "error": { "code": "x" } }), "neither"),
        (json!({ "id": 0, "ok": {}, "bye": { "code": "x" } }), "neither"),
        (json!({ "ok": { "bytes": "0x" } }), "neither"),
        (json!({ "id": 0, "ok": {} }), "missing field `bytes`"),
        (json!({ "id": 0, "ok": { "bytes": "0xf" } }), "malformed"),
        (json!({ "id": 0, "ok": { "bytes": 5 } }), "malformed"),
        (json!({ "id": 0, "ok": { "bytes": [1, 2] } }), "invalid type"),
        (json!({ "id": 0, "ok": { "bytes": "0102" } }), "0x"),
        (json!({ "id": 0, "ok": { "bytes": over(MAX_OFFERING_SIZE + 300) } }), "above the limit"),
        (json!({ "id": 0, "error": { "message": "no code" } }), "missing field `code`"),
        (json!({ "id": 0, "error": "no" }), "invalid type"),
        (json!({ "id": "0", "ok": {} }), "invalid type"),
        (json!([0]), ""),
    ];
    for (said, reason) in cases {
        let ask = |client: Client| async move { client.offering(offering(1)).await };
        let error = answered_with(ask, &message(&said)).await;
        let ClientError::Protocol { reason: told } = &error else { panic!("{said}: {error}") };
        assert!(told.contains(reason), "{said}: {told}");
        assert!(!error.is_unprocessed() && !error.is_transient());
    }
    let mut extra = serde_json::to_value(sealed(1, 20)).unwrap();
    extra["unknown"] = json!(1);
    for result in [json!({}), extra, json!(serde_json::to_value(sealed(1, MAX_ACCESS_SIZE + 1500)).unwrap())]
    {
        let ask = |client: Client| async move { client.access(access_request(1)).await };
        let error = answered_with(ask, &message(&json!({ "id": 0, "ok": result }))).await;
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_acknowledgement_below_the_voucher_is_none() {
    let ask = |client: Client| async move { client.pay(voucher(1, 10)).await };
    for amount in [json!("9"), json!("0"), json!(10), json!("-10"), json!("ten")] {
        let said = message(&json!({ "id": 0, "ok": { "cumulative": amount } }));
        let error = answered_with(ask, &said).await;
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_loss_a_bye_and_an_unknown_refusal_are_told_apart() {
    let ask = |client: Client| async move { client.ping().await };
    for said in [&b""[..], &[0, 0, 0, 50, b'{']] {
        let error = answered_with(ask, said).await;
        assert!(matches!(error, ClientError::Lost { .. }) && error.is_transient(), "{error}");
        assert!(!error.is_unprocessed());
    }
    let error = answered_with(ask, &message(&json!({ "bye": { "code": "shutting_down" } }))).await;
    assert!(matches!(error, ClientError::Bye(Refusal::ShuttingDown)) && error.is_unprocessed(), "{error}");
    let later = json!({ "id": 0, "error": { "code": "moved", "message": "to\n\u{1b}[1mtor", "details": { "to": 1 } } });
    let error = answered_with(ask, &message(&later)).await;
    assert_eq!(error.to_string(), "the agent refused: refused (moved): to\u{fffd}\u{fffd}[1mtor");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_oversized_frame_is_not_read() {
    let ask = |client: Client| async move { client.ping().await };
    for length in [200_000_u32, u32::MAX] {
        let error = answered_with(ask, &length.to_be_bytes()).await;
        let ClientError::Protocol { reason } = &error else { panic!("{error}") };
        assert!(reason.contains("above the limit"), "{reason}");
    }
}

#[tokio::test]
async fn an_agent_that_does_not_answer_leaves_the_connection_usable() {
    let agent = RawAgent::bind().await;
    let mut limits = patient();
    limits.request_timeout = Duration::from_millis(50);
    let connect = async { dial(agent.address(), limits).await.unwrap() };
    let (client, mut connection) = soon(async { tokio::join!(connect, agent.accept_and_greet()) }).await;
    let error = soon(client.pay(voucher(1, 1))).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }) && !error.is_unprocessed(), "{error}");
    // The answer that comes too late is not taken for another's.
    connection.receive().await.unwrap();
    connection.send(&json!({ "id": 0, "ok": { "cumulative": Amount::new(1) } })).await;
    connection.send(&json!({ "bye": { "code": "idle_timeout" } })).await;
    soon(client.closed()).await;
    assert!(matches!(soon(client.ping()).await, Err(ClientError::Bye(Refusal::IdleTimeout))));
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_no_server_keeps_means_that_the_connection_is_dead() {
    struct Once(parking_lot::Mutex<Option<tokio::io::DuplexStream>>);
    #[async_trait::async_trait]
    impl privatix_somc::Transport for Once {
        async fn connect(
            &self,
            _: &privatix_somc::SomcAddress,
        ) -> Result<privatix_somc::BoxStream, privatix_somc::TransportError> {
            Ok(Box::new(self.0.lock().take().unwrap()))
        }
    }
    let (near, far) = tokio::io::duplex(4096);
    let transport = Arc::new(Once(parking_lot::Mutex::new(Some(near))));
    let mut agent = Raw(far);
    let address = somewhere();
    let (client, ()) = tokio::join!(Client::connect(&transport, &address, patient()), async {
        agent.receive().await.unwrap();
        let hello = json!({ "version": 1, "maxInFlight": 0, "idleTimeoutMs": 60_000 });
        agent.send(&json!({ "hello": hello })).await;
    });
    let (client, start) = (client.unwrap(), Instant::now());
    client.closed().await;
    assert_eq!(start.elapsed(), Duration::from_secs(60 + 30));
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }) && error.is_transient(), "{error}");
}

#[test]
fn a_client_survives_any_agent() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let agent = runtime.block_on(RawAgent::bind());
    let pieces = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|body| frame(&body)),
        "[a-z{}\\[\\]\":,0-9 ]{0,60}".prop_map(|text| frame(text.as_bytes())),
        (0..3_u64, "(ok|error|bye|hello|.{0,4})", "[a-z_]{0,12}", any::<i32>()).prop_map(|(id, kind, name, value)| {
            message(&json!({ "id": id, kind: { name: value, "code": "stale", "details": { "acknowledged": value } } }))
        }),
    ];
    TestRunner::new(ProptestConfig::with_cases(200))
        .run(&(any::<bool>(), prop::collection::vec(pieces, 0..5)), |(greet, pieces)| {
            runtime.block_on(async {
                let asking = async {
                    let client = dial(agent.address(), patient()).await?;
                    // The agent closes in the end, so each of these ends.
                    let (paid, offering) =
                        tokio::join!(client.pay(voucher(1, 1)), client.offering(offering(1)));
                    paid.map(drop).and(offering.map(drop))
                };
                let answering = async {
                    let mut connection = agent.accept().await;
                    connection.receive().await.unwrap();
                    if greet {
                        connection.send(&welcome(1)).await;
                    }
                    connection.send_bytes(&pieces.concat()).await;
                    connection.finish().await;
                };
                let (answer, ()) = soon(async { tokio::join!(asking, answering) }).await;
                assert!(answer.is_err(), "nothing of this answers both");
                assert!(!answer.unwrap_err().to_string().chars().any(char::is_control));
            });
            Ok(())
        })
        .unwrap();
}
