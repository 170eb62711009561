//! `[service]` and `[closing]`: how channels are served, and when what they have earned is cashed.

use std::fmt;
use std::time::Duration;

use alloy::primitives::utils::{ParseUnits, format_units, parse_units};
use privatix_agent::{AgentPolicy, BatchPolicy, Wei};
use privatix_channel::Period;
use privatix_daemon::DaemonError;
use privatix_daemon::config::{ChainSection, TokenAmount};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// After how long without a close `clientd` asks for one itself, by its defaults.
const CLIENTS_PATIENCE: Duration = Duration::from_hours(1);
/// For a batch to be put together.
const A_MOMENT: Duration = Duration::from_mins(1);

/// `[service]`: how long an open channel waits for its client, its plug-in and its offering.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServiceSection {
    #[serde(with = "humantime_serde")]
    top_up_grace: Duration,
    #[serde(with = "humantime_serde")]
    terms_within: Duration,
    #[serde(with = "humantime_serde")]
    refused_for: Duration,
    #[serde(with = "humantime_serde")]
    outage_for: Duration,
    #[serde(with = "humantime_serde")]
    vanished_for: Duration,
}

impl Default for ServiceSection {
    fn default() -> Self {
        let AgentPolicy { top_up_grace, terms_within, start_within, outage, vanish_after, .. } =
            AgentPolicy::default();
        Self {
            top_up_grace,
            terms_within,
            refused_for: start_within,
            outage_for: outage,
            vanished_for: vanish_after,
        }
    }
}

impl ServiceSection {
    /// Refuses settings that cannot work.
    pub(crate) fn check(&self) -> Result<(), DaemonError> {
        let patience = [
            ("service.terms_within", self.terms_within),
            ("service.refused_for", self.refused_for),
            ("service.outage_for", self.outage_for),
            ("service.vanished_for", self.vanished_for),
        ];
        match patience.into_iter().find(|(_, patience)| patience.is_zero()) {
            Some((what, _)) => {
                Err(wrong(what, "channels would end at the first short outage; write e.g. \"10m\""))
            }
            None => Ok(()),
        }
    }

    /// The rules for channels, with the defaults about their closes.
    pub(crate) fn policy(&self) -> AgentPolicy {
        let mut policy = AgentPolicy::default();
        policy.top_up_grace = self.top_up_grace;
        policy.terms_within = self.terms_within;
        policy.start_within = self.refused_for;
        policy.outage = self.outage_for;
        policy.vanish_after = self.vanished_for;
        policy
    }
}

/// `[closing]`: when channels are closed and settled, and at which cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClosingSection {
    min_gain: TokenAmount,
    #[serde(with = "humantime_serde")]
    batch_within: Option<Duration>,
    #[serde(with = "humantime_serde")]
    close_within: Duration,
    #[serde(with = "humantime_serde")]
    batch_free_within: Option<Duration>,
    free_within: Patience,
    batch_min_surplus: TokenAmount,
    batch_below_gwei: Option<Gwei>,
    settle_above: Option<TokenAmount>,
    dispute_min: Option<TokenAmount>,
    #[serde(with = "humantime_serde")]
    last_voucher_within: Duration,
    free_admitted: bool,
    #[serde(with = "humantime_serde")]
    finalized_within: Duration,
    free_adopted: bool,
}

impl Default for ClosingSection {
    fn default() -> Self {
        let (alone, batched) = (AgentPolicy::default(), BatchPolicy::default());
        Self {
            min_gain: TokenAmount(alone.min_gain),
            batch_within: None,
            close_within: alone.max_delay,
            batch_free_within: None,
            free_within: Patience(alone.free_after),
            batch_min_surplus: TokenAmount(batched.min_surplus),
            batch_below_gwei: batched.gas_price.map(Gwei),
            settle_above: alone.at_risk.map(TokenAmount),
            dispute_min: alone.dispute_min.map(TokenAmount),
            last_voucher_within: alone.last_voucher,
            free_admitted: alone.free_at_once,
            finalized_within: Duration::from_secs(alone.close_after.seconds().into()),
            free_adopted: alone.free_adopted,
        }
    }
}

