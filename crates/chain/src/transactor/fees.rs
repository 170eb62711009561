//! What a transaction offers, and the operator's limits on it. The offer itself is decided in [`price`](super::price).

use serde::{Deserialize, Serialize};

use super::Wei;

/// What a transaction offers for gas (EIP-1559), in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fees {
    /// The most to pay in all.
    pub max_fee: u128,
    /// The most to pay above the base fee.
    pub priority_fee: u128,
}

impl Fees {
    /// Fees of these amounts, in wei per gas.
    pub fn new(max_fee: u128, priority_fee: u128) -> Self {
        Self { max_fee, priority_fee }
    }

    /// The least that pools take in place of this: 12.5 % more of both parts, and at least a wei. The rule of geth, reth,
    /// Erigon, Nethermind and Besu is 10 %, and strictly more.
    #[must_use]
    pub fn replacement(self) -> Self {
        Self { max_fee: raised(self.max_fee), priority_fee: raised(self.priority_fee) }
    }

    /// Whether it is at least `other` in both parts.
    pub(super) fn covers(self, other: Self) -> bool {
        self.max_fee >= other.max_fee && self.priority_fee >= other.priority_fee
    }

    /// The larger of both parts.
    pub(super) fn join(self, other: Self) -> Self {
        Self {
            max_fee: self.max_fee.max(other.max_fee),
            priority_fee: self.priority_fee.max(other.priority_fee),
        }
    }
}

fn raised(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8).max(1))
}

/// For how long a transaction has been the next of its account to be mined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waited {
    pub(super) blocks: u64,
    pub(super) seconds: u64,
}

/// What an operator wants to be offered for a transaction that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Raise {
    /// More than now, within the caps: what urgent transactions pay.
    Market,
    /// Exactly this, whatever the caps are.
    To {
        /// The most to pay in all, in wei per gas.
        max_fee: Wei,
        /// The most to pay above the base fee, in wei per gas.
        priority_fee: Wei,
    },
}

/// How much gas may cost, and when to offer more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeePolicy {
    /// The most offered on an ordinary day, in wei per gas (default 500 gwei). What needs more waits, unless it has a
    /// deadline and a stake: as the deadline approaches, its cap rises to the stake.
    pub max_fee_cap: u128,
    /// The least tip offered, in wei per gas (default 0.01 gwei), whatever the endpoint suggests.
    pub min_priority_fee: u128,
    /// The most tip offered on an ordinary day, in wei per gas (default 50 gwei), unless a pool demands more for a
    /// replacement. It rises as the cap does. Unlike the rest of an offer, a tip is really paid.
    pub max_priority_fee: u128,
    /// Blocks that a transaction, next of its account to be mined, may wait before it offers what three quarters of the
    /// market offer (default 5). After twice as many it offers what nine tenths do.
    pub stuck_after_blocks: u64,
    /// Seconds that must have passed, too (default 60): on some chains five blocks are one.
    pub stuck_after_seconds: u64,
    /// Gas added to the estimate, in percent (default 20); unused gas costs nothing.
    pub gas_margin_percent: u32,
    /// The most gas that a transaction may have (EIP-7825). None takes the endpoint's word for it, and 16,777,216 where it
    /// gives none.
    pub tx_gas_cap: Option<u64>,
}

const GWEI: u128 = 1_000_000_000;

/// A call needs more gas than a transaction may have. Its intent fails with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it needs {needed} gas, more than the {cap} that a transaction may have (EIP-7825); divide it")]
pub struct TooMuchGas {
    /// What it needs, as estimated.
    pub needed: u64,
    /// What it may have.
    pub cap: u64,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            max_fee_cap: 500 * GWEI,
            min_priority_fee: GWEI / 100,
            max_priority_fee: 50 * GWEI,
            stuck_after_blocks: 5,
            stuck_after_seconds: 60,
            gas_margin_percent: 20,
            tx_gas_cap: None,
        }
    }
}

impl FeePolicy {
    /// How often the patience with a transaction that waits has been used up.
    pub(super) fn impatience(&self, waited: Waited) -> u64 {
        let blocks = waited.blocks / self.stuck_after_blocks.max(1);
        waited.seconds.checked_div(self.stuck_after_seconds).map_or(blocks, |seconds| seconds.min(blocks))
    }

    /// The gas limit for an estimate and for the [extra gas](super::Intent::extra_gas) of an intent, where a transaction may have
    /// at most `cap`.
    ///
    /// # Errors
    /// [`TooMuchGas`] where both are above it.
    pub fn gas_limit(&self, estimate: u64, extra: u64, cap: u64) -> Result<u64, TooMuchGas> {
        let needed = estimate.saturating_add(extra);
        if needed > cap {
            return Err(TooMuchGas { needed, cap });
        }
        let margin = u128::from(estimate) * u128::from(self.gas_margin_percent) / 100;
        Ok(needed.saturating_add(u64::try_from(margin).unwrap_or(u64::MAX)).min(cap))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_zero_tip_still_rises() {
        assert_eq!(Fees::new(8, 0).replacement(), Fees::new(9, 1));
    }

    #[test]
    fn the_margin_is_cut_at_the_cap_and_an_estimate_above_it_is_refused() {
        let policy = FeePolicy::default();
        let limit = |estimate, extra| policy.gas_limit(estimate, extra, 1_000);
        assert_eq!(limit(100, 0), Ok(120));
        assert_eq!(limit(100, 50), Ok(170), "a margin for the estimate only");
        assert_eq!(limit(900, 0), Ok(1_000));
        assert_eq!(limit(1_000, 0), Ok(1_000));
        assert_eq!(limit(900, 100), Ok(1_000));
        for (estimate, extra) in [(1_001, 0), (900, 101)] {
            assert_eq!(limit(estimate, extra), Err(TooMuchGas { needed: 1_001, cap: 1_000 }));
        }
    }

    proptest! {
        #[test]
        fn a_replacement_is_taken_by_every_pool(max in 0u128..1 << 100, tip in 0u128..1 << 100) {
            let least = Fees::new(max, tip).replacement();
            prop_assert!(least.max_fee * 1_000 >= max * 1_125 && least.max_fee > max);
            prop_assert!(least.priority_fee * 1_000 >= tip * 1_125 && least.priority_fee > tip);
        }
    }
}
