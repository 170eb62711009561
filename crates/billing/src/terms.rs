//! What an agent sells and for how much: the terms of an offering, checked once, then trusted.

use std::fmt;
use std::time::Duration;

use privatix_channel::{Amount, Usage};
use serde::{Deserialize, Serialize};

use crate::price;

/// What a service's meter counts: the finest measure of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Bytes carried, both directions together.
    Bytes,
    /// Seconds of service.
    Seconds,
    /// Things done: requests, tokens, messages.
    Requests,
}

/// The unit that all terms count in: a name for people, and its size in the measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// As shown to people: `MiB`, `minute`, `request`; 1 to 32 visible characters.
    pub name: String,
    /// What one unit is made of.
    pub measure: Measure,
    /// How much of the measure one unit is: 1,048,576 for a MiB, 60 for a minute. At least 1.
    pub size: u64,
}

/// When a client pays for an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Billing {
    /// One billing interval ahead of use.
    Prepaid,
    /// After each billing interval of use.
    Postpaid,
}

/// Terms as written by an operator or received in a message, not checked yet.
///
/// Counts are in units ([`Unit`]), prices in the token's base units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TermsDraft {
    /// The unit that everything below counts in.
    pub unit: Unit,
    /// Ahead of use or after it.
    pub billing: Billing,
    /// Price of the connection itself, owed before any service.
    pub setup_price: Amount,
    /// Price of one unit; at least 1.
    pub unit_price: Amount,
    /// Units that cost nothing, counted first.
    pub free_units: u64,
    /// Units that the smallest accepted deposit pays for; at least 1.
    pub min_units: u64,
    /// Units after which the agent ends the channel; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_units: Option<u64>,
    /// How often, in units, the client pays; at least 1.
    pub billing_interval: u64,
    /// Unpaid units that the agent bears before it suspends.
    pub max_billing_unit_lag: u64,
    /// How long a channel may stay suspended before the agent ends it; whole seconds, at least 1.
    #[serde(with = "seconds")]
    pub max_suspend: Duration,
    /// How long a channel may stay without use before either side ends it; whole seconds, at
    /// least 1.
    #[serde(with = "seconds")]
    pub max_inactive: Duration,
    /// How long a client may neither use nor pay for a service that is ready, from the opening of the channel on, before the agent
    /// ends it; whole seconds, at least [`SHORTEST_FIRST_USE`]. `None`: as long as `max_inactive`. It is left out of messages where it
    /// is not set, so what was signed before it existed keeps its hash; clients of earlier versions refuse a message that has it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds_if_any")]
    pub max_first_use: Option<Duration>,
}

/// The least [`max_first_use`](TermsDraft::max_first_use): a person has to connect within it, perhaps over Tor.
pub const SHORTEST_FIRST_USE: Duration = Duration::from_mins(15);

impl TermsDraft {
    /// Checks every rule that the billing functions rely on.
    ///
    /// # Errors
    /// The first broken rule; [`TermsError::field`] names the field to change.
    pub fn validate(self) -> Result<Terms, TermsError> {
        check_unit_name(&self.unit.name)?;
        let at_least_one = [
            (Field::UnitSize, self.unit.size == 0),
            (Field::UnitPrice, self.unit_price.is_zero()),
            (Field::MinUnits, self.min_units == 0),
            (Field::BillingInterval, self.billing_interval == 0),
            (Field::MaxSuspend, self.max_suspend.is_zero()),
            (Field::MaxInactive, self.max_inactive.is_zero()),
        ];
        if let Some((field, _)) = at_least_one.into_iter().find(|(_, zero)| *zero) {
            return Err(TermsError::Zero { field });
        }
        let counts = [
            (Field::FreeUnits, self.free_units),
            (Field::MinUnits, self.min_units),
            (Field::MaxUnits, self.max_units.unwrap_or(0)),
            (Field::BillingInterval, self.billing_interval),
            (Field::MaxBillingUnitLag, self.max_billing_unit_lag),
        ];
        for (field, units) in counts {
            if units.checked_mul(self.unit.size).is_none() {
                return Err(TermsError::Unmeasurable { field, units, unit_size: self.unit.size });
            }
        }
        let first_use = self.max_first_use.map(|period| (Field::MaxFirstUse, period));
        let periods = [(Field::MaxSuspend, self.max_suspend), (Field::MaxInactive, self.max_inactive)];
        for (field, period) in periods.into_iter().chain(first_use) {
            if period > LONGEST_PERIOD {
                return Err(TermsError::TooLong { field, seconds: period.as_secs() });
            }
            if period.subsec_nanos() != 0 {
                return Err(TermsError::NotWholeSeconds { field });
            }
        }
        if let Some(period) = self.max_first_use.filter(|period| *period < SHORTEST_FIRST_USE) {
            return Err(TermsError::FirstUseTooShort { seconds: period.as_secs() });
        }
        if let Some(max_units) = self.max_units {
            if max_units < self.min_units {
                return Err(TermsError::MaxBelowMin { max_units, min_units: self.min_units });
            }
            if max_units <= self.free_units {
                return Err(TermsError::AllFree { max_units, free_units: self.free_units });
            }
        }
        // A postpaid client pays when an interval is unpaid: an agent that suspends before that
        // would suspend every honest client.
        if self.billing == Billing::Postpaid && self.billing_interval > self.max_billing_unit_lag {
            return Err(TermsError::IntervalAboveLag {
                billing_interval: self.billing_interval,
                max_billing_unit_lag: self.max_billing_unit_lag,
            });
        }
        let terms = Terms(self);
        match price::checked_min_deposit(&terms) {
            Some(deposit) if deposit.fits_on_chain() => Ok(terms),
            _ => Err(TermsError::DepositTooLarge),
        }
    }
}

