//! The side towards programs: one port that speaks SOCKS5 and HTTP. The agent and the client differ only in who may enter and
//! in how a destination is reached, which is their [`Backend`].

mod farewell;
mod http;
mod listener;
mod places;
mod socks;
mod strangers;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use privatix_channel::ChannelId;
use privatix_net::{PeerAddress, ResolveError};
use tokio::net::TcpStream;

pub(crate) use listener::{Listener, bind};
pub(crate) use places::Places;

use crate::channel::{Channel, Flow, NotAdmitted, Stopped};
use crate::destination::{NotAllowed, Target};
use crate::metered::{Counting, Metered};
use crate::settings::Limits;

/// What a front-end needs from the side that it serves.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// The channel that everybody at this port uses, if no login is asked for.
    fn open_to_all(&self) -> Option<Arc<Channel>>;

    /// The channel that these credentials belong to.
    fn login(&self, peer: IpAddr, username: &str, password: &[u8]) -> Result<Arc<Channel>, LoginRefused>;

    /// Reaches a destination for a channel, in the time that the limits give.
    async fn dial(&self, channel: ChannelId, target: &Target) -> Result<TcpStream, DialError>;

    /// The bounds to keep.
    fn limits(&self) -> &Limits;

    /// Which of a request's two connections is metered: the one between buyer and seller, which both can count.
    fn meter(&self) -> MeterAt;
}

/// The connection that both meters count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MeterAt {
    /// The one that the program made: the seller's side, where the buyer's plug-in is the program.
    Program,
    /// The one that was made for it: the buyer's side, where it leads to the seller.
    Destination,
}

/// Why a login is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum LoginRefused {
    /// Deliberately one answer for both.
    #[error("unknown user name or wrong password: use those of the channel's access message")]
    Wrong,
    #[error("too many wrong passwords: wait a minute")]
    Throttled,
    #[error("all connections are taken: try again")]
    Full,
}

/// Why a destination is not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("destination not allowed: {0}")]
    NotAllowed(#[from] NotAllowed),
    #[error("destination not allowed: it is the proxy's own machine")]
    OwnMachine,
    #[error("destination not allowed by the agent")]
    RefusedByAgent,
    #[error("name does not resolve")]
    Unresolved(#[source] io::Error),
    #[error("too many names are being looked up: try again")]
    TooManyLookups,
    #[error("connection refused by the destination")]
    Refused,
    #[error("destination not reachable")]
    Unreachable(#[source] io::Error),
    #[error("destination did not answer in time")]
    TimedOut,
    /// Client only.
    #[error("agent not reachable")]
    Agent(#[source] io::Error),
    /// Client only.
    #[error("agent refused the login")]
    AgentLogin,
    /// Client only.
    #[error("agent could not serve the request")]
    AgentFailed,
}

impl From<ResolveError> for DialError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::TooMany { .. } => Self::TooManyLookups,
            ResolveError::TimedOut { .. } => Self::TimedOut,
            error => Self::Unresolved(io::Error::other(error)),
        }
    }
}

impl DialError {
    pub(crate) fn from_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unreachable(error),
        }
    }
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("the channel is suspended: pay what is due, or resume it")]
    Suspended,
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl From<Stopped> for Refused {
    fn from(stopped: Stopped) -> Self {
        Self::NotAdmitted(stopped.into())
    }
}

/// Takes a place in the channel, waits a little for it to pass, and connects.
async fn connect(
    backend: &impl Backend,
    channel: &Arc<Channel>,
    peer: PeerAddress,
    target: &Target,
) -> Result<(TcpStream, Flow), Refused> {
    let limits = backend.limits();
    let flow: Flow = channel.admit(peer, limits.connections_per_channel)?;
    tokio::time::timeout(limits.suspended_wait, channel.opened()).await.map_err(|_| Refused::Suspended)??;
    let dialled = tokio::select! {
        dialled = backend.dial(channel.id(), target) => dialled,
        () = channel.stopped() => return Err(Stopped.into()),
    };
    let stream = dialled.inspect_err(|error| {
        tracing::debug!(channel = %channel.id(), %peer, %target, %error, "destination not reached");
    })?;
    Ok((stream, flow))
}

/// Puts the meter on the connection that both sides can count. Returns the other one first.
fn meter(
    backend: &impl Backend,
    program: TcpStream,
    destination: TcpStream,
    flow: Flow,
) -> (TcpStream, Metered) {
    match backend.meter() {
        MeterAt::Program => (destination, Metered::new(program, flow, Counting::WhenRead)),
        MeterAt::Destination => (program, Metered::new(destination, flow, Counting::WhenArrived)),
    }
}
