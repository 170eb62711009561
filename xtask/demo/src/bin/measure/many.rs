//! What many channels cost an agent that nobody uses.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::utils::parse_ether;
use alloy::sol_types::SolCall as _;
use privatix_channel::{Amount, ChannelDescriptor, OfferingHash};
use privatix_contracts::call;
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::market::{self, Chain};
use privatix_demo::{LIMIT, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::process::{resident, used};

/// The account of the chain that opens them all.
const BUYER: usize = 1;
/// Openings in one transaction.
const AT_ONCE: u32 = 50;
/// For how long the idle agent is watched.
const WATCHED: Duration = Duration::from_mins(1);
/// For the agent to get through all channels.
const PATIENCE: Duration = Duration::from_mins(30);

/// Opens them, and prints the table.
pub(crate) async fn measure(bins: &Path, channels: u32) -> Result<()> {
    let chain = Chain::start().await?;
    let mut agent = Daemon::init(bins, "agentd", &chain, &Messages::Direct).await?;
    chain.fund(agent.account).await?;
    // An agent serves no channel that it could not pay the close of.
    chain.anvil.set_balance(agent.account, parse_ether("100")?).await?;
    chain.mine_every_second().await?;
    agent.start().await?;
    let alone = resident(agent.pid())?;
    let offering = market::publish(&agent, draft(channels)).await?;

    let opening = Instant::now();
    open(&chain, &agent, offering, channels).await?;
    let (opened, start) = (opening.elapsed(), Instant::now());
    served(&agent, channels).await?;
    let prepared = start.elapsed();

    let idle = idle(&agent).await?;
    let memory = resident(agent.pid())?;
    agent.stop().await?;
    let start = Instant::now();
    agent.start().await?;
    let healthy = start.elapsed();
    served(&agent, channels).await?;
    let started = start.elapsed();
    let again = resident(agent.pid())?;

    println!("| one agent with {channels} open channels, each with a deposit and a proxy's user | |");
    println!("| --- | --- |");
    println!("| memory before there were any | {alone} MiB |");
    println!("| opened on chain within | {opened:.1?} |");
    println!("| and all of them served after another | {prepared:.1?} |");
    println!("| memory then | {memory} MiB |");
    println!("| processor, nobody uses anything | {}.{} % of one core |", idle / 10, idle % 10);
    println!("| start: until it is healthy | {healthy:.1?} |");
    println!("| start: until all services are known to the plug-in again | {started:.1?} |");
    println!("| memory after the start | {again} MiB |");
    agent.stop().await
}

fn draft(channels: u32) -> Value {
    let mut draft = market::draft(1);
    draft["supply"] = json!(channels);
    draft["terms"]["setupPrice"] = json!("0");
    draft["terms"]["unitPrice"] = json!("1");
    draft["terms"]["minUnits"] = json!(DEPOSIT);
    // Nothing ends while it is watched.
    draft["terms"]["maxSuspend"] = json!(7 * 86_400);
    draft["terms"]["maxInactive"] = json!(7 * 86_400);
    draft
}

/// What each channel holds, in base units.
const DEPOSIT: u64 = 10_000;

async fn open(chain: &Chain, agent: &Daemon, offering: OfferingHash, channels: u32) -> Result<()> {
    let (anvil, contracts) = (&chain.anvil, &chain.contracts);
    let deposit = Amount::from(DEPOSIT);
    let all = deposit.checked_mul(channels.into()).ok_or("deposits beyond all amounts")?;
    let _: Value = anvil.rpc("evm_setIntervalMining", json!([0])).await?;
    anvil.set_automine(true).await?;
    contracts.deposit(anvil, BUYER, all).await?;
    let buyer = anvil.account(BUYER);
    let mut nonces = 0..u64::from(channels);
    loop {
        let some: Vec<Vec<u8>> = nonces
            .by_ref()
            .take(AT_ONCE.try_into()?)
            .map(|nonce| {
                let descriptor =
                    ChannelDescriptor { client: buyer, agent: agent.account, offering, nonce, signer: buyer };
                Ok(call::open(&descriptor, deposit)?.abi_encode())
            })
            .collect::<Result<_>>()?;
        if some.is_empty() {
            break;
        }
        anvil.send(BUYER, contracts.contract, &call::multicall(some)).await?;
    }
    chain.mine_every_second().await
}

/// Waits until all of them are served.
async fn served(agent: &Daemon, channels: u32) -> Result<()> {
    let start = Instant::now();
    loop {
        let (running, seen) = counted(&agent.metrics().await?);
        if running >= u64::from(channels) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{running} of {channels} channels are served: {seen}").into());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The channels whose service runs, and the lines that show it.
fn counted(metrics: &str) -> (u64, String) {
    let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with("privatix_channels{")).collect();
    let running = lines.iter().filter(|line| line.contains("service=\"active\""));
    let count = running.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    (count, lines.join(", "))
}

/// What of one core the agent uses while nothing happens, in thousandths.
async fn idle(agent: &Daemon) -> Result<u128> {
    // Whatever was begun by the last channels comes to its end first.
    let settled = Instant::now();
    let mut before = used(agent.pid())?;
    loop {
        sleep(Duration::from_secs(5)).await;
        let now = used(agent.pid())?;
        if now.saturating_sub(before) < Duration::from_secs(1) || settled.elapsed() > LIMIT {
            break;
        }
        before = now;
    }
    let (before, start) = (used(agent.pid())?, Instant::now());
    sleep(WATCHED).await;
    let used = used(agent.pid())?.saturating_sub(before);
    Ok(used.as_millis() * 1_000 / start.elapsed().as_millis().max(1))
}
