//! One voucher per channel: the best that an agent holds, the highest that a client signed. It only ever grows.

use diesel::prelude::*;

use diesel::upsert::excluded;
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
}

#[derive(Insertable)]
#[diesel(table_name = vouchers)]
struct NewRow {
    channel: Bytes32,
    cumulative: Amount128,
    signature: Vec<u8>,
    count: i64,
    acknowledged: Amount128,
    updated_at: Micros,
}

impl NewRow {
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

// The condition makes a repeated or late write harmless.
macro_rules! upsert {
    ($row:expr) => {
        diesel::query_dsl::methods::FilterDsl::filter(
            diesel::insert_into(vouchers::table).values($row).on_conflict(vouchers::channel).do_update().set(
                (
                    vouchers::cumulative.eq(excluded(vouchers::cumulative)),
                    vouchers::signature.eq(excluded(vouchers::signature)),
                    vouchers::count.eq(vouchers::count + 1),
                    vouchers::updated_at.eq(excluded(vouchers::updated_at)),
                ),
            ),
            vouchers::cumulative.lt(excluded(vouchers::cumulative)),
        )
    };
}

/// Stores a voucher unless an equal or higher one is there. Returns whether it was stored.
pub async fn store(conn: &mut Conn, signed: &SignedVoucher) -> Result<bool, StoreError> {
    let row = NewRow::new(signed, Micros::now());
    Ok(on!(conn, |c| upsert!(row).execute(c).await)? > 0)
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

/// How many vouchers were ever stored, superseded ones included.
pub async fn count(conn: &mut Conn) -> Result<u64, StoreError> {
    let query =
        vouchers::table.select(diesel::dsl::sql::<diesel::sql_types::BigInt>("coalesce(sum(count), 0)"));
    let sum: i64 = on!(conn, |c| query.get_result(c).await)?;
    unsigned("voucher count", sum)
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
    Ok(ids.into_iter().map(|id| ChannelId::new(id.into())).collect())
}

/// The channel's stored voucher.
pub async fn get(conn: &mut Conn, channel: ChannelId) -> Result<Option<StoredVoucher>, StoreError> {
    type Row = (Amount128, Vec<u8>, i64, Amount128);
    let query = vouchers::table.find(id(channel)).select((
        vouchers::cumulative,
        vouchers::signature,
        vouchers::count,
        vouchers::acknowledged,
    ));
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(|(cumulative, signature, count, acknowledged)| {
        let signature = VoucherSignature::from_bytes(&signature)
            .map_err(|e| StoreError::Corrupt { what: "voucher signature", reason: e.to_string() })?;
        Ok(StoredVoucher {
            signed: SignedVoucher {
                voucher: Voucher { channel, cumulative: to_amount(cumulative) },
                signature,
            },
            count: unsigned("voucher count", count)?,
            acknowledged: to_amount(acknowledged),
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
        let rows: Vec<NewRow> = items.iter().map(|signed| NewRow::new(signed, now)).collect();
        match conn {
            // One hop to the blocking pool for the whole batch instead of one per statement.
            Conn::Sqlite(c) => c
                .spawn_blocking(move |c| {
                    rows.into_iter()
                        .map(|row| diesel::RunQueryDsl::execute(upsert!(row), c).map(|changed| changed > 0))
                        .collect::<QueryResult<Vec<bool>>>()
                })
                .await
                .map_err(DbError::from),
        }
    }
}
