//! The on-chain part of offerings, event by event.

use std::collections::BTreeMap;
use std::time::SystemTime;

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;
use privatix_channel::{
    ChainEvent, FOLD_RULES, Fold, Joining, KeptOffering, LogPosition, OfferingFold, OfferingHash,
    OfferingOnChain, OfferingStatus,
};
use privatix_db::types::{Addr, Bytes32, Micros};
use privatix_db::{Conn, on};
use privatix_market::offering::{Announcement, Presence, Retracted, Shown, Source};

use crate::StoreError;
use crate::columns::{hash, signed};
use crate::events::{self, Place};
use crate::fold;
use crate::identity::Role;
use crate::schema::{identity, offering_states, offerings};
use crate::snapshots::{self, Subject};
use crate::statement::{Statement, Value, inserts};

type Key = (Address, OfferingHash);

/// An offering that is in the database, and how far it is folded.
#[derive(Debug)]
struct Stored {
    is_there: bool,
    created_at: SystemTime,
    /// None if it was not folded by these rules yet.
    fold: Option<Fold<OfferingFold>>,
}

impl Default for Stored {
    fn default() -> Self {
        let created_at = SystemTime::UNIX_EPOCH;
        Self { is_there: false, created_at, fold: None }
    }
}

impl Stored {
    /// What is kept of its events, without the fold from then on.
    fn kept(&mut self) -> KeptOffering {
        match (self.is_there, self.fold.take()) {
            (false, _) => KeptOffering::Nothing,
            (true, None) => KeptOffering::Unfolded,
            (true, Some(fold)) => KeptOffering::Folded(fold),
        }
    }
}

/// Takes in all the events that were just stored, in chain order: brings the on-chain part of their offerings up to date, each
/// once. Later events may have been taken in already.
pub async fn advance_all(conn: &mut Conn, events: &[(Place, ChainEvent)]) -> Result<(), StoreError> {
    let mut touched: BTreeMap<Key, Vec<(LogPosition, &ChainEvent)>> = BTreeMap::new();
    for (place, event) in events {
        if let Some(key) = event.offering() {
            touched.entry(key).or_default().push((place.at, event));
        }
    }
    let keys: Vec<Key> = touched.keys().copied().collect();
    let mut stored = load(conn, &keys).await?;
    let last = events.last().map(|(place, _)| place.at);
    let are_late = !keys.is_empty() && events::newest(conn).await? > last;
    let mut changed = Vec::with_capacity(keys.len());
    let mut stale = Vec::new();
    for (key, news) in touched {
        let mut offering = stored.remove(&key).unwrap_or_default();
        let subject = Subject::Offering(key.0, key.1);
        let shown = offering.fold.as_ref().and_then(|fold| fold.state.state.clone());
        let fold = match Joining::of(offering.kept(), &news, are_late) {
            Joining::Nothing => continue,
            Joining::After(mut fold) => {
                for (at, event) in news {
                    fold.state.take(at, event);
                    if fold.took(at) {
                        snapshots::keep(conn, subject, at, &fold.state).await?;
                    }
                }
                fold
            }
            Joining::Before(fold) => {
                stale.push(subject);
                fold
            }
            Joining::Again { from } => {
                snapshots::forget_from(conn, subject, from).await?;
                replay(conn, subject, Snapshots::Kept).await?
            }
        };
        if offering.is_there || fold.state.state.is_some() {
            changed.push(Changed { key, shown, fold });
        }
    }
    snapshots::forget(conn, &stale).await?;
    store(conn, changed).await
}

/// An offering that is to be stored.
struct Changed {
    key: Key,
    /// Its on-chain part as its row shows it, if that is known.
    shown: Option<OfferingOnChain>,
    fold: Fold<OfferingFold>,
}

/// What a replay does with snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshots {
    /// It begins at the last one, and stores further ones.
    Kept,
    /// It begins at the first event, and stores none.
    Without,
}

/// Folds the stored events.
async fn replay(
    conn: &mut Conn,
    subject: Subject,
    with: Snapshots,
) -> Result<Fold<OfferingFold>, StoreError> {
    let newest = match with {
        Snapshots::Kept => snapshots::newest::<OfferingFold>(conn, subject).await?,
        Snapshots::Without => None,
    };
    let (last, state) = newest.unzip();
    let mut fold = Fold { state: state.unwrap_or_default(), last, since: 0 };
    loop {
        let page = events::page(conn, subject, fold.last, None).await?;
        for (place, event) in &page {
            fold.state.take(place.at, event);
            if fold.took(place.at) && with == Snapshots::Kept {
                snapshots::keep(conn, subject, place.at, &fold.state).await?;
            }
        }
        if page.len() < fold::PAGE {
            return Ok(fold);
        }
    }
}

