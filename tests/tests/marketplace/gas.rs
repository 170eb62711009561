//! What new channels cost an agent: no close that it cannot pay for, and no fee that it does not accept.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::U256;
use privatix_channel::{ChannelStatus, Closure, Fee, Terms};
use privatix_contracts::PSC;
use privatix_market::Danger;
use privatix_node::{ChannelView, GasReserve, Node};
use privatix_testkit::{Contracts, wait_for};
use tokio_util::sync::CancellationToken;

use crate::market::{AGENT, LIMIT, Market, by_the_kib, channel, publish, service};

const ETHER: u128 = 1_000_000_000_000_000_000;

/// Waits until the node warns of its ether, or no longer.
async fn warned(node: &Node, expected: bool) {
    wait_for("the notice", LIMIT, async || {
        let notices = node.notices().all();
        let warned = notices.iter().any(|(part, text)| *part == "reserve" && text.contains("new channels"));
        if warned == expected { Ok(()) } else { Err(format!("{notices:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_channel_is_not_served_when_its_close_could_not_be_paid() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (before, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    let account = market.anvil.account(AGENT);
    let has = market.anvil.balance(account).await.unwrap();

    market.anvil.set_balance(account, U256::from(ETHER / 1_000_000_000)).await.unwrap();
    warned(node, true).await;
    let danger = |node: &Node| node.reserve().unwrap().danger;
    assert_eq!(danger(node), Some(Danger::Loss), "money is not safe");
    let id = client.handle.accept(None, offering, None).await.unwrap().channel;
    let is_put_off = |view: &ChannelView| {
        view.channel.reason.as_ref().is_some_and(|reason| reason.contains("too little ether"))
    };
    let view = channel(node, "put off", id, is_put_off).await;
    assert_eq!(view.channel.service.as_str(), "pending", "{view:?}");
    assert!(view.channel.access.is_none());
    service(node, before, "active").await; // what is served goes on

    market.anvil.set_balance(account, has).await.unwrap();
    service(node, id, "active").await;
    service(client.handle.node(), id, "active").await;
    warned(node, false).await;
    assert_eq!(danger(node), None);
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_warns_of_the_days_for_which_its_ether_lasts() {
    let market = Market::new().await;
    let agent = market.agent().await;
    publish(&market, &agent.handle, by_the_kib()).await;
    let node = agent.handle.node();
    let spent =
        wait_for("the gas of the announcement to be counted", LIMIT, async || match node.gas_spent() {
            0 => Err("nothing spent"),
            spent => Ok(spent),
        })
        .await
        .unwrap();
    // As if that were spent in an hour: half a day more than three are left.
    let account = market.anvil.account(AGENT);
    market.anvil.set_balance(account, U256::from(spent * (24 * 3 + 12))).await.unwrap();
    let reserve = GasReserve::new(Arc::clone(node)).spent_over(Duration::from_hours(1));
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let stop = stop.clone();
        async move { reserve.watch(stop).await }
    });
    wait_for("the warning", LIMIT, async || {
        let notices = node.notices().all();
        let lasts =
            |(part, text): &(&str, String)| *part == "reserve" && text.contains("lasts for about 3 days");
        if notices.iter().any(lasts) { Ok(()) } else { Err(format!("{notices:?}")) }
    })
    .await
    .unwrap();
    stop.cancel();
    watching.await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_fee_is_above_what_the_agent_accepts_is_closed_unserved() {
    let mut market = Market::new().await;
    market.policy.free_after = Some(Duration::ZERO); // there is nothing to gain
    let contract = market.contracts.contract;
    let raised = PSC::setFeeCall { newFee: 1_000 };
    market.anvil.send(Contracts::FEE_ACCOUNT, contract, &raised).await.unwrap();
    market.anvil.warp(Terms::TEST.fee_delay).await.unwrap();
    let (agent, client) = (market.agent_that_accepts(Fee::new(999).unwrap()).await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let id = client.handle.accept(None, offering, None).await.unwrap().channel;
    for node in [agent.handle.node(), client.handle.node()] {
        let closed =
            channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
        let channel = closed.channel;
        assert_eq!(
            (channel.fee, channel.paid.is_zero(), channel.closure),
            (1_000, true, Some(Closure::ByAgent))
        );
        assert!(channel.access.is_none());
    }
    client.stop().await;
    agent.stop().await;
}
