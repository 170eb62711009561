//! Holds a channel to the bandwidth that its offering names.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A bound on bytes per second, over all connections of a channel. Without one it costs a load per buffer.
///
/// Bytes pass first and are paid for in time afterwards: each buffer puts off the next by as long as it takes at this rate.
#[derive(Default)]
pub(crate) struct Pace {
    /// 0: no bound.
    bytes_per_second: AtomicU64,
    /// When all that passed is paid for.
    paid_at: Mutex<Option<Instant>>,
}

/// What a channel that was quiet may send at once, and what timers may be late without loss of bandwidth.
const BURST: Duration = Duration::from_millis(50);

/// Passes at a time are so short, lest a slow channel stands still for seconds between them.
const PASSES_PER_SECOND: u64 = 20;

/// But each has at least this many bytes, lest work grows out of proportion.
const LEAST: u64 = 512;

impl Pace {
    pub(crate) fn set(&self, bytes_per_second: Option<NonZeroU64>) {
        self.bytes_per_second.store(bytes_per_second.map_or(0, NonZeroU64::get), Ordering::Relaxed);
    }

    /// How many bytes may pass at once, or when to ask again.
    pub(crate) fn turn(&self, now: impl FnOnce() -> Instant) -> Result<usize, Instant> {
        let Some(rate) = NonZeroU64::new(self.bytes_per_second.load(Ordering::Relaxed)) else {
            return Ok(usize::MAX);
        };
        match *self.paid_at.lock() {
            Some(paid_at) if paid_at > now() => Err(paid_at),
            _ => Ok(usize::try_from((rate.get() / PASSES_PER_SECOND).max(LEAST)).unwrap_or(usize::MAX)),
        }
    }

    /// Notes that bytes passed.
    pub(crate) fn passed(&self, bytes: u64, now: impl FnOnce() -> Instant) {
        let Some(rate) = NonZeroU64::new(self.bytes_per_second.load(Ordering::Relaxed)) else { return };
        // Below 2^64 nanoseconds for any buffer and any rate: 2^32 bytes at 1 byte per second are 2^62.
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = now();
        let mut paid_at = self.paid_at.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = paid_at.map_or(earliest, |paid_at| paid_at.max(earliest));
        *paid_at = Some(from.checked_add(cost).unwrap_or(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bound_all_passes_at_once() {
        let pace = Pace::default();
        pace.passed(1 << 40, Instant::now);
        assert_eq!(pace.turn(Instant::now), Ok(usize::MAX));
    }

    #[test]
    fn over_a_while_the_rate_is_kept() {
        for rate in [1_000, 100_000, 10_000_000] {
            let pace = Pace::default();
            pace.set(NonZeroU64::new(rate));
            let start = Instant::now();
            let (mut now, mut passed) = (start, 0);
            while now < start + Duration::from_mins(1) {
                match pace.turn(|| now) {
                    Ok(most) => {
                        passed += most as u64;
                        pace.passed(most as u64, || now);
                    }
                    // A timer that is late by up to a burst loses nothing.
                    Err(until) => now = until + Duration::from_millis(30),
                }
            }
            let expected = rate * 60;
            assert!(passed.abs_diff(expected) <= expected / 50 + 2 * LEAST, "{passed} instead of {expected}");
        }
    }

    #[test]
    fn a_bound_that_is_lifted_holds_no_more() {
        let pace = Pace::default();
        let now = Instant::now();
        pace.set(NonZeroU64::new(1));
        pace.passed(1_000, || now);
        assert!(pace.turn(|| now).is_err());
        pace.set(None);
        assert_eq!(pace.turn(|| now), Ok(usize::MAX));
    }
}
