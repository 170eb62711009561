//! What an input changes: facts only, no decisions.

use std::sync::Arc;

use privatix_channel::Phase;

use super::{Agent, AgentEnd, AgentMessage, AgentOrder, AgentPurpose, AgentState, Reply, payment, service};
use crate::{Answered, Ended, Env, Fate, Flight, Input, Refused, Stage, adapter, blocked, flight, usage};

/// Takes an input in; the answer if it was a message.
pub(super) fn apply(
    state: &mut AgentState,
    input: &Input<Agent>,
    env: &Env<'_, Agent>,
) -> Result<Option<Reply>, Refused> {
    match input {
        Input::Chain(chain) => state.chain = *chain,
        Input::Look | Input::Reached(_) => {} // a seller reaches for nobody
        Input::Used { used, running } => {
            if usage::meter(state, *used, *running, env.uptime) {
                state.own.idle.reset(env.uptime);
            }
        }
        Input::Terms(terms) => {
            state.terms.get_or_insert_with(|| Arc::clone(terms));
        }
        Input::Bounded(holds) => state.own.unbounded = (!holds).then_some(env.instance),
        Input::Adapter { seq, answer } => {
            if matches!(answer, Answered::Moved(_)) {
                state.own.access = state.own.access.wrapping_add(1); // whatever it answers, the access is another one
            }
            adapter::answered(state, *seq, *answer, env);
        }
        Input::Tx { seq, purpose, fate } => transaction(state, *seq, *purpose, *fate, env),
        Input::Order(order) => self::order(state, *order, env)?,
        Input::Peer(AgentMessage::Voucher { voucher, used }) => {
            let reply = payment::voucher(state, *voucher, used.is_some(), env)?;
            state.own.reported = used.or(state.own.reported);
            return Ok(Some(reply));
        }
        Input::Peer(AgentMessage::Attach) => return Ok(Some(payment::attach(state))),
        Input::Peer(AgentMessage::Access) => return Ok(Some(payment::access(state, env))),
        Input::Report(never) => match *never {},
    }
    Ok(None)
}

/// Ends the service for good. The first reason stays.
pub(super) fn end(state: &mut AgentState, why: AgentEnd, env: &Env<'_, Agent>) {
    state.own.ending.get_or_insert(Ended { why, since: env.uptime });
}

fn transaction(state: &mut AgentState, seq: u32, purpose: AgentPurpose, fate: Fate, env: &Env<'_, Agent>) {
    let own = &mut state.own;
    if fate == Fate::Batched {
        raise(&mut own.flights, seq, purpose);
    }
    let report = (seq, purpose, fate);
    let now = (env.uptime, state.chain.deposit);
    if let Some(reported) =
        flight::report(&mut own.flights, &mut own.seq, report, AgentPurpose::is_close, now)
    {
        own.blocked = blocked::after(own.blocked, reported, env.uptime);
    }
}

/// A batch settles the best voucher that it finds, which may be above what was offered: better ones are not offered again.
fn raise(flights: &mut [Flight<AgentPurpose>], seq: u32, found: AgentPurpose) {
    let offered = flights.iter_mut().find(|flight| flight.seq == seq && flight.stage == Stage::Collected);
    if let Some(flight) = offered
        && !flight.purpose.is_close()
        && !found.is_close()
        && flight.purpose.cumulative() < found.cumulative()
    {
        flight.purpose = found;
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
            own.ending.get_or_insert(Ended { why: AgentEnd::ByOrder, since: env.uptime });
        }
        AgentOrder::Close => {
            if own.ending.is_none_or(|ending| ending.why != AgentEnd::CloseByOrder) {
                own.ending = Some(Ended { why: AgentEnd::CloseByOrder, since: env.uptime });
            }
            own.blocked = None;
            // A voucher that cannot be read stays given up: the order to close it asks for nothing else.
            own.abandoned &= env.damaged_voucher.is_some();
        }
        AgentOrder::Hold => own.held = true,
        AgentOrder::Resume => own.held = false,
        AgentOrder::Abandon => own.abandoned = true,
    }
    Ok(())
}

/// Facts that follow from others and from the surroundings.
pub(super) fn derive(state: &mut AgentState, env: &Env<'_, Agent>) {
    flight::seen(&mut state.own.flights, &state.chain, env);
    // Of all that batches may have brought, the least is enough to know.
    let is_unseen =
        |flight: &&Flight<AgentPurpose>| flight.is_of_batch() && matches!(flight.stage, Stage::Unseen { .. });
    let amount = |flight: &Flight<AgentPurpose>| (flight.purpose.cumulative(), flight.seq);
    let least = state.own.flights.iter().filter(is_unseen).map(amount).min();
    state.own.flights.retain(|flight| !is_unseen(&flight) || Some(amount(flight)) == least);
    adapter::restarted(state, env);
    adapter::overdue(state, env);
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
    let target = service::wanted(state, env);
    adapter::aim(state, target, env);
}
