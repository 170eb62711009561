//! The names of channels and offerings.

use std::{fmt, str::FromStr};

use alloy::primitives::B256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a 32-byte id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} is written as 0x followed by 64 hexadecimal digits")]
pub struct ParseIdError {
    /// What was expected: `a channel id`, `an offering hash`.
    pub kind: &'static str,
}

fn parse(text: &str, kind: &'static str) -> Result<B256, ParseIdError> {
    let digits = text.strip_prefix("0x").ok_or(ParseIdError { kind })?;
    // `B256`'s own parser would take a second prefix.
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ParseIdError { kind });
    }
    digits.parse().map_err(|_| ParseIdError { kind })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(B256);

        impl $name {
            /// Names what these 32 bytes name.
            pub const fn new(bytes: B256) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_b256(&self) -> &B256 {
                &self.0
            }

            /// The 32 bytes as a slice.
            pub fn as_slice(&self) -> &[u8] {
                self.0.as_slice()
            }
        }

        impl From<B256> for $name {
            fn from(bytes: B256) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for B256 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        /// `0x` and 64 lower-case digits, never shortened.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text, $kind).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::deserialize(deserializer, concat!($kind, " as 0x and 64 hexadecimal digits"))
            }
        }
    };
}

id! {
    /// A channel's id on its chain: the hash of its descriptor, token, contract and chain
    /// ([`ChannelDescriptor::id`](crate::ChannelDescriptor::id)). It can never be opened twice.
    ChannelId, "a channel id"
}

id! {
    /// An offering's hash as announced on chain: keccak of the signed offering message.
    OfferingHash, "an offering hash"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0x00000000000000000000000000000000000000000000000000000000000000ff";

    #[test]
    fn an_id_reads_back_what_it_writes() {
        let id: ChannelId = TEXT.parse().unwrap();
        assert_eq!(id.to_string(), TEXT);
        assert_eq!(format!("{id:?}"), format!("ChannelId({TEXT})"));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{TEXT}\""));
        assert_eq!(serde_json::from_str::<ChannelId>(&format!("\"{TEXT}\"")).unwrap(), id);
    }

    #[test]
    fn a_malformed_id_is_refused() {
        let error = ParseIdError { kind: "an offering hash" };
        for text in
            ["", "0x", &TEXT[2..], &TEXT[..65], &format!("{TEXT}0"), &TEXT.replace("0xff", "0xfg")[..0]]
        {
            assert_eq!(text.parse::<OfferingHash>(), Err(error), "{text:?}");
        }
        assert_eq!(format!("0x{TEXT}").parse::<OfferingHash>(), Err(error));
        assert_eq!(TEXT.replace("ff", "fg").parse::<OfferingHash>(), Err(error));
        assert!(serde_json::from_str::<OfferingHash>("5").is_err());
    }
}
