//! What was done, for people and for programs.

use alloy::primitives::Address;
use privatix_channel::Terms;
use privatix_contracts::deploy::Created;
use serde_json::{Value, json};

use crate::plan::Network;

/// What became of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already.
    Present,
    /// It was created.
    Created(Created),
    /// It is not there, and would be created.
    Absent,
}

/// What was done, or would be.
#[derive(Clone, Debug)]
pub struct Report {
    /// The network's name.
    pub network: Network,
    /// The chain's id.
    pub chain_id: u64,
    /// The account that pays, where it is known.
    pub deployer: Option<Address>,
    /// The token.
    pub token: Address,
    /// What became of it; `None` for a token that was given.
    pub token_outcome: Option<Outcome>,
    /// The service contract.
    pub contract: Address,
    /// What became of it.
    pub outcome: Outcome,
    /// Receives and sets the network fee at first.
    pub fee_address: Address,
    /// The contract's terms.
    pub terms: Terms,
}

impl Outcome {
    fn in_words(self) -> String {
        match self {
            Self::Present => "was there already".to_owned(),
            Self::Created(Created { transaction, block }) => {
                format!("created in block {block} by {transaction}")
            }
            Self::Absent => "not there yet".to_owned(),
        }
    }

    fn in_json(self, address: Address) -> Value {
        match self {
            Self::Present => json!({ "address": address, "state": "present" }),
            Self::Created(Created { transaction, block }) => {
                json!({ "address": address, "state": "created", "transaction": transaction, "block": block })
            }
            Self::Absent => json!({ "address": address, "state": "absent" }),
        }
    }
}

impl Report {
    /// What to put into the configuration of both daemons.
    pub fn config(&self) -> String {
        let start = match self.outcome {
            Outcome::Created(Created { block, .. }) => format!("start_block = {block}\n"),
            Outcome::Present | Outcome::Absent => String::new(),
        };
        format!("[chain]\ncontract = \"{}\"\nchain_id = {}\n{start}", self.contract, self.chain_id)
    }

    /// For people.
    pub fn text(&self) -> String {
        let Terms { pop_up, remove, challenge, fee_delay, min_stake } = self.terms;
        let token = self.token_outcome.map_or("as given".to_owned(), Outcome::in_words);
        let deployer = self.deployer.map_or("not known".to_owned(), |deployer| deployer.to_string());
        let code = match self.outcome {
            Outcome::Absent => "nothing to verify yet",
            Outcome::Present | Outcome::Created(_) => "verified",
        };
        format!(
            "network      {}, chain {}\n\
             paid by      {deployer}\n\
             token        {}, {token}\n\
             contract     {}, {}\n\
             code         {code}\n\
             fee address  {}\n\
             terms        challenge {challenge}, remove {remove}, pop-up {pop_up}, fee delay {fee_delay}, least stake {min_stake}\n\
             \n\
             Configuration of agentd and clientd:\n\
             \n\
             {}",
            self.network.name(),
            self.chain_id,
            self.token,
            self.contract,
            self.outcome.in_words(),
            self.fee_address,
            self.config(),
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Terms { pop_up, remove, challenge, fee_delay, min_stake } = self.terms;
        let token = match self.token_outcome {
            None => json!({ "address": self.token, "state": "given" }),
            Some(outcome) => outcome.in_json(self.token),
        };
        json!({
            "network": self.network.name(),
            "chainId": self.chain_id,
            "deployer": self.deployer,
            "token": token,
            "contract": self.outcome.in_json(self.contract),
            "verified": self.outcome != Outcome::Absent,
            "feeAddress": self.fee_address,
            "terms": {
                "popUp": pop_up,
                "remove": remove,
                "challenge": challenge,
                "feeDelay": fee_delay,
                "minStake": min_stake,
            },
            "config": self.config(),
        })
    }
}