/// One hundred years: long enough for any service, short enough that no clock overflows.
const LONGEST_PERIOD: Duration = Duration::from_hours(100 * 366 * 24);

/// Periods are written as whole seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(period: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(period.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

/// The same for a period that may be left out.
mod seconds_if_any {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    // By reference, as serde calls it.
    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        period: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        period.map(|period| period.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
    }
}

/// Longest name of a unit, in characters.
const LONGEST_UNIT_NAME: usize = 32;

fn check_unit_name(name: &str) -> Result<(), TermsError> {
    let length = name.chars().count();
    if length == 0 || length > LONGEST_UNIT_NAME || name.trim() != name || name.chars().any(char::is_control)
    {
        return Err(TermsError::UnitName);
    }
    Ok(())
}

/// Terms that passed [`TermsDraft::validate`]: every product of units and unit size fits a meter,
/// the smallest deposit fits the chain, and an honest client can always pay in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TermsDraft", into = "TermsDraft")]
pub struct Terms(TermsDraft);

impl Terms {
    /// Checks a draft; the same as [`TermsDraft::validate`].
    ///
    /// # Errors
    /// The first broken rule.
    pub fn new(draft: TermsDraft) -> Result<Self, TermsError> {
        draft.validate()
    }

    /// The unit that all terms count in.
    pub fn unit(&self) -> &Unit {
        &self.0.unit
    }

    /// Prepaid or postpaid.
    pub fn billing(&self) -> Billing {
        self.0.billing
    }

    /// Price of the connection itself.
    pub fn setup_price(&self) -> Amount {
        self.0.setup_price
    }

    /// Price of one unit, never zero.
    pub fn unit_price(&self) -> Amount {
        self.0.unit_price
    }

    /// All terms as plain fields.
    pub fn as_draft(&self) -> &TermsDraft {
        &self.0
    }

    /// The free use, metered.
    pub fn free(&self) -> Usage {
        self.measured(self.0.free_units)
    }

    /// The use that the smallest accepted deposit pays for, metered.
    pub fn min(&self) -> Usage {
        self.measured(self.0.min_units)
    }

    /// The most that the agent delivers, metered.
    pub fn max(&self) -> Usage {
        self.0.max_units.map_or(Usage::MAX, |units| self.measured(units))
    }

    /// The billing interval, metered.
    pub fn interval(&self) -> Usage {
        self.measured(self.0.billing_interval)
    }

    /// The unpaid use that the agent bears, metered.
    pub fn max_lag(&self) -> Usage {
        self.measured(self.0.max_billing_unit_lag)
    }

    /// How long a channel may stay suspended.
    pub fn max_suspend(&self) -> Duration {
        self.0.max_suspend
    }

    /// How long a channel may stay without use.
    pub fn max_inactive(&self) -> Duration {
        self.0.max_inactive
    }

    /// How long a new client may neither use nor pay for a service that is ready.
    pub fn max_first_use(&self) -> Duration {
        self.0.max_first_use.unwrap_or(self.0.max_inactive)
    }

    /// `units` in the measure. Validation proved that the product of every count of the terms
    /// fits; other counts saturate.
    fn measured(&self, units: u64) -> Usage {
        Usage::new(units.saturating_mul(self.0.unit.size))
    }
}

impl TryFrom<TermsDraft> for Terms {
    type Error = TermsError;

    fn try_from(draft: TermsDraft) -> Result<Self, TermsError> {
        draft.validate()
    }
}

