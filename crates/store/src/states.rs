//! What is decided about a channel: the [`State`] of one side, loaded and saved as one value.
//!
//! A decision reads the state, and is stored once: [`save`] adds one to the row's revision, and stores nothing where another
//! decision came first. The chain, the vouchers, the use and the ceiling stay where they are; what this side did itself is one
//! value of JSON.
//!
//! Generic over both sides, since they differ in what they store only by types of [`privatix_market`].

mod due;
mod pages;
mod unreadable;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_billing::Terms;
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, OfferingHash, SignedVoucher, Usage, Voucher, VoucherSignature,
};
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use privatix_db::{Conn, on};
use privatix_market::{Book, Meter, Party, State, Uptime};
use serde::{Deserialize, Serialize};

pub use due::Due;
pub(crate) use due::{milliseconds, seconds};
pub use pages::{PAGE, due_by_chain, due_by_uptime, next, not_final, without};
pub use unreadable::Unreadable;

use self::due::Times;
pub(crate) use self::unreadable::unless_damaged;
use crate::columns::{from_json, id, to_amount, to_json, unsigned};
use crate::schema;
use crate::schema::{channel_states, channels};
use crate::{StoreError, ceilings, fold, vouchers};

/// The form of what is stored as JSON. A field more, with a default, is the same form.
const SCHEMA: i32 = 1;

/// A part of a channel's life that can be decided from its state. The other parts are decided elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifePart {
    /// Whether it is opened or served at all.
    Opening,
    /// What its service should do.
    Service,
    /// Its closes and settlements, disputes included.
    Settlement,
    /// Additions to its deposit.
    TopUp,
    /// Its end.
    Ending,
    /// Access to its service.
    Access,
}

impl LifePart {
    /// Every part.
    pub fn all() -> BTreeSet<Self> {
        let parts = [Self::Opening, Self::Service, Self::Settlement, Self::TopUp, Self::Ending, Self::Access];
        BTreeSet::from(parts)
    }
}

/// The state of a channel with what its row says beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored<P: Party> {
    /// The state. Whether the blocks of its transactions were [seen](State::mined) is not filled in.
    pub state: State<P>,
    /// How often it was stored. A later one has a higher revision.
    pub revision: u64,
    /// The parts that are decided from it.
    pub adopted: BTreeSet<LifePart>,
    /// When it is to be looked at.
    pub due: Due,
    /// The amount of a voucher that is stored and cannot be read: see [`Env::damaged_voucher`](privatix_market::Env::damaged_voucher).
    pub damaged_voucher: Option<Amount>,
    /// The channel's voucher, if there is one that can be read. Its signature is not checked.
    pub voucher: Option<SignedVoucher>,
    /// When the channel's voucher was stored, if there is one.
    pub newest_voucher: Option<SystemTime>,
    /// The channel's [ceiling](crate::ceilings).
    ceiling: Option<Amount>,
}

/// What is stored of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded<P: Party> {
    /// All of it can be read.
    Whole(Box<Stored<P>>),
    /// Something cannot be read. Nothing is decided about the channel until it was repaired.
    Damaged(Unreadable),
}

/// What became of a [`save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a state that was not saved must be decided again"]
pub enum Saved {
    /// The state is stored as of this revision: the one before if nothing differs.
    Revision(u64),
    /// Another decision was stored meanwhile, and nothing of this one: load the state, and decide again.
    Moved,
}

/// The state of a channel; `None` where there is none yet, or no channel.
///
/// Reads a row of each table by its key.
///
/// # Errors
/// [`StoreError::Db`]. What cannot be read of the channel is no error, as it must not stop what is done about others.
pub async fn load<P: Party>(conn: &mut Conn, channel: ChannelId) -> Result<Option<Loaded<P>>, StoreError> {
    let row = match unless_damaged(find(conn, channel).await)? {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(None),
        Err(reason) => return Ok(Some(Loaded::Damaged(Unreadable::Row { reason }))),
    };
    Ok(Some(match row.read::<P>(conn, channel).await? {
        Ok(stored) => Loaded::Whole(Box::new(stored)),
        Err(unreadable) => Loaded::Damaged(unreadable),
    }))
}

/// Whether a channel is decided from a stored state.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn is_stored(conn: &mut Conn, channel: ChannelId) -> Result<bool, StoreError> {
    let query = channel_states::table.find(id(channel)).select(channel_states::revision);
    let revision: Option<i64> = on!(conn, |c| query.first(c).await.optional())?;
    Ok(revision.is_some())
}

