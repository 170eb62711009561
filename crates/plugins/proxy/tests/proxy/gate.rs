//! Suspending, resuming, allowances, stopping, shutting down, and what time does.

use std::time::{Duration, Instant};

use privatix_adapter::{AdapterError, AdapterRefusal, Health, Provision};
use privatix_channel::{ChannelId, Usage};
use privatix_plugin_proxy::Endpoint;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::origin::{Origin, pattern};
use crate::support::program::{self, Outcome};
use crate::support::{
    PASSWORD, Pair, Side, address, agent_settings, channel, client_settings, credentials, soon, with,
};

/// Longer than a working connection is silent, even on a slow machine; if it is silent longer, a test sees less, not wrong.
const SILENCE: Duration = Duration::from_millis(500);

/// Reads until nothing comes any more.
async fn read_to_silence(stream: &mut TcpStream, into: &mut Vec<u8>) {
    while let Ok(read) = tokio::time::timeout(SILENCE, stream.read_buf(into)).await {
        assert!(read.unwrap() > 0, "the connection was closed");
    }
}

/// What a suspended side has metered once nothing is on its way any more.
async fn settled(side: &mut Side, channel: ChannelId) -> u64 {
    let mut last = u64::MAX;
    loop {
        side.host.suspend(channel).await.unwrap(); // reports what was counted
        let metered = side.metered(channel);
        if metered == last {
            return metered;
        }
        last = metered;
        tokio::time::sleep(SILENCE * 3).await; // longer than the meter goes without a look
    }
}

