//! The daemons as processes, with all messages over a private Tor network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use privatix_api::client::Browse;
use privatix_api::node::{GetChannel, GetStatus, TorStatus};
use privatix_channel::ChannelId;
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::statement::{Snapshot, Statement};
use privatix_demo::{LIMIT, download, market, tor};
use privatix_testkit::sockets::Sampler;
use privatix_testkit::{FileServer, TorNetwork, free_port, temp_dir, wait_for};

/// Where cargo puts the daemons: beside the folder of this test.
fn bins() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).map(Path::to_owned).unwrap()
}

/// A chain with a block every second, and both daemons with money on it and their messages over `network`; neither runs.
async fn pair(network: &TorNetwork) -> (market::Chain, Daemon, Daemon) {
    let messages = Messages::over(network.arti_toml()).unwrap();
    let chain = market::Chain::start().await.unwrap();
    let agent = Daemon::init(&bins(), "agentd", &chain, &messages).await.unwrap();
    let client = Daemon::init(&bins(), "clientd", &chain, &messages).await.unwrap();
    chain.fund(agent.account).await.unwrap();
    chain.fund(client.account).await.unwrap();
    chain.mine_every_second().await.unwrap();
    (chain, agent, client)
}

async fn tor_of(daemon: &Daemon) -> TorStatus {
    daemon.call(&GetStatus {}).await.unwrap().tor.unwrap()
}

/// The address of an agent's onion service, once the agent has reached it.
async fn reached(agent: &Daemon) -> Result<String, String> {
    let tor = tor_of(agent).await;
    let onion = tor.onion.ok_or("there is none")?;
    if onion.reachable { Ok(onion.address) } else { Err(tor.problem.unwrap_or(tor.stage)) }
}

async fn vouchers(client: &Daemon, channel: ChannelId) -> u64 {
    client.call(&GetChannel { channel }).await.unwrap().channel.vouchers
}

