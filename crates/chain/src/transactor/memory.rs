//! What a run remembers between passes. All of it can be lost.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};

use super::fees::Waited;
use super::finality::Tagged;
use super::model::{FeeModel, Rules};
use super::phase::Places;
use super::price::Market;
use super::signing::Signing;
use super::{Fees, RevertPatience, TxId};
use crate::rpc::Backing;

/// Heads, or time, for which a higher count must stay to be believed.
const COUNT_HEADS: u32 = 3;
const COUNT_TIME: Duration = Duration::from_mins(1);
/// How long an account's next nonce must stay, beside two heads, until what is in its way counts as stuck.
const STUCK: (u64, u64) = (2, 30);

#[derive(Default)]
pub(super) struct Memory {
    pub(super) checked: bool,
    pub(super) worked: bool,
    pub(super) best_head: u64,
    pub(super) lower_heads: u32,
    pub(super) seen: Option<SeenHead>,
    /// The newest block that was named final.
    pub(super) tagged: Tagged,
    /// How the chain charges, and the most gas of a transaction, once known.
    pub(super) rules: Option<Rules>,
    pub(super) accounts: BTreeMap<Address, AccountMemory>,
    /// Since when urgent intents wait for a signature.
    pub(super) unsigned: HashMap<TxId, Instant>,
}

/// A head, since when it is known, and what was asked about it.
#[derive(Clone, Copy)]
pub(super) struct SeenHead {
    pub(super) hash: B256,
    pub(super) at: Instant,
    pub(super) market: Market,
    pub(super) final_block: u64,
}

/// The chain as of one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) head: u64,
    pub(super) hash: B256,
    pub(super) market: Market,
    /// The newest block that no reorg takes back.
    pub(super) final_block: u64,
    /// How it charges.
    pub(super) model: FeeModel,
    /// The most gas that a transaction may have.
    pub(super) gas_cap: u64,
    /// The chain's time, in seconds, as it counts for urgency.
    pub(super) time: u64,
}

#[derive(Default)]
pub(super) struct AccountMemory {
    /// The next nonce of the chain, as it was last believed.
    pub(super) latest: Option<u64>,
    /// The next nonce of the chain.
    next: Option<Next>,
    /// Used nonces without a receipt of ours.
    missing: HashMap<u64, Heads>,
    /// When an intent was last tried in vain, or the pool asked for its transaction.
    tried: HashMap<TxId, (u64, Instant)>,
    /// Signatures that are waited for.
    pub(super) signing: Signing,
    /// Estimates that revert.
    reverts: HashMap<TxId, Heads>,
    /// What was not enough to replace a transaction that is not ours.
    pub(super) outbid: HashMap<TxId, Fees>,
    /// The lowest nonce that nobody has, and the head at which that was noticed.
    pub(super) gap: Option<(u64, u64)>,
    /// Outcomes of open intents that a second endpoint shows, too: hashes of transactions and blocks.
    pub(super) backed: HashMap<B256, B256>,
    /// Outcomes of open intents that one endpoint alone shows.
    pub(super) alone: Alone,
    /// Outcomes that one endpoint alone shows when they are about to be final.
    pub(super) alone_at_last: Alone,
    /// Known outcomes whose receipt no endpoint shows any more, by the hash of the transaction.
    unseen: HashMap<B256, Heads>,
    /// When a nonce was last filled.
    pub(super) filled: HashMap<u64, (u64, Instant)>,
    /// The head at which the blocks of outcomes were last compared with the chain's.
    pub(super) compared: Option<B256>,
    /// Where the next pass goes on.
    pub(super) places: Places,
}

#[derive(Clone, Copy)]
struct Next {
    nonce: u64,
    seen: Heads,
}

/// Heads in a row at which something was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) first: u64,
    last: u64,
    pub(super) count: u32,
    since: Instant,
    /// How often it was seen at the last of them, and since when.
    looks: u32,
    last_since: Instant,
}

impl Heads {
    fn at(head: u64, now: Instant) -> Self {
        Self { first: head, last: head, count: 1, since: now, looks: 0, last_since: now }
    }

    fn see(&mut self, head: u64, now: Instant) {
        if self.last != head {
            *self = Self { last: head, count: self.count + 1, looks: 0, last_since: now, ..*self };
        }
        self.looks += 1;
    }

    fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// For how long it has been seen.
    pub(super) fn seen_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether it was seen for long enough to be believed: at several heads, or several times at one that stays the newest.
    pub(super) fn lasts(&self, patience: RevertPatience, now: Instant) -> bool {
        let for_long = |since, time| now.saturating_duration_since(since) >= time;
        (self.count >= patience.heads && for_long(self.since, patience.time))
            // Where blocks come on demand only.
            || (self.looks >= patience.heads && for_long(self.last_since, patience.time * 12))
    }
}

/// Since when outcomes are shown by one of several endpoints alone, each by itself: by the hashes of its transaction and its block.
#[derive(Debug, Default)]
pub(super) struct Alone(HashMap<(B256, B256), Instant>);

