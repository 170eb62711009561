//! What the contract is: asked from an endpoint, or as one showed it before while none answers.

use std::future::Future;
use std::time::{Duration, SystemTime};

use alloy::primitives::keccak256;
use alloy::providers::Provider as _;
use privatix_chain::{ChainError, Endpoint, Endpoints, Fault};
use privatix_channel::Period;
use privatix_contracts::{PSC, known_code};
use privatix_db::Database;
use privatix_store::contract_facts::{self, ContractFacts, Verdict};

use crate::contract::{contract_domain, contract_token, unreadable};
use crate::{ChainSettings, NodeError, Token, UnknownContract};

/// For an endpoint to answer when what one showed before is stored.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a second endpoint to deny what the first one shows.
const DENIAL: Duration = Duration::from_secs(5);
/// Between two tries to check what was stored.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of the contract at a start.
pub(crate) struct Found {
    pub(crate) facts: ContractFacts,
    /// Whether an endpoint has shown it now.
    pub(crate) is_checked: bool,
}

/// Asks the endpoints what the contract is and stores the answer. If none answers within [`PATIENCE`], returns what is
/// stored.
///
/// # Errors
/// What an endpoint showed that is wrong; that none answered, if nothing is stored that fits the settings.
pub(crate) async fn find(
    db: &Database,
    endpoints: &Endpoints,
    settings: &ChainSettings,
) -> Result<Found, NodeError> {
    let Some(stored) = stored(db, settings).await? else {
        return Ok(Found { facts: ask_and_store(db, endpoints, settings).await?, is_checked: true });
    };
    let asked = tokio::time::timeout(PATIENCE, ask(endpoints, settings)).await;
    let silence = match asked {
        Ok(Ok(facts)) => {
            store(db, &facts).await?;
            return Ok(Found { facts, is_checked: true });
        }
        Ok(Err(error)) if !is_inconclusive(&error) => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no endpoint has answered for {} s", PATIENCE.as_secs()),
    };
    tracing::warn!(
        checked_at = %humantime::format_rfc3339_seconds(stored.checked_at),
        "starting with what the contract was at its last check: {silence}"
    );
    Ok(Found { facts: stored, is_checked: false })
}

/// Checks what was stored, as soon as an endpoint answers.
///
/// # Errors
/// [`NodeError::OtherContract`] if it is another one; what an endpoint shows that is wrong.
pub(crate) async fn confirm(
    db: &Database,
    endpoints: &Endpoints,
    settings: &ChainSettings,
    opened: &ContractFacts,
) -> Result<(), NodeError> {
    loop {
        match ask(endpoints, settings).await {
            Ok(facts) => {
                if let Some(what) = difference(opened, &facts) {
                    return Err(NodeError::OtherContract { contract: facts.domain.contract(), what });
                }
                store(db, &facts).await?;
                tracing::info!("the contract is still the one that was stored");
                return Ok(());
            }
            Err(error) if is_inconclusive(&error) => tracing::debug!(%error, "cannot check the contract yet"),
            // One of them lies, and may do so to end the daemon.
            Err(error @ NodeError::EndpointsDisagree { .. }) => {
                tracing::error!(%error, "cannot check the contract");
            }
            Err(error) => return Err(error),
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
    let facts = ask(endpoints, settings).await?;
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

/// What is not as it was and must be, if anything is.
fn difference(before: &ContractFacts, now: &ContractFacts) -> Option<&'static str> {
    if before.domain.chain_id() != now.domain.chain_id() {
        Some("chain")
    } else if before.code_hash != now.code_hash {
        Some("code")
    } else if before.domain != now.domain || before.challenge_period != now.challenge_period {
        Some("terms")
    } else {
        None
    }
}

/// Whether no endpoint gave a usable answer: unreachable, or an answer that cannot be read. A stored contract may be used
/// then.
fn is_inconclusive(error: &NodeError) -> bool {
    matches!(error, NodeError::Chain(ChainError::Rpc(_)) | NodeError::Contract { .. })
}

impl NodeError {
    /// Whether no endpoint was reached, so that trying again may succeed. An endpoint that answers, but refuses, is not meant:
    /// without a stored contract its error ends the start.
    pub fn is_unreachable(&self) -> bool {
        let Self::Chain(ChainError::Rpc(error)) = self else { return false };
        matches!(error.fault, Fault::Unreachable(_) | Fault::Timeout(_) | Fault::RateLimited { .. })
    }
}

/// The contract as the first endpoint shows it that can be asked, and a second one does not deny. What is wrong counts more
/// than what is silent.
async fn ask(endpoints: &Endpoints, settings: &ChainSettings) -> Result<ContractFacts, NodeError> {
    let mut refused: Option<NodeError> = None;
    let mut rest = endpoints.all().iter();
    while let Some(endpoint) = rest.next() {
        match ask_one(endpoint, settings).await {
            Ok(facts) => return undenied(facts, endpoint, rest.as_slice(), settings).await,
            Err(error) => {
                tracing::warn!(endpoint = endpoint.label(), %error, "endpoint cannot be used for the start");
                if refused.as_ref().is_none_or(|known| is_inconclusive(known) && !is_inconclusive(&error)) {
                    refused = Some(error);
                }
            }
        }
    }
    // There is at least one.
    Err(refused.unwrap_or_else(|| NodeError::Refused("no chain endpoint is configured".into())))
}

/// What `first` shows, unless the next endpoint that answers shows something else.
async fn undenied(
    facts: ContractFacts,
    first: &Endpoint,
    others: &[Endpoint],
    settings: &ChainSettings,
) -> Result<ContractFacts, NodeError> {
    for second in others {
        let asked = tokio::time::timeout(DENIAL, ask_one(second, settings)).await;
        let what = match asked {
            Ok(Ok(other)) => match difference(&facts, &other) {
                None => break,
                Some(what) => what,
            },
            Ok(Err(NodeError::UnknownContract { .. })) => "code",
            // It lags, is on another chain, or is down: what follows the chain finds that out.
            Ok(Err(error)) => {
                tracing::warn!(endpoint = second.label(), %error, "endpoint cannot confirm what the contract is");
                continue;
            }
            Err(_) => continue,
        };
        return Err(NodeError::EndpointsDisagree {
            contract: settings.contract,
            what,
            first: first.label().to_owned(),
            second: second.label().to_owned(),
        });
    }
    Ok(facts)
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
    use alloy::primitives::{Address, B256};
    use privatix_channel::Domain;

    use super::*;

    fn facts() -> ContractFacts {
        ContractFacts {
            domain: Domain::new(5, Address::repeat_byte(1), Address::repeat_byte(2)),
            code_hash: B256::repeat_byte(3),
            verdict: Verdict::Known,
            challenge_period: Period::new(900),
            token_name: None,
            token_symbol: None,
            token_decimals: Some(8),
            deposits: "by permit".into(),
            checked_at: SystemTime::UNIX_EPOCH,
        }
    }

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

    #[test]
    fn another_chain_code_or_term_is_a_difference_and_another_token_name_is_none() {
        let before = facts();
        let domain = before.domain;
        let renamed = ContractFacts { token_name: Some("New".into()), ..facts() };
        for (now, expected) in [
            (renamed, None),
            (ContractFacts { domain: domain.on_chain(6), ..facts() }, Some("chain")),
            (ContractFacts { code_hash: B256::ZERO, ..facts() }, Some("code")),
            (ContractFacts { challenge_period: Period::new(1), ..facts() }, Some("terms")),
        ] {
            assert_eq!(difference(&before, &now), expected);
        }
    }
}
