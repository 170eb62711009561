//! Endpoints that leave out logs.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use privatix_agent::{AgentHandle, OfferingOrder};
use privatix_chain::{Endpoint, Endpoints, MonitorState};
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, ChannelStatus, OfferingHash, OfferingStatus, Voucher, sign_voucher,
};
use privatix_contracts::{ChannelInfo, PSC, call, topics};
use privatix_node::Node;
use privatix_store::{channels, offerings, vouchers};
use privatix_testkit::{Fault, FaultProxy, Rule, Script, wait_for};

use crate::market::{AGENT, CLIENT, LIMIT, Market, Running, available, by_the_kib, publish};

const DEPOSIT: Amount = Amount::new(100_000);
const EARNED: Amount = Amount::new(500);

/// Leaves out the logs of an event, of which no trace is left in receipts and blooms either.
fn hide(event: B256) -> Script {
    let topic = Some(event.to_string());
    Script(vec![Rule::new([], Fault::OmitLogs { from: 0, to: None, topic, receipts: true, bloom: true })])
}

/// Waits until a node has processed all blocks there are.
async fn caught_up(market: &Market, node: &Node) {
    let newest = market.anvil.block_number().await.unwrap();
    let processed = async || node.processed_block().filter(|seen| *seen >= newest).ok_or("not processed");
    wait_for("the newest block", LIMIT, processed).await.unwrap();
}

/// The endpoint fails for a moment and follows another script from then on: an occasion to compare, with what it hid below what was
/// processed.
async fn gap(endpoint: &FaultProxy, node: &Node, then: Script) {
    endpoint.script(down());
    wait_for("the gap", LIMIT, async || {
        let status = node.monitor().unwrap();
        matches!(status.state, MonitorState::Stalled { .. }).then_some(()).ok_or(format!("{status:?}"))
    })
    .await
    .unwrap();
    endpoint.script(then);
}

/// An agent over an endpoint of its own, with an offering on the market.
async fn agent_over(market: &Market) -> (FaultProxy, Running<AgentHandle>, Arc<Node>, OfferingHash) {
    let endpoint = FaultProxy::start(market.anvil.url()).await.unwrap();
    let agent = market.agent_over(&endpoint.url()).await;
    let node = Arc::clone(agent.handle.node());
    caught_up(market, &node).await;
    let offering = publish(market, &agent.handle, by_the_kib()).await;
    (endpoint, agent, node, offering)
}

/// Opens a channel without a client's node.
async fn open(market: &Market, offering: OfferingHash) -> ChannelDescriptor {
    market.contracts.deposit(&market.anvil, CLIENT, DEPOSIT).await.unwrap();
    let client = market.anvil.account(CLIENT);
    let agent = market.anvil.account(AGENT);
    let descriptor = ChannelDescriptor { client, agent, offering, nonce: 1, signer: client };
    let call = call::open(&descriptor, DEPOSIT).unwrap();
    market.anvil.send(CLIENT, market.contracts.contract, &call).await.unwrap();
    descriptor
}

