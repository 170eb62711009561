//! Where an offering is in its life.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnknownStatus;

/// Where an offering is in its life (reference system §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferingStatus {
    /// Made here, not announced.
    Draft,
    /// The registration is on its way.
    Registering,
    /// On the market.
    Registered,
    /// A pop-up is on its way.
    PoppingUp,
    /// On the market, announced more than once.
    PoppedUp,
    /// The removal is on its way.
    Removing,
    /// Off the market for good.
    Removed,
}

impl OfferingStatus {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::PoppingUp => "popping_up",
            Self::PoppedUp => "popped_up",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }

    /// Whether channels can be opened under it.
    pub const fn is_on_market(self) -> bool {
        matches!(self, Self::Registered | Self::PoppingUp | Self::PoppedUp)
    }
}

impl FromStr for OfferingStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        [
            Self::Draft,
            Self::Registering,
            Self::Registered,
            Self::PoppingUp,
            Self::PoppedUp,
            Self::Removing,
            Self::Removed,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| UnknownStatus(text.into()))
    }
}
