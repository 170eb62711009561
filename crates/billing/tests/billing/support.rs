//! What the tests of this crate share: terms to start from, and arbitrary valid terms.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use privatix_billing::{
    Account, Billing, ClientPolicy, Drift, Measure, Percent, Terms, TermsDraft, TopUpAmount, TopUpPolicy,
    Unit, price,
};
use privatix_channel::{Amount, ServiceStatus, Usage};
use proptest::prelude::*;

/// A unit of ten bytes for 30: prices that divide, and prices that do not.
pub(crate) fn draft() -> TermsDraft {
    TermsDraft {
        unit: Unit { name: "block".into(), measure: Measure::Bytes, size: 10 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: Amount::new(30),
        free_units: 0,
        min_units: 5,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 2,
        max_suspend: Duration::from_mins(1),
        max_inactive: Duration::from_mins(10),
        max_first_use: None,
    }
}

pub(crate) fn terms(change: impl FnOnce(&mut TermsDraft)) -> Terms {
    let mut draft = draft();
    change(&mut draft);
    draft.validate().unwrap()
}

pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

pub(crate) fn after(seconds: u64) -> SystemTime {
    start() + Duration::from_secs(seconds)
}

/// An active channel with a deposit of 300 (ten units), opened at `start`.
pub(crate) fn account(used: u64, paid: u128) -> Account {
    let mut account = Account::new(Amount::new(300), ServiceStatus::Active, start());
    account.used = Usage::new(used);
    account.paid = Amount::new(paid);
    account
}

/// Valid terms of every kind, small enough that tests reach their limits.
pub(crate) fn any_terms() -> impl Strategy<Value = Terms> {
    any_terms_of(prop_oneof![Just(Billing::Prepaid), Just(Billing::Postpaid)])
}

pub(crate) fn any_terms_of(billing: impl Strategy<Value = Billing>) -> impl Strategy<Value = Terms> {
    let counts = (0..20_u64, 1..50_u64, proptest::option::of(0..200_u64), 1..20_u64, 0..40_u64);
    let measure = prop_oneof![Just(Measure::Bytes), Just(Measure::Seconds), Just(Measure::Requests)];
    let prices = (0..500_u128, 1..500_u128);
    (counts, measure, 1..100_u64, billing, prices, 2..100_u64, 2..1_000_u64).prop_map(
        |((free, min, beyond, interval, lag), measure, size, billing, (setup, price), suspend, inactive)| {
            let draft = TermsDraft {
                unit: Unit { name: "unit".into(), measure, size },
                billing,
                setup_price: Amount::new(setup),
                unit_price: Amount::new(price),
                free_units: free,
                min_units: min,
                max_units: beyond.map(|beyond| min.max(free + 1) + beyond),
                billing_interval: interval,
                max_billing_unit_lag: if billing == Billing::Postpaid { interval + lag } else { lag },
                max_suspend: Duration::from_secs(suspend),
                max_inactive: Duration::from_secs(inactive),
                max_first_use: None,
            };
            draft.validate().unwrap()
        },
    )
}

prop_compose! {
    /// Any state of a channel, reachable or not: the promise holds for all.
    pub(crate) fn any_account(terms: Terms)(
        service in proptest::sample::select(ServiceStatus::ALL.to_vec()),
        (units, rest) in (0..200_u64, 0..100_u64),
        (deposit, paid) in (0..50_000_u128, 0..50_000_u128),
        (last_usage, status_since) in (0..2_000_u64, 0..2_000_u64),
        running_since in proptest::option::of(0..2_000_000_u64),
        (held, top_up_pending) in any::<(bool, bool)>(),
        exact in any::<bool>(),
        theirs in proptest::option::of(0..100_u64),
        resumes_at in proptest::option::of(0..50_000_u128),
    ) -> Account {
        let used = Usage::new(units * terms.unit().size + rest);
        Account {
            deposit: Amount::new(deposit),
            paid: if exact { price(&terms, used) } else { Amount::new(paid) },
            used,
            service,
            last_usage: start() + Duration::from_secs(last_usage),
            status_since: start() + Duration::from_secs(status_since),
            running_since: running_since.map(|millis| start() + Duration::from_millis(millis)),
            held,
            top_up_pending,
            theirs: theirs.map(|ahead| used.saturating_add(Usage::new(ahead))),
            resumes_at: resumes_at.map(Amount::new),
        }
    }
}

/// A channel at some moment.
pub(crate) fn any_case() -> impl Strategy<Value = (Terms, Account, SystemTime)> {
    let now = (0..3_000_000_u64).prop_map(|millis| start() + Duration::from_millis(millis));
    any_terms().prop_flat_map(move |terms| (Just(terms.clone()), any_account(terms), now.clone()))
}

/// What a client may want.
pub(crate) fn any_policy() -> impl Strategy<Value = ClientPolicy> {
    (proptest::option::of(1..=100_u8), 0..20_000_u64).prop_map(|(percent, settle_after)| ClientPolicy {
        top_up: percent.map(|percent| TopUpPolicy {
            percent: Percent::try_from(percent).unwrap(),
            amount: TopUpAmount::Double,
            max_deposit: None,
        }),
        settle_after: Duration::from_millis(settle_after),
        drift: Drift::default(),
    })
}

/// How far the agent's total may be above the client's: the rule once more, in plain numbers.
pub(crate) fn tolerance(terms: &Terms, drift: Drift, ours: u64) -> u128 {
    let draft = terms.as_draft();
    let size = u128::from(draft.unit.size);
    let own = drift.absolute.map_or(u128::MAX, |own| own.get().into());
    let lag = u128::from(draft.max_billing_unit_lag) * size / 2;
    let interval = u128::from(draft.billing_interval) * size;
    let minimum = u128::from(draft.min_units) * size / 100;
    let share = u128::from(ours) * u128::from(u16::from(drift.share)) / 1_000;
    if ours == 0 { 0 } else { share.max(own.min(lag).min(interval).min(minimum)) }
}
