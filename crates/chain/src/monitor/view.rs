//! How old a monitor's view of its chain is, and whether that is too old. No clock and no I/O.

use std::time::{Duration, Instant, SystemTime};

use super::Head;

/// Whether what happens on the chain is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// As far as can be known.
    Fresh,
    /// Something is overdue: the next block, an answer, or the processing of blocks.
    Late,
    /// What happens on the chain is not seen.
    Stale(Why),
}

impl Freshness {
    /// Whether what happens on the chain is not seen.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(_))
    }
}

/// Why what happens on a chain is not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// No endpoint has answered since the start, and what was stored before is too old, or nothing was.
    NeverSeen,
    /// No new block has come, although endpoints answer.
    Silent,
    /// The newest block is old by its own time, and the next one is overdue.
    OldHead,
    /// Blocks are known whose events are not processed.
    Behind {
        /// How many.
        blocks: u64,
    },
    /// No endpoint answers.
    Unreachable,
    /// Endpoints contradict each other.
    Disagreement,
    /// The stored view is of a time that this machine's clock has not reached, so that its age is unknown.
    ClockWentBack,
}

/// What a monitor has seen of its chain: what a [`View`] is judged from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// The newest block, with the chain's pace.
    pub(super) head: Option<Head>,
    /// When an endpoint last answered what the newest block is.
    pub(super) heard: Option<Instant>,
    /// The own time of the newest processed block.
    pub(super) stored: Option<SystemTime>,
    /// Confirmed blocks that are not processed.
    pub(super) backlog: u64,
    /// Since when there are some.
    pub(super) behind_since: Option<Instant>,
    /// Whether endpoints contradict each other.
    pub(super) disagreement: bool,
}

/// How much of its chain a monitor sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// The newest block whose effects are committed.
    pub processed: Option<u64>,
    /// The newest block by its time, seen since the start.
    pub head: Option<Head>,
    /// The time since the newest block's own time, by this machine's clock; 0 for a block from the future.
    pub head_age: Option<Duration>,
    /// The chain's time now: that of the newest block, and what has passed since it was first seen.
    pub chain_now: Option<SystemTime>,
    /// How long ago an endpoint last answered.
    pub heard: Option<Duration>,
    /// For how long what happens on the chain may not have been seen; none if nothing was ever seen.
    pub age: Option<Duration>,
    /// What that means.
    pub freshness: Freshness,
}

/// Something is late after this many times the chain's pace: blocks that are found by chance come ten times later than
/// usual once in 20,000.
const LATE_PACES: u32 = 10;
/// And never earlier than this: a pause is not worth a warning.
const LATE_FLOOR: Duration = Duration::from_secs(30);
/// A view is stale after this many times the pace, if that is longer than the setting.
const STALE_PACES: u32 = 30;
/// Clocks of machines and of block makers may differ by this much.
const CLOCKS: Duration = Duration::from_mins(2);

