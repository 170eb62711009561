//! The service's status: what the plug-in does, or was asked to do, for a channel.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::UnknownStatus;

/// The status of the service behind a channel (reference system, §3). The `-ing` states wait for the plug-in.
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
    /// Prepared and not running: ready to start, or suspended.
    Suspended,
    /// The plug-in is stopping for good.
    Terminating,
    /// Stopped for good.
    Terminated,
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
