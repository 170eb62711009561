//! A pass over one account: outcomes first, then what is in flight, then what is to be sent.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::Address;

use super::changes::{self, Bound, Origin, Signed};
use super::counts::{Count, Counted, agreed};
use super::fees::Waited;
use super::memory::{AccountMemory, Now};
use super::price::{OfferInput, Price, price};
use super::rank::{Rank, rank};
use super::rescue::{self, Counterpart};
use super::settle::Settled;
use super::signing::Draft;
use super::slots::{Owner, Slots};
use super::{Attempt, Fate, Fees, Inner, Obstacle, Raise, TxRecord, TxStatus, Wei, table};
use crate::ChainError;
use crate::TxId;

/// The shortest time between two tries of the same at the same head.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// An intent with all that was signed for it, newest first.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) record: TxRecord,
    pub(super) attempts: Vec<Attempt>,
    /// What earlier tries with the same purpose have cost, which reverted: it counts against the stake.
    pub(super) burnt: u128,
    /// Its rescue, or the intent that it is the rescue of.
    pub(super) counterpart: Option<Counterpart>,
}

impl Item {
    fn at(&self, nonce: u64) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| attempt.nonce == nonce)
    }

    /// What a pool may hold of it at a nonce.
    pub(super) fn held_at(&self, nonce: u64) -> Option<Fees> {
        self.at(nonce).filter(|a| a.fate != Fate::Refused).map(|a| a.fees).reduce(Fees::join)
    }

    /// The most that its purpose can cost beside what is signed for this nonce: by what is in flight at others, what a revert
    /// cost, and what its counterpart can cost.
    pub(super) fn elsewhere(&self, nonce: u64, latest: u64) -> u128 {
        let others = self.counterpart.map_or(0, |other| other.cost).saturating_add(self.burnt);
        rescue::cost(&self.record, &self.attempts, latest, Some(nonce)).saturating_add(others)
    }

    /// What its purpose pays beside gas (the L1 fee of an OP-stack chain) if one transaction pays `wei`: twice that when its
    /// counterpart may be mined as well.
    pub(super) fn l1_fees(&self, wei: u128) -> u128 {
        match self.counterpart {
            Some(other) if other.cost > 0 => wei.saturating_mul(2),
            _ => wei,
        }
    }

    /// Whether nothing is to be signed for it now, because its purpose is served in a block.
    pub(super) fn is_held_back(&self) -> bool {
        rescue::is_held_back(&self.record, self.counterpart.as_ref())
    }

    /// What an offer for it at a nonce is wanted for.
    pub(super) fn bid(&self, nonce: u64, latest: u64, gas: u64, balance: u128) -> OfferInput {
        let intent = &self.record.intent;
        OfferInput {
            gas,
            priority: intent.priority,
            deadline: intent.deadline,
            stake: intent.stake.map(|stake| stake.0),
            elsewhere: self.elsewhere(nonce, latest),
            balance,
            held: self.held_at(nonce),
            own: true,
            waited: Waited::default(),
            raise: false,
        }
    }
}

/// One of the account's transactions in flight: what it can cost, value included.
#[derive(Debug, Clone, Copy)]
struct Flying {
    rank: Rank,
    cost: u128,
}

/// What is known of an account in a pass, and what is decided.
pub(super) struct Account {
    pub(super) address: Address,
    pub(super) latest: u64,
    pub(super) slots: Slots,
    balance: u128,
    flying: BTreeMap<TxId, Flying>,
}

impl Account {
    /// What one of this rank can pay in all: what stands behind an urgent one does not reserve anything against it.
    pub(super) fn free_for(&self, id: TxId, rank: Rank, is_urgent: bool, displaces: Option<TxId>) -> u128 {
        let counts = |(of, flying): &(&TxId, &Flying)| {
            **of != id && Some(**of) != displaces && (!is_urgent || flying.rank < rank)
        };
        let reserved = self.flying.iter().filter(counts).map(|(_, flying)| flying.cost);
        self.balance.saturating_sub(reserved.fold(0, u128::saturating_add))
    }

    /// Takes note that one is on its way.
    pub(super) fn fly(&mut self, draft: &Draft, rank: Rank) {
        if let Some(displaced) = draft.displaces {
            self.flying.remove(&displaced);
        }
        let cost = cost(&draft.seen, draft.gas_limit, draft.fees);
        self.flying.insert(draft.seen.id, Flying { rank, cost });
    }