impl Sight {
    /// Judges what was seen, by the wall clock `now` and the monotonic clock `instant`. `max_age` is the age after which a
    /// view is stale, if the chain's pace does not ask for more; 0 judges nothing but contradictions.
    ///
    /// The silence since a block was first seen needs no clock to be right. The age by the block's own time shows at once
    /// that an endpoint has stood still for long; but as it may come from a wrong clock, too, it makes a view stale only
    /// when the next block is overdue as well. Where blocks come at no pace of their own, endpoints must go on to answer.
    pub(super) fn judge(
        &self,
        now: SystemTime,
        instant: Instant,
        max_age: Duration,
    ) -> (Option<Duration>, Freshness) {
        let since = |then: Instant| instant.saturating_duration_since(then);
        let pace = self.head.and_then(|head| head.pace);
        let heard = self.heard.map(since);
        let late = pace.unwrap_or_default().saturating_mul(LATE_PACES).max(LATE_FLOOR);
        let stale = pace.unwrap_or_default().saturating_mul(STALE_PACES).max(max_age).max(late);
        let (age, by_age) = match (heard, self.head, pace) {
            (None, ..) => self.judge_stored(now, late, stale),
            (Some(heard), Some(head), Some(pace)) => {
                let silence = since(head.seen);
                let backlog = pace.saturating_mul(u32::try_from(self.backlog).unwrap_or(u32::MAX));
                let old = now.duration_since(head.time).unwrap_or_default();
                let overdue = silence >= late;
                let freshness = if heard >= stale {
                    Freshness::Stale(Why::Unreachable)
                } else if silence >= stale {
                    Freshness::Stale(Why::Silent)
                } else if overdue && old >= stale.saturating_add(CLOCKS) {
                    Freshness::Stale(Why::OldHead)
                } else if backlog.saturating_add(silence) >= stale {
                    Freshness::Stale(Why::Behind { blocks: self.backlog })
                } else if overdue || backlog >= late || old >= late.saturating_add(CLOCKS) {
                    Freshness::Late
                } else {
                    Freshness::Fresh
                };
                (Some(silence.saturating_add(backlog)), freshness)
            }
            (Some(heard), ..) => {
                let behind = self.behind_since.map_or(Duration::ZERO, since);
                let freshness = if heard >= stale {
                    Freshness::Stale(Why::Unreachable)
                } else if behind >= stale {
                    Freshness::Stale(Why::Behind { blocks: self.backlog })
                } else if heard.max(behind) >= late {
                    Freshness::Late
                } else {
                    Freshness::Fresh
                };
                (Some(heard.max(behind)), freshness)
            }
        };
        let freshness = match by_age {
            _ if self.disagreement => Freshness::Stale(Why::Disagreement),
            _ if max_age.is_zero() => Freshness::Fresh,
            freshness => freshness,
        };
        (age, freshness)
    }

    /// The view, with its age and what that means.
    pub(super) fn view(
        &self,
        processed: Option<u64>,
        now: SystemTime,
        instant: Instant,
        max_age: Duration,
    ) -> View {
        let (age, freshness) = self.judge(now, instant, max_age);
        let silence = |head: Head| instant.saturating_duration_since(head.seen);
        View {
            processed,
            head: self.head,
            head_age: self.head.map(|head| now.duration_since(head.time).unwrap_or_default()),
            chain_now: self.head.and_then(|head| head.time.checked_add(silence(head))),
            heard: self.heard.map(|heard| instant.saturating_duration_since(heard)),
            age,
            freshness,
        }
    }

    /// Before an endpoint has answered: by the newest processed block, and the clock of this machine.
    fn judge_stored(
        &self,
        now: SystemTime,
        late: Duration,
        stale: Duration,
    ) -> (Option<Duration>, Freshness) {
        let Some(stored) = self.stored else { return (None, Freshness::Stale(Why::NeverSeen)) };
        let freshness = match now.duration_since(stored) {
            Ok(age) if age >= stale => Freshness::Stale(Why::NeverSeen),
            Ok(age) if age >= late => Freshness::Late,
            Ok(_) => Freshness::Fresh,
            Err(ahead) if ahead.duration() > CLOCKS => Freshness::Stale(Why::ClockWentBack),
            Err(_) => Freshness::Fresh,
        };
        (Some(now.duration_since(stored).unwrap_or_default()), freshness)
    }
}

impl View {
    /// The age after which a view is stale unless set otherwise.
    pub const MAX_AGE: Duration = Duration::from_mins(10);

