//! A database of an earlier version, whose channels have no stored state: a running agent takes them over.

use diesel_async::SimpleAsyncConnection;
use privatix_agent::CloseChannel;
use privatix_channel::{Amount, ChannelStatus};
use privatix_db::{Database, on};
use privatix_jobs::{JobStatus, PushOptions};
use privatix_testkit::{FileServer, wait_for};

use crate::download;
use crate::market::{LIMIT, Market, by_the_kib, channel, service};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_on_with_the_channels_and_the_jobs_of_an_earlier_version() {
    let market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Some(Amount::new(200_000));
    let (served, port) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    let (closing, other) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    for port in [port, other] {
        download(&files.url(), &format!("socks5h://127.0.0.1:{port}")).await;
    }
    let mut paid = Vec::new();
    for id in [served, closing] {
        let least = Amount::new(500 + 10 * 64); // the set-up price and an interval
        paid.push(channel(agent.handle.node(), "paid", id, |view| view.paid >= least).await.paid);
    }
    agent.stop().await;

    // As it was stored before there were states, with the job of an order to close.
    market.closed("agent").await;
    let job = {
        let db = Database::open(&market.database("agent"), &privatix_node::migrations()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let forget = "DELETE FROM channel_states WHERE channel > ''";
        on!(&mut *tx, |c| c.batch_execute(forget).await).unwrap();
        let close = CloseChannel { channel: closing, even_unpaid: true };
        let job = privatix_jobs::push(&mut tx, &close, PushOptions::by("operator")).await.unwrap().id();
        tx.commit().await.unwrap();
        job
    };
    market.closed("agent").await;

    let agent = market.agent().await;
    let node = agent.handle.node();
    let closed = channel(node, "closed", closing, |view| view.channel.status.is_closed()).await;
    assert_eq!(closed.channel.status, ChannelStatus::ClosedCoop);
    assert!(closed.channel.paid >= paid[1], "{closed:?}");
    let job = privatix_jobs::get(&mut node.db().read().await.unwrap(), job).await.unwrap();
    assert_eq!(job.status, JobStatus::Cancelled, "the state closes it");

    service(node, served, "active").await;
    wait_for("the service", LIMIT, async || {
        crate::download_some(&files.url(), &format!("socks5h://127.0.0.1:{port}")).await
    })
    .await
    .unwrap();
    channel(node, "paid on", served, |view| view.paid > paid[0]).await;
    client.stop().await;
    agent.stop().await;
}
