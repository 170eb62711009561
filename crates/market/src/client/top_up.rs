//! Top-ups: each order has a transaction of its own, one after the other, and ends with an outcome.

use privatix_channel::{Amount, Phase};

use super::opening::fund;
use super::{Client, ClientEffect, ClientPurpose, ClientState, Outcome, TopUp, billing};
use crate::flight::Reported;
use crate::{Again, Effect, Env, Fate, Flight, OrderId, Owner, Refused, Stage, Trouble};

/// Whether the deposit may still be raised: it helps nothing once the service has ended, and takes a close request back.
fn is_wanted(state: &ClientState) -> bool {
    state.own.ending.is_none() && matches!(state.chain.phase(), Phase::Unopened | Phase::Open)
}

/// The user's order.
pub(super) fn order(
    state: &mut ClientState,
    order: OrderId,
    amount: Amount,
    env: &Env<'_, Client>,
) -> Result<(), Refused> {
    if state.own.last_order.is_some_and(|last| order <= last) {
        return Ok(()); // it was taken before
    }
    let waiting = state.own.top_ups.len();
    let (needed, left) = (amount, env.budget.left());
    let phase = state.chain.phase();
    if state.own.ending.is_some() && !matches!(phase, Phase::Closed { .. }) {
        return Err(Refused::Ended);
    }
    if !is_wanted(state) {
        return Err(Refused::Over { phase });
    }
    if !env.chain.fresh {
        return Err(Refused::StaleView);
    }
    if let Some(skew) = env.chain.skew {
        return Err(Refused::Clock(skew));
    }
    if waiting >= env.policy.top_ups {
        return Err(Refused::Full { waiting });
    }
    if needed > left {
        return Err(Refused::Budget { needed, left });
    }
    take(state, TopUp { order, amount, automatic: false, outcome: None });
    Ok(())
}

fn take(state: &mut ClientState, top_up: TopUp) {
    state.own.last_order = state.own.last_order.max(Some(top_up.order));
    state.own.top_ups.push(top_up);
}

/// Orders a top-up where the policy asks for one and none is under way.
pub(super) fn automatic(state: &mut ClientState, env: &Env<'_, Client>) {
    let Some(amount) = billing::top_up(state, env).filter(|_| is_wanted(state)) else { return };
    // What has ended just now makes room.
    let waiting = state.own.top_ups.iter().filter(|top_up| top_up.outcome.is_none()).count();
    if waiting >= env.policy.top_ups {
        return;
    }
    let over_budget = amount > env.budget.left();
    let outcome = over_budget.then_some(Outcome::Failed(Trouble::Budget));
    if over_budget {
        failed(state, env);
    }
    take(state, TopUp { order: env.next_order, amount, automatic: true, outcome });
}

fn failed(state: &mut ClientState, env: &Env<'_, Client>) {
    let policy = env.policy;
    state.own.auto.failed(policy.top_up_first, policy.top_up_longest, env.uptime);
}

/// Whether the deposit is about to grow, or has grown and the events do not show it: nothing more is ordered meanwhile, and a deposit
/// that is used up ends nothing.
pub(super) fn is_pending(state: &ClientState) -> bool {
    let own = &state.own;
    let waits = |top_up: &TopUp| top_up.outcome.is_none() && flight_of(state, top_up).is_none();
    let is_unseen = |flight: &Flight<ClientPurpose>| {
        flight.purpose.is_top_up() && flight.stage.is_in_block() && flight.is_under_way(&state.chain)
    };
    let may_grow = |flight: &Flight<ClientPurpose>| is_on_its_way(flight) || is_unseen(flight);
    own.flights.iter().any(may_grow) || own.top_ups.iter().any(waits)
}

/// Whether a top-up is on its way, as far as this side's view of the chain goes: the next one waits for it.
fn is_on_its_way(flight: &Flight<ClientPurpose>) -> bool {
    let may_come = flight.stage.is_under_way() || flight.stage == Stage::Cancelling;
    flight.purpose.is_top_up() && may_come
}

fn flight_of<'a>(state: &'a ClientState, top_up: &TopUp) -> Option<&'a Flight<ClientPurpose>> {
    let purpose = ClientPurpose::TopUp { order: top_up.order, amount: top_up.amount };
    state.own.flights.iter().find(|flight| flight.purpose == purpose)
}

