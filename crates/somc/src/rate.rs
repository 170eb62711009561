//! Token buckets.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// Tokens are counted in billionths, so that a refill over any time is a whole number.
const UNIT: u64 = 1_000_000_000;

/// How much of something is let through: `burst` at once, and `per_second` in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl RateLimit {
    /// As good as none.
    pub const UNLIMITED: Self = Self { per_second: NonZeroU32::MAX, burst: NonZeroU32::MAX };

    /// A limit of `per_second` with bursts of `burst`. Zeros are raised to one: to refuse everything, do not serve.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        const fn at_least_one(number: u32) -> NonZeroU32 {
            match NonZeroU32::new(number) {
                Some(number) => number,
                None => NonZeroU32::MIN,
            }
        }
        Self { per_second: at_least_one(per_second), burst: at_least_one(burst) }
    }

    /// In the long run.
    pub const fn per_second(self) -> u32 {
        self.per_second.get()
    }

    /// At once.
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }
}

/// What is left of a [`RateLimit`].
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: RateLimit,
    level: u64,
    at: Instant,
}

impl TokenBucket {
    pub(crate) fn full(limit: RateLimit, now: Instant) -> Self {
        Self { limit, level: Self::capacity(limit), at: now }
    }

    fn capacity(limit: RateLimit) -> u64 {
        u64::from(limit.burst.get()) * UNIT
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let gained = elapsed.saturating_mul(u128::from(self.limit.per_second.get()));
        let level = u128::from(self.level).saturating_add(gained).min(Self::capacity(self.limit).into());
        self.level = u64::try_from(level).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
    }

    /// Takes `cost` tokens, or returns after which time they will be there. A cost above the burst is taken as the burst.
    pub(crate) fn take(&mut self, cost: u32, now: Instant) -> Result<(), Duration> {
        let wait = self.wait(cost, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.level -= self.price(cost);
        Ok(())
    }

    /// After which time `cost` tokens will be there.
    pub(crate) fn wait(&mut self, cost: u32, now: Instant) -> Duration {
        self.refill(now);
        let missing = self.price(cost).saturating_sub(self.level);
        Duration::from_nanos(missing.div_ceil(self.limit.per_second.get().into()))
    }

    fn price(&self, cost: u32) -> u64 {
        (u64::from(cost) * UNIT).min(Self::capacity(self.limit))
    }

    /// Whether nothing was taken that is not refilled, so that a new bucket is as good as this one.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level == Self::capacity(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(RateLimit::new(10, 3), start);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, start), Ok(()));
        }
        let wait = bucket.take(1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(bucket.take(1, start + wait - Duration::from_nanos(1)).is_err());
        assert_eq!(bucket.take(1, start + wait), Ok(()));
        assert!(!bucket.is_full(start + Duration::from_millis(300)));
        assert!(bucket.is_full(start + Duration::from_millis(400)));
    }

    #[test]
    fn a_cost_above_the_burst_can_be_paid_after_all() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(RateLimit::new(1, 2), start);
        assert_eq!(bucket.take(u32::MAX, start), Ok(()));
        assert_eq!(bucket.take(u32::MAX, start), Err(Duration::from_secs(2)));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_and_waiting_as_told_is_enough(
            per_second in 1_u32..5_000,
            burst in 1_u32..5_000,
            steps in prop::collection::vec((1_u32..50, 0_u64..2_000_000_000), 1..100),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = TokenBucket::full(RateLimit::new(per_second, burst), start);
            let mut taken = 0_u128;
            for (cost, pause) in steps {
                now += Duration::from_nanos(pause);
                match bucket.take(cost, now) {
                    Ok(()) => taken += u128::from(cost.min(burst)),
                    Err(wait) => {
                        now += wait;
                        prop_assert_eq!(bucket.take(cost, now), Ok(()));
                        taken += u128::from(cost.min(burst));
                    }
                }
                let nanos = now.duration_since(start).as_nanos();
                prop_assert!(taken * 1_000_000_000 <= u128::from(burst) * 1_000_000_000 + nanos * u128::from(per_second));
            }
        }
    }
}
