use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use parking_lot::Mutex;
use privatix_chain::{
    Endpoints, Finality, Intent, Keyring, SinkError, Transactor, TransactorBuilder, TxChange, TxId, TxRecord,
    TxSink, TxStatus,
};
use privatix_db::{Conn, Database, on};
use privatix_testkit::Anvil;
use tokio::sync::broadcast::error::RecvError;

use super::{BACKOFF, POLL, within};

diesel::table! {
    outcome (id) { id -> BigInt, tx -> BigInt, status -> Text, failure -> Nullable<Text>, }
}

/// Writes outcomes into a table.
#[derive(Clone, Default)]
pub struct Outcomes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    refused: Mutex<u32>,
    refuse: Mutex<Option<String>>,
    committed: Mutex<Vec<(TxId, TxChange)>>,
    changes: Mutex<Vec<(TxId, TxChange)>>,
    own: Mutex<Vec<(TxId, TxChange)>>,
}

/// The intent, how it ended, and why if it failed.
pub type Outcome = (TxId, TxStatus, Option<String>);

impl Outcomes {
    /// Fails for the intent of this key from now on, after having written its outcome.
    pub fn refuse(&self, key: Option<&str>) {
        *self.0.refuse.lock() = key.map(str::to_owned);
    }

    /// How often it has failed.
    pub fn refused(&self) -> u32 {
        *self.0.refused.lock()
    }

    /// All calls, in order, those that were rolled back included.
    pub fn changes(&self) -> Vec<(TxId, TxChange)> {
        self.0.changes.lock().clone()
    }

    /// All calls about what the transactor made by itself.
    pub fn own_changes(&self) -> Vec<(TxId, TxChange)> {
        self.0.own.lock().clone()
    }

    /// All changes whose commit was reported, in order, those of what the transactor made by itself included.
    pub fn committed(&self) -> Vec<(TxId, TxChange)> {
        self.0.committed.lock().clone()
    }

    /// All rows, in the order in which they were written.
    pub async fn rows(db: &Database) -> Vec<Outcome> {
        let mut conn = db.read().await.unwrap();
        let rows: Vec<(i64, String, Option<String>)> = on!(&mut *conn, |c| {
            outcome::table
                .order(outcome::id)
                .select((outcome::tx, outcome::status, outcome::failure))
                .load(c)
                .await
        })
        .unwrap();
        rows.into_iter().map(|(tx, status, failure)| (TxId(tx), status.parse().unwrap(), failure)).collect()
    }
}

#[async_trait]
impl TxSink for Outcomes {
    type Applied = (TxId, TxChange);

    async fn changed(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<Self::Applied, SinkError> {
        self.0.changes.lock().push((record.id, change));
        if matches!(change, TxChange::Final | TxChange::Reinstated) {
            return Ok((record.id, change));
        }
        let row = (
            outcome::tx.eq(record.id.0),
            outcome::status.eq(record.status.as_str()),
            outcome::failure.eq(&record.failure),
        );
        on!(conn, |c| diesel::insert_into(outcome::table).values(row).execute(c).await)?;
        if self.0.refuse.lock().as_ref() == Some(&record.intent.key) {
            *self.0.refused.lock() += 1;
            return Err(SinkError::new("the test refuses"));
        }
        Ok((record.id, change))
    }

    fn changed_own(&self, record: &TxRecord, change: TxChange) -> Option<Self::Applied> {
        self.0.own.lock().push((record.id, change));
        Some((record.id, change))
    }

    fn committed(&self, change: Self::Applied) {
        self.0.committed.lock().push(change);
    }
}

/// The node's funded accounts of these numbers.
pub fn keys(anvil: &Anvil, accounts: impl IntoIterator<Item = usize>) -> Keyring {
    Keyring::new(accounts.into_iter().map(|account| anvil.key(account)))
}

/// A transactor for the accounts 1 to 5, whose outcomes are final at once.
pub fn transactor(db: &Database, endpoints: impl Into<Endpoints>, anvil: &Anvil) -> TransactorBuilder {
    Transactor::builder(db.clone(), endpoints, anvil.chain_id(), keys(anvil, 1..=5))
        .confirmations(0)
        .finality(Finality::Depth(0))
        .revert_patience(1, Duration::ZERO)
        .second_endpoint_within(Duration::from_millis(200))
        .poll_interval(POLL)
        .backoff(BACKOFF)
}

/// Submits and commits.
pub async fn submit(db: &Database, transactor: &Transactor, intent: Intent) -> TxId {
    let mut tx = db.begin().await.unwrap();
    let id = transactor.submit(&mut tx, intent).await.unwrap();
    tx.commit().await.unwrap();
    transactor.wake();
    id
}

/// Waits until an intent is as wished.
pub async fn until(
    db: &Database,
    transactor: &Transactor,
    id: TxId,
    what: &str,
    mut wish: impl FnMut(&TxRecord) -> bool,
) -> TxRecord {
    let mut updates = transactor.updates();
    let wait = async {
        loop {
            let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
            if wish(&record) {
                return record;
            }
            if let Err(RecvError::Closed) = updates.recv().await {
                panic!("{what}: the transactor is gone");
            }
        }
    };
    within(what, wait).await
}

/// Waits until an intent is over.
pub async fn ended(db: &Database, transactor: &Transactor, id: TxId) -> TxRecord {
    until(db, transactor, id, "the transaction's end", |record| !record.status.is_open()).await
}
