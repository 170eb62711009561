//! What a node's endpoints show of the chain: all of it, nothing new, an older head, or not every event.

use alloy::primitives::B256;

use super::shell::index;
use super::{Sim, Until};

impl Until {
    /// Events are left out until `end`, which is noticed at `notices` at the latest. What was noticed before stays so until all events are
    /// there.
    pub(super) const fn hide(&mut self, end: u64, notices: u64, has_gaps: bool) {
        self.hidden = end;
        self.noticed = if has_gaps && self.noticed < notices { self.noticed } else { notices };
    }
}

impl Sim<'_> {
    /// After how long without a newer block a view is stale, in milliseconds.
    pub(super) fn stale_after(&self) -> u64 {
        (self.scenario.world.block_time * 5).max(60) * 1_000
    }

    /// How far behind the endpoints are, in milliseconds: not so far that the view is stale.
    const fn lag(&self, until: &Until, stale_after: u64) -> u64 {
        if self.now < until.lag { stale_after / 2 } else { 0 }
    }

    /// The number of the newest block that they show.
    pub(super) fn head(&self, until: &Until) -> usize {
        let blocks = self.lag(until, self.stale_after()) / (self.scenario.world.block_time * 1_000);
        self.chain.height().saturating_sub(usize::try_from(blocks).unwrap_or(usize::MAX))
    }

    /// When that block was the newest.
    pub(super) fn seen_at(&self, until: &Until) -> u64 {
        self.now.saturating_sub(self.lag(until, self.stale_after()))
    }

    /// Whether all nodes have seen the chain as it is now, up to the blocks that came a moment ago.
    pub(super) fn sees_all(&self) -> bool {
        let last = self.chain.height().saturating_sub(index(self.scenario.world.confirmations) + 1);
        let sees = |blocks: &[B256]| {
            let seen = blocks.len() - 1;
            seen >= last && self.chain.hash(seen) == blocks.last().copied()
        };
        sees(&self.disk.blocks) && self.buyers.iter().flatten().all(|buyer| sees(&buyer.blocks))
    }

    /// Whether they leave events out.
    pub(super) const fn hides(&self, until: &Until) -> bool {
        self.now < until.hidden
    }

    /// Whether the events explain what the contract holds, as far as the node has compared the two.
    pub(super) const fn is_explained(&self, until: &Until, has_gaps: bool) -> bool {
        self.now >= until.unexplained && !(has_gaps && self.now >= until.noticed)
    }
}
