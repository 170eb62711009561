//! What `cargo xtask demo` runs: the whole path with a line for each step.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::{Result, download, market, statement, tor};
use privatix_testkit::sockets::Sampler;
use privatix_testkit::{FileServer, TempDir, TorNetwork, temp_dir};

/// Sells and buys proxy traffic on a local chain.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Args {
    /// The size of the file to download
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    mib: u64,
    /// Sends all messages over Tor, on a private network of its own
    #[arg(long)]
    tor: bool,
    /// Opens another channel at the end and leaves everything running until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Where agentd and clientd are
    #[arg(long, value_name = "FOLDER")]
    bins: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr();
            let _ = writeln!(stderr, "error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                let _ = writeln!(stderr, "  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let running = tokio::select! {
        running = demo(args) => running?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    if args.keep {
        tokio::signal::ctrl_c().await?;
    }
    running.stop().await
}

/// What is left at the end of the demo. The chain, the Tor network and the file server end with the value.
struct Running {
    agent: Daemon,
    client: Daemon,
    _chain: market::Chain,
    _network: Option<Network>,
    _files: FileServer,
}

/// A Tor network in a folder of its own.
struct Network {
    tor: TorNetwork,
    started_in: Duration,
    /// Dropped after the processes that use it.
    _folder: TempDir,
}

impl Network {
    async fn start() -> Result<Self> {
        let folder = temp_dir()?;
        let start = Instant::now();
        let tor = TorNetwork::start(folder.path().join("tor")).await?;
        Ok(Self { tor, started_in: start.elapsed(), _folder: folder })
    }
}

impl Running {
    async fn stop(mut self) -> Result<()> {
        let step = Steps::default();
        step.begin("stopping both daemons");
        self.client.stop().await?;
        self.agent.stop().await?;
        step.done("clean shutdown");
        Ok(())
    }
}

async fn demo(args: &Args) -> Result<Running> {
    let step = Steps::default();
    step.begin("starting a local chain (anvil), deploying the token (PTC) and the service contract (PSC)");
    let chain = market::Chain::start().await?;
    step.done(&format!("chain {} at {}, PSC {}", chain.id(), chain.url(), chain.contracts.contract));

    let mut network = None;
    let mut messages = Messages::Direct;
    if args.tor {
        step.begin("starting a private Tor network");
        let started = network.insert(Network::start().await?);
        messages = Messages::over(started.tor.arti_toml())?;
        step.done(&format!("{} relays in {:.1?}", started.tor.relays().len(), started.started_in));
    }

    step.begin("making an agent and a client: configuration, encrypted keystore, API token");
    let mut agent = Daemon::init(&args.bins, "agentd", &chain, &messages).await?;
    let mut client = Daemon::init(&args.bins, "clientd", &chain, &messages).await?;
    chain.fund(agent.account).await?;
    chain.fund(client.account).await?;
    chain.mine_every_second().await?;
    step.done(&format!(
        "agent {}, client {}, 1 ether and {} PTC each",
        agent.account,
        client.account,
        market::PTC
    ));

    step.begin("starting both daemons");
    let agent_start = Instant::now();
    agent.start().await?;
    let client_start = Instant::now();
    client.start().await?;
    step.done(&format!("agentd (pid {}), clientd (pid {})", agent.pid(), client.pid()));
    let mut over_tor = None;
    if let Some(network) = &network {
        let watch = Sampler::start(client.pid())?;
        step.begin("the agent publishes its onion service and reaches it as a client would");
        let (published, client_bootstrapped) =
            tokio::try_join!(tor::published(&agent, agent_start), tor::bootstrapped(&client, client_start))?;
        step.done(&format!("{} after {:.1?}", published.address, published.reachable));
        over_tor = Some(OverTor { network, watch, published, client_bootstrapped });
    }
    let before = statement::Snapshot::take(&chain, &agent, &client).await?;

    step.begin("the agent deposits its stake and publishes an offering");
    let offering = market::publish(&agent, market::draft(args.mib)).await?;
    step.done(&format!("offering {offering} is on chain"));

    step.begin("the client finds the offering, fetches its message from the agent and checks it");
    let terms = market::discover(&client, offering).await?;
    step.done(&format!("{} base units per {}, signed by the agent", terms.unit_price(), terms.unit().name));

    step.begin("the client opens a payment channel, fetches access and opens a local proxy port");
    let accepted = Instant::now();
    let deal = market::buy(&agent, &client, offering).await?;
    let access = accepted.elapsed();
    step.done(&format!(
        "channel {}, SOCKS5 and HTTP at 127.0.0.1:{}, in {access:.1?}",
        deal.channel, deal.port
    ));

    let files = FileServer::start_mib(args.mib).await?;
    println!("  downloading {} through it, while vouchers flow", files.url());
    download::watch(&files, &client, &deal).await?;
    step.begin("the same port speaks HTTP too");
    let over_http =
        download::quietly(&files.bytes_url(1 << 20), &format!("http://127.0.0.1:{}", deal.port)).await?;
    step.done(&format!("{over_http} bytes more"));

    step.begin("the client pays the rest, both meters come to the same");
    let downloaded = files.size() + over_http;
    let (sold, bought) = market::settled(&agent, &client, &deal, &terms, downloaded).await?;
    step.done(&format!("{} bytes, {} base units", bought.used, bought.acknowledged));

    step.begin("the agent closes the channel on chain with the last voucher");
    market::close(&agent, &client, &deal).await?;
    step.done("closed");

    let after = statement::Snapshot::take(&chain, &agent, &client).await?;
    let payments = bought.vouchers;
    statement::Statement { before, after, sold, bought, terms, downloaded }.print_and_check()?;
    if let Some(over_tor) = over_tor {
        over_tor.print_and_check(&chain, &agent, access, payments)?;
    }

    if args.keep {
        let deal = market::buy(&agent, &client, offering).await?;
        how_to_use(&chain, &agent, &client, &deal, &files);
    }
    Ok(Running { agent, client, _chain: chain, _network: network, _files: files })
}

/// What is to be known of the messages when they went over Tor.
struct OverTor<'a> {
    network: &'a Network,
    watch: Sampler,
    published: tor::Published,
    client_bootstrapped: Duration,
}

