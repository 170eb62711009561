//! What the contract is: asked from an endpoint, or as one showed it before while none answers.

mod verdict;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, SystemTime};

use alloy::primitives::keccak256;
use alloy::providers::Provider as _;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use privatix_chain::{ChainError, Endpoint, Endpoints, Fault};
use privatix_channel::Period;
use privatix_contracts::{PSC, known_code};
use privatix_db::Database;
use privatix_store::contract_facts::{self, ContractFacts, Verdict};
use tokio::time::{Instant, timeout_at};

use self::verdict::{Against, Answer, Shown};
use crate::contract::{contract_domain, contract_token, unreadable};
use crate::{ChainSettings, NodeError, Notices, Part, Token, UnknownContract};

/// For an endpoint to answer when what one showed before is stored.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the others to answer once one has.
const DENIAL: Duration = Duration::from_secs(5);
/// Between two tries to check what was stored.
const AGAIN: Duration = Duration::from_secs(5);
/// Of what the notice is that the contract is not checked.
pub(crate) const NOTICE: Part = Part::Contract;

/// What is known of the contract at a start.
pub(crate) struct Found {
    pub(crate) facts: ContractFacts,
    /// Whether the endpoints have shown it now. If not, why not.
    pub(crate) doubt: Option<NodeError>,
}

/// Asks the endpoints what the contract is and stores the answer. Returns what is stored if none answers within
/// [`PATIENCE`], or if they contradict each other.
///
/// # Errors
/// What is wrong with all that answer; that none answered, if nothing is stored that fits the settings.
pub(crate) async fn find(
    db: &Database,
    endpoints: &Endpoints,
    settings: &ChainSettings,
) -> Result<Found, NodeError> {
    let Some(stored) = stored(db, settings).await? else {
        return Ok(Found { facts: ask_and_store(db, endpoints, settings).await?, doubt: None });
    };
    let answers = ask(endpoints, settings, Some(PATIENCE)).await;
    let doubt = match verdict::against(&stored, answers) {
        Against::Shown(facts) => {
            store(db, &facts).await?;
            return Ok(Found { facts, doubt: None });
        }
        // The operator restarted it: checked as at a first start.
        Against::Replaced(answers) => {
            let facts = verdict::first(settings.contract, answers)?;
            store(db, &facts).await?;
            return Ok(Found { facts, doubt: None });
        }
        Against::Doubted(doubt) => doubt,
    };
    tracing::warn!(
        checked_at = %humantime::format_rfc3339_seconds(stored.checked_at),
        "starting with what the contract was at its last check: {doubt}"
    );
    Ok(Found { facts: stored, doubt: Some(doubt) })
}

