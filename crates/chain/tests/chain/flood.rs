//! Blocks with many logs, and streams that begin to follow more or less than before.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, bytes};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use privatix_chain::{Interest, Monitor, StartFrom};
use privatix_testkit::{Anvil, Fault, FaultProxy, Rule, Script};

use crate::support::{BACKOFF, POLL, Running, Seen, emit, emitter, fresh, http, monitor, send, synced};

/// Deploys a contract that emits as many logs as the first byte of the calldata says, each with the count that is left as
/// its only topic and its data.
///
/// ```text
/// PUSH0 CALLDATALOAD PUSH0 BYTE  loop: JUMPDEST DUP1 PUSH0 MSTORE  DUP1 PUSH1 32 PUSH0 LOG1
/// PUSH1 1 SWAP1 SUB DUP1 PUSH1 4 JUMPI STOP
/// ```
pub async fn flooder(anvil: &Anvil) -> Address {
    let code: Bytes = bytes!("755f355f1a5b805f528060205fa16001900380600457005f526016600af3");
    let request = TransactionRequest::default().with_from(anvil.account(0)).with_deploy_code(code);
    send(anvil, request).await.contract_address.unwrap()
}

pub async fn flood(anvil: &Anvil, flooder: Address, logs: u8) {
    let request =
        TransactionRequest::default().with_from(anvil.account(0)).with_to(flooder).with_input(vec![logs]);
    send(anvil, request).await;
}

