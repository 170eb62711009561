//! Which of the endpoints' counts of an account's transactions is believed.

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

#[cfg(test)]
mod tests {
    use super::*;

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
