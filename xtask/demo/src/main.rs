//! What `cargo xtask demo` runs: the whole path with a line for each step.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use privatix_demo::daemon::Daemon;
use privatix_demo::{Result, download, market, statement};
use privatix_testkit::FileServer;

/// Sells and buys proxy traffic on a local chain.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Args {
    /// The size of the file to download
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    mib: u64,
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

/// What is left at the end of the demo. The chain and the file server end with the value.
struct Running {
    agent: Daemon,
    client: Daemon,
    _chain: market::Chain,
    _files: FileServer,
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

    step.begin("making an agent and a client: configuration, encrypted keystore, API token");
    let mut agent = Daemon::init(&args.bins, "agentd", &chain).await?;
    let mut client = Daemon::init(&args.bins, "clientd", &chain).await?;
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
    agent.start().await?;
    client.start().await?;
    step.done(&format!("agentd (pid {}), clientd (pid {})", agent.pid(), client.pid()));
    let before = statement::Snapshot::take(&chain, &agent, &client).await?;

    step.begin("the agent deposits its stake and publishes an offering");
    let offering = market::publish(&agent, market::draft(args.mib)).await?;
    step.done(&format!("offering {offering} is on chain"));

    step.begin("the client finds the offering, fetches its message from the agent and checks it");
    let terms = market::discover(&client, offering).await?;
    step.done(&format!("{} base units per {}, signed by the agent", terms.unit_price(), terms.unit().name));

    step.begin("the client opens a payment channel, fetches access and opens a local proxy port");
    let deal = market::buy(&agent, &client, offering).await?;
    step.done(&format!("channel {}, SOCKS5 and HTTP at 127.0.0.1:{}", deal.channel, deal.port));

    let files = FileServer::start_mib(args.mib).await?;
    println!("  downloading {} through it, while vouchers flow", files.url());
    download::watch(&files, &client, &deal).await?;
    step.begin("the same port speaks HTTP too");
    let over_http =
        download::quietly(&files.bytes_url(1 << 20), &format!("http://127.0.0.1:{}", deal.port)).await?;
    step.done(&format!("{over_http} bytes more"));

    step.begin("the client pays the rest, both meters come to the same");
    let (sold, bought) = market::settled(&agent, &client, &deal, &terms).await?;
    step.done(&format!("{} bytes, {} base units", bought.used, bought.acknowledged));

    step.begin("the agent closes the channel on chain with the last voucher");
    market::close(&agent, &client, &deal).await?;
    step.done("closed");

    let after = statement::Snapshot::take(&chain, &agent, &client).await?;
    let downloaded = files.size() + over_http;
    statement::Statement { before, after, sold, bought, terms, downloaded }.print_and_check()?;

    if args.keep {
        let deal = market::buy(&agent, &client, offering).await?;
        how_to_use(&chain, &agent, &client, &deal, &files);
    }
    Ok(Running { agent, client, _chain: chain, _files: files })
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
