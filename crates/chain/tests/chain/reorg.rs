//! A reorg leaves the state as if the orphaned branch never existed.

use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use privatix_chain::MonitorState;
use privatix_testkit::Anvil;

use crate::support::{
    Running, Seen, SeenLog, emission, emit, emitter, fresh, http, monitor, settled, synced,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_of_unconfirmed_blocks_leaves_no_trace() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).confirmations(3).build(sink.clone());
    let running = Running::monitor(&monitor);
    let kept = emit(&anvil, contract, b"kept").await;
    emit(&anvil, contract, b"orphaned").await;
    emit(&anvil, contract, b"orphaned, too").await;
    synced(&monitor, &anvil, 3).await;

    anvil.reorg(2).await.unwrap();
    anvil.mine(4).await.unwrap();
    synced(&monitor, &anvil, 3).await;
    assert_eq!(Seen::rows(&db).await, [(kept, 0, b"kept".to_vec())]);
    assert!(sink.rollbacks().is_empty());
    assert_eq!(monitor.status().borrow().reorgs, 0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_below_what_was_processed_is_undone_to_the_common_block() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    let common = emit(&anvil, contract, b"common").await;
    emit(&anvil, contract, b"orphaned").await;
    emit(&anvil, contract, b"orphaned, too").await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::rows(&db).await.len(), 3);

    anvil.reorg_with(2, &[(emission(&anvil, contract, b"on the new branch"), 1)]).await.unwrap();
    settled(&monitor, "the reorg to be noticed", |status| status.reorgs == 1).await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(
        Seen::rows(&db).await,
        [(common, 0, b"common".to_vec()), (common + 2, 0, b"on the new branch".to_vec())]
    );
    assert_eq!(sink.rollbacks(), [common]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_while_the_monitor_was_off_is_undone_at_its_start() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let build = || monitor(&db, http(anvil.url()), &anvil, contract).build(Seen::default());
    let first = build();
    let running = Running::monitor(&first);
    let common = emit(&anvil, contract, b"common").await;
    emit(&anvil, contract, b"orphaned").await;
    synced(&first, &anvil, 0).await;
    running.stop().await.unwrap();

    anvil.reorg(1).await.unwrap();
    emit(&anvil, contract, b"later").await;
    let second = build();
    let running = Running::monitor(&second);
    synced(&second, &anvil, 0).await;
    assert_eq!(Seen::rows(&db).await, [(common, 0, b"common".to_vec()), (common + 2, 0, b"later".to_vec())]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_the_sink_refuses_changes_nothing_and_is_repeated() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    emit(&anvil, contract, b"common").await;
    emit(&anvil, contract, b"orphaned").await;
    synced(&monitor, &anvil, 0).await;

    sink.refuse_rollbacks(u32::MAX);
    anvil.reorg(1).await.unwrap();
    settled(&monitor, "a second refusal", |status| {
        matches!(status.state, MonitorState::Stalled { failures: 2.., .. })
    })
    .await;
    // The sink had deleted the row before it failed: the transaction was rolled back.
    assert_eq!(Seen::payloads(&db).await, ["common", "orphaned"]);
    assert_eq!(monitor.status().borrow().reorgs, 0);

    sink.refuse_rollbacks(0);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["common"]);
    assert_eq!(monitor.status().borrow().reorgs, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_gets_shorter_first_and_goes_on_otherwise_is_followed() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    let common = emit(&anvil, contract, b"common").await;
    for _ in 0..4 {
        emit(&anvil, contract, b"orphaned").await;
    }
    synced(&monitor, &anvil, 0).await;

    anvil.rollback(4).await.unwrap();
    // What a shorter chain does not have, it does not contradict: the node may only lag.
    settled(&monitor, "the shorter chain to be believed", |status| {
        status.head == Some(common) && status.state == MonitorState::Following
    })
    .await;
    assert_eq!(Seen::rows(&db).await.len(), 5);
    emit(&anvil, contract, b"other").await;
    anvil.mine(4).await.unwrap();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["common", "other"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_was_replaced_wholly_is_started_over_and_a_reorg_beyond_memory_is_refused() {
    let anvil = Anvil::start().await.unwrap();
    let genesis = anvil.snapshot().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let (_other_dir, forgetful_db) = fresh().await;
    emit(&anvil, contract, b"before").await;
    anvil.mine(10).await.unwrap();
    let whole = monitor(&db, http(anvil.url()), &anvil, contract).build(Seen::default());
    let forgetful =
        monitor(&forgetful_db, http(anvil.url()), &anvil, contract).history(3).build(Seen::default());
    let running = [Running::monitor(&whole), Running::monitor(&forgetful)];
    synced(&whole, &anvil, 0).await;
    synced(&forgetful, &anvil, 0).await;

    // The same contract at the same address, in other blocks.
    assert!(anvil.revert(genesis).await.unwrap());
    let coinbase = serde_json::json!([anvil.account(9)]);
    anvil.rpc::<serde_json::Value>("anvil_setCoinbase", coinbase).await.unwrap();
    assert_eq!(emitter(&anvil).await, contract);
    emit(&anvil, contract, b"after").await;
    anvil.mine(12).await.unwrap();

    settled(&whole, "the new chain", |status| status.reorgs == 1).await;
    synced(&whole, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["after"]);

    let status = settled(&forgetful, "the refusal", |status| {
        matches!(&status.state, MonitorState::Stalled { reason, .. } if reason.contains("is not the one that was processed"))
    })
    .await;
    assert_eq!(status.reorgs, 0);
    assert_eq!(Seen::payloads(&forgetful_db).await, ["before"]);
    for running in running {
        running.stop().await.unwrap();
    }
}

/// Blocks, logs, reorgs and lost blocks in random order, with a monitor at work all the while: in the end its table
/// is what the node tells of its final chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_chain_does_the_effects_are_those_of_its_final_branch() {
    for (seed, confirmations) in [(1, 0), (2, 1), (3, 2)] {
        let anvil = Anvil::start().await.unwrap();
        let contract = emitter(&anvil).await;
        let (_dir, db) = fresh().await;
        let monitor = monitor(&db, http(anvil.url()), &anvil, contract)
            .confirmations(confirmations)
            .max_block_range(4)
            .build(Seen::default());
        let running = Running::monitor(&monitor);
        let floor = anvil.block_number().await.unwrap();
        let mut random = Random(seed);
        for step in 0..40 {
            let above = anvil.block_number().await.unwrap() - floor;
            match random.below(8) {
                0..4 => drop(emit(&anvil, contract, format!("{seed}.{step}").as_bytes()).await),
                4 => anvil.mine(1 + random.below(3)).await.unwrap(),
                5 if above > 4 => {
                    let depth = 1 + random.below(4);
                    let kept = emission(&anvil, contract, format!("{seed}.{step} reorg").as_bytes());
                    anvil.reorg_with(depth, &[(kept, random.below(depth))]).await.unwrap();
                }
                6 if above > 4 => anvil.rollback(1 + random.below(3)).await.unwrap(),
                _ => synced_or_behind(&monitor, &anvil).await,
            }
        }
        // A chain that ended shorter than it once was is only followed when it grows again.
        anvil.mine(20).await.unwrap();
        synced(&monitor, &anvil, confirmations).await;
        let expected = logs_of_the_chain(&anvil, contract, confirmations).await;
        assert!(expected.len() > 3, "seed {seed} makes too few logs");
        assert_eq!(Seen::rows(&db).await, expected, "seed {seed}");
        running.stop().await.unwrap();
    }
}

/// Lets the monitor see the present head, so that there is something to undo.
async fn synced_or_behind(monitor: &privatix_chain::Monitor, anvil: &Anvil) {
    let head = anvil.block_number().await.unwrap();
    settled(monitor, "the head to be seen", |status| {
        status.head == Some(head) && status.state == MonitorState::Following
    })
    .await;
}

async fn logs_of_the_chain(
    anvil: &Anvil,
    contract: alloy::primitives::Address,
    confirmations: u64,
) -> Vec<SeenLog> {
    let confirmed = anvil.block_number().await.unwrap() - confirmations;
    let filter = Filter::new().address(contract).from_block(0).to_block(confirmed);
    let logs = anvil.provider().get_logs(&filter).await.unwrap();
    logs.into_iter()
        .map(|log| (log.block_number.unwrap(), log.log_index.unwrap(), log.inner.data.data.to_vec()))
        .collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}