impl From<Terms> for TermsDraft {
    fn from(terms: Terms) -> Self {
        terms.0
    }
}

/// A field of [`TermsDraft`], displayed as it is written in an offering message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// `unit.name`
    UnitName,
    /// `unit.size`
    UnitSize,
    /// `unitPrice`
    UnitPrice,
    /// `freeUnits`
    FreeUnits,
    /// `minUnits`
    MinUnits,
    /// `maxUnits`
    MaxUnits,
    /// `billingInterval`
    BillingInterval,
    /// `maxBillingUnitLag`
    MaxBillingUnitLag,
    /// `maxSuspend`
    MaxSuspend,
    /// `maxInactive`
    MaxInactive,
    /// `maxFirstUse`
    MaxFirstUse,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnitName => "unit.name",
            Self::UnitSize => "unit.size",
            Self::UnitPrice => "unitPrice",
            Self::FreeUnits => "freeUnits",
            Self::MinUnits => "minUnits",
            Self::MaxUnits => "maxUnits",
            Self::BillingInterval => "billingInterval",
            Self::MaxBillingUnitLag => "maxBillingUnitLag",
            Self::MaxSuspend => "maxSuspend",
            Self::MaxInactive => "maxInactive",
            Self::MaxFirstUse => "maxFirstUse",
        })
    }
}

/// Why terms cannot be used; every message names the field and the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TermsError {
    /// A field that must be at least one is zero.
    #[error("{field} is zero; set it to at least 1")]
    Zero {
        /// The field.
        field: Field,
    },
    /// The unit's name is empty, too long, padded, or holds control characters.
    #[error("unit.name must be 1 to 32 visible characters without spaces around them")]
    UnitName,
    /// A count of units is more than a meter can count.
    #[error(
        "{field} of {units} units of {unit_size} each is more than a meter can count; lower it or unit.size"
    )]
    Unmeasurable {
        /// The field.
        field: Field,
        /// Its value.
        units: u64,
        /// The unit's size.
        unit_size: u64,
    },
    /// A period is longer than one hundred years.
    #[error("{field} of {seconds} s is longer than 100 years; lower it")]
    TooLong {
        /// The field.
        field: Field,
        /// Its value in seconds.
        seconds: u64,
    },
    /// A period is not a whole number of seconds, which is what messages carry.
    #[error("{field} is not a whole number of seconds; round it")]
    NotWholeSeconds {
        /// The field.
        field: Field,
    },
    /// A client could not connect in time.
    #[error("maxFirstUse of {seconds} s is shorter than 15 minutes; raise it, or leave it out")]
    FirstUseTooShort {
        /// Its value in seconds.
        seconds: u64,
    },
    /// The limit is below the minimum.
    #[error("maxUnits of {max_units} is below minUnits of {min_units}; raise maxUnits or lower minUnits")]
    MaxBelowMin {
        /// The limit.
        max_units: u64,
        /// The minimum.
        min_units: u64,
    },
    /// The whole channel is free, so nothing is sold.
    #[error("freeUnits of {free_units} cover all of maxUnits {max_units}; lower freeUnits or raise maxUnits")]
    AllFree {
        /// The limit.
        max_units: u64,
        /// The free units.
        free_units: u64,
    },
    /// An honest postpaid client would be suspended before its payment is due.
    #[error(
        "billingInterval of {billing_interval} is above maxBillingUnitLag of {max_billing_unit_lag}, so a postpaid client would be suspended before its payment is due; lower billingInterval or raise maxBillingUnitLag"
    )]
    IntervalAboveLag {
        /// The interval.
        billing_interval: u64,
        /// The lag.
        max_billing_unit_lag: u64,
    },
    /// The smallest deposit does not fit the contract's 96 bits.
    #[error(
        "setupPrice + minUnits * unitPrice is more than the chain can hold (2^96 - 1); lower minUnits or the prices"
    )]
    DepositTooLarge,
}

impl TermsError {
    /// The field to change first.
    pub fn field(&self) -> Field {
        match self {
            Self::Zero { field }
            | Self::Unmeasurable { field, .. }
            | Self::TooLong { field, .. }
            | Self::NotWholeSeconds { field } => *field,
            Self::UnitName => Field::UnitName,
            Self::FirstUseTooShort { .. } => Field::MaxFirstUse,
            Self::MaxBelowMin { .. } => Field::MaxUnits,
            Self::AllFree { .. } => Field::FreeUnits,
            Self::IntervalAboveLag { .. } => Field::BillingInterval,
            Self::DepositTooLarge => Field::MinUnits,
        }
    }
}