    /// Whether anything of the account is in flight.
    pub(super) fn is_flying(&self) -> bool {
        !self.flying.is_empty()
    }
}

fn cost(record: &TxRecord, gas: u64, fees: Fees) -> u128 {
    record.intent.value.saturating_add(u128::from(gas).saturating_mul(fees.max_fee))
}

/// Notes at which nonces a pool may hold something of an intent, and which of them it does not own and must see used up.
fn claim(slots: &mut Slots, item: &Item) {
    let record = &item.record;
    // Another of its transactions is in a block and reverted: whether one of these succeeds is to be known.
    let reverted = record.inclusion.is_some_and(|inclusion| !inclusion.success);
    for attempt in item.attempts.iter().filter(|attempt| attempt.nonce >= slots.latest) {
        if attempt.fate != Fate::Refused {
            slots.held.insert(attempt.nonce);
        }
        if record.nonce == Some(attempt.nonce) {
            continue;
        }
        if record.ending.is_some() || reverted {
            slots.ending.insert(attempt.nonce);
        } else if !record.intent.repeatable {
            slots.bound.insert(attempt.nonce);
        }
    }
}

/// What to do for a transaction in flight.
pub(super) enum Push {
    Nothing,
    Resend(Attempt),
    Replace(Box<Draft>),
}

/// Of what was signed for one nonce, the bytes that go out again because nobody knows whether they arrived: the best offer,
/// unless a pool has a better one.
fn unanswered(item: &Item, nonce: u64) -> Option<&Attempt> {
    let best = |fate| item.at(nonce).filter(move |a| a.fate == fate).max_by_key(|a| a.fees.max_fee);
    let held = best(Fate::Held).map_or(0, |attempt| attempt.fees.max_fee);
    best(Fate::Unknown).filter(|attempt| attempt.fees.max_fee > held)
}

