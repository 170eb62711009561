//! The daemons as processes, killed like by a power cut while traffic flows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;

use std::path::{Path, PathBuf};

use privatix_api::node::{GetChannel, GetStatus};
use privatix_channel::{Amount, ChannelId, ServiceStatus};
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::statement::{Snapshot, Statement};
use privatix_demo::{LIMIT, download, market};
use privatix_testkit::{Fault, FaultProxy, FileServer, Rule, Script, wait_for};

/// Where cargo puts the daemons: beside the folder of this test.
fn bins() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).map(Path::to_owned).unwrap()
}

async fn vouchers(client: &Daemon, channel: ChannelId) -> u64 {
    client.call(&GetChannel { channel }).await.unwrap().channel.vouchers
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_are_killed_while_traffic_flows_lose_no_payment() {
    let chain = market::Chain::start().await.unwrap();
    let mut agent = Daemon::init(&bins(), "agentd", &chain, &Messages::Direct).await.unwrap();
    let mut client = Daemon::init(&bins(), "clientd", &chain, &Messages::Direct).await.unwrap();
    chain.fund(agent.account).await.unwrap();
    chain.fund(client.account).await.unwrap();
    chain.mine_every_second().await.unwrap();
    agent.start().await.unwrap();
    client.start().await.unwrap();
    let before = Snapshot::take(&chain, &agent, &client).await.unwrap();
    // A download that dies leaves bytes in the buffers between the two meters: the agent has counted them, the client never
    // will. The lag is what the agent bears of such things; this one outlasts all the crashes below.
    let mut draft = market::draft(512);
    draft["terms"]["maxBillingUnitLag"] = (64 * 1024).into();
    let offering = market::publish(&agent, draft).await.unwrap();
    let terms = market::discover(&client, offering).await.unwrap();
    let mut deal = market::buy(&agent, &client, offering).await.unwrap();
    let channel = deal.channel;
    // More than will ever come.
    let files = FileServer::start_mib(2048).await.unwrap();

    for kill_agent in [true, false, true, false] {
        let (url, proxy) = (files.url(), format!("socks5h://127.0.0.1:{}", deal.port));
        let traffic = tokio::spawn(async move { download::quietly(&url, &proxy).await });
        let seen = vouchers(&client, channel).await;
        wait_for("payments to flow", LIMIT, async || {
            let now = vouchers(&client, channel).await;
            if now > seen + 2 { Ok(()) } else { Err(format!("{now} vouchers, {seen} before")) }
        })
        .await
        .unwrap();
        let acknowledged = client.call(&GetChannel { channel }).await.unwrap().channel.acknowledged;
        let daemon = if kill_agent { &mut agent } else { &mut client };
        daemon.kill().unwrap();
        daemon.start().await.unwrap();
        assert!(traffic.await.unwrap().is_err(), "the whole file came before the crash");
        deal = market::served(&agent, &client, channel).await.unwrap();
        let held = agent.call(&GetChannel { channel }).await.unwrap().channel.paid;
        assert!(held >= acknowledged, "the agent acknowledged {acknowledged} and holds {held}");
    }

    // The client was killed last, so nothing of an earlier session is reported any more.
    let used = market::used(&client, channel).await.unwrap() + (1 << 20);
    let proxy = format!("http://127.0.0.1:{}", deal.port);
    assert_eq!(download::quietly(&files.bytes_url(1 << 20), &proxy).await.unwrap(), 1 << 20);
    // Each side forgot a little usage that it had not reported; every payment is there.
    let (sold, bought) = market::paid(&agent, &client, channel, &terms, used).await.unwrap();
    market::close(&agent, &client, &deal).await.unwrap();
    let after = Snapshot::take(&chain, &agent, &client).await.unwrap();
    let statement = Statement { before, after, sold, bought, terms, downloaded: 0 };
    statement.check_chain().unwrap();
    client.stop().await.unwrap();
    agent.stop().await.unwrap();
}

async fn paid(daemon: &Daemon, channel: ChannelId) -> Amount {
    daemon.call(&GetChannel { channel }).await.unwrap().channel.paid
}

async fn paid_above(daemon: &Daemon, channel: ChannelId, before: Amount) -> Amount {
    wait_for("a payment", LIMIT, async || {
        let now = paid(daemon, channel).await;
        if now > before { Ok(now) } else { Err(format!("{now} paid")) }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn agentd_starts_without_its_chain_and_takes_vouchers_until_the_bound() {
    let chain = market::Chain::start().await.unwrap();
    let proxy = FaultProxy::start(chain.url()).await.unwrap();
    let url = proxy.url();
    let environment =
        [("PRIVATIX_AGENT_CHAIN__ENDPOINT", url.as_str()), ("PRIVATIX_AGENT_CHAIN__MAX_VIEW_AGE", "45s")];
    let mut agent = Daemon::init(&bins(), "agentd", &chain, &Messages::Direct).await.unwrap();
    let mut client = Daemon::init(&bins(), "clientd", &chain, &Messages::Direct).await.unwrap();
    chain.fund(agent.account).await.unwrap();
    chain.fund(client.account).await.unwrap();
    chain.mine_every_second().await.unwrap();
    agent.start_in(&environment).await.unwrap();
    client.start().await.unwrap();
    let mut draft = market::draft(512);
    draft["terms"]["maxBillingUnitLag"] = (64 * 1024).into();
    let offering = market::publish(&agent, draft).await.unwrap();
    market::discover(&client, offering).await.unwrap();
    let deal = market::buy(&agent, &client, offering).await.unwrap();
    let channel = deal.channel;
    let files = FileServer::start_mib(1).await.unwrap();
    let download = async |agent: &Daemon, port: u16| {
        let way = format!("http://127.0.0.1:{port}");
        let got = download::quietly(&files.bytes_url(1 << 20), &way).await;
        let log = || std::fs::read_to_string(agent.log()).unwrap();
        assert_eq!(got.unwrap_or_else(|error| panic!("{error}, and the agent says: {}", log())), 1 << 20);
    };
    download(&agent, deal.port).await;
    let before = paid_above(&agent, channel, Amount::ZERO).await;

    agent.stop().await.unwrap();
    proxy.script(Script(vec![Rule::new([], Fault::Cut)]));
    agent.start_unready(&environment).await.unwrap();
    let health = reqwest::get(format!("http://127.0.0.1:{}/health", agent.api_port)).await.unwrap();
    assert_eq!(health.status(), reqwest::StatusCode::SERVICE_UNAVAILABLE);
    let health = health.text().await.unwrap();
    assert!(health.contains("chain_monitor"), "{health}");
    let deal = market::served(&agent, &client, channel).await.unwrap();
    download(&agent, deal.port).await;
    paid_above(&agent, channel, before).await;

    wait_for("a stale view", LIMIT, async || {
        let chain = agent.call(&GetStatus {}).await.unwrap().chain;
        if chain.freshness.as_deref() == Some("stale") { Ok(()) } else { Err(format!("{chain:?}")) }
    })
    .await
    .unwrap();
    // What is used now could not be paid for, so nothing is served.
    wait_for("the service to be suspended", LIMIT, async || {
        let service = agent.call(&GetChannel { channel }).await.unwrap().channel.service;
        if service == ServiceStatus::Suspended { Ok(()) } else { Err(service) }
    })
    .await
    .unwrap();
    let held = agent.call(&GetChannel { channel }).await.unwrap().channel;
    let (url, way) = (files.bytes_url(1 << 20), format!("http://127.0.0.1:{}", deal.port));
    let stalled = tokio::spawn(async move { download::quietly(&url, &way).await });
    // Two heads of the client's own endpoint: time enough for what would pass.
    let head = async || client.call(&GetStatus {}).await.unwrap().chain.head.unwrap();
    let later = head().await + 2;
    wait_for("two blocks", LIMIT, async || {
        let now = head().await;
        if now >= later { Ok(()) } else { Err(now) }
    })
    .await
    .unwrap();
    let now = agent.call(&GetChannel { channel }).await.unwrap().channel;
    assert_eq!((now.used, now.paid), (held.used, held.paid), "nothing is served on a stale view");

    proxy.honest();
    market::served(&agent, &client, channel).await.unwrap();
    let _ = stalled.await.unwrap(); // a program may have given up
    download(&agent, deal.port).await;
    paid_above(&agent, channel, held.paid).await;
    let log = std::fs::read_to_string(agent.log()).unwrap();
    assert!(log.contains("still the one that was stored"), "{log}");
    client.stop().await.unwrap();
    agent.stop().await.unwrap();
}
