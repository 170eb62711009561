//! Batches: when closes and settlements that were collected are submitted together.
//!
//! A channel offers a transaction with [`Effect::Collect`](crate::Effect::Collect) where it is not worth one of its own. A batch
//! shares the costs of a transaction among up to [`MAX_ROWS`] channels. It goes out as soon as one of its [`Reason`]s holds.

use std::cmp::Reverse;
use std::time::Duration;

use privatix_channel::{Amount, ChannelId};

use crate::{AgentPolicy, AgentPurpose, Bid, Rate, Uptime, Wei};

/// The most rows of a batch, so that it fits into a block with the gas of all its signatures.
pub const MAX_ROWS: usize = 100;

/// Gas that a batch needs beside its rows.
const BASE_GAS: u64 = 30_000;
/// Gas of a row of `closeBatch` and of `settleBatch`: the limits of ADR 0002 with the calldata, rounded up.
const CLOSE_GAS: u64 = 25_000;
const SETTLE_GAS: u64 = 23_000;
/// What a wallet contract may use to judge a signature: a row without a signer can take that much more than in the estimate.
const ACCOUNT_GAS: u64 = 100_000;

/// A transaction that was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose it is.
    pub channel: ChannelId,
    /// Its number among the channel's effects.
    pub seq: u32,
    /// What it is for.
    pub purpose: AgentPurpose,
    /// What it brings beyond what is paid, in base units.
    pub gain: Amount,
    /// Whether the channel names a signer; else the client's account judges the signature.
    pub names_signer: bool,
    /// Since when it waits.
    pub since: Uptime,
}

/// What the operator sets about batches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchPolicy {
    /// By how much, in base units, the gains exceed what the gas is worth, at least.
    pub min_surplus: Amount,
    /// The price of gas, in wei, below which everything that waits is submitted.
    pub gas_price: Option<Wei>,
    /// How long a row with a gain waits, at most.
    pub max_delay: Duration,
    /// How long a row without a gain waits, at most. `None`: it goes only along with others.
    pub free_after: Option<Duration>,
}

impl Default for BatchPolicy {
    /// That [for](Self::for_channels) the default rules of channels.
    fn default() -> Self {
        Self::for_channels(&AgentPolicy::default())
    }
}

impl BatchPolicy {
    /// The usual one for channels with these rules. A row waits two thirds of the time after which its channel sends it alone, at the
    /// full cost; what no channel sends alone goes only along with others.
    pub fn for_channels(channels: &AgentPolicy) -> Self {
        let sooner = |alone: Duration| alone.saturating_sub(alone.checked_div(3).unwrap_or_default());
        Self {
            min_surplus: Amount::new(1),
            gas_price: None,
            max_delay: sooner(channels.max_delay),
            free_after: channels.free_after.map(sooner),
        }
    }
}

/// The surroundings of a decision, as of now.
#[derive(Clone, Copy, Debug)]
pub struct BatchEnv<'a> {
    /// For how long the node has run.
    pub uptime: Uptime,
    /// The present price of gas in wei, if it is known.
    pub gas_price: Option<Wei>,
    /// What a token is worth, if it is configured.
    pub rate: Option<Rate>,
    /// What the operator set.
    pub policy: &'a BatchPolicy,
}

/// The contract's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `closeBatch`.
    Close,
    /// `settleBatch`.
    Settle,
}

/// Why a batch goes out now: the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A row waited for as long as it may.
    Waited,
    /// Gas is cheap.
    Cheap,
    /// What it brings exceeds what it costs.
    Gain,
}

/// Rows that are submitted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How.
    pub call: Call,
    /// Which, at most [`MAX_ROWS`].
    pub rows: Vec<Row>,
    /// Why now.
    pub reason: Reason,
    /// Gas to be added to the estimate, for the rows without a signer.
    pub extra_gas: u64,
}

impl Batch {
    /// The terms on which it is submitted.
    pub fn bid(&self) -> Bid {
        Bid::of_batch()
    }
}

impl Row {
    fn call(&self) -> Call {
        if self.purpose.is_close() { Call::Close } else { Call::Settle }
    }

    /// When it must be submitted at the latest.
    fn due(&self, policy: &BatchPolicy) -> Option<Uptime> {
        let patience = if self.gain.is_zero() { policy.free_after } else { Some(policy.max_delay) };
        patience.map(|patience| self.since.plus(patience))
    }
}

/// What is submitted now. Each row is in at most one batch; what is in none goes on waiting.
pub fn decide(rows: &[Row], env: &BatchEnv<'_>) -> Vec<Batch> {
    [Call::Close, Call::Settle].into_iter().flat_map(|call| batches(call, rows, env)).collect()
}

/// When time alone leads to the next batch; `None` if nothing waits for that. In the past, if it is due already.
pub fn wake(rows: &[Row], policy: &BatchPolicy) -> Option<Uptime> {
    rows.iter().filter_map(|row| row.due(policy)).min()
}

fn batches(call: Call, rows: &[Row], env: &BatchEnv<'_>) -> Vec<Batch> {
    let mut rows: Vec<Row> = rows.iter().filter(|row| row.call() == call).copied().collect();
    // Those that cannot wait first, then those that bring most: a gain does not wait behind a crowd that brings nothing.
    rows.sort_by_key(|row| (!is_due(row, env), Reverse(row.gain), row.since, row.channel, row.seq));
    let chunks = rows.chunks(MAX_ROWS).filter_map(|rows| {
        let extra_gas = extra_gas(rows);
        let reason = reason(call, rows, extra_gas, env)?;
        Some(Batch { call, rows: rows.to_vec(), reason, extra_gas })
    });
    chunks.collect()
}

fn is_due(row: &Row, env: &BatchEnv<'_>) -> bool {
    row.due(env.policy).is_some_and(|due| due <= env.uptime)
}

fn extra_gas(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| !row.names_signer).fold(0, |gas, _| gas.saturating_add(ACCOUNT_GAS))
}

fn reason(call: Call, rows: &[Row], extra_gas: u64, env: &BatchEnv<'_>) -> Option<Reason> {
    if rows.iter().any(|row| is_due(row, env)) {
        return Some(Reason::Waited);
    }
    let price = env.gas_price?;
    if env.policy.gas_price.is_some_and(|below| price < below) {
        return Some(Reason::Cheap);
    }
    let each = match call {
        Call::Close => CLOSE_GAS,
        Call::Settle => SETTLE_GAS,
    };
    let gas = rows.iter().fold(BASE_GAS.saturating_add(extra_gas), |gas, _| gas.saturating_add(each));
    let cost = price.get().saturating_mul(gas.into());
    let gain = rows.iter().fold(Amount::ZERO, |sum, row| sum.saturating_add(row.gain));
    // The surplus counts in tokens, so it is taken off before the rest is compared in wei. The rest may be what the gas costs: with a
    // surplus of one base unit the gain is then above the cost, as `Gas::worth` asks of a transaction of its own.
    let rest = gain.checked_sub(env.policy.min_surplus)?;
    (!gain.is_zero() && env.rate?.wei(rest).get() >= cost).then_some(Reason::Gain)
}
