//! What an input changes: facts only, no decisions.

use std::sync::Arc;

use privatix_channel::Phase;

use super::{Client, ClientEnd, ClientOrder, ClientPurpose, ClientReport, ClientState, Reach};
use super::{billing, payment, requests, restored, service, top_up, wants};
use crate::{
    Actual, Ended, Env, Fate, Input, Refused, Stage, Trouble, adapter, blocked, flight, patience, usage,
};

/// Takes an input in.
pub(super) fn apply(
    state: &mut ClientState,
    input: &Input<Client>,
    env: &Env<'_, Client>,
) -> Result<(), Refused> {
    match input {
        Input::Chain(chain) => state.chain = *chain,
        Input::Look | Input::Bounded(_) => {} // a bought service is bounded by what is signed
        Input::Used { used, running } => {
            if usage::meter(state, *used, *running, env.uptime) {
                state.own.idle.reset(env.uptime);
                state.own.excused = 0;
            }
        }
        Input::Terms(terms) => {
            state.terms.get_or_insert_with(|| Arc::clone(terms));
        }
        Input::Adapter { seq, answer } => adapter::answered(state, *seq, *answer, env),
        Input::Reached(is_reached) => state.own.unreached = (!is_reached).then_some(env.instance),
        Input::Tx { seq, purpose, fate } => transaction(state, *seq, *purpose, *fate, env),
        Input::Order(order) => self::order(state, order, env)?,
        Input::Peer(message) => payment::message(state, *message, env),
        Input::Report(ClientReport::Signed(signed)) => payment::signed(state, *signed, env)?,
    }
    Ok(())
}

fn transaction(state: &mut ClientState, seq: u32, purpose: ClientPurpose, fate: Fate, env: &Env<'_, Client>) {
    let own = &mut state.own;
    let report = (seq, purpose, fate);
    let now = (env.uptime, state.chain.deposit);
    let Some(reported) = flight::report(&mut own.flights, &mut own.seq, report, |_| true, now) else {
        return;
    };
    match purpose {
        ClientPurpose::Open { .. } => not_opened(state, seq, reported, env),
        ClientPurpose::TopUp { order, amount } => {
            top_up::reported(state, (seq, order, amount), reported, env);
        }
        ClientPurpose::RequestClose { .. } | ClientPurpose::FinalizeClose => {
            own.blocked = blocked::after(own.blocked, reported, env.uptime);
        }
    }
}

/// An opening that did not succeed ends the channel: nobody wants it hours later. Not where the chain shows the channel: then another
/// transaction has opened it, of a database that is lost.
fn not_opened(state: &mut ClientState, seq: u32, reported: flight::Reported, env: &Env<'_, Client>) {
    let trouble = match reported.fate {
        Fate::Unfunded(trouble) => trouble,
        Fate::Cancelled => Trouble::Cancelled,
        Fate::Failed { .. } => Trouble::Failed,
        Fate::Final if reported.before == Some(Stage::Reverted) => Trouble::Failed,
        _ => return,
    };
    if state.chain.phase() != Phase::Unopened {
        return;
    }
    if !restored::is_uncertain(state, seq, env) {
        return end(state, ClientEnd::NotOpened(trouble), env);
    }
    // The channel may be open without its event being known here yet: that is decided once the chain is seen.
    let is_given_up = trouble == Trouble::Cancelled || reported.before == Some(Stage::Cancelling);
    state.own.not_opened = Some(if is_given_up { Trouble::Restored } else { trouble });
}

/// Ends the service for good. The first reason stays.
pub(super) fn end(state: &mut ClientState, why: ClientEnd, env: &Env<'_, Client>) {
    state.own.ending.get_or_insert(Ended { why, since: env.uptime });
}

fn order(state: &mut ClientState, order: &ClientOrder, env: &Env<'_, Client>) -> Result<(), Refused> {
    let phase = state.chain.phase();
    if matches!(phase, Phase::Closed { .. }) {
        return Err(Refused::Over { phase });
    }
    match order {
        ClientOrder::TopUp { order, amount } => top_up::order(state, *order, *amount, env)?,
        ClientOrder::SetBilling(policy) => billing::set(state, *policy, env)?,
        ClientOrder::Pause => state.own.paused = true,
        ClientOrder::Resume => state.own.paused = false,
        ClientOrder::AcceptClaim => {
            if let Some(floor) = &mut state.own.floor {
                floor.accepted = true;
            }
        }
        ClientOrder::Abandon if env.damaged_voucher.is_none() => return Err(Refused::Readable),
        ClientOrder::Close | ClientOrder::Abandon => {
            state.own.abandoned |= *order == ClientOrder::Abandon;
            let is_opening = super::opening::is_opening(state) && phase == Phase::Unopened;
            let not_opened = ClientEnd::NotOpened(Trouble::Cancelled);
            let own = &mut state.own;
            // Whoever orders it again does not believe that one stands.
            own.flights.retain(|f| !f.purpose.closes() || !matches!(f.stage, Stage::Unseen { .. }));
            let since = env.uptime;
            match own.ending {
                None if is_opening => own.ending = Some(Ended { why: not_opened, since }),
                // It is asked for at once already.
                Some(ending) if wants::is_at_once(ending.why) => {}
                _ => own.ending = Some(Ended { why: ClientEnd::CloseByOrder, since }),
            }
            own.blocked = None;
        }
        ClientOrder::End => {
            let is_opening = super::opening::is_opening(state) && phase == Phase::Unopened;
            let not_opened = ClientEnd::NotOpened(Trouble::Cancelled);
            end(state, if is_opening { not_opened } else { ClientEnd::ByOrder }, env);
        }
    }
    Ok(())
}

/// Facts that follow from others and from the surroundings.
pub(super) fn derive(state: &mut ClientState, env: &Env<'_, Client>) {
    flight::seen(&mut state.own.flights, &state.chain, env);
    adapter::restarted(state, env);
    adapter::overdue(state, env);
    requests::overdue(state, env);
    payment::proven_by_chain(state, env);
    state.own.not_opened = state.own.not_opened.filter(|_| state.chain.phase() == Phase::Unopened);
    if state.own.service.actual == Actual::Running {
        state.own.ran.get_or_insert(env.uptime);
    }
    service::patience(state, env);
    state.own.pinged &= requests::is_idle(state, env);
    if let Some(why) = service::over(state, env) {
        end(state, why, env);
    }
    // Whatever else it ended for: there is nothing to close, and its order was not carried out.
    if let Some(why) = patience::over(&[service::vanishes(state, env)], env.uptime)
        && let Some(ending) = state.own.ending.as_mut()
        && !matches!(ending.why, ClientEnd::NotOpened(_))
    {
        ending.why = why;
    }
    top_up::automatic(state, env);
    let is_open = state.chain.phase() == Phase::Open;
    let own = &mut state.own;
    // One that is not asked has its time to close all the same.
    let answers = own.peer != Reach::Silent || own.unasked;
    own.ended.run(own.ending.is_some() && is_open && answers && env.chain.fresh, env.uptime);
    let target = service::wanted(state);
    adapter::aim(state, target, env);
}
