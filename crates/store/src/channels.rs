//! Channels: what the chain says of each, and what we do with it.

use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, ChannelStatus, Closure, OfferingHash, ServiceStatus,
};
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{amount, hash, id, narrow, parse, to_amount, unsigned};
use crate::schema::{channel_states, channels};

mod on_chain;

pub(crate) use on_chain::fold_or_replay;
pub use on_chain::{advance, kept, on_chain, refold};

/// A stored channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// All that identifies it.
    pub descriptor: ChannelDescriptor,
    /// Its deposit on chain; before it is opened, the deposit asked for.
    pub deposit: Amount,
    /// Credited to the agent on chain, cumulative.
    pub paid: Amount,
    /// Network fee in 1/100,000, fixed at opening.
    pub fee: u16,
    /// Block of its opening.
    pub opened_at: Option<u64>,
    /// The end of the challenge of the client's pending close request.
    pub challenge_ends_at: Option<ChainTime>,
    /// How it ended, once it is closed.
    pub closure: Option<Closure>,
    /// Where it is on chain.
    pub status: ChannelStatus,
    /// Where its service is.
    pub service: ServiceStatus,
    /// Since when.
    pub service_since: SystemTime,
    /// Why, for the operator.
    pub reason: Option<String>,
    /// Access, once provisioned (agent) or fetched (client).
    pub access: Option<StoredAccess>,
    /// The operator paused it.
    pub held: bool,
    /// A top-up is on its way.
    pub top_up_pending: bool,
    /// When it was first stored here.
    pub created_at: SystemTime,
}

/// Credentials and endpoint of a channel's service.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAccess {
    /// User name.
    pub username: String,
    /// The secret.
    pub password: String,
    /// Endpoint parameters, as the access template says.
    pub endpoint: serde_json::Value,
}

impl std::fmt::Debug for StoredAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredAccess")
            .field("username", &self.username)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = channels)]
struct Row {
    id: Bytes32,
    client: Addr,
    agent: Addr,
    offering: Bytes32,
    nonce: i64,
    signer: Addr,
    asked: Amount128,
    deposit: Amount128,
    paid: Amount128,
    fee: i32,
    opened_at: Option<i64>,
    challenge_ends_at: Option<i64>,
    closure: Option<String>,
    status: String,
    service: String,
    service_since: Micros,
    reason: Option<String>,
    username: Option<String>,
    password: Option<String>,
    access: Option<String>,
    held: bool,
    top_up_pending: bool,
    created_at: Micros,
}

impl TryFrom<Row> for Channel {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let access = match (row.username, row.password, row.access) {
            (Some(username), Some(password), Some(endpoint)) => Some(StoredAccess {
                username,
                password,
                endpoint: crate::columns::from_json("access", &endpoint)?,
            }),
            _ => None,
        };
        Ok(Self {
            id: ChannelId::new(row.id.bytes().into()),
            descriptor: ChannelDescriptor {
                client: row.client.bytes().into(),
                agent: row.agent.bytes().into(),
                offering: OfferingHash::new(row.offering.bytes().into()),
                nonce: row.nonce.cast_unsigned(),
                signer: row.signer.bytes().into(),
            },
            deposit: to_amount(row.deposit),
            paid: to_amount(row.paid),
            fee: narrow("fee", row.fee.into())?,
            opened_at: row.opened_at.map(|block| unsigned("block", block)).transpose()?,
            challenge_ends_at: row
                .challenge_ends_at
                .map(|seconds| unsigned("end of the challenge", seconds).map(ChainTime::new))
                .transpose()?,
            closure: row.closure.map(|closure| parse("closure", &closure)).transpose()?,
            status: parse("channel status", &row.status)?,
            service: parse("service status", &row.service)?,
            service_since: row.service_since.into(),
            reason: row.reason,
            access,
            held: row.held,
            top_up_pending: row.top_up_pending,
            created_at: row.created_at.into(),
        })
    }
}

