//! What is not worth a transaction of its own: closes and settlements that go out together.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::sol_types::SolInterface as _;
use privatix_agent::BatchPolicy;
use privatix_chain::{TxFilter, TxRecord};
use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure};
use privatix_contracts::PSC::PSCCalls;
use privatix_contracts::call;
use privatix_node::Node;
use privatix_testkit::FileServer;

use crate::download;
use crate::market::{AGENT, CLIENT, Market, by_the_kib, channel, service};

const HOURS: Duration = Duration::from_hours(2);

/// A market whose agents close alone after hours only, and sent together when `batches` says so.
async fn patient(batches: impl FnOnce(&mut BatchPolicy)) -> Market {
    let mut market = Market::new().await;
    market.policy.max_delay = HOURS;
    let mut policy = BatchPolicy::for_channels(&market.policy);
    batches(&mut policy);
    market.batches = Some(policy);
    market
}

/// The node's transactions of a kind, the newest first.
async fn transactions(node: &Node, kind: &str) -> Vec<TxRecord> {
    let filter = TxFilter { kind: Some(kind.into()), ..TxFilter::default() };
    node.transactor().unwrap().list(&mut node.db().read().await.unwrap(), &filter).await.unwrap()
}

/// What the account of an index has in the contract.
async fn free(market: &Market, account: usize) -> u128 {
    market.contracts.internal_balance(&market.anvil, market.anvil.account(account)).await.unwrap().get()
}

/// Waits until a channel is closed.
async fn closed(node: &Node, id: ChannelId) -> privatix_store::channels::Channel {
    channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await.channel
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_that_are_not_worth_their_gas_each_go_out_in_one_batch() {
    let mut market = patient(|_| {}).await;
    // Without a base fee, gas costs the tip: a gwei, so that a close is counted with 1e14 wei. A setup price brings 0.38 of that: two
    // are below what a batch of two costs, three are above what one of three does.
    market.anvil.set_next_base_fee(0).await.unwrap();
    market.ether_per_token = Some("7.6".parse().unwrap());
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let mut bought = Vec::new();
    for deposit in [50_000_u64, 60_000, 70_000] {
        let deposit = Amount::new(deposit.into());
        bought.push(market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await.0);
    }
    let (sellers, buyers) = (free(&market, AGENT).await, free(&market, CLIENT).await);

    let node = agent.handle.node();
    for id in &bought[..2] {
        agent.handle.terminate(*id).await.unwrap();
        service(node, *id, "terminated").await;
    }
    assert_eq!(transactions(node, "close_channel").await.len(), 0, "two do not pay for their batch");
    agent.handle.terminate(bought[2]).await.unwrap();
    let mut deposits = 0;
    for id in &bought {
        let channel = closed(node, *id).await;
        assert_eq!((channel.paid, channel.closure), (Amount::new(500), Some(Closure::ByAgent)));
        closed(client.handle.node(), *id).await;
        deposits += channel.deposit.get();
    }
    let [batch] = &transactions(node, "close_channel").await[..] else { panic!("not one transaction") };
    let Ok(PSCCalls::closeBatch(batch)) = PSCCalls::abi_decode(&batch.intent.input) else {
        panic!("{batch:?}")
    };
    let claimed: Vec<_> = batch.claims.iter().map(|claim| claim.cumulativeAmount).collect();
    assert_eq!(claimed, [500, 500, 500]);
    assert_eq!(free(&market, AGENT).await, sellers + 1_500);
    assert_eq!(free(&market, CLIENT).await, buyers + deposits - 1_500);
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_risk_of_a_channel_that_goes_on_is_settled_in_a_batch() {
    let mut market = patient(|batches| batches.max_delay = Duration::ZERO).await;
    market.policy.at_risk = Some(Amount::new(5_000));
    let files = FileServer::start_mib(1).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Amount::new(50_000);
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
    let (sellers, buyers) = (free(&market, AGENT).await, free(&market, CLIENT).await);
    let node = agent.handle.node();
    assert_eq!(transactions(node, "settle_channel").await.len(), 0, "the setup price is below it");

    // Each download costs about 10,000. The service goes on between them, and after them.
    let proxy = format!("http://127.0.0.1:{port}");
    let mut settled = Amount::ZERO;
    for _ in 0..2 {
        let before = settled;
        download(&files.url(), &proxy).await;
        let view = channel(node, "settled", id, |view| view.channel.paid > before).await;
        settled = view.channel.paid;
        assert_eq!(view.channel.status, ChannelStatus::Active);
        assert_eq!(free(&market, AGENT).await, sellers + settled.get(), "it is the agent's at once");
        for node in [node, client.handle.node()] {
            service(node, id, "active").await;
        }
    }
    let settlements = transactions(node, "settle_channel").await;
    for settlement in &settlements {
        let call = PSCCalls::abi_decode(&settlement.intent.input);
        assert!(matches!(call, Ok(PSCCalls::settleBatch(_))), "{settlement:?}");
    }

    // The close pays what is not settled yet.
    client.handle.terminate(id).await.unwrap();
    let ended = service(client.handle.node(), id, "terminated").await;
    agent.handle.close(id).await.unwrap();
    let channel = closed(node, id).await;
    assert!(channel.paid > Amount::new(20_000) && channel.paid >= ended.acknowledged, "{channel:?}");
    closed(client.handle.node(), id).await;
    assert_eq!(free(&market, AGENT).await, sellers + channel.paid.get());
    assert_eq!(free(&market, CLIENT).await, buyers + deposit.get() - channel.paid.get());
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_is_answered_alone_and_at_once_though_its_channel_waits_for_a_batch() {
    let market = patient(|_| {}).await; // without a rate, nothing is known to be worth its gas
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let mut bought = BTreeMap::new();
    for name in ["disputed", "waiting"] {
        bought.insert(name, market.buy(&agent.handle, &client.handle, offering, None).await.0);
    }
    let node = agent.handle.node();
    for id in bought.values() {
        agent.handle.terminate(*id).await.unwrap();
        service(node, *id, "terminated").await;
    }
    assert_eq!(transactions(node, "close_channel").await.len(), 0);

    let descriptor = node.channel(bought["disputed"]).await.unwrap().channel.descriptor;
    let request = call::request_close(&descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    let answered = closed(node, bought["disputed"]).await;
    assert_eq!((answered.paid, answered.closure), (Amount::new(500), Some(Closure::ByAgentDisputed)));
    let [close] = &transactions(node, "close_channel").await[..] else { panic!("not one transaction") };
    assert!(matches!(PSCCalls::abi_decode(&close.intent.input), Ok(PSCCalls::close(_))), "{close:?}");
    assert_eq!(node.channel(bought["waiting"]).await.unwrap().channel.status, ChannelStatus::Active);
    client.stop().await;
    agent.stop().await;
}
