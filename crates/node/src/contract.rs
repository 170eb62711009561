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

use crate::agreed::{self, Agreed};
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

/// How long the contract refuses to change an offering after an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferingPeriods {
    /// How long it refuses a pop-up.
    pub pop_up: Period,
    /// How long it refuses a removal.
    pub remove: Period,
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
    /// The operator of an agent at the endpoints' newest blocks. Whoever it is speaks for the agent, so all endpoints are asked that are
    /// not set aside as wrong, and what two of them show counts; the word of one alone where no other answers.
    ///
    /// # Errors
    /// [`NodeError::EndpointsDisagree`]; [`NodeError::Contract`] where none answers, or all are set aside.
    pub async fn operator_of(&self, agent: Address) -> Result<Option<Address>, NodeError> {
        Ok(self.agreed_operator_of(agent).await?.for_now())
    }

    /// [`operator_of`](Self::operator_of), and whether it rests on more than the word of one of several endpoints.
    ///
    /// # Errors
    /// The same.
    pub async fn agreed_operator_of(&self, agent: Address) -> Result<Agreed<Option<Address>>, NodeError> {
        const WHAT: &str = "an agent's operator";
        let contract = self.domain.contract();
        let operator = self.asked_of_all(WHAT, |endpoint| async move {
            let operator = PSC::new(contract, endpoint.provider()).operatorOf(agent).call().await;
            Ok(Some(operator.map_err(unreadable(WHAT))?).filter(|operator| !operator.is_zero()))
        });
        operator.await
    }

    /// What the contract holds of an offering now, whatever was seen of its events, as the first endpoint that answers shows it. It only
    /// spares an order that the contract would refuse: a wrong answer makes an order fail, at once or in its transaction, and locks nothing.
    /// The fee is not among what the contract refuses: compare it with what the offering's events come to, too.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn offering_on_contract(
        &self,
        agent: Address,
        offering: OfferingHash,
    ) -> Result<OnContract, NodeError> {
        self.first_answer("an offering", |endpoint| async move {
            let psc = PSC::new(self.domain.contract(), endpoint.provider());
            Ok(held_offering(psc.offerings(agent, *offering.as_b256()).call().await?.into()))
        })
        .await
    }

    /// Whether the contract holds this channel now, open or closed, whatever was seen of its events, as the first endpoint that answers
    /// shows it. It only makes a refusal plain: the contract opens no channel twice, whatever is answered here.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn was_opened(&self, channel: ChannelId) -> Result<bool, NodeError> {
        self.first_answer("a channel", |endpoint| async move {
            let psc = PSC::new(self.domain.contract(), endpoint.provider());
            let held = psc.channels(*channel.as_b256()).call().await?;
            Ok(ChannelInfo::from(held).state != ChannelState::None)
        })
        .await
    }

    /// Asks one endpoint after the other, but none that is set aside as wrong.
    async fn first_answer<T, F>(
        &self,
        what: &'static str,
        ask: impl Fn(Endpoint) -> F,
    ) -> Result<T, NodeError>
    where
        F: Future<Output = Result<T, alloy::contract::Error>>,
    {
        let mut failed = None;
        for endpoint in self.believable()? {
            match timeout(PATIENCE, ask(endpoint.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => failed = Some(unreadable(what)(error)),
                Err(_) => failed = Some(silent(what, endpoint)),
            }
        }
        // There is at least one.
        Err(failed.unwrap_or(NodeError::NotRunning))
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
    /// count for as long as this runs: it is certain only if a second endpoint shows the same. Those that are set aside as wrong are not
    /// asked.
    ///
    /// # Errors
    /// [`NodeError::EndpointsDisagree`]; [`NodeError::Contract`] where none answers, or all are set aside.
    pub async fn offering_periods(&self) -> Result<Agreed<OfferingPeriods>, NodeError> {
        let contract = self.domain.contract();
        self.asked_of_all("periods of offerings", |endpoint| async move {
            let psc = PSC::new(contract, endpoint.provider());
            let pop_up = psc.popUpPeriod().call().await.map_err(unreadable("the pop-up period"))?;
            let remove = psc.removePeriod().call().await.map_err(unreadable("the removal period"))?;
            let (pop_up, remove) = (pop_up.saturating_to(), remove.saturating_to());
            Ok(OfferingPeriods { pop_up: Period::new(pop_up), remove: Period::new(remove) })
        })
        .await
    }

    /// Asks all endpoints that are not set aside as wrong for the same at once, and judges what they show.
    async fn asked_of_all<T: Copy + PartialEq, F: Future<Output = Result<T, NodeError>>>(
        &self,
        what: &'static str,
        ask: impl Fn(Endpoint) -> F,
    ) -> Result<Agreed<T>, NodeError> {
        let endpoints = self.believable()?;
        let asked: Vec<_> =
            endpoints.iter().map(|&endpoint| timeout(DENIAL, ask(endpoint.clone()))).collect();
        let (mut answers, mut failed) = (Vec::new(), None);
        for (endpoint, answer) in endpoints.into_iter().zip(join_all(asked).await) {
            match answer.unwrap_or_else(|_| Err(silent(what, endpoint))) {
                Ok(shown) => answers.push((endpoint.label(), shown)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let are_several = self.endpoints.all().len() > 1;
        match agreed::judge(are_several, &answers) {
            Ok(agreed) => agreed.ok_or_else(|| failed.unwrap_or(NodeError::NotRunning)),
            Err((first, second)) => {
                let (first, second) = (first.to_owned(), second.to_owned());
                Err(NodeError::EndpointsDisagree { contract: self.domain.contract(), what, first, second })
            }
        }
    }

    /// The endpoints that are not set aside as wrong, those that are good first.
    fn believable(&self) -> Result<Vec<&Endpoint>, NodeError> {
        let all = self.endpoints.all();
        let standings: Vec<_> = self.endpoints.status().into_iter().map(|one| one.standing).collect();
        let believable: Vec<_> =
            agreed::believable(&standings).into_iter().filter_map(|at| all.get(at)).collect();
        if believable.is_empty() {
            let reason = "all endpoints are set aside as wrong".to_owned();
            return Err(NodeError::Contract { what: "anything", reason });
        }
        Ok(believable)
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
