//! An operator's orders: each has a number, is taken once under a key, and has an outcome.

use privatix_agent::{AgentHandle, AgentOrder, NodeError, OrderId};
use privatix_chain::TxId;
use privatix_channel::{Closure, OfferingHash};
use privatix_client::Given;
use privatix_market::offering::OfferingOrder;
use privatix_market::{Outcome, Subject};
use privatix_store::StoreError;
use privatix_store::orders::{self, Order, What};
use privatix_testkit::wait_for;

use crate::market::{LIMIT, Market, by_the_kib};

fn given(key: &str) -> Given {
    Given { key: Some(key.to_owned()), by: "a test".to_owned() }
}

/// Waits until an order has ended.
async fn ended(agent: &AgentHandle, order: OrderId) -> (Order, Outcome) {
    wait_for("the end of the order", LIMIT, async || {
        let order = agent.get_order(order).await.unwrap().unwrap();
        order.ended.map(|(outcome, _)| (order.clone(), outcome)).ok_or_else(|| format!("{order:?}"))
    })
    .await
    .unwrap()
}

/// The kind of the transaction that carried an order out.
async fn carried_by(agent: &AgentHandle, order: &Order) -> String {
    let (node, tx) = (agent.node(), order.tx.unwrap());
    let record = node.transactor().unwrap().get(&mut node.db().read().await.unwrap(), TxId(tx.0)).await;
    record.unwrap().intent.kind
}

async fn about(agent: &AgentHandle, offering: OfferingHash) -> Vec<Order> {
    let subject = Subject::Offering(agent.node().account(), offering);
    orders::of_subject(&mut agent.node().db().read().await.unwrap(), subject, None, 10).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_of_an_operator_has_a_number_and_an_outcome() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let published = about(&agent.handle, offering).await.remove(0);
    let (published, outcome) = ended(&agent.handle, published.id).await;
    assert_eq!((published.what, published.by.as_str(), outcome), (What::Publish, "operator", Outcome::Done));
    assert_eq!(carried_by(&agent.handle, &published).await, "register_offering");

    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let order = async |order, key| agent.handle.order_as(id, order, given(key)).await;
    let paused = order(AgentOrder::Hold, "first").await.unwrap();
    let (stored, outcome) = ended(&agent.handle, paused.order).await;
    assert_eq!((stored.what, stored.by.as_str(), outcome), (What::Pause, "a test", Outcome::Done));
    let again = order(AgentOrder::Hold, "first").await.unwrap();
    assert_eq!((again.order, again.is_repeated), (paused.order, true));
    let other = order(AgentOrder::Close, "first").await.unwrap_err();
    assert!(matches!(other, NodeError::Store(StoreError::OrderKeyUsed { .. })), "{other}");
    assert!(agent.handle.resume(id).await.unwrap().order > paused.order);

    let terminated = order(AgentOrder::End, "second").await.unwrap();
    let (_, outcome) = ended(&agent.handle, terminated.order).await;
    assert_eq!(outcome, Outcome::Done, "the service has stopped");
    let closed = order(AgentOrder::Close, "third").await.unwrap();
    let (stored, outcome) = ended(&agent.handle, closed.order).await;
    assert_eq!(outcome, Outcome::Closed(Closure::ByAgent));
    assert_eq!(carried_by(&agent.handle, &stored).await, "close_channel");
    // Given again after all: it is the same, and there is nothing to close any more.
    assert_eq!(order(AgentOrder::Close, "third").await.unwrap().order, closed.order);
    assert!(matches!(order(AgentOrder::Close, "fourth").await, Err(NodeError::Refused(_))));

    let removed =
        agent.handle.change_offering_as(offering, OfferingOrder::Remove, given("fifth")).await.unwrap();
    let again =
        agent.handle.change_offering_as(offering, OfferingOrder::Remove, given("fifth")).await.unwrap();
    assert_eq!((again.order, again.is_repeated), (removed.order, true));
    client.stop().await;
    agent.stop().await;
}
