//! From a command to the daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use privatix_api::ApiClient;

use crate::config::{Loaded, Settings};
use crate::{DaemonError, files};

/// Where a running daemon leaves the address of its API: the configured port may be 0.
pub(crate) fn address_file<C>(loaded: &Loaded<C>) -> PathBuf {
    loaded.path(Path::new("api.address"))
}

/// The daemon at `url` with the token in a file.
pub(crate) fn at(url: &str, token_file: &Path) -> Result<ApiClient, DaemonError> {
    Ok(ApiClient::new(url, files::read_secret(token_file)?)?)
}

/// The configured address of the API.
pub(crate) fn url<C: Settings>(loaded: &Loaded<C>) -> Result<String, DaemonError> {
    let configured = loaded.settings.api().listen;
    let address = if configured.port() == 0 {
        let file = address_file(loaded);
        let text = files::read(&file)?;
        text.trim().parse().map_err(|error: std::net::AddrParseError| DaemonError::Malformed {
            path: file,
            expected: "the address of a daemon's API",
            reason: error.to_string(),
        })?
    } else {
        configured
    };
    Ok(format!("http://{}", reachable(address)))
}

/// Every address of this machine is reached at its loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}
