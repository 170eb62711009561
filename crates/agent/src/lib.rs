//! The seller: publishes offerings, hands over access, meters, collects vouchers and settles.
//!
//! An [`Agent`] is made of a database, a chain endpoint, a key, a plug-in and a listener, and runs until it is asked to stop;
//! its [`AgentHandle`] is what an operator (or your program) does with it meanwhile. What it does about a channel
//! is decided from a stored state, in the transaction that stores what happened, so it can be killed at any point and goes on
//! where it was.
//!
//! ```no_run
//! # async fn example(
//! #     parts: privatix_node::NodeParts,
//! #     draft: privatix_agent::OfferingDraft,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use privatix_agent::{Agent, Messaging, OfferingOrder};
//! use privatix_somc::{DirectListener, SomcAddress};
//! use tokio_util::sync::CancellationToken;
//!
//! let listener = DirectListener::bind("[::]:9500".parse()?).await?;
//! let messaging = Messaging::new(SomcAddress::direct("agent.example.org", 9500)?, listener);
//! let agent = Agent::new(parts, messaging).await?;
//! let handle = agent.handle();
//! let running = tokio::spawn(agent.run(CancellationToken::new()));
//!
//! let offering = handle.create_offering(draft).await?;
//! handle.change_offering(offering.hash(), OfferingOrder::Publish).await?;
//! running.await??;
//! # Ok(()) }
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod access;
pub mod adoption;
mod agent;
mod batches;
mod decisions;
mod drives;
mod earlier;
mod identity;
mod messaging;
mod offerings;
mod operator;
mod orders;
mod payments;
mod places;
mod reasons;
mod role;
mod runner;
mod service;
mod showing;
mod views;
mod waiting;

pub use agent::{Agent, AgentHandle, ChannelOrdered, OfferingOrdered};
pub use batches::{Batches, BatchesParts, Offers};
pub use drives::{Sales, Sold, SoldServices};
pub use earlier::{ChangeOffering, CloseChannel, OfferingAction, ProvisionChannel};
pub use messaging::Messaging;
pub use offerings::{
    ContractView, OfferingAdoption, OfferingDraft, OfferingProgress, OwnOfferings, OwnOfferingsParts,
    Signatures, adopted_own,
};
pub use operator::AppointOperator;
pub use payments::Payments;
pub use privatix_market::batch::BatchPolicy;
pub use privatix_market::offering::OfferingOrder;
pub use privatix_market::{AgentOrder, AgentPolicy, NotNow, OrderId, Reply, Wei};
pub use privatix_node::drive::{Drives, Requests};
pub use privatix_node::{
    ChainSettings, Node, NodeError, NodeParts, PeerAddresses, ServiceAction, ServiceOrder, migrations,
};
pub use runner::{AgentRunner, AgentRunnerParts, Collects, NoBatches, Views, policy, reply};
