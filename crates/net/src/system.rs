//! Where names are looked up: the hosts file and the name servers that the system is set up with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{IntoName as _, Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use crate::ResolverLimits;

/// How often the system's files are looked at for changes, at the most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For a name server to answer a question before it is asked again, or another is.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Which name servers to ask.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Those of the system, and its hosts file.
    System,
    Servers(Arc<[SocketAddr]>),
}

/// Why a name has no addresses.
#[derive(Debug)]
pub(crate) enum Failure {
    Malformed(String),
    NotFound(String),
    TimedOut,
}

/// The name servers at present; made afresh when the system's files change.
pub(crate) struct NameServers {
    source: Source,
    limits: ResolverLimits,
    present: Option<Present>,
}

struct Present {
    lookups: Arc<Lookups>,
    files: [Stamp; FILES.len()],
    looked: Instant,
}

/// What distinguishes a changed file from the same one.
type Stamp = Option<(SystemTime, u64)>;

impl std::fmt::Debug for NameServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServers").field("source", &self.source).finish_non_exhaustive()
    }
}

impl NameServers {
    pub(crate) fn new(source: Source, limits: &ResolverLimits) -> Self {
        Self { source, limits: *limits, present: None }
    }

    /// Reads the system's files if they have changed. That is done in place, without a thread of its own: they are two
    /// small local files, and are looked at once in a while.
    pub(crate) fn current(&mut self) -> Arc<Lookups> {
        let now = Instant::now();
        if let Some(present) = &mut self.present
            && (matches!(self.source, Source::Servers(_)) || now.duration_since(present.looked) < LOOK_EVERY)
        {
            return Arc::clone(&present.lookups);
        }
        let files = FILES.map(stamp);
        if let Some(present) = &mut self.present
            && present.files == files
        {
            present.looked = now;
            return Arc::clone(&present.lookups);
        }
        let lookups = Arc::new(Lookups::new(&self.source, &self.limits));
        self.present = Some(Present { lookups: Arc::clone(&lookups), files, looked: now });
        lookups
    }
}

fn stamp(file: &str) -> Stamp {
    let file = Path::new(file).metadata().ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// The hosts file and the name servers, as they were when this was made.
pub(crate) struct Lookups {
    hosts: Hosts,
    servers: Result<TokioResolver, String>,
}

impl Lookups {
    fn new(source: &Source, limits: &ResolverLimits) -> Self {
        let (hosts, config, mut options) = match source {
            Source::System => {
                let hosts = Hosts::from_system().unwrap_or_default();
                let (config, options) = hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|error| {
                    tracing::warn!(%error, "no name servers are configured, the one on this machine is asked");
                    // What the C library does (resolv.conf(5)).
                    let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                    (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
                });
                (hosts, config, options)
            }
            Source::Servers(addresses) => {
                let servers = addresses.iter().copied().map(at).collect();
                (Hosts::default(), ResolverConfig::from_name_servers(servers), ResolverOpts::default())
            }
        };
        options.use_hosts_file = ResolveHosts::Never; // we look ourselves: a name that is there is not asked for elsewhere
        options.timeout = options.timeout.min(ANSWER_WITHIN);
        options.attempts = options.attempts.min(ATTEMPTS);
        options.num_concurrent_reqs = 1; // each has a socket of its own, which `ResolverLimits::SOCKETS` counts
        options.cache_size = limits.cached;
        options.positive_max_ttl = Some(limits.cached_for);
        options.negative_max_ttl = Some(limits.cached_for);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Self { hosts, servers: builder.build().map_err(|error| error.to_string()) }
    }

    pub(crate) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let parsed: Name = name.into_name().map_err(|error| Failure::Malformed(error.to_string()))?;
        let known = self.known(&parsed);
        if !known.is_empty() {
            return Ok(known);
        }
        let servers = self.servers.as_ref().map_err(|reason| Failure::NotFound(reason.clone()))?;
        match servers.lookup_ip(parsed).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(NetError::Timeout) => Err(Failure::TimedOut),
            Err(error) => Err(Failure::NotFound(error.to_string())),
        }
    }

    /// What the hosts file says.
    fn known(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|found| {
                found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn at(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_hosts_file_is_not_asked_for_elsewhere() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"192.0.2.7 own.example other # ours\n2001:db8::7 own.example\n"[..]).unwrap();
        let lookups = Lookups { hosts, servers: Err("none".to_owned()) };
        let known = |name: &str| lookups.known(&name.into_name().unwrap());
        assert_eq!(
            known("own.example"),
            ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
        assert_eq!(known("OTHER"), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert!(known("elsewhere.example").is_empty());
    }
}
