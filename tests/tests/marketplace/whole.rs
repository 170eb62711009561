//! The whole path, and what a restart must not change.

use privatix_channel::{Amount, ChannelStatus};
use privatix_testkit::{FileServer, wait_for};

use crate::market::{AGENT, LIMIT, Market, by_the_kib, channel, service};
use crate::{download, download_some};

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_sold_metered_paid_and_settled() {
    let market = Market::new().await;
    let files = FileServer::start_mib(8).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;

    let before = client.handle.node().balances().await.unwrap();
    let deposit = Amount::new(200_000);
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
    for protocol in ["socks5h", "http"] {
        let proxy = format!("{protocol}://127.0.0.1:{port}");
        assert_eq!(download(&files.url(), &proxy).await, files.size());
    }

    // Both meters come to the same, and the client pays what is left once its own stands still.
    let (sold, bought) = wait_for("everything metered and paid", LIMIT, async || {
        let sold = agent.handle.node().channel(id).await.unwrap();
        let bought = client.handle.node().channel(id).await.unwrap();
        let (used, paid) = (bought.used.get(), bought.acknowledged);
        let price = (used.saturating_sub(16 * 1024) * 10).div_ceil(1024) + 500;
        let settled = used > 2 * files.size() && sold.used == bought.used && paid == Amount::from(price);
        if settled { Ok((sold, bought)) } else { Err(format!("{sold:?} {bought:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(sold.paid, bought.paid);
    assert!(sold.vouchers > 10, "{sold:?}");

    agent.handle.close(id).await.unwrap();
    for node in [agent.handle.node(), client.handle.node()] {
        let closed =
            channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
        assert_eq!(closed.channel.paid, bought.paid);
        service(node, id, "terminated").await;
    }
    let after = client.handle.node().balances().await.unwrap();
    let all = |has: privatix_node::Balances| has.contract.checked_add(has.wallet).unwrap();
    assert_eq!(all(before).checked_sub(all(after)), Some(bought.paid));
    let earned = market.contracts.internal_balance(&market.anvil, market.anvil.account(AGENT)).await.unwrap();
    // No network fee is set, and the offering's stake stays locked.
    let said = agent.handle.offerings(1).await.unwrap().remove(0).announcement;
    let locked = said.min_deposit.checked_mul(said.supply.into()).unwrap();
    let deposited = Amount::new(100_000_000);
    assert_eq!(earned.checked_add(locked), deposited.checked_add(bought.paid));

    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_both_sides_loses_nothing() {
    let market = Market::new().await;
    let files = FileServer::start_mib(2).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(200_000))).await;
    download(&files.url(), &format!("socks5h://127.0.0.1:{port}")).await;
    client.stop().await;
    agent.stop().await;

    let (agent, client) = (market.agent().await, market.client().await);
    service(client.handle.node(), id, "active").await;
    let endpoint = wait_for("the local port", LIMIT, async || {
        client.handle.node().services().endpoint(id).ok_or("no endpoint")
    });
    let proxy = format!("socks5h://127.0.0.1:{}", endpoint.await.unwrap()["port"].as_u64().unwrap());
    // The agent may serve it a moment later than the client.
    wait_for("a download", LIMIT, async || download_some(&files.url(), &proxy).await).await.unwrap();

    let (sold, bought) = wait_for("everything metered and paid", LIMIT, async || {
        let sold = agent.handle.node().channel(id).await.unwrap();
        let bought = client.handle.node().channel(id).await.unwrap();
        let used = bought.used.get();
        let price = (used.saturating_sub(16 * 1024) * 10).div_ceil(1024) + 500;
        let settled =
            used > 2 * files.size() && sold.used == bought.used && bought.acknowledged == Amount::from(price);
        if settled { Ok((sold, bought)) } else { Err(format!("{sold:?} {bought:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(sold.paid, bought.paid);
    // Two sessions at least: a new instance of the plug-in never continues an old one's.
    assert!(agent.handle.node().sessions(id).await.unwrap().len() >= 2);
    client.stop().await;
    agent.stop().await;
}
