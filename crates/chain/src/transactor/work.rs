//! The loop: a pass over the working set at each head, at each wake-up and at each poll.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::Address;
use privatix_db::Conn;

use super::account::Item;
use super::memory::{Memory, Now, SeenHead};
use super::rank::rank;
use super::rescue::Counterpart;
use super::{
    Inner, Obstacle, TransactorState, TxChange, TxId, TxRecord, TxStatus, TxUpdate, TxWaiting, changes, table,
};
use crate::ChainError;
use crate::inform::Inform;

/// Times in a row that a lower head must be reported before it is believed.
const LOWER_HEADS: u32 = 3;
/// How far the wall clock may be from the chain's and still be believed.
const CLOCKS_AGREE: u64 = 3_600;

/// The chain's time for judging urgency: that of the head, and what has gone by since it was first seen; or the wall clock's,
/// if that is later and both agree roughly. The later one, because a head may be an old one: an error on this side costs at
/// most a higher price, within the stake.
fn chain_time(head: u64, since: Duration, wall: SystemTime) -> u64 {
    let of_head = head.saturating_add(since.as_secs());
    let wall = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if wall.abs_diff(of_head) <= CLOCKS_AGREE { of_head.max(wall) } else { of_head }
}

/// The most urgent intent that does not advance, at the chain's time `now`, for a reason that somebody should know of.
fn waiting(open: &[TxRecord], now: u64) -> Option<TxWaiting> {
    let waits = |record: &TxRecord| record.obstacle.as_ref().is_some_and(Obstacle::is_to_be_mended);
    let first = open.iter().filter(|record| waits(record)).min_by_key(|record| rank(record, now))?;
    Some(TxWaiting { id: first.id, kind: first.intent.kind.clone(), obstacle: first.obstacle.clone()? })
}

/// What was reported to the sink.
pub(super) struct Reported {
    pub(super) record: TxRecord,
    /// Counterparts that have ended with it.
    ended: Vec<TxRecord>,
    /// What the sink is to be informed of.
    pub(super) informs: Vec<Inform>,
}

