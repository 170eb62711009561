//! A server that stops finishes what it has in hand, and says goodbye.

use std::time::Duration;

use privatix_channel::Amount;
use privatix_somc::{ClientError, Paid, Refusal};
use tokio::time::Instant;

use crate::common::{
    Gate, Raw, Running, Script, generous, in_memory, limits, offering, soon, until, voucher,
};

/// Acknowledges payments that passed the gate.
fn gated(gate: &Gate) -> Script {
    let gate = gate.clone();
    Script::new().pay(move |voucher| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(Paid { cumulative: voucher.cumulative() })
        }
    })
}

#[tokio::test]
async fn what_is_in_hand_is_answered_and_nothing_new_is_taken() {
    let gate = Gate::closed();
    let running = Running::start(gated(&gate), generous()).await;
    let client = running.client().await;
    let payments: Vec<_> = (1..=5)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.pay(voucher(number, 3)).await })
        })
        .collect();
    // Two behind the first of a channel, which no call has reached yet.
    let behind: Vec<_> = (4..=5)
        .map(|amount| {
            let client = client.clone();
            tokio::spawn(async move { client.pay(voucher(1, amount)).await })
        })
        .collect();
    until(|| running.server.stats().payments == 7 && gate.came() == 5).await;
    let mut greeting = Raw::dial(running.socket).await;
    until(|| running.server.stats().connections == 2).await;

    running.shutdown.cancel();
    assert_eq!(greeting.bye().await.0, "shutting_down");
    assert!(running.connect().await.is_err(), "the port is closed");
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    assert!(!running.task.is_finished());
    gate.open();
    for payment in payments.into_iter().chain(behind) {
        assert!(soon(payment).await.unwrap().unwrap().cumulative >= Amount::new(3));
    }
    let error = soon(late).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Bye(Refusal::ShuttingDown)) && error.is_unprocessed(), "{error}");
    soon(client.closed()).await;
    soon(running.task).await.unwrap();
    assert_eq!(running.server.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_grace_ends_each_call_is_told_that_its_effect_is_unknown() {
    let grace = Duration::from_secs(5);
    let gate = Gate::closed();
    let limits = limits(|limits| {
        limits.shutdown_grace = grace;
        limits.max_calls = 1;
    });
    let service = gated(&gate).offering(|_| std::future::pending());
    let (memory, server, shutdown, task) = in_memory(service, limits);
    let client = memory.client().await;
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.pay(voucher(1, 1)).await }
    });
    until(|| gate.came() == 1).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.offering(offering(1)).await }
    });
    until(|| server.stats().requests == 2).await;
    let start = Instant::now();
    shutdown.cancel();
    task.await.unwrap();
    assert!(start.elapsed() >= grace && start.elapsed() <= grace + Duration::from_secs(3));
    let error = under_way.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Timeout)) && !error.is_unprocessed(), "{error}");
    // What never reached the service is told so.
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(error, ClientError::Refused(Refusal::ShuttingDown)) && error.is_unprocessed(),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_the_server_ends_its_connections_at_once() {
    let gate = Gate::closed();
    let running = Running::start(gated(&gate), generous()).await;
    let client = running.client().await;
    let payment = tokio::spawn({
        let client = client.clone();
        async move { client.pay(voucher(1, 1)).await }
    });
    until(|| gate.came() == 1).await;
    running.task.abort();
    let error = soon(payment).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    until(|| running.server.stats().connections == 0).await;
}

#[tokio::test]
async fn one_server_serves_several_listeners_within_the_same_limits() {
    let running = Running::start(Script::paid(), limits(|limits| limits.max_strangers = 1)).await;
    let listener = privatix_somc::DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let second = listener.local_addr();
    let serving = tokio::spawn({
        let (server, shutdown) = (running.server.clone(), running.shutdown.clone());
        async move { server.serve(listener, shutdown).await }
    });
    let client = running.client().await;
    let raw = Raw::connect(second).await;
    soon(client.closed()).await; // it made room for the other
    until(|| running.server.stats().connections == 1).await;
    drop(raw);
    running.stop().await;
    soon(serving).await.unwrap();
}
