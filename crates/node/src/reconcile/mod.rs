//! What an endpoint leaves out of its answers about logs shows in the contract's storage: channels that are not closed are
//! compared with it, and what their events do not explain is searched for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::B256;
use alloy::providers::Provider as _;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolCall as _;
use privatix_chain::{
    Endpoint, Fault, Monitor, MonitorState, MonitorStatus, Processed, Standing, is_processed, processed,
};
use privatix_channel::{ChainTime, ChannelId, Held, Life, LogPosition, OnChain, Unexplained};
use privatix_contracts::{ChannelInfo, ChannelState, PSC, PscEvent, call, topics};
use privatix_store::channels;
use privatix_store::events::Place;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::sink::Sink;
use crate::{Node, NodeError, Role};

/// How often without an occasion.
const EVERY: Duration = Duration::from_hours(1);
/// How soon after trouble, or after something that could not be explained.
const AGAIN: Duration = Duration::from_mins(1);
/// How soon after the monitor has moved on in the middle of a comparison.
const SOON: Duration = Duration::from_secs(1);
/// Channels that one call asks for.
const AT_ONCE: usize = 200;
/// The most logs of a channel that a search takes from an endpoint.
const MOST_LOGS: usize = 10_000;
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

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Events explain all of it.
    Explained,
    /// They do not, and no endpoint has others.
    Unexplained,
    /// The monitor went on meanwhile, so that it cannot be said.
    Moved,
}

/// A channel whose events do not explain what the contract holds.
#[derive(Clone, Copy, Debug)]
struct Finding {
    channel: ChannelId,
    seen: OnChain,
    held: Held,
    what: Unexplained,
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
                    Ok(Outcome::Explained) => EVERY,
                    Ok(Outcome::Unexplained) => AGAIN,
                    Ok(Outcome::Moved) => SOON,
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

    async fn reconcile(&self) -> Result<Outcome, NodeError> {
        let Some((at, seen)) = self.seen().await? else { return Ok(Outcome::Moved) };
        let mut findings = Vec::new();
        let best = self.node.endpoints().best().clone();
        let channels: Vec<ChannelId> = seen.keys().copied().collect();
        for some in channels.chunks(AT_ONCE) {
            let held = self.held(&best, at, some).await?;
            findings.extend(differences(&seen, some, &held));
        }
        let findings = self.confirmed(&best, at, findings).await;
        let mut unexplained = BTreeMap::new();
        for finding in findings {
            tracing::warn!(channel = %finding.channel, block = at.block, "{}; its logs are searched for", finding.what);
            match self.explain(at, &finding).await? {
                Outcome::Explained => {}
                Outcome::Moved => return Ok(Outcome::Moved),
                Outcome::Unexplained => drop(unexplained.insert(finding.channel, finding.what.to_string())),
            }
        }
        let outcome = if unexplained.is_empty() { Outcome::Explained } else { Outcome::Unexplained };
        for (channel, what) in &unexplained {
            tracing::error!(%channel, "{what}; no endpoint has the logs that would explain it");
        }
        *self.node.unreconciled.write() = unexplained;
        Ok(outcome)
    }

    /// What the events up to a block come to, for each channel that they have not closed. None while the monitor commits.
    async fn seen(&self) -> Result<Option<(Processed, BTreeMap<ChannelId, OnChain>)>, NodeError> {
        let mut conn = self.node.db().read().await?;
        let Some(before) = processed(&mut conn, Monitor::STREAM).await? else { return Ok(None) };
        let mut seen = BTreeMap::new();
        for channel in channels::unclosed(&mut conn).await? {
            let state = channels::on_chain(&mut conn, channel).await?;
            seen.insert(channel, state);
        }
        let after = processed(&mut conn, Monitor::STREAM).await?;
        Ok((after == Some(before)).then_some((before, seen)))
    }

    /// What the contract holds of channels after a block.
    async fn held(
        &self,
        endpoint: &Endpoint,
        at: Processed,
        channels: &[ChannelId],
    ) -> Result<Vec<Held>, NodeError> {
        let failed = |reason| NodeError::Contract { what: "what it holds of channels", reason };
        let psc = PSC::new(self.node.domain().contract(), endpoint.provider());
        let calls = channels.iter().map(|id| PSC::channelsCall { channelId: *id.as_b256() }.abi_encode());
        let call = call::multicall(calls);
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
            .map_err(crate::node::unreadable("what it holds of channels"))?;
        if answers.len() != channels.len() {
            return Err(failed(format!(
                "{} answers for {} channels of {}",
                endpoint.label(),
                answers.len(),
                channels.len()
            )));
        }
        let read = |answer: &alloy::primitives::Bytes| {
            PSC::channelsCall::abi_decode_returns(answer)
                .map(|channel| held(channel.into()))
                .map_err(|e| failed(e.to_string()))
        };
        answers.iter().map(read).collect()
    }

    /// The findings that no other endpoint denies.
    async fn confirmed(&self, first: &Endpoint, at: Processed, findings: Vec<Finding>) -> Vec<Finding> {
        let Some(second) = self.node.endpoints().all().iter().find(|one| one.label() != first.label()) else {
            return findings;
        };
        let mut confirmed = Vec::with_capacity(findings.len());
        for some in findings.chunks(AT_ONCE) {
            let channels: Vec<ChannelId> = some.iter().map(|finding| finding.channel).collect();
            match self.held(second, at, &channels).await {
                Ok(held) => {
                    for (finding, held) in some.iter().zip(held) {
                        if finding.seen.unexplained(&held).is_some() {
                            confirmed.push(*finding);
                        } else {
                            tracing::warn!(channel = %finding.channel, endpoint = first.label(), "a second endpoint ({}) does not confirm it: {}", second.label(), finding.what);
                        }
                    }
                }
                // It is not needed to believe the first one.
                Err(error) => {
                    tracing::debug!(%error, "the second endpoint cannot be asked");
                    confirmed.extend_from_slice(some);
                }
            }
        }
        confirmed
    }

