//! What moves a state on, read off the wants.

use super::{Client, ClientState, service, top_up};
use crate::{Env, Owner, adapter};

/// All that can move the state on; empty when it is final.
pub(super) fn owners(state: &ClientState, env: &Env<'_, Client>) -> Vec<Owner> {
    let mut owners: Vec<Owner> =
        state.own.flights.iter().map(|flight| Owner::Transaction(flight.seq)).collect();
    owners.extend(top_up::owners(state, env));
    owners.extend(adapter::owners(state, env, env.policy.reminder));
    owners.extend(service::owners(state, env));
    owners.sort();
    owners.dedup();
    owners
}
