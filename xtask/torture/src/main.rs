//! What `cargo xtask torture` runs: two real daemons that trade while they are killed, while blocks are taken back and while their
//! endpoints misbehave; then a quiet end, at which everything must add up.
//!
//! - [`plan`]: which faults happen when, from a seed;
//! - [`world`]: the chain, both daemons, and how faults are done to them;
//! - [`load`]: buyers with their channels and downloads, payments of wallets;
//! - [`facts`]: what chain and daemons show in the end;
//! - [`verdict`]: whether that adds up;
//! - [`history`]: what happened, for whoever looks into a failure.
//!
//! A seed repeats the faults and the buyers' decisions, and not the run: processes, blocks and requests keep their own time.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use privatix_api::node;
use privatix_channel::{Amount, ChannelId, ChannelStatus, Terms};
use privatix_demo::{Result, market};
use privatix_testkit::{FileServer, wait_for};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::facts::{Before, OnChain};
use crate::history::History;
use crate::load::{Order, Shared};
use crate::plan::Side;
use crate::verdict::Facts;
use crate::world::World;

mod facts;
mod history;
mod load;
mod plan;
mod verdict;
mod world;

/// From the last fault until all channels that were ordered to be closed are closed and final, if no challenge has to pass.
const CLOSED_WITHIN: Duration = Duration::from_mins(2);
/// For one step of the set-up and of the end.
const STEP: Duration = Duration::from_mins(1);

