//! Effects: what is wanted and not under way.

use std::time::Duration;

use privatix_channel::Amount;

use super::{Agent, AgentNotice, AgentPolicy, AgentPurpose, AgentState, Replaced, wants};
use crate::flight::{Brings as _, cancel, is_hidden_since, leave_one, next, submit};
use crate::want::Want;
use crate::{Actual, Bid, Blocked, Book, Effect, Env, Flight, Owner, Priority, Stage, Uptime, Wei, Worth};

/// Submits, collects and cancels closes and settlements.
pub(super) fn money(state: &mut AgentState, env: &Env<'_, Agent>, effects: &mut Vec<Effect<Agent>>) {
    if env.kept_open.is_some() {
        // Vouchers may be missing, and a close below them would be final: also one of a batch goes.
        cancel(&mut state.own.flights, effects, |flight| flight.purpose.is_close());
    }
    pursue(state, env, effects);
    // What is left may not serve what is wanted, as an answer to an earlier challenge that cannot pay for its gas.
    if leave_single(state, effects) {
        pursue(state, env, effects);
        leave_single(state, effects);
    }
    // In a batch it would close the channel below a voucher that was acknowledged since. It is collected again once nothing blocks that.
    let best = state.book.best;
    cancel(&mut state.own.flights, effects, |flight| {
        flight.stage == Stage::Collected && flight.purpose.is_close() && flight.purpose.cumulative() < best
    });
}

/// Does what is wanted and not under way, and takes back what is not wanted.
fn pursue(state: &mut AgentState, env: &Env<'_, Agent>, effects: &mut Vec<Effect<Agent>>) {
    match wants::money(state, env) {
        Want::Nothing => {
            cancel(&mut state.own.flights, effects, |flight| flight.stage != Stage::Sent { batch: true });
        }
        Want::Wait(_) => cancel(&mut state.own.flights, effects, |flight| flight.stage == Stage::Collected),
        Want::Now(purpose, bid) => now(state, env, effects, purpose, bid),
        Want::Collect(purpose, _) => {
            if !purpose.is_close() {
                // The channel is to stay open.
                cancel(&mut state.own.flights, effects, |flight| {
                    flight.stage == Stage::Sent { batch: false }
                });
            }
            collect(state, env, effects, purpose);
        }
    }
}

/// Leaves one close and one settlement of those that wait to be mined alone; whether another was cancelled.
fn leave_single(state: &mut AgentState, effects: &mut Vec<Effect<Agent>>) -> bool {
    let before = effects.len();
    for closes in [true, false] {
        leave_one(&mut state.own.flights, effects, |purpose: AgentPurpose| purpose.is_close() == closes);
    }
    effects.len() > before
}

/// Wanted at once.
fn now(
    state: &mut AgentState,
    env: &Env<'_, Agent>,
    effects: &mut Vec<Effect<Agent>>,
    purpose: AgentPurpose,
    bid: Bid,
) {
    let is_close = purpose.is_close();
    let single = |flight: &Flight<AgentPurpose>| {
        flight.purpose.is_close() == is_close && flight.stage == Stage::Sent { batch: false }
    };
    let replacement = match replacement(state, env, purpose, bid) {
        Replacement::NotNeeded => {
            // A reorganisation below the final block brings back what another one has replaced.
            if let Some(first) =
                state.own.flights.iter().find(|f| single(f) && f.does(purpose, &bid, &state.chain))
            {
                let first = first.seq;
                cancel(&mut state.own.flights, effects, |flight| single(flight) && flight.seq != first);
            }
            return;
        }
        Replacement::NotWorth | Replacement::Later(_) => return,
        allowed => allowed,
    };
    if blocked(state, env).is_some() {
        return;
    }
    let doubts = bid.priority == Priority::Urgent && hides(state, purpose);
    if doubts || replacement == Replacement::OfLess {
        let challenge = state.chain.challenge_ends_at();
        let Replaced { count, doubted, .. } = counted(state);
        let count = count.saturating_add((replacement == Replacement::OfLess).into());
        let doubted = doubted.saturating_add(doubts.into());
        state.own.replaced = Replaced { challenge, count, last: Some(env.uptime), doubted };
    }
    cancel(&mut state.own.flights, effects, single);
    // What waited for a batch goes alone, under its number.
    let collected = state.own.flights.iter().position(|flight| flight.stage == Stage::Collected);
    let seq = match collected {
        Some(place) => state.own.flights.remove(place).seq,
        None => next(&mut state.own.seq),
    };
    submit(&mut state.own.flights, effects, (seq, purpose, bid));
}

