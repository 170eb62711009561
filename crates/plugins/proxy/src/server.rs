//! The seller's side: lets channels with credentials through to the internet.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU64};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use parking_lot::RwLock;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Credentials, Health, Provision, Provisioned,
    Role, Secret, UsageReporter,
};
use privatix_channel::{ChannelId, Usage};
use privatix_net::{Resolver, Share};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::channel::{Bounds, Channel};
use crate::destination::{Destinations, Target};
use crate::endpoint::Endpoint;
use crate::front::{Backend, DialError, Listener, LoginRefused, MeterAt, Places, bind};
use crate::lifecycle::Lifecycle;
use crate::reporting::Reporting;
use crate::settings::{Limits, ServerSettings};
use crate::throttle::Throttle;
use crate::tunnel;

/// Sells proxy traffic: the agent's adapter. Its settings are [`ServerSettings`].
///
/// Clients log in with the credentials that their channel was provisioned with. What counts is
/// described [by the crate](crate#what-is-counted). Suspending a channel pauses its connections: no byte passes, the connections stay; new
/// ones wait for a few seconds and are refused then. Stopping it closes them.
///
/// Of an offering's additional parameters it keeps `maxConnections` (at once, per channel) and `maxBandwidth` (bytes per
/// second, per channel, both directions together); others are not its business.
#[derive(Default)]
pub struct ProxyServer {
    lifecycle: Lifecycle<ServerSettings, Running>,
    resolver: Resolver,
}

impl ProxyServer {
    /// A server that is not configured yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that looks destinations up with `resolver` instead of the system's.
    pub fn with_resolver(resolver: Resolver) -> Self {
        Self { resolver, ..Self::default() }
    }

    fn channel(&self, channel: ChannelId) -> Result<Arc<Channel>, AdapterRefusal> {
        let running = self.lifecycle.running()?;
        let doors = running.doors.channels.read();
        doors
            .get(&channel)
            .map(|door| Arc::clone(&door.channel))
            .ok_or(AdapterRefusal::UnknownChannel { channel })
    }
}

/// What runs once configured.
struct Running {
    doors: Arc<Doors>,
    endpoint: Endpoint,
    reporting: Arc<Reporting>,
    stop_reporting: DropGuard,
    report_task: JoinHandle<()>,
    listener: Listener,
    places: Arc<Places>,
}

/// Who may enter, and where to.
struct Doors {
    channels: RwLock<HashMap<ChannelId, Door>>,
    by_username: RwLock<HashMap<String, ChannelId>>,
    throttle: Throttle,
    destinations: Destinations,
    resolver: Resolver,
    limits: Limits,
}

struct Door {
    channel: Arc<Channel>,
    credentials: Credentials,
    /// The channel's part of the lookups: it may ask for names that nobody answers for.
    lookups: Share,
}

impl Running {
    async fn start(
        settings: ServerSettings,
        resolver: Resolver,
        reporter: UsageReporter,
    ) -> Result<Self, AdapterRefusal> {
        let (listener, local) = bind(settings.listen).await?;
        let host = settings.public_host.unwrap_or_else(|| local.ip().to_string());
        let port = settings.public_port.unwrap_or_else(|| local.port());
        let port = NonZeroU16::new(port).ok_or_else(|| AdapterRefusal::Settings {
            field: "public_port".to_owned(),
            reason: "is 0: name the port that clients connect to".to_owned(),
        })?;
        let stop = CancellationToken::new();
        let (reporting, task) = Reporting::new(reporter, settings.reports, stop.clone());
        let doors = Arc::new(Doors {
            channels: RwLock::default(),
            by_username: RwLock::default(),
            throttle: Throttle::new(settings.limits.wrong_passwords_per_minute),
            destinations: settings.destinations,
            resolver,
            limits: settings.limits,
        });
        let places = Places::new(&doors.limits);
        tracing::info!(listen = %local, public = %format_args!("{host}:{port}"), "proxy server listens");
        Ok(Self {
            listener: Listener::serve(listener, Arc::clone(&doors), Arc::clone(&places)),
            places,
            doors,
            endpoint: Endpoint::new(host, port),
            reporting,
            stop_reporting: stop.drop_guard(),
            report_task: tokio::spawn(task),
        })
    }
}

#[async_trait]
impl Adapter for ProxyServer {
    fn about(&self) -> About {
        crate::about("proxy-server", Role::Agent)
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        crate::expect_role(Role::Agent, configuration.role)?;
        let settings = ServerSettings::parse(&configuration.settings)?;
        let resolver = self.resolver.clone();
        self.lifecycle
            .configure(settings, async |settings| Running::start(settings, resolver, reporter).await)
            .await
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        crate::expect_role(Role::Agent, provision.role())?;
        let running = self.lifecycle.running()?;
        let Provision::Sell { channel: id, credentials, parameters, used, up_to } = provision else {
            return Err(AdapterRefusal::WrongRole { role: provision.role() });
        };
        tunnel::check(&credentials)?;
        let bounds = bounds(&parameters)?;
        let new = || Channel::new(id, used, Arc::clone(&running.reporting));
        let channel = running.doors.admit(id, credentials, new)?;
        channel.bound(bounds);
        channel.allow(up_to);
        Ok(Provisioned { endpoint: running.endpoint.to_value() })
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
        if let Some(channel) = self.lifecycle.running()?.doors.dismiss(channel) {
            channel.stop().await;
        }
        Ok(())
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        self.channel(channel)?.allow(up_to);
        Ok(Allowance::Enforced)
    }