impl ClosingSection {
    /// Refuses settings that contradict each other, or those of the chain.
    pub(crate) fn check(&self, chain: &ChainSection) -> Result<(), DaemonError> {
        if let Some(what) = self.needs_a_rate().filter(|_| chain.ether_per_token.is_none()) {
            return Err(wrong(
                what,
                "gas cannot be compared with it: set chain.ether_per_token, too, or leave it out",
            ));
        }
        let alone = Some(self.close_within).filter(|alone| !alone.is_zero());
        if self.is_too_late(self.batch_within, alone) {
            return Err(wrong(
                "closing.batch_within",
                "a batch would never be sent, because each channel is closed alone after closing.close_within, and waits for closing.last_voucher_within before; set it lower by that and a minute, or leave it out for two thirds of close_within",
            ));
        }
        if self.is_too_late(self.batch_free_within, self.free_within.0) {
            return Err(wrong(
                "closing.batch_free_within",
                "a batch would never be sent, because each channel is closed alone after closing.free_within, and waits for closing.last_voucher_within before; set it lower by that and a minute, or leave it out for two thirds of free_within",
            ));
        }
        let highest = Wei::new(u128::from(chain.max_fee_gwei).saturating_mul(WEI_PER_GWEI));
        if self.batch_below_gwei.is_some_and(|Gwei(below)| below > highest) {
            return Err(wrong(
                "closing.batch_below_gwei",
                "it is above chain.max_fee_gwei, the highest price that is paid, so every batch would be sent at once; set it below that, or leave it out",
            ));
        }
        Ok(())
    }

    /// The setting that differs from its default, and has an effect only where tokens can be compared with gas.
    fn needs_a_rate(&self) -> Option<&'static str> {
        let default = Self::default();
        let amounts = [
            ("closing.min_gain", self.min_gain, default.min_gain),
            ("closing.batch_min_surplus", self.batch_min_surplus, default.batch_min_surplus),
        ];
        amounts.into_iter().find(|(_, set, default)| set.0 != default.0).map(|(what, ..)| what)
    }

    /// Whether channels are closed alone before a batch would be sent: they wait for that since their end, and for a batch since the
    /// time for the client's last voucher was over. A batch needs a moment to be put together.
    fn is_too_late(&self, batched: Option<Duration>, alone: Option<Duration>) -> bool {
        let sent =
            |batched: Duration| batched.saturating_add(self.last_voucher_within).saturating_add(A_MOMENT);
        batched.map(sent).zip(alone).is_some_and(|(sent, alone)| sent > alone)
    }

    /// Warns of settings that work, but probably not as meant.
    pub(crate) fn doubts(&self) -> Vec<String> {
        self.no_batches().into_iter().chain(self.too_patient()).collect()
    }

    /// The time that leaves no room for batches, where their own time is left out.
    fn no_batches(&self) -> Option<String> {
        let mut policy = AgentPolicy::default();
        self.apply(&mut policy);
        let batches = BatchPolicy::for_channels(&policy);
        let alone = Some(self.close_within).filter(|alone| !alone.is_zero());
        let free = self.free_within.0.filter(|free| !free.is_zero());
        let waits = [
            ("closing.close_within", self.batch_within, Some(batches.max_delay), alone),
            ("closing.free_within", self.batch_free_within, batches.free_after, free),
        ];
        let mut short = waits.into_iter().filter(|(_, set, ..)| set.is_none());
        short.find(|(.., batched, alone)| self.is_too_late(*batched, *alone)).map(|(what, ..)| {
            format!(
                "{what} is over before channels could be closed together: closing.last_voucher_within, two thirds of it and a minute are \
                 longer, so each is closed alone. Set it higher, or closing.last_voucher_within lower"
            )
        })
    }

    fn too_patient(&self) -> Option<String> {
        let waits =
            [("closing.close_within", Some(self.close_within)), ("closing.free_within", self.free_within.0)];
        let too_long =
            waits.into_iter().find(|(_, waits)| waits.is_none_or(|waits| waits > CLIENTS_PATIENCE));
        too_long.map(|(what, _)| {
            format!(
                "{what} is longer than the hour after which clients ask to close by themselves; their challenge then keeps the place \
                 of the offering for a day. Set it to \"1h\" or less"
            )
        })
    }

    /// Sets what an agent's rules say about closes.
    pub(crate) fn apply(&self, policy: &mut AgentPolicy) {
        let amount = |set: Option<TokenAmount>| set.map(|TokenAmount(amount)| amount);
        policy.min_gain = self.min_gain.0;
        policy.max_delay = self.close_within;
        policy.free_after = self.free_within.0;
        policy.at_risk = amount(self.settle_above);
        policy.dispute_min = amount(self.dispute_min);
        policy.last_voucher = self.last_voucher_within;
        policy.free_at_once = self.free_admitted;
        policy.close_after = Period::new(u32::try_from(self.finalized_within.as_secs()).unwrap_or(u32::MAX));
        policy.free_adopted = self.free_adopted;
    }

    /// When closes and settlements go out together, for channels with these rules.
    pub(crate) fn batches(&self, policy: &AgentPolicy) -> BatchPolicy {
        let mut batches = BatchPolicy::for_channels(policy);
        batches.min_surplus = self.batch_min_surplus.0;
        batches.gas_price = self.batch_below_gwei.map(|Gwei(price)| price);
        batches.max_delay = self.batch_within.unwrap_or(batches.max_delay);
        batches.free_after = self.batch_free_within.or(batches.free_after);
        batches
    }
}

