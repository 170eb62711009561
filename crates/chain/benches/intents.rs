//! Transactions per second against anvil, from their submission to their stored outcome, beside a plain loop of alloy that
//! signs with nonces of its own, sends, and waits for each receipt, and keeps nothing.
//!
//! - `transactor`: all intents of one account are submitted in one commit.
//! - `transactor, one at a time`: each is submitted when the former has ended.
//! - `plain loop`: one after another, as the intents of one account were sent before they were sent in parallel.
//!
//! Anvil mines each transaction at once. Outcomes are final at once, and prices are the market's.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use privatix_chain::{
    Endpoint, Finality, Intent, Keyring, MIGRATIONS, SinkError, Transactor, TxChange, TxRecord, TxSink,
    TxStatus,
};
use privatix_db::{Conn, Database};
use privatix_testkit::{Anvil, temp_dir};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const INTENTS: u64 = 200;
const TO: Address = Address::repeat_byte(0xbb);

#[derive(Clone, Default)]
struct Mined(Arc<(AtomicU64, Notify)>);

#[async_trait]
impl TxSink for Mined {
    type Applied = ();

    async fn changed(&self, _conn: &mut Conn, record: &TxRecord, change: TxChange) -> Result<(), SinkError> {
        assert!(matches!(record.status, TxStatus::Mined), "{record:?}");
        if change == TxChange::Mined {
            self.0.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn committed(&self, (): ()) {
        self.0.1.notify_one();
    }
}

impl Mined {
    async fn reach(&self, count: u64) {
        while self.0.0.load(Ordering::SeqCst) < count {
            self.0.1.notified().await;
        }
    }
}

/// The time for `INTENTS` intents, submitted `a_commit` at a time, `rounds` times.
async fn transactor(a_commit: u64, rounds: u64) -> Duration {
    let anvil = Anvil::start().await.unwrap();
    let dir = temp_dir().unwrap();
    let db = Database::open(&dir.path().join("chain.db"), &[MIGRATIONS]).await.unwrap();
    let mined = Mined::default();
    let keys = Keyring::new([anvil.key(1)]);
    let transactor =
        Transactor::builder(db.clone(), Endpoint::new(anvil.url()).unwrap(), anvil.chain_id(), keys)
            .confirmations(0)
            .finality(Finality::Depth(0))
            .poll_interval(Duration::from_millis(20))
            .build(mined.clone());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (transactor, shutdown) = (transactor.clone(), shutdown.clone());
        async move { transactor.run(shutdown).await }
    });
    let started = Instant::now();
    let mut submitted = 0;
    while submitted < rounds * INTENTS {
        let mut tx = db.begin().await.unwrap();
        for _ in 0..a_commit {
            let key = submitted.to_string();
            let intent = Intent::new(key, anvil.account(1), TO, Vec::new()).value(1);
            transactor.submit(&mut tx, intent).await.unwrap();
            submitted += 1;
        }
        tx.commit().await.unwrap();
        transactor.wake();
        mined.reach(submitted).await;
    }
    let taken = started.elapsed();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    taken
}

async fn plain_loop(rounds: u64) -> Duration {
    let anvil = Anvil::start().await.unwrap();
    let provider = ProviderBuilder::new().wallet(anvil.wallet()).connect_http(anvil.url().parse().unwrap());
    let started = Instant::now();
    for _ in 0..rounds * INTENTS {
        let request = TransactionRequest::default().from(anvil.account(1)).to(TO).value(U256::from(1));
        let pending = provider.send_transaction(request).await.unwrap();
        let hash = *pending.tx_hash();
        // Mined at once: the first look finds it, where the library's own watching waits for its poll.
        while provider.get_transaction_receipt(hash).await.unwrap().is_none() {}
    }
    started.elapsed()
}

fn intents(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("intents");
    group.throughput(Throughput::Elements(INTENTS)).sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("plain loop", |b| b.to_async(&runtime).iter_custom(plain_loop));
    group.bench_function("transactor, one at a time", |b| {
        b.to_async(&runtime).iter_custom(|rounds| transactor(1, rounds));
    });
    group.bench_function("transactor", |b| {
        b.to_async(&runtime).iter_custom(|rounds| transactor(INTENTS, rounds));
    });
    group.finish();
}

criterion_group!(benches, intents);
criterion_main!(benches);
