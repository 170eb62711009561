//! How long a task has been at one thing: a request, or a commit.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// The field of a task's status that shows since when it has been at one thing; none while it waits.
///
/// A step of the task may consist of many requests and commits, each of which is bounded in time, while all of them together
/// are not: so each begins the time again, and only a task that hangs shows an old one. Those who watch the status are not
/// notified.
pub(crate) struct StepClock<S> {
    status: watch::Sender<S>,
    since: fn(&mut S) -> &mut Option<Instant>,
}

impl<S> StepClock<S> {
    pub(crate) fn new(status: watch::Sender<S>, since: fn(&mut S) -> &mut Option<Instant>) -> Self {
        Self { status, since }
    }

    /// Begins a step, which ends when what is returned is dropped, also with the task in the middle of it.
    pub(crate) fn begin(&self) -> StepMark<'_, S> {
        self.set(Some(Instant::now()));
        StepMark { clock: self }
    }

    /// One thing is done and the next begins, if a step is under way.
    pub(crate) fn restart(&self) {
        self.status.send_if_modified(|status| {
            if let Some(since) = (self.since)(status) {
                *since = Instant::now();
            }
            false
        });
    }

    fn set(&self, since: Option<Instant>) {
        self.status.send_if_modified(|status| {
            *(self.since)(status) = since;
            false
        });
    }
}

/// A step under way.
pub(crate) struct StepMark<'a, S> {
    clock: &'a StepClock<S>,
}

impl<S> Drop for StepMark<'_, S> {
    fn drop(&mut self) {
        self.clock.set(None);
    }
}

/// Called whenever a request has ended, with an answer or without.
#[derive(Clone)]
pub(crate) struct OnAnswer(Arc<dyn Fn() + Send + Sync>);

impl OnAnswer {
    /// Restarts a clock.
    pub(crate) fn restart<S: Send + Sync + 'static>(clock: &Arc<StepClock<S>>) -> Self {
        let clock = clock.clone();
        Self(Arc::new(move || clock.restart()))
    }

    pub(crate) fn call(&self) {
        (self.0)();
    }
}

impl fmt::Debug for OnAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnAnswer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_begins_the_time_again_and_the_end_clears_it_without_a_notice() {
        let (status, watcher) = watch::channel(None);
        let clock = Arc::new(StepClock::new(status, |since| since));
        let since = |watcher: &watch::Receiver<Option<Instant>>| *watcher.borrow();
        OnAnswer::restart(&clock).call();
        assert_eq!(since(&watcher), None, "no step is under way");
        let step = clock.begin();
        let begun = since(&watcher).unwrap();
        OnAnswer::restart(&clock).call();
        let later = since(&watcher).unwrap();
        assert!(later > begun);
        drop(step);
        assert_eq!(since(&watcher), None);
        assert!(!watcher.has_changed().unwrap());
    }
}
