//! Kill -9 at random moments: no voucher that was acknowledged is ever forgotten.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use common::*;
use privatix_channel::{SignedVoucher, VoucherVerifier};
use privatix_db::{Database, GroupCommit};
use privatix_store::vouchers::{self, Payment, VoucherWriter};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const DATABASE: &str = "PRIVATIX_STORE_CRASH_TEST_DATABASE";
const ACKNOWLEDGED: &str = "acknowledged";
const CHANNELS: u64 = 8;
const KILLS: u32 = 12;
/// A guard against hangs, nothing else.
const PATIENCE: Duration = Duration::from_mins(2);

async fn best(db: &Database, nonce: u64) -> Option<SignedVoucher> {
    let stored = vouchers::get(&mut db.read().await.unwrap(), channel(nonce).0).await.unwrap();
    stored.map(|stored| stored.signed)
}

async fn cumulative(db: &Database, nonce: u64) -> u128 {
    best(db, nonce).await.map_or(0, |best| best.cumulative().get())
}

/// The process that is killed: takes one voucher after another on each channel and says so once it is stored. Does nothing
/// unless the test below has started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_child_process() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let db = open(path.as_ref()).await;
    let (writer, _task) = GroupCommit::start(db.clone(), VoucherWriter, 64);
    let mut payers = tokio::task::JoinSet::new();
    for nonce in 0..CHANNELS {
        let (writer, first) = (writer.clone(), cumulative(&db, nonce).await + 1);
        payers.spawn(async move {
            for next in first.. {
                let signed = voucher(channel(nonce).0, next);
                writer.submit(Payment { signed, acknowledge: signed.cumulative() }).await.unwrap();
                // One write to the pipe: a line is there whole or not at all.
                let line = format!("{ACKNOWLEDGED} {nonce} {next}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    payers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_the_best_acknowledged_voucher_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("market.db");
    let mut acknowledged: BTreeMap<u64, u128> = BTreeMap::new();
    let mut unacknowledged = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_a_child_process", "--nocapture"])
            .env(DATABASE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // In the midst of payments, each time after another number of them.
        let mut left = 1 + kill * 7;
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let Some((_, said)) = line.split_once(ACKNOWLEDGED) else { continue };
                let (nonce, cumulative) = said.trim().split_once(' ').unwrap();
                acknowledged.insert(nonce.parse().unwrap(), cumulative.parse().unwrap());
                left = left.saturating_sub(1);
                if left == 0 {
                    let _ = child.start_kill(); // goes on reading what it said before it died
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        assert!(!child.wait().await.unwrap().success(), "killed, not ended");

        let db = open(&path).await;
        for (nonce, said) in &acknowledged {
            let stored = best(&db, *nonce).await.unwrap();
            assert!(stored.cumulative().get() >= *said, "channel {nonce} forgot {said}");
            VoucherVerifier::new(domain(), &channel(*nonce).1).verify(&stored).unwrap();
            unacknowledged += u32::from(stored.cumulative().get() > *said);
        }
    }
    println!("{KILLS} kills, {acknowledged:?} acknowledged, {unacknowledged} stored ones not told of yet");
    assert_eq!(acknowledged.len() as u64, CHANNELS, "every channel was paid on");
}
