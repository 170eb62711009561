//! The chain's word is a fold: undone blocks leave no trace, and an event counts once.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::time::SystemTime;

use common::*;
use privatix_channel::{
    ChainEvent, ChainTime, ChannelEvent, ChannelId, ChannelStatus, Closure, OfferingEvent, OfferingStatus,
    Phase, UnderWay,
};
use privatix_db::{Conn, Database};
use privatix_store::channels::Channel;
use privatix_store::events::Place;
use privatix_store::offerings::Offering;
use privatix_store::{StoreError, channels, events, identity, offerings};
use proptest::prelude::*;

/// All that a database tells of the market, but for the times at which it was told.
#[derive(Debug, PartialEq)]
struct Market {
    channels: Vec<(Channel, Vec<(Place, ChainEvent)>)>,
    offerings: Vec<(Offering, Vec<(Place, ChainEvent)>)>,
}

async fn market(conn: &mut Conn) -> Market {
    let long_ago = SystemTime::UNIX_EPOCH;
    let mut market = Market { channels: vec![], offerings: vec![] };
    for channel in channels::list(conn, 100).await.unwrap() {
        let events = events::of_channel(conn, channel.id).await.unwrap();
        assert_eq!(
            channels::on_chain(conn, channel.id).await.unwrap().deposit == channel.deposit,
            channel.opened_at.is_some()
        );
        market.channels.push((Channel { created_at: long_ago, service_since: long_ago, ..channel }, events));
    }
    for offering in offerings::list(conn, &offerings::Filter::default(), 0, 100).await.unwrap() {
        let events = events::of_offering(conn, offering.agent, offering.hash).await.unwrap();
        market.offerings.push((Offering { created_at: long_ago, ..offering }, events));
    }
    market.channels.sort_by_key(|(channel, _)| channel.id);
    market.offerings.sort_by_key(|(offering, _)| (offering.agent, offering.hash));
    market
}

/// An agent's database with a draft of offering 1 and three channels that clients are about to open.
async fn agent() -> (tempfile::TempDir, Database) {
    let (dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    identity::claim(&mut tx, &identity()).await.unwrap();
    offerings::insert_draft(&mut tx, &draft()).await.unwrap();
    tx.commit().await.unwrap();
    for nonce in 0..3 {
        add_channel(&db, nonce).await;
    }
    (dir, db)
}

fn draft() -> Offering {
    Offering {
        agent: AGENT,
        hash: offering(1),
        status: OfferingStatus::Draft,
        message: Some(b"checked".to_vec()),
        country: Some("DE".into()),
        announcement: announcement(5),
        free_supply: 5,
        announced_at: None,
        problem: None,
        created_at: SystemTime::now(),
    }
}

/// What happens in one place of a chain, as far as the chain allows it there.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Register { ours: bool },
    PopUp { ours: bool, free: u32 },
    Remove { ours: bool },
    Open { channel: u64, deposit: u128 },
    TopUp { channel: u64, by: u128 },
    Settle { channel: u64, part: u128 },
    RequestClose { channel: u64 },
    Close { channel: u64 },
}

fn happening() -> impl Strategy<Value = Happening> {
    let channel = || 0..3_u64;
    prop_oneof![
        2 => any::<bool>().prop_map(|ours| Happening::Register { ours }),
        2 => (any::<bool>(), 0..6_u32).prop_map(|(ours, free)| Happening::PopUp { ours, free }),
        1 => any::<bool>().prop_map(|ours| Happening::Remove { ours }),
        4 => (channel(), 10..200_u128).prop_map(|(channel, deposit)| Happening::Open { channel, deposit }),
        2 => (channel(), 1..50_u128).prop_map(|(channel, by)| Happening::TopUp { channel, by }),
        3 => (channel(), 0..=4_u128).prop_map(|(channel, part)| Happening::Settle { channel, part }),
        3 => channel().prop_map(|channel| Happening::RequestClose { channel }),
        2 => channel().prop_map(|channel| Happening::Close { channel }),
    ]
}

/// The end of a challenge of 15 minutes that begins in this block, with blocks of 12 seconds.
fn ends_at(block: u64) -> ChainTime {
    ChainTime::new(block * 12 + 900)
}

