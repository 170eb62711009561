//! What a client asks its agent for, again and again until it is answered.

use privatix_billing::Terms;
use privatix_channel::{Amount, Phase};
use serde::{Deserialize, Serialize};

use super::{Access, Client, ClientEffect, ClientEnd, ClientState, wants};
use crate::flight::next;
use crate::{Again, Effect, Env, Owner, Uptime};

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
}

/// Something that the agent is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Errand {
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
    let is_over =
        matches!(ending, Some(ClientEnd::Excluded | ClientEnd::AgentClaimsMore | ClientEnd::NotOpened(_)));
    if state.chain.phase() != Phase::Open || is_over {
        return Vec::new();
    }
    let mut asks = Vec::new();
    if is_unacknowledged(state) || is_unproven(state, env) {
        asks.push(Ask::Voucher);
    }
    if ending.is_none() && state.terms.is_none() {
        asks.push(Ask::Offering);
    } else if ending.is_none() && own.access == Access::None {
        asks.push(Ask::Access);
    }
    let is_away = matches!(own.peer, Reach::Silent | Reach::NotNow) && asks.is_empty();
    if is_away || (ending.is_none() && is_idle(state, env) && !own.pinged) {
        asks.push(Ask::Ping);
    }
    asks
}

/// Whether a voucher waits for the agent's answer.
pub(super) fn is_unacknowledged(state: &ClientState) -> bool {
    state.book.best > state.book.acknowledged
}

/// Whether this database came back from a backup, and the agent has not answered yet what it knows of the best voucher in it.
pub(super) fn is_unproven(state: &ClientState, env: &Env<'_, Client>) -> bool {
    env.kept_open.is_some() && state.own.proven_in != env.kept_open && !state.book.best.is_zero()
}

/// Whether nothing was used for longer than the terms allow.
pub(super) fn is_idle(state: &ClientState, env: &Env<'_, Client>) -> bool {
    let limit = state.terms.as_deref().map(Terms::max_inactive);
    limit.is_some_and(|limit| state.own.idle.elapsed(env.uptime) >= limit)
}

/// Pauses requests: they were not answered, or with something that a repetition at once would not change.
pub(super) fn pause(state: &mut ClientState, env: &Env<'_, Client>, which: impl Fn(&Errand) -> bool) {
    let policy = env.policy;
    for errand in state.own.errands.iter_mut().filter(|errand| errand.until.is_some() && which(errand)) {
        errand.until = None;
        errand.again.failed(policy.ask_first, policy.ask_longest, env.uptime);
    }
}

/// Gives up what was not answered in time.
pub(super) fn overdue(state: &mut ClientState, env: &Env<'_, Client>) {
    let is_late = |errand: &Errand| errand.until.is_some_and(|until| until <= env.uptime);
    if state.own.errands.iter().any(is_late) {
        state.own.peer = Reach::Silent;
        pause(state, env, is_late);
    }
}

/// Asks for what is wanted and not under way.
pub(super) fn difference(state: &mut ClientState, env: &Env<'_, Client>, effects: &mut Vec<Effect<Client>>) {
    let asks = wanted(state, env);
    let best = state.book.best;
    let own = &mut state.own;
    own.errands.retain(|errand| asks.contains(&errand.what));
    for what in asks {
        let known = own.errands.iter().position(|errand| errand.what == what);
        let again = known.and_then(|place| own.errands.get(place)).map_or_else(Again::default, |e| e.again);
        let waits = known.and_then(|place| own.errands.get(place)).is_some_and(|errand| match errand.until {
            // A better voucher takes the place of one that is being sent.
            Some(_) => what != Ask::Voucher || errand.cumulative >= best,
            None => !errand.again.is_over(env.uptime),
        });
        if waits {
            continue;
        }
        let (seq, until) = (next(&mut own.seq), env.uptime.plus(env.policy.answer_within));
        let cumulative = if what == Ask::Voucher { best } else { Amount::ZERO };
        own.errands.retain(|errand| errand.what != what);
        own.errands.push(Errand { what, seq, cumulative, until: Some(until), again });
        effects.push(Effect::Own(match what {
            Ask::Voucher => ClientEffect::Send { seq, cumulative, until },
            what => ClientEffect::Ask { seq, what, until },
        }));
    }
}

/// What moves the errands on.
pub(super) fn owners(state: &ClientState) -> Vec<Owner> {
    let owner = |errand: &Errand| match errand.until {
        Some(until) => Owner::Peer { seq: errand.seq, until },
        None => Owner::Time(errand.again.at),
    };
    state.own.errands.iter().map(owner).collect()
}
