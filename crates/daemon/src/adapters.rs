//! The plug-ins that are built in.

use std::sync::Arc;

use privatix_adapter::{Adapter, Role};
use privatix_plugin_proxy::{ClientSettings, ProxyClient, ProxyServer, ServerSettings};
use serde_json::Value;

use crate::config::{AdapterKind, AdapterSection};
use crate::{Announced, DaemonError};

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

/// Makes the configured plug-in, its settings checked.
///
/// # Errors
/// [`DaemonError::Usage`] that names the setting.
pub(crate) fn make(section: &AdapterSection, role: Role) -> Result<(Arc<dyn Adapter>, Value), DaemonError> {
    let settings = Value::Object(section.settings.clone());
    let checked = match (section.kind, role) {
        (AdapterKind::Proxy, Role::Agent) => ServerSettings::parse(&settings).map(drop),
        (AdapterKind::Proxy, Role::Client) => ClientSettings::parse(&settings).map(drop),
    };
    checked.map_err(|refusal| DaemonError::Usage {
        what: "adapter.settings".into(),
        reason: refusal.to_string(),
    })?;
    let adapter: Arc<dyn Adapter> = match (section.kind, role) {
        (AdapterKind::Proxy, Role::Agent) => Arc::new(ProxyServer::new()),
        (AdapterKind::Proxy, Role::Client) => Arc::new(ProxyClient::new()),
    };
    Ok((adapter, settings))
}
