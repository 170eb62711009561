//! A Tor network of the test's own, from Debian's `tor`.
//!
//! A consensus is complete only if every authority knows every relay when it votes. Left to its clock, a network needs
//! several rounds until that is so, and then one more to slow the rounds down. So the first vote is put off until all
//! descriptors are there, and then called for the nearest possible second: one round, no later change. Relays that have
//! asked for a consensus in vain ask ever more rarely, so they are started again when there is one.

mod daemon;
mod documents;
mod node;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use tokio::time::{Instant, sleep};

pub use self::daemon::TorDaemon;
use self::{
    documents::{Consensus, arti_toml, described, fetch, microdescriptors, microdescriptors_path},
    node::{FIRST_DELAY, INTERVAL, Node},
};
use crate::{Process, TestkitError, net::free_ports, toolchain::tail};

const CONSENSUS: &str = "/tor/status-vote/current/consensus-microdesc";
const DESCRIPTORS: &str = "/tor/server/all";

/// As many as are needed for a majority when one is slow.
const AUTHORITIES: usize = 3;
/// Exit relays beside them: with fewer, arti finds no paths through relays that differ.
const RELAYS: usize = 4;

/// How long a network may take to form; it takes some ten seconds on a quiet machine.
const LAUNCH_LIMIT: Duration = Duration::from_mins(2);
/// How long authorities may take to publish after the end of a round.
const PUBLISH_LIMIT: Duration = Duration::from_secs(3);
/// For one document of a few kilobytes from this machine.
const FETCH_LIMIT: Duration = Duration::from_secs(2);
const SHOWN_LINES: usize = 10;
const POLL: Duration = Duration::from_millis(100);

/// A relay of a [`TorNetwork`], on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relay {
    /// Its nickname.
    pub name: String,
    /// Whether it is a directory authority too.
    pub is_authority: bool,
    /// Where clients and other relays connect to.
    pub or_port: u16,
    /// Where it serves the directory over HTTP.
    pub dir_port: u16,
    /// The fingerprint of its RSA identity, in hexadecimal.
    pub rsa_identity: String,
    /// Its ed25519 identity, in base64.
    pub ed_identity: String,
}

/// A Tor network on 127.0.0.1: authorities and exit relays, each a process of Debian's `tor`, all killed when dropped.
///
/// Arti finds it by [`TorNetwork::arti_toml`]. Seven processes take some 430 MiB. The clocks of all that take part must
/// agree.
#[derive(Debug)]
pub struct TorNetwork {
    nodes: Vec<Node>,
    relays: Vec<Relay>,
    arti_toml: String,
    http: reqwest::Client,
}

impl TorNetwork {
    /// Makes a network in `folder`, which is created, and waits until clients can use it.
    pub async fn start(folder: impl Into<PathBuf>) -> Result<Self, TestkitError> {
        let mut network = Self::prepare(folder).await?;
        network.launch().await?;
        Ok(network)
    }

    /// A network whose addresses and keys are known, but that does not run until [`Self::launch`].
    pub async fn prepare(folder: impl Into<PathBuf>) -> Result<Self, TestkitError> {
        let root = folder.into();
        let ports = free_ports(2 * (AUTHORITIES + RELAYS))?;
        let nodes = ports.chunks_exact(2).enumerate().map(|(n, ports)| {
            let is_authority = n < AUTHORITIES;
            let name = format!("{}{n:02}", if is_authority { "auth" } else { "relay" });
            let (root, or_port, dir_port) = (root.clone(), ports[0], ports[1]);
            tokio::task::spawn_blocking(move || Node::prepare(&root, name, is_authority, or_port, dir_port))
        });
        let mut prepared = Vec::new();
        for node in join_all(nodes).await {
            prepared.push(node.map_err(|join| TestkitError::Signal {
                action: "await the keys of",
                name: "tor".to_owned(),
                source: join.into(),
            })??);
        }
        Self::new(prepared)
    }

    fn new(nodes: Vec<Node>) -> Result<Self, TestkitError> {
        let relays = nodes.iter().map(|node| node.relay.clone()).collect();
        // What the environment says of the web is not meant for this machine.
        let http = reqwest::Client::builder().no_proxy().timeout(FETCH_LIMIT).build();
        let http = http.map_err(|source| TestkitError::Http(Box::new(source)))?;
        Ok(Self { arti_toml: arti_toml(&nodes), nodes, relays, http })
    }

    /// The tables `tor_network`, `path_rules` and `address_filter` of arti's client configuration.
    pub fn arti_toml(&self) -> &str {
        &self.arti_toml
    }

