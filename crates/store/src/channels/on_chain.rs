//! The on-chain part of the channels that are kept, event by event.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::Binary;
use diesel_async::RunQueryDsl;
use privatix_channel::{ChannelEvent, ChannelId, FOLD_RULES, Fold, LogPosition, OnChain};
use privatix_db::types::Bytes32;
use privatix_db::{Conn, on};

use super::{Channel, Row};
use crate::StoreError;
use crate::columns::{amount, id, parse, signed};
use crate::events;
use crate::fold;
use crate::replay::{Known, LastStep, Replay};
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
        None => Ok(replay(conn, channel, None, None, Snapshots::Read).await?.0.state),
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
/// keep it.
///
/// Later events may be stored already; they are taken in when it is their turn.
pub async fn advance(
    conn: &mut Conn,
    channel: ChannelId,
    at: LogPosition,
    event: ChannelEvent,
) -> Result<Option<Channel>, StoreError> {
    let Some((row, stored)) = load(conn, channel).await? else { return Ok(None) };
    let (known, fold) = match stored {
        Some(mut fold) if fold.last < Some(at) => {
            let mut known = Known { state: fold.state, status: parse("channel status", &row.status)? };
            known.apply(at, event);
            fold.state = known.state;
            if fold.took(at) {
                snapshots::keep(conn, Subject::Channel(channel), at, &known).await?;
            }
            (known, fold)
        }
        // Later events were taken in already, or these rules have not folded the channel yet: fold again from before the event.
        stored => {
            let to = stored.as_ref().and_then(|fold| fold.last).max(Some(at));
            let late = stored.map(|_| at);
            snapshots::forget_from(conn, Subject::Channel(channel), late).await?;
            let step = own_step(&row)?;
            replay(conn, channel, to, step, Snapshots::Write).await?
        }
    };
    store(conn, row, &known, &fold).await.map(Some)
}

/// Folds a channel afresh after events were undone: as if they had never been. A transaction of ours that was mined in an
/// undone block is under way again; a channel whose opening was undone is pending again.
pub async fn refold(conn: &mut Conn, channel: ChannelId) -> Result<Option<Channel>, StoreError> {
    let Some((row, stored)) = load(conn, channel).await? else { return Ok(None) };
    if stored.is_none() {
        snapshots::forget_from(conn, Subject::Channel(channel), None).await?;
    }
    // A step that came after an undone event comes after the last one that is left.
    let last = events::last_of_channel(conn, channel).await?;
    let step = own_step(&row)?;
    let step = step.map(|step| LastStep { after: step.after.min(last), ..step });
    if let Some(step) = step {
        set_step_after(conn, channel, step.after).await?;
    }
    let (known, fold) = replay(conn, channel, None, step, Snapshots::Write).await?;
    store(conn, row, &known, &fold).await.map(Some)
}

/// Where the channel's last event stands, of those taken in.
pub(super) async fn last_event(
    conn: &mut Conn,
    channel: ChannelId,
) -> Result<Option<LogPosition>, StoreError> {
    match stored_fold(conn, channel).await? {
        Some(fold) => Ok(fold.last),
        None => events::last_of_channel(conn, channel).await,
    }
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
    step: Option<LastStep>,
    mode: Snapshots,
) -> Result<(Known, Fold<OnChain>), StoreError> {
    let subject = Subject::Channel(channel);
    let (last, known) = snapshots::newest::<Known>(conn, subject).await?.unzip();
    let mut replay = Replay::from(known.unwrap_or_default(), last, step);
    let mut fold = Fold { state: OnChain::default(), last, since: 0 };
    loop {
        let page = events::page(conn, subject, fold.last, to).await?;
        for (place, event) in &page {
            let Some(event) = event.channel_event() else { continue };
            replay.take(place.at, event);
            if fold.took(place.at) && mode == Snapshots::Write {
                snapshots::keep(conn, subject, place.at, replay.known()).await?;
            }
        }
        if page.len() < fold::PAGE {
            break;
        }
    }
    let known = replay.end();
    Ok((known, Fold { state: known.state, ..fold }))
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

fn own_step(row: &Row) -> Result<Option<LastStep>, StoreError> {
    let Some(step) = &row.step else { return Ok(None) };
    let after = row
        .step_block
        .zip(row.step_index)
        .map(|(block, index)| events::position(block, index))
        .transpose()?;
    Ok(Some(LastStep { status: parse("channel status", step)?, after }))
}

async fn set_step_after(
    conn: &mut Conn,
    channel: ChannelId,
    after: Option<LogPosition>,
) -> Result<(), StoreError> {
    let number = |value: Option<u64>| value.map(|value| signed("log position", value)).transpose();
    let update = diesel::update(channels::table.find(id(channel))).set((
        channels::step_block.eq(number(after.map(|at| at.block))?),
        channels::step_index.eq(number(after.map(|at| at.index))?),
    ));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// Stores what is known of the channel of this row.
async fn store(
    conn: &mut Conn,
    mut row: Row,
    known: &Known,
    fold: &Fold<OnChain>,
) -> Result<Channel, StoreError> {
    let state = &known.state;
    let block = |at: Option<u64>| at.map(|block| signed("block", block)).transpose();
    row.deposit = if state.opened_at.is_some() { amount(state.deposit) } else { row.asked };
    row.paid = amount(state.paid);
    row.fee = i32::from(state.fee.get());
    row.opened_at = block(state.opened_at)?;
    row.challenge_ends_at =
        state.challenge_ends_at().map(|at| signed("end of the challenge", at.seconds())).transpose()?;
    row.closure = state.closed.map(|ending| ending.closure.as_str().to_owned());
    known.status.as_str().clone_into(&mut row.status);
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
