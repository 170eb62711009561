//! What can go wrong between a role and its adapters.

use std::fmt;
use std::time::Duration;

use privatix_channel::ChannelId;
use serde::{Deserialize, Serialize};

/// The calls of [`Adapter`](crate::Adapter), as errors and logs name them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Call {
    /// [`Adapter::about`](crate::Adapter::about)
    About,
    /// [`Adapter::configure`](crate::Adapter::configure)
    Configure,
    /// [`Adapter::provision`](crate::Adapter::provision)
    Provision,
    /// [`Adapter::start`](crate::Adapter::start)
    Start,
    /// [`Adapter::suspend`](crate::Adapter::suspend)
    Suspend,
    /// [`Adapter::resume`](crate::Adapter::resume)
    Resume,
    /// [`Adapter::stop`](crate::Adapter::stop)
    Stop,
    /// [`Adapter::allow`](crate::Adapter::allow)
    Allow,
    /// [`Adapter::unreached`](crate::Adapter::unreached)
    Unreached,
    /// [`Adapter::health`](crate::Adapter::health)
    Health,
    /// [`Adapter::shutdown`](crate::Adapter::shutdown)
    Shutdown,
}

impl Call {
    /// The call's name, as in the trait.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::About => "about",
            Self::Configure => "configure",
            Self::Provision => "provision",
            Self::Start => "start",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Allow => "allow",
            Self::Unreached => "unreached",
            Self::Health => "health",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an adapter answers when it does not do what was asked.
///
/// It travels as it is from an adapter in another process, hence plain strings for what only that process knows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdapterRefusal {
    /// A call before [`configure`](crate::Adapter::configure).
    #[error("not configured yet: configure the adapter first")]
    NotConfigured,
    /// A call after [`shutdown`](crate::Adapter::shutdown).
    #[error("shut down: make a new instance of the adapter")]
    ShutDown,
    /// The channel was never provisioned in this instance, or was stopped.
    #[error("channel {channel} is not provisioned: provision it first")]
    UnknownChannel {
        /// The channel that was named.
        channel: ChannelId,
    },
    /// The adapter does not serve this role.
    #[error("does not serve the {role} role: take an adapter that does")]
    WrongRole {
        /// The role that was asked for.
        role: crate::Role,
    },
    /// The operator's settings cannot be used.
    #[error("setting `{field}`: {reason}")]
    Settings {
        /// Path of the field, e.g. `limits.idle_timeout_secs`.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The offering's or access message's parameters cannot be used: the counterparty's mistake, a retry will not help.
    #[error("parameter `{field}`: {reason}")]
    Parameters {
        /// Path of the field, e.g. `endpoint.port`.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The adapter is not able to at present; a retry may help.
    #[error("{reason}: {remedy}")]
    Unavailable {
        /// What stands in the way, e.g. `cannot listen on 127.0.0.1:1080: address in use`.
        reason: String,
        /// What the operator can do.
        remedy: String,
    },
}

impl AdapterRefusal {
    /// Whether the same call may succeed later with nothing else changed.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why a call through the [`Host`](crate::Host) did not succeed. Names adapter, call and remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The adapter refused.
    #[error("adapter `{adapter}` refused `{call}`{}: {refusal}", of(.channel.as_ref()))]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// What was called.
        call: Call,
        /// The channel that the call was about, if it was about one.
        channel: Option<ChannelId>,
        /// The adapter's answer.
        #[source]
        refusal: AdapterRefusal,
    },
    /// The adapter did not answer in time; the call was dropped and may be repeated, as all calls are idempotent.
    #[error(
        "adapter `{adapter}` did not answer `{call}`{} within {after:?}: see its log, or allow it more time",
        of(.channel.as_ref())
    )]
    TimedOut {
        /// The adapter's name.
        adapter: String,
        /// What was called.
        call: Call,
        /// The channel that the call was about, if it was about one.
        channel: Option<ChannelId>,
        /// How long the host waited.
        after: Duration,
    },
    /// The adapter panicked: a defect of the plug-in. The host goes on.
    #[error(
        "adapter `{adapter}` panicked in `{call}`{}: {message}: report it to the plug-in's maker",
        of(.channel.as_ref())
    )]
    Panicked {
        /// The adapter's name.
        adapter: String,
        /// What was called.
        call: Call,
        /// The channel that the call was about, if it was about one.
        channel: Option<ChannelId>,
        /// The panic's message.
        message: String,
    },
    /// The host was shut down.
    #[error("adapter `{adapter}` is shut down, `{call}`{} came too late: restart the daemon", of(.channel.as_ref()))]
    ShutDown {
        /// The adapter's name.
        adapter: String,
        /// What was called.
        call: Call,
        /// The channel that the call was about, if it was about one.
        channel: Option<ChannelId>,
    },
}

impl AdapterError {
    /// Whether repeating the same call may help. `false` means that an operator, the counterparty or the plug-in's maker has
    /// to act first.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => refusal.is_temporary(),
            Self::TimedOut { .. } => true,
            Self::Panicked { .. } | Self::ShutDown { .. } => false,
        }
    }

    /// The adapter's own answer, if it gave one.
    pub const fn refusal(&self) -> Option<&AdapterRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

fn of(channel: Option<&ChannelId>) -> String {
    channel.map(|channel| format!(" of channel {channel}")).unwrap_or_default()
}
