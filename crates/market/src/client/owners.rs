//! What moves a state on, read off the wants.

use super::{Client, ClientState, difference, payment, requests, service, top_up, wants};
use crate::want::Want;
use crate::{Env, Owner, adapter};

/// All that can move the state on; empty when it is final.
pub(super) fn owners(state: &ClientState, env: &Env<'_, Client>) -> Vec<Owner> {
    let mut owners: Vec<Owner> = state
        .own
        .flights
        .iter()
        .map(|flight| flight.owner(env.uptime, env.reminder(env.policy.reminder)))
        .collect();
    match wants::closing(state, env) {
        Want::Nothing | Want::Collect(..) => {}
        Want::Wait(owner) => owners.push(owner),
        Want::Now(purpose, bid) => {
            let is_full = difference::is_full(state);
            if !is_full && !difference::is_on_its_way(state, purpose, &bid) {
                owners.push(difference::blocked(state, env).unwrap_or(Owner::Time(env.uptime)));
            }
        }
    }
    owners.extend(payment::owners(state, env));
    owners.extend(requests::owners(state, env));
    owners.extend(top_up::owners(state, env));
    owners.extend(adapter::owners(state, env, env.policy.reminder));
    owners.extend(service::owners(state, env));
    owners.sort();
    owners.dedup();
    owners
}