impl Inner {
    pub(super) async fn work(&self) -> Result<(), ChainError> {
        let mut memory = Memory::default();
        let mut failures = 0u32;
        let mut since = SystemTime::now();
        loop {
            let outcome = {
                let _pass = self.clock.begin();
                self.pass(&mut memory).await
            };
            match outcome {
                Ok(open) => {
                    failures = 0;
                    let state = if open == 0 { TransactorState::Idle } else { TransactorState::Working };
                    self.status.send_modify(|status| {
                        status.state = state;
                        status.open = open;
                    });
                    // Idle, too: a call of `wake` may be lost, and a look at an empty table costs nothing.
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(self.options.poll_interval) => {}
                    }
                }
                Err(error) if error.is_permanent() && !memory.worked => return Err(error),
                Err(error) => {
                    memory.checked = false;
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        since = SystemTime::now();
                    }
                    tracing::warn!(%error, failures, "transactor cannot go on; trying again");
                    let reason = error.to_string();
                    self.status.send_modify(|status| {
                        status.state = TransactorState::Stalled { reason, failures, since };
                    });
                    let pause = tokio::time::sleep(self.options.backoff.wait(failures, error.retry_after()));
                    if is_of_one(&error) {
                        // Nothing is wrong with the endpoint: the others' work is not held up.
                        tokio::select! {
                            () = self.wake.notified() => {}
                            () = pause => {}
                        }
                    } else {
                        pause.await;
                    }
                }
            }
        }
    }

    /// Brings every watched intent as far as it gets now. How many stay open.
    async fn pass(&self, memory: &mut Memory) -> Result<usize, ChainError> {
        // Checked even when there is nothing to do, so that a wrong set-up is reported at the start.
        if !memory.checked {
            self.rpc.check(self.chain_id, &[]).await?;
            memory.checked = true;
            memory.worked = true;
        }
        let accounts = self.working_set(memory).await?;
        if accounts.is_empty() {
            memory.accounts.clear();
            self.status.send_modify(|status| status.waiting = None);
            return Ok(0);
        }
        let now = self.now(memory).await?;
        memory.accounts.retain(|account, _| accounts.contains_key(account));
        // The account with the most urgent one first: each takes its time if endpoints are slow.
        let mut accounts: Vec<_> = accounts.into_iter().collect();
        accounts.sort_by_cached_key(|(_, items)| {
            let open = items.iter().map(|item| &item.record).filter(|record| record.status.is_open());
            let first = open.map(|record| rank(record, now.time)).min();
            (first.is_none(), first)
        });
        // Trouble of one account, such as an endpoint that does not take its transaction, withholds neither the others nor a
        // rescue.
        let mut trouble = Trouble::default();
        for (account, items) in accounts {
            let memory = memory.accounts.entry(account).or_default();
            if let Err(error) = self.serve(memory, now, account, items).await {
                trouble.note(error);
            }
        }
        let open = table::watched(&mut *self.db.read().await?, self.chain_id).await?;
        let open: Vec<TxRecord> = open.into_iter().filter(|record| record.status.is_open()).collect();
        self.rescue(memory, now, &open).await?;
        let waiting = waiting(&open, now.time);
        self.status.send_modify(|status| {
            status.waiting = waiting;
            status.open = open.len();
        });
        trouble.or(open.len())
    }

    async fn working_set(&self, memory: &Memory) -> Result<BTreeMap<Address, Vec<Item>>, ChainError> {
        let mut conn = self.db.read().await?;
        let records = table::watched(&mut conn, self.chain_id).await?;
        let mut attempts = table::watched_attempts(&mut conn, self.chain_id).await?;
        let (mut burnt, mut counterparts) = (BTreeMap::new(), BTreeMap::new());
        for record in records.iter().filter(|r| r.status.is_open()) {
            let other = table::counterpart(&mut conn, record).await?;
            if record.intent.stake.is_some() {
                let purpose = other.as_ref().filter(|_| record.parent.is_some()).unwrap_or(record);
                burnt.insert(record.id, table::burnt(&mut conn, purpose).await?);
            }
            if let Some(other) = other {
                let of_account = memory.accounts.get(&other.intent.from);
                let latest = of_account.and_then(|account| account.latest).unwrap_or(0);
                let attempts = table::attempts(&mut conn, other.id).await?;
                counterparts.insert(record.id, Counterpart::of(&other, &attempts, latest));
            }
        }
        drop(conn);
        let open = records.iter().filter(|record| record.status.is_open()).count();
        self.status.send_modify(|status| status.open = open);
        let mut accounts: BTreeMap<Address, Vec<Item>> = BTreeMap::new();
        for record in records {
            let attempts = attempts.remove(&record.id).unwrap_or_default();
            let burnt = burnt.remove(&record.id).unwrap_or(0);
            let counterpart = counterparts.remove(&record.id);
            let item = Item { record, attempts, burnt, counterpart };
            accounts.entry(item.record.intent.from).or_default().push(item);
        }
        Ok(accounts)
    }

    async fn now(&self, memory: &mut Memory) -> Result<Now, ChainError> {
        let own = self.rpc.head().await?;
        // One that lags is no reason to wait if another one is further.
        let mut number = own;
        if self.rpc.are_several() && (own < memory.best_head || memory.best_head == 0) {
            number = self.rpc.heads().await.into_iter().fold(own, u64::max);
        }
        if number < memory.best_head {
            memory.lower_heads += 1;
            if memory.lower_heads <= LOWER_HEADS {
                return Err(ChainError::HeadWentBack { best: memory.best_head, head: number });
            }
        }
        memory.lower_heads = 0;
        let head = match self.rpc.header(number).await {
            // A head that nobody can show.
            Err(ChainError::Inconsistent { .. }) if number > own => self.rpc.header(own).await?,
            other => other?,
        };
        let number = head.number;
        memory.best_head = number;
        self.status.send_modify(|status| status.head = Some(number));
        let seen = match memory.seen {
            Some(seen) if seen.hash == head.hash => seen,
            _ => *memory.seen.insert(SeenHead {
                hash: head.hash,
                at: Instant::now(),
                market: self.market(&head).await?,
                final_block: self.final_block(&head, &mut memory.tagged).await?,
            }),
        };
        let rules = match memory.rules {
            Some(rules) if rules.is_certain || rules.head == number => rules,
            _ => {
                let rules = self.rules(number).await;
                tracing::debug!(?rules, "the chain's rules");
                *memory.rules.insert(rules)
            }
        };
        Ok(Now {
            model: rules.model,
            gas_cap: rules.gas_cap,
            head: number,
            hash: head.hash,
            market: seen.market,
            final_block: seen.final_block,
            time: chain_time(head.timestamp, seen.at.elapsed(), SystemTime::now()),
        })
    }

    pub(super) async fn reload(&self, id: TxId) -> Result<TxRecord, ChainError> {
        table::get(&mut *self.db.read().await?, id).await?.ok_or(ChainError::UnknownTx { tx: id })
    }

    pub(super) fn announce(&self, record: &TxRecord) {
        // Nobody may be listening.
        let _ = self.updates.send(TxUpdate {
            id: record.id,
            status: record.status,
            included: record.inclusion.is_some(),
            obstacle: record.obstacle.clone(),
        });
    }

    /// Shows why an intent does not advance.
    pub(super) async fn obstruct(
        &self,
        record: &TxRecord,
        obstacle: Option<Obstacle>,
    ) -> Result<(), ChainError> {
        if record.obstacle == obstacle {
            return Ok(());
        }
        if let Some(obstacle) = &obstacle {
            let (id, kind) = (record.id, &record.intent.kind);
            if obstacle.is_to_be_mended() {
                tracing::warn!(tx = %id, kind, %obstacle, "transaction waits");
            } else {
                tracing::info!(tx = %id, kind, %obstacle, "transaction waits");
            }
        }
        let mut tx = self.db.begin().await?;
        changes::set_obstacle(&mut tx, record.id, obstacle.as_ref()).await?;
        tx.commit().await?;
        self.announce(&TxRecord { obstacle, ..record.clone() });
        Ok(())
    }

    /// Ends an intent that no transaction of has been, or will be, mined.
    pub(super) async fn end(
        &self,
        id: TxId,
        status: TxStatus,
        failure: Option<&str>,
    ) -> Result<(), ChainError> {
        let mut tx = self.db.begin().await?;
        if !changes::end(&mut tx, id, status, failure, false).await? {
            return Ok(());
        }
        let change = match status {
            TxStatus::Cancelled => TxChange::Cancelled,
            TxStatus::Dropped => TxChange::Dropped,
            _ => TxChange::Failed,
        };
        let reported = self.report(&mut tx, id, &[change]).await?;
        tx.commit().await?;
        self.committed(reported);
        Ok(())
    }

    /// Reports changes to the sink, and has them act on the intent's counterpart, inside the transaction that stores them. The
    /// transactor's own intents are its own affair.
    pub(super) async fn report(
        &self,
        conn: &mut Conn,
        id: TxId,
        changes: &[TxChange],
    ) -> Result<Reported, ChainError> {
        let record = table::get(conn, id).await?.ok_or(ChainError::UnknownTx { tx: id })?;
        let (mut ended, mut informs) = (Vec::new(), Vec::new());
        for change in changes {
            if record.is_internal() {
                informs.extend(self.sink.changed_own(&record, *change));
            } else {
                let reported = self.sink.changed(conn, &record, *change).await;
                informs.push(reported.map_err(|e| ChainError::TxSink { tx: id, source: e.into_inner() })?);
            }
            let (other, of_other) = self.affect_counterpart(conn, &record, *change).await?;
            ended.extend(other);
            informs.extend(of_other);
        }
        Ok(Reported { record, ended, informs })
    }

    /// After the commit of a report.
    pub(super) fn committed(&self, Reported { record, ended, informs }: Reported) {
        let TxRecord { id, status, failure, intent, .. } = &record;
        match failure {
            None => tracing::info!(tx = %id, kind = %intent.kind, %status, "transaction has changed"),
            Some(failure) => {
                tracing::warn!(tx = %id, kind = %intent.kind, %status, failure, "transaction has changed");
            }
        }
        self.announce(&record);
        for counterpart in &ended {
            self.announce(counterpart);
        }
        for inform in informs {
            inform();
        }
    }
}

