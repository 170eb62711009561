//! What a client wants about the end of a channel: one total function of the state.

use privatix_channel::{Amount, Phase};

use super::{
    AccessStatus, Client, ClientEnd, ClientPurpose, ClientState, Reach, opening, payment, proof, service,
};
use crate::want::Want;
use crate::{AtStake, Env, Owner, Purpose, Uptime, usage};

/// What is wanted so that the deposit comes back.
pub(super) fn closing(state: &ClientState, env: &Env<'_, Client>) -> Want<ClientPurpose> {
    match state.chain.phase() {
        Phase::Closed { .. } => Want::Nothing,
        Phase::Unopened => unopened(state, env),
        // Whoever asked for it: also an earlier life of this database.
        Phase::Closing { ends_at } => {
            if env.chain.now.is_some_and(|now| now >= ends_at) {
                now(ClientPurpose::FinalizeClose)
            } else {
                Want::Wait(Owner::ChainTime(ends_at))
            }
        }
        Phase::Open => request(state, env),
    }
}

/// The opening is on its way, or was undone. It may come again, until that has lasted too long.
fn unopened(state: &ClientState, env: &Env<'_, Client>) -> Want<ClientPurpose> {
    let is_given_up = matches!(ending(state), Some(ClientEnd::NotOpened(_)));
    if opening::is_opening(state) || is_given_up {
        return Want::Nothing;
    }
    let (unopened, limit, _) = service::vanishes(state, env);
    Want::Wait(unopened.reaches(limit).map_or_else(|| chain(env), Owner::Time))
}

/// The channel is open, and no close request stands: the agent closes first, because it has every reason to. If it does not, or
/// is not to be waited for, the client asks for it.
fn request(state: &ClientState, env: &Env<'_, Client>) -> Want<ClientPurpose> {
    let (own, policy) = (&state.own, env.policy);
    let Some(why) = ending(state) else { return Want::Nothing };
    if let Some(until) = env.kept_open {
        return Want::Wait(Owner::Time(until));
    }
    if env.damaged_voucher.is_some() && !own.abandoned {
        // What it promises is not known, so it cannot be admitted. The user may give it up.
        return Want::Wait(Owner::User { reminder: env.reminder(policy.reminder) });
    }
    if let Some(at) = last_payment(state, env).filter(|at| *at > env.uptime) {
        return Want::Wait(Owner::Time(at));
    }
    if let Some(owner) = payment::waits_for_signature(state, env) {
        return Want::Wait(owner);
    }
    let is_gone =
        own.peer == Reach::Silent && own.unreachable.elapsed(env.uptime) >= policy.agent_closes_within;
    if is_at_once(why) || is_gone || own.ended.elapsed(env.uptime) >= policy.agent_closes_within {
        return now(ClientPurpose::RequestClose { admitted: admitted(state, env) });
    }
    // They stand still while the chain is not seen, and while this node's own network does not work.
    let is_silent = own.peer == Reach::Silent && !own.unasked;
    let watch = if is_silent { own.unreachable } else { own.ended };
    Want::Wait(watch.reaches(policy.agent_closes_within).map_or_else(|| chain(env), Owner::Time))
}

/// When what was used is paid for the last time: once the service is gone, or a little after its end, whatever its adapter does.
/// `None` where nothing more is paid.
pub(super) fn last_payment(state: &ClientState, env: &Env<'_, Client>) -> Option<Uptime> {
    let ending = state.own.ending?;
    if matches!(
        ending.why,
        ClientEnd::NotOpened(_) | ClientEnd::AgentClaimsMore | ClientEnd::KeyUsedElsewhere
    ) {
        return None;
    }
    let latest = ending.since.plus(env.policy.last_voucher);
    Some(state.own.service.gone_since().map_or(latest, |gone| gone.min(latest)))
}

impl ClientState {
    /// When an ended channel is asked to be closed, if nothing changes until then. `None` where no time leads there, such as where the
    /// chain is not seen, and once it is asked for.
    pub fn closes_at(&self, env: &Env<'_, Client>) -> Option<Uptime> {
        let ends = self.own.ending.is_some() && self.chain.phase() == Phase::Open;
        let is_asked = self.own.flights.iter().any(|flight| flight.purpose.closes());
        match (ends && !is_asked).then(|| request(self, env))? {
            Want::Now(..) => Some(env.uptime),
            Want::Wait(Owner::Time(at)) => Some(at),
            Want::Wait(_) | Want::Nothing | Want::Collect(..) => None,
        }
    }
}

/// What a close request admits: everything that was signed. The contract pays of it what the deposit covers, also what a top-up has
/// added that this side's view of the chain does not show. Of a voucher that cannot be read, what the agent has acknowledged is known.
///
/// Where the agent has not shown in this run what it knows, this database may have come back from a backup: what was used and not signed
/// is admitted, too, as it would be paid for.
pub(super) fn admitted(state: &ClientState, env: &Env<'_, Client>) -> Amount {
    let terms = state.terms.as_deref().filter(|_| !proof::is_proven(state, env));
    let due = terms.map(|terms| privatix_billing::due(terms, usage::counted(state), state.chain.deposit));
    let due = due.filter(|_| state.own.access == AccessStatus::Here).unwrap_or_default();
    state.book.best.max(state.chain.paid).max(state.book.acknowledged).max(due)
}

/// Why the service ends.
pub(super) fn ending(state: &ClientState) -> Option<ClientEnd> {
    state.own.ending.map(|ending| ending.why)
}

/// Whether the agent is not waited for.
pub(super) const fn is_at_once(why: ClientEnd) -> bool {
    match why {
        ClientEnd::CloseByOrder
        | ClientEnd::NotOpened(_)
        | ClientEnd::AgentClaimsMore
        | ClientEnd::KeyUsedElsewhere
        | ClientEnd::Excluded => true,
        ClientEnd::ByOrder
        | ClientEnd::NoAccess
        | ClientEnd::AgentEnded
        | ClientEnd::Inactive
        | ClientEnd::Unreachable
        | ClientEnd::DepositSpent
        | ClientEnd::MaxUnits
        | ClientEnd::AdapterStuck
        | ClientEnd::Adopted { .. } => false,
    }
}

fn now(purpose: ClientPurpose) -> Want<ClientPurpose> {
    Want::Now(purpose, Purpose::from(purpose).bid(&AtStake::default()))
}

fn chain(env: &Env<'_, Client>) -> Owner {
    Owner::Chain { reminder: env.reminder(env.policy.reminder) }
}
