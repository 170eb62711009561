//! Finds logs that endpoints leave out. Channels that are not closed and offerings on the market are compared with the
//! contract's storage; where their events do not explain it, the missing logs are searched for.

mod due;
mod entry;
mod pass;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::Bytes;
use privatix_adapter::Role as Side;
use privatix_chain::{
    Direction, Endpoint, Monitor, MonitorState, MonitorStatus, Processed, Standing, is_processed, processed,
};
use privatix_channel::{ChainTime, ChannelId};
use privatix_contracts::{PSC, PscEvent, call};
use privatix_db::Conn;
use privatix_store::channels;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::due::{Last, Occasion, SearchTime};
pub use self::entry::ContractEntry;
pub(crate) use self::entry::held_offering;
use self::entry::{Entry, OfferingKey};
use self::pass::{Ended, ask_all};
use crate::sink::Sink;
use crate::{Node, NodeError, RoleRules};

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

/// Where the next comparison goes on.
#[derive(Debug, Default)]
struct Next {
    channel: Option<ChannelId>,
    offering: Option<OfferingKey>,
    /// Which entry's logs are searched for first.
    search: usize,
}

/// What a comparison of entries has come to.
struct Compared<E: Entry> {
    /// Those that were compared.
    entries: BTreeSet<ContractEntry>,
    findings: Vec<Finding<E>>,
    ended: Ended<NodeError>,
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

impl<E: Entry> Finding<E> {
    fn named(&self) -> (ContractEntry, String) {
        (self.entry.into(), self.what.clone())
    }
}

impl<R: RoleRules> Reconciler<R> {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut gaps: u64 = 0;
        let mut was_stalled = false;
        let mut last: Option<Last> = None;
        let mut next = Next::default();
        loop {
            let (is_caught_up, is_stalled, reorgs, unchecked) = {
                let status = self.monitor.borrow_and_update();
                let is_stalled = matches!(status.state, MonitorState::Stalled { .. });
                (status.is_caught_up(), is_stalled, status.reorgs, status.unchecked)
            };
            if is_stalled && !was_stalled {
                gaps = gaps.saturating_add(1);
            }
            was_stalled = is_stalled;
            let occasion = Occasion { reorgs, quarantined: self.quarantined(), gaps, unchecked };
            let due = last.map(|last| last.due(occasion));
            if is_caught_up && due.is_none_or(|due| due <= Instant::now()) {
                let began = Instant::now();
                let Some(outcome) = stop.run_until_cancelled(self.reconcile(&mut next)).await else { return };
                let wait = match outcome {
                    Ok(wait) => wait,
                    Err(error) => {
                        tracing::warn!(%error, "the contract's storage cannot be compared with the events; trying again");
                        AGAIN
                    }
                };
                last = Last::new(occasion, (began, Instant::now()), wait, self.node.challenge_period());
                continue;
            }
            let next = due.filter(|_| is_caught_up);
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

    /// Compares all there is, for as long as a comparison may take. Returns when to do so again. It goes on at `next`, so that neither an
    /// endpoint that is slow nor a search that takes all the time there is keeps the same entries off for ever; searches for those of a
    /// challenge that runs come first.
    async fn reconcile(&self, next: &mut Next) -> Result<Duration, NodeError> {
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
            return Ok(SOON); // the monitor has committed a batch meanwhile
        }
        let followed = self.node.endpoints().best().clone();
        let known: BTreeSet<ContractEntry> = of_channels
            .iter()
            .map(|(channel, _)| (*channel).into())
            .chain(of_offerings.iter().map(|(offering, _)| (*offering).into()))
            .collect();
        // Trouble with some hides nothing of the others. Money depends on channels, which come first.
        let of_channels = self.compare(&followed, at, &of_channels, &mut next.channel).await;
        let offerings = self.compare(&followed, at, &of_offerings, &mut next.offering).await;
        let (channels, of_offerings) = (of_channels.findings, offerings.findings.as_slice());
        // A client reads an offering from the contract before it relies on one.
        let are_alarming = side == Side::Agent;
        // Before the search, which may take minutes.
        let named = channels.iter().map(Finding::named);
        let alarming = of_offerings.iter().filter(|_| are_alarming).map(Finding::named);
        {
            let mut unreconciled = self.node.unreconciled.write();
            let compared: BTreeSet<_> = of_channels.entries.union(&offerings.entries).collect();
            // What was not compared is as it was.
            unreconciled.retain(|entry, _| known.contains(entry) && !compared.contains(entry));
            unreconciled.extend(named.chain(alarming));
        }
        let entries = channels.len().saturating_add(of_offerings.len());
        let endpoints = self.node.endpoints().all().len();
        let mut time = SearchTime::new(self.node.challenge_period(), endpoints, entries);
        let now = self.node.chain_now().map_or(ChainTime::new(0), ChainTime::from);
        let round = next.search;
        next.search = round.wrapping_add(1);
        let again = self.explain_all(&followed, at, ordered(&channels, round, now), &mut time).await?;
        let of_offerings = ordered(of_offerings, round, now);
        let mut again = again.min(self.explain_all(&followed, at, of_offerings, &mut time).await?);
        for (entry, what) in &*self.node.unreconciled.read() {
            tracing::error!(
                "{entry}: {what}; no endpoint has the logs that would explain it: add or change a chain endpoint"
            );
        }
        for ended in [of_channels.ended, offerings.ended] {
            match ended {
                Ended::Complete => {}
                Ended::OutOfTime => {
                    tracing::warn!(
                        endpoint = followed.label(),
                        "it is slow to show what the contract holds; the rest is compared next time"
                    );
                    again = again.min(AGAIN);
                }
                Ended::Failed(error) => return Err(error),
            }
        }
        Ok(again)
    }

