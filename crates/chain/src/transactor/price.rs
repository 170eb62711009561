//! What to offer for gas: a function of the market, of what is at stake, and of the time left.

use super::fees::Waited;
use super::{Deadline, FeePolicy, Fees, Priority};

/// What gas costs, as of one head, in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Market {
    /// The base fee; none on a chain without one (before EIP-1559).
    pub(super) base_fee: Option<u128>,
    /// The tips that half, three quarters and nine tenths of recent transactions did not exceed.
    pub(super) tips: [u128; 3],
    /// What gas usually costs, on a chain without base fees.
    pub(super) usual: u128,
}

/// What an offer is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfferInput {
    /// Its gas limit.
    pub(super) gas: u64,
    pub(super) priority: Priority,
    pub(super) deadline: Option<Deadline>,
    /// What is lost if it is not mined, in wei.
    pub(super) stake: Option<u128>,
    /// What is paid for the same purpose beside this gas, in wei: the L1 fee of an OP-stack chain, what was spent on it
    /// already, and what its other transactions can still cost.
    pub(super) elsewhere: u128,
    /// What the account can pay for this gas, in wei.
    pub(super) balance: u128,
    /// What a pool may hold at its nonce.
    pub(super) held: Option<Fees>,
    /// Whether that is this very transaction, so that it can be kept.
    pub(super) own: bool,
    /// For how long it has been the next of its account to be mined.
    pub(super) waited: Waited,
    /// Whether the operator asked for more than is offered now.
    pub(super) raise: bool,
}

