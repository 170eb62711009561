//! An EVM chain as a program with a database needs it: events that can be relied on, and transactions that are not lost.
//!
//! **The [`Monitor`]** turns the logs of some contracts into effects in the database, each exactly once. It waits for
//! confirmations, checks that logs belong to the chain of block hashes that it follows, adapts to what the endpoint
//! allows, and commits the effects, the cursor and the block hashes in one transaction. When a reorg goes below what
//! was processed, it has the effects undone down to the common block. Logs of which only [recent](MonitorBuilder::recent)
//! ones matter come from the newest on.
//!
//! **The [`Transactor`]** takes [`Intent`]s in the caller's own transaction and sees them through: gas, nonce, fees,
//! signing, storing, broadcasting, raising the fee, receipts, confirmations, reorgs, restarts. The outcome is
//! reported in the transaction that stores it.
//! Keys are local or elsewhere: see [`Signer`].
//!
//! Both run over any JSON-RPC [`Endpoint`], know nothing of roles or of the contract's meaning, and keep everything in
//! the tables of [`MIGRATIONS`]: they can be killed anywhere and continue.
//! They need Tokio's multi-threaded runtime, because `privatix_db` does.
//!
//! ```no_run
//! use alloy::primitives::{address, bytes};
//! use async_trait::async_trait;
//! use privatix_chain::*;
//! use privatix_db::{Conn, Database};
//!
//! struct Print;
//! #[async_trait]
//! impl LogSink for Print {
//!     type Applied = ();
//!
//!     async fn apply(&self, _conn: &mut Conn, batch: &ConfirmedBatch) -> Result<(), SinkError> {
//!         for log in &batch.logs {
//!             println!("block {}: {:?}", log.block, log.log); // a real sink writes through `conn`
//!         }
//!         Ok(())
//!     }
//!     async fn rollback(&self, _conn: &mut Conn, to_block: u64) -> Result<(), SinkError> {
//!         println!("undo everything above block {to_block}");
//!         Ok(())
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Database::open("app.db".as_ref(), &[MIGRATIONS]).await?;
//! let endpoint = Endpoint::new("ws://127.0.0.1:8545")?;
//! let contract = address!("5fbdb2315678afecb367f032d93f642f64180aa3");
//!
//! let monitor = Monitor::builder(db.clone(), endpoint.clone(), 31337, [Interest::all_of(contract)])
//!     .confirmations(3)
//!     .start(StartFrom::Recent(11_520))
//!     .build(Print);
//!
//! let keys = Keyring::new([alloy::signers::local::PrivateKeySigner::random()]);
//! let account = keys.accounts()[0];
//! let transactor = Transactor::builder(db.clone(), endpoint, 31337, keys).build(NoTxSink);
//!
//! let mut tx = db.begin().await?;
//! let intent = Intent::new("deposit-1", account, contract, bytes!("d0e30db0")).kind("deposit");
//! transactor.submit(&mut tx, intent).await?; // with whatever else must happen together
//! tx.commit().await?;
//! transactor.wake();
//!
//! let shutdown = tokio_util::sync::CancellationToken::new();
//! tokio::try_join!(monitor.run(shutdown.clone()), transactor.run(shutdown))?;
//! # Ok(()) }
//! ```

mod backoff;
mod error;
mod inform;
mod monitor;
mod rpc;
mod schema;
mod sql;
mod step;
mod transactor;

pub use backoff::Backoff;
pub use error::{ChainError, Inconsistency, SinkError};
pub use monitor::{
    ConfirmedBatch, ConfirmedLog, Direction, Freshness, Head, Interest, LogSink, Monitor, MonitorBuilder,
    MonitorState, MonitorStatus, Processed, RangePlanner, StartFrom, View, Why, is_processed, processed,
    usual_confirmations,
};
pub use rpc::{
    BlockHeader, Endpoint, EndpointStatus, EndpointUrl, Endpoints, Evidence, Fault, ProxyUrl, RpcError,
    Standing, chain_id, check,
};
pub use transactor::{
    Attempt, Cancelled, Cancelling, Deadline, Ending, Fallback, Fate, FeePolicy, Fees, Finality, Inclusion,
    Intent, Keyring, NoTxSink, Obstacle, Priority, Raise, RevertDecoder, Signer, SignerError, TooMuchGas,
    Transactor, TransactorBuilder, TransactorState, TransactorStatus, TxChange, TxFilter, TxId, TxRecord,
    TxSink, TxStatus, TxUpdate, TxWaiting, Wei,
};

/// The tables of the monitor and the transactor, for [`privatix_db::Database::open`].
pub const MIGRATIONS: privatix_db::MigrationSet =
    privatix_db::MigrationSet { name: "chain", sqlite: &privatix_db::embed_migrations!("migrations") };

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