impl Alone {
    /// Takes note of what other endpoints show of an outcome. Returns whether it is to be believed.
    pub(super) fn is_believed(
        &mut self,
        outcome: (B256, B256),
        backing: Backing,
        patience: Duration,
        now: Instant,
    ) -> bool {
        match backing {
            Backing::Alone => {
                let since = *self.0.entry(outcome).or_insert(now);
                now.saturating_duration_since(since) >= patience
            }
            Backing::Backed | Backing::Disputed => {
                self.0.remove(&outcome);
                backing == Backing::Backed
            }
        }
    }

    /// Keeps those whose transaction, by its hash, is still of interest.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&B256) -> bool) {
        self.0.retain(|(hash, _), _| is_kept(hash));
    }
}

/// How long the count of one endpoint stands alone before it is believed while a second one is configured and silent: a third
/// of the shortest challenge.
const ALONE_TIME: Duration = Duration::from_mins(5);

impl AccountMemory {
    /// Notes the chain's next nonce. Returns whether it has stayed long enough to be believed without a second endpoint.
    pub(super) fn note_count(&mut self, nonce: u64, head: u64) -> bool {
        let next = match &mut self.next {
            Some(next) if next.nonce == nonce => next,
            next => next.insert(Next { nonce, seen: Heads::at(head, Instant::now()) }),
        };
        next.seen.see(head, Instant::now());
        next.seen.count >= COUNT_HEADS || next.seen.elapsed() >= COUNT_TIME
    }

    /// Whether the same count was shown long enough that waiting for a second endpoint would cost more than it protects.
    pub(super) fn has_waited_for_a_second(&self) -> bool {
        self.next.is_some_and(|next| next.seen.elapsed() >= ALONE_TIME)
    }

    /// For how long the chain has been waiting for its next nonce.
    pub(super) fn waited(&self, head: u64) -> Waited {
        self.next.map_or(Waited::default(), |next| Waited {
            blocks: head.saturating_sub(next.seen.first),
            seconds: next.seen.elapsed().as_secs(),
        })
    }

    /// Whether what has the next nonce counts as stuck.
    pub(super) fn is_stuck(&self, head: u64) -> bool {
        let waited = self.waited(head);
        waited.blocks >= STUCK.0 && waited.seconds >= STUCK.1
    }

    /// Takes note that a nonce is used and no receipt of ours is known.
    pub(super) fn miss(&mut self, nonce: u64, head: u64) -> Heads {
        let missing = self.missing.entry(nonce).or_insert_with(|| Heads::at(head, Instant::now()));
        missing.see(head, Instant::now());
        *missing
    }

    pub(super) fn found(&mut self, nonce: u64) {
        self.missing.remove(&nonce);
    }

    /// Takes note that a call reverts.
    pub(super) fn revert(&mut self, id: TxId, head: u64) -> Heads {
        let reverts = self.reverts.entry(id).or_insert_with(|| Heads::at(head, Instant::now()));
        reverts.see(head, Instant::now());
        *reverts
    }

    pub(super) fn succeeds(&mut self, id: TxId) {
        self.reverts.remove(&id);
    }

    /// Whether to try an intent: once for each head, and from time to time where no heads come.
    pub(super) fn is_due(&self, id: TxId, head: u64, pause: Duration) -> bool {
        self.tried.get(&id).is_none_or(|(tried, at)| *tried != head || at.elapsed() >= pause)
    }

    pub(super) fn tried(&mut self, id: TxId, head: u64) {
        self.tried.insert(id, (head, Instant::now()));
    }

    /// Takes note that no endpoint shows the receipt of a known outcome. Returns at how many heads in a row that was so.
    pub(super) fn miss_outcome(&mut self, hash: B256, head: u64) -> u32 {
        let unseen = self.unseen.entry(hash).or_insert_with(|| Heads::at(head, Instant::now()));
        unseen.see(head, Instant::now());
        unseen.count
    }

    pub(super) fn see_outcome(&mut self, hash: B256) {
        self.unseen.remove(&hash);
    }

    /// Forgets what made an outcome believed: it is taken back, and must be shown afresh to count again.
    pub(super) fn forget_outcome(&mut self, hash: B256) {
        self.backed.remove(&hash);
        self.alone.retain(|of| *of != hash);
        self.alone_at_last.retain(|of| *of != hash);
        self.unseen.remove(&hash);
    }

    /// Forgets outcomes that are not watched any more.
    pub(super) fn forget_unwatched(&mut self, is_watched: impl Fn(&B256) -> bool) {
        self.alone_at_last.retain(&is_watched);
        self.unseen.retain(|hash, _| is_watched(hash));
    }

    /// Whether to fill a nonce: once for each head, and from time to time where no heads come, because a full pool refuses it.
    pub(super) fn may_fill(&self, nonce: u64, head: u64, pause: Duration) -> bool {
        self.filled.get(&nonce).is_none_or(|(filled, at)| *filled != head || at.elapsed() >= pause)
    }

