//! Hello, and everything that is not one.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Raw, Running, Script, frame, generous, hello, limits, ping, pong, soon};

#[tokio::test]
async fn the_highest_common_version_is_chosen() {
    let running = Running::start(Script::new(), generous()).await;
    for (min, max) in [(1, 1), (0, 1), (1, 65_535), (0, 9)] {
        let mut raw = Raw::dial(running.socket).await;
        raw.send(&hello(min, max)).await;
        let answer = raw.receive().await.unwrap();
        assert_eq!(
            answer,
            json!({ "hello": { "version": 1, "maxInFlight": 256, "idleTimeoutMs": 120_000 } })
        );
    }
}

#[tokio::test]
async fn without_a_common_version_both_ranges_are_told() {
    let running = Running::start(Script::new(), generous()).await;
    for (min, max) in [(2, 3), (0, 0), (65_535, 65_535)] {
        let mut raw = Raw::dial(running.socket).await;
        raw.send(&hello(min, max)).await;
        let (code, details) = raw.bye().await;
        assert_eq!(code, "unsupported_version");
        let told = json!({ "client": { "min": min, "max": max }, "server": { "min": 1, "max": 1 } });
        assert_eq!(details, told);
    }
    running.still_serves().await;
}

#[tokio::test]
async fn what_is_no_hello_is_told_so_and_ends_the_connection() {
    let running = Running::start(Script::new(), generous()).await;
    let with = |field: &str, value: Value| {
        let mut message = hello(1, 1);
        message["hello"][field] = value;
        message.to_string()
    };
    for text in [
        String::new(),
        "{}".into(),
        "null".into(),
        "[]".into(),
        "hello".into(),
        ping(1).to_string(),
        pong(1).to_string(),
        with("protocol", json!("privatix-somd")),
        with("protocol", json!(5)),
        with("protocol", json!(null)),
        with("versions", json!({ "min": 2, "max": 1 })),
        with("versions", json!({ "min": -1, "max": 1 })),
        with("versions", json!({ "min": 1, "max": 65_536 })),
        with("versions", json!({ "min": 1 })),
        with("versions", json!(1)),
        format!("{}x", hello(1, 1)),
        format!("{}{}", "[".repeat(500), "]".repeat(500)),
    ] {
        let mut raw = Raw::dial(running.socket).await;
        raw.send_text(&text).await;
        let (code, details) = raw.bye().await;
        assert_eq!(code, "malformed", "{text:?}");
        assert!(details["reason"].is_string());
    }
    running.still_serves().await;
}

#[tokio::test]
async fn unknown_fields_of_a_hello_are_left_to_later_versions() {
    let running = Running::start(Script::new(), generous()).await;
    let mut raw = Raw::dial(running.socket).await;
    let mut message = hello(1, 1);
    message["hello"]["compression"] = json!(["none"]);
    message["later"] = json!(true);
    raw.send(&message).await;
    assert_eq!(raw.receive().await.unwrap()["hello"]["version"], 1);
}

#[tokio::test]
async fn a_client_of_another_protocol_is_cut_off_before_anything_is_allocated_for_it() {
    let running = Running::start(Script::new(), generous()).await;
    let tls = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let long = frame(format!("{}{}", hello(1, 1), " ".repeat(1024)).as_bytes());
    let length = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    for bytes in
        [b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n", &b"SSH-2.0-OpenSSH\r\n"[..], &tls, &[0xff; 64], &long]
    {
        let mut raw = Raw::dial(running.socket).await;
        raw.send_bytes(bytes).await;
        let (code, details) = raw.bye().await;
        assert_eq!((&*code, details), ("too_large", json!({ "size": length(bytes), "limit": 1024 })));
    }
    running.still_serves().await;
}

#[tokio::test]
async fn hello_and_requests_may_come_in_one_piece_or_byte_by_byte() {
    let running = Running::start(Script::new(), generous()).await;
    let bytes: Vec<u8> = [hello(1, 1), ping(5), ping(6)]
        .iter()
        .flat_map(|message| frame(message.to_string().as_bytes()))
        .collect();
    for piece in [1, 3, bytes.len()] {
        let mut raw = Raw::dial(running.socket).await;
        for piece in bytes.chunks(piece) {
            raw.send_bytes(piece).await;
        }
        assert_eq!(raw.receive().await.unwrap()["hello"]["version"], 1);
        assert_eq!(raw.receive().await, Some(pong(5)));
        assert_eq!(raw.receive().await, Some(pong(6)));
        raw.finish().await;
        assert_eq!(raw.receive().await, None);
    }
}

#[tokio::test]
async fn who_says_nothing_or_says_it_too_slowly_is_cut_off() {
    let service = Script::new();
    let running =
        Running::start(service, limits(|limits| limits.handshake_timeout = Duration::from_millis(100))).await;
    let mut silent = Raw::dial(running.socket).await;
    assert_eq!(silent.bye().await.0, "too_slow");

    // Bytes keep coming, but the hello never ends.
    let (mut reader, mut writer) = Raw::dial(running.socket).await.0.into_split();
    let drip = tokio::spawn(async move {
        let mut sent = writer.write_all(&1024_u32.to_be_bytes()).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sent = writer.write_all(b" ").await;
        }
    });
    let mut told = Vec::new();
    let _ = soon(reader.read_to_end(&mut told)).await;
    assert!(String::from_utf8_lossy(&told).contains("too_slow"));
    soon(drip).await.unwrap();
}
