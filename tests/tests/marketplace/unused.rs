//! A channel that nobody comes to.

use std::time::Duration;

use privatix_agent::AgentHandle;
use privatix_billing::SHORTEST_FIRST_USE;
use privatix_channel::{Amount, ChannelDescriptor, ChannelId, ChannelStatus, Closure, OfferingHash};
use privatix_contracts::call;
use privatix_db::Database;
use privatix_store::service_clock;
use privatix_testkit::wait_for;

use crate::market::{AGENT, LIMIT, Market, by_the_kib, channel, publish, service};

/// The account of somebody who runs no client.
const NOBODY: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_nobody_comes_to_frees_its_place() {
    let mut market = Market::new().await;
    market.policy.free_after = Some(Duration::ZERO); // there is nothing to gain
    let agent = market.agent().await;
    let mut draft = by_the_kib();
    draft.terms.max_inactive = Duration::from_secs(2);
    let offering = publish(&market, &agent.handle, draft).await;
    let id = open(&market, offering).await;
    frees_its_place(&agent.handle, id).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_the_first_use_of_an_offering_frees_the_place_before_inactivity_does() {
    let mut market = Market::new().await;
    market.policy.free_after = Some(Duration::ZERO);
    let agent = market.agent().await;
    let mut draft = by_the_kib();
    (draft.terms.max_inactive, draft.terms.max_suspend) =
        (Duration::from_hours(24), Duration::from_hours(24));
    (draft.terms.max_first_use, draft.terms.setup_price) = (Some(SHORTEST_FIRST_USE), Amount::ZERO);
    let offering = publish(&market, &agent.handle, draft).await;
    let id = open(&market, offering).await;
    service(agent.handle.node(), id, "active").await;
    agent.stop().await;
    market.closed("agent").await;

    // As long as the time is not up, the place is taken.
    let almost = SHORTEST_FIRST_USE.saturating_sub(Duration::from_mins(2));
    run_for(&market, almost).await;
    let agent = market.agent().await;
    let view = service(agent.handle.node(), id, "active").await;
    assert_eq!(view.channel.status, ChannelStatus::Active);
    agent.stop().await;
    market.closed("agent").await;

    run_for(&market, Duration::from_mins(2)).await;
    let agent = market.agent().await;
    frees_its_place(&agent.handle, id).await;
    agent.stop().await;
}

/// Has an agent that is stopped find that it ran for this time, too.
async fn run_for(market: &Market, time: Duration) {
    let db = Database::open(&market.database("agent"), &privatix_node::migrations()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let ran = service_clock::start(&mut tx, "agent").await.unwrap().uptime;
    service_clock::keep(&mut tx, "agent", ran.plus(time)).await.unwrap();
    tx.commit().await.unwrap();
}

/// Opens a channel for nobody.
async fn open(market: &Market, offering: OfferingHash) -> ChannelId {
    let (agent, nobody) = (market.anvil.account(AGENT), market.anvil.account(NOBODY));
    let descriptor = ChannelDescriptor { client: nobody, agent, offering, nonce: 1, signer: nobody };
    let deposit = Amount::new(20_000);
    market.contracts.deposit(&market.anvil, NOBODY, deposit).await.unwrap();
    let open = call::open(&descriptor, deposit).unwrap();
    market.anvil.send(NOBODY, market.contracts.contract, &open).await.unwrap();
    descriptor.id(&market.contracts.domain)
}

/// Waits until the channel is closed for that reason, and its place is free.
async fn frees_its_place(agent: &AgentHandle, id: ChannelId) {
    let free = async || {
        let ours = agent.offerings(1).await.unwrap().remove(0);
        (ours.free_supply, ours.announcement.supply)
    };
    let node = agent.node();
    let closed =
        channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await.channel;
    assert_eq!((closed.closure, closed.paid.is_zero()), (Some(Closure::ByAgent), true));
    let reason = closed.reason.unwrap_or_default();
    assert!(reason.contains("not used in the time for the first use"), "{reason}");
    wait_for("the free place", LIMIT, async || {
        let (free, all) = free().await;
        if free == all { Ok(()) } else { Err(format!("{free} of {all}")) }
    })
    .await
    .unwrap();
}
