//! One voucher per channel: the best that an agent holds, the highest that a client signed. It only ever grows.

use std::time::SystemTime;

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary};
use diesel_async::RunQueryDsl;
use privatix_channel::{Amount, ChannelId, ChannelStatus, SignedVoucher, Voucher, VoucherSignature};
use privatix_db::types::{Amount128, Bytes32, Micros};
use privatix_db::{BatchWrite, Conn, DbError, on};

use crate::StoreError;
use crate::ceilings;
use crate::columns::{amount, id, to_amount, unsigned};
use crate::schema::{channels, vouchers};

/// A channel's stored voucher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVoucher {
    /// The voucher and its signature.
    pub signed: SignedVoucher,
    /// How many vouchers the channel has seen, superseded ones included.
    pub count: u64,
    /// The highest cumulative amount that the agent has acknowledged, as far as this side knows.
    pub acknowledged: Amount,
    /// When it was stored.
    pub stored_at: SystemTime,
}

/// Stores a voucher unless an equal or higher one is there: a repeated or late write is harmless.
///
/// Written out because diesel has its own upserts parsed again by the database each time, which costs more than running them;
/// this one is parsed once per connection.
struct Upsert {
    channel: Bytes32,
    cumulative: Amount128,
    signature: Vec<u8>,
    count: i64,
    acknowledged: Amount128,
    updated_at: Micros,
}

impl Upsert {
    fn new(signed: &SignedVoucher, acknowledged: Amount, now: Micros) -> Self {
        Self {
            channel: id(signed.voucher.channel),
            cumulative: amount(signed.voucher.cumulative),
            signature: signed.signature.as_bytes().to_vec(),
            count: 1,
            acknowledged: amount(acknowledged),
            updated_at: now,
        }
    }
}

impl QueryId for Upsert {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<DB: Backend> QueryFragment<DB> for Upsert
where
    Bytes32: ToSql<Binary, DB>,
    Amount128: ToSql<Binary, DB>,
    Vec<u8>: ToSql<Binary, DB>,
    i64: ToSql<BigInt, DB>,
    Micros: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO vouchers (channel, cumulative, signature, count, acknowledged, updated_at) VALUES (",
        );
        out.push_bind_param::<Binary, _>(&self.channel)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.cumulative)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.signature)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.count)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.acknowledged)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.updated_at)?;
        out.push_sql(
            ") ON CONFLICT (channel) DO UPDATE SET cumulative = excluded.cumulative, \
             signature = excluded.signature, count = vouchers.count + 1, \
             acknowledged = MAX(vouchers.acknowledged, excluded.acknowledged), updated_at = excluded.updated_at \
             WHERE vouchers.cumulative < excluded.cumulative",
        );
        Ok(())
    }
}

impl<C> diesel::RunQueryDsl<C> for Upsert {}

/// Stores a voucher unless an equal or higher one is there. Returns whether it was stored.
pub async fn store(conn: &mut Conn, signed: &SignedVoucher) -> Result<bool, StoreError> {
    let upsert = Upsert::new(signed, Amount::ZERO, Micros::now());
    Ok(on!(conn, |c| upsert.execute(c).await)? > 0)
}

/// Replaces the signature of a stored voucher over the same amount, of which nothing else changes: one that cannot be read, or that
/// the channel's signer did not make. Returns whether there is one.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn mend(conn: &mut Conn, signed: &SignedVoucher) -> Result<bool, StoreError> {
    let row = vouchers::table.find(id(signed.voucher.channel));
    let update = diesel::update(row.filter(vouchers::cumulative.eq(amount(signed.voucher.cumulative))))
        .set(vouchers::signature.eq(signed.signature.as_bytes().to_vec()));
    Ok(on!(conn, |c| update.execute(c).await)? > 0)
}