    /// Searches all endpoints for the logs of a channel, until what is stored explains what the contract holds.
    async fn explain(&self, at: Processed, finding: &Finding) -> Result<Outcome, NodeError> {
        let from = finding.seen.opened_at.unwrap_or(at.start);
        for endpoint in self.node.endpoints().all() {
            let events = match self.search(endpoint, finding.channel, from, at.block).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(channel = %finding.channel, %error, "its logs cannot be searched for");
                    continue;
                }
            };
            let mut tx = self.node.db().begin().await?;
            if !is_processed(&mut tx, Monitor::STREAM, at).await? {
                return Ok(Outcome::Moved); // undone meanwhile
            }
            let touched = self.sink.take(&mut tx, events).await?;
            if !touched.contains(&finding.channel) {
                continue; // nothing new
            }
            let now = channels::on_chain(&mut tx, finding.channel).await?;
            let has_moved = processed(&mut tx, Monitor::STREAM).await? != Some(at);
            tx.commit().await?;
            self.sink.announce(touched);
            tracing::warn!(channel = %finding.channel, endpoint = endpoint.label(), "logs that had been left out are found and stored");
            if has_moved {
                return Ok(Outcome::Moved); // later events count, too
            }
            if now.unexplained(&finding.held).is_none() {
                return Ok(Outcome::Explained);
            }
        }
        Ok(Outcome::Unexplained)
    }

    /// The events of a channel in these blocks, as an endpoint gives them, checked to be what was asked for.
    async fn search(
        &self,
        endpoint: &Endpoint,
        channel: ChannelId,
        from: u64,
        to: u64,
    ) -> Result<Vec<(Place, ChainTime, PscEvent)>, NodeError> {
        let failed = |reason: String| NodeError::Contract { what: "the logs of a channel", reason };
        let filter = Filter::new()
            .address(self.node.domain().contract())
            .event_signature(topics::CHANNEL.to_vec())
            .topic1(*channel.as_b256());
        let mut logs: Vec<Log> = Vec::new();
        let mut next = from;
        let mut width = to.saturating_sub(from).saturating_add(1);
        while next <= to {
            let last = next.saturating_add(width.saturating_sub(1)).min(to);
            let ranged = filter.clone().from_block(next).to_block(last);
            let asked = timeout(PATIENCE, endpoint.provider().get_logs(&ranged)).await;
            match asked {
                Ok(Ok(found)) => {
                    logs.extend(found);
                    next = last.saturating_add(1);
                }
                Ok(Err(error)) => match endpoint.fault(&error) {
                    Fault::TooLarge(_) if width > 1 => width = width.div_ceil(2),
                    fault => return Err(failed(fault.to_string())),
                },
                Err(_) => return Err(failed(format!("{} does not answer", endpoint.label()))),
            }
            if logs.len() > MOST_LOGS {
                return Err(failed(format!("{} gives more than {MOST_LOGS}", endpoint.label())));
            }
        }
        let mut times: BTreeMap<u64, (B256, ChainTime)> = BTreeMap::new();
        let mut events = BTreeMap::new();
        for log in &logs {
            let (Some(block), Some(index), Some(hash), Some(tx)) =
                (log.block_number, log.log_index, log.block_hash, log.transaction_hash)
            else {
                return Err(failed("one has no place".to_owned()));
            };
            if block < from || block > to || log.removed || !filter.matches(&log.inner) {
                return Err(failed(format!("log {index} of block {block} was not asked for")));
            }
            let (known, time) = match times.get(&block) {
                Some(known) => *known,
                None => *times.entry(block).or_insert(self.block(endpoint, block).await?),
            };
            if known != hash {
                return Err(failed(format!(
                    "log {index} of block {block} is of another block of that number"
                )));
            }
            let event = PscEvent::decode(&log.inner.data).map_err(|e| failed(e.to_string()))?;
            let place = Place { at: LogPosition::new(block, index), tx };
            events.insert(place.at, (place, time, event));
        }
        Ok(events.into_values().collect())
    }

    /// A block's hash and time.
    async fn block(&self, endpoint: &Endpoint, number: u64) -> Result<(B256, ChainTime), NodeError> {
        let failed = |reason: String| NodeError::Contract { what: "a block", reason };
        let asked = timeout(PATIENCE, endpoint.provider().get_block_by_number(number.into())).await;
        let block = asked
            .map_err(|_| failed(format!("{} does not answer", endpoint.label())))?
            .map_err(|error| failed(endpoint.fault(&error).to_string()))?
            .ok_or_else(|| failed(format!("{} does not have block {number}", endpoint.label())))?;
        Ok((block.header.hash, ChainTime::new(block.header.timestamp)))
    }
}

/// The channels whose events do not explain what the contract holds.
fn differences(seen: &BTreeMap<ChannelId, OnChain>, channels: &[ChannelId], held: &[Held]) -> Vec<Finding> {
    let finding = |(channel, held): (&ChannelId, &Held)| {
        let seen = *seen.get(channel)?;
        let what = seen.unexplained(held)?;
        Some(Finding { channel: *channel, seen, held: *held, what })
    };
    channels.iter().zip(held).filter_map(finding).collect()
}

fn held(info: ChannelInfo) -> Held {
    Held {
        life: match info.state {
            ChannelState::None => Life::Unopened,
            ChannelState::Open => Life::Open,
            ChannelState::Closed => Life::Closed,
        },
        deposit: info.deposit,
        paid: info.paid,
        fee: info.fee,
        challenge_ends_at: info.challenge_ends_at,
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
