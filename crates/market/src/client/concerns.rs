//! What endangers a client's money in a channel.

use privatix_channel::{Amount, Phase};

use super::{Client, ClientState, wants};
use crate::Env;
use crate::concern::{self, Concern, Known};

/// Its concerns.
pub(super) fn concerns(state: &ClientState, env: &Env<'_, Client>) -> Vec<Concern> {
    let locked = match state.chain.phase() {
        Phase::Unopened | Phase::Closed { .. } => Amount::ZERO,
        Phase::Open | Phase::Closing { .. } => state.chain.deposit.saturating_sub(wants::admitted(state)),
    };
    let known = Known {
        at_stake: locked,
        blocked: state.own.blocked,
        damaged: env.damaged_voucher.filter(|_| !state.own.abandoned),
        // In a challenge its agent shows vouchers, and the client none.
        in_challenge: false,
    };
    concern::common(state, env, &known)
}