async fn held(market: &Market, channel: ChannelId) -> ChannelInfo {
    let asked = PSC::channelsCall { channelId: *channel.as_b256() };
    market.anvil.view(market.contracts.contract, &asked).await.unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_omitted_close_request_is_found_by_reconciliation() {
    let market = Market::new().await;
    let (endpoint, agent, node, offering) = agent_over(&market).await;

    let descriptor = earned(&market, &node, offering).await;
    let channel = descriptor.id(node.domain());
    endpoint.script(hide(topics::CHANNEL[3]));
    request_close(&market, &descriptor).await;
    caught_up(&market, &node).await;
    let stored = channels::get(&mut node.db().read().await.unwrap(), channel).await.unwrap();
    assert_eq!((stored.status, stored.challenge_ends_at), (ChannelStatus::Active, None));

    gap(&endpoint, &node, Script::default()).await;
    answered(&market, channel).await;
    wait_for("all to be explained", LIMIT, async || {
        let left = node.unreconciled();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
    agent.stop().await;
}

fn down() -> Script {
    Script(vec![Rule::new([], Fault::Http { status: 503, retry_after: None, body: String::new() })])
}

/// A channel of which the agent has earned something.
async fn earned(market: &Market, node: &Node, offering: OfferingHash) -> ChannelDescriptor {
    let descriptor = open(market, offering).await;
    let channel = descriptor.id(node.domain());
    caught_up(market, node).await;
    let voucher = Voucher { channel, cumulative: EARNED };
    let signed = sign_voucher(&market.anvil.key(CLIENT), node.domain(), voucher).unwrap();
    let mut tx = node.db().begin().await.unwrap();
    assert!(vouchers::store(&mut tx, &signed).await.unwrap());
    tx.commit().await.unwrap();
    descriptor
}

/// The client asks to close the channel, and admits nothing.
async fn request_close(market: &Market, descriptor: &ChannelDescriptor) {
    let close = call::request_close(descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &close).await.unwrap();
}

/// Waits until a dispute about a channel is answered.
async fn answered(market: &Market, channel: ChannelId) {
    wait_for("the answer to the dispute", LIMIT, async || {
        let held = held(market, channel).await;
        if held.paid == EARNED && held.disputed { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_endpoint_hid_while_the_other_was_away_is_found_once_that_is_back() {
    let market = Market::new().await;
    let liar = FaultProxy::start(market.anvil.url()).await.unwrap();
    let witness = FaultProxy::start(market.anvil.url()).await.unwrap();
    let of = |proxy: &FaultProxy| Endpoint::new(&proxy.url()).unwrap();
    let endpoints = Endpoints::new(of(&liar), [of(&witness)]);
    let agent = market.agent_over_several(endpoints, Duration::ZERO).await;
    let node = Arc::clone(agent.handle.node());
    caught_up(&market, &node).await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let descriptor = earned(&market, &node, offering).await;
    let channel = descriptor.id(node.domain());

    witness.script(down());
    liar.script(hide(topics::CHANNEL[3]));
    let unchecked = node.monitor().unwrap().unchecked;
    request_close(&market, &descriptor).await;
    caught_up(&market, &node).await;
    let stored = channels::get(&mut node.db().read().await.unwrap(), channel).await.unwrap();
    assert_eq!((stored.status, stored.challenge_ends_at), (ChannelStatus::Active, None));

    witness.honest();
    wait_for("blocks that the witness has not checked", LIMIT, async || {
        market.anvil.mine(1).await.unwrap();
        let status = node.monitor().unwrap();
        if status.unchecked > unchecked { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap();
    answered(&market, channel).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unexplained_is_named_before_its_logs_are_searched_for() {
    let market = Market::new().await;
    let (endpoint, agent, node, offering) = agent_over(&market).await;
    let descriptor = earned(&market, &node, offering).await;
    let channel = descriptor.id(node.domain());
    endpoint.script(hide(topics::CHANNEL[3]));
    request_close(&market, &descriptor).await;
    caught_up(&market, &node).await;

    gap(&endpoint, &node, Script(vec![Rule::new(["eth_getLogs"], Fault::Delay { ms: 3_000 })])).await;
    wait_for("the alarm", LIMIT, async || {
        let found = node.unreconciled();
        if found.contains_key(&channel.into()) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
    answered(&market, channel).await;
    wait_for("the end of the alarm", LIMIT, async || {
        let left = node.unreconciled();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_omitted_opening_is_found_by_the_free_places_of_its_offering() {
    let market = Market::new().await;
    let (endpoint, agent, node, offering) = agent_over(&market).await;

    endpoint.script(hide(topics::CHANNEL[0]));
    let channel = open(&market, offering).await.id(node.domain());
    caught_up(&market, &node).await;
    assert!(channels::get(&mut node.db().read().await.unwrap(), channel).await.is_err());

    gap(&endpoint, &node, Script::default()).await;
    let found = wait_for("the channel", LIMIT, async || {
        channels::get(&mut node.db().read().await.unwrap(), channel).await
    })
    .await
    .unwrap();
    assert_eq!((found.status, found.deposit), (ChannelStatus::Active, DEPOSIT));
    let mut conn = node.db().read().await.unwrap();
    let ours = offerings::get(&mut conn, market.anvil.account(AGENT), offering).await.unwrap();
    drop(conn);
    assert_eq!(ours.free_supply, 2, "of three");
    wait_for("all to be explained", LIMIT, async || {
        let left = node.unreconciled();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offering_is_not_accepted_when_its_removal_was_omitted_and_is_removed_by_reconciliation() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let endpoint = FaultProxy::start(market.anvil.url()).await.unwrap();
    let client = market.client_at(&endpoint.url()).await;
    market.contracts.deposit(&market.anvil, CLIENT, Amount::new(100_000_000)).await.unwrap();
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    available(&client.handle, offering).await;

    endpoint.script(hide(topics::OFFERING[2]));
    market.anvil.warp(privatix_channel::Terms::TEST.remove).await.unwrap();
    agent.handle.change_offering(offering, OfferingOrder::Remove).await.unwrap();
    let node = Arc::clone(client.handle.node());
    let status_at = async |node: &Node| {
        let mut conn = node.db().read().await.unwrap();
        offerings::get(&mut conn, market.anvil.account(AGENT), offering).await.unwrap().status
    };
    wait_for("the removal", LIMIT, async || match status_at(agent.handle.node()).await {
        OfferingStatus::Removed => Ok(()),
        other => Err(other.as_str()),
    })
    .await
    .unwrap();
    caught_up(&market, &node).await;
    assert_eq!(status_at(&node).await, OfferingStatus::Registered);
    let refused = client.handle.accept(None, offering, None).await.unwrap_err().to_string();
    assert!(refused.contains("the contract would refuse") && refused.contains("is removed"), "{refused}");

    gap(&endpoint, &node, Script::default()).await;
    wait_for("the client to know", LIMIT, async || match status_at(&node).await {
        OfferingStatus::Removed => Ok(()),
        other => Err(other.as_str()),
    })
    .await
    .unwrap();
    client.stop().await;
    agent.stop().await;
}