type Descriptor = (Addr, Addr, Bytes32, i64, Addr);
type Own = (i32, i64, String, String, Option<String>);
type VoucherRow = (Amount128, Vec<u8>, Amount128, Micros);

#[derive(Queryable)]
struct Row {
    descriptor: Descriptor,
    fold: (i32, Option<String>),
    own: Own,
    meter: (i64, Option<i64>),
    times: Times,
    voucher: Option<VoucherRow>,
    ceiling: Option<Amount128>,
    used: Option<i64>,
}

async fn find(conn: &mut Conn, channel: ChannelId) -> Result<Option<Row>, StoreError> {
    let query = channels::table
        .inner_join(channel_states::table.on(channel_states::channel.eq(channels::id)))
        .left_join(schema::vouchers::table.on(schema::vouchers::channel.eq(channels::id)))
        .left_join(schema::ceilings::table.on(schema::ceilings::channel.eq(channels::id)))
        .left_join(schema::meters::table.on(schema::meters::channel.eq(channels::id)))
        .filter(channels::id.eq(id(channel)))
        .select((
            (channels::client, channels::agent, channels::offering, channels::nonce, channels::signer),
            (channels::fold_version, channels::fold),
            (
                channel_states::schema,
                channel_states::revision,
                channel_states::adopted,
                channel_states::own,
                channel_states::terms,
            ),
            (channel_states::used_at, channel_states::running_since),
            (channel_states::wake_at, channel_states::wake_chain, channel_states::is_final),
            (
                schema::vouchers::cumulative,
                schema::vouchers::signature,
                schema::vouchers::acknowledged,
                schema::vouchers::updated_at,
            )
                .nullable(),
            schema::ceilings::amount.nullable(),
            schema::meters::used.nullable(),
        ));
    Ok(on!(conn, |c| query.first(c).await.optional())?)
}

impl Row {
    async fn read<P: Party>(
        self,
        conn: &mut Conn,
        channel: ChannelId,
    ) -> Result<Result<Stored<P>, Unreadable>, StoreError> {
        let (schema, revision, adopted, own, terms) = self.own;
        if schema != SCHEMA {
            return Ok(Err(Unreadable::Schema { found: schema, known: SCHEMA }));
        }
        let parsed = (|| {
            let reason = |error: StoreError| error.to_string();
            let own = from_json::<P::Own>("own state", &own)
                .map_err(|error| Unreadable::Own { reason: reason(error) })?;
            let terms = terms.map(|terms| from_json::<Terms>("terms", &terms)).transpose();
            let terms = terms.map_err(|error| Unreadable::Terms { reason: reason(error) })?;
            let row = || -> Result<_, StoreError> {
                let meter = (uptime(self.meter.0)?, self.meter.1.map(uptime).transpose()?);
                Ok((unsigned("revision", revision)?, from_json("adopted parts", &adopted)?, meter))
            };
            let row = row().map_err(|error| Unreadable::Row { reason: reason(error) })?;
            Ok((own, terms, row, self.times.read()?))
        })();
        let (own, terms, (revision, adopted, (last, running)), due) = match parsed {
            Ok(parsed) => parsed,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        let fold = fold::stored(self.fold.0, self.fold.1.as_deref());
        let chain = match unless_damaged(crate::channels::fold_or_replay(conn, channel, fold).await)? {
            Ok(chain) => chain,
            Err(reason) => return Ok(Err(Unreadable::Events { reason })),
        };
        let used = match unsigned("usage", self.used.unwrap_or_default()) {
            Ok(used) => Usage::new(used),
            Err(error) => return Ok(Err(Unreadable::Usage { reason: error.to_string() })),
        };
        let (client, agent, offering, nonce, signer) = self.descriptor;
        let descriptor = ChannelDescriptor {
            client: client.bytes().into(),
            agent: agent.bytes().into(),
            offering: OfferingHash::new(offering.bytes().into()),
            nonce: nonce.cast_unsigned(),
            signer: signer.bytes().into(),
        };
        let newest_voucher = self.voucher.as_ref().map(|(.., stored_at)| (*stored_at).into());
        let (book, damaged_voucher, signature) = book(self.voucher);
        let voucher = signature.map(|signature| {
            let voucher = Voucher { channel, cumulative: book.best };
            SignedVoucher { voucher, signature }
        });
        let mut state = State::with(channel, descriptor, own);
        (state.chain, state.book, state.terms) = (chain, book, terms.map(Arc::new));
        state.meter = Meter { used, last, running };
        let ceiling = self.ceiling.map(to_amount);
        Ok(Ok(Stored { state, revision, adopted, due, damaged_voucher, voucher, newest_voucher, ceiling }))
    }
}

/// What the row of a voucher comes to, the amount of one that cannot be read, and the signature. One that cannot be read does not
/// count: the channel must not be closed without it, and that is for the decision to see.
fn book(voucher: Option<VoucherRow>) -> (Book, Option<Amount>, Option<VoucherSignature>) {
    let Some((cumulative, signature, acknowledged, _)) = voucher else {
        return (Book::default(), None, None);
    };
    let (cumulative, acknowledged) = (to_amount(cumulative), to_amount(acknowledged));
    match VoucherSignature::from_bytes(&signature) {
        Ok(signature) => (Book { best: cumulative, acknowledged }, None, Some(signature)),
        Err(_) => (Book { best: Amount::ZERO, acknowledged }, Some(cumulative), None),
    }
}

/// Stores the first state of a channel, with the parts that are decided from it. Returns whether there was none before;
/// otherwise nothing changes.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn create<P: Party>(
    conn: &mut Conn,
    state: &State<P>,
    adopted: &BTreeSet<LifePart>,
    due: Due,
) -> Result<bool, StoreError> {
    let row = (
        channel_states::channel.eq(id(state.id)),
        channel_states::revision.eq(1),
        channel_states::adopted.eq(to_json("adopted parts", adopted)?),
        columns(state, due)?,
    );
    let insert = diesel::insert_into(channel_states::table).values(row).on_conflict_do_nothing();
    let is_new = on!(&mut *conn, |c| insert.execute(c).await)? > 0;
    if is_new && adopted.contains(&LifePart::Settlement) {
        ceilings::set(conn, state.id, P::ceiling(state)).await?;
    }
    Ok(is_new)
}

