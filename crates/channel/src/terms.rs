//! What a deployment of the contract fixes for ever.

use serde::{Deserialize, Serialize};

use crate::{Amount, Period};

/// The contract's periods and its least stake, fixed at the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// Between two announcements of an offering.
    pub pop_up: Period,
    /// From an offering's last announcement to its removal.
    pub remove: Period,
    /// In which an agent can answer a client's close request.
    pub challenge: Period,
    /// From the announcement of a higher network fee until it counts.
    pub fee_delay: Period,
    /// The least stake behind each place of an offering.
    pub min_stake: Amount,
}

impl Terms {
    /// The longest period that the contract accepts.
    pub const LONGEST: Period = Period::days(90);
    /// The shortest challenge that the contract accepts: an agent needs time to see a request and to have its answer mined.
    pub const SHORTEST_CHALLENGE: Period = Period::minutes(15);
    /// Short ones, for tests: the shortest challenge (15 minutes), and 5 to 20 seconds for everything else.
    pub const TEST: Self = Self {
        pop_up: Period::new(10),
        remove: Period::new(5),
        challenge: Self::SHORTEST_CHALLENGE,
        fee_delay: Period::new(20),
        min_stake: Amount::new(1),
    };

    /// The periods of the published deployments, with this least stake.
    pub const fn standard(min_stake: Amount) -> Self {
        Self {
            pop_up: Period::hours(2),
            remove: Period::minutes(30),
            challenge: Period::hours(24),
            fee_delay: Period::days(7),
            min_stake,
        }
    }

    /// Whether the contract can be deployed with these terms: each period is between a second and 90 days, the challenge at
    /// least 15 minutes, the fee's delay longer than the period of removal, and the stake above zero.
    pub fn are_valid(&self) -> bool {
        let second = Period::new(1);
        let in_range = |period: Period, least: Period| (least..=Self::LONGEST).contains(&period);
        in_range(self.pop_up, second)
            && in_range(self.remove, second)
            && in_range(self.challenge, Self::SHORTEST_CHALLENGE)
            && in_range(self.fee_delay, second)
            && self.fee_delay > self.remove
            && !self.min_stake.is_zero()
            && self.min_stake.fits_on_chain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_can_be_deployed_and_terms_at_the_edges_are_judged_as_the_contract_does() {
        let standard = Terms::standard(Amount::new(1));
        assert!(standard.are_valid() && Terms::TEST.are_valid());
        let too_long = Period::new(Terms::LONGEST.seconds() + 1);
        let zero = Period::new(0);
        for refused in [
            Terms { pop_up: zero, ..standard },
            Terms { pop_up: too_long, ..standard },
            Terms { remove: zero, ..standard },
            Terms { remove: Terms::LONGEST, fee_delay: Terms::LONGEST, ..standard },
            Terms { challenge: Period::new(15 * 60 - 1), ..standard },
            Terms { challenge: too_long, ..standard },
            Terms { fee_delay: standard.remove, ..standard },
            Terms { fee_delay: too_long, ..standard },
            Terms { min_stake: Amount::ZERO, ..standard },
            Terms { min_stake: Amount::new(1 << 96), ..standard },
        ] {
            assert!(!refused.are_valid(), "{refused:?}");
        }
        let least_delay = Period::new(standard.remove.seconds() + 1);
        assert!(Terms { fee_delay: least_delay, ..standard }.are_valid());
    }
}
