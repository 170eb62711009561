//! What endangers an agent's money in a channel.

use privatix_channel::Phase;

use super::difference::{Replacement, replacement};
use super::{Agent, AgentState, wants};
use crate::Env;
use crate::concern::{self, Concern, Known};
use crate::want::Want;

/// Its concerns, those of a dispute first.
pub(super) fn concerns(state: &AgentState, env: &Env<'_, Agent>) -> Vec<Concern> {
    let claimable = state.book.claimable(&state.chain);
    let ends_at = state.chain.challenge_ends_at();
    let disputed = ends_at.filter(|_| wants::is_disputed(state, env.policy));
    let mut concerns = Vec::new();
    if let Some(ends_at) = disputed {
        let is_answered = match wants::money(state, env) {
            // One that brings less is on its way, too.
            Want::Now(purpose, bid) => !matches!(
                replacement(state, env, purpose, bid),
                Replacement::OfNothing | Replacement::OfLowerClass
            ),
            Want::Nothing | Want::Wait(_) | Want::Collect(..) => false,
        };
        concerns.push(if is_answered {
            Concern::Answered { claimable, ends_at }
        } else {
            Concern::Unanswered { claimable, ends_at }
        });
    }
    // A voucher of a closed channel brings nothing any more.
    let is_needed = !state.own.abandoned && !matches!(state.chain.phase(), Phase::Closed { .. });
    let known = Known {
        at_stake: claimable,
        blocked: state.own.blocked,
        damaged: env.damaged_voucher.filter(|damaged| is_needed && state.book.best < *damaged),
        in_challenge: ends_at.is_some(),
    };
    concerns.extend(concern::common(state, env, &known));
    concerns
}
