//! What an input changes: facts only, no decisions.

use std::sync::Arc;

use privatix_channel::{Phase, Usage};

use super::{
    Actual, Agent, AgentEnd, AgentMessage, AgentOrder, AgentPurpose, AgentState, Asked, Ending, Obstacle,
    Reply, Target, Why, payment, service,
};
use crate::{Answered, Env, Fate, Flight, Input, Purpose, Refused, Stage};

/// Takes an input in; the answer if it was a message.
pub(super) fn apply(
    state: &mut AgentState,
    input: &Input<Agent>,
    env: &Env<'_, Agent>,
) -> Result<Option<Reply>, Refused> {
    match input {
        Input::Chain(chain) => state.chain = *chain,
        Input::Look => {}
        Input::Used { used, running } => meter(state, *used, *running, env),
        Input::Terms(terms) => {
            state.terms.get_or_insert_with(|| Arc::clone(terms));
        }
        Input::Adapter { seq, answer } => adapter(state, *seq, *answer, env),
        Input::Tx { seq, purpose, fate } => transaction(state, *seq, *purpose, *fate, env),
        Input::Order(order) => self::order(state, *order, env)?,
        Input::Peer(AgentMessage::Voucher(voucher)) => {
            return payment::voucher(state, *voucher, env).map(Some);
        }
        Input::Peer(AgentMessage::Access) => return Ok(Some(payment::access(state, env))),
    }
    Ok(None)
}

fn meter(state: &mut AgentState, used: Usage, running: bool, env: &Env<'_, Agent>) {
    let meter = &mut state.meter;
    let has_grown = used > meter.used;
    if has_grown || running != meter.running.is_some() {
        // What ran up to now is in the total.
        meter.running = running.then_some(env.uptime);
    }
    if has_grown {
        (meter.used, meter.last) = (used, env.uptime);
        state.own.idle.reset(env.uptime);
    }
}

fn adapter(state: &mut AgentState, seq: u32, answer: Answered, env: &Env<'_, Agent>) {
    let service = &mut state.own.service;
    let is_lost = service.actual == Actual::Lost;
    let asked = service.asked.filter(|asked| asked.seq == seq);
    let actual = match (answer, asked) {
        // However late it comes, what was lost is found: only a later start could bring it back, which is answered too.
        (Answered::Did(Actual::Absent), _) if is_lost => Actual::Absent,
        (Answered::Did(actual), Some(_)) => actual,
        // It is asked once in a minute, however fast it answers.
        (_, Some(Asked { target: Target::Absent, .. })) if is_lost => return,
        (_, Some(asked)) => return given_up(state, asked.target, answer == Answered::Refused, env),
        (_, None) => return,
    };
    if service.actual != actual {
        // A service that is found to be absent was given up before: the channel's money has not waited for it.
        let since = if is_lost && actual == Actual::Absent { service.since } else { env.uptime };
        (service.actual, service.since) = (actual, since);
    }
    service.instance = env.instance;
    // Else the runner goes on, within the time that it has.
    service.asked = service.asked.filter(|asked| !actual.is(asked.target));
}

/// The adapter did not do what it was asked for. A service that cannot be suspended is stopped, and one that cannot be stopped
/// is lost; to prepare it or to run it is tried again.
fn given_up(state: &mut AgentState, target: Target, refused: bool, env: &Env<'_, Agent>) {
    state.own.refused = refused;
    let service = &mut state.own.service;
    service.asked = None;
    let may_serve = !matches!(service.actual(env.instance), Actual::Absent | Actual::Suspended);
    match target {
        Target::Absent if service.actual == Actual::Lost => {}
        Target::Absent => (service.actual, service.since) = (Actual::Lost, env.uptime),
        // An adapter that is away while nothing is seen of the chain is nobody's fault. What it did is not known.
        Target::Suspended if may_serve && !refused && service.why.is_some_and(Why::is_of_the_view) => {
            if service.actual != Actual::Lost {
                (service.actual, service.since) = (Actual::Unknown, env.uptime);
            }
            state.own.unanswered = Some(env.uptime);
        }
        Target::Suspended if may_serve => end(state, AgentEnd::AdapterStuck, env),
        Target::Suspended | Target::Running => state.own.stuck.run(true, env.uptime),
    }
}

/// Ends the service for good. The first reason stays.
pub(super) fn end(state: &mut AgentState, why: AgentEnd, env: &Env<'_, Agent>) {
    state.own.ending.get_or_insert(Ending { why, since: env.uptime });
}

