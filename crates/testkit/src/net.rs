use std::net::{Ipv4Addr, TcpListener};

use tempfile::TempDir;

use crate::TestkitError;

/// A port on 127.0.0.1 that nothing listens on now. Prefer port 0 wherever the part under test can tell its port:
/// another process may take this one first.
pub fn free_port() -> Result<u16, TestkitError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TestkitError::Listen)?;
    Ok(listener.local_addr().map_err(TestkitError::Listen)?.port())
}

/// An empty directory of the test's own, removed when dropped.
pub fn temp_dir() -> Result<TempDir, TestkitError> {
    TempDir::with_prefix("privatix-test-").map_err(|source| TestkitError::File {
        action: "create a directory in",
        path: std::env::temp_dir(),
        source,
    })
}
