//! Finds logs that endpoints leave out. Channels that are not closed and offerings on the market are compared with the
//! contract's storage; where their events do not explain it, the missing logs are searched for.

mod entry;
mod search;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::Bytes;
use privatix_adapter::Role as Side;
use privatix_chain::{
    Direction, Endpoint, Monitor, MonitorState, MonitorStatus, Processed, Standing, is_processed, processed,
};
use privatix_contracts::{PSC, PscEvent, call};
use privatix_db::Conn;
use privatix_store::channels;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::entry::ContractEntry;
pub(crate) use self::entry::held_offering;
use self::entry::{Entry, OfferingKey};
use crate::sink::Sink;
use crate::{Node, NodeError, Role};

/// How often without an occasion.
const EVERY: Duration = Duration::from_hours(1);
/// How soon after trouble, or after something that could not be explained.
const AGAIN: Duration = Duration::from_mins(1);
/// How soon after something was found, or the monitor has moved on in the middle of a comparison.
const SOON: Duration = Duration::from_secs(1);
/// Entries that one call asks for.
const AT_ONCE: usize = 200;
/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Compares what is stored with the contract, whenever there is an occasion.
pub(crate) struct Reconciler<R> {
    pub(crate) node: Arc<Node>,
    pub(crate) sink: Arc<Sink<R>>,
    pub(crate) monitor: watch::Receiver<MonitorStatus>,
}

/// What makes a comparison due before its time when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Occasion {
    reorgs: u64,
    quarantined: usize,
    /// Times that the monitor came to a halt.
    gaps: u64,
}

/// What a search for the logs of an entry has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Logs that explain all of it.
    Explanation,
    /// Some logs, or the monitor has undone blocks meanwhile: to be compared once more.
    Something,
    /// None that is new.
    Nothing,
}

/// An entry whose events do not explain what the contract holds.
struct Finding<E: Entry> {
    entry: E,
    seen: E::Seen,
    held: E::Held,
    what: String,
}

