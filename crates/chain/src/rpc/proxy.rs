use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::secrets::Secrets;
use crate::ChainError;

/// The longest user name and password that SOCKS5 knows (RFC 1929), in bytes.
const LONGEST_LOGIN: usize = 255;

/// The address of a SOCKS5 proxy: `socks5h://[user:password@]host:port`.
///
/// Only `socks5h`, by which the proxy resolves names: with `socks5` this machine would, and its name servers would learn
/// the endpoint. `Debug`, `Display` and `Serialize` hide user and password.
///
/// ```
/// # use privatix_chain::ProxyUrl;
/// let proxy: ProxyUrl = "socks5h://user:hunter2@127.0.0.1:9050".parse()?;
/// assert_eq!(proxy.to_string(), "socks5h://...@127.0.0.1:9050");
/// # Ok::<(), privatix_chain::ChainError>(())
/// ```
#[derive(Clone)]
pub struct ProxyUrl(Arc<Parts>);

struct Parts {
    url: Url,
    label: String,
    secrets: Secrets,
}

impl ProxyUrl {
    /// The proxy at `address`, with this login.
    ///
    /// # Errors
    /// [`ChainError::BadProxy`] for a login that SOCKS5 cannot express.
    pub fn with_login(address: SocketAddr, username: &str, password: &str) -> Result<Self, ChainError> {
        let [username, password] =
            [username, password].map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        format!("socks5h://{username}:{password}@{address}").parse()
    }

    /// The whole address, for the transport alone.
    pub(super) fn exposed(&self) -> &str {
        self.0.url.as_str()
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }
}

impl FromStr for ProxyUrl {
    type Err = ChainError;

    /// # Errors
    /// [`ChainError::BadProxy`], which does not quote the text: it may hold a password all the same.
    fn from_str(text: &str) -> Result<Self, ChainError> {
        let bad = |reason: &str| ChainError::BadProxy { reason: reason.to_owned() };
        let text = text.trim();
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "socks5h" => {}
            "socks5" => {
                return Err(bad(
                    "with socks5, names would be looked up by this machine, and its name servers would learn them",
                ));
            }
            _ => return Err(bad("its scheme is not socks5h")),
        }
        let (Some(host), Some(port)) = (url.host_str().filter(|host| !host.is_empty()), url.port()) else {
            return Err(bad("it needs a host and a port"));
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it has something after the port"));
        }
        let fits = |part: &str| (1..=LONGEST_LOGIN).contains(&percent_decode_str(part).count());
        let login = match (url.username(), url.password()) {
            ("", None) => "",
            (username, Some(password)) if fits(username) && fits(password) => "...@",
            _ => return Err(bad("user and password must have 1 to 255 bytes each")),
        };
        let label = format!("socks5h://{login}{host}:{port}");
        let secrets = Secrets::of(text, &url, &label);
        Ok(Self(Arc::new(Parts { url, label, secrets })))
    }
}

impl PartialEq for ProxyUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.url == other.0.url
    }
}

impl Eq for ProxyUrl {}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.label)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProxyUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_ever_shown() {
        let text = "socks5h://someuser:hunter2%2F@tor.example:9050";
        let proxy: ProxyUrl = text.parse().unwrap();
        for shown in [format!("{proxy}"), format!("{proxy:?}"), serde_json::to_string(&proxy).unwrap()] {
            assert_eq!(shown.trim_matches('"'), "socks5h://...@tor.example:9050");
        }
        let read: ProxyUrl = serde_json::from_value(serde_json::json!(text)).unwrap();
        assert_eq!(read, proxy);
        for text in ["socks5h://127.0.0.1:9050", "socks5h://[::1]:9050"] {
            assert_eq!(text.parse::<ProxyUrl>().unwrap().to_string(), text);
        }
        let made = ProxyUrl::with_login(([127, 0, 0, 1], 9050).into(), "us:er", "hunter2/").unwrap();
        assert_eq!(made.exposed(), "socks5h://us%3Aer:hunter2%2F@127.0.0.1:9050");
    }

    #[test]
    fn a_proxy_that_would_leave_names_to_this_machine_is_refused_with_the_reason() {
        let refusal = "socks5://user:hunter2@127.0.0.1:9050".parse::<ProxyUrl>().unwrap_err().to_string();
        assert!(refusal.contains("name servers would learn"), "{refusal}");
        assert!(refusal.contains("socks5h://"), "{refusal}");
    }

    #[test]
    fn an_unusable_address_is_refused_without_being_quoted() {
        let long = format!("socks5h://user:hunter2{}@host:1", "x".repeat(255));
        for bad in [
            "",
            "127.0.0.1:9050",
            "hunter2",
            "socks5://hunter2@host:1",
            "socks4a://user:hunter2@host:1",
            "http://user:hunter2@host:1",
            "socks5h://user:hunter2@host",
            "socks5h://user:hunter2@:1",
            "socks5h://hunter2@host:1",
            "socks5h://:hunter2@host:1",
            "socks5h://user:hunter2@host:1/path",
            "socks5h://user:hunter2@host:1?query",
            &long,
        ] {
            let refusal = bad.parse::<ProxyUrl>().unwrap_err();
            assert!(matches!(refusal, ChainError::BadProxy { .. }), "{refusal}");
            assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
        }
    }
}
