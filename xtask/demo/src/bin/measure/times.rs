//! How long the steps of a channel take.

use std::path::Path;
use std::time::{Duration, Instant};

use privatix_api::{client, node};
use privatix_channel::{ChannelStatus, OfferingHash, ServiceStatus};
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::market::{self, Chain, Deal};
use privatix_demo::{LIMIT, Result, download};
use privatix_testkit::{FileServer, free_port};
use tokio::time::{sleep, timeout};
use toml_edit::value;

use crate::relay::Relay;

/// Between two looks at a daemon: what is measured is at most this much longer than it took.
const LOOK: Duration = Duration::from_millis(10);

/// Measures each step in `rounds` channels, one after another, and prints the table.
pub(crate) async fn measure(bins: &Path, rounds: u8) -> Result<()> {
    let chain = Chain::start().await?;
    let mut agent = Daemon::init(bins, "agentd", &chain, &Messages::Direct).await?;
    let mut client = Daemon::init(bins, "clientd", &chain, &Messages::Direct).await?;
    let listen = free_port()?;
    let relay = Relay::start(listen).await?;
    agent.configure(|settings| {
        settings["somc"]["listen"] = value(format!("127.0.0.1:{listen}"));
        settings["somc"]["announce"] = value(format!("127.0.0.1:{}", relay.port()));
        settings["chain"]["confirmations"] = value(2);
    })?;
    client.configure(|settings| settings["chain"]["confirmations"] = value(2))?;
    chain.fund(agent.account).await?;
    chain.fund(client.account).await?;
    chain.mine_every_second().await?;
    agent.start().await?;
    client.start().await?;
    let offering = market::publish(&agent, market::draft(4)).await?;
    market::discover(&client, offering).await?;

    let mut rows = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        let round = Round { chain: &chain, agent: &agent, client: &client, relay: &relay };
        for (row, took) in rows.iter_mut().zip(round.run(offering).await?) {
            row.push(took);
        }
    }
    print(rows);
    client.stop().await?;
    agent.stop().await
}

/// What takes part in one channel.
struct Round<'a> {
    chain: &'a Chain,
    agent: &'a Daemon,
    client: &'a Daemon,
    relay: &'a Relay,
}

impl Round<'_> {
    /// The times of one channel, in the order of [`STEPS`].
    async fn run(&self, offering: OfferingHash) -> Result<[Duration; 5]> {
        let Self { chain, agent, client, relay } = *self;
        let small = FileServer::start(1_024).await?;
        let start = Instant::now();
        let accept = client::AcceptOffering { offering, agent: None, deposit: None, key: None };
        let channel = client.call(&accept).await?.channel;
        let port = timeout(LIMIT, local_port(client, channel)).await??;
        let proxy = format!("socks5h://127.0.0.1:{port}");
        while download::quietly(&small.url(), &proxy).await.is_err() {
            if start.elapsed() > LIMIT {
                return Err("the service carries nothing".into());
            }
            sleep(LOOK).await;
        }
        let accepted = start.elapsed();
        let deal = Deal { channel, port };

        // No payment arrives from now on, and the bound is reached when nothing comes any more.
        let large = FileServer::start_mib(4).await?;
        relay.cut();
        let (url, suspended) = (large.url(), in_service(agent, &deal, ServiceStatus::Suspended));
        let measured = async { tokio::try_join!(stalled(&url, &proxy), suspended) };
        let (last_byte, seen) = timeout(LIMIT, measured).await??;
        let suspended = seen.saturating_duration_since(last_byte);
        let restored = Instant::now();
        relay.restore();
        timeout(LIMIT, in_service(agent, &deal, ServiceStatus::Active)).await??;
        let resumed = restored.elapsed();

        let wallet = async || chain.contracts.token_balance(&chain.anvil, agent.account).await;
        let free = async || chain.contracts.internal_balance(&chain.anvil, agent.account).await;
        let (free_before, wallet_before) = (free().await?, wallet().await?);
        let start = Instant::now();
        agent.call(&node::CloseChannel { channel, key: None }).await?;
        while free().await? <= free_before {
            waited(start, "the close")?;
            sleep(LOOK).await;
        }
        let closed = start.elapsed();
        let amount = loop {
            // The daemon withdraws what it has seen.
            let seen = agent.call(&node::GetChannel { channel }).await?.channel;
            if seen.status == ChannelStatus::ClosedCoop {
                break seen.settled;
            }
            waited(start, "the closed channel")?;
            sleep(LOOK).await;
        };
        agent.call(&node::Withdraw { amount, to: None }).await?;
        while wallet().await? <= wallet_before {
            waited(start, "the money")?;
            sleep(LOOK).await;
        }
        Ok([accepted, suspended, resumed, closed, start.elapsed()])
    }
}

fn waited(since: Instant, what: &str) -> Result<()> {
    if since.elapsed() > LIMIT { Err(format!("{what} did not come within {LIMIT:?}").into()) } else { Ok(()) }
}

async fn local_port(client: &Daemon, channel: privatix_channel::ChannelId) -> Result<u16> {
    loop {
        let seen = client.call(&node::GetChannel { channel }).await?;
        if seen.channel.service == ServiceStatus::Active
            && let Some(port) = seen.endpoint.and_then(|endpoint| endpoint["port"].as_u64())
        {
            return Ok(u16::try_from(port)?);
        }
        sleep(LOOK).await;
    }
}

/// Waits until the service is shown so; gives when it was.
async fn in_service(daemon: &Daemon, deal: &Deal, wanted: ServiceStatus) -> Result<Instant> {
    while daemon.call(&node::GetChannel { channel: deal.channel }).await?.channel.service != wanted {
        sleep(LOOK).await;
    }
    Ok(Instant::now())
}

/// Downloads until nothing comes any more; gives when the last byte came.
async fn stalled(url: &str, proxy: &str) -> Result<Instant> {
    use futures::StreamExt as _;
    const QUIET: Duration = Duration::from_secs(2);
    let http = reqwest::Client::builder().proxy(reqwest::Proxy::all(proxy)?).build()?;
    let mut body = http.get(url).send().await?.bytes_stream();
    let mut last = Instant::now();
    while let Ok(Some(Ok(_))) = timeout(QUIET, body.next()).await {
        last = Instant::now();
    }
    Ok(last)
}

const STEPS: [&str; 5] = [
    "`accept` to the first bytes through the service",
    "the last unpaid byte to a service that is shown as suspended",
    "payments arrive again to a service that runs again",
    "order to close to the money in the contract, free to use (10 s of it wait for the last voucher)",
    "the same to the money in the wallet, by a withdrawal that is ordered once the close is confirmed",
];

fn print(rows: [Vec<Duration>; 5]) {
    println!("| step, on a chain of one block a second with 2 confirmations | least | median | most |");
    println!("| --- | --- | --- | --- |");
    for (step, mut took) in STEPS.iter().zip(rows) {
        took.sort();
        let at = |index: usize| took.get(index).map_or_else(String::new, |took| format!("{took:.2?}"));
        println!("| {step} | {} | {} | {} |", at(0), at(took.len() / 2), at(took.len().saturating_sub(1)));
    }
}
