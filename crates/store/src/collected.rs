//! Closes and settlements that wait for a batch.

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{Amount, ChannelId};
use privatix_db::types::{Addr, Amount128, Bytes32};
use privatix_db::{Conn, on};
use privatix_market::batch::Row;
use privatix_market::{AgentPurpose, Uptime};

use crate::StoreError;
use crate::columns::{from_json, narrow, to_amount, to_json, unsigned};
use crate::schema::{channels, collected};
use crate::states::milliseconds;

/// How many rows are read at once, the longest waiting first. The others follow in the next batches.
const MOST: i64 = 10_000;

/// Offers an effect of a channel to the next batch. An earlier offer of this number is replaced, and has waited since then.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn offer(
    conn: &mut Conn,
    channel: ChannelId,
    seq: u32,
    purpose: AgentPurpose,
    since: Uptime,
) -> Result<(), StoreError> {
    let purpose = to_json("purpose", &purpose)?;
    let row = (
        collected::channel.eq(channel.as_b256().to_vec()),
        collected::seq.eq(i64::from(seq)),
        collected::purpose.eq(&purpose),
        collected::since.eq(milliseconds(since)),
    );
    let insert = diesel::insert_into(collected::table)
        .values(row)
        .on_conflict((collected::channel, collected::seq))
        .do_update()
        .set(collected::purpose.eq(&purpose));
    on!(conn, |c| insert.execute(c).await)?;
    Ok(())
}

/// Takes an offer back: a batch has it, or it is not wanted any more. Returns whether there was one.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn take_back(conn: &mut Conn, channel: ChannelId, seq: u32) -> Result<bool, StoreError> {
    let offer = collected::table.find((channel.as_b256().to_vec(), i64::from(seq)));
    let delete = diesel::delete(offer);
    Ok(on!(conn, |c| delete.execute(c).await)? > 0)
}

/// What waits, at most 10,000 rows and the longest waiting first, each with what it brings by the channel as it is stored. One that cannot be read is named
/// in the log, and keeps no other from its batch.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn waiting(conn: &mut Conn) -> Result<Vec<Row>, StoreError> {
    let query = collected::table
        .inner_join(channels::table.on(channels::id.eq(collected::channel)))
        .order((collected::since, collected::channel, collected::seq))
        .limit(MOST)
        .select((
            channels::id,
            collected::seq,
            collected::purpose,
            collected::since,
            (channels::deposit, channels::paid, channels::signer),
        ));
    let rows: Vec<Stored> = on!(conn, |c| query.load(c).await)?;
    let readable = rows.into_iter().filter_map(|row| {
        let channel = ChannelId::new(row.channel.bytes().into());
        match row.read(channel) {
            Ok(row) => Some(row),
            Err(error) => {
                tracing::error!(%channel, %error, "what waits for a batch cannot be read; the channel sends it alone");
                None
            }
        }
    });
    Ok(readable.collect())
}

#[derive(Queryable)]
struct Stored {
    channel: Bytes32,
    seq: i64,
    purpose: String,
    since: i64,
    money: (Amount128, Amount128, Addr),
}

impl Stored {
    fn read(self, channel: ChannelId) -> Result<Row, StoreError> {
        let purpose: AgentPurpose = from_json("purpose", &self.purpose)?;
        let (deposit, paid, signer) = self.money;
        let worth = purpose.cumulative().min(to_amount(deposit));
        Ok(Row {
            channel,
            seq: narrow("number of an effect", self.seq)?,
            purpose,
            gain: worth.checked_sub(to_amount(paid)).unwrap_or(Amount::ZERO),
            names_signer: !Address::from(signer.bytes()).is_zero(),
            since: Uptime::new(unsigned("uptime", self.since)?),
        })
    }
}