/// Waits until a few more payments were made.
async fn payments_flow(client: &Daemon, channel: ChannelId) {
    let seen = vouchers(client, channel).await;
    wait_for("payments to flow", LIMIT, async || {
        let now = vouchers(client, channel).await;
        if now > seen + 2 { Ok(()) } else { Err(format!("{now} vouchers, {seen} before")) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_purchase_over_tor_touches_only_relays_and_survives_kills() {
    let folder = temp_dir().unwrap();
    let network = TorNetwork::start(folder.path()).await.unwrap();
    let (chain, mut agent, mut client) = pair(&network).await;
    let started = Instant::now();
    agent.start().await.unwrap();
    client.start().await.unwrap();
    let watch = Sampler::start(client.pid()).unwrap();
    let published = tor::published(&agent, started).await.unwrap();
    let before = Snapshot::take(&chain, &agent, &client).await.unwrap();

    // Publish with an onion source, discover, accept, access, payments.
    let mut draft = market::draft(512);
    draft["terms"]["maxBillingUnitLag"] = (64 * 1024).into(); // outlasts what the kills below leave between the meters
    let offering = market::publish(&agent, draft).await.unwrap();
    let terms = market::discover(&client, offering).await.unwrap();
    let found = client.call(&Browse { agent: None, country: None, all: false, limit: None }).await.unwrap();
    let found = found.iter().find(|found| found.hash == offering).unwrap();
    assert_eq!(found.source, published.address);
    assert_eq!(found.message.as_ref().unwrap().addresses.len(), 1, "{:?}", found.message);
    let accepted = Instant::now();
    let mut deal = market::buy(&agent, &client, offering).await.unwrap();
    println!("access {:?} after the order to accept", accepted.elapsed());
    let channel = deal.channel;
    let files = FileServer::start_mib(2048).await.unwrap();
    let through = |deal: &market::Deal| format!("socks5h://127.0.0.1:{}", deal.port);
    let bytes = download::quietly(&files.bytes_url(1 << 20), &through(&deal)).await.unwrap();
    assert_eq!(bytes, 1 << 20);

    // Nothing but relays, the chain and the service itself; no name was looked up.
    let service = agent.service_port.unwrap();
    let others = [(chain.port().unwrap(), "chain"), (service, "service")];
    let permitted = tor::permitted(network.relays(), &others);
    tor::peers(&watch.stop().unwrap(), &permitted).unwrap();
    tor::listens_only_on(&agent, &BTreeSet::from([agent.api_port, service])).unwrap();

    // An orderly restart of the agent, then kills of both while payments flow.
    agent.stop().await.unwrap();
    agent.start().await.unwrap();
    deal = market::served(&agent, &client, channel).await.unwrap();
    for kill_agent in [true, false] {
        let (url, proxy) = (files.url(), through(&deal));
        let traffic = tokio::spawn(async move { download::quietly(&url, &proxy).await });
        payments_flow(&client, channel).await;
        let acknowledged = client.call(&GetChannel { channel }).await.unwrap().channel.acknowledged;
        let daemon = if kill_agent { &mut agent } else { &mut client };
        daemon.kill().unwrap();
        daemon.start().await.unwrap();
        assert!(traffic.await.unwrap().is_err(), "the whole file came before the crash");
        deal = market::served(&agent, &client, channel).await.unwrap();
        let held = agent.call(&GetChannel { channel }).await.unwrap().channel.paid;
        assert!(held >= acknowledged, "the agent acknowledged {acknowledged} and holds {held}");
    }
    assert_eq!(agent.call(&GetStatus {}).await.unwrap().addresses, [published.address]);

    // The client was killed last, so nothing of an earlier session is reported any more.
    let used = market::used(&client, channel).await.unwrap() + (1 << 20);
    assert_eq!(download::quietly(&files.bytes_url(1 << 20), &through(&deal)).await.unwrap(), 1 << 20);
    let (sold, bought) = market::paid(&agent, &client, channel, &terms, used).await.unwrap();
    market::close(&agent, &client, &deal).await.unwrap();
    let after = Snapshot::take(&chain, &agent, &client).await.unwrap();
    let statement = Statement { before, after, sold, bought, terms, downloaded: 0 };
    statement.check_chain().unwrap();
    client.stop().await.unwrap();
    agent.stop().await.unwrap();
}

/// The agent's own Tor is for its chain endpoint alone, and the client runs none.
#[tokio::test(flavor = "multi_thread")]
async fn tor_daemons_of_the_operators_carry_messages_and_tor_carries_the_chain() {
    let folder = temp_dir().unwrap();
    let network = TorNetwork::start(folder.path().join("network")).await.unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let (in_front, beside) = tokio::join!(
        network.daemon(folder.path().join("agent"), Some(listen)),
        network.daemon(folder.path().join("client"), None),
    );
    let (in_front, beside) = (in_front.unwrap(), beside.unwrap());
    let (_chain, mut agent, mut client) = pair(&network).await;
    let onion = format!("{}:80", in_front.onion().unwrap());
    agent
        .configure(|document| {
            document["somc"]["onion"] = onion.as_str().into();
            document["somc"]["listen"] = listen.to_string().into();
            document["chain"]["proxy"] = "tor".into();
        })
        .unwrap();
    client
        .configure(|document| {
            document["tor"]["socks"] = beside.socks().to_string().into();
            document["chain"]["proxy"] = format!("socks5h://{}", beside.socks()).into();
        })
        .unwrap();
    agent.start().await.unwrap();
    client.start().await.unwrap();
    let of_agent = Sampler::start(agent.pid()).unwrap();
    let of_client = Sampler::start(client.pid()).unwrap();
    let status = agent.call(&GetStatus {}).await.unwrap();
    assert_eq!(status.addresses, [format!("tor:{onion}")]);

    let offering = market::publish(&agent, market::draft(64)).await.unwrap();
    let terms = market::discover(&client, offering).await.unwrap();
    let deal = market::buy(&agent, &client, offering).await.unwrap();
    let files = FileServer::start_mib(1).await.unwrap();
    let bytes = download::quietly(&files.url(), &format!("socks5h://127.0.0.1:{}", deal.port)).await.unwrap();
    assert_eq!(bytes, 1 << 20);
    market::settled(&agent, &client, &deal, &terms, bytes).await.unwrap();
    market::close(&agent, &client, &deal).await.unwrap();

    // The agent reaches relays and what its customer asked for; not the chain. The client reaches its tor daemon only.
    let service = (agent.service_port.unwrap(), "service");
    let destination = (files.address().port(), "destination");
    tor::peers(&of_agent.stop().unwrap(), &tor::permitted(network.relays(), &[destination])).unwrap();
    let daemon = (beside.socks().port(), "tor daemon");
    let count = tor::peers(&of_client.stop().unwrap(), &tor::permitted(&[], &[daemon, service])).unwrap();
    assert!(count.contains_key("tor daemon"), "{count:?}");
    client.stop().await.unwrap();
    agent.stop().await.unwrap();
}

/// Debian's libfaketime, which `cargo xtask test` installs.
fn faketime() -> String {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    found.expect("libfaketime is missing; install Debian's package faketime")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_a_network_or_with_a_wrong_clock_says_so_and_goes_on_once_it_can() {
    let folder = temp_dir().unwrap();
    let mut network = TorNetwork::prepare(folder.path()).await.unwrap();
    let messages = Messages::over(network.arti_toml()).unwrap();
    let chain = market::Chain::start().await.unwrap();
    let mut agent = Daemon::init(&bins(), "agentd", &chain, &messages).await.unwrap();
    chain.mine_every_second().await.unwrap();

    // Down at the start: the daemon works, and its status names what to look at.
    agent.start().await.unwrap();
    wait_for("the missing network to be named", LIMIT, async || {
        let tor = tor_of(&agent).await;
        assert!(!tor.ready);
        let problem = tor.problem.unwrap_or_default();
        if problem.contains("check this machine's") { Ok(()) } else { Err(problem) }
    })
    .await
    .unwrap();

    // Up later. After all relays were away, arti asks them again after two and a half minutes.
    network.launch().await.unwrap();
    let published = wait_for("the onion service", 3 * LIMIT, async || reached(&agent).await).await.unwrap();
    let address = agent.call(&GetStatus {}).await.unwrap().addresses;
    assert_eq!(address, [published]);
    agent.stop().await.unwrap();

    // Forty days ahead: no directory that it has or gets is valid then.
    let library = faketime();
    let clock =
        [("LD_PRELOAD", library.as_str()), ("FAKETIME", "+40d"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    agent.start_in(&clock).await.unwrap();
    wait_for("the wrong clock to be named", 2 * LIMIT, async || {
        let tor = tor_of(&agent).await;
        let problem = tor.problem.unwrap_or_default();
        if problem.contains("clock") { Ok(()) } else { Err(format!("{}: {problem}", tor.stage)) }
    })
    .await
    .unwrap();
    agent.stop().await.unwrap();

    // The right time again, and the same address.
    agent.start().await.unwrap();
    let again = tor::published(&agent, Instant::now()).await.unwrap();
    assert_eq!(address, [again.address]);
    agent.stop().await.unwrap();
}
