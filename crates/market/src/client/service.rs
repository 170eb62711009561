//! What a client wants of its side of the service, and its patience.

use std::time::Duration;

use privatix_billing::TerminateReason;
use privatix_channel::Phase;

use super::{
    AccessStatus, Client, ClientEnd, ClientState, Reach, billing, opening, payment, proof, requests, top_up,
};
use crate::patience::{self, Limit};
use crate::{Env, Owner, Stopwatch, Target, Trouble, Why, usage};

/// The target, and why it is not to run.
pub(super) fn wanted(state: &ClientState) -> (Target, Option<Why>) {
    let own = &state.own;
    let (absent, suspended) = (|why| (Target::Absent, Some(why)), |why| (Target::Suspended, Some(why)));
    // Without access there is nothing that the adapter could prepare.
    let at_most_suspended = |why| if own.access == AccessStatus::Here { suspended(why) } else { absent(why) };
    match state.chain.phase() {
        Phase::Closed { .. } => return absent(Why::NotOpen),
        _ if own.ending.is_some() => return absent(Why::Ended),
        Phase::Unopened => return at_most_suspended(Why::NotOpen),
        Phase::Closing { .. } => return at_most_suspended(Why::Closing),
        Phase::Open => {}
    }
    if own.access != AccessStatus::Here {
        return absent(Why::NoAccess);
    }
    if state.terms.is_none() {
        return suspended(Why::NoTerms);
    }
    if own.paused {
        return suspended(Why::Paused);
    }
    if payment::is_held_back(state) {
        return suspended(Why::Claimed);
    }
    (Target::Running, None)
}

/// How often in a row an agent's silence makes up for what was not used. More often would let an agent that is silent whenever it is
/// asked keep a deposit without end.
const MOST_EXCUSED: u8 = 8;

/// Lets the stopwatches run or stand still.
///
/// | stopwatch | runs while |
/// | --- | --- |
/// | `unopened` | not open on chain, no opening on its way, view fresh |
/// | `no_access` | open, access was not given, view fresh and explained, the agent is asked and answers |
/// | `unreachable` | the agent is asked, and does not answer, or takes no voucher now, or does not acknowledge the best one, or has not shown in this run what it knows; this node's own network works |
/// | `idle` | the service is as wanted and not paused, no timed session runs, view fresh and explained, the agent answers and has taken all vouchers; begins again once it does not answer |
/// | `spent` | the deposit is used and paid, view fresh and explained |
/// | `apart` | served, and the agent has suspended the service with a total above what is paid for |
/// | `stuck` | the adapter has failed, and the service is not as wanted |
pub(super) fn patience(state: &mut ClientState, env: &Env<'_, Client>) {
    let (target, _) = wanted(state);
    let is_unopened = state.chain.phase() == Phase::Unopened && !opening::is_opening(state);
    let is_timed = usage::is_timed(state, env);
    let is_spent = billing::ends(state, env) == Some(TerminateReason::DepositSpent);
    let is_unacknowledged = requests::is_unacknowledged(state);
    let is_unproven = !proof::is_proven(state, env);
    let is_apart = billing::apart(state, env).is_some();
    let settles_after = state.billing(env).settle_after;
    let phase = state.chain.phase();
    let is_served = state.own.ending.is_none() && state.chain.phase() == Phase::Open;
    let own = &mut state.own;
    let now = env.uptime;
    let is_as_wanted = own.service.actual(env.instance).is(target);
    own.unopened.hold(is_unopened, env.chain.fresh, now);
    let sees = env.chain.fresh && env.chain.explained;
    let has_access = own.access == AccessStatus::Here;
    let answers = !matches!(own.peer, Reach::Silent | Reach::NotNow);
    // It could keep the deposit without end by an answer that neither takes a payment nor ends the service.
    let takes_nothing = !answers || is_unacknowledged || is_unproven;
    own.unreachable.hold(takes_nothing && phase == Phase::Open, env.reachable && !own.unasked, now);
    let is_away = own.ending.is_none() && own.unreachable.elapsed(now) >= env.policy.unreachable_notice;
    own.away = is_away.then(|| own.away.unwrap_or(now));
    own.apart.hold(is_apart && is_served, true, now);
    let disagrees = own.apart.is_running() && own.apart.elapsed(now) >= settles_after;
    own.disagrees = disagrees.then(|| own.disagrees.unwrap_or(now));
    own.no_access.hold(is_served && !has_access, sees && own.peer != Reach::Silent && !own.unasked, now);
    let counts = sees && is_as_wanted && !own.paused && answers && !is_unacknowledged;
    own.idle.hold(is_served && has_access && !is_timed, counts, now);
    // Since when it has been away, or has not served, is not known: perhaps since its last answer.
    if !answers && !own.idle.elapsed(now).is_zero() && own.excused < MOST_EXCUSED {
        own.idle = Stopwatch::default();
        own.excused = own.excused.saturating_add(1);
    }
    own.spent.hold(is_spent, is_served && sees, now);
    let is_stuck = own.stuck.is_running() && !is_as_wanted && target != Target::Absent;
    own.stuck.hold(is_stuck, true, now);
}