/// Puts a happening on the chain that the database knows, if the contract would allow it.
async fn happen(conn: &mut Conn, at: Place, happening: Happening) {
    let seller = |ours: bool| if ours { AGENT } else { STRANGER };
    let event = match happening {
        Happening::Register { ours } => {
            let events = events::of_offering(conn, seller(ours), offering(1)).await.unwrap();
            if !events.is_empty() {
                return;
            }
            offered(seller(ours), offering(1), OfferingEvent::Registered(announcement(5)))
        }
        Happening::PopUp { ours, free } => {
            let said = announcement(free);
            match offerings::get(conn, seller(ours), offering(1)).await {
                Ok(known) if known.status.is_on_market() => {
                    offered(seller(ours), offering(1), OfferingEvent::PoppedUp(said))
                }
                _ => return,
            }
        }
        Happening::Remove { ours } => match offerings::get(conn, seller(ours), offering(1)).await {
            Ok(known) if known.announced_at.is_some() && known.status != OfferingStatus::Removed => {
                offered(seller(ours), offering(1), OfferingEvent::Removed)
            }
            _ => return,
        },
        Happening::Open { channel: nonce, deposit } => {
            let (id, descriptor) = channel(nonce);
            if channels::on_chain(conn, id).await.unwrap().phase() != Phase::Unopened {
                return;
            }
            opened(descriptor, deposit)
        }
        Happening::TopUp { channel: nonce, .. }
        | Happening::Settle { channel: nonce, .. }
        | Happening::RequestClose { channel: nonce }
        | Happening::Close { channel: nonce } => {
            let (id, descriptor) = channel(nonce);
            let state = channels::on_chain(conn, id).await.unwrap();
            if !state.phase().is_open() {
                return;
            }
            let locked = state.locked();
            match happening {
                Happening::TopUp { by, .. } => {
                    let request_cancelled = state.challenge_ends_at().is_some();
                    let deposit = state.deposit.saturating_add(amount(by));
                    changed(id, ChannelEvent::ToppedUp { deposit, request_cancelled })
                }
                Happening::Settle { part, .. } => {
                    let paid = state.paid.saturating_add(amount(locked.get() * part / 4));
                    changed(id, ChannelEvent::Settled { paid })
                }
                Happening::RequestClose { .. } if state.challenge_ends_at().is_none() => changed(
                    id,
                    ChannelEvent::CloseRequested { paid: state.paid, ends_at: ends_at(at.at.block) },
                ),
                Happening::RequestClose { .. } => changed(id, ChannelEvent::CloseCancelled),
                _ if state.challenge_ends_at().is_some() => {
                    closed(descriptor, state.paid.get(), locked.get(), Closure::ByClient)
                }
                _ => closed(descriptor, state.paid.get(), locked.get(), Closure::ByAgent),
            }
        }
    };
    assert!(take(conn, at, &event).await);
}

/// Blocks from `first` on, of what may happen in each.
async fn blocks(db: &Database, first: u64, branch: &[Vec<Happening>]) {
    let mut tx = db.begin().await.unwrap();
    for (block, happenings) in (first..).zip(branch) {
        for (index, happening) in (0..).zip(happenings) {
            happen(&mut tx, place(block, index), *happening).await;
        }
    }
    tx.commit().await.unwrap();
}

async fn look(db: &Database) -> Market {
    market(&mut db.read().await.unwrap()).await
}

fn branch(blocks: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Happening>>> {
    prop::collection::vec(prop::collection::vec(happening(), 0..5), blocks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_orphaned_branch_leaves_the_same_state_as_if_it_had_never_been(
        common in branch(0..6),
        orphaned in branch(1..4),
        winning in branch(0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, straight) = agent().await;
            let (_dir, reorganised) = agent().await;
            let fork = common.len() as u64;
            for db in [&straight, &reorganised] {
                blocks(db, 1, &common).await;
            }
            blocks(&reorganised, fork + 1, &orphaned).await;
            undone(&reorganised, fork).await;
            prop_assert_eq!(look(&reorganised).await, look(&straight).await, "after the rollback");
            for db in [&straight, &reorganised] {
                blocks(db, fork + 1, &winning).await;
            }
            prop_assert_eq!(look(&reorganised).await, look(&straight).await, "after the winning branch");
            Ok(())
        })?;
    }

    #[test]
    fn an_event_delivered_again_changes_nothing(chain in branch(1..6)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, db) = agent().await;
            blocks(&db, 1, &chain).await;
            let once = look(&db).await;
            let mut tx = db.begin().await.unwrap();
            let of_channels = once.channels.iter().flat_map(|(_, events)| events);
            let of_offerings = once.offerings.iter().flat_map(|(_, events)| events);
            for (place, event) in of_channels.chain(of_offerings) {
                prop_assert!(!take(&mut tx, *place, event).await);
                // Folding again is what a rollback does, so it must agree with going forward.
                if let Some(channel) = event.channel() {
                    channels::refold(&mut tx, channel).await.unwrap();
                }
            }
            tx.commit().await.unwrap();
            prop_assert_eq!(look(&db).await, once);
            Ok(())
        })?;
    }
}

