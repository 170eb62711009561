//! Which channels are to be looked at, as far as that is known in memory: [`Agenda`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use privatix_channel::{ChainTime, ChannelId};
use privatix_market::{Uptime, Wake};
use privatix_store::states::Due;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) uptime: Uptime,
    pub(super) chain: Option<ChainTime>,
}

/// Which channels are to be looked at. The stored times of all of them are in the database; this knows when to ask there.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// No stored time that is not over yet is before these.
    earliest: Wake,
    /// To be looked at now, whatever their times say.
    marked: BTreeSet<ChannelId>,
    /// Those whose stored times have come, and whom a look did not move on: these times are ignored until the pause is over.
    again: BTreeMap<ChannelId, Again>,
    /// Those whose service may run, which are looked at first when something changes for all.
    serving: HashSet<ChannelId>,
}

#[derive(Clone, Copy, Debug)]
struct Again {
    /// When it is looked at again; `None` for not before it is marked.
    at: Option<Uptime>,
    /// Times up to this moment say nothing.
    seen: Now,
    tries: u32,
}

impl Agenda {
    /// A decision about a channel was committed. Returns whether something is to be done earlier than before.
    pub(super) fn decided(&mut self, channel: ChannelId, due: Due, serves: bool, now: Now) -> bool {
        if serves {
            self.serving.insert(channel);
        } else {
            self.serving.remove(&channel);
        }
        let Due::At(Wake { uptime, chain }) = due else {
            self.again.remove(&channel);
            return false;
        };
        let is_over = uptime.is_some_and(|at| at <= now.uptime)
            || chain.zip(now.chain).is_some_and(|(at, now)| at <= now);
        if is_over {
            // Looked at again at once, it would hardly say anything else.
            self.postpone(channel, now);
        } else {
            self.again.remove(&channel);
        }
        let to_come = Wake {
            uptime: uptime.filter(|at| *at > now.uptime),
            chain: chain.filter(|at| now.chain.is_none_or(|now| *at > now)),
        };
        self.expect(to_come) || is_over
    }

    /// Something is due at these times. Returns whether one of them is earlier than all before.
    pub(super) fn expect(&mut self, wake: Wake) -> bool {
        let before = self.earliest;
        self.earliest.uptime = before.uptime.into_iter().chain(wake.uptime).min();
        self.earliest.chain = before.chain.into_iter().chain(wake.chain).min();
        self.earliest != before
    }

    /// Has a channel looked at, whatever its times say.
    pub(super) fn mark(&mut self, channel: ChannelId) {
        self.marked.insert(channel);
    }

    /// Has those looked at whose service may run.
    pub(super) fn mark_serving(&mut self) {
        self.marked.extend(self.serving.iter().copied());
    }

    /// A look at a channel led to nothing: it is looked at again after a pause, which doubles each time.
    pub(super) fn postpone(&mut self, channel: ChannelId, now: Now) {
        let tries = self.again.get(&channel).map_or(0, |again| again.tries);
        let pause = FIRST_PAUSE.saturating_mul(1_u32.wrapping_shl(tries.min(31))).min(LONGEST_PAUSE);
        let again = Again { at: Some(now.uptime.plus(pause)), seen: now, tries: tries.saturating_add(1) };
        self.again.insert(channel, again);
    }

    /// Nothing can be decided about a channel: it is left alone until it is marked.
    pub(super) fn leave(&mut self, channel: ChannelId) {
        let seen = Now { uptime: Uptime::MAX, chain: Some(ChainTime::MAX) };
        self.again.insert(channel, Again { at: None, seen, tries: 0 });
    }

    /// There is no such state.
    pub(super) fn forget(&mut self, channel: ChannelId) {
        self.again.remove(&channel);
        self.serving.remove(&channel);
    }

    /// Whether a stored time of a channel, which has come, is to be ignored.
    pub(super) fn is_left(&self, channel: ChannelId, at: Wake) -> bool {
        self.again.get(&channel).is_some_and(|again| {
            at.uptime.is_none_or(|at| at <= again.seen.uptime)
                && at.chain.is_none_or(|at| again.seen.chain.is_some_and(|seen| at <= seen))
        })
    }

    /// Takes those that are marked, and those whose pause is over.
    pub(super) fn take_ready(&mut self, now: Uptime) -> BTreeSet<ChannelId> {
        let mut ready = std::mem::take(&mut self.marked);
        let over = self.again.iter().filter(|(_, again)| again.at.is_some_and(|at| at <= now));
        ready.extend(over.map(|(channel, _)| *channel));
        ready
    }

