//! The scheduler gives out what changed and what is due, once, and touches nothing else.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::support::after;
use privatix_billing::Scheduler;
use proptest::prelude::*;

#[test]
fn changes_come_once_in_their_order_and_before_deadlines() {
    let mut scheduler = Scheduler::new();
    scheduler.set_deadline("late", Some(after(20)));
    scheduler.set_deadline("early", Some(after(10)));
    for key in ["b", "a", "b", "late"] {
        scheduler.mark(key);
    }
    assert!(scheduler.has_changes());
    assert_eq!(scheduler.pop_due(after(15)), ["b", "a", "late", "early"]);
    assert!(scheduler.is_empty());
    assert_eq!(scheduler.pop_due(after(100)), [""; 0]);
}

#[test]
fn a_deadline_can_move_and_be_cleared() {
    let mut scheduler = Scheduler::new();
    scheduler.set_deadline(1, Some(after(10)));
    scheduler.set_deadline(1, Some(after(30)));
    scheduler.set_deadline(2, Some(after(20)));
    assert_eq!(scheduler.next_deadline(), Some(after(20)));
    assert_eq!(scheduler.pop_due(after(20)), [2]);
    scheduler.set_deadline(1, None);
    assert_eq!(scheduler.next_deadline(), None);
    assert_eq!(scheduler.pop_due(after(100)), [0; 0]);
}

#[test]
fn what_changes_during_its_assessment_is_popped_again() {
    let mut scheduler = Scheduler::new();
    scheduler.mark(1);
    assert_eq!(scheduler.pop_due(after(0)), [1]);
    scheduler.mark(1);
    scheduler.set_deadline(1, Some(after(50)));
    assert_eq!(scheduler.pop_due(after(1)), [1]);
}

#[test]
fn a_forgotten_key_never_comes_back() {
    let mut scheduler = Scheduler::new();
    scheduler.mark(1);
    scheduler.mark(2);
    scheduler.set_deadline(1, Some(after(1)));
    scheduler.forget(&1);
    assert_eq!(scheduler.pop_due(after(10)), [2]);
    assert!(scheduler.is_empty());
}

thread_local! {
    /// How often any key was looked at: compared or hashed.
    static VISITS: Cell<u64> = const { Cell::new(0) };
}

fn visit() {
    VISITS.set(VISITS.get() + 1);
}

/// A channel that notices being looked at.
#[derive(Debug, Clone, Eq)]
struct Watched(u32);

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        visit();
        self.0 == other.0
    }
}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        visit();
        self.0.hash(state);
    }
}

impl PartialOrd for Watched {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Watched {
    fn cmp(&self, other: &Self) -> Ordering {
        visit();
        self.0.cmp(&other.0)
    }
}

/// Visits of one tick in which `changed` of `open` channels changed and were given a new deadline.
fn visits_of_a_tick(open: u32, changed: u32) -> u64 {
    let mut scheduler = Scheduler::new();
    for channel in 0..open {
        // All deadlines equal, so that every step through the order compares keys.
        scheduler.set_deadline(Watched(channel), Some(after(1_000)));
    }
    VISITS.set(0);
    for index in 0..changed {
        scheduler.mark(Watched(index * (open / changed)));
    }
    let due = scheduler.pop_due(after(1));
    assert_eq!(due.len(), changed as usize);
    for channel in due {
        scheduler.set_deadline(channel, Some(after(1_000)));
    }
    VISITS.get()
}

#[test]
fn a_tick_visits_what_changed_and_not_what_is_open() {
    assert_eq!(
        {
            let mut idle = Scheduler::new();
            (0..100_000).for_each(|channel| idle.set_deadline(Watched(channel), Some(after(1_000))));
            VISITS.set(0);
            let due = idle.pop_due(after(1));
            assert!(due.is_empty());
            assert!(VISITS.get() <= 64, "an idle tick looked {} times", VISITS.get());
            due.len()
        },
        0
    );
    let (small, large) = (visits_of_a_tick(1_000, 100), visits_of_a_tick(200_000, 100));
    // 200 times as many open channels: only the depth of the order may show.
    assert!(large < small * 3, "{small} visits with 1,000 open, {large} with 200,000");
    let ten_times = visits_of_a_tick(200_000, 1_000);
    assert!(ten_times > large * 5 && ten_times < large * 20, "{large} visits for 100, {ten_times} for 1,000");
}

#[derive(Debug, Clone)]
enum Act {
    Mark(u8),
    SetDeadline(u8, Option<u64>),
    Forget(u8),
    Pop(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..8_u8).prop_map(Act::Mark),
        (0..8_u8, proptest::option::of(0..100_u64)).prop_map(|(key, at)| Act::SetDeadline(key, at)),
        (0..8_u8).prop_map(Act::Forget),
        (0..100_u64).prop_map(Act::Pop),
    ]
}

proptest! {
    #[test]
    fn it_behaves_like_the_obvious_slow_one(acts in proptest::collection::vec(any_act(), 0..100)) {
        let mut scheduler = Scheduler::new();
        let (mut changed, mut deadlines) = (Vec::new(), BTreeMap::new());
        for act in acts {
            match act {
                Act::Mark(key) => {
                    scheduler.mark(key);
                    if !changed.contains(&key) {
                        changed.push(key);
                    }
                }
                Act::SetDeadline(key, at) => {
                    scheduler.set_deadline(key, at.map(after));
                    deadlines.remove(&key);
                    deadlines.extend(at.map(|at| (key, at)));
                }
                Act::Forget(key) => {
                    scheduler.forget(&key);
                    changed.retain(|other| *other != key);
                    deadlines.remove(&key);
                }
                Act::Pop(now) => {
                    deadlines.retain(|key, _| !changed.contains(key));
                    let mut due: Vec<_> = deadlines.iter().filter(|(_, at)| **at <= now).map(|(key, at)| (*at, *key)).collect();
                    due.sort_unstable();
                    let mut expected = std::mem::take(&mut changed);
                    expected.extend(due.into_iter().map(|(_, key)| key));
                    deadlines.retain(|_, at| *at > now);
                    prop_assert_eq!(scheduler.pop_due(after(now)), expected);
                }
            }
            prop_assert_eq!(scheduler.next_deadline(), deadlines.values().min().copied().map(after));
        }
    }
}
