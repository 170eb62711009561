//! Logs that may explain what the contract holds.

use std::collections::BTreeMap;

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

/// The most logs of an entry that a search takes from an endpoint.
const MOST_LOGS: usize = 10_000;

/// The events of an entry in these blocks, as an endpoint gives them, checked to be what was asked for.
pub(super) async fn search<E: Entry>(
    endpoint: &Endpoint,
    contract: Address,
    entry: E,
    (from, to): (u64, u64),
) -> Result<Vec<(Place, ChainTime, PscEvent)>, NodeError> {
    let failed = |reason: String| NodeError::Contract { what: E::LOGS, reason };
    let mut times: BTreeMap<u64, (B256, ChainTime)> = BTreeMap::new();
    let mut events = BTreeMap::new();
    for filter in entry.filters() {
        let filter = filter.address(contract);
        for log in &logs(endpoint, &filter, (from, to)).await.map_err(failed)? {
            let (Some(block), Some(index), Some(hash), Some(tx)) =
                (log.block_number, log.log_index, log.block_hash, log.transaction_hash)
            else {
                return Err(failed("one has no place".to_owned()));
            };
            if block < from || block > to || log.removed || !filter.matches(&log.inner) {
                return Err(failed(format!("log {index} of block {block} was not asked for")));
            }
            let event = PscEvent::decode(&log.inner.data).map_err(|e| failed(e.to_string()))?;
            if !entry.is_about(&event) {
                continue;
            }
            let (known, time) = match times.get(&block) {
                Some(known) => *known,
                None => *times.entry(block).or_insert(header(endpoint, block).await.map_err(failed)?),
            };
            if known != hash {
                return Err(failed(format!(
                    "log {index} of block {block} is of another block of that number"
                )));
            }
            let place = Place { at: LogPosition::new(block, index), tx };
            events.insert(place.at, (place, time, event));
        }
    }
    Ok(events.into_values().collect())
}

/// The logs that match, asked for in ranges that the endpoint gives.
async fn logs(endpoint: &Endpoint, filter: &Filter, (from, to): (u64, u64)) -> Result<Vec<Log>, String> {
    let mut logs: Vec<Log> = Vec::new();
    let mut next = from;
    let mut width = to.saturating_sub(from).saturating_add(1);
    while next <= to {
        let last = next.saturating_add(width.saturating_sub(1)).min(to);
        let ranged = filter.clone().from_block(next).to_block(last);
        match timeout(PATIENCE, endpoint.provider().get_logs(&ranged)).await {
            Ok(Ok(found)) => {
                logs.extend(found);
                next = last.saturating_add(1);
            }
            Ok(Err(error)) => match endpoint.fault(&error) {
                Fault::TooLarge(_) if width > 1 => width = width.div_ceil(2),
                fault => return Err(fault.to_string()),
            },
            Err(_) => return Err(format!("{} does not answer", endpoint.label())),
        }
        if logs.len() > MOST_LOGS {
            return Err(format!("{} gives more than {MOST_LOGS}", endpoint.label()));
        }
    }
    Ok(logs)
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