/// Stores what a decision came to, once for all its inputs: if anything differs from what was loaded, and nobody stored another
/// decision meanwhile. With it go what is acknowledged of the voucher, and the [ceiling](crate::ceilings), if the settlement is
/// decided from the state.
///
/// The voucher itself, what was used and the events are stored by those who take them in.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn save<P: Party>(
    conn: &mut Conn,
    before: &Stored<P>,
    after: &State<P>,
    due: Due,
) -> Result<Saved, StoreError> {
    let ceiling =
        if before.adopted.contains(&LifePart::Settlement) { P::ceiling(after) } else { before.ceiling };
    let clock = |meter: &Meter| (meter.last, meter.running);
    let differs = before.state.own != after.own
        || before.state.terms != after.terms
        // What is stored elsewhere, and changes what the state comes to: a view in memory takes a higher revision only.
        || before.state.chain != after.chain
        || clock(&before.state.meter) != clock(&after.meter)
        || Times::of(before.due) != Times::of(due)
        || before.ceiling != ceiling
        || before.state.book.acknowledged != after.book.acknowledged;
    if !differs {
        return Ok(Saved::Revision(before.revision));
    }
    let next = before.revision.saturating_add(1);
    let revision = |revision| crate::columns::signed("revision", revision);
    let mine = channel_states::table.find(id(after.id));
    let update = diesel::update(mine.filter(channel_states::revision.eq(revision(before.revision)?)))
        .set((channel_states::revision.eq(revision(next)?), columns(after, due)?));
    if on!(&mut *conn, |c| update.execute(c).await)? == 0 {
        return Ok(Saved::Moved);
    }
    if before.ceiling != ceiling {
        ceilings::set(conn, after.id, ceiling).await?;
    }
    if before.state.book.acknowledged != after.book.acknowledged {
        vouchers::acknowledge(conn, after.id, after.book.acknowledged).await?;
    }
    Ok(Saved::Revision(next))
}

/// The columns that a decision changes.
#[derive(AsChangeset, Insertable)]
#[diesel(table_name = channel_states, treat_none_as_null = true)]
struct Columns {
    schema: i32,
    own: String,
    terms: Option<String>,
    used_at: i64,
    running_since: Option<i64>,
    wake_at: Option<i64>,
    wake_chain: Option<i64>,
    is_final: bool,
}

fn columns<P: Party>(state: &State<P>, due: Due) -> Result<Columns, StoreError> {
    let Times(wake_at, wake_chain, is_final) = Times::of(due);
    Ok(Columns {
        schema: SCHEMA,
        own: to_json("own state", &state.own)?,
        terms: state.terms.as_deref().map(|terms| to_json("terms", terms)).transpose()?,
        used_at: due::milliseconds(state.meter.last),
        running_since: state.meter.running.map(due::milliseconds),
        wake_at,
        wake_chain,
        is_final,
    })
}

fn uptime(milliseconds: i64) -> Result<Uptime, StoreError> {
    unsigned("uptime", milliseconds).map(Uptime::new)
}
