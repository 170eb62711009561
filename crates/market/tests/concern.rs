//! How much money a concern endangers.

use privatix_channel::{Amount, ChainTime, Period};
use privatix_market::{AffordsNew, Concern, Danger, Reserve, Runway, Side, Wei};

#[test]
fn a_concern_endangers_money_by_what_can_still_be_lost() {
    let (claimable, ends_at) = (Amount::new(40), ChainTime::new(10_000));
    let waits = |at_stake, by_order| Concern::Waits { at_stake: Amount::new(at_stake), by_order };
    let damaged = |in_challenge| Concern::Damaged { voucher: None, in_challenge };
    let (unanswered, answered) =
        (Concern::Unanswered { claimable, ends_at }, Concern::Answered { claimable, ends_at });
    let (risk, loss) = (Some(Danger::Risk), Some(Danger::Loss));
    // The chain's time; a challenge takes 1000 s.
    for (concern, now, danger) in [
        (unanswered, Some(9_000), loss),
        (unanswered, None, loss),
        (answered, Some(9_000), None),
        (answered, Some(9_500), None),
        (answered, Some(9_501), risk),
        (answered, Some(9_750), risk),
        (answered, Some(9_751), loss),
        (answered, Some(10_001), loss),
        (answered, None, risk),
        (damaged(false), None, risk),
        (damaged(true), None, loss),
        (Concern::Unstopped { side: Side::Agent }, None, loss),
        (Concern::Unstopped { side: Side::Client }, None, risk),
        (Concern::Unproven { admitted: claimable }, None, risk),
        (Concern::KeyUsedElsewhere, None, loss),
        (waits(1, false), None, loss),
        (waits(0, false), None, risk),
        (waits(1, true), None, risk),
    ] {
        assert_eq!(
            concern.danger(now.map(ChainTime::new), Period::new(1_000)),
            danger,
            "{concern:?} {now:?}"
        );
    }
}

#[test]
fn ether_that_does_not_pay_for_the_open_closes_endangers_money() {
    let serves = AffordsNew::default();
    let mut refuses = serves;
    refuses.look(Wei::new(0), Reserve { open: 1, close_cost: Wei::new(1) });
    let short = Runway::Short { missing: Wei::new(1) };
    for (runway, affords, danger, days) in [
        (short, refuses, Some(Danger::Loss), Some(0)),
        (short, serves, Some(Danger::Loss), Some(0)),
        (Runway::Days(90), refuses, Some(Danger::Risk), Some(90)),
        (Runway::Unknown, refuses, Some(Danger::Risk), None),
        (Runway::Days(6), serves, Some(Danger::Risk), Some(6)),
        (Runway::Days(7), serves, None, Some(7)),
        (Runway::Unknown, serves, None, None),
    ] {
        assert_eq!((runway.danger(affords), runway.days()), (danger, days), "{runway:?} {affords:?}");
    }
}
