//! The service's status: what the plug-in does, or was told to do, for a channel.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{TransitionRefused, UnknownStatus};

/// The status of the service behind a channel (reference system, §3). The `-ing` states wait for the plug-in.
///
/// ```
/// use privatix_channel::{ServiceEvent, ServiceStatus};
///
/// let suspending = ServiceStatus::Active.apply(ServiceEvent::Suspend)?;
/// // The plug-in's late answer to an earlier order does not undo the newer one.
/// assert!(suspending.apply(ServiceEvent::Activated).is_err());
/// assert_eq!(suspending.apply(ServiceEvent::Suspended)?, ServiceStatus::Suspended);
/// # Ok::<(), privatix_channel::TransitionRefused>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    /// Access is not prepared yet.
    Pending,
    /// The plug-in is starting or letting on.
    Activating,
    /// The service runs.
    Active,
    /// The plug-in is cutting off.
    Suspending,
    /// Prepared and not running: ready to start, or cut off.
    Suspended,
    /// The plug-in is stopping for good.
    Terminating,
    /// Stopped for good.
    Terminated,
}

/// What moves a service's status: orders (of billing, of the operator) and the plug-in's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceEvent {
    /// Access is prepared (agent) or fetched (client); the service is ready to start.
    Prepared,
    /// Order: start, or let on again.
    Activate,
    /// The plug-in did.
    Activated,
    /// Order: cut off for now.
    Suspend,
    /// The plug-in did.
    Suspended,
    /// Order: stop for good.
    Terminate,
    /// The plug-in did.
    Terminated,
}

impl ServiceEvent {
    /// The event's name, for messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Activate => "activate",
            Self::Activated => "activated",
            Self::Suspend => "suspend",
            Self::Suspended => "suspended",
            Self::Terminate => "terminate",
            Self::Terminated => "terminated",
        }
    }
}

impl ServiceStatus {
    /// Every status, in the order of a service's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Activating,
        Self::Active,
        Self::Suspending,
        Self::Suspended,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The status's name in storage and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Activating => "activating",
            Self::Active => "active",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }

    /// Whether the service is over or on its way there: nothing starts it again.
    pub const fn is_ending(self) -> bool {
        matches!(self, Self::Terminating | Self::Terminated)
    }

    /// Whether usage may still come in: the plug-in runs, or has not yet answered that it stopped.
    pub const fn may_use(self) -> bool {
        matches!(self, Self::Activating | Self::Active | Self::Suspending | Self::Terminating)
    }

    /// The status after `event`.
    ///
    /// Orders may come again and may overtake each other: the last one counts, except that nothing follows a termination.
    /// The plug-in's answer counts only while it is awaited (or says what is already so).
    pub fn apply(self, event: ServiceEvent) -> Result<Self, TransitionRefused> {
        use ServiceEvent as E;
        match (self, event) {
            (Self::Pending | Self::Suspended, E::Prepared) => Ok(Self::Suspended),

            (Self::Activating | Self::Active, E::Activate) => Ok(self),
            (Self::Suspended | Self::Suspending, E::Activate) => Ok(Self::Activating),
            (Self::Activating | Self::Active, E::Activated) => Ok(Self::Active),

            (Self::Suspending | Self::Suspended, E::Suspend) => Ok(self),
            (Self::Activating | Self::Active, E::Suspend) => Ok(Self::Suspending),
            (Self::Suspending | Self::Suspended, E::Suspended) => Ok(Self::Suspended),

            (Self::Terminated, E::Terminate) => Ok(self),
            (_, E::Terminate) => Ok(Self::Terminating),
            (Self::Terminating | Self::Terminated, E::Terminated) => Ok(Self::Terminated),

            _ => Err(TransitionRefused { machine: "service", from: self.as_str(), event: event.as_str() }),
        }
    }
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ServiceStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| UnknownStatus(text.into()))
    }
}