/// What became of a top-up's transaction.
pub(super) fn reported(
    state: &mut ClientState,
    (seq, order, amount): (u32, OrderId, Amount),
    Reported { before, fate }: Reported,
    env: &Env<'_, Client>,
) {
    let own = &mut state.own;
    let came_back = own.ending.is_none() && own.restored.is_some_and(|restored| restored.holds(seq));
    let top_up = own.top_ups.iter_mut().find(|top_up| top_up.order == order);
    let is_automatic = top_up.as_ref().is_some_and(|top_up| top_up.automatic);
    // Cancelled by us, it came back with a backup, or its channel ended.
    let trouble = |trouble| match before {
        Some(Stage::Cancelling) if came_back => Trouble::Restored,
        Some(Stage::Cancelling) => Trouble::Ended,
        _ => trouble,
    };
    let outcome = match fate {
        Fate::Final if before == Some(Stage::Reverted) => Some(Outcome::Failed(Trouble::Failed)),
        Fate::Final => Some(Outcome::Done),
        Fate::Unfunded(why) => Some(Outcome::Failed(why)),
        Fate::Failed { .. } => Some(Outcome::Failed(trouble(Trouble::Failed))),
        Fate::Cancelled => Some(Outcome::Failed(trouble(Trouble::Cancelled))),
        Fate::Funded
        | Fate::Batched
        | Fate::Mined(_)
        | Fate::Reverted
        | Fate::Reinstated { .. }
        | Fate::Withdrawn => None,
    };
    // A reorganisation below the final block has brought back what had ended: the last outcome counts.
    let ends_again = !matches!(before, Some(Stage::Unseen { .. })) && own.last_order >= Some(order);
    match top_up {
        Some(top_up) if outcome.is_some() => top_up.outcome = outcome,
        None if outcome.is_some() && ends_again => {
            own.top_ups.push(TopUp { order, amount, automatic: false, outcome });
        }
        _ => {}
    }
    let has_failed = match fate {
        Fate::Reverted => before != Some(Stage::Reverted),
        _ => matches!(outcome, Some(Outcome::Failed(_))) && before != Some(Stage::Reverted),
    };
    match fate {
        Fate::Mined(_) => own.auto = Again::default(),
        _ if has_failed && is_automatic => failed(state, env),
        _ => {}
    }
}

/// Has the orders stored that were taken just now: before anything is done about them, so that none is without its reservation.
pub(super) fn taken(before: &ClientState, state: &ClientState, effects: &mut Vec<Effect<Client>>) {
    let last = before.own.last_order;
    let new = state.own.top_ups.iter().filter(|top_up| last.is_none_or(|last| top_up.order > last));
    effects.extend(new.map(|&TopUp { order, amount, automatic, .. }| {
        Effect::Own(ClientEffect::TakeOrder { order, amount, automatic })
    }));
}

/// Provides the money for the next order, takes back what is not wanted any more, and reports what has ended.
pub(super) fn difference(state: &mut ClientState, env: &Env<'_, Client>, effects: &mut Vec<Effect<Client>>) {
    if !is_wanted(state) {
        give_up(state, Trouble::Ended, effects);
    }
    state.own.top_ups.retain(|top_up| {
        let ended = |outcome| ClientEffect::EndOrder { order: top_up.order, outcome };
        effects.extend(top_up.outcome.map(|outcome| Effect::Own(ended(outcome))));
        top_up.outcome.is_none()
    });
    if let Some(top_up) = next(state).filter(|_| may_be_funded(state, env)) {
        fund(state, ClientPurpose::TopUp { order: top_up.order, amount: top_up.amount }, effects);
    }
}

/// Gives all orders up: their transactions are cancelled, and those without one end for this reason.
pub(super) fn give_up(state: &mut ClientState, why: Trouble, effects: &mut Vec<Effect<Client>>) {
    crate::flight::cancel(&mut state.own.flights, effects, |flight| flight.purpose.is_top_up());
    for place in 0..state.own.top_ups.len() {
        let gone = state.own.top_ups.get(place).is_some_and(|top_up| flight_of(state, top_up).is_none());
        if let Some(top_up) = state.own.top_ups.get_mut(place).filter(|_| gone) {
            top_up.outcome.get_or_insert(Outcome::Failed(why));
        }
    }
}

/// The next order that has no transaction yet.
fn next(state: &ClientState) -> Option<TopUp> {
    let mut waiting = state.own.top_ups.iter().filter(|top_up| flight_of(state, top_up).is_none());
    waiting.next().copied()
}

fn may_be_funded(state: &ClientState, env: &Env<'_, Client>) -> bool {
    let is_open = state.chain.phase() == Phase::Open;
    is_open && env.chain.may_lock() && !state.own.flights.iter().any(is_on_its_way)
}

/// What moves the top-ups on.
pub(super) fn owners(state: &ClientState, env: &Env<'_, Client>) -> Vec<Owner> {
    let mut owners = Vec::new();
    let waits = next(state).is_some() || (is_wanted(state) && billing::wants_top_up(state, env));
    if waits && !env.chain.may_lock() {
        owners.push(Owner::Chain { reminder: env.reminder(env.policy.reminder) });
    }
    let auto = state.own.auto;
    let waits =
        is_wanted(state) && !auto.is_over(env.uptime) && state.own.service.target == crate::Target::Running;
    owners.extend(waits.then_some(Owner::Time(auto.at)));
    owners
}
