//! Changes of requests and results, as values.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::act::Request;

/// A quantity as nodes write it.
pub(super) fn hex(number: u64) -> Value {
    format!("{number:#x}").into()
}

/// A quantity, read.
pub(super) fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// `result` with the fields of `patch` (RFC 7386).
pub(super) fn merged(result: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut fields = if let Value::Object(fields) = result { fields } else { Map::new() };
    for (name, change) in patch {
        if change.is_null() {
            fields.remove(name);
        } else {
            let before = fields.remove(name).unwrap_or_default();
            fields.insert(name.clone(), merged(before, change));
        }
    }
    fields.into()
}

/// Blocks that a request for logs spans; none for one that names a block by its hash or by a tag.
pub(super) fn span(params: &Value) -> Option<u64> {
    let (from, to) = (number(&params[0]["fromBlock"])?, number(&params[0]["toBlock"])?);
    Some(to.checked_sub(from)? + 1)
}

/// A request to an endpoint that is at a lower head.
pub(super) enum Seen {
    /// Answered without the node.
    Known(Value),
    /// To be asked.
    Ask(Request),
}

pub(super) fn up_to(head: u64, mut request: Request) -> Seen {
    match request.method.as_str() {
        "eth_blockNumber" => return Seen::Known(hex(head)),
        "eth_getBlockByNumber" if number(&request.params[0]).is_some_and(|block| block > head) => {
            return Seen::Known(Value::Null);
        }
        "eth_getLogs" if request.params[0].get("blockHash").is_none() => {
            let filter = &mut request.params[0];
            if number(&filter["fromBlock"]).is_some_and(|from| from > head) {
                return Seen::Known(json!([]));
            }
            let to = number(&filter["toBlock"]).map_or(head, |to| to.min(head));
            filter["toBlock"] = hex(to);
        }
        _ => {}
    }
    let pinned = hex(head);
    change_strings(&mut request.params, &mut |text| {
        matches!(text, "latest" | "pending" | "safe" | "finalized").then(|| pinned.clone())
    });
    Seen::Ask(request)
}

fn change_strings(value: &mut Value, change: &mut impl FnMut(&str) -> Option<Value>) {
    match value {
        Value::String(text) => {
            if let Some(changed) = change(text) {
                *value = changed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| change_strings(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| change_strings(field, change)),
        _ => {}
    }
}

/// The hash of the same block on the other branch, and back again: the first byte is inverted.
fn crossed(hash: &Value) -> Value {
    let inverted = hash.as_str().and_then(|text| {
        let (first, rest) = (text.get(2..4)?, text.get(4..)?);
        Some(format!("0x{:02x}{rest}", !u8::from_str_radix(first, 16).ok()?))
    });
    inverted.map_or_else(|| hash.clone(), Into::into)
}

/// A request whose block hashes are those of the other branch.
pub(super) fn from_fork(mut request: Request) -> Request {
    if request.is(&["eth_getBlockByHash", "eth_getBlockReceipts"]) {
        request.params[0] = crossed(&request.params[0]);
    }
    if let Value::Array(params) = &mut request.params {
        for param in params {
            if let Some(hash) = param.get("blockHash") {
                param["blockHash"] = crossed(hash);
            }
        }
    }
    request
}

/// A result with the block hashes of the branch that begins at block `from`.
pub(super) fn to_fork(mut result: Value, from: u64) -> Value {
    match &mut result {
        Value::Array(items) => {
            for item in items {
                *item = to_fork(item.take(), from);
            }
        }
        Value::Object(fields) => {
            let at = |name: &str| fields.get(name).and_then(number);
            let (block, header) = (at("blockNumber"), at("number"));
            let mut cross = |name: &str| {
                if let Some(hash) = fields.get_mut(name) {
                    *hash = crossed(hash);
                }
            };
            if block.is_some_and(|block| block >= from) {
                cross("blockHash");
            }
            if header.is_some_and(|number| number >= from) {
                cross("hash");
            }
            if header.is_some_and(|number| number > from) {
                cross("parentHash");
            }
            if let Some(logs) = fields.get_mut("logs") {
                *logs = to_fork(logs.take(), from);
            }
        }
        _ => {}
    }
    result
}

/// Logs that are left out.
pub(super) struct Omitted<'a> {
    pub(super) blocks: RangeInclusive<u64>,
    pub(super) topic: Option<&'a str>,
}

impl Omitted<'_> {
    fn contains(&self, log: &Value) -> bool {
        let in_blocks = number(&log["blockNumber"]).is_some_and(|block| self.blocks.contains(&block));
        let has_topic = |topic: &str| {
            let topics = log["topics"].as_array().into_iter().flatten();
            topics.filter_map(Value::as_str).any(|found| found.eq_ignore_ascii_case(topic))
        };
        in_blocks && self.topic.is_none_or(has_topic)
    }

    pub(super) fn left_of_logs(&self, mut logs: Value) -> Value {
        if let Value::Array(logs) = &mut logs {
            logs.retain(|log| !self.contains(log));
        }
        logs
    }

    pub(super) fn left_of_receipts(&self, mut receipts: Value) -> Value {
        match &mut receipts {
            Value::Array(items) => {
                for item in items {
                    *item = self.left_of_receipts(item.take());
                }
            }
            receipt @ Value::Object(_) => receipt["logs"] = self.left_of_logs(receipt["logs"].take()),
            _ => {}
        }
        receipts
    }

    pub(super) fn left_of_header(&self, mut header: Value) -> Value {
        if number(&header["number"]).is_some_and(|block| self.blocks.contains(&block)) {
            header["logsBloom"] = format!("0x{}", "0".repeat(512)).into();
        }
        header
    }
}

