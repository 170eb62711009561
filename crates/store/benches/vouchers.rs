//! Vouchers stored per second, each on disk before it counts (`synchronous=FULL`), beside the rate at which the same disk
//! takes them one a commit.
//!
//! - `single commits`: each voucher in a commit of its own, one after another: the limit without sharing.
//! - `1000 channels`: one voucher of each channel at a time is on its way to the shared writer of an agent.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::time::{Duration, Instant};

use alloy::primitives::keccak256;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use privatix_channel::{Amount, ChannelId, SignedVoucher, Voucher, VoucherSignature};
use privatix_db::{Database, GroupCommit};
use privatix_store::vouchers::{self, Payment, VoucherWriter};

const CHANNELS: u64 = 1_000;
const GROUP: usize = 512;

/// A signature that the store takes for one: verifying it is not what is measured.
fn signature() -> VoucherSignature {
    let mut bytes = [1; 65];
    bytes[64] = 27;
    VoucherSignature::from_bytes(&bytes).unwrap()
}

fn voucher(channel: u64, cumulative: u128) -> SignedVoucher {
    // Spread over the index, as hashes are.
    let channel = ChannelId::new(keccak256(channel.to_be_bytes()));
    SignedVoucher {
        voucher: Voucher { channel, cumulative: Amount::new(cumulative) },
        signature: signature(),
    }
}

async fn open() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("market.db"), &[privatix_store::MIGRATIONS]).await.unwrap();
    (dir, db)
}

/// Stores one voucher on each channel, `rounds` times.
async fn single_commits(rounds: u64) -> Duration {
    let (_dir, db) = open().await;
    let started = Instant::now();
    for round in 1..=rounds {
        for channel in 0..CHANNELS {
            let mut tx = db.begin().await.unwrap();
            assert!(vouchers::store(&mut tx, &voucher(channel, round.into())).await.unwrap());
            tx.commit().await.unwrap();
        }
    }
    started.elapsed()
}

async fn grouped(rounds: u64) -> Duration {
    let (_dir, db) = open().await;
    let (writer, task) = GroupCommit::start(db, VoucherWriter, GROUP);
    let started = Instant::now();
    let payers = (0..CHANNELS).map(|channel| {
        let writer = writer.clone();
        tokio::spawn(async move {
            for round in 1..=rounds {
                let signed = voucher(channel, round.into());
                let payment = Payment { signed, acknowledge: signed.cumulative() };
                assert!(writer.submit(payment).await.unwrap().stored);
            }
        })
    });
    for payer in payers.collect::<Vec<_>>() {
        payer.await.unwrap();
    }
    let taken = started.elapsed();
    drop(writer);
    task.await.unwrap();
    taken
}

fn durable_vouchers(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("durable_vouchers");
    group
        .throughput(Throughput::Elements(CHANNELS))
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group.bench_function("single commits", |b| b.to_async(&runtime).iter_custom(single_commits));
    group.bench_function("1000 channels", |b| b.to_async(&runtime).iter_custom(grouped));
    group.finish();
}

criterion_group!(benches, durable_vouchers);
criterion_main!(benches);
