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
}

/// How much gas may cost, and when to offer more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeePolicy {
    /// The most ever offered, in wei per gas (default 500 gwei). What needs more waits.
    pub max_fee_cap: u128,
    /// The least tip offered, in wei per gas (default 0.01 gwei), whatever the endpoint suggests.
    pub min_priority_fee: u128,
    /// The most tip offered, in wei per gas (default 50 gwei), unless a fee is being raised.
    pub max_priority_fee: u128,
    /// How much more a replacement offers, in thousandths (default and least 125: nodes refuse less than 10 %).
    pub bump_permille: u32,
    /// Blocks that a transaction, next in its account's line, may wait before its fee is raised (default 5).
    pub stuck_after_blocks: u64,
    /// Gas added to the estimate, in percent (default 20); unused gas costs nothing.
    pub gas_margin_percent: u32,
}

const GWEI: u128 = 1_000_000_000;

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            max_fee_cap: 500 * GWEI,
            min_priority_fee: GWEI / 100,
            max_priority_fee: 50 * GWEI,
            bump_permille: MIN_BUMP_PERMILLE,
            stuck_after_blocks: 5,
            gas_margin_percent: 20,
        }
    }
}

const MIN_BUMP_PERMILLE: u32 = 125;

/// The fee that is needed is above the configured cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gas costs {needed} wei now, above the configured cap of {cap} wei; wait or raise the cap")]
#[non_exhaustive]
pub struct FeeCapReached {
    /// The least fee that would do, in wei per gas.
    pub needed: u128,
    /// The cap, in wei per gas.
    pub cap: u128,
}

/// What to do for a stuck transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bump {
    /// Replace it by one that offers this.
    To(Fees),
    /// The cap forbids a replacement that nodes would accept.
    AtCap(FeeCapReached),
}

impl FeePolicy {
    /// The first offer: room for the base fee to double, and the suggested tip within limits.
    ///
    /// # Errors
    /// [`FeeCapReached`] if the cap does not even cover the base fee and the least tip.
    pub fn initial(&self, base_fee: u128, suggested_tip: u128) -> Result<Fees, FeeCapReached> {
        let tip =
            suggested_tip.clamp(self.min_priority_fee, self.max_priority_fee.max(self.min_priority_fee));
        let needed = base_fee.saturating_add(self.min_priority_fee);
        if needed > self.max_fee_cap {
            return Err(FeeCapReached { needed, cap: self.max_fee_cap });
        }
        let max_fee = base_fee.saturating_mul(2).saturating_add(tip).min(self.max_fee_cap);
        Ok(Fees { max_fee, priority_fee: tip.min(max_fee) })
    }

    /// The first offer on a chain without base fees, where the whole price is paid whatever others pay: what is usual there,
    /// within the cap.
    ///
    /// # Errors
    /// [`FeeCapReached`] if the usual price is above the cap.
    pub fn initial_price(&self, usual: u128) -> Result<Fees, FeeCapReached> {
        let price = usual.max(self.min_priority_fee);
        if price > self.max_fee_cap {
            return Err(FeeCapReached { needed: price, cap: self.max_fee_cap });
        }
        Ok(Fees { max_fee: price, priority_fee: price })
    }

    /// The offer that replaces `previous`: both parts rise by at least the bump, more if the market did.
    ///
    /// Nodes accept a replacement only if both parts rise by 10 % (go-ethereum's default); 12.5 % is what most use.
    pub fn bump(&self, previous: Fees, base_fee: u128, suggested_tip: u128) -> Bump {
        let least =
            Fees { max_fee: self.raised(previous.max_fee), priority_fee: self.raised(previous.priority_fee) };
        if least.max_fee > self.max_fee_cap {
            return Bump::AtCap(FeeCapReached { needed: least.max_fee, cap: self.max_fee_cap });
        }
        let tip = suggested_tip.min(self.max_priority_fee).max(least.priority_fee);
        let market = base_fee.saturating_mul(2).saturating_add(tip);
        let max_fee = market.max(least.max_fee).min(self.max_fee_cap);
        Bump::To(Fees { max_fee, priority_fee: tip.min(max_fee) })
    }

    /// The offer that replaces `previous` on a chain without base fees: what is usual there now, or the bump where that is
    /// more, within the cap. The limit of tips is none of prices.
    pub fn bump_price(&self, previous: Fees, usual: u128) -> Bump {
        let least = self.raised(previous.max_fee);
        if least > self.max_fee_cap {
            return Bump::AtCap(FeeCapReached { needed: least, cap: self.max_fee_cap });
        }
        let price = usual.max(least).min(self.max_fee_cap);
        Bump::To(Fees { max_fee: price, priority_fee: price })
    }

    fn raised(&self, fee: u128) -> u128 {
        let permille = u128::from(self.bump_permille.max(MIN_BUMP_PERMILLE));
        // Divided first: 128 bits hold any sum, but not any product.
        let added =
            (fee / 1_000).saturating_mul(permille).saturating_add((fee % 1_000 * permille).div_ceil(1_000));
        fee.saturating_add(added.max(1))
    }

