//! Daemons that are stopped for longer than a channel may be inactive.

use std::time::Duration;

use privatix_channel::{Amount, Period};
use privatix_testkit::FileServer;

use crate::download;
use crate::market::{Market, by_the_kib, service};

/// How long a channel may be inactive: long enough for a daemon to start, and to be used, within it.
const INACTIVE: Duration = Duration::from_secs(10);

/// Lets more time than that pass, by the machine's clock and by the chain's: nothing that could be awaited comes of it.
async fn pass(market: &Market) {
    market.anvil.warp(Period::hours(1)).await.unwrap();
    tokio::time::sleep(INACTIVE + Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downtime_that_is_longer_than_max_inactive_ends_nothing_by_itself() {
    let market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let mut draft = by_the_kib();
    draft.terms.max_inactive = INACTIVE;
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(200_000))).await;
    let proxy = format!("socks5h://127.0.0.1:{port}");
    download(&files.url(), &proxy).await;

    // The agent, while its client waits for it.
    agent.stop().await;
    pass(&market).await;
    let agent = market.agent().await;
    service(agent.handle.node(), id, "active").await;
    service(client.handle.node(), id, "active").await;
    download(&files.url(), &proxy).await;

    // Both.
    client.stop().await;
    agent.stop().await;
    pass(&market).await;
    let (agent, client) = (market.agent().await, market.client().await);
    service(agent.handle.node(), id, "active").await;
    service(client.handle.node(), id, "active").await;
    download(&files.url(), &proxy).await;

    // The client, whose agent holds the channel, as it would end an unused one: a client that is away uses nothing.
    agent.handle.pause(id).await.unwrap();
    service(agent.handle.node(), id, "suspended").await;
    client.stop().await;
    pass(&market).await;
    let client = market.client().await;
    agent.handle.resume(id).await.unwrap();
    service(agent.handle.node(), id, "active").await;
    service(client.handle.node(), id, "active").await;
    download(&files.url(), &proxy).await;
    client.stop().await;
    agent.stop().await;
}
