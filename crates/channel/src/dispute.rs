//! What each side does about a close request: pure decisions.

use crate::{AgentChannel, Amount, ChainTime, OnChain, Period, Phase, SignedVoucher};

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
        /// The first second in which the client could take the rest back: the answer must be in a block with an earlier time.
        deadline: ChainTime,
    },
    /// The client admitted everything that the contract would pay: close at what is paid (no voucher is needed), which frees
    /// the place under the offering and its stake at once, or wait for the client to finalize.
    Agreed {
        /// What is paid and admitted.
        paid: Amount,
    },
}

/// Whether, how and until when the agent answers a close request (architecture, invariant 6).
pub fn answer_close_request(channel: &AgentChannel) -> Answer {
    let on_chain = channel.on_chain();
    let Phase::Closing { ends_at } = on_chain.phase() else {
        return Answer::NotAsked;
    };
    match (channel.best(), channel.claimable()) {
        (Some(voucher), gain) if !gain.is_zero() => {
            Answer::CloseWith { voucher: *voucher, gain, deadline: ends_at }
        }
        _ => Answer::Agreed { paid: on_chain.paid },
    }
}

/// When a client may take the rest of its deposit back alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalize {
    /// No close request of its stands.
    NotRequested,
    /// The challenge runs: not in a block with an earlier time than this.
    NotBefore {
        /// The first second in which the contract allows it.
        ends_at: ChainTime,
    },
    /// Now.
    Now,
}

/// Whether the close of a client may be finalized in a block with the time `block_time`, the one that would hold the
/// transaction.
pub fn client_finalize(on_chain: &OnChain, block_time: ChainTime) -> Finalize {
    let Phase::Closing { ends_at } = on_chain.phase() else {
        return Finalize::NotRequested;
    };
    if block_time < ends_at { Finalize::NotBefore { ends_at } } else { Finalize::Now }
}

/// How far our clock may be ahead of the chain's: whoever orders a rollup's blocks can hold its clock back for that long.
const CLOCKS_APART: Period = Period::hours(1);

/// The time that the next block has at least, when the newest one has the time `newest` and our own clock shows `ours`.
///
/// No block is earlier than the one before it. But a chain that makes blocks for transactions only can have an old newest block
/// for days, and the next one, made for our transaction, has the time of that moment: then our clock says more, less the hour
/// by which the two may differ.
pub fn next_block_time(newest: ChainTime, ours: ChainTime) -> ChainTime {
    newest.max(ChainTime::new(ours.seconds().saturating_sub(u64::from(CLOCKS_APART.seconds()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_clock_counts_only_when_it_is_more_than_an_hour_past_the_newest_block() {
        for (newest, ours, expected) in [
            (0, 0, 0),
            (0, 3_600, 0),
            (10_000, 0, 10_000),
            (10_000, 10_000, 10_000),
            (10_000, 13_600, 10_000),
            (10_000, 13_601, 10_001),
            (10_000, 96_400, 92_800),
            (u64::MAX, u64::MAX, u64::MAX),
        ] {
            let next = next_block_time(ChainTime::new(newest), ChainTime::new(ours));
            assert_eq!(next, ChainTime::new(expected), "{newest}, {ours}");
        }
    }
}
