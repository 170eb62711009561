//! What an agent wants of the service: opening, payment and patience.

use privatix_billing::{
    Account, AgentAction, Assessment, SuspendReason, TerminateReason, Terms, assess_agent,
};
use privatix_channel::{Phase, ServiceStatus, Usage};

use super::{Agent, AgentEnd, AgentState, Unserved};
use crate::patience::Limit;
use crate::{Actual, Env, Owner, Stopwatch, Target, Uptime, Why, patience, usage};

/// The target, and why it is not to run.
pub(super) fn wanted(state: &AgentState, env: &Env<'_, Agent>) -> (Target, Option<Why>) {
    let own = &state.own;
    let (absent, suspended) = (|why| (Target::Absent, Some(why)), |why| (Target::Suspended, Some(why)));
    // What the adapter does not know, or had to stop, is not made known to it only to be suspended.
    let is_known = own.ready.is_some() && own.unanswered.is_none();
    let at_most_suspended = |why| if is_known { suspended(why) } else { absent(why) };
    match state.chain.phase() {
        Phase::Closed { .. } => return absent(Why::NotOpen),
        _ if own.ending.is_some() => return absent(Why::Ended),
        Phase::Unopened => return at_most_suspended(Why::NotOpen),
        Phase::Closing { .. } => return at_most_suspended(Why::Closing),
        Phase::Open => {}
    }
    let Some(terms) = &state.terms else { return at_most_suspended(Why::NoTerms) };
    if !env.chain.fresh {
        return at_most_suspended(Why::StaleView);
    }
    if !env.chain.explained {
        return at_most_suspended(Why::Unexplained);
    }
    if own.ready.is_none() {
        return if env.gas.affords_new { suspended(Why::Opening) } else { absent(Why::NoGas) };
    }
    if own.held {
        return suspended(Why::Held);
    }
    if own.unbounded == Some(env.instance) {
        return suspended(Why::Unbounded);
    }
    match assess(state, terms, env).action {
        Some(AgentAction::Suspend(SuspendReason::Unpaid)) => suspended(Why::Unpaid),
        Some(AgentAction::Suspend(SuspendReason::MaxUnitsReached)) => suspended(Why::MaxUnitsReached),
        Some(AgentAction::Suspend(_)) => suspended(Why::DepositReached),
        Some(AgentAction::Terminate(_)) => suspended(Why::DepositSpent),
        _ => (Target::Running, None),
    }
}

/// Billing's answer for a service that runs: whether it may, and when that changes.
fn assess(state: &AgentState, terms: &Terms, env: &Env<'_, Agent>) -> Assessment {
    assess_agent(terms, &account(state, env), usage::moment(env.uptime))
}

/// The channel as billing sees it, where the service runs.
pub(super) fn account(state: &AgentState, env: &Env<'_, Agent>) -> Account {
    usage::account(state, ServiceStatus::Active, env)
}

/// See [`AgentState::bound`].
pub(super) fn bound(state: &AgentState) -> Option<Usage> {
    let terms = state.terms.as_deref()?;
    let covered = |amount| privatix_billing::covered(terms, amount);
    let paid = covered(state.book.proven(&state.chain)).saturating_add(terms.max_lag());
    let bound = paid.min(covered(state.chain.deposit)).saturating_add(Usage::new(1));
    // The adapter counts from what the meter knows.
    Some(bound.saturating_sub(state.own.raised))
}

