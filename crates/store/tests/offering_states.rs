//! The states of offerings: one decision is stored once, with what the chain shows, and found when its time comes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod common;

use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use common::*;
use diesel_async::SimpleAsyncConnection as _;
use privatix_channel::{ChainEvent, ChainTime, OfferingEvent, OfferingHash};
use privatix_db::{Conn, Database, on};
use privatix_market::offering::*;
use privatix_market::{Uptime, Wake};
use privatix_store::offering_states::{self, Key, Loaded, PAGE, Stored, Waits};
use privatix_store::offerings;
use privatix_store::states::{Saved, Unreadable};

fn at(uptime: u64) -> Wake {
    Wake { uptime: Some(Uptime::new(uptime)), chain: None }
}

fn key(n: u8) -> Key {
    (STRANGER, offering(n))
}

/// An announcement in a block of this time.
fn announced(key: Key, time: u64) -> ChainEvent {
    let event = OfferingEvent::Registered(announcement(3));
    ChainEvent::Offering { agent: key.0, offering: key.1, block_time: Some(ChainTime::new(time)), event }
}

async fn whole(conn: &mut Conn, key: Key) -> Stored {
    match offering_states::load(conn, key).await.unwrap() {
        Some(Loaded::Whole(stored)) => *stored,
        other => panic!("{other:?}"),
    }
}

/// Another agent's offering, with a request under way or none.
fn foreign((agent, hash): Key, asked: Option<u64>) -> OfferingState {
    let mut state = OfferingState::foreign(agent, hash);
    let mut foreign = Foreign::default();
    foreign.asked = asked.map(|until| OfferingRequest { seq: 1, until: Uptime::new(until) });
    state.ownership = Ownership::Foreign(foreign);
    state
}

/// The condition that finds an offering.
fn sql((agent, hash): Key) -> String {
    format!("agent = x'{}' AND hash = x'{}'", alloy::hex::encode(agent), alloy::hex::encode(hash.as_b256()))
}

async fn run(db: &Database, sql: &str) {
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn two_saves_of_one_revision_are_one() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(offering_states::load(&mut tx, key(1)).await.unwrap(), None);
    assert!(offering_states::create(&mut tx, &foreign(key(1), None), at(5), None).await.unwrap());
    assert!(!offering_states::create(&mut tx, &foreign(key(1), Some(9)), at(6), None).await.unwrap());
    let before = whole(&mut tx, key(1)).await;
    assert_eq!((before.revision, before.wake, before.seen_at), (1, at(5), None));
    assert_eq!(before.state, foreign(key(1), None));

    let (first, second) = (foreign(key(1), Some(7)), foreign(key(1), Some(8)));
    let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(3);
    let mut save = async |before: &Stored, after, wake, seen| {
        offering_states::save(&mut tx, before, after, wake, seen).await.unwrap()
    };
    assert_eq!(save(&before, &first, at(7), Some(seen)).await, Saved::Revision(2));
    assert_eq!(save(&before, &second, at(8), None).await, Saved::Moved);
    let stored = whole(&mut tx, key(1)).await;
    assert_eq!((&stored.state, stored.revision, stored.wake), (&first, 2, at(7)));
    assert_eq!(stored.seen_at, Some(seen));
    let mut save = async |before: &Stored, after, wake, seen| {
        offering_states::save(&mut tx, before, after, wake, seen).await.unwrap()
    };
    assert_eq!(save(&stored, &first, at(7), Some(seen)).await, Saved::Revision(2), "nothing differs");
    assert_eq!(save(&stored, &second, Wake::default(), Some(seen)).await, Saved::Revision(3));
    assert_eq!(whole(&mut tx, key(1)).await.wake, Wake::default());
}

