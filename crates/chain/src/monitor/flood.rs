//! The logs of one block, however many there are: an endpoint that refuses to give them at once gives them in pieces.

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, FilterSet, Log};
use futures::{StreamExt, TryStreamExt};

use crate::rpc::{Fault, Rpc, RpcError};

/// The logs of the block with this hash that match `filter`.
///
/// Asked for as one, then by event and by topic value, and then taken out of the block's receipts, of which any endpoint
/// must give one at a time.
pub(super) async fn logs_of_block(
    rpc: &Rpc,
    width: usize,
    filter: &Filter,
    hash: B256,
) -> Result<Vec<Log>, RpcError> {
    let mut found = Vec::new();
    let mut open = vec![filter.clone()];
    while let Some(filter) = open.pop() {
        match rpc.logs(&filter.clone().at_block_hash(hash)).await {
            Ok(logs) => found.extend(logs),
            Err(RpcError { fault: Fault::TooLarge(reason), .. }) => {
                let parts = parts(&filter);
                if parts.is_empty() {
                    tracing::debug!(%hash, reason, "taking the logs of a block out of its receipts");
                    open.push(filter);
                    let logs = receipts(rpc, width, hash).await?;
                    found.extend(logs.into_iter().filter(|log| {
                        open.iter().any(|left| {
                            left.matches_address(log.address()) && left.matches_topics(log.topics())
                        })
                    }));
                    return Ok(found);
                }
                open.extend(parts);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// All logs of a block, from its receipts.
async fn receipts(rpc: &Rpc, width: usize, hash: B256) -> Result<Vec<Log>, RpcError> {
    match rpc.block_receipts(hash).await {
        Ok(logs) => return Ok(logs),
        Err(error) if may_be_served_one_by_one(&error.fault) => {}
        Err(error) => return Err(error),
    }
    let transactions = rpc.transactions(hash).await?;
    futures::stream::iter(transactions)
        .map(|transaction| rpc.receipt_logs(transaction))
        .buffered(width)
        .try_concat()
        .await
}

/// Whether a refusal of all receipts of a block says nothing against asking for each: too large, or not served.
fn may_be_served_one_by_one(fault: &Fault) -> bool {
    matches!(fault, Fault::TooLarge(_) | Fault::Refused { .. } | Fault::Garbage(_))
}

/// The filter in parts that together match the same, none of them if it cannot be divided: by the values of the first topic
/// of which it has several.
fn parts(filter: &Filter) -> Vec<Filter> {
    let Some(at) = filter.topics.iter().position(|values| values.iter().count() > 1) else {
        return Vec::new();
    };
    let one = |value: &B256| {
        let mut part = filter.clone();
        part.topics[at] = FilterSet::from(*value);
        part
    };
    filter.topics[at].iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;

    #[test]
    fn a_filter_is_divided_by_events_then_by_values_until_it_has_one_of_each() {
        let topic = B256::repeat_byte;
        let filter = Filter::new()
            .address(Address::repeat_byte(1))
            .event_signature(vec![topic(1), topic(2), topic(3)])
            .topic2(vec![topic(7), topic(8)]);
        let by_event = parts(&filter);
        assert_eq!(by_event.len(), 3);
        let by_value: Vec<Filter> = by_event.iter().flat_map(parts).collect();
        assert_eq!(by_value.len(), 6);
        assert!(by_value.iter().all(|part| parts(part).is_empty() && part.address == filter.address));
        for first in [1, 2, 3, 4] {
            for second in [7, 8, 9] {
                let topics = [topic(first), topic(0), topic(second)];
                let matching = by_value.iter().filter(|part| part.matches_topics(&topics)).count();
                assert_eq!(matching, usize::from(filter.matches_topics(&topics)), "{first} {second}");
            }
        }
        assert!(parts(&Filter::new()).is_empty());
    }
}
