//! The transactor's tables.

use alloy::primitives::{Address, B256};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use privatix_db::{Conn, DbError, on};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::terms::Terms;
use super::{Attempt, Fees, Inclusion, Intent, Obstacle, Raise, TxFilter, TxId, TxRecord, TxStatus};
use crate::schema::{chain_attempts, chain_txs};
use crate::{ChainError, sql};

#[derive(Queryable, Selectable)]
#[diesel(table_name = chain_txs)]
struct Row {
    id: i64,
    key: String,
    chain_id: i64,
    sender: Addr,
    recipient: Addr,
    value: Amount128,
    input: Vec<u8>,
    kind: String,
    subject: String,
    terms: String,
    filler: bool,
    status: String,
    nonce: Option<i64>,
    gas_limit: Option<i64>,
    obstacle: Option<String>,
    failure: Option<String>,
    raise: Option<String>,
    tx_hash: Option<Bytes32>,
    block: Option<i64>,
    block_hash: Option<Bytes32>,
    success: Option<bool>,
    gas_used: Option<i64>,
    gas_price: Option<Amount128>,
    created_at: Micros,
    updated_at: Micros,
}

impl Row {
    fn read(self) -> Result<TxRecord, DbError> {
        let corrupt = |what, reason| DbError::Corrupt { what, reason };
        let optional = |what, value: Option<i64>| value.map(|v| sql::number(what, v)).transpose();
        let inclusion = match (self.tx_hash, self.block, self.block_hash, self.success) {
            (Some(tx_hash), Some(block), Some(block_hash), Some(success)) => Some(Inclusion {
                tx_hash: tx_hash.bytes().into(),
                block: sql::number("block", block)?,
                block_hash: block_hash.bytes().into(),
                success,
                gas_used: optional("gas used", self.gas_used)?.unwrap_or(0),
                gas_price: self.gas_price.map_or(0, u128::from),
            }),
            _ => None,
        };
        let terms: Terms = from_json("terms of a transaction", &self.terms)?;
        let obstacle = self.obstacle.map(|json| from_json("obstacle", &json)).transpose()?;
        let raise = self.raise.map(|json| from_json("raise of a fee", &json)).transpose()?;
        Ok(TxRecord {
            id: TxId(self.id),
            intent: terms.onto(
                Intent::new(self.key, self.sender.bytes().into(), self.recipient.bytes().into(), self.input)
                    .value(self.value.into())
                    .kind(self.kind)
                    .subject(self.subject),
            ),
            chain_id: sql::number("chain id", self.chain_id)?,
            status: self.status.parse().map_err(|e| corrupt("transaction status", e))?,
            nonce: optional("nonce", self.nonce)?,
            gas_limit: optional("gas limit", self.gas_limit)?,
            obstacle,
            failure: self.failure,
            inclusion,
            raise,
            filler: self.filler,
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

fn from_json<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T, DbError> {
    serde_json::from_str(json).map_err(|e| DbError::Corrupt { what, reason: e.to_string() })
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|e| DbError::Corrupt { what, reason: e.to_string() })
}

fn read_all(rows: Vec<Row>) -> Result<Vec<TxRecord>, DbError> {
    rows.into_iter().map(Row::read).collect()
}

/// Stores an intent, or finds the one that has its key. `nonce` is set for a filler alone.
pub(super) async fn submit(
    conn: &mut Conn,
    chain_id: u64,
    intent: &Intent,
    nonce: Option<u64>,
) -> Result<TxId, DbError> {
    let now = Micros::now();
    let row = (
        chain_txs::key.eq(&intent.key),
        chain_txs::chain_id.eq(sql::integer(chain_id)),
        chain_txs::sender.eq(Addr::from(intent.from)),
        chain_txs::recipient.eq(Addr::from(intent.to)),
        chain_txs::value.eq(Amount128::from(intent.value)),
        chain_txs::input.eq(intent.input.to_vec()),
        chain_txs::kind.eq(&intent.kind),
        chain_txs::subject.eq(&intent.subject),
        chain_txs::terms.eq(to_json("terms of a transaction", &Terms::of(intent))?),
        chain_txs::filler.eq(nonce.is_some()),
        chain_txs::watched.eq(true),
        chain_txs::status.eq(TxStatus::Unsent.as_str()),
        chain_txs::nonce.eq(nonce.map(sql::integer)),
        chain_txs::created_at.eq(now),
        chain_txs::updated_at.eq(now),
    );
    let new: Option<i64> = on!(&mut *conn, |c| {
        diesel::insert_into(chain_txs::table)
            .values(row)
            .on_conflict(chain_txs::key)
            .do_nothing()
            .returning(chain_txs::id)
            .get_result(c)
            .await
            .optional()
    })?;
    if let Some(id) = new {
        return Ok(TxId(id));
    }
    let id = on!(conn, |c| {
        chain_txs::table.filter(chain_txs::key.eq(&intent.key)).select(chain_txs::id).first(c).await
    })?;
    Ok(TxId(id))
}

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
            query = query.filter(chain_txs::kind.eq(kind));
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

/// Written out, so that SQLite finds the index of the working set.
fn watched() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql("watched = 1")
}

/// All intents that are not final, oldest first.
pub(super) async fn open(conn: &mut Conn, chain_id: u64) -> Result<Vec<TxRecord>, DbError> {
    let rows: Vec<Row> = on!(conn, |c| {
        chain_txs::table
            .filter(chain_txs::chain_id.eq(sql::integer(chain_id)))
            .filter(watched())
            .order(chain_txs::id)
            .select(Row::as_select())
            .load(c)
            .await
    })?;
    read_all(rows)
}

/// The nonce after the highest that any intent of the account holds.
pub(super) async fn next_nonce(conn: &mut Conn, chain_id: u64, account: Address) -> Result<u64, DbError> {
    let highest: Option<i64> = on!(conn, |c| {
        chain_txs::table
            .filter(
                chain_txs::chain_id
                    .eq(sql::integer(chain_id))
                    .and(chain_txs::sender.eq(Addr::from(account)))
                    .and(chain_txs::status.ne(TxStatus::Dropped.as_str())),
            )
            .select(diesel::dsl::max(chain_txs::nonce))
            .first(c)
            .await
    })?;
    highest.map_or(Ok(0), |nonce| Ok(sql::number("nonce", nonce)? + 1))
}

/// All transactions ever signed for an intent, newest first.
pub(super) async fn attempts(conn: &mut Conn, id: TxId) -> Result<Vec<Attempt>, DbError> {
    type Columns = (Bytes32, i64, Vec<u8>, Amount128, Amount128, i64, Micros);
    let rows: Vec<Columns> = on!(conn, |c| {
        chain_attempts::table
            .filter(chain_attempts::tx.eq(id.0))
            .order((chain_attempts::created_at.desc(), chain_attempts::max_fee.desc()))
            .select((
                chain_attempts::hash,
                chain_attempts::nonce,
                chain_attempts::raw,
                chain_attempts::max_fee,
                chain_attempts::priority_fee,
                chain_attempts::head,
                chain_attempts::created_at,
            ))
            .load(c)
            .await
    })?;
    rows.into_iter()
        .map(|(hash, nonce, raw, max_fee, priority_fee, head, at)| {
            Ok(Attempt {
                hash: hash.bytes().into(),
                nonce: sql::number("nonce", nonce)?,
                fees: Fees::new(max_fee.into(), priority_fee.into()),
                at: at.into(),
                raw,
                head: sql::number("head", head)?,
            })
        })
        .collect()
}

/// The newest transaction signed for an intent that is final and holds this nonce of the account.
pub(super) async fn finished_attempt(
    conn: &mut Conn,
    chain_id: u64,
    account: Address,
    nonce: u64,
) -> Result<Option<(TxId, Vec<u8>)>, DbError> {
    let mined = [TxStatus::Mined.as_str(), TxStatus::Failed.as_str()];
    let found: Option<(i64, Vec<u8>)> = on!(conn, |c| {
        chain_txs::table
            .inner_join(chain_attempts::table.on(chain_attempts::tx.eq(chain_txs::id)))
            .filter(
                chain_txs::chain_id
                    .eq(sql::integer(chain_id))
                    .and(chain_txs::sender.eq(Addr::from(account)))
                    .and(chain_txs::nonce.eq(sql::integer(nonce)))
                    .and(chain_attempts::nonce.eq(sql::integer(nonce)))
                    .and(chain_txs::status.eq_any(mined)),
            )
            .order(chain_attempts::max_fee.desc())
            .select((chain_txs::id, chain_attempts::raw))
            .first(c)
            .await
            .optional()
    })?;
    Ok(found.map(|(id, raw)| (TxId(id), raw)))
}

/// Stores a signed transaction and makes its intent `sent`. Must be committed before the broadcast.
///
/// Refuses if the intent is not any more as the caller saw it: whoever changed it may have given it another nonce, and
/// two transactions with two nonces could both be mined.
pub(super) async fn store_attempt(
    conn: &mut Conn,
    seen: &TxRecord,
    gas_limit: u64,
    attempt: &Attempt,
) -> Result<(), ChainError> {
    let id = seen.id;
    let row = (
        chain_attempts::hash.eq(Bytes32::from(attempt.hash)),
        chain_attempts::tx.eq(id.0),
        chain_attempts::chain_id.eq(sql::integer(seen.chain_id)),
        chain_attempts::sender.eq(Addr::from(seen.intent.from)),
        chain_attempts::fate.eq("unknown"),
        chain_attempts::nonce.eq(sql::integer(attempt.nonce)),
        chain_attempts::raw.eq(&attempt.raw),
        chain_attempts::max_fee.eq(Amount128::from(attempt.fees.max_fee)),
        chain_attempts::priority_fee.eq(Amount128::from(attempt.fees.priority_fee)),
        chain_attempts::head.eq(sql::integer(attempt.head)),
        chain_attempts::created_at.eq(Micros::from(attempt.at)),
    );
    on!(&mut *conn, |c| {
        // The same transaction again can only be a filler for a nonce that was filled before.
        diesel::insert_into(chain_attempts::table)
            .values(row)
            .on_conflict(chain_attempts::hash)
            .do_update()
            .set((chain_attempts::tx.eq(id.0), chain_attempts::head.eq(sql::integer(attempt.head))))
            .execute(c)
            .await
    })?;
    let changed = on!(conn, |c| {
        diesel::update(
            chain_txs::table.find(id.0).filter(
                chain_txs::status
                    .eq(seen.status.as_str())
                    .and(chain_txs::nonce.is_null().or(chain_txs::nonce.eq(sql::integer(attempt.nonce)))),
            ),
        )
        .set((
            chain_txs::status.eq(TxStatus::Sent.as_str()),
            chain_txs::nonce.eq(sql::integer(attempt.nonce)),
            chain_txs::gas_limit.eq(sql::integer(gas_limit)),
            chain_txs::obstacle.eq(None::<String>),
            chain_txs::raise.eq(None::<String>),
            chain_txs::updated_at.eq(Micros::now()),
        ))
        .execute(c)
        .await
    })?;
    if changed == 1 { Ok(()) } else { Err(ChainError::TxMoved { tx: id }) }
}

/// Gives back a nonce that a foreign transaction has taken for good.
pub(super) async fn release_nonce(conn: &mut Conn, id: TxId) -> Result<(), DbError> {
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0))
            .set((
                chain_txs::status.eq(TxStatus::Unsent.as_str()),
                chain_txs::nonce.eq(None::<i64>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    Ok(())
}

pub(super) async fn set_obstacle(
    conn: &mut Conn,
    id: TxId,
    obstacle: Option<&Obstacle>,
) -> Result<(), DbError> {
    let json = obstacle.map(|obstacle| to_json("obstacle", obstacle)).transpose()?;
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0))
            .set((chain_txs::obstacle.eq(json), chain_txs::updated_at.eq(Micros::now())))
            .execute(c)
            .await
    })?;
    Ok(())
}

