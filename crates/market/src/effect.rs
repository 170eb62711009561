//! What is to be done: [`Effect`].

use privatix_channel::{ChannelId, Phase};

use crate::{Bid, Party};

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
    /// Cancelling the answer to a close request would lose what it claims.
    #[error(
        "transaction {seq} of the channel answers a close request, and what it claims would be lost: abandon the channel instead, if that is meant"
    )]
    AnswersDispute {
        /// The transaction's number.
        seq: u32,
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
