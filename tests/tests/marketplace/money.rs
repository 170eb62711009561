//! What happens when money runs out, is withheld, or is added.

use privatix_billing::{ClientPolicy, Percent, TopUpAmount, TopUpPolicy};
use privatix_chain::TxFilter;
use privatix_channel::{Amount, ChannelStatus, Closure, Period, Terms};
use privatix_contracts::call;
use privatix_testkit::{FileServer, wait_for};
use std::time::Duration;

use crate::market::{CLIENT, LIMIT, Market, by_the_kib, channel, direct, service};
use crate::{download, download_some};

/// The proxy as a client without Privatix would use it: straight to the agent's port.
async fn direct_proxy(client: &privatix_client::ClientHandle, id: privatix_channel::ChannelId) -> String {
    let access = client.node().channel(id).await.unwrap().channel.access.unwrap();
    let port = &access.endpoint["port"];
    format!("socks5h://{}:{}@127.0.0.1:{port}", access.username, access.password)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_pay_gets_no_more_than_the_agreed_lag() {
    let market = Market::new().await;
    let files = FileServer::start_mib(4).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let mut draft = by_the_kib();
    draft.terms.max_suspend = Duration::from_secs(2);
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(200_000))).await;
    let proxy = direct_proxy(&client.handle, id).await;
    client.stop().await; // nobody pays from here on

    // 500 for the setup are paid, 16 KiB are free, 256 KiB may be owed.
    let most = (16 + 256) * 1024 + 1;
    let got = tokio::time::timeout(LIMIT, download_some(&files.url(), &proxy)).await.unwrap();
    assert!(got.is_err_and(|got| got <= most), "{got:?}");
    let sold =
        channel(agent.handle.node(), "terminated", id, |view| view.channel.service.as_str() == "terminated")
            .await;
    assert!(sold.used.get() <= most, "{sold:?}");

    // What was paid is cashed without anybody asking.
    let closed =
        channel(agent.handle.node(), "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop)
            .await;
    assert_eq!(closed.channel.paid, Amount::new(500));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_is_topped_up_and_its_end_ends_the_service() {
    let mut market = Market::new().await;
    market.policy.top_up_grace = Duration::from_secs(2);
    let files = FileServer::start_mib(4).await.unwrap();
    let mut settings = direct();
    let percent = Percent::try_from(50).unwrap();
    let top_up = TopUpPolicy { percent, amount: TopUpAmount::Double, max_deposit: Some(Amount::new(10_000)) };
    settings.policy = ClientPolicy { top_up: Some(top_up), ..ClientPolicy::default() };
    let (agent, client) = (market.agent().await, market.client_with(settings).await);
    let mut draft = by_the_kib();
    draft.terms.min_units = 512;
    // Slow enough for the top-up to be mined before the rest of the deposit is used.
    draft.additional["maxBandwidth"] = (128 * 1024).into();
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let least = client.handle.node().channel(id).await.unwrap().channel.deposit;
    assert!(least < Amount::new(6_000), "{least}");

    // More than the deposit will ever pay for.
    let proxy = format!("socks5h://127.0.0.1:{port}");
    let got = tokio::time::timeout(LIMIT, download_some(&files.url(), &proxy)).await.unwrap();
    assert!(got.is_err(), "{got:?}");
    for node in [agent.handle.node(), client.handle.node()] {
        let closed =
            channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
        assert!(closed.channel.deposit > least, "never topped up: {closed:?}");
        assert_eq!(closed.channel.paid, closed.channel.deposit);
    }
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_its_deposit_back_from_an_agent_that_is_gone() {
    let market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let before = client.handle.node().balances().await.unwrap();
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(50_000))).await;
    download(&files.url(), &format!("http://127.0.0.1:{port}")).await;
    agent.stop().await;

    // Not after the hour that an agent has to close first: the user asks now.
    client.handle.terminate(id).await.unwrap();
    service(client.handle.node(), id, "terminated").await;
    client.handle.close(id).await.unwrap();
    let asked = channel(client.handle.node(), "in challenge", id, |view| {
        view.channel.status == ChannelStatus::InChallenge
    })
    .await;
    // Blocks alone end no challenge, and neither does all but a minute of it.
    market.anvil.mine(20).await.unwrap();
    market.anvil.warp(Period::new(Terms::TEST.challenge.seconds() - 60)).await.unwrap();
    let node = client.handle.node();
    let newest = market.anvil.block_number().await.unwrap();
    wait_for("the client to see the new time of the chain", LIMIT, async || {
        let seen = node.processed_block();
        if seen >= Some(newest) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(node.channel(id).await.unwrap().channel.status, ChannelStatus::InChallenge);
    market.anvil.warp(Period::minutes(1)).await.unwrap();
    let closed = channel(client.handle.node(), "closed", id, |view| {
        view.channel.status == ChannelStatus::ClosedUncoop
    })
    .await;
    assert_eq!(closed.channel.paid, asked.paid, "what was signed was admitted");
    assert_eq!(closed.channel.closure, Some(Closure::ByClient), "nobody disputed it");
    let finalized = TxFilter { kind: Some("finalize_close".into()), ..TxFilter::default() };
    let sent =
        node.transactor().unwrap().list(&mut node.db().read().await.unwrap(), &finalized).await.unwrap();
    assert_eq!(sent.len(), 1, "one was sent too early: {sent:?}");
    let after = client.handle.node().balances().await.unwrap();
    let all = |has: privatix_node::Balances| has.contract.checked_add(has.wallet).unwrap();
    assert_eq!(all(before).checked_sub(all(after)), Some(asked.paid));
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_admits_too_little_is_answered_with_its_voucher() {
    admit_too_little(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_answers_what_a_client_admitted_meanwhile() {
    admit_too_little(true).await;
}

async fn admit_too_little(while_away: bool) {
    let market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let (mut agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(50_000))).await;
    download(&files.url(), &format!("http://127.0.0.1:{port}")).await;
    let paid = wait_for("vouchers", LIMIT, async || {
        let view = agent.handle.node().channel(id).await.unwrap();
        if view.paid > Amount::new(9_000) { Ok(view.paid) } else { Err(view.paid) }
    })
    .await
    .unwrap();

    // Behind its own software's back.
    let descriptor = client.handle.node().channel(id).await.unwrap().channel.descriptor;
    let request = call::request_close(&descriptor, Amount::ZERO);
    if while_away {
        agent.stop().await;
        market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
        market.anvil.warp(Period::new(Terms::TEST.challenge.seconds() / 4)).await.unwrap();
        agent = market.agent().await;
    } else {
        market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    }

    let closed =
        channel(agent.handle.node(), "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop)
            .await;
    assert!(closed.channel.paid >= paid, "{closed:?}");
    assert_eq!(closed.channel.closure, Some(Closure::ByAgentDisputed));
    service(agent.handle.node(), id, "terminated").await;
    service(client.handle.node(), id, "terminated").await;
    client.stop().await;
    agent.stop().await;
}
