//! Many requests at once on one connection: order, coalescing, cancelling, fairness.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::join_all};
use parking_lot::Mutex;
use privatix_channel::Amount;
use privatix_somc::{Client, ClientError, Paid, Refusal};
use tokio::sync::Barrier;

use crate::common::{
    Gate, Raw, RawAgent, Running, Script, ask_for_access, channel, generous, limits, offering, patient, pong,
    soon, until, voucher,
};

#[tokio::test]
async fn an_answer_does_not_wait_for_that_of_an_earlier_request() {
    let gate = Gate::closed();
    let service = Script::paid().offering({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(vec![1])
            }
        }
    });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.offering(offering(1)).await }
    });
    until(|| gate.came() == 1).await;
    for amount in 1..=20 {
        soon(client.pay(voucher(1, amount))).await.unwrap();
        soon(client.ping()).await.unwrap();
    }
    assert!(!slow.is_finished());
    gate.open();
    assert_eq!(soon(slow).await.unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn requests_of_different_channels_and_methods_are_answered_at_the_same_time() {
    // Each call waits for all the others: one after the other they would never end.
    let barrier = Arc::new(Barrier::new(30));
    let meet = move || {
        let barrier = Arc::clone(&barrier);
        async move { barrier.wait().await }
    };
    let service = Script::new()
        .pay({
            let meet = meet.clone();
            move |voucher| meet().map(move |_| Ok(Paid { cumulative: voucher.cumulative() }))
        })
        .offering({
            let meet = meet.clone();
            move |_| meet().map(|_| Ok(vec![7]))
        })
        .access(move |request| {
            meet().map(move |_| Err(Refusal::UnknownChannel { channel: request.channel }))
        });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let payments = join_all((1..=20).map(|number| client.pay(voucher(number, number.into()))));
    let offerings = join_all((1..=5).map(|number| client.offering(offering(number))));
    let accesses = join_all((1..=5).map(|number| ask_for_access(&client, number)));
    let (payments, offerings, accesses) = soon(async { tokio::join!(payments, offerings, accesses) }).await;
    for (number, paid) in (1_u128..).zip(payments) {
        assert_eq!(paid.unwrap().cumulative, Amount::new(number), "each gets its own answer");
    }
    assert!(offerings.into_iter().all(|answer| answer.unwrap() == [7]));
    for (number, answer) in (1..).zip(accesses) {
        assert_eq!(
            answer.unwrap_err().refusal(),
            Some(&Refusal::UnknownChannel { channel: channel(number) })
        );
    }
}

#[tokio::test]
async fn of_the_payments_that_wait_only_the_highest_reaches_the_service() {
    let (gate, seen) = (Gate::closed(), Arc::new(Mutex::new(Vec::new())));
    let service = Script::new().pay({
        let (gate, seen) = (gate.clone(), Arc::clone(&seen));
        move |voucher| {
            seen.lock().push(voucher.cumulative().get());
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(Paid { cumulative: voucher.cumulative() })
            }
        }
    });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let payments: Vec<_> = (1..=100)
        .map(|amount| {
            let client = client.clone();
            tokio::spawn(async move { client.pay(voucher(1, amount)).await })
        })
        .collect();
    until(|| running.server.stats().payments == 100).await;
    gate.open();
    for (amount, payment) in (1..).zip(payments) {
        let paid = soon(payment).await.unwrap().unwrap();
        assert!(paid.cumulative >= Amount::new(amount), "{paid:?} does not acknowledge {amount}");
    }
    // The first to come, and then the highest of all the others: the first only if that was not the highest.
    let seen = seen.lock();
    assert!(seen.len() <= 2 && seen.contains(&100), "{seen:?}");
    assert_eq!(running.server.stats().payment_calls, u64::try_from(seen.len()).unwrap());
}

