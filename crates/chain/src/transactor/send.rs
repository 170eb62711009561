//! Estimating, pricing, signing and broadcasting.

use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt;

use super::account::{Account, Item, SHORTEST_PAUSE, poor};
use super::advance::Plan;
use super::changes;
use super::memory::{AccountMemory, Now};
use super::phase::{Phase, Round, resume};
use super::price::{Price, price};
use super::rank::{Rank, rank};
use super::refusal::BroadcastRefusal;
use super::settle::AT_ONCE;
use super::signing::Draft;
use super::slots::{Candidate, Slot, Slots};
use super::{
    Attempt, Deadline, Ending, Fate, Fees, Inner, Intent, Obstacle, Priority, TooMuchGas, TxId, TxRecord,
    TxStatus, Wei, revert, table,
};
use crate::ChainError;
use crate::rpc::{Call, Fault, RpcError};

/// The kind under which a filler is listed.
const FILLER: &str = "nonce-filler";
/// Fillers in flight for an account.
const FILLERS: usize = 16;

/// What a call needs.
enum Gas {
    /// A limit, and what is paid beside the gas, in wei.
    Limit {
        limit: u64,
        beside: u128,
    },
    /// Whether another endpoint confirms it, or no other one is configured.
    TooMuch(TooMuchGas, bool),
    Reverts(String),
    Poor,
    Refused(String),
}

impl Inner {
    /// Signs as many of the ready intents as get a nonce, best rank first.
    pub(super) async fn sign_ready(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &mut Account,
        (round, mut phase): (Round, Phase),
        items: &[&Item],
        plan: &mut Plan,
    ) {
        let mut ready = match self.ready(memory, now, account, items).await {
            Ok(ready) => ready,
            Err(error) => {
                plan.trouble.note(error);
                return;
            }
        };
        ready.sort_by_key(|(rank, _)| *rank);
        resume(&mut ready, memory.places.of(round).ready.take(), |(_, item)| item.record.id);
        let mut ready = ready.into_iter().peekable();
        let (mut calls, mut unreached) = (phase.also(), None);
        while let Some((_, next)) = ready.peek() {
            if !phase.begins() {
                unreached.get_or_insert(next.record.id);
                break;
            }
            let with_place: Vec<_> = ready
                .by_ref()
                .map(|(_, item)| (item, candidate(&item.record, now.time)))
                .filter(|(_, candidate)| account.slots.clone().take(candidate).is_some())
                .take(AT_ONCE)
                .collect();
            let estimates: Vec<_> =
                with_place.into_iter().map(|(item, candidate)| self.estimate(now, item, candidate)).collect();
            let mut estimates = futures::stream::iter(estimates).buffered(AT_ONCE);
            while let Some((item, candidate, gas)) = estimates.next().await {
                // Whether the call itself reverts is one more question, which may wait for the next pass.
                if matches!(gas, Ok(Gas::Reverts(_))) && !calls.begins() {
                    unreached.get_or_insert(item.record.id);
                    continue;
                }
                let signed = match gas {
                    Ok(gas) => self.sign_one(memory, now, account, item, &candidate, gas).await,
                    Err(error) => Err(error),
                };
                match signed {
                    Ok(draft) => plan.drafts.extend(draft),
                    // What is decided already goes out, whatever the endpoint does with another one's estimate.
                    Err(error) => plan.trouble.note(error),
                }
            }
        }
        if unreached.is_some() {
            memory.places.of(round).ready = unreached;
            self.wake.notify_one();
        }
    }

