//! Offerings: our own from draft to removal, everybody's as announced.

use std::time::SystemTime;

use alloy::primitives::Address;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use privatix_channel::{Announcement, Fee, OfferingHash, OfferingStatus, OfferingUnderWay};
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use privatix_db::{Conn, on};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::columns::{amount, hash, narrow, parse, to_amount, unsigned};
use crate::schema::offerings;

mod on_chain;

pub(crate) use on_chain::shown;
pub use on_chain::{advance_all, refold, shown_of};

/// A stored offering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offering {
    /// Who sells.
    pub agent: Address,
    /// What its message hashes to.
    pub hash: OfferingHash,
    /// Where it is in its life.
    pub status: OfferingStatus,
    /// The signed message, checked.
    pub message: Option<Vec<u8>>,
    /// Country of the service, ISO 3166-1 alpha-2; known with the message.
    pub country: Option<String>,
    /// Least deposit, and free and total places, and where to get the message.
    pub announcement: Announcement,
    /// Places free now.
    pub free_supply: u32,
    /// Block of the last announcement.
    pub announced_at: Option<u64>,
    /// Why there is no message.
    pub problem: Option<String>,
    /// When it was first stored here.
    pub created_at: SystemTime,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = offerings)]
struct Row {
    agent: Addr,
    hash: Bytes32,
    status: String,
    message: Option<Vec<u8>>,
    country: Option<String>,
    min_deposit: Amount128,
    supply: i64,
    free_supply: i64,
    source_type: i16,
    source: String,
    announced_at: Option<i64>,
    problem: Option<String>,
    created_at: Micros,
    fee: i32,
}

impl TryFrom<Row> for Offering {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            agent: row.agent.bytes().into(),
            hash: OfferingHash::new(row.hash.bytes().into()),
            status: parse("offering status", &row.status)?,
            message: row.message,
            country: row.country,
            announcement: Announcement {
                min_deposit: to_amount(row.min_deposit),
                supply: narrow("supply", row.supply)?,
                fee: fee(row.fee)?,
                source_type: narrow("source type", row.source_type.into())?,
                source: row.source,
            },
            free_supply: narrow("free supply", row.free_supply)?,
            announced_at: row.announced_at.map(|block| unsigned("block", block)).transpose()?,
            problem: row.problem,
            created_at: row.created_at.into(),
        })
    }
}

fn fee(stored: i32) -> Result<Fee, StoreError> {
    let fee: u16 = narrow("fee", stored.into())?;
    Fee::new(fee).map_err(|error| StoreError::Corrupt { what: "fee", reason: error.to_string() })
}

/// Stores an offering of our own, not announced yet. Storing it twice changes nothing.
pub async fn insert_draft(conn: &mut Conn, offering: &Offering) -> Result<(), StoreError> {
    let row = Row {
        agent: offering.agent.into(),
        hash: hash(offering.hash),
        status: OfferingStatus::Draft.as_str().to_owned(),
        message: offering.message.clone(),
        country: offering.country.clone(),
        min_deposit: amount(offering.announcement.min_deposit),
        supply: offering.announcement.supply.into(),
        free_supply: offering.announcement.supply.into(),
        source_type: offering.announcement.source_type.into(),
        source: offering.announcement.source.clone(),
        announced_at: None,
        problem: None,
        created_at: offering.created_at.into(),
        fee: offering.announcement.fee.get().into(),
    };
    let insert = diesel::insert_into(offerings::table).values(row).on_conflict_do_nothing();
    on!(conn, |c| insert.execute(c).await)?;
    Ok(())
}

