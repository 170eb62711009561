use std::time::Duration;

/// Waiting times between tries: doubling from `first` to `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(250), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 or more); at least what the endpoint asked for.
    pub fn wait(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let wait = self.first.saturating_mul(1 << doublings).min(self.most);
        // An endpoint may ask for patience, but not for an hour of it.
        asked.map_or(wait, |asked| wait.max(asked.min(Duration::from_mins(2))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(10) };
        let waits: Vec<u64> = (1..=6).map(|n| backoff.wait(n, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.wait(u32::MAX, None).as_secs(), 10);
    }

    #[test]
    fn an_endpoint_can_ask_for_more_time_but_not_for_less_nor_for_ever() {
        let backoff = Backoff { first: Duration::from_secs(4), most: Duration::from_secs(10) };
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(1))).as_secs(), 4);
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(30))).as_secs(), 30);
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(9999))).as_secs(), 120);
    }
}
