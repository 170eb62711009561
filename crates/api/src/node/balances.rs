//! What an account has.

use alloy::primitives::{Address, U256};
use privatix_channel::Amount;
use serde::{Deserialize, Serialize};

/// What an account has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balances {
    /// The account.
    pub account: Address,
    /// Ether for gas, in wei.
    #[serde(with = "super::decimal")]
    pub ether: U256,
    /// Tokens in the wallet, in base units.
    pub wallet: Amount,
    /// Tokens in the service contract, free to use, in base units.
    pub contract: Amount,
    /// How amounts of the token read.
    #[serde(default)]
    pub token_unit: TokenUnit,
}

/// How amounts of the token read to people: what the token says of itself, which may be nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUnit {
    /// Its symbol.
    pub symbol: Option<String>,
    /// A whole token has `10^decimals` base units.
    pub decimals: Option<u8>,
}

impl TokenUnit {
    /// An amount for people: base units, and beside them whole tokens with their symbol.
    ///
    /// ```
    /// use privatix_api::node::TokenUnit;
    ///
    /// let unit = TokenUnit { symbol: Some("USDC".into()), decimals: Some(6) };
    /// assert_eq!(unit.show(1_500_000u64.into()), "1500000 (1.5 USDC)");
    /// ```
    pub fn show(&self, amount: Amount) -> String {
        let symbol = self.symbol.as_deref().unwrap_or("tokens");
        match self.decimals {
            Some(decimals) => format!("{amount} ({} {symbol})", amount.in_tokens(decimals)),
            None => amount.to_string(),
        }
    }
}