/// A log that is not on the chain, in the block with this header.
pub(super) fn invented(header: &Value, address: &str, topics: &[String], data: &str) -> Value {
    json!({
        "address": address, "topics": topics, "data": data, "removed": false,
        "blockNumber": header["number"], "blockHash": header["hash"],
        "transactionHash": format!("0x{}", "1d".repeat(32)), "transactionIndex": "0x0",
        // Behind any real one.
        "logIndex": "0xffff",
    })
}

/// Whether a request for logs asks for one of this block, contract and topics.
pub(super) fn covers(params: &Value, block: u64, hash: &Value, address: &str, topics: &[String]) -> bool {
    let filter = &params[0];
    let block_fits = match filter.get("blockHash") {
        Some(asked) => asked == hash,
        None => {
            number(&filter["fromBlock"]).is_none_or(|from| from <= block)
                && number(&filter["toBlock"]).is_none_or(|to| to >= block)
        }
    };
    let topic_fits = |(position, asked): (usize, &Value)| {
        topics.get(position).map_or(asked.is_null(), |topic| any_of(asked, topic))
    };
    block_fits
        && any_of(&filter["address"], address)
        && filter["topics"].as_array().into_iter().flatten().enumerate().all(topic_fits)
}

/// Whether a part of a filter (a value, several, or none for all) matches.
fn any_of(asked: &Value, value: &str) -> bool {
    match asked {
        Value::String(asked) => asked.eq_ignore_ascii_case(value),
        Value::Array(asked) => asked.is_empty() || asked.iter().any(|asked| any_of(asked, value)),
        _ => true,
    }
}

pub(super) fn with_log(mut logs: Value, log: Value) -> Value {
    if let Value::Array(logs) = &mut logs {
        logs.push(log);
    }
    logs
}

pub(super) fn doubled(mut logs: Value) -> Value {
    if let Value::Array(logs) = &mut logs {
        logs.extend_from_within(..);
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs_of(from: u64, to: u64) -> Request {
        let params = json!([{"address": "0xAA", "fromBlock": hex(from), "toBlock": hex(to)}]);
        Request { method: "eth_getLogs".to_owned(), params }
    }

    #[test]
    fn a_lower_head_hides_what_is_above_it() {
        let ask = |request| match up_to(10, request) {
            Seen::Known(result) => result,
            Seen::Ask(request) => request.params,
        };
        assert_eq!(ask(logs_of(11, 20)), json!([]));
        assert_eq!(span(&ask(logs_of(8, 20))), Some(3));
        let of = |method: &str, params| Request { method: method.to_owned(), params };
        assert_eq!(ask(of("eth_blockNumber", json!([]))), "0xa");
        assert_eq!(ask(of("eth_getBlockByNumber", json!(["0xb", false]))), Value::Null);
        assert_eq!(ask(of("eth_getTransactionCount", json!(["0x1", "latest"]))), json!(["0x1", "0xa"]));
    }

    #[test]
    fn the_other_branch_is_linked_within_itself_and_to_the_blocks_below() {
        let hash = |byte: &str| json!(format!("0x{}", byte.repeat(32)));
        let block = |n: u64, hash: &Value, parent: &Value| json!({"number": hex(n), "hash": hash, "parentHash": parent});
        let last_common = to_fork(block(4, &hash("04"), &hash("03")), 5);
        assert_eq!(last_common, block(4, &hash("04"), &hash("03")));
        let first = to_fork(block(5, &hash("05"), &hash("04")), 5);
        assert_eq!(first["parentHash"], hash("04"));
        assert_ne!(first["hash"], hash("05"));
        let second = to_fork(block(6, &hash("06"), &hash("05")), 5);
        assert_eq!(second["parentHash"], first["hash"]);
        let log = to_fork(json!([{"blockNumber": "0x5", "blockHash": hash("05")}]), 5);
        assert_eq!(log[0]["blockHash"], first["hash"]);
        let asked = Request { method: "eth_getBlockByHash".to_owned(), params: json!([first["hash"]]) };
        assert_eq!(from_fork(asked).params[0], hash("05"));
    }

    #[test]
    fn invented_logs_are_answered_to_those_who_ask_for_them() {
        let topics = ["0xT0".to_owned()];
        let covers = |params: Value| covers(&params, 7, &json!("0xH"), "0xaa", &topics);
        assert!(covers(logs_of(7, 7).params));
        assert!(!covers(logs_of(8, 9).params));
        assert!(covers(
            json!([{"address": ["0xbb", "0xaa"], "blockHash": "0xH", "topics": [["0xt0"], null]}])
        ));
        assert!(!covers(json!([{"address": "0xbb"}])));
        assert!(!covers(json!([{"topics": ["0xt1"]}])));
        assert!(!covers(json!([{"topics": ["0xt0", "0xt1"]}])), "it has one topic only");
    }

    #[test]
    fn logs_are_left_out_by_block_and_topic_in_every_answer() {
        let log = |block: u64, topic: &str| json!({"blockNumber": hex(block), "topics": [topic]});
        let omitted = Omitted { blocks: 5..=6, topic: Some("0xab") };
        let logs = json!([log(4, "0xab"), log(5, "0xAB"), log(5, "0xcd")]);
        let left = json!([log(4, "0xab"), log(5, "0xcd")]);
        assert_eq!(omitted.left_of_logs(logs.clone()), left);
        assert_eq!(omitted.left_of_receipts(json!([{ "logs": logs }])), json!([{ "logs": left }]));
    }

    #[test]
    fn results_are_merged_as_rfc_7386_says() {
        let merged =
            merged(json!({"a": 1, "b": {"c": 2, "d": 3}}), &json!({"a": null, "b": {"c": 9}, "e": 4}));
        assert_eq!(merged, json!({"b": {"c": 9, "d": 3}, "e": 4}));
    }
}
