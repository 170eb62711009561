//! What the named networks mean.

use alloy::primitives::Address;
use clap::ValueEnum;
use privatix_channel::{Amount, Terms};
use privatix_contracts::deploy::{ServiceDeployment, TokenDeployment};

/// A named network: which terms hold, and what has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// A development node such as anvil: short periods, a token of its own, the node's unlocked account
    Local,
    /// A public test network: the periods of the published deployments, a token of its own
    Test,
    /// A network where tokens have value: the periods of the published deployments; token, fee address and least stake must be
    /// given
    Main,
}

/// What was chosen about the contracts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The token that everything is paid in.
    pub token: Option<Address>,
    /// Receives and sets the network fee.
    pub fee_address: Option<Address>,
    /// The least stake behind each place.
    pub min_stake: Option<Amount>,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The token to be placed first, unless one is there.
    pub token: Option<TokenDeployment>,
    /// The service contract.
    pub service: ServiceDeployment,
}

/// A choice that has no default on this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needs {option}: {why}", network.name())]
pub struct Missing {
    network: Network,
    option: &'static str,
    why: &'static str,
}

impl Network {
    /// The supply of a token that is placed: 100 million with 8 decimals.
    pub const SUPPLY: Amount = Amount::new(100_000_000 * 100_000_000);
    /// The chain ids of development nodes: of anvil and Hardhat, and of Ganache and geth.
    const DEVELOPMENT: [u64; 2] = [31_337, 1_337];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Test => "test",
            Self::Main => "main",
        }
    }

    /// Where the endpoint is when none is given.
    pub const fn usual_endpoint(self) -> Option<&'static str> {
        match self {
            Self::Local => Some("http://127.0.0.1:8545"),
            Self::Test | Self::Main => None,
        }
    }

    /// Whether the node's own account may pay.
    pub const fn takes_unlocked_accounts(self) -> bool {
        matches!(self, Self::Local)
    }

    /// Whether its terms may be used on this chain: such short periods protect nobody's money.
    pub fn suits(self, chain_id: u64) -> bool {
        match self {
            Self::Local => Self::DEVELOPMENT.contains(&chain_id),
            Self::Test | Self::Main => true,
        }
    }

    fn missing(self, option: &'static str, why: &'static str) -> Missing {
        Missing { network: self, option, why }
    }

    fn terms(self, min_stake: Option<Amount>) -> Result<Terms, Missing> {
        match (self, min_stake) {
            (Self::Local, min_stake) => {
                Ok(Terms { min_stake: min_stake.unwrap_or(Terms::TEST.min_stake), ..Terms::TEST })
            }
            // A hundredth of a token with 8 decimals.
            (Self::Test, min_stake) => Ok(Terms::standard(min_stake.unwrap_or(Amount::new(1_000_000)))),
            (Self::Main, Some(min_stake)) => Ok(Terms::standard(min_stake)),
            (Self::Main, None) => {
                Err(self.missing("--min-stake", "what is enough depends on the token's worth"))
            }
        }
    }
}

impl Plan {
    /// What the choices mean on a network. `deployer` pays, if it is known: where nothing else is chosen, it receives the token's
    /// supply and the network fee.
    ///
    /// # Errors
    /// [`Missing`] for what has no default.
    pub fn new(network: Network, choices: Choices, deployer: Option<Address>) -> Result<Self, Missing> {
        let terms = network.terms(choices.min_stake)?;
        let payer =
            |option, why| match (network, deployer) {
                (Network::Main, _) => Err(network.missing(option, why)),
                (Network::Local | Network::Test, Some(deployer)) => Ok(deployer),
                (Network::Local | Network::Test, None) => Err(network
                    .missing("--keystore", "the account that pays is the default of what is not given")),
            };
        let (token, address) = if let Some(address) = choices.token {
            (None, address)
        } else {
            let holder = payer("--token", "everything is paid in it")?;
            let token = TokenDeployment { holder, supply: Network::SUPPLY };
            (Some(token), token.address())
        };
        let fee_address = match choices.fee_address {
            Some(fee_address) => fee_address,
            None => payer("--fee-address", "whoever has its key receives and sets the network fee")?,
        };
        Ok(Self { token, service: ServiceDeployment { token: address, fee_address, terms } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYER: Address = Address::repeat_byte(1);
    const OTHER: Address = Address::repeat_byte(2);
    const ALL: Choices =
        Choices { token: Some(OTHER), fee_address: Some(OTHER), min_stake: Some(Amount::new(7)) };

    #[test]
    fn a_test_network_gets_a_token_and_the_payer_as_fee_address() {
        for (network, terms) in
            [(Network::Local, Terms::TEST), (Network::Test, Terms::standard(Amount::new(1_000_000)))]
        {
            let plan = Plan::new(network, Choices::default(), Some(PAYER)).unwrap();
            let token = TokenDeployment { holder: PAYER, supply: Network::SUPPLY };
            assert_eq!(plan.token, Some(token));
            assert_eq!(plan.service.token, token.address());
            assert_eq!((plan.service.fee_address, plan.service.terms), (PAYER, terms));
        }
    }

    #[test]
    fn what_is_chosen_holds_on_every_network_whoever_pays() {
        for network in Network::value_variants() {
            for payer in [None, Some(PAYER)] {
                let plan = Plan::new(*network, ALL, payer).unwrap();
                assert_eq!(plan.token, None);
                assert_eq!((plan.service.token, plan.service.fee_address), (OTHER, OTHER));
                assert_eq!(plan.service.terms.min_stake, Amount::new(7));
                assert!(plan.service.terms.are_valid());
            }
        }
    }

    #[test]
    fn where_tokens_have_value_nothing_is_chosen_by_default() {
        let missing = |choices| Plan::new(Network::Main, choices, Some(PAYER)).unwrap_err().option;
        assert_eq!(missing(Choices { token: None, ..ALL }), "--token");
        assert_eq!(missing(Choices { fee_address: None, ..ALL }), "--fee-address");
        assert_eq!(missing(Choices { min_stake: None, ..ALL }), "--min-stake");
        let nobody = Plan::new(Network::Test, Choices::default(), None).unwrap_err();
        assert!(nobody.to_string().starts_with("test needs --keystore"), "{nobody}");
    }

    #[test]
    fn the_shortest_periods_are_for_development_nodes_only() {
        assert!(Network::Local.suits(31_337) && !Network::Local.suits(1));
        assert!(Network::Test.suits(11_155_111) && Network::Main.suits(1));
    }
}
