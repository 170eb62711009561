//! The client's decisions: pay, top up, terminate.

use std::num::NonZeroU128;
use std::time::{Duration, SystemTime};

use privatix_channel::{Amount, ServiceStatus, Usage};
use serde::{Deserialize, Serialize};

use crate::agent::{Limit, limit};
use crate::horizon::Horizon;
use crate::price::{covers, due, price};
use crate::{Account, Billing, Drift, TerminateReason, Terms, agreed};

/// How a client wants its channels paid and topped up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientPolicy {
    /// When to top up on its own; `None`: never.
    pub top_up: Option<TopUpPolicy>,
    /// Pay what is due once the meter has stood still for this time (never longer than half of the
    /// terms' `max_suspend` and `max_inactive`). This is what ends a suspension that the client cannot see: a
    /// suspended service is a quiet one.
    pub settle_after: Duration,
    /// How far the agent's total may be above the client's own and is still paid for. The default is not written, so what is stored
    /// with it reads as before this field existed.
    #[serde(skip_serializing_if = "Drift::is_default")]
    pub drift: Drift,
}

impl Default for ClientPolicy {
    /// No top-up; debts settled after 3 s of silence; the default [`Drift`].
    fn default() -> Self {
        Self { top_up: None, settle_after: Duration::from_secs(3), drift: Drift::default() }
    }
}

/// When and by how much to raise a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopUpPolicy {
    /// Top up once the price of the use is this share of the deposit.
    pub percent: Percent,
    /// How much to add.
    pub amount: TopUpAmount,
    /// Never raise the deposit above this; `None` for the chain's own limit.
    pub max_deposit: Option<Amount>,
}

/// How much a top-up adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopUpAmount {
    /// As much as is deposited now, as the reference system does.
    Double,
    /// A fixed amount.
    Fixed(Amount),
}

/// A share of 1 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// The share of an amount, rounded up; exact, cannot overflow.
    pub fn of(self, amount: Amount) -> Amount {
        const WHOLE: NonZeroU128 = NonZeroU128::new(100).unwrap();
        // At most the whole, so it always fits.
        amount.checked_mul_div_ceil(self.0.into(), WHOLE).unwrap_or(amount)
    }
}

impl TryFrom<u8> for Percent {
    type Error = PercentOutOfRange;

    fn try_from(percent: u8) -> Result<Self, PercentOutOfRange> {
        if (1..=100).contains(&percent) { Ok(Self(percent)) } else { Err(PercentOutOfRange { percent }) }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// A percentage outside 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{percent} is not a percentage from 1 to 100")]
pub struct PercentOutOfRange {
    /// The refused value.
    pub percent: u8,
}

/// What the client should do about a channel, besides paying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAction {
    /// Raise the deposit by this amount.
    TopUp(Amount),
    /// End the service; pay first if `pay_to` says so.
    Terminate(TerminateReason),
}

/// The client's decision, and when to ask again if nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAssessment {
    /// Sign a voucher of this cumulative amount now; above what is paid, never above the deposit.
    pub pay_to: Option<Amount>,
    /// What else to do now.
    pub action: Option<ClientAction>,
    /// The moment at which time alone may change whether to pay, or the action. `None`: only a
    /// change of the account can.
    pub next: Option<SystemTime>,
}

/// Decides what the client does about one channel: what it pays by the meter that both sides [agree](agreed) on, all else by its own.
pub fn assess_client(
    terms: &Terms,
    account: &Account,
    policy: &ClientPolicy,
    now: SystemTime,
) -> ClientAssessment {
    let mut horizon = Horizon::new(now);
    let pay_to = payment(terms, account, policy, now, &mut horizon);
    let action = decide(terms, account, policy, now, &mut horizon);
    ClientAssessment { pay_to, action, next: horizon.next() }
}

fn is_running(service: ServiceStatus) -> bool {
    matches!(service, ServiceStatus::Activating | ServiceStatus::Active)
}

