//! What came back with a backup: it may have been done since, and this database does not know that.

use serde::{Deserialize, Serialize};

use super::{Client, ClientPurpose, ClientState, top_up};
use crate::{Effect, Env, Flight, RecoveryId, Stage, Trouble, flight};

/// What a state held when its database came back from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Restored {
    /// The recovery.
    pub recovery: RecoveryId,
    /// The last number that had been given to an effect.
    pub seq: u32,
}

impl Restored {
    /// Whether a transaction is from before the restore.
    pub(super) const fn holds(&self, seq: u32) -> bool {
        seq <= self.seq
    }
}

/// Notes what a restored state holds, with the first decision about it, whatever the input is. Returns whether this is that decision.
pub(super) fn note(state: &mut ClientState, env: &Env<'_, Client>) -> bool {
    let own = &mut state.own;
    let known = own.restored.map(|restored| restored.recovery);
    let Some(recovery) = env.recovery.filter(|recovery| known != Some(*recovery)) else { return false };
    own.restored = Some(Restored { recovery, seq: own.seq });
    true
}

/// Gives up what a restored state holds and what would take money once more: whoever ordered it sees on chain whether it was done.
pub(super) fn give_up(state: &mut ClientState, env: &Env<'_, Client>, effects: &mut Vec<Effect<Client>>) {
    if !note(state, env) {
        return;
    }
    let opens = |flight: &Flight<ClientPurpose>| matches!(flight.purpose, ClientPurpose::Open { .. });
    if state.own.flights.iter().any(|flight| opens(flight) && flight.stage == Stage::Funding) {
        state.own.not_opened = Some(Trouble::Restored);
    }
    flight::cancel(&mut state.own.flights, effects, opens);
    top_up::give_up(state, Trouble::Restored, effects);
    let own = &mut state.own;
    own.auto.at = own.auto.at.max(env.uptime.plus(env.policy.top_up_first));
}

/// Whether a transaction is from before the restore, and the recovery has not ended: this database does not know all that was tried.
pub(super) fn is_uncertain(state: &ClientState, seq: u32, env: &Env<'_, Client>) -> bool {
    state.own.restored.is_some_and(|restored| env.recovery == Some(restored.recovery) && restored.holds(seq))
}
