//! Agents that are away for long, and offerings that a reorganisation takes.

use std::time::Duration;

use privatix_channel::{Amount, OfferingHash, Period};
use privatix_client::{ClientHandle, ClientSettings, Filter, Listing, Unlisted};
use privatix_contracts::call;
use privatix_jobs::JobStatus;
use privatix_offering::{SignedOffering, Templates};
use privatix_somc::{DirectListener, Refusal, SomcAddress};
use privatix_testkit::wait_for;

use crate::hostile::{LIAR, Liar, announce_at, message, problem};
use crate::market::{LIMIT, Market, available, by_the_kib, direct, publish, service};

/// Pauses of which many fit into a test.
fn in_haste() -> ClientSettings {
    let mut settings = direct();
    settings.offerings.ask_first = Duration::from_millis(20);
    settings.offerings.ask_longest = Duration::from_millis(100);
    settings.offerings.refresh_every = Duration::from_millis(200);
    settings.offerings.unseen_for = Duration::from_secs(3);
    settings
}

/// Waits until an offering stands so.
async fn stands(
    client: &ClientHandle,
    offering: OfferingHash,
    what: &str,
    holds: impl Fn(&Listing) -> bool,
) -> Listing {
    wait_for(what, LIMIT, async || {
        let found = client.browse(&Filter::default(), 10).await.unwrap();
        let found = found.into_iter().find(|listing| listing.offering.hash == offering).ok_or("not known")?;
        if holds(&found) { Ok(found) } else { Err("it does not stand so") }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_away_for_long_is_asked_until_it_is_back_and_is_shown_while_it_answers() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    agent.stop().await;

    let client = market.client_with(in_haste()).await;
    problem(&client.handle, offering).await;
    let asked = privatix_jobs::Filter::new().kind("ask_offering").status(JobStatus::Done);
    wait_for("more requests than there were tries once", LIMIT, async || {
        let mut conn = client.handle.node().db().read().await.unwrap();
        let asked = privatix_jobs::list(&mut conn, &asked).await.unwrap().jobs.len();
        if asked > 12 { Ok(()) } else { Err(asked) }
    })
    .await
    .unwrap();
    let agent = market.agent().await;
    available(&client.handle, offering).await;

    // It goes away again: it is shown for a while, and then no more.
    agent.stop().await;
    let silent = stands(&client.handle, offering, "it to be hidden", |listing| {
        matches!(listing.unlisted, Some(Unlisted::Unseen { .. }))
    });
    let silent = silent.await;
    assert!(silent.message.is_some() && silent.seen_at.is_some());
    assert!(silent.offering.problem.unwrap().contains("offerings.unseen_for"));
    let offered = Filter { available: true, ..Filter::default() };
    assert!(client.handle.browse(&offered, 10).await.unwrap().is_empty());
    let agent = market.agent().await;
    available(&client.handle, offering).await;
    client.stop().await;

    // One that is too old to be shown is accepted by its hash.
    let mut settings = in_haste();
    settings.offerings.expires_after = Period::new(0);
    let client = market.client_with(settings).await;
    let old = stands(&client.handle, offering, "it to be old", |listing| listing.unlisted.is_some()).await;
    assert!(matches!(old.unlisted, Some(Unlisted::Expired { .. })), "{old:?}");
    assert!(client.handle.browse(&offered, 10).await.unwrap().is_empty());
    let channel = client.handle.accept(None, offering, None).await.unwrap().channel;
    service(client.handle.node(), channel, "active").await;
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_a_reorganisation_takes_is_not_shown_until_it_is_made_again() {
    let market = Market::new().await;
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = SomcAddress::direct("127.0.0.1", listener.local_addr().port()).unwrap();
    let offering =
        SignedOffering::sign(&message(&market, LIAR), &Templates::builtin(), &market.anvil.key(LIAR));
    let offering = offering.unwrap();
    let later = |_: &_| Err(Refusal::not_ready(Duration::from_secs(1)));
    let liar = Liar::new(offering.wire(), later);
    let _server = announce_at(&market, offering.hash(), liar, listener).await;
    let client = market.client_with(in_haste()).await;
    available(&client.handle, offering.hash()).await;

    market.anvil.reorg(1).await.unwrap();
    market.anvil.mine(1).await.unwrap();
    wait_for("the offering to go", LIMIT, async || {
        match client.handle.browse(&Filter::default(), 10).await.unwrap().len() {
            0 => Ok(()),
            known => Err(known),
        }
    })
    .await
    .unwrap();
    let (kind, source) = (address.kind().number(), address.source());
    let register = call::register_offering(offering.hash(), Amount::new(10_740), 3, kind, source).unwrap();
    market.anvil.send(LIAR, market.contracts.contract, &register).await.unwrap();
    available(&client.handle, offering.hash()).await;
    client.stop().await;
}
