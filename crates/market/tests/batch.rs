//! Batches: when what was collected is submitted, and with what.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::time::Duration;

use alloy::primitives::B256;
use privatix_channel::{Amount, ChannelId};
use privatix_market::batch::{BatchEnv, BatchPolicy, Call, MAX_ROWS, Reason, Row, decide, wake};
use privatix_market::{AgentPolicy, AgentPurpose, Bid, Priority, Rate, Uptime, Wei};
use proptest::prelude::*;

fn a(units: u128) -> Amount {
    Amount::new(units)
}

/// A close that waits since the start of the node.
fn close(channel: u64, gain: u128) -> Row {
    Row {
        channel: ChannelId::new(B256::left_padding_from(&channel.to_be_bytes())),
        seq: 1,
        purpose: AgentPurpose::Close { cumulative: a(gain) },
        gain: a(gain),
        names_signer: true,
        since: Uptime::new(0),
    }
}

fn settle(channel: u64, gain: u128) -> Row {
    Row { purpose: AgentPurpose::Settle { cumulative: a(gain) }, ..close(channel, gain) }
}

/// A base unit is worth 1000 wei, and gas costs 1 wei: a batch of one close costs 55 units, and each other close 25.
fn rate() -> Rate {
    Rate { wei_per_token: 1_000, decimals: 0 }
}

fn policy(change: impl FnOnce(&mut BatchPolicy)) -> BatchPolicy {
    let mut policy = BatchPolicy::default();
    policy.max_delay = Duration::from_secs(1_000);
    policy.free_after = Some(Duration::from_secs(2_000));
    change(&mut policy);
    policy
}

