//! Settings of this process's Tor, and how arti takes them.

use std::path::{Path, PathBuf};

use arti_client::TorClientConfig;
use arti_client::config::{BridgeConfigBuilder, TorClientConfigBuilder};
use toml::{Table, Value};

use crate::TorError;

/// How this process uses Tor. The default suits the public network where nothing is in the way.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TorSettings {
    /// Bridge lines as the Tor project gives them out (`Bridge obfs4 192.0.2.1:443 ...`): for networks that block Tor.
    pub bridges: Vec<String>,
    /// Programs that disguise the connections to bridges.
    pub transports: Vec<PluggableTransport>,
    /// Arti's own settings, by the names and sections that its documentation gives them, such as `channel.outbound_proxy`.
    pub arti: Table,
}

/// A program that disguises connections to bridges (Tor's pluggable transport specification, version 1).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluggableTransport {
    /// The protocols that it speaks, e.g. `obfs4`.
    pub protocols: Vec<String>,
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// Where arti keeps its state and its cache, below the folder for Tor.
const STATE: &str = "state";
const CACHE: &str = "cache";
/// What is set here, and would be lost elsewhere.
const OURS: [(&str, &str); 3] = [("storage", "state_dir"), ("storage", "cache_dir"), ("storage", "keystore")];

impl TorSettings {
    /// Checks the settings without starting anything.
    ///
    /// # Errors
    /// [`TorError::Setting`].
    pub fn check(&self) -> Result<(), TorError> {
        self.config(Path::new("tor")).map(drop)
    }

    /// Arti's configuration with its files below `folder`.
    pub(crate) fn config(&self, folder: &Path) -> Result<TorClientConfig, TorError> {
        let wrong = |setting: &str, reason: String| TorError::Setting { setting: setting.to_owned(), reason };
        for (section, key) in OURS {
            if self.arti.get(section).and_then(|section| section.get(key)).is_some() {
                let reason = "where files are kept follows from the folder that Tor is given; leave it out";
                return Err(wrong(&format!("arti.{section}.{key}"), reason.into()));
            }
        }
        let mut arti = self.arti.clone();
        let storage = section(&mut arti, "storage").map_err(|reason| wrong("arti.storage", reason))?;
        for (key, name) in [("state_dir", STATE), ("cache_dir", CACHE)] {
            // Literally: a `$` or `~` in the name of a folder is not to be expanded.
            let path = folder.join(name).to_string_lossy().into_owned();
            storage.insert(
                key.into(),
                Value::Table(Table::from_iter([("literal".to_owned(), Value::String(path))])),
            );
        }
        // Keys that derive from the account's need no place on the disk.
        let primary = Table::from_iter([("kind".to_owned(), Value::String("ephemeral".into()))]);
        let keystore = Table::from_iter([("primary".to_owned(), Value::Table(primary))]);
        storage.insert("keystore".into(), Value::Table(keystore));

        for (number, line) in (1..).zip(&self.bridges) {
            line.parse::<BridgeConfigBuilder>()
                .map_err(|error| wrong("bridges", format!("line {number}: {error}")))?;
        }
        let lines = self.bridges.iter().cloned().map(Value::String).collect();
        let transports =
            Value::try_from(&self.transports).map_err(|error| wrong("transports", error.to_string()))?;
        for (name, given) in [("bridges", Value::Array(lines)), ("transports", transports)] {
            if given.as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            let bridges = section(&mut arti, "bridges").map_err(|reason| wrong("arti.bridges", reason))?;
            if bridges.insert(name.into(), given).is_some() {
                let reason =
                    format!("the list `{name}` is set, too, and would replace it; leave one of them out");
                return Err(wrong(&format!("arti.bridges.{name}"), reason));
            }
        }
        let mut unknown = Vec::new();
        let builder: TorClientConfigBuilder =
            serde_ignored::deserialize(Value::Table(arti), |path| unknown.push(path.to_string()))
                .map_err(|error| wrong("arti", error.to_string()))?;
        if let Some(unknown) = unknown.first() {
            return Err(wrong(&format!("arti.{unknown}"), "arti knows no such setting".into()));
        }
        builder.build().map_err(|error| wrong("arti", error.to_string()))
    }

    /// The folder in which arti keeps what onion services left behind, below `folder`.
    pub(crate) fn services(folder: &Path) -> PathBuf {
        folder.join(STATE).join("hss")
    }
}

fn section<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Table, String> {
    match table.entry(name).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(section) => Ok(section),
        other => Err(format!("it is a {}, not a section", other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(arti: &str) -> Result<TorClientConfig, String> {
        let settings = TorSettings { arti: arti.parse().unwrap(), ..TorSettings::default() };
        settings.config(Path::new("/var/lib/tor")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_and_artis_own_settings_are_taken() {
        with("").unwrap();
        with("[path_rules]\nipv4_subnet_family_prefix = 33\n[address_filter]\nallow_local_addrs = true")
            .unwrap();
        with("[channel]\noutbound_proxy = \"socks5://127.0.0.1:1080\"").unwrap();
        with("[storage.permissions]\ndangerously_trust_everyone = true").unwrap();
    }

    #[test]
    fn a_setting_that_arti_does_not_know_is_named() {
        for (text, named) in [
            ("[path_rules]\nno_such_rule = 1", "arti.path_rules.no_such_rule"),
            ("[no_such_section]\na = 1", "arti.no_such_section"),
            ("[storage]\nstate_dir = \"/x\"", "arti.storage.state_dir"),
            ("storage = 1", "arti.storage"),
            ("[address_filter]\nallow_local_addrs = 7", "arti"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.starts_with(&format!("{named} cannot be used")), "{error}");
        }
    }

    #[test]
    fn bridges_and_their_transports_are_read() {
        let settings = TorSettings {
            bridges: vec![
                "Bridge obfs4 192.0.2.1:443 0123456789ABCDEF0123456789ABCDEF01234567 cert=x iat-mode=0"
                    .into(),
            ],
            transports: vec![PluggableTransport {
                protocols: vec!["obfs4".into()],
                path: "/usr/bin/obfs4proxy".into(),
                arguments: vec![],
            }],
            arti: Table::new(),
        };
        settings.check().unwrap();
        for (bad, why) in [("nonsense", "line 2: "), ("Bridge obfs4 192.0.2.1 x", "line 2: ")] {
            let mut settings = settings.clone();
            settings.bridges.push(bad.into());
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with("bridges cannot be used") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_set_in_two_places_is_refused() {
        let line = "192.0.2.1:443 0123456789ABCDEF0123456789ABCDEF01234567";
        let with = |bridges: &[&str], arti: &str| {
            let bridges = bridges.iter().map(|&line| line.to_owned()).collect();
            let arti = arti.parse().unwrap();
            TorSettings { bridges, transports: Vec::new(), arti }.check().map_err(|error| error.to_string())
        };
        let twice = format!("[bridges]\nbridges = [\"{line}\"]");
        with(&[], &twice).unwrap();
        with(&[line], "[bridges]\nenabled = false").unwrap();
        let error = with(&[line], &twice).unwrap_err();
        assert!(error.contains("arti.bridges.bridges") && error.contains("`bridges` is set"), "{error}");
    }
}