/// What the chain shows of these offerings, of those that are stored.
///
/// # Errors
/// [`StoreError::Corrupt`] for events that cannot be read.
pub async fn shown_of(conn: &mut Conn, offerings: &[Key]) -> Result<BTreeMap<Key, Shown>, StoreError> {
    let mut all = BTreeMap::new();
    for (key, stored) in load(conn, offerings).await? {
        all.insert(key, shown(conn, key, stored.fold, stored.created_at).await?);
    }
    Ok(all)
}

/// What the chain shows of an offering, by its stored fold or, without a usable one, by its events. An announcement that an earlier
/// version stored without its time counts as made when the offering was first stored here, at `created_at`.
pub(crate) async fn shown(
    conn: &mut Conn,
    (agent, offering): Key,
    stored: Option<Fold<OfferingFold>>,
    created_at: SystemTime,
) -> Result<Shown, StoreError> {
    let fold = match stored {
        Some(fold) => fold,
        None => replay(conn, Subject::Offering(agent, offering), Snapshots::Without).await?,
    };
    let Some(state) = fold.state.state else { return Ok(Shown::default()) };
    let presence = if state.status.is_on_market() { Presence::OnMarket } else { Presence::Removed };
    let source = Source { kind: state.announcement.source_type, address: state.announcement.source };
    let at = state.announced_time.unwrap_or_else(|| created_at.into());
    Ok(Shown { presence, announced: Some(Announcement { block: state.announced_at, at, source }) })
}

/// The status that the chain shows of an offering; `None` without an announcement.
pub(super) async fn status(
    conn: &mut Conn,
    (agent, offering): Key,
) -> Result<Option<OfferingStatus>, StoreError> {
    let key = (agent, offering);
    let stored = load(conn, &[key]).await?.remove(&key).ok_or(StoreError::NoSuchOffering(offering))?;
    let fold = match stored.fold {
        Some(fold) => fold,
        None => replay(conn, Subject::Offering(agent, offering), Snapshots::Without).await?,
    };
    Ok(fold.state.state.map(|state| state.status))
}

/// Brings an offering's on-chain part in line with its stored events, after some were undone or a step of ours has failed.
/// Without events, a foreign offering disappears with its [state](crate::offering_states), and one of our own is a draft again.
pub async fn refold(conn: &mut Conn, agent: Address, offering: OfferingHash) -> Result<(), StoreError> {
    let key = (agent, offering);
    let Some(mut stored) = load(conn, &[key]).await?.remove(&key) else { return Ok(()) };
    let subject = Subject::Offering(agent, offering);
    if stored.fold.take().is_none() {
        snapshots::forget_from(conn, subject, None).await?;
    }
    let fold = replay(conn, subject, Snapshots::Kept).await?;
    if fold.state.state.is_none() {
        retract(conn, (Addr::from(agent), hash(offering))).await?;
    }
    store(conn, vec![Changed { key, shown: None, fold }]).await
}

type Columns = (Binary, Binary, BigInt, Integer, Nullable<Text>);
type Row = (Addr, Bytes32, Micros, i32, Option<String>);

/// How many offerings a statement looks up.
const AT_ONCE: usize = 100;

async fn load(conn: &mut Conn, keys: &[Key]) -> Result<BTreeMap<Key, Stored>, StoreError> {
    let mut found = BTreeMap::new();
    for some in keys.chunks(AT_ONCE) {
        let query = with_keys(some);
        let rows: Vec<Row> = on!(&mut *conn, |c| query.load(c).await)?;
        for (agent, hash, created_at, version, text) in rows {
            let key = (agent.bytes().into(), OfferingHash::new(hash.bytes().into()));
            let stored = Stored {
                is_there: true,
                created_at: created_at.into(),
                fold: fold::stored(version, text.as_deref()),
            };
            found.insert(key, stored);
        }
    }
    Ok(found)
}

