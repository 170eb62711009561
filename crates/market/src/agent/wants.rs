//! What an agent wants about its money: one total function of the state.

use privatix_channel::{Amount, ChainTime, Phase};

use super::{Agent, AgentEnd, AgentPolicy, AgentPurpose, AgentState};
use crate::want::Want;
use crate::{AtStake, Bid, Challenge, Env, Flight, Owner, Purpose, Stage, Uptime, Worth};

/// What is wanted about the channel's money.
pub(super) fn money(state: &AgentState, env: &Env<'_, Agent>) -> Want<AgentPurpose> {
    let claimable = state.book.claimable(&state.chain);
    match state.chain.phase() {
        Phase::Closed { .. } => Want::Nothing,
        Phase::Unopened => unopened(state, env),
        Phase::Closing { ends_at } => dispute(state, env, ends_at, claimable),
        Phase::Open => settlement(state, env, claimable),
    }
}

/// The opening was undone, or is not seen yet. It may come again, until that has lasted too long.
fn unopened(state: &AgentState, env: &Env<'_, Agent>) -> Want<AgentPurpose> {
    let unopened = &state.own.unopened;
    if unopened.elapsed(env.uptime) >= env.policy.vanish_after {
        return Want::Nothing;
    }
    let stands = Owner::Chain { reminder: reminder(env) };
    Want::Wait(unopened.reaches(env.policy.vanish_after).map_or(stands, Owner::Time))
}

/// A close request stands.
fn dispute(
    state: &AgentState,
    env: &Env<'_, Agent>,
    ends_at: ChainTime,
    claimable: Amount,
) -> Want<AgentPurpose> {
    let best = state.book.best;
    let close = AgentPurpose::Close { cumulative: best };
    let late = ends_at.plus(env.policy.close_after);
    let is_late = env.chain.now.is_some_and(|now| now >= late);
    let challenge = (!is_late).then_some(Challenge { ends_at, period: env.chain.challenge });
    let claims = is_disputed(state, env.policy);
    if let Some(owner) = kept_open(state, env) {
        let settle = AgentPurpose::Settle { cumulative: best };
        return if claims {
            Want::Now(settle, bid(settle, challenge, claimable, env))
        } else {
            Want::Wait(owner)
        };
    }
    if claims {
        return Want::Now(close, bid(close, challenge, claimable, env));
    }
    if is_left_open(state, env, claimable) {
        return Want::Wait(Owner::User { reminder: reminder(env) });
    }
    // The client has admitted everything, and may finalize the close at its own cost. If it does not, the agent closes: with
    // its voucher, in case a reorganisation takes back what was admitted.
    if is_late {
        return Want::Now(close, bid(close, None, claimable, env));
    }
    if env.policy.free_at_once && !state.own.abandoned {
        Want::Collect(close, Some(Owner::ChainTime(late)))
    } else {
        Want::Wait(Owner::ChainTime(late))
    }
}

/// The channel is open, and no close request stands.
fn settlement(state: &AgentState, env: &Env<'_, Agent>, claimable: Amount) -> Want<AgentPurpose> {
    let (own, policy) = (&state.own, env.policy);
    let Some(ending) = own.ending else { return served(state, env, claimable) };
    if let Some(owner) = kept_open(state, env) {
        return Want::Wait(owner);
    }
    let by_order = ending.why == AgentEnd::CloseByOrder;
    let ordered = by_order.then_some(ending.since);
    let Some(last_use) = ordered.into_iter().chain(own.service.gone_since()).min() else {
        // The adapter was asked to stop the service, and is given up in time.
        let until = own.service.asked.map_or(env.uptime, |asked| asked.until);
        return Want::Wait(Owner::Time(until));
    };
    let after_last_voucher = last_use.plus(policy.last_voucher);
    if after_last_voucher > env.uptime {
        return Want::Wait(Owner::Time(after_last_voucher));
    }
    let close = AgentPurpose::Close { cumulative: state.book.best };
    let now = Want::Now(close, bid(close, None, claimable, env));
    if by_order || worth_it(claimable, env) == Worth::Yes {
        return now;
    }
    if is_left_open(state, env, claimable) {
        return Want::Wait(Owner::User { reminder: reminder(env) });
    }
    let patience = if claimable.is_zero() { policy.free_after } else { Some(policy.max_delay) };
    let Some(patience) = patience else {
        return Want::Collect(close, Some(Owner::User { reminder: reminder(env) }));
    };
    if own.ended.elapsed(env.uptime) >= patience {
        return now;
    }
    // It stands still while the chain is not seen.
    let stands = Owner::Chain { reminder: reminder(env) };
    Want::Collect(close, Some(own.ended.reaches(patience).map_or(stands, Owner::Time)))
}

