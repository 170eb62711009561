//! Limits on connections, rates, work and time.

use std::{sync::Arc, time::Duration};

use privatix_channel::Amount;
use privatix_somc::{ClientError, Paid, RateLimit, Refusal, ServerLimits};
use tokio::{net::TcpStream, time::Instant};

use crate::common::{
    Gate, Raw, Running, Script, connect, connection_cost, generous, in_memory, limits, offering, patient,
    ping, pong, somewhere, soon, until, voucher,
};

/// The refusal that ended or prevented a connection.
fn bye(error: &ClientError) -> &Refusal {
    let (ClientError::Bye(refusal) | ClientError::Unauthenticated { refusal }) = error else {
        panic!("no bye: {error}")
    };
    assert!(error.is_unprocessed() && error.is_transient());
    refusal
}

#[tokio::test]
async fn an_idle_stranger_makes_room_for_the_next_and_is_told() {
    for limits in
        [limits(|limits| limits.max_strangers = 2), limits(|limits| limits.max_connections_per_peer = 2)]
    {
        let running = Running::start(Script::new(), limits).await;
        let (first, second) = (running.client().await, running.client().await);
        soon(first.ping()).await.unwrap();
        let third = running.client().await;
        soon(second.closed()).await;
        assert!(matches!(bye(&second.ping().await.unwrap_err()), Refusal::Busy { .. }));
        soon(first.ping()).await.unwrap();
        soon(third.ping()).await.unwrap();
        until(|| running.server.stats().connections == 2).await;
        let stats = running.server.stats();
        assert_eq!((stats.strangers, stats.dismissed, stats.turned_away), (2, 1, 0));
    }
}

#[tokio::test]
async fn newcomers_are_turned_away_only_while_every_stranger_is_being_answered() {
    let gate = Gate::closed();
    let at_the_gate = gate.clone();
    let service = Script::new().offering(move |_| {
        let gate = at_the_gate.clone();
        async move {
            gate.pass().await;
            Ok(vec![1])
        }
    });
    let running = Running::start(service, limits(|limits| limits.max_connections_per_peer = 2)).await;
    let (first, second) = (running.client().await, running.client().await);
    let asked = tokio::join!(first.offering(offering(1)), second.offering(offering(2)), async {
        until(|| gate.came() == 2).await;
        for _ in 0..100 {
            let error = running.connect().await.unwrap_err();
            assert!(matches!(bye(&error), Refusal::Busy { .. }), "{error}");
        }
        assert_eq!(running.server.stats().turned_away, 100);
        gate.open();
    });
    assert!(asked.0.is_ok() && asked.1.is_ok());
    running.still_serves().await;
}

/// This many connections that say hello and nothing else.
async fn crowd(running: &Running, count: usize) -> Vec<Raw<TcpStream>> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(Raw::connect(running.socket).await);
    }
    crowd
}

#[tokio::test]
async fn an_idle_crowd_at_its_address_keeps_no_payer_out_and_ends_no_payers_connection() {
    let running = Running::start(Script::paid(), generous()).await;
    let early = running.client().await;
    soon(early.pay(voucher(1, 10))).await.unwrap();
    let most = ServerLimits::default().max_connections_per_peer;

    let crowded = crowd(&running, most + 6).await;
    soon(early.pay(voucher(1, 20))).await.unwrap();
    let late = running.client().await;
    soon(late.pay(voucher(2, 10))).await.unwrap();
    until(|| running.server.stats().strangers < most as u64).await;

    let more = crowd(&running, 2 * most).await;
    soon(early.pay(voucher(1, 30))).await.unwrap();
    soon(late.pay(voucher(2, 20))).await.unwrap();
    assert_eq!(running.server.stats().turned_away, 0);
    drop((crowded, more));
}

#[tokio::test]
async fn a_forged_voucher_proves_nothing() {
    let service = Script::new().pay(|_| async { Err(Refusal::WrongSigner) });
    let running = Running::start(service, limits(|limits| limits.max_connections_per_peer = 1)).await;
    let forger = running.client().await;
    soon(forger.pay(voucher(1, 10))).await.unwrap_err();
    assert_eq!(running.server.stats().strangers, 1);
    let _newcomer = running.client().await;
    soon(forger.closed()).await;
}

