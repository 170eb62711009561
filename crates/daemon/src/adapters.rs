//! The plug-ins that are built in.

use std::sync::Arc;

use privatix_adapter::{Adapter, Role};
use privatix_plugin_proxy::{ClientSettings, ProxyClient, ProxyServer, ServerSettings};
use serde_json::Value;

use crate::DaemonError;
use crate::config::{AdapterKind, AdapterSection};

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