#[tokio::test]
async fn a_state_is_read_with_what_the_chain_shows_and_goes_with_a_foreign_offering() {
    let (_dir, db) = fresh().await;
    taken(&db, 7, 0, &announced(key(1), 70)).await;
    let mut tx = db.begin().await.unwrap();
    offering_states::create(&mut tx, &foreign(key(1), None), at(5), None).await.unwrap();
    tx.commit().await.unwrap();
    let shown = async || whole(&mut db.read().await.unwrap(), key(1)).await.state.chain;
    let source = Source { kind: 1, address: "127.0.0.1:4000".to_owned() };
    let first = Announcement { block: 7, at: ChainTime::new(70), source };
    let expected = Shown { presence: Presence::OnMarket, announced: Some(first.clone()) };
    assert_eq!(shown().await, expected);
    // Without a usable fold the events are read.
    run(&db, &format!("UPDATE offerings SET fold = 'no JSON' WHERE {}", sql(key(1)))).await;
    assert_eq!(shown().await, expected);
    let all = offerings::shown_of(&mut db.read().await.unwrap(), &[key(1), key(2)]).await.unwrap();
    assert_eq!(all, [(key(1), expected.clone())].into());

    let popped = OfferingEvent::PoppedUp(announcement(3));
    let popped =
        ChainEvent::Offering { agent: STRANGER, offering: offering(1), block_time: None, event: popped };
    taken(&db, 8, 0, &popped).await;
    run(&db, &format!("UPDATE offerings SET created_at = 44000000 WHERE {}", sql(key(1)))).await;
    let again = shown().await.announced.unwrap();
    assert_eq!((again.block, again.at), (8, ChainTime::new(44)), "an earlier version stored no time");
    taken(&db, 9, 0, &offered(STRANGER, offering(1), OfferingEvent::Removed)).await;
    assert_eq!(shown().await.presence, Presence::Removed);

    undone(&db, 7).await;
    assert_eq!(shown().await, expected);
    undone(&db, 6).await;
    assert_eq!(offering_states::load(&mut db.read().await.unwrap(), key(1)).await.unwrap(), None);
}

#[tokio::test]
async fn an_event_that_an_earlier_version_stored_without_its_time_is_the_same_event() {
    let (_dir, db) = fresh().await;
    let event = announced(key(1), 70);
    let mut earlier = event.clone();
    if let ChainEvent::Offering { block_time, .. } = &mut earlier {
        *block_time = None;
    }
    taken(&db, 7, 0, &earlier).await;
    let mut tx = db.begin().await.unwrap();
    assert!(!take(&mut tx, place(7, 0), &event).await, "it is there");
    let other = announced(key(2), 70);
    privatix_store::events::record(&mut tx, place(7, 0), &other).await.unwrap_err();
}