/// Stores a channel that is about to be opened, or was seen being opened. Returns false, and changes nothing, when it is
/// already there.
pub async fn insert(
    conn: &mut Conn,
    channel: ChannelId,
    descriptor: &ChannelDescriptor,
    deposit: Amount,
) -> Result<bool, StoreError> {
    let now = Micros::now();
    let row = Row {
        id: id(channel),
        client: descriptor.client.into(),
        agent: descriptor.agent.into(),
        offering: hash(descriptor.offering),
        nonce: descriptor.nonce.cast_signed(), // any 64 bits: only ever compared for equality
        signer: descriptor.signer.into(),
        asked: amount(deposit),
        deposit: amount(deposit),
        paid: amount(Amount::ZERO),
        fee: 0,
        opened_at: None,
        challenge_ends_at: None,
        closure: None,
        status: ChannelStatus::Pending.as_str().to_owned(),
        service: ServiceStatus::Pending.as_str().to_owned(),
        service_since: now,
        reason: None,
        username: None,
        password: None,
        access: None,
        held: false,
        top_up_pending: false,
        created_at: now,
    };
    let insert = diesel::insert_into(channels::table).values(row).on_conflict_do_nothing();
    Ok(on!(conn, |c| insert.execute(c).await)? > 0)
}

/// What lists show of a channel: where it is, in words for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Where it is on chain.
    pub status: ChannelStatus,
    /// Where its service is.
    pub service: ServiceStatus,
    /// Why; `None` for what was shown before.
    pub reason: Option<&'a str>,
    /// Whether the operator paused it.
    pub held: bool,
}

/// Shows what a channel's state comes to, in the transaction that stores the state. Nothing is decided from it. The time of the
/// service's change moves only with its status. Returns whether anything differs.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::NoSuchChannel`].
pub async fn show(conn: &mut Conn, channel: ChannelId, shown: Shown<'_>) -> Result<bool, StoreError> {
    let (status, service) = (shown.status.as_str(), shown.service.as_str());
    let before = channels::table.find(id(channel)).select((
        channels::status,
        channels::service,
        channels::reason,
        channels::held,
    ));
    let before: Option<(String, String, Option<String>, bool)> =
        on!(&mut *conn, |c| before.first(c).await.optional())?;
    let Some((old_status, old_service, old_reason, old_held)) = before else {
        return Err(StoreError::NoSuchChannel(channel));
    };
    let reason = shown.reason.or(old_reason.as_deref());
    if (old_status.as_str(), old_service.as_str(), old_reason.as_deref(), old_held)
        == (status, service, reason, shown.held)
    {
        return Ok(false);
    }
    let since = (old_service != service).then(Micros::now);
    let update = diesel::update(channels::table.find(id(channel))).set((
        channels::status.eq(status),
        channels::service.eq(service),
        since.map(|since| channels::service_since.eq(since)),
        channels::reason.eq(reason),
        channels::held.eq(shown.held),
    ));
    on!(conn, |c| update.execute(c).await)?;
    Ok(true)
}

/// Shows the services of channels with a stored state as being started that were shown as running: the plug-in has begun another life,
/// and what was shown is of the one before.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn show_none_running(conn: &mut Conn) -> Result<(), StoreError> {
    // Spelled out and not bound, as in `live`.
    let running = diesel::dsl::sql::<diesel::sql_types::Bool>(
        "channels.service <> 'terminated' AND channels.service = 'active'",
    );
    let decided = channel_states::table.filter(channel_states::channel.eq(channels::id));
    let update = diesel::update(channels::table.filter(running).filter(diesel::dsl::exists(decided))).set((
        channels::service.eq(ServiceStatus::Activating.as_str()),
        channels::service_since.eq(Micros::now()),
    ));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// Stores the access of a channel.
pub async fn set_access(
    conn: &mut Conn,
    channel: ChannelId,
    access: &StoredAccess,
) -> Result<(), StoreError> {
    let update = diesel::update(channels::table.find(id(channel))).set((
        channels::username.eq(Some(&access.username)),
        channels::password.eq(Some(&access.password)),
        channels::access.eq(Some(access.endpoint.to_string())),
    ));
    found(channel, on!(conn, |c| update.execute(c).await)?)
}

/// Where this machine's programs find, or found, the channels' services.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LocalEndpoints {
    /// The channel's own, if it has had one.
    pub own: Option<serde_json::Value>,
    /// Those of other channels that are not over.
    pub in_use: Vec<serde_json::Value>,
    /// Those of channels that are over, the last one to end first; as many of them as are worth knowing.
    pub freed: Vec<serde_json::Value>,
}

