//! What a client requests of its agent, repeated until it is answered.

use privatix_billing::Terms;
use privatix_channel::{Amount, Phase};
use serde::{Deserialize, Serialize};

use super::{AccessStatus, Client, ClientEffect, ClientEnd, ClientOwn, ClientState, Fetched, proof, wants};
use crate::flight::next;
use crate::{Again, Effect, Env, Owner, Uptime, adapter};

/// What an agent is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ask {
    /// To take the best voucher.
    Voucher,
    /// The message of its offering.
    Offering,
    /// Access to the service.
    Access,
    /// Any answer; where there is a voucher, by its repetition.
    Ping,
    /// To prove the channel on the connection, and to learn what the agent knows of it.
    Attach,
}

/// A request to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// What.
    pub what: Ask,
    /// The number of the last request.
    pub seq: u32,
    /// The voucher's amount; zero for everything else.
    pub cumulative: Amount,
    /// Until when the answer is waited for; `None` in a pause.
    pub until: Option<Uptime>,
    /// The next try.
    pub again: Again,
}

/// How well the agent answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Nothing was asked yet.
    #[default]
    Unknown,
    /// It answers.
    Answers,
    /// It answers, and takes no voucher now.
    NotNow,
    /// It does not answer.
    Silent,
}

/// What is to be asked for now.
fn wanted(state: &ClientState, env: &Env<'_, Client>) -> Vec<Ask> {
    let own = &state.own;
    let ending = wants::ending(state);
    let is_over = matches!(
        ending,
        Some(
            ClientEnd::Excluded
                | ClientEnd::AgentClaimsMore
                | ClientEnd::KeyUsedElsewhere
                | ClientEnd::NotOpened(_)
        )
    );
    if state.chain.phase() != Phase::Open || is_over {
        return Vec::new();
    }
    let mut asks = Vec::new();
    if !proof::is_proven(state, env) || reattaches(state).is_some_and(|at| at <= env.uptime) {
        asks.push(Ask::Attach);
    }
    if is_unacknowledged(state) || own.behind || is_unproven(state, env) {
        asks.push(Ask::Voucher);
    }
    if ending.is_none() && state.terms.is_none() {
        asks.push(Ask::Offering);
    } else if ending.is_none()
        && (own.access == AccessStatus::None || refetches(state, env).is_some_and(|at| at <= env.uptime))
    {
        asks.push(Ask::Access);
    }
    let is_away = matches!(own.peer, Reach::Silent | Reach::NotNow) && asks.is_empty();
    if is_away || (ending.is_none() && is_idle(state, env) && !own.pinged) {
        asks.push(Ask::Ping);
    }
    asks
}

/// When the channel is proved again, because the connection has ended on which the agent was heard.
fn reattaches(state: &ClientState) -> Option<Uptime> {
    let own = &state.own;
    let is_wanted = own.disconnected && wants::ending(state).is_none() && state.chain.phase() == Phase::Open;
    is_wanted.then_some(own.reattach.at)
}

/// When access that is here is asked for again, because the agent may have another one by now: at most as often as the pauses between
/// requests permit, since it may also be the same. What is here is used meanwhile.
fn refetches(state: &ClientState, env: &Env<'_, Client>) -> Option<Uptime> {
    let own = &state.own;
    let is_wanted = own.access == AccessStatus::Here
        && own.ending.is_none()
        && state.terms.is_some()
        && state.chain.phase() == Phase::Open;
    let is_unreached = own.unreached == Some(env.instance);
    (is_wanted && (is_unreached || has_another(own))).then_some(own.refetch.at)
}

/// Whether the agent shows that it has another access than the one that is here.
fn has_another(own: &ClientOwn) -> bool {
    own.theirs.is_some_and(|shown| shown.view.access != own.access_number.unwrap_or_default())
}

/// The agent gave access, which was stored.
pub(super) fn fetched(state: &mut ClientState, fetched: Fetched, env: &Env<'_, Client>) {
    let own = &mut state.own;
    if own.access == AccessStatus::Here {
        let is_asked = |request: &Request| request.what == Ask::Access && request.until.is_some();
        if !own.requests.iter().any(is_asked) {
            return; // it was answered before
        }
        own.requests.retain(|request| request.what != Ask::Access);
        let policy = env.policy;
        if env.uptime.since(own.refetch.at) > policy.ask_longest {
            own.refetch = Again::default(); // that was long ago
        }
        own.refetch.failed(policy.ask_not_ready, policy.ask_longest, env.uptime);
        if !fetched.is_same {
            adapter::changed(state, env);
        }
    }
    let own = &mut state.own;
    own.access = AccessStatus::Here;
    // Without a number of its own it is the one that was shown last.
    own.access_number = fetched.number.or(own.theirs.map(|shown| shown.view.access));
}

