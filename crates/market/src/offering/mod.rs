//! Offerings: what an agent does about its own, and a client about those that others announce.
//!
//! As for channels, a decision has three steps: the input changes a fact, one total function gives what is wanted in that state,
//! and the effects are what is wanted and not under way. So an event, a reorganisation, a restart and a repeated delivery need no
//! rules of their own. [`decide`] and [`owners`] are total; a state that is not at rest has an owner.

mod env;
mod foreign;
mod order;
mod own;

pub use self::{
    env::{OfferingEnv, OfferingPolicy},
    foreign::{Answer, Foreign, MessageState, OfferingRequest},
    own::{OfferingOrder, Own, Problem, Wanted},
};

use std::time::Duration;

use alloy::primitives::Address;
use privatix_channel::{ChainTime, OfferingHash, OfferingUnderWay};
use serde::{Deserialize, Serialize};

use crate::{Bid, BlockRef, ClockSkew, Fate, Owner, Purpose, RecoveryId, Stage, Uptime, Wake};

/// How far an offering is: each agent's hash goes through this once, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Not on chain.
    #[default]
    Draft,
    /// Announced, with its stake locked.
    OnMarket,
    /// Taken off the market. The contract never announces it again.
    Removed,
}

/// Where an announcement sends clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The kind of the address, by its number in the contract's events.
    pub kind: u8,
    /// The address.
    pub address: String,
}

/// A registration or a pop-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// Its block.
    pub block: u64,
    /// The time of that block.
    pub at: ChainTime,
    /// Where it sends clients.
    pub source: Source,
}

/// What the chain shows of an offering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// How far it is.
    pub presence: Presence,
    /// The last announcement that stands; `None` for a draft.
    pub announced: Option<Announcement>,
}

/// Everything that a node knows about an offering beyond its message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferingState {
    /// Whose it is.
    pub agent: Address,
    /// Its hash.
    pub hash: OfferingHash,
    /// What the chain shows.
    pub chain: Shown,
    /// What this node does about it.
    pub ownership: Ownership,
}

/// Whether an offering is this node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// It is.
    Own(Own),
    /// Another agent announces it.
    Foreign(Foreign),
}

impl OfferingState {
    /// An offering of this node that was made a moment ago.
    pub fn draft(agent: Address, hash: OfferingHash) -> Self {
        Self { agent, hash, chain: Shown::default(), ownership: Ownership::Own(Own::default()) }
    }

    /// An offering of this node's account that was found on chain, as after a loss of the database. What the chain shows is wanted,
    /// once it was caught up with.
    pub fn found(agent: Address, hash: OfferingHash) -> Self {
        let own = Own { restored: true, ..Own::default() };
        Self { agent, hash, chain: Shown::default(), ownership: Ownership::Own(own) }
    }

    /// An offering that another agent announced.
    pub fn foreign(agent: Address, hash: OfferingHash) -> Self {
        Self { agent, hash, chain: Shown::default(), ownership: Ownership::Foreign(Foreign::default()) }
    }

    /// What this node does about it, if it is its own.
    pub const fn own(&self) -> Option<&Own> {
        match &self.ownership {
            Ownership::Own(own) => Some(own),
            Ownership::Foreign(_) => None,
        }
    }

    /// The blocks of its transactions, and whether the fold of the offering includes each: to be filled in when the state is loaded.
    pub fn mined(&mut self) -> impl Iterator<Item = (BlockRef, &mut bool)> {
        let flights = match &mut self.ownership {
            Ownership::Own(own) => own.flights.as_mut_slice(),
            Ownership::Foreign(_) => &mut [],
        };
        flights.iter_mut().filter_map(|flight| match &mut flight.stage {
            Stage::Mined { block, seen } => Some((*block, seen)),
            _ => None,
        })
    }

