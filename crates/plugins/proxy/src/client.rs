//! The buyer's side: local ports that log in at the agents' proxies.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{
    About, Access, Adapter, AdapterRefusal, Configuration, Health, LocalEndpoints, Provision, Provisioned,
    Role, UsageReporter,
};
use privatix_channel::{ChannelId, Usage};
use privatix_net::{Resolver, Share};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::channel::Channel;
use crate::destination::{Destinations, Target};
use crate::endpoint::Endpoint;
use crate::front::{Backend, DialError, Listener, LoginRefused, MeterAt, Places, bind};
use crate::lifecycle::Lifecycle;
use crate::reporting::Reporting;
use crate::server::dial;
use crate::settings::{ClientSettings, Limits};
use crate::tunnel;

/// Uses bought proxy traffic: the client's adapter. Its settings are [`ClientSettings`].
///
/// Each channel gets a local port that speaks SOCKS5 and HTTP without a login; the adapter logs in at the agent. What
/// counts is described [by the crate](crate#what-is-counted). Suspending a channel pauses its connections.
#[derive(Default)]
pub struct ProxyClient {
    lifecycle: Lifecycle<ClientSettings, Running>,
}

impl ProxyClient {
    /// A client that is not configured yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn channel(&self, channel: ChannelId) -> Result<Arc<Channel>, AdapterRefusal> {
        let running = self.lifecycle.running()?;
        let ports = running.ports.lock();
        ports
            .get(&channel)
            .map(|port| Arc::clone(&port.way.channel))
            .ok_or(AdapterRefusal::UnknownChannel { channel })
    }
}

/// What runs once configured.
struct Running {
    ports: Mutex<HashMap<ChannelId, Port>>,
    /// What keeps channels from the ports that they had before.
    without_port: Mutex<BTreeMap<ChannelId, String>>,
    /// One provision at a time, as each looks for a free port.
    provisioning: tokio::sync::Mutex<()>,
    places: Arc<Places>,
    settings: ClientSettings,
    reporting: Arc<Reporting>,
    stop_reporting: DropGuard,
    report_task: JoinHandle<()>,
}

/// A channel's local port.
struct Port {
    way: Arc<Way>,
    local: Endpoint,
    listener: Listener,
}

/// The way to a channel's agent.
struct Way {
    channel: Arc<Channel>,
    agent: Mutex<Arc<(Endpoint, Access)>>,
    agents: Destinations,
    /// For the agent's name.
    lookups: Share,
    limits: Limits,
    /// What was wrong with the agent at the last attempt, if anything was.
    trouble: Mutex<Option<String>>,
    /// Since when no attempt has found the agent's proxy by this access.
    unfound: Mutex<Option<Instant>>,
}

/// For how long attempts fail before the agent is asked whether its proxy is elsewhere: one that is restarted is back sooner.
const UNFOUND_AFTER: Duration = Duration::from_secs(3);

impl Running {
    fn start(settings: ClientSettings, reporter: UsageReporter) -> Self {
        let stop = CancellationToken::new();
        let (reporting, task) = Reporting::new(reporter, settings.reports.clone(), stop.clone());
        Self {
            ports: Mutex::default(),
            without_port: Mutex::default(),
            provisioning: tokio::sync::Mutex::new(()),
            places: Places::new(&settings.limits),
            settings,
            reporting,
            stop_reporting: stop.drop_guard(),
            report_task: tokio::spawn(task),
        }
    }

