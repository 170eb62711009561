//! What each side does about a close request: pure decisions.

use crate::{AgentChannel, Amount, OnChain, Phase, SignedVoucher};

/// What an agent does about a close request of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No request stands: nothing to answer.
    NotAsked,
    /// The client admitted less than is proven: close with this voucher, before `deadline`.
    CloseWith {
        /// The best voucher.
        voucher: SignedVoucher,
        /// What it brings beyond what the client admitted, fee included.
        gain: Amount,
        /// The first block in which the client could take the rest back: the answer must be mined before it.
        deadline: u64,
    },
    /// The client admitted everything: close at what is paid (no voucher is needed), which frees the place under the
    /// offering and its stake at once, or wait for the client to finalize.
    Agreed {
        /// What is paid and admitted.
        paid: Amount,
    },
}

/// Whether, how and until when the agent answers a close request (architecture, invariant 6).
///
/// `challenge_period` is the contract's, in blocks.
pub fn answer_close_request(channel: &AgentChannel, challenge_period: u64) -> Answer {
    let on_chain = channel.on_chain();
    let Phase::Closing { since } = on_chain.phase() else {
        return Answer::NotAsked;
    };
    match channel.best() {
        Some(voucher) if voucher.cumulative() > on_chain.paid => Answer::CloseWith {
            voucher: *voucher,
            gain: channel.claimable(),
            deadline: challenge_end(since, challenge_period),
        },
        _ => Answer::Agreed { paid: on_chain.paid },
    }
}

/// When a client may take the rest of its deposit back alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalize {
    /// No close request of its stands.
    NotRequested,
    /// The challenge runs: not before this block.
    NotBefore {
        /// The first block in which the contract allows it.
        block: u64,
    },
    /// Now.
    Now,
}

/// Whether the client may finalize its close in the block `next_block`, the one that would hold the transaction.
///
/// `challenge_period` is the contract's, in blocks.
pub fn client_finalize(on_chain: &OnChain, challenge_period: u64, next_block: u64) -> Finalize {
    let Phase::Closing { since } = on_chain.phase() else {
        return Finalize::NotRequested;
    };
    let block = challenge_end(since, challenge_period);
    if next_block < block { Finalize::NotBefore { block } } else { Finalize::Now }
}

/// The first block after the challenge that a request mined in block `since` started.
pub const fn challenge_end(since: u64, challenge_period: u64) -> u64 {
    since.saturating_add(challenge_period)
}