    /// Whether users are shown this offering of another agent: its message is here, its announcement is not too old by the chain's
    /// clock, and its agent has answered not too long ago.
    pub fn is_listed(&self, env: &OfferingEnv<'_>) -> bool {
        matches!(self.ownership, Ownership::Foreign(_)) && self.unlisted(env).is_none()
    }

    /// Why users are not shown this offering of another agent. `None` for one that is [listed](Self::is_listed), and for an own one.
    pub fn unlisted(&self, env: &OfferingEnv<'_>) -> Option<Unlisted> {
        match &self.ownership {
            Ownership::Own(_) => None,
            Ownership::Foreign(foreign) => foreign::unlisted(foreign, &self.chain, env),
        }
    }
}

/// What becomes of what is stored of an offering that the chain no longer shows: a reorganisation took its announcement back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retracted {
    /// It is not kept: whoever announces it again is heard of again.
    Forgotten,
    /// Only this node's state of it is kept: its transactions may bring it back, and its message was never here.
    Unlisted,
    /// It is a draft again, as it was made.
    Draft,
}

impl Retracted {
    /// Of an own offering, and of one whose message is here.
    pub const fn of(is_own: bool, has_message: bool) -> Self {
        match (is_own, has_message) {
            (false, _) => Self::Forgotten,
            (true, false) => Self::Unlisted,
            (true, true) => Self::Draft,
        }
    }
}

/// Why users are not shown an offering of another agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unlisted {
    /// It is not on the market.
    NotOnMarket,
    /// Its message is not here.
    NoMessage,
    /// It was not announced for long.
    Expired {
        /// How long ago it was announced last, by the chain's clock.
        age: Duration,
    },
    /// Its agent has not answered for long.
    Unseen {
        /// For how long, by this node's uptime.
        unseen: Duration,
    },
}

/// What an agent's transactions about an offering are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferingPurpose {
    /// See [`Purpose::Publish`].
    Publish,
    /// See [`Purpose::PopUp`].
    PopUp,
    /// See [`Purpose::Remove`].
    Remove,
}

impl OfferingPurpose {
    /// A stored purpose as one of an agent's transactions about an offering; `None` for any other.
    pub const fn of(stored: Purpose) -> Option<Self> {
        match stored {
            Purpose::Publish => Some(Self::Publish),
            Purpose::PopUp => Some(Self::PopUp),
            Purpose::Remove => Some(Self::Remove),
            _ => None,
        }
    }

    /// What the offering's [status](privatix_channel::OfferingStatus::of) shows of a transaction for this purpose.
    pub const fn shown(self) -> OfferingUnderWay {
        match self {
            Self::Publish => OfferingUnderWay::Publish,
            Self::PopUp => OfferingUnderWay::PopUp,
            Self::Remove => OfferingUnderWay::Remove,
        }
    }
}

impl From<OfferingPurpose> for Purpose {
    fn from(purpose: OfferingPurpose) -> Self {
        match purpose {
            OfferingPurpose::Publish => Self::Publish,
            OfferingPurpose::PopUp => Self::PopUp,
            OfferingPurpose::Remove => Self::Remove,
        }
    }
}

/// Something that happened. It may come again: a repeated input has no second effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferingInput {
    /// What the chain shows now, whatever changed it.
    Chain(Shown),
    /// Nothing but the surroundings is new.
    Look,
    /// The node starts: its settings, or what kept it from other agents, may have changed.
    Started,
    /// The state came back with a backup, and this recovery began: what was ordered since is not in it.
    Restored(RecoveryId),
    /// What became of a transaction.
    Tx {
        /// Its number.
        seq: u32,
        /// Its purpose, as it was stored.
        purpose: OfferingPurpose,
        /// What became of it.
        fate: Fate,
    },
    /// The operator's order, about an offering of this node.
    Order(OfferingOrder),
    /// What came of asking another agent for its offering.
    Peer {
        /// The request. An answer to an earlier one is ignored.
        seq: u32,
        /// The answer.
        answer: Answer,
    },
}