/// What a chain does to a database.
#[derive(Clone, Debug)]
enum Turn {
    Blocks(Vec<Vec<Happening>>),
    /// This many blocks are undone.
    Undo(u64),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => branch(1..4).prop_map(Turn::Blocks),
        2 => (1..5_u64).prop_map(Turn::Undo),
    ]
}

/// The market as all stored events make it, without what is kept of their folds. Changes nothing.
async fn from_scratch(db: &Database) -> Market {
    use diesel_async::SimpleAsyncConnection as _;

    let mut tx = db.begin().await.unwrap();
    let forget = "UPDATE channels SET fold_version = 0; UPDATE offerings SET fold_version = 0; \
                  DELETE FROM fold_snapshots";
    privatix_db::on!(&mut *tx, |c| c.batch_execute(forget).await).unwrap();
    for (channel, _) in market(&mut tx).await.channels {
        channels::refold(&mut tx, channel.id).await.unwrap();
    }
    for (offering, _) in market(&mut tx).await.offerings {
        offerings::refold(&mut tx, offering.agent, offering.hash).await.unwrap();
    }
    market(&mut tx).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stored_fold_equals_one_from_all_events_after_any_reorganisations(
        // Around the places of the snapshots.
        settlements in 55..70_u128,
        turns in prop::collection::vec(turn(), 2..9),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, db) = agent().await;
            let (id, descriptor) = channel(0);
            let mut tx = db.begin().await.unwrap();
            take(&mut tx, place(1, 0), &offered(AGENT, offering(1), OfferingEvent::Registered(announcement(5)))).await;
            take(&mut tx, place(1, 1), &opened(descriptor, 100_000)).await;
            for (n, index) in (1..=settlements).zip(0..) {
                let paid = ChannelEvent::Settled { paid: amount(n) };
                take(&mut tx, place(2 + index / 5, index % 5), &changed(id, paid)).await;
                let lower = OfferingEvent::FeeRefreshed { fee: privatix_channel::Fee::new(index.try_into().unwrap()).unwrap() };
                take(&mut tx, place(2 + index / 5, 5 + index % 5), &offered(AGENT, offering(1), lower)).await;
            }
            tx.commit().await.unwrap();
            let mut next = 20;
            for turn in &turns {
                match turn {
                    Turn::Blocks(branch) => {
                        blocks(&db, next, branch).await;
                        next += branch.len() as u64;
                    }
                    Turn::Undo(count) => {
                        next = next.saturating_sub(*count).max(2);
                        undone(&db, next - 1).await;
                    }
                }
                prop_assert_eq!(look(&db).await, from_scratch(&db).await, "after {:?}", turn);
            }
            Ok(())
        })?;
    }
}

async fn status(db: &Database, id: ChannelId) -> ChannelStatus {
    channels::get(&mut db.read().await.unwrap(), id).await.unwrap().status
}

#[tokio::test]
async fn a_channel_follows_the_chain_from_opening_to_closing() {
    let (_dir, db) = agent().await;
    let (id, descriptor) = channel(0);
    taken(&db, 5, 0, &opened(descriptor, 150)).await;
    taken(&db, 7, 3, &changed(id, ChannelEvent::ToppedUp { deposit: amount(250), request_cancelled: false }))
        .await;
    taken(&db, 8, 0, &changed(id, ChannelEvent::CloseRequested { paid: amount(40), ends_at: ends_at(8) }))
        .await;
    let stored = channels::get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(stored.status, ChannelStatus::InChallenge);
    assert_eq!((stored.deposit, stored.paid, stored.fee), (amount(250), amount(40), 1_000));
    assert_eq!((stored.opened_at, stored.challenge_ends_at), (Some(5), Some(ends_at(8))));
    taken(&db, 9, 1, &closed(descriptor, 60, 190, Closure::ByAgentDisputed)).await;
    let stored = channels::get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(
        (stored.status, stored.paid, stored.challenge_ends_at),
        (ChannelStatus::ClosedCoop, amount(60), None)
    );
    assert_eq!(stored.closure, Some(Closure::ByAgentDisputed));
    undone(&db, 8).await;
    let stored = channels::get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!((stored.challenge_ends_at, stored.closure), (Some(ends_at(8)), None));
}

