//! Collects the moments at which time alone changes an answer, and keeps the next one.

use std::time::SystemTime;

use privatix_channel::Usage;

use crate::price::first_usage;
use crate::{Account, Terms};

/// Builds the `next` of an assessment made at `now`.
pub(crate) struct Horizon {
    now: SystemTime,
    next: Option<SystemTime>,
}

impl Horizon {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self { now, next: None }
    }

    /// Whether `deadline` has come; if not, it is a candidate for the next one.
    pub(crate) fn passed(&mut self, deadline: Option<SystemTime>) -> bool {
        match deadline {
            Some(at) if at <= self.now => true,
            Some(at) => {
                self.next = Some(self.next.map_or(at, |next| next.min(at)));
                false
            }
            None => false,
        }
    }

    /// Whether a condition on the meter, which never turns false again, holds; if not, the moment
    /// at which a running clock makes it true is a candidate.
    pub(crate) fn reached(
        &mut self,
        terms: &Terms,
        account: &Account,
        holds: impl Fn(Usage) -> bool,
    ) -> bool {
        let used = account.used_at(terms, self.now);
        if holds(used) {
            return true;
        }
        if account.clock(terms).is_some() {
            let at = first_usage(used, holds).and_then(|used| account.reaches(terms, used));
            self.passed(at);
        }
        false
    }

    pub(crate) fn next(self) -> Option<SystemTime> {
        self.next
    }
}
