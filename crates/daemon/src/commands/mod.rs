//! The commands that both programs have: each asks the daemon's control API.

mod channels;
mod jobs;
mod orders;
mod recovery;
mod transactions;

use alloy::primitives::Address;
use clap::{Subcommand, ValueEnum};
use privatix_api::node::{
    Balances, Check, CheckState, Deposit, GetBalances, GetStatus, Health, Reason, Status, TokenUnit,
    TorStatus, Withdraw,
};
use privatix_api::{ApiClient, node};
use privatix_channel::{Amount, ChannelId};

use crate::DaemonError;
use crate::follow::{self, WaitArgs};
use crate::output::{Output, ago, or_dash, pairs, time};

use channels::ChannelsCommand;
pub use channels::endpoint_text;
use jobs::JobsCommand;
use orders::OrdersCommand;
use recovery::RecoveryCommand;
use transactions::TransactionsCommand;

/// Commands over the control API.
#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// Shows what the daemon is and how far it has followed the chain
    Status,
    /// Shows what the account has: ether in wei, tokens in base units and in whole tokens
    Balances,
    /// Moves tokens from the wallet into the service contract
    Deposit {
        /// How much, in base units of the token
        amount: Amount,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Moves tokens from the service contract back to the wallet
    Withdraw {
        /// How much, in base units of the token
        amount: Amount,
        /// To another address than the account's own wallet
        #[arg(long, value_name = "ADDRESS")]
        to: Option<Address>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Lists channels, shows one, pauses, resumes, ends
    #[command(subcommand)]
    Channels(ChannelsCommand),
    /// Lists the orders about channels and offerings, and shows what became of them
    #[command(subcommand)]
    Orders(OrdersCommand),
    /// Shows what was used and paid on a channel
    Usage {
        /// The channel
        channel: ChannelId,
    },
    /// Lists background jobs, shows one, cancels, tries again
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Lists transactions, shows one, raises a fee
    #[command(subcommand)]
    Transactions(TransactionsCommand),
    /// Shows how far the recovery after a restore is, and ends it
    #[command(subcommand)]
    Recovery(RecoveryCommand),
    /// Shows how the daemon is, and exits with 1 when that is not well
    Health {
        /// Which answer decides: whether it runs, can do its work, or keeps money safe
        #[arg(long, value_enum, default_value_t)]
        of: HealthQuestion,
    },
}

/// Which answer of the health page decides.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum HealthQuestion {
    /// It runs: a restart would not help
    Live,
    /// It can do its work
    #[default]
    Ready,
    /// Nothing is known to endanger what it has earned or locked
    Money,
}

impl NodeCommand {
    /// Carries the command out.
    ///
    /// # Errors
    /// [`DaemonError::Api`] above all.
    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        match self {
            Self::Status => output.show(&api.call(&GetStatus {}).await?, status),
            Self::Balances => output.show(&api.call(&GetBalances {}).await?, balances),
            Self::Deposit { amount, wait } => {
                let order = api.call(&Deposit { amount }).await?;
                let what = format!("deposit of {}", token_unit(api, output).await.show(amount));
                follow::order(api, output, &wait, &what, order).await?;
            }
            Self::Withdraw { amount, to, wait } => {
                let order = api.call(&Withdraw { amount, to }).await?;
                let what = format!("withdrawal of {}", token_unit(api, output).await.show(amount));
                follow::order(api, output, &wait, &what, order).await?;
            }
            Self::Channels(command) => command.carry_out(api, output).await?,
            Self::Orders(command) => command.carry_out(api, output).await?,
            Self::Usage { channel } => {
                let unit = token_unit(api, output).await;
                let details = api.call(&node::GetChannel { channel }).await?;
                output.show(&details, |details| channels::usage(details, &unit));
            }
            Self::Jobs(command) => command.carry_out(api, output).await?,
            Self::Transactions(command) => command.carry_out(api, output).await?,
            Self::Recovery(command) => command.carry_out(api, output).await?,
            Self::Health { of } => {
                let health = api.health().await?;
                output.show(&health, self::health);
                let (well, what) = match of {
                    HealthQuestion::Live => (health.live, "not live"),
                    HealthQuestion::Ready => (health.ready, "not ready"),
                    HealthQuestion::Money => (health.money_safe, "money is not safe"),
                };
                if !well {
                    let why = match of {
                        HealthQuestion::Money => troubles(&health),
                        _ => reasons(&health.reasons),
                    };
                    return Err(DaemonError::NotWell { what, why: why.join("; ") });
                }
            }
        }
        Ok(())
    }
}

