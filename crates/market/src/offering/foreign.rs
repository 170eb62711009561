//! An offering that another agent announces: its message is fetched, and shown while its agent answers.

use serde::{Deserialize, Serialize};

use super::{OfferingEffect, OfferingEnv, OfferingInput, Presence, Shown, Unlisted};
use crate::flight::next;
use crate::{Again, Owner, Uptime};

/// What this node did to get an offering's message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Foreign {
    /// The last number that was given to a request.
    pub seq: u32,
    /// The message.
    pub message: MessageState,
    /// When the next request is due, and how many in a row were not answered with it.
    pub again: Again,
    /// The request that is under way.
    pub asked: Option<OfferingRequest>,
}

/// Whether an offering's message is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It is not.
    #[default]
    Missing,
    /// It is, and was checked.
    Here {
        /// When its agent sent it last.
        seen: Uptime,
    },
}

/// A request to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OfferingRequest {
    /// Its number.
    pub seq: u32,
    /// When it is given up.
    pub until: Uptime,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The message: it has the announced hash, and its signature counts.
    Message,
    /// Something else: an error, or what does not have that hash.
    Refused,
    /// Nothing in time.
    GaveUp,
}

/// Takes an input in.
pub(super) fn apply(foreign: &mut Foreign, shown: &mut Shown, input: &OfferingInput, env: &OfferingEnv<'_>) {
    match input {
        OfferingInput::Chain(now) => {
            if now.announced != shown.announced {
                // Its agent shows that it is there, perhaps at another address: whatever failed before counts no more.
                foreign.again = Again { at: env.uptime, tries: 0 };
            }
            shown.clone_from(now);
        }
        OfferingInput::Peer { seq, answer } => answered(foreign, *seq, *answer, env),
        OfferingInput::Started if foreign.message == MessageState::Missing => {
            foreign.again.at = foreign.again.at.min(env.uptime);
        }
        OfferingInput::Look
        | OfferingInput::Started
        | OfferingInput::Restored(_)
        | OfferingInput::Tx { .. }
        | OfferingInput::Order(_) => {}
    }
    if let Some(asked) = foreign.asked.filter(|asked| asked.until <= env.uptime) {
        answered(foreign, asked.seq, Answer::GaveUp, env);
    }
    if shown.presence != Presence::OnMarket {
        foreign.asked = None;
    }
}

fn answered(foreign: &mut Foreign, seq: u32, answer: Answer, env: &OfferingEnv<'_>) {
    if foreign.asked.is_none_or(|asked| asked.seq != seq) {
        return;
    }
    let policy = env.policy;
    foreign.asked = None;
    match answer {
        Answer::Message => {
            foreign.message = MessageState::Here { seen: env.uptime };
            foreign.again = Again { at: env.uptime.plus(policy.refresh_every), tries: 0 };
        }
        // Shows nothing about the agent.
        Answer::GaveUp if !env.reachable => foreign.again.at = env.uptime.plus(policy.ask_first),
        Answer::Refused | Answer::GaveUp => {
            foreign.again.failed(policy.ask_first, policy.ask_longest, env.uptime);
        }
    }
}

/// Asks for what is missing or was not seen for long. It goes on without end, ever less often.
pub(super) fn difference(
    foreign: &mut Foreign,
    shown: &Shown,
    env: &OfferingEnv<'_>,
    effects: &mut Vec<OfferingEffect>,
) {
    let is_due = foreign.again.is_over(env.uptime) && env.reachable && env.may_ask;
    if shown.presence != Presence::OnMarket || foreign.asked.is_some() || !is_due {
        return;
    }
    let (seq, until) = (next(&mut foreign.seq), env.uptime.plus(env.policy.answer_within));
    foreign.asked = Some(OfferingRequest { seq, until });
    effects.push(OfferingEffect::Ask { seq, until });
}

/// See [`owners`](super::owners).
pub(super) fn owners(foreign: &Foreign, shown: &Shown, env: &OfferingEnv<'_>) -> Vec<Owner> {
    if shown.presence != Presence::OnMarket {
        return Vec::new();
    }
    let owner = match foreign.asked {
        Some(OfferingRequest { seq, until }) => Owner::Peer { seq, until },
        // While the own network is away, it is looked at again and again.
        None if foreign.again.is_over(env.uptime) && !env.reachable => {
            Owner::Time(env.uptime.plus(env.policy.ask_first))
        }
        None => Owner::Time(foreign.again.at.max(env.uptime)),
    };
    vec![owner]
}

/// See [`OfferingState::unlisted`].
pub(super) fn unlisted(foreign: &Foreign, shown: &Shown, env: &OfferingEnv<'_>) -> Option<Unlisted> {
    let policy = env.policy;
    let (Presence::OnMarket, Some(announced)) = (shown.presence, &shown.announced) else {
        return Some(Unlisted::NotOnMarket);
    };
    let MessageState::Here { seen } = foreign.message else { return Some(Unlisted::NoMessage) };
    if let Some(now) = env.now.filter(|now| *now >= announced.at.plus(policy.expires_after)) {
        return Some(Unlisted::Expired { age: now.since(announced.at).into() });
    }
    let unseen = env.uptime.since(seen);
    (unseen >= policy.unseen_for).then_some(Unlisted::Unseen { unseen })
}