    /// The intents that may be signed now, with their ranks.
    async fn ready<'a>(
        &self,
        memory: &AccountMemory,
        now: Now,
        account: &Account,
        items: &[&'a Item],
    ) -> Result<Vec<(Rank, &'a Item)>, ChainError> {
        let mut ready = Vec::new();
        let pause = self.options.poll_interval.max(SHORTEST_PAUSE);
        for &item in items {
            let record = &item.record;
            if let Some(nonce) =
                record.bound.filter(|nonce| *nonce > account.slots.reach() && record.is_ready())
            {
                let obstacle = Obstacle::OutOfReach { nonce, next: account.latest };
                self.obstruct(record, Some(obstacle)).await?;
                continue;
            }
            if !memory.signing.may_begin(record.id, pause) || item.is_held_back() {
                continue;
            }
            // An urgent one that is on its way already may move ahead of what is stuck.
            let movable = record.nonce >= Some(account.latest)
                && record.intent.priority == Priority::Urgent
                && record.intent.repeatable
                && record.ending.is_none();
            if (record.is_ready() && self.may_go(record).await?) && memory.is_due(record.id, now.head, pause)
                || movable
            {
                ready.push((rank(record, now.time), item));
            }
        }
        Ok(ready)
    }

    async fn estimate<'a>(
        &self,
        now: Now,
        item: &'a Item,
        candidate: Candidate,
    ) -> (&'a Item, Candidate, Result<Gas, ChainError>) {
        let gas = match item.record.gas_limit.filter(|_| item.record.status == TxStatus::Sent) {
            Some(limit) => {
                let beside = self.fee_beside(now, &item.record, limit).await;
                beside.map(|beside| Gas::Limit { limit, beside })
            }
            None => self.gas(now, &item.record).await,
        };
        (item, candidate, gas)
    }

    /// Whether nothing but the market and the nonces is in its way.
    async fn may_go(&self, record: &TxRecord) -> Result<bool, ChainError> {
        let account = record.intent.from;
        if !self.keys.holds(account) {
            self.obstruct(record, Some(Obstacle::NoKey { account })).await?;
            return Ok(false);
        }
        let Some(tx) = record.intent.after else { return Ok(true) };
        let earlier = self.reload(tx).await?;
        if earlier.inclusion.is_some_and(|inclusion| inclusion.success) {
            return Ok(true);
        }
        if earlier.status.is_open() && earlier.ending.is_none() {
            self.obstruct(record, Some(Obstacle::After { tx })).await?;
            return Ok(false);
        }
        let reason = format!("transaction {tx}, which had to be mined before it, is {}", earlier.status);
        self.give_up(record, &reason).await?;
        Ok(false)
    }

    /// Ends an intent that cannot succeed: at once if nothing was ever signed for it.
    async fn give_up(&self, record: &TxRecord, reason: &str) -> Result<(), ChainError> {
        if table::attempts(&mut *self.db.read().await?, record.id).await?.is_empty() {
            return self.end(record.id, TxStatus::Failed, Some(reason)).await;
        }
        let mut tx = self.db.begin().await?;
        changes::set_ending(&mut tx, record.id, Ending::Failed, Some(reason)).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Prices and signs one; none if it has to wait, for a reason that is stored.
    async fn sign_one(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &mut Account,
        item: &Item,
        candidate: &Candidate,
        gas: Gas,
    ) -> Result<Option<Draft>, ChainError> {
        let record = &item.record;
        let (gas_limit, beside) = match gas {
            Gas::Limit { limit, beside } => (limit, beside),
            refused => {
                memory.tried(record.id, now.head);
                self.not_estimated(memory, now, account, record, refused).await?;
                return Ok(None);
            }
        };
        memory.succeeds(record.id);
        let before = account.slots.clone();
        let Some(slot) = account.slots.take(candidate) else { return Ok(None) };
        let is_urgent = candidate.priority == Priority::Urgent;
        let free = account.free_for(record.id, candidate.rank, is_urgent, slot.displaces);
        let balance = free.saturating_sub(record.intent.value).saturating_sub(beside);
        let bid = item.bid(slot.nonce, account.latest, gas_limit, balance);
        let mut bid = bid.plus(item.l1_fees(beside));
        let at_nonce = self.held_at(account, slot.nonce).await?;
        bid.own = slot.displaces.is_none() && at_nonce == item.held_at(slot.nonce);
        let outbid = memory.outbid.get(&record.id).copied();
        bid.held = [at_nonce, outbid].into_iter().flatten().reduce(Fees::join);
        let obstacle = match price(&self.policy(now), &now.market, &bid, now.time) {
            Price::Offer(fees) => {
                let draft = draft(item, slot, gas_limit, fees, None);
                account.fly(&draft, candidate.rank);
                return Ok(Some(draft));
            }
            // Its own bytes, which a pool may still have.
            Price::Keep => {
                let own = item.attempts.iter().filter(|attempt| attempt.nonce == slot.nonce);
                if let Some(newest) = own.max_by_key(|attempt| attempt.fees.max_fee) {
                    let attempt = Attempt { head: now.head, ..newest.clone() };
                    let draft = draft(item, slot, gas_limit, newest.fees, Some(attempt));
                    account.fly(&draft, candidate.rank);
                    return Ok(Some(draft));
                }
                None
            }
            Price::Wait { needed, cap } => Some(Obstacle::FeeCap { needed: Wei(needed), cap: Wei(cap) }),
            Price::Poor { needed } => Some(poor(record, needed, now.model.l1_fee(beside), free)),
        };
        account.slots = before;
        if record.status == TxStatus::Unsent {
            memory.tried(record.id, now.head);
            self.obstruct(record, obstacle).await?;
        }
        Ok(None)
    }

    /// What a pool may hold of ours at a nonce, whoever it was signed for.
    async fn held_at(&self, account: &Account, nonce: u64) -> Result<Option<Fees>, ChainError> {
        if !account.slots.held.contains(&nonce) {
            return Ok(None);
        }
        let attempts =
            table::attempts_at(&mut *self.db.read().await?, self.chain_id, account.address, nonce).await?;
        let held = attempts.into_iter().map(|(_, attempt)| attempt).filter(|a| a.fate != Fate::Refused);
        Ok(held.map(|attempt| attempt.fees).reduce(Fees::join))
    }

    /// The gas limit for a call.
    async fn gas(&self, now: Now, record: &TxRecord) -> Result<Gas, ChainError> {
        let urgent = record.intent.priority == Priority::Urgent;
        let policy = self.policy(now);
        let limit_of = |estimate| policy.gas_limit(estimate, record.intent.extra_gas, now.gas_cap);
        let suits = |estimate| limit_of(estimate).is_ok();
        let estimate = if urgent {
            // What is in flight of ours is overtaken.
            self.rpc.estimate_latest(call(record), suits).await
        } else {
            self.rpc.estimate(call(record), suits).await
        };
        let fault = match estimate.outcome {
            Ok(gas) => {
                let limit = match limit_of(gas) {
                    Ok(limit) => limit,
                    Err(refusal) => return Ok(Gas::TooMuch(refusal, estimate.by_a_second)),
                };
                let beside = self.fee_beside(now, record, limit).await?;
                return Ok(Gas::Limit { limit, beside });
            }
            Err(error) => match error.fault {
                Fault::Refused { .. } | Fault::TooLarge(_) => error.fault,
                _ => return Err(error.into()),
            },
        };
        let message = fault.to_string();
        // Reverts first: a contract may speak of insufficient funds, too.
        Ok(match revert::reason(&fault, self.options.decode.as_ref()) {
            Some(reason) => Gas::Reverts(reason),
            None => match BroadcastRefusal::of(&message) {
                BroadcastRefusal::InsufficientFunds | BroadcastRefusal::L1Fee => Gas::Poor,
                _ => Gas::Refused(message),
            },
        })
    }

    async fn not_estimated(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &Account,
        record: &TxRecord,
        gas: Gas,
    ) -> Result<(), ChainError> {
        let obstacle = match gas {
            Gas::Reverts(reason) => return self.reverts(memory, now, account, record, reason).await,
            Gas::TooMuch(reason, confirmed) => {
                return self.believe(memory, now, record, (reason.to_string(), confirmed)).await;
            }
            Gas::Poor => {
                let rank = rank(record, now.time);
                let is_urgent = record.intent.priority == Priority::Urgent;
                let available = account.free_for(record.id, rank, is_urgent, None);
                // How much gas it needs is what nobody could say.
                poor(record, 0, None, available)
            }
            Gas::Refused(reason) => Obstacle::Refused { reason },
            Gas::Limit { .. } => return Ok(()),
        };
        self.obstruct(record, Some(obstacle)).await
    }

    /// The estimate of a call reverts. It fails only if the call itself does, at several heads in a row, with nothing of the
    /// account in flight that could change that; an urgent one not before its deadline.
    async fn reverts(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &Account,
        record: &TxRecord,
        reason: String,
    ) -> Result<(), ChainError> {
        if account.is_flying() {
            memory.succeeds(record.id);
            return self.obstruct(record, Some(Obstacle::WaitsForEarlier { reason })).await;
        }
        let called = self.rpc.call_at(call(record), now.hash, now.head).await;
        match called.outcome {
            Ok(_) => {
                memory.succeeds(record.id);
                let reason = format!("its gas cannot be estimated: {reason}");
                return self.obstruct(record, Some(Obstacle::Refused { reason })).await;
            }
            Err(error) if error.fault.is_revert() => {}
            Err(error) if matches!(error.fault, Fault::Refused { .. } | Fault::TooLarge(_)) => {
                let reason = error.fault.to_string();
                return self.obstruct(record, Some(Obstacle::Refused { reason })).await;
            }
            Err(error) => return Err(error.into()),
        }
        self.believe(memory, now, record, (reason, called.by_a_second)).await
    }

    /// Gives up what cannot be sent if that lasts, and another endpoint confirms it or none has for long; an urgent one not before its
    /// deadline.
    async fn believe(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        record: &TxRecord,
        (reason, confirmed): (String, bool),
    ) -> Result<(), ChainError> {
        let (reverts, instant) = (memory.revert(record.id, now.head), Instant::now());
        let is_believed = confirmed || reverts.seen_for(instant) >= self.options.second;
        let lasts = is_believed && reverts.lasts(self.options.reverts, instant);
        let has_time = record.intent.priority == Priority::Urgent
            && record.intent.deadline.is_some_and(|deadline| deadline.left(now.time) > 0);
        if lasts && !has_time {
            return self.give_up(record, &reason).await;
        }
        self.obstruct(record, Some(Obstacle::WouldRevert { reason })).await
    }

    /// Transactions that do nothing, for nonces that something waits for and nobody can use.
    pub(super) async fn fillers(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &mut Account,
        items: &[Item],
    ) -> Result<Vec<Draft>, ChainError> {
        let gaps = account.slots.gaps();
        let Some(lowest) = gaps.first() else {
            memory.gap = None;
            memory.filled.clear();
            return Ok(Vec::new());
        };
        let noticed = match memory.gap {
            Some((nonce, head)) if nonce == lowest.nonce => head,
            _ => memory.gap.insert((lowest.nonce, now.head)).1,
        };
        let pause = Duration::from_secs(self.options.fees.stuck_after_seconds).max(SHORTEST_PAUSE);
        // What vanished from a pool may come back; not so what was refused or is wanted gone, and a dispute does not wait.
        let patient = now.head < noticed.saturating_add(self.options.fees.stuck_after_blocks);
        let urgent = items.iter().any(|item| item.record.intent.priority == Priority::Urgent);
        let mut fillers = Vec::new();
        let mut phase = Phase::begin(self.options.phase);
        // One that lost its nonce is of no use any more.
        let flying = items.iter().filter(|item| item.record.filler && item.record.nonce.is_some()).count();
        for slot in gaps.into_iter().take(FILLERS.saturating_sub(flying)) {
            let Slots { ending, bound, .. } = &account.slots;
            let ours = slot.displaces.is_some()
                || ending.contains(&slot.nonce)
                || bound.contains(&slot.nonce)
                || memory.signing.is_reservation_over(slot.nonce);
            if patient && !ours && !urgent {
                continue;
            }
            if !memory.may_fill(slot.nonce, now.head, pause) {
                continue;
            }
            let record = self.filler(account, slot.nonce);
            if memory.signing.is_under_way(record.id, slot.nonce) {
                continue;
            }
            // The lowest comes first in the next pass, too: nothing above it can be mined before.
            if !phase.begins() {
                self.wake.notify_one();
                break;
            }
            let (gas_limit, beside) = match self.gas(now, &record).await? {
                Gas::Limit { limit, beside } => (limit, beside),
                Gas::Reverts(reason) | Gas::Refused(reason) => {
                    tracing::warn!(account = %account.address, nonce = slot.nonce, reason, "a nonce cannot be filled");
                    continue;
                }
                Gas::Poor | Gas::TooMuch(..) => continue,
            };
            let rank = rank(&record, now.time);
            let item = Item { record, attempts: Vec::new(), burnt: 0, counterpart: None };
            let balance = account.free_for(item.record.id, rank, false, slot.displaces);
            let balance = balance.saturating_sub(beside);
            let mut bid = item.bid(slot.nonce, account.latest, gas_limit, balance).plus(beside);
            bid.held = self.held_at(account, slot.nonce).await?;
            bid.own = false;
            match price(&self.policy(now), &now.market, &bid, now.time) {
                Price::Offer(fees) => {
                    tracing::warn!(account = %account.address, nonce = slot.nonce, "nobody can use this nonce; filling it");
                    memory.fills(slot.nonce, now.head);
                    fillers.push(draft(&item, slot, gas_limit, fees, None));
                }
                Price::Keep | Price::Wait { .. } | Price::Poor { .. } => {}
            }
        }
        Ok(fillers)
    }

    /// A transfer of nothing from the account to itself, not stored yet.
    fn filler(&self, account: &Account, nonce: u64) -> TxRecord {
        let address = account.address;
        // The time makes the key new if the same nonce must be filled again: after a refusal, or a reorg.
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let key = format!("{FILLER}:{}:{address}:{nonce}:{at}", self.chain_id);
        let intent = Intent::new(key, address, address, Vec::new())
            .kind(FILLER)
            .subject(format!("{address}:{nonce}"))
            .repeatable();
        TxRecord {
            id: TxId(0),
            intent,
            chain_id: self.chain_id,
            status: TxStatus::Unsent,
            nonce: None,
            bound: None,
            ending: None,
            watched: true,
            gas_limit: None,
            obstacle: None,
            failure: None,
            inclusion: None,
            raise: None,
            filler: true,
            parent: None,
            relieved: false,
            asked_deadline: None,
            created_at: SystemTime::now(),
            updated_at: SystemTime::now(),
        }
    }

    /// Hands transactions to the endpoint, in the order of their nonces, and stores what became of them.
    pub(super) async fn broadcast(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        mut transactions: Vec<(TxRecord, Attempt)>,
    ) -> Result<(), ChainError> {
        transactions.sort_by_key(|(_, attempt)| attempt.nonce);
        let sends: Vec<_> =
            transactions.into_iter().map(|(record, attempt)| self.send(record, attempt)).collect();
        let answers: Vec<_> = futures::stream::iter(sends).buffered(AT_ONCE).collect().await;
        let mut unreachable = None;
        for (record, attempt, answer) in answers {
            memory.tried(record.id, now.head);
            let (fate, obstacle) = match answer {
                Ok(()) => (Fate::Held, None),
                Err(error) => match error.fault {
                    Fault::Refused { .. } | Fault::TooLarge(_) => {
                        match self.refused(memory, now, &record, &attempt, &error).await {
                            Ok(refused) => refused,
                            // What became of the others is stored all the same.
                            Err(ChainError::Rpc(error)) => {
                                unreachable = Some(error);
                                continue;
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    // Whether it arrived is not known: it counts as held, and goes out again.
                    _ => {
                        unreachable = Some(error);
                        continue;
                    }
                },
            };
            if fate == Fate::Held {
                memory.outbid.remove(&record.id);
            }
            let mut tx = self.db.begin().await?;
            changes::set_fate(&mut tx, attempt.hash, fate).await?;
            tx.commit().await?;
            let record = self.reload(record.id).await?;
            let obstacle = match (obstacle, &record.obstacle) {
                // It is at its cap, in the pool or not.
                (None, Some(obstacle @ Obstacle::FeeCap { .. })) => Some(obstacle.clone()),
                (obstacle, _) => obstacle,
            };
            self.obstruct(&record, obstacle).await?;
            if fate == Fate::Refused {
                self.wake.notify_one();
            }
        }
        unreachable.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn send(&self, record: TxRecord, attempt: Attempt) -> (TxRecord, Attempt, Result<(), RpcError>) {
        let mean = |fault: &Fault| BroadcastRefusal::of_broadcast(fault).heard();
        let answer = self.rpc.send_raw(&attempt.raw, mean).await;
        (record, attempt, answer)
    }

    /// What a refusal means for the transaction.
    async fn refused(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        record: &TxRecord,
        attempt: &Attempt,
        error: &RpcError,
    ) -> Result<(Fate, Option<Obstacle>), ChainError> {
        let refusal = BroadcastRefusal::of_broadcast(&error.fault);
        Ok(match refusal {
            BroadcastRefusal::AlreadyKnown => (Fate::Held, None),
            // By a foreign transaction, or by this very one if something between us and the node sent it twice. The next pass
            // looks for receipts.
            BroadcastRefusal::NonceTooLow => (Fate::Refused, None),
            // A pool has dropped it because it pays too little: at its cap, or until the next head.
            BroadcastRefusal::Underpriced if attempt.fate == Fate::Held => (Fate::Held, None),
            BroadcastRefusal::InsufficientFunds | BroadcastRefusal::L1Fee => {
                let available = u128::try_from(self.rpc.balance(record.intent.from).await?);
                let limit = record.gas_limit.unwrap_or(0);
                let gas = u128::from(limit).saturating_mul(attempt.fees.max_fee);
                let beside = self.fee_beside(now, record, limit).await?;
                // The refusal may know better than we how the chain charges.
                let l1_fee =
                    now.model.l1_fee(beside).or((refusal == BroadcastRefusal::L1Fee).then_some(beside));
                (Fate::Refused, Some(poor(record, gas, l1_fee, available.unwrap_or(u128::MAX))))
            }
            // The nonce is free for whoever can use it, and the next head brings another try, at all endpoints.
            BroadcastRefusal::Policy => {
                let (endpoint, reason) = (error.endpoint.clone(), error.fault.to_string());
                (Fate::Refused, Some(Obstacle::NotServed { endpoint, reason }))
            }
            _ => {
                if refusal == BroadcastRefusal::ReplacementUnderpriced {
                    memory.outbid.insert(record.id, attempt.fees);
                }
                (Fate::Refused, Some(Obstacle::Refused { reason: error.fault.to_string() }))
            }
        })
    }
}

/// What wants a nonce for an intent.
fn candidate(record: &TxRecord, chain_now: u64) -> Candidate {
    let intent = &record.intent;
    let pressed = intent.priority == Priority::Urgent
        && intent.deadline.is_some_and(|deadline| deadline.pressure(chain_now) >= Deadline::FULL / 2);
    Candidate {
        id: record.id,
        rank: rank(record, chain_now),
        priority: intent.priority,
        bound: record.bound,
        repeatable: intent.repeatable,
        pressed,
    }
}

fn draft(item: &Item, slot: Slot, gas_limit: u64, fees: Fees, signed: Option<Attempt>) -> Draft {
    let Slot { nonce, displaces } = slot;
    let (seen, counterpart) = (item.record.clone(), item.counterpart);
    Draft { seen, counterpart, gas_limit, nonce, fees, displaces, signed }
}

pub(super) fn call(record: &TxRecord) -> Call<'_> {
    let intent = &record.intent;
    Call { from: intent.from, to: intent.to, value: intent.value, input: &intent.input }
}