fn status(status: &Status) -> String {
    let chain = &status.chain;
    let block = |block: Option<u64>| or_dash(block);
    let mut rows = vec![
        ("role", status.role.clone()),
        ("version", status.version.clone()),
        ("account", status.account.to_string()),
        ("acting as operator", or_dash(status.operator)),
        ("chain", status.chain_id.to_string()),
        ("contract", status.contract.to_string()),
        ("token", token(status)),
        ("deposits", status.deposits.clone()),
    ];
    if let Some(rescue) = &status.rescue {
        let ether = rescue.ether.map_or_else(|| "not known yet".to_owned(), |wei| format!("{wei} wei"));
        rows.push(("rescue account", format!("{}, {ether}", rescue.account)));
    }
    if !status.addresses.is_empty() {
        rows.push(("messages", status.addresses.join(", ")));
    }
    if let Some(tor) = &status.tor {
        rows.push(("tor", self::tor(tor)));
    }
    rows.extend([
        ("plug-in", format!("{} {}", status.adapter.name, status.adapter.version)),
        (
            "blocks",
            format!("{}, head {}, processed {}", chain.state, block(chain.head), block(chain.processed)),
        ),
        ("blocks to search", or_dash(chain.unsearched)),
        ("newest block", chain.head_time.map_or_else(|| or_dash(None::<u64>), ago)),
        ("open transactions", chain.open_transactions.to_string()),
        ("started", time(status.started_at)),
        ("health", health(&status.health)),
    ]);
    pairs(rows)
}

fn tor(tor: &TorStatus) -> String {
    let mut shown = if tor.ready { "ready".to_owned() } else { format!("{} %", tor.bootstrap_percent) };
    if let Some(problem) = &tor.problem {
        shown = format!("{shown}, {problem}");
    } else if !tor.ready {
        shown.clone_from(&tor.stage);
    }
    match &tor.onion {
        None => shown,
        Some(onion) if onion.reachable => format!(
            "{shown}; onion service reached {}",
            onion.last_reached.map_or_else(|| "now".to_owned(), ago)
        ),
        Some(onion) => {
            let why = onion.problem.as_deref().unwrap_or("it is being published");
            format!("{shown}; onion service not reachable: {why}")
        }
    }
}

fn token(status: &Status) -> String {
    let TokenUnit { symbol, decimals } = &status.token_unit;
    let said =
        [status.token_name.clone(), symbol.clone(), decimals.map(|decimals| format!("{decimals} decimals"))];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() { status.token.to_string() } else { format!("{} ({})", status.token, said.join(", ")) }
}

/// How amounts read, for an answer to people; JSON has base units only. A daemon that does not know is no reason to fail:
/// then people get base units, too.
pub async fn token_unit(api: &ApiClient, output: Output) -> TokenUnit {
    if output.json {
        return TokenUnit::default();
    }
    api.call(&GetStatus {}).await.map(|status| status.token_unit).unwrap_or_default()
}

fn balances(balances: &Balances) -> String {
    let unit = &balances.token_unit;
    pairs([
        ("account", balances.account.to_string()),
        ("ether (wei)", balances.ether.to_string()),
        ("tokens in the wallet", unit.show(balances.wallet)),
        ("tokens in the contract", unit.show(balances.contract)),
    ])
}

fn health(health: &Health) -> String {
    let states = [
        if health.live { "live" } else { "not live" },
        if health.ready { "ready" } else { "not ready" },
        if health.money_safe { "money safe" } else { "money not safe" },
    ];
    let mut said = reasons(&health.reasons);
    said.extend(troubles(health));
    said.extend(reasons(&health.warnings));
    let states = states.join(", ");
    if said.is_empty() { states } else { format!("{states}: {}", said.join("; ")) }
}

fn reasons(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(|reason| format!("{}: {}", reason.part, reason.message)).collect()
}

/// The checks of what money depends on that are not good and have something to add.
fn troubles(health: &Health) -> Vec<String> {
    let named = |check: &Check| Some(format!("{}: {}", check.name, check.message.as_ref()?));
    health.checks.iter().filter(|check| check.state != CheckState::Good).filter_map(named).collect()
}
