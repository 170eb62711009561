//! What a use costs and what a payment covers.

use crate::support::{any_terms, terms};
use privatix_billing::{Terms, covered, due, min_deposit, price, signed_for, unpaid};
use privatix_channel::{Amount, Usage};
use proptest::prelude::*;

#[test]
fn a_use_costs_its_share_of_a_unit_rounded_up_once() {
    let terms = terms(|draft| draft.unit_price = Amount::new(31));
    for (used, expected) in [(0, 0), (1, 4), (2, 7), (9, 28), (10, 31), (11, 35), (1_000, 3_100)] {
        assert_eq!(price(&terms, Usage::new(used)), Amount::new(expected), "{used} bytes");
    }
}

#[test]
fn free_units_come_before_any_price_and_setup_before_any_use() {
    let terms = terms(|draft| {
        draft.setup_price = Amount::new(7);
        draft.free_units = 2;
    });
    for (used, expected) in [(0, 7), (20, 7), (21, 10), (30, 37)] {
        assert_eq!(price(&terms, Usage::new(used)), Amount::new(expected), "{used} bytes");
    }
    assert_eq!(min_deposit(&terms), Amount::new(7 + 5 * 30));
}

#[test]
fn nothing_beyond_max_units_is_for_sale() {
    let terms = terms(|draft| draft.max_units = Some(8));
    assert_eq!(price(&terms, Usage::new(80)), Amount::new(240));
    assert_eq!(price(&terms, Usage::MAX), Amount::new(240));
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let terms = terms(|draft| {
        draft.unit.size = 1;
        draft.min_units = 1;
        draft.unit_price = Amount::new((1 << 96) - 2);
        draft.setup_price = Amount::new(1);
    });
    assert_eq!(min_deposit(&terms), Amount::MAX_ON_CHAIN);
    assert_eq!(price(&terms, Usage::MAX), Amount::MAX);
    assert_eq!(due(&terms, Usage::MAX, Amount::MAX_ON_CHAIN), Amount::MAX_ON_CHAIN);
    assert_eq!(covered(&terms, Amount::MAX_ON_CHAIN), Usage::new(1));
    assert_eq!(covered(&terms, Amount::MAX), Usage::MAX);
}

#[test]
fn a_payment_below_the_setup_price_covers_nothing() {
    let terms = terms(|draft| {
        draft.setup_price = Amount::new(7);
        draft.free_units = 2;
    });
    assert_eq!(covered(&terms, Amount::new(6)), Usage::ZERO);
    assert_eq!(covered(&terms, Amount::new(7)), Usage::new(20));
    assert_eq!(covered(&terms, Amount::new(10)), Usage::new(21));
    assert_eq!(unpaid(&terms, Usage::new(25), Amount::new(10)), Usage::new(4));
}

/// The rule as it is written in the design, in arithmetic wide enough for these terms.
fn by_the_book(terms: &Terms, used: u64) -> u128 {
    let draft = terms.as_draft();
    let sold = draft.max_units.map_or(used, |max| used.min(max * draft.unit.size));
    let priced = sold.saturating_sub(draft.free_units * draft.unit.size);
    draft.setup_price.get() + (u128::from(priced) * draft.unit_price.get()).div_ceil(draft.unit.size.into())
}

proptest! {
    #[test]
    fn due_is_the_rule_capped_at_the_deposit(terms in any_terms(), used in any::<u64>(), deposit in any::<u128>()) {
        let expected = by_the_book(&terms, used).min(deposit);
        prop_assert_eq!(due(&terms, Usage::new(used), Amount::new(deposit)), Amount::new(expected));
    }

    #[test]
    fn due_never_falls_as_use_grows(terms in any_terms(), used in 0..100_000_u64, more in 0..1_000_u64, deposit in any::<u128>()) {
        let deposit = Amount::new(deposit);
        prop_assert!(due(&terms, Usage::new(used), deposit) <= due(&terms, Usage::new(used + more), deposit));
    }

    #[test]
    fn a_payment_covers_the_most_use_that_it_pays_for(terms in any_terms(), paid in 0..200_000_u128) {
        let paid = Amount::new(paid);
        let covered = covered(&terms, paid);
        prop_assert!(covered <= terms.max());
        if price(&terms, Usage::ZERO) <= paid {
            prop_assert!(price(&terms, covered) <= paid);
            let one_more = covered.saturating_add(Usage::new(1));
            prop_assert!(covered == terms.max() || price(&terms, one_more) > paid);
        } else {
            prop_assert_eq!(covered, Usage::ZERO);
        }
    }

    #[test]
    fn what_was_signed_for_is_the_least_use_that_costs_as_much(terms in any_terms(), paid in 0..200_000_u128) {
        let paid = Amount::new(paid);
        let used = signed_for(&terms, paid);
        prop_assert!(used == terms.max() || price(&terms, used) >= paid);
        let less = used.get().checked_sub(1).map(Usage::new);
        prop_assert!(less.is_none_or(|less| price(&terms, less) < paid));
    }

    #[test]
    fn paying_what_is_due_leaves_nothing_unpaid(terms in any_terms(), used in 0..1_000_000_u64) {
        let used = Usage::new(used).min(terms.max());
        prop_assert_eq!(unpaid(&terms, used, price(&terms, used)), Usage::ZERO);
    }
}
