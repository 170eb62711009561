//! An agent that goes and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, future::join_all};
use parking_lot::Mutex;
use privatix_channel::Amount;
use privatix_offering::Addresses;
use privatix_somc::{
    BoxStream, ClientError, DirectTransport, Paid, Peer, Refusal, RetryPolicy, SomcAddress, SourceType,
    Transport, TransportError,
};
use serde_json::json;
use tokio::{sync::Notify, time::Instant};

use crate::common::{
    RawAgent, Running, Script, access_request, generous, in_memory, offering, patient, pong, sealed, soon,
    voucher,
};

fn retry(attempts: u32) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    (policy.attempts, policy.first_pause) = (attempts, Duration::from_millis(1));
    policy
}

fn peer(address: SomcAddress, attempts: u32) -> Peer {
    Peer::new(Arc::new(DirectTransport::anywhere()), address, patient(), retry(attempts))
}

/// Counts dials, and tells of each that failed.
#[derive(Default)]
struct Counting {
    dials: AtomicUsize,
    failed: Notify,
}

#[async_trait]
impl Transport for Counting {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        self.dials.fetch_add(1, SeqCst);
        let dialled = DirectTransport::anywhere().connect(address).await;
        if dialled.is_err() {
            self.failed.notify_one();
        }
        dialled
    }
}

#[tokio::test]
async fn it_dials_when_needed_and_everybody_shares_the_connection() {
    let running = Running::start(Script::paid(), generous()).await;
    let peer = peer(running.address(), 1);
    assert_eq!(running.server.stats().accepted, 0);
    let payments = join_all((0..50).map(|number| {
        let peer = peer.clone();
        async move { peer.pay(voucher(number, 1)).await }
    }));
    assert!(soon(payments).await.into_iter().all(|paid| paid.is_ok()));
    assert_eq!(running.server.stats().accepted, 1);
    peer.disconnect();
    soon(peer.ping()).await.unwrap();
    assert_eq!(running.server.stats().accepted, 2);
}

#[tokio::test]
async fn it_goes_on_after_the_agent_restarted() {
    let running = Running::start(Script::paid(), generous()).await;
    let (socket, peer) = (running.socket, peer(running.address(), 100));
    soon(peer.pay(voucher(1, 1))).await.unwrap();
    running.stop().await;
    let running = Running::start_at(socket, Script::paid(), generous()).await;
    let paid = soon(peer.pay(voucher(1, 2))).await.unwrap();
    assert_eq!(paid.cumulative, Amount::new(2));
    running.stop().await;
}

#[tokio::test]
async fn a_payment_made_while_the_agent_is_away_arrives_when_it_is_back() {
    let running = Running::start(Script::paid(), generous()).await;
    let (socket, address) = (running.socket, running.address());
    running.stop().await;
    let transport = Arc::new(Counting::default());
    let peer = Peer::new(transport.clone(), address, patient(), retry(100_000));
    let payment = tokio::spawn(async move { peer.pay(voucher(1, 7)).await });
    soon(transport.failed.notified()).await;
    soon(transport.failed.notified()).await;
    let _running = Running::start_at(socket, Script::paid(), generous()).await;
    assert_eq!(soon(payment).await.unwrap().unwrap(), Paid { cumulative: Amount::new(7) });
}

#[tokio::test]
async fn it_gives_up_after_the_attempts_it_was_given() {
    let agent = RawAgent::bind().await;
    let address = agent.address();
    drop(agent);
    let transport = Arc::new(Counting::default());
    let peer = Peer::new(transport.clone(), address.clone(), patient(), retry(5));
    let error = soon(peer.ping()).await.unwrap_err();
    let ClientError::Transport(cause) = &error else { panic!("{error}") };
    assert!(matches!(&**cause, TransportError::Unreachable { address: named, .. } if *named == address));
    assert_eq!(transport.dials.load(SeqCst), 5);
    // No attempt at all makes no sense: it counts as one.
    let peer = Peer::new(transport.clone(), address, patient(), retry(0));
    soon(peer.ping()).await.unwrap_err();
    assert_eq!(transport.dials.load(SeqCst), 6);
}

/// An address where nobody listens any more.
async fn dead() -> SomcAddress {
    RawAgent::bind().await.address()
}