#[tokio::test]
async fn strangers_take_no_more_than_half_of_the_calls() {
    let service = Script::paid().offering(|_| std::future::pending());
    let running = Running::start(service, limits(|limits| limits.max_calls = 2)).await;
    let payer = running.client().await;
    soon(payer.pay(voucher(1, 10))).await.unwrap();
    let stranger = running.client().await;
    let asking = async { tokio::join!(stranger.offering(offering(1)), stranger.offering(offering(2))) };
    tokio::select! {
        _ = asking => panic!("the offering never comes"),
        () = async {
            until(|| running.server.stats().requests == 3).await;
            soon(payer.pay(voucher(1, 20))).await.unwrap();
        } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn who_connects_too_often_waits_as_told() {
    let limits = limits(|limits| limits.peer_rate = RateLimit::new(1, 2 * connection_cost()));
    let (memory, server, ..) = in_memory(Script::new(), limits);
    for _ in 0..2 {
        memory.client().await;
    }
    // A server learns that a session is wanted only from one that it has let in.
    let mut waits = vec![ServerLimits::CONNECTION_COST, connection_cost()];
    waits.dedup();
    for wait in waits {
        let error = connect(&memory, &somewhere(), patient()).await.unwrap_err();
        let wait = Duration::from_secs(wait.into());
        assert_eq!(bye(&error), &Refusal::RateLimited { retry_after: wait });
        tokio::time::advance(wait).await;
    }
    memory.client().await;
    assert_eq!(server.stats().turned_away, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connections_rate_is_its_burst_and_then_so_much_per_second() {
    let limits = limits(|limits| limits.connection_rate = RateLimit::new(1, 20));
    let (memory, server, ..) = in_memory(Script::paid(), limits);
    let client = memory.client().await;
    for amount in 1..=20 {
        client.pay(voucher(1, amount)).await.unwrap();
    }
    let error = client.pay(voucher(1, 21)).await.unwrap_err();
    let refusal = Refusal::RateLimited { retry_after: Duration::from_secs(1) };
    assert!(matches!(&error, ClientError::Refused(told) if *told == refusal), "{error}");
    assert!(error.is_unprocessed());
    // What is more work costs more.
    let error = client.offering(offering(1)).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::RateLimited { retry_after: Duration::from_secs(16) }));
    tokio::time::advance(Duration::from_secs(1)).await;
    client.pay(voucher(1, 21)).await.unwrap();
    let stats = server.stats();
    assert_eq!((stats.payments, stats.rate_limited), (21, 2));
    // Another connection has a rate of its own.
    memory.client().await.ping().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peers_connections_share_its_rate() {
    let cost = connection_cost();
    let limits = limits(|limits| limits.peer_rate = RateLimit::new(1, 2 * cost));
    let (memory, ..) = in_memory(Script::new(), limits);
    let (one, other) = (memory.client().await, memory.client().await);
    for _ in 0..cost {
        one.ping().await.unwrap();
        other.ping().await.unwrap();
    }
    for client in [&one, &other] {
        let error = client.ping().await.unwrap_err();
        assert_eq!(error.refusal(), Some(&Refusal::RateLimited { retry_after: Duration::from_secs(1) }));
    }
}

#[tokio::test]
async fn an_idle_connection_is_told_and_ended() {
    let limits = limits(|limits| limits.idle_timeout = Duration::from_millis(50));
    let running = Running::start(Script::new(), limits).await;
    let client = running.client().await;
    soon(client.closed()).await;
    let error = client.ping().await.unwrap_err();
    assert_eq!(bye(&error), &Refusal::IdleTimeout);
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_for_an_answer_or_asks_now_and_then_is_not_idle() {
    let idle = Duration::from_secs(10);
    let limits = limits(|limits| {
        limits.idle_timeout = idle;
        limits.request_timeout = 100 * idle;
    });
    let service = Script::new().offering(move |_| async move {
        tokio::time::sleep(Duration::from_secs(45)).await;
        Ok(vec![1])
    });
    let (memory, ..) = in_memory(service, limits);
    let client = memory.client().await;
    assert_eq!(client.offering(offering(1)).await.unwrap(), [1]);
    for _ in 0..5 {
        tokio::time::sleep(idle * 9 / 10).await;
        client.ping().await.unwrap();
    }
    let start = Instant::now();
    client.closed().await;
    assert_eq!(start.elapsed(), idle);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_answered_for() {
    let after = Duration::from_secs(7);
    let limits = limits(|limits| limits.request_timeout = after);
    let service = Script::new()
        .offering(|_| std::future::pending())
        .access(|_| std::future::pending())
        .pay(|_| std::future::pending());
    let (memory, ..) = in_memory(service, limits);
    let client = memory.client().await;
    let start = Instant::now();
    let (pay, offering, access) = tokio::join!(
        client.pay(voucher(1, 1)),
        client.offering(offering(1)),
        crate::common::ask_for_access(&client, 1),
    );
    assert_eq!(start.elapsed(), after);
    for error in [pay.unwrap_err(), offering.unwrap_err(), access.unwrap_err()] {
        assert!(matches!(error, ClientError::Refused(Refusal::Timeout)), "{error}");
        assert!(error.is_transient() && !error.is_unprocessed());
    }
    client.ping().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_drips_in_is_cut_off() {
    let limits = limits(|limits| limits.frame_timeout = Duration::from_secs(5));
    let (memory, ..) = in_memory(Script::new(), limits);
    let mut raw = Raw(memory.dial()).greeted().await;
    let start = Instant::now();
    raw.send_bytes(&[0, 0, 0, 100]).await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        raw.send_bytes(b" ").await;
    }
    assert_eq!(raw.bye().await.0, "too_slow");
    assert!(start.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_take_its_answers_is_cut_off_and_holds_nothing() {
    let limits = limits(|limits| limits.write_timeout = Duration::from_secs(5));
    let service = Script::new().offering(|_| async { Ok(vec![0; 60_000]) });
    let (memory, server, ..) = in_memory(service, limits);
    let mut raw = Raw(memory.dial()).greeted().await;
    raw.send(&serde_json::json!({ "id": 1, "method": "offering", "params": { "hash": offering(1) } })).await;
    // It keeps the connection open and reads nothing.
    until(|| server.stats().connections == 0).await;
    drop(raw);
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_take_its_answers_loses_its_place_to_a_newcomer() {
    let limits = limits(|limits| {
        limits.max_strangers = 1;
        limits.max_in_flight = 16; // one offering
        limits.write_timeout = Duration::from_hours(1);
    });
    let service = Script::new().offering(|_| async { Ok(vec![0; 60_000]) });
    let (memory, server, ..) = in_memory(service, limits);
    let mut raw = Raw(memory.dial()).greeted().await;
    for id in 1..=2 {
        raw.send(&serde_json::json!({ "id": id, "method": "offering", "params": { "hash": offering(1) } }))
            .await;
    }
    until(|| server.stats().requests == 2).await;
    // The second request waits for the first one's place in flight. The first is answered soon, though nobody reads that.
    let newcomer = soon(async {
        loop {
            match connect(&memory, &somewhere(), patient()).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    });
    newcomer.await.ping().await.unwrap();
    drop(raw);
}

#[tokio::test]
async fn what_one_connection_has_under_way_is_bounded_and_the_rest_waits() {
    let gate = Gate::closed();
    let service = Script::new().offering({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(vec![1])
            }
        }
    });
    // An offering costs 16: two at a time.
    let running = Running::start(service, limits(|limits| limits.max_in_flight = 32)).await;
    let mut raw = Raw::connect(running.socket).await;
    for id in 0..50 {
        raw.send(&serde_json::json!({ "id": id, "method": "offering", "params": { "hash": offering(1) } }))
            .await;
    }
    for done in 0..48 {
        until(|| gate.came() >= done + 2).await;
        assert_eq!(gate.came(), done + 2, "more are under way than allowed");
        gate.let_through(1);
        assert_eq!(raw.receive().await.unwrap()["ok"]["bytes"], "0x01");
    }
    // A client keeps to what the hello says by itself.
    gate.open();
    let client = running.client().await;
    let all = futures::future::join_all((0..50).map(|_| client.offering(offering(1))));
    assert!(soon(all).await.into_iter().all(|answer| answer.is_ok()));
}

#[tokio::test]
async fn calls_of_all_connections_together_are_bounded_and_none_is_forgotten() {
    let gate = Gate::closed();
    let service = Script::new().pay({
        let gate = gate.clone();
        move |voucher| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(Paid { cumulative: voucher.cumulative() })
            }
        }
    });
    let running = Running::start(service, limits(|limits| limits.max_calls = 3)).await;
    let mut clients = Vec::new();
    gate.let_through(4);
    for number in 100..104 {
        let client = running.client().await;
        // Strangers would have one of the calls only.
        soon(client.pay(voucher(number, 5))).await.unwrap();
        clients.push(client);
    }
    let payments: Vec<_> = (0..40_u8)
        .map(|number| {
            let client = clients[usize::from(number) % 4].clone();
            tokio::spawn(async move { client.pay(voucher(number, 5)).await })
        })
        .collect();
    until(|| running.server.stats().payments == 44).await;
    for done in 4..41 {
        until(|| gate.came() >= done + 3).await;
        assert_eq!(gate.came(), done + 3);
        gate.let_through(1);
    }
    // Who waits for a call does not stop others from being answered.
    soon(clients[0].ping()).await.unwrap();
    gate.open();
    for payment in payments {
        assert_eq!(soon(payment).await.unwrap().unwrap(), Paid { cumulative: Amount::new(5) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_got_its_turn_is_busy_and_was_not_processed() {
    let limits = limits(|limits| {
        limits.max_calls = 1;
        limits.request_timeout = Duration::from_secs(5);
    });
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let service = Script::new().pay({
        let calls = Arc::clone(&calls);
        move |_| {
            calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::future::pending()
        }
    });
    let (memory, ..) = in_memory(service, limits);
    let client = memory.client().await;
    let (first, second) = tokio::join!(client.pay(voucher(1, 1)), client.pay(voucher(2, 1)));
    assert!(matches!(first.unwrap_err(), ClientError::Refused(Refusal::Timeout)));
    let error = second.unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Busy { .. })) && error.is_unprocessed(), "{error}");
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_crowd_of_half_open_connections_keeps_nobody_else_out_below_the_limit() {
    let running =
        Running::start(Script::new(), limits(|limits| limits.max_connections_per_peer = 1000)).await;
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut raw = Raw::dial(running.socket).await;
        raw.send_bytes(&[0, 0, 1][..number % 4]).await;
        crowd.push(raw);
    }
    let mut honest = Raw::connect(running.socket).await;
    honest.send(&ping(1)).await;
    assert_eq!(honest.receive().await, Some(pong(1)));
    drop(crowd);
    until(|| running.server.stats().connections == 1).await;
}
