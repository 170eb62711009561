//! Several endpoints: one that fails, limits or errs costs little and changes nothing.

use std::time::Duration;

use alloy::primitives::Address;
use privatix_chain::{
    ChainError, Endpoint, Endpoints, Evidence, Fate, Finality, Intent, Obstacle, Standing, TxChange, TxStatus,
};
use privatix_testkit::{Anvil, Fault, FaultProxy, Rule, Script, wait_until};

use crate::support::{
    NEVER, Outcomes, PATIENCE, Running, Seen, emit, emitter, ended, fresh, monitor, submit, synced,
    transactor,
};

const TIMEOUT: Duration = Duration::from_secs(1);

fn both(first: &FaultProxy, second: &FaultProxy) -> Endpoints {
    let of = |proxy: &FaultProxy| Endpoint::new(&proxy.url()).unwrap().timeout(TIMEOUT);
    Endpoints::new(of(first), [of(second)])
}

fn always(fault: Fault) -> Script {
    Script(vec![Rule::new([], fault)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_costs_one_timeout_and_no_event() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let first = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let endpoints = both(&first, &second);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    emit(&anvil, contract, b"before").await;
    synced(&monitor, &anvil, 0).await;

    first.script(always(Fault::Silence));
    // Each step begins with the head.
    let steps = first.count("eth_blockNumber");
    for payload in ["1", "2", "3", "4"] {
        emit(&anvil, contract, payload.as_bytes()).await;
        synced(&monitor, &anvil, 0).await;
    }
    let waited = first.count("eth_blockNumber") - steps;
    assert!(waited <= 1, "it was waited for {waited} times");
    let status = endpoints.status();
    assert!(matches!(status[0].standing, Standing::Resting { .. }), "{status:?}");
    assert_eq!(status[1].standing, Standing::Good);

    // Once it answers again, it is preferred again.
    first.honest();
    let before = first.count("eth_getLogs");
    while first.count("eth_getLogs") == before {
        emit(&anvil, contract, b"after").await;
        synced(&monitor, &anvil, 0).await;
    }
    let payloads = Seen::payloads(&db).await;
    assert_eq!(payloads[..6], ["before", "1", "2", "3", "4", "after"]);
    assert_eq!(
        payloads.len(),
        Seen::rows(&db).await.iter().map(|row| row.0).collect::<std::collections::BTreeSet<_>>().len()
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_stands_still_is_left_for_one_that_goes_on() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let first = FaultProxy::scripted(anvil.url(), always(Fault::FrozenHead)).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let monitor = monitor(&db, both(&first, &second), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    emit(&anvil, contract, b"unseen by the first").await;
    anvil.mine(5).await.unwrap();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["unseen by the first"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferred_endpoint_that_returns_far_behind_is_left_for_one_that_follows() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let first = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    anvil.mine(60).await.unwrap();
    let sink = Seen::default();
    let followed = monitor(&db, both(&first, &second), &anvil, contract).history(8).build(sink.clone());
    let running = Running::monitor(&followed);
    synced(&followed, &anvil, 0).await;
    running.stop().await.unwrap();
    // Its head is below all hashes that are kept.
    first.script(always(Fault::Lag { blocks: 40 }));
    let followed = monitor(&db, both(&first, &second), &anvil, contract).history(8).build(sink.clone());
    let running = Running::monitor(&followed);
    for payload in ["1", "2", "3"] {
        emit(&anvil, contract, payload.as_bytes()).await;
        synced(&followed, &anvil, 0).await;
    }
    assert_eq!(Seen::payloads(&db).await, ["1", "2", "3"]);
    assert!(sink.rollbacks().is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_learned_per_endpoint() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    anvil.mine(800).await.unwrap();
    let (_dir, db) = fresh().await;
    let narrow = Rule::new(["eth_getLogs"], Fault::AtMostBlocks { blocks: 10 });
    let mut dies = Rule::new([], Fault::Cut);
    dies.from = 150;
    let first = FaultProxy::scripted(anvil.url(), Script(vec![dies, narrow])).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let sink = Seen::default();
    let monitor = monitor(&db, both(&first, &second), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    let widths: Vec<u64> = sink.batches().iter().map(|(from, to)| to - from + 1).collect();
    assert!(widths[0] <= 10, "the first allows ten: {widths:?}");
    assert!(widths.iter().any(|&width| width > 100), "the second is not limited by that: {widths:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_chain_behind_one_endpoint_quarantines_it_and_behind_all_ends_the_run() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let first = FaultProxy::scripted(anvil.url(), always(Fault::WrongChain { id: 5 })).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let endpoints = both(&first, &second);
    let followed = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&followed);
    emit(&anvil, contract, b"log").await;
    synced(&followed, &anvil, 0).await;
    let evidence = Evidence::WrongChain { expected: anvil.chain_id(), found: 5 };
    let Standing::Quarantined { evidence: found, .. } = &endpoints.status()[0].standing else { panic!() };
    assert_eq!(*found, evidence);
    running.stop().await.unwrap();

    second.script(always(Fault::WrongChain { id: 6 }));
    let refusal = monitor(&db, both(&first, &second), &anvil, contract).build(Seen::default());
    let refusal = Running::monitor(&refusal).outcome().await.unwrap_err();
    assert!(matches!(refusal, ChainError::WrongChain { .. }), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_that_a_second_endpoint_denies_fails_nothing() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let reverts = Fault::Error { code: 3, message: "execution reverted: not yet".to_owned(), data: None };
    let script = Script(vec![Rule::new(["eth_estimateGas"], reverts)]);
    let first = FaultProxy::scripted(anvil.url(), script).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, both(&first, &second), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let gift = Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

/// An endpoint of which estimates and calls revert.
fn reverting() -> Script {
    let reverts = Fault::Error { code: 3, message: "execution reverted: no".to_owned(), data: None };
    Script(vec![Rule::new(["eth_estimateGas", "eth_call"], reverts)])
}

/// An endpoint that needs more gas for everything than a block has.
fn greedy() -> Script {
    Script(vec![Rule::new(["eth_estimateGas"], Fault::Result("0x3b9aca00".into()))])
}

/// An endpoint that estimates and calls nothing.
fn unavailable() -> Script {
    let down = Fault::Http { status: 503, retry_after: None, body: String::new() };
    Script(vec![Rule::new(["eth_estimateGas", "eth_call"], down)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_fails_only_once_a_second_endpoint_confirms_that_it_would() {
    for refusing in [reverting, greedy] {
        let anvil = Anvil::start().await.unwrap();
        let (_dir, db) = fresh().await;
        let first = FaultProxy::scripted(anvil.url(), refusing()).await.unwrap();
        let second = FaultProxy::scripted(anvil.url(), unavailable()).await.unwrap();
        let transactor = transactor(&db, both(&first, &second), &anvil)
            .revert_patience(1, Duration::ZERO)
            .second_endpoint_within(NEVER)
            .build(Outcomes::default());
        let running = Running::transactor(&transactor);
        let gift = Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1);
        let id = submit(&db, &transactor, gift).await;
        let looks = || first.count("eth_estimateGas");
        wait_until("several looks", PATIENCE, async || {
            anvil.mine(1).await.unwrap();
            transactor.wake();
            looks() > 5
        })
        .await
        .unwrap();
        let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
        assert!(matches!(record.obstacle, Some(Obstacle::WouldRevert { .. })), "{record:?}");
        assert!(record.status.is_open(), "{record:?}");

        second.script(refusing());
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Failed);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_gas_by_one_of_two_endpoints_fails_nothing() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let first = FaultProxy::scripted(anvil.url(), greedy()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, both(&first, &second), &anvil)
        .revert_patience(1, Duration::ZERO)
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let gift = Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_counts_by_one_endpoint_where_no_other_one_has_answered_for_long() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let first = FaultProxy::scripted(anvil.url(), reverting()).await.unwrap();
    let second = FaultProxy::scripted(anvil.url(), unavailable()).await.unwrap();
    let transactor = transactor(&db, both(&first, &second), &anvil)
        .revert_patience(1, Duration::ZERO)
        .second_endpoint_within(Duration::ZERO)
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let gift = Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Failed);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transactor_without_a_monitor_restores_an_endpoint_that_answers_again() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let first = FaultProxy::scripted(anvil.url(), always(Fault::Cut)).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let endpoints = both(&first, &second);
    let transactor = transactor(&db, endpoints.clone(), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let rests = || matches!(endpoints.status()[0].standing, Standing::Resting { .. });
    wait_until("its rest", PATIENCE, async || rests()).await.unwrap();
    first.honest();
    wait_until("its return", PATIENCE, async || endpoints.status()[0].standing == Standing::Good)
        .await
        .unwrap();
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_goes_to_two_endpoints_and_one_of_them_is_enough() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let lost = Fault::KeepBack { after_ms: None, refusal: None };
    let script = Script(vec![Rule::new(["eth_sendRawTransaction"], lost)]);
    let first = FaultProxy::scripted(anvil.url(), script).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, both(&first, &second), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let gift = Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_any_endpoint_has_already_is_not_refused() {
    let anvil = Anvil::start().await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let (_dir, db) = fresh().await;
    let refuses = |message: &str| Fault::Error { code: -32_000, message: message.to_owned(), data: None };
    let broadcasts = |fault| Script(vec![Rule::new(["eth_sendRawTransaction"], fault)]);
    let first = broadcasts(refuses("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)"));
    let second = broadcasts(Fault::ActThenError { code: -32_000, message: "already known".to_owned() });
    let first = FaultProxy::scripted(anvil.url(), first).await.unwrap();
    let second = FaultProxy::scripted(anvil.url(), second).await.unwrap();
    let transactor = transactor(&db, both(&first, &second), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let gift = Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift).await;
    let fate = async || {
        let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
        attempts.first().map_or(Fate::Unknown, |attempt| attempt.fate)
    };
    wait_until("its fate", PATIENCE, async || fate().await != Fate::Unknown).await.unwrap();
    assert_eq!(fate().await, Fate::Held);
    running.stop().await.unwrap();
}

fn lies_about_nonces(nonce: &str) -> Script {
    Script(vec![Rule::new(["eth_getTransactionCount"], Fault::Result(nonce.into()))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_count_that_leaps_needs_a_second_endpoint() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let first = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, both(&first, &second), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let gift =
        |n: u8| Intent::new(format!("{n}"), anvil.account(1), Address::repeat_byte(n), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift(1)).await;
    assert_eq!(ended(&db, &transactor, id).await.nonce, Some(0));
    for (n, proxy) in [(2, &first), (3, &second)] {
        proxy.script(lies_about_nonces("0x3e8"));
        let id = submit(&db, &transactor, gift(n)).await;
        assert_eq!(ended(&db, &transactor, id).await.nonce, Some(u64::from(n) - 1));
        proxy.honest();
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferred_endpoint_that_comes_back_far_behind_changes_no_outcome() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let first = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let sink = Outcomes::default();
    let build = || transactor(&db, both(&first, &second), &anvil).finality(Finality::Depth(0));
    let transactor = build().build(sink.clone());
    let running = Running::transactor(&transactor);
    let gift =
        |n: u8| Intent::new(format!("{n}"), anvil.account(1), Address::repeat_byte(n), Vec::new()).value(1);
    let id = submit(&db, &transactor, gift(1)).await;
    ended(&db, &transactor, id).await;
    anvil.mine(20).await.unwrap();
    running.stop().await.unwrap();

    // The node was away for long, and so was the daemon.
    let mut behind = lies_about_nonces("0x0");
    behind.0.push(Rule::new([], Fault::Lag { blocks: 20 }));
    first.script(behind);
    let transactor = build().build(sink.clone());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(2)).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(1)));
    let reinstated = sink.changes().into_iter().filter(|(_, change)| *change == TxChange::Reinstated);
    assert_eq!(reinstated.count(), 0);
    running.stop().await.unwrap();
}
