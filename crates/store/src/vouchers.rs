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
use crate::columns::{amount, id, to_amount, unsigned};
use crate::schema::{channels, vouchers};

/// A channel's stored voucher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVoucher {
    /// The voucher and its signature.
    pub signed: SignedVoucher,
    /// How many vouchers the channel has seen, superseded ones included.
    pub count: u64,
    /// For a client: the cumulative amount that the agent has acknowledged.
    pub acknowledged: Amount,
    /// When it was stored.
    pub stored_at: SystemTime,
}

/// Stores a voucher unless an equal or higher one is there: a repeated or late write is harmless.
///
/// Written out because diesel has its own upserts parsed anew by the database each time, which costs more than running them;
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
    fn new(signed: &SignedVoucher, now: Micros) -> Self {
        Self {
            channel: id(signed.voucher.channel),
            cumulative: amount(signed.voucher.cumulative),
            signature: signed.signature.as_bytes().to_vec(),
            count: 1,
            acknowledged: amount(Amount::ZERO),
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
             signature = excluded.signature, count = vouchers.count + 1, updated_at = excluded.updated_at \
             WHERE vouchers.cumulative < excluded.cumulative",
        );
        Ok(())
    }
}

impl<C> diesel::RunQueryDsl<C> for Upsert {}

/// Stores a voucher unless an equal or higher one is there. Returns whether it was stored.
pub async fn store(conn: &mut Conn, signed: &SignedVoucher) -> Result<bool, StoreError> {
    let upsert = Upsert::new(signed, Micros::now());
    Ok(on!(conn, |c| upsert.execute(c).await)? > 0)
}

/// Records that the agent has acknowledged `cumulative` on the channel.
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

/// Stores accepted vouchers in batches: the writer behind an agent's payments (see [`privatix_db::GroupCommit`]).
/// The outcome tells whether the voucher was the highest so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoucherWriter;

impl BatchWrite for VoucherWriter {
    type Item = SignedVoucher;
    type Outcome = bool;

    async fn write(&mut self, conn: &mut Conn, items: Vec<SignedVoucher>) -> Result<Vec<bool>, DbError> {
        let now = Micros::now();
        let upserts: Vec<Upsert> = items.iter().map(|signed| Upsert::new(signed, now)).collect();
        match conn {
            // One hop to the blocking pool for the whole batch instead of one per statement.
            Conn::Sqlite(c) => c
                .spawn_blocking(move |c| {
                    upserts
                        .into_iter()
                        .map(|upsert| diesel::RunQueryDsl::execute(upsert, c).map(|changed| changed > 0))
                        .collect::<QueryResult<Vec<bool>>>()
                })
                .await
                .map_err(DbError::from),
        }
    }
}
