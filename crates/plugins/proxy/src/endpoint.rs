//! The part of the access message that says where the proxy is.

use std::num::NonZeroU16;

use privatix_adapter::AdapterRefusal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A protocol that the proxy speaks. All are spoken on one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// SOCKS version 5 (RFC 1928), command CONNECT, with user name and password (RFC 1929).
    Socks5,
    /// HTTP/1.1 proxy: CONNECT, and requests in absolute form, with Basic proxy authentication (RFC 9110, RFC 7617).
    Http,
    /// A later protocol; ignored.
    #[serde(other)]
    Unknown,
}

/// Where a proxy is: the agent's, as its access messages say, or the client's local one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: NonZeroU16,
    /// What it speaks; all if not given.
    #[serde(default = "all")]
    pub protocols: Vec<Protocol>,
}

fn all() -> Vec<Protocol> {
    vec![Protocol::Socks5, Protocol::Http]
}

impl Endpoint {
    pub(crate) fn new(host: String, port: NonZeroU16) -> Self {
        Self { host, port, protocols: all() }
    }

    pub(crate) fn to_value(&self) -> Value {
        serde_json::json!({"host": self.host, "port": self.port, "protocols": self.protocols})
    }

    /// Reads the endpoint of an access message.
    ///
    /// # Errors
    /// [`AdapterRefusal::Parameters`] that names the field.
    pub fn parse(endpoint: &Value) -> Result<Self, AdapterRefusal> {
        let refuse = |field: String, reason: String| AdapterRefusal::Parameters { field, reason };
        let parsed: Self = serde_path_to_error::deserialize(endpoint).map_err(|error| {
            let field = format!("endpoint.{}", error.path());
            refuse(field, error.into_inner().to_string())
        })?;
        if parsed.host.is_empty() || parsed.host.len() > 253 {
            return Err(refuse(
                "endpoint.host".into(),
                "must be a name or address of 1 to 253 characters".into(),
            ));
        }
        if !parsed.protocols.contains(&Protocol::Socks5) {
            return Err(refuse(
                "endpoint.protocols".into(),
                "lack socks5, the one that this client speaks: update the agent".into(),
            ));
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_endpoint_reads_back_what_it_writes_and_ignores_what_it_does_not_know() {
        let endpoint = Endpoint::new("192.0.2.1".into(), NonZeroU16::new(1080).unwrap());
        assert_eq!(Endpoint::parse(&endpoint.to_value()).unwrap(), endpoint);
        let later = json!({"host": "192.0.2.1", "port": 1080, "protocols": ["masque", "socks5"], "more": 1});
        assert_eq!(Endpoint::parse(&later).unwrap().host, "192.0.2.1");
        let brief = json!({"host": "192.0.2.1", "port": 1080});
        assert_eq!(Endpoint::parse(&brief).unwrap(), endpoint);
    }

    #[test]
    fn a_wrong_endpoint_is_refused_by_field() {
        for (endpoint, field) in [
            (json!({"host": "h", "port": 0}), "`endpoint.port`"),
            (json!({"host": "h", "port": 65536}), "`endpoint.port`"),
            (json!({"host": "", "port": 1}), "`endpoint.host`"),
            (json!({"host": "h".repeat(254), "port": 1}), "`endpoint.host`"),
            (json!({"port": 1}), "host"),
            (json!({"host": "h", "port": 1, "protocols": ["http"]}), "`endpoint.protocols`"),
            (json!("h:1"), "endpoint"),
        ] {
            let said = Endpoint::parse(&endpoint).unwrap_err().to_string();
            assert!(said.contains(field), "{endpoint}: {said}");
        }
    }
}
