//! The agent's decisions: suspend, resume, terminate.

use std::time::SystemTime;

use privatix_channel::{Amount, ServiceStatus, Usage};

use crate::horizon::Horizon;
use crate::price::{covered, covers, due, price};
use crate::{Account, Billing, Terms};

/// What the agent should do to the service now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AgentAction {
    /// Cut the service off until the reason is gone.
    Suspend(SuspendReason),
    /// Let it on again: the reasons to suspend are gone.
    Resume,
    /// End the service and close the channel.
    Terminate(TerminateReason),
}

/// Why the agent suspends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuspendReason {
    /// More than `max_billing_unit_lag` is unpaid, or the setup price, or the first prepaid
    /// interval.
    Unpaid,
    /// The use is worth the whole deposit, which is not paid in full yet: the client may pay or
    /// top up within `max_suspend`.
    DepositReached,
    /// `max_units` are delivered but not paid in full yet.
    MaxUnitsReached,
    /// The operator paused the channel.
    Held,
}

/// Why a channel ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TerminateReason {
    /// The whole deposit is used and paid.
    DepositSpent,
    /// `max_units` are used and paid.
    MaxUnits,
    /// No use and no change for `max_inactive`.
    Inactive,
    /// Suspended for `max_suspend`.
    SuspendedTooLong,
}

/// The agent's decision, and when to ask again if nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assessment {
    /// What to do now; `None` to leave the service as it is.
    pub action: Option<AgentAction>,
    /// The moment at which time alone may change `action`; before it, with the same account, the
    /// answer stays the same. `None`: only a change of the account can change it.
    pub next: Option<SystemTime>,
}

/// How much a channel may use in all before the plug-in stops the service by itself: what is paid for plus the agreed lag, at most
/// what the deposit can pay, and the least that a meter counts on top, so that billing sees the bound reached and suspends.
///
/// Unpaid service is bounded by it however fast the service is, and however slow the way of a report to billing and back.
pub fn allowance(terms: &Terms, paid: Amount, deposit: Amount) -> Usage {
    let with_lag = covered(terms, paid).saturating_add(terms.max_lag());
    with_lag.min(covered(terms, deposit)).saturating_add(Usage::new(1))
}

/// The least that must be paid in all for a service that is suspended as unpaid to go on: at most the deposit.
pub fn resumes_at(terms: &Terms, account: &Account, now: SystemTime) -> Amount {
    due(terms, asked_for(terms, account.used_at(terms, now)), account.deposit)
}

/// Decides what the agent does about one channel.
///
/// Nothing is decided while the service is pending (except that a channel nobody uses ends) or
/// moving from one state to another, nor after it ended.
pub fn assess_agent(terms: &Terms, account: &Account, now: SystemTime) -> Assessment {
    let mut horizon = Horizon::new(now);
    let action = decide(terms, account, now, &mut horizon);
    Assessment { action, next: horizon.next() }
}

fn decide(terms: &Terms, account: &Account, now: SystemTime, horizon: &mut Horizon) -> Option<AgentAction> {
    let service = account.service;
    if service.is_ending() {
        return None;
    }
    // Every condition is asked, also after one held: each may be the next to change. What the operator has paused is not the
    // client's fault, so its time does not count.
    let counts = !account.held;
    let inactive = horizon.passed(account.quiet_for(terms, terms.max_inactive()).filter(|_| counts));
    let suspended_until = account.status_since.checked_add(terms.max_suspend());
    let suspended = service == ServiceStatus::Suspended;
    let suspended_too_long = horizon.passed(suspended_until.filter(|_| suspended && counts));
    if inactive {
        return Some(AgentAction::Terminate(TerminateReason::Inactive));
    }
    if suspended_too_long {
        return Some(AgentAction::Terminate(TerminateReason::SuspendedTooLong));
    }
    if !matches!(service, ServiceStatus::Active | ServiceStatus::Suspended) {
        return None;
    }

    let at_limit = limit(terms, account, horizon, |used| used);
    let unpaid = horizon.reached(terms, account, |used| {
        !covers(terms, asked_for(terms, used), account.paid, account.deposit)
    });
    let settled = due(terms, account.used_at(terms, now), account.deposit) <= account.paid;
    let reason = match at_limit {
        Some(Limit::Deposit) if settled => {
            return Some(AgentAction::Terminate(TerminateReason::DepositSpent));
        }
        Some(Limit::MaxUnits) if settled => return Some(AgentAction::Terminate(TerminateReason::MaxUnits)),
        Some(Limit::Deposit) => Some(SuspendReason::DepositReached),
        Some(Limit::MaxUnits) => Some(SuspendReason::MaxUnitsReached),
        None if account.held => Some(SuspendReason::Held),
        None if unpaid => Some(SuspendReason::Unpaid),
        None => None,
    };
    match (service, reason) {
        (ServiceStatus::Active, Some(reason)) => Some(AgentAction::Suspend(reason)),
        (ServiceStatus::Suspended, None) => Some(AgentAction::Resume),
        _ => None,
    }
}

/// The use that must be paid for at a meter of `used` for the service to be on.
fn asked_for(terms: &Terms, used: Usage) -> Usage {
    let beyond_lag = used.saturating_sub(terms.max_lag());
    match terms.billing() {
        Billing::Postpaid => beyond_lag,
        Billing::Prepaid => beyond_lag.max(terms.interval().min(terms.max())),
    }
}

/// What ends a channel whatever is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The price of the use is at least the deposit.
    Deposit,
    /// The use is at least `max_units`.
    MaxUnits,
}

/// The limit that the use has reached, if any: `counted` is the use that counts at a reading of the meter, and never falls.
pub(crate) fn limit(
    terms: &Terms,
    account: &Account,
    horizon: &mut Horizon,
    counted: impl Fn(Usage) -> Usage,
) -> Option<Limit> {
    let max_units = horizon.reached(terms, account, |used| counted(used) >= terms.max());
    let deposit = horizon.reached(terms, account, |used| price(terms, counted(used)) >= account.deposit);
    // At `max_units` no top-up can help, so it is named first.
    if max_units { Some(Limit::MaxUnits) } else { deposit.then_some(Limit::Deposit) }
}
