//! Logs that may explain what the contract holds.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::providers::Provider as _;
use alloy::rpc::types::{Filter, Log};
use privatix_chain::{Endpoint, Fault};
use privatix_channel::{ChainTime, LogPosition};
use privatix_contracts::PscEvent;
use privatix_store::events::Place;
use tokio::time::timeout;

use super::PATIENCE;
use super::entry::Entry;
use crate::NodeError;

/// The most events of an entry that a search takes from an endpoint.
const MOST_EVENTS: usize = 10_000;
/// The most requests of a search: it ends as failed, and the next one begins again.
const MOST_REQUESTS: u32 = 2_000;

/// An event with its place and the time of its block.
type Found = (Place, ChainTime, PscEvent);

/// The events of an entry in these blocks, as an endpoint gives them within `limit`, checked to be what was asked for.
pub(super) async fn search<E: Entry>(
    endpoint: &Endpoint,
    contract: Address,
    entry: E,
    blocks: (u64, u64),
    limit: Duration,
) -> Result<Vec<Found>, NodeError> {
    let searched = timeout(limit, search_all(endpoint, contract, entry, blocks)).await;
    searched.unwrap_or_else(|_| {
        let reason = format!("{} takes more than {} s", endpoint.label(), limit.as_secs_f32());
        Err(NodeError::Contract { what: E::LOGS, reason })
    })
}

async fn search_all<E: Entry>(
    endpoint: &Endpoint,
    contract: Address,
    entry: E,
    (from, to): (u64, u64),
) -> Result<Vec<Found>, NodeError> {
    let failed = |reason: String| NodeError::Contract { what: E::LOGS, reason };
    let mut requests = 0_u32;
    let mut found = BTreeMap::new();
    for filter in entry.filters() {
        let filter = filter.address(contract);
        let mut next = from;
        let mut width = to.saturating_sub(from).saturating_add(1);
        while next <= to {
            requests = requests.saturating_add(1);
            if requests > MOST_REQUESTS {
                return Err(failed(format!("{} gives too few blocks at a time", endpoint.label())));
            }
            let last = next.saturating_add(width.saturating_sub(1)).min(to);
            match logs(endpoint, &filter, (next, last)).await.map_err(failed)? {
                None if width > 1 => width = width.div_ceil(2),
                None => return Err(failed(format!("{} does not give block {next}", endpoint.label()))),
                Some(logs) => {
                    // Most of a busy agent's are about other offerings of its.
                    for log in logs {
                        let (place, hash, event) = event(&log, &filter, (next, last)).map_err(failed)?;
                        if entry.is_about(&event) {
                            found.insert(place.at, (place, hash, event));
                        }
                    }
                    next = last.saturating_add(1);
                }
            }
            if found.len() > MOST_EVENTS {
                return Err(failed(format!("{} gives more than {MOST_EVENTS}", endpoint.label())));
            }
        }
    }
    let mut times: BTreeMap<u64, (B256, ChainTime)> = BTreeMap::new();
    let mut events = Vec::with_capacity(found.len());
    for (place, hash, event) in found.into_values() {
        let block = place.at.block;
        let (known, time) = match times.get(&block) {
            Some(known) => *known,
            None => *times.entry(block).or_insert(header(endpoint, block).await.map_err(failed)?),
        };
        if known != hash {
            return Err(failed(format!(
                "log {} of block {block} is of another block of that number",
                place.at.index
            )));
        }
        events.push((place, time, event));
    }
    Ok(events)
}

/// The logs of these blocks that match; none if they are too many for the endpoint.
async fn logs(
    endpoint: &Endpoint,
    filter: &Filter,
    (from, to): (u64, u64),
) -> Result<Option<Vec<Log>>, String> {
    let ranged = filter.clone().from_block(from).to_block(to);
    match timeout(PATIENCE, endpoint.provider().get_logs(&ranged)).await {
        Ok(Ok(found)) => Ok(Some(found)),
        Ok(Err(error)) => match endpoint.fault(&error) {
            Fault::TooLarge(_) => Ok(None),
            fault => Err(fault.to_string()),
        },
        Err(_) => Err(format!("{} does not answer", endpoint.label())),
    }
}

/// A log's place, the hash of its block, and what it says, if it is one that was asked for.
fn event(log: &Log, filter: &Filter, (from, to): (u64, u64)) -> Result<(Place, B256, PscEvent), String> {
    let (Some(block), Some(index), Some(hash), Some(tx)) =
        (log.block_number, log.log_index, log.block_hash, log.transaction_hash)
    else {
        return Err("one has no place".to_owned());
    };
    if block < from || block > to || log.removed || !filter.matches(&log.inner) {
        return Err(format!("log {index} of block {block} was not asked for"));
    }
    let event = PscEvent::decode(&log.inner.data).map_err(|e| e.to_string())?;
    Ok((Place { at: LogPosition::new(block, index), tx }, hash, event))
}

/// A block's hash and time.
async fn header(endpoint: &Endpoint, number: u64) -> Result<(B256, ChainTime), String> {
    let asked = timeout(PATIENCE, endpoint.provider().get_block_by_number(number.into())).await;
    let block = asked
        .map_err(|_| format!("{} does not answer", endpoint.label()))?
        .map_err(|error| endpoint.fault(&error).to_string())?
        .ok_or_else(|| format!("{} does not have block {number}", endpoint.label()))?;
    Ok((block.header.hash, ChainTime::new(block.header.timestamp)))
}

#[cfg(test)]
mod tests {
    use privatix_channel::ChannelId;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_search_ends_when_its_time_is_over() {
        // It takes connections and answers nothing.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (channel, limit, began) = (ChannelId::new(B256::ZERO), Duration::from_millis(50), Instant::now());
        let error = search(&endpoint, Address::ZERO, channel, (1, 5), limit).await.unwrap_err().to_string();
        assert!(error.contains("takes more than 0.05 s"), "{error}");
        assert!(began.elapsed() < PATIENCE);
    }
}
