use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Fault;
use super::act::State;

/// Rules that a [`FaultProxy`](super::FaultProxy) follows; the same script acts in the same way on the same requests.
///
/// A request goes through the rules from the first to the last: each that acts on it may answer it, or change it and
/// its answer on the way. In a file it is a list:
///
/// ```
/// let script: privatix_testkit::Script = serde_json::from_str(
///     r#"[
///         { "methods": ["eth_getLogs"], "fault": { "at_most_blocks": { "blocks": 25 } } },
///         { "from": 100, "times": 50, "share": 0.2, "seed": 7, "fault": "silence" }
///     ]"#,
/// )?;
/// assert_eq!(script.0.len(), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Script(pub Vec<Rule>);

/// When a fault occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The methods that it is about; all if there are none. A WebSocket handshake counts as method `handshake`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Only requests that name this block tag, such as `pending`.
    #[serde(default)]
    pub tag: Option<String>,
    /// The first request it acts on, among those that it is about; 0 is the first of all.
    #[serde(default)]
    pub from: u64,
    /// How many requests it may act on from there; all if not given.
    #[serde(default)]
    pub times: Option<u64>,
    /// The share of those requests that it acts on, from 0 to 1.
    #[serde(default = "whole")]
    pub share: f64,
    /// Decides which ones.
    #[serde(default)]
    pub seed: u64,
    /// What happens.
    pub fault: Fault,
}

const fn whole() -> f64 {
    1.0
}

impl Rule {
    /// A rule about all requests of `methods`.
    pub fn new<const N: usize>(methods: [&str; N], fault: Fault) -> Self {
        let methods = methods.map(str::to_owned).into();
        Self { methods, tag: None, from: 0, times: None, share: whole(), seed: 0, fault }
    }

    /// Whether it is about a request.
    pub fn concerns(&self, method: &str, params: &Value) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|concerned| concerned == method))
            && self.tag.as_deref().is_none_or(|tag| names_tag(params, tag))
    }

    /// Whether it acts on the request that is the `n`th of those that it is about, counted from 0.
    pub fn acts_on(&self, n: u64) -> bool {
        let due = n >= self.from && self.times.is_none_or(|times| n - self.from < times);
        due && draw(self.seed, n) < self.share
    }
}

fn names_tag(params: &Value, tag: &str) -> bool {
    match params {
        Value::String(text) => text == tag,
        Value::Array(items) => items.iter().any(|item| names_tag(item, tag)),
        Value::Object(fields) => fields.values().any(|field| names_tag(field, tag)),
        _ => false,
    }
}

/// A number from 0 to below 1 that depends on its arguments alone: a step of splitmix64, so that scripts mean the same
/// with every version of every library.
#[expect(
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "53 bits are kept, which a float holds"
)]
fn draw(seed: u64, n: u64) -> f64 {
    let mut mixed = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A rule at work.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) rule: Rule,
    seen: AtomicU64,
    pub(super) state: State,
}

impl Armed {
    pub(super) fn script(script: Script) -> Vec<Self> {
        let arm = |rule| Self { rule, seen: AtomicU64::new(0), state: State::default() };
        script.0.into_iter().map(arm).collect()
    }

    /// Whether it acts on this request; counts it.
    pub(super) fn acts(&self, method: &str, params: &Value) -> bool {
        self.rule.concerns(method, params) && self.rule.acts_on(self.seen.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn acted(rule: &Rule) -> Vec<u64> {
        (0..1_000).filter(|&n| rule.acts_on(n)).collect()
    }

    #[test]
    fn a_rule_acts_in_its_span_on_its_share_of_requests() {
        let mut rule = Rule::new([], Fault::Silence);
        assert_eq!(acted(&rule).len(), 1_000);
        (rule.from, rule.times) = (10, Some(500));
        assert_eq!(acted(&rule), (10..510).collect::<Vec<_>>());
        rule.share = 0.2;
        let acted_on = acted(&rule).len();
        assert!((70..130).contains(&acted_on), "{acted_on} of 500");
        rule.share = 0.0;
        assert!(acted(&rule).is_empty());
    }

    #[test]
    fn a_rule_concerns_its_methods_and_its_tag() {
        let mut rule = Rule::new(["eth_call", "eth_getLogs"], Fault::Cut);
        assert!(rule.concerns("eth_call", &Value::Null) && !rule.concerns("eth_chainId", &Value::Null));
        rule.tag = Some("pending".to_owned());
        assert!(rule.concerns("eth_call", &json!([{"to": "0x0"}, "pending"])));
        assert!(rule.concerns("eth_getLogs", &json!([{"toBlock": "pending"}])));
        assert!(!rule.concerns("eth_call", &json!([{"to": "0x0"}, "latest"])));
    }

    #[test]
    fn a_script_that_is_misspelt_is_refused() {
        for wrong in [
            r#"[{ "method": ["eth_call"], "fault": "cut" }]"#,
            r#"[{ "fault": { "lag": { "block": 3 } } }]"#,
            r#"[{ "fault": "burn" }]"#,
        ] {
            assert!(serde_json::from_str::<Script>(wrong).is_err(), "{wrong}");
        }
    }
}
