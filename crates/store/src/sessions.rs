//! Usage sessions: totals as the adapter reports them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use privatix_channel::{ChannelId, Usage};
use privatix_db::types::{Bytes32, Micros};
use privatix_db::{Conn, on};
use uuid::Uuid;

use crate::columns::{id, unsigned};
use crate::schema::{channels, sessions};
use crate::{StoreError, meters};

/// A stretch of use of a channel, from one start of the adapter's counters to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Chosen by the adapter.
    pub id: Uuid,
    /// The channel it is metered on.
    pub channel: ChannelId,
    /// Total in this session.
    pub used: Usage,
    /// The user's network address, where it is kept and the adapter reports it.
    pub peer: Option<String>,
    /// When it was first heard of.
    pub started_at: SystemTime,
    /// When `used` last grew.
    pub last_usage: Option<SystemTime>,
    /// When it ended.
    pub stopped_at: Option<SystemTime>,
}

/// What an adapter says of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The session.
    pub session: Uuid,
    /// Its channel.
    pub channel: ChannelId,
    /// Total so far in this session; lower totals than stored ones are late and change nothing.
    pub used: Usage,
    /// The user's network address.
    pub peer: Option<String>,
    /// When the session began.
    pub started_at: SystemTime,
    /// When `used` last grew.
    pub last_usage: SystemTime,
    /// When the session ended, if it has.
    pub stopped_at: Option<SystemTime>,
}

/// Stores a report, and adds to the channel's [total](meters::used) what is new in it; idempotent, and indifferent to the order of
/// reports. Returns false, and stores nothing, when the channel
/// is not ours or the session is another channel's.
pub async fn record(conn: &mut Conn, report: &Report) -> Result<bool, StoreError> {
    let (key, channel) = (session_key(report.session), id(report.channel));
    // Nothing real comes near what the column holds; a broken adapter must not stop the metering of others by an error.
    let used = i64::try_from(report.used.get()).unwrap_or(i64::MAX);
    let query = sessions::table.find(key.clone()).select((
        sessions::channel,
        sessions::used,
        sessions::peer.is_null(),
    ));
    let known: Option<(Bytes32, i64, bool)> = on!(&mut *conn, |c| query.first(c).await.optional())?;
    let (before, nameless) = match known {
        Some((owner, ..)) if owner != channel => return Ok(false),
        Some((_, before, nameless)) => (before, nameless),
        None => {
            let ours = diesel::select(diesel::dsl::exists(channels::table.find(channel)));
            if !on!(&mut *conn, |c| ours.get_result::<bool>(c).await)? {
                return Ok(false);
            }
            let row = (
                sessions::id.eq(key.clone()),
                sessions::channel.eq(channel),
                sessions::used.eq(0),
                sessions::peer.eq(report.peer.as_deref()),
                sessions::started_at.eq(Micros::from(report.started_at)),
            );
            on!(&mut *conn, |c| diesel::insert_into(sessions::table).values(row).execute(c).await)?;
            (0, false)
        }
    };
    let by = used.saturating_sub(before);
    if by > 0 {
        let grow = diesel::update(sessions::table.find(key.clone()))
            .set((sessions::used.eq(used), sessions::last_usage.eq(Micros::from(report.last_usage))));
        on!(&mut *conn, |c| grow.execute(c).await)?;
        meters::grow(conn, report.channel, by, report.last_usage).await?;
    }
    if let (true, Some(peer)) = (nameless, &report.peer) {
        let name = diesel::update(sessions::table.find(key.clone())).set(sessions::peer.eq(peer));
        on!(&mut *conn, |c| name.execute(c).await)?;
    }
    if let Some(stopped_at) = report.stopped_at {
        let stop = diesel::update(sessions::table.find(key).filter(sessions::stopped_at.is_null()))
            .set(sessions::stopped_at.eq(Micros::from(stopped_at)));
        on!(conn, |c| stop.execute(c).await)?;
    }
    Ok(true)
}

/// Whether a session of the channel runs.
pub async fn is_running(conn: &mut Conn, channel: ChannelId) -> Result<bool, StoreError> {
    let open = sessions::table
        .filter(sessions::channel.eq(id(channel)))
        .filter(sessions::stopped_at.is_null())
        .select(sessions::channel);
    let channel: Option<Bytes32> = on!(conn, |c| open.first(c).await.optional())?;
    Ok(channel.is_some())
}

/// The channel's sessions, newest first.
pub async fn list(conn: &mut Conn, channel: ChannelId) -> Result<Vec<Session>, StoreError> {
    type Row = (Vec<u8>, Bytes32, i64, Option<String>, Micros, Option<Micros>, Option<Micros>);
    let query = sessions::table
        .filter(sessions::channel.eq(id(channel)))
        .order((sessions::started_at.desc(), sessions::id))
        .select((
            sessions::id,
            sessions::channel,
            sessions::used,
            sessions::peer,
            sessions::started_at,
            sessions::last_usage,
            sessions::stopped_at,
        ));
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter()
        .map(|(key, _, used, peer, started_at, last_usage, stopped_at)| {
            let session = Uuid::from_slice(&key)
                .map_err(|e| StoreError::Corrupt { what: "session id", reason: e.to_string() })?;
            Ok(Session {
                id: session,
                channel,
                used: Usage::new(unsigned("usage", used)?),
                peer,
                started_at: started_at.into(),
                last_usage: last_usage.map(Into::into),
                stopped_at: stopped_at.map(Into::into),
            })
        })
        .collect()
}

/// The channels with sessions that are still open.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn running(conn: &mut Conn) -> Result<BTreeSet<ChannelId>, StoreError> {
    let query = sessions::table.filter(sessions::stopped_at.is_null()).select(sessions::channel);
    let channels: Vec<Bytes32> = on!(conn, |c| query.load(c).await)?;
    Ok(channels.into_iter().map(|channel| ChannelId::new(channel.bytes().into())).collect())
}

/// Ends every session that is still open: after a restart the adapter's counters are gone with its process.
pub async fn stop_all(conn: &mut Conn, at: SystemTime) -> Result<usize, StoreError> {
    let update = diesel::update(sessions::table.filter(sessions::stopped_at.is_null()))
        .set(sessions::stopped_at.eq(Micros::from(at)));
    Ok(on!(conn, |c| update.execute(c).await)?)
}

/// Clears the users' network addresses of all sessions, and returns how many there were. Again it does nothing.
///
/// What is cleared is overwritten in the file, not only marked as free.
pub async fn forget_peers(conn: &mut Conn) -> Result<usize, StoreError> {
    on!(&mut *conn, |c| c.batch_execute("PRAGMA secure_delete=ON").await)?;
    let clear = diesel::update(sessions::table.filter(sessions::peer.is_not_null()))
        .set(sessions::peer.eq(None::<String>));
    let cleared = on!(&mut *conn, |c| clear.execute(c).await);
    on!(conn, |c| c.batch_execute("PRAGMA secure_delete=OFF").await)?;
    Ok(cleared?)
}

fn session_key(session: Uuid) -> Vec<u8> {
    session.as_bytes().to_vec()
}