/// Records that the agent has acknowledged `cumulative` on the channel. A lower amount than before changes nothing.
pub async fn acknowledge(conn: &mut Conn, channel: ChannelId, cumulative: Amount) -> Result<(), StoreError> {
    let cumulative = amount(cumulative);
    let update =
        diesel::update(vouchers::table.find(id(channel)).filter(vouchers::acknowledged.lt(cumulative)))
            .set(vouchers::acknowledged.eq(cumulative));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// A client's channels whose agent has not acknowledged the highest voucher, the closed ones left out.
pub async fn unacknowledged(conn: &mut Conn) -> Result<Vec<ChannelId>, StoreError> {
    let query = vouchers::table
        .inner_join(channels::table.on(channels::id.eq(vouchers::channel)))
        .filter(vouchers::acknowledged.lt(vouchers::cumulative))
        .filter(
            channels::status
                .ne_all([ChannelStatus::ClosedCoop.as_str(), ChannelStatus::ClosedUncoop.as_str()]),
        )
        .select(vouchers::channel);
    let ids: Vec<Bytes32> = on!(conn, |c| query.load(c).await)?;
    Ok(ids.into_iter().map(|id| ChannelId::new(id.bytes().into())).collect())
}

/// The channel's stored voucher.
pub async fn get(conn: &mut Conn, channel: ChannelId) -> Result<Option<StoredVoucher>, StoreError> {
    type Row = (Amount128, Vec<u8>, i64, Amount128, Micros);
    let query = vouchers::table.find(id(channel)).select((
        vouchers::cumulative,
        vouchers::signature,
        vouchers::count,
        vouchers::acknowledged,
        vouchers::updated_at,
    ));
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(|(cumulative, signature, count, acknowledged, stored_at)| {
        let signature = VoucherSignature::from_bytes(&signature)
            .map_err(|e| StoreError::Corrupt { what: "voucher signature", reason: e.to_string() })?;
        Ok(StoredVoucher {
            signed: SignedVoucher {
                voucher: Voucher { channel, cumulative: to_amount(cumulative) },
                signature,
            },
            count: unsigned("voucher count", count)?,
            acknowledged: to_amount(acknowledged),
            stored_at: stored_at.into(),
        })
    })
    .transpose()
}

/// What the row of a channel's voucher says beside its signature. It can be read where the signature is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// The voucher's cumulative amount.
    pub cumulative: Amount,
    /// As [`StoredVoucher::acknowledged`].
    pub acknowledged: Amount,
    /// As [`StoredVoucher::count`].
    pub count: u64,
}

/// What the row of a channel's voucher says beside its signature: for what is shown and billed, and not cashed.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for a negative count.
pub async fn amounts(conn: &mut Conn, channel: ChannelId) -> Result<Option<Amounts>, StoreError> {
    let query = vouchers::table.find(id(channel)).select((
        vouchers::cumulative,
        vouchers::acknowledged,
        vouchers::count,
    ));
    let row: Option<(Amount128, Amount128, i64)> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(|(cumulative, acknowledged, count)| {
        Ok(Amounts {
            cumulative: to_amount(cumulative),
            acknowledged: to_amount(acknowledged),
            count: unsigned("voucher count", count)?,
        })
    })
    .transpose()
}

/// A voucher that an agent has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The voucher.
    pub signed: SignedVoucher,
    /// The cumulative amount that the answer is to acknowledge, if no ceiling forbids it.
    pub acknowledge: Amount,
}

/// What became of a [`Payment`]. The answer to the client is made from it, and not from what was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether the voucher was the highest so far. A lower one changes nothing.
    pub stored: bool,
    /// The [ceiling](crate::ceilings) of the channel in the transaction that stored the voucher: nothing above it may be
    /// acknowledged that was not acknowledged before.
    pub ceiling: Option<Amount>,
}

/// Stores accepted vouchers in batches: the writer behind an agent's payments (see [`privatix_db::GroupCommit`]). Each is one
/// row; the ceilings of a whole batch are one select.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoucherWriter;

impl BatchWrite for VoucherWriter {
    type Item = Payment;
    type Outcome = Written;

    async fn write(&mut self, conn: &mut Conn, items: Vec<Payment>) -> Result<Vec<Written>, DbError> {
        let now = Micros::now();
        match conn {
            // One hop to the blocking pool for the whole batch instead of one per statement.
            Conn::Sqlite(c) => c
                .spawn_blocking(move |c| {
                    let channels: Vec<ChannelId> = items.iter().map(|item| item.signed.channel()).collect();
                    let ceilings = ceilings::of(c, &channels)?;
                    let write = |item: Payment| {
                        let ceiling = ceilings.get(&item.signed.channel()).copied();
                        let acknowledged = item.acknowledge.min(ceiling.unwrap_or(Amount::MAX));
                        let upsert = Upsert::new(&item.signed, acknowledged, now);
                        let stored = diesel::RunQueryDsl::execute(upsert, c)? > 0;
                        Ok(Written { stored, ceiling })
                    };
                    items.into_iter().map(write).collect::<QueryResult<Vec<Written>>>()
                })
                .await
                .map_err(DbError::from),
        }
    }
}
