//! What moves a state on, read off the wants.

use super::difference::{Replacement, blocked, replacement};
use super::{Agent, AgentState, service, wants};
use crate::want::Want;
use crate::{Env, Owner, Stage, adapter};

/// All that can move the state on; empty when it is final. Where time went by since the last decision, so that another one has
/// effects, the time is now.
pub(super) fn owners(state: &AgentState, env: &Env<'_, Agent>) -> Vec<Owner> {
    let own = &state.own;
    let mut owners = Vec::new();
    match wants::money(state, env) {
        Want::Nothing => {}
        Want::Wait(owner) => owners.push(owner),
        Want::Collect(_, owner) => owners.extend([owner, blocked(state, env)].into_iter().flatten()),
        Want::Now(purpose, bid) => {
            // An answer that may cost its stake at most has no end of its own where gas costs more: it is looked at again when it
            // is late.
            let limited = bid.deadline.filter(|_| bid.stake.is_some());
            let late = limited.map(|deadline| deadline.at.plus(env.policy.close_after));
            owners.extend(late.map(Owner::ChainTime));
            match replacement(state, env, purpose, bid) {
                Replacement::Later(again) => owners.push(Owner::Time(again)),
                Replacement::NotNeeded | Replacement::NotWorth => {}
                Replacement::OfNothing | Replacement::OfLowerClass | Replacement::OfLess => {
                    owners.push(blocked(state, env).unwrap_or(Owner::Time(env.uptime)));
                }
            }
        }
    }
    // A batch may never come; what else is wanted has a time.
    let flights = own.flights.iter().filter(|flight| flight.stage != Stage::Collected);
    owners.extend(flights.map(|flight| flight.owner(env.uptime, wants::reminder(env))));
    owners.extend(adapter::owners(state, env, env.policy.reminder));
    owners.extend(service::owners(state, env, wants::reminder(env)));
    owners.sort();
    owners.dedup();
    owners
}