    async fn open(
        &self,
        id: ChannelId,
        access: Access,
        known: &LocalEndpoints,
    ) -> Result<Endpoint, AdapterRefusal> {
        let agent = Endpoint::parse(&access.endpoint)?;
        tunnel::check(&access.credentials)?;
        let _one_at_a_time = self.provisioning.lock().await;
        if let Some(port) = self.ports.lock().get(&id) {
            port.way.is_at(agent, access);
            return Ok(port.local.clone());
        }
        let (listener, local) = match known.own.as_ref().and_then(port_of) {
            Some(port) => self.bind_own(id, port).await?,
            None => self.bind_free(known).await?,
        };
        let port = NonZeroU16::new(local.port()).ok_or_else(|| AdapterRefusal::Unavailable {
            reason: "the system gave no port".to_owned(),
            remedy: "set `port`".to_owned(),
        })?;
        let local = Endpoint::new(local.ip().to_string(), port);
        let way = Arc::new(Way {
            channel: Channel::new(id, Usage::ZERO, Arc::clone(&self.reporting)),
            agent: Mutex::new(Arc::new((agent, access))),
            agents: if self.settings.allow_private_agents {
                Destinations::everything()
            } else {
                Destinations::public()
            },
            lookups: Resolver::system().share(),
            limits: self.settings.limits.clone(),
            trouble: Mutex::default(),
            unfound: Mutex::default(),
        });
        let listener = Listener::serve(listener, Arc::clone(&way), Arc::clone(&self.places));
        tracing::info!(channel = %id, port, "local proxy port opened");
        self.ports.lock().insert(id, Port { way, local: local.clone(), listener });
        Ok(local)
    }

    /// The port that a channel had before, and no other: programs are set up for it.
    async fn bind_own(
        &self,
        id: ChannelId,
        port: NonZeroU16,
    ) -> Result<(TcpListener, SocketAddr), AdapterRefusal> {
        match bind(SocketAddr::new(self.settings.listen, port.get())).await {
            Ok(bound) => {
                self.without_port.lock().remove(&id);
                Ok(bound)
            }
            Err(refusal) => {
                let reason = format!("its port {port} cannot be had again: {}", reason_of(&refusal));
                let remedy = "free the port; it is tried again for a while, at a restart, and when the channel is resumed";
                self.without_port.lock().insert(id, format!("{reason}: {remedy}"));
                Err(AdapterRefusal::Unavailable {
                    reason: format!("channel {id}: {reason}"),
                    remedy: remedy.to_owned(),
                })
            }
        }
    }

    /// A free port of those that the operator allows.
    async fn bind_free(&self, known: &LocalEndpoints) -> Result<(TcpListener, SocketAddr), AdapterRefusal> {
        let ClientSettings { listen, port, port_count, .. } = self.settings;
        let in_use = ports_of(&known.in_use);
        let freed = ports_of(&known.freed);
        let candidates = if port == 0 {
            vec![0; ANY_PORT_TRIES]
        } else {
            candidates((port..=u16::MAX).take(port_count.into()), &in_use, &freed)
        };
        let count = candidates.len();
        let (mut last, mut second_best) = (None, None);
        for candidate in candidates {
            match bind(SocketAddr::new(listen, candidate)).await {
                Ok((listener, local)) if candidate == 0 && has(&in_use, &freed, local.port()) => {
                    // The system chose one that another channel is known by. Held until another is found.
                    if !in_use.iter().any(|port| port.get() == local.port()) {
                        second_best = Some((listener, local));
                    }
                }
                Ok(bound) => return Ok(bound),
                Err(refusal) => last = Some(refusal),
            }
        }
        if let Some(bound) = second_best {
            return Ok(bound);
        }
        let last = last.map_or_else(String::new, |refusal| format!(" ({refusal})"));
        Err(AdapterRefusal::Unavailable {
            reason: format!("no free port among the {count} from {port} on that no other channel has{last}"),
            remedy: "free one, or set `port` or `port_count`".to_owned(),
        })
    }
}

/// How often the system is asked for any port, so that it is none that another channel had.
const ANY_PORT_TRIES: usize = 8;

/// The ports to try for a new channel, the best first: those that no channel is known by in their order, then those of
/// channels that are over, the first one to end first. Those of other channels are left out.
fn candidates(allowed: impl Iterator<Item = u16>, in_use: &[NonZeroU16], freed: &[NonZeroU16]) -> Vec<u16> {
    let mut candidates: Vec<u16> =
        allowed.filter(|candidate| in_use.iter().all(|port| port.get() != *candidate)).collect();
    // Channels may have had a port one after another; the last one to end counts. The sort is stable.
    let last_ended = |candidate: &u16| freed.iter().position(|port| port.get() == *candidate);
    candidates.sort_by_key(|candidate| last_ended(candidate).map(std::cmp::Reverse));
    candidates
}

