//! Machines whose clocks are wrong: the chain's time is what both sides see.

use std::time::{Duration, SystemTime};

use privatix_channel::Period;
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
