//! What was found at the last check of the contract, so that a start needs no endpoint.

use std::str::FromStr;
use std::time::SystemTime;

use alloy::primitives::B256;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{Domain, Period};
use privatix_db::types::{Addr, Bytes32, Micros};
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{narrow, parse, signed, unsigned};
use crate::schema::contract_facts;

/// Why a contract's code was taken for that of a service contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This version knows the code.
    Known,
    /// The operator accepted it.
    Accepted,
}

impl Verdict {
    /// The name it is stored under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Accepted => "accepted",
        }
    }
}

impl FromStr for Verdict {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Known, Self::Accepted]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or_else(|| format!("no verdict on a contract is called {text:?}"))
    }
}

/// What an endpoint showed of the contract and its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractFacts {
    /// Chain, contract and token.
    pub domain: Domain,
    /// Keccak-256 of the contract's code.
    pub code_hash: B256,
    /// Why that code was accepted.
    pub verdict: Verdict,
    /// How long a client's close request can be answered.
    pub challenge_period: Period,
    /// The token's name, as it may be shown.
    pub token_name: Option<String>,
    /// The token's symbol, as it may be shown.
    pub token_symbol: Option<String>,
    /// The places of a whole token after the point.
    pub token_decimals: Option<u8>,
    /// How the token gets into the contract, in words.
    pub deposits: String,
    /// When that was.
    pub checked_at: SystemTime,
}

type Row = (
    (i64, i64, Addr, Addr, Bytes32, String, i64),
    (Option<String>, Option<String>, Option<i64>, String, Micros),
);

/// What was found at the last check; `None` before the first.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for a value that this version does not know.
pub async fn get(conn: &mut Conn) -> Result<Option<ContractFacts>, StoreError> {
    use contract_facts as facts;
    let query = facts::table.find(1).select((
        (
            facts::chain_id,
            facts::deployment_chain_id,
            facts::contract,
            facts::token,
            facts::code_hash,
            facts::verdict,
            facts::challenge_period,
        ),
        (facts::token_name, facts::token_symbol, facts::token_decimals, facts::deposits, facts::checked_at),
    ));
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    let Some(((chain_id, deployment, contract, token, code_hash, verdict, period), of_token)) = row else {
        return Ok(None);
    };
    let (token_name, token_symbol, decimals, deposits, checked_at) = of_token;
    let deployed_on = unsigned("chain id", deployment)?;
    let domain = Domain::new(deployed_on, contract.bytes().into(), token.bytes().into());
    Ok(Some(ContractFacts {
        domain: domain.on_chain(unsigned("chain id", chain_id)?),
        code_hash: code_hash.bytes().into(),
        verdict: parse("verdict", &verdict)?,
        challenge_period: Period::new(narrow("challenge period", period)?),
        token_name,
        token_symbol,
        token_decimals: decimals.map(|decimals| narrow("decimals", decimals)).transpose()?,
        deposits,
        checked_at: checked_at.into(),
    }))
}

/// Stores what was found, in place of what was found before.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for a chain id that is out of range.
pub async fn put(conn: &mut Conn, found: &ContractFacts) -> Result<(), StoreError> {
    use contract_facts as facts;
    let row = (
        facts::id.eq(1),
        facts::chain_id.eq(signed("chain id", found.domain.chain_id())?),
        facts::deployment_chain_id.eq(signed("chain id", found.domain.deployment_chain_id())?),
        facts::contract.eq(Addr::from(found.domain.contract())),
        facts::token.eq(Addr::from(found.domain.token())),
        facts::code_hash.eq(Bytes32::from(found.code_hash)),
        facts::verdict.eq(found.verdict.as_str()),
        facts::challenge_period.eq(i64::from(found.challenge_period.seconds())),
        facts::token_name.eq(&found.token_name),
        facts::token_symbol.eq(&found.token_symbol),
        facts::token_decimals.eq(found.token_decimals.map(i64::from)),
        facts::deposits.eq(&found.deposits),
        facts::checked_at.eq(Micros::from(found.checked_at)),
    );
    on!(conn, |c| diesel::replace_into(facts::table).values(&row).execute(c).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_by_its_name_and_any_other_text_is_refused() {
        for verdict in [Verdict::Known, Verdict::Accepted] {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
        }
        for text in ["", "Known", "refused"] {
            assert!(text.parse::<Verdict>().is_err(), "{text:?}");
        }
    }
}
