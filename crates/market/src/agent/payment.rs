//! What a client sends: which vouchers are kept, what is acknowledged, and who receives access.

use privatix_channel::{Amount, OnChain, Phase, Usage};
use serde::{Deserialize, Serialize};

use super::{Agent, AgentEffect, AgentEnd, AgentState, service};
use crate::{Book, Decision, Effect, Env, Refused, Target, Verified, Why, usage};

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentMessage {
    /// A payment.
    Voucher {
        /// What is paid with.
        voucher: Verified,
        /// The client's own total, if it came on a connection on which the channel was proved. It is shown, and decides nothing.
        used: Option<Usage>,
    },
    /// The client has proved the channel on the connection, and asks what is known of it.
    Attach,
    /// The client, proven by its signature, asks for access to the service.
    Access,
}

/// The answer to a message. No amount in it is above what is safe: see [`Book::safe`](crate::Book::safe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// It is stored, and counts as far as the deposit covers it.
    Paid {
        /// What is acknowledged in all, in base units: less than the voucher where the deposit is.
        acknowledged: Amount,
        /// Whether the service has ended: it pays for what was used, and buys nothing more.
        ended: bool,
    },
    /// It is stored and will be cashed if that is still possible, but a close is on its way that may come first.
    Kept {
        /// What is acknowledged in all, in base units.
        acknowledged: Amount,
    },
    /// It is below what is already proven, and buys nothing.
    Stale {
        /// What is acknowledged in all, in base units.
        acknowledged: Amount,
    },
    /// What is known of the channel: the answer to [`AgentMessage::Attach`].
    Known {
        /// What is acknowledged in all, in base units.
        acknowledged: Amount,
    },
    /// The channel names no signer, so no voucher of it is certain to pay.
    NoSigner,
    /// It is not taken now.
    NotNow(NotNow),
    /// Here is the access that the adapter gave.
    Access,
    /// There is no access yet: the service is not ready, for this reason.
    NotReady(Why),
    /// There is no access any more, or never will be.
    Ended(AgentEnd),
    /// The channel takes no vouchers, and has no access.
    NotOpen {
        /// Whether it has closed, or has not opened yet.
        closed: bool,
    },
}

impl Reply {
    /// The amount of the stored voucher that the answer carries on a connection on which the channel was proved: the best one, where it
    /// is above the one that was `sent`. It proves what the client signed, and promises nothing. None while the stored one cannot be
    /// read, since the book does not count it then.
    pub fn carries(&self, sent: Option<Amount>, book: &Book) -> Option<Amount> {
        match self {
            Self::Paid { .. }
            | Self::Kept { .. }
            | Self::Stale { .. }
            | Self::Known { .. }
            | Self::NotOpen { closed: true } => {
                Some(book.best).filter(|best| *best > sent.unwrap_or(Amount::ZERO))
            }
            Self::NoSigner
            | Self::NotNow(_)
            | Self::Access
            | Self::NotReady(_)
            | Self::Ended(_)
            | Self::NotOpen { closed: false } => None,
        }
    }
}

/// Why a voucher is not taken now, or access not given yet, as far as the agent's answer gives a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotNow {
    /// The view of the chain is stale: the client may have asked to close meanwhile.
    StaleView,
    /// The contract holds something that the channel's events do not explain.
    Unexplained,
}

/// Hands out access once the service is ready, whether it runs or not.
pub(super) fn access(state: &AgentState, env: &Env<'_, Agent>) -> Reply {
    match state.chain.phase() {
        Phase::Unopened => return Reply::NotOpen { closed: false },
        Phase::Closed { .. } => return Reply::NotOpen { closed: true },
        Phase::Open | Phase::Closing { .. } => {}
    }
    let ends = state.own.ending.map(|ending| ending.why);
    if let Some(why) = ends.or_else(|| service::over(state, env)) {
        return Reply::Ended(why);
    }
    match (state.own.ready, service::wanted(state, env)) {
        // What is prepared already may still be unknown here for a moment.
        (None, (_, why)) => Reply::NotReady(why.unwrap_or(Why::Opening)),
        (Some(_), (Target::Absent, Some(why))) => Reply::NotReady(why),
        (Some(_), _) => Reply::Access,
    }
}

/// What is known of the channel. It acknowledges nothing that was not acknowledged before, so that nothing is to be stored.
pub(super) fn attach(state: &AgentState) -> Reply {
    if !state.descriptor.names_signer() {
        return Reply::NoSigner;
    }
    match state.chain.phase() {
        Phase::Unopened => Reply::NotOpen { closed: false },
        Phase::Closed { .. } => Reply::NotOpen { closed: true },
        Phase::Open | Phase::Closing { .. } => Reply::Known {
            acknowledged: state.book.acknowledged.min(state.chain.deposit).max(state.chain.paid),
        },
    }
}

