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

/// What a transaction of an offering's agent is on its way to do, in the order of an offering's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfferingUnderWay {
    /// Announce it for the first time.
    Publish,
    /// Announce it again.
    PopUp,
    /// Take it off the market.
    Remove,
}

impl OfferingStatus {
    /// The status of an offering of which the chain shows this (`None`: no announcement), while a transaction of its agent is under
    /// way.
    pub const fn of(shown: Option<Self>, under_way: Option<OfferingUnderWay>) -> Self {
        match (shown, under_way) {
            (None, Some(OfferingUnderWay::Publish)) => Self::Registering,
            (None, _) => Self::Draft,
            (Some(Self::Registered | Self::PoppedUp), Some(OfferingUnderWay::PopUp)) => Self::PoppingUp,
            (Some(Self::Registered | Self::PoppedUp), Some(OfferingUnderWay::Remove)) => Self::Removing,
            (Some(shown), _) => shown,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::OfferingStatus::{Draft, PoppedUp, PoppingUp, Registered, Registering, Removed, Removing};
    use super::*;

    #[test]
    fn our_own_transaction_is_under_way_until_the_chain_answers_it() {
        let under_way = [
            None,
            Some(OfferingUnderWay::Publish),
            Some(OfferingUnderWay::PopUp),
            Some(OfferingUnderWay::Remove),
        ];
        for (shown, expected) in [
            (None, [Draft, Registering, Draft, Draft]),
            (Some(Registered), [Registered, Registered, PoppingUp, Removing]),
            (Some(PoppedUp), [PoppedUp, PoppedUp, PoppingUp, Removing]),
            (Some(Removed), [Removed; 4]),
        ] {
            assert_eq!(
                under_way.map(|under_way| OfferingStatus::of(shown, under_way)),
                expected,
                "{shown:?}"
            );
        }
    }
}
