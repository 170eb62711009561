//! Whose database this is.

use std::fmt;

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::Domain;
use privatix_db::types::Addr;
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{signed, unsigned};
use crate::schema::identity;

/// Which side of the market a database serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The seller.
    Agent,
    /// The buyer.
    Client,
}

impl Role {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Client => "client",
        }
    }
}

/// A database serves one role, with one account, on one contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Seller or buyer.
    pub role: Role,
    /// Chain, contract and token.
    pub domain: Domain,
    /// Our address.
    pub account: Address,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, domain, account } = self;
        write!(
            f,
            "{} {account} on chain {} contract {} token {}",
            role.as_str(),
            domain.chain_id(),
            domain.contract(),
            domain.token()
        )?;
        if domain.deployment_chain_id() != domain.chain_id() {
            write!(f, ", deployed on chain {}", domain.deployment_chain_id())?;
        }
        Ok(())
    }
}

type Row = (String, i64, Option<i64>, Addr, Addr, Addr);

/// Whose database this is; `None` for a new one.
pub async fn get(conn: &mut Conn) -> Result<Option<Identity>, StoreError> {
    let query = identity::table.select((
        identity::role,
        identity::chain_id,
        identity::deployment_chain_id,
        identity::contract,
        identity::token,
        identity::account,
    ));
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    let Some((role, chain_id, deployment, contract, token, account)) = row else { return Ok(None) };
    let chain_id = unsigned("chain id", chain_id)?;
    let deployment = deployment.map_or(Ok(chain_id), |id| unsigned("chain id", id))?;
    Ok(Some(Identity {
        role: if role == "agent" { Role::Agent } else { Role::Client },
        domain: Domain::new(deployment, contract.bytes().into(), token.bytes().into()).on_chain(chain_id),
        account: account.bytes().into(),
    }))
}

/// Writes the identity into a new database, or checks it against an old one.
///
/// # Errors
/// [`StoreError::OtherIdentity`].
pub async fn claim(conn: &mut Conn, ours: &Identity) -> Result<(), StoreError> {
    match get(conn).await? {
        Some(found) if found == *ours => Ok(()),
        Some(found) => {
            Err(StoreError::OtherIdentity { found: found.to_string(), expected: ours.to_string() })
        }
        None => {
            let deployment = ours.domain.deployment_chain_id();
            let forked =
                (deployment != ours.domain.chain_id()).then(|| signed("chain id", deployment)).transpose()?;
            let row = (
                identity::id.eq(1),
                identity::role.eq(ours.role.as_str()),
                identity::chain_id.eq(signed("chain id", ours.domain.chain_id())?),
                identity::deployment_chain_id.eq(forked),
                identity::contract.eq(Addr::from(ours.domain.contract())),
                identity::token.eq(Addr::from(ours.domain.token())),
                identity::account.eq(Addr::from(ours.account)),
            );
            on!(conn, |c| diesel::insert_into(identity::table).values(row).execute(c).await)?;
            Ok(())
        }
    }
}
