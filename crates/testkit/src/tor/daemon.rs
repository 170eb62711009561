//! A tor daemon as users run one beside their programs.

use std::{
    ffi::OsStr,
    fs::{read_to_string, write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use tokio::time::Duration;

use super::node::{explain_missing, private_folder};
use crate::{Process, TestkitError, free_port};

/// Seconds on a quiet machine.
const READY: Duration = Duration::from_mins(2);

/// A tor daemon that belongs to no network: a SOCKS port for programs, and perhaps an onion service in front of one. Made
/// by [`TorNetwork::daemon`](super::TorNetwork::daemon), and killed when dropped.
#[derive(Debug)]
pub struct TorDaemon {
    socks: SocketAddr,
    onion: Option<String>,
    process: Process,
}

impl TorDaemon {
    pub(super) async fn start(
        folder: PathBuf,
        authorities: &[String],
        service: Option<SocketAddr>,
    ) -> Result<Self, TestkitError> {
        private_folder(&folder)?;
        let socks = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let path = folder.join("torrc");
        write(&path, torrc(&folder, authorities, socks, service)).map_err(|source| TestkitError::File {
            action: "write",
            path: path.clone(),
            source,
        })?;
        let mut process = Process::builder("tor daemon", "tor")
            .args([OsStr::new("-f"), path.as_os_str()])
            .args([OsStr::new("--defaults-torrc"), folder.join("none").as_os_str()])
            .args(["__OwningControllerProcess", &std::process::id().to_string()])
            .log_file(folder.join("tor.log"))
            .spawn()
            .map_err(explain_missing)?;
        process.wait_for_line("Bootstrapped 100%", READY).await?;
        let onion = if service.is_some() {
            let path = folder.join("service/hostname");
            let read = read_to_string(&path);
            let name = read.map_err(|source| TestkitError::File { action: "read", path, source })?;
            Some(name.trim_end().to_owned())
        } else {
            None
        };
        Ok(Self { socks, onion, process })
    }

    /// Where it takes connections of programs.
    pub const fn socks(&self) -> SocketAddr {
        self.socks
    }

    /// The `….onion` name of its service, which listens on port 80; `None` when it has no service.
    pub fn onion(&self) -> Option<&str> {
        self.onion.as_deref()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn torrc(folder: &Path, authorities: &[String], socks: SocketAddr, service: Option<SocketAddr>) -> String {
    let service = service.map_or_else(String::new, |target| {
        let folder = folder.join("service");
        format!("HiddenServiceDir {}\nHiddenServicePort 80 {target}\n", folder.display())
    });
    let (folder, authorities) = (folder.display(), authorities.join("\n"));
    format!(
        "TestingTorNetwork 1\n\
         PathsNeededToBuildCircuits 0.67\n\
         DataDirectory {folder}\n\
         SocksPort {socks} ExtendedErrors\n\
         # The test's own servers are on this machine.\n\
         ClientRejectInternalAddresses 0\n\
         Log notice stdout\n\
         SafeLogging 0\n\
         NumCPUs 1\n\
         ShutdownWaitLength 0\n\
         {authorities}\n\
         {service}"
    )
}