fn transaction(state: &mut AgentState, seq: u32, purpose: AgentPurpose, fate: Fate, env: &Env<'_, Agent>) {
    let own = &mut state.own;
    let place = own.flights.iter().position(|flight| flight.seq == seq);
    let before = place.and_then(|place| own.flights.get(place)).map(|flight| flight.stage);
    let stage = match fate {
        Fate::Batched => Some(Stage::Sent { batch: true }),
        Fate::Mined(block) => Some(Stage::Mined { block, seen: false }),
        Fate::Reverted => Some(Stage::Reverted),
        Fate::Reinstated { batch } => Some(Stage::Sent { batch }),
        Fate::Failed { .. } | Fate::Cancelled | Fate::Final => None,
    };
    match (place, stage) {
        (Some(place), Some(stage)) => {
            if let Some(flight) = own.flights.get_mut(place) {
                flight.stage = following(flight.stage, stage);
            }
        }
        (Some(place), None) => {
            own.flights.remove(place);
        }
        // One that was over is under way again, or this state comes from before it was made.
        (None, Some(stage)) if matches!(fate, Fate::Reinstated { .. }) || seq > own.seq => {
            let bid = Purpose::from(purpose).bid(&crate::AtStake::default());
            own.flights.push(Flight { seq, purpose, bid, stage });
            own.seq = own.seq.max(seq);
        }
        (None, _) => return,
    }
    let tries = match own.obstacle {
        Some(Obstacle::Failing { tries, .. }) => tries,
        _ => 0,
    };
    let failing =
        |lasting| Some(Obstacle::Failing { since: env.uptime, tries: tries.saturating_add(1), lasting });
    match fate {
        Fate::Mined(_) => own.obstacle = None,
        Fate::Reverted if before != Some(Stage::Reverted) => own.obstacle = failing(false),
        // Cancelled by us, it was to be replaced.
        Fate::Failed { .. } | Fate::Cancelled if before == Some(Stage::Cancelling) => {}
        Fate::Failed { lasting } => own.obstacle = failing(lasting),
        Fate::Cancelled => own.obstacle = Some(Obstacle::Parked { since: env.uptime }),
        Fate::Final if matches!(before, Some(Stage::Mined { seen: false, .. })) => {
            own.obstacle.get_or_insert(Obstacle::Unseen { since: env.uptime });
        }
        _ => {}
    }
}

/// The stage after a report. One that we cancelled stays so until it is over or in a block; a repeated report changes nothing.
fn following(before: Stage, reported: Stage) -> Stage {
    match (before, reported) {
        (Stage::Cancelling, Stage::Sent { .. }) => before,
        (Stage::Mined { block, .. }, Stage::Mined { block: again, .. }) if block == again => before,
        _ => reported,
    }
}

fn order(state: &mut AgentState, order: AgentOrder, env: &Env<'_, Agent>) -> Result<(), Refused> {
    let phase = state.chain.phase();
    if matches!(phase, Phase::Closed { .. }) {
        return Err(Refused::Over { phase });
    }
    let own = &mut state.own;
    match order {
        AgentOrder::End => {
            own.ending.get_or_insert(Ending { why: AgentEnd::ByOrder, since: env.uptime });
        }
        AgentOrder::Close => {
            if own.ending.is_none_or(|ending| ending.why != AgentEnd::CloseByOrder) {
                own.ending = Some(Ending { why: AgentEnd::CloseByOrder, since: env.uptime });
            }
            own.obstacle = None;
            own.abandoned = false;
        }
        AgentOrder::Hold => own.held = true,
        AgentOrder::Resume => own.held = false,
        AgentOrder::Abandon => own.abandoned = true,
    }
    Ok(())
}

/// Facts that follow from others and from the surroundings.
pub(super) fn derive(state: &mut AgentState, env: &Env<'_, Agent>) {
    let asked = state.own.service.asked;
    if let Some(asked) = asked.filter(|asked| asked.until <= env.uptime) {
        given_up(state, asked.target, false, env);
    }
    let sees = env.chain.fresh && env.chain.explained;
    if sees && state.chain.phase() == Phase::Open {
        state.own.unanswered = None;
    }
    service::patience(state, env);
    if let Some(why) = service::over(state, env) {
        end(state, why, env);
    }
    let own = &mut state.own;
    let is_open = state.chain.phase() == Phase::Open;
    own.ended.run(own.ending.is_some() && is_open && env.chain.fresh, env.uptime);
    let (target, why) = service::wanted(state, env);
    let service = &mut state.own.service;
    (service.target, service.why) = (target, why);
    service.asked = service.asked.filter(|asked| asked.target == target);
}