/// Whether a voucher waits for the agent's answer.
pub(super) fn is_unacknowledged(state: &ClientState) -> bool {
    state.book.best > state.book.acknowledged
}

/// Whether this database came back from a backup, and the agent has not answered yet what it knows of the best voucher in it.
pub(super) fn is_unproven(state: &ClientState, env: &Env<'_, Client>) -> bool {
    let is_proven = env.recovery.is_some() && state.own.proven_in == env.recovery;
    env.kept_open.is_some() && !is_proven && !state.book.best.is_zero()
}

/// Whether nothing was used for longer than the terms allow.
pub(super) fn is_idle(state: &ClientState, env: &Env<'_, Client>) -> bool {
    let limit = state.terms.as_deref().map(Terms::max_inactive);
    limit.is_some_and(|limit| state.own.idle.elapsed(env.uptime) >= limit)
}

/// Pauses requests: they were not answered, or with something that a repetition at once would not change.
pub(super) fn pause(state: &mut ClientState, env: &Env<'_, Client>, which: impl Fn(&Request) -> bool) {
    let policy = env.policy;
    for request in state.own.requests.iter_mut().filter(|request| request.until.is_some() && which(request)) {
        request.until = None;
        request.again.failed(policy.ask_first, policy.ask_longest, env.uptime);
    }
}

/// Pauses the request for access: the agent is preparing it.
pub(super) fn not_ready(state: &mut ClientState, env: &Env<'_, Client>) {
    pause(state, env, |request| request.what == Ask::Access);
    let soon = env.uptime.plus(env.policy.ask_not_ready);
    for request in state.own.requests.iter_mut().filter(|request| request.what == Ask::Access) {
        request.again.at = request.again.at.min(soon);
    }
}

/// Gives up what nobody reports in time. Whoever asks reports an agent that does not answer, so it was not asked: that says nothing of the
/// agent.
pub(super) fn overdue(state: &mut ClientState, env: &Env<'_, Client>) {
    let is_late = |request: &Request| request.until.is_some_and(|until| until <= env.uptime);
    if state.own.requests.iter().any(is_late) {
        state.own.unasked = true;
        pause(state, env, is_late);
    }
}

/// The agent was asked, and did not answer. That may be reported after the request's time, but not once it is repeated.
pub(super) fn unanswered(state: &mut ClientState, seq: u32, env: &Env<'_, Client>) {
    let is_it = |request: &Request| request.seq == seq;
    if state.own.requests.iter().any(is_it) {
        (state.own.peer, state.own.unasked) = (Reach::Silent, false);
        pause(state, env, is_it);
    }
}

/// Asks for what is wanted and not under way.
pub(super) fn difference(state: &mut ClientState, env: &Env<'_, Client>, effects: &mut Vec<Effect<Client>>) {
    let asks = wanted(state, env);
    let best = state.book.best;
    let own = &mut state.own;
    own.requests.retain(|request| asks.contains(&request.what));
    for what in asks {
        let known = own.requests.iter().position(|request| request.what == what);
        let again = known.and_then(|place| own.requests.get(place)).map_or_else(Again::default, |e| e.again);
        let waits =
            known.and_then(|place| own.requests.get(place)).is_some_and(|request| match request.until {
                // A better voucher takes the place of one that is being sent.
                Some(_) => what != Ask::Voucher || request.cumulative >= best,
                None => !request.again.is_over(env.uptime),
            });
        if waits {
            continue;
        }
        let (seq, until) = (next(&mut own.seq), env.uptime.plus(env.policy.answer_within));
        let cumulative = if what == Ask::Voucher { best } else { Amount::ZERO };
        own.requests.retain(|request| request.what != what);
        own.requests.push(Request { what, seq, cumulative, until: Some(until), again });
        effects.push(Effect::Own(match what {
            Ask::Voucher => ClientEffect::Send { seq, cumulative, until },
            what => ClientEffect::Ask { seq, what, until },
        }));
    }
}

/// What moves the requests on.
pub(super) fn owners(state: &ClientState, env: &Env<'_, Client>) -> Vec<Owner> {
    let owner = |request: &Request| match request.until {
        Some(until) => Owner::Peer { seq: request.seq, until },
        None => Owner::Time(request.again.at),
    };
    let is_asked = |what| state.own.requests.iter().any(|request: &Request| request.what == what);
    let refetch = refetches(state, env).filter(|_| !is_asked(Ask::Access));
    let reattach = reattaches(state).filter(|_| !is_asked(Ask::Attach));
    state.own.requests.iter().map(owner).chain(refetch.into_iter().chain(reattach).map(Owner::Time)).collect()
}
