//! Rows that cannot be read: their channels wait, the others go on.

use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure, Voucher, sign_voucher};
use privatix_contracts::call;
use privatix_db::Database;
use privatix_market::Concern;
use privatix_node::Node;
use privatix_somc::{Client, ClientLimits, DirectTransport, Refusal};
use privatix_store::vouchers;
use privatix_testkit::wait_for;

use crate::hostile::pay;
use crate::market::{CLIENT, LIMIT, Market, by_the_kib, channel, service};

/// What health says of channels that cannot be read.
fn said(node: &Node) -> String {
    let shown = node.notices().all().into_iter().map(|(part, message)| format!("{part}: {message}"));
    shown.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_voucher_stops_no_other_channel() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let mut ids: Vec<ChannelId> = Vec::new();
    let mut descriptors = Vec::new();
    for _ in 0..2 {
        let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
        let view = channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;
        ids.push(id);
        descriptors.push(view.channel.descriptor);
    }
    let (damaged, whole) = (ids[0], ids[1]);
    client.stop().await;
    agent.stop().await;
    market.closed("agent").await;

    // The signature is somebody else's.
    let domain = market.contracts.domain;
    {
        let db = Database::open(&market.database("agent"), &privatix_node::migrations()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let voucher = Voucher { channel: damaged, cumulative: Amount::new(501) };
        let forged = sign_voucher(&market.anvil.key(7), &domain, voucher).unwrap();
        assert!(vouchers::store(&mut tx, &forged).await.unwrap());
        tx.commit().await.unwrap();
    }
    market.closed("agent").await;
    for descriptor in &descriptors {
        let request = call::request_close(descriptor, Amount::ZERO);
        market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    }

    let agent = market.agent().await;
    let node = agent.handle.node();
    let status = ChannelStatus::ClosedCoop;
    let closed = channel(node, "closed", whole, |view| view.channel.status == status).await;
    let concern = Concern::Damaged { voucher: Some(Amount::new(501)), in_challenge: true };
    wait_for("health to name the channel", LIMIT, async || {
        let all = node.concerns().all();
        if all == [(damaged, concern)] { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(
        (closed.channel.paid, closed.channel.closure),
        (Amount::new(500), Some(Closure::ByAgentDisputed))
    );
    // The damaged one is not served, and nothing is closed that a better voucher could still save. The operator sees it.
    let waiting = service(node, damaged, "suspended").await;
    assert_eq!(waiting.channel.status, ChannelStatus::InChallenge);
    assert!(said(node).contains(&format!("{damaged}: the stored voucher")), "{}", said(node));
    assert!(agent.handle.claimable(damaged).await.is_err());

    let (transport, key) = (DirectTransport::anywhere(), market.anvil.key(CLIENT));
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let stale = Err(Refusal::Stale { acknowledged: Amount::new(500) });
    assert_eq!(pay(&wire, &domain, &key, (damaged, 499)).await, stale);
    // Properly signed, it takes the place of the damaged one.
    assert_eq!(pay(&wire, &domain, &key, (damaged, 501)).await, Err(Refusal::ChannelClosing), "it is kept");
    let closed = channel(node, "closed", damaged, |view| view.channel.status == status).await;
    assert_eq!(closed.channel.paid, Amount::new(501));
    wait_for("the warning to go", LIMIT, async || {
        let said = said(node);
        if said.contains(&damaged.to_string()) { Err(said) } else { Ok(()) }
    })
    .await
    .unwrap();
    agent.stop().await;
}
