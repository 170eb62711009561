use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use tempfile::TempDir;

use crate::TestkitError;

/// A port on 127.0.0.1 that nothing listens on now. Prefer port 0 wherever the part under test can report its port.
///
/// It is none that the system gives to outgoing connections, or to those who ask for any port: those are many while tests
/// run, and one of them would sooner or later take it first.
pub fn free_port() -> Result<u16, TestkitError> {
    let (first, end) = (10_000_u16, first_ephemeral());
    for _ in 0..TRIES {
        // A fresh state is random.
        let random = RandomState::new().build_hasher().finish();
        let Some(offset) = random.checked_rem(u64::from(end.saturating_sub(first))) else { break };
        let port = u16::try_from(u64::from(first) + offset).unwrap_or(first);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TestkitError::Listen)?;
    Ok(listener.local_addr().map_err(TestkitError::Listen)?.port())
}

const TRIES: usize = 100;

/// The first port that the system gives out by itself.
fn first_ephemeral() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

/// As [`free_port`], but several at once, no two the same.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, TestkitError> {
    let mut ports = Vec::with_capacity(count);
    while ports.len() < count {
        let port = free_port()?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// An empty directory of the test's own, removed when dropped.
pub fn temp_dir() -> Result<TempDir, TestkitError> {
    TempDir::with_prefix("privatix-test-").map_err(|source| TestkitError::File {
        action: "create a directory in",
        path: std::env::temp_dir(),
        source,
    })
}
