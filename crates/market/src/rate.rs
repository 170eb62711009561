//! What tokens are worth in ether.

use std::fmt;

use alloy::primitives::U256;
use privatix_channel::Amount;
use serde::{Deserialize, Serialize};

/// An amount of ether, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wei(u128);

impl Wei {
    /// An amount of `wei`.
    pub const fn new(wei: u128) -> Self {
        Self(wei)
    }

    /// The number of wei.
    pub const fn get(self) -> u128 {
        self.0
    }
}

/// `"900 wei"`.
impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wei", self.0)
    }
}

/// What a token is worth in ether, as the operator estimates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// The worth of a whole token, in wei.
    pub wei_per_token: u128,
    /// The token's decimals: a whole token has `10^decimals` base units.
    pub decimals: u8,
}

impl Rate {
    /// The worth of an amount, rounded down; at most 2^128 - 1 wei, which is more ether than there is.
    pub fn wei(self, amount: Amount) -> Wei {
        // The product of two numbers of 128 bits fits in 256. A token with more than 77 decimals is worth nothing.
        let product = U256::from(amount.get()).saturating_mul(U256::from(self.wei_per_token));
        let unit = U256::from(10).checked_pow(U256::from(self.decimals)).unwrap_or(U256::MAX);
        Wei(product.checked_div(unit).unwrap_or_default().saturating_to())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_worth_its_share_of_a_token_rounded_down() {
        let rate = |wei_per_token, decimals| Rate { wei_per_token, decimals };
        for (rate, amount, wei) in [
            (rate(500_000_000_000_000, 6), 2_000_000, 1_000_000_000_000_000),
            (rate(1, 6), 999_999, 0),
            (rate(3, 1), 4, 1),
            (rate(u128::MAX, 0), u128::MAX, u128::MAX),
            (rate(u128::MAX, u8::MAX), u128::MAX, 0),
        ] {
            assert_eq!(rate.wei(Amount::new(amount)), Wei::new(wei), "{rate:?}, {amount}");
        }
    }
}