fn payment(
    terms: &Terms,
    account: &Account,
    policy: &ClientPolicy,
    now: SystemTime,
    horizon: &mut Horizon,
) -> Option<Amount> {
    let running = is_running(account.service);
    let counted = |used| agreed(terms, &policy.drift, used, account.theirs).used;
    let pays_now = match account.service {
        ServiceStatus::Pending | ServiceStatus::Terminated => return None,
        // The last chance to leave without a debt.
        ServiceStatus::Terminating => true,
        _ if running => {
            let at_limit = limit(terms, account, horizon, counted).is_some();
            let is_over = |used| !covers_enough(terms, account, counted(used));
            let interval_over = horizon.reached(terms, account, is_over);
            at_limit || interval_over
        }
        _ => false,
    };
    // A service that the agent shows as suspended waits for nothing else: what is agreed is paid, whether it suffices or not.
    let is_waited_for = account.resumes_at.is_some_and(|at| at > account.paid);
    let target = |used| due(terms, worth_paying(terms, counted(used), running), account.deposit);
    let in_debt = horizon.reached(terms, account, |used| target(used) > account.paid);
    if !in_debt {
        return None;
    }
    let half = |time: Duration| time.checked_div(2).unwrap_or(time);
    let quiet = policy.settle_after.min(half(terms.max_suspend())).min(half(terms.max_inactive()));
    let pays = pays_now || is_waited_for || horizon.passed(account.quiet_for(terms, quiet));
    pays.then(|| target(account.used_at(terms, now)))
}

/// The use that the client is ready to pay for at a meter of `used`: that, and one interval ahead
/// while a prepaid service runs, within `max_units`.
fn worth_paying(terms: &Terms, used: Usage, running: bool) -> Usage {
    match terms.billing() {
        Billing::Prepaid if running => used.max(used.saturating_add(terms.interval()).min(terms.max())),
        _ => used,
    }
}

/// Whether the next payment of a running service can still wait.
///
/// Postpaid: less than one interval is unpaid, and the setup price is paid. Prepaid: more than half
/// an interval is left; half, so that the next payment arrives before the last one is used up.
fn covers_enough(terms: &Terms, account: &Account, used: Usage) -> bool {
    let must_cover = match terms.billing() {
        Billing::Postpaid => used.saturating_add(ONE).saturating_sub(terms.interval()),
        Billing::Prepaid if used.is_zero() => terms.interval(),
        Billing::Prepaid => used.saturating_add(Usage::new(terms.interval().get() / 2)).saturating_add(ONE),
    };
    covers(terms, must_cover, account.paid, account.deposit)
}

/// The least that a meter counts.
const ONE: Usage = Usage::new(1);

fn decide(
    terms: &Terms,
    account: &Account,
    policy: &ClientPolicy,
    now: SystemTime,
    horizon: &mut Horizon,
) -> Option<ClientAction> {
    if account.service.is_ending() {
        return None;
    }
    let inactive = horizon.passed(account.quiet_for(terms, terms.max_inactive()));
    if inactive {
        return Some(ClientAction::Terminate(TerminateReason::Inactive));
    }
    if !is_running(account.service) {
        return None;
    }
    if let Some(amount) = top_up(terms, account, policy, horizon) {
        return Some(ClientAction::TopUp(amount));
    }
    let settled = due(terms, account.used_at(terms, now), account.deposit) <= account.paid;
    match limit(terms, account, horizon, |used| used) {
        Some(Limit::MaxUnits) if settled => Some(ClientAction::Terminate(TerminateReason::MaxUnits)),
        Some(Limit::Deposit) if settled && !account.top_up_pending => {
            Some(ClientAction::Terminate(TerminateReason::DepositSpent))
        }
        _ => None,
    }
}

/// The top-up to make now, if any: at the policy's share of the deposit, unless one is under way,
/// and never above what the channel can still cost.
fn top_up(terms: &Terms, account: &Account, policy: &ClientPolicy, horizon: &mut Horizon) -> Option<Amount> {
    let wanted = policy.top_up.as_ref().filter(|_| !account.top_up_pending)?;
    let at_max = price(terms, terms.max());
    let ceiling = wanted.max_deposit.unwrap_or(Amount::MAX_ON_CHAIN).min(at_max).min(Amount::MAX_ON_CHAIN);
    let room = ceiling.saturating_sub(account.deposit);
    let amount = match wanted.amount {
        TopUpAmount::Double => account.deposit,
        TopUpAmount::Fixed(amount) => amount,
    };
    let amount = amount.min(room);
    if amount.is_zero() {
        return None;
    }
    let threshold = wanted.percent.of(account.deposit);
    horizon.reached(terms, account, |used| price(terms, used) >= threshold).then_some(amount)
}