#[tokio::test]
async fn an_agent_that_is_away_from_one_address_is_reached_at_the_next_and_there_again() {
    let running = Running::start(Script::paid(), generous()).await;
    let (first, transport) = (dead().await, Arc::new(Counting::default()));
    let addresses = Addresses::new([first.clone(), dead().await, running.address()]).unwrap();
    let peer = Peer::new(transport.clone(), addresses, patient(), retry(1));
    assert_eq!(peer.address(), first);
    soon(peer.ping()).await.unwrap();
    assert_eq!((transport.dials.load(SeqCst), peer.address()), (3, running.address()));
    peer.disconnect();
    soon(peer.pay(voucher(1, 1))).await.unwrap();
    assert_eq!(transport.dials.load(SeqCst), 4, "it begins where it was reached last");

    // That address fails later: the others are tried again.
    running.stop().await;
    peer.disconnect();
    soon(peer.ping()).await.unwrap_err();
    assert_eq!(transport.dials.load(SeqCst), 7);
}

#[tokio::test]
async fn an_agent_that_is_at_none_of_its_addresses_is_sought_again_and_each_failure_is_named() {
    let (one, other) = (dead().await, dead().await);
    let transport = Arc::new(Counting::default());
    let addresses = Addresses::new([one.clone(), other.clone()]).unwrap();
    let peer = Peer::new(transport.clone(), addresses, patient(), retry(3));
    let error = soon(peer.access(access_request(1))).await.unwrap_err();
    assert!(matches!(&error, ClientError::NoneReached(failures) if failures.len() == 2), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("the agent is reached at none of its addresses: cannot reach {one}: "))
    );
    assert!(error.to_string().contains(&format!("; cannot reach {other}: ")), "{error}");
    assert_eq!(transport.dials.load(SeqCst), 6);
}

#[tokio::test]
async fn an_address_where_somebody_else_or_nobody_answers_is_passed_over() {
    let running = Running::start(Script::paid(), generous()).await;
    let (stranger, silent, leaving) =
        (RawAgent::bind().await, RawAgent::bind().await, RawAgent::bind().await);
    let mut limits = patient();
    limits.connect_timeout = Duration::from_millis(500);
    let addresses = [stranger.address(), silent.address(), leaving.address(), running.address()];
    let addresses = Addresses::new(addresses).unwrap();
    let peer = Peer::new(Arc::new(DirectTransport::anywhere()), addresses, limits, retry(100));
    let strangers = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            tokio::select! {
                mut connection = stranger.accept() => {
                    connection.send_text("220 mail.example").await;
                    held.push(connection);
                }
                connection = leaving.accept() => drop(connection),
            }
        }
    });
    soon(peer.ping()).await.unwrap();
    assert_eq!(peer.address(), running.address());
    strangers.abort();
}

/// Reaches direct addresses in memory, onion addresses never, and notes when each was dialled.
struct DirectOnly<T> {
    direct: T,
    /// Whether it knows at once that onion addresses are out of reach, because there is no way onto Tor.
    offline: bool,
    dialled: Mutex<Vec<(SourceType, Instant)>>,
}

