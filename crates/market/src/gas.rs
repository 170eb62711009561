//! Whether an account's ether suffices: the [`Reserve`] for closes, when new channels are served, and the [`Runway`].

use std::time::Duration;

use crate::{Danger, Wei};

/// What an account keeps for closes: those of all open channels, and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reserve {
    /// The channels that are open and not closed yet, also those that are only announced.
    pub open: u64,
    /// What a close costs at the present price.
    pub close_cost: Wei,
}

impl Reserve {
    /// What the closes of the open channels cost.
    pub fn closes(self) -> Wei {
        Wei::new(self.close_cost.get().saturating_mul(self.open.into()))
    }

    /// The whole reserve.
    pub fn wei(self) -> Wei {
        Wei::new(self.closes().get().saturating_add(self.close_cost.get()))
    }

    /// From where on new channels are served again: a fifth above the reserve.
    fn enough_again(self) -> Wei {
        let wei = self.wei().get();
        Wei::new(wei.saturating_add(wei.div_ceil(5)))
    }
}

/// Whether new channels are served: not below the reserve, and again only above 1.2 times of it. Between both nothing changes, so
/// a price that moves a little moves nothing else.
///
/// ```
/// use privatix_market::{AffordsNew, Reserve, Wei};
///
/// let reserve = Reserve { open: 9, close_cost: Wei::new(10) };
/// let mut affords = AffordsNew::default();
/// assert!(!affords.look(Wei::new(100), reserve), "as before");
/// assert!(affords.look(Wei::new(99), reserve));
/// assert!(!affords.get());
/// assert!(!affords.look(Wei::new(120), reserve), "as before");
/// assert!(affords.look(Wei::new(121), reserve));
/// assert!(affords.get());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AffordsNew(bool);

impl Default for AffordsNew {
    /// Until the balance is known, channels are served.
    fn default() -> Self {
        Self(true)
    }
}

impl AffordsNew {
    /// Whether new channels are served: [`Gas::affords_new`](crate::Gas::affords_new).
    pub const fn get(self) -> bool {
        self.0
    }

    /// Takes in the present balance; whether that changed the answer. Where the balance or a price is not known, nothing changes:
    /// this is not called.
    pub fn look(&mut self, balance: Wei, reserve: Reserve) -> bool {
        let before = *self;
        if balance < reserve.wei() {
            self.0 = false;
        } else if balance > reserve.enough_again() {
            self.0 = true;
        }
        *self != before
    }
}

/// What an account spent for gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spending {
    /// How much.
    pub wei: Wei,
    /// How long that took, in uptime.
    pub over: Duration,
}

/// For how long an account's ether lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runway {
    /// It does not pay for the closes of the channels that are open.
    Short {
        /// What is missing for that.
        missing: Wei,
    },
    /// Whole days, once the closes to come are paid, if it is spent as fast as before.
    Days(u64),
    /// Nothing was spent, or it was watched for too short a time to judge.
    Unknown,
}

/// Whole days that an account's ether should last, so that there is time to send more.
pub const ENOUGH_DAYS: u64 = 7;

/// The least time from which a day's spending is estimated.
const LEAST: Duration = Duration::from_hours(1);

impl Runway {
    /// How much money is in danger by this runway; `None` where nothing has to be done. `affords`: whether new channels are served.
    ///
    /// | the ether | |
    /// | --- | --- |
    /// | does not pay for the closes of the open channels | loss |
    /// | is so little that new channels are not served | risk |
    /// | lasts for less than [`ENOUGH_DAYS`] | risk |
    pub fn danger(self, affords: AffordsNew) -> Option<Danger> {
        match self {
            Self::Short { .. } => Some(Danger::Loss),
            _ if !affords.get() => Some(Danger::Risk),
            Self::Days(days) => (days < ENOUGH_DAYS).then_some(Danger::Risk),
            Self::Unknown => None,
        }
    }

    /// In whole days: none where it is too short already; `None` where it is not known.
    pub const fn days(self) -> Option<u64> {
        match self {
            Self::Short { .. } => Some(0),
            Self::Days(days) => Some(days),
            Self::Unknown => None,
        }
    }

    /// The runway of an account with this balance.
    pub fn of(balance: Wei, reserve: Reserve, spending: Spending) -> Self {
        let closes = reserve.closes();
        let Some(left) = balance.get().checked_sub(closes.get()) else {
            return Self::Short { missing: Wei::new(closes.get().saturating_sub(balance.get())) };
        };
        let seconds = u128::from(spending.over.as_secs());
        let a_day = u128::from(Duration::from_hours(24).as_secs());
        if spending.over < LEAST {
            return Self::Unknown;
        }
        // Divided first where the product does not fit, which is beyond all ether there is.
        let lasts = match left.checked_mul(seconds) {
            Some(product) => product.checked_div(spending.wei.get()),
            None => left.checked_div(spending.wei.get()).map(|times| times.saturating_mul(seconds)),
        };
        let days = lasts.and_then(|seconds| seconds.checked_div(a_day));
        days.map_or(Self::Unknown, |days| Self::Days(u64::try_from(days).unwrap_or(u64::MAX)))
    }
}