/// How many of the channels that are over are looked at.
const FREED: i64 = 1000;

/// Stores where this machine's programs find a channel's service.
pub async fn set_local_endpoint(
    conn: &mut Conn,
    channel: ChannelId,
    endpoint: &serde_json::Value,
) -> Result<(), StoreError> {
    let update = diesel::update(channels::table.find(id(channel)))
        .set(channels::local_endpoint.eq(Some(endpoint.to_string())));
    found(channel, on!(conn, |c| update.execute(c).await)?)
}

/// The endpoints that matter to one channel.
pub async fn local_endpoints(conn: &mut Conn, channel: ChannelId) -> Result<LocalEndpoints, StoreError> {
    let read = |text: String| crate::columns::from_json("local_endpoint", &text);
    let own = channels::table.find(id(channel)).select(channels::local_endpoint);
    let own: Option<Option<String>> = on!(&mut *conn, |c| own.first(c).await.optional())?;
    let others = channels::table
        .filter(channels::local_endpoint.is_not_null())
        .filter(channels::id.ne(id(channel)))
        .select(channels::local_endpoint.assume_not_null());
    // Spelled out and not bound, for the partial index `channels_live`.
    let live = diesel::dsl::sql::<diesel::sql_types::Bool>("channels.service <> 'terminated'");
    let in_use = others.filter(live).order(channels::created_at);
    let freed = others
        .filter(channels::service.eq(ServiceStatus::Terminated.as_str()))
        .order(channels::service_since.desc())
        .limit(FREED);
    let in_use: Vec<String> = on!(&mut *conn, |c| in_use.load(c).await)?;
    let freed: Vec<String> = on!(conn, |c| freed.load(c).await)?;
    Ok(LocalEndpoints {
        own: own.flatten().map(read).transpose()?,
        in_use: in_use.into_iter().map(read).collect::<Result<_, _>>()?,
        freed: freed.into_iter().map(read).collect::<Result<_, _>>()?,
    })
}

/// Marks that a top-up is on its way, or no longer.
pub async fn set_top_up_pending(
    conn: &mut Conn,
    channel: ChannelId,
    pending: bool,
) -> Result<(), StoreError> {
    let update = diesel::update(channels::table.find(id(channel))).set(channels::top_up_pending.eq(pending));
    found(channel, on!(conn, |c| update.execute(c).await)?)
}

/// One channel, if we keep it.
pub async fn find(conn: &mut Conn, channel: ChannelId) -> Result<Option<Channel>, StoreError> {
    let query = channels::table.find(id(channel)).select(Row::as_select());
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(TryInto::try_into).transpose()
}

/// One channel.
///
/// # Errors
/// [`StoreError::NoSuchChannel`].
pub async fn get(conn: &mut Conn, channel: ChannelId) -> Result<Channel, StoreError> {
    find(conn, channel).await?.ok_or(StoreError::NoSuchChannel(channel))
}

/// The ids of all channels that are not closed on chain.
pub async fn unclosed(conn: &mut Conn) -> Result<Vec<ChannelId>, StoreError> {
    let query = unclosed_query();
    let ids: Vec<Bytes32> = on!(conn, |c| query.load(c).await)?;
    Ok(ids.into_iter().map(|id| ChannelId::new(id.bytes().into())).collect())
}

#[diesel::dsl::auto_type(no_type_alias)]
fn unclosed_query() -> _ {
    // Spelled out and not bound, for the partial index `channels_unclosed`.
    let unclosed: diesel::expression::SqlLiteral<diesel::sql_types::Bool> =
        diesel::dsl::sql("channels.status NOT IN ('closed_coop', 'closed_uncoop')");
    channels::table.filter(unclosed).order(channels::created_at).select(channels::id)
}

/// Lists channels, the newest first, at most `limit`.
pub async fn list(conn: &mut Conn, limit: u32) -> Result<Vec<Channel>, StoreError> {
    let query =
        channels::table.order(channels::created_at.desc()).limit(limit.into()).select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(TryInto::try_into).collect()
}

fn found(channel: ChannelId, changed: usize) -> Result<(), StoreError> {
    if changed == 0 { Err(StoreError::NoSuchChannel(channel)) } else { Ok(()) }
}
