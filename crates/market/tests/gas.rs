//! The reserve for closes, when new channels are served, and the runway.

use std::time::Duration;

use privatix_market::{AffordsNew, Reserve, Runway, Spending, Wei};
use proptest::prelude::*;

/// With closes at 10 wei.
fn reserve(open: u64) -> Reserve {
    Reserve { open, close_cost: Wei::new(10) }
}

#[test]
fn the_reserve_pays_for_all_closes_and_one_more() {
    assert_eq!((reserve(0).closes(), reserve(0).wei()), (Wei::new(0), Wei::new(10)));
    assert_eq!((reserve(4).closes(), reserve(4).wei()), (Wei::new(40), Wei::new(50)));
    let most = Reserve { open: u64::MAX, close_cost: Wei::new(u128::MAX) };
    assert_eq!(most.wei(), Wei::new(u128::MAX));
}

/// The balance, whether new channels are served then. The reserve is 50.
#[test]
fn new_channels_are_served_again_only_a_fifth_above_the_reserve() {
    let mut affords = AffordsNew::default();
    for (balance, is_enough) in
        [(50, true), (49, false), (50, false), (60, false), (61, true), (51, true), (50, true), (0, false)]
    {
        let before = affords;
        assert_eq!(affords.look(Wei::new(balance), reserve(4)), before.get() != is_enough, "{balance}");
        assert_eq!(affords.get(), is_enough, "{balance}");
        assert!(!affords.look(Wei::new(balance), reserve(4)), "{balance} again");
    }
    // A close cost that is zero, or that nobody can pay.
    let free = Reserve { open: 4, close_cost: Wei::new(0) };
    assert!(!affords.look(Wei::new(0), free), "not above it");
    assert!(affords.look(Wei::new(1), free));
    let dear = Reserve { open: 4, close_cost: Wei::new(u128::MAX) };
    assert!(affords.look(Wei::new(1), dear) && !affords.get());
}

#[test]
fn the_runway_counts_what_the_closes_leave() {
    let spending = |wei, hours| Spending { wei: Wei::new(wei), over: Duration::from_hours(hours) };
    let rows = [
        ("7 a day, 40 for closes", 75, spending(7, 24), Runway::Days(5)),
        ("the same, seen for a week", 75, spending(49, 7 * 24), Runway::Days(5)),
        ("the same, seen for an hour", 75, spending(1, 1), Runway::Days(1)),
        ("less than a day", 46, spending(7, 24), Runway::Days(0)),
        ("closes only", 40, spending(7, 24), Runway::Days(0)),
        ("not even the closes", 39, spending(7, 24), Runway::Short { missing: Wei::new(1) }),
        ("not even the closes, nothing seen", 0, spending(0, 0), Runway::Short { missing: Wei::new(40) }),
        ("nothing spent", 75, spending(0, 24), Runway::Unknown),
        (
            "not watched for an hour",
            75,
            Spending { over: Duration::from_mins(59), ..spending(7, 0) },
            Runway::Unknown,
        ),
        ("more ether than there is", u128::MAX, spending(u128::MAX, 24), Runway::Days(0)),
    ];
    for (name, balance, spending, runway) in rows {
        assert_eq!(Runway::of(Wei::new(balance), reserve(4), spending), runway, "{name}");
    }
}

proptest! {
    #[test]
    fn the_answer_is_certain_outside_of_the_band_and_as_before_in_it(
        looks in prop::collection::vec((0..200_u128, 0..12_u64), 1..40),
    ) {
        let mut affords = AffordsNew::default();
        for (balance, open) in looks {
            let before = affords.get();
            let reserve = reserve(open);
            let changed = affords.look(Wei::new(balance), reserve);
            let least = reserve.wei().get();
            prop_assert_eq!(changed, before != affords.get());
            if balance < least {
                prop_assert!(!affords.get());
            } else if balance * 5 > least * 6 {
                prop_assert!(affords.get());
            } else {
                prop_assert!(!changed);
            }
        }
    }

    #[test]
    fn more_ether_lasts_no_shorter(
        balance in 0..1_000_u128, more in 0..1_000_u128, wei in 1..50_u128, hours in 1..100_u64,
    ) {
        let spending = Spending { wei: Wei::new(wei), over: Duration::from_hours(hours) };
        let of = |balance| Runway::of(Wei::new(balance), reserve(4), spending);
        match (of(balance), of(balance + more)) {
            (Runway::Days(few), Runway::Days(many)) => prop_assert!(few <= many),
            (Runway::Short { missing: much }, Runway::Short { missing: less }) => prop_assert!(less <= much),
            (few, many) => prop_assert!(matches!((few, many), (Runway::Short { .. }, Runway::Days(_))), "{few:?}, {many:?}"),
        }
    }
}