fn expect_pushed(got: &[u8]) {
    let pattern = pattern(64 * 1024);
    for (index, piece) in got.chunks(pattern.len()).enumerate() {
        assert!(piece == &pattern[..piece.len()], "wrong bytes in piece {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_stalls_while_either_side_is_suspended_and_goes_on_with_the_next_byte() {
    const SIZE: usize = 60_000_000;
    for at_agent in [true, false] {
        let origin = Origin::start().await;
        let mut pair = Pair::new().await;
        let mut stream =
            program::socks(pair.local, None, "127.0.0.1", origin.address.port()).await.connected();
        let request = format!("push {SIZE}\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < SIZE / 10 {
            soon("the first bytes", stream.read_buf(&mut got)).await.unwrap();
        }

        let channel = pair.channel;
        let suspended = if at_agent { &mut pair.agent } else { &mut pair.client };
        suspended.host.suspend(channel).await.unwrap();
        read_to_silence(&mut stream, &mut got).await;
        let metered = settled(suspended, channel).await;
        assert!(got.len() < SIZE, "all passed before the suspension, or in spite of it");
        let passed = (got.len() + request.len()) as u64;
        assert!(passed <= metered, "{passed} passed, {metered} are metered");
        read_to_silence(&mut stream, &mut got).await;
        assert_eq!((got.len() + request.len()) as u64, passed, "something passed while suspended");
        assert_eq!(settled(suspended, channel).await, metered, "metered while suspended");

        suspended.host.resume(channel).await.unwrap();
        soon("the rest", stream.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got.len(), SIZE);
        expect_pushed(&got);
        drop(stream);
        let moved = origin.ended().await;
        assert_eq!(moved, (SIZE + request.len()) as u64);
        assert_eq!(pair.stop().await, (moved, moved));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_stalls_while_suspended_and_arrives_whole() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let mut stream = program::socks(pair.local, None, "127.0.0.1", origin.address.port()).await.connected();
    stream.write_all(b"sum\n").await.unwrap();
    stream.write_all(&pattern(1_000_000)).await.unwrap();
    pair.agent.metered_at_least(pair.channel, 1_000_004).await;
    pair.agent.host.suspend(pair.channel).await.unwrap();
    let writing = tokio::spawn(async move {
        stream.write_all(&pattern(40_000_000)).await.unwrap(); // more than all buffers on the way
        stream.shutdown().await.unwrap();
        let mut sum = String::new();
        stream.read_to_string(&mut sum).await.unwrap();
        sum
    });
    tokio::time::sleep(SILENCE).await;
    assert_eq!(origin.moved(), 1_000_004);
    assert!(!writing.is_finished());
    pair.agent.host.resume(pair.channel).await.unwrap();
    assert_eq!(soon("the upload", writing).await.unwrap(), "41000000");
    let moved = origin.ended().await;
    assert_eq!(pair.stop().await, (moved, moved));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_waits_for_a_suspended_channel_as_long_as_the_limits_say() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let (name, id) = (channel(1).to_string(), channel(1));
    let login = Some((name.as_str(), PASSWORD));

    let brief = with(agent_settings(), &json!({"limits": {"suspended_wait": "50ms"}}));
    let agent = Side::agent(brief).await;
    let sold_at = address(&agent.sell(id).await);
    agent.host.suspend(id).await.unwrap();
    assert_eq!(program::socks(sold_at, login, "127.0.0.1", port).await.refused(), 1);
    assert_eq!(program::connect(sold_at, login, "127.0.0.1", port).await.refused(), 503);
    assert_eq!(origin.moved(), 0);

    let long = with(agent_settings(), &json!({"limits": {"suspended_wait": "1h"}}));
    let agent = Side::agent(long).await;
    let sold_at = address(&agent.sell(id).await);
    agent.host.suspend(id).await.unwrap();
    let waiting = tokio::spawn(async move {
        let name = id.to_string();
        program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    agent.host.resume(id).await.unwrap();
    waiting.await.unwrap().connected();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_ends_the_service_at_its_exact_byte_and_is_reported_at_once() {
    let origin = Origin::start().await;
    let silent = with(agent_settings(), &json!({"reports": {"every": "1h", "every_bytes": u64::MAX}}));
    let mut agent = Side::agent(silent).await;
    let id = channel(1);
    // 500 bytes were used before, in another instance.
    let (credentials, used, up_to) = (credentials(id), Usage::new(500), Usage::new(200_500));
    let provision = Provision::Sell { channel: id, credentials, parameters: json!({}), used, up_to };
    let endpoint = agent.host.provision(provision).await.unwrap().endpoint;
    agent.host.start(id).await.unwrap();

    let (sold_at, name) = (address(&Endpoint::parse(&endpoint).unwrap()), id.to_string());
    let port = origin.address.port();
    let mut stream = program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
    let request = b"push 1000000\n";
    stream.write_all(request).await.unwrap();
    let mut got = vec![0; 200_000 - request.len()];
    soon("what is allowed", stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(agent.metered_at_least(id, 200_000).await, 200_000);
    read_to_silence(&mut stream, &mut got).await;
    assert_eq!(got.len(), 200_000 - request.len());

    agent.host.allow(id, Usage::new(300_500)).await.unwrap();
    assert_eq!(agent.metered_at_least(id, 300_000).await, 300_000);
    agent.host.allow(id, Usage::new(u64::MAX)).await.unwrap();
    soon("the rest", stream.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got.len(), 1_000_000);
    expect_pushed(&got);
    drop(stream);
    let moved = origin.ended().await;
    assert_eq!(agent.stop(id).await, moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_too_end_at_the_exact_byte_of_an_allowance() {
    let origin = Origin::start().await;
    let mut agent = Side::agent(agent_settings()).await;
    let (id, name) = (channel(1), channel(1).to_string());
    let sold_at = address(&agent.sell(id).await);
    agent.host.allow(id, Usage::new(100_001)).await.unwrap();
    let port = origin.address.port();
    let mut stream = program::connect(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
    stream.write_all(b"sum\n").await.unwrap();
    stream.write_all(&pattern(200_000)).await.unwrap();
    assert_eq!(agent.metered_at_least(id, 100_001).await, 100_001);
    tokio::time::sleep(SILENCE).await;
    assert_eq!(origin.moved(), 100_001);
    assert_eq!(agent.metered(id), 100_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_gets_no_more_than_the_bandwidth_of_its_offering() {
    let origin = Origin::start().await;
    let agent = Side::agent(agent_settings()).await;
    let (id, name) = (channel(1), channel(1).to_string());
    let sold_at = address(&agent.sell_with(id, json!({"maxBandwidth": 1_000_000})).await);
    let began = Instant::now();
    let downloads = [600_000_usize, 700_000].map(|size| {
        let (name, port) = (name.clone(), origin.address.port());
        tokio::spawn(async move {
            let mut stream =
                program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
            stream.write_all(format!("push {size}\n").as_bytes()).await.unwrap();
            let mut got = Vec::new();
            soon("the download", stream.read_to_end(&mut got)).await.unwrap();
            assert_eq!(got.len(), size);
        })
    });
    for download in downloads {
        download.await.unwrap();
    }
    // 1.3 s, less the bursts at the beginning and the last piece of each, which are paid for afterwards.
    assert!(began.elapsed() > Duration::from_millis(1_100), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_in_the_middle_closes_everything_and_says_all_that_was_metered() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let mut stream = program::socks(pair.local, None, "127.0.0.1", origin.address.port()).await.connected();
    stream.write_all(b"push 10000000000\n").await.unwrap();
    let mut got = 17;
    let mut buffer = vec![0; 100_000];
    while got < 5_000_000 {
        got += soon("bytes", stream.read(&mut buffer)).await.unwrap() as u64;
    }
    let sold = pair.agent.stop(pair.channel).await;
    loop {
        match soon("the end", stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => break,
            Ok(read) => got += read as u64,
        }
    }
    let bought = pair.client.stop(pair.channel).await;
    assert_eq!(bought, got, "the program got what its own side metered");
    assert!(sold >= bought, "the agent metered {sold}, the client {bought}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pair.agent.reports.take(), [], "a report after stop");
    origin.ended().await;

    let name = pair.channel.to_string();
    let again = program::socks(pair.sold_at, Some((&name, PASSWORD)), "127.0.0.1", 1).await;
    assert!(matches!(again, Outcome::Denied), "{again:?}");
    let closed = program::socks(pair.local, None, "127.0.0.1", 1).await;
    assert!(matches!(closed, Outcome::Closed), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_channel_can_be_stopped() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let mut stream = program::connect(pair.local, None, "127.0.0.1", origin.address.port()).await.connected();
    stream.write_all(b"push 10000000000\n").await.unwrap();
    stream.read_u8().await.unwrap();
    for side in [&pair.agent, &pair.client] {
        side.host.suspend(pair.channel).await.unwrap();
    }
    soon("stop", pair.stop()).await;
    origin.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_nothing_does_not_hold_up_stop() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let port = origin.address.port();
    // Three ways to stall: a tunnel, a forwarded request, and requests whose answers are never taken before a tunnel's.
    let mut tunnel = program::socks(pair.local, None, "127.0.0.1", port).await.connected();
    tunnel.write_all(b"push 10000000000\n").await.unwrap();
    let mut forward = TcpStream::connect(pair.local).await.unwrap();
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/bytes/1000000000"));
    forward.write_all(get.as_bytes()).await.unwrap();
    let mut pipelined = TcpStream::connect(pair.local).await.unwrap();
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/bytes/50000"));
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n");
    pipelined.write_all((get.repeat(20) + &connect).as_bytes()).await.unwrap();
    pair.client.metered_at_least(pair.channel, 2_000_000).await;
    soon("stop", pair.stop()).await;
    origin.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_closes_the_port_and_all_connections_with_a_last_report() {
    let origin = Origin::start().await;
    let mut pair = Pair::new().await;
    let mut stream = program::socks(pair.local, None, "127.0.0.1", origin.address.port()).await.connected();
    stream.write_all(b"echo\nabc").await.unwrap();
    let mut back = [0; 3];
    soon("the echo", stream.read_exact(&mut back)).await.unwrap();
    let idle = TcpStream::connect(pair.sold_at).await.unwrap(); // says nothing
    soon("shutdown of the client", pair.client.host.shutdown()).await.unwrap();
    soon("shutdown of the agent", pair.agent.host.shutdown()).await.unwrap();
    assert_eq!(stream.read(&mut back).await.unwrap_or(0), 0);
    assert_eq!((pair.agent.metered(pair.channel), pair.client.metered(pair.channel)), (11, 11));
    for port in [pair.sold_at, pair.local] {
        assert!(TcpStream::connect(port).await.is_err(), "{port} is still open");
    }
    drop(idle);
    for side in [&pair.agent, &pair.client] {
        let refused = side.host.start(pair.channel).await.unwrap_err();
        assert!(matches!(refused, AdapterError::ShutDown { .. }), "{refused}");
        assert!(matches!(side.host.health().await, Health::Failed { .. }));
        side.host.shutdown().await.unwrap();
    }
    // The port is free at once.
    let settings = with(agent_settings(), &json!({"listen": pair.sold_at.to_string()}));
    Side::agent(settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_but_not_for_the_time_of_a_suspension() {
    let origin = Origin::start().await;
    let (id, name, port) = (channel(1), channel(1).to_string(), origin.address.port());
    let login = Some((name.as_str(), PASSWORD));
    let settings = with(agent_settings(), &json!({"limits": {"idle": "1s"}}));
    let agent = Side::agent(settings).await;
    let sold_at = address(&agent.sell(id).await);

    let mut stream = program::socks(sold_at, login, "127.0.0.1", port).await.connected();
    let began = Instant::now();
    assert_eq!(soon("the end", stream.read(&mut [0])).await.unwrap_or(0), 0);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());

    let mut stream = program::socks(sold_at, login, "127.0.0.1", port).await.connected();
    agent.host.suspend(id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    stream.write_all(b"echo\nx").await.unwrap();
    agent.host.resume(id).await.unwrap();
    assert_eq!(soon("the echo", stream.read_u8()).await.unwrap(), b'x');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_some_time_after_its_last_connection_and_later_use_is_a_new_one() {
    let origin = Origin::start().await;
    let (id, name, port) = (channel(1), channel(1).to_string(), origin.address.port());
    let settings = with(agent_settings(), &json!({"reports": {"session_idle": "50ms"}}));
    let mut agent = Side::agent(settings).await;
    let sold_at = address(&agent.sell(id).await);
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let mut stream =
            program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
        stream.write_all(b"echo\nx").await.unwrap();
        stream.read_u8().await.unwrap();
        drop(stream);
        let ended = loop {
            let batch = soon("the session's end", agent.reports.recv()).await.unwrap();
            if let Some(report) = batch.into_iter().find(|report| report.ended_at.is_some()) {
                break report;
            }
        };
        assert_eq!((ended.channel, ended.total.get()), (id, 7));
        assert!(ended.peer.unwrap().ip().is_loopback());
        sessions.push(ended.session);
    }
    assert_ne!(sessions[0], sessions[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_configured_says_so() {
    let (host, id) = (
        privatix_adapter::Host::new(std::sync::Arc::new(privatix_plugin_proxy::ProxyServer::new())).unwrap(),
        channel(1),
    );
    let refused = host.start(id).await.unwrap_err();
    let expected = AdapterRefusal::NotConfigured;
    assert!(matches!(&refused, AdapterError::Refused { refusal, .. } if *refusal == expected), "{refused}");
    // Other settings than those that run need a restart; nothing changes silently.
    let client = Side::client(client_settings()).await;
    let other = with(client_settings(), &json!({"port": 1}));
    let configuration =
        privatix_adapter::Configuration { role: privatix_adapter::Role::Client, settings: other };
    let refused =
        client.host.configure(configuration, privatix_adapter::usage_reports().0).await.unwrap_err();
    assert!(refused.to_string().contains("restart"), "{refused}");
}
