//! What the transactor writes. Each function is a statement or two inside a transaction of the caller's.

use alloy::primitives::B256;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use privatix_db::{Conn, DbError, on};

use super::rescue::{self, Counterpart};
use super::rows::to_json;
use super::terms::Terms;
use super::{Attempt, Ending, Fate, Inclusion, Intent, Obstacle, Raise, TxId, TxRecord, TxStatus, table};
use crate::schema::{chain_attempts, chain_txs};
use crate::sql;

/// Whose an intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// That of whoever uses the transactor.
    Submitted,
    /// The transactor's: it only uses up a nonce.
    Filler,
    /// The transactor's: the rescue of this one.
    RescueOf(TxId),
}

/// Stores an intent, or finds the one that has its key.
pub(super) async fn submit(
    conn: &mut Conn,
    chain_id: u64,
    intent: &Intent,
    origin: Origin,
) -> Result<TxId, DbError> {
    let parent = match origin {
        Origin::RescueOf(parent) => Some(parent.0),
        Origin::Submitted | Origin::Filler => None,
    };
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
        chain_txs::parent.eq(parent),
        chain_txs::filler.eq(origin == Origin::Filler),
        chain_txs::watched.eq(true),
        chain_txs::status.eq(TxStatus::Unsent.as_str()),
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

/// A signed transaction that is about to become durable.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// The intent, as its signer saw it.
    pub(super) seen: TxRecord,
    /// What may be paid for the same purpose, as it was then.
    pub(super) counterpart: Option<Counterpart>,
    pub(super) gas_limit: u64,
    pub(super) attempt: Attempt,
    /// The owner of the nonce, which loses it.
    pub(super) displaces: Option<TxId>,
}

