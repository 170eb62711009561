//! A better voucher that comes while a close waits.

use privatix_chain::{TxFilter, TxRecord, TxStatus};
use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure};
use privatix_node::Node;
use privatix_somc::{Client, ClientLimits, DirectTransport, Refusal};
use privatix_testkit::wait_for;

use crate::hostile::pay;
use crate::market::{CLIENT, LIMIT, Market, by_the_kib, channel};

/// The closes of a channel that the agent has submitted, the oldest first.
async fn closes(node: &Node, channel: ChannelId) -> Vec<TxRecord> {
    let (kind, subject) = (Some("close_channel".into()), Some(channel.to_string()));
    let filter = TxFilter { kind, subject, ..TxFilter::default() };
    let transactor = node.transactor().unwrap();
    let mut found = transactor.list(&mut node.db().read().await.unwrap(), &filter).await.unwrap();
    found.sort_by_key(|close| close.id);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_better_voucher_replaces_a_close_that_waits_in_the_pool() {
    let market = Market::new().await;
    let (agent, client) = (market.agent_that_values("10").await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    channel(node, "paid", id, |view| view.paid == Amount::new(500)).await;
    client.stop().await;

    // The close over 500 reaches the pool, and no block comes.
    market.anvil.set_automine(false).await.unwrap();
    agent.handle.close(id).await.unwrap();
    let first = wait_for("the first close in the pool", LIMIT, async || {
        let closes = closes(node, id).await;
        let sent = closes.iter().find(|close| close.status == TxStatus::Sent);
        sent.map(|close| close.id).ok_or(format!("{closes:?}"))
    })
    .await
    .unwrap();

    // Better by more than a close costs. It is kept, and not acknowledged: the first close may still come.
    let transport = DirectTransport::anywhere();
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let (domain, signer) = (market.contracts.domain, market.anvil.key(CLIENT));
    let better = 9_000;
    assert_eq!(pay(&wire, &domain, &signer, (id, better)).await, Err(Refusal::ChannelClosing));
    let second = wait_for("the second close in the pool", LIMIT, async || {
        let closes = closes(node, id).await;
        let sent = closes.iter().find(|close| close.id != first && close.status == TxStatus::Sent);
        sent.map(|close| close.id).ok_or(format!("{closes:?}"))
    })
    .await
    .unwrap();

    market.anvil.set_automine(true).await.unwrap();
    market.anvil.mine(1).await.unwrap();
    let closed = channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
    assert_eq!((closed.channel.paid, closed.channel.closure), (Amount::new(better), Some(Closure::ByAgent)));
    // One close was mined. Once that is final, nothing is left that could come later.
    market.anvil.mine(40).await.unwrap();
    let ends = wait_for("the outcomes", LIMIT, async || {
        let closes = closes(node, id).await;
        let is_open = closes.iter().any(|close| close.status.is_open());
        let ends: Vec<_> = closes.into_iter().map(|close| (close.id, close.status)).collect();
        if is_open { Err(format!("{ends:?}")) } else { Ok(ends) }
    });
    assert_eq!(ends.await.unwrap(), [(first, TxStatus::Cancelled), (second, TxStatus::Mined)]);
    agent.stop().await;
}