fn wrong(what: &str, reason: &str) -> DaemonError {
    DaemonError::Usage { what: what.into(), reason: reason.into() }
}

/// A duration, or `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Patience(Option<Duration>);

impl TryFrom<String> for Patience {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let duration = humantime::parse_duration(&text);
        duration
            .map(|duration| Self(Some(duration)))
            .map_err(|error| format!("neither a duration such as \"30m\" nor \"never\": {error}"))
    }
}

impl From<Patience> for String {
    fn from(Patience(patience): Patience) -> Self {
        patience.map_or_else(|| "never".into(), |patience| humantime::format_duration(patience).to_string())
    }
}

const WEI_PER_GWEI: u128 = 1_000_000_000;

/// A price of gas: a number of gwei, or one with decimals as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gwei(Wei);

impl Serialize for Gwei {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_units(self.0.get(), "gwei").unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Gwei {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Price;

        impl de::Visitor<'_> for Price {
            type Value = Gwei;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price of gas in gwei, such as 2 or \"0.05\"")
            }

            fn visit_u64<E: de::Error>(self, gwei: u64) -> Result<Gwei, E> {
                Ok(Gwei(Wei::new(u128::from(gwei).saturating_mul(WEI_PER_GWEI))))
            }

            fn visit_i64<E: de::Error>(self, gwei: i64) -> Result<Gwei, E> {
                let whole =
                    u64::try_from(gwei).map_err(|_| E::invalid_value(de::Unexpected::Signed(gwei), &self))?;
                self.visit_u64(whole)
            }

            fn visit_f64<E: de::Error>(self, gwei: f64) -> Result<Gwei, E> {
                self.visit_str(&gwei.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Gwei, E> {
                match parse_units(text, "gwei") {
                    Ok(ParseUnits::U256(wei)) => Ok(Gwei(Wei::new(wei.saturating_to()))),
                    Ok(ParseUnits::I256(_)) | Err(_) => {
                        Err(E::invalid_value(de::Unexpected::Str(text), &self))
                    }
                }
            }
        }

        deserializer.deserialize_any(Price)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn section(closing: Value) -> ClosingSection {
        serde_json::from_value(closing).unwrap()
    }

    fn policies(closing: &ClosingSection) -> (AgentPolicy, BatchPolicy) {
        let mut policy = ServiceSection::default().policy();
        closing.apply(&mut policy);
        let batches = closing.batches(&policy);
        (policy, batches)
    }

    #[test]
    fn without_settings_the_rules_are_the_default_ones() {
        let found = policies(&section(json!({})));
        assert_eq!(found, (AgentPolicy::default(), BatchPolicy::default()));
        let shown = serde_json::to_value(section(json!({}))).unwrap();
        assert_eq!(policies(&section(shown)), found, "what is shown is what is read");
    }

    #[test]
    fn each_setting_sets_its_rule() {
        let mut policy = AgentPolicy::default();
        let mut batches = BatchPolicy::default();
        policy.min_gain = 5_u64.into();
        policy.max_delay = Duration::from_mins(9);
        policy.free_after = None;
        policy.at_risk = Some(70_u64.into());
        policy.dispute_min = Some(3_u64.into());
        policy.last_voucher = Duration::from_secs(4);
        policy.free_at_once = false;
        policy.close_after = Period::hours(2);
        policy.free_adopted = true;
        batches.min_surplus = 6_u64.into();
        batches.gas_price = Some(Wei::new(50_000_000));
        batches.max_delay = Duration::from_mins(6); // two thirds
        batches.free_after = Some(Duration::from_mins(40));
        let mut closing = json!({
            "min_gain": 5, "close_within": "9m", "free_within": "never", "batch_free_within": "40m",
            "settle_above": "70", "dispute_min": 3, "last_voucher_within": "4s", "free_admitted": false,
            "finalized_within": "2h", "free_adopted": true, "batch_min_surplus": 6, "batch_below_gwei": "0.05",
        });
        assert_eq!(policies(&section(closing.clone())), (policy.clone(), batches.clone()));
        closing["batch_within"] = json!("5m");
        batches.max_delay = Duration::from_mins(5);
        assert_eq!(policies(&section(closing)), (policy, batches));

        let service = json!({
            "top_up_grace": "1m", "terms_within": "2m", "refused_for": "3m", "outage_for": "4m", "vanished_for": "5m",
        });
        let policy = serde_json::from_value::<ServiceSection>(service).unwrap().policy();
        let AgentPolicy { top_up_grace, terms_within, start_within, outage, vanish_after, .. } = policy;
        let found = [top_up_grace, terms_within, start_within, outage, vanish_after];
        assert_eq!(found, [1, 2, 3, 4, 5].map(Duration::from_mins));
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_by_name_with_the_remedy() {
        let refused = |chain: &Value, closing: Value| {
            let mut settings = json!({
                "endpoint": "http://127.0.0.1:1", "contract": "0x1111111111111111111111111111111111111111",
            });
            settings.as_object_mut().unwrap().extend(chain.as_object().unwrap().clone());
            let chain: ChainSection = serde_json::from_value(settings).unwrap();
            section(closing).check(&chain).err().map(|error| error.to_string())
        };
        let (none, rate) = (json!({}), json!({ "ether_per_token": "0.0005" }));
        for (chain, closing, expected) in [
            (&none, json!({}), None),
            (&none, json!({ "min_gain": 5 }), Some(["closing.min_gain", "set chain.ether_per_token"])),
            (
                &none,
                json!({ "batch_min_surplus": 5 }),
                Some(["closing.batch_min_surplus", "chain.ether_per_token"]),
            ),
            (&rate, json!({ "min_gain": 5, "batch_min_surplus": 0 }), None),
            (&none, json!({ "batch_within": "30m" }), Some(["closing.batch_within", "set it lower"])),
            // The last voucher's 10 s, and a minute.
            (&none, json!({ "batch_within": "28m 50s" }), None),
            (
                &none,
                json!({ "batch_within": "28m 51s" }),
                Some(["closing.batch_within", "last_voucher_within"]),
            ),
            (
                &none,
                json!({ "batch_within": "20m", "last_voucher_within": "9m 1s" }),
                Some(["closing.batch_within", "last_voucher_within"]),
            ),
            (&none, json!({ "batch_within": "20m", "last_voucher_within": "9m" }), None),
            (&none, json!({ "batch_within": "1h", "close_within": "62m" }), None),
            // Closes go alone at once, settlements together.
            (&none, json!({ "batch_within": "1h", "close_within": "0s", "settle_above": 9 }), None),
            (
                &none,
                json!({ "batch_free_within": "30m" }),
                Some(["closing.batch_free_within", "set it lower"]),
            ),
            (
                &none,
                json!({ "batch_free_within": "28m 51s" }),
                Some(["closing.batch_free_within", "last_voucher_within"]),
            ),
            (&none, json!({ "batch_free_within": "28m 50s" }), None),
            (&none, json!({ "batch_free_within": "30m", "free_within": "never" }), None),
            (
                &none,
                json!({ "batch_below_gwei": 501 }),
                Some(["closing.batch_below_gwei", "chain.max_fee_gwei"]),
            ),
            (&none, json!({ "batch_below_gwei": "0.01" }), None),
            (&none, json!({ "batch_below_gwei": 0.01 }), None),
        ] {
            let found = refused(chain, closing.clone());
            assert_eq!(found.is_some(), expected.is_some(), "{closing}: {found:?}");
            for part in expected.into_iter().flatten() {
                assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{closing}: {found:?}");
            }
        }
    }

    #[test]
    fn settings_that_work_otherwise_than_meant_are_warned_of_by_name() {
        for (closing, named) in [
            (json!({}), None),
            (json!({ "close_within": "1h", "free_within": "1h" }), None),
            (json!({ "close_within": "2h" }), Some("closing.close_within is longer")),
            (json!({ "free_within": "2h" }), Some("closing.free_within is longer")),
            (json!({ "free_within": "never" }), Some("closing.free_within is longer")),
            // A batch is sent after two thirds, and the rest is longer than a third.
            (json!({ "close_within": "3m 30s" }), None),
            (json!({ "close_within": "3m 29s" }), Some("closing.close_within is over before")),
            (json!({ "free_within": "3m 29s" }), Some("closing.free_within is over before")),
            (json!({ "last_voucher_within": "9m" }), None),
            (json!({ "last_voucher_within": "9m 1s" }), Some("closing.close_within is over before")),
            // At once is meant so.
            (json!({ "close_within": "0s", "free_within": "0s" }), None),
        ] {
            let doubts = section(closing.clone()).doubts();
            assert_eq!(doubts.len(), named.into_iter().count(), "{closing}: {doubts:?}");
            assert!(named.is_none_or(|named| doubts[0].starts_with(named)), "{closing}: {doubts:?}");
        }
    }

    #[test]
    fn patience_of_no_time_is_refused_by_name() {
        for (setting, refused) in [
            ("terms_within", true),
            ("refused_for", true),
            ("outage_for", true),
            ("vanished_for", true),
            ("top_up_grace", false),
        ] {
            let service: ServiceSection = serde_json::from_value(json!({ setting: "0s" })).unwrap();
            let found = service.check().err().map(|error| error.to_string());
            assert_eq!(found.is_some(), refused, "{setting}");
            assert!(found.is_none_or(|found| found.contains(&format!("service.{setting}"))));
        }
    }
}