#[async_trait]
impl<T: Transport> Transport for DirectOnly<T> {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        self.dialled.lock().push((address.kind(), Instant::now()));
        match address.kind() {
            SourceType::Direct => self.direct.connect(address).await,
            _ if self.offline => Err(TransportError::Offline("no Tor".into())),
            _ => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_preferred_kind_is_dialled_first_each_time_and_has_the_whole_time_for_a_connection() {
    let (memory, ..) = in_memory(Script::paid(), generous());
    let transport = Arc::new(DirectOnly { direct: memory, offline: false, dialled: Mutex::default() });
    let onion = |number| SomcAddress::onion(&[number; 32], 80).unwrap();
    let addresses = Addresses::new([onion(1), onion(2), onion(3), crate::common::somewhere()]).unwrap();
    let mut limits = patient();
    limits.connect_timeout = Duration::from_mins(1);
    let peer = Peer::new(transport.clone(), addresses, limits, retry(1));
    for _ in 0..2 {
        let begun = Instant::now();
        peer.ping().await.unwrap();
        let dialled: Vec<_> = std::mem::take(&mut *transport.dialled.lock())
            .into_iter()
            .map(|(kind, at)| (kind, (at - begun).as_secs()))
            .collect();
        let (tor, direct) = (SourceType::Tor, SourceType::Direct);
        assert_eq!(dialled, [(tor, 0), (tor, 30), (tor, 45), (direct, 60)]);
        peer.disconnect();
    }
}

#[tokio::test]
async fn a_network_that_this_side_is_not_on_is_tried_with_one_address_and_is_not_the_agents_fault() {
    let (memory, ..) = in_memory(Script::paid(), generous());
    let transport = Arc::new(DirectOnly { direct: memory, offline: true, dialled: Mutex::default() });
    let onion = |number| SomcAddress::onion(&[number; 32], 80).unwrap();
    let kinds = || transport.dialled.lock().drain(..).map(|(kind, _)| kind).collect::<Vec<_>>();
    let addresses = Addresses::new([onion(1), onion(2), crate::common::somewhere()]).unwrap();
    soon(Peer::new(transport.clone(), addresses, patient(), retry(1)).ping()).await.unwrap();
    assert_eq!(kinds(), [SourceType::Tor, SourceType::Direct]);

    let onions = Addresses::new([onion(1), onion(2)]).unwrap();
    let error = soon(Peer::new(transport.clone(), onions, patient(), retry(1)).ping()).await.unwrap_err();
    assert!(error.is_offline() && error.is_unprocessed(), "{error:?}");
    assert_eq!((error.to_string().as_str(), kinds().len()), ("no Tor", 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_somebody_waits_for_is_tried_once_and_shares_the_connection() {
    let (memory, ..) = in_memory(Script::paid(), generous());
    let transport = Arc::new(DirectOnly { direct: memory, offline: false, dialled: Mutex::default() });
    let onion = SomcAddress::onion(&[1; 32], 80).unwrap();
    let addresses = Addresses::new([onion.clone(), crate::common::somewhere()]).unwrap();
    let patient_peer = Peer::new(transport.clone(), addresses, patient(), retry(5));
    let begun = Instant::now();
    patient_peer.tried_once(Duration::from_secs(20)).ping().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(20), "the onion service had no more than its time");
    patient_peer.ping().await.unwrap();
    assert_eq!(transport.dialled.lock().len(), 2, "over the same connection");

    let away = Peer::new(transport.clone(), onion, patient(), retry(5)).tried_once(Duration::from_secs(20));
    away.ping().await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(40));
}

#[tokio::test]
async fn an_agent_that_refuses_is_not_asked_at_another_address() {
    let agent = RawAgent::bind().await;
    let transport = Arc::new(Counting::default());
    let addresses = Addresses::new([agent.address(), dead().await]).unwrap();
    let peer = Peer::new(transport.clone(), addresses, patient(), retry(1));
    let asking = tokio::spawn(async move { peer.ping().await });
    let mut connection = agent.accept().await;
    connection.send(&json!({ "bye": { "code": "busy", "details": { "retryAfterMs": 1 } } })).await;
    let error = soon(asking).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Bye(Refusal::Busy { .. })), "{error}");
    assert_eq!(transport.dials.load(SeqCst), 1);
}

#[tokio::test]
async fn what_will_not_change_is_not_repeated() {
    let running = Running::start(Script::new(), generous()).await;
    let peer = peer(running.address(), 100);
    soon(peer.pay(voucher(1, 1))).await.unwrap_err();
    soon(peer.offering(offering(1))).await.unwrap_err();
    soon(peer.access(access_request(1))).await.unwrap_err();
    assert_eq!(running.server.stats().requests, 3);
}

#[tokio::test]
async fn a_payment_whose_answer_was_lost_is_repeated() {
    let agent = RawAgent::bind().await;
    let peer = peer(agent.address(), 10);
    let payment = tokio::spawn(async move { peer.pay(voucher(1, 5)).await });
    let mut first = agent.accept_and_greet().await;
    let asked = first.receive().await.unwrap();
    drop(first);
    let mut second = agent.accept_and_greet().await;
    assert_eq!(second.receive().await.unwrap()["params"], asked["params"]);
    second.send(&json!({ "id": 0, "ok": { "cumulative": "5" } })).await;
    soon(payment).await.unwrap().unwrap();
}

#[tokio::test]
async fn access_that_may_have_been_given_is_not_asked_for_twice() {
    let agent = RawAgent::bind().await;
    let peer = peer(agent.address(), 10);
    let access = tokio::spawn(async move { peer.access(access_request(1)).await });
    let mut first = agent.accept_and_greet().await;
    first.receive().await.unwrap();
    drop(first);
    let error = soon(access).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn access_that_was_certainly_not_given_is_asked_for_again() {
    let agent = RawAgent::bind().await;
    let peer = peer(agent.address(), 10);
    let access = tokio::spawn(async move { peer.access(access_request(1)).await });
    // Turned away, then not processed, then not ready.
    let mut connection = agent.accept().await;
    connection.send(&json!({ "bye": { "code": "busy", "details": { "retryAfterMs": 1 } } })).await;
    drop(connection);
    let mut connection = agent.accept_and_greet().await;
    let asked = connection.receive().await.unwrap();
    connection.send(&json!({ "bye": { "code": "shutting_down" } })).await;
    drop(connection);
    let mut connection = agent.accept_and_greet().await;
    assert_eq!(connection.receive().await.unwrap()["params"], asked["params"]);
    connection
        .send(&json!({ "id": 0, "error": { "code": "not_ready", "details": { "retryAfterMs": 1 } } }))
        .await;
    assert_eq!(connection.receive().await.unwrap()["params"], asked["params"]);
    connection.send(&json!({ "id": 1, "ok": sealed(1, 50) })).await;
    assert_eq!(soon(access).await.unwrap().unwrap(), sealed(1, 50));
}

#[tokio::test(start_paused = true)]
async fn it_waits_as_long_as_the_agent_asks_for_and_no_longer_than_it_may() {
    let asked =
        Arc::new(Mutex::new(vec![Duration::from_secs(6), Duration::from_secs(5), Duration::from_secs(3)]));
    let service = Script::new().pay(move |voucher| {
        let next = asked.lock().pop();
        async move {
            match next {
                Some(retry_after) => Err(Refusal::not_ready(retry_after)),
                None => Ok(Paid { cumulative: voucher.cumulative() }),
            }
        }
    });
    let (memory, ..) = in_memory(service, generous());
    let peer = Peer::new(Arc::new(memory), crate::common::somewhere(), patient(), retry(100));
    let start = tokio::time::Instant::now();
    let error = peer.pay(voucher(1, 1)).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(3 + 5));
    // Longer than the policy's longest pause: for the caller to decide.
    assert_eq!(error.refusal().and_then(Refusal::retry_after), Some(Duration::from_secs(6)));
    peer.pay(voucher(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_answered_is_left_for_a_new_one() {
    let agent = RawAgent::bind().await;
    let mut limits = patient();
    limits.request_timeout = Duration::from_millis(100);
    let peer = Peer::new(Arc::new(DirectTransport::anywhere()), agent.address(), limits, retry(100_000));
    let asking = tokio::spawn(async move { peer.ping().await });
    let mut silent = agent.accept_and_greet().await;
    silent.receive().await.unwrap();
    // However slow this machine is, one of the new connections answers in time.
    let answering = tokio::spawn(async move {
        loop {
            let mut connection = agent.accept_and_greet().await;
            while connection.receive().await.is_some() {
                connection.send(&pong(0)).await;
            }
        }
    });
    soon(asking).await.unwrap().unwrap();
    answering.abort();
}

#[tokio::test]
async fn a_dial_that_nobody_waits_for_any_more_is_given_up() {
    /// Never connects, and tells when it is dropped.
    struct Never(Arc<AtomicUsize>);
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    #[async_trait]
    impl Transport for Never {
        async fn connect(&self, _: &SomcAddress) -> Result<BoxStream, TransportError> {
            let _dropped = Dropped(Arc::clone(&self.0));
            std::future::pending().await
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let peer =
        Peer::new(Arc::new(Never(Arc::clone(&dropped))), crate::common::somewhere(), patient(), retry(1));
    let (mut one, mut other) = (Box::pin(peer.ping()), Box::pin(peer.ping()));
    assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
    drop(one);
    assert_eq!(dropped.load(SeqCst), 0, "another still waits");
    drop(other);
    assert_eq!(dropped.load(SeqCst), 1);
}
