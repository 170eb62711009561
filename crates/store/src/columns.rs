//! Conversions between domain values and columns.

use std::str::FromStr;

use privatix_channel::{Amount, ChannelId, OfferingHash};
use privatix_db::types::{Amount128, Bytes32};

use crate::StoreError;

/// A count as the signed column type; counts above `i64::MAX` do not exist in practice and are refused.
pub(crate) fn signed(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt { what, reason: format!("{value} is out of range") })
}

pub(crate) fn unsigned(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { what, reason: format!("{value} is negative") })
}

pub(crate) fn narrow<T: TryFrom<i64>>(what: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Corrupt { what, reason: format!("{value} is out of range") })
}

pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|e: T::Err| StoreError::Corrupt { what, reason: e.to_string() })
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Corrupt { what, reason: e.to_string() })
}

pub(crate) fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Corrupt { what, reason: e.to_string() })
}

pub(crate) fn amount(value: Amount) -> Amount128 {
    Amount128::from(value.get())
}

pub(crate) fn to_amount(value: Amount128) -> Amount {
    Amount::new(value.into())
}

pub(crate) fn id(value: ChannelId) -> Bytes32 {
    Bytes32::from(*value.as_b256())
}

pub(crate) fn hash(value: OfferingHash) -> Bytes32 {
    Bytes32::from(*value.as_b256())
}
