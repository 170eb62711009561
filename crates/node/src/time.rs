use std::time::{Duration, SystemTime};

/// Later than anything that is waited for, and still a time that every part can store.
const FAR: Duration = Duration::from_hours(100 * 365 * 24);

/// The time after a pause. Pauses come from settings and from agents, so they may be longer than times reach: then it is a
/// century from `now`.
pub fn after(now: SystemTime, pause: Duration) -> SystemTime {
    now.checked_add(pause.min(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_no_time_can_hold_is_a_century() {
        let now = SystemTime::now();
        assert_eq!(after(now, Duration::from_secs(5)), now + Duration::from_secs(5));
        assert_eq!(after(now, Duration::MAX), now + FAR);
        assert_eq!(after(now, Duration::from_secs(u64::MAX)), now + FAR);
    }
}
