use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ProxyUrl;
use super::secrets::Secrets;
use crate::ChainError;

/// The address of a JSON-RPC endpoint: `http`, `https`, `ws` or `wss`.
///
/// User, password, path and query are where providers put their keys. So `Debug`, `Display` and `Serialize` show only
/// scheme, host and port, with `/...` where something is hidden, and nothing outside of the transport can read the rest.
///
/// ```
/// # use privatix_chain::EndpointUrl;
/// let url: EndpointUrl = "https://user:hunter2@rpc.example:8443/v2/key".parse()?;
/// assert_eq!(url.to_string(), "https://rpc.example:8443/...");
/// # Ok::<(), privatix_chain::ChainError>(())
/// ```
#[derive(Clone)]
pub struct EndpointUrl(Arc<Parts>);

struct Parts {
    url: Url,
    label: Arc<str>,
    secrets: Arc<Secrets>,
}

impl EndpointUrl {
    /// Scheme, host and port, for messages.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// The host's name or address, an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        self.0.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether it has anything that must not be shown.
    fn has_secrets(&self) -> bool {
        let url = &self.0.url;
        url.path().len() > 1
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
    }

    /// The whole address, for the transport alone.
    pub(super) fn exposed(&self) -> &Url {
        &self.0.url
    }

    pub(super) fn secrets(&self) -> &Arc<Secrets> {
        &self.0.secrets
    }

    /// The same address as it is shown when it is reached through `proxy`, whose secrets are hidden, too.
    pub(super) fn through(&self, proxy: &ProxyUrl) -> Self {
        let Parts { url, label, secrets } = &*self.0;
        Self(Arc::new(Parts {
            url: url.clone(),
            label: format!("{label} through {proxy}").into(),
            secrets: secrets.and(proxy.secrets()).into(),
        }))
    }

    pub(super) fn shared_label(&self) -> &Arc<str> {
        &self.0.label
    }
}

/// Scheme, host and port of an address.
pub(super) fn label(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

impl FromStr for EndpointUrl {
    type Err = ChainError;

    /// # Errors
    /// [`ChainError::BadUrl`], which does not quote the text: it may hold a key all the same.
    fn from_str(text: &str) -> Result<Self, ChainError> {
        let bad = |reason: String| ChainError::BadUrl { reason };
        let text = text.trim();
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        // Of `user:password@host` the parser takes the user for the scheme.
        if !url.has_authority() || url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host".to_owned()));
        }
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err(bad(format!("{} is not a scheme it can have", url.scheme())));
        }
        let label = label(&url);
        let secrets = Secrets::of(text, &url, &label).into();
        Ok(Self(Arc::new(Parts { url, label: label.into(), secrets })))
    }
}

impl PartialEq for EndpointUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.url == other.0.url
    }
}

impl Eq for EndpointUrl {}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        if self.has_secrets() { f.write_str("/...") } else { Ok(()) }
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EndpointUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EndpointUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_ever_shown() {
        let text = "wss://someuser:hunter2@rpc.example:8443/v2/sekret?key=sekret2#sekret3";
        let url: EndpointUrl = text.parse().unwrap();
        let shown = [format!("{url}"), format!("{url:?}"), serde_json::to_string(&url).unwrap()];
        for shown in shown {
            assert_eq!(shown.trim_matches('"'), "wss://rpc.example:8443/...");
        }
        assert_eq!(url.label(), "wss://rpc.example:8443");
        let plain: EndpointUrl = "http://127.0.0.1:8545/".parse().unwrap();
        assert_eq!(plain.to_string(), "http://127.0.0.1:8545");
        let read: EndpointUrl = serde_json::from_value(serde_json::json!(text)).unwrap();
        assert_eq!(read, url);
    }

    #[test]
    fn an_unusable_address_is_refused_without_being_quoted() {
        for bad in [
            "",
            "not a url with hunter2",
            "ftp://user:hunter2@host/hunter2",
            "unix:/tmp/hunter2",
            "hunter2:secret@host",
            "http://user:hunter2@host:99999/",
            "http://",
        ] {
            let refusal = bad.parse::<EndpointUrl>().unwrap_err();
            assert!(matches!(refusal, ChainError::BadUrl { .. }), "{refusal}");
            assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
        }
    }
}
