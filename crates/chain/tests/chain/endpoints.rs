//! Endpoints that are wrong, away, or come back.

use std::time::Duration;

use alloy::primitives::Address;
use privatix_chain::{ChainError, Endpoint, Fault, Intent, MonitorState, TransactorState, chain_id, check};
use privatix_testkit::{Anvil, free_port};

use crate::support::{
    FaultProxy, NEVER, Outcomes, Relay, Running, Seen, Verdict, emit, emitter, ended, fresh, http, monitor,
    settled, submit, synced, transactor, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_tells_its_chain_and_passes_the_check() {
    let anvil = Anvil::builder().chain_id(4_242).start().await.unwrap();
    let contract = emitter(&anvil).await;
    for url in [anvil.url().to_owned(), anvil.ws_url()] {
        let endpoint = http(&url);
        assert_eq!(chain_id(&endpoint).await.unwrap(), 4_242);
        check(&endpoint, 4_242, &[contract]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_endpoint_is_named_without_its_key() {
    let port = free_port().unwrap();
    for scheme in ["http", "ws"] {
        let endpoint = Endpoint::new(&format!("{scheme}://127.0.0.1:{port}/v3/0123456789abcdef")).unwrap();
        let refusal = check(&endpoint, 1, &[]).await.unwrap_err();
        let ChainError::Rpc(error) = &refusal else { panic!("{refusal}") };
        assert!(matches!(error.fault, Fault::Unreachable(_)), "{refusal}");
        let text = refusal.to_string();
        assert!(text.contains(&format!("{scheme}://127.0.0.1:{port}")), "{text}");
        assert!(text.contains("check that it runs and that the address is right"), "{text}");
        assert!(!text.contains("0123456789abcdef"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_endpoint_is_given_up_after_the_timeout() {
    let anvil = Anvil::start().await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|_, _| Verdict::Silence);
    let endpoint = http(&proxy.url()).timeout(Duration::from_millis(200));
    let refusal = check(&endpoint, anvil.chain_id(), &[]).await.unwrap_err();
    let ChainError::Rpc(error) = &refusal else { panic!("{refusal}") };
    assert_eq!(error.fault, Fault::Timeout(Duration::from_millis(200)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_and_garbage_are_told_apart() {
    let anvil = Anvil::start().await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let ask = async || match check(&http(&proxy.url()), anvil.chain_id(), &[]).await {
        Err(ChainError::Rpc(error)) => error.fault,
        other => panic!("{other:?}"),
    };
    proxy.rule(|_, _| Verdict::http(401, "who are you?"));
    assert_eq!(ask().await, Fault::Unauthorised(401));
    proxy.rule(|_, _| Verdict::http(200, "<html>a login page</html>"));
    assert!(matches!(ask().await, Fault::Garbage(_)));
    proxy.rule(|_, _| Verdict::http(502, "bad gateway"));
    assert!(matches!(ask().await, Fault::Unreachable(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_chain_than_configured_ends_the_run_with_both_ids() {
    let anvil = Anvil::builder().chain_id(4_242).start().await.unwrap();
    let configured = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let monitor = monitor(&db, http(anvil.url()), &configured, contract).build(Seen::default());
    let transactor = transactor(&db, http(anvil.url()), &configured).build(Outcomes::default());
    for outcome in [
        monitor.check().await,
        transactor.check().await,
        Running::monitor(&monitor).outcome().await,
        Running::transactor(&transactor).outcome().await,
    ] {
        let refusal = outcome.unwrap_err();
        assert!(
            matches!(refusal, ChainError::WrongChain { expected: 31_337, found: 4_242, .. }),
            "{refusal}"
        );
        let text = refusal.to_string();
        assert!(text.contains("correct the endpoint or the chain id"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_without_code_ends_the_run_with_the_address() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let nowhere = Address::repeat_byte(0xab);
    let monitor = monitor(&db, http(anvil.url()), &anvil, nowhere).build(Seen::default());
    for refusal in
        [monitor.check().await.unwrap_err(), Running::monitor(&monitor).outcome().await.unwrap_err()]
    {
        assert!(matches!(refusal, ChainError::NoContract { address, .. } if address == nowhere), "{refusal}");
        assert!(refusal.to_string().contains("correct the contract address"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_away_at_the_start_or_later_is_waited_for() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    for scheme in ["http", "ws"] {
        let (_dir, db) = fresh().await;
        let relay = Relay::start(anvil.url()).await;
        relay.cut();
        let endpoint = http(&relay.url(scheme));
        let monitor = monitor(&db, endpoint.clone(), &anvil, contract).build(Seen::default());
        let transactor = transactor(&db, endpoint, &anvil).build(Outcomes::default());
        let running = [Running::monitor(&monitor), Running::transactor(&transactor)];
        for n in 1..=2_u8 {
            let key = format!("{scheme} {n}");
            let intent = Intent::new(&key, anvil.account(1), Address::repeat_byte(n), Vec::new()).value(1);
            let id = submit(&db, &transactor, intent).await;
            let stalled =
                settled(&monitor, "the loss", |status| matches!(status.state, MonitorState::Stalled { .. }));
            let MonitorState::Stalled { reason, .. } = stalled.await.state else { unreachable!() };
            assert!(reason.contains("unreachable"), "{reason}");
            let mut status = transactor.status();
            let lost = status.wait_for(|status| matches!(status.state, TransactorState::Stalled { .. }));
            drop(within("the transactor's loss", lost).await.unwrap());

            relay.mend();
            ended(&db, &transactor, id).await;
            emit(&anvil, contract, key.as_bytes()).await;
            synced(&monitor, &anvil, 0).await;
            assert_eq!(Seen::payloads(&db).await.last(), Some(&key));
            relay.cut();
        }
        for running in running {
            running.stop().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_subscription_is_made_again() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let relay = Relay::start(anvil.url()).await;
    let monitor =
        monitor(&db, http(&relay.url("ws")), &anvil, contract).poll_interval(NEVER).build(Seen::default());
    let running = Running::monitor(&monitor);
    emit(&anvil, contract, b"before").await;
    synced(&monitor, &anvil, 0).await;

    relay.cut();
    // Unseen while the line is cut; with a poll once in an hour, only a new subscription can tell of it.
    emit(&anvil, contract, b"meanwhile").await;
    relay.mend();
    synced(&monitor, &anvil, 0).await;
    emit(&anvil, contract, b"after").await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["before", "meanwhile", "after"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_exchanged_for_one_of_another_chain_under_way_is_not_believed() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    // One failure makes it look closer, and then the other chain shows.
    let mut first = true;
    proxy.rule(move |method, _| {
        if std::mem::take(&mut first) {
            return Verdict::Cut;
        }
        match method {
            "eth_chainId" => Verdict::Change(Box::new(|_| serde_json::json!("0x1"))),
            _ => Verdict::Forward,
        }
    });
    settled(&monitor, "the wrong chain", |status| {
        matches!(&status.state, MonitorState::Stalled { reason, .. } if reason.contains("serves chain 1,"))
    })
    .await;
    emit(&anvil, contract, b"later").await;
    proxy.honest();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["later"]);
    running.stop().await.unwrap();
}
