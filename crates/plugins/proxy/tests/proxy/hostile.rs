//! Whatever bytes come to a port: it answers in its protocol or closes, lets nobody in, and goes on serving.

use std::net::SocketAddr;

use privatix_adapter::Health;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PASSWORD, Pair, channel, client_settings, program, soon};

/// Messages that are nearly right, or not at all.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let name = channel(1).to_string();
    let mut socks = vec![5, 2, 0, 2, 1, name.len() as u8];
    socks.extend(name.as_bytes());
    socks.extend(b"\x05wrong");
    socks.extend([5, 1, 0, 1, 127, 0, 0, 1, 0, 80]);
    let login = program::basic((&name, "wrong"));
    let connect = format!(
        "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nProxy-Authorization: {login}\r\n\r\n"
    );
    let post = format!(
        "POST http://127.0.0.1:80/x HTTP/1.1\r\nHost: x\r\nProxy-Authorization: {login}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    let socks4 = b"\x04\x01\0\x50\x7f\0\0\x01user\0".to_vec();
    let tls = b"\x16\x03\x01\0\x05\x01\0\0\x01\0".to_vec();
    let right = prop::sample::select(vec![socks, connect.into_bytes(), post.into_bytes(), socks4, tls]);
    let nearly = (
        right,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, changes, end, cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()) + 1);
            }
            bytes
        });
    let noise = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..600)).prop_map(|(first, mut rest)| {
        rest.insert(0, if first % 2 == 0 { 5 } else { first });
        rest
    });
    prop_oneof![nearly, noise]
}

async fn answer_to(port: SocketAddr, message: &[u8]) -> Vec<u8> {
    soon("an answer or the end", async {
        let mut stream = TcpStream::connect(port).await.unwrap();
        let _ = stream.write_all(message).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    })
    .await
}

#[test]
fn no_bytes_harm_a_port() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Nothing may be reached, so nothing that these bytes happen to ask for is.
    let closed = json!({"listen": "127.0.0.1:0", "destinations": {"deny": ["0.0.0.0/0", "::/0"]}});
    let mut pair = runtime.block_on(Pair::with(closed, client_settings()));
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    runner
        .run(&message(), |message| {
            runtime.block_on(async {
                for port in [pair.sold_at, pair.local] {
                    let answer = answer_to(port, &message).await;
                    let in_protocol = answer.is_empty()
                        || answer[0] == 5
                        || answer == [0, 0x5b, 0, 0, 0, 0, 0, 0]
                        || answer == [21, 3, 1, 0, 2, 2, 40]
                        || (answer.starts_with(b"HTTP/1.") && !answer[8..].starts_with(b" 200"));
                    prop_assert!(in_protocol, "{:?}", String::from_utf8_lossy(&answer));
                }
                Ok(())
            })
        })
        .unwrap();
    runtime.block_on(async {
        assert_eq!(pair.agent.host.health().await, Health::Well);
        // Wrong passwords may have been counted against channel 1; another enters as ever, to be told that it may go nowhere.
        pair.agent.sell(channel(2)).await;
        let name = channel(2).to_string();
        assert_eq!(program::socks(pair.sold_at, Some((&name, PASSWORD)), "127.0.0.1", 80).await.refused(), 2);
        assert_eq!(pair.stop().await, (0, 0));
    });
}