/// Checks what was stored, as soon as the endpoints agree on it. Until then `notices` has why they do not.
///
/// # Errors
/// [`NodeError::OtherContract`], or what else is wrong, if every endpoint answers and none confirms it: the word of some is
/// not enough to end a node.
pub(crate) async fn confirm(
    db: &Database,
    endpoints: &Endpoints,
    settings: &ChainSettings,
    opened: &ContractFacts,
    notices: &Notices,
) -> Result<(), NodeError> {
    loop {
        match verdict::against(opened, ask(endpoints, settings, Some(PATIENCE)).await) {
            Against::Shown(facts) => {
                store(db, &facts).await?;
                notices.set(NOTICE, None);
                tracing::info!("the contract is still the one that was stored");
                return Ok(());
            }
            Against::Replaced(answers) => {
                let now = verdict::first(settings.contract, answers)?;
                let what = verdict::difference(opened, &now).unwrap_or("terms");
                return Err(NodeError::OtherContract { contract: settings.contract, what });
            }
            Against::Doubted(doubt) => notices.set(NOTICE, Some(doubt.to_string())),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether a node can be opened without an endpoint: what one showed of the configured contract is stored.
///
/// # Errors
/// [`NodeError::Db`], [`NodeError::Store`].
pub async fn is_contract_stored(db: &Database, settings: &ChainSettings) -> Result<bool, NodeError> {
    Ok(stored(db, settings).await?.is_some())
}

/// Asks once what the contract is, and stores it, so that a node can be opened.
///
/// # Errors
/// As [`Node::open`](crate::Node::open); [`NodeError::is_unreachable`] shows whether to try again.
pub async fn store_contract(
    db: &Database,
    endpoints: &Endpoints,
    settings: &ChainSettings,
) -> Result<(), NodeError> {
    ask_and_store(db, endpoints, settings).await.map(drop)
}

async fn ask_and_store(
    db: &Database,
    endpoints: &Endpoints,
    settings: &ChainSettings,
) -> Result<ContractFacts, NodeError> {
    let facts = verdict::first(settings.contract, ask(endpoints, settings, None).await)?;
    store(db, &facts).await?;
    Ok(facts)
}

async fn store(db: &Database, facts: &ContractFacts) -> Result<(), NodeError> {
    let mut tx = db.begin().await?;
    contract_facts::put(&mut tx, facts).await?;
    Ok(tx.commit().await?)
}

/// What is stored, if it fits the settings.
async fn stored(db: &Database, settings: &ChainSettings) -> Result<Option<ContractFacts>, NodeError> {
    let stored = contract_facts::get(&mut *db.read().await?).await?;
    Ok(stored.filter(|facts| fits(facts, settings)))
}

/// Whether what was found of a contract is what the settings ask for.
fn fits(facts: &ContractFacts, settings: &ChainSettings) -> bool {
    facts.domain.contract() == settings.contract
        && settings.chain_id.is_none_or(|chain_id| chain_id == facts.domain.chain_id())
        && (facts.verdict == Verdict::Known || settings.unknown_contract == UnknownContract::Warn)
}

impl NodeError {
    /// Whether no endpoint was reached, so that trying again may succeed. An endpoint that answers, but refuses, is not meant:
    /// without a stored contract its error ends the start.
    pub fn is_unreachable(&self) -> bool {
        let Self::Chain(ChainError::Rpc(error)) = self else { return false };
        matches!(error.fault, Fault::Unreachable(_) | Fault::Timeout(_) | Fault::RateLimited { .. })
    }
}

/// What each endpoint shows of the contract. Once one has answered, the others have [`DENIAL`]; who does not answer within
/// that time, or within `patience`, is silent.
async fn ask(endpoints: &Endpoints, settings: &ChainSettings, patience: Option<Duration>) -> Vec<Answer> {
    let all = endpoints.all();
    let mut asked: FuturesUnordered<_> =
        (0..).zip(all).map(|(at, endpoint)| async move { (at, ask_one(endpoint, settings).await) }).collect();
    let mut shown: BTreeMap<usize, Shown> = BTreeMap::new();
    let mut until = patience.and_then(|patience| Instant::now().checked_add(patience));
    loop {
        let next = async {
            match until {
                Some(until) => timeout_at(until, asked.next()).await.unwrap_or_default(),
                None => asked.next().await,
            }
        };
        let Some((at, answer)) = next.await else { break };
        if answer.is_ok() {
            let denial = Instant::now().checked_add(DENIAL);
            until = [until, denial].into_iter().flatten().min();
        }
        shown.insert(at, answer.map_or_else(Shown::of, Shown::Facts));
    }
    let answer = |(at, endpoint): (usize, &Endpoint)| {
        let silent = || NodeError::Contract {
            what: "what the contract is",
            reason: format!("{} does not answer", endpoint.label()),
        };
        let shown = shown.remove(&at).unwrap_or_else(|| Shown::Nothing(silent()));
        if let Shown::Wrong(error) | Shown::Nothing(error) = &shown {
            tracing::warn!(endpoint = endpoint.label(), %error, "endpoint does not show what the contract is");
        }
        Answer { endpoint: endpoint.label().to_owned(), shown }
    };
    (0..).zip(all).map(answer).collect()
}

fn ask_one(
    endpoint: &Endpoint,
    settings: &ChainSettings,
) -> impl Future<Output = Result<ContractFacts, NodeError>> + Send {
    Box::pin(async move {
        let domain = contract_domain(endpoint, settings).await?;
        let provider = endpoint.provider();
        let code = provider.get_code_at(settings.contract).await.map_err(|error| NodeError::Contract {
            what: "the contract's code",
            reason: endpoint.fault(&error).to_string(),
        })?;
        let is_known = known_code(settings.contract, &code).is_ok();
        let psc = PSC::new(settings.contract, provider);
        let period = psc.challengePeriod().call().await.map_err(unreadable("the challenge period"))?;
        let token = contract_token(endpoint, &domain).await?;
        Ok(ContractFacts {
            domain,
            code_hash: keccak256(&code),
            verdict: if is_known { Verdict::Known } else { Verdict::Accepted },
            challenge_period: Period::new(period.saturating_to()),
            token_name: token.name,
            token_symbol: token.symbol,
            token_decimals: token.decimals,
            deposits: token.way,
            checked_at: SystemTime::now(),
        })
    })
}

/// The token, as it was found.
pub(crate) fn token(facts: &ContractFacts) -> Token {
    Token {
        address: facts.domain.token(),
        name: facts.token_name.clone(),
        symbol: facts.token_symbol.clone(),
        decimals: facts.token_decimals,
        way: facts.deposits.clone(),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::verdict::tests::facts;
    use super::*;

    #[test]
    fn stored_facts_fit_the_contract_the_chain_and_what_the_operator_accepts() {
        let settings = ChainSettings::new(Address::repeat_byte(1));
        let accepted = ContractFacts { verdict: Verdict::Accepted, ..facts() };
        let on = |chain_id| ChainSettings { chain_id: Some(chain_id), ..settings.clone() };
        let warn = ChainSettings { unknown_contract: UnknownContract::Warn, ..settings.clone() };
        for (what, facts, settings, expected) in [
            ("the same", facts(), settings.clone(), true),
            ("on the configured chain", facts(), on(5), true),
            ("another chain", facts(), on(6), false),
            ("another contract", facts(), ChainSettings::new(Address::repeat_byte(9)), false),
            ("accepted before, refused now", accepted.clone(), settings.clone(), false),
            ("accepted still", accepted, warn, true),
        ] {
            assert_eq!(fits(&facts, &settings), expected, "{what}");
        }
    }
}