    /// Whether the database is to be asked for channels whose time has come. What is decided from now on counts afresh, and so
    /// does what the database has for later, which is to be [expected](Self::expect) then.
    pub(super) fn begin(&mut self, now: Now) -> bool {
        let Wake { uptime, chain } = self.earliest;
        let is_due = uptime.is_some_and(|at| at <= now.uptime)
            || chain.zip(now.chain).is_some_and(|(at, now)| at <= now);
        if is_due {
            self.earliest = Wake::default();
        }
        is_due
    }

    /// For how long there is nothing to do by the node's uptime; `None` for no known end.
    pub(super) fn pause(&self, now: Uptime) -> Option<Duration> {
        if !self.marked.is_empty() {
            return Some(Duration::ZERO);
        }
        let again = self.again.values().filter_map(|again| again.at).min();
        self.earliest.uptime.into_iter().chain(again).min().map(|at| at.since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(n: u8) -> ChannelId {
        ChannelId::new([n; 32].into())
    }

    fn at(uptime: u64, chain: u64) -> Now {
        Now { uptime: Uptime::new(uptime), chain: Some(ChainTime::new(chain)) }
    }

    fn due(uptime: Option<u64>, chain: Option<u64>) -> Due {
        Due::At(wake(uptime, chain))
    }

    fn wake(uptime: Option<u64>, chain: Option<u64>) -> Wake {
        Wake { uptime: uptime.map(Uptime::new), chain: chain.map(ChainTime::new) }
    }

    #[test]
    fn the_earliest_time_counts_and_one_that_is_later_wakes_nobody() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.pause(Uptime::new(0)), None);
        for (time, wakes) in [(900, true), (950, false), (800, true), (800, false)] {
            assert_eq!(agenda.decided(channel(1), due(Some(time), None), false, at(0, 0)), wakes, "{time}");
        }
        assert!(agenda.decided(channel(2), due(None, Some(70)), false, at(0, 0)));
        assert!(!agenda.decided(channel(3), Due::Final, false, at(0, 0)));
        assert_eq!(agenda.pause(Uptime::new(300)), Some(Duration::from_millis(500)));
        for (now, is_due) in [(at(799, 69), false), (at(0, 70), true), (at(1_000, 1_000), false)] {
            assert_eq!(agenda.begin(now), is_due, "{now:?}");
        }
        // After a begin, all counts afresh.
        assert!(agenda.expect(wake(Some(2_000), None)));
        assert!(agenda.begin(at(2_000, 0)));
    }

    #[test]
    fn a_time_that_is_over_and_stays_so_is_looked_at_less_and_less_often() {
        let mut agenda = Agenda::default();
        // The chain's time of the channel is over, and a look does not change that; its uptime has not come.
        let stuck = due(Some(500_000), Some(5));
        let mut now = at(1_000, 10);
        for pause in [1_000, 2_000, 4_000] {
            assert!(agenda.decided(channel(1), stuck, false, now));
            assert!(agenda.is_left(channel(1), wake(None, Some(5))), "it says nothing");
            assert!(
                !agenda.is_left(channel(1), wake(Some(500_000), None)),
                "its other time does, once it has come"
            );
            assert_eq!(agenda.take_ready(now.uptime), BTreeSet::new());
            now.uptime = now.uptime.plus(Duration::from_millis(pause));
            assert_eq!(agenda.take_ready(now.uptime), [channel(1)].into());
        }
        // It moves on.
        assert!(!agenda.decided(channel(1), due(Some(500_000), None), false, now));
        assert_eq!(agenda.take_ready(Uptime::new(400_000)), BTreeSet::new());
        assert!(!agenda.is_left(channel(1), wake(None, Some(5))));
    }

    #[test]
    fn a_channel_that_is_left_alone_is_looked_at_when_it_is_marked() {
        let mut agenda = Agenda::default();
        agenda.leave(channel(1));
        assert!(agenda.is_left(channel(1), wake(Some(u64::MAX), None)));
        assert_eq!(agenda.take_ready(Uptime::MAX), BTreeSet::new());
        agenda.mark(channel(1));
        assert_eq!(agenda.pause(Uptime::new(0)), Some(Duration::ZERO));
        assert_eq!(agenda.take_ready(Uptime::new(0)), [channel(1)].into());
        assert_eq!(agenda.take_ready(Uptime::new(0)), BTreeSet::new(), "once");
        // Decided, it is one like the others.
        agenda.decided(channel(1), due(Some(9), None), true, at(1, 1));
        assert!(!agenda.is_left(channel(1), wake(Some(9), None)));
        agenda.decided(channel(2), due(Some(9), None), true, at(1, 1));
        agenda.decided(channel(2), due(Some(9), None), false, at(1, 1));
        agenda.mark_serving();
        assert_eq!(agenda.take_ready(Uptime::new(0)), [channel(1)].into(), "those whose service may run");
    }
}
