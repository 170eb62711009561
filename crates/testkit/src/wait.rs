use std::{
    fmt::{self, Display},
    panic::Location,
    time::Duration,
};

use tokio::time::Instant;

/// A condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {limit:?}, {tries} tries; last: {last} (awaited at {location})")]
pub struct WaitTimeout {
    /// What was awaited, in the caller's words.
    pub what: String,
    /// For how long.
    pub limit: Duration,
    /// How often the condition was asked.
    pub tries: u32,
    /// What stood in its way the last time.
    pub last: String,
    /// The line that waited.
    pub location: &'static Location<'static>,
}

/// Asks `condition` until it gives a value. An `Err` is not a failure but the reason why the condition does not hold
/// yet; the last one is shown when `limit` is over. A try that hangs is dropped at the limit.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use privatix_testkit::wait_for;
///
/// let mut seen = 0;
/// let block = wait_for("three blocks", Duration::from_secs(5), async || {
///     seen += 1;
///     if seen >= 3 { Ok(seen) } else { Err(format!("block {seen}")) }
/// });
/// assert_eq!(block.await.unwrap(), 3);
/// # }
/// ```
#[track_caller]
pub fn wait_for<T, E: Display>(
    what: impl Into<String>,
    limit: Duration,
    condition: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = Result<T, WaitTimeout>> {
    poll(what.into(), limit, condition, Location::caller())
}

/// Asks `condition` until it is true; see [`wait_for`].
#[track_caller]
pub fn wait_until(
    what: impl Into<String>,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = Result<(), WaitTimeout>> {
    let location = Location::caller();
    let condition = async move || if condition().await { Ok(()) } else { Err(NotYet) };
    poll(what.into(), limit, condition, location)
}

struct NotYet;

impl Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it does not hold")
    }
}

async fn poll<T, E: Display>(
    what: String,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
    location: &'static Location<'static>,
) -> Result<T, WaitTimeout> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    let mut tries = 0;
    let mut last = String::from("the first try did not end");
    loop {
        tries += 1;
        match tokio::time::timeout_at(deadline, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason.to_string(),
            Err(_) => return Err(WaitTimeout { what, limit, tries, last, location }),
        }
        if Instant::now() + pause >= deadline {
            return Err(WaitTimeout { what, limit, tries, last, location });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timeout_names_what_was_awaited_the_last_reason_and_the_line() {
        let mut n = 0;
        let line = line!() + 1;
        let waiting = wait_for("the channel to close", Duration::from_secs(2), async || {
            n += 1;
            Err::<(), _>(format!("status {n}"))
        });
        let error = waiting.await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the channel to close: not within 2s"), "{text}");
        assert!(text.contains(&format!("last: status {}", error.tries)), "{text}");
        assert!(text.contains(&format!("wait.rs:{line}")), "{text}");
        assert!(error.tries > 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_try_is_cut_off() {
        let started = Instant::now();
        let error = wait_until("anything", Duration::from_secs(1), std::future::pending).await.unwrap_err();
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        assert_eq!((error.tries, error.last.as_str()), (1, "the first try did not end"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let started = Instant::now();
        wait_until("half a second", Duration::from_mins(1), async || {
            started.elapsed() > Duration::from_millis(500)
        })
        .await
        .unwrap();
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
