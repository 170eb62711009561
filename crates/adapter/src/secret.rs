//! A string that does not leak into logs.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A password or key: `Debug` hides it, memory is wiped when it is dropped, comparison takes the same time for every
/// value of the same length.
///
/// It does serialise as a plain string: whoever serialises it decides where that goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The hidden text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the secret, in time that depends on the lengths only.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_in_no_debug_output() {
        let credentials = crate::Credentials { username: "user".into(), password: "hunter2".into() };
        let access = crate::Access { endpoint: serde_json::json!({"host": "h"}), credentials };
        let shown = format!("{access:?} {access:#?}");
        assert!(shown.contains("user") && !shown.contains("hunter2"), "{shown}");

        let configuration = crate::Configuration {
            role: crate::Role::Agent,
            settings: serde_json::json!({"key": "hunter2"}),
        };
        let shown = format!("{configuration:?}");
        assert!(shown.contains("key") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("correct horse");
        assert!(secret.matches(b"correct horse"));
        for other in [&b""[..], b"correct hors", b"correct horsf", b"correct horse "] {
            assert!(!secret.matches(other));
        }
    }
}
