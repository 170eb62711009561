//! What agents have signed of where channels stand: of each channel the newest receipt. Only clients have any.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{Amount, ChannelId};
use privatix_db::types::Amount128;
use privatix_db::{Conn, on};
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;
use crate::columns::{amount, from_json, id, signed, to_json};
use crate::schema::receipts;

const RECEIPT: &str = "receipt of a channel";

/// The newest receipt of a channel, if there is one.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn get<R: DeserializeOwned>(conn: &mut Conn, channel: ChannelId) -> Result<Option<R>, StoreError> {
    let query = receipts::table.find(id(channel)).select(receipts::receipt);
    let row: Option<String> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(|text| from_json(RECEIPT, &text)).transpose()
}

/// Keeps a receipt over this amount, signed when this block was the newest: in place of one over less, and of one over the same with a
/// block that is not newer. A signer's clock dates nothing, so the block does. Gives whether it is kept.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn keep<R: Serialize>(
    conn: &mut Conn,
    channel: ChannelId,
    (cumulative, block): (Amount, u64),
    receipt: &R,
) -> Result<bool, StoreError> {
    let (cumulative, block) = (amount(cumulative), signed("block of a receipt", block)?);
    let order = receipts::table.find(id(channel)).select((receipts::cumulative, receipts::block));
    let known: Option<(Amount128, i64)> = on!(conn, |c| order.first(c).await.optional())?;
    if known.is_some_and(|known| known > (cumulative, block)) {
        return Ok(false);
    }
    let row = (
        receipts::channel.eq(id(channel)),
        receipts::cumulative.eq(cumulative),
        receipts::block.eq(block),
        receipts::receipt.eq(to_json(RECEIPT, receipt)?),
    );
    let replace = diesel::replace_into(receipts::table).values(row);
    on!(conn, |c| replace.execute(c).await)?;
    Ok(true)
}
