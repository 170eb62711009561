//! What the transactor reads.

use std::collections::{BTreeMap, HashMap};

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Addr;
use privatix_db::{Conn, DbError, on};

use super::rows::{AttemptRow, Row, read_all};
use super::{Attempt, TxFilter, TxId, TxRecord, TxStatus, rescue};
use crate::schema::{chain_attempts, chain_txs};
use crate::sql;

pub(super) async fn get(conn: &mut Conn, id: TxId) -> Result<Option<TxRecord>, DbError> {
    let row: Option<Row> =
        on!(conn, |c| chain_txs::table.find(id.0).select(Row::as_select()).first(c).await.optional())?;
    row.map(Row::read).transpose()
}

pub(super) async fn find(conn: &mut Conn, key: &str) -> Result<Option<TxRecord>, DbError> {
    let row: Option<Row> = on!(conn, |c| {
        chain_txs::table.filter(chain_txs::key.eq(key)).select(Row::as_select()).first(c).await.optional()
    })?;
    row.map(Row::read).transpose()
}

pub(super) async fn list(conn: &mut Conn, filter: &TxFilter) -> Result<Vec<TxRecord>, DbError> {
    let limit = if filter.limit == 0 { 100 } else { i64::from(filter.limit) };
    let rows: Vec<Row> = on!(conn, |c| {
        let mut query = chain_txs::table.select(Row::as_select()).into_boxed();
        if let Some(status) = filter.status {
            query = query.filter(chain_txs::status.eq(status.as_str()));
        }
        if let Some(kind) = &filter.kind {
            // There are few of a subject and many of a kind, which SQLite does not know: this keeps it from the kind's index.
            query = match filter.subject {
                Some(_) => query.filter(chain_txs::kind.concat("").eq(kind)),
                None => query.filter(chain_txs::kind.eq(kind)),
            };
        }
        if let Some(subject) = &filter.subject {
            query = query.filter(chain_txs::subject.eq(subject));
        }
        if let Some(from) = filter.from {
            query = query.filter(chain_txs::sender.eq(Addr::from(from)));
        }
        if let Some(before) = filter.before {
            query = query.filter(chain_txs::id.lt(before.0));
        }
        query.order(chain_txs::id.desc()).limit(limit).load(c).await
    })?;
    read_all(rows)
}

/// The rescue of an intent.
pub(super) async fn child(conn: &mut Conn, parent: TxId) -> Result<Option<TxRecord>, DbError> {
    let row: Option<Row> = on!(conn, |c| {
        chain_txs::table
            .filter(chain_txs::parent.eq(parent.0))
            .select(Row::as_select())
            .first(c)
            .await
            .optional()
    })?;
    row.map(Row::read).transpose()
}

/// The rescue of an intent, or the intent that it is the rescue of.
pub(super) async fn counterpart(conn: &mut Conn, record: &TxRecord) -> Result<Option<TxRecord>, DbError> {
    match record.parent {
        Some(parent) => get(conn, parent).await,
        None if record.intent.fallback.is_some() => child(conn, record.id).await,
        None => Ok(None),
    }
}

/// What other intents with the purpose of an intent, which is no rescue, have cost in vain, or can still cost, in wei: those of
/// the same kind, subject and deadline, with their rescues. Not those that succeeded: they have done what is at stake.
pub(super) async fn burnt(conn: &mut Conn, record: &TxRecord) -> Result<u128, DbError> {
    let intent = &record.intent;
    let filter = TxFilter {
        kind: Some(intent.kind.clone()),
        subject: Some(intent.subject.clone()),
        limit: u32::MAX, // all of them count
        ..TxFilter::default()
    };
    let same = list(conn, &filter).await?;
    let is_other = |other: &TxRecord| {
        other.id != record.id
            && other.intent.from == intent.from
            && other.asked_deadline == record.asked_deadline
    };
    let mut burnt: u128 = 0;
    for other in same.iter().filter(|other| is_other(other) && other.status != TxStatus::Mined) {
        burnt = burnt.saturating_add(spendable(conn, other).await?);
        if let Some(rescue) = counterpart(conn, other).await? {
            burnt = burnt.saturating_add(spendable(conn, &rescue).await?);
        }
    }
    Ok(burnt)
}

/// The most that an intent can have cost in the end.
async fn spendable(conn: &mut Conn, record: &TxRecord) -> Result<u128, DbError> {
    let attempts = attempts(conn, record.id).await?;
    let signed = if record.status.is_open() { attempts.as_slice() } else { &[] };
    Ok(rescue::cost(record, signed, 0, None))
}