    pub(super) fn fills(&mut self, nonce: u64, head: u64) {
        self.filled.insert(nonce, (head, Instant::now()));
    }

    /// Forgets what concerns intents that are over.
    pub(super) fn forget_closed(&mut self, is_open: impl Fn(TxId) -> bool) {
        self.tried.retain(|id, _| is_open(*id));
        self.reverts.retain(|id, _| is_open(*id));
        self.outbid.retain(|id, _| is_open(*id));
        self.signing.forget_closed(is_open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_jumps_is_believed_when_it_stays() {
        let mut memory = AccountMemory::default();
        assert!(!memory.note_count(1_000, 1));
        assert!(!memory.note_count(1_000, 1), "the same head");
        assert!(!memory.note_count(1_000, 2));
        assert!(!memory.note_count(20, 3));
        assert!(!memory.note_count(1_000, 4), "counted from the beginning");
        assert!(!memory.note_count(1_000, 5) && memory.note_count(1_000, 6));
    }

    #[test]
    fn a_revert_is_believed_after_several_heads_or_several_looks_at_one_that_stays() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let patience = RevertPatience { heads: 3, time: Duration::from_secs(5) };
        // Heads and the seconds at which they were looked at, and whether the last look suffices.
        for (looks, expected) in [
            (&[(100, 0), (101, 12), (102, 24)][..], true),
            (&[(100, 0), (101, 1), (102, 2)], false),
            (&[(100, 0), (100, 61)], false), // the endpoint was away in between
            (&[(100, 0), (100, 30), (100, 61)], true),
            (&[(100, 0), (100, 30), (101, 61)], false),
            (&[(100, 0), (101, 61), (101, 80), (101, 100)], false),
            (&[(100, 0), (101, 61), (101, 80), (101, 121)], true),
        ] {
            let mut seen = Heads::at(looks[0].0, after(0));
            for (head, at) in looks {
                seen.see(*head, after(*at));
            }
            let last = looks.last().map_or(0, |(_, at)| *at);
            assert_eq!(seen.lasts(patience, after(last)), expected, "{looks:?}");
        }
    }

    #[test]
    fn an_intent_is_tried_once_for_each_head_or_after_a_pause() {
        let mut memory = AccountMemory::default();
        assert!(memory.is_due(TxId(1), 5, Duration::MAX));
        memory.tried(TxId(1), 5);
        assert!(!memory.is_due(TxId(1), 5, Duration::MAX));
        assert!(memory.is_due(TxId(1), 6, Duration::MAX) && memory.is_due(TxId(1), 5, Duration::ZERO));
    }

    #[test]
    fn an_outcome_that_no_second_endpoint_knows_is_believed_after_a_while_and_a_disputed_one_never() {
        use Backing::{Alone, Backed, Disputed};
        let start = Instant::now();
        let hash = B256::repeat_byte;
        let (x, y, moved) = ((hash(1), hash(2)), (hash(3), hash(2)), (hash(1), hash(4)));
        let mut alone = super::Alone::default();
        for (second, outcome, backing, expected) in [
            (0, x, Alone, false),
            (59, x, Alone, false),
            (60, y, Alone, false),     // of another transaction
            (60, moved, Alone, false), // or in another block
            (60, x, Alone, true),
            (61, y, Backed, true), // which is no reason to wait longer for this one
            (61, x, Alone, true),
            (62, x, Disputed, false),
            (3_600, x, Disputed, false),
            (3_601, x, Alone, false), // counted from the beginning
            (3_602, x, Backed, true),
            (3_661, x, Alone, false),
        ] {
            let now = start + Duration::from_secs(second);
            let believed = alone.is_believed(outcome, backing, Duration::from_mins(1), now);
            assert_eq!(believed, expected, "{second} s: {outcome:?} {backing:?}");
        }
        alone.retain(|hash| *hash != x.0);
        let day = start + Duration::from_hours(24);
        assert!(!alone.is_believed(x, Alone, Duration::from_mins(1), day), "it was gone meanwhile");
    }

    #[test]
    fn an_outcome_that_is_taken_back_must_be_shown_afresh() {
        let mut memory = AccountMemory::default();
        let (hash, block) = (B256::repeat_byte(1), B256::repeat_byte(2));
        memory.backed.insert(hash, block);
        memory.alone.is_believed((hash, block), Backing::Alone, Duration::ZERO, Instant::now());
        memory.alone_at_last.is_believed((hash, block), Backing::Alone, Duration::ZERO, Instant::now());
        assert_eq!((memory.miss_outcome(hash, 1), memory.miss_outcome(hash, 2)), (1, 2));
        memory.forget_outcome(hash);
        assert!(memory.backed.is_empty() && memory.alone.0.is_empty() && memory.alone_at_last.0.is_empty());
        assert_eq!(memory.miss_outcome(hash, 3), 1);
    }
}
