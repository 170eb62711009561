//! What a process listens on and is connected to, by Linux's `/proc`.
//!
//! For tests that a process keeps to certain peers, and sends no DNS query.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{read_dir, read_link, read_to_string},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use crate::TestkitError;

/// The protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a socket is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketState {
    /// TCP, waiting for connections.
    Listening,
    /// TCP, under way to the remote address.
    Connecting,
    /// TCP, or UDP with a fixed remote address.
    Connected,
    /// TCP, after one side has closed.
    Closing,
    /// UDP without a fixed remote address: it may send to any.
    Unconnected,
}

/// A socket of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketInfo {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its own address.
    pub local: SocketAddr,
    /// The other's address; port 0 when there is none.
    pub remote: SocketAddr,
    /// What it is doing.
    pub state: SocketState,
}

impl SocketInfo {
    /// The address that it exchanges bytes with, or tries to.
    pub fn peer(&self) -> Option<SocketAddr> {
        (self.remote.port() != 0).then_some(self.remote)
    }
}

/// The TCP and UDP sockets that process `pid` has open now. Those of its child processes are not among them.
pub fn of_process(pid: u32) -> Result<Vec<SocketInfo>, TestkitError> {
    let error = |source| TestkitError::Sockets { pid, source };
    let inodes = inodes(pid).map_err(error)?;
    let mut sockets = Vec::new();
    for (table, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        let text = match read_to_string(format!("/proc/{pid}/net/{table}")) {
            Ok(text) => text,
            // A system without IPv6.
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(error(source)),
        };
        let lines = text.lines().skip(1).filter_map(|line| parse(line, protocol));
        sockets.extend(lines.filter(|(_, inode)| inodes.contains(inode)).map(|(socket, _)| socket));
    }
    Ok(sockets)
}

/// The sockets among the open files of a process.
fn inodes(pid: u32) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for entry in read_dir(format!("/proc/{pid}/fd"))? {
        // A file that has been closed since is no error.
        let Ok(target) = entry.and_then(|entry| read_link(entry.path())) else { continue };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(inodes)
}

/// Whether a process is gone, or waits as a zombie for its parent.
fn has_ended(pid: u32) -> bool {
    // "pid (name) state ..."
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
}

/// A line of `/proc/net/{tcp,udp}` (proc_pid_net(5)) and the socket's inode.
fn parse(line: &str, protocol: Protocol) -> Option<(SocketInfo, u64)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, remote) = (address(fields.get(1)?)?, address(fields.get(2)?)?);
    let state = state(protocol, u8::from_str_radix(fields.get(3)?, 16).ok()?);
    Some((SocketInfo { protocol, local, remote, state }, fields.get(9)?.parse().ok()?))
}

/// The kernel's TCP states (`net/tcp_states.h`), which UDP sockets use two of.
fn state(protocol: Protocol, number: u8) -> SocketState {
    match (protocol, number) {
        (_, 1) => SocketState::Connected,
        (Protocol::Udp, _) => SocketState::Unconnected,
        (Protocol::Tcp, 2 | 3 | 12) => SocketState::Connecting,
        (Protocol::Tcp, 10) => SocketState::Listening,
        (Protocol::Tcp, _) => SocketState::Closing,
    }
}

/// `0100007F:1F90`: the address as words in the machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(address)?).into()
    } else {
        let mut bytes = [0; 16];
        for (n, bytes) in bytes.chunks_exact_mut(4).enumerate() {
            bytes.copy_from_slice(&word(address.get(8 * n..8 * n + 8)?)?);
        }
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// How often a [`Sampler`] looks. A connection that is shorter may escape it.
const PERIOD: Duration = Duration::from_millis(10);

/// Collects all sockets that a process has had, from its start until [`Sampler::stop`].
#[derive(Debug)]
pub struct Sampler {
    /// Closed when the sampler is dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<BTreeSet<SocketInfo>, TestkitError>>>,
}

impl Sampler {
    /// Starts to watch process `pid`, on a thread that ends with the value.
    pub fn start(pid: u32) -> Result<Self, TestkitError> {
        let mut seen = BTreeSet::from_iter(of_process(pid)?);
        let (stop, stopped) = channel();
        let watch = move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                match of_process(pid) {
                    Ok(sockets) => seen.extend(sockets),
                    Err(_) if has_ended(pid) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(seen)
        };
        Ok(Self { stop: Some(stop), thread: Some(std::thread::spawn(watch)) })
    }

    /// All sockets seen. Those of a process that has ended are kept.
    pub fn stop(mut self) -> Result<BTreeSet<SocketInfo>, TestkitError> {
        self.join()
    }

    fn join(&mut self) -> Result<BTreeSet<SocketInfo>, TestkitError> {
        self.stop.take();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(BTreeSet::new()),
            Some(Ok(seen)) => seen,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // Its result is not wanted.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read() {
        // As the kernel prints them: words in the machine's byte order.
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let (zero, one) = (word([0; 4]), word([127, 0, 0, 1]));
        let read = |text: String| address(&text).map(|address| address.to_string());
        assert_eq!(read(format!("{one}:1F90")).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(
            read(format!("{zero}{zero}{zero}{}:0050", word([0, 0, 0, 1]))).as_deref(),
            Some("[::1]:80")
        );
        let mapped = format!("{zero}{zero}{}{one}:0050", word([0, 0, 255, 255]));
        assert_eq!(read(mapped).as_deref(), Some("127.0.0.1:80"), "IPv4 on an IPv6 socket");
        assert_eq!(address("0100007F"), None);
        assert_eq!(address("é100007F:1F90"), None);
    }
}
