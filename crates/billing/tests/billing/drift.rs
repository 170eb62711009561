//! The meter that both sides agree on: its rule, its bounds, and what an agent gains by lying.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::support::{account, after, any_terms, start, terms, tolerance};
use privatix_billing::{
    Account, Agreed, Billing, ClientPolicy, Drift, Measure, PerMille, Percent, Terms, TermsDraft,
    TopUpAmount, TopUpPolicy, agreed, assess_client, price,
};
use privatix_channel::{Amount, Usage};
use proptest::prelude::*;

fn drift(share: u16, absolute: Option<u64>) -> Drift {
    Drift { share: PerMille::try_from(share).unwrap(), absolute: absolute.map(Usage::new) }
}

/// Units of ten; 40 units of lag, an interval of 30, at least 1,000 units: the absolute part is 100 by the minimum.
fn wide(change: impl FnOnce(&mut TermsDraft)) -> Terms {
    terms(|draft| {
        (draft.max_billing_unit_lag, draft.billing_interval, draft.min_units) = (40, 30, 1_000);
        change(draft);
    })
}

/// Name, terms, setting, both totals; the agreed total, and whether the agent's is beyond it.
type Row = (&'static str, Terms, Drift, u64, Option<u64>, (u64, bool));

#[test]
fn both_totals_agree_as_the_table_says() {
    let usual = Drift::default();
    let max = u64::MAX;
    let rows: Vec<Row> = vec![
        ("an unknown total changes nothing", wide(|_| {}), usual, 500, None, (500, false)),
        ("equal totals", wide(|_| {}), usual, 500, Some(500), (500, false)),
        ("a lower total lowers nothing", wide(|_| {}), usual, 500, Some(3), (500, false)),
        ("within the absolute part", wide(|_| {}), usual, 500, Some(599), (599, false)),
        ("exactly at it", wide(|_| {}), usual, 500, Some(600), (600, false)),
        ("one above it", wide(|_| {}), usual, 500, Some(601), (600, true)),
        ("from the first byte on", wide(|_| {}), usual, 1, Some(101), (101, false)),
        ("nothing while our meter shows nothing", wide(|_| {}), usual, 0, Some(1), (0, true)),
        ("no use at all", wide(|_| {}), usual, 0, Some(0), (0, false)),
        ("the share equals the absolute part", wide(|_| {}), usual, 10_099, Some(10_200), (10_199, true)),
        ("the share is above it by one", wide(|_| {}), usual, 10_100, Some(10_201), (10_201, false)),
        ("one above the share", wide(|_| {}), usual, 20_000, Some(20_201), (20_200, true)),
        ("the share is rounded down", wide(|_| {}), usual, 20_099, Some(20_300), (20_299, true)),
        ("one unit less of minimum", wide(|d| d.min_units = 999), usual, 500, Some(600), (599, true)),
        (
            "half of the lag is least",
            wide(|d| {
                d.max_billing_unit_lag = 19;
                d.billing_interval = 19;
            }),
            usual,
            500,
            Some(600),
            (595, true),
        ),
        (
            "half of an odd lag is rounded down",
            wide(|d| {
                d.unit.size = 1;
                d.max_billing_unit_lag = 7;
                d.billing_interval = 7;
            }),
            usual,
            100,
            Some(104),
            (103, true),
        ),
        ("the interval is least", wide(|d| d.billing_interval = 9), usual, 500, Some(600), (590, true)),
        (
            "a larger lag raises nothing",
            wide(|d| d.max_billing_unit_lag = 1 << 40),
            usual,
            500,
            Some(5_000),
            (600, true),
        ),
        (
            "no lag, no absolute part",
            wide(|d| {
                d.billing = Billing::Prepaid;
                d.max_billing_unit_lag = 0;
            }),
            usual,
            99,
            Some(100),
            (99, true),
        ),
        (
            "no lag leaves the share",
            wide(|d| {
                d.billing = Billing::Prepaid;
                d.max_billing_unit_lag = 0;
            }),
            usual,
            100,
            Some(101),
            (101, false),
        ),
        (
            "less than 100 requests of minimum",
            wide(|d| {
                d.unit.size = 1;
                d.min_units = 99;
            }),
            usual,
            50,
            Some(51),
            (50, true),
        ),
        ("a setting of our own is least", wide(|_| {}), drift(10, Some(7)), 500, Some(600), (507, true)),
        (
            "a setting of our own raises nothing",
            wide(|_| {}),
            drift(10, Some(10_000)),
            500,
            Some(700),
            (600, true),
        ),
        (
            "a setting of our own leaves the share",
            wide(|_| {}),
            drift(10, Some(0)),
            500,
            Some(506),
            (505, true),
        ),
        ("no tolerance", wide(|_| {}), drift(0, Some(0)), 500, Some(501), (500, true)),
        ("no share", wide(|_| {}), drift(0, None), 50_000, Some(50_101), (50_100, true)),
        ("the whole as share", wide(|_| {}), drift(1_000, None), 50_000, Some(100_001), (100_000, true)),
        ("a free use is a use", wide(|d| d.free_units = 500), usual, 500, Some(700), (600, true)),
        ("the end of a meter", wide(|_| {}), drift(1_000, None), max, Some(max), (max, false)),
        (
            "a tolerance beyond the end of a meter",
            wide(|_| {}),
            drift(1_000, None),
            max / 2 + 1,
            Some(max),
            (max, false),
        ),
        (
            "the share of the largest use is exact",
            wide(|_| {}),
            usual,
            max - max / 50,
            Some(max),
            (max - max / 50 + (max - max / 50) / 100, true),
        ),
    ];
    for (name, terms, drift, ours, theirs, (used, is_beyond)) in rows {
        let got = agreed(&terms, &drift, Usage::new(ours), theirs.map(Usage::new));
        let beyond = theirs.filter(|_| is_beyond);
        assert_eq!((got.used.get(), got.beyond.map(Usage::get)), (used, beyond), "{name}");
    }
}

#[test]
fn shares_are_checked_and_the_default_is_one_percent() {
    assert_eq!(Drift::default(), drift(10, None));
    assert_eq!(PerMille::MAX, PerMille::try_from(1_000).unwrap());
    let error = PerMille::try_from(1_001).unwrap_err().to_string();
    assert_eq!(error, "1001 is not a share from 0 to 1000 per mille");
    assert!(serde_json::from_str::<PerMille>("1001").is_err());
}

#[test]
fn a_policy_from_before_the_setting_stays_readable_and_the_default_is_not_written() {
    let before = r#"{"top_up":null,"settle_after":{"secs":3,"nanos":0}}"#;
    let policy: ClientPolicy = serde_json::from_str(before).unwrap();
    assert_eq!(policy, ClientPolicy::default());
    assert_eq!(serde_json::to_string(&policy).unwrap(), before);
    for drift in [drift(25, None), drift(10, Some(4_096)), drift(0, Some(0))] {
        let policy = ClientPolicy { drift, ..ClientPolicy::default() };
        let written = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<ClientPolicy>(&written).unwrap(), policy, "{written}");
    }
    // What is left out of a setting is the default, too; what is unknown is refused.
    assert_eq!(serde_json::from_str::<Drift>(r#"{"absolute":7}"#).unwrap(), drift(10, Some(7)));
    assert!(serde_json::from_str::<Drift>(r#"{"relative":7}"#).is_err());
}

/// An account of a channel with room, whose agent shows this total.
fn shown(used: u64, theirs: u64, paid: u128) -> Account {
    Account { deposit: Amount::new(1 << 80), theirs: Some(Usage::new(theirs)), ..account(used, paid) }
}

fn pays(terms: &Terms, account: &Account) -> Option<u128> {
    assess_client(terms, account, &ClientPolicy::default(), start()).pay_to.map(Amount::get)
}

/// Ten bytes for 30, 1 % of 10,000 bytes tolerance.
#[test]
fn what_is_paid_for_is_the_agents_total_within_the_tolerance() {
    let terms = terms(|_| {});
    let interval_less = 30_000 - 30;
    for (theirs, expected) in
        [(9_000, 30_000), (10_050, 30_150), (10_100, 30_300), (10_101, 30_300), (u64::MAX, 30_300)]
    {
        assert_eq!(pays(&terms, &shown(10_000, theirs, interval_less)), Some(expected), "{theirs}");
    }
    // By our own meter less than an interval is unpaid; by both it is more.
    assert_eq!(pays(&terms, &shown(10_000, 10_000, 29_999)), None);
    assert_eq!(pays(&terms, &shown(10_000, 10_010, 29_999)), Some(30_030));
}

#[test]
fn a_service_that_the_agent_shows_as_suspended_is_paid_for_at_once() {
    let terms = terms(|_| {});
    let waits = |resumes_at: Option<u128>| {
        let account = Account { resumes_at: resumes_at.map(Amount::new), ..shown(10_000, 10_005, 29_999) };
        pays(&terms, &account)
    };
    assert_eq!(waits(None), None);
    assert_eq!(waits(Some(29_999)), None, "that is paid");
    assert_eq!(waits(Some(30_010)), Some(30_015), "what is agreed suffices");
    assert_eq!(waits(Some(90_000)), Some(30_015), "what is agreed is paid, and no more");
    // Nothing that is not agreed is paid, however often that is shown.
    let paid = Account { resumes_at: Some(Amount::new(90_000)), ..shown(10_000, 10_005, 30_015) };
    assert_eq!(pays(&terms, &paid), None);
}

/// The agent's total neither ends the channel nor tops it up.
#[test]
fn our_own_meter_alone_decides_about_all_but_payments() {
    let terms = terms(|draft| (draft.max_units, draft.max_inactive) = (Some(1_000), Duration::from_mins(5)));
    let all = price(&terms, terms.max());
    let half = TopUpPolicy {
        percent: Percent::try_from(50).unwrap(),
        amount: TopUpAmount::Double,
        max_deposit: None,
    };
    let policy = ClientPolicy { top_up: Some(half), ..ClientPolicy::default() };
    for theirs in [None, Some(Usage::new(9_999)), Some(terms.max()), Some(Usage::new(u64::MAX))] {
        let account = Account { theirs, paid: all, deposit: all, ..account(9_990, 0) };
        let decided = assess_client(&terms, &account, &ClientPolicy::default(), start());
        assert_eq!(decided.action, None, "{theirs:?}");
        // 1 % above the half.
        let account = Account {
            theirs,
            used: Usage::new(4_960),
            paid: Amount::ZERO,
            deposit: Amount::new(30_000),
            ..account
        };
        assert_eq!(assess_client(&terms, &account, &policy, start()).action, None, "{theirs:?}");
    }
}

/// Ours is 10,000 seconds, of which 1 % is granted, and 10,050 are paid. Without the agent's total the next interval of 100 would end
/// after 150 seconds more.
#[test]
fn the_next_payment_by_the_clock_is_that_of_the_agreed_meter() {
    let terms = terms(|draft| {
        (draft.unit.measure, draft.billing_interval, draft.max_billing_unit_lag) = (Measure::Seconds, 10, 20);
    });
    let account = Account { running_since: Some(start()), ..shown(10_000, u64::MAX, 30_150) };
    let at = |seconds| assess_client(&terms, &account, &ClientPolicy::default(), after(seconds));
    assert_eq!((at(0).pay_to, at(0).next), (None, Some(after(50))));
    assert_eq!(at(49).pay_to, None);
    assert_eq!(at(50).pay_to, Some(Amount::new(30_450)));
}

fn any_drift() -> impl Strategy<Value = Drift> {
    let share = prop_oneof![2 => Just(10_u16), 1 => 0..=1_000_u16];
    let absolute = prop_oneof![Just(None), (0..200_u64).prop_map(Some), any::<u64>().prop_map(Some)];
    (share, absolute).prop_map(|(share, absolute)| drift(share, absolute))
}

/// A meter: near the limits of the terms, or anything.
fn any_meter() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0_u64), 6 => 0..20_000_u64, 2 => any::<u64>(), 1 => (0..1_000_u64).prop_map(|n| u64::MAX - n)]
}

/// The agent's total: near ours, or anything.
fn any_claim(ours: u64) -> impl Strategy<Value = Option<u64>> {
    let near = (0..400_u64).prop_map(move |off| Some(ours.saturating_add(off).saturating_sub(50)));
    prop_oneof![1 => Just(None), 5 => near, 2 => any_meter().prop_map(Some)]
}

/// Small terms, with a minimum that leaves an absolute part.
fn any_tolerant_terms() -> impl Strategy<Value = Terms> {
    (any_terms(), 1..2_000_u64).prop_map(|(terms, min)| {
        let draft = terms.as_draft().clone();
        let max_units = draft.max_units.map(|max| max.max(min));
        TermsDraft { min_units: min, max_units, ..draft }.validate().unwrap()
    })
}

prop_compose! {
    fn any_pair()(ours in any_meter())(ours in Just(ours), theirs in any_claim(ours)) -> (u64, Option<u64>) {
        (ours, theirs)
    }
}

fn agree(terms: &Terms, drift: Drift, ours: u64, theirs: Option<u64>) -> Agreed {
    agreed(terms, &drift, Usage::new(ours), theirs.map(Usage::new))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agreed_use_is_never_below_our_own(
        terms in any_tolerant_terms(), drift in any_drift(), (ours, theirs) in any_pair(),
    ) {
        prop_assert!(agree(&terms, drift, ours, theirs).used.get() >= ours);
    }

    #[test]
    fn agreed_use_is_never_above_our_own_and_the_tolerance(
        terms in any_tolerant_terms(), drift in any_drift(), (ours, theirs) in any_pair(),
    ) {
        let used = u128::from(agree(&terms, drift, ours, theirs).used.get());
        prop_assert!(used <= u128::from(ours) + tolerance(&terms, drift, ours));
    }

    #[test]
    fn within_the_tolerance_the_agents_total_counts_and_beyond_it_is_shown(
        terms in any_tolerant_terms(), drift in any_drift(), (ours, theirs) in any_pair(),
    ) {
        let got = agree(&terms, drift, ours, theirs);
        let most = u128::from(ours) + tolerance(&terms, drift, ours);
        let beyond = theirs.filter(|theirs| u128::from(*theirs) > most);
        prop_assert_eq!(got.beyond.map(Usage::get), beyond);
        if beyond.is_none() {
            prop_assert_eq!(got.used.get(), theirs.unwrap_or(ours).max(ours));
        }
    }

    #[test]
    fn agreed_use_falls_with_neither_meter(
        terms in any_tolerant_terms(), drift in any_drift(), (ours, theirs) in any_pair(),
        (more, claimed) in (0..500_u64, 0..500_u64),
    ) {
        let used = agree(&terms, drift, ours, theirs).used;
        let ours_grew = agree(&terms, drift, ours.saturating_add(more), theirs).used;
        prop_assert!(ours_grew >= used, "ours grew by {more}: {used} -> {ours_grew}");
        let theirs_grew = agree(&terms, drift, ours, theirs.map(|theirs| theirs.saturating_add(claimed))).used;
        prop_assert!(theirs_grew >= used, "theirs grew by {claimed}: {used} -> {theirs_grew}");
        prop_assert!(agree(&terms, drift, ours, None).used <= used, "a total that becomes known lowers nothing");
    }

    /// The client pays what the real rules ask for the agreed use, whatever the agent claims: its vouchers are cumulative, so what
    /// counts is the greatest.
    #[test]
    fn a_lying_agent_gains_at_most_one_tolerance_of_the_final_total(
        terms in any_tolerant_terms(), drift in any_drift(),
        history in proptest::collection::vec((0..200_u64, any_claim(0), any::<bool>(), any::<bool>()), 1..100),
    ) {
        let policy = ClientPolicy { drift, ..ClientPolicy::default() };
        let mut account = Account { deposit: Amount::new(1 << 90), ..account(0, 0) };
        let (mut ours, mut last) = (0, None);
        for (grows, claim, is_near, is_suspended) in history {
            ours += grows;
            // Near our own total, or anything; without one, the last one stands.
            last = claim.map(|claim| if is_near { claim.saturating_add(ours) } else { claim }).or(last);
            account.used = Usage::new(ours);
            account.theirs = last.map(Usage::new);
            account.resumes_at = is_suspended.then_some(Amount::MAX_ON_CHAIN);
            let pays = assess_client(&terms, &account, &policy, start()).pay_to;
            account.paid = pays.unwrap_or(account.paid).max(account.paid);
        }
        let ahead = if terms.billing() == Billing::Prepaid { terms.interval().get() } else { 0 };
        let most = u128::from(ours + ahead) + tolerance(&terms, drift, ours);
        let honest = price(&terms, Usage::new(u64::try_from(most).unwrap()));
        prop_assert!(account.paid <= honest, "paid {}, at most {honest} for {ours} and one tolerance", account.paid);
    }
}
