//! Confirmed logs, each applied once, whatever happens to the sink and the process.

use std::sync::Arc;

use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection;
use parking_lot::Mutex;
use privatix_chain::{
    ChainError, ConfirmedBatch, Interest, LogSink, Monitor, MonitorState, SinkError, StartFrom,
};
use privatix_db::{Conn, on};
use privatix_testkit::Anvil;

use crate::support::{
    NEVER, Running, Seen, emission, emit, emitter, fresh, http, monitor, send, settled, synced,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_counts_once_it_has_its_confirmations_and_not_a_block_earlier() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).confirmations(3).build(sink.clone());
    let running = Running::monitor(&monitor);

    let block = emit(&anvil, contract, b"one").await;
    anvil.mine(2).await.unwrap();
    synced(&monitor, &anvil, 3).await;
    assert_eq!(Seen::rows(&db).await, []);

    anvil.mine(1).await.unwrap();
    synced(&monitor, &anvil, 3).await;
    assert_eq!(Seen::rows(&db).await, [(block, 0, b"one".to_vec())]);
    assert!(sink.committed() > 0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_one_block_come_in_order_and_a_log_that_two_interests_match_comes_once() {
    let anvil = Anvil::start().await.unwrap();
    let (first, second) = (emitter(&anvil).await, emitter(&anvil).await);
    let (_dir, db) = fresh().await;
    anvil.set_automine(false).await.unwrap();
    let mut pending = Vec::new();
    for (contract, payload) in [(first, "a"), (second, "b"), (first, "c"), (first, "d")] {
        let request = emission(&anvil, contract, payload.as_bytes());
        pending.push(alloy::providers::Provider::send_transaction(&anvil.provider(), request).await.unwrap());
    }
    anvil.mine(1).await.unwrap();

    let topic = alloy::primitives::B256::with_last_byte(1);
    let interests =
        [Interest::all_of(first), Interest::all_of(first).topic(0, topic), Interest::all_of(second)];
    let monitor = Monitor::builder(db.clone(), http(anvil.url()), anvil.chain_id(), interests)
        .start(StartFrom::Block(1))
        .confirmations(0)
        .build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["a", "b", "c", "d"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_the_sink_refuses_leaves_nothing_and_is_offered_again() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    for payload in ["a", "b"] {
        emit(&anvil, contract, payload.as_bytes()).await;
    }
    let sink = Seen::default();
    sink.refuse_applies(u32::MAX);
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);

    let status = settled(&monitor, "a second refusal", |status| {
        matches!(status.state, MonitorState::Stalled { failures: 2.., .. })
    })
    .await;
    let MonitorState::Stalled { reason, .. } = status.state else { unreachable!() };
    assert!(
        reason.contains("applying the events of blocks 1 to") && reason.contains("the test refuses"),
        "{reason}"
    );
    assert_eq!(Seen::rows(&db).await, []);
    assert_eq!(sink.committed(), 0);

    sink.refuse_applies(0);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["a", "b"]);
    running.stop().await.unwrap();
}

/// Informs of the blocks whose logs it applied, and of those above which it undid. Its first commits fail.
#[derive(Default)]
struct Informs {
    commits_to_fail: Mutex<u32>,
    informed: Mutex<Vec<u64>>,
}

impl Informs {
    /// Writes what makes the commit fail, if that is due.
    async fn spoil(&self, conn: &mut Conn) -> Result<(), SinkError> {
        let is_due = {
            let mut left = self.commits_to_fail.lock();
            let is_due = *left > 0;
            *left = left.saturating_sub(1);
            is_due
        };
        if is_due {
            on!(conn, |c| c.batch_execute("INSERT INTO orphans (parent) VALUES (1)").await)?;
        }
        Ok(())
    }
}

#[async_trait]
impl LogSink for Informs {
    type Applied = Vec<u64>;

    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<Vec<u64>, SinkError> {
        if !batch.logs.is_empty() {
            self.spoil(conn).await?;
        }
        Ok(batch.logs.iter().map(|log| log.block).collect())
    }

    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<Vec<u64>, SinkError> {
        self.spoil(conn).await?;
        Ok(vec![to_block])
    }

