//! What is different when all messages go over Tor: how long the onion service takes, and what the client connects to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use privatix_api::node::{self, TorStatus};
use privatix_testkit::sockets::{Protocol, SocketInfo, SocketState, of_process};
use privatix_testkit::{Relay, wait_for};

use crate::daemon::Daemon;
use crate::{LIMIT, Result};

/// An onion service that its agent has reached as a client would.
pub struct Published {
    /// Its address.
    pub address: String,
    /// From the start of the agent until it can use the network.
    pub bootstrapped: Duration,
    /// From the start of the agent until it has reached its own address.
    pub reachable: Duration,
}

/// Waits until a daemon that was started at `started` can use the Tor network; returns how long that took.
pub async fn bootstrapped(daemon: &Daemon, started: Instant) -> Result<Duration> {
    wait_for("the bootstrap of Tor", LIMIT, async || {
        let tor = status(daemon).await?;
        if tor.ready { Ok(()) } else { Err(progress(&tor)) }
    })
    .await?;
    Ok(started.elapsed())
}

/// Waits until an agent that was started at `started` is reachable at its onion address.
pub async fn published(agent: &Daemon, started: Instant) -> Result<Published> {
    let bootstrapped = bootstrapped(agent, started).await?;
    let address = wait_for("the onion service", LIMIT, async || {
        let tor = status(agent).await?;
        let onion = tor.onion.ok_or("there is none")?;
        if onion.reachable {
            Ok(onion.address)
        } else {
            Err(onion.problem.unwrap_or("not reached yet".into()))
        }
    })
    .await?;
    Ok(Published { address, bootstrapped, reachable: started.elapsed() })
}

async fn status(daemon: &Daemon) -> std::result::Result<TorStatus, String> {
    let status = daemon.call(&node::GetStatus {}).await.map_err(|error| error.to_string())?;
    status.tor.ok_or_else(|| "Tor is disabled".into())
}

fn progress(tor: &TorStatus) -> String {
    let problem = tor.problem.as_deref().unwrap_or("no problem");
    format!("{} %, {problem}", tor.bootstrap_percent)
}

/// Fails if a process listens on other ports than these.
pub fn listens_only_on(daemon: &Daemon, ports: &BTreeSet<u16>) -> Result<()> {
    let listening = listening(&BTreeSet::from_iter(of_process(daemon.pid())?));
    if listening.is_subset(ports) {
        return Ok(());
    }
    Err(format!("the process listens on the ports {listening:?}, expected {ports:?}").into())
}

/// A name for each port on this machine that a client over Tor may connect to.
pub fn permitted(relays: &[Relay], others: &[(u16, &'static str)]) -> BTreeMap<u16, &'static str> {
    let relays = relays.iter().map(|relay| (relay.or_port, "relays of the Tor network"));
    relays.chain(others.iter().copied()).collect()
}

/// To how many addresses of each kind a process has connected. Fails if there is one that is not permitted, or a UDP socket,
/// by which names would be looked up.
pub fn peers(
    seen: &BTreeSet<SocketInfo>,
    permitted: &BTreeMap<u16, &'static str>,
) -> Result<BTreeMap<&'static str, usize>> {
    if let Some(socket) = seen.iter().find(|socket| socket.protocol == Protocol::Udp) {
        return Err(format!("the process had a UDP socket: {socket:?}").into());
    }
    let own = listening(seen);
    // Connections to its own ports come from others, or from itself: the control API, local proxies.
    let is_own = |address: SocketAddr| own.contains(&address.port());
    let outgoing = seen.iter().filter(|socket| !is_own(socket.local));
    let addresses: BTreeSet<_> = outgoing
        .filter_map(SocketInfo::peer)
        .filter(|&peer| !(peer.ip().is_loopback() && is_own(peer)))
        .collect();
    let mut count = BTreeMap::new();
    for address in addresses {
        let kind = permitted.get(&address.port()).filter(|_| address.ip().is_loopback());
        let kind =
            kind.ok_or_else(|| format!("the process was connected to {address}, which is no relay"))?;
        *count.entry(*kind).or_default() += 1;
    }
    Ok(count)
}

fn listening(sockets: &BTreeSet<SocketInfo>) -> BTreeSet<u16> {
    let listeners = sockets.iter().filter(|socket| socket.state == SocketState::Listening);
    listeners.map(|socket| socket.local.port()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(local: u16, remote: &str, state: SocketState) -> SocketInfo {
        let local = ([127, 0, 0, 1], local).into();
        SocketInfo { protocol: Protocol::Tcp, local, remote: remote.parse().unwrap(), state }
    }

    #[test]
    fn connections_are_counted_by_kind_and_unknown_ones_refused() {
        let permitted = BTreeMap::from([(5000, "relays"), (5001, "relays"), (8545, "the chain")]);
        let mut seen = BTreeSet::from([
            tcp(9000, "0.0.0.0:0", SocketState::Listening),
            tcp(9000, "127.0.0.1:40000", SocketState::Connected),
            tcp(40000, "127.0.0.1:9000", SocketState::Connected),
            tcp(40001, "127.0.0.1:5000", SocketState::Connected),
            tcp(40002, "127.0.0.1:5000", SocketState::Connected),
            tcp(40003, "127.0.0.1:5001", SocketState::Connecting),
            tcp(40004, "127.0.0.1:8545", SocketState::Closing),
        ]);
        let count = peers(&seen, &permitted).unwrap();
        assert_eq!(count, BTreeMap::from([("relays", 2), ("the chain", 1)]));

        seen.insert(tcp(40005, "127.0.0.1:7000", SocketState::Connected));
        let error = peers(&seen, &permitted).unwrap_err().to_string();
        assert_eq!(error, "the process was connected to 127.0.0.1:7000, which is no relay");
    }

    #[test]
    fn the_port_of_a_relay_on_another_machine_is_not_a_relay() {
        let seen = BTreeSet::from([tcp(40001, "192.0.2.1:5000", SocketState::Connecting)]);
        assert!(peers(&seen, &BTreeMap::from([(5000, "relays")])).is_err());
    }

    #[test]
    fn a_udp_socket_is_refused() {
        let mut socket = tcp(40001, "0.0.0.0:0", SocketState::Unconnected);
        socket.protocol = Protocol::Udp;
        assert!(peers(&BTreeSet::from([socket]), &BTreeMap::new()).is_err());
    }
}