    /// What an operator should know of a view that is not fresh.
    pub fn complaint(&self) -> Option<String> {
        let age = seconds(self.age.unwrap_or_default());
        let head = self.head.map_or_else(|| "?".to_owned(), |head| head.number.to_string());
        let pace = seconds(self.head.and_then(|head| head.pace).unwrap_or_default());
        let old = seconds(self.head_age.unwrap_or_default().max(self.age.unwrap_or_default()));
        // Blocks come, so it is not the endpoint that stands still.
        let by_clock = self.head_age.is_some_and(|old| old >= self.age.unwrap_or_default() + CLOCKS);
        Some(match self.freshness {
            Freshness::Fresh => return None,
            Freshness::Late if by_clock => format!("newest block {head} is {old} old although blocks come: the endpoint is behind its chain, or this machine's clock is wrong; check both"),
            Freshness::Late => format!("what happens on the chain was last seen {age} ago, at block {head}: check that the endpoint follows its chain"),
            Freshness::Stale(why) => match why {
                Why::NeverSeen => match self.age {
                    None => "no block of the chain was seen yet: check that an endpoint answers".to_owned(),
                    Some(_) => format!("no endpoint has answered since the start, and the stored view is {age} old; check the endpoints"),
                },
                Why::Silent | Why::OldHead => format!("the endpoint has stopped following its chain: newest block {head} is {old} old, on a chain of a block every {pace}; what happens there is not seen, use another endpoint (or set this machine's clock, if that is wrong)"),
                Why::Behind { blocks } => format!("{blocks} confirmed blocks are not processed; wait, or see why the monitor does not go on"),
                Why::Unreachable => format!("no endpoint has answered for {age}; what happens on the chain is not seen, check the connection and the endpoints"),
                Why::Disagreement => "the endpoints contradict each other: configure a third one, or remove the one that you do not trust".to_owned(),
                Why::ClockWentBack => "the stored view is of a later time than this machine's clock shows; set the clock, or wait for an endpoint".to_owned(),
            },
        })
    }
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    fn before(instant: Instant, time: Duration) -> Instant {
        instant.checked_sub(time).unwrap()
    }

    /// A view of a head that was seen `silence` ago and is `old` by the clock, when an endpoint last answered `heard` ago.
    struct Case {
        pace: Option<Duration>,
        heard: Duration,
        silence: Duration,
        old: Duration,
        backlog: u64,
        behind: Duration,
    }

    impl Case {
        fn freshness(&self) -> Freshness {
            let begin = Instant::now();
            let (now, instant) = (SystemTime::now(), begin + 100 * HOUR);
            let head = Head {
                number: 7,
                time: now - self.old,
                seen: before(instant, self.silence),
                pace: self.pace,
            };
            let sight = Sight {
                head: Some(head),
                heard: Some(before(instant, self.heard)),
                stored: None,
                backlog: self.backlog,
                behind_since: (self.backlog > 0).then(|| before(instant, self.behind)),
                disagreement: false,
            };
            let view = sight.view(Some(7), now, instant, View::MAX_AGE);
            assert_eq!(view.complaint().is_some(), view.freshness != Freshness::Fresh);
            let contradicted = Sight { disagreement: true, ..sight };
            let contradicted = contradicted.judge(now, instant, Duration::ZERO).1;
            assert_eq!(contradicted, Freshness::Stale(Why::Disagreement));
            assert_eq!(sight.judge(now, instant, Duration::ZERO).1, Freshness::Fresh, "0 judges nothing");
            view.freshness
        }
    }

