//! Terms that an honest pair could not live by are refused, by the name of the field.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::support::{draft, terms};
use privatix_billing::{Billing, Field, SHORTEST_FIRST_USE, Terms, TermsDraft, TermsError};
use privatix_channel::Amount;

/// A change that spoils a draft.
type Change = fn(&mut TermsDraft);

fn refusal(change: impl FnOnce(&mut TermsDraft)) -> TermsError {
    let mut draft = draft();
    change(&mut draft);
    draft.validate().unwrap_err()
}

#[test]
fn what_must_be_at_least_one_is_named_when_it_is_zero() {
    let cases: [(Field, Change, &str); 6] = [
        (Field::UnitSize, |draft| draft.unit.size = 0, "unit.size is zero; set it to at least 1"),
        (
            Field::UnitPrice,
            |draft| draft.unit_price = Amount::ZERO,
            "unitPrice is zero; set it to at least 1",
        ),
        (Field::MinUnits, |draft| draft.min_units = 0, "minUnits is zero; set it to at least 1"),
        (
            Field::BillingInterval,
            |draft| draft.billing_interval = 0,
            "billingInterval is zero; set it to at least 1",
        ),
        (
            Field::MaxSuspend,
            |draft| draft.max_suspend = Duration::ZERO,
            "maxSuspend is zero; set it to at least 1",
        ),
        (
            Field::MaxInactive,
            |draft| draft.max_inactive = Duration::ZERO,
            "maxInactive is zero; set it to at least 1",
        ),
    ];
    for (field, change, message) in cases {
        let error = refusal(change);
        assert_eq!((error, error.field()), (TermsError::Zero { field }, field));
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn units_need_a_visible_name() {
    for name in ["", " MiB", "MiB ", "a\nb", &"x".repeat(33)] {
        let error = refusal(|draft| draft.unit.name = name.into());
        assert_eq!((error, error.field()), (TermsError::UnitName, Field::UnitName), "{name:?}");
    }
    assert_eq!(terms(|draft| draft.unit.name = "é".repeat(32)).unit().name.chars().count(), 32);
}

#[test]
fn a_postpaid_interval_above_the_lag_would_suspend_honest_clients() {
    let change = |draft: &mut TermsDraft| {
        draft.billing_interval = 3;
        draft.max_billing_unit_lag = 2;
    };
    let error = refusal(change);
    assert_eq!(error, TermsError::IntervalAboveLag { billing_interval: 3, max_billing_unit_lag: 2 });
    assert_eq!(error.field(), Field::BillingInterval);
    assert_eq!(
        error.to_string(),
        "billingInterval of 3 is above maxBillingUnitLag of 2, so a postpaid client would be suspended before its payment is due; lower billingInterval or raise maxBillingUnitLag"
    );
    // A prepaid client has paid for its interval before it uses it.
    terms(|draft| {
        change(draft);
        draft.billing = Billing::Prepaid;
    });
}

#[test]
fn limits_leave_something_to_sell() {
    let error = refusal(|draft| draft.max_units = Some(4));
    assert_eq!(
        (error, error.field()),
        (TermsError::MaxBelowMin { max_units: 4, min_units: 5 }, Field::MaxUnits)
    );
    assert_eq!(error.to_string(), "maxUnits of 4 is below minUnits of 5; raise maxUnits or lower minUnits");
    let error = refusal(|draft| {
        draft.max_units = Some(6);
        draft.free_units = 6;
    });
    assert_eq!(
        (error, error.field()),
        (TermsError::AllFree { max_units: 6, free_units: 6 }, Field::FreeUnits)
    );
}

#[test]
fn counts_must_fit_a_meter() {
    let cases: [(Field, Change); 5] = [
        (Field::FreeUnits, |draft| draft.free_units = u64::MAX),
        (Field::MinUnits, |draft| draft.min_units = u64::MAX),
        (Field::MaxUnits, |draft| draft.max_units = Some(u64::MAX)),
        (Field::BillingInterval, |draft| draft.billing_interval = u64::MAX),
        (Field::MaxBillingUnitLag, |draft| draft.max_billing_unit_lag = u64::MAX),
    ];
    for (field, change) in cases {
        let error = refusal(change);
        assert_eq!(
            (error, error.field()),
            (TermsError::Unmeasurable { field, units: u64::MAX, unit_size: 10 }, field)
        );
    }
}

#[test]
fn the_smallest_deposit_must_fit_the_chain() {
    let error = refusal(|draft| draft.unit_price = Amount::new(1 << 96));
    assert_eq!((error, error.field()), (TermsError::DepositTooLarge, Field::MinUnits));
    let error = refusal(|draft| draft.unit_price = Amount::MAX);
    assert_eq!(error, TermsError::DepositTooLarge);
    let error = refusal(|draft| draft.setup_price = Amount::MAX);
    assert_eq!(error, TermsError::DepositTooLarge);
}

#[test]
fn periods_are_whole_seconds_within_a_century() {
    let error = refusal(|draft| draft.max_suspend = Duration::from_millis(1_500));
    assert_eq!(error.to_string(), "maxSuspend is not a whole number of seconds; round it");
    let error = refusal(|draft| draft.max_inactive = Duration::MAX);
    assert_eq!(error.field(), Field::MaxInactive);
    let error = refusal(|draft| draft.max_first_use = Some(Duration::MAX));
    assert_eq!(error.field(), Field::MaxFirstUse);
    let error = refusal(|draft| draft.max_first_use = Some(Duration::from_secs(899)));
    assert_eq!((error, error.field()), (TermsError::FirstUseTooShort { seconds: 899 }, Field::MaxFirstUse));
    assert!(error.to_string().contains("maxFirstUse of 899 s"), "{error}");
    let shortest = terms(|draft| draft.max_first_use = Some(SHORTEST_FIRST_USE));
    assert_eq!(shortest.max_first_use(), Duration::from_mins(15));
}

#[test]
fn a_period_that_is_left_out_is_left_out_of_the_text() {
    let without = terms(|_| {});
    let text = serde_json::to_string(&without).unwrap();
    assert!(!text.contains("maxFirstUse"), "the hash of what was signed before would change: {text}");
    assert_eq!(without.max_first_use(), without.max_inactive());
    let with = terms(|draft| draft.max_first_use = Some(Duration::from_hours(1)));
    let text = serde_json::to_string(&with).unwrap();
    assert!(text.contains(r#""maxFirstUse":3600"#), "{text}");
    assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), with);
}

#[test]
fn terms_are_checked_when_they_are_read_back() {
    let terms = terms(|draft| draft.max_units = Some(9));
    let text = serde_json::to_string(&terms).unwrap();
    assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), terms);

    let spoilt = text.replace("\"unitPrice\":\"30\"", "\"unitPrice\":\"0\"");
    let error = serde_json::from_str::<Terms>(&spoilt).unwrap_err().to_string();
    assert!(error.contains("unitPrice is zero"), "{error}");
    let unknown = text.replacen('{', "{\"unitprice\":\"1\",", 1);
    let error = serde_json::from_str::<Terms>(&unknown).unwrap_err().to_string();
    assert!(error.contains("unknown field `unitprice`"), "{error}");
}
