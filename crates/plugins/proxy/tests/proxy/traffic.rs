//! What passes, and that both meters show it to the byte.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::origin::{Origin, pattern};
use crate::support::{PASSWORD, Pair, Side, agent_settings, channel, program, soon};

/// A program that uses the client's port, or the agent's with a login.
fn browser(proxy: &str) -> reqwest::Client {
    reqwest::Client::builder().proxy(reqwest::Proxy::all(proxy).unwrap()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_meters_show_what_the_origin_sent_and_received_whatever_the_protocol() {
    for scheme in ["socks5", "socks5h", "http"] {
        let origin = Origin::start().await;
        let mut pair = Pair::new().await;
        let web = browser(&format!("{scheme}://{}", pair.local));
        for size in [0, 1, 1_000, 70_000, 3_000_000] {
            let body =
                web.get(origin.url(&format!("/bytes/{size}"))).send().await.unwrap().bytes().await.unwrap();
            assert_eq!(body.len(), size, "{scheme}");
        }
        let sent = web.post(origin.url("/sink")).body(vec![7; 500_000]).send().await.unwrap();
        assert_eq!(sent.text().await.unwrap(), "500000", "{scheme}");
        drop(web);

        let moved = origin.ended().await;
        assert!(moved > 3_571_001, "{scheme}: the origin counted {moved}");
        assert_eq!(pair.stop().await, (moved, moved), "{scheme}: agent's and client's meter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_download_arrives_whole_and_is_counted_to_the_byte() {
    const SIZE: u64 = 100_000_000;
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let web = browser(&format!("socks5://{}", pair.local));
    let mut response = web.get(origin.url(&format!("/bytes/{SIZE}"))).send().await.unwrap();
    let (mut received, chunk) = (0, pattern(64 * 1024));
    while let Some(piece) = soon("a piece of the download", response.chunk()).await.unwrap() {
        for part in piece.chunks(997) {
            let at = usize::try_from(received % chunk.len() as u64).unwrap();
            let here = part.len().min(chunk.len() - at);
            assert!(part[..here] == chunk[at..at + here], "wrong bytes at {received}");
            received += part.len() as u64;
        }
    }
    assert_eq!(received, SIZE);
    drop((response, web));
    let moved = origin.ended().await;
    assert!(moved > SIZE && moved < SIZE + 1_000, "{moved}");
    assert_eq!(pair.stop().await, (moved, moved));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_log_in_at_the_agent_without_a_client_of_ours() {
    for scheme in ["socks5h", "http"] {
        let origin = Origin::start().await;
        let mut agent = Side::agent(agent_settings()).await;
        let sold_at = crate::support::address(&agent.sell(channel(1)).await);
        let web = browser(&format!("{scheme}://{}:{PASSWORD}@{sold_at}", channel(1)));
        let body = web.get(origin.url("/bytes/12345")).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(body.len(), 12345);
        drop(web);
        let moved = origin.ended().await;
        assert_eq!(agent.stop(channel(1)).await, moved, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_insists_on_a_password_may_give_the_client_any() {
    let origin = Origin::start().await;
    let pair = Pair::new().await;
    let port = origin.address.port();
    program::socks(pair.local, Some(("any", "thing")), "127.0.0.1", port).await.connected();
    program::connect(pair.local, Some(("any", "thing")), "127.0.0.1", port).await.connected();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_closed_connections_go_on_in_the_other_direction() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let port = origin.address.port();
    for use_http in [false, true] {
        let mut stream = if use_http {
            program::connect(pair.local, None, "127.0.0.1", port).await.connected()
        } else {
            program::socks(pair.local, None, "127.0.0.1", port).await.connected()
        };
        stream.write_all(b"sum\n").await.unwrap();
        stream.write_all(&pattern(300_000)).await.unwrap();
        stream.shutdown().await.unwrap(); // the answer comes only after this
        let mut answer = String::new();
        soon("the sum", stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, "300000");
    }
    let moved = origin.ended().await;
    assert_eq!(moved, 2 * (4 + 300_000 + 6));
    assert_eq!(pair.stop().await, (moved, moved));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_what_was_sent_in_both_directions_at_once() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let port = origin.address.port();
    let stream = program::socks(pair.local, None, "localhost", port).await.connected();
    let (mut from, mut to) = stream.into_split();
    let message = pattern(5_000_000);
    let sending = tokio::spawn({
        let message = message.clone();
        async move {
            to.write_all(b"echo\n").await.unwrap();
            for piece in message.chunks(33_333) {
                to.write_all(piece).await.unwrap();
            }
            to.shutdown().await.unwrap();
        }
    });
    let mut back = Vec::new();
    soon("the echo", from.read_to_end(&mut back)).await.unwrap();
    sending.await.unwrap();
    assert!(back == message, "{} bytes came back", back.len());
    let moved = origin.ended().await;
    assert_eq!(moved, 5 + 2 * 5_000_000);
    assert_eq!(pair.stop().await, (moved, moved));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_together_with_the_request_are_not_lost() {
    let origin = Origin::start().await;
    let pair = Pair::new().await;
    let target = origin.address;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\npush 5\n");
    let answer = program::exchange(pair.local, request.as_bytes()).await;
    let answer = String::from_utf8(answer).unwrap();
    let pushed = String::from_utf8(pattern(5)).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("\r\n\r\n{pushed}")),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_reaches_the_origin_without_the_proxys_secrets() {
    let origin = Origin::start().await;
    let agent = Side::agent(agent_settings()).await;
    let sold_at = crate::support::address(&agent.sell(channel(1)).await);
    let login = program::basic((&channel(1).to_string(), PASSWORD));
    let request = format!(
        "GET http://user@{}/head HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: {login}\r\n\
         Proxy-Connection: keep-alive\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n",
        origin.address
    );
    let answer = String::from_utf8(program::exchange(sold_at, request.as_bytes()).await).unwrap();
    let seen = answer.split_once("\r\n\r\n").unwrap().1.to_ascii_lowercase();
    assert!(seen.starts_with("get /head http/1.1\r\n"), "{answer}");
    assert!(seen.contains(&format!("host: {}\r\n", origin.address)), "{answer}");
    assert!(seen.contains("x-end: 2") && !seen.contains("x-hop") && !seen.contains("proxy-"), "{answer}");
    assert!(!seen.contains("user@") && !seen.contains("other.example"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_of_many_channels_are_booked_to_their_own() {
    let origin = Origin::start().await;
    let (mut agent, mut client) =
        (Side::agent(agent_settings()).await, Side::client(crate::support::client_settings()).await);
    let mut uses = tokio::task::JoinSet::new();
    for number in 1..=5_u64 {
        let local = client.buy(channel(number), &agent.sell(channel(number)).await).await;
        for _ in 0..8 {
            let port = origin.address.port();
            uses.spawn(async move {
                let mut stream = program::socks(local, None, "127.0.0.1", port).await.connected();
                let size = number * 100_000;
                stream.write_all(format!("push {size}\n").as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut got = Vec::new();
                soon("the bytes", stream.read_to_end(&mut got)).await.unwrap();
                assert_eq!(got.len() as u64, size);
            });
        }
    }
    while let Some(done) = uses.join_next().await {
        done.unwrap();
    }
    origin.ended().await;
    for number in 1..=5 {
        let expected = 8 * (number * 100_000 + "push 100000\n".len() as u64);
        assert_eq!(client.stop(channel(number)).await, expected);
        assert_eq!(agent.stop(channel(number)).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_come_while_a_connection_lives_and_its_session_outlives_it() {
    let origin = Origin::start().await;
    // Both sides report by time and by bytes; here by time only, then by bytes only.
    for reports in
        [json!({"every_bytes": u64::MAX, "every": "10ms"}), json!({"every_bytes": 1, "every": "1h"})]
    {
        let settings = crate::support::with(agent_settings(), &json!({"reports": reports}));
        let mut agent = Side::agent(settings).await;
        let sold_at = crate::support::address(&agent.sell(channel(1)).await);
        let (name, port) = (channel(1).to_string(), origin.address.port());
        let mut stream =
            program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
        stream.write_all(b"echo\n").await.unwrap();
        let mut expected = 5;
        for round in 0..5_usize {
            let mut message = pattern(1_000 * (round + 1));
            stream.write_all(&message).await.unwrap();
            stream.read_exact(&mut message).await.unwrap();
            expected += 2 * message.len() as u64;
            assert_eq!(agent.metered_at_least(channel(1), expected).await, expected);
        }
        drop(stream);
        origin.ended().await;
        assert_eq!(agent.stop(channel(1)).await, expected);
    }
}