#[tokio::test]
async fn after_each_event_a_channel_is_shown_as_the_chain_has_it_until_its_state_shows_more() {
    let (_dir, db) = agent().await;
    let (id, descriptor) = channel(0);
    let close_sent = async || {
        let mut tx = db.begin().await.unwrap();
        show_under_way(&mut tx, id, UnderWay::Close).await;
        tx.commit().await.unwrap();
        status(&db, id).await
    };
    taken(&db, 5, 0, &opened(descriptor, 150)).await;
    assert_eq!(status(&db, id).await, ChannelStatus::Active);
    assert_eq!(close_sent().await, ChannelStatus::WaitCoop);
    taken(&db, 6, 0, &changed(id, ChannelEvent::CloseRequested { paid: amount(0), ends_at: ends_at(6) }))
        .await;
    assert_eq!(status(&db, id).await, ChannelStatus::InChallenge);
    assert_eq!(close_sent().await, ChannelStatus::WaitCoop);
    taken(&db, 7, 0, &closed(descriptor, 60, 90, Closure::ByAgentDisputed)).await;
    assert_eq!(status(&db, id).await, ChannelStatus::ClosedCoop);
    undone(&db, 6).await;
    assert_eq!(status(&db, id).await, ChannelStatus::InChallenge);
    undone(&db, 5).await;
    assert_eq!(status(&db, id).await, ChannelStatus::Active);
}

#[tokio::test]
async fn a_channel_whose_opening_is_undone_is_pending_with_the_deposit_that_was_asked_for() {
    let (_dir, db) = agent().await;
    let (id, descriptor) = channel(0);
    taken(&db, 5, 0, &opened(descriptor, 150)).await;
    taken(&db, 5, 1, &changed(id, ChannelEvent::ToppedUp { deposit: amount(450), request_cancelled: false }))
        .await;
    undone(&db, 4).await;
    let stored = channels::get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(
        (stored.status, stored.deposit, stored.opened_at),
        (ChannelStatus::Pending, amount(100), None)
    );
    assert_eq!(stored.fee, 0);
}

#[tokio::test]
async fn news_of_a_channel_that_is_not_kept_here_is_stored_and_changes_nothing_else() {
    let (_dir, db) = agent().await;
    let (id, descriptor) = channel(77);
    let mut tx = db.begin().await.unwrap();
    let event = opened(descriptor, 150);
    assert!(events::record(&mut tx, place(3, 0), &event).await.unwrap());
    assert_eq!(
        channels::advance(&mut tx, id, place(3, 0).at, event.channel_event().unwrap()).await.unwrap(),
        None
    );
    assert_eq!(channels::find(&mut tx, id).await.unwrap(), None);
    assert_eq!(events::of_channel(&mut tx, id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_event_in_a_taken_place_is_refused_and_changes_nothing() {
    let (_dir, db) = agent().await;
    let (id, descriptor) = channel(0);
    taken(&db, 5, 2, &opened(descriptor, 150)).await;
    let mut tx = db.begin().await.unwrap();
    let other_deposit = opened(descriptor, 151);
    let other_transaction = Place { tx: alloy::primitives::B256::ZERO, ..place(5, 2) };
    for (place, event) in [(place(5, 2), &other_deposit), (other_transaction, &opened(descriptor, 150))] {
        let refusal = events::record(&mut tx, place, event).await.unwrap_err();
        assert!(matches!(refusal, StoreError::OtherEvent { block: 5, index: 2 }), "{refusal}");
        assert!(refusal.to_string().starts_with("another event is stored for log 2 of block 5"));
    }
    assert_eq!(channels::on_chain(&mut tx, id).await.unwrap().deposit, amount(150));
}

#[tokio::test]
async fn undoing_gives_back_the_undone_events_in_chain_order() {
    let (_dir, db) = agent().await;
    let (id, descriptor) = channel(0);
    let settled = |paid| changed(id, ChannelEvent::Settled { paid: amount(paid) });
    taken(&db, 5, 0, &opened(descriptor, 150)).await;
    taken(&db, 6, 10, &settled(1)).await;
    taken(&db, 6, 9, &settled(2)).await;
    taken(&db, 10, 0, &settled(3)).await;
    let mut tx = db.begin().await.unwrap();
    let undone = events::undo_above(&mut tx, 5).await.unwrap();
    assert_eq!(undone, [(place(6, 9), settled(2)), (place(6, 10), settled(1)), (place(10, 0), settled(3))]);
    assert_eq!(events::undo_above(&mut tx, 5).await.unwrap(), []);
    assert_eq!(events::of_channel(&mut tx, id).await.unwrap(), [(place(5, 0), opened(descriptor, 150))]);
}
