//! A channel that nobody comes to.

use std::time::Duration;

use privatix_channel::{Amount, ChannelDescriptor, ChannelStatus, Closure};
use privatix_contracts::call;
use privatix_testkit::wait_for;

use crate::market::{LIMIT, Market, by_the_kib, channel, publish};

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
    let free = async || {
        let ours = agent.handle.offerings(1).await.unwrap().remove(0);
        (ours.free_supply, ours.announcement.supply)
    };
    let (agents, nobody) = (agent.handle.node().account(), market.anvil.account(NOBODY));
    let descriptor = ChannelDescriptor { client: nobody, agent: agents, offering, nonce: 1, signer: nobody };
    let deposit = Amount::new(20_000);
    market.contracts.deposit(&market.anvil, NOBODY, deposit).await.unwrap();
    let open = call::open(&descriptor, deposit).unwrap();
    market.anvil.send(NOBODY, market.contracts.contract, &open).await.unwrap();

    let id = descriptor.id(&market.contracts.domain);
    let node = agent.handle.node();
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
    agent.stop().await;
}
