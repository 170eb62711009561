//! An agent whose own account cannot answer a dispute.

use alloy::primitives::U256;
use privatix_chain::{Priority, TxFilter, TxRecord, TxStatus};
use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure};
use privatix_contracts::call;
use privatix_node::Node;
use privatix_testkit::wait_for;

use crate::market::{AGENT, CLIENT, LIMIT, Market, by_the_kib, channel};

const RESCUER: usize = 5;
const ETHER: u128 = 1_000_000_000_000_000_000;

async fn transaction(node: &Node, channel: ChannelId, kind: &str) -> TxRecord {
    let subject = Some(channel.to_string());
    let filter = TxFilter { kind: Some(kind.into()), subject, ..TxFilter::default() };
    let found = node.transactor().unwrap().list(&mut node.db().read().await.unwrap(), &filter).await.unwrap();
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rescue_account_settles_when_there_is_no_ether() {
    let market = Market::new().await;
    let (agent, client) = (market.agent_with_rescue(RESCUER).await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    let paid = channel(node, "the set-up price to be paid", id, |view| !view.paid.is_zero()).await.paid;
    let descriptor = node.channel(id).await.unwrap().channel.descriptor;
    client.stop().await;

    let (account, rescuer) = (market.anvil.account(AGENT), market.anvil.account(RESCUER));
    market.anvil.set_balance(account, U256::ZERO).await.unwrap();
    let spent = node.gas_spent();
    let request = call::request_close(&descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    let settled = channel(node, "settled", id, |view| view.channel.paid == paid).await;
    assert_eq!(settled.channel.status, ChannelStatus::WaitCoop, "its close waits for ether");
    let close = transaction(node, id, "close_channel").await;
    let rescue = transaction(node, id, "rescue").await;
    assert_eq!((rescue.parent, rescue.intent.from), (Some(close.id), rescuer));
    let (balance, _) = node.rescue_funds().await.unwrap().unwrap();
    assert!(balance < U256::from(10_000 * ETHER), "{balance}");

    // Nothing is at stake any more; with ether, the close is of use still.
    market.anvil.set_balance(account, U256::from(ETHER)).await.unwrap();
    let closed = channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
    assert_eq!((closed.channel.paid, closed.channel.closure), (paid, Some(Closure::ByAgentDisputed)));
    // The event and the receipt are seen by different tasks.
    let close = wait_for("the close's outcome", LIMIT, async || {
        let close = transaction(node, id, "close_channel").await;
        if close.status == TxStatus::Mined { Ok(close) } else { Err(close.status) }
    })
    .await
    .unwrap();
    assert_eq!(close.intent.priority, Priority::Normal);
    let rescue = transaction(node, id, "rescue").await.inclusion.unwrap().cost();
    let cost = rescue + close.inclusion.unwrap().cost();
    wait_for("the gas to be counted", LIMIT, async || {
        let counted = node.gas_spent() - spent;
        if counted == cost { Ok(()) } else { Err(format!("{counted}, not {cost}")) }
    })
    .await
    .unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_dispute_is_not_cancelled_by_mistake() {
    let market = Market::new().await;
    let (agent, client) = (market.agent_with_rescue(RESCUER).await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    channel(node, "the set-up price to be paid", id, |view| !view.paid.is_zero()).await;
    let descriptor = node.channel(id).await.unwrap().channel.descriptor;
    client.stop().await;

    // The answer waits for ether, and so does its rescue.
    for account in [AGENT, RESCUER] {
        market.anvil.set_balance(market.anvil.account(account), U256::ZERO).await.unwrap();
    }
    let request = call::request_close(&descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    channel(node, "disputed", id, |view| view.channel.status == ChannelStatus::WaitCoop).await;
    let close = transaction(node, id, "close_channel").await;
    let rescue = wait_for("its rescue", LIMIT, async || {
        let transactor = node.transactor().unwrap();
        transactor.rescue_of(&mut node.db().read().await.unwrap(), close.id).await.unwrap().ok_or("none")
    })
    .await
    .unwrap();
    let may_cancel = async |tx| agent.handle.check_may_cancel(&mut node.db().read().await.unwrap(), tx).await;
    let refused = may_cancel(close.id).await.unwrap_err().to_string();
    assert!(refused.contains(&id.to_string()) && refused.contains("abandon"), "{refused}");
    let refused = may_cancel(rescue.id).await.unwrap_err().to_string();
    let of = format!("the rescue of transaction {}", close.id);
    assert!(refused.contains(&of) && refused.contains("abandon"), "{refused}");

    // An operator who means it says so, and the claim is left to the client.
    agent.handle.abandon(id).await.unwrap();
    may_cancel(close.id).await.unwrap();
    may_cancel(rescue.id).await.unwrap();
    let mut tx = node.db().begin().await.unwrap();
    let cancelling = node.transactor().unwrap().cancel(&mut tx, close.id).await.unwrap();
    tx.commit().await.unwrap();
    cancelling.committed();
    market.pass_the_challenge().await;
    market.anvil.send(CLIENT, market.contracts.contract, &call::finalize_close(&descriptor)).await.unwrap();
    let closed = channel(node, "closed", id, |view| view.channel.status.is_closed()).await;
    assert_eq!((closed.channel.paid, closed.channel.closure), (Amount::ZERO, Some(Closure::ByClient)));
    agent.stop().await;
}