/// The counts in the rows, in order.
async fn counts(db: &privatix_db::Database) -> Vec<u8> {
    Seen::rows(db).await.into_iter().map(|(_, _, payload)| *payload.last().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_with_more_logs_than_the_endpoint_gives_is_applied() {
    let anvil = Anvil::start().await.unwrap();
    let contract = flooder(&anvil).await;
    flood(&anvil, contract, 3).await;
    flood(&anvil, contract, 40).await;
    flood(&anvil, contract, 2).await;
    let expected: Vec<u8> = [3, 40, 2].into_iter().flat_map(|count| (1..=count).rev()).collect();
    let small = || Rule::new(["eth_getLogs"], Fault::AtMostLogs { logs: 10 });
    let refused = |method| {
        let message = "the method does not exist".to_owned();
        Rule::new([method], Fault::Error { code: -32_601, message, data: None })
    };
    for script in [
        vec![small()],
        vec![small(), refused("eth_getBlockReceipts")],
        vec![small(), Rule::new(["eth_getBlockReceipts"], Fault::AtMostBytes { bytes: 1_000 })],
    ] {
        let (_dir, db) = fresh().await;
        let proxy = FaultProxy::scripted(anvil.url(), Script(script)).await.unwrap();
        let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        assert_eq!(counts(&db).await, expected);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_divided_by_topics_before_receipts_are_asked_for() {
    let anvil = Anvil::start().await.unwrap();
    let contract = flooder(&anvil).await;
    flood(&anvil, contract, 20).await;
    let (_dir, db) = fresh().await;
    let script = Script(vec![Rule::new(["eth_getLogs"], Fault::AtMostLogs { logs: 1 })]);
    let proxy = FaultProxy::scripted(anvil.url(), script).await.unwrap();
    let topics = [3_u8, 5, 7].map(B256::with_last_byte);
    let interest = topics.into_iter().fold(Interest::all_of(contract), |of, value| of.topic(0, value));
    let monitor = Monitor::builder(db.clone(), http(&proxy.url()), anvil.chain_id(), [interest])
        .start(StartFrom::Block(1))
        .confirmations(0)
        .poll_interval(POLL)
        .backoff(BACKOFF)
        .build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(counts(&db).await, [7, 5, 3]);
    assert_eq!(proxy.count("eth_getBlockReceipts"), 0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_block_is_searched_in_pieces_for_what_it_may_hold_of_an_interest() {
    let anvil = Anvil::start().await.unwrap();
    let contract = flooder(&anvil).await;
    flood(&anvil, contract, 20).await;
    let flooded = anvil.block_number().await.unwrap();
    let block = anvil.provider().get_block(flooded.into()).await.unwrap().unwrap();
    let (_dir, db) = fresh().await;
    // The block's filter has this value, but no log has it as its second topic.
    let interest = Interest::all_of(contract).topic(1, B256::with_last_byte(5));
    let message = "query returned more than 10000 results".to_owned();
    let mut by_hash = Rule::new(["eth_getLogs"], Fault::Error { code: -32_005, message, data: None });
    by_hash.tag = Some(block.header.hash.to_string());
    let proxy = FaultProxy::scripted(anvil.url(), Script(vec![by_hash])).await.unwrap();
    let monitor = Monitor::builder(db.clone(), http(&proxy.url()), anvil.chain_id(), [interest])
        .start(StartFrom::Block(1))
        .confirmations(0)
        .poll_interval(POLL)
        .backoff(BACKOFF)
        .build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert!(counts(&db).await.is_empty());
    assert!(proxy.count("eth_getBlockReceipts") > 0, "the block was searched");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_is_applied_in_parts_is_applied_once_when_killed_or_reorganised_in_between() {
    let anvil = Anvil::start().await.unwrap();
    let contract = flooder(&anvil).await;
    anvil.set_automine(false).await.unwrap();
    for number in 0..20 {
        let request = TransactionRequest::default()
            .with_from(anvil.account(number % 10))
            .with_to(contract)
            .with_gas_limit(1_000_000)
            .with_input(vec![250]);
        let _ = anvil.provider().send_transaction(request).await.unwrap();
    }
    anvil.mine(1).await.unwrap();
    let one: Vec<u8> = (1..=250).rev().collect();
    let expected = one.repeat(20);

    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    // 5,000 logs are three parts; the second and the third are refused once.
    for applied in [2_000, 4_000] {
        sink.refuse_after(1);
        let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
        let running = Running::monitor(&monitor);
        sink.refused().await;
        running.kill().await;
        assert_eq!(counts(&db).await.len(), applied);
    }
    let sink = Seen::default();
    let whole = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&whole);
    synced(&whole, &anvil, 0).await;
    assert_eq!(counts(&db).await, expected);
    assert!(sink.rollbacks().is_empty());
    running.stop().await.unwrap();

    // Another database has a part of it when the block is replaced by an empty one.
    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    sink.refuse_after(2);
    let running = Running::monitor(&monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone()));
    sink.refused().await;
    running.kill().await;
    assert_eq!(counts(&db).await.len(), 4_000);
    anvil.reorg(1).await.unwrap();
    let sink = Seen::default();
    let whole = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&whole);
    synced(&whole, &anvil, 0).await;
    assert_eq!(sink.rollbacks().len(), 1);
    assert!(counts(&db).await.is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_follows_more_reads_again_and_one_that_follows_less_goes_on() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let topic = |first: u8| B256::with_last_byte(first);
    // The emitter's topic is 1.
    let narrow = Interest::all_of(contract).topic(0, topic(9));
    let wide = narrow.clone().topic(0, topic(1));
    let (_dir, db) = fresh().await;
    let run = async |interest: &Interest| {
        let sink = Seen::default();
        let monitor = Monitor::builder(db.clone(), http(anvil.url()), anvil.chain_id(), [interest.clone()])
            .start(StartFrom::Block(1))
            .confirmations(0)
            .poll_interval(POLL)
            .backoff(BACKOFF)
            .build(sink.clone());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        running.stop().await.unwrap();
        (Seen::payloads(&db).await, sink.rollbacks().len())
    };
    emit(&anvil, contract, b"1").await;
    assert_eq!(run(&narrow).await, (vec![], 0));
    assert_eq!(run(&wide).await, (vec!["1".to_owned()], 1));
    emit(&anvil, contract, b"2").await;
    assert_eq!(run(&narrow).await, (vec!["1".to_owned()], 0), "what was seen stays");
    emit(&anvil, contract, b"3").await;
    assert_eq!(
        run(&wide).await,
        (["1", "2", "3"].map(str::to_owned).to_vec(), 1),
        "what was missed is found"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_many_logs_are_applied_no_more_are_fetched_and_then_of_fewer_blocks() {
    let anvil = Anvil::start().await.unwrap();
    let contract = flooder(&anvil).await;
    for _ in 0..21 {
        flood(&anvil, contract, 250).await;
    }
    anvil.mine(60).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = std::sync::Arc::new(FaultProxy::start(anvil.url()).await.unwrap());
    let sink = Seen::default();
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).max_block_range(30).build(sink.clone());
    let (at_commit, mut fetched) = tokio::sync::mpsc::unbounded_channel();
    let counted = proxy.clone();
    sink.at_each_commit(move || at_commit.send(counted.count("eth_getLogs")).unwrap());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    let mut batches = sink.batches().into_iter();
    let of_first = batches.by_ref().take_while(|(_, to)| *to < 30).count() + 1;
    assert_eq!(of_first, 3);
    for _ in 0..of_first {
        assert_eq!(fetched.recv().await, Some(1), "requests for logs until then");
    }
    assert_eq!(batches.next(), Some((31, 45)));
    running.stop().await.unwrap();
}
