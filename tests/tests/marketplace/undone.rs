//! A top-up that a reorganisation takes, under vouchers that have used it.

use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure};
use privatix_client::ClientHandle;
use privatix_node::ChannelView;
use privatix_testkit::{FileServer, wait_for};

use crate::download;
use crate::market::{LIMIT, Market, Running, by_the_kib, channel};
use privatix_agent::AgentHandle;

/// A market with a channel that was topped up, and paid for more than its first deposit.
struct Paid {
    market: Market,
    agent: Running<AgentHandle>,
    client: Running<ClientHandle>,
    channel: ChannelId,
    deposit: Amount,
    /// How deep a reorganisation takes the top-up and nothing before it.
    depth: u64,
}

async fn paid_beyond_the_first_deposit() -> Paid {
    let market = Market::new().await;
    let files = FileServer::start_mib(2).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let deposit = agent.handle.node().channel(id).await.unwrap().channel.deposit;
    let before = market.anvil.block_number().await.unwrap();
    client.handle.top_up(id, Amount::new(20_000)).await.unwrap();
    for node in [agent.handle.node(), client.handle.node()] {
        channel(node, "topped up", id, |view| view.channel.deposit > deposit).await;
    }
    let depth = market.anvil.block_number().await.unwrap() - before;
    download(&files.url(), &format!("socks5h://127.0.0.1:{port}")).await;
    wait_for("more than the first deposit to be paid", LIMIT, async || {
        let bought = client.handle.node().channel(id).await.unwrap();
        if bought.acknowledged > deposit { Ok(()) } else { Err(format!("{bought:?}")) }
    })
    .await
    .unwrap();
    Paid { market, agent, client, channel: id, deposit, depth }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cashes_the_deposit_when_a_reorganisation_takes_the_top_up() {
    let Paid { market, agent, client, channel: id, deposit, depth } = paid_beyond_the_first_deposit().await;
    // Who has gone sends nothing again.
    client.stop().await;
    market.anvil.reorg(depth).await.unwrap();
    let node = agent.handle.node();
    channel(node, "as before the top-up", id, |view| view.channel.deposit == deposit).await;
    agent.handle.close(id).await.unwrap();
    let closed =
        channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await.channel;
    assert_eq!((closed.closure, closed.paid), (Some(Closure::ByAgent), deposit));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_closes_alone_when_a_reorganisation_takes_its_top_up() {
    let Paid { market, agent, client, channel: id, depth, .. } = paid_beyond_the_first_deposit().await;
    agent.stop().await;
    let node = client.handle.node();
    let signed = node.channel(id).await.unwrap().paid;
    market.anvil.reorg(depth).await.unwrap();
    client.handle.close(id).await.unwrap();
    let is_over = |view: &ChannelView| view.channel.status == ChannelStatus::ClosedUncoop;
    let closed = wait_for("the channel to be closed", LIMIT, async || {
        let view = node.channel(id).await.unwrap();
        if view.channel.status == ChannelStatus::InChallenge {
            market.pass_the_challenge().await;
        }
        if is_over(&view) { Ok(view.channel) } else { Err(format!("{view:?}")) }
    })
    .await
    .unwrap();
    // Whether the top-up came again before the close or not: the contract pays no more than there is.
    assert_eq!((closed.closure, closed.paid), (Some(Closure::ByClient), signed.min(closed.deposit)));
    client.stop().await;
}