impl Inner {
    pub(super) async fn serve(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        address: Address,
        items: Vec<Item>,
    ) -> Result<(), ChainError> {
        let (first, second) = self.rpc.nonces(address).await?;
        let ours = table::next_nonce(&mut *self.db.read().await?, self.chain_id, address).await?;
        let (latest, believed) = match agreed(first, second, ours) {
            Count::Sure(count) => {
                memory.note_count(count, now.head);
                (count, true)
            }
            // Where a second endpoint is configured, it is waited for; not for ever, as it may be dead.
            Count::Alone(count) => {
                let lasts = memory.note_count(count, now.head);
                (count, lasts && (!self.rpc.are_several() || memory.has_waited_for_a_second()))
            }
        };
        if !believed {
            let obstacle = Obstacle::CountUnconfirmed { count: latest, ours: ours.unwrap_or(0) };
            for item in items.iter().filter(|item| item.record.status.is_open()) {
                self.obstruct(&item.record, Some(obstacle.clone())).await?;
            }
            return Ok(());
        }
        memory.latest = Some(latest);
        let (open, watched): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item.record.status.is_open());
        memory.forget_closed(|id| open.iter().any(|item| item.record.id == id));
        let owners = table::owners(&mut *self.db.read().await?, self.chain_id, address, latest).await?;
        // What failed may have bytes at other nonces, which a pool holds and nobody raises.
        let failed: Vec<Item> =
            watched.iter().filter(|item| item.record.status == TxStatus::Failed).cloned().collect();
        let mut watched: Vec<TxRecord> = watched.into_iter().map(|item| item.record).collect();
        for id in owners.values() {
            // An outcome that was final, and whose nonce the chain has not used.
            let is_known = |record: &TxRecord| record.id == *id;
            if !watched.iter().any(is_known) && !open.iter().any(|item| is_known(&item.record)) {
                watched.push(self.reload(*id).await?);
            }
        }
        let late = self.signed_late(memory, now, latest).await?;
        if !late.is_empty() {
            let stored = self.store(late).await?;
            self.broadcast(memory, now, stored).await?;
            // What was read of the intents is out of date.
            self.wake.notify_one();
            return Ok(());
        }
        let mut trouble = self.watch(memory, now, latest, watched).await;
        if !open.is_empty() {
            let counted = Counted { latest, lower: second.unwrap_or(latest).min(first) };
            let settled = self.settle(memory, now, address, counted, open).await?;
            let Settled { open, latest, unjudged, trouble: settling } = settled;
            trouble.join(settling);
            if !open.is_empty() {
                let owners =
                    table::owners(&mut *self.db.read().await?, self.chain_id, address, latest).await?;
                let mut account = self.account(memory, now, address, latest, owners, &open).await?;
                for item in failed.iter().chain(&unjudged) {
                    claim(&mut account.slots, item);
                }
                trouble.join(self.advance(memory, now, &mut account, open).await);
            }
        }
        trouble.or(())
    }

    async fn account(
        &self,
        memory: &AccountMemory,
        now: Now,
        address: Address,
        latest: u64,
        owners: BTreeMap<u64, TxId>,
        items: &[Item],
    ) -> Result<Account, ChainError> {
        let (pending, balance) =
            tokio::try_join!(self.rpc.pending_nonces(address), self.rpc.balance(address))?;
        let ours = table::next_nonce(&mut *self.db.read().await?, self.chain_id, address).await?;
        let (Count::Sure(pending) | Count::Alone(pending)) =
            agreed(pending.0, pending.1, ours.max(Some(latest)));
        let mut slots = Slots { latest, pending, ..Slots::default() };
        let mut flying = BTreeMap::new();
        let stuck = memory.is_stuck(now.head);
        for (nonce, id) in owners {
            let item = items.iter().find(|item| item.record.id == id);
            let owner = match item {
                Some(item) => {
                    let rank = rank(&item.record, now.time);
                    let fees = item.held_at(nonce).unwrap_or(Fees::new(0, 0));
                    let gas = item.record.gas_limit.unwrap_or(0);
                    flying.insert(id, Flying { rank, cost: cost(&item.record, gas, fees) });
                    let ending = item.record.ending.is_some();
                    Owner { id, rank, ending, stalled: stuck || !self.pays(now, fees) }
                }
                // Mined, as another node has it: its nonce is out of question.
                None => Owner { id, rank: Rank::FIRST, ending: false, stalled: false },
            };
            slots.owners.insert(nonce, owner);
        }
        for item in items {
            claim(&mut slots, item);
        }
        for (id, nonce) in memory.signing.reserved() {
            let item = items.iter().find(|item| item.record.id == id);
            let rank = item.map_or(Rank::FIRST, |item| rank(&item.record, now.time));
            slots.owners.entry(nonce).or_insert(Owner { id, rank, ending: false, stalled: false });
        }
        let balance = u128::try_from(balance).unwrap_or(u128::MAX);
        Ok(Account { address, latest, slots, balance, flying })
    }

    /// Whether an offer is what half of the market pays now.
    fn pays(&self, now: Now, fees: Fees) -> bool {
        let policy = self.policy(now);
        let tip = now.market.tips[0]
            .clamp(policy.min_priority_fee, policy.max_priority_fee.max(policy.min_priority_fee));
        fees.max_fee >= now.market.base_fee.map_or(now.market.usual, |base| base.saturating_add(tip))
    }

    /// Makes signed transactions durable: from here on, whatever happens, they are known to be ours. Those whose intent has
    /// changed meanwhile drop out; they were never sent.
    pub(super) async fn store(&self, signed: Vec<Signed>) -> Result<Vec<(TxRecord, Attempt)>, ChainError> {
        if signed.is_empty() {
            return Ok(Vec::new());
        }
        let mut stored = Vec::new();
        let mut displaced = Vec::new();
        let mut tx = self.db.begin().await?;
        for mut signed in signed {
            let is_new = signed.seen.filler && signed.seen.id == TxId(0);
            if is_new {
                signed.seen.id =
                    changes::submit(&mut tx, self.chain_id, &signed.seen.intent, Origin::Filler).await?;
            }
            let id = signed.seen.id;
            if !changes::own(&mut tx, &signed).await? {
                tracing::info!(tx = %id, "transaction was changed meanwhile; not sending what was signed");
                if is_new {
                    changes::end(&mut tx, id, TxStatus::Cancelled, None, false).await?;
                }
                continue;
            }
            // A filler that was being signed has no id yet.
            displaced.extend(signed.displaces.filter(|id| *id != TxId(0)));
            let record = table::get(&mut tx, id).await?.ok_or(ChainError::UnknownTx { tx: id })?;
            stored.push((record, signed.attempt));
        }
        tx.commit().await?;
        for (record, attempt) in &stored {
            let Attempt { hash, nonce, fees, .. } = attempt;
            tracing::info!(tx = %record.id, kind = %record.intent.kind, %hash, nonce, max_fee = fees.max_fee, tip = fees.priority_fee, "transaction signed");
            self.announce(record);
        }
        for id in displaced {
            let record = self.reload(id).await?;
            tracing::info!(tx = %id, "its nonce went to another transaction");
            self.announce(&record);
        }
        Ok(stored)
    }

    /// Keeps a transaction in the pool and at the market's price.
    pub(super) async fn push(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &mut Account,
        item: &Item,
    ) -> Result<Push, ChainError> {
        let record = &item.record;
        let (Some(nonce), Some(gas)) = (record.nonce, record.gas_limit) else { return Ok(Push::Nothing) };
        let Some(newest) = item.at(nonce).max_by_key(|attempt| attempt.fees.max_fee) else {
            return Ok(Push::Nothing);
        };
        if record.ending.is_some() || item.is_held_back() {
            return Ok(Push::Nothing);
        }
        if nonce > account.slots.reach() {
            // Signed when an endpoint reported a wrong count.
            if record.intent.repeatable {
                self.release(record, Bound::Kept).await?;
                account.slots.owners.remove(&nonce);
                account.flying.remove(&record.id);
            } else {
                let obstacle = Obstacle::OutOfReach { nonce, next: account.latest };
                self.obstruct(record, Some(obstacle)).await?;
            }
            return Ok(Push::Nothing);
        }
        let pause = self.options.poll_interval.max(SHORTEST_PAUSE);
        let is_due = memory.is_due(record.id, now.head, pause);
        let unanswered = unanswered(item, nonce).filter(|_| is_due);
        if item.held_at(nonce).is_none() {
            // Refused, and yet known: by a node that had it before, for one.
            if self.rpc.knows(newest.hash).await? {
                let mut tx = self.db.begin().await?;
                changes::set_fate(&mut tx, newest.hash, Fate::Held).await?;
                tx.commit().await?;
                return Ok(Push::Nothing);
            }
            // Nobody has it: its nonce is free for whoever can use it now.
            self.release(record, Bound::Kept).await?;
            account.slots.owners.remove(&nonce);
            account.flying.remove(&record.id);
            return Ok(Push::Nothing);
        }
        let waited = if nonce == account.latest {
            let first = item.at(nonce).map(|attempt| (attempt.head, attempt.at)).min();
            let (head, at) = first.unwrap_or((now.head, newest.at));
            let since = memory.waited(now.head);
            Waited {
                blocks: now.head.saturating_sub(head).min(since.blocks),
                seconds: at.elapsed().unwrap_or_default().as_secs().min(since.seconds),
            }
        } else {
            Waited::default()
        };
        let is_urgent = record.intent.priority == super::Priority::Urgent;
        let free = account.free_for(record.id, rank(record, now.time), is_urgent, None);
        let raise = record.raise.is_some();
        // At most once for each head.
        let mut beside = 0;
        if raise || newest.head < now.head {
            beside = match self.fee_beside(now, record, gas).await {
                Ok(wei) => wei,
                Err(error) => {
                    // The others' work is not held up; it is asked again in the next pass.
                    tracing::debug!(tx = %record.id, %error, "what it costs beside the gas is not known");
                    return Ok(Push::Nothing);
                }
            };
        }
        let balance = free.saturating_sub(record.intent.value).saturating_sub(beside);
        let bid = OfferInput { waited, raise, ..item.bid(nonce, account.latest, gas, balance) };
        let bid = bid.plus(item.l1_fees(beside));
        let offer = match record.raise {
            _ if !memory.signing.may_begin(record.id, pause) => Price::Keep,
            Some(Raise::To { max_fee, priority_fee }) => Price::Offer(Fees::new(max_fee.0, priority_fee.0)),
            // At most once for each head.
            None if newest.head >= now.head => Price::Keep,
            _ => price(&self.policy(now), &now.market, &bid, now.time),
        };
        let obstacle = match offer {
            Price::Offer(fees) => {
                let seen = record.clone();
                let counterpart = item.counterpart;
                let draft =
                    Draft { seen, counterpart, gas_limit: gas, nonce, fees, displaces: None, signed: None };
                return Ok(Push::Replace(Box::new(draft)));
            }
            Price::Keep => None,
            Price::Wait { needed, cap } => Some(Obstacle::FeeCap { needed: Wei(needed), cap: Wei(cap) }),
            Price::Poor { needed } => Some(poor(record, needed, now.model.l1_fee(beside), free)),
        };
        if newest.head < now.head
            && !matches!(
                record.obstacle,
                Some(
                    Obstacle::Refused { .. }
                        | Obstacle::NotServed { .. }
                        | Obstacle::NotSigned { .. }
                        | Obstacle::Disputed { .. }
                )
            )
        {
            self.obstruct(record, obstacle).await?;
        }
        if raise && memory.signing.may_begin(record.id, pause) {
            let mut tx = self.db.begin().await?;
            changes::set_raise(&mut tx, record.id, None).await?;
            tx.commit().await?;
        }
        if let Some(unanswered) = unanswered {
            return Ok(Push::Resend(unanswered.clone()));
        }
        // Where blocks come with transactions only, none comes for one that was lost.
        let patience = Duration::from_secs(self.options.fees.stuck_after_seconds).max(SHORTEST_PAUSE);
        if memory.is_due(record.id, now.head, patience) {
            memory.tried(record.id, now.head);
            if !self.rpc.knows(newest.hash).await? {
                tracing::info!(tx = %record.id, hash = %newest.hash, "transaction is not in the pool; sending it again");
                return Ok(Push::Resend(newest.clone()));
            }
        }
        Ok(Push::Nothing)
    }
}

