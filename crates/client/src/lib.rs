//! The buyer: discovers offerings, opens channels, fetches access, pays for use.
//!
//! A [`Client`] is made of a database, a chain endpoint, a key, a plug-in and a transport, and runs until it is asked to
//! stop; its [`ClientHandle`] is what a user (or your program) does with it meanwhile. What it does about a channel is decided
//! from a stored state, in the transaction that stores what happened, and every voucher is on disk before it is sent, so it can
//! be killed at any point and goes on where it was.
//!
//! ```no_run
//! # async fn example(parts: privatix_node::NodeParts) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use privatix_client::{Client, ClientSettings, ContactPolicy, Filter};
//! use privatix_somc::DirectTransport;
//! use tokio_util::sync::CancellationToken;
//!
//! let transport = Arc::new(DirectTransport::public_only());
//! let mut settings = ClientSettings::default();
//! settings.contact = ContactPolicy::DirectAllowed; // without it, only agents with onion services are contacted
//! let client = Client::new(parts, transport, settings).await?;
//! let handle = client.handle();
//! let stop = CancellationToken::new();
//! let running = tokio::spawn(client.run(stop.clone()));
//!
//! let available = Filter { available: true, ..Filter::default() };
//! let listing = loop {
//!     // Empty until the chain has been followed, and a message has been fetched.
//!     if let Some(listing) = handle.browse(&available, 1).await?.pop() {
//!         break listing;
//!     }
//!     tokio::time::sleep(Duration::from_secs(1)).await;
//! };
//! let ordered = handle.accept(Some(listing.offering.agent), listing.offering.hash, None).await?;
//! println!("opening {}", ordered.channel); // how far it is: `handle.orders().get(ordered.order)`
//!
//! stop.cancel(); // what is under way goes on at the next start
//! running.await??;
//! # Ok(()) }
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod access;
pub mod adoption;
mod agents;
mod answers;
mod asks;
mod budget;
mod client;
mod decisions;
mod deliveries;
mod drives;
mod earlier;
mod excluded;
mod fund;
mod funding;
mod limited;
mod network;
mod offerings;
mod orders;
mod outlook;
mod peers;
mod reasons;
mod recognition;
mod role;
mod runner;
mod sessions;

pub use agents::NodeAgents;
pub use answers::{Heard, Stands, Unheard};
pub use asks::{Agents, AskPeer, AskStranger, Asker, Asking, GivenAccess, Question};
pub use budget::{Balance, Budgets, Limits, Promises, day};
pub use client::{Client, ClientHandle, ClientSettings, Listing};
pub use decisions::{Decisions, DecisionsParts};
pub use deliveries::{Deliveries, Outgoing, Wanted, outgoing};
pub use drives::{BoughtServices, Endpoints, Purchases};
pub use earlier::{FetchAccess, FetchOffering, FinalizeClose, OpenChannel, RequestClose, TopUp};
pub use fund::{Fund, Funder, Purse, Turn, fund_subject};
pub use funding::Funding;
pub use offerings::{
    AT_ONCE, Announcers, AskOffering, OfferingAsker, OfferingDecisions, OfferingDecisionsParts, Visibility,
    adopt as adopt_offerings,
};
pub use orders::{ChannelOrders, Ordered, opening_nonce};
pub use privatix_market::offering::{OfferingPolicy, Unlisted};
pub use privatix_node::Given;
pub use privatix_node::{
    ChainSettings, Node, NodeError, NodeParts, PeerAddresses, ServiceAction, ServiceOrder, migrations,
};
pub use privatix_offering::ContactPolicy;
pub use privatix_store::offerings::Filter;
pub use role::ClientRole;
pub use runner::{Asks, ClientRunner, ClientRunnerParts, Funds, Payment, Sending, Views};