fn has(in_use: &[NonZeroU16], freed: &[NonZeroU16], port: u16) -> bool {
    in_use.iter().chain(freed).any(|known| known.get() == port)
}

/// The port of a local endpoint.
fn port_of(endpoint: &serde_json::Value) -> Option<NonZeroU16> {
    Endpoint::parse(endpoint).ok().map(|endpoint| endpoint.port)
}

fn ports_of(endpoints: &[serde_json::Value]) -> Vec<NonZeroU16> {
    endpoints.iter().filter_map(port_of).collect()
}

fn reason_of(refusal: &AdapterRefusal) -> String {
    match refusal {
        AdapterRefusal::Unavailable { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

#[async_trait]
impl Adapter for ProxyClient {
    fn about(&self) -> About {
        crate::about("proxy-client", Role::Client)
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        crate::expect_role(Role::Client, configuration.role)?;
        let settings = ClientSettings::parse(&configuration.settings)?;
        self.lifecycle.configure(settings, async |settings| Ok(Running::start(settings, reporter))).await
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        crate::expect_role(Role::Client, provision.role())?;
        let running = self.lifecycle.running()?;
        let Provision::Buy { channel, access, local } = provision else {
            return Err(AdapterRefusal::WrongRole { role: provision.role() });
        };
        Ok(Provisioned { endpoint: running.open(channel, access, &local).await?.to_value() })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channel(channel)?.open_gate();
        Ok(())
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channel(channel)?.close_gate();
        Ok(())
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channel(channel)?.open_gate();
        Ok(())
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        let running = self.lifecycle.running()?;
        running.without_port.lock().remove(&channel);
        let port = running.ports.lock().remove(&channel);
        if let Some(port) = port {
            port.close().await;
        }
        Ok(())
    }

    async fn unreached(&self) -> Vec<ChannelId> {
        let Ok(running) = self.lifecycle.running() else { return Vec::new() };
        let ports = running.ports.lock();
        let is_unfound =
            |port: &&Port| port.way.unfound.lock().is_some_and(|at| at.elapsed() >= UNFOUND_AFTER);
        ports.values().filter(is_unfound).map(|port| port.way.channel.id()).collect()
    }

    async fn health(&self) -> Health {
        let running = match self.lifecycle.running() {
            Ok(running) => running,
            Err(refusal) => return Health::Failed { reason: refusal.to_string() },
        };
        let ports = running.ports.lock();
        let mut troubles: Vec<String> = ports
            .values()
            .filter_map(|port| {
                let channel = port.way.channel.id();
                if !port.listener.is_alive() {
                    return Some(format!(
                        "channel {channel}: its port is not served any more: restart the daemon"
                    ));
                }
                port.way.trouble.lock().as_ref().map(|trouble| format!("channel {channel}: {trouble}"))
            })
            .collect();
        let without_port = running.without_port.lock();
        troubles
            .extend(without_port.iter().map(|(channel, trouble)| format!("channel {channel}: {trouble}")));
        drop(without_port);
        if running.places.are_full() {
            let most = running.settings.limits.connections;
            troubles.push(format!("all {most} connections are taken: raise limits.connections"));
        }
        if troubles.is_empty() { Health::Well } else { Health::Degraded { reason: troubles.join("; ") } }
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        let Some(running) = self.lifecycle.shut_down() else { return Ok(()) };
        let ports: Vec<Port> = running.ports.lock().drain().map(|(_, port)| port).collect();
        // All at once: each may wait a moment for what is on its way.
        let mut closing = JoinSet::new();
        for port in ports {
            closing.spawn(port.close());
        }
        closing.join_all().await;
        // The last reference, but for a call under way.
        if let Some(running) = Arc::into_inner(running) {
            drop(running.stop_reporting);
            if let Err(failed) = running.report_task.await {
                tracing::error!(error = %failed, "reporting ended badly");
            }
        }
        Ok(())
    }
}

impl Port {
    async fn close(self) {
        self.way.channel.stop().await;
        self.listener.shut_down().await;
    }
}

#[async_trait]
impl Backend for Way {
    fn open_to_all(&self) -> Option<Arc<Channel>> {
        Some(Arc::clone(&self.channel))
    }

    fn login(&self, _: IpAddr, _: &str, _: &[u8]) -> Result<Arc<Channel>, LoginRefused> {
        Ok(Arc::clone(&self.channel))
    }

    async fn dial(&self, _: ChannelId, target: &Target) -> Result<TcpStream, DialError> {
        let agent = Arc::clone(&self.agent.lock());
        let reached = self.reach(&agent.0).await;
        let is_reached = reached.is_ok();
        let dialled = match reached {
            Ok(stream) => self.dial_through(stream, &agent.1, target).await,
            Err(error) => Err(error),
        };
        let present = self.agent.lock();
        if !Arc::ptr_eq(&present, &agent) {
            return dialled; // that was by an earlier access
        }
        // Something else may be there by now, or its proxy with other credentials.
        let is_another = |why: &io::Error| why.kind() == io::ErrorKind::InvalidData;
        let is_found = match &dialled {
            Err(DialError::AgentLogin) => false,
            Err(DialError::Agent(why)) if is_another(why) => false,
            _ => is_reached,
        };
        let mut unfound = self.unfound.lock();
        *unfound = if is_found { None } else { Some(unfound.unwrap_or_else(Instant::now)) };
        *self.trouble.lock() = match &dialled {
            Err(error @ DialError::Agent(why)) => Some(format!("{error}: {why}")),
            Err(error @ (DialError::AgentLogin | DialError::AgentFailed)) => Some(error.to_string()),
            _ => None,
        };
        dialled
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn meter(&self) -> MeterAt {
        MeterAt::Destination
    }
}

impl Way {
    /// The agent is there from now on. What was wrong with it before says nothing any more, if that is elsewhere.
    fn is_at(&self, endpoint: Endpoint, access: Access) {
        let mut agent = self.agent.lock();
        if agent.1 != access {
            (*self.trouble.lock(), *self.unfound.lock()) = (None, None);
            *agent = Arc::new((endpoint, access));
        }
    }

    /// Connects to the agent's proxy.
    async fn reach(&self, endpoint: &Endpoint) -> Result<TcpStream, DialError> {
        let agent = Target::from_host(&endpoint.host, endpoint.port.get());
        tokio::time::timeout(self.limits.connect, dial(&self.lookups, &self.agents, &agent))
            .await
            .map_err(|_| too_late("no answer to the attempt to connect"))?
            .map_err(|error| match error {
                DialError::Unresolved(source) | DialError::Unreachable(source) => DialError::Agent(source),
                other => DialError::Agent(io::Error::other(other.to_string())),
            })
    }

    async fn dial_through(
        &self,
        mut stream: TcpStream,
        access: &Access,
        target: &Target,
    ) -> Result<TcpStream, DialError> {
        let Limits { connect, suspended_wait, .. } = self.limits;
        let request = tunnel::request(&mut stream, &access.credentials, target);
        tokio::time::timeout(connect.saturating_add(suspended_wait), request)
            .await
            .map_err(|_| too_late("connected, but no answer to the request"))??;
        Ok(stream)
    }
}

fn too_late(what: &str) -> DialError {
    DialError::Agent(io::Error::new(io::ErrorKind::TimedOut, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_channel_gets_a_port_that_no_other_is_known_by_while_there_is_one() {
        let ports = |numbers: &[u16]| -> Vec<NonZeroU16> {
            numbers.iter().map(|number| NonZeroU16::new(*number).unwrap()).collect()
        };
        for (in_use, freed, expected) in [
            (&[][..], &[][..], &[10, 11, 12, 13][..]),
            (&[10], &[], &[11, 12, 13]),
            (&[11], &[10], &[12, 13, 10]),
            // The last one to end comes first in the list, and is tried last.
            (&[], &[12, 10], &[11, 13, 10, 12]),
            (&[], &[12, 10, 12, 10], &[11, 13, 10, 12]),
            (&[13], &[12, 13, 11, 10], &[10, 11, 12]),
            (&[10, 11, 12, 13], &[], &[]),
            (&[9], &[99], &[10, 11, 12, 13]),
        ] {
            assert_eq!(candidates(10..=13, &ports(in_use), &ports(freed)), expected, "{in_use:?} {freed:?}");
        }
    }
}
