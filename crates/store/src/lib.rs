//! Marketplace persistence: whose database it is, chain events, offerings and channels with the states from which is decided about
//! them, vouchers, usage sessions, orders, what each transaction is for, and for how long its processes have run.
//!
//! What it owns: the tables of `migrations/store` ([`MIGRATIONS`]) and the queries over them. It decides nothing: what
//! events mean for a channel, an offering, the network fee or an account is `privatix-channel`'s rule, what usage costs is
//! `privatix-billing`'s, what is done about a channel is `privatix-market`'s. Every function takes a
//! [`Conn`](privatix_db::Conn), so several of them, and the job queue's and the chain's own, commit in one transaction.
//!
//! Two rules hold throughout. **One effect per cause**: events are keyed by their place on the chain, usage is stored as
//! totals, vouchers only ever grow; storing any of them twice changes nothing. **The chain's word is a fold**: the on-chain
//! part of a channel, an offering or an account is what its stored events come to, so undoing orphaned blocks is deleting their
//! rows and folding again. How a channel or an offering stands is stored with it, and after every 64th event once more as a
//! snapshot, so that neither a further event nor an undone one reads its whole history.
//!
//! ```
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), privatix_store::StoreError> {
//! use privatix_db::Database;
//! use privatix_store::channels;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let db = Database::open(&dir.path().join("agent.db"), &[privatix_store::MIGRATIONS]).await?;
//! let newest = channels::list(&mut *db.read().await?, 100).await?;
//! assert!(newest.is_empty());
//! # Ok(()) }
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod agents_seen;
pub mod ceilings;
pub mod channels;
pub mod collected;
mod columns;
pub mod contract;
pub mod contract_facts;
mod error;
pub mod events;
mod fold;
pub mod identity;
pub mod meters;
pub mod offering_states;
pub mod offerings;
pub mod orders;
pub mod purposes;
pub mod receipts;
pub mod recovery;
mod schema;
pub mod service_clock;
pub mod sessions;
mod snapshots;
mod statement;
pub mod states;
pub mod tally;
pub mod vouchers;

pub use error::StoreError;

use privatix_db::{MigrationSet, embed_migrations};

/// The marketplace's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet { name: "store", sqlite: &embed_migrations!("migrations") };