    async fn health(&self) -> Health {
        match self.lifecycle.running() {
            Err(refusal) => Health::Failed { reason: refusal.to_string() },
            Ok(running) if !running.listener.is_alive() => {
                Health::Failed { reason: "the port is not served any more: restart the daemon".to_owned() }
            }
            Ok(running) if running.places.are_full() => Health::Degraded {
                reason: format!(
                    "all {} connections are taken: raise limits.connections",
                    running.doors.limits.connections
                ),
            },
            Ok(_) => Health::Well,
        }
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        let Some(running) = self.lifecycle.shut_down() else { return Ok(()) };
        let doors: Vec<Door> = running.doors.channels.write().drain().map(|(_, door)| door).collect();
        // All at once: each may wait a moment for what is on its way.
        let mut stops = JoinSet::new();
        for door in doors {
            stops.spawn(async move { door.channel.stop().await });
        }
        stops.join_all().await;
        // The last reference, but for a call under way; dropping the listener ends it too.
        if let Some(running) = Arc::into_inner(running) {
            running.listener.shut_down().await;
            drop(running.stop_reporting);
            if let Err(failed) = running.report_task.await {
                tracing::error!(error = %failed, "reporting ended badly");
            }
        }
        Ok(())
    }
}

/// What an offering's parameters allow each channel.
fn bounds(parameters: &serde_json::Value) -> Result<Bounds, AdapterRefusal> {
    let number = |name: &str| match parameters.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(value) => {
            value.as_u64().and_then(NonZeroU64::new).map(Some).ok_or_else(|| AdapterRefusal::Parameters {
                field: name.to_owned(),
                reason: format!("is {value}: must be a whole number above 0"),
            })
        }
    };
    Ok(Bounds {
        connections: number("maxConnections")?.map(|most| usize::try_from(most.get()).unwrap_or(usize::MAX)),
        bytes_per_second: number("maxBandwidth")?,
    })
}

impl Doors {
    fn admit(
        &self,
        id: ChannelId,
        credentials: Credentials,
        new: impl FnOnce() -> Arc<Channel>,
    ) -> Result<Arc<Channel>, AdapterRefusal> {
        let (mut channels, mut by_username) = (self.channels.write(), self.by_username.write());
        if by_username.get(&credentials.username).is_some_and(|holder| *holder != id) {
            return Err(AdapterRefusal::Parameters {
                field: "credentials.username".to_owned(),
                reason: "another channel has it: use the channel's id".to_owned(),
            });
        }
        if let Some(door) = channels.get_mut(&id) {
            by_username.remove(&door.credentials.username);
            by_username.insert(credentials.username.clone(), id);
            door.credentials = credentials;
            return Ok(Arc::clone(&door.channel));
        }
        by_username.insert(credentials.username.clone(), id);
        let channel = new();
        let lookups = self.resolver.share();
        channels.insert(id, Door { channel: Arc::clone(&channel), credentials, lookups });
        Ok(channel)
    }

    fn dismiss(&self, id: ChannelId) -> Option<Arc<Channel>> {
        let (mut channels, mut by_username) = (self.channels.write(), self.by_username.write());
        let door = channels.remove(&id)?;
        by_username.remove(&door.credentials.username);
        Some(door.channel)
    }
}

#[async_trait]
impl Backend for Doors {
    fn open_to_all(&self) -> Option<Arc<Channel>> {
        None
    }

    fn login(&self, peer: IpAddr, username: &str, password: &[u8]) -> Result<Arc<Channel>, LoginRefused> {
        // In the order of `admit`, so that the two cannot wait for each other.
        let channels = self.channels.read();
        let id = self.by_username.read().get(username).copied().ok_or(LoginRefused::Wrong)?;
        let door = channels.get(&id).ok_or(LoginRefused::Wrong)?;
        let now = Instant::now();
        if self.throttle.is_throttled(id, peer, now) {
            return Err(LoginRefused::Throttled);
        }
        if !Secret::matches(&door.credentials.password, password) {
            self.throttle.note(id, peer, now);
            return Err(LoginRefused::Wrong);
        }
        Ok(Arc::clone(&door.channel))
    }

    async fn dial(&self, channel: ChannelId, target: &Target) -> Result<TcpStream, DialError> {
        let lookups = self.channels.read().get(&channel).map(|door| door.lookups.clone());
        let Some(lookups) = lookups else {
            return Err(DialError::Unreachable(io::Error::other("the channel was stopped")));
        };
        tokio::time::timeout(self.limits.connect, dial(&lookups, &self.destinations, target))
            .await
            .unwrap_or(Err(DialError::TimedOut))
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn meter(&self) -> MeterAt {
        MeterAt::Program
    }
}

/// Connects to an allowed destination. A name is resolved once, here, and each address is judged and connected to as it is:
/// a name that resolves to something else a moment later ("rebinding") gains nothing.
pub(crate) async fn dial(
    lookups: &Share,
    destinations: &Destinations,
    target: &Target,
) -> Result<TcpStream, DialError> {
    destinations.judge_port(target.port())?;
    let addresses: Vec<SocketAddr> = match target {
        Target::Address(address) => vec![*address],
        Target::Name(name, port) => {
            lookups.lookup(name).await?.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect()
        }
    };
    let nothing = || DialError::Unresolved(std::io::Error::other("no addresses"));
    let mut last = None;
    for address in addresses {
        last = Some(match try_address(destinations, address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        });
    }
    Err(last.unwrap_or_else(nothing))
}

async fn try_address(destinations: &Destinations, address: SocketAddr) -> Result<TcpStream, DialError> {
    destinations.judge(address.ip())?;
    // The canonical form is the one that was judged.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let stream = TcpStream::connect(address).await.map_err(DialError::from_connect)?;
    // Its public address, too, reaches what this machine guards behind "only from here".
    let own = stream.local_addr().is_ok_and(|local| local.ip() == address.ip());
    if own && !destinations.allows_own_machine(address.ip()) {
        return Err(DialError::OwnMachine);
    }
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
