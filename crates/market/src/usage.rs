//! What was used, and billing's clock: the same for both sides.

use std::time::{Duration, SystemTime};

use privatix_billing::{Account, Measure, signed_for};
use privatix_channel::{Amount, ServiceStatus, Usage};

use crate::adapter::Served;
use crate::{Actual, Env, Owner, State, Uptime};

/// Takes a meter's report in. Whether more was used than before.
pub(crate) fn meter<P: Served>(state: &mut State<P>, used: Usage, running: bool, now: Uptime) -> bool {
    let meter = &mut state.meter;
    let has_grown = used > meter.used;
    if has_grown || running != meter.running.is_some() {
        // What ran up to now is in the total.
        meter.running = running.then_some(now);
    }
    if has_grown {
        (meter.used, meter.last) = (used, now);
    }
    if has_grown || !running {
        *P::driven(&mut state.own).unreported = Usage::ZERO;
    }
    has_grown
}

/// The service does not run any more. What its session used up to now counts until a report says how much that was.
pub(crate) fn stop<P: Served>(state: &mut State<P>, env: &Env<'_, P>) {
    let (unreported, running) = clock(state, env);
    let more = running.map_or(Usage::ZERO, |since| seconds(env.uptime.since(since)));
    *P::driven(&mut state.own).unreported = unreported.saturating_add(more);
    state.meter.running = None;
}

/// The channel as billing sees it, used and changed at this moment: billing's own limits of time never hold, since the state's
/// stopwatches measure them.
pub(crate) fn account<P: Served>(state: &State<P>, service: ServiceStatus, env: &Env<'_, P>) -> Account {
    let (unreported, running) = clock(state, env);
    let mut account = Account::new(state.chain.deposit, service, moment(env.uptime));
    account.paid = state.book.proven(&state.chain);
    account.used = counted(state).saturating_add(unreported);
    account.running_since = running.map(moment);
    account
}

/// What was used as far as it was reported, or signed for.
pub(crate) fn counted<P: Served>(state: &State<P>) -> Usage {
    state.meter.used.saturating_add(P::raised(&state.own))
}

/// Raises what was used to at least what the client has signed for with a voucher over this much. It is kept beside the meter, whose
/// reports go on from what they know.
pub(crate) fn raise<P: Served>(state: &mut State<P>, cumulative: Amount, env: &Env<'_, P>) {
    let Some(terms) = state.terms.as_deref() else { return };
    let signed_for = signed_for(terms, cumulative.min(state.chain.deposit));
    // What a session uses now is reported later, and would count twice.
    let more = signed_for.saturating_sub(used(state, env));
    let raised = P::raised_mut(&mut state.own);
    *raised = raised.saturating_add(more);
}

/// What was used by now.
pub(crate) fn used<P: Served>(state: &State<P>, env: &Env<'_, P>) -> Usage {
    let (unreported, running) = clock(state, env);
    let more = running.map_or(Usage::ZERO, |since| seconds(env.uptime.since(since)));
    counted(state).saturating_add(unreported).saturating_add(more)
}

/// Uptime for billing, which compares moments only.
pub(crate) fn moment(uptime: Uptime) -> SystemTime {
    // 64 bits of milliseconds always fit.
    SystemTime::UNIX_EPOCH.checked_add(uptime.since(Uptime::default())).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The owner for a moment that billing named.
pub(crate) fn owner(next: SystemTime) -> Option<Owner> {
    let after = next.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Owner::Time(Uptime::default().plus(after)))
}

/// What was used in seconds and is not metered yet, and since when the clock adds to it, if it does. The clock is believed for as
/// long as the side believes it without a report.
fn clock<P: Served>(state: &State<P>, env: &Env<'_, P>) -> (Usage, Option<Uptime>) {
    let before = P::unreported(&state.own);
    let Some(since) = session(state) else { return (before, None) };
    let most = P::report_within(env.policy).map_or(Usage::new(u64::MAX), seconds);
    if before.saturating_add(seconds(env.uptime.since(since))) < most {
        (before, Some(since))
    } else {
        (most, None)
    }
}

/// Since when a timed session runs that is not metered yet.
fn session<P: Served>(state: &State<P>) -> Option<Uptime> {
    let measure = state.terms.as_ref().map(|terms| terms.unit().measure);
    let runs = measure == Some(Measure::Seconds) && P::service(&state.own).actual == Actual::Running;
    state.meter.running.filter(|_| runs)
}

/// Whether the clock alone uses the service up.
pub(crate) fn is_timed<P: Served>(state: &State<P>, env: &Env<'_, P>) -> bool {
    clock(state, env).1.is_some()
}

/// When the clock is not believed any more without a report, if that is so.
pub(crate) fn unconfirmed<P: Served>(state: &State<P>, env: &Env<'_, P>) -> Option<Owner> {
    let (unreported, running) = clock(state, env);
    let left = P::report_within(env.policy)?.saturating_sub(Duration::from_secs(unreported.get()));
    Some(Owner::Time(running?.plus(left)))
}

/// Whole seconds of a duration, as the use of a service that is measured in seconds.
const fn seconds(duration: Duration) -> Usage {
    Usage::new(duration.as_secs())
}
