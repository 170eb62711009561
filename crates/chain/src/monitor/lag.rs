//! How long a second endpoint is waited for that does not have the next blocks yet. No clock and no I/O.

use std::time::{Duration, Instant};

/// One that goes on but stays behind is waited for this many times longer than one that stands still.
const LONGER: u32 = 4;

/// How far an endpoint is behind, and since when.
///
/// To be a few blocks behind is usual, above all where blocks come every quarter of a second: then the first endpoint
/// waits, so that no block goes unchecked. One that stands still, or that catches up for long, must not hold the view
/// back.
#[derive(Debug, Clone, Default)]
pub(super) struct Lag(Option<Behind>);

#[derive(Debug, Clone)]
struct Behind {
    head: u64,
    moved: Instant,
    since: Instant,
}

impl Lag {
    /// It has what is next.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// Notes that its newest block is `head`, below what is next. Returns whether it is still waited for: while it has not
    /// stood still for `patience`, and not been behind for four times as long.
    pub(super) fn note_head(&mut self, head: u64, now: Instant, patience: Duration) -> bool {
        let behind = self.0.get_or_insert(Behind { head, moved: now, since: now });
        if head > behind.head {
            (behind.head, behind.moved) = (head, now);
        }
        now.saturating_duration_since(behind.moved) < patience
            && now.saturating_duration_since(behind.since) < patience.saturating_mul(LONGER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_endpoint_that_stands_still_is_waited_for_until_patience_ends_and_one_that_follows_always() {
        let begin = Instant::now();
        let mut lag = Lag::default();
        let mut asked =
            |at: u64, head: u64| lag.note_head(head, begin + Duration::from_secs(at), PATIENCE).then_some(at);
        assert_eq!([0, 29, 30, 60].map(|at| asked(at, 7)), [Some(0), Some(29), None, None]);
        // It goes on, but for too long without what is next.
        assert_eq!(
            [70, 95, 119, 120, 130].map(|at| asked(at, at)),
            [Some(70), Some(95), Some(119), None, None]
        );
        let mut following = Lag::default();
        for second in 0..1_000 {
            let now = begin + Duration::from_secs(second);
            assert!(following.note_head(second, now, PATIENCE), "{second}");
            following.end();
        }
    }
}