    /// All relays, the authorities first.
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// The process ids of what runs now.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| Some(node.process.as_ref()?.pid())).collect()
    }

    /// Starts all processes and waits until every one serves a consensus that clients can use. Those that run are killed
    /// first. When it fails, or the future is dropped, the processes run on until [`Self::stop_all`].
    pub async fn launch(&mut self) -> Result<(), TestkitError> {
        self.stop_all()?;
        // Far away, until all descriptors are there.
        self.configure(unix_seconds() + INTERVAL / 2)?;
        self.start_all()?;
        let deadline = Instant::now() + LAUNCH_LIMIT;
        let mut round = Round::None;
        loop {
            for node in &mut self.nodes {
                if let Some(error) = node.ended()? {
                    return Err(error);
                }
            }
            let missing = match step(&self.seen().await, &self.relays, round.is_open()) {
                Step::Ready => return Ok(()),
                Step::Wait(missing) => missing,
                Step::Vote => {
                    // A second to reload, then votes and signatures.
                    let end = unix_seconds() + 2 + 2 * FIRST_DELAY;
                    self.configure(end)?;
                    for node in self.nodes.iter_mut().filter(|node| node.relay.is_authority) {
                        node.reload()?;
                    }
                    round = Round::Until(UNIX_EPOCH + Duration::from_secs(end) + PUBLISH_LIMIT);
                    "a consensus".to_owned()
                }
                Step::Fetch(missing) => {
                    // After an earlier launch all have a consensus, and only need time to load it.
                    if matches!(round, Round::Until(_)) {
                        for node in self.nodes.iter_mut().filter(|node| !node.relay.is_authority) {
                            node.stop()?;
                            node.start()?;
                        }
                        round = Round::Done;
                    }
                    missing
                }
                Step::StartAfresh(missing) => {
                    self.stop_all()?;
                    for node in &self.nodes {
                        node.forget_directory()?;
                    }
                    self.configure(unix_seconds() + INTERVAL / 2)?;
                    self.start_all()?;
                    round = Round::None;
                    missing
                }
            };
            if Instant::now() >= deadline {
                return Err(self.not_ready(missing));
            }
            sleep(POLL).await;
        }
    }

    /// Starts a tor daemon outside the network, in `folder`, which is created, and waits until it can use the network. Port
    /// 80 of its onion service leads to `service`; it has none for `None`.
    pub async fn daemon(
        &self,
        folder: impl Into<PathBuf>,
        service: Option<SocketAddr>,
    ) -> Result<TorDaemon, TestkitError> {
        TorDaemon::start(folder.into(), &self.authorities(), service).await
    }

    fn authorities(&self) -> Vec<String> {
        self.nodes.iter().filter_map(Node::dir_authority).collect()
    }

    /// Kills all processes, as if the network were gone. Their folders stay for the next [`Self::launch`].
    pub fn stop_all(&mut self) -> Result<(), TestkitError> {
        self.nodes.iter_mut().try_for_each(Node::stop)
    }

    fn start_all(&mut self) -> Result<(), TestkitError> {
        self.nodes.iter_mut().try_for_each(Node::start)
    }

    /// Writes the configurations, with a vote that ends at `vote_end` (Unix seconds), and each [`INTERVAL`] later.
    fn configure(&self, vote_end: u64) -> Result<(), TestkitError> {
        let authorities = self.authorities();
        for node in &self.nodes {
            node.configure(&authorities, vote_end % INTERVAL)?;
            node.measure(&self.relays, unix_seconds())?;
        }
        Ok(())
    }

    /// What each node serves now.
    async fn seen(&self) -> Vec<Seen> {
        join_all(self.relays.iter().map(|relay| self.seen_of(relay))).await
    }

    async fn seen_of(&self, relay: &Relay) -> Seen {
        let consensus = fetch(&self.http, relay, CONSENSUS).await.map(|document| Consensus::parse(&document));
        let listed = match &consensus {
            Some(consensus) => fetch(&self.http, relay, &microdescriptors_path(consensus)).await,
            None => None,
        };
        let descriptors = fetch(&self.http, relay, DESCRIPTORS).await;
        Seen {
            consensus,
            microdescriptors: listed.map_or(0, |answer| microdescriptors(&answer)),
            described: descriptors.map(|answer| described(&answer)).unwrap_or_default(),
        }
    }

    fn not_ready(&self, missing: String) -> TestkitError {
        let logs = self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Process::log);
        let ends: Vec<_> = logs.map(|log| tail(&log, SHOWN_LINES)).collect();
        TestkitError::TorNotReady { limit: LAUNCH_LIMIT, missing, logs: ends.join("\n") }
    }
}

/// What a node serves.
struct Seen {
    consensus: Option<Consensus>,
    /// How many of the microdescriptors that are in it.
    microdescriptors: usize,
    /// The relays whose descriptors it has.
    described: BTreeSet<String>,
}

