//! A node, a database, sinks that write what they are told, and faults to put in between.

mod log_sink;
mod relay;
mod txs;

use std::path::Path;
use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, Bytes, bytes};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use diesel_async::SimpleAsyncConnection;
use privatix_chain::{Backoff, ChainError, Endpoint, MIGRATIONS, Monitor, Transactor};
use privatix_db::{Database, on};
use privatix_testkit::{Anvil, TempDir, temp_dir};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use log_sink::{Seen, SeenLog, monitor, settled, synced};
pub use privatix_testkit::{FaultProxy, Verdict};
pub use relay::Relay;
pub use txs::{Outcomes, ended, keys, submit, transactor, until};

/// What a test may wait for, at most: a guard against hangs.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// How often nodes are polled where the test is not about that.
pub const POLL: Duration = Duration::from_millis(20);
/// Long enough that polling cannot be what made a test go on.
pub const NEVER: Duration = Duration::from_hours(1);
/// Waits between failed tries.
pub const BACKOFF: Backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(100) };

/// A database with tables for what sinks are told. Their rows have no unique keys: an effect that happened twice shows.
pub async fn open(path: &Path) -> Database {
    let db = Database::open(path, &[MIGRATIONS]).await.unwrap();
    let sql = "CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
            block BIGINT NOT NULL, log_index BIGINT NOT NULL, payload BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS outcome (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
            tx BIGINT NOT NULL, status TEXT NOT NULL, failure TEXT)";
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
    db
}

pub async fn fresh() -> (TempDir, Database) {
    let dir = temp_dir().unwrap();
    let db = open(&dir.path().join("chain.db")).await;
    (dir, db)
}

pub fn http(url: &str) -> Endpoint {
    Endpoint::new(url).unwrap().timeout(Duration::from_secs(30))
}

/// A monitor or transactor at work.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ChainError>>,
}

impl Running {
    pub fn monitor(monitor: &Monitor) -> Self {
        let (monitor, stop) = (monitor.clone(), CancellationToken::new());
        let token = stop.clone();
        Self { stop, task: tokio::spawn(async move { monitor.run(token).await }) }
    }

    pub fn transactor(transactor: &Transactor) -> Self {
        let (transactor, stop) = (transactor.clone(), CancellationToken::new());
        let token = stop.clone();
        Self { stop, task: tokio::spawn(async move { transactor.run(token).await }) }
    }

    /// Ends it in an orderly way.
    pub async fn stop(self) -> Result<(), ChainError> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Cuts it off wherever it is.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()), "it had ended by itself");
    }

    /// What it ends with by itself.
    pub async fn outcome(self) -> Result<(), ChainError> {
        within("the end of a run", self.task).await.unwrap()
    }
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else { panic!("{what}: not in time") };
    value
}

/// Deploys a contract that emits a log with whatever calldata it gets.
///
/// ```text
/// CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY  PUSH1 1 CALLDATASIZE PUSH0 LOG1  STOP
/// ```
pub async fn emitter(anvil: &Anvil) -> Address {
    let code: Bytes = bytes!("69365f5f376001365fa1005f52600a6016f3");
    let request = TransactionRequest::default().with_from(anvil.account(0)).with_deploy_code(code);
    send(anvil, request).await.contract_address.unwrap()
}

/// Emits a log. Gives the height of its block.
pub async fn emit(anvil: &Anvil, emitter: Address, payload: &[u8]) -> u64 {
    send(anvil, emission(anvil, emitter, payload)).await.block_number.unwrap()
}

pub fn emission(anvil: &Anvil, emitter: Address, payload: &[u8]) -> TransactionRequest {
    TransactionRequest::default().with_from(anvil.account(0)).with_to(emitter).with_input(payload.to_vec())
}

pub async fn send(anvil: &Anvil, request: TransactionRequest) -> TransactionReceipt {
    let pending = anvil.provider().send_transaction(request).await.unwrap();
    let receipt = pending.with_timeout(Some(PATIENCE)).get_receipt().await.unwrap();
    assert!(receipt.status(), "{receipt:?}");
    receipt
}