    /// Compares entries with the contract, after the block up to which they were seen, for as long as that may take.
    async fn compare<E: Entry>(
        &self,
        followed: &Endpoint,
        at: Processed,
        seen: &[(E, E::Seen)],
        next: &mut Option<E>,
    ) -> Compared<E> {
        let seen: BTreeMap<E, E::Seen> = seen.iter().copied().collect();
        let entries: Vec<E> = seen.keys().copied().collect();
        let limit = due::comparison(self.node.challenge_period());
        let ask = |some: Vec<E>| async move { self.held(followed, at, &some).await };
        let (held, ended) = ask_all(&entries, next, (AT_ONCE, limit), ask).await;
        let entries = held.iter().map(|(entry, _)| (*entry).into()).collect();
        let findings = held.into_iter().filter_map(|(entry, held)| {
            let seen = *seen.get(&entry)?;
            let what = E::unexplained(&seen, &held)?;
            Some(Finding { entry, seen, held, what })
        });
        Compared { entries, findings: findings.collect(), ended }
    }

    /// Explains findings as far as an endpoint has their logs. Returns when to compare again.
    async fn explain_all<E: Entry>(
        &self,
        followed: &Endpoint,
        at: Processed,
        findings: Vec<&Finding<E>>,
        time: &mut SearchTime,
    ) -> Result<Duration, NodeError> {
        let mut again = due::usual(self.node.challenge_period());
        for finding in findings {
            let entry: ContractEntry = finding.entry.into();
            tracing::warn!(block = at.block, "{entry}: {}; its logs are searched for", finding.what);
            match self.explain(followed, at, finding, time).await? {
                Found::Explanation => {
                    again = SOON; // it may be about a channel that was not known
                    self.node.unreconciled.write().remove(&entry);
                }
                Found::Something => again = SOON,
                Found::Nothing => {
                    again = again.min(AGAIN);
                    let denial = self.denial(followed, at, finding, time).await;
                    if let Some(what) = self.node.unreconciled.write().get_mut(&entry) {
                        what.push_str(&denial);
                    } else {
                        let what = &finding.what;
                        tracing::warn!(
                            "{entry}: {what}{denial}; no endpoint has the logs that would explain it"
                        );
                    }
                }
            }
            time.entry_done();
        }
        Ok(again)
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
    async fn denial<E: Entry>(
        &self,
        first: &Endpoint,
        at: Processed,
        finding: &Finding<E>,
        time: &mut SearchTime,
    ) -> String {
        let endpoints = self.node.endpoints();
        let good = endpoints.status().into_iter().map(|one| one.standing == Standing::Good);
        let mut second = endpoints.all().iter().zip(good).enumerate();
        let second = second.find(|(_, (one, is_good))| *is_good && one.label() != first.label());
        let Some((number, (second, _))) = second else { return String::new() };
        let began = Instant::now();
        let asked = timeout(time.share(number), self.held(second, at, &[finding.entry])).await;
        time.spent(number, began.elapsed());
        match asked.as_ref().map(|held| held.as_deref()) {
            Ok(Ok([held])) if E::unexplained(&finding.seen, held).is_none() => {
                format!(" ({} shows it, {} denies it)", first.label(), second.label())
            }
            _ => String::new(),
        }
    }

    /// The endpoints in the order in which they are searched.
    fn searched(&self, followed: &Endpoint) -> Vec<(usize, Endpoint)> {
        let endpoints = self.node.endpoints();
        let standings = endpoints.status().into_iter().map(|one| one.standing == Standing::Good);
        let mut order: Vec<_> = endpoints.all().iter().cloned().enumerate().zip(standings).collect();
        order.sort_by_key(|((_, one), is_good)| turn(*is_good, one.label() == followed.label()));
        order.into_iter().map(|(one, _)| one).collect()
    }

    /// Searches all endpoints for the logs of an entry, until what is stored explains what the contract holds.
    async fn explain<E: Entry>(
        &self,
        followed: &Endpoint,
        at: Processed,
        finding: &Finding<E>,
        time: &mut SearchTime,
    ) -> Result<Found, NodeError> {
        let from = E::since(&finding.seen).unwrap_or(at.start);
        let entry: ContractEntry = finding.entry.into();
        let mut found = Found::Nothing;
        for (number, endpoint) in self.searched(followed) {
            // One that is out of time fails at once, and says so.
            let limit = time.share(number);
            let began = Instant::now();
            let contract = self.node.domain().contract();
            let searched = search::search(&endpoint, contract, finding.entry, (from, at.block), limit).await;
            time.spent(number, began.elapsed());
            let events = match searched {
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

/// When an endpoint is searched, the lowest first: the one that was followed has left the logs out once, and those that are not good
/// cost the most time.
fn turn(is_good: bool, is_followed: bool) -> u8 {
    match (is_good, is_followed) {
        (true, false) => 0,
        (true, true) => 1,
        (false, _) => 2,
    }
}

/// In which order logs are searched for: first those of challenges that run and were not seen, the earliest end first, since they have
/// to be answered in time; then the others, each at another place in each round.
fn ordered<E: Entry>(all: &[Finding<E>], round: usize, now: ChainTime) -> Vec<&Finding<E>> {
    let end = |one: &Finding<E>| E::unseen_challenge(&one.seen, &one.held).filter(|end| *end > now);
    let (mut ordered, mut others): (Vec<_>, Vec<_>) = all.iter().partition(|one| end(one).is_some());
    ordered.sort_by_key(|one| end(one));
    if let Some(first) = round.checked_rem(others.len()) {
        others.rotate_left(first);
    }
    ordered.append(&mut others);
    ordered
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use privatix_channel::{Amount, ChannelId, CloseRequest, Fee, Held, Life, LogPosition, OnChain};

    use super::*;

    #[test]
    fn the_endpoint_that_left_the_logs_out_is_searched_after_the_other_good_ones() {
        let mut endpoints = [("resting", false, false), ("followed", true, true), ("good", true, false)];
        endpoints.sort_by_key(|(_, is_good, is_followed)| turn(*is_good, *is_followed));
        assert_eq!(endpoints.map(|(name, ..)| name), ["good", "followed", "resting"]);
    }

    /// A difference of the channel with this number.
    fn finding(number: u8, seen: OnChain, challenge_ends_at: Option<u64>) -> Finding<ChannelId> {
        let held = Held {
            life: Life::Open,
            deposit: Amount::new(100),
            paid: Amount::ZERO,
            fee: Fee::default(),
            challenge_ends_at: challenge_ends_at.map(ChainTime::new),
        };
        Finding { entry: channel(number), seen, held, what: String::new() }
    }

    fn channel(number: u8) -> ChannelId {
        ChannelId::new(B256::repeat_byte(number))
    }

    #[test]
    fn logs_of_challenges_that_run_are_searched_for_before_all_others() {
        let open = OnChain { opened_at: Some(1), ..OnChain::default() };
        let request = CloseRequest { at: LogPosition::new(2, 0), ends_at: ChainTime::new(500) };
        let closing = OnChain { last_close_request: Some(request), ..open };
        let now = ChainTime::new(400);
        let closed = finding(7, open, Some(410));
        let closed = Finding { held: Held { life: Life::Closed, ..closed.held }, ..closed };
        let all = [
            finding(1, open, None),
            finding(2, open, Some(900)),
            finding(3, closing, Some(450)), // it is being answered
            finding(4, open, Some(400)),    // it has ended
            finding(5, open, Some(401)),
            finding(6, OnChain::default(), Some(700)),
            closed,
        ];
        for (round, expected) in [
            (0, [5, 6, 2, 1, 3, 4, 7]),
            (1, [5, 6, 2, 3, 4, 7, 1]),
            (2, [5, 6, 2, 4, 7, 1, 3]),
            (7, [5, 6, 2, 7, 1, 3, 4]),
        ] {
            let order: Vec<_> = ordered(&all, round, now).iter().map(|one| one.entry).collect();
            assert_eq!(order, expected.map(channel), "round {round}");
        }
        assert!(ordered::<ChannelId>(&[], 1, now).is_empty());
    }
}
