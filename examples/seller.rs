//! A seller: publishes an offering of its own service and serves whoever pays.
//!
//! ```sh
//! cargo run --package privatix-examples --bin seller -- \
//!     --endpoint http://127.0.0.1:8545 --contract 0x... --key-file seller.key --database seller.db
//! ```
//! The account needs ether for gas, and tokens for the offering's stake.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use privatix_agent::{Agent, AgentHandle, AgentPolicy, Messaging, OfferingOrder};
use privatix_billing::min_deposit;
use privatix_examples::quotes::{self, QuoteSeller};
use privatix_examples::setup::{Failure, SellerArgs, signalled, until};
use privatix_node::Deposit;
use privatix_somc::{DirectListener, SomcAddress};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = SellerArgs::parse();
    let parts = args.node.parts(Arc::new(QuoteSeller::new(args.serve))).await?;
    let listener = DirectListener::bind(args.listen).await?;
    let address = SomcAddress::from(listener.local_addr());
    // What a token is worth in ether is not known here, so no close would count as worth its gas. Each goes out at once.
    let mut policy = AgentPolicy::default();
    policy.max_delay = Duration::ZERO;
    let agent = Agent::with_policy(parts, Messaging::new(address, listener), policy).await?;
    let seller = agent.handle();
    tokio::try_join!(async { Ok(agent.run(signalled()?).await?) }, publish(&seller))?;
    Ok(())
}

/// Once: afterwards the database knows the offering.
async fn publish(seller: &AgentHandle) -> Result<(), Failure> {
    if seller.offerings(1).await?.is_empty() {
        let draft = quotes::offering("DE".parse()?, 3);
        let stake = min_deposit(&draft.terms.clone().validate()?).checked_mul(draft.supply.into());
        let stake = stake.ok_or("the stake is too large")?;
        seller.node().enqueue(&Deposit { amount: stake }, "example").await?;
        until(async || Ok((seller.node().balances().await?.contract >= stake).then_some(()))).await?;
        let offering = seller.create_offering(draft).await?;
        seller.change_offering(offering.hash(), OfferingOrder::Publish).await?;
    }
    println!("selling quotes as {}", seller.node().account());
    Ok(())
}
