//! Limits of patience: which stopwatch ends what.

use std::time::Duration;

use crate::{Owner, Stopwatch, Uptime};

/// A stopwatch, its limit, and how the service ends then.
pub(crate) type Limit<E> = (Stopwatch, Duration, E);

/// The first limit that is passed.
pub(crate) fn over<E: Copy>(limits: &[Limit<E>], now: Uptime) -> Option<E> {
    let passed = |&&(watch, limit, _): &&Limit<E>| watch.is_running() && watch.elapsed(now) >= limit;
    limits.iter().find(passed).map(|&(.., why)| why)
}

/// When the limits are reached.
pub(crate) fn owners<E>(limits: Vec<Limit<E>>) -> Vec<Owner> {
    limits.into_iter().filter_map(|(watch, limit, _)| watch.reaches(limit)).map(Owner::Time).collect()
}
