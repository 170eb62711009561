//! Which channels to assess now: those that changed, and those whose deadline passed.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::SystemTime;

/// Remembers what changed and who has a deadline, so that a tick touches only those.
///
/// `mark` what changed (a report, a payment, a status), take the keys to assess with `pop_due`,
/// and report each assessment's `next` with `set_deadline`. With `n` deadlines kept, each call costs
/// `O(log n)` per key that it handles and nothing for the others; each key holds one deadline, so
/// memory does not grow with the number of changes.
///
/// A key that is marked while it is being assessed is popped again by the next tick, so a change
/// is never lost. A key whose assessment failed (its account could not be loaded) must be marked
/// again by the caller: popping took its deadline away.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use privatix_billing::Scheduler;
///
/// let start = SystemTime::UNIX_EPOCH;
/// let mut scheduler = Scheduler::new();
/// scheduler.mark("used");
/// scheduler.set_deadline("quiet", Some(start + Duration::from_secs(60)));
/// assert_eq!(scheduler.pop_due(start), ["used"]);
/// assert_eq!(scheduler.next_deadline(), Some(start + Duration::from_secs(60)));
/// assert_eq!(scheduler.pop_due(start + Duration::from_secs(60)), ["quiet"]);
/// assert!(scheduler.is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Scheduler<K> {
    changed: VecDeque<K>,
    is_changed: HashSet<K>,
    by_time: BTreeSet<(SystemTime, K)>,
    by_key: HashMap<K, SystemTime>,
}

impl<K: Clone + Ord + Hash> Scheduler<K> {
    /// A scheduler that knows nobody.
    pub fn new() -> Self {
        Self {
            changed: VecDeque::new(),
            is_changed: HashSet::new(),
            by_time: BTreeSet::new(),
            by_key: HashMap::new(),
        }
    }

    /// Something about `key` changed: the next [`pop_due`](Self::pop_due) returns it, once.
    pub fn mark(&mut self, key: K) {
        if self.is_changed.insert(key.clone()) {
            self.changed.push_back(key);
        }
    }

    /// Sets, moves or (with `None`) clears the moment at which `key` is due although nothing
    /// about it changed.
    pub fn set_deadline(&mut self, key: K, deadline: Option<SystemTime>) {
        let known = self.by_key.get(&key).copied();
        if known == deadline {
            return;
        }
        let key = match known {
            Some(at) => {
                let entry = (at, key);
                self.by_time.remove(&entry);
                entry.1
            }
            None => key,
        };
        match deadline {
            Some(at) => {
                self.by_key.insert(key.clone(), at);
                self.by_time.insert((at, key));
            }
            None => {
                self.by_key.remove(&key);
            }
        }
    }

    /// Forgets `key`: neither its changes nor its deadline count any more.
    pub fn forget(&mut self, key: &K) {
        self.set_deadline(key.clone(), None);
        if self.is_changed.remove(key) {
            // Rare (a channel ended), and only as long as what changed since the last tick.
            self.changed.retain(|changed| changed != key);
        }
    }

    /// The keys to assess at `now`, each once: first what changed, in the order of the changes,
    /// then those whose deadline has come, earliest first. They are no longer marked and have no
    /// deadline afterwards.
    pub fn pop_due(&mut self, now: SystemTime) -> Vec<K> {
        let mut due = Vec::with_capacity(self.changed.len());
        while let Some(key) = self.changed.pop_front() {
            self.is_changed.remove(&key);
            self.set_deadline(key.clone(), None);
            due.push(key);
        }
        while let Some((at, key)) = self.by_time.pop_first() {
            if at > now {
                self.by_time.insert((at, key));
                break;
            }
            self.by_key.remove(&key);
            due.push(key);
        }
        due
    }

    /// When the next key is due although nothing changes: how long a driver may sleep.
    pub fn next_deadline(&self) -> Option<SystemTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Whether something changed since the last [`pop_due`](Self::pop_due): do not sleep at all.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether nobody is marked and nobody has a deadline.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.by_key.is_empty()
    }
}

impl<K: Clone + Ord + Hash> Default for Scheduler<K> {
    fn default() -> Self {
        Self::new()
    }
}