impl AgentState {
    /// When an ended channel is closed, at the latest, if nothing changes until then. `None` where no time leads there, such as where the
    /// chain is not seen, and once a close is under way.
    pub fn closes_at(&self, env: &Env<'_, Agent>) -> Option<Uptime> {
        let ends = self.own.ending.is_some() && self.chain.phase() == Phase::Open;
        let is_sent =
            |flight: &Flight<AgentPurpose>| flight.purpose.is_close() && flight.stage != Stage::Collected;
        match (ends && !self.own.flights.iter().any(is_sent)).then(|| money(self, env))? {
            Want::Now(..) => Some(env.uptime),
            Want::Wait(Owner::Time(at)) | Want::Collect(_, Some(Owner::Time(at))) => Some(at),
            Want::Wait(_) | Want::Collect(..) | Want::Nothing => None,
        }
    }
}

/// Whether an earlier version ended the channel, and closing it brings nothing: see [`AgentPolicy::free_adopted`].
fn is_left_open(state: &AgentState, env: &Env<'_, Agent>, claimable: Amount) -> bool {
    let is_adopted = state.own.ending.is_some_and(|ending| matches!(ending.why, AgentEnd::Adopted { .. }));
    is_adopted && claimable.is_zero() && !env.policy.free_adopted
}

/// The service has not ended. What is claimable above the policy's limit is cashed, which leaves the channel open.
fn served(state: &AgentState, env: &Env<'_, Agent>, claimable: Amount) -> Want<AgentPurpose> {
    let is_at_risk = env.policy.at_risk.is_some_and(|at_risk| claimable > at_risk);
    let settle = AgentPurpose::Settle { cumulative: state.book.best };
    if is_at_risk { Want::Collect(settle, None) } else { Want::Nothing }
}

/// Who ends the time in which the channel must not be closed, because a better voucher exists or may exist. The operator gives a
/// damaged one up by [`Abandon`](super::AgentOrder::Abandon); one of at least its amount takes its place.
fn kept_open(state: &AgentState, env: &Env<'_, Agent>) -> Option<Owner> {
    let is_damaged =
        env.damaged_voucher.is_some_and(|damaged| state.book.best < damaged) && !state.own.abandoned;
    let damaged = is_damaged.then(|| Owner::User { reminder: reminder(env) });
    env.kept_open.map(Owner::Time).or(damaged)
}

/// Whether a gain is worth a transaction of its own, by the policy and by the price of gas. Outside of a dispute only
/// [`Worth::Yes`] counts: what is not known to be worth it waits for a batch.
pub(super) fn worth_it(gain: Amount, env: &Env<'_, Agent>) -> Worth {
    if gain.is_zero() || gain < env.policy.min_gain { Worth::NotNow } else { env.gas.worth(gain) }
}

/// Whether a close request is to be answered: what is claimable would be lost at its challenge's end.
pub(super) fn is_disputed(state: &AgentState, policy: &AgentPolicy) -> bool {
    let claimable = state.book.claimable(&state.chain);
    // Without terms no unit has a price: then anything is worth it.
    let unit = || state.terms.as_ref().map_or(Amount::ZERO, |terms| terms.unit_price());
    let is_worth = !claimable.is_zero() && claimable >= policy.dispute_min.unwrap_or_else(unit);
    state.chain.challenge_ends_at().is_some() && is_worth && !state.own.abandoned
}

fn bid(purpose: AgentPurpose, challenge: Option<Challenge>, claimable: Amount, env: &Env<'_, Agent>) -> Bid {
    Purpose::from(purpose).bid(&AtStake { challenge, claimable, rate: env.gas.rate })
}

/// When health mentions next what waits for somebody.
pub(super) fn reminder(env: &Env<'_, Agent>) -> crate::Uptime {
    env.reminder(env.policy.reminder)
}
