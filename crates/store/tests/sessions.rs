//! Usage: totals that are exact, whatever is reported twice, late or out of order.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use common::*;
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource as _};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::MigrationHarness as _;
use privatix_channel::{ChannelId, Usage};
use privatix_db::Database;
use privatix_store::meters;
use privatix_store::sessions::{self, Report};
use proptest::prelude::*;
use uuid::Uuid;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn report(channel: ChannelId, session: u128, used: u64) -> Report {
    Report {
        session: Uuid::from_u128(session),
        channel,
        used: Usage::new(used),
        peer: Some("192.0.2.7:4711".into()),
        started_at: at(0),
        last_usage: at(used),
        stopped_at: None,
    }
}

async fn record(db: &Database, report: &Report) -> bool {
    let mut tx = db.begin().await.unwrap();
    let recorded = sessions::record(&mut tx, report).await.unwrap();
    tx.commit().await.unwrap();
    recorded
}

async fn used(db: &Database, channel: ChannelId) -> (u64, Option<SystemTime>) {
    let (used, last) = meters::used(&mut db.read().await.unwrap(), channel).await.unwrap();
    (used.get(), last)
}

async fn list(db: &Database, channel: ChannelId) -> Vec<sessions::Session> {
    sessions::list(&mut db.read().await.unwrap(), channel).await.unwrap()
}

#[tokio::test]
async fn a_channels_usage_is_the_sum_of_its_sessions_and_of_no_other_channels() {
    let (_dir, db) = fresh().await;
    let (a, b) = (add_channel(&db, 0).await, add_channel(&db, 1).await);
    assert_eq!(used(&db, a).await, (0, None));
    for (channel, session, total) in [(a, 1, 100), (a, 2, 11), (b, 3, 5_000), (a, 1, 130)] {
        assert!(record(&db, &report(channel, session, total)).await);
    }
    assert_eq!(used(&db, a).await, (141, Some(at(130))));
    assert_eq!(used(&db, b).await, (5_000, Some(at(5_000))));
}

#[tokio::test]
async fn a_report_of_nothing_used_tells_of_the_session_but_of_no_usage() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    let is_running = async || sessions::is_running(&mut db.read().await.unwrap(), id).await.unwrap();
    let running = async || sessions::running(&mut db.read().await.unwrap()).await.unwrap();
    assert!(!is_running().await && running().await.is_empty());
    record(&db, &report(id, 1, 0)).await;
    assert!(is_running().await && running().await.contains(&id));
    assert_eq!(used(&db, id).await, (0, None));
    assert_eq!(list(&db, id).await.len(), 1);
}

#[tokio::test]
async fn usage_on_a_channel_that_is_not_ours_is_not_stored() {
    let (_dir, db) = fresh().await;
    let (stranger, _) = channel(9);
    assert!(!record(&db, &report(stranger, 1, 100)).await);
    assert_eq!(used(&db, stranger).await, (0, None));
}

#[tokio::test]
async fn a_session_cannot_be_reported_on_another_channel() {
    let (_dir, db) = fresh().await;
    let (a, b) = (add_channel(&db, 0).await, add_channel(&db, 1).await);
    assert!(record(&db, &report(a, 1, 100)).await);
    assert!(!record(&db, &report(b, 1, 900)).await);
    assert_eq!(used(&db, a).await.0, 100);
    assert_eq!(used(&db, b).await.0, 0);
}

#[tokio::test]
async fn a_session_is_listed_with_all_that_was_said_of_it_newest_first() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    record(&db, &Report { peer: None, ..report(id, 1, 10) }).await;
    record(&db, &report(id, 1, 20)).await;
    record(&db, &Report { stopped_at: Some(at(30)), peer: Some("other".into()), ..report(id, 1, 20) }).await;
    record(&db, &Report { started_at: at(40), ..report(id, 2, 7) }).await;
    let [second, first] = &list(&db, id).await[..] else { panic!("two sessions") };
    assert_eq!((first.id, first.channel, first.used), (Uuid::from_u128(1), id, Usage::new(20)));
    assert_eq!(first.peer.as_deref(), Some("192.0.2.7:4711"));
    assert_eq!((first.started_at, first.last_usage, first.stopped_at), (at(0), Some(at(20)), Some(at(30))));
    assert_eq!((second.id, second.started_at, second.stopped_at), (Uuid::from_u128(2), at(40), None));
}

