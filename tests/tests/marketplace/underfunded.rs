//! A client whose account has no ether: its orders about channels wait for none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use privatix_channel::{Amount, ChannelDescriptor, ChannelId, ChannelStatus};
use privatix_client::Given;
use privatix_market::{Actual, ClientEnd, ClientPurpose, ClientState, Outcome, Trouble};
use privatix_testkit::wait_for;
use tokio::sync::watch;

use crate::decided::Buyer;
use crate::market::{CLIENT, LIMIT, Market, by_the_kib, channel, direct, publish, service};

/// How soon an order takes effect.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What each decision of the client about its channels has stored.
type States = watch::Receiver<Vec<ClientState>>;

/// Waits until the state of a channel satisfies a condition, and returns how long after `since` that was.
async fn decided(
    states: &mut States,
    id: ChannelId,
    since: Instant,
    holds: impl Fn(&ClientState) -> bool,
) -> Duration {
    let holds = |states: &Vec<ClientState>| states.iter().any(|state| state.id == id && holds(state));
    tokio::time::timeout(LIMIT, states.wait_for(holds)).await.expect("it was not decided").unwrap();
    since.elapsed()
}

fn closes(state: &ClientState) -> bool {
    let requests = |purpose| matches!(purpose, ClientPurpose::RequestClose { .. });
    state.own.flights.iter().any(|flight| requests(flight.purpose))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_an_end_and_a_close_take_effect_at_once_while_a_top_up_waits_for_ether() {
    let market = Market::new().await;
    market.contracts.deposit(&market.anvil, CLIENT, Amount::new(600_000)).await.unwrap();
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let (seen, mut states) = watch::channel(Vec::<ClientState>::new());
    let views = move |state: &ClientState, _: u64| {
        seen.send_modify(|states| {
            states.retain(|before| before.id != state.id);
            states.push(state.clone());
        });
    };
    let buyer = Buyer::start_seen_by(&market, &direct(), Arc::new(views)).await;
    let (descriptor, opening) = buyer.choose(&market, offering, Amount::new(200_000)).await;
    let orders = buyer.decisions.orders();
    let mut ids = Vec::new();
    for nonce in [5, 6] {
        let descriptor = ChannelDescriptor { nonce, ..descriptor };
        ids.push(orders.accept(&descriptor, &opening, Given::by_user()).await.unwrap().channel);
    }
    for id in &ids {
        service(&buyer.node, *id, "active").await;
        channel(&buyer.node, "the setup to be paid", *id, |view| !view.acknowledged.is_zero()).await;
    }
    let [ended, closed] = ids[..] else { unreachable!() };

    // Both top-ups are submitted, and wait for ether.
    let account = market.anvil.account(CLIENT);
    let has = market.anvil.balance(account).await.unwrap();
    market.anvil.set_balance(account, U256::ZERO).await.unwrap();
    let mut top_ups = Vec::new();
    for id in [ended, closed] {
        top_ups.push(orders.top_up(id, Amount::new(50_000), Given::by_user()).await.unwrap());
    }
    wait_for("the top-ups to wait for ether", LIMIT, async || {
        let open =
            buyer.node.transactor().unwrap().open_intents(&mut buyer.node.db().read().await.unwrap()).await;
        let open = open.unwrap();
        let waiting = open.iter().filter(|intent| intent.obstacle.is_some()).count();
        if waiting == 2 { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await
    .unwrap();

    // A pause, its end, and a pause again: it ends paused.
    let since = Instant::now();
    orders.pause(ended, Given::by_user()).await.unwrap();
    let actual = |actual| move |state: &ClientState| state.own.service.actual == actual;
    let paused = decided(&mut states, ended, since, actual(Actual::Suspended)).await;
    assert!(paused < AT_ONCE, "the pause: {paused:?}");
    let since = Instant::now();
    for pauses in [false, true, false, true] {
        let ordered = if pauses {
            orders.pause(ended, Given::by_user()).await
        } else {
            orders.resume(ended, Given::by_user()).await
        };
        ordered.unwrap();
    }
    let is_paused = |state: &ClientState| {
        let service = &state.own.service;
        state.own.paused && service.actual == Actual::Suspended && service.asked.is_none()
    };
    let paused = decided(&mut states, ended, since, is_paused).await;
    assert!(paused < AT_ONCE, "the last pause: {paused:?}");
    assert_eq!(service(&buyer.node, ended, "suspended").await.channel.status, ChannelStatus::Active);
    // It stays so, whatever is decided next.
    market.anvil.mine(2).await.unwrap();
    let newest = market.anvil.block_number().await.unwrap();
    wait_for("the next blocks", LIMIT, async || {
        let processed = buyer.node.processed_block();
        if processed >= Some(newest) { Ok(()) } else { Err(format!("{processed:?}")) }
    })
    .await
    .unwrap();
    assert!(states.borrow().iter().any(|state| state.id == ended && is_paused(state)));

    // The end.
    let since = Instant::now();
    orders.end(ended, Given::by_user()).await.unwrap();
    let gone = |state: &ClientState| {
        let why = state.own.ending.map(|ending| ending.why);
        why == Some(ClientEnd::ByOrder) && state.own.service.actual == Actual::Absent
    };
    let took = decided(&mut states, ended, since, gone).await;
    assert!(took < AT_ONCE, "the end: {took:?}");

    // The close: the service is stopped, and the request goes to the transactor.
    let since = Instant::now();
    orders.close(closed, Given::by_user()).await.unwrap();
    let took = decided(&mut states, closed, since, |state| {
        state.own.service.actual == Actual::Absent && closes(state)
    })
    .await;
    assert!(took < AT_ONCE, "the close: {took:?}");
    // Neither top-up is made any more.
    for top_up in top_ups {
        let ended = wait_for("the top-up to end", LIMIT, async || {
            let order = orders.get(top_up.order).await.unwrap().unwrap();
            order.ended.ok_or("it is under way")
        });
        assert_eq!(ended.await.unwrap().0, Outcome::Failed(Trouble::Ended));
    }

    market.anvil.set_balance(account, has).await.unwrap();
    for node in [&buyer.node, agent.handle.node()] {
        let is_asked = |status: ChannelStatus| status == ChannelStatus::InChallenge || status.is_closed();
        let view = channel(node, "asked to close", closed, |view| is_asked(view.channel.status)).await;
        assert_eq!(view.channel.deposit, Amount::new(200_000), "{view:?}");
    }
    drop(orders); // it holds the database
    buyer.stop().await;
    agent.stop().await;
}