/// The offerings with at most [`AT_ONCE`] keys: in a statement of the same text, so that it is prepared once.
fn with_keys(keys: &[Key]) -> Statement<Columns> {
    let some = if keys.len() == 1 { 1 } else { AT_ONCE };
    let padded = keys.iter().chain(keys.iter().cycle()).take(some);
    let values: Vec<Value> = padded
        .flat_map(|(agent, hash)| [agent.as_slice().into(), hash.as_b256().as_slice().into()])
        .collect();
    let sql = format!(
        "SELECT agent, hash, created_at, fold_version, fold FROM offerings \
         WHERE (agent, hash) IN (VALUES {})",
        vec!["(?, ?)"; some].join(", ")
    );
    Statement::new(sql, values)
}

/// Stores the on-chain part of offerings. Of an offering without an announcement, only how far it is folded.
async fn store(conn: &mut Conn, offerings: Vec<Changed>) -> Result<(), StoreError> {
    let (mut announced, mut taken) = (Vec::new(), Vec::new());
    for Changed { key, shown, fold } in offerings {
        let Some(state) = &fold.state.state else {
            let update = diesel::update(offerings::table.find((Addr::from(key.0), hash(key.1))))
                .set((offerings::fold_version.eq(FOLD_RULES), offerings::fold.eq(fold::text(&fold)?)));
            on!(&mut *conn, |c| update.execute(c).await)?;
            continue;
        };
        let announcement = &state.announcement;
        let Micros(now) = Micros::now();
        let row = vec![
            key.0.as_slice().into(),
            key.1.as_b256().as_slice().into(),
            Value::Text(state.status.as_str().to_owned()),
            announcement.min_deposit.get().to_be_bytes().as_slice().into(),
            i64::from(announcement.supply).into(),
            i64::from(state.free).into(),
            i64::from(announcement.source_type).into(),
            Value::Text(announcement.source.clone()),
            signed("block", state.announced_at)?.into(),
            now.into(),
            i64::from(announcement.fee.get()).into(),
            i64::from(FOLD_RULES).into(),
            Value::Text(fold::text(&fold)?),
        ];
        // An own one may be shown with a transaction under way: that stays.
        let only_places = shown.is_some_and(|shown| state.differs_in_places_only(&shown));
        if only_places { &mut taken } else { &mut announced }.push(row);
    }
    let head = "INSERT INTO offerings (agent, hash, status, min_deposit, supply, free_supply, source_type, \
                source, announced_at, created_at, fee, fold_version, fold) VALUES";
    let all = "ON CONFLICT (agent, hash) DO UPDATE SET status = excluded.status, \
               min_deposit = excluded.min_deposit, supply = excluded.supply, \
               free_supply = excluded.free_supply, source_type = excluded.source_type, \
               source = excluded.source, announced_at = excluded.announced_at, fee = excluded.fee, \
               fold_version = excluded.fold_version, fold = excluded.fold";
    // Each column that is set costs the indexes that it is in, also where it stays the same.
    let places = "ON CONFLICT (agent, hash) DO UPDATE SET supply = excluded.supply, \
                  free_supply = excluded.free_supply, fold_version = excluded.fold_version, fold = excluded.fold";
    for upsert in inserts(head, announced, all).into_iter().chain(inserts(head, taken, places)) {
        on!(&mut *conn, |c| upsert.execute(c).await)?;
    }
    Ok(())
}

/// The chain no longer shows an offering.
async fn retract(conn: &mut Conn, key: (Addr, Bytes32)) -> Result<(), StoreError> {
    let agents = identity::table.filter(identity::role.eq(Role::Agent.as_str())).select(identity::account);
    let us: Option<Addr> = on!(&mut *conn, |c| agents.first(c).await.optional())?;
    let row = offerings::table.find(key);
    let has_message = row.select(offerings::message.is_not_null());
    let has_message: Option<bool> = on!(&mut *conn, |c| has_message.first(c).await.optional())?;
    match Retracted::of(us == Some(key.0), has_message.unwrap_or_default()) {
        gone @ (Retracted::Forgotten | Retracted::Unlisted) => {
            on!(&mut *conn, |c| diesel::delete(row).execute(c).await)?;
            if gone == Retracted::Forgotten {
                on!(conn, |c| diesel::delete(offering_states::table.find(key)).execute(c).await)?;
            }
        }
        Retracted::Draft => {
            let announced = row.filter(offerings::announced_at.is_not_null());
            let draft = diesel::update(announced).set((
                offerings::status.eq(OfferingStatus::Draft.as_str()),
                offerings::free_supply.eq(offerings::supply),
                offerings::announced_at.eq(None::<i64>),
            ));
            on!(conn, |c| draft.execute(c).await)?;
        }
    }
    Ok(())
}
