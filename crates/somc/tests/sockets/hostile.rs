//! Clients that break the protocol, by mistake or on purpose.

use privatix_channel::{Amount, SignedVoucher};
use privatix_somc::{Paid, ServerLimits};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::common::{
    Raw, Running, Script, access_request, channel, frame, generous, hello, in_memory, limits, ping, pong,
    until, voucher,
};

fn pay(id: u64, voucher: &SignedVoucher) -> Value {
    let signature = alloy::hex::encode_prefixed(voucher.signature.as_bytes());
    json!({ "id": id, "method": "pay", "params": {
        "channel": voucher.channel(), "cumulative": voucher.cumulative(), "signature": signature,
    } })
}

fn with(mut message: Value, field: &str, value: Value) -> Value {
    message["params"][field] = value;
    message
}

/// Sends `message` as request 1 and gives the error's code and details; the connection then still works.
async fn refused(raw: &mut Raw<TcpStream>, message: &Value) -> (String, Value) {
    raw.send(message).await;
    let answer = raw.receive().await.unwrap();
    assert_eq!(answer["id"], 1, "{message} got {answer}");
    let error = &answer["error"];
    assert!(error["message"].is_string(), "{message} got {answer}");
    raw.send(&ping(2)).await;
    assert_eq!(raw.receive().await, Some(pong(2)));
    (error["code"].as_str().unwrap().to_owned(), error["details"].clone())
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name_and_the_connection_goes_on() {
    // Nothing of these may get through to the service, which would acknowledge it.
    let running = Running::start(Script::paid(), generous()).await;
    let mut raw = Raw::connect(running.socket).await;
    let honest = pay(1, &voucher(1, 5));
    raw.send(&honest).await;
    assert_eq!(raw.receive().await, Some(json!({ "id": 1, "ok": { "cumulative": "5" } })));

    let signature = |change: fn(&mut [u8; 65])| {
        let mut bytes = *voucher(1, 5).signature.as_bytes();
        change(&mut bytes);
        json!(alloy::hex::encode_prefixed(bytes))
    };
    let offering = |params: Value| json!({ "id": 1, "method": "offering", "params": params });
    let access = json!({ "id": 1, "method": "access", "params": access_request(1) });
    let mut wrong = vec![
        json!({ "id": 1, "method": "pay" }),
        json!({ "id": 1, "method": "pay", "params": null }),
        json!({ "id": 1, "method": "pay", "params": [] }),
        json!({ "id": 1, "method": "pay", "params": "all" }),
        json!({ "id": 1, "method": "pay", "params": {} }),
        json!({ "id": 1, "method": "offering" }),
        json!({ "id": 1, "method": "access" }),
        offering(json!({})),
        offering(json!({ "hash": 5 })),
        offering(json!({ "hash": "0x12" })),
        offering(json!({ "hash": format!("0x{}", "g".repeat(64)) })),
        with(access.clone(), "issuedAt", json!("1800000000000")),
        with(access.clone(), "issuedAt", json!(-1)),
        with(access.clone(), "recipient", json!("0x00")),
        with(access.clone(), "unknownField", json!(1)),
        with(honest.clone(), "channel", json!(null)),
        // High s: the same signature in its malleable form.
        with(honest.clone(), "signature", signature(|bytes| bytes[32..64].fill(0xff))),
        with(honest.clone(), "signature", signature(|bytes| bytes[64] = 0)),
        with(honest.clone(), "signature", signature(|bytes| bytes[64] = 29)),
        with(honest.clone(), "signature", signature(|bytes| bytes[..32].fill(0))),
        with(honest.clone(), "signature", json!("0x")),
    ];
    // Amounts are decimal strings of at most 128 bits.
    for amount in [
        json!(5),
        json!("-5"),
        json!("5.0"),
        json!("0x5"),
        json!("05"),
        json!("+5"),
        json!(""),
        json!(" 5"),
        json!("340282366920938463463374607431768211456"),
    ] {
        wrong.push(with(honest.clone(), "cumulative", amount));
    }
    for message in wrong {
        let (code, details) = refused(&mut raw, &message).await;
        assert_eq!(code, "malformed", "{message}");
        let method = message["method"].as_str().unwrap();
        assert!(
            details["reason"].as_str().unwrap().starts_with(&format!("params of {method}: ")),
            "{details}"
        );
    }
    assert_eq!(running.server.stats().payments, 1);
}

#[tokio::test]
async fn an_unknown_method_is_refused_and_made_printable() {
    let running = Running::start(Script::new(), generous()).await;
    let mut raw = Raw::connect(running.socket).await;
    for (method, told) in [("steal", "steal"), ("", ""), ("Ping", "Ping"), ("\u{1b}[2J", "\u{fffd}[2J")] {
        let (code, details) =
            refused(&mut raw, &json!({ "id": 1, "method": method, "params": [1, {}] })).await;
        assert_eq!((&*code, &details["method"]), ("unknown_method", &json!(told)));
    }
}

#[tokio::test]
async fn a_request_above_its_methods_limit_is_refused() {
    let running = Running::start(Script::paid(), generous()).await;
    let mut raw = Raw::connect(running.socket).await;
    for (mut message, limit) in [
        (ping(1), 256),
        (json!({ "id": 1, "method": "offering", "params": { "hash": channel(1) } }), 512),
        (pay(1, &voucher(1, 5)), 1024),
    ] {
        message["padding"] = json!("");
        message["padding"] = json!("x".repeat(limit - message.to_string().len()));
        raw.send(&message).await;
        let fits = raw.receive().await.unwrap();
        assert!(fits["error"]["code"] != "too_large", "{fits}");
        message["padding"] = json!(format!("{}x", message["padding"].as_str().unwrap()));
        let (code, details) = refused(&mut raw, &message).await;
        assert_eq!((&*code, details), ("too_large", json!({ "size": limit + 1, "limit": limit })));
    }
}

#[tokio::test]
async fn a_frame_above_all_limits_ends_the_connection_unread() {
    let running = Running::start(Script::new(), generous()).await;
    for length in [2049, 1 << 20, u32::MAX] {
        let mut raw = Raw::connect(running.socket).await;
        raw.send(&ping(1)).await;
        raw.send_bytes(&length.to_be_bytes()).await;
        raw.send_bytes(&[b' '; 3000]).await;
        assert_eq!(raw.receive().await, Some(pong(1)), "what came before is answered");
        let (code, details) = raw.bye().await;
        assert_eq!((&*code, details), ("too_large", json!({ "size": length, "limit": 2048 })));
    }
    running.still_serves().await;
}

#[tokio::test]
async fn what_has_no_id_to_answer_to_ends_the_connection_with_the_reason() {
    let running = Running::start(Script::new(), generous()).await;
    let deep = format!(r#"{{"id":1,"method":"ping","x":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
    for text in [
        &b""[..],
        b"{}",
        b"[]",
        b"1",
        b"null",
        b"\xff\xfe",
        b"\0\0\0\0",
        br#"{"id":1,"method":"ping""#,
        br#"{"id":1,"method":"ping"} {}"#,
        br#"{"method":"ping"}"#,
        br#"{"id":1}"#,
        br#"{"id":-1,"method":"ping"}"#,
        br#"{"id":1.0,"method":"ping"}"#,
        br#"{"id":"1","method":"ping"}"#,
        br#"{"id":null,"method":"ping"}"#,
        br#"{"id":18446744073709551616,"method":"ping"}"#,
        br#"{"id":1,"id":1,"method":"ping"}"#,
        br#"{"id":1,"method":5}"#,
        br#"{"id":1,"method":"ping","method":"ping"}"#,
        deep.as_bytes(),
        hello(1, 1).to_string().as_bytes(),
    ] {
        let mut raw = Raw::connect(running.socket).await;
        raw.send(&ping(7)).await;
        raw.send_text(text).await;
        raw.send(&ping(8)).await;
        assert_eq!(raw.receive().await, Some(pong(7)), "what came before is answered");
        let (code, details) = raw.bye().await;
        assert_eq!(code, "malformed", "{}", String::from_utf8_lossy(text));
        assert!(details["reason"].as_str().unwrap().starts_with("it is not a request: "), "{details}");
    }
    running.still_serves().await;
}

#[tokio::test]
async fn ids_up_to_64_bits_are_repeated_exactly_and_fields_of_later_versions_are_ignored() {
    let running = Running::start(Script::new(), generous()).await;
    let mut raw = Raw::connect(running.socket).await;
    for id in [0, 1, 1 << 53, u64::MAX] {
        raw.send_text(format!(
            r#" {{ "later": [{{}}], "method" : "\u0070ing", "params": {{"a":1}}, "id" : {id} }} "#
        ))
        .await;
        assert_eq!(raw.receive_bytes().await.unwrap(), format!(r#"{{"id":{id},"ok":{{}}}}"#).as_bytes());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_inside_a_frame_harms_nobody() {
    let running = Running::start(Script::new(), generous()).await;
    let whole = frame(ping(1).to_string().as_bytes());
    for length in 1..whole.len() {
        let mut raw = Raw::connect(running.socket).await;
        raw.send_bytes(&whole[..length]).await;
        raw.finish().await;
        assert_eq!(raw.receive().await, None);
    }
    running.still_serves().await;
}

#[tokio::test]
async fn one_who_goes_on_after_being_refused_is_cut_off() {
    let running = Running::start(Script::new(), limits(|limits| limits.max_in_flight = 4)).await;
    let mut raw = Raw::connect(running.socket).await;
    let flood: Vec<u8> = frame(br#"{"id":1,"method":"steal"}"#).repeat(5_000);
    raw.send_bytes(&flood).await;
    let mut refused = 0;
    let last = loop {
        let answer = raw.receive().await.expect("a bye before the end");
        if answer["id"] != 1 {
            break answer;
        }
        refused += 1;
    };
    assert_eq!(last["bye"]["code"], "unknown_method", "{last}");
    assert!(refused >= 8, "an honest mistake is forgiven, but only {refused} were");
    assert_eq!(raw.receive().await, None);
    running.still_serves().await;
}

#[tokio::test(start_paused = true)]
async fn after_the_last_word_a_while_is_still_read_so_that_no_reset_overtakes_it() {
    let full = limits(|limits| limits.max_strangers = 0);
    for (limits, greet, code) in
        [(full, false, "busy"), (generous(), false, "too_large"), (generous(), true, "too_large")]
    {
        let (memory, ..) = in_memory(Script::new(), limits);
        let mut raw = Raw(memory.dial());
        if greet {
            raw = raw.greeted().await;
        }
        raw.send_bytes(&[0xff; 4]).await;
        assert_eq!(raw.receive().await.unwrap()["bye"]["code"], code);
        // Far more than fits between the two ends: somebody reads it.
        raw.0.write_all(&vec![0xff; 100_000]).await.unwrap();
        // But not for ever.
        while raw.0.write_all(&[0xff; 1000]).await.is_ok() {}
    }
}

/// What a stranger may send: noise, noise in frames, broken and mixed-up messages.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let json = prop_oneof![
        "[a-z{}\\[\\]\":,0-9 ]{0,80}".prop_map(String::into_bytes),
        ("[a-z_]{0,8}", any::<i64>(), "(ping|offering|access|pay|.{0,5})", ".{0,20}").prop_map(
            |(field, id, method, value)| {
                json!({ "id": id, "method": method, "params": { field: value } }).to_string().into_bytes()
            }
        ),
    ];
    let mutated = (0..4_usize, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        |(which, at, byte, cut)| {
            let valid = [
                hello(1, 1),
                ping(3),
                pay(4, &voucher(1, 9)),
                json!({ "id": 5, "method": "access", "params": access_request(2) }),
            ];
            let mut bytes = frame(valid[which].to_string().as_bytes());
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            if cut {
                bytes.truncate(at);
            }
            bytes
        },
    );
    let piece = prop_oneof![
        bytes(),
        bytes().prop_map(|body| frame(&body)),
        json.prop_map(|body| frame(&body)),
        mutated
    ];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn a_live_server_survives_anything_and_answers_only_in_well_formed_messages() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let running = runtime.block_on(Running::start(Script::paid(), generous()));
    TestRunner::new(ProptestConfig::with_cases(256))
        .run(&(any::<bool>(), garbage()), |(greet, bytes)| {
            runtime.block_on(async {
                let mut raw =
                    if greet { Raw::connect(running.socket).await } else { Raw::dial(running.socket).await };
                raw.send_bytes(&bytes).await;
                raw.finish().await;
                let mut ended = false;
                while let Some(message) = raw.receive().await {
                    assert!(!ended, "{message} after a bye");
                    let known =
                        ["hello", "ok", "error", "bye"].iter().filter(|name| !message[**name].is_null());
                    assert_eq!(known.count(), 1, "{message}");
                    ended = !message["bye"].is_null();
                }
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        running.still_serves().await;
        until(|| running.server.stats().connections == 0).await;
        running.stop().await;
    });
}

#[tokio::test]
async fn limits_that_mean_never_are_not_overflowed() {
    let mut limits = ServerLimits::default();
    let never = std::time::Duration::MAX;
    (limits.handshake_timeout, limits.frame_timeout, limits.idle_timeout) = (never, never, never);
    (limits.request_timeout, limits.write_timeout, limits.shutdown_grace) = (never, never, never);
    (limits.max_in_flight, limits.max_calls) = (u32::MAX, usize::MAX);
    (limits.max_connections, limits.max_connections_per_peer) = (usize::MAX, usize::MAX);
    let running = Running::start(Script::paid(), limits).await;
    let client = running.client().await;
    assert_eq!(client.pay(voucher(1, 1)).await.unwrap(), Paid { cumulative: Amount::new(1) });
    running.stop().await;
}