impl OverTor<'_> {
    /// Prints it, and fails if the client's process was connected to anything that it has no business with.
    fn print_and_check(
        self,
        chain: &market::Chain,
        agent: &Daemon,
        access: Duration,
        payments: u64,
    ) -> Result<()> {
        let Self { network, watch, published, client_bootstrapped } = self;
        println!("\nMessages over Tor");
        println!("  onion address        {}", published.address);
        println!(
            "  bootstrap            agent {:.1?}, client {client_bootstrapped:.1?}",
            published.bootstrapped
        );
        println!("  published            {:.1?} after the agent's start", published.reachable);
        println!("  accept to access     {access:.1?}");
        println!("  payments             {payments}");
        let service = agent.service_port.ok_or("the agent has no service port")?;
        tor::listens_only_on(agent, &BTreeSet::from([agent.api_port, service]))?;
        println!("  ✓ the agent has no port for messages");
        let others =
            [(chain.port()?, "the chain's endpoint"), (service, "the agent's proxy, for the service itself")];
        let peers = tor::peers(&watch.stop()?, &tor::permitted(network.tor.relays(), &others))?;
        println!("  ✓ the client's process was connected to nothing but:");
        for (kind, count) in peers {
            println!("      {count} × {kind}");
        }
        Ok(())
    }
}

fn how_to_use(
    chain: &market::Chain,
    agent: &Daemon,
    client: &Daemon,
    deal: &market::Deal,
    files: &FileServer,
) {
    println!("\nEverything keeps running until Ctrl-C, with another channel, {}.\n", deal.channel);
    println!("Through the bought proxy (the agent lets it reach this machine only):");
    println!("  curl -o /dev/null --proxy socks5h://127.0.0.1:{} {}", deal.port, files.url());
    println!("  curl -o /dev/null --proxy http://127.0.0.1:{} {}\n", deal.port, files.url());
    println!("The buyer:");
    for command in ["status", "channels list", &format!("usage {}", deal.channel), "browse"] {
        println!("  {} {command}", client.command_line());
    }
    println!("\nThe seller:");
    for command in
        ["status", "offerings list", "transactions list", &format!("channels close {}", deal.channel)]
    {
        println!("  {} {command}", agent.command_line());
    }
    println!("\nThe chain: {}\nLogs: {} and {}", chain.url(), agent.log().display(), client.log().display());
}

/// The steps of the demo, with a spinner while one is under way.
#[derive(Default)]
struct Steps(std::cell::RefCell<Option<ProgressBar>>);

impl Steps {
    fn begin(&self, what: &str) {
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.set_style(ProgressStyle::default_spinner());
        spinner.enable_steady_tick(Duration::from_millis(100));
        if spinner.is_hidden() {
            println!("  {what} ...");
        }
        *self.0.borrow_mut() = Some(spinner);
    }

    fn done(&self, result: &str) {
        if let Some(spinner) = self.0.borrow_mut().take() {
            let what = spinner.message();
            let hidden = spinner.is_hidden();
            spinner.finish_and_clear();
            if !hidden {
                println!("✓ {what}");
            }
            println!("    {result}");
        }
    }
}
