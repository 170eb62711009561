//! What moves a state on: [`Owner`].

use privatix_channel::ChainTime;

use crate::Uptime;

/// What moves a state on. Every state that is not final has an owner, and giving up on it is an input that leads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// A time. Its giving up: [`Input::Look`](crate::Input::Look) then.
    Time(Uptime),
    /// A time by the chain's clock. Its giving up: the same.
    ChainTime(ChainTime),
    /// A transaction, by its number. Its giving up: any [`Fate`](crate::Fate) that ends it.
    Transaction(u32),
    /// The service adapter. Its giving up: [`Answered::GaveUp`](crate::Answered::GaveUp), or a look at `until`.
    Adapter {
        /// The request.
        seq: u32,
        /// Until when it is waited for.
        until: Uptime,
    },
    /// The other side. Its giving up: no answer, or a look at `until`.
    Peer {
        /// The request.
        seq: u32,
        /// Until when it is waited for.
        until: Uptime,
    },
    /// Something on the chain that only others can do.
    Chain {
        /// When health mentions it again.
        reminder: Uptime,
    },
    /// The user.
    User {
        /// When health mentions it again.
        reminder: Uptime,
    },
    /// The state is final.
    Nobody,
}

impl Owner {
    /// The time at which this owner gives up or is looked at, by the node's uptime.
    pub const fn uptime(&self) -> Option<Uptime> {
        match *self {
            Self::Time(at)
            | Self::Adapter { until: at, .. }
            | Self::Peer { until: at, .. }
            | Self::Chain { reminder: at }
            | Self::User { reminder: at } => Some(at),
            Self::ChainTime(_) | Self::Transaction(_) | Self::Nobody => None,
        }
    }

    /// The time by the chain's clock at which this owner is looked at.
    pub const fn chain_time(&self) -> Option<ChainTime> {
        match *self {
            Self::ChainTime(at) => Some(at),
            _ => None,
        }
    }
}
