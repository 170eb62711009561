//! The on-chain part of the channels that are kept, event by event.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::Binary;
use diesel_async::RunQueryDsl;
use privatix_channel::{ChannelEvent, ChannelId, ChannelStatus, FOLD_RULES, Fold, LogPosition, OnChain};
use privatix_db::types::Bytes32;
use privatix_db::{Conn, on};
use serde::{Deserialize, Serialize};

use super::{Channel, Row};
use crate::StoreError;
use crate::columns::{amount, id, signed};
use crate::events;
use crate::fold;
use crate::schema::channels;
use crate::snapshots::{self, Subject};
use crate::statement::{Statement, Value};

/// The on-chain part of a channel: a fold of its events.
pub async fn on_chain(conn: &mut Conn, channel: ChannelId) -> Result<OnChain, StoreError> {
    let stored = stored_fold(conn, channel).await?;
    fold_or_replay(conn, channel, stored).await
}

/// The on-chain part of a channel, by its stored fold or, without a usable one, by its events.
pub(crate) async fn fold_or_replay(
    conn: &mut Conn,
    channel: ChannelId,
    stored: Option<Fold<OnChain>>,
) -> Result<OnChain, StoreError> {
    match stored {
        Some(fold) => Ok(fold.state),
        None => Ok(replay(conn, channel, None, Snapshots::Read).await?.state),
    }
}

/// Which of these channels we keep.
pub async fn kept(
    conn: &mut Conn,
    channels: &BTreeSet<ChannelId>,
) -> Result<BTreeSet<ChannelId>, StoreError> {
    const AT_ONCE: usize = 100;
    let mut kept = BTreeSet::new();
    let channels: Vec<ChannelId> = channels.iter().copied().collect();
    for some in channels.chunks(AT_ONCE) {
        // Always as many, so that the statement is prepared once.
        let padded = some.iter().chain(some.iter().cycle()).take(AT_ONCE);
        let values = padded.map(|channel| Value::from(channel.as_b256().as_slice())).collect();
        let sql = format!("SELECT id FROM channels WHERE id IN ({})", vec!["?"; AT_ONCE].join(", "));
        let query = Statement::<Binary>::new(sql, values);
        let found: Vec<Bytes32> = on!(&mut *conn, |c| query.load(c).await)?;
        kept.extend(found.into_iter().map(|id| ChannelId::new(id.bytes().into())));
    }
    Ok(kept)
}

/// Takes in an event of this place that was just stored: brings the channel's on-chain part up to date. None when we do not
/// keep it. Its status shows the chain's part alone, until [`show`](super::show) adds what is under way.
///
/// Later events may be stored already; they are taken in when it is their turn.
pub async fn advance(
    conn: &mut Conn,
    channel: ChannelId,
    at: LogPosition,
    event: ChannelEvent,
) -> Result<Option<Channel>, StoreError> {
    let Some((row, stored)) = load(conn, channel).await? else { return Ok(None) };
    let fold = match stored {
        Some(mut fold) if fold.last < Some(at) => {
            fold.state.apply(at, event);
            if fold.took(at) {
                snapshots::keep(conn, Subject::Channel(channel), at, &Snapshot { state: fold.state }).await?;
            }
            fold
        }
        // Later events were taken in already, or these rules have not folded the channel yet: fold again from before the event.
        stored => {
            let to = stored.as_ref().and_then(|fold| fold.last).max(Some(at));
            let late = stored.map(|_| at);
            snapshots::forget_from(conn, Subject::Channel(channel), late).await?;
            replay(conn, channel, to, Snapshots::Write).await?
        }
    };
    store(conn, row, &fold).await.map(Some)
}

/// Folds a channel afresh after events were undone: as if they had never been. A channel whose opening was undone is pending
/// again.
pub async fn refold(conn: &mut Conn, channel: ChannelId) -> Result<Option<Channel>, StoreError> {
    let Some((row, stored)) = load(conn, channel).await? else { return Ok(None) };
    if stored.is_none() {
        snapshots::forget_from(conn, Subject::Channel(channel), None).await?;
    }
    let fold = replay(conn, channel, None, Snapshots::Write).await?;
    store(conn, row, &fold).await.map(Some)
}

/// A channel's on-chain part after some of its events.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Snapshot {
    state: OnChain,
}

/// What to do about snapshots that are due during a replay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshots {
    Read,
    Write,
}

/// Folds the stored events up to one, from the last snapshot on.
async fn replay(
    conn: &mut Conn,
    channel: ChannelId,
    to: Option<LogPosition>,
    mode: Snapshots,
) -> Result<Fold<OnChain>, StoreError> {
    let subject = Subject::Channel(channel);
    let (last, snapshot) = snapshots::newest::<Snapshot>(conn, subject).await?.unzip();
    let mut fold = Fold { state: snapshot.unwrap_or_default().state, last, since: 0 };
    loop {
        let page = events::page(conn, subject, fold.last, to).await?;
        for (place, event) in &page {
            let Some(event) = event.channel_event() else { continue };
            fold.state.apply(place.at, event);
            if fold.took(place.at) && mode == Snapshots::Write {
                snapshots::keep(conn, subject, place.at, &Snapshot { state: fold.state }).await?;
            }
        }
        if page.len() < fold::PAGE {
            return Ok(fold);
        }
    }
}

async fn stored_fold(conn: &mut Conn, channel: ChannelId) -> Result<Option<Fold<OnChain>>, StoreError> {
    let query = channels::table.find(id(channel)).select((channels::fold_version, channels::fold));
    let stored: Option<(i32, Option<String>)> = on!(conn, |c| query.first(c).await.optional())?;
    Ok(stored.and_then(|(version, fold)| fold::stored(version, fold.as_deref())))
}

async fn load(
    conn: &mut Conn,
    channel: ChannelId,
) -> Result<Option<(Row, Option<Fold<OnChain>>)>, StoreError> {
    let columns = (Row::as_select(), channels::fold_version, channels::fold);
    let query = channels::table.find(id(channel)).select(columns);
    let found: Option<(Row, i32, Option<String>)> = on!(conn, |c| query.first(c).await.optional())?;
    Ok(found.map(|(row, version, text)| (row, fold::stored(version, text.as_deref()))))
}

/// Stores what is known of the channel of this row.
async fn store(conn: &mut Conn, mut row: Row, fold: &Fold<OnChain>) -> Result<Channel, StoreError> {
    let state = &fold.state;
    let block = |at: Option<u64>| at.map(|block| signed("block", block)).transpose();
    row.deposit = if state.opened_at.is_some() { amount(state.deposit) } else { row.asked };
    row.paid = amount(state.paid);
    row.fee = i32::from(state.fee.get());
    row.opened_at = block(state.opened_at)?;
    row.challenge_ends_at =
        state.challenge_ends_at().map(|at| signed("end of the challenge", at.seconds())).transpose()?;
    row.closure = state.closed.map(|ending| ending.closure.as_str().to_owned());
    ChannelStatus::of(state.phase(), None).as_str().clone_into(&mut row.status);
    let update = diesel::update(channels::table.find(row.id)).set((
        channels::deposit.eq(row.deposit),
        channels::paid.eq(row.paid),
        channels::fee.eq(row.fee),
        channels::opened_at.eq(row.opened_at),
        channels::challenge_ends_at.eq(row.challenge_ends_at),
        channels::closure.eq(row.closure.clone()),
        channels::status.eq(row.status.clone()),
        channels::fold_version.eq(FOLD_RULES),
        channels::fold.eq(fold::text(fold)?),
    ));
    on!(conn, |c| update.execute(c).await)?;
    row.try_into()
}
