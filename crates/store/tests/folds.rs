//! What an event costs does not grow with those before it, and a fold that is kept is the one from scratch.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use diesel_async::SimpleAsyncConnection as _;
use privatix_channel::{
    ChainEvent, ChannelEvent, ChannelId, ChannelStatus, Fee, LogPosition, OfferingEvent, UnderWay,
};
use privatix_db::{Conn, Database, EmbeddedMigrations, SqliteConn, embed_migrations, on};
use privatix_store::events::Place;
use privatix_store::{channels, events, offerings};

const SCHEMA: EmbeddedMigrations = embed_migrations!("migrations");

diesel::define_sql_function! {
    /// Gives back the text, and counts.
    fn counted(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

/// A connection to a database that nobody else has open. Counts the stored events that statements read from now on.
fn counting(path: &std::path::Path) -> (Conn, Arc<AtomicU64>) {
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    counted_utils::register_nondeterministic_impl(&mut conn, move |text: String| {
        counter.fetch_add(1, Ordering::SeqCst);
        text
    })
    .unwrap();
    // In front of the table, for reading.
    conn.batch_execute(
        "CREATE TEMP VIEW chain_events AS SELECT block, log_index, tx, agent, channel, offering, \
         counted(event) AS event FROM main.chain_events",
    )
    .unwrap();
    (Conn::Sqlite(SqliteConn::new(conn)), read)
}

/// Channel 0 under offering 1, opened in block 1; then in each of `settlements` blocks one base unit is settled, and the fee of
/// the offering's next channels changes.
async fn history(settlements: u64) -> (tempfile::TempDir, Database, ChannelId) {
    let (dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    let mut tx = db.begin().await.unwrap();
    let registered = offered(AGENT, offering(1), OfferingEvent::Registered(announcement(5)));
    let mut story = vec![(place(1, 0), registered), (place(1, 1), opened(channel(0).1, 1_000_000))];
    for n in 1..=settlements {
        let at = |index| Place { at: LogPosition::new(1 + n, index), ..story[0].0 };
        let fee = Fee::new(u16::try_from(n % 1_000).unwrap()).unwrap();
        let (paid, refreshed) = (at(0), at(1));
        story.push((paid, settled(id, n.into())));
        story.push((refreshed, offered(AGENT, offering(1), OfferingEvent::FeeRefreshed { fee })));
    }
    for some in story.chunks(500) {
        assert!(events::record_all(&mut tx, some).await.unwrap().into_iter().all(|new| new));
        offerings::advance_all(&mut tx, some).await.unwrap();
    }
    channels::refold(&mut tx, id).await.unwrap();
    tx.commit().await.unwrap();
    (dir, db, id)
}

fn settled(channel: ChannelId, paid: u128) -> ChainEvent {
    changed(channel, ChannelEvent::Settled { paid: amount(paid) })
}

/// The stored events that are read to take in one more event of the channel and of the offering, and to undo it again.
async fn reads_after(settlements: u64) -> (u64, u64) {
    let (dir, db, id) = history(settlements).await;
    let next = settlements + 2;
    let (paid, place_taken) = (settled(id, 999_999), opened(channel(settlements + 1).1, 100));
    let mut tx = db.begin().await.unwrap();
    let both = [(place(next, 0), paid.clone()), (place(next, 1), place_taken.clone())];
    events::record_all(&mut tx, &both).await.unwrap();
    tx.commit().await.unwrap();
    drop(db);

    let path = dir.path().join("market.db");
    let (mut conn, read) = counting(&path);
    let advanced = channels::advance(&mut conn, id, place(next, 0).at, paid.channel_event().unwrap()).await;
    assert_eq!(advanced.unwrap().unwrap().paid, amount(999_999));
    offerings::advance_all(&mut conn, &[(place(next, 1), place_taken)]).await.unwrap();
    assert_eq!(offerings::get(&mut conn, AGENT, offering(1)).await.unwrap().free_supply, 3);
    let forward = read.swap(0, Ordering::SeqCst);
    let undo = format!("DELETE FROM main.chain_events WHERE block > {}", next - 1);
    on!(&mut conn, |c| c.batch_execute(&undo).await).unwrap();
    let refolded = channels::refold(&mut conn, id).await.unwrap().unwrap();
    assert_eq!(refolded.paid, amount(settlements.into()));
    offerings::refold(&mut conn, AGENT, offering(1)).await.unwrap();
    assert_eq!(offerings::get(&mut conn, AGENT, offering(1)).await.unwrap().free_supply, 4);
    (forward, read.load(Ordering::SeqCst))
}

#[tokio::test]
async fn the_ten_thousandth_event_costs_what_the_first_did() {
    let (first, first_undone) = reads_after(0).await;
    let (ten_thousandth, undone) = reads_after(9_999).await;
    assert!(first_undone > 0, "what is read is counted");
    assert_eq!((first, ten_thousandth), (0, 0), "no stored event is read to take in one more");
    assert!(undone <= 2 * 64, "{undone} events were read to undo one of a channel and one of an offering");
}

/// The stored events that are read to take in one that is older than all of an offering's, with this many.
async fn reads_before(known: u64) -> u64 {
    let (dir, db) = fresh().await;
    let first = known + 2;
    let mut story =
        vec![(place(first, 0), offered(AGENT, offering(1), OfferingEvent::PoppedUp(announcement(5))))];
    for n in 1..=known {
        story.push((place(first + n, 0), opened(channel(n).1, 100)));
        story.push((place(first + n, 1), closed(channel(n).1, 10, 90, privatix_channel::Closure::ByBoth)));
    }
    let mut tx = db.begin().await.unwrap();
    for some in story.chunks(500) {
        events::record_all(&mut tx, some).await.unwrap();
        offerings::advance_all(&mut tx, some).await.unwrap();
    }
    let older = [(place(1, 0), offered(AGENT, offering(1), OfferingEvent::Registered(announcement(9))))];
    events::record_all(&mut tx, &older).await.unwrap();
    tx.commit().await.unwrap();
    drop(db);
    let (mut conn, read) = counting(&dir.path().join("market.db"));
    offerings::advance_all(&mut conn, &older).await.unwrap();
    let found = offerings::get(&mut conn, AGENT, offering(1)).await.unwrap();
    assert_eq!((found.announcement.supply, found.free_supply, found.announced_at), (9, 5, Some(first)));
    read.load(Ordering::SeqCst)
}

#[tokio::test]
async fn an_older_event_costs_the_same_however_many_came_after_it() {
    assert_eq!((reads_before(1).await, reads_before(300).await), (0, 0), "no stored event is read");
}

#[tokio::test]
async fn what_an_earlier_version_stored_is_folded_once_when_it_is_touched() {
    use diesel::migration::{Migration, MigrationSource as _};
    use diesel::sqlite::Sqlite;
    use diesel_migrations::MigrationHarness as _;

    let (dir, db, id) = history(70).await;
    let mut tx = db.begin().await.unwrap();
    show_under_way(&mut tx, id, UnderWay::Close).await;
    tx.commit().await.unwrap();
    drop(db);
    let path = dir.path().join("market.db");
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = SCHEMA.migrations().unwrap();
    let folds = migrations.iter().find(|one| one.name().to_string().ends_with("000304_folds")).unwrap();
    conn.revert_migration(&**folds).unwrap();
    drop(conn);

    let db = open(&path).await;
    let before = channels::on_chain(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!((before.deposit, before.paid), (amount(1_000_000), amount(70)));
    taken(&db, 80, 0, &settled(id, 90)).await;
    taken(&db, 80, 1, &opened(channel(71).1, 100)).await;
    let stored = channels::get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!((stored.deposit, stored.paid), (amount(1_000_000), amount(90)));
    assert_eq!((stored.status, stored.opened_at), (ChannelStatus::Active, Some(1)));
    let known = offerings::get(&mut db.read().await.unwrap(), AGENT, offering(1)).await.unwrap();
    assert_eq!((known.free_supply, known.announced_at), (4 - 1, Some(1)));
    drop(db);
    // From now on without the stored events.
    let (mut conn, read) = counting(&path);
    let next = ChannelEvent::Settled { paid: amount(91) };
    channels::advance(&mut conn, id, place(81, 0).at, next).await.unwrap();
    assert_eq!(channels::on_chain(&mut conn, id).await.unwrap().paid, amount(91));
    assert_eq!(read.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_event_that_is_found_late_counts_in_its_place() {
    let (_dir, db, id) = history(130).await;
    let request = changed(
        id,
        ChannelEvent::CloseRequested { paid: amount(20), ends_at: privatix_channel::ChainTime::new(900) },
    );
    let cancelled = ChannelEvent::ToppedUp { deposit: amount(2_000_000), request_cancelled: true };
    taken(&db, 200, 0, &changed(id, cancelled)).await;
    // The announcement and the close request of before were omitted.
    taken(&db, 100, 7, &request).await;
    taken(&db, 100, 8, &offered(AGENT, offering(1), OfferingEvent::PoppedUp(announcement(2)))).await;
    let check = async |db: &Database| {
        let mut conn = db.read().await.unwrap();
        let stored = channels::get(&mut conn, id).await.unwrap();
        let known = offerings::get(&mut conn, AGENT, offering(1)).await.unwrap();
        assert_eq!((stored.status, stored.paid), (ChannelStatus::Active, amount(130)));
        assert_eq!((known.free_supply, known.announced_at), (2, Some(100)));
    };
    check(&db).await;
    undone(&db, 150).await;
    let stored = channels::get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(stored.status, ChannelStatus::InChallenge);
    taken(&db, 201, 0, &changed(id, cancelled)).await;
    check(&db).await;
}

#[tokio::test]
async fn what_is_kept_of_events_and_cannot_be_read_is_folded_again_from_them() {
    let (dir, db, id) = history(130).await;
    drop(db);
    let path = dir.path().join("market.db");
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    conn.batch_execute("UPDATE channels SET fold = '{'; UPDATE offerings SET fold = '{'").unwrap();
    drop(conn);
    let db = open(&path).await;
    taken(&db, 200, 0, &settled(id, 140)).await;
    taken(&db, 200, 1, &opened(channel(201).1, 100)).await;
    let check = async |paid, free| {
        let mut conn = db.read().await.unwrap();
        assert_eq!(channels::get(&mut conn, id).await.unwrap().paid, amount(paid));
        assert_eq!(offerings::get(&mut conn, AGENT, offering(1)).await.unwrap().free_supply, free);
    };
    check(140, 3).await;
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE fold_snapshots SET state = '{'").await).unwrap();
    tx.commit().await.unwrap();
    undone(&db, 150).await;
    check(130, 4).await;
}

/// Some events of two offerings and of channels under them, one in each block.
fn story(choices: &[(u8, bool)]) -> Vec<(Place, ChainEvent)> {
    let mut story = Vec::new();
    for (n, (choice, first)) in (1u64..).zip(choices) {
        let of = offering(if *first { 1 } else { 2 });
        let mut descriptor = channel(n).1;
        descriptor.offering = of;
        let event = match choice % 6 {
            0 => offered(AGENT, of, OfferingEvent::Registered(announcement(5))),
            1 => offered(AGENT, of, OfferingEvent::PoppedUp(announcement(1 + u32::from(*choice) % 7))),
            2 => offered(AGENT, of, OfferingEvent::Removed),
            3 => {
                offered(AGENT, of, OfferingEvent::FeeRefreshed { fee: Fee::new(u16::from(*choice)).unwrap() })
            }
            4 => opened(descriptor, 100),
            _ => closed(descriptor, 10, 90, privatix_channel::Closure::ByBoth),
        };
        story.push((place(n, 0), event));
    }
    story
}

async fn all_offerings(db: &Database) -> Vec<offerings::Offering> {
    let mut conn = db.read().await.unwrap();
    let mut all = offerings::list(&mut conn, &offerings::Filter::default(), 0, 100).await.unwrap();
    for offering in &mut all {
        offering.created_at = std::time::SystemTime::UNIX_EPOCH;
    }
    all.sort_by_key(|offering| offering.hash);
    all
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// A search from the newest blocks on ends with the same offerings as blocks in their order, whatever the batches.
    #[test]
    fn offerings_come_to_the_same_whichever_way_their_events_come(
        choices in proptest::collection::vec(proptest::prelude::any::<(u8, bool)>(), 1..150),
        batch in 1..40usize,
    ) {
        let story = story(&choices);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, forward) = fresh().await;
            let (_dir, backward) = fresh().await;
            let orders = [story.chunks(batch).collect::<Vec<_>>(), story.rchunks(batch).collect()];
            for (db, batches) in [&forward, &backward].into_iter().zip(orders) {
                for some in batches {
                    let mut tx = db.begin().await.unwrap();
                    events::record_all(&mut tx, some).await.unwrap();
                    offerings::advance_all(&mut tx, some).await.unwrap();
                    tx.commit().await.unwrap();
                }
            }
            assert_eq!(all_offerings(&forward).await, all_offerings(&backward).await);
        });
    }
}
