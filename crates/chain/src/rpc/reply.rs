//! What we read of an endpoint's answers: only the fields that are used, in every form that nodes write them.

use std::fmt;

use alloy::primitives::{B256, Bloom};
use alloy::rpc::types::Log;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::BlockHeader;

/// A quantity. They should be hexadecimal without leading zeros (execution APIs, "Hex value encoding"); some nodes write
/// leading zeros, decimal digits, plain numbers, or nothing after `0x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quantity(u128);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity below 2^128")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Quantity, E> {
                Ok(Quantity(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Quantity, E> {
                Ok(Quantity(value.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
                let read = match digits {
                    Some("") => Ok(0),
                    // `from_str_radix` takes a sign.
                    Some(digits) if digits.starts_with('+') => {
                        return Err(E::custom("a quantity has no sign"));
                    }
                    Some(digits) => u128::from_str_radix(digits, 16),
                    None => text.parse(),
                };
                read.map(Quantity).map_err(|error| E::custom(format_args!("no quantity: {error}")))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// The highest block that is believed. Far above any chain, and far enough below the end of numbers that nothing computed
/// from it overflows; databases hold no more, either.
pub(super) const HIGHEST_BLOCK: u64 = i64::MAX as u64;

impl Quantity {
    fn block<E: de::Error>(self, what: &str) -> Result<u64, E> {
        match self.narrow(what)? {
            number @ ..=HIGHEST_BLOCK => Ok(number),
            number => Err(E::custom(format_args!("{what} is {number}, which no chain has"))),
        }
    }

    fn narrow<E: de::Error>(self, what: &str) -> Result<u64, E> {
        u64::try_from(self.0).map_err(|_| E::custom(format_args!("{what} is above 2^64")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHeader {
    number: Quantity,
    hash: B256,
    parent_hash: B256,
    timestamp: Quantity,
    #[serde(default)]
    base_fee_per_gas: Option<Quantity>,
    #[serde(default)]
    logs_bloom: Option<Bloom>,
    #[serde(default)]
    transactions: Option<Vec<de::IgnoredAny>>,
}

impl<'de> Deserialize<'de> for BlockHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawHeader::deserialize(deserializer)?;
        Ok(Self {
            number: raw.number.block("the number")?,
            hash: raw.hash,
            parent: raw.parent_hash,
            timestamp: raw.timestamp.narrow("the time")?,
            base_fee: raw.base_fee_per_gas.map(|fee| fee.narrow("the base fee")).transpose()?,
            // Without one there is nothing to check the logs against.
            bloom: raw.logs_bloom.unwrap_or_default(),
            is_empty: raw.transactions.is_some_and(|transactions| transactions.is_empty()),
        })
    }
}

/// What we use of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Height and hash of the block; none while the endpoint knows of none.
    pub(crate) block: Option<(u64, B256)>,
    /// Whether it did what it was to do.
    pub(crate) success: bool,
    /// The gas it used.
    pub(crate) gas_used: u64,
    /// What it paid per gas, in wei, where the endpoint says so.
    pub(crate) gas_price: Option<u128>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    #[serde(default)]
    block_number: Option<Quantity>,
    #[serde(default)]
    block_hash: Option<B256>,
    status: Quantity,
    gas_used: Quantity,
    #[serde(default)]
    effective_gas_price: Option<Quantity>,
    #[serde(default)]
    gas_price: Option<Quantity>,
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawReceipt::deserialize(deserializer)?;
        let number = raw.block_number.map(|number| number.block("the block number")).transpose()?;
        Ok(Self {
            block: number.zip(raw.block_hash),
            success: raw.status.0 == 1,
            gas_used: raw.gas_used.narrow("the gas used")?,
            gas_price: raw.effective_gas_price.or(raw.gas_price).map(|price| price.0),
        })
    }
}

/// What we use of a fee history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeeHistory {
    /// For each block the tips that the asked-for shares of its transactions did not exceed, in wei per gas.
    pub(crate) tips: Vec<Vec<u128>>,
}

impl<'de> Deserialize<'de> for FeeHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default)]
            reward: Option<Vec<Vec<Quantity>>>,
        }
        let blocks = Raw::deserialize(deserializer)?.reward.unwrap_or_default();
        let tips = blocks.into_iter().map(|block| block.into_iter().map(|tip| tip.0).collect()).collect();
        Ok(Self { tips })
    }
}

/// The logs of a receipt.
#[derive(Debug, Deserialize)]
pub(super) struct ReceiptLogs {
    pub(super) logs: Vec<Log>,
}

/// The transactions of a block that was asked for without their contents.
#[derive(Debug, Deserialize)]
pub(super) struct BlockTransactions {
    pub(super) hash: B256,
    pub(super) transactions: Vec<B256>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn quantities_are_read_in_every_form_that_nodes_write_them() {
        for (written, value) in [
            (json!("0x10"), 16),
            (json!("0x0010"), 16),
            (json!("0X1f"), 31),
            (json!("0x1F"), 31),
            (json!("0x"), 0),
            (json!("0x0"), 0),
            (json!("16"), 16),
            (json!(16), 16),
            (json!(format!("0x{:0>64}", "ff")), 255),
        ] {
            assert_eq!(
                serde_json::from_value::<Quantity>(written.clone()).ok(),
                Some(Quantity(value)),
                "{written}"
            );
        }
        for bad in [
            json!("0x1g"),
            json!("-1"),
            json!("0x-1"),
            json!("0x+1"),
            json!(-1),
            json!(1.5),
            json!(""),
            json!([]),
        ] {
            assert!(serde_json::from_value::<Quantity>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_and_receipts_need_only_what_is_used_of_them() {
        let hash = B256::repeat_byte(7);
        let header = json!({"number": "0x0a", "hash": hash, "parentHash": hash, "timestamp": 12});
        let header: BlockHeader = serde_json::from_value(header).unwrap();
        assert_eq!((header.number, header.timestamp, header.base_fee), (10, 12, None));
        assert!(!header.is_empty, "not known to be");
        for (number, believed) in
            [("0x7fffffffffffffff", true), ("0x8000000000000000", false), ("0xffffffffffffffff", false)]
        {
            let header = json!({"number": number, "hash": hash, "parentHash": hash, "timestamp": 12});
            assert_eq!(serde_json::from_value::<BlockHeader>(header).is_ok(), believed, "{number}");
        }

        let mut receipt =
            json!({"status": "0x01", "gasUsed": "0x5208", "blockNumber": "0x1", "blockHash": hash});
        let read = |receipt: &Value| serde_json::from_value::<Receipt>(receipt.clone());
        let plain = read(&receipt).unwrap();
        assert_eq!(
            plain,
            Receipt { block: Some((1, hash)), success: true, gas_used: 21_000, gas_price: None }
        );
        receipt["gasPrice"] = json!("0x7");
        assert_eq!(read(&receipt).unwrap().gas_price, Some(7));
        receipt["effectiveGasPrice"] = json!("0x5");
        assert_eq!(read(&receipt).unwrap().gas_price, Some(5));
        receipt["blockHash"] = Value::Null;
        assert_eq!(read(&receipt).unwrap().block, None, "not mined yet");
        receipt["status"] = Value::Null;
        assert!(read(&receipt).is_err(), "an outcome is never guessed");
    }
}
