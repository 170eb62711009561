//! What the chain is asked about our contract, its token and our account.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use alloy::providers::Provider as _;
use futures::future::join_all;
use privatix_chain::{Endpoint, Fault};
use privatix_channel::{Amount, ChannelId, Domain, OfferingHash, Period};
use privatix_contracts::{ChannelInfo, ChannelState, KnownCode, PSC, PTC, known_code};
use privatix_offering::OnContract;
use tokio::time::timeout;

use crate::reconcile::held_offering;
use crate::token::{self, Token};
use crate::{ChainSettings, Node, NodeError, UnknownContract};

/// How long an endpoint may take to answer before another one is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long all endpoints may take where each is asked for the same.
const DENIAL: Duration = Duration::from_secs(5);

fn silent(what: &'static str, endpoint: &Endpoint) -> NodeError {
    NodeError::Contract { what, reason: format!("{} does not answer", endpoint.label()) }
}

/// What an account has, in base units of the token, and wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    /// Ether for gas, in wei: the signer's, who may be an operator.
    pub ether: U256,
    /// Tokens in the account's wallet.
    pub wallet: Amount,
    /// Tokens in the service contract, free to use.
    pub contract: Amount,
}

impl Node {
    /// The operator of an agent, asked from the endpoint's newest block.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn operator_of(&self, agent: Address) -> Result<Option<Address>, NodeError> {
        let psc = PSC::new(self.domain.contract(), self.provider());
        let operator = psc.operatorOf(agent).call().await.map_err(unreadable("an agent's operator"))?;
        Ok(Some(operator).filter(|operator| !operator.is_zero()))
    }

    /// What the contract holds of an offering now, whatever was seen of its events.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn offering_on_contract(
        &self,
        agent: Address,
        offering: OfferingHash,
    ) -> Result<OnContract, NodeError> {
        let mut failed = None;
        for endpoint in self.endpoints.all() {
            let psc = PSC::new(self.domain.contract(), endpoint.provider());
            let asked = psc.offerings(agent, *offering.as_b256());
            match timeout(PATIENCE, asked.call()).await {
                Ok(Ok(held)) => return Ok(held_offering(held.into())),
                Ok(Err(error)) => failed = Some(unreadable("an offering")(error)),
                Err(_) => failed = Some(silent("an offering", endpoint)),
            }
        }
        // There is at least one.
        Err(failed.unwrap_or(NodeError::NotRunning))
    }

    /// Whether the contract holds this channel now, open or closed, whatever was seen of its events.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn was_opened(&self, channel: ChannelId) -> Result<bool, NodeError> {
        let psc = PSC::new(self.domain.contract(), self.provider());
        let held = psc.channels(*channel.as_b256()).call().await.map_err(unreadable("a channel"))?;
        Ok(ChannelInfo::from(held).state != ChannelState::None)
    }

    /// What our key has for gas, and what gas costs now, in wei: asked from the chain.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn gas_funds(&self) -> Result<(U256, U256), NodeError> {
        self.funds_of(self.sender()).await
    }

    /// What the rescue account has for gas, and what gas costs now, in wei, if there is such an account: asked from the chain.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn rescue_funds(&self) -> Result<Option<(U256, U256)>, NodeError> {
        match self.rescue_account() {
            Some(account) => self.funds_of(account).await.map(Some),
            None => Ok(None),
        }
    }

    async fn funds_of(&self, account: Address) -> Result<(U256, U256), NodeError> {
        let ether = self.ether_of(account).await?;
        let endpoint = self.endpoints.best();
        let price = endpoint.provider().get_gas_price().await.map_err(|error| NodeError::Contract {
            what: "the price of gas",
            reason: endpoint.fault(&error).to_string(),
        })?;
        Ok((ether, U256::from(price)))
    }

    async fn ether_of(&self, account: Address) -> Result<U256, NodeError> {
        let endpoint = self.endpoints.best();
        endpoint.provider().get_balance(account).await.map_err(|error| NodeError::Contract {
            what: "the ether balance",
            reason: endpoint.fault(&error).to_string(),
        })
    }

    /// How long after an announcement the contract refuses a pop-up, and how long a removal. They never change, so one wrong answer would
    /// count for as long as this runs: every endpoint that answers must show the same.
    ///
    /// # Errors
    /// [`NodeError::EndpointsDisagree`]; [`NodeError::Contract`] where none answers.
    pub async fn offering_periods(&self) -> Result<(Period, Period), NodeError> {
        let contract = self.domain.contract();
        let ask = async |endpoint: &Endpoint| {
            let psc = PSC::new(contract, endpoint.provider());
            let pop_up = psc.popUpPeriod().call().await.map_err(unreadable("the pop-up period"))?;
            let remove = psc.removePeriod().call().await.map_err(unreadable("the removal period"))?;
            Ok((Period::new(pop_up.saturating_to()), Period::new(remove.saturating_to())))
        };
        let asked = self.endpoints.all().iter().map(async |endpoint| {
            let answer = timeout(DENIAL, ask(endpoint)).await;
            (endpoint.label(), answer.unwrap_or_else(|_| Err(silent("the periods of offerings", endpoint))))
        });
        let mut agreed = None;
        let mut failed = None;
        for (label, answer) in join_all(asked).await {
            match (answer, agreed) {
                (Err(error), _) => failed = failed.or(Some(error)),
                (Ok(periods), None) => agreed = Some((label, periods)),
                (Ok(periods), Some((first, before))) if periods != before => {
                    let (first, second) = (first.to_owned(), label.to_owned());
                    return Err(NodeError::EndpointsDisagree {
                        contract,
                        what: "periods of offerings",
                        first,
                        second,
                    });
                }
                (Ok(_), Some(_)) => {}
            }
        }
        // There is at least one endpoint.
        agreed.map(|(_, periods)| periods).ok_or_else(|| failed.unwrap_or(NodeError::NotRunning))
    }

    /// What the account has in the contract now, free to use, in base units: asked from the chain.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn balance_in_contract(&self) -> Result<Amount, NodeError> {
        let psc = PSC::new(self.domain.contract(), self.provider());
        let balance = psc.balanceOf(self.account()).call().await;
        Ok(to_amount(balance.map_err(unreadable("the contract balance"))?))
    }

    /// What the account has now, asked from the chain.
    pub async fn balances(&self) -> Result<Balances, NodeError> {
        let ether = self.ether_of(self.sender()).await?;
        let provider = self.provider();
        let token = PTC::new(self.domain.token(), provider);
        let wallet = token.balanceOf(self.account()).call().await.map_err(unreadable("the token balance"))?;
        let contract = self.balance_in_contract().await?;
        Ok(Balances { ether, wallet: to_amount(wallet), contract })
    }
}

