//! A buyer: finds an offering of quotes, opens a channel, uses the service, and pays while it does.
//!
//! ```sh
//! cargo run --package privatix-examples --bin buyer -- \
//!     --endpoint http://127.0.0.1:8545 --contract 0x... --key-file buyer.key --database buyer.db
//! ```
//! The account needs ether for gas, and tokens for the channel's deposit. What is not spent of it comes back
//! when the seller closes the channel.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use clap::Parser;
use privatix_channel::ServiceStatus;
use privatix_client::{Client, ClientHandle, ClientSettings, ContactPolicy, Filter};
use privatix_examples::quotes::QuoteBuyer;
use privatix_examples::setup::{BuyerArgs, Failure, until};
use privatix_somc::DirectTransport;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = BuyerArgs::parse();
    let service = Arc::new(QuoteBuyer::default());
    let parts = args.node.parts(service.clone()).await?;
    let mut settings = ClientSettings::default();
    settings.contact = ContactPolicy::DirectAllowed; // the seller of this example has no onion service
    let client = Client::new(parts, Arc::new(DirectTransport::anywhere()), settings).await?;
    let (buyer, done) = (client.handle(), CancellationToken::new());
    let stop_when_done = done.clone().drop_guard();
    let using = async { buy(&buyer, &service, args.quotes).await.map(|()| drop(stop_when_done)) };
    tokio::try_join!(async { Ok(client.run(done).await?) }, using)?;
    Ok(())
}

async fn buy(buyer: &ClientHandle, service: &QuoteBuyer, quotes: u32) -> Result<(), Failure> {
    let filter = Filter { available: true, ..Filter::default() };
    let found = until(async || Ok(buyer.browse(&filter, 1).await?.pop())).await?.offering;
    let channel = buyer.accept(Some(found.agent), found.hash, None).await?.channel;
    for _ in 0..quotes {
        // Held until the channel is open, and again whenever our payments are behind.
        println!("{}", until(async || Ok(service.quote(channel).await.ok().flatten())).await?);
    }
    buyer.terminate(channel).await?;
    let paid = until(async || {
        let view = buyer.node().channel(channel).await?;
        let over = view.channel.service == ServiceStatus::Terminated && view.acknowledged == view.paid;
        Ok(over.then_some(view.paid))
    });
    println!("paid {} for {quotes} quotes on channel {channel}", paid.await?);
    Ok(())
}