/// Written out, so that SQLite finds the index of the working set.
fn is_watched() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql("watched = 1")
}

/// The working set, oldest first: what is open, and outcomes whose block is not final.
pub(super) async fn watched(conn: &mut Conn, chain_id: u64) -> Result<Vec<TxRecord>, DbError> {
    let rows: Vec<Row> = on!(conn, |c| {
        chain_txs::table
            .filter(chain_txs::chain_id.eq(sql::integer(chain_id)))
            .filter(is_watched())
            .order(chain_txs::id)
            .select(Row::as_select())
            .load(c)
            .await
    })?;
    read_all(rows)
}

/// All transactions signed for the working set, newest first.
pub(super) async fn watched_attempts(
    conn: &mut Conn,
    chain_id: u64,
) -> Result<HashMap<TxId, Vec<Attempt>>, DbError> {
    let rows: Vec<AttemptRow> = on!(conn, |c| {
        chain_attempts::table
            .inner_join(chain_txs::table.on(chain_attempts::tx.eq(chain_txs::id)))
            .filter(chain_txs::chain_id.eq(sql::integer(chain_id)))
            .filter(is_watched())
            .order((chain_attempts::created_at.desc(), chain_attempts::max_fee.desc()))
            .select(AttemptRow::as_select())
            .load(c)
            .await
    })?;
    let mut attempts: HashMap<TxId, Vec<Attempt>> = HashMap::new();
    for row in rows {
        let (id, attempt) = row.read()?;
        attempts.entry(id).or_default().push(attempt);
    }
    Ok(attempts)
}

/// All transactions ever signed for an intent, newest first.
pub(super) async fn attempts(conn: &mut Conn, id: TxId) -> Result<Vec<Attempt>, DbError> {
    let rows: Vec<AttemptRow> = on!(conn, |c| {
        chain_attempts::table
            .filter(chain_attempts::tx.eq(id.0))
            .order((chain_attempts::created_at.desc(), chain_attempts::max_fee.desc()))
            .select(AttemptRow::as_select())
            .load(c)
            .await
    })?;
    rows.into_iter().map(|row| Ok(row.read()?.1)).collect()
}

/// All transactions ever signed for a nonce of an account.
pub(super) async fn attempts_at(
    conn: &mut Conn,
    chain_id: u64,
    account: Address,
    nonce: u64,
) -> Result<Vec<(TxId, Attempt)>, DbError> {
    let rows: Vec<AttemptRow> = on!(conn, |c| {
        chain_attempts::table
            .filter(chain_attempts::chain_id.eq(sql::integer(chain_id)))
            .filter(chain_attempts::sender.eq(Addr::from(account)))
            .filter(chain_attempts::nonce.eq(sql::integer(nonce)))
            .select(AttemptRow::as_select())
            .load(c)
            .await
    })?;
    rows.into_iter().map(AttemptRow::read).collect()
}

/// The nonce after the highest that the account was ever asked to sign for; none if it never was.
pub(super) async fn next_nonce(
    conn: &mut Conn,
    chain_id: u64,
    account: Address,
) -> Result<Option<u64>, DbError> {
    let highest: Option<i64> = on!(conn, |c| {
        chain_attempts::table
            .filter(chain_attempts::chain_id.eq(sql::integer(chain_id)))
            .filter(chain_attempts::sender.eq(Addr::from(account)))
            .select(diesel::dsl::max(chain_attempts::nonce))
            .first(c)
            .await
    })?;
    highest.map(|nonce| Ok(sql::number("nonce", nonce)?.saturating_add(1))).transpose()
}

/// Who owns the account's nonces from this one on.
pub(super) async fn owners(
    conn: &mut Conn,
    chain_id: u64,
    account: Address,
    from: u64,
) -> Result<BTreeMap<u64, TxId>, DbError> {
    let rows: Vec<(Option<i64>, i64)> = on!(conn, |c| {
        chain_txs::table
            .filter(chain_txs::chain_id.eq(sql::integer(chain_id)))
            .filter(chain_txs::sender.eq(Addr::from(account)))
            .filter(chain_txs::nonce.ge(sql::integer(from)))
            // Spelled out and not bound, for the partial index `chain_txs_nonce`.
            .filter(diesel::dsl::sql::<diesel::sql_types::Bool>("chain_txs.status <> 'dropped'"))
            .select((chain_txs::nonce, chain_txs::id))
            .load(c)
            .await
    })?;
    let owner = |(nonce, id): (Option<i64>, i64)| Some(sql::number("nonce", nonce?).map(|n| (n, TxId(id))));
    rows.into_iter().filter_map(owner).collect()
}
