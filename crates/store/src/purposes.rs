//! What each transaction is for.
//!
//! A row is written in the transaction that stores the transaction, so none is without one; a batch has one for each of its
//! channels. What SQL compares is a column; the purpose itself is one value.

use alloy::primitives::{Address, B256};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{ChannelId, OfferingHash};
use privatix_db::{Conn, on};
use privatix_market::{EffectId, Purpose, Subject};

use crate::StoreError;
use crate::columns::{from_json, narrow, to_json};
use crate::schema::purposes;

/// A transaction, by the number that the transactor gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxNumber(pub i64);

/// A job, by the number that its queue gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobNumber(pub i64);

/// What is recorded of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The transaction.
    pub tx: TxNumber,
    /// Its subject, and its number among the effects of that.
    pub effect: EffectId,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether its call takes tokens from the wallet, or changes what may be taken from it.
    pub from_wallet: bool,
    /// The job that made it.
    pub job: Option<JobNumber>,
    /// Whether it is a batch, which may have effects of other channels, too.
    pub in_batch: bool,
}

/// What is recorded of a transaction, and cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// What it is about; `None` if that cannot be read either.
    pub subject: Option<Subject>,
    /// What is wrong: [`StoreError::Corrupt`].
    pub error: StoreError,
}

/// What queries about many transactions need of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The transaction. A batch has several.
    pub tx: TxNumber,
    /// What it is about; `None` if that cannot be read.
    pub subject: Option<Subject>,
    /// As in [`Recorded`].
    pub from_wallet: bool,
}

/// The next effect of a subject that no transaction was recorded for. Numbers begin at 1.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for a number out of range.
pub async fn next_effect(conn: &mut Conn, subject: Subject) -> Result<EffectId, StoreError> {
    let last = i64::from(last_number(conn, subject).await?);
    let seq = narrow("number of an effect", last.saturating_add(1))?;
    Ok(EffectId { subject, seq })
}

/// The highest number of a subject's effects that a transaction was recorded for; 0 without one. The state of a new channel goes on
/// from it: a number is one effect, for ever.
///
/// # Errors
/// As [`next_effect`].
pub async fn last_number(conn: &mut Conn, subject: Subject) -> Result<u32, StoreError> {
    let (kind, id) = columns(&subject)?;
    let of_subject = purposes::table.filter(purposes::subject_kind.eq(kind)).filter(purposes::subject.eq(id));
    let highest = of_subject.select(diesel::dsl::max(purposes::seq));
    let highest: Option<i64> = on!(conn, |c| highest.first(c).await)?;
    narrow("number of an effect", highest.unwrap_or_default())
}

/// Records a transaction, or a row of a batch. What was recorded of it for this subject before stays.
///
/// # Errors
/// [`StoreError::Db`], also where another transaction has this effect; [`StoreError::Corrupt`] for a kind of subject that this
/// crate does not know.
pub async fn record(conn: &mut Conn, recorded: &Recorded) -> Result<(), StoreError> {
    let (kind, id) = columns(&recorded.effect.subject)?;
    let row = (
        purposes::tx.eq(recorded.tx.0),
        purposes::subject_kind.eq(kind),
        purposes::subject.eq(id),
        purposes::seq.eq(i64::from(recorded.effect.seq)),
        purposes::purpose.eq(to_json("purpose", &recorded.purpose)?),
        purposes::from_wallet.eq(recorded.from_wallet),
        purposes::job.eq(recorded.job.map(|job| job.0)),
        purposes::batch.eq(recorded.in_batch),
    );
    let insert = diesel::insert_into(purposes::table)
        .values(row)
        .on_conflict((purposes::tx, purposes::subject_kind, purposes::subject))
        .do_nothing();
    on!(conn, |c| insert.execute(c).await)?;
    Ok(())
}

/// What is recorded of a transaction: of a batch, each of its rows. Empty where nothing is. A row that cannot be read keeps no
/// other from being read.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn of_tx(conn: &mut Conn, tx: TxNumber) -> Result<Vec<Result<Recorded, Damaged>>, StoreError> {
    let query = purposes::table
        .filter(purposes::tx.eq(tx.0))
        .order((purposes::subject_kind, purposes::subject))
        .select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    let read = |row: Row| {
        let subject = subject(&row.subject_kind, &row.subject).ok();
        row.read().map_err(|error| Damaged { subject, error })
    };
    Ok(rows.into_iter().map(read).collect())
}