/// What went wrong in a pass that went on all the same. One error is reported: the first one that concerns more than a single intent.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<ChainError>);

impl Trouble {
    pub(super) fn note(&mut self, error: ChainError) {
        if self.0.as_ref().is_none_or(|known| is_of_one(known) && !is_of_one(&error)) {
            self.0 = Some(error);
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        other.0.into_iter().for_each(|error| self.note(error));
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn or<T>(self, value: T) -> Result<T, ChainError> {
        self.0.map_or(Ok(value), Err)
    }
}

/// Whether an error concerns a single intent, so that the others can go on.
pub(super) fn is_of_one(error: &ChainError) -> bool {
    matches!(error, ChainError::TxSink { .. } | ChainError::Signing { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transactor::rank::tests::record;
    use crate::transactor::{Deadline, Priority};

    #[test]
    fn the_most_urgent_intent_that_waits_is_named() {
        let refused = || Some(Obstacle::Refused { reason: "no".into() });
        let normal = TxRecord { obstacle: refused(), ..record(1, |intent| intent) };
        let urgent = |id, at| {
            let deadline = Deadline::new(at, 1_000);
            record(id, |intent| intent.priority(Priority::Urgent).deadline(deadline))
        };
        let later = TxRecord { obstacle: refused(), ..urgent(2, 5_000) };
        let soon = TxRecord { obstacle: refused(), ..urgent(3, 2_000) };
        let goes_on = urgent(4, 1_500);
        let has_its_turn = TxRecord { obstacle: Some(Obstacle::After { tx: TxId(1) }), ..urgent(5, 1_500) };
        let named = |open: &[&TxRecord]| {
            let open: Vec<_> = open.iter().map(|record| (*record).clone()).collect();
            waiting(&open, 1_200).map(|waiting| waiting.id)
        };
        assert_eq!(named(&[&normal, &later, &soon, &goes_on, &has_its_turn]), Some(TxId(3)));
        assert_eq!(named(&[&normal, &goes_on]), Some(TxId(1)));
        assert_eq!(named(&[&goes_on, &has_its_turn]), None);
    }

    #[test]
    fn an_old_head_does_not_hold_the_clock_back() {
        let wall = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let minute = Duration::from_mins(1);
        assert_eq!(chain_time(10_000, minute, wall(10_500)), 10_500);
        assert_eq!(chain_time(10_000, minute, wall(9_000)), 10_060, "the chain is ahead");
        assert_eq!(chain_time(10_000, minute, wall(99_000)), 10_060, "one of the clocks is wrong");
    }
}