/// Where the authorities are with their first consensus.
#[derive(Debug, Clone, Copy)]
enum Round {
    /// Nobody has called for a vote.
    None,
    /// Votes and signatures are under way until then.
    Until(SystemTime),
    /// There is a consensus.
    Done,
}

impl Round {
    fn is_open(self) -> bool {
        matches!(self, Self::Until(end) if SystemTime::now() < end)
    }
}

/// What a network needs on its way up.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Ready,
    /// Time, for this.
    Wait(String),
    /// A vote of the authorities.
    Vote,
    /// The consensus that the authorities have, at the other relays.
    Fetch(String),
    /// Another beginning: this is missing in a consensus that stays valid for long.
    StartAfresh(String),
}

/// The next step of a network, by what its nodes serve, which are in the order of `relays`.
fn step(seen: &[Seen], relays: &[Relay], round_is_open: bool) -> Step {
    let (mut voted, mut lacking, mut wait) = (false, None, None);
    for (node, relay) in seen.iter().zip(relays) {
        match node.consensus.as_ref().map(|consensus| consensus.missing(relays)) {
            Some(None) => {
                voted = true;
                if node.microdescriptors < relays.len() {
                    let count = format!("{} of {}", node.microdescriptors, relays.len());
                    wait = Some(format!("{} has {count} microdescriptors", relay.name));
                }
            }
            Some(Some(missing)) => {
                return Step::StartAfresh(format!("the consensus of {}: {missing}", relay.name));
            }
            // The authorities come first.
            None => lacking = lacking.or(Some(relay)),
        }
    }
    let Some(lacking) = lacking else { return wait.map_or(Step::Ready, Step::Wait) };
    let missing = format!("{} has no consensus", lacking.name);
    if !lacking.is_authority {
        return Step::Fetch(missing);
    }
    if voted || round_is_open {
        return Step::Wait(missing);
    }
    for (node, authority) in seen.iter().zip(relays).filter(|(_, relay)| relay.is_authority) {
        if let Some(unknown) = relays.iter().find(|relay| !node.described.contains(&relay.name)) {
            return Step::Wait(format!("{} has no descriptor of {}", authority.name, unknown.name));
        }
    }
    Step::Vote
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays() -> Vec<Relay> {
        let relay = |name: &str, is_authority| Relay {
            name: name.to_owned(),
            is_authority,
            or_port: 1,
            dir_port: 2,
            rsa_identity: String::new(),
            ed_identity: String::new(),
        };
        vec![relay("auth00", true), relay("relay01", false)]
    }

    fn consensus(exit: &str) -> Consensus {
        let common = "Fast Guard HSDir Running Stable V2Dir Valid";
        Consensus::parse(&format!(
            "r auth00 x\ns {common}\nr relay01 x\ns {common} {exit}\nw Bandwidth=10000\n"
        ))
    }

    fn seen(consensus: Option<Consensus>, described: &[&str]) -> Seen {
        Seen {
            consensus,
            microdescriptors: 2,
            described: described.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn authorities_vote_when_they_know_every_relay() {
        let first = [seen(None, &["auth00"]), seen(None, &[])];
        let wait = "auth00 has no descriptor of relay01".to_owned();
        assert_eq!(step(&first, &relays(), false), Step::Wait(wait));
        let all = [seen(None, &["auth00", "relay01"]), seen(None, &[])];
        assert_eq!(step(&all, &relays(), false), Step::Vote);
        let wait = "auth00 has no consensus".to_owned();
        assert_eq!(step(&all, &relays(), true), Step::Wait(wait), "one round at a time");
    }

    #[test]
    fn a_network_is_ready_when_every_node_serves_a_complete_consensus() {
        let relay = [seen(None, &["auth00", "relay01"]), seen(Some(consensus("Exit")), &[])];
        let wait = "auth00 has no consensus".to_owned();
        assert_eq!(step(&relay, &relays(), false), Step::Wait(wait), "no vote after a vote");
        let authority = [seen(Some(consensus("Exit")), &[]), seen(None, &[])];
        let fetch = "relay01 has no consensus".to_owned();
        assert_eq!(step(&authority, &relays(), false), Step::Fetch(fetch));
        let all = [seen(Some(consensus("Exit")), &[]), seen(Some(consensus("Exit")), &[])];
        assert_eq!(step(&all, &relays(), false), Step::Ready);
        let some = Seen { microdescriptors: 1, ..seen(Some(consensus("Exit")), &[]) };
        let wait = "relay01 has 1 of 2 microdescriptors".to_owned();
        assert_eq!(step(&[seen(Some(consensus("Exit")), &[]), some], &relays(), false), Step::Wait(wait));
        let incomplete = [seen(Some(consensus("")), &[]), seen(None, &[])];
        let missing = "the consensus of auth00: relay01 lacks Exit".to_owned();
        assert_eq!(step(&incomplete, &relays(), false), Step::StartAfresh(missing));
    }
}