    /// The gas limit for an estimate.
    pub fn gas_limit(&self, estimate: u64) -> u64 {
        let margin = u128::from(estimate) * u128::from(self.gas_margin_percent) / 100;
        estimate.saturating_add(u64::try_from(margin).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_first_offer_covers_a_doubled_base_fee() {
        let fees = FeePolicy::default().initial(20 * GWEI, 2 * GWEI).unwrap();
        assert_eq!(fees, Fees::new(42 * GWEI, 2 * GWEI));
    }

    #[test]
    fn a_base_fee_above_the_cap_waits() {
        let policy = FeePolicy { max_fee_cap: 10 * GWEI, ..FeePolicy::default() };
        let refusal = policy.initial(11 * GWEI, GWEI).unwrap_err();
        assert_eq!(refusal.cap, 10 * GWEI);
        assert!(refusal.needed > 11 * GWEI);
        assert_eq!(policy.initial(9 * GWEI, GWEI).unwrap().max_fee, 10 * GWEI);
    }

    #[test]
    fn the_last_bump_before_the_cap_still_counts_and_the_next_is_refused() {
        let policy = FeePolicy { max_fee_cap: 1_200, min_priority_fee: 1, ..FeePolicy::default() };
        let Bump::To(fees) = policy.bump(Fees::new(1_000, 10), 5_000, 10) else { panic!("cap allows 1,125") };
        assert_eq!(fees, Fees::new(1_200, 12));
        assert!(matches!(policy.bump(fees, 5_000, 10), Bump::AtCap(FeeCapReached { needed: 1_350, .. })));
    }

    #[test]
    fn without_base_fees_the_usual_price_is_offered() {
        let policy = FeePolicy::default();
        assert_eq!(policy.initial_price(90 * GWEI), Ok(Fees::new(90 * GWEI, 90 * GWEI)));
        assert_eq!(policy.initial_price(0), Ok(Fees::new(GWEI / 100, GWEI / 100)));
        assert_eq!(policy.initial_price(501 * GWEI).unwrap_err().needed, 501 * GWEI);
    }

    #[test]
    fn without_base_fees_a_replacement_follows_the_usual_price_up_to_the_cap() {
        let policy = FeePolicy::default();
        let of = |gwei: u128| Fees::new(gwei * GWEI, gwei * GWEI);
        for (previous, usual, raised) in [(80, 0, 90), (80, 85, 90), (80, 300, 300), (80, 900, 500)] {
            assert_eq!(policy.bump_price(of(previous), usual * GWEI), Bump::To(of(raised)), "{usual}");
        }
        let Bump::AtCap(reached) = policy.bump_price(of(480), GWEI) else { panic!("540 is above the cap") };
        assert_eq!((reached.needed, reached.cap), (540 * GWEI, 500 * GWEI));
    }

    #[test]
    fn a_zero_tip_still_rises() {
        let Bump::To(fees) = FeePolicy::default().bump(Fees::new(8, 0), 1, 0) else {
            panic!("far below the cap")
        };
        assert_eq!(fees, Fees::new(9, 1));
    }

    fn policies() -> impl Strategy<Value = FeePolicy> {
        (1u128..1 << 70, 0u128..1 << 40, 0u128..1 << 40, 0u32..500).prop_map(|(cap, min, max, bump)| {
            FeePolicy {
                max_fee_cap: cap,
                min_priority_fee: min,
                max_priority_fee: max,
                bump_permille: bump,
                ..FeePolicy::default()
            }
        })
    }

    proptest! {
        #[test]
        fn offers_are_valid_and_within_the_cap(policy in policies(), base in 0u128..1 << 80, tip in any::<u128>()) {
            match policy.initial(base, tip) {
                Ok(fees) => {
                    prop_assert!(fees.priority_fee <= fees.max_fee && fees.max_fee <= policy.max_fee_cap);
                    prop_assert!(fees.max_fee >= base);
                }
                Err(reached) => prop_assert!(reached.needed > policy.max_fee_cap),
            }
        }

        /// Any series of bumps: each step is accepted by nodes (12.5 % on both parts), none passes the cap, and it
        /// ends.
        #[test]
        fn bumps_rise_enough_stay_within_the_cap_and_end(
            policy in policies(),
            max in 0u128..1 << 70,
            tip in 0u128..1 << 70,
            markets in proptest::collection::vec((0u128..1 << 70, 0u128..1 << 60), 1..600),
        ) {
            let mut fees = Fees::new(max, tip.min(max));
            let mut ended = false;
            for (base, suggested) in markets.iter().copied().cycle().take(600) {
                match policy.bump(fees, base, suggested) {
                    Bump::To(next) => {
                        prop_assert!(next.max_fee * 1_000 >= fees.max_fee * 1_125 && next.max_fee > fees.max_fee);
                        prop_assert!(next.priority_fee * 1_000 >= fees.priority_fee * 1_125);
                        prop_assert!(next.priority_fee > fees.priority_fee);
                        prop_assert!(next.priority_fee <= next.max_fee && next.max_fee <= policy.max_fee_cap);
                        fees = next;
                    }
                    Bump::AtCap(reached) => {
                        prop_assert!(reached.needed > policy.max_fee_cap);
                        ended = true;
                        break;
                    }
                }
            }
            prop_assert!(ended);
        }
    }
}