#[tokio::test]
async fn what_cannot_be_read_damages_one_offering() {
    for (what, expected) in [("ownership = '{\"foreign\": 3}'", "own"), ("schema = 2", "schema")] {
        let (_dir, db) = fresh().await;
        let mut tx = db.begin().await.unwrap();
        for n in [1, 2] {
            offering_states::create(&mut tx, &foreign(key(n), None), at(5), None).await.unwrap();
        }
        tx.commit().await.unwrap();
        run(&db, &format!("UPDATE offering_states SET {what} WHERE {}", sql(key(1)))).await;
        let mut conn = db.read().await.unwrap();
        let mut loaded = offering_states::load_all(&mut conn, &[key(1), key(2), key(3)]).await.unwrap();
        assert_eq!(loaded.len(), 2);
        let found = match loaded.remove(&key(1)) {
            Some(Loaded::Damaged(Unreadable::Own { .. })) => "own",
            Some(Loaded::Damaged(Unreadable::Schema { .. })) => "schema",
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(found, expected);
        assert!(matches!(loaded.remove(&key(2)), Some(Loaded::Whole(_))));
    }
}

fn numbered(n: u16) -> Key {
    let mut hash = [7; 32];
    hash[..2].copy_from_slice(&n.to_be_bytes());
    (Address::repeat_byte(u8::try_from(n % 3).unwrap()), OfferingHash::new(hash.into()))
}

#[tokio::test]
async fn offerings_whose_time_has_come_come_in_pages_the_longest_due_first() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let (mut asked, mut idle, mut by_chain) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..900_u16 {
        let time = u64::from(1_000 - n / 3);
        let (uptime, chain) = (Uptime::new(time), ChainTime::new(time));
        let (request, wake) = match n % 4 {
            0 => (Some(time), Wake { uptime: Some(uptime), chain: None }),
            1 => (None, Wake { uptime: Some(uptime), chain: Some(chain) }),
            2 => (None, Wake { uptime: None, chain: Some(chain) }),
            _ => (None, Wake::default()),
        };
        offering_states::create(&mut tx, &foreign(numbered(n), request), wake, None).await.unwrap();
        if time < 1_000 {
            match n % 4 {
                0 => asked.push((uptime, numbered(n))),
                1 => idle.push((uptime, numbered(n))),
                _ => {}
            }
            if matches!(n % 4, 1 | 2) {
                by_chain.push((chain, numbered(n)));
            }
        }
    }
    for (waits, mut expected) in [(Waits::ForAnswer, asked), (Waits::ForTime, idle)] {
        let mut found = Vec::new();
        loop {
            let last = found.last().copied();
            let page = offering_states::due_by_uptime(&mut tx, waits, Uptime::new(999), last).await.unwrap();
            found.extend(&page);
            if page.len() < PAGE {
                break;
            }
        }
        expected.sort_unstable();
        assert_eq!(found, expected, "{waits:?}");
        let next = offering_states::next(&mut tx, waits, Wake::default()).await.unwrap();
        assert_eq!(next.uptime, Some(expected[0].0));
        assert_eq!(next.chain, Some(ChainTime::new(701)));
        let over = Wake { uptime: Some(Uptime::new(999)), chain: Some(ChainTime::new(1_000)) };
        let next = offering_states::next(&mut tx, waits, over).await.unwrap();
        assert_eq!(next, at(1_000), "what is due already is left out");
    }
    let mut found = Vec::new();
    loop {
        let last = found.last().copied();
        let page = offering_states::due_by_chain(&mut tx, ChainTime::new(999), last).await.unwrap();
        found.extend(&page);
        if page.len() < PAGE {
            break;
        }
    }
    by_chain.sort_unstable();
    assert_eq!(found, by_chain);
    assert_eq!(offering_states::under_way(&mut tx).await.unwrap(), 225);
    let of_agent = offering_states::of_agent(&mut tx, Address::repeat_byte(1)).await.unwrap();
    assert_eq!(of_agent, (0..300).map(|n| numbered(3 * n + 1).1).collect::<Vec<_>>());
}

#[tokio::test]
async fn offerings_without_a_state_come_in_pages() {
    let (_dir, db) = fresh().await;
    for n in 1..=9 {
        taken(&db, n.into(), 0, &announced(key(n), 70)).await;
    }
    let mut tx = db.begin().await.unwrap();
    for n in [2, 5] {
        offering_states::create(&mut tx, &foreign(key(n), None), at(5), None).await.unwrap();
    }
    let (mut found, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = offering_states::without(&mut tx, found.last().copied(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        pages.push(page.len());
        found.extend(page);
    }
    assert_eq!((found, pages), ([1, 3, 4, 6, 7, 8, 9].map(key).to_vec(), vec![3, 3, 1]));
}

#[tokio::test]
async fn states_of_own_offerings_are_not_taken_back() {
    use diesel::Connection as _;
    use diesel::migration::{Migration, MigrationSource as _};
    use diesel::sqlite::{Sqlite, SqliteConnection};
    use diesel_migrations::MigrationHarness as _;
    const SCHEMA: privatix_db::EmbeddedMigrations = privatix_db::embed_migrations!("migrations");

    for (state, is_refused) in
        [(OfferingState::draft(AGENT, offering(1)), true), (foreign(key(1), None), false)]
    {
        let (dir, db) = fresh().await;
        let mut tx = db.begin().await.unwrap();
        offering_states::create(&mut tx, &state, at(5), None).await.unwrap();
        tx.commit().await.unwrap();
        drop(db);
        let migrations: Vec<Box<dyn Migration<Sqlite>>> = SCHEMA.migrations().unwrap();
        let states = migrations.iter().find(|one| one.name().to_string().ends_with("000318_offering_states"));
        let path = dir.path().join("market.db");
        let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
        let reverted = conn.revert_migration(&**states.unwrap());
        assert_eq!(reverted.is_err(), is_refused, "{:?}", reverted.err().map(|error| error.to_string()));
    }
}