/// Wanted in the next batch.
fn collect(
    state: &mut AgentState,
    env: &Env<'_, Agent>,
    effects: &mut Vec<Effect<Agent>>,
    purpose: AgentPurpose,
) {
    let is_under_way = |flight: &Flight<AgentPurpose>| flight.is_under_way(&state.chain);
    if state.own.flights.iter().any(is_under_way) || blocked(state, env).is_some() {
        return;
    }
    let collected = state.own.flights.iter_mut().find(|flight| flight.stage == Stage::Collected);
    let seq = match collected {
        Some(flight) if flight.purpose == purpose => return,
        // A settlement is not final. Offering each better voucher again would store a row more with each payment.
        Some(Flight { purpose: AgentPurpose::Settle { .. }, .. }) if !purpose.is_close() => return,
        Some(flight) => {
            flight.purpose = purpose;
            flight.seq
        }
        None => {
            let seq = next(&mut state.own.seq);
            let (bid, stage) = (Bid::of_batch(), Stage::Collected);
            state.own.flights.push(Flight { seq, purpose, bid, stage });
            seq
        }
    };
    effects.push(Effect::Collect { seq, purpose });
}

/// How a wanted transaction stands to those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// Nothing for the same is under way.
    OfNothing,
    /// What is under way is not as urgent, whatever it brings. It is always replaced, and that is not counted: the first answer to
    /// a challenge waits on nothing.
    OfLowerClass,
    /// What is under way is as urgent, and brings less.
    OfLess,
    /// What is under way does it.
    NotNeeded,
    /// What is under way is as urgent and brings less, but the difference is not worth another transaction's gas, or it was
    /// replaced too often.
    /// Else a client could raise the price that its agent pays, one unit after the other.
    NotWorth,
    /// The last replacement was a moment ago.
    Later(Uptime),
}

pub(super) fn replacement(
    state: &AgentState,
    env: &Env<'_, Agent>,
    purpose: AgentPurpose,
    wanted: Bid,
) -> Replacement {
    let is_same_kind = |flight: &&Flight<AgentPurpose>| flight.purpose.is_close() == purpose.is_close();
    // In a challenge a success is not believed against the events: if it was a lie, all that is claimed would be lost. Another close
    // costs little where the channel is closed.
    let is_believed =
        |flight: &Flight<AgentPurpose>| wanted.priority < Priority::Urgent || !flight.is_hidden(&state.chain);
    let under_way = || {
        let flights = state.own.flights.iter().filter(is_same_kind);
        flights.filter(|flight| flight.is_under_way(&state.chain) && is_believed(flight))
    };
    let serves = |flight: &Flight<AgentPurpose>| {
        flight.serves(&wanted)
            && (flight.stage.is_in_block() || wanted.stake.is_some() || pays(flight.bid.stake, env))
    };
    if under_way().any(|flight| flight.purpose.brings(purpose) && serves(flight)) {
        return Replacement::NotNeeded;
    }
    // The channel is closed by it, also where the events do not show that; no other close can follow. A batch may have left it out.
    if under_way().any(|flight| flight.purpose.is_close() && flight.stage.is_in_block()) {
        return Replacement::NotNeeded;
    }
    let serving = || under_way().filter(|flight| serves(flight));
    if serving().next().is_none() {
        return match doubtful(state, env, purpose, wanted) {
            Some(waits) => waits,
            None if under_way().next().is_some() => Replacement::OfLowerClass,
            None => Replacement::OfNothing,
        };
    }
    let worth = |cumulative: Amount| Book::worth(cumulative, &state.chain);
    // What cannot pay for its gas brings nothing, so that a better voucher may make the claim worth an answer.
    let brings = |flight: &&Flight<AgentPurpose>| flight.stage.is_in_block() || pays(flight.bid.stake, env);
    let highest = serving().filter(brings).map(|flight| flight.purpose.cumulative()).max();
    let gain = worth(purpose.cumulative()).saturating_sub(worth(highest.unwrap_or(state.chain.paid)));
    let challenge = state.chain.challenge_ends_at();
    let Replaced { count, last, .. } = counted(state);
    let is_worth = wants::worth_it(gain, env);
    let (most, is_worth) = match challenge {
        // What is not claimed in a challenge is lost, so only a gain that is known to be too small is left.
        Some(_) => (env.policy.replacements_of_answers, is_worth != Worth::NotNow),
        None => (env.policy.replacements, is_worth == Worth::Yes),
    };
    if !is_worth || count >= most {
        return Replacement::NotWorth;
    }
    match last.map(|last| last.plus(env.policy.between_replacements)) {
        Some(again) if again > env.uptime => Replacement::Later(again),
        _ => Replacement::OfLess,
    }
}

/// What was replaced in the present challenge, or since there is none.
fn counted(state: &AgentState) -> Replaced {
    let challenge = state.chain.challenge_ends_at();
    let nothing = Replaced { challenge, ..Replaced::default() };
    if state.own.replaced.challenge == challenge { state.own.replaced } else { nothing }
}

/// Whether the events do not show the success of a transaction of this kind that was made alone.
fn hides(state: &AgentState, purpose: AgentPurpose) -> bool {
    let is_same_kind = |flight: &&Flight<AgentPurpose>| flight.purpose.is_close() == purpose.is_close();
    let mut flights = state.own.flights.iter().filter(is_same_kind);
    flights.any(|flight| !flight.is_of_batch() && flight.is_hidden(&state.chain))
}

