//! Why a transaction exists.

use std::fmt;

use alloy::primitives::Address;
use privatix_channel::{Amount, ChannelId, OfferingHash};
use serde::{Deserialize, Serialize};

/// What a transaction is for, with the amounts that its call carries.
///
/// It is stored with the transaction, so nothing is inferred from keys, kinds or calldata. Amounts are in the token's base
/// units, unless [`Asset::Ether`] says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// The client opens a channel.
    Open {
        /// What it locks.
        deposit: Amount,
    },
    /// The client adds to a channel's deposit.
    TopUp {
        /// The order that it carries out: two top-ups over the same amount are two.
        order: OrderId,
        /// What it adds.
        amount: Amount,
    },
    /// The agent closes a channel. This is final: what was paid beyond `cumulative` is lost.
    Close {
        /// The voucher that is cashed with it; zero for none. The contract pays the lesser of it and the deposit, and never
        /// takes back what is paid already.
        cumulative: Amount,
    },
    /// A voucher is cashed, and the channel stays open.
    Settle {
        /// The voucher.
        cumulative: Amount,
    },
    /// The client asks to close alone, which starts the challenge.
    RequestClose {
        /// What it admits to have paid.
        admitted: Amount,
    },
    /// The client takes the rest of its deposit back after the challenge.
    FinalizeClose,
    /// The agent publishes an offering.
    Publish,
    /// The agent announces an offering again.
    PopUp,
    /// The agent takes an offering from the market.
    Remove,
    /// Tokens are moved from the wallet into the contract.
    Deposit {
        /// How many.
        amount: Amount,
    },
    /// Tokens are moved from the contract into a wallet.
    Withdraw {
        /// How many.
        amount: Amount,
        /// The wallet.
        to: Address,
    },
    /// Money leaves the wallet.
    Transfer {
        /// What and how much.
        what: Asset,
        /// The receiver.
        to: Address,
    },
    /// The agent appoints the key that may act for it.
    Appoint {
        /// Its address; none to dismiss the present one.
        operator: Option<Address>,
    },
    /// The contract is allowed to take the tokens of another effect from the wallet.
    Approve {
        /// The effect that waits for it.
        effect: EffectId,
    },
}

/// What a transfer moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Asset {
    /// Base units of the token.
    Token(Amount),
    /// Wei.
    Ether(super::Wei),
}

impl Purpose {
    /// The purpose's name, for messages, logs and the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::TopUp { .. } => "top_up",
            Self::Close { .. } => "close",
            Self::Settle { .. } => "settle",
            Self::RequestClose { .. } => "request_close",
            Self::FinalizeClose => "finalize_close",
            Self::Publish => "publish",
            Self::PopUp => "pop_up",
            Self::Remove => "remove",
            Self::Deposit { .. } => "deposit",
            Self::Withdraw { .. } => "withdraw",
            Self::Transfer { .. } => "transfer",
            Self::Appoint { .. } => "appoint",
            Self::Approve { .. } => "approve",
        }
    }

    /// The call that anybody may make for the same, for an account that cannot send its own: the voucher of a close is settled.
    pub fn fallback(&self) -> Option<Self> {
        match *self {
            Self::Close { cumulative } | Self::Settle { cumulative } if !cumulative.is_zero() => {
                Some(Self::Settle { cumulative })
            }
            Self::FinalizeClose => Some(Self::FinalizeClose),
            _ => None,
        }
    }

    /// Whether the contract refuses a second effect by itself, so that it may be signed for another nonce before the first is
    /// certain to be lost.
    pub const fn is_repeatable(&self) -> bool {
        matches!(self, Self::Close { .. } | Self::Settle { .. } | Self::FinalizeClose)
    }
}

impl Purpose {
    /// What becomes of a transaction for this purpose that a backup holds as not mined, once the chain was caught up with. Meanwhile
    /// it may have been mined, replaced or given up, and the order behind it may have been taken back.
    ///
    /// | purpose | |
    /// | --- | --- |
    /// | `settle`, `finalize_close` | repeat: the contract refuses a second effect, and no newer voucher makes it wrong |
    /// | `close`, `request_close` | hold: vouchers that are newer than the backup may be missing, and without them it is final |
    /// | `open` | ask the user, if the channel is not on chain: the money would be locked for an agent that nobody waits for |
    /// | everything else | drop: the user sees that it was not done, and may order it again |
    pub const fn after_restore(&self) -> AfterRestore {
        match self {
            Self::Settle { .. } | Self::FinalizeClose => AfterRestore::Repeat,
            Self::Close { .. } | Self::RequestClose { .. } => AfterRestore::Hold,
            Self::Open { .. } => AfterRestore::AskUser,
            Self::TopUp { .. }
            | Self::Publish
            | Self::PopUp
            | Self::Remove
            | Self::Deposit { .. }
            | Self::Withdraw { .. }
            | Self::Transfer { .. }
            | Self::Appoint { .. }
            | Self::Approve { .. } => AfterRestore::Drop,
        }
    }
}

/// What becomes of a transaction that came back with a backup: see [`Purpose::after_restore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterRestore {
    /// It is sent again.
    Repeat,
    /// It is given up, with an outcome that names the recovery.
    Drop,
    /// It waits until the channel may be closed again, or a voucher came that is newer than the backup.
    Hold,
    /// The user decides.
    AskUser,
}

/// The number of an order that a user gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub u64);

/// What an effect is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A channel.
    Channel(ChannelId),
    /// An offering of an agent.
    Offering(Address, OfferingHash),
    /// An account of this node, by its address.
    Account(Address),
}

impl Subject {
    /// The channel, if it is one.
    pub const fn channel(&self) -> Option<ChannelId> {
        match self {
            Self::Channel(id) => Some(*id),
            Self::Offering(..) | Self::Account(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(id) => write!(f, "channel {id}"),
            Self::Offering(agent, hash) => write!(f, "offering {hash} of {agent}"),
            Self::Account(address) => write!(f, "account {address}"),
        }
    }
}

/// An effect, for ever: its subject and the number that the subject's state gave it. One id, one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    /// What it is about.
    pub subject: Subject,
    /// Its number. The numbers of one subject rise.
    pub seq: u32,
}

/// `"<subject> <number>"`: an idempotency key. It is written only, and never read back.
impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.seq)
    }
}
