//! The plug-ins that are built in.

use std::sync::Arc;

use privatix_adapter::{Adapter, AdapterRefusal, Role};
use privatix_plugin_proxy::{ClientSettings, Limits, ProxyClient, ProxyServer, ServerSettings};
use serde_json::Value;

use crate::config::{AdapterKind, AdapterSection};
use crate::{Announced, Connections, DaemonError};

/// What the plug-in announces, and where connections to it arrive.
pub(crate) fn announced(section: &AdapterSection, role: Role) -> Option<Announced> {
    match (section.kind, role) {
        (AdapterKind::Proxy, Role::Agent) => {
            let settings = ServerSettings::parse(&Value::Object(section.settings.clone())).ok()?;
            Some(Announced {
                setting: "adapter.settings.public_host",
                host: settings.public_host.unwrap_or_else(|| settings.listen.ip().to_string()),
                listen_setting: "adapter.settings.listen",
                listen: settings.listen,
            })
        }
        (AdapterKind::Proxy, Role::Client) => None,
    }
}

/// The connections that the configured plug-in may have.
///
/// # Errors
/// [`DaemonError::Usage`] that names the setting.
pub(crate) fn connections(section: &AdapterSection, role: Role) -> Result<Connections, DaemonError> {
    Ok(match Checked::new(section, role)? {
        Checked::ProxyServer(ServerSettings { limits, .. }) => Connections {
            plug_in: limits.connections,
            plug_in_strangers: limits.connections_before_login,
            ..Connections::default()
        },
        // Nobody logs in at a buyer's local ports.
        Checked::ProxyClient(ClientSettings { limits, .. }) => {
            Connections { plug_in: limits.connections, ..Connections::default() }
        }
    })
}

/// Makes the configured plug-in, its settings checked, with no more connections than allowed.
///
/// # Errors
/// [`DaemonError::Usage`] that names the setting.
pub(crate) fn make(
    section: &AdapterSection,
    role: Role,
    allowed: Connections,
) -> Result<(Arc<dyn Adapter>, Value), DaemonError> {
    let checked = Checked::new(section, role)?;
    let given = || Value::Object(section.settings.clone());
    let unusable = |error: serde_json::Error| usage(&error);
    Ok(match checked {
        Checked::ProxyServer(mut settings) => {
            let lowered = lower(&mut settings.limits, allowed);
            let value = if lowered { serde_json::to_value(settings).map_err(unusable)? } else { given() };
            (Arc::new(ProxyServer::new()), value)
        }
        Checked::ProxyClient(mut settings) => {
            let lowered = lower(&mut settings.limits, allowed);
            let value = if lowered { serde_json::to_value(settings).map_err(unusable)? } else { given() };
            (Arc::new(ProxyClient::new()), value)
        }
    })
}

/// Whether anything had to be lowered.
fn lower(limits: &mut Limits, allowed: Connections) -> bool {
    let wanted = limits.clone();
    limits.connections = limits.connections.min(allowed.plug_in);
    if allowed.plug_in_strangers > 0 {
        limits.connections_before_login = limits.connections_before_login.min(allowed.plug_in_strangers);
    }
    *limits != wanted
}

/// A plug-in's settings, read.
enum Checked {
    ProxyServer(ServerSettings),
    ProxyClient(ClientSettings),
}

impl Checked {
    fn new(section: &AdapterSection, role: Role) -> Result<Self, DaemonError> {
        let settings = Value::Object(section.settings.clone());
        match (section.kind, role) {
            (AdapterKind::Proxy, Role::Agent) => ServerSettings::parse(&settings).map(Self::ProxyServer),
            (AdapterKind::Proxy, Role::Client) => ClientSettings::parse(&settings).map(Self::ProxyClient),
        }
        .map_err(|refusal: AdapterRefusal| usage(&refusal))
    }
}

fn usage(error: &impl std::fmt::Display) -> DaemonError {
    DaemonError::Usage { what: "adapter.settings".into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(settings: Value) -> AdapterSection {
        let Value::Object(settings) = settings else { panic!("{settings}") };
        AdapterSection { kind: AdapterKind::Proxy, settings }
    }

    #[test]
    fn a_plug_in_gets_its_settings_as_they_are_unless_its_connections_are_too_many() {
        let given = json!({"listen": "127.0.0.1:0", "limits": {"connections": 100}});
        let section = section(given.clone());
        let wanted = connections(&section, Role::Agent).unwrap();
        assert_eq!((wanted.plug_in, wanted.messaging), (100, 0));
        let (_, unchanged) = make(&section, Role::Agent, wanted).unwrap();
        assert_eq!(unchanged, given);
        let allowed = Connections { plug_in: 7, plug_in_strangers: 5, ..wanted };
        let (_, lowered) = make(&section, Role::Agent, allowed).unwrap();
        assert_eq!(lowered["limits"]["connections"], 7);
        assert_eq!(lowered["limits"]["connections_before_login"], 5);
        assert_eq!(lowered["listen"], "127.0.0.1:0");
    }

    #[test]
    fn a_buyers_ports_have_no_connections_before_login() {
        let section = section(json!({}));
        let wanted = connections(&section, Role::Client).unwrap();
        assert_eq!(wanted.plug_in_strangers, 0);
        let (_, lowered) = make(&section, Role::Client, Connections { plug_in: 9, ..wanted }).unwrap();
        assert_eq!(lowered["limits"]["connections"], 9);
        assert!(ClientSettings::parse(&lowered).is_ok(), "{lowered}");
    }
}