/// Kills, reorganisations and faulty endpoints under two real daemons that trade.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask torture")]
struct Args {
    /// How many faults happen
    #[arg(long)]
    faults: u32,
    /// Over how many seconds they are spread
    #[arg(long)]
    seconds: u64,
    /// Decides which faults happen, and what the buyers do
    #[arg(long)]
    seed: u64,
    /// Where agentd and clientd are
    #[arg(long, value_name = "FOLDER")]
    bins: PathBuf,
    /// Where history, logs and databases of a failure go
    #[arg(long, value_name = "FOLDER")]
    keep: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let result = tokio::select! {
        result = run(&args) => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    println!("seed {}: {} faults over {} s", args.seed, args.faults, args.seconds);
    let mut world = World::start(&args.bins).await?;
    let before = Before::take(&world).await?;
    let (shared, stake) = open_for_business(&world).await?;
    let result = torture(args, &mut world, &shared, &before, stake).await;
    let Err(error) = result else { return Ok(()) };
    shared.history.note(format!("error: {error}"));
    let kept = args.keep.join(format!("seed-{}", args.seed));
    match keep(&world, &shared.history, &kept) {
        Ok(()) => println!("history, logs and databases: {}", kept.display()),
        Err(error) => {
            println!("history, logs and databases could not be kept in {}: {error}", kept.display());
        }
    }
    let again = format!("--seed {} --faults {} --seconds {}", args.seed, args.faults, args.seconds);
    Err(format!("{error}\nthe same faults: `cargo xtask torture {again}`").into())
}

/// Publishes an offering and gives both sides something in the contract. No fault happens before.
async fn open_for_business(world: &World) -> Result<(Arc<Shared>, Amount)> {
    let World { agent, client, .. } = world;
    let mut draft = market::draft(64);
    draft["supply"] = 40.into();
    // What a crash forgets on one side only is less than this in all.
    draft["terms"]["maxBillingUnitLag"] = (32 * 1024).into();
    let offering = market::publish(agent, draft).await?;
    market::discover(client, offering).await?;
    let published = agent.call(&privatix_api::agent::GetOffering { offering }).await?;
    let stake = published.min_deposit.checked_mul(published.supply.into()).ok_or("the stake is too high")?;
    for (daemon, amount) in [(agent, Amount::new(100_000_000)), (client, Amount::new(1_000_000_000))] {
        daemon.call(&node::Deposit { amount }).await?;
        wait_for("the deposit", STEP, async || {
            let has = daemon.call(&node::GetBalances {}).await.map_err(|error| error.to_string())?.contract;
            if has >= amount { Ok(()) } else { Err(format!("{has} of {amount}")) }
        })
        .await?;
    }
    // What was done until now is final for the daemons before the first fault.
    for daemon in [agent, client] {
        settled(daemon).await?;
    }
    let files = FileServer::start_mib(1).await?;
    let shared = Shared::new(agent.api(), client.api(), offering, files, History::new());
    Ok((Arc::new(shared), stake))
}

/// Waits until no transaction of a daemon is open.
async fn settled(daemon: &privatix_demo::daemon::Daemon) -> Result<()> {
    Ok(wait_for("the last confirmations", STEP, async || {
        let status = daemon.call(&node::GetStatus {}).await.map_err(|error| error.to_string())?;
        let open = status.chain.open_transactions;
        if open == 0 { Ok(()) } else { Err(format!("{open} transactions")) }
    })
    .await?)
}

async fn torture(
    args: &Args,
    world: &mut World,
    shared: &Arc<Shared>,
    before: &Before,
    stake: Amount,
) -> Result<()> {
    let (end, ends) = watch::channel(false);
    let mut load = load::start(shared, args.seed, &ends);
    let acknowledgements = shared.acknowledgements();
    let start = Instant::now();
    for (n, planned) in
        plan::plan(args.seed, args.faults, Duration::from_secs(args.seconds)).iter().enumerate()
    {
        sleep_until(start + planned.at).await;
        shared.history.print(format!("fault {}: {:?}", n + 1, planned.act));
        world.suffer(&planned.act, &acknowledgements, &shared.history).await?;
    }
    end.send_replace(true);
    while let Some(ended) = load.join_next().await {
        ended?;
    }
    let took = start.elapsed();
    shared.history.print("the faults are over");
    world.quiet().await;
    for side in Side::BOTH {
        is_well(world, side).await?;
    }
    close_all(world, shared).await?;
    let facts = Facts::collect(world, shared, before, stake).await?;
    let breaches = verdict::breaches(&facts);
    for breach in &breaches {
        shared.history.print(breach.to_string());
    }
    report(args, &facts, shared, took);
    if breaches.is_empty() { Ok(()) } else { Err(format!("{} things do not add up", breaches.len()).into()) }
}

/// Waits until a daemon sees the chain again.
async fn is_well(world: &World, side: Side) -> Result<()> {
    Ok(wait_for(format!("{} to see the chain", side.daemon()), STEP, async || {
        let status = world.daemon(side).call(&node::GetStatus {}).await.map_err(|error| error.to_string())?;
        let freshness = status.chain.freshness.as_deref().unwrap_or("unknown").to_owned();
        if freshness == "fresh" { Ok(()) } else { Err(freshness) }
    })
    .await?)
}

/// Has the agent close what nobody has ordered to be closed, and waits until everything is closed and final. An agent that has
/// earned nothing need not answer a close request, so the challenges are let pass where nothing else is left.
async fn close_all(world: &World, shared: &Shared) -> Result<()> {
    let ordered: Vec<ChannelId> = shared
        .orders()
        .iter()
        .filter_map(|ordered| match ordered.order {
            Order::Close { channel, is_taken: true, .. } => Some(channel),
            _ => None,
        })
        .collect();
    let on_chain = OnChain::read(&world.chain).await?;
    let mut orders = 0;
    for channel in facts::channels(world, Side::Client).await? {
        if on_chain.is_open(channel.id) && !ordered.contains(&channel.id) {
            // The agent may not have seen it yet; then the client closes it.
            let sides = Side::BOTH;
            for side in sides {
                if shared.close(side, channel.id).await {
                    orders += 1;
                    break;
                }
            }
        } else if channel.status == ChannelStatus::Pending {
            shared.close(Side::Client, channel.id).await;
        }
    }
    shared.history.print(format!("{orders} channels were left open, and are closed now"));
    let start = Instant::now();
    let mut passed = false;
    loop {
        let left = left(world).await?;
        if left.is_empty() {
            break;
        }
        let waited = start.elapsed();
        if waited > CLOSED_WITHIN {
            // The verdict names them.
            shared.history.print(format!("not over after {waited:.0?}: {}", left.join("; ")));
            return Ok(());
        }
        if waited > CLOSED_WITHIN / 4 && !passed {
            passed = true;
            shared.history.print("the challenge of all close requests passes");
            world.chain.anvil.warp(Terms::TEST.challenge).await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    shared.history.print(format!("all channels are closed after {:.1?}", start.elapsed()));
    for side in Side::BOTH {
        // If it does not come to that, the verdict says so.
        if let Err(error) = settled(world.daemon(side)).await {
            shared.history.print(format!("{}: {error}", side.daemon()));
        }
    }
    Ok(())
}

/// What the daemons do not take for over.
async fn left(world: &World) -> Result<Vec<String>> {
    let on_chain = OnChain::read(&world.chain).await?;
    let mut left = Vec::new();
    for side in Side::BOTH {
        for channel in facts::channels(world, side).await? {
            let state = facts::unfinished(side, &channel, &on_chain);
            left.extend(state.map(|state| format!("{} {state}", channel.id)));
        }
    }
    Ok(left)
}

fn report(args: &Args, facts: &Facts, shared: &Shared, took: Duration) {
    let paid = verdict::sum(facts.channels.iter().map(|channel| channel.paid));
    let acknowledged = verdict::sum(facts.channels.iter().map(|channel| channel.acknowledged));
    let carried_out = facts.orders.iter().filter(|order| order.effects > 0).count();
    println!(
        "{} faults in {took:.0?}: {} channels, {} bytes through them, {acknowledged} base units acknowledged, {paid} paid; {} of \
         {} orders carried out",
        args.faults,
        facts.channels.len(),
        shared.downloaded(),
        carried_out,
        facts.orders.len(),
    );
}

/// Copies what explains a failure.
fn keep(world: &World, history: &History, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    for side in Side::BOTH {
        let to = to.join(side.daemon());
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(world.daemon(side).folder())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
    }
    Ok(std::fs::write(to.join("history.txt"), history.text())?)
}