#[tokio::test]
async fn addresses_of_users_are_cleared_and_overwritten_in_the_file() {
    let (dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    record(&db, &report(id, 1, 10)).await;
    record(&db, &Report { peer: None, ..report(id, 2, 20) }).await;
    let forget = async || {
        let mut tx = db.begin().await.unwrap();
        let cleared = sessions::forget_peers(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        cleared
    };
    assert_eq!(forget().await, 1);
    assert_eq!(forget().await, 0);
    let listed = list(&db, id).await;
    assert!(listed.len() == 2 && listed.iter().all(|session| session.peer.is_none()), "{listed:?}");
    assert_eq!(used(&db, id).await.0, 30);

    let path = db.path().to_owned();
    drop(db);
    drop(open(&path).await); // whoever closes the last connection moves the log into the file
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(9).any(|part| part == b"192.0.2.7"));
    }
}

#[tokio::test]
async fn stopping_all_ends_the_open_sessions_only() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    record(&db, &Report { stopped_at: Some(at(5)), ..report(id, 1, 10) }).await;
    record(&db, &report(id, 2, 20)).await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(sessions::stop_all(&mut tx, at(50)).await.unwrap(), 1);
    assert_eq!(sessions::stop_all(&mut tx, at(60)).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let mut ends: Vec<_> =
        list(&db, id).await.into_iter().map(|session| session.stopped_at.unwrap()).collect();
    ends.sort();
    assert_eq!(ends, [at(5), at(50)]);
    assert_eq!(used(&db, id).await.0, 30);
}

#[tokio::test]
async fn an_absurd_total_is_capped_and_does_not_stop_the_metering() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    let absurd = Report { used: Usage::new(u64::MAX), ..report(id, 1, 0) };
    assert!(record(&db, &absurd).await);
    assert_eq!(used(&db, id).await.0, i64::MAX.unsigned_abs());
    record(&db, &Report { session: Uuid::from_u128(2), ..absurd.clone() }).await;
    record(&db, &Report { session: Uuid::from_u128(3), ..absurd }).await;
    assert_eq!(used(&db, id).await.0, i64::MAX.unsigned_abs(), "the sum stops at the top");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Every session's counter goes up in some steps; its reports arrive in any order, some of them again.
    #[test]
    fn the_total_is_exact_whatever_the_order_and_number_of_deliveries(
        sessions in prop::collection::vec(prop::collection::vec(0..1_000_u64, 1..5), 1..5),
        (order, again) in (any::<prop::sample::Index>(), prop::collection::vec(any::<prop::sample::Index>(), 0..6)),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, db) = fresh().await;
            let id = add_channel(&db, 0).await;
            let mut totals = BTreeMap::new();
            let mut reports = Vec::new();
            for (session, steps) in (1..).zip(&sessions) {
                for step in steps {
                    let total = totals.entry(session).or_insert(0_u64);
                    *total += step;
                    reports.push(report(id, session, *total));
                }
            }
            let repeated: Vec<_> = again.iter().map(|index| index.get(&reports).clone()).collect();
            let length = reports.len();
            reports.rotate_left(order.index(length));
            reports.swap(0, length - 1);
            for report in reports.iter().chain(&repeated) {
                prop_assert!(record(&db, report).await);
            }
            let sum: u64 = totals.values().sum();
            prop_assert_eq!(used(&db, id).await.0, sum);
            for session in list(&db, id).await {
                prop_assert_eq!(session.used.get(), totals[&session.id.as_u128()]);
            }
            Ok(())
        })?;
    }
}

/// What was used before there was a total is in it, as much as it can hold.
#[tokio::test]
async fn the_sessions_of_an_earlier_version_are_summed_once() {
    let (dir, db) = fresh().await;
    let (a, b, unused) = (add_channel(&db, 0).await, add_channel(&db, 1).await, add_channel(&db, 2).await);
    for (channel, session, total) in [(a, 1, 1 << 40), (a, 2, (1 << 40) + 7), (b, 3, u64::MAX), (b, 4, 5)] {
        assert!(
            record(
                &db,
                &Report {
                    used: Usage::new(total),
                    last_usage: at(session),
                    ..report(channel, session.into(), 1)
                }
            )
            .await
        );
    }
    assert_eq!(used(&db, b).await.0, i64::MAX.cast_unsigned(), "more than it can hold is the most");
    let before = [used(&db, a).await, used(&db, b).await, used(&db, unused).await];
    assert_eq!(before[0], ((1 << 41) + 7, Some(at(2))));
    drop(db);

    let path = dir.path().join("market.db");
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = privatix_store::MIGRATIONS.sqlite.migrations().unwrap();
    let ours = migrations.iter().find(|one| one.name().to_string().ends_with("000319_meters")).unwrap();
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    conn.revert_migration(&**ours).unwrap();
    assert!(conn.batch_execute("SELECT used FROM meters").is_err());
    drop(conn);
    let db = open(&path).await;
    assert_eq!([used(&db, a).await, used(&db, b).await, used(&db, unused).await], before);
    assert!(record(&db, &report(a, 9, 3)).await);
    assert_eq!(used(&db, a).await.0, (1 << 41) + 10);
}
