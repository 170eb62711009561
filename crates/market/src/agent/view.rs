//! What an agent shows its client of a channel, as words for programs.

use privatix_billing::resumes_at;
use privatix_channel::{AgentView, Amount, Phase, Reason, ServiceState};

use super::{Agent, AgentEnd, AgentState, service};
use crate::{Actual, Env, Why, usage};

/// The words. Whoever needs another one adds it to the page of the protocol, too.
mod word {
    use privatix_channel::Reason;

    macro_rules! words {
        ($($name:ident = $word:literal;)*) => { $(pub(super) const $name: Reason = Reason::of($word).unwrap();)* };
    }

    words! {
        ADAPTER = "adapter";
        BY_ORDER = "by_order";
        CLOSED = "closed";
        DEPOSIT_REACHED = "deposit_reached";
        DEPOSIT_SPENT = "deposit_spent";
        HELD = "held";
        INACTIVE = "inactive";
        MAX_UNITS = "max_units";
        NEVER_USED = "never_used";
        NOT_READY = "not_ready";
        NOT_SERVED = "not_served";
        OPENING = "opening";
        STALE_VIEW = "stale_view";
        SUSPENDED_TOO_LONG = "suspended_too_long";
        UNEXPLAINED = "unexplained";
        UNPAID = "unpaid";
    }
}

impl AgentState {
    /// What the client is shown of the channel. Its number is zero: whoever shows views counts them.
    pub fn view(&self, env: &Env<'_, Agent>) -> AgentView {
        let (service, reason) = stands(self, env);
        let is_unpaid =
            service == ServiceState::Suspended && service::wanted(self, env).1 == Some(Why::Unpaid);
        AgentView {
            number: 0,
            used: usage::used(self, env),
            service,
            reason,
            resumes_at: resumes(self, env).filter(|_| is_unpaid),
            access: self.own.access,
        }
    }
}

impl AgentState {
    /// Whether the agent may sign where the channel stands: its database may lack vouchers after a restore, and a voucher that cannot be
    /// read does not count.
    pub const fn may_certify(env: &Env<'_, Agent>) -> bool {
        env.kept_open.is_none() && env.damaged_voucher.is_none()
    }
}

/// What has to be paid in all for what is not paid enough.
fn resumes(state: &AgentState, env: &Env<'_, Agent>) -> Option<Amount> {
    Some(resumes_at(state.terms.as_deref()?, &service::account(state, env), usage::moment(env.uptime)))
}

/// Where the service stands, and why it does not run.
fn stands(state: &AgentState, env: &Env<'_, Agent>) -> (ServiceState, Option<Reason>) {
    let own = &state.own;
    let ends = own.ending.map(|ending| ending.why);
    if let Some(why) = ends.or_else(|| service::over(state, env)) {
        return (ServiceState::Ended, Some(why_ended(why)));
    }
    if matches!(state.chain.phase(), Phase::Closed { .. }) {
        return (ServiceState::Ended, Some(word::CLOSED));
    }
    match service::wanted(state, env).1.map(why_not) {
        // What was never ready is being prepared, whatever keeps it from that.
        Some((ServiceState::Suspended, _)) if own.ready.is_none() => {
            (ServiceState::Preparing, Some(word::NOT_READY))
        }
        Some((service, reason)) => (service, Some(reason)),
        // The adapter has failed to run it.
        None if own.stuck.is_running() && own.service.actual(env.instance) != Actual::Running => {
            (ServiceState::Suspended, Some(word::ADAPTER))
        }
        None => (ServiceState::Running, None),
    }
}

/// A reason not to run, as a client is shown it. None shows that the account has no ether: a client that knew it would know that its
/// close request could not be answered.
const fn why_not(why: Why) -> (ServiceState, Reason) {
    match why {
        Why::NotOpen | Why::Opening => (ServiceState::Preparing, word::OPENING),
        Why::NoTerms | Why::NoGas | Why::Paused | Why::NoAccess | Why::Claimed => {
            (ServiceState::Preparing, word::NOT_READY)
        }
        Why::Ended => (ServiceState::Ended, word::CLOSED),
        Why::Closing => (ServiceState::Suspended, Reason::CLOSING),
        Why::StaleView => (ServiceState::Suspended, word::STALE_VIEW),
        Why::Unexplained => (ServiceState::Suspended, word::UNEXPLAINED),
        Why::Held => (ServiceState::Suspended, word::HELD),
        Why::Unbounded => (ServiceState::Suspended, word::ADAPTER),
        Why::Unpaid => (ServiceState::Suspended, word::UNPAID),
        Why::DepositReached => (ServiceState::Suspended, word::DEPOSIT_REACHED),
        Why::DepositSpent => (ServiceState::Suspended, word::DEPOSIT_SPENT),
        Why::MaxUnitsReached => (ServiceState::Suspended, word::MAX_UNITS),
    }
}

/// Why it ended, as a client is shown it.
const fn why_ended(why: AgentEnd) -> Reason {
    match why {
        AgentEnd::ByOrder | AgentEnd::CloseByOrder => word::BY_ORDER,
        AgentEnd::NotServed(_) | AgentEnd::Vanished => word::NOT_SERVED,
        AgentEnd::NeverUsed => word::NEVER_USED,
        AgentEnd::Inactive => word::INACTIVE,
        AgentEnd::SuspendedTooLong => word::SUSPENDED_TOO_LONG,
        AgentEnd::DepositSpent => word::DEPOSIT_SPENT,
        AgentEnd::MaxUnits => word::MAX_UNITS,
        AgentEnd::AdapterStuck => word::ADAPTER,
        AgentEnd::Adopted { .. } => word::CLOSED,
    }
}
