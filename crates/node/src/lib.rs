//! What both roles do alike, so that `privatix-agent` and `privatix-client` hold only what makes them differ.
//!
//! A [`Node`] is an account at a service contract with its database and its plug-in. [`Node::run`] follows the chain into
//! the store, sends transactions out of jobs, brings the plug-in to what is decided about each channel, and has every event,
//! report, outcome and order decided by `privatix_market` ([`Decider`]). A [`RoleRules`] adds what only one side does.
//!
//! ```no_run
//! # async fn example(parts: privatix_node::NodeParts) -> Result<(), privatix_node::NodeError> {
//! use privatix_node::Node;
//!
//! let node = Node::open(parts, privatix_adapter::Role::Agent).await?;
//! println!("{} has {:?}", node.account(), node.balances().await?);
//! # Ok(()) }
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod adoption;
mod agreed;
mod cause;
mod concerns;
mod contract;
mod damage;
mod decider;
pub mod drive;
pub mod earlier;
mod error;
mod facts;
pub mod fate;
mod given;
pub mod inputs;
mod interests;
pub mod lanes;
mod limited;
mod messages;
mod meter;
mod node;
mod notices;
mod offerings;
mod outlook;
mod reconcile;
mod recovery;
mod reserve;
mod role;
mod run;
mod services;
mod settings;
pub mod shell;
mod sink;
mod spent;
mod tally;
mod time;
mod token;
mod transfers;
mod uptime;
mod view;
mod wallet;

pub use agreed::Agreed;
pub use cause::Cause;
pub use concerns::Concerns;
pub use contract::{
    Balances, OfferingPeriods, contract_code, contract_domain, contract_token, has_known_origin,
};
pub use damage::Damage;
pub use decider::{Decider, DeciderParts};
pub use error::NodeError;
pub use facts::{is_contract_stored, store_contract};
pub use given::Given;
pub use limited::Limited;
pub use meter::Marks;
pub use node::{DEFAULT_RETENTION, KEEP_CANCELLED, KEEP_DONE, KEEP_FAILED, Node, NodeParts};
pub use notices::{Notices, Part};
pub use offerings::{OfferingDecider, OfferingFacts, OfferingNotApplied, OfferingRunner};
pub use outlook::{NodeOutlook, Outlook};
pub use reconcile::ContractEntry;
pub use recovery::{GRACE, RecoveryPhase, Times, open_until, phase as recovery_phase};
pub use reserve::{GasReserve, ReserveStanding};
pub use role::{RoleRules, Stood};
pub use services::{ServiceAction, ServiceOrder, Services, channel_subject};
pub use settings::{ChainSettings, EtherPerToken, PeerAddresses, UnknownContract};
pub use tally::Money;
pub use time::after;
pub use token::Token;
pub use transfers::{ACCOUNT, Deposit, Withdraw};
pub use uptime::UptimeClock;
pub use view::ChannelView;
pub use wallet::WalletTurn;

#[doc(no_inline)]
pub use privatix_jobs::Retention;

use privatix_db::{Conn, MigrationSet};
use privatix_jobs::{Job, PushOptions};

/// The tables of a node's database.
pub fn migrations() -> [MigrationSet; 3] {
    [privatix_jobs::MIGRATIONS, privatix_chain::MIGRATIONS, privatix_store::MIGRATIONS]
}

/// Pushes a job into a transaction.
pub async fn push<J: Job>(conn: &mut Conn, job: &J, by: &'static str) -> Result<(), NodeError> {
    privatix_jobs::push(conn, job, PushOptions::by(by)).await?;
    Ok(())
}
