//! The names that the environment can set: read off the settings themselves, so that no list can fall behind them.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The top-level names of a configuration: its sections and its keys outside of them.
pub(super) fn top_level<C: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It fails by intent, once it was asked for the names.
    let _ = C::deserialize(Names(&mut names));
    names
}

/// Whether a variable, without its prefix, is meant for us: `CHAIN__ENDPOINT` of a known section, or a known key.
///
/// Others begin with our prefix by accident, such as those that Kubernetes and Docker set for a service called like the
/// program (`PRIVATIX_AGENT_SERVICE_HOST`).
pub(super) fn is_setting(variable: &str, top_level: &[&str]) -> bool {
    let mut parts = variable.split("__");
    let first = parts.next().unwrap_or_default();
    top_level.iter().any(|name| name.eq_ignore_ascii_case(first)) && parts.all(|part| !part.is_empty())
}

/// Takes down the names of the fields that a struct asks for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only names are taken down"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the names matter")]
    struct Settings {
        data_dir: String,
        #[serde(default)]
        chain: Option<u8>,
        log: u8,
    }

    #[test]
    fn only_known_sections_and_keys_are_settings() {
        let names = top_level::<Settings>();
        assert_eq!(names, ["data_dir", "chain", "log"]);
        for variable in ["DATA_DIR", "data_dir", "CHAIN__ENDPOINT", "Log__Level", "LOG__NO_SUCH_KEY"] {
            assert!(is_setting(variable, names), "{variable}");
        }
        for variable in [
            "SERVICE_HOST",
            "SERVICE_PORT_SOMC",
            "PORT",
            "PORT_9500_TCP",
            "PORT_9500_TCP_ADDR",
            "NAME",
            "CHAIN_PORT",
            "LOG_SERVICE_HOST",
            "ENV_CHAIN__ENDPOINT",
            "CHIAN__ENDPOINT",
            "",
            "__LEVEL",
            "LOG__",
        ] {
            assert!(!is_setting(variable, names), "{variable}");
        }
    }
}
