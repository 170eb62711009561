//! What a decision depends on beside the state and the input: [`Env`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use privatix_channel::{Amount, ChainTime, Period};
use serde::{Deserialize, Serialize};

use crate::{ClockSkew, OrderId, Party, Rate, Uptime, Wei};

/// The surroundings of a decision, as of now.
#[derive(Debug)]
#[non_exhaustive]
pub struct Env<'a, P: Party> {
    /// For how long the node has run.
    pub uptime: Uptime,
    /// What is known of the chain as a whole.
    pub chain: ChainView,
    /// What gas costs.
    pub gas: Gas,
    /// Until when the channel must not be closed, because the database came back from a backup and vouchers may be missing.
    /// `None` otherwise, and once a voucher came that is newer than the backup.
    pub kept_open: Option<Uptime>,
    /// The recovery of the database, from the first decision about a restored state until the recovery ends; `None` otherwise. Unlike
    /// the end of [`kept_open`](Self::kept_open), which moves with the clocks, it identifies the recovery.
    pub recovery: Option<RecoveryId>,
    /// The amount of the best voucher, in base units, if it is stored and cannot be read. [`Book::best`](crate::Book::best) does not
    /// count it then, and the channel must not be closed: that would be final, without it. One of at least its amount replaces it.
    pub damaged_voucher: Option<Amount>,
    /// The run of this node's process: another number after each of its starts, also in a database that came back from a backup.
    pub run: u64,
    /// The life of the service adapter: another number after each of its starts.
    pub instance: u64,
    /// Whether this life of the service adapter is being prepared: it serves nothing, and is not asked to. Nobody's patience counts that.
    pub adapter_starts: bool,
    /// Whether this node's own network works, by which it talks to others.
    pub reachable: bool,
    /// What the user still allows to spend on channels.
    pub budget: Budget,
    /// The number of the next order that this node gives itself.
    pub next_order: OrderId,
    /// What the operator set.
    pub policy: &'a P::Policy,
}

#[allow(clippy::expl_impl_clone_on_copy, reason = "deriving it would ask it of the policy, too")]
impl<P: Party> Clone for Env<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Party> Copy for Env<'_, P> {}

impl<'a, P: Party> Env<'a, P> {
    /// Surroundings in which nothing is wrong: a fresh view, no recovery, gas of unknown price.
    pub fn new(uptime: Uptime, policy: &'a P::Policy) -> Self {
        Self {
            uptime,
            chain: ChainView::default(),
            gas: Gas::default(),
            kept_open: None,
            recovery: None,
            damaged_voucher: None,
            run: 0,
            instance: 0,
            adapter_starts: false,
            reachable: true,
            budget: Budget::default(),
            next_order: OrderId(1),
            policy,
        }
    }
}

impl<P: Party> Env<'_, P> {
    /// When health mentions next what waits for somebody.
    pub(crate) fn reminder(&self, every: Duration) -> Uptime {
        self.uptime.next_multiple(every)
    }
}

/// A recovery of a database, by the time at which its backup was made. The time identifies the recovery, and decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryId(u64);

impl RecoveryId {
    /// The recovery from the backup that was made this many milliseconds after 1970 began.
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }
}

impl From<SystemTime> for RecoveryId {
    fn from(backed_up_at: SystemTime) -> Self {
        let since = backed_up_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What is known of the chain as a whole, and how well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainView {
    /// The chain's time now, if any block was seen.
    pub now: Option<ChainTime>,
    /// Whether what is known is recent enough to rely on it.
    pub fresh: bool,
    /// Whether the channel's events explain what its contract holds.
    pub explained: bool,
    /// The length of a challenge, as the deployment of the contract fixes it.
    pub challenge: Period,
    /// This machine's clock and the chain's time, where they contradict each other; `None`: they agree, or the view is stale, which shows no time.
    pub skew: Option<ClockSkew>,
}

impl ChainView {
    /// Whether what the chain shows is recent and complete.
    pub(crate) const fn is_good(&self) -> bool {
        self.fresh && self.explained
    }

    /// Whether money may be locked, by what is known of the chain as a whole.
    pub(crate) const fn may_lock(&self) -> bool {
        self.fresh && self.skew.is_none()
    }
}

impl Default for ChainView {
    fn default() -> Self {
        Self { now: None, fresh: true, explained: true, challenge: Period::hours(24), skew: None }
    }
}

/// What is left of a client's money, in base units, after all that is reserved for orders; `None` where nothing limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// Of what the user allows in all.
    pub overall: Option<Amount>,
    /// Of what the user allows for today.
    pub today: Option<Amount>,
    /// Of what the user allows for this agent.
    pub of_agent: Option<Amount>,
    /// Of the account's balance.
    pub free_balance: Option<Amount>,
    /// Whether the balance was not read yet, so that nothing is known of it: the policy waits with its orders.
    pub is_unread: bool,
}

impl Budget {
    /// The least of them: what may be spent now.
    pub fn left(&self) -> Amount {
        let limits = [self.overall, self.today, self.of_agent, self.free_balance];
        limits.into_iter().flatten().min().unwrap_or(Amount::MAX)
    }
}

/// What gas costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gas {
    /// Whether the account can pay for the closes of its open channels, and for one more; see
    /// [`AffordsNew`](crate::AffordsNew).
    pub affords_new: bool,
    /// The present price of a unit of gas, if it is known.
    pub price: Option<Wei>,
    /// What a close costs at the present price, if that is known.
    pub close_cost: Option<Wei>,
    /// What a token is worth, if it is configured.
    pub rate: Option<Rate>,
}

impl Default for Gas {
    fn default() -> Self {
        Self { affords_new: true, price: None, close_cost: None, rate: None }
    }
}

impl Gas {
    /// Whether gaining this amount is worth a transaction at the present price.
    pub fn worth(&self, gain: Amount) -> Worth {
        match (self.rate, self.close_cost) {
            (Some(rate), Some(cost)) if rate.wei(gain) > cost => Worth::Yes,
            (Some(_), Some(_)) => Worth::NotNow,
            _ => Worth::Unknown,
        }
    }
}

/// Whether a gain is worth a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Worth {
    /// It exceeds what the transaction costs.
    Yes,
    /// It does not, at the present price.
    NotNow,
    /// What a token is worth, or what gas costs, is not known.
    Unknown,
}
