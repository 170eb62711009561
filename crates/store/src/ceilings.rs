//! Up to which amount an agent may acknowledge vouchers of a channel, while there is such a bound.
//!
//! Whoever stores a close sets the ceiling in the same transaction, and whoever stores a voucher reads it in the same
//! transaction. So either the close reads the voucher, or the voucher reads the ceiling.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::Binary;
use diesel::sqlite::SqliteConnection;
use diesel_async::RunQueryDsl;
use privatix_channel::{Amount, ChannelId};
use privatix_db::types::{Amount128, Bytes32};
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{amount, id, to_amount};
use crate::schema::ceilings;
use crate::statement::{Statement, Value};

/// Sets the ceiling of a channel, in base units, or removes it with `None`.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn set(conn: &mut Conn, channel: ChannelId, ceiling: Option<Amount>) -> Result<(), StoreError> {
    if let Some(ceiling) = ceiling.map(amount) {
        let row = (ceilings::channel.eq(id(channel)), ceilings::amount.eq(ceiling));
        let insert = diesel::insert_into(ceilings::table)
            .values(row)
            .on_conflict(ceilings::channel)
            .do_update()
            .set(ceilings::amount.eq(ceiling));
        on!(conn, |c| insert.execute(c).await)?;
    } else {
        let delete = diesel::delete(ceilings::table.find(id(channel)));
        on!(conn, |c| delete.execute(c).await)?;
    }
    Ok(())
}

/// The ceiling of a channel; `None` where everything that is stored may be acknowledged.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn get(conn: &mut Conn, channel: ChannelId) -> Result<Option<Amount>, StoreError> {
    let query = ceilings::table.find(id(channel)).select(ceilings::amount);
    let ceiling: Option<Amount128> = on!(conn, |c| query.first(c).await.optional())?;
    Ok(ceiling.map(to_amount))
}

/// How many channels one select asks for: few different lengths, so that each is prepared once.
const LENGTHS: [usize; 3] = [8, 64, MOST];
const MOST: usize = 512;

/// The ceilings of these channels, by one select for up to 512 of them.
pub(crate) fn of(
    conn: &mut SqliteConnection,
    channels: &[ChannelId],
) -> QueryResult<HashMap<ChannelId, Amount>> {
    let mut found = HashMap::new();
    for some in channels.chunks(MOST) {
        let length = LENGTHS.into_iter().find(|length| some.len() <= *length).unwrap_or(some.len());
        let padded = some.iter().chain(some.iter().cycle()).take(length);
        let values = padded.map(|channel| Value::from(channel.as_b256().as_slice())).collect();
        let marks = vec!["?"; length].join(", ");
        let sql = format!("SELECT channel, amount FROM ceilings WHERE channel IN ({marks})");
        let query = Statement::<(Binary, Binary)>::new(sql, values);
        let rows: Vec<(Bytes32, Amount128)> = diesel::RunQueryDsl::load(query, conn)?;
        found.extend(
            rows.into_iter()
                .map(|(channel, ceiling)| (ChannelId::new(channel.bytes().into()), to_amount(ceiling))),
        );
    }
    Ok(found)
}