/// Shows people where one of our own offerings stands: its status while `under_way`, and what is wrong with it. Nothing is written
/// where it is shown so already.
///
/// # Errors
/// [`StoreError::NoSuchOffering`], [`StoreError::Db`].
pub async fn show(
    conn: &mut Conn,
    (agent, offering): (Address, OfferingHash),
    under_way: Option<OfferingUnderWay>,
    problem: Option<&str>,
) -> Result<(), StoreError> {
    let on_chain = on_chain::status(conn, (agent, offering)).await?;
    let status = OfferingStatus::of(on_chain, under_way);
    let mine = offerings::table.find((Addr::from(agent), hash(offering)));
    let shown: (String, Option<String>) =
        on!(&mut *conn, |c| mine.select((offerings::status, offerings::problem)).first(c).await)?;
    if (shown.0.as_str(), shown.1.as_deref()) == (status.as_str(), problem) {
        return Ok(());
    }
    let update =
        diesel::update(mine).set((offerings::status.eq(status.as_str()), offerings::problem.eq(problem)));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// Stores the checked message of an announced offering.
pub async fn set_message(
    conn: &mut Conn,
    agent: Address,
    offering: OfferingHash,
    message: Vec<u8>,
    country: &str,
) -> Result<(), StoreError> {
    let update = diesel::update(offerings::table.find((Addr::from(agent), hash(offering)))).set((
        offerings::message.eq(Some(message)),
        offerings::country.eq(Some(country)),
        offerings::problem.eq(None::<String>),
    ));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// Stores why an announced offering's message could not be had or was refused.
pub async fn set_problem(
    conn: &mut Conn,
    agent: Address,
    offering: OfferingHash,
    problem: &str,
) -> Result<(), StoreError> {
    let update = diesel::update(offerings::table.find((Addr::from(agent), hash(offering))))
        .set(offerings::problem.eq(Some(problem)));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// One offering.
///
/// # Errors
/// [`StoreError::NoSuchOffering`].
pub async fn get(conn: &mut Conn, agent: Address, offering: OfferingHash) -> Result<Offering, StoreError> {
    let query = offerings::table.find((Addr::from(agent), hash(offering))).select(Row::as_select());
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.ok_or(StoreError::NoSuchOffering(offering))?.try_into()
}

/// Every offering announced under a hash: one by its author, any number by people who copied the hash.
pub async fn by_hash(conn: &mut Conn, offering: OfferingHash) -> Result<Vec<Offering>, StoreError> {
    let query = offerings::table.filter(offerings::hash.eq(hash(offering))).select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// An agent's offerings that are, or should be, on the market: neither drafts nor removed.
pub async fn followed(conn: &mut Conn, agent: Address) -> Result<Vec<Offering>, StoreError> {
    let query = offerings::table
        .filter(offerings::agent.eq(Addr::from(agent)))
        .filter(offerings::status.ne_all([OfferingStatus::Draft.as_str(), OfferingStatus::Removed.as_str()]))
        .select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Those on the market. Spelled out and not bound, for the partial indexes.
fn on_market() -> SqlLiteral<Bool> {
    sql::<Bool>("offerings.status IN ('registered', 'popping_up', 'popped_up')")
}

/// Which offerings to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<Address>,
    /// In this country.
    pub country: Option<String>,
    /// On the market, with free places and a checked message.
    pub available: bool,
}

/// Lists offerings, the most recently announced first, at most `limit`, without the first `skipped`.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    skipped: u64,
    limit: u32,
) -> Result<Vec<Offering>, StoreError> {
    let mut query = offerings::table
        .order((offerings::announced_at.desc(), offerings::created_at.desc()))
        .offset(i64::try_from(skipped).unwrap_or(i64::MAX))
        .limit(limit.into())
        .select(Row::as_select())
        .into_boxed();
    if let Some(agent) = filter.agent {
        query = query.filter(offerings::agent.eq(Addr::from(agent)));
    }
    if let Some(country) = &filter.country {
        query = query.filter(offerings::country.eq(country.to_uppercase()));
    }
    if filter.available {
        query = query
            .filter(sql::<Bool>("offerings.free_supply > 0"))
            .filter(offerings::message.is_not_null())
            .filter(on_market());
    }
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(TryInto::try_into).collect()
}