impl OfferInput {
    /// The same, where a transaction costs this much beside its gas.
    pub(super) fn plus(self, wei: u128) -> Self {
        Self { elsewhere: self.elsewhere.saturating_add(wei), ..self }
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// Sign this.
    Offer(Fees),
    /// What a pool holds is still enough.
    Keep,
    /// Gas costs more than it may, in wei per gas.
    Wait { needed: u128, cap: u128 },
    /// Gas costs more than the account has, in wei.
    Poor { needed: u128 },
}

/// What to offer now. `chain_now` is the chain's time in seconds.
///
/// Room is left below the cap for three replacements, as long as the market allows it: an offer at the cap could never be
/// raised again.
pub(super) fn price(policy: &FeePolicy, market: &Market, bid: &OfferInput, chain_now: u64) -> Price {
    let allowed = allowed(policy, bid, chain_now);
    let affordable = bid.balance / u128::from(bid.gas.max(1));
    let base = market.base_fee.unwrap_or(0);
    let floor = match market.base_fee {
        Some(base) => base.saturating_add(policy.min_priority_fee),
        None => market.usual.max(policy.min_priority_fee),
    };
    if floor > allowed {
        return Price::Wait { needed: floor, cap: allowed };
    }
    if floor > affordable {
        return Price::Poor { needed: floor.saturating_mul(u128::from(bid.gas)) };
    }
    let cap = allowed.min(affordable);
    let wanted = if market.base_fee.is_some() {
        let tip = tip(policy, market, bid, allowed, chain_now).min(cap.saturating_sub(base));
        Fees::new(base.saturating_add(tip), tip)
    } else {
        let price = dearer(floor, policy.impatience(bid.waited));
        Fees::new(price, price)
    };
    let least = match bid.held {
        Some(held) if bid.own && !bid.raise && is_enough(held, wanted) => return Price::Keep,
        Some(held) => held.replacement(),
        None => Fees::new(0, 0),
    };
    if least.max_fee > cap {
        return if least.max_fee > allowed {
            Price::Wait { needed: least.max_fee, cap: allowed }
        } else {
            Price::Poor { needed: least.max_fee.saturating_mul(u128::from(bid.gas)) }
        };
    }
    let tip = wanted.priority_fee.max(least.priority_fee);
    // Room for the base fee to double.
    let max_fee = market.base_fee.map_or(wanted.max_fee, |base| base.saturating_mul(2).saturating_add(tip));
    let roomy = (0..3).fold(cap, |cap, _| cap - cap.div_ceil(9));
    let limit = if wanted.max_fee <= roomy { roomy } else { cap };
    let max_fee = max_fee.min(limit).max(least.max_fee);
    Price::Offer(Fees::new(max_fee, tip.min(max_fee)))
}

/// Whether a held offer is as good as a wanted one. A tip is raised only if it is a tenth short: markets move by a little
/// at every head, and each replacement costs 12.5 %.
fn is_enough(held: Fees, wanted: Fees) -> bool {
    held.max_fee >= wanted.max_fee && held.priority_fee >= wanted.priority_fee - wanted.priority_fee / 10
}

/// The most that may be offered, in wei per gas, whatever the account has.
fn allowed(policy: &FeePolicy, bid: &OfferInput, chain_now: u64) -> u128 {
    let everyday = policy.max_fee_cap;
    let Some(stake) = bid.stake else { return everyday };
    let at_stake = stake.saturating_sub(bid.elsewhere) / u128::from(bid.gas.max(1));
    let risen = bid.deadline.map_or(0, |deadline| deadline.pressure(chain_now));
    at_stake.min(everyday.saturating_add(share(at_stake.saturating_sub(everyday), risen)))
}

/// The tip that is wanted on a chain with base fees.
fn tip(policy: &FeePolicy, market: &Market, bid: &OfferInput, allowed: u128, chain_now: u64) -> u128 {
    let impatience = policy.impatience(bid.waited);
    let urgent = bid.priority == Priority::Urgent;
    let level = if urgent || bid.raise { 2 } else { usize::try_from(impatience).unwrap_or(2).min(2) };
    let pressed = urgent && bid.deadline.is_some_and(|deadline| deadline.pressure(chain_now) > 0);
    let ceiling = if pressed && allowed > policy.max_fee_cap {
        ratio(policy.max_priority_fee, allowed, policy.max_fee_cap)
    } else {
        policy.max_priority_fee
    };
    // A node that has the transaction and sends it to nobody is cured by a replacement only.
    let tip =
        dearer(market.tips[level], impatience.saturating_sub(2)).min(ceiling).max(policy.min_priority_fee);
    // The market's word alone is not relied on: it may be a lie, and block builders may ignore us.
    let doublings = if pressed { impatience.min(127) } else { 0 };
    (0..doublings).fold(tip, |tip, _| tip.saturating_mul(2))
}

/// `risen` parts of an amount, of [`Deadline::FULL`].
fn share(amount: u128, risen: u128) -> u128 {
    (amount / Deadline::FULL) * risen + amount % Deadline::FULL * risen / Deadline::FULL
}

/// `amount * over / under`, where the factor is at least 1; saturated.
fn ratio(amount: u128, over: u128, under: u128) -> u128 {
    amount
        .checked_mul(over)
        .map_or_else(|| amount.saturating_mul(over / under.max(1)), |product| product / under.max(1))
}

/// What the market wants, and at most two replacements above it.
fn dearer(usual: u128, impatience: u64) -> u128 {
    (0..impatience.min(2)).fold(usual, |price, _| price.saturating_add(price.div_ceil(8)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hundredth of a gwei.
    const CENT: u128 = 10_000_000;
    const ETHER: u128 = 1_000_000_000_000_000_000;
    const DAY: u32 = 86_400;
    /// Chain time at the deadline.
    const AT: u64 = 1_000_000;

    fn gwei(max: f64, tip: f64) -> Fees {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::float_arithmetic,
            reason = "small and positive, and rounded"
        )]
        let of = |gwei: f64| (gwei * 100.0).round() as u128 * CENT;
        Fees::new(of(max), of(tip))
    }

    fn bid() -> OfferInput {
        OfferInput {
            gas: 100_000,
            priority: Priority::Normal,
            deadline: None,
            stake: None,
            elsewhere: 0,
            balance: 100 * ETHER,
            held: None,
            own: true,
            waited: Waited::default(),
            raise: false,
        }
    }

    fn waited(blocks: u64) -> Waited {
        Waited { blocks, seconds: 12 * blocks }
    }

    fn offer(max: f64, tip: f64) -> Price {
        Price::Offer(gwei(max, tip))
    }

    fn wait(needed: f64, cap: f64) -> Price {
        Price::Wait { needed: gwei(needed, 0.0).max_fee, cap: gwei(cap, 0.0).max_fee }
    }

    #[test]
    fn the_table_of_adr_0003() {
        let urgent = OfferInput {
            priority: Priority::Urgent,
            deadline: Some(Deadline { at: AT, window: DAY }),
            stake: Some(ETHER / 2),
            ..bid()
        };
        let held = |max, tip| OfferInput { held: Some(gwei(max, tip)), ..bid() };
        let hours = |left: u64| AT - left * 3_600;
        for (case, bid, base, now, expected) in [
            ("ordinary", bid(), 20.0, AT, offer(42.0, 2.0)),
            ("ordinary, base above the cap", bid(), 600.0, AT, wait(600.01, 500.0)),
            ("a small stake", OfferInput { stake: Some(ETHER / 50), ..bid() }, 150.0, AT, offer(200.0, 2.0)),
            ("24 hours left", urgent, 600.0, hours(24), wait(600.01, 500.0)),
            ("12 hours left", urgent, 600.0, hours(12), offer(1_205.0, 5.0)),
            ("12 hours left: the cap", urgent, 2_800.0, hours(12), wait(2_800.01, 2_750.0)),
            ("6 hours left, with room for raises", urgent, 2_600.0, hours(6), offer(3_511.66, 5.0)),
            ("6 hours left, without", urgent, 3_600.0, hours(6), offer(5_000.0, 5.0)),
            ("late", urgent, 5_100.0, AT + 3_600, wait(5_100.01, 5_000.0)),
            ("stake not known", OfferInput { stake: None, ..urgent }, 600.0, hours(1), wait(600.01, 500.0)),
            ("held, waited 4", OfferInput { waited: waited(4), ..held(42.0, 2.0) }, 20.0, AT, Price::Keep),
            (
                "held, waited 5",
                OfferInput { waited: waited(5), ..held(42.0, 2.0) },
                20.0,
                AT,
                offer(47.25, 3.0),
            ),
            (
                "held, as the market has it",
                { OfferInput { waited: waited(14), ..held(52.0, 5.0) } },
                20.0,
                AT,
                { Price::Keep },
            ),
            ("and still ignored", { OfferInput { waited: waited(15), ..held(52.0, 5.0) } }, 20.0, AT, {
                offer(58.5, 5.625)
            }),
            ("once more", { OfferInput { waited: waited(20), ..held(58.5, 5.625) } }, 20.0, AT, {
                offer(65.813, 6.328)
            }),
            ("and no more", { OfferInput { waited: waited(500), ..held(65.813, 6.329) } }, 20.0, AT, {
                Price::Keep
            }),
            (
                "held, five fast blocks",
                { OfferInput { waited: Waited { blocks: 5, seconds: 1 }, ..held(42.0, 2.0) } },
                20.0,
                AT,
                Price::Keep,
            ),
            ("held, base rises", held(42.0, 2.0), 60.0, AT, offer(122.25, 2.25)),
            ("held, the tip is nearly enough", held(42.0, 1.81), 20.0, AT, Price::Keep),
            ("refused by all", bid(), 21.0, AT, offer(44.0, 2.0)),
            ("held near the cap", held(480.0, 2.0), 600.0, AT, wait(600.01, 500.0)),
            ("held near the cap, base just below it", held(480.0, 2.0), 490.0, AT, wait(540.0, 500.0)),
            ("a tip of nothing", held(30.0, 0.0), 20.0, AT, offer(42.0, 2.0)),
            (
                "urgent in place of a cheaper one",
                OfferInput { held: held(42.0, 2.0).held, ..urgent },
                20.0,
                AT,
                { offer(47.25, 5.0) },
            ),
            (
                "urgent, ignored for ten blocks",
                { OfferInput { held: Some(gwei(3_000.0, 5.0)), waited: waited(10), ..urgent } },
                1_000.0,
                hours(6),
                offer(3_375.0, 20.0),
            ),
            ("an L1 fee", OfferInput { elsewhere: ETHER / 10, ..urgent }, 2_600.0, AT, offer(2_809.33, 5.0)),
            ("the balance is the cap", OfferInput { balance: ETHER * 3 / 10, ..urgent }, 1_800.0, AT, {
                offer(2_107.0, 5.0)
            }),
            ("the balance is too little", OfferInput { balance: ETHER / 10, ..urgent }, 1_800.0, AT, {
                Price::Poor { needed: 180_001 * CENT * 100_000 }
            }),
            (
                "in place of one that is dear enough",
                OfferInput { own: false, ..held(60.0, 3.0) },
                20.0,
                AT,
                { offer(67.5, 3.375) },
            ),
            ("the operator asks", OfferInput { raise: true, ..held(42.0, 2.0) }, 20.0, AT, offer(47.25, 5.0)),
        ] {
            let tips = [2.0, 3.0, 5.0].map(|tip| gwei(tip, 0.0).max_fee);
            let market = Market { base_fee: Some(gwei(base, 0.0).max_fee), tips, usual: 0 };
            let found = price(&FeePolicy::default(), &market, &bid, now);
            assert!(same(found, expected), "{case}: {found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn without_base_fees_the_usual_price_is_offered_and_a_stuck_one_pays_a_little_more() {
        let held = |gwei_: f64, blocks| OfferInput {
            held: Some(gwei(gwei_, gwei_)),
            waited: waited(blocks),
            ..bid()
        };
        for (case, bid, usual, expected) in [
            ("usual", bid(), 90.0, offer(90.0, 90.0)),
            ("no opinion", bid(), 0.0, offer(0.01, 0.01)),
            ("above the cap", bid(), 501.0, wait(501.0, 500.0)),
            ("held, usual is less", held(80.0, 4), 0.0, Price::Keep),
            ("held, waited 5", held(80.0, 5), 80.0, offer(90.0, 90.0)),
            ("held, usual is a little more", held(95.0, 0), 100.0, offer(106.875, 106.875)),
            ("held, usual is more", held(80.0, 0), 300.0, offer(300.0, 300.0)),
            ("held near the cap", held(480.0, 0), 490.0, wait(540.0, 500.0)),
        ] {
            let market = Market { base_fee: None, tips: [0; 3], usual: gwei(usual, 0.0).max_fee };
            let found = price(&FeePolicy::default(), &market, &bid, AT);
            assert!(same(found, expected), "{case}: {found:?}, expected {expected:?}");
        }
    }

    /// Equal to a hundredth of a gwei.
    fn same(found: Price, expected: Price) -> bool {
        let near = |a: u128, b: u128| a.abs_diff(b) <= CENT;
        match (found, expected) {
            (Price::Offer(a), Price::Offer(b)) => {
                near(a.max_fee, b.max_fee) && near(a.priority_fee, b.priority_fee)
            }
            (Price::Wait { needed: a, cap: c }, Price::Wait { needed: b, cap: d }) => near(a, b) && c == d,
            (a, b) => a == b,
        }
    }

    prop_compose! {
        fn policies()(cap in 1u128..1 << 70, min in 0u128..1 << 40, max in 0u128..1 << 40, stuck in 0u64..20)
            -> FeePolicy
        {
            FeePolicy {
                max_fee_cap: cap,
                min_priority_fee: min,
                max_priority_fee: max,
                stuck_after_blocks: stuck,
                ..FeePolicy::default()
            }
        }
    }

    prop_compose! {
        fn bids()(
            gas in 0u64..1 << 40,
            urgent in any::<bool>(),
            deadline in proptest::option::of((0u64..1 << 40, 0u32..1 << 30)),
            stake in proptest::option::of(0u128..1 << 100),
            elsewhere in 0u128..1 << 90,
            balance in 0u128..1 << 110,
            held in proptest::option::of((0u128..1 << 80, 0u128..1 << 80)),
            blocks in 0u64..100,
        ) -> OfferInput {
            OfferInput {
                gas,
                priority: if urgent { Priority::Urgent } else { Priority::Normal },
                deadline: deadline.map(|(at, window)| Deadline { at, window }),
                stake,
                elsewhere,
                balance,
                held: held.map(|(max, tip)| Fees::new(max, tip.min(max))),
                own: true,
                waited: waited(blocks),
                raise: false,
            }
        }
    }

    prop_compose! {
        fn markets()(
            base in proptest::option::of(0u128..1 << 80),
            tips in any::<[u64; 3]>(),
            usual in 0u128..1 << 80,
        ) -> Market {
            let mut tips = tips.map(u128::from);
            tips.sort_unstable();
            Market { base_fee: base, tips, usual }
        }
    }

    proptest! {
        #[test]
        fn an_offer_is_valid_covers_the_base_fee_and_stays_below_stake_and_cap(
            policy in policies(), market in markets(), bid in bids(), now in 0u64..1 << 40,
        ) {
            match price(&policy, &market, &bid, now) {
                Price::Offer(fees) => {
                    prop_assert!(fees.priority_fee <= fees.max_fee);
                    prop_assert!(fees.max_fee >= market.base_fee.unwrap_or(0));
                    if let Some(stake) = bid.stake {
                        prop_assert!(
                            u128::from(bid.gas) * fees.max_fee + bid.elsewhere <= stake.max(bid.elsewhere)
                        );
                    }
                    prop_assert!(u128::from(bid.gas) * fees.max_fee <= bid.balance);
                    let pressed = bid.deadline.is_some_and(|deadline| deadline.pressure(now) > 0);
                    if bid.stake.is_none() || !pressed {
                        prop_assert!(fees.max_fee <= policy.max_fee_cap);
                    }
                    if let Some(held) = bid.held {
                        prop_assert!(fees.covers(held.replacement()), "pools take it in place of the held one");
                    }
                }
                Price::Keep => prop_assert!(bid.held.is_some()),
                Price::Wait { needed, cap } => prop_assert!(needed > cap),
                Price::Poor { needed } => prop_assert!(needed > bid.balance),
            }
        }

        /// However long it waits: in a market that stands still at most three offers follow each other, but for an urgent
        /// one, whose tip doubles as long as stake and balance allow.
        #[test]
        fn bids_end(policy in policies(), market in markets(), bid in bids(), now in 0u64..1 << 40) {
            let mut bid = OfferInput { priority: Priority::Normal, ..bid };
            let mut offers = 0;
            for blocks in 0..100 {
                bid.waited = waited(blocks);
                if let Price::Offer(fees) = price(&policy, &market, &bid, now) {
                    bid.held = Some(fees);
                    offers += 1;
                }
            }
            prop_assert!(offers <= 3, "{offers}");
        }
    }
}
