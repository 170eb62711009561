//! What decisions depend on beside their state and their input, as this node knows it in memory: [`Outlook`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use privatix_chain::MonitorStatus;
use privatix_channel::{ChainTime, ChannelId};
use privatix_market::{ChainView, Gas, RecoveryId, Uptime};

use crate::{ContractEntry, GRACE, GasReserve, Node, UptimeClock};

/// The surroundings of decisions, as of now. All of it is known in memory: nothing here waits for a database or an endpoint.
pub trait Outlook: Send + Sync {
    /// For how long the node has run.
    fn uptime(&self) -> Uptime;

    /// What is known of the chain as a whole. Whether a channel's events are [explained](ChainView::explained), it does not say.
    fn chain(&self) -> ChainView;

    /// The time of the newest block that was processed: the chain's alone, whatever this machine's clock shows.
    fn block_time(&self) -> Option<ChainTime> {
        self.chain().now
    }

    /// The channels of which the contract holds what their events do not explain.
    fn unexplained(&self) -> BTreeSet<ChannelId>;

    /// What gas costs.
    fn gas(&self) -> Gas;

    /// Until when a channel must not be closed because vouchers may be missing: `newest_voucher` is when its best known one was
    /// stored.
    fn kept_open(&self, newest_voucher: Option<SystemTime>) -> Option<Uptime>;

    /// The recovery of the database, while there is one: also once a newer voucher came.
    fn recovery(&self) -> Option<RecoveryId>;

    /// The life of the service adapter: another number after each of its starts, also across those of this process.
    fn instance(&self) -> u64;

    /// The run of this process: another number after each of its starts, which are counted in the database. A backup holds none that is
    /// given again.
    fn run(&self) -> u64;

    /// Whether the service adapter is not ready for its channels yet.
    fn adapter_starts(&self) -> bool {
        false
    }

    /// Whether this node's own network works.
    fn is_reachable(&self) -> bool;
}

/// What a running node knows.
pub struct NodeOutlook {
    node: Arc<Node>,
    clock: UptimeClock,
    reserve: Arc<GasReserve>,
    seen: Mutex<Seen>,
}

/// What is kept of the chain between two looks.
#[derive(Debug, Default)]
struct Seen {
    sight: Sight,
    /// The time of the newest processed block that has one.
    now: Option<ChainTime>,
}

impl std::fmt::Debug for NodeOutlook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOutlook").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl NodeOutlook {
    /// What `node` knows. The clock is one of this run, and `reserve` is that of the node's account.
    pub fn new(node: Arc<Node>, clock: UptimeClock, reserve: Arc<GasReserve>) -> Self {
        Self { node, clock, reserve, seen: Mutex::default() }
    }
}

impl Outlook for NodeOutlook {
    fn uptime(&self) -> Uptime {
        self.clock.now()
    }

    fn chain(&self) -> ChainView {
        let mut chain = ChainView::default();
        chain.challenge = self.node.challenge_period();
        let monitor = self.node.monitor();
        let mut seen = self.seen.lock();
        chain.fresh = match &monitor {
            Some(status) => {
                let view = self.node.view_by(status);
                let is_stale = view.freshness.is_stale();
                chain.skew = self.node.skew_by(&view);
                seen.now = status.processed_time.map(ChainTime::from).or(seen.now);
                seen.sight.look((!is_stale).then(|| Mark::of(status)))
            }
            None => seen.sight.look(None),
        };
        chain.now = seen.now;
        chain
    }

    fn unexplained(&self) -> BTreeSet<ChannelId> {
        let channel = |entry: &ContractEntry| match entry {
            ContractEntry::Channel(channel) => Some(*channel),
            ContractEntry::Offering(..) => None,
        };
        self.node.unreconciled.read().keys().filter_map(channel).collect()
    }

    fn gas(&self) -> Gas {
        self.reserve.gas()
    }

    fn kept_open(&self, newest_voucher: Option<SystemTime>) -> Option<Uptime> {
        let until = self.node.open_until(newest_voucher)?;
        // Not longer, if the wall clock was set back.
        let left = until.duration_since(SystemTime::now()).unwrap_or_default().min(GRACE);
        Some(self.uptime().plus(left))
    }

    fn recovery(&self) -> Option<RecoveryId> {
        self.node.recovery().map(|recovery| recovery.backed_up_at.into())
    }

    fn instance(&self) -> u64 {
        self.clock.start_number()
    }

    fn run(&self) -> u64 {
        self.clock.start_number()
    }

    fn adapter_starts(&self) -> bool {
        !self.node.services().is_ready()
    }

    fn is_reachable(&self) -> bool {
        true
    }
}

/// Whether what happens on the chain is seen: not as soon as the view is stale, and again with the second sign of life after that.
/// So a view at the edge does not suspend and resume all services with each block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sight {
    /// Nothing was seen since the start. The first sign of life suffices.
    #[default]
    Not,
    Fresh,
    Stale,
    /// It was stale, and this was the first sign of life.
    Once(Mark),
}

/// A sign of life of the chain. Two that are equal are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// A block, where blocks come at a pace of their own.
    Block(u64),
    /// An endpoint's answer.
    Answer(Option<Instant>),
}

impl Mark {
    fn of(status: &MonitorStatus) -> Self {
        match status.newest {
            Some(head) if head.pace.is_some() => Self::Block(head.number),
            _ => Self::Answer(status.heard),
        }
    }
}

impl Sight {
    /// Takes in the newest sign of life, `None` while the view is stale; whether the view counts as fresh.
    fn look(&mut self, mark: Option<Mark>) -> bool {
        *self = match (*self, mark) {
            (Self::Not, None) => Self::Not,
            (_, None) => Self::Stale,
            (Self::Not | Self::Fresh, Some(_)) => Self::Fresh,
            (Self::Stale, Some(mark)) => Self::Once(mark),
            (Self::Once(before), Some(mark)) if before == mark => Self::Once(before),
            (Self::Once(_), Some(_)) => Self::Fresh,
        };
        *self == Self::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_was_stale_is_fresh_again_after_two_blocks() {
        let mut sight = Sight::default();
        for (block, fresh) in [
            (None, false),
            (Some(5), true), // the first one after a start
            (Some(5), true),
            (None, false),
            (Some(6), false),
            (Some(6), false), // the same one
            (None, false),
            (Some(6), false),
            (Some(7), true),
            (Some(8), true),
        ] {
            assert_eq!(sight.look(block.map(Mark::Block)), fresh, "{block:?}, {sight:?}");
        }
    }
}