/// How long an opening that was undone, or that did not succeed, may still come.
pub(super) fn vanishes(state: &ClientState, env: &Env<'_, Client>) -> Limit<ClientEnd> {
    let not_opened = state.own.not_opened;
    // One that did not succeed is waited for only until the chain is seen.
    let limit = if not_opened.is_some() { Duration::ZERO } else { env.policy.vanish_after };
    (state.own.unopened, limit, ClientEnd::NotOpened(not_opened.unwrap_or(Trouble::Vanished)))
}

/// The limits of patience.
fn limits(state: &ClientState, env: &Env<'_, Client>) -> Vec<Limit<ClientEnd>> {
    let (own, policy) = (&state.own, env.policy);
    let stuck = if own.refused { policy.start_within } else { policy.outage };
    let mut limits = vec![
        (own.no_access, policy.access_within, ClientEnd::NoAccess),
        (own.unreachable, policy.abandon_after, ClientEnd::Unreachable),
        vanishes(state, env),
        (own.stuck, stuck, ClientEnd::AdapterStuck),
    ];
    if !top_up::is_pending(state) {
        let grace = if billing::wants_top_up(state, env) { policy.top_up_grace } else { Duration::ZERO };
        limits.push((own.spent, grace, ClientEnd::DepositSpent));
    }
    // The agent must have answered: what looks idle here may be a service that it suspended.
    let terms = state.terms.as_ref().filter(|_| own.pinged);
    limits.extend(terms.map(|terms| (own.idle, terms.max_inactive(), ClientEnd::Inactive)));
    limits
}

/// Why the service ends now, if it does.
pub(super) fn over(state: &ClientState, env: &Env<'_, Client>) -> Option<ClientEnd> {
    if state.own.ending.is_some() || matches!(state.chain.phase(), Phase::Closed { .. }) {
        return None;
    }
    let is_open = state.chain.phase() == Phase::Open;
    // Whoever holds the key signed it: not this database.
    if is_open && payment::is_overpaid(state, env) {
        return Some(ClientEnd::AgentClaimsMore);
    }
    if is_open && env.chain.fresh && billing::ends(state, env) == Some(TerminateReason::MaxUnits) {
        return Some(ClientEnd::MaxUnits);
    }
    patience::over(&limits(state, env), env.uptime)
}

/// What moves a service on that is as wanted.
pub(super) fn owners(state: &ClientState, env: &Env<'_, Client>) -> Vec<Owner> {
    if state.own.ending.is_some() || matches!(state.chain.phase(), Phase::Closed { .. }) {
        return Vec::new();
    }
    let mut owners = patience::owners(limits(state, env));
    let reminder = env.reminder(env.policy.reminder);
    if let Some(terms) = state.terms.as_ref().filter(|_| !requests::is_idle(state, env)) {
        owners.extend(state.own.idle.reaches(terms.max_inactive()).map(Owner::Time));
    }
    let is_apart = state.own.unasked || (state.own.peer == Reach::Silent && !env.reachable);
    if is_apart || matches!(state.own.service.why, Some(Why::Paused | Why::Claimed)) {
        owners.push(Owner::User { reminder });
    }
    if !env.chain.fresh || !env.chain.explained {
        owners.push(Owner::Chain { reminder });
    }
    if state.own.away.is_none() {
        owners.extend(state.own.unreachable.reaches(env.policy.unreachable_notice).map(Owner::Time));
    }
    if state.own.disagrees.is_none() {
        owners.extend(state.own.apart.reaches(state.billing(env).settle_after).map(Owner::Time));
    }
    if usage::is_timed(state, env) {
        owners.extend(billing::next(state, env));
        owners.extend(usage::unconfirmed(state, env));
    }
    owners
}