    fn committed(&self, applied: Vec<u64>) {
        self.informed.lock().extend(applied);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_rolled_back_informs_nobody() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let table = "CREATE TABLE parents (id INTEGER PRIMARY KEY); \
                 CREATE TABLE orphans (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
    on!(&mut *tx, |c| c.batch_execute(table).await).unwrap();
    tx.commit().await.unwrap();
    let sink = Arc::new(Informs::default());
    *sink.commits_to_fail.lock() = u32::MAX;
    let before = anvil.snapshot().await.unwrap();
    let block = emit(&anvil, contract, b"one").await;
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(Arc::clone(&sink));
    let running = Running::monitor(&monitor);
    settled(&monitor, "a second commit that fails", |status| {
        matches!(status.state, MonitorState::Stalled { failures: 2.., .. })
    })
    .await;
    assert_eq!(*sink.informed.lock(), [0_u64; 0]);
    *sink.commits_to_fail.lock() = 0;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(*sink.informed.lock(), [block]);

    // The same of what is undone.
    *sink.commits_to_fail.lock() = 1;
    anvil.revert(before).await.unwrap();
    emit(&anvil, contract, b"other").await;
    emit(&anvil, contract, b"more").await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(*sink.informed.lock(), [block, block - 1, block, block + 1]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_is_cut_off_anywhere_continues_where_it_was() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let payloads: Vec<String> = (0..30).map(|n| format!("log {n}")).collect();
    for payload in &payloads {
        emit(&anvil, contract, payload.as_bytes()).await;
    }
    let head = anvil.block_number().await.unwrap();
    let sink = Seen::default();
    let mut kills = 0;
    // Each life is cut off one commit later than it began, wherever it is by then.
    let monitor = loop {
        let monitor =
            monitor(&db, http(anvil.url()), &anvil, contract).max_block_range(3).build(sink.clone());
        let running = Running::monitor(&monitor);
        let before = sink.committed();
        settled(&monitor, "a commit", |_| sink.committed() > before).await;
        running.kill().await;
        kills += 1;
        if monitor.status().borrow().processed == Some(head) {
            break monitor;
        }
    };
    assert!(kills >= 3, "only {kills} lives");
    assert_eq!(Seen::payloads(&db).await, payloads);
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_stream_starts_where_it_is_told_and_a_stored_one_where_it_was() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    for payload in ["old", "older than two blocks", "recent", "newest"] {
        emit(&anvil, contract, payload.as_bytes()).await;
    }
    let follow = async |start| {
        let monitor = monitor(&db, http(anvil.url()), &anvil, contract).start(start).build(Seen::default());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        running.stop().await.unwrap();
    };
    follow(StartFrom::Recent(2)).await;
    assert_eq!(Seen::payloads(&db).await, ["recent", "newest"]);

    emit(&anvil, contract, b"while it was away").await;
    follow(StartFrom::Block(1)).await;
    assert_eq!(Seen::payloads(&db).await, ["recent", "newest", "while it was away"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_follows_another_contract_is_refused() {
    let anvil = Anvil::start().await.unwrap();
    let (first, second) = (emitter(&anvil).await, emitter(&anvil).await);
    let (_dir, db) = fresh().await;
    let one = monitor(&db, http(anvil.url()), &anvil, first).build(Seen::default());
    let running = Running::monitor(&one);
    synced(&one, &anvil, 0).await;
    running.stop().await.unwrap();

    let other = monitor(&db, http(anvil.url()), &anvil, second).build(Seen::default());
    let refusal = Running::monitor(&other).outcome().await.unwrap_err();
    assert!(matches!(refusal, ChainError::OtherStream { .. }), "{refusal}");
    let text = refusal.to_string();
    assert!(text.contains(&first.to_string()) && text.contains(&second.to_string()), "{text}");

    // Under a name of its own it may, and both keep their places.
    let beside = monitor(&db, http(anvil.url()), &anvil, second).stream("beside").build(Seen::default());
    let running = Running::monitor(&beside);
    synced(&beside, &anvil, 0).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_monitors_of_one_stream_only_one_applies_a_block() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let monitors = [(); 2].map(|()| {
        monitor(&db, http(anvil.url()), &anvil, contract).max_block_range(2).build(Seen::default())
    });
    let running = [Running::monitor(&monitors[0]), Running::monitor(&monitors[1])];
    let payloads: Vec<String> = (0..20).map(|n| format!("log {n}")).collect();
    for payload in &payloads {
        emit(&anvil, contract, payload.as_bytes()).await;
    }
    for monitor in &monitors {
        synced(monitor, &anvil, 0).await;
    }
    assert_eq!(Seen::payloads(&db).await, payloads);
    for running in running {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_websocket_a_block_is_noticed_without_polling() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let endpoint = http(&anvil.ws_url());
    let monitor = monitor(&db, endpoint, &anvil, contract).poll_interval(NEVER).build(Seen::default());
    let running = Running::monitor(&monitor);
    for n in 1..=3 {
        emit(&anvil, contract, b"news").await;
        synced(&monitor, &anvil, 0).await;
        assert_eq!(Seen::rows(&db).await.len(), n);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_wake_is_as_good_as_a_poll() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let monitor =
        monitor(&db, http(anvil.url()), &anvil, contract).poll_interval(NEVER).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    send(&anvil, emission(&anvil, contract, b"news")).await;
    monitor.wake();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["news"]);
    running.stop().await.unwrap();
}
