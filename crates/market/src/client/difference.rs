//! Effects: what is wanted and not under way.

use privatix_channel::Phase;

use super::{Client, ClientNotice, ClientPurpose, ClientState, Reach, billing, top_up, wants};
use crate::flight::{cancel, is_hidden_since, leave_one, next, submit};
use crate::want::Want;
use crate::{Actual, Bid, Blocked, Effect, Env, Flight, Owner, Stage};

/// Everything about the channel's money.
pub(super) fn money(
    before: &ClientState,
    state: &mut ClientState,
    env: &Env<'_, Client>,
    effects: &mut Vec<Effect<Client>>,
) {
    // The money for these is there.
    for flight in state.own.flights.iter().filter(|flight| flight.stage == Stage::Sent { batch: false }) {
        let was_funding = |f: &&Flight<ClientPurpose>| f.seq == flight.seq && f.stage == Stage::Funding;
        if before.own.flights.iter().any(|f| was_funding(&f)) {
            let (seq, purpose, bid) = (flight.seq, flight.purpose, flight.bid);
            effects.push(Effect::Submit { seq, purpose, bid });
        }
    }
    if state.own.ending.is_some() || matches!(state.chain.phase(), Phase::Closed { .. }) {
        cancel(&mut state.own.flights, effects, |f| matches!(f.purpose, ClientPurpose::Open { .. }));
    }
    top_up::taken(before, state, effects);
    top_up::difference(state, env, effects);
    closing(state, env, effects);
}

/// Submits and cancels what takes the deposit back.
fn closing(state: &mut ClientState, env: &Env<'_, Client>, effects: &mut Vec<Effect<Client>>) {
    let want = wants::closing(state, env);
    let phase = state.chain.phase();
    // What cannot succeed now would only cost gas. In a recovery nothing is known for certain that could be admitted.
    let is_possible = |purpose: ClientPurpose| match (purpose, phase) {
        _ if want == Want::Nothing => false,
        (ClientPurpose::RequestClose { .. }, Phase::Open) => env.kept_open.is_none(),
        (ClientPurpose::FinalizeClose, Phase::Closing { .. }) => true,
        _ => phase == Phase::Unopened,
    };
    cancel(&mut state.own.flights, effects, |f| f.purpose.closes() && !is_possible(f.purpose));
    let Want::Now(purpose, bid) = want else {
        return leave_one(&mut state.own.flights, effects, ClientPurpose::closes);
    };
    if let Some(first) = state.own.flights.iter().find(|flight| does(flight, purpose, &bid, state)) {
        // A reorganisation below the final block brings back what another one has replaced.
        let first = first.seq;
        return cancel(&mut state.own.flights, effects, |f| f.purpose.closes() && f.seq != first);
    }
    if is_full(state) || blocked(state, env).is_some() {
        return leave_one(&mut state.own.flights, effects, ClientPurpose::closes);
    }
    cancel(&mut state.own.flights, effects, |flight| flight.purpose.closes());
    let seq = next(&mut state.own.seq);
    submit(&mut state.own.flights, effects, (seq, purpose, bid));
}

/// Whether what is wanted is under way.
pub(super) fn is_on_its_way(state: &ClientState, purpose: ClientPurpose, bid: &Bid) -> bool {
    state.own.flights.iter().any(|flight| does(flight, purpose, bid, state))
}

/// Whether a transaction does what is wanted. A close request that is in a block stands, whatever it admits, also where the events do
/// not show that: another one would fail.
fn does(flight: &Flight<ClientPurpose>, wanted: ClientPurpose, bid: &Bid, state: &ClientState) -> bool {
    let requests = |purpose| matches!(purpose, ClientPurpose::RequestClose { .. });
    let stands = requests(flight.purpose) && flight.stage.is_in_block() && flight.is_under_way(&state.chain);
    flight.does(wanted, bid, &state.chain) || (stands && requests(wanted))
}

/// Whether the list of transactions is full: no other is added before the outcome of one is final.
pub(super) fn is_full(state: &ClientState) -> bool {
    const MOST: usize = 48;
    state.own.flights.len() >= MOST
}

/// Who must move on before the next try, if the last one failed or was cancelled.
pub(super) fn blocked(state: &ClientState, env: &Env<'_, Client>) -> Option<Owner> {
    let retries = env.policy.retries();
    state.own.blocked?.waits_for(&retries, None, env.uptime, env.reminder(retries.reminder))
}

/// What is shown of the difference between two states.
pub(super) fn notices(before: &ClientState, after: &ClientState, env: &Env<'_, Client>) -> Vec<ClientNotice> {
    let mut notices = Vec::new();
    let (old, new) = (&before.own, &after.own);
    if let Some(ending) = new.ending.filter(|_| old.ending.map(|e| e.why) != new.ending.map(|e| e.why)) {
        notices.push(ClientNotice::Ends(ending.why));
    }
    if new.signer.tries == 1 && old.signer.tries != 1 {
        notices.push(ClientNotice::CannotSign);
    }
    let claimed = new.floor.filter(|floor| !floor.accepted && old.floor != new.floor);
    notices.extend(claimed.map(|floor| ClientNotice::Claimed { claimed: floor.claimed }));
    if new.service.actual == Actual::Lost && old.service.actual != Actual::Lost {
        notices.push(ClientNotice::ServiceLost);
    }
    if is_hidden_since(&old.flights, &new.flights) {
        notices.push(ClientNotice::Hidden);
    }
    if new.not_now != old.not_now {
        notices.extend(new.not_now.map(ClientNotice::NotNow));
    }
    if new.away.is_some() && old.away.is_none() {
        notices.push(ClientNotice::Unreachable { answers: new.peer != Reach::Silent });
    }
    if new.disagrees.is_some() && old.disagrees.is_none() {
        let apart = billing::apart(after, env);
        notices.extend(apart.map(|apart| ClientNotice::MetersApart {
            ours: apart.ours,
            theirs: apart.theirs,
            most: apart.most,
        }));
    }
    if new.auto.tries != old.auto.tries && new.auto.tries == env.policy.top_up_notice {
        notices.push(ClientNotice::TopUpsFail { tries: new.auto.tries });
    }
    if new.blocked != old.blocked {
        notices.extend(new.blocked.and_then(|blocked| match blocked {
            Blocked::Failing { tries, lasting, .. } => Some(ClientNotice::Failing { tries, lasting }),
            Blocked::Parked { .. } => Some(ClientNotice::Parked),
            Blocked::Unseen { .. } => None,
        }));
    }
    notices
}