/// Lets the stopwatches run or stand still.
///
/// | stopwatch | runs while |
/// | --- | --- |
/// | `unopened` | not open on chain, view fresh |
/// | `no_terms` | open, the terms are not known, view fresh |
/// | `unused` | the service is as wanted and was ready, neither used nor paid for, view fresh and explained, not held |
/// | `idle` | the service is as wanted and was ready, no timed session runs, view fresh and explained, not held |
/// | `suspended` | suspended because of the client, view fresh and explained, not held |
/// | `spent` | the deposit is used and paid, view fresh and explained |
/// | `stuck` | the adapter has failed, and the service is not as wanted |
///
/// While the adapter does not hold the service to its bound, the client's patience counts as for one that is held.
pub(super) fn patience(state: &mut AgentState, env: &Env<'_, Agent>) {
    let (target, why) = wanted(state, env);
    let phase = state.chain.phase();
    let is_spent = terminates(state, env) == Some(TerminateReason::DepositSpent);
    let is_new = state.meter.used.is_zero() && state.book.best.is_zero() && state.meter.running.is_none();
    let is_timed = usage::is_timed(state, env);
    let own = &mut state.own;
    let (now, sees) = (env.uptime, env.chain.fresh && env.chain.explained);
    let actual = own.service.actual(env.instance);
    if own.ready.is_none() && matches!(actual, Actual::Suspended | Actual::Running) {
        own.ready = Some(now);
    }
    let is_served = own.ready.is_some() && own.ending.is_none() && phase == Phase::Open;
    let is_as_wanted = actual.is(target);
    let counts = is_served && sees && !own.held && why != Some(Why::Unbounded);
    let run = |watch: &mut Stopwatch, holds: bool, runs: bool| watch.hold(holds, runs, now);
    run(&mut own.unopened, phase == Phase::Unopened, env.chain.fresh);
    let has_no_terms = state.terms.is_none() && phase == Phase::Open && own.ending.is_none();
    run(&mut own.no_terms, has_no_terms, env.chain.fresh);
    run(&mut own.unused, is_new, counts && is_as_wanted);
    run(&mut own.idle, is_served && !is_timed, counts && is_as_wanted);
    let is_clients = why.is_some_and(Why::is_clients);
    run(&mut own.suspended, !(is_served && target == Target::Running), counts && is_clients);
    run(&mut own.spent, is_spent, is_served && sees);
    let is_stuck = own.stuck.is_running() && !is_as_wanted && target != Target::Absent;
    run(&mut own.stuck, is_stuck, true);
}

/// What billing ends, whatever is paid.
fn terminates(state: &AgentState, env: &Env<'_, Agent>) -> Option<TerminateReason> {
    match assess(state, state.terms.as_deref()?, env).action {
        Some(AgentAction::Terminate(reason)) => Some(reason),
        _ => None,
    }
}

/// The limits of patience: the stopwatch, its limit, and how the service ends then.
fn limits(state: &AgentState, env: &Env<'_, Agent>) -> Vec<Limit<AgentEnd>> {
    let (own, policy) = (&state.own, env.policy);
    let mut limits = vec![(own.unopened, policy.vanish_after, AgentEnd::Vanished)];
    let stuck = if own.refused { policy.start_within } else { policy.outage };
    limits.push((own.stuck, stuck, AgentEnd::AdapterStuck));
    limits.push((own.no_terms, policy.terms_within, AgentEnd::NotServed(Unserved::NoTerms)));
    if let Some(terms) = &state.terms {
        limits.push((own.unused, terms.max_first_use(), AgentEnd::NeverUsed));
        limits.push((own.idle, terms.max_inactive(), AgentEnd::Inactive));
        limits.push((own.suspended, terms.max_suspend(), AgentEnd::SuspendedTooLong));
        limits.push((own.spent, policy.top_up_grace, AgentEnd::DepositSpent));
    }
    limits
}

/// Why the service ends now, if it does.
pub(super) fn over(state: &AgentState, env: &Env<'_, Agent>) -> Option<AgentEnd> {
    if state.own.ending.is_some() || matches!(state.chain.phase(), Phase::Closed { .. }) {
        return None;
    }
    let is_open = state.chain.phase() == Phase::Open;
    if is_open && !state.descriptor.names_signer() {
        return Some(AgentEnd::NotServed(Unserved::NoSigner));
    }
    if is_open && state.own.ready.is_none() && state.chain.fee > env.policy.accept_fee {
        return Some(AgentEnd::NotServed(Unserved::Fee));
    }
    if is_open && terminates(state, env) == Some(TerminateReason::MaxUnits) {
        return Some(AgentEnd::MaxUnits);
    }
    patience::over(&limits(state, env), env.uptime)
}

/// What moves a service on that is as wanted.
pub(super) fn owners(state: &AgentState, env: &Env<'_, Agent>, reminder: Uptime) -> Vec<Owner> {
    if state.own.ending.is_some() || matches!(state.chain.phase(), Phase::Closed { .. }) {
        return Vec::new();
    }
    let mut owners = patience::owners(limits(state, env));
    if let Some(terms) = state.terms.as_deref().filter(|_| usage::is_timed(state, env)) {
        owners.extend(assess(state, terms, env).next.and_then(usage::owner));
    }
    match state.own.service.why {
        Some(Why::Held | Why::Unbounded | Why::NoTerms | Why::NoGas) => owners.push(Owner::User { reminder }),
        Some(Why::StaleView | Why::Unexplained) => owners.push(Owner::Chain { reminder }),
        _ => {}
    }
    owners
}
