//! The transactor's rows, and what they mean.

use diesel::prelude::*;
use privatix_db::DbError;
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::terms::Terms;
use super::{Attempt, Fees, Inclusion, Intent, Priority, TxId, TxRecord};
use crate::schema::{chain_attempts, chain_txs};
use crate::sql;

#[derive(Queryable, Selectable)]
#[diesel(table_name = chain_txs)]
pub(super) struct Row {
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
    parent: Option<i64>,
    filler: bool,
    status: String,
    ending: Option<String>,
    watched: bool,
    relieved: bool,
    nonce: Option<i64>,
    bound: Option<i64>,
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
    pub(super) fn read(self) -> Result<TxRecord, DbError> {
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
        let asked = terms.onto(
            Intent::new(self.key, self.sender.bytes().into(), self.recipient.bytes().into(), self.input)
                .value(self.value.into())
                .kind(self.kind)
                .subject(self.subject),
        );
        let asked_deadline = asked.deadline;
        let intent = if self.relieved {
            Intent { priority: Priority::Normal.min(asked.priority), deadline: None, stake: None, ..asked }
        } else {
            asked
        };
        Ok(TxRecord {
            id: TxId(self.id),
            intent,
            chain_id: sql::number("chain id", self.chain_id)?,
            status: self.status.parse().map_err(|e| corrupt("transaction status", e))?,
            nonce: optional("nonce", self.nonce)?,
            bound: optional("nonce", self.bound)?,
            ending: self
                .ending
                .map(|ending| ending.parse().map_err(|e| corrupt("end of a transaction", e)))
                .transpose()?,
            watched: self.watched,
            gas_limit: optional("gas limit", self.gas_limit)?,
            obstacle,
            failure: self.failure,
            inclusion,
            raise,
            filler: self.filler,
            parent: self.parent.map(TxId),
            relieved: self.relieved,
            asked_deadline,
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

fn from_json<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T, DbError> {
    serde_json::from_str(json).map_err(|e| DbError::Corrupt { what, reason: e.to_string() })
}

pub(super) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|e| DbError::Corrupt { what, reason: e.to_string() })
}

pub(super) fn read_all(rows: Vec<Row>) -> Result<Vec<TxRecord>, DbError> {
    rows.into_iter().map(Row::read).collect()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = chain_attempts)]
pub(super) struct AttemptRow {
    tx: i64,
    hash: Bytes32,
    nonce: i64,
    raw: Vec<u8>,
    max_fee: Amount128,
    priority_fee: Amount128,
    fate: String,
    head: i64,
    created_at: Micros,
}

impl AttemptRow {
    pub(super) fn read(self) -> Result<(TxId, Attempt), DbError> {
        let fate = self.fate.parse().map_err(|reason| DbError::Corrupt { what: "fate", reason })?;
        let attempt = Attempt {
            hash: self.hash.bytes().into(),
            nonce: sql::number("nonce", self.nonce)?,
            fees: Fees::new(self.max_fee.into(), self.priority_fee.into()),
            fate,
            at: self.created_at.into(),
            raw: self.raw,
            head: sql::number("head", self.head)?,
        };
        Ok((TxId(self.tx), attempt))
    }
}