impl<R: Role> Reconciler<R> {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut gaps: u64 = 0;
        let mut was_stalled = false;
        let mut last: Option<(Occasion, Instant)> = None;
        loop {
            let (is_caught_up, is_stalled, reorgs) = {
                let status = self.monitor.borrow_and_update();
                let is_stalled = matches!(status.state, MonitorState::Stalled { .. });
                (status.is_caught_up(), is_stalled, status.reorgs)
            };
            if is_stalled && !was_stalled {
                gaps = gaps.saturating_add(1);
            }
            was_stalled = is_stalled;
            let occasion = Occasion { reorgs, quarantined: self.quarantined(), gaps };
            let is_due = last.is_none_or(|(before, next)| before != occasion || next <= Instant::now());
            if is_caught_up && is_due {
                let Some(outcome) = stop.run_until_cancelled(self.reconcile()).await else { return };
                let wait = match outcome {
                    Ok(wait) => wait,
                    Err(error) => {
                        tracing::warn!(%error, "the contract's storage cannot be compared with the events; trying again");
                        AGAIN
                    }
                };
                last = Instant::now().checked_add(wait).map(|next| (occasion, next));
                continue;
            }
            let next = last.filter(|_| is_caught_up).map(|(_, next)| next);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.monitor.changed() => if changed.is_err() { return },
                () = sleep_until(next) => {}
            }
        }
    }

    fn quarantined(&self) -> usize {
        let status = self.node.endpoints().status();
        status.iter().filter(|one| matches!(one.standing, Standing::Quarantined { .. })).count()
    }

    /// Compares all there is. Returns when to do so again.
    async fn reconcile(&self) -> Result<Duration, NodeError> {
        let (side, account) = (self.node.side(), self.node.account());
        let mut conn = self.node.db().read().await?;
        let Some(at) = processed(&mut conn, Monitor::STREAM).await? else { return Ok(SOON) };
        let unclosed = channels::unclosed(&mut conn).await?;
        let of_channels = with_seen(&mut conn, unclosed).await?;
        let of_offerings: Vec<_> = entry::offerings_of(&mut conn, side, account)
            .await?
            .iter()
            .map(|offering| (OfferingKey::of(offering), offering.into()))
            .collect();
        let has_moved = processed(&mut conn, Monitor::STREAM).await? != Some(at);
        drop(conn);
        if has_moved {
            return Ok(SOON); // it commits
        }
        // Money depends on channels: trouble with offerings hides nothing of them.
        let (mut unexplained, again) = self.compare(at, &of_channels).await?;
        let offerings = self.compare(at, &of_offerings).await;
        if let Ok((of_offerings, _)) = &offerings {
            if side == Side::Agent {
                unexplained.extend(of_offerings.clone());
            } else {
                // A client reads an offering from the contract before it relies on one.
                for (entry, what) in of_offerings {
                    tracing::warn!("{entry}: {what}; no endpoint has the logs that would explain it");
                }
            }
        }
        for (entry, what) in &unexplained {
            tracing::error!(
                "{entry}: {what}; no endpoint has the logs that would explain it: add or change a chain endpoint"
            );
        }
        *self.node.unreconciled.write() = unexplained;
        Ok(again.min(offerings?.1))
    }

    /// Compares entries with the contract, after the block up to which they were seen, and explains the differences as far as
    /// an endpoint has their logs. Returns what stays unexplained, and when to compare again.
    async fn compare<E: Entry>(
        &self,
        at: Processed,
        seen: &[(E, E::Seen)],
    ) -> Result<(BTreeMap<ContractEntry, String>, Duration), NodeError> {
        let best = self.node.endpoints().best().clone();
        let mut findings = Vec::new();
        for some in seen.chunks(AT_ONCE) {
            let entries: Vec<E> = some.iter().map(|(entry, _)| *entry).collect();
            let held = self.held(&best, at, &entries).await?;
            findings.extend(some.iter().zip(held).filter_map(|((entry, seen), held)| {
                let what = E::unexplained(seen, &held)?;
                Some(Finding { entry: *entry, seen: *seen, held, what })
            }));
        }
        let (mut unexplained, mut again) = (BTreeMap::new(), EVERY);
        for finding in findings {
            let entry: ContractEntry = finding.entry.into();
            tracing::warn!(block = at.block, "{entry}: {}; its logs are searched for", finding.what);
            match self.explain(at, &finding).await? {
                Found::Explanation => again = SOON, // it may be about a channel that was not known
                Found::Something => {
                    again = SOON;
                    unexplained.insert(entry, finding.what);
                }
                Found::Nothing => {
                    again = again.min(AGAIN);
                    let denial = self.denial(&best, at, &finding).await;
                    unexplained.insert(entry, format!("{}{denial}", finding.what));
                }
            }
        }
        Ok((unexplained, again))
    }

    /// What the contract holds of entries after a block.
    async fn held<E: Entry>(
        &self,
        endpoint: &Endpoint,
        at: Processed,
        entries: &[E],
    ) -> Result<Vec<E::Held>, NodeError> {
        let failed = |reason| NodeError::Contract { what: E::HELD, reason };
        let psc = PSC::new(self.node.domain().contract(), endpoint.provider());
        let call = call::multicall(entries.iter().map(|entry| entry.call()));
        let ask = psc.multicall(call.calls);
        let by_hash = ask.clone().block(BlockId::hash(at.hash));
        let mut asked = timeout(PATIENCE, by_hash.call()).await;
        if let Ok(Err(alloy::contract::Error::TransportError(error))) = &asked
            && error.is_error_resp()
        {
            // Not every endpoint takes hashes (EIP-1898).
            let by_number = ask.block(BlockId::number(at.block));
            asked = timeout(PATIENCE, by_number.call()).await;
        }
        let answers = asked
            .map_err(|_| failed(format!("{} does not answer", endpoint.label())))?
            .map_err(crate::contract::unreadable(E::HELD))?;
        if answers.len() != entries.len() {
            return Err(failed(format!(
                "{} gives {} answers to {} questions",
                endpoint.label(),
                answers.len(),
                entries.len()
            )));
        }
        let read = |answer: &Bytes| E::read(answer).map_err(|e| failed(e.to_string()));
        answers.iter().map(read).collect()
    }

    /// Whether another good endpoint denies what the first one shows, in words. That changes nothing: one of them lies, and it
    /// is not known which.
    async fn denial<E: Entry>(&self, first: &Endpoint, at: Processed, finding: &Finding<E>) -> String {
        let endpoints = self.node.endpoints();
        let (all, status) = (endpoints.all(), endpoints.status());
        let is_good = |label: &str| {
            status.iter().any(|one| one.label == label && matches!(one.standing, Standing::Good))
        };
        let second = all.iter().find(|one| one.label() != first.label() && is_good(one.label()));
        let Some(second) = second else { return String::new() };
        match self.held(second, at, &[finding.entry]).await.as_deref() {
            Ok([held]) if E::unexplained(&finding.seen, held).is_none() => {
                format!(" ({} shows it, {} denies it)", first.label(), second.label())
            }
            _ => String::new(),
        }
    }

    /// Searches all endpoints for the logs of an entry, until what is stored explains what the contract holds.
    async fn explain<E: Entry>(&self, at: Processed, finding: &Finding<E>) -> Result<Found, NodeError> {
        let from = E::since(&finding.seen).unwrap_or(at.start);
        let entry: ContractEntry = finding.entry.into();
        let mut found = Found::Nothing;
        for endpoint in self.node.endpoints().all() {
            let contract = self.node.domain().contract();
            let events = match search::search(endpoint, contract, finding.entry, (from, at.block)).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(%error, "{entry}: its logs cannot be searched for");
                    continue;
                }
            };
            let followed = |(place, time, event): (_, _, PscEvent)| Some((place, event.chain_event(time)?));
            let events = events.into_iter().filter_map(followed).collect();
            let mut tx = self.node.db().begin().await?;
            if !is_processed(&mut tx, Monitor::STREAM, at.block, at.hash).await? {
                return Ok(Found::Something); // undone meanwhile
            }
            let before = finding.entry.seen(&mut tx).await?;
            let touched = self.sink.take(&mut tx, events, Direction::Forward).await?;
            let now = finding.entry.seen(&mut tx).await?;
            if now == before && touched.channels.is_empty() {
                continue; // nothing new
            }
            let has_moved = processed(&mut tx, Monitor::STREAM).await? != Some(at);
            tx.commit().await?;
            self.sink.announce(touched);
            tracing::warn!(
                endpoint = endpoint.label(),
                "{entry}: logs that had been left out are found and stored"
            );
            found = Found::Something;
            if has_moved {
                break; // later events count, too
            }
            if E::unexplained(&now, &finding.held).is_none() {
                return Ok(Found::Explanation);
            }
        }
        Ok(found)
    }
}

async fn with_seen<E: Entry>(conn: &mut Conn, entries: Vec<E>) -> Result<Vec<(E, E::Seen)>, NodeError> {
    let mut seen = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry.seen(conn).await {
            Ok(known) => seen.push((entry, known)),
            // Health names it; the others are compared.
            Err(error) => {
                let error = NodeError::from(error);
                if !error.is_damage() {
                    return Err(error);
                }
                tracing::error!(entry = %entry.into(), %error, "it cannot be compared with the contract");
            }
        }
    }
    Ok(seen)
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
