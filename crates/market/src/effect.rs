//! What is to be done: [`Effect`].

use alloy::primitives::Address;
use privatix_channel::{Amount, ChannelId, Fee, Phase};

use crate::{Bid, ClockSkew, Party};

/// Something that the shell does. Those about the database are done in the transaction that stores the state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect<P: Party> {
    /// Store a transaction, to be sent after the commit.
    Submit {
        /// Its number: one number, one transaction, for ever.
        seq: u32,
        /// What it is for. A voucher's signature is read in the same transaction.
        purpose: P::Purpose,
        /// Its terms.
        bid: Bid,
    },
    /// Offer it to the next batch, in place of an earlier offer of this number.
    Collect {
        /// Its number.
        seq: u32,
        /// What it is for.
        purpose: P::Purpose,
    },
    /// Cancel a transaction, or take back an offer. If it is in a block already, nothing happens: its fate follows.
    Cancel {
        /// Its number.
        seq: u32,
    },
    /// Bring the service to its target.
    Drive {
        /// The number of the request.
        seq: u32,
    },
    /// Show this to people and programs.
    Notify(P::Notice),
    /// What only this side does.
    Own(P::Effect),
}

/// Why an input is refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// An order that comes too late.
    #[error("there is nothing to do: the channel is {phase}")]
    Over {
        /// What it is.
        phase: Phase,
    },
    /// A top-up, or a policy of top-ups, after the end of the service.
    #[error("the service of the channel has ended: a top-up would only take its close request back")]
    Ended,
    /// A policy whose automatic top-ups add nothing, or more than a channel can hold.
    #[error("an automatic top-up cannot add {amount}: give at least 1 and at most what a channel can hold")]
    TopUpAmount {
        /// What each of them would add, in base units.
        amount: Amount,
    },
    /// A policy that could never top the channel up.
    #[error(
        "the channel's deposit is {deposit}, so automatic top-ups to at most {most} would never be made: allow more, or set none"
    )]
    MaxDeposit {
        /// What the policy allows at most, in base units.
        most: Amount,
        /// What is deposited, in base units.
        deposit: Amount,
    },
    /// Cancelling the answer to a close request would lose what it claims.
    #[error(
        "transaction {seq} of the channel answers a close request, and what it claims would be lost: abandon the channel instead, if that is meant"
    )]
    AnswersDispute {
        /// The transaction's number.
        seq: u32,
    },
    /// The view of the chain is not recent or not complete enough to lock money.
    #[error(
        "what is known of the chain is out of date or incomplete: try again once `health` shows the view as good"
    )]
    StaleView,
    /// This machine's clock and the chain's time contradict each other, so no money is locked.
    #[error(
        "{0}: set this machine's clock, or use another endpoint if this one is behind its chain, and try again"
    )]
    Clock(ClockSkew),
    /// More than what may be spent.
    #[error(
        "{needed} is more than the {left} that may be spent now: raise the budget, or send tokens to the account"
    )]
    Budget {
        /// What it takes, in base units.
        needed: Amount,
        /// What is left, in base units.
        left: Amount,
    },
    /// The agent is not one that the user allows.
    #[error("agent {agent} is not on the list of allowed agents: add it, if that is meant")]
    NotAllowed {
        /// The agent.
        agent: Address,
    },
    /// The network fee is above what the user accepts.
    #[error("the network fee of {}/100000 is above the accepted {}/100000: accept more, if that is meant", fee.get(), accepted.get())]
    Fee {
        /// The fee that the channel would have.
        fee: Fee,
        /// The highest that is accepted.
        accepted: Fee,
    },
    /// The deposit is not one that the channel can have.
    #[error("a deposit of {deposit} is not between {least} and what a channel can hold")]
    Deposit {
        /// What was asked for.
        deposit: Amount,
        /// The least deposit of the offering.
        least: Amount,
    },
    /// Only what cannot be read is given up.
    #[error(
        "the best voucher of the channel can be read, so nothing is to be given up: close the channel instead"
    )]
    Readable,
    /// Too many orders wait.
    #[error("{waiting} top-ups of the channel are under way: try again once one of them has ended")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// An input of another channel.
    #[error("this is about channel {found}, not about {expected}")]
    WrongChannel {
        /// The channel that is decided about.
        expected: ChannelId,
        /// The channel that the input names.
        found: ChannelId,
    },
}