/// Asks the endpoint what the configured contract is: refuses a wrong chain, an address without code, a contract of
/// another kind. Code that is not known is refused, or reported in the log, as the settings have it.
///
/// # Errors
/// [`NodeError::Chain`], [`NodeError::UnknownContract`], [`NodeError::Contract`].
pub async fn contract_domain(endpoint: &Endpoint, settings: &ChainSettings) -> Result<Domain, NodeError> {
    let provider = endpoint.provider();
    let chain_id = match settings.chain_id {
        Some(chain_id) => chain_id,
        None => privatix_chain::chain_id(endpoint).await?,
    };
    privatix_chain::check(endpoint, chain_id, &[settings.contract]).await?;
    match contract_code(endpoint, settings.contract).await {
        // The views could show nothing else.
        Ok(known) => return Ok(known.domain.on_chain(chain_id)),
        Err(error @ NodeError::UnknownContract { .. })
            if settings.unknown_contract == UnknownContract::Warn =>
        {
            tracing::warn!("{error}");
        }
        Err(error) => return Err(error),
    }
    let psc = PSC::new(settings.contract, provider);
    let token = psc.token().call().await.map_err(unreadable("the contract's token"))?;
    let deployed_on = psc
        .deploymentChainId()
        .call()
        .await
        .map_err(unreadable("the chain id of the contract's deployment"))?;
    let deployed_on = u64::try_from(deployed_on).map_err(|_| NodeError::Contract {
        what: "the chain id of the contract's deployment",
        reason: format!("{deployed_on} is above 64 bits"),
    })?;
    let domain = Domain::new(deployed_on, settings.contract, token).on_chain(chain_id);
    let separator = psc.domainSeparator().call().await.map_err(unreadable("the contract's domain"))?;
    if separator != domain.separator() {
        return Err(NodeError::Contract {
            what: "the contract's domain",
            reason: format!("{} signs for another domain than ours", settings.contract),
        });
    }
    Ok(domain)
}

/// Compares a contract's code, as the endpoint shows it, with the one that this version was made for.
///
/// # Errors
/// [`NodeError::UnknownContract`]; [`NodeError::Contract`] when the endpoint does not answer.
pub async fn contract_code(endpoint: &Endpoint, contract: Address) -> Result<KnownCode, NodeError> {
    let code = endpoint.provider().get_code_at(contract).await.map_err(|error| NodeError::Contract {
        what: "the contract's code",
        reason: endpoint.fault(&error).to_string(),
    })?;
    known_code(contract, &code).map_err(|mismatch| NodeError::UnknownContract { contract, mismatch })
}

/// Whether a contract's address shows that the constructor of this version made its storage, too, if the fee address is still
/// the one of the deployment: see [`KnownCode::has_known_origin`].
///
/// # Errors
/// [`NodeError::Contract`] when the endpoint does not answer.
pub async fn has_known_origin(endpoint: &Endpoint, known: &KnownCode) -> Result<bool, NodeError> {
    let psc = PSC::new(known.domain.contract(), endpoint.provider());
    let fee_address = psc.feeAddress().call().await.map_err(unreadable("the contract's fee address"))?;
    Ok(known.has_known_origin(fee_address))
}

/// Asks a contract's token for its name, its decimals, and how it can be deposited.
///
/// # Errors
/// [`NodeError::Contract`] when the endpoint does not answer.
pub async fn contract_token(endpoint: &Endpoint, domain: &Domain) -> Result<Token, NodeError> {
    token::read(endpoint.provider(), domain).await
}

pub(crate) fn unreadable(what: &'static str) -> impl Fn(alloy::contract::Error) -> NodeError {
    move |error| NodeError::Contract { what, reason: reason(&error) }
}

/// What happened to a call of a contract, in words that are safe to show and of bounded length.
fn reason(error: &alloy::contract::Error) -> String {
    match error {
        alloy::contract::Error::TransportError(error) => Fault::of_call(error).to_string(),
        other => other.to_string(),
    }
}

/// A token's supply fits an amount; a balance that does not is a broken contract's, and counts as the most there can be.
fn to_amount(value: U256) -> Amount {
    u128::try_from(value).map_or(Amount::MAX, Amount::new)
}
