//! Uptime and stopwatches, as properties.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use privatix_market::{Stopwatch, Uptime};
use proptest::prelude::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Stretches of time, and whether the stopwatch runs in each.
fn stretches() -> impl Strategy<Value = Vec<(u64, bool)>> {
    prop::collection::vec((0..100_000_u64, any::<bool>()), 0..20)
}

/// A stopwatch after these stretches, and the time at their end.
fn after(stretches: &[(u64, bool)]) -> (Stopwatch, Uptime) {
    let (mut watch, mut now) = (Stopwatch::default(), Uptime::new(0));
    for &(length, runs) in stretches {
        watch.run(runs, now);
        now = now.plus(ms(length));
    }
    (watch, now)
}

#[test]
fn times_saturate_and_never_wrap() {
    assert_eq!(Uptime::MAX.plus(Duration::MAX), Uptime::MAX);
    assert_eq!(Uptime::new(0).plus(Duration::MAX), Uptime::MAX);
    assert_eq!(Uptime::new(3).since(Uptime::MAX), Duration::ZERO);
}

#[test]
fn a_stopwatch_reads_back_what_it_writes() {
    let mut watch = Stopwatch::default();
    watch.run(true, Uptime::new(7));
    let json = serde_json::to_string(&watch).unwrap();
    assert_eq!(json, r#"{"run":0,"since":7}"#);
    assert_eq!(serde_json::from_str::<Stopwatch>(&json).unwrap(), watch);
}

proptest! {
    #[test]
    fn a_stopwatch_counts_the_stretches_in_which_it_runs(stretches in stretches()) {
        let (watch, now) = after(&stretches);
        let expected: u64 = stretches.iter().filter(|(_, runs)| *runs).map(|(length, _)| length).sum();
        prop_assert_eq!(watch.elapsed(now), ms(expected));
    }

    #[test]
    fn starting_or_stopping_twice_changes_nothing(stretches in stretches(), later in 0..1_000_u64) {
        let (mut watch, now) = after(&stretches);
        let before = watch;
        watch.run(watch.is_running(), now.plus(ms(later)));
        prop_assert_eq!(watch, before);
    }

    #[test]
    fn it_has_counted_a_limit_exactly_from_the_moment_that_it_names(
        stretches in stretches(), more in 1..100_000_u64,
    ) {
        let (mut watch, now) = after(&stretches);
        watch.run(true, now);
        let limit = watch.elapsed(now) + ms(more);
        let at = watch.reaches(limit).unwrap();
        prop_assert_eq!(watch.elapsed(at), limit);
        prop_assert!(watch.elapsed(Uptime::new(at.milliseconds() - 1)) < limit);
        watch.run(false, now);
        prop_assert_eq!(watch.reaches(limit), None);
    }

    /// A crash sets the uptime back to the last save.
    #[test]
    fn a_crash_only_lengthens_patience(stretches in stretches(), lost in 0..60_000_u64, later in 0..100_000_u64) {
        let (watch, now) = after(&stretches);
        let restored = Uptime::new(now.milliseconds().saturating_sub(lost));
        prop_assert!(watch.elapsed(restored.plus(ms(later))) <= watch.elapsed(now.plus(ms(later))));
    }

    #[test]
    fn a_reset_forgets_what_was_counted(stretches in stretches(), later in 0..100_000_u64) {
        let (mut watch, now) = after(&stretches);
        let runs = watch.is_running();
        watch.reset(now);
        prop_assert_eq!(watch.elapsed(now.plus(ms(later))), if runs { ms(later) } else { Duration::ZERO });
    }
}
