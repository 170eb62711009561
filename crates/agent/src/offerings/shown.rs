//! What people are shown of an own offering.

use std::time::{Duration, SystemTime};

use privatix_channel::{Amount, ChainTime, OfferingHash};
use privatix_market::offering::{OfferingNotice, OfferingPurpose, Own, Problem, Wanted};
use privatix_market::{Blocked, Owner};

/// What the list shows as the problem of an offering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// None.
    Nothing,
    /// The one that is shown already.
    AsBefore,
    /// This one.
    Is(String),
}

const fn name(purpose: OfferingPurpose) -> &'static str {
    match purpose {
        OfferingPurpose::Publish => "the registration",
        OfferingPurpose::PopUp => "the pop-up",
        OfferingPurpose::Remove => "the removal",
    }
}

/// A problem in short, for health.
pub(super) fn summary(problem: Problem) -> String {
    match problem {
        Problem::Stake => {
            "the balance in the contract does not suffice for its stake; deposit more".to_owned()
        }
        Problem::Signature => SIGNATURE.to_owned(),
        Problem::Failed(purpose) => format!("{}; {}", failed(purpose), remedy(purpose)),
        _ => "see `offerings show`".to_owned(),
    }
}

fn failed(purpose: OfferingPurpose) -> String {
    match purpose {
        OfferingPurpose::Remove => format!("{} failed again and again", name(purpose)),
        OfferingPurpose::Publish | OfferingPurpose::PopUp => format!("{} failed for good", name(purpose)),
    }
}

fn remedy(purpose: OfferingPurpose) -> &'static str {
    match purpose {
        OfferingPurpose::Remove => "it is tried again once a day",
        OfferingPurpose::Publish | OfferingPurpose::PopUp => "order it again",
    }
}

const SIGNATURE: &str = "clients would refuse it: its message is not here, or the chain does not show who signed it as the \
     agent's operator; have that operator appointed, or make the offering again with `offerings create`";

/// What is shown after a decision. `failure`: why the transaction failed that it is about; `stake` and `balance` in base units.
pub(super) fn text(
    before: &Own,
    after: &Own,
    failure: Option<&str>,
    (stake, balance): (Amount, Amount),
) -> Text {
    let because = |what: String| match failure {
        Some(failure) => Text::Is(format!("{what}: {failure}")),
        None => Text::AsBefore,
    };
    match (after.problem, after.blocked) {
        (Some(Problem::Stake), _) => Text::Is(format!(
            "its stake is {stake}, and the contract has {balance} of the account; deposit more with `deposit`, or offer less supply"
        )),
        (Some(Problem::Failed(purpose)), _) if before.problem == after.problem => because(failed(purpose)),
        (Some(Problem::Failed(purpose)), _) => {
            let why = failure.unwrap_or("its transaction was not carried out");
            Text::Is(format!("{}: {why}; {}", failed(purpose), remedy(purpose)))
        }
        (Some(problem), _) => Text::Is(summary(problem)),
        (None, Some(Blocked::Failing { .. })) => {
            because("its last transaction failed, and is tried again".to_owned())
        }
        (None, _) => Text::Nothing,
    }
}

/// What an offering waits for, in words. `own` is of the state that `owner` moves on.
pub(crate) fn waits_for(own: &Own, owner: Owner) -> String {
    match owner {
        Owner::Transaction(_) => "its transaction".to_owned(),
        Owner::Time(_) => "a pause after a failure".to_owned(),
        Owner::ChainTime(at) => {
            let what = if own.wanted == Wanted::Removed { "the removal" } else { "the next announcement" };
            format!("the time of {what} on the chain's clock, {}", clock(at))
        }
        Owner::User { .. } => own.problem.map_or_else(|| "an order".to_owned(), summary),
        Owner::Chain { .. } => {
            "a fresh view of the chain, whose time this machine's clock agrees with".to_owned()
        }
        _ => "an order".to_owned(),
    }
}

fn clock(at: ChainTime) -> String {
    match SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at.seconds())) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => at.to_string(),
    }
}

/// The operator's story of an offering, in the log.
pub(super) fn log(offering: OfferingHash, notice: OfferingNotice) {
    match notice {
        OfferingNotice::Recovered(presence) => {
            tracing::warn!(%offering, ?presence, "after the recovery the offering stays as the chain shows it; what was ordered since the backup is not known");
        }
        OfferingNotice::Problem(problem) => tracing::error!(%offering, "{}", summary(problem)),
        notice => tracing::info!(%offering, ?notice, "the offering changed"),
    }
}

#[cfg(test)]
mod tests {
    use privatix_market::Uptime;

    use super::*;

    #[test]
    fn what_is_wrong_with_an_offering_is_shown_with_its_cause_and_remedy() {
        let of = |problem, blocked| {
            let mut own = Own::default();
            (own.problem, own.blocked) = (problem, blocked);
            own
        };
        let failed = Some(Problem::Failed(OfferingPurpose::PopUp));
        let failing = Some(Blocked::Failing { since: Uptime::default(), tries: 1, lasting: false });
        let is = |text: &str| Text::Is(text.to_owned());
        let rows = [
            (of(None, None), of(None, None), None, Text::Nothing),
            (of(failed, None), of(None, None), None, Text::Nothing),
            (
                of(None, None),
                of(None, failing),
                Some("reverted"),
                is("its last transaction failed, and is tried again: reverted"),
            ),
            (of(None, failing), of(None, failing), None, Text::AsBefore),
            (
                of(None, failing),
                of(failed, None),
                Some("reverted"),
                is("the pop-up failed for good: reverted; order it again"),
            ),
            (of(failed, None), of(failed, None), None, Text::AsBefore),
            (of(None, None), of(Some(Problem::Signature), None), None, is(SIGNATURE)),
        ];
        let amounts = (Amount::new(7), Amount::new(3));
        for (before, after, failure, expected) in rows {
            assert_eq!(text(&before, &after, failure, amounts), expected, "{before:?} {after:?}");
        }
        let stake = of(Some(Problem::Stake), None);
        let Text::Is(found) = text(&stake, &stake, None, amounts) else { panic!("it is not shown") };
        assert!(
            found.contains("its stake is 7") && found.contains("has 3") && found.contains("`deposit`"),
            "{found}"
        );
    }
}
