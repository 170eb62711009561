//! Offerings and channels as they are stored, found and listed.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use common::*;
use privatix_channel::{
    ChannelId, ChannelStatus, Closure, Fee, OfferingEvent, OfferingHash, OfferingStatus, OfferingUnderWay,
    ServiceStatus,
};
use privatix_db::Database;
use privatix_store::channels::{self, Channel, Shown, StoredAccess};
use privatix_store::offerings::{self, Filter, Offering};
use privatix_store::{StoreError, identity};

async fn find(db: &Database, agent: Address, hash: OfferingHash) -> Offering {
    offerings::get(&mut db.read().await.unwrap(), agent, hash).await.unwrap()
}

async fn list(db: &Database, filter: &Filter, limit: u32) -> Vec<(Address, OfferingHash)> {
    let found = offerings::list(&mut db.read().await.unwrap(), filter, 0, limit).await.unwrap();
    found.into_iter().map(|offering| (offering.agent, offering.hash)).collect()
}

fn draft(n: u8, created_at: SystemTime) -> Offering {
    Offering {
        agent: AGENT,
        hash: offering(n),
        status: OfferingStatus::Draft,
        message: Some(vec![n]),
        country: Some("DE".into()),
        announcement: announcement(3),
        free_supply: 3,
        announced_at: None,
        problem: None,
        created_at,
    }
}

/// Micros, so that it is the same when it comes back.
fn long_ago(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_draft_is_stored_whole_and_once() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    offerings::insert_draft(&mut tx, &draft(1, long_ago(5))).await.unwrap();
    offerings::insert_draft(&mut tx, &Offering { message: None, ..draft(1, long_ago(9)) }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(find(&db, AGENT, offering(1)).await, draft(1, long_ago(5)));
}

#[tokio::test]
async fn an_unknown_offering_is_refused_by_its_hash() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let refusal = offerings::get(&mut tx, AGENT, offering(7)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::NoSuchOffering(hash) if hash == offering(7)), "{refusal}");
    let refusal = offerings::show(&mut tx, (AGENT, offering(7)), None, None).await.unwrap_err();
    assert!(refusal.to_string().contains("0x07070707"), "{refusal}");
}

#[tokio::test]
async fn an_announced_offerings_places_follow_its_channels() {
    let (_dir, db) = fresh().await;
    let free = async || find(&db, AGENT, offering(1)).await.free_supply;
    taken(&db, 2, 0, &offered(AGENT, offering(1), OfferingEvent::Registered(announcement(2)))).await;
    assert_eq!(free().await, 2);
    taken(&db, 3, 0, &opened(channel(0).1, 100)).await;
    taken(&db, 3, 1, &opened(channel(1).1, 100)).await;
    assert_eq!(free().await, 0);
    taken(&db, 4, 0, &closed(channel(0).1, 0, 100, Closure::ByAgent)).await;
    let known = find(&db, AGENT, offering(1)).await;
    assert_eq!((known.free_supply, known.announcement.supply, known.announced_at), (1, 2, Some(2)));
}

#[tokio::test]
async fn a_pop_up_says_what_is_free_now_and_moves_the_offering_up() {
    let (_dir, db) = fresh().await;
    for n in [1, 2] {
        taken(&db, n.into(), 0, &offered(AGENT, offering(n), OfferingEvent::Registered(announcement(5))))
            .await;
    }
    assert_eq!(list(&db, &Filter::default(), 1).await, [(AGENT, offering(2))]);
    taken(&db, 9, 0, &offered(AGENT, offering(1), OfferingEvent::PoppedUp(announcement(4)))).await;
    let known = find(&db, AGENT, offering(1)).await;
    assert_eq!((known.status, known.free_supply), (OfferingStatus::PoppedUp, 4));
    assert_eq!((known.announcement.supply, known.announced_at), (5, Some(9)));
    assert_eq!(list(&db, &Filter::default(), 1).await, [(AGENT, offering(1))]);
}

