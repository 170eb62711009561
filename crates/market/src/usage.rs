//! What was used, and billing's clock: the same for both sides.

use std::time::SystemTime;

use privatix_billing::{Account, Measure};
use privatix_channel::{ServiceStatus, Usage};

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
    has_grown
}

/// The channel as billing sees it, used and changed at this moment: billing's own limits of time never hold, since the state's
/// stopwatches measure them.
pub(crate) fn account<P: Served>(state: &State<P>, service: ServiceStatus, env: &Env<'_, P>) -> Account {
    let mut account = Account::new(state.chain.deposit, service, moment(env.uptime));
    account.paid = state.book.proven(&state.chain);
    account.used = state.meter.used;
    account.running_since = session(state, env).map(moment);
    account
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

/// Since when a session runs that is not metered yet.
fn session<P: Served>(state: &State<P>, env: &Env<'_, P>) -> Option<Uptime> {
    let actual = P::service(&state.own).actual(env.instance);
    state.meter.running.filter(|_| actual == Actual::Running)
}

/// Whether the clock alone uses the service up.
pub(crate) fn is_timed<P: Served>(state: &State<P>, env: &Env<'_, P>) -> bool {
    let measure = state.terms.as_ref().map(|terms| terms.unit().measure);
    measure == Some(Measure::Seconds) && session(state, env).is_some()
}
