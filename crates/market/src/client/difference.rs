//! Effects: what is wanted and not under way.

use super::{Client, ClientNotice, ClientPurpose, ClientRules, ClientState, top_up};
use crate::flight::cancel;
use crate::{Actual, Effect, Env, Obstacle, Stage};

/// Everything about the channel's money.
pub(super) fn money(
    before: &ClientState,
    state: &mut ClientState,
    env: &Env<'_, Client>,
    effects: &mut Vec<Effect<Client>>,
) {
    // The money for these is there.
    for flight in state.own.flights.iter().filter(|flight| flight.stage == Stage::Sent { batch: false }) {
        let was_funding =
            |f: &&crate::Flight<ClientPurpose>| f.seq == flight.seq && f.stage == Stage::Funding;
        if before.own.flights.iter().any(|f| was_funding(&f)) {
            let (seq, purpose, bid) = (flight.seq, flight.purpose, flight.bid);
            effects.push(Effect::Submit { seq, purpose, bid });
        }
    }
    if state.own.ending.is_some() || matches!(state.chain.phase(), privatix_channel::Phase::Closed { .. }) {
        cancel(&mut state.own.flights, effects, |f| matches!(f.purpose, ClientPurpose::Open { .. }));
    }
    top_up::difference(state, env, effects);
}

/// What is shown of the difference between two states.
pub(super) fn notices(before: &ClientState, after: &ClientState, rules: &ClientRules) -> Vec<ClientNotice> {
    let mut notices = Vec::new();
    let (old, new) = (&before.own, &after.own);
    if let Some(ending) = new.ending.filter(|_| old.ending.map(|e| e.why) != new.ending.map(|e| e.why)) {
        notices.push(ClientNotice::Ends(ending.why));
    }
    if new.service.actual == Actual::Lost && old.service.actual != Actual::Lost {
        notices.push(ClientNotice::ServiceLost);
    }
    if new.auto.tries != old.auto.tries && new.auto.tries == rules.top_up_notice {
        notices.push(ClientNotice::TopUpsFail { tries: new.auto.tries });
    }
    if new.obstacle != old.obstacle {
        notices.extend(new.obstacle.and_then(|obstacle| match obstacle {
            Obstacle::Failing { tries, lasting, .. } => Some(ClientNotice::Failing { tries, lasting }),
            Obstacle::Parked { .. } => Some(ClientNotice::Parked),
            Obstacle::Unseen { .. } => None,
        }));
    }
    notices
}
