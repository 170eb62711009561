//! Which of the endpoints' counts of an account's transactions is believed.

use std::collections::BTreeMap;

use super::TxId;
use super::outcome::Used;

/// How far the chain's count of an account's transactions may be above another one, or our own, and be believed at once.
/// Nonces that a wrong count makes us skip have to be filled.
const NEAR: u64 = 16;

/// How many of an account's transactions the chain holds: its next nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// It is near ours, or two endpoints agree.
    Sure(u64),
    /// It is far above ours, by the word of a single endpoint.
    Alone(u64),
}

/// The highest count that another endpoint, or our own memory, makes plausible: an endpoint that lags counts too few.
/// `first` and `second` are those of two endpoints, `ours` is the nonce after the last one that was signed.
pub(super) fn agreed(first: u64, second: Option<u64>, ours: Option<u64>) -> Count {
    let highest = second.map_or(first, |second| first.max(second));
    let is_near = |known: u64| highest <= known.saturating_add(NEAR);
    match (second.map(|second| first.min(second)), ours) {
        (None, None) => Count::Sure(highest),
        (None, Some(ours)) if is_near(ours) => Count::Sure(highest),
        (None, Some(_)) => Count::Alone(highest),
        (Some(lower), ours) if is_near(lower) || ours.is_some_and(is_near) => Count::Sure(highest),
        (Some(lower), _) => Count::Sure(lower),
    }
}

/// An account's next nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// As it is believed.
    pub(super) latest: u64,
    /// The lower one of two endpoints.
    pub(super) lower: u64,
}

impl Counted {
    /// Takes out what one endpoint shows of nonces that another one has not used, and contradicts: the transactions for these nonces
    /// go on, because an endpoint that is wrong could hold the answer to a challenge back. A nonce is used once, so nothing can
    /// have a second effect. Returns the next nonce to go on with, and the blocks in which the disputed ones are shown.
    pub(super) fn without_disputed(self, used: &mut BTreeMap<u64, Used>) -> (u64, BTreeMap<TxId, u64>) {
        let (mut latest, mut disputed) = (self.latest, BTreeMap::new());
        used.retain(|nonce, used| match used.winner {
            Some(winner) if winner.disputed && *nonce >= self.lower => {
                latest = latest.min(*nonce);
                disputed.insert(winner.tx, winner.inclusion.block);
                false
            }
            _ => true,
        });
        (latest, disputed)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::transactor::Inclusion;
    use crate::transactor::outcome::{Depth, Second, Winner};

    #[test]
    fn a_nonce_counts_as_unused_only_if_an_endpoint_contradicts_its_use_and_has_not_counted_it() {
        let hash = B256::ZERO;
        let inclusion =
            Inclusion { tx_hash: hash, block: 5, block_hash: hash, success: true, gas_used: 1, gas_price: 1 };
        let of = |disputed| {
            let winner = Winner { tx: TxId(1), inclusion, depth: Depth::Shallow, disputed };
            Used { winner: Some(winner), is_final: false, missing: 0, second: Second::Agrees }
        };
        let missing = Used { winner: None, ..of(false) };
        for (lower, used, expected) in [
            (7, of(true), 7),
            (6, of(true), 7),
            (8, of(true), 9), // used by another transaction
            (9, of(true), 9),
            (7, of(false), 9), // the one that counts fewer lags
            (7, missing, 9),
        ] {
            let mut all = BTreeMap::from([(6, of(false)), (7, used), (8, of(false))]);
            let (latest, disputed) = Counted { latest: 9, lower }.without_disputed(&mut all);
            assert_eq!(latest, expected, "{lower} {used:?}");
            assert_eq!(disputed.contains_key(&TxId(1)), latest == 7);
            assert_eq!(all.contains_key(&7), latest == 9);
            assert!(all.contains_key(&6) && all.contains_key(&8));
        }
    }

    #[test]
    fn a_jump_needs_a_second_endpoint_and_a_lag_is_made_good_by_it() {
        use Count::{Alone, Sure};
        for (first, second, ours, expected) in [
            (1_000, None, None, Sure(1_000)), // nothing is known of the account
            (26, None, Some(20), Sure(26)),   // a wallet has used it
            (1_000, None, Some(20), Alone(1_000)),
            (1_000, Some(20), Some(20), Sure(20)),
            (20, Some(1_000), Some(20), Sure(20)),
            (1_000, Some(1_001), Some(20), Sure(1_001)),
            (1_000, Some(20), None, Sure(20)),
            (5, Some(20), Some(20), Sure(20)), // the first one lags
            (5, Some(400), Some(400), Sure(400)),
            (5, Some(6), Some(400), Sure(6)),
        ] {
            assert_eq!(agreed(first, second, ours), expected, "{first} {second:?} {ours:?}");
        }
    }
}
