//! What the contract is asked for decisions about offerings: [`ContractView`].

use std::time::Duration;

use alloy::primitives::Address;
use privatix_channel::Amount;
use privatix_node::{Agreed, Node, NodeError, OfferingPeriods};

/// For the endpoint to answer before an order is decided without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an endpoint showed of the contract and of our account in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractView {
    /// What the account has in the contract, free to use, in base units.
    pub balance: Amount,
    /// The account's operator.
    pub operator: Option<Address>,
    /// How long after an announcement the contract refuses to change an offering.
    pub periods: Agreed<OfferingPeriods>,
}

impl ContractView {
    /// Asks for it. The periods never change: those of `before` are asked for again only until a second endpoint has confirmed them.
    pub(super) async fn ask(node: &Node, before: Option<Self>) -> Result<Self, NodeError> {
        let asked = async {
            let periods = match before.map(|view| view.periods) {
                Some(periods) if periods.is_sure() => periods,
                _ => node.offering_periods().await?,
            };
            let balance = node.balance_in_contract().await?;
            let operator = node.operator_of(node.account()).await?;
            Ok(Self { balance, operator, periods })
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            let reason = "the endpoint does not answer".to_owned();
            Err(NodeError::Contract { what: "the account's balance", reason })
        })
    }
}
