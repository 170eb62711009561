use std::fmt;
use std::str::FromStr;

use privatix_chain::{ChainError, ProxyUrl};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `chain.proxy`: what the chain endpoint is reached through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainProxy {
    /// The Tor in this process; as text `tor`.
    Tor,
    /// A SOCKS5 proxy that resolves names; as text its address.
    Socks(ProxyUrl),
}

impl FromStr for ChainProxy {
    type Err = ChainError;

    /// # Errors
    /// [`ChainError::BadProxy`].
    fn from_str(text: &str) -> Result<Self, ChainError> {
        match text {
            "tor" => Ok(Self::Tor),
            address => address.parse().map(Self::Socks),
        }
    }
}

impl fmt::Display for ChainProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tor => f.write_str("tor"),
            Self::Socks(address) => address.fmt(f),
        }
    }
}

impl Serialize for ChainProxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|error| de::Error::custom(format!("{error}; or \"tor\" for the Tor in this process")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DaemonError;
    use crate::config::ChainSection;

    fn section(proxy: Option<&str>) -> Result<ChainSection, serde_json::Error> {
        serde_json::from_value(serde_json::json!({
            "endpoint": "https://rpc.example/key",
            "contract": "0x0000000000000000000000000000000000000001",
            "proxy": proxy,
        }))
    }

    #[test]
    fn a_proxy_is_tor_or_the_address_of_one_that_resolves_names() {
        assert_eq!(section(None).unwrap().proxy, None);
        assert_eq!(section(Some("tor")).unwrap().proxy, Some(ChainProxy::Tor));
        let read = section(Some("socks5h://user:hunter2@127.0.0.1:9050")).unwrap();
        assert!(matches!(read.proxy, Some(ChainProxy::Socks(_))));
        assert_eq!(serde_json::to_value(&read).unwrap()["proxy"], "socks5h://...@127.0.0.1:9050");
        for wrong in ["Tor", "socks5://user:hunter2@127.0.0.1:9050", "127.0.0.1:9050", "hunter2"] {
            let refusal = section(Some(wrong)).unwrap_err().to_string();
            assert!(refusal.contains("write socks5h://") && refusal.contains("\"tor\""), "{refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn the_endpoint_is_reached_through_what_is_set_or_not_at_all() {
        let label = |proxy, tor: Option<&ProxyUrl>| {
            section(proxy).unwrap().endpoint(tor).map(|endpoint| endpoint.label().to_owned())
        };
        let tor: ProxyUrl = "socks5h://user:hunter2@127.0.0.1:9999".parse().unwrap();
        assert_eq!(label(None, Some(&tor)).unwrap(), "https://rpc.example");
        let through = label(Some("tor"), Some(&tor)).unwrap();
        assert_eq!(through, "https://rpc.example through socks5h://...@127.0.0.1:9999");
        let through = label(Some("socks5h://127.0.0.1:9050"), Some(&tor)).unwrap();
        assert_eq!(through, "https://rpc.example through socks5h://127.0.0.1:9050");
        let refusal = label(Some("tor"), None).unwrap_err();
        assert!(matches!(refusal, DaemonError::Usage { .. }), "{refusal}");
        let text = refusal.to_string();
        assert!(text.contains("chain.proxy") && text.contains("tor.enabled"), "{text}");
    }
}
