//! The channel's own policy: how it is paid and topped up in place of what is configured.

use std::time::Duration;

use privatix_billing::{ClientPolicy as Policy, Percent, TopUpAmount, TopUpPolicy};
use privatix_market::{ClientEnd, ClientOrder, Fate, Input, Refused, Trouble};

use crate::support::{Run, a, closed, closing};

/// Adds this much once this share of the deposit is used.
fn top_up(percent: u8, amount: TopUpAmount, most: Option<u128>) -> Policy {
    let percent = Percent::try_from(percent).unwrap();
    let top_up = TopUpPolicy { percent, amount, max_deposit: most.map(a) };
    Policy { top_up: Some(top_up), ..Policy::default() }
}

fn fixed(percent: u8, amount: u128) -> Policy {
    top_up(percent, TopUpAmount::Fixed(a(amount)), None)
}

fn set(policy: impl Into<Option<Policy>>) -> Input<privatix_market::Client> {
    Input::Order(ClientOrder::SetBilling(policy.into()))
}

/// A channel with a deposit of 100 that is paid in advance, so that nothing else is to be done, of which 60 are used. By the configuration
/// 10 are added once 90 are.
fn used_60() -> Run {
    let mut run = Run::open(100).paid(1_000).policy(|policy| policy.billing = fixed(90, 10));
    run.used(60);
    run
}

/// The channel's policy, what is done at once, and once 95 are used.
#[test]
fn a_channel_is_topped_up_by_its_own_policy_and_by_that_of_all_channels_without_one() {
    let rows: [(&str, Option<Policy>, &str, &str); 6] = [
        ("none", None, "", "fund 1 top_up 10"),
        ("another amount", Some(fixed(90, 25)), "", "fund 1 top_up 25"),
        ("a share that is reached", Some(fixed(60, 25)), "fund 1 top_up 25", ""),
        ("as much again", Some(top_up(50, TopUpAmount::Double, None)), "fund 1 top_up 100", ""),
        ("up to a deposit", Some(top_up(50, TopUpAmount::Double, Some(130))), "fund 1 top_up 30", ""),
        ("no top-up", Some(Policy::default()), "", ""),
    ];
    for (name, policy, at_once, later) in rows {
        let mut run = used_60();
        assert_eq!(run.give(&set(policy)), at_once, "{name}");
        assert_eq!(run.used(95), later, "{name}");
        assert_eq!(*run.state.billing(&run.env()), policy.unwrap_or(run.policy.billing), "{name}");
    }
}

#[test]
fn a_policy_that_is_cleared_leaves_the_channel_to_the_configuration() {
    let mut run = used_60();
    run.give(&set(Policy::default()));
    run.used(95);
    assert_eq!(run.give(&set(None)), "fund 1 top_up 10");
    assert_eq!(run.taken, [(1, 10, true)]);
    // One that is under way goes on when there is none any more.
    assert_eq!(run.give(&set(Policy::default())), "");
    assert_eq!(run.tx(1, Fate::Funded), "submit 1 top_up 10");
}

#[test]
fn a_new_policy_does_not_wait_for_the_failures_of_the_last_one() {
    let mut run = used_60();
    assert_eq!(run.give(&set(fixed(50, 80))), "fund 1 top_up 80");
    run.tx(1, Fate::Unfunded(Trouble::Funds));
    let mut restored = run.clone();
    assert_eq!(run.give(&set(fixed(50, 5))), "fund 2 top_up 5");
    // Where a backup came back, the one that it does not know was perhaps made.
    restored.kept_open = Some(10_000);
    assert_eq!(restored.give(&set(fixed(50, 5))), "send 2 1000");
}

#[test]
fn what_is_due_is_paid_after_the_quiet_time_of_the_channels_own_policy() {
    let quiet = |seconds| Policy { settle_after: Duration::from_secs(seconds), ..Policy::default() };
    for (own, seconds) in [(None, 3), (Some(quiet(20)), 20), (Some(quiet(1)), 1)] {
        let mut run = Run::open(100).terms(|terms| terms.billing_interval = 40);
        run.give(&set(own));
        assert_eq!(run.used(30), "");
        assert_eq!(run.after(seconds - 1), "", "{own:?}");
        assert_eq!(run.after(1), "sign 30", "{own:?}");
    }
}

/// The channel, the policy, why it is refused.
#[test]
fn a_policy_that_could_do_nothing_is_refused_by_name_and_changes_nothing() {
    let most = |most| top_up(50, TopUpAmount::Double, Some(most));
    let too_much = 1 << 96;
    let ended = Run::open(100).ended(ClientEnd::ByOrder);
    let of = |chain| {
        let mut run = Run::open(100).at(100);
        run.state.chain = chain;
        run
    };
    let over = of(closed(100, 60));
    let phase = over.state.chain.phase();
    let rows = [
        ("adds nothing", used_60(), fixed(50, 0), Refused::TopUpAmount { amount: a(0) }),
        ("adds too much", used_60(), fixed(50, too_much), Refused::TopUpAmount { amount: a(too_much) }),
        ("has as much", used_60(), most(100), Refused::MaxDeposit { most: a(100), deposit: a(100) }),
        ("has more", used_60(), most(99), Refused::MaxDeposit { most: a(99), deposit: a(100) }),
        ("ended", ended, fixed(50, 5), Refused::Ended),
        ("closed", over, fixed(50, 5), Refused::Over { phase }),
    ];
    for (name, mut run, policy, refused) in rows {
        let before = run.state.clone();
        assert_eq!(run.try_give(&set(policy)), Err(refused), "{name}");
        assert_eq!(run.state, before, "{name}");
    }
    // Before it is open, and while a request to close it stands that may be taken back, a policy is kept.
    for mut run in [Run::accepted(100), of(closing(100, 20, 5_000))] {
        run.give(&set(most(50).top_up.map(|top_up| {
            let max_deposit = Some(a(500));
            Policy { top_up: Some(TopUpPolicy { max_deposit, ..top_up }), ..Policy::default() }
        })));
        assert!(run.state.own.billing.is_some());
    }
}

#[test]
fn a_channel_that_runs_out_waits_for_the_top_ups_of_its_own_policy() {
    let mut run = Run::open(100).paid(100);
    run.used(60);
    run.give(&set(fixed(90, 50)));
    assert_eq!(run.used(100), "fund 1 top_up 50");
    run.tx(1, Fate::Unfunded(Trouble::Funds));
    assert_eq!(run.after(60), "fund 2 top_up 50");
    assert_eq!(run.ending(), None);
    // By the configuration nothing is added, so the service has ended at once.
    let mut configured = Run::open(100).paid(100);
    assert_eq!(configured.used(100), "drive 1");
    assert_eq!(configured.ending(), Some(ClientEnd::DepositSpent));
}