    #[test]
    fn a_view_is_late_by_the_chains_own_pace_and_stale_when_the_setting_is_passed_too() {
        use Freshness::{Fresh, Late, Stale};
        let of_12 = Some(12 * SECOND);
        let answered = SECOND;
        for (pace, heard, silence, old, backlog, expected) in [
            (of_12, answered, 119 * SECOND, 119 * SECOND, 0, Fresh),
            (of_12, answered, 120 * SECOND, 120 * SECOND, 0, Late),
            (of_12, answered, 10 * MINUTE, 10 * MINUTE, 0, Stale(Why::Silent)),
            (of_12, 10 * MINUTE, 10 * MINUTE, 10 * MINUTE, 0, Stale(Why::Unreachable)),
            (Some(SECOND), answered, 29 * SECOND, 29 * SECOND, 0, Fresh),
            (Some(SECOND), answered, 30 * SECOND, 30 * SECOND, 0, Late),
            (Some(Duration::ZERO), answered, 30 * SECOND, 30 * SECOND, 0, Late),
            (Some(MINUTE), answered, 12 * MINUTE, 12 * MINUTE, 0, Late),
            (Some(MINUTE), answered, 30 * MINUTE, 30 * MINUTE, 0, Stale(Why::Silent)),
            // An endpoint that had stopped long before we came: known as soon as the next block is overdue.
            (of_12, answered, SECOND, 12 * HOUR, 0, Late),
            (of_12, answered, 2 * MINUTE, 12 * HOUR, 0, Stale(Why::OldHead)),
            // Clocks differ a little, or one is set back.
            (of_12, answered, SECOND, 3 * MINUTE, 0, Fresh),
            // Blocks that are not processed are as old as the time in which the chain makes them.
            (of_12, answered, SECOND, SECOND, 9, Fresh),
            (of_12, answered, SECOND, SECOND, 10, Late),
            (of_12, answered, SECOND, SECOND, 50, Stale(Why::Behind { blocks: 50 })),
            (of_12, answered, SECOND, SECOND, u64::MAX, Stale(Why::Behind { blocks: u64::MAX })),
            // Blocks on demand: the endpoint has to answer.
            (None, 29 * SECOND, 12 * HOUR, 12 * HOUR, 0, Fresh),
            (None, 30 * SECOND, 12 * HOUR, 12 * HOUR, 0, Late),
            (None, 10 * MINUTE, 12 * HOUR, 12 * HOUR, 0, Stale(Why::Unreachable)),
        ] {
            let case = Case { pace, heard, silence, old, backlog, behind: Duration::ZERO };
            assert_eq!(case.freshness(), expected, "{pace:?} {heard:?} {silence:?} {old:?} {backlog}");
        }
        for (behind, expected) in
            [(SECOND, Fresh), (MINUTE, Late), (10 * MINUTE, Stale(Why::Behind { blocks: 3 }))]
        {
            let case = Case { pace: None, heard: SECOND, silence: SECOND, old: SECOND, backlog: 3, behind };
            assert_eq!(case.freshness(), expected, "behind for {behind:?}");
        }
    }

    #[test]
    fn before_an_endpoint_answers_the_age_counts_from_the_stored_block() {
        use Freshness::{Fresh, Late, Stale};
        let (now, instant) = (SystemTime::now(), Instant::now());
        for (stored, expected) in [
            (None, Stale(Why::NeverSeen)),
            (Some(now - 29 * SECOND), Fresh),
            (Some(now - MINUTE), Late),
            (Some(now - 10 * MINUTE), Stale(Why::NeverSeen)),
            (Some(now + MINUTE), Fresh),
            (Some(now + HOUR), Stale(Why::ClockWentBack)),
        ] {
            let sight = Sight {
                head: None,
                heard: None,
                stored,
                backlog: 0,
                behind_since: None,
                disagreement: false,
            };
            let view = sight.view(None, now, instant, View::MAX_AGE);
            assert_eq!(view.freshness, expected, "{stored:?}");
            assert_eq!(view.complaint().is_some(), expected != Fresh);
        }
    }

    #[test]
    fn complaints_name_what_an_operator_can_do() {
        let (now, instant) = (SystemTime::now(), Instant::now() + HOUR);
        let complaint = |silence: Duration, old: Duration| {
            let head =
                Head { number: 7, time: now - old, seen: before(instant, silence), pace: Some(12 * SECOND) };
            let sight = Sight {
                head: Some(head),
                heard: Some(instant),
                stored: None,
                backlog: 0,
                behind_since: None,
                disagreement: false,
            };
            sight.view(Some(7), now, instant, View::MAX_AGE).complaint().unwrap()
        };
        assert!(complaint(SECOND, 12 * HOUR).contains("clock"), "a wrong clock is named");
        assert!(complaint(HOUR, HOUR).contains("60 minutes old"));
    }
}
