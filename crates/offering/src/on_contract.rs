//! Whether what an offering's events come to is what its contract holds.

use std::fmt;

use privatix_channel::{Amount, Fee};

/// What the contract holds of an offering (its `offerings(agent, hash)`), or what the offering's events come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnContract {
    /// Where it is in its life.
    pub life: OfferingLife,
    /// The least deposit of a channel.
    pub min_deposit: Amount,
    /// Free places.
    pub free: u32,
    /// The network fee of the channels that open next.
    pub fee: Fee,
}

/// Where an offering is in its life, for the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OfferingLife {
    /// Never registered.
    Unregistered,
    /// Channels can be opened under it.
    Live,
    /// Removed for ever.
    Removed,
}

/// What the contract holds of an offering, and the events that were seen do not explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnexplainedOffering {
    /// Where it is in its life.
    Life {
        /// By its events.
        seen: OfferingLife,
        /// By the contract.
        held: OfferingLife,
    },
    /// Free places: each open channel takes one.
    Free {
        /// By its events.
        seen: u32,
        /// By the contract.
        held: u32,
    },
    /// The least deposit.
    MinDeposit {
        /// By its events.
        seen: Amount,
        /// By the contract.
        held: Amount,
    },
    /// The network fee.
    Fee {
        /// By its events.
        seen: Fee,
        /// By the contract.
        held: Fee,
    },
}

impl OnContract {
    /// What the contract holds at the block up to which the events were seen, and they do not explain. Of an offering that is
    /// not live, nothing but that has a meaning.
    pub fn unexplained(&self, held: &Self) -> Option<UnexplainedOffering> {
        if self.life != held.life {
            return Some(UnexplainedOffering::Life { seen: self.life, held: held.life });
        }
        if self.life != OfferingLife::Live {
            return None;
        }
        if self.free != held.free {
            return Some(UnexplainedOffering::Free { seen: self.free, held: held.free });
        }
        if self.min_deposit != held.min_deposit {
            return Some(UnexplainedOffering::MinDeposit { seen: self.min_deposit, held: held.min_deposit });
        }
        (self.fee != held.fee).then_some(UnexplainedOffering::Fee { seen: self.fee, held: held.fee })
    }

    /// Why no channel with this deposit can be opened under it.
    pub fn refuses(&self, deposit: Amount) -> Option<NotAcceptable> {
        match self.life {
            OfferingLife::Unregistered => Some(NotAcceptable::Unregistered),
            OfferingLife::Removed => Some(NotAcceptable::Removed),
            OfferingLife::Live if self.free == 0 => Some(NotAcceptable::NoFreePlace),
            OfferingLife::Live => (deposit < self.min_deposit)
                .then_some(NotAcceptable::DepositTooLow { deposit, least: self.min_deposit }),
        }
    }
}

/// Why the contract would refuse to open a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAcceptable {
    /// Nobody registered it, or a reorganisation of the chain took that back.
    #[error("is not registered on the chain; choose another one")]
    Unregistered,
    /// Its agent removed it.
    #[error("is removed; choose another one")]
    Removed,
    /// All its places are taken.
    #[error("has no free place now; try later")]
    NoFreePlace,
    /// The deposit is less than the agent asks for.
    #[error("wants a deposit of at least {least}, not {deposit}; offer more")]
    DepositTooLow {
        /// What was offered.
        deposit: Amount,
        /// What is needed.
        least: Amount,
    },
}

impl fmt::Display for OfferingLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unregistered => "unregistered",
            Self::Live => "live",
            Self::Removed => "removed",
        })
    }
}

impl fmt::Display for UnexplainedOffering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life { seen, held } => write!(f, "the contract has it {held}, its events have it {seen}"),
            Self::Free { seen, held } => {
                write!(f, "{held} places are free by the contract, {seen} by its events")
            }
            Self::MinDeposit { seen, held } => {
                write!(f, "the least deposit is {held} by the contract, {seen} by its events")
            }
            Self::Fee { seen, held } => {
                write!(f, "the fee is {} by the contract, {} by its events", held.get(), seen.get())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNREGISTERED: OnContract =
        OnContract { life: OfferingLife::Unregistered, min_deposit: Amount::ZERO, free: 0, fee: Fee::ZERO };

    fn live(min_deposit: u128, free: u32, fee: u16) -> OnContract {
        let fee = Fee::new(fee).unwrap();
        OnContract { life: OfferingLife::Live, min_deposit: Amount::new(min_deposit), free, fee }
    }

    #[test]
    fn each_difference_is_named_and_nothing_but_its_life_counts_of_what_is_not_live() {
        let seen = live(10, 3, 7);
        let removed = OnContract { life: OfferingLife::Removed, ..live(1, 1, 1) };
        for (held, difference) in [
            (seen, None),
            (removed, Some("the contract has it removed, its events have it live")),
            (live(10, 2, 7), Some("2 places are free by the contract, 3 by its events")),
            (live(11, 3, 7), Some("the least deposit is 11 by the contract, 10 by its events")),
            (live(10, 3, 8), Some("the fee is 8 by the contract, 7 by its events")),
        ] {
            let named = seen.unexplained(&held).map(|what| what.to_string());
            assert_eq!(named.as_deref(), difference, "{held:?}");
        }
        let seen = OnContract { life: OfferingLife::Removed, ..seen };
        assert_eq!(seen.unexplained(&removed), None);
        let named = UNREGISTERED.unexplained(&live(10, 3, 7)).map(|what| what.to_string());
        assert_eq!(named.as_deref(), Some("the contract has it live, its events have it unregistered"));
    }

    #[test]
    fn a_channel_is_refused_for_what_the_contract_would_refuse_it_for() {
        let deposit = Amount::new(10);
        assert_eq!(live(10, 1, 0).refuses(deposit), None);
        assert_eq!(live(10, 0, 0).refuses(deposit), Some(NotAcceptable::NoFreePlace));
        let too_low = NotAcceptable::DepositTooLow { deposit, least: Amount::new(11) };
        assert_eq!(live(11, 1, 0).refuses(deposit), Some(too_low));
        assert_eq!(UNREGISTERED.refuses(deposit), Some(NotAcceptable::Unregistered));
        let removed = OnContract { life: OfferingLife::Removed, ..live(1, 1, 0) };
        assert_eq!(removed.refuses(deposit), Some(NotAcceptable::Removed));
    }
}
