//! What a client needs to use the service it pays for.

use std::fmt;

use alloy::primitives::B256;
use privatix_channel::ChannelId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize;

/// A password: hidden in `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Takes a password over.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Where a service is reached and how, as its access template says; an object. It may hold secrets
/// (the keys of a VPN), so it is hidden and wiped like a password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(Value);

impl Endpoint {
    /// Takes an endpoint over.
    pub fn new(endpoint: Value) -> Self {
        Self(endpoint)
    }

    /// The endpoint itself.
    pub fn expose(&self) -> &Value {
        &self.0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(hidden)")
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The access message: credentials and endpoint of one channel's service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessMessage {
    /// The hash of the access [`Template`](crate::Template) that describes this message.
    pub template: B256,
    /// The channel that pays.
    pub channel: ChannelId,
    /// Whom to log in as.
    pub username: String,
    /// With what.
    pub password: Password,
    /// Where and how.
    pub endpoint: Endpoint,
}

/// Wipes all strings of a value. Its depth is bounded by [`MAX_DEPTH`](crate::MAX_DEPTH).
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let message = AccessMessage {
            template: B256::ZERO,
            channel: ChannelId::default(),
            username: "user".into(),
            password: Password::new("hunter2"),
            endpoint: Endpoint::new(json!({ "key": "hunter3" })),
        };
        let shown = format!("{message:?}");
        assert!(shown.contains("user") && !shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn wiping_reaches_every_string() {
        let mut value = json!({ "a": "x", "b": ["y", { "c": "z" }], "d": 1 });
        wipe(&mut value);
        assert_eq!(value, json!({ "a": "", "b": ["", { "c": "" }], "d": 1 }));
    }
}
