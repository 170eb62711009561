use std::str::FromStr;
use std::time::Duration;

use alloy::primitives::utils::{format_ether, parse_ether};
use alloy::primitives::{Address, U256};
#[cfg(doc)]
use privatix_chain::usual_confirmations;
use privatix_chain::{FeePolicy, Finality, StartFrom, View};
use privatix_channel::{Amount, Fee};
use privatix_market::{ClockSkew, Rate};
use serde::{Deserialize, Serialize};

/// About two days of Ethereum: as many blocks as the reference system calls fresh (section "Chain monitor").
const RECENT_BLOCKS: u64 = 11_520;

/// How a node follows the chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChainSettings {
    /// The service contract (PSC).
    pub contract: Address,
    /// What a contract of other code means.
    pub unknown_contract: UnknownContract,
    /// The chain's id; None takes the endpoint's word for it.
    pub chain_id: Option<u64>,
    /// Blocks on top of a block before its events count; None takes what is [usual](usual_confirmations) on the chain.
    pub confirmations: Option<u64>,
    /// Which blocks count as final, so that the outcomes of transactions in them are not watched any more; None takes what is
    /// [usual](Finality::of_chain) on the chain.
    pub finality: Option<Finality>,
    /// How often the head is looked up.
    pub poll_interval: Duration,
    /// The age from which on our view of the chain is stale, if the chain's own pace does not ask for more; at most a third of
    /// the contract's challenge period. With 0, only endpoints that contradict each other make it stale.
    pub max_view_age: Duration,
    /// How far this machine's clock and the chain's time may be apart while money is locked: nothing is opened, topped up or published
    /// beyond it. With 0, they are not compared.
    pub max_clock_skew: Duration,
    /// Where a new database starts.
    pub start: StartFrom,
    /// How many blocks a new client searches for offerings, from the newest on; not below its start.
    pub recent_blocks: u64,
    /// What transactions may cost.
    pub fees: FeePolicy,
    /// What a token is worth: as much may be paid for the answer to a dispute. None keeps it at the everyday price.
    pub ether_per_token: Option<EtherPerToken>,
    /// The highest network fee of a channel: an agent closes dearer ones, a client opens none. None accepts all that the contract
    /// sets.
    pub accept_fee: Option<Fee>,
}

impl ChainSettings {
    /// How far this machine's clock and the chain's time may be apart, unless set otherwise.
    pub const MAX_CLOCK_SKEW: Duration = ClockSkew::MOST;

    /// The usual settings: confirmations and finality as is usual on the chain, a look every 4 s, the last 11,520 blocks (about two days) at the first start.
    pub fn new(contract: Address) -> Self {
        Self {
            contract,
            unknown_contract: UnknownContract::default(),
            chain_id: None,
            confirmations: None,
            finality: None,
            poll_interval: Duration::from_secs(4),
            max_view_age: View::MAX_AGE,
            max_clock_skew: Self::MAX_CLOCK_SKEW,
            start: StartFrom::Recent(RECENT_BLOCKS),
            recent_blocks: RECENT_BLOCKS,
            fees: FeePolicy::default(),
            ether_per_token: None,
            accept_fee: None,
        }
    }
}

/// What a token is worth in ether, as the operator estimates it: in wei for a whole token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EtherPerToken(u128);

impl EtherPerToken {
    /// An amount in wei, of a token with `10^decimals` base units; at most 2^128 - 1, which is more ether than there is.
    pub fn wei(self, amount: Amount, decimals: u8) -> u128 {
        let unit = U256::from(10).checked_pow(U256::from(decimals)).unwrap_or(U256::MAX);
        // Below 2^192: a whole token's worth is below 2^64 wei.
        let scaled = U256::from(amount.get()).saturating_mul(U256::from(self.0));
        scaled.checked_div(unit).unwrap_or_default().saturating_to()
    }

    /// The same, for decisions about a token with this many decimals.
    pub const fn rate(self, decimals: u8) -> Rate {
        Rate { wei_per_token: self.0, decimals }
    }
}

impl FromStr for EtherPerToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wei = parse_ether(text)
            .map_err(|e| format!("{text:?} is no amount of ether: {e}; write one like \"0.0005\""))?;
        match u64::try_from(wei) {
            Ok(0) => Err(format!("{text:?} ether is nothing; write what a token is worth, like \"0.0005\"")),
            Ok(wei) => Ok(Self(wei.into())),
            Err(_) => Err(format!("{text} ether for a token is too much")),
        }
    }
}

impl TryFrom<String> for EtherPerToken {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EtherPerToken> for String {
    fn from(rate: EtherPerToken) -> Self {
        format_ether(rate.0)
    }
}

/// What it means that the contract's code is not the one that this version was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnknownContract {
    /// It is refused.
    #[default]
    Refuse,
    /// It is used, with a warning in the log.
    Warn,
}

/// What becomes of the network addresses that the plug-in reports with the sessions of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddresses {
    /// None is stored, and those that were are cleared at the start.
    #[default]
    Dropped,
    /// They are stored with the sessions.
    Kept,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_worth_what_the_operator_estimates() {
        let rate: EtherPerToken = "0.0005".parse().unwrap();
        assert_eq!(rate.wei(Amount::new(100_000_000), 8), 500_000_000_000_000);
        assert_eq!(rate.wei(Amount::ZERO, 8), 0);
        assert_eq!(rate.rate(8).wei(Amount::new(100_000_000)).get(), 500_000_000_000_000);
        let most: EtherPerToken = "18".parse().unwrap();
        assert_eq!((most.wei(Amount::MAX, 0), most.wei(Amount::MAX, 255)), (u128::MAX, 0));
        for wrong in ["", "0", "-1", "a lot", "19"] {
            assert!(wrong.parse::<EtherPerToken>().is_err(), "{wrong}");
        }
    }
}
