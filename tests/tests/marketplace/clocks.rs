//! Machines whose clocks are wrong: the chain's time is what both sides see.

use std::time::{Duration, SystemTime};

use privatix_agent::OfferingOrder;
use privatix_channel::{Amount, Period};
use privatix_market::ClockSkew;
use privatix_node::{Node, NodeError};
use privatix_offering::{AccessKey, AccessRequest, SignedOffering, Templates};
use privatix_somc::{Client, ClientError, ClientLimits, DirectTransport, Refusal};
use privatix_store::channels;
use privatix_testkit::wait_for;

use crate::hostile::{LIAR, Liar, announce, message, sealer};
use crate::market::{CLIENT, LIMIT, Market, available, by_the_kib, service};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_a_client_whose_clock_is_wrong_has_access_by_the_chains_time() {
    let market = Market::new().await;
    let client = market.client().await;
    let key = market.anvil.key(LIAR);
    let offering = SignedOffering::sign(&message(&market, LIAR), &Templates::builtin(), &key).unwrap();
    // The chain, and an agent whose clock is right, are an hour ahead of the client's machine.
    market.anvil.warp(Period::new(3_600)).await.unwrap();
    let seal = sealer(&market, &client.handle);
    let access = move |request: &AccessRequest| {
        let now = (SystemTime::now() + HOUR).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let away = now.abs_diff(Duration::from_millis(request.issued_at));
        if away > Duration::from_mins(5) {
            Err(Refusal::Expired { away })
        } else {
            Ok(seal(request, request.recipient))
        }
    };
    let _server = announce(&market, offering.hash(), Liar::new(offering.wire(), access)).await;
    available(&client.handle, offering.hash()).await;
    let id = client.handle.accept(None, offering.hash(), None).await.unwrap().channel;
    service(client.handle.node(), id, "active").await;
    let notices = client.handle.node().notices().all();
    let named = notices.iter().find(|(part, _)| *part == "clock");
    assert!(named.is_some_and(|(_, notice)| notice.contains("this machine's clock")), "{notices:?}");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_an_agent_whose_clock_is_wrong_gives_access_by_the_chains_time() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    client.stop().await;
    let node = agent.handle.node();
    let descriptor = channels::get(&mut node.db().read().await.unwrap(), id).await.unwrap().descriptor;
    market.anvil.warp(Period::new(3_600)).await.unwrap();
    wait_for("the agent to see the chain's time", LIMIT, async || {
        let ahead = node.chain_now().and_then(|now| now.duration_since(SystemTime::now()).ok());
        ahead.filter(|ahead| *ahead > HOUR / 2).ok_or(format!("{ahead:?}"))
    })
    .await
    .unwrap();

    let (domain, signer) = (market.contracts.domain, market.anvil.key(CLIENT));
    let transport = DirectTransport::anywhere();
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let ask = async |ahead: Duration| {
        let (key, at) = (AccessKey::generate(), SystemTime::now() + ahead);
        let request = AccessRequest::sign(&descriptor, &domain, key.public(), at, &signer).unwrap();
        match wire.access(request).await {
            Ok(_) => true,
            Err(ClientError::Refused(Refusal::Expired { .. })) => false,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(ask(Duration::ZERO).await, "by its own clock");
    assert!(ask(HOUR).await, "by the chain's time");
    assert!(!ask(2 * HOUR).await, "a time that nobody has seen");
    assert!(!ask(HOUR / 2).await);
    agent.stop().await;
}

/// Waits until a node finds that its clock agrees with the chain, or that it does not.
async fn agrees(node: &Node, agrees: bool) {
    wait_for(format!("agreement of the clocks: {agrees}"), LIMIT, async || match node.clock_skew() {
        skew if skew.is_none() == agrees && node.chain_now().is_some() => Ok(()),
        skew => Err(format!("{skew:?}")),
    })
    .await
    .unwrap();
}

fn contradiction(refused: &NodeError) -> ClockSkew {
    let NodeError::Clock(skew) = refused else { panic!("{refused:?}") };
    let said = refused.to_string();
    assert!(said.contains(&skew.to_string()) && said.contains("chain.max_clock_skew"), "{said}");
    *skew
}

#[tokio::test(flavor = "multi_thread")]
async fn no_money_is_locked_while_the_clock_contradicts_the_chain() {
    let mut market = Market::behind(HOUR).await;
    let url = market.anvil.url().to_owned();
    let (agent, client) = (market.agent_over(&url).await, market.client_at(&url).await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    agent.stop().await;
    client.stop().await;

    market.max_clock_skew = ClockSkew::MOST;
    let (agent, client) = (market.agent_over(&url).await, market.client_at(&url).await);
    let nodes = [agent.handle.node().clone(), client.handle.node().clone()];
    for node in &nodes {
        agrees(node, false).await;
    }
    let refused = client.handle.accept(None, offering, None).await.unwrap_err();
    let ClockSkew { wall, chain } = contradiction(&refused);
    let apart =
        Period::new(3_600).seconds().abs_diff(privatix_channel::ChainTime::from(wall).since(chain).seconds());
    assert!(apart < 600, "{refused}");
    assert!(client.handle.node().channels(10).await.unwrap().is_empty());
    let mut other = by_the_kib();
    other.additional["protocols"] = serde_json::json!(["http"]);
    let draft = agent.handle.create_offering(other).await.unwrap().hash();
    market.contracts.deposit(&market.anvil, crate::market::AGENT, Amount::new(100_000_000)).await.unwrap();
    contradiction(&agent.handle.change_offering(draft, OfferingOrder::Publish).await.unwrap_err());

    // The chain's time agrees with the clock.
    market.anvil.warp(Period::new(3_600)).await.unwrap();
    for node in &nodes {
        agrees(node, true).await;
    }
    agent.handle.change_offering(draft, OfferingOrder::Publish).await.unwrap();
    available(&client.handle, draft).await;
    let (channel, _) = market.buy(&agent.handle, &client.handle, offering, None).await;

    // And is ahead of it.
    market.anvil.warp(Period::new(3_600)).await.unwrap();
    agrees(client.handle.node(), false).await;
    let amount = Amount::new(1_000);
    let ClockSkew { wall, chain } = contradiction(&client.handle.top_up(channel, amount).await.unwrap_err());
    assert!(chain > wall.into());
    service(client.handle.node(), channel, "active").await;
    agent.stop().await;
    client.stop().await;
}