pub(super) async fn set_raise(conn: &mut Conn, id: TxId, raise: Option<Raise>) -> Result<(), DbError> {
    let json = raise.map(|raise| to_json("raise of a fee", &raise)).transpose()?;
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0))
            .set((chain_txs::raise.eq(json), chain_txs::updated_at.eq(Micros::now())))
            .execute(c)
            .await
    })?;
    Ok(())
}

/// Stores where it was mined, or that it is not mined any more.
pub(super) async fn set_inclusion(
    conn: &mut Conn,
    id: TxId,
    inclusion: Option<&Inclusion>,
) -> Result<(), DbError> {
    let hash = |of: fn(&Inclusion) -> B256| inclusion.map(|i| Bytes32::from(of(i)));
    let row = (
        chain_txs::tx_hash.eq(hash(|i| i.tx_hash)),
        chain_txs::block.eq(inclusion.map(|i| sql::integer(i.block))),
        chain_txs::block_hash.eq(hash(|i| i.block_hash)),
        chain_txs::success.eq(inclusion.map(|i| i.success)),
        chain_txs::gas_used.eq(inclusion.map(|i| sql::integer(i.gas_used))),
        chain_txs::gas_price.eq(inclusion.map(|i| Amount128::from(i.gas_price))),
        chain_txs::obstacle.eq(None::<String>),
        chain_txs::raise.eq(None::<String>),
        chain_txs::updated_at.eq(Micros::now()),
    );
    on!(conn, |c| diesel::update(chain_txs::table.find(id.0)).set(row).execute(c).await)?;
    Ok(())
}

/// Makes a status final. Whether it was not final before.
pub(super) async fn finish(
    conn: &mut Conn,
    id: TxId,
    status: TxStatus,
    failure: Option<&str>,
) -> Result<bool, DbError> {
    let open = [TxStatus::Unsent.as_str(), TxStatus::Sent.as_str()];
    let changed = on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::status.eq_any(open)))
            .set((
                chain_txs::status.eq(status.as_str()),
                chain_txs::watched.eq(false),
                chain_txs::failure.eq(failure),
                chain_txs::obstacle.eq(None::<String>),
                chain_txs::raise.eq(None::<String>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    Ok(changed == 1)
}