/// Takes a voucher into the book as far as it counts, and gives the answer.
pub(super) fn voucher(
    state: &mut AgentState,
    voucher: Verified,
    is_proved: bool,
    env: &Env<'_, Agent>,
) -> Result<Reply, Refused> {
    if voucher.channel() != state.id {
        return Err(Refused::WrongChannel { expected: state.id, found: voucher.channel() });
    }
    if !state.descriptor.names_signer() {
        return Ok(Reply::NoSigner);
    }
    match state.chain.phase() {
        Phase::Unopened => return Ok(Reply::NotOpen { closed: false }),
        Phase::Closed { .. } => return Ok(Reply::NotOpen { closed: true }),
        Phase::Open | Phase::Closing { .. } => {}
    }
    let cumulative = voucher.cumulative();
    let ceiling = state.ceiling();
    // On such a view nothing more is promised, also not of what was kept before.
    if cumulative > state.book.best || state.book.safe(&state.chain, ceiling) > state.book.acknowledged {
        if !env.chain.fresh {
            return Ok(Reply::NotNow(NotNow::StaleView));
        }
        if !env.chain.explained {
            return Ok(Reply::NotNow(NotNow::Unexplained));
        }
    }
    if env.damaged_voucher.is_some_and(|damaged| cumulative < damaged.max(state.book.best)) {
        // Once the damaged one is mended, it counts.
        let safe = state.book.safe(&state.chain, ceiling);
        return Ok(Reply::Stale { acknowledged: safe.max(state.chain.paid) });
    }
    let known = state.book.best.max(state.chain.paid);
    if is_proved && cumulative > known && env.kept_open.is_some() {
        // Its use is not known either. Else a client would be suspended until this meter gets there.
        usage::raise(state, cumulative, env);
    }
    if cumulative >= known {
        state.book.best = state.book.best.max(cumulative);
    }
    let reply = state.book.reply(&state.chain, ceiling, cumulative, state.own.ending.is_some());
    // What an answer names stays acknowledged.
    state.book.acknowledged = state.book.acknowledged.max(state.book.safe(&state.chain, ceiling));
    Ok(reply)
}

/// How a voucher is taken about which a view in memory has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The answer promises nothing that is not stored yet.
    Answered(Reply),
    /// The voucher is stored and nothing else, by a writer that many channels share.
    Entered(Box<Entry>),
    /// More is to be done in the transaction that stores the voucher: it is decided there, from the stored state.
    WithEffects,
}

impl Taken {
    /// How a voucher over `cumulative` is taken, by the state before the decision about it and by what was decided.
    pub fn of(before: &AgentState, cumulative: Amount, decided: &Decision<Agent>) -> Self {
        let (mut kept, mut answer) = (false, None);
        for effect in &decided.effects {
            match effect {
                Effect::Own(AgentEffect::Keep(_)) => kept = true,
                Effect::Own(AgentEffect::Answer(reply)) => answer = Some(*reply),
                _ => return Self::WithEffects,
            }
        }
        match answer {
            // It is stored with the state.
            _ if decided.state.own.raised != before.own.raised => Self::WithEffects,
            Some(_) if kept => Self::Entered(Box::new(Entry {
                before: before.book,
                after: decided.state.book,
                chain: before.chain,
                ceiling: before.ceiling(),
                cumulative,
                ended: before.own.ending.is_some(),
            })),
            Some(reply) if decided.state.book == before.book => Self::Answered(reply),
            _ => Self::WithEffects,
        }
    }
}

/// A voucher that is to be stored, and what is answered once it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    before: Book,
    after: Book,
    chain: OnChain,
    ceiling: Option<Amount>,
    cumulative: Amount,
    ended: bool,
}

impl Entry {
    /// What is to be stored as acknowledged in all, in base units, as far as the [`ceiling`](crate::ceiling) permits that the writer's
    /// transaction finds.
    pub const fn acknowledge(&self) -> Amount {
        self.after.acknowledged
    }

    /// The book from now on, and the answer, once the voucher is stored in a transaction that found this ceiling. That one may be
    /// lower than the view's: a close may have been stored a moment before.
    pub fn stored(&self, ceiling: Option<Amount>) -> (Book, Reply) {
        let permitted = self.after.acknowledged.min(ceiling.unwrap_or(Amount::MAX));
        let book = Book { acknowledged: self.before.acknowledged.max(permitted), ..self.after };
        let lowest = ceiling.into_iter().chain(self.ceiling).min();
        (book, book.reply(&self.chain, lowest, self.cumulative, self.ended))
    }
}