/// The batches at a second of uptime, in words.
fn at(second: u64, price: Option<u128>, rows: &[Row], policy: &BatchPolicy) -> String {
    let gas_price = price.map(Wei::new);
    let env = BatchEnv { uptime: Uptime::new(second * 1_000), gas_price, rate: Some(rate()), policy };
    let words = decide(rows, &env).into_iter().map(|batch| {
        let extra = if batch.extra_gas == 0 { String::new() } else { format!(" +{}", batch.extra_gas) };
        format!("{:?} {} {:?}{extra}", batch.call, batch.rows.len(), batch.reason)
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Rows, price of gas, effects at 999 s, at 1000 s, at 2000 s.
#[test]
fn a_batch_goes_when_it_pays_or_gas_is_cheap_or_one_has_waited() {
    let usual = policy(|_| {});
    let cheap = policy(|policy| policy.gas_price = Some(Wei::new(3)));
    let choosy = policy(|policy| policy.min_surplus = a(20));
    let never_free = policy(|policy| policy.free_after = None);
    let no_signer = Row { names_signer: false, ..close(2, 60) };
    let one = "Close 1 Waited";
    let rows = [
        ("nothing", vec![], Some(1), &usual, ["", "", ""]),
        ("less than it costs", vec![close(1, 55)], Some(1), &usual, ["", one, one]),
        ("more than it costs", vec![close(1, 56)], Some(1), &usual, ["Close 1 Gain", one, one]),
        ("not as much more as is wanted", vec![close(1, 74)], Some(1), &choosy, ["", one, one]),
        ("as much more as is wanted", vec![close(1, 75)], Some(1), &choosy, ["Close 1 Gain", one, one]),
        (
            "two together",
            vec![close(1, 40), close(2, 41)],
            Some(1),
            &usual,
            ["Close 2 Gain", "Close 2 Waited", "Close 2 Waited"],
        ),
        ("less than is wanted, free gas", vec![close(1, 19)], Some(0), &choosy, ["", one, one]),
        ("gas is not known", vec![close(1, 1_000)], None, &usual, ["", one, one]),
        ("gas is cheap", vec![close(1, 0)], Some(2), &cheap, ["Close 1 Cheap", "Close 1 Cheap", one]),
        ("gas is not cheap", vec![close(1, 0)], Some(3), &cheap, ["", "", one]),
        ("nothing to gain", vec![close(1, 0)], Some(1), &usual, ["", "", one]),
        (
            "nothing to gain, free gas",
            vec![close(1, 0)],
            Some(0),
            &policy(|policy| policy.min_surplus = a(0)),
            ["", "", one],
        ),
        ("nothing to gain, only along with others", vec![close(1, 0)], Some(1), &never_free, ["", "", ""]),
        (
            "along with another",
            vec![close(1, 0), close(2, 1)],
            Some(1),
            &never_free,
            ["", "Close 2 Waited", "Close 2 Waited"],
        ),
        (
            "a wallet may take more",
            vec![close(1, 60), no_signer],
            Some(1),
            &usual,
            ["", "Close 2 Waited +100000", "Close 2 Waited +100000"],
        ),
        (
            "two calls",
            vec![settle(1, 54), close(2, 90)],
            Some(1),
            &usual,
            [
                "Close 1 Gain, Settle 1 Gain",
                "Close 1 Waited, Settle 1 Waited",
                "Close 1 Waited, Settle 1 Waited",
            ],
        ),
    ];
    for (name, rows, price, policy, expected) in rows {
        let given = [999, 1_000, 2_000].map(|second| at(second, price, &rows, policy));
        assert_eq!(given, expected, "{name}");
    }
}

#[test]
fn a_worth_that_is_not_known_is_no_gain() {
    let policy = policy(|_| {});
    let env = BatchEnv { uptime: Uptime::new(0), gas_price: Some(Wei::new(1)), rate: None, policy: &policy };
    assert_eq!(decide(&[close(1, 1_000_000)], &env), []);
}

#[test]
fn what_cannot_wait_goes_first_and_then_what_brings_most() {
    let mut rows: Vec<Row> = (0..150).map(|channel| close(channel, 0)).collect();
    rows[140].gain = a(10_000);
    rows[130].since = Uptime::new(5);
    let policy = policy(|policy| policy.free_after = None);
    let env = BatchEnv {
        uptime: Uptime::new(9),
        gas_price: Some(Wei::new(1)),
        rate: Some(rate()),
        policy: &policy,
    };
    let batches = decide(&rows, &env);
    assert_eq!(batches.len(), 1, "the rest brings nothing");
    assert_eq!((batches[0].reason, batches[0].rows[0]), (Reason::Gain, rows[140]));
    // Among those that bring the same, the order in which they are found does not matter.
    rows.reverse();
    assert_eq!(decide(&rows, &env), batches);
    rows.reverse();
    // One that is due comes before it.
    let policy = self::policy(|_| {});
    for row in &mut rows {
        row.since = Uptime::new(1_500_000);
    }
    rows[130].since = Uptime::new(0);
    let env = BatchEnv { uptime: Uptime::new(2_000_000), policy: &policy, ..env };
    let batches = decide(&rows, &env);
    assert_eq!((batches.len(), batches[0].reason), (1, Reason::Waited));
    assert_eq!(batches[0].rows[..2], [rows[130], rows[140]]);
}

#[test]
fn a_batch_goes_before_a_channel_sends_its_close_alone() {
    let (minutes, hours) = (Duration::from_mins, Duration::from_hours);
    // How long a channel waits with a gain and without one, and how long it then waits for a batch.
    for (alone, batched) in [
        ((minutes(30), Some(minutes(30))), (minutes(20), Some(minutes(20)))),
        ((minutes(6), Some(hours(3))), (minutes(4), Some(hours(2)))),
        ((hours(3), None), (hours(2), None)),
        ((Duration::ZERO, Some(Duration::ZERO)), (Duration::ZERO, Some(Duration::ZERO))),
    ] {
        let mut policy = AgentPolicy::default();
        (policy.max_delay, policy.free_after) = alone;
        let batch = BatchPolicy::for_channels(&policy);
        assert_eq!((batch.max_delay, batch.free_after), batched, "{alone:?}");
    }
    let default = BatchPolicy::default();
    assert_eq!((default.max_delay, default.free_after), (minutes(20), Some(minutes(20))));
}

fn row() -> impl Strategy<Value = Row> {
    (0..400_u64, 0..3_u128, any::<bool>(), any::<bool>(), 0..3_000_000_u64).prop_map(
        |(channel, gain, is_close, names_signer, since)| {
            let row = if is_close { close(channel, gain * 30) } else { settle(channel, gain * 30) };
            Row { names_signer, since: Uptime::new(since), ..row }
        },
    )
}

proptest! {
    #[test]
    fn each_row_is_in_one_batch_at_most_and_none_that_is_due_waits(
        rows in prop::collection::vec(row(), 0..260),
        second in 0..3_000_u64,
        price in prop::option::of(0..4_u128),
        below in prop::option::of(0..4_u128),
        frees: bool,
    ) {
        // One transaction of a channel waits at most.
        let mut channels = HashSet::new();
        let rows: Vec<Row> = rows.into_iter().filter(|row| channels.insert(row.channel)).collect();
        let policy = policy(|policy| {
            policy.gas_price = below.map(Wei::new);
            policy.free_after = policy.free_after.filter(|_| frees);
        });
        let uptime = Uptime::new(second * 1_000);
        let env = BatchEnv { uptime, gas_price: price.map(Wei::new), rate: Some(rate()), policy: &policy };
        let batches = decide(&rows, &env);
        let mut taken = HashSet::new();
        for batch in &batches {
            prop_assert!(!batch.rows.is_empty() && batch.rows.len() <= MAX_ROWS);
            prop_assert_eq!(batch.bid(), Bid::of_batch());
            prop_assert_eq!(batch.bid().priority, Priority::Background);
            let without = batch.rows.iter().filter(|row| !row.names_signer).count();
            prop_assert_eq!(batch.extra_gas, 100_000 * u64::try_from(without).unwrap());
            for row in &batch.rows {
                prop_assert!(rows.contains(row));
                prop_assert!(taken.insert(row.channel), "{row:?} twice");
                prop_assert_eq!(row.purpose.is_close(), batch.call == Call::Close);
            }
        }
        // What is left is not due, and is not submitted by asking again.
        let left: Vec<Row> = rows.into_iter().filter(|row| !taken.contains(&row.channel)).collect();
        prop_assert!(wake(&left, &policy).is_none_or(|at| at > uptime), "{left:?}");
        if taken.is_empty() {
            prop_assert_eq!(decide(&left, &env), []);
        }
        // The order of the rows does not matter.
        let mut reversed = left;
        reversed.extend(batches.iter().flat_map(|batch| batch.rows.iter().rev().copied()));
        prop_assert_eq!(decide(&reversed, &env), batches);
    }
}