/// Stores a signed transaction and makes its intent the owner of the nonce. Must be committed before the broadcast.
///
/// False, and nothing stored, if the intent or the nonce is not any more as the signer saw it: whoever changed it may have
/// given it another nonce, and two transactions with two nonces could both be mined. Likewise if anything was signed for its
/// counterpart since: together they might cost more than what is at stake.
pub(super) async fn own(conn: &mut Conn, signed: &Signed) -> Result<bool, DbError> {
    let Signed { seen, counterpart, gas_limit, attempt, displaces } = signed;
    let (id, nonce) = (seen.id, attempt.nonce);
    let Some(now) = table::get(conn, id).await? else { return Ok(false) };
    let account = seen.intent.from;
    let owner = table::owners(conn, seen.chain_id, account, nonce).await?.get(&nonce).copied();
    let may_have = owner.is_none_or(|owner| owner == id || Some(owner) == *displaces);
    let unchanged = (now.status, now.nonce, now.ending) == (seen.status, seen.nonce, seen.ending);
    let allowed = now.intent.repeatable || now.bound.is_none_or(|bound| bound == nonce);
    if !may_have || !unchanged || !allowed || now.ending.is_some() {
        return Ok(false);
    }
    let other = counterpart_of(conn, &now, 0).await?;
    if !rescue::is_as_seen(other.as_ref(), counterpart.as_ref()) {
        return Ok(false);
    }
    if let Some(displaced) = owner.filter(|owner| *owner != id) {
        release(conn, displaced, Bound::Kept).await?;
    }
    let row = (
        chain_attempts::hash.eq(Bytes32::from(attempt.hash)),
        chain_attempts::tx.eq(id.0),
        chain_attempts::chain_id.eq(sql::integer(seen.chain_id)),
        chain_attempts::sender.eq(Addr::from(account)),
        chain_attempts::fate.eq(attempt.fate.as_str()),
        chain_attempts::nonce.eq(sql::integer(nonce)),
        chain_attempts::raw.eq(&attempt.raw),
        chain_attempts::max_fee.eq(Amount128::from(attempt.fees.max_fee)),
        chain_attempts::priority_fee.eq(Amount128::from(attempt.fees.priority_fee)),
        chain_attempts::head.eq(sql::integer(attempt.head)),
        chain_attempts::created_at.eq(Micros::from(attempt.at)),
    );
    on!(&mut *conn, |c| {
        // The same transaction again: one that was refused, or a filler for a nonce that was filled before a reorg.
        diesel::insert_into(chain_attempts::table)
            .values(row)
            .on_conflict(chain_attempts::hash)
            .do_update()
            .set((chain_attempts::tx.eq(id.0), chain_attempts::head.eq(sql::integer(attempt.head))))
            .execute(c)
            .await
    })?;
    // Refused before, and about to be sent again: whoever gets it may keep it.
    set_fate(conn, attempt.hash, Fate::Unknown).await?;
    let bound = (!now.intent.repeatable).then(|| sql::integer(nonce));
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0))
            .set((
                chain_txs::status.eq(TxStatus::Sent.as_str()),
                chain_txs::nonce.eq(sql::integer(nonce)),
                chain_txs::bound.eq(bound),
                chain_txs::gas_limit.eq(sql::integer(*gas_limit)),
                chain_txs::obstacle.eq(None::<String>),
                chain_txs::raise.eq(None::<String>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    Ok(true)
}

/// The rescue of an intent, or the intent that it is the rescue of, with what that may cost. `latest` is the next nonce of that
/// one's account, 0 where it is not known.
pub(super) async fn counterpart_of(
    conn: &mut Conn,
    record: &TxRecord,
    latest: u64,
) -> Result<Option<Counterpart>, DbError> {
    let Some(other) = table::counterpart(conn, record).await? else { return Ok(None) };
    let attempts = table::attempts(conn, other.id).await?;
    Ok(Some(Counterpart::of(&other, &attempts, latest)))
}

/// What becomes of the nonce that an intent is bound to, when it loses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// It may be signed for no other.
    Kept,
    /// Another transaction has it for good.
    Ended,
}

/// Takes an intent's nonce away: it is unsent again.
pub(super) async fn release(conn: &mut Conn, id: TxId, bound: Bound) -> Result<(), DbError> {
    on!(&mut *conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::status.eq_any(["unsent", "sent"])))
            .set((
                chain_txs::status.eq(TxStatus::Unsent.as_str()),
                chain_txs::nonce.eq(None::<i64>),
                chain_txs::raise.eq(None::<String>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    if bound == Bound::Ended {
        on!(conn, |c| {
            diesel::update(chain_txs::table.find(id.0)).set(chain_txs::bound.eq(None::<i64>)).execute(c).await
        })?;
    }
    Ok(())
}

/// Makes an intent the owner of a nonce that one of its transactions has on the chain, whoever owned it.
pub(super) async fn win(conn: &mut Conn, record: &TxRecord, nonce: u64) -> Result<(), DbError> {
    let owner = table::owners(conn, record.chain_id, record.intent.from, nonce).await?.remove(&nonce);
    match owner {
        Some(owner) if owner == record.id => return Ok(()),
        Some(owner) => release(conn, owner, Bound::Kept).await?,
        None => {}
    }
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(record.id.0))
            .set((chain_txs::status.eq(TxStatus::Sent.as_str()), chain_txs::nonce.eq(sql::integer(nonce))))
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

/// Gives an intent its outcome. Whether it had none before.
pub(super) async fn end(
    conn: &mut Conn,
    id: TxId,
    status: TxStatus,
    failure: Option<&str>,
    watched: bool,
) -> Result<bool, DbError> {
    // A cancelled one has no nonce: another transaction has it.
    if status == TxStatus::Cancelled {
        release(conn, id, Bound::Ended).await?;
    }
    let changed = on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::status.eq_any(["unsent", "sent"])))
            .set((
                chain_txs::status.eq(status.as_str()),
                chain_txs::watched.eq(watched),
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

/// Takes back an outcome whose block is gone: its transaction waits to be mined again.
pub(super) async fn reinstate(conn: &mut Conn, id: TxId) -> Result<bool, DbError> {
    let changed = on!(&mut *conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::status.eq_any(["mined", "failed"])))
            .set((
                chain_txs::status.eq(TxStatus::Sent.as_str()),
                chain_txs::watched.eq(true),
                chain_txs::failure.eq(None::<String>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    set_inclusion(conn, id, None).await?;
    Ok(changed == 1)
}

/// Takes the cancellation of an intent back, also one that has ended it.
pub(super) async fn revive(conn: &mut Conn, id: TxId) -> Result<(), DbError> {
    on!(&mut *conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::status.eq(TxStatus::Cancelled.as_str())))
            .set((
                chain_txs::status.eq(TxStatus::Unsent.as_str()),
                chain_txs::watched.eq(true),
                chain_txs::ending.eq(None::<String>),
                chain_txs::failure.eq(None::<String>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::ending.eq(Ending::Cancelled.as_str())))
            .set((
                chain_txs::ending.eq(None::<String>),
                chain_txs::failure.eq(None::<String>),
                chain_txs::updated_at.eq(Micros::now()),
            ))
            .execute(c)
            .await
    })?;
    Ok(())
}

/// The block of its outcome is final. Whether it was watched until now.
pub(super) async fn unwatch(conn: &mut Conn, id: TxId) -> Result<bool, DbError> {
    let changed = on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::watched.eq(true)))
            .set((chain_txs::watched.eq(false), chain_txs::updated_at.eq(Micros::now())))
            .execute(c)
            .await
    })?;
    Ok(changed == 1)
}

/// Stores what became of a broadcast. What a pool has held once counts as held for ever.
pub(super) async fn set_fate(conn: &mut Conn, hash: B256, fate: Fate) -> Result<(), DbError> {
    on!(conn, |c| {
        diesel::update(
            chain_attempts::table
                .find(Bytes32::from(hash))
                .filter(chain_attempts::fate.ne(Fate::Held.as_str())),
        )
        .set(chain_attempts::fate.eq(fate.as_str()))
        .execute(c)
        .await
    })?;
    Ok(())
}

/// It is not sent again, and ends in this way once its nonce is used. The reason of a revert stays without another one.
pub(super) async fn set_ending(
    conn: &mut Conn,
    id: TxId,
    ending: Ending,
    failure: Option<&str>,
) -> Result<(), DbError> {
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0).filter(chain_txs::ending.is_null()))
            .set((
                chain_txs::ending.eq(ending.as_str()),
                failure.map(|failure| chain_txs::failure.eq(failure)),
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

/// Takes an intent's deadline and stake away for now, or gives them back.
pub(super) async fn set_relieved(conn: &mut Conn, id: TxId, relieved: bool) -> Result<(), DbError> {
    on!(conn, |c| {
        diesel::update(chain_txs::table.find(id.0))
            .set((chain_txs::relieved.eq(relieved), chain_txs::updated_at.eq(Micros::now())))
            .execute(c)
            .await
    })?;
    Ok(())
}