/// What is recorded of the transaction of an effect; `None` where the effect has none.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn of_effect(conn: &mut Conn, effect: EffectId) -> Result<Option<Recorded>, StoreError> {
    let (kind, id) = columns(&effect.subject)?;
    let query = purposes::table
        .filter(purposes::subject_kind.eq(kind))
        .filter(purposes::subject.eq(id))
        .filter(purposes::seq.eq(i64::from(effect.seq)))
        .select(Row::as_select());
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(Row::read).transpose()
}

/// All transactions about a subject, the newest effect first.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] if one of them cannot be read.
pub async fn of_subject(conn: &mut Conn, subject: Subject) -> Result<Vec<Recorded>, StoreError> {
    let (kind, id) = columns(&subject)?;
    let query = purposes::table
        .filter(purposes::subject_kind.eq(kind))
        .filter(purposes::subject.eq(id))
        .order(purposes::seq.desc())
        .select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(Row::read).collect()
}

/// All transactions that a job made, the newest first, whatever else is recorded of them.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn of_job(conn: &mut Conn, job: JobNumber) -> Result<Vec<TxNumber>, StoreError> {
    let query =
        purposes::table.filter(purposes::job.eq(job.0)).order(purposes::tx.desc()).select(purposes::tx);
    let mut found: Vec<i64> = on!(conn, |c| query.load(c).await)?;
    found.dedup(); // the rows of a batch
    Ok(found.into_iter().map(TxNumber).collect())
}

/// How many transactions one select asks for.
const MOST: usize = 512;

/// What is recorded of these transactions, in short: of a batch, each of its rows. Those of which nothing is recorded are left
/// out; one that is damaged keeps no other from being read.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn outlines(conn: &mut Conn, txs: &[TxNumber]) -> Result<Vec<Outline>, StoreError> {
    let mut found = Vec::new();
    for some in txs.chunks(MOST) {
        let query = purposes::table.filter(purposes::tx.eq_any(some.iter().map(|tx| tx.0))).select((
            purposes::tx,
            purposes::subject_kind,
            purposes::subject,
            purposes::from_wallet,
        ));
        let rows: Vec<(i64, String, Vec<u8>, bool)> = on!(&mut *conn, |c| query.load(c).await)?;
        found.extend(rows.into_iter().map(|(tx, kind, id, from_wallet)| Outline {
            tx: TxNumber(tx),
            subject: subject(&kind, &id).ok(),
            from_wallet,
        }));
    }
    Ok(found)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = purposes)]
struct Row {
    tx: i64,
    subject_kind: String,
    subject: Vec<u8>,
    seq: i64,
    purpose: String,
    from_wallet: bool,
    job: Option<i64>,
    batch: bool,
}

impl Row {
    fn read(self) -> Result<Recorded, StoreError> {
        Ok(Recorded {
            tx: TxNumber(self.tx),
            effect: EffectId {
                subject: subject(&self.subject_kind, &self.subject)?,
                seq: narrow("number of an effect", self.seq)?,
            },
            purpose: from_json("purpose", &self.purpose)?,
            from_wallet: self.from_wallet,
            job: self.job.map(JobNumber),
            in_batch: self.batch,
        })
    }
}

const CHANNEL: &str = "channel";
const OFFERING: &str = "offering";
const ACCOUNT: &str = "account";

/// The kind of a subject and its id.
pub(crate) fn columns(subject: &Subject) -> Result<(&'static str, Vec<u8>), StoreError> {
    Ok(match subject {
        Subject::Channel(id) => (CHANNEL, id.as_b256().to_vec()),
        Subject::Offering(agent, hash) => (OFFERING, [agent.as_slice(), hash.as_b256().as_slice()].concat()),
        Subject::Account(address) => (ACCOUNT, address.to_vec()),
        other => return Err(corrupt(format!("{other} is of no kind that is stored"))),
    })
}

pub(crate) fn subject(kind: &str, id: &[u8]) -> Result<Subject, StoreError> {
    let channel = || Some(Subject::Channel(ChannelId::new(B256::try_from(id).ok()?)));
    let offering = || {
        let (agent, hash) = id.split_at_checked(Address::len_bytes())?;
        let hash = OfferingHash::new(B256::try_from(hash).ok()?);
        Some(Subject::Offering(Address::try_from(agent).ok()?, hash))
    };
    let account = || Some(Subject::Account(Address::try_from(id).ok()?));
    let read = match kind {
        CHANNEL => channel(),
        OFFERING => offering(),
        ACCOUNT => account(),
        _ => None,
    };
    read.ok_or_else(|| corrupt(format!("{kind} of {} bytes", id.len())))
}

fn corrupt(reason: String) -> StoreError {
    StoreError::Corrupt { what: "subject of a transaction", reason }
}