#[tokio::test]
async fn an_offerings_fee_is_the_last_one_that_the_chain_shows() {
    let (_dir, db) = fresh().await;
    let fee = async || find(&db, AGENT, offering(1)).await.announcement.fee.get();
    taken(&db, 2, 0, &offered(AGENT, offering(1), OfferingEvent::Registered(announcement(5)))).await;
    assert_eq!(fee().await, 1_000);
    let lower = OfferingEvent::FeeRefreshed { fee: Fee::new(300).unwrap() };
    taken(&db, 3, 0, &offered(AGENT, offering(1), lower)).await;
    assert_eq!(fee().await, 300);
    taken(&db, 4, 0, &offered(AGENT, offering(1), OfferingEvent::PoppedUp(announcement(5)))).await;
    assert_eq!(fee().await, 1_000);
    undone(&db, 3).await;
    assert_eq!(fee().await, 300);
}

#[tokio::test]
async fn what_is_shown_of_an_own_offering_stays_while_others_take_its_places() {
    let (_dir, db) = fresh().await;
    let shown = async || {
        let known = find(&db, AGENT, offering(1)).await;
        (known.status, known.problem)
    };
    let show = async |under_way, problem| {
        let mut tx = db.begin().await.unwrap();
        offerings::show(&mut tx, (AGENT, offering(1)), under_way, problem).await.unwrap();
        tx.commit().await.unwrap();
    };
    taken(&db, 2, 0, &offered(AGENT, offering(1), OfferingEvent::Registered(announcement(5)))).await;
    show(Some(OfferingUnderWay::PopUp), None).await;
    taken(&db, 3, 0, &opened(channel(0).1, 100)).await;
    assert_eq!(shown().await, (OfferingStatus::PoppingUp, None));
    taken(&db, 4, 0, &offered(AGENT, offering(1), OfferingEvent::PoppedUp(announcement(4)))).await;
    show(None, Some("a problem")).await;
    assert_eq!(shown().await, (OfferingStatus::PoppedUp, Some("a problem".to_owned())));
    // Its problem stays, and a draft is shown by its transactions alone.
    undone(&db, 3).await;
    show(Some(OfferingUnderWay::Remove), Some("a problem")).await;
    assert_eq!(shown().await, (OfferingStatus::Removing, Some("a problem".to_owned())));
    taken(&db, 6, 0, &offered(AGENT, offering(1), OfferingEvent::Removed)).await;
    show(Some(OfferingUnderWay::Remove), None).await;
    assert_eq!(shown().await, (OfferingStatus::Removed, None));
    // Channels that close later do not bring it back.
    taken(&db, 7, 0, &closed(channel(0).1, 0, 100, Closure::ByAgent)).await;
    assert_eq!(shown().await, (OfferingStatus::Removed, None));
}

#[tokio::test]
async fn an_orphaned_announcement_takes_a_foreign_offering_away_and_keeps_our_own() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    identity::claim(&mut tx, &identity()).await.unwrap();
    offerings::insert_draft(&mut tx, &draft(1, long_ago(5))).await.unwrap();
    tx.commit().await.unwrap();
    for (index, agent) in [(0, AGENT), (1, STRANGER)] {
        taken(&db, 2, index, &offered(agent, offering(1), OfferingEvent::Registered(announcement(3)))).await;
    }
    let mut tx = db.begin().await.unwrap();
    offerings::set_message(&mut tx, STRANGER, offering(1), vec![9], "FR").await.unwrap();
    tx.commit().await.unwrap();
    undone(&db, 1).await;
    // Whether it is being registered again, its state shows.
    assert_eq!(find(&db, AGENT, offering(1)).await, draft(1, long_ago(5)));
    assert_eq!(list(&db, &Filter::default(), 9).await, [(AGENT, offering(1))]);
}

#[tokio::test]
async fn a_message_takes_the_place_of_the_problem_and_an_announcement_touches_neither() {
    let (_dir, db) = fresh().await;
    let event = offered(STRANGER, offering(1), OfferingEvent::Registered(announcement(5)));
    taken(&db, 2, 0, &event).await;
    let mut tx = db.begin().await.unwrap();
    offerings::set_problem(&mut tx, STRANGER, offering(1), "the agent does not answer").await.unwrap();
    tx.commit().await.unwrap();
    let known = find(&db, STRANGER, offering(1)).await;
    assert_eq!((known.message, known.problem.as_deref()), (None, Some("the agent does not answer")));
    let mut tx = db.begin().await.unwrap();
    offerings::set_message(&mut tx, STRANGER, offering(1), vec![1, 2, 3], "FR").await.unwrap();
    tx.commit().await.unwrap();
    taken(&db, 9, 0, &offered(STRANGER, offering(1), OfferingEvent::PoppedUp(announcement(4)))).await;
    let known = find(&db, STRANGER, offering(1)).await;
    assert_eq!(
        (known.message, known.country.as_deref(), known.problem),
        (Some(vec![1, 2, 3]), Some("FR"), None)
    );
}