/// How many answers follow each other quickly in a challenge, beside successes that the events do not show. Endpoints that make up one
/// make up the next.
const QUICKLY_DOUBTED: u8 = 6;

/// How many there are at most: the others are spread over the challenge, since endpoints may be honest again in its last hour.
const DOUBTED: u8 = 16;

/// Whether an answer is to wait, because others have succeeded and nothing shows that. The first goes out at once, the next after
/// pauses that double, and then after a quarter of what is left of the challenge: each costs gas, and none can be mined before those
/// that were not mined.
fn doubtful(
    state: &AgentState,
    env: &Env<'_, Agent>,
    purpose: AgentPurpose,
    wanted: Bid,
) -> Option<Replacement> {
    let Replaced { last, doubted, .. } = counted(state);
    if wanted.priority < Priority::Urgent || doubted == 0 || !hides(state, purpose) {
        return None;
    }
    if doubted >= DOUBTED {
        return Some(Replacement::NotNeeded);
    }
    let pause = env.policy.retries().pause(doubted);
    let pause = if doubted < QUICKLY_DOUBTED {
        pause.min(longest_in_dispute(state, env))
    } else {
        share_of_challenge(state, env, 4).unwrap_or(pause)
    };
    let again = last?.plus(pause);
    (again > env.uptime).then_some(Replacement::Later(again))
}

/// The longest pause before another try in a challenge.
fn longest_in_dispute(state: &AgentState, env: &Env<'_, Agent>) -> Duration {
    share_of_challenge(state, env, 20).unwrap_or(Duration::MAX)
}

/// What is left of the challenge by this number, but no less than the first pause after a failure; `None` once nothing is left.
fn share_of_challenge(state: &AgentState, env: &Env<'_, Agent>, of: u32) -> Option<Duration> {
    let first = env.policy.retries().first;
    left_of_challenge(state, env).map(|left| left.checked_div(of).unwrap_or_default().max(first))
}

/// Whether a transaction that may cost at most its stake can be mined at the present price of gas. An answer to a close request
/// that was worth less than its gas would wait for ever when nothing is claimed any more.
fn pays(stake: Option<Wei>, env: &Env<'_, Agent>) -> bool {
    stake.zip(env.gas.close_cost).is_none_or(|(stake, cost)| stake >= cost)
}

/// Who must move on before the next try, if the last one failed or was cancelled.
pub(super) fn blocked(state: &AgentState, env: &Env<'_, Agent>) -> Option<Owner> {
    let retries = env.policy.retries();
    let in_dispute = wants::is_disputed(state, env.policy).then(|| longest_in_dispute(state, env));
    state.own.blocked?.waits_for(&retries, in_dispute, env.uptime, env.reminder(retries.reminder))
}

/// What is left of the challenge that runs, by the chain's clock.
fn left_of_challenge(state: &AgentState, env: &Env<'_, Agent>) -> Option<Duration> {
    let left = state.chain.challenge_ends_at()?.since(env.chain.now?);
    (left.seconds() > 0).then_some(left.into())
}

/// What is shown of the difference between two states.
pub(super) fn notices(before: &AgentState, after: &AgentState, policy: &AgentPolicy) -> Vec<AgentNotice> {
    let mut notices = Vec::new();
    let (old, new) = (&before.own, &after.own);
    if let Some(ending) = new.ending.filter(|_| old.ending.map(|e| e.why) != new.ending.map(|e| e.why)) {
        notices.push(AgentNotice::Ends(ending.why));
    }
    let disputed =
        |state: &AgentState| state.chain.challenge_ends_at().filter(|_| wants::is_disputed(state, policy));
    let claimable = after.book.claimable(&after.chain);
    match (after.chain.challenge_ends_at(), disputed(after)) {
        (Some(_), Some(ends_at)) if disputed(before) != Some(ends_at) => {
            notices.push(AgentNotice::Disputed { claimable, ends_at });
        }
        (Some(ends_at), None)
            if before.chain.challenge_ends_at() != Some(ends_at)
                && !claimable.is_zero()
                && !new.abandoned =>
        {
            notices.push(AgentNotice::Conceded { claimable });
        }
        _ => {}
    }
    if new.service.actual == Actual::Lost && old.service.actual != Actual::Lost {
        notices.push(AgentNotice::ServiceLost);
    }
    if new.blocked != old.blocked {
        notices.extend(new.blocked.and_then(|blocked| match blocked {
            Blocked::Failing { tries, lasting, .. } => Some(AgentNotice::Failing { tries, lasting }),
            Blocked::Parked { .. } => Some(AgentNotice::Parked),
            Blocked::Unseen { .. } => None,
        }));
    }
    if is_hidden_since(&old.flights, &new.flights) {
        notices.push(AgentNotice::Hidden);
    }
    if new.abandoned && !old.abandoned {
        notices.push(AgentNotice::Abandoned { claimable });
    }
    notices
}
