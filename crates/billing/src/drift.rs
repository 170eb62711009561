//! The meter that both sides agree on: how far an agent's total may be above the client's own.
//!
//! Two honest meters never agree to the byte. A client that pays by its own alone and an agent that serves by its own alone drift apart
//! until the difference exceeds the lag, and a channel that was paid in full is suspended for good. So the client pays for the agent's
//! total as far as it is within a tolerance of its own ([`agreed`]).
//!
//! The rule compares *totals* since the opening of the channel, never differences. An agent that lies therefore gains one tolerance of
//! the client's final total on a channel, however often it lies. The share has the client's own use as its base, and the absolute part
//! is limited by what the client accepted in the terms: the lag is the agent's choice, and must not become the client's risk.
//!
//! The tolerance may be nothing: while the client's own meter shows nothing, and by the default up to 100 counts where an offering has a
//! small lag, or less than 100 counts as its least use. Such a count is worth much, so none is paid for that the client did not see. Two
//! honest meters that differ by more than the lag then suspend the service: the user is shown both totals, and the agent ends the
//! service after `max_suspend`. Offerings of such services should have a lag of a few counts.
//!
//! The agent's total comes with messaging protocol 2 (`docs/adr/0006-protocol-2.md`). Without one the client's own meter decides alone.

use privatix_channel::Usage;
use serde::{Deserialize, Serialize};

use crate::Terms;

/// A client's setting: how far the agent's total may be above its own and is still paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    /// The share of the client's own total.
    pub share: PerMille,
    /// The most that is granted where the share is less than that, in bytes, seconds or requests; `None` for as much as the terms
    /// permit ([`least_tolerance`](Self::least_tolerance)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<Usage>,
}

impl Default for Drift {
    /// 1 %, and the absolute part that the terms permit.
    fn default() -> Self {
        Self { share: PerMille(10), absolute: None }
    }
}

impl Drift {
    /// Whether nothing differs from the default, which is not stored.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The tolerance from the first use on, until the share exceeds it: the least of the client's own setting, half of the lag, one
    /// billing interval, and 1 % of the least units of the offering. Rounded down.
    pub fn least_tolerance(&self, terms: &Terms) -> Usage {
        let half_of_lag = Usage::new(terms.max_lag().get() / 2);
        let of_minimum = PerMille(10).of(terms.min());
        let permitted = half_of_lag.min(terms.interval()).min(of_minimum);
        self.absolute.map_or(permitted, |own| own.min(permitted))
    }

    /// How far above `ours` the agent's total may be: the greater of the share and the
    /// [`least_tolerance`](Self::least_tolerance), and nothing while `ours` is zero, as nothing shows a service then.
    pub fn tolerance(&self, terms: &Terms, ours: Usage) -> Usage {
        if ours.is_zero() {
            return Usage::ZERO;
        }
        self.share.of(ours).max(self.least_tolerance(terms))
    }
}

/// A share of 0 to 1,000 per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PerMille(u16);

impl PerMille {
    /// The whole.
    pub const MAX: Self = Self(1_000);

    /// The share of a usage, rounded down; exact, cannot overflow.
    pub fn of(self, used: Usage) -> Usage {
        let share = u128::from(used.get()).saturating_mul(self.0.into()) / 1_000;
        // At most the whole, so it always fits.
        Usage::new(u64::try_from(share).unwrap_or(used.get()))
    }
}

impl TryFrom<u16> for PerMille {
    type Error = PerMilleOutOfRange;

    fn try_from(per_mille: u16) -> Result<Self, PerMilleOutOfRange> {
        if per_mille <= Self::MAX.0 { Ok(Self(per_mille)) } else { Err(PerMilleOutOfRange { per_mille }) }
    }
}

impl From<PerMille> for u16 {
    fn from(per_mille: PerMille) -> Self {
        per_mille.0
    }
}

/// A share above 1,000 per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{per_mille} is not a share from 0 to 1000 per mille")]
pub struct PerMilleOutOfRange {
    /// The refused value.
    pub per_mille: u16,
}

/// What a client pays for, of two meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Agreed {
    /// The use to pay for: at least the client's own total, at most that and the tolerance.
    pub used: Usage,
    /// The agent's total where it is above `used`, to be shown to the user together with the client's own. It is not paid for.
    pub beyond: Option<Usage>,
}

/// The use that a client pays for whose own meter shows `ours`, while its agent claims `theirs` (`None`: not known).
///
/// It is the agent's total, but never less than `ours` (a lower total may be an old one, and lowers nothing) and never more than `ours`
/// and the [tolerance](Drift::tolerance). It never falls as either meter grows, which is what the search for the next deadline relies on.
pub fn agreed(terms: &Terms, drift: &Drift, ours: Usage, theirs: Option<Usage>) -> Agreed {
    let theirs = theirs.unwrap_or(ours);
    let most = ours.saturating_add(drift.tolerance(terms, ours));
    Agreed { used: theirs.clamp(ours, most), beyond: Some(theirs).filter(|theirs| *theirs > most) }
}
