//! What endangers a client's money in a channel.

use privatix_channel::{Amount, Phase};

use super::{Client, ClientEnd, ClientPurpose, ClientState, proof, wants};
use crate::concern::{self, Concern, Known};
use crate::{Env, Flight};

/// Its concerns.
pub(super) fn concerns(state: &ClientState, env: &Env<'_, Client>) -> Vec<Concern> {
    let locked = match state.chain.phase() {
        Phase::Unopened | Phase::Closed { .. } => Amount::ZERO,
        Phase::Open | Phase::Closing { .. } => {
            state.chain.deposit.saturating_sub(wants::admitted(state, env))
        }
    };
    // Nothing is to be admitted in a closed channel.
    let is_needed = !state.own.abandoned && !matches!(state.chain.phase(), Phase::Closed { .. });
    let known = Known {
        at_stake: locked,
        blocked: state.own.blocked,
        damaged: env.damaged_voucher.filter(|_| is_needed),
        // In a challenge its agent shows vouchers, and the client none.
        in_challenge: false,
    };
    let mut concerns = Vec::new();
    if wants::ending(state) == Some(ClientEnd::KeyUsedElsewhere) && state.chain.phase().is_open() {
        concerns.push(Concern::KeyUsedElsewhere);
    }
    let asks = |flight: &Flight<ClientPurpose>| matches!(flight.purpose, ClientPurpose::RequestClose { .. });
    let is_asking = state.chain.phase() == Phase::Open && state.own.flights.iter().any(asks);
    if is_asking && !proof::is_proven(state, env) {
        concerns.push(Concern::Unproven { admitted: wants::admitted(state, env) });
    }
    concerns.extend(concern::common(state, env, &known));
    concerns
}