#[tokio::test]
async fn offerings_are_listed_by_agent_country_and_what_can_be_bought() {
    let (_dir, db) = fresh().await;
    // Offering 1: to be had in France. 2: in Germany. 3: no message. 4: sold out. 5: removed. And a copy of hash 1.
    for (n, agent, supply, country) in [
        (1, AGENT, 5, Some("FR")),
        (2, STRANGER, 5, Some("DE")),
        (3, AGENT, 5, None),
        (4, AGENT, 0, Some("FR")),
        (5, AGENT, 5, Some("FR")),
        (6, STRANGER, 5, None),
    ] {
        let hash = offering(if n == 6 { 1 } else { n });
        taken(&db, n.into(), 0, &offered(agent, hash, OfferingEvent::Registered(announcement(supply)))).await;
        if let Some(country) = country {
            let mut tx = db.begin().await.unwrap();
            offerings::set_message(&mut tx, agent, hash, vec![n], country).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
    taken(&db, 7, 0, &offered(AGENT, offering(5), OfferingEvent::Removed)).await;

    let filter = Filter::default();
    let agents = |hashes: &[u8]| hashes.iter().map(|n| (AGENT, offering(*n))).collect::<Vec<_>>();
    assert_eq!(list(&db, &filter, 100).await.len(), 6);
    assert_eq!(list(&db, &Filter { agent: Some(AGENT), ..filter.clone() }, 100).await, agents(&[5, 4, 3, 1]));
    assert_eq!(list(&db, &Filter { country: Some("fr".into()), ..filter.clone() }, 2).await, agents(&[5, 4]));
    let available = Filter { available: true, ..filter };
    assert_eq!(list(&db, &available, 100).await, [(STRANGER, offering(2)), (AGENT, offering(1))]);
    let here = Filter { country: Some("FR".into()), ..available.clone() };
    assert_eq!(list(&db, &here, 100).await, agents(&[1]));
    assert_eq!(list(&db, &Filter { agent: Some(AGENT), ..available }, 100).await, agents(&[1]));
    let both = offerings::by_hash(&mut db.read().await.unwrap(), offering(1)).await.unwrap();
    let mut sellers: Vec<_> = both.iter().map(|offering| offering.agent).collect();
    sellers.sort();
    assert_eq!(sellers, [STRANGER, AGENT]);
}

async fn kept(db: &Database, id: ChannelId) -> Channel {
    channels::get(&mut db.read().await.unwrap(), id).await.unwrap()
}

#[tokio::test]
async fn a_channel_is_stored_whole_and_once() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, u64::MAX).await; // any 64 bits are a nonce
    let mut tx = db.begin().await.unwrap();
    assert!(!channels::insert(&mut tx, id, &channel(u64::MAX).1, amount(999)).await.unwrap());
    tx.commit().await.unwrap();
    let stored = kept(&db, id).await;
    assert_eq!((stored.id, stored.descriptor, stored.deposit), (id, channel(u64::MAX).1, amount(100)));
    assert_eq!((stored.status, stored.service), (ChannelStatus::Pending, ServiceStatus::Pending));
    assert_eq!(
        (stored.access, stored.reason, stored.held, stored.top_up_pending),
        (None, None, false, false)
    );
}

#[tokio::test]
async fn an_unknown_channel_is_refused_by_its_id() {
    let (_dir, db) = fresh().await;
    let (unknown, _) = channel(3);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(channels::find(&mut tx, unknown).await.unwrap(), None);
    let shown =
        Shown { status: ChannelStatus::Active, service: ServiceStatus::Active, reason: None, held: false };
    for refusal in [
        channels::get(&mut tx, unknown).await.map(drop),
        channels::show(&mut tx, unknown, shown).await.map(drop),
        channels::set_top_up_pending(&mut tx, unknown, true).await,
    ] {
        assert!(matches!(refusal.unwrap_err(), StoreError::NoSuchChannel(id) if id == unknown));
    }
}

