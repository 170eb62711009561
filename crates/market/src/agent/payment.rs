//! Vouchers: which are kept, and what is acknowledged.

use privatix_channel::{Amount, Phase};

use super::{Agent, AgentState};
use crate::{Env, Refused, Verified};

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentMessage {
    /// A payment.
    Voucher(Verified),
}

/// The answer to a voucher. No amount in it is above what is safe: see [`Book::safe`](crate::Book::safe).
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
    /// The channel names no signer, so no voucher of it is certain to pay.
    NoSigner,
    /// It is not taken now.
    NotNow(NotNow),
    /// The channel takes no vouchers.
    NotOpen {
        /// Whether it has closed, or has not opened yet.
        closed: bool,
    },
}

/// Why a voucher is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotNow {
    /// The view of the chain is stale: the client may have asked to close meanwhile.
    StaleView,
    /// The contract holds something that the channel's events do not explain.
    Unexplained,
}

/// Takes a voucher into the book as far as it counts, and gives the answer.
pub(super) fn voucher(
    state: &mut AgentState,
    voucher: Verified,
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
    if cumulative > state.book.best {
        if !env.chain.fresh {
            return Ok(Reply::NotNow(NotNow::StaleView));
        }
        if !env.chain.explained {
            return Ok(Reply::NotNow(NotNow::Unexplained));
        }
    }
    let known = state.book.best.max(state.chain.paid);
    if cumulative >= known {
        state.book.best = state.book.best.max(cumulative);
    }
    let ceiling = state.ceiling();
    let safe = state.book.safe(&state.chain, ceiling);
    if ceiling.is_some_and(|ceiling| state.book.best > ceiling) {
        // What is above the ceiling is known to nobody outside: also not by the answer to a lower voucher.
        let paid = Reply::Paid { acknowledged: safe, ended: state.own.ending.is_some() };
        return Ok(if cumulative <= safe { paid } else { Reply::Kept { acknowledged: safe } });
    }
    if cumulative < known {
        return Ok(Reply::Stale { acknowledged: safe.max(state.chain.paid) });
    }
    state.book.acknowledged = state.book.acknowledged.max(safe);
    Ok(Reply::Paid { acknowledged: safe, ended: state.own.ending.is_some() })
}
