//! Limits that a client's user has set: [`Limited`].

use alloy::primitives::Address;
use privatix_channel::{Amount, Fee};

/// What a client may not do by its settings. Each names the limit and the setting that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limited {
    /// More than may be spent in all.
    #[error(
        "{needed} base units are more than the {left} that budget.overall leaves for all channels: raise it, if that is meant"
    )]
    Overall {
        /// What it takes, in base units.
        needed: Amount,
        /// What is left, in base units.
        left: Amount,
    },
    /// More than may be spent on one day.
    #[error(
        "{needed} base units are more than the {left} that budget.daily leaves for today (UTC): raise it, if that is meant, or try \
         again tomorrow"
    )]
    Daily {
        /// What it takes, in base units.
        needed: Amount,
        /// What is left, in base units.
        left: Amount,
    },
    /// More than may be spent on channels with one agent.
    #[error(
        "{needed} base units are more than the {left} that budget.per_agent leaves for channels with agent {agent}: raise it, if \
         that is meant"
    )]
    PerAgent {
        /// The agent.
        agent: Address,
        /// What it takes, in base units.
        needed: Amount,
        /// What is left, in base units.
        left: Amount,
    },
    /// An agent that is not allowed.
    #[error("agent {agent} is not in budget.allowed_agents: add it, if that is meant")]
    Agent {
        /// The agent.
        agent: Address,
    },
    /// A network fee that is not accepted.
    #[error(
        "the network fee of the channel would be {fee}, and chain.accept_fee accepts at most {accepted}: raise it, if that is meant"
    )]
    Fee {
        /// The fee that the channel would have.
        fee: Fee,
        /// The highest that is accepted.
        accepted: Fee,
    },
}
