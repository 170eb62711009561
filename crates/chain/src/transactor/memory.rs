//! What a run remembers between passes. All of it can be lost.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};

use super::fees::Waited;
use super::price::Market;
use super::{Fees, TxId};

/// How far the chain's count of an account's transactions may be above our own and be believed at once. Nonces that a wrong
/// count makes us skip have to be filled.
const NEAR: u64 = 16;
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
    pub(super) accounts: BTreeMap<Address, AccountMemory>,
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
    /// The chain's time, in seconds, as it counts for urgency.
    pub(super) time: u64,
}

#[derive(Default)]
pub(super) struct AccountMemory {
    /// The next nonce of the chain.
    next: Option<Next>,
    /// Used nonces without a receipt of ours.
    missing: HashMap<u64, Heads>,
    /// When an intent was last tried in vain, or the pool asked for its transaction.
    tried: HashMap<TxId, (u64, Instant)>,
    /// Estimates that revert.
    reverts: HashMap<TxId, Heads>,
    /// What was not enough to replace a transaction that is not ours.
    pub(super) outbid: HashMap<TxId, Fees>,
    /// The lowest nonce that nobody has, and the head at which that was noticed.
    pub(super) gap: Option<(u64, u64)>,
    /// The head at which the blocks of outcomes were last compared with the chain's.
    pub(super) compared: Option<B256>,
}

#[derive(Clone, Copy)]
struct Next {
    nonce: u64,
    seen: Heads,
}

/// Heads in a row at which something was seen.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) first: u64,
    last: u64,
    pub(super) count: u32,
    since: Instant,
}

impl Heads {
    fn at(head: u64) -> Self {
        Self { first: head, last: head, count: 1, since: Instant::now() }
    }

    fn see(&mut self, head: u64) {
        if self.last != head {
            self.last = head;
            self.count += 1;
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl AccountMemory {
    /// Takes note of the chain's next nonce. False while it is too far above `ours`, the one after the last that was signed.
    pub(super) fn believes(&mut self, nonce: u64, ours: Option<u64>, head: u64) -> bool {
        let next = match &mut self.next {
            Some(next) if next.nonce == nonce => next,
            next => next.insert(Next { nonce, seen: Heads::at(head) }),
        };
        next.seen.see(head);
        let near = ours.is_none_or(|ours| nonce <= ours.saturating_add(NEAR));
        near || next.seen.count >= COUNT_HEADS || next.seen.elapsed() >= COUNT_TIME
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
        let missing = self.missing.entry(nonce).or_insert_with(|| Heads::at(head));
        missing.see(head);
        *missing
    }

    pub(super) fn found(&mut self, nonce: u64) {
        self.missing.remove(&nonce);
    }

    /// Takes note that a call reverts.
    pub(super) fn revert(&mut self, id: TxId, head: u64) -> Heads {
        let reverts = self.reverts.entry(id).or_insert_with(|| Heads::at(head));
        reverts.see(head);
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

    /// Forgets what concerns intents that are over.
    pub(super) fn keep(&mut self, is_open: impl Fn(TxId) -> bool) {
        self.tried.retain(|id, _| is_open(*id));
        self.reverts.retain(|id, _| is_open(*id));
        self.outbid.retain(|id, _| is_open(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_jumps_is_believed_when_it_stays() {
        let mut memory = AccountMemory::default();
        assert!(memory.believes(1_000, None, 1), "nothing is known of the account");
        assert!(memory.believes(26, Some(20), 1), "a wallet has used it");
        assert!(!memory.believes(1_000, Some(20), 1));
        assert!(!memory.believes(1_000, Some(20), 1), "the same head");
        assert!(!memory.believes(1_000, Some(20), 2));
        assert!(memory.believes(20, Some(20), 3));
        assert!(!memory.believes(1_000, Some(20), 4), "counted from the beginning");
        assert!(!memory.believes(1_000, Some(20), 5) && memory.believes(1_000, Some(20), 6));
    }

    #[test]
    fn an_intent_is_tried_once_for_each_head_or_after_a_pause() {
        let mut memory = AccountMemory::default();
        assert!(memory.is_due(TxId(1), 5, Duration::MAX));
        memory.tried(TxId(1), 5);
        assert!(!memory.is_due(TxId(1), 5, Duration::MAX));
        assert!(memory.is_due(TxId(1), 6, Duration::MAX) && memory.is_due(TxId(1), 5, Duration::ZERO));
    }
}