/// The account has too little for value, gas, and what the chain charges beside it.
pub(super) fn poor(record: &TxRecord, gas: u128, l1_fee: Option<u128>, available: u128) -> Obstacle {
    let needed = record.intent.value.saturating_add(gas).saturating_add(l1_fee.unwrap_or(0));
    Obstacle::InsufficientFunds {
        account: record.intent.from,
        // A pool may count more than is known here, such as what else waits in it.
        needed: Wei(needed.max(available.saturating_add(1))),
        available: Wei(available),
        l1_fee: l1_fee.map(Wei),
    }
}

impl TxRecord {
    /// Whether it could be signed.
    pub(super) fn is_ready(&self) -> bool {
        self.status == TxStatus::Unsent && self.ending.is_none() && !self.filler
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use alloy::primitives::B256;

    use super::*;
    use crate::transactor::rank::tests::record;
    use crate::transactor::{Inclusion, Intent};

    #[test]
    fn after_a_revert_the_intents_other_nonces_are_used_up() {
        let item = |inclusion| {
            let mut record = record(1, Intent::repeatable);
            (record.status, record.nonce, record.inclusion) = (TxStatus::Sent, Some(5), inclusion);
            Item { record, attempts: vec![attempt(Fate::Held, 10)], burnt: 0, counterpart: None }
        };
        let (tx_hash, block_hash) = (B256::ZERO, B256::ZERO);
        let mined = |success| Inclusion { tx_hash, block: 1, block_hash, success, gas_used: 1, gas_price: 1 };
        for (inclusion, ending) in [(Some(mined(false)), &[7][..]), (Some(mined(true)), &[]), (None, &[])] {
            let mut slots = Slots { latest: 6, ..Slots::default() };
            claim(&mut slots, &item(inclusion));
            assert_eq!(slots.ending.iter().copied().collect::<Vec<u64>>(), ending, "{inclusion:?}");
            assert!(slots.held.contains(&7));
        }
    }

    fn attempt(fate: Fate, max_fee: u128) -> Attempt {
        let (hash, raw, at) = (B256::with_last_byte(1), Vec::new(), SystemTime::UNIX_EPOCH);
        Attempt { hash, nonce: 7, fees: Fees::new(max_fee, 1), fate, at, raw, head: 1 }
    }

    #[test]
    fn unanswered_bytes_go_out_again_unless_a_pool_has_a_better_offer() {
        use Fate::{Held, Refused, Unknown};
        for (attempts, expected) in [
            (&[][..], None),
            (&[(Unknown, 10)], Some(10)),
            (&[(Unknown, 10), (Unknown, 12)], Some(12)),
            (&[(Unknown, 10), (Held, 12)], None),
            (&[(Held, 10), (Unknown, 12)], Some(12)),
            (&[(Unknown, 10), (Refused, 12)], Some(10)),
            (&[(Held, 10), (Refused, 12)], None),
        ] {
            let record = record(1, |intent| intent);
            let attempts = attempts.iter().map(|(fate, fee)| attempt(*fate, *fee)).collect();
            let item = Item { record, attempts, burnt: 0, counterpart: None };
            let found = unanswered(&item, 7).map(|attempt| attempt.fees.max_fee);
            assert_eq!(found, expected, "{item:?}");
        }
    }
}