/// Something that the shell does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferingEffect {
    /// Store a transaction, to be sent after the commit.
    Submit {
        /// Its number.
        seq: u32,
        /// What it is for.
        purpose: OfferingPurpose,
        /// Its terms.
        bid: Bid,
    },
    /// Cancel a transaction. If it is in a block already, nothing happens: its fate follows.
    Cancel {
        /// Its number.
        seq: u32,
    },
    /// Ask the agent for the offering's message.
    Ask {
        /// The number of the request.
        seq: u32,
        /// When it is given up.
        until: Uptime,
    },
    /// Show this to the operator.
    Notify(OfferingNotice),
}

/// What the operator is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferingNotice {
    /// After a recovery, what was ordered is not known: the offering stays as the chain shows it.
    Recovered(Presence),
    /// Something has to be done before the offering is as it was ordered.
    Problem(Problem),
}

/// Why an order is refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferingRefused {
    /// It was removed, which is final.
    #[error(
        "the offering was removed, and the contract does not announce it again: make it again with `offerings create`"
    )]
    Removed,
    /// A pop-up of what is not on the market.
    #[error("the offering is not on the market: publish it first")]
    NotOnMarket,
    /// A publication, which locks a stake, while this machine's clock and the chain's time contradict each other.
    #[error(
        "{0}: set this machine's clock, or use another endpoint if this one is behind its chain, and try again"
    )]
    Clock(ClockSkew),
    /// It is another agent's.
    #[error("the offering belongs to agent {agent}")]
    NotOurs {
        /// Whose it is.
        agent: Address,
    },
}

/// What follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferingDecision {
    /// The state from now on.
    pub state: OfferingState,
    /// What is to be done, in this order.
    pub effects: Vec<OfferingEffect>,
}

/// The state after an input, and what is to be done. The shell stores the state and the effects in one transaction.
///
/// # Errors
/// [`OfferingRefused`]: nothing changed.
pub fn decide(
    state: &OfferingState,
    input: &OfferingInput,
    env: &OfferingEnv<'_>,
) -> Result<OfferingDecision, OfferingRefused> {
    let mut next = state.clone();
    let mut effects = Vec::new();
    let OfferingState { agent, chain, ownership, .. } = &mut next;
    match ownership {
        Ownership::Own(own) => {
            own::apply(own, chain, input, env)?;
            own::difference(own, chain, env, &mut effects);
        }
        Ownership::Foreign(foreign) => {
            if matches!(input, OfferingInput::Order(_)) {
                return Err(OfferingRefused::NotOurs { agent: *agent });
            }
            foreign::apply(foreign, chain, input, env);
            foreign::difference(foreign, chain, env, &mut effects);
        }
    }
    if let (Ownership::Own(before), Ownership::Own(after)) = (&state.ownership, &next.ownership) {
        effects.extend(own::notices(before, after, &next.chain).into_iter().map(OfferingEffect::Notify));
    }
    Ok(OfferingDecision { state: next, effects })
}

/// All that can move the state on, in the order of [`Owner`]; empty where only an order or the chain does, which nobody waits for.
pub fn owners(state: &OfferingState, env: &OfferingEnv<'_>) -> Vec<Owner> {
    let mut owners = match &state.ownership {
        Ownership::Own(own) => own::owners(own, &state.chain, env),
        Ownership::Foreign(foreign) => foreign::owners(foreign, &state.chain, env),
    };
    owners.sort();
    owners.dedup();
    owners
}

/// When time alone may change a decision. The shell stores it with the state and gives [`OfferingInput::Look`] then.
pub fn wake(state: &OfferingState, env: &OfferingEnv<'_>) -> Wake {
    let owners = owners(state, env);
    Wake {
        uptime: owners.iter().filter_map(Owner::uptime).min(),
        chain: owners.iter().filter_map(Owner::chain_time).min(),
    }
}