#[tokio::test]
async fn a_service_that_is_shown_keeps_its_time_until_its_status_changes() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    let mut tx = db.begin().await.unwrap();
    let mut show = async |service, reason, held, expected: &str| {
        let shown = Shown { status: ChannelStatus::Active, service, reason, held };
        let differs = channels::show(&mut tx, id, shown).await.unwrap();
        let shown = channels::get(&mut tx, id).await.unwrap();
        assert_eq!((shown.status, shown.service, shown.held), (ChannelStatus::Active, service, held));
        assert_eq!(shown.reason.as_deref(), Some(expected));
        (differs, shown.service_since)
    };
    let (active, suspended) = (ServiceStatus::Active, ServiceStatus::Suspended);
    let (differs, since) = show(suspended, Some("not paid"), false, "not paid").await;
    assert!(differs);
    assert_eq!(show(suspended, Some("not paid"), false, "not paid").await, (false, since));
    assert_eq!(show(suspended, Some("held"), true, "held").await, (true, since));
    assert_eq!(show(suspended, None, true, "held").await, (false, since), "what was shown before stays");
    let (differs, later) = show(active, Some("paid as agreed"), false, "paid as agreed").await;
    assert!(differs && later >= since);
}

#[tokio::test]
async fn access_is_kept_and_its_password_never_shown() {
    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    let endpoint = serde_json::json!({ "socks5": "127.0.0.1:1080" });
    let access = StoredAccess { username: "user".into(), password: "hunter2".into(), endpoint };
    let mut tx = db.begin().await.unwrap();
    channels::set_access(&mut tx, id, &access).await.unwrap();
    channels::set_top_up_pending(&mut tx, id, true).await.unwrap();
    tx.commit().await.unwrap();
    let stored = kept(&db, id).await;
    assert_eq!(stored.access, Some(access));
    assert!(stored.top_up_pending);
    assert!(!format!("{stored:?}").contains("hunter2"));
}

#[tokio::test]
async fn channels_are_listed_the_newest_first() {
    let (_dir, db) = fresh().await;
    let (_, b, c) = (add_channel(&db, 0).await, add_channel(&db, 1).await, add_channel(&db, 2).await);
    let listed = channels::list(&mut db.read().await.unwrap(), 2).await.unwrap();
    assert_eq!(listed.into_iter().map(|channel| channel.id).collect::<Vec<_>>(), [c, b]);
}

#[tokio::test]
async fn a_value_that_something_else_has_written_is_named() {
    use diesel_async::SimpleAsyncConnection as _;

    let (_dir, db) = fresh().await;
    let id = add_channel(&db, 0).await;
    let mut tx = db.begin().await.unwrap();
    let scribble = "UPDATE channels SET username = 'u', password = 'p', access = 'not JSON'";
    privatix_db::on!(&mut *tx, |c| c.batch_execute(scribble).await).unwrap();
    let refusal = channels::get(&mut tx, id).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Corrupt { what: "access", .. }), "{refusal}");
    assert!(refusal.to_string().contains("restore the database from a backup"), "{refusal}");
}

#[tokio::test]
async fn local_endpoints_are_told_by_whether_their_channels_are_over_the_last_to_end_first() {
    let (_dir, db) = fresh().await;
    let at = |port: u16| serde_json::json!({ "host": "127.0.0.1", "port": port });
    let mut ids = Vec::new();
    for nonce in 0..5 {
        ids.push(add_channel(&db, nonce).await);
    }
    let mut tx = db.begin().await.unwrap();
    for (id, port) in ids.iter().zip([1, 2, 3, 4]) {
        channels::set_local_endpoint(&mut tx, *id, &at(port)).await.unwrap();
    }
    // It moved.
    channels::set_local_endpoint(&mut tx, ids[0], &at(9)).await.unwrap();
    for ended in [ids[3], ids[1]] {
        show_service(&mut tx, ended, ServiceStatus::Terminated).await;
    }
    tx.commit().await.unwrap();

    let mut conn = db.read().await.unwrap();
    let of_first = channels::local_endpoints(&mut conn, ids[0]).await.unwrap();
    let expected =
        channels::LocalEndpoints { own: Some(at(9)), in_use: vec![at(3)], freed: vec![at(2), at(4)] };
    assert_eq!(of_first, expected);
    let of_new = channels::local_endpoints(&mut conn, ids[4]).await.unwrap();
    assert_eq!((of_new.own, of_new.in_use.len(), of_new.freed.len()), (None, 2, 2));
}