#[tokio::test]
async fn a_forged_payment_in_the_crowd_is_refused_alone() {
    let gate = Gate::closed();
    let service = Script::new().pay({
        let gate = gate.clone();
        move |voucher| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                match voucher.cumulative() {
                    forged if forged > Amount::new(50) => Err(Refusal::WrongSigner),
                    cumulative => Ok(Paid { cumulative }),
                }
            }
        }
    });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let payments: Vec<_> = [10, 40, 99, 50, 30, 77]
        .into_iter()
        .map(|amount| {
            let client = client.clone();
            tokio::spawn(async move { (amount, client.pay(voucher(1, amount)).await) })
        })
        .collect();
    until(|| running.server.stats().payments == 6).await;
    gate.open();
    for payment in payments {
        let (amount, answer) = soon(payment).await.unwrap();
        match answer {
            Ok(paid) => assert!(amount <= 50 && paid.cumulative >= Amount::new(amount)),
            Err(error) => assert!(amount > 50 && error.refusal() == Some(&Refusal::WrongSigner), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_request_given_up_disturbs_no_other() {
    let agent = RawAgent::bind().await;
    let address = agent.address();
    let dialled = tokio::spawn(async move {
        Client::connect(&privatix_somc::DirectTransport::anywhere(), &address, patient()).await
    });
    let mut connection = agent.accept_and_greet().await;
    let client = soon(dialled).await.unwrap().unwrap();

    let mut given_up = Box::pin(client.offering(offering(1)));
    assert!(given_up.as_mut().now_or_never().is_none(), "sent, not answered");
    assert_eq!(connection.receive().await.unwrap()["id"], 0);
    drop(given_up);
    let next = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    assert_eq!(connection.receive().await.unwrap()["id"], 1);
    // The late answer to what nobody waits for any more, then the other.
    connection.send(&serde_json::json!({ "id": 0, "ok": { "bytes": "0x01" } })).await;
    connection.send(&pong(1)).await;
    soon(next).await.unwrap().unwrap();
    assert!(!client.is_closed());
}

#[tokio::test]
async fn closing_ends_what_is_under_way_for_all_clones() {
    let service = Script::new().offering(|_| std::future::pending());
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.offering(offering(1)).await }
    });
    until(|| running.server.stats().requests == 1).await;
    client.clone().close();
    assert!(matches!(soon(waiting).await.unwrap(), Err(ClientError::Closed)));
    assert!(matches!(soon(client.ping()).await, Err(ClientError::Closed)));
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_payment_is_taken_although_its_client_has_gone() {
    let (gate, taken) = (Gate::closed(), Arc::new(Mutex::new(None)));
    let service = Script::new().pay({
        let (gate, taken) = (gate.clone(), Arc::clone(&taken));
        move |voucher| {
            let (gate, taken) = (gate.clone(), Arc::clone(&taken));
            async move {
                gate.pass().await;
                *taken.lock() = Some(voucher.cumulative());
                Ok(Paid { cumulative: voucher.cumulative() })
            }
        }
    });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let payment = tokio::spawn(async move { client.pay(voucher(1, 8)).await });
    until(|| gate.came() == 1).await;
    payment.abort();
    gate.open();
    until(|| *taken.lock() == Some(Amount::new(8))).await;
    until(|| running.server.stats().connections == 0).await;
}

#[tokio::test]
async fn a_flood_on_one_connection_leaves_the_others_served() {
    let service = Script::paid().offering(|_| std::future::pending());
    let running = Running::start(service, limits(|limits| limits.max_in_flight = 64)).await;
    let mut flood = Raw::connect(running.socket).await;
    for id in 0..1000 {
        // The server stops reading when so much is under way: sending must not wait for it.
        let message =
            serde_json::json!({ "id": id, "method": "offering", "params": { "hash": offering(1) } });
        let sent = flood.send(&message);
        if tokio::time::timeout(Duration::from_millis(50), sent).await.is_err() {
            break;
        }
    }
    let client = running.client().await;
    for amount in 1..=50 {
        soon(client.pay(voucher(1, amount))).await.unwrap();
    }
}
