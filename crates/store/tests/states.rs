//! The states that are decided about: one decision is stored once, and what cannot be read damages its channel alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use diesel_async::SimpleAsyncConnection as _;
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_channel::{Amount, ChainTime, ChannelId, OnChain, ServiceStatus, Usage};
use privatix_db::{Conn, Database, EmbeddedMigrations, embed_migrations, on};
use privatix_market::*;
use privatix_store::states::{self, Due, LifePart, Loaded, PAGE, Saved, Stored, Unreadable};
use privatix_store::{ceilings, channels, sessions, vouchers};
use proptest::prelude::*;

const SCHEMA: EmbeddedMigrations = embed_migrations!("migrations");

fn terms() -> Terms {
    let draft = TermsDraft {
        unit: Unit { name: "unit".into(), measure: Measure::Seconds, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: amount(1),
        free_units: 0,
        min_units: 1,
        max_units: Some(5_000),
        billing_interval: 1,
        max_billing_unit_lag: 40,
        max_suspend: Duration::from_mins(10),
        max_inactive: Duration::from_hours(1),
        max_first_use: None,
    };
    draft.validate().unwrap()
}

fn all_parts() -> BTreeSet<LifePart> {
    [
        LifePart::Opening,
        LifePart::Service,
        LifePart::Settlement,
        LifePart::TopUp,
        LifePart::Ending,
        LifePart::Access,
    ]
    .into()
}

fn at(uptime: u64) -> Due {
    Due::At(Wake { uptime: Some(Uptime::new(uptime)), chain: None })
}

/// A channel with a first state, from which everything is decided.
async fn created<P: Party>(db: &Database, nonce: u64, due: Due) -> ChannelId
where
    P::Own: Default,
{
    let id = add_channel(db, nonce).await;
    let mut tx = db.begin().await.unwrap();
    let state = State::<P>::new(id, channel(nonce).1);
    assert!(states::create(&mut tx, &state, &all_parts(), due).await.unwrap());
    assert!(!states::create(&mut tx, &state, &all_parts(), Due::Final).await.unwrap(), "it stays as it is");
    tx.commit().await.unwrap();
    id
}

async fn whole<P: Party>(conn: &mut Conn, id: ChannelId) -> Stored<P> {
    match states::load(conn, id).await.unwrap() {
        Some(Loaded::Whole(stored)) => *stored,
        other => panic!("{other:?}"),
    }
}

/// The id as it stands in SQL.
fn key(id: ChannelId) -> String {
    format!("x'{}'", alloy::hex::encode(id.as_b256()))
}

async fn run(db: &Database, sql: &str) {
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn two_saves_of_one_revision_are_one() {
    let (_dir, db) = fresh().await;
    let id = created::<Agent>(&db, 0, at(5)).await;
    let before = whole::<Agent>(&mut db.read().await.unwrap(), id).await;
    assert_eq!((before.revision, before.due, &before.adopted), (1, at(5), &all_parts()));
    let (mut first, mut second) = (before.state.clone(), before.state.clone());
    first.own.held = true;
    second.own.refused = true;

    let mut tx = db.begin().await.unwrap();
    assert_eq!(states::save(&mut tx, &before, &first, at(6)).await.unwrap(), Saved::Revision(2));
    assert_eq!(states::save(&mut tx, &before, &second, at(7)).await.unwrap(), Saved::Moved);
    let stored = whole::<Agent>(&mut tx, id).await;
    assert_eq!((&stored.state, stored.revision, stored.due), (&first, 2, at(6)), "nothing of the second");

    // Decided again, it is stored.
    second.own.held = true;
    assert_eq!(states::save(&mut tx, &stored, &second, at(7)).await.unwrap(), Saved::Revision(3));
    let stored = whole::<Agent>(&mut tx, id).await;
    assert_eq!((&stored.state, stored.due), (&second, at(7)));
    // Without a difference nothing is written.
    assert_eq!(states::save(&mut tx, &stored, &second, at(7)).await.unwrap(), Saved::Revision(3));
    assert_eq!(whole::<Agent>(&mut tx, id).await.revision, 3);
    assert_eq!(states::save(&mut tx, &stored, &second, Due::Final).await.unwrap(), Saved::Revision(4));
    assert_eq!(whole::<Agent>(&mut tx, id).await.due, Due::Final);
}

#[tokio::test]
async fn a_state_is_read_with_what_other_tables_hold() {
    let (_dir, db) = fresh().await;
    let id = created::<Agent>(&db, 0, at(5)).await;
    let load = async |id| states::load::<Agent>(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(load(channel(1).0).await, None, "no channel");
    add_channel(&db, 1).await;
    assert_eq!(load(channel(1).0).await, None, "no state yet");
    let is_stored = async |id| states::is_stored(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!((is_stored(id).await, is_stored(channel(1).0).await), (true, false));

    taken(&db, 1, 0, &opened(channel(0).1, 100)).await;
    let mut tx = db.begin().await.unwrap();
    vouchers::store(&mut tx, &voucher(id, 60)).await.unwrap();
    vouchers::acknowledge(&mut tx, id, amount(40)).await.unwrap();
    let now = std::time::SystemTime::now();
    for (session, used) in [(1_u128, 30), (2, 12)] {
        let report = sessions::Report {
            session: uuid::Uuid::from_u128(session),
            channel: id,
            used: Usage::new(used),
            peer: None,
            started_at: now,
            last_usage: now,
            stopped_at: None,
        };
        assert!(sessions::record(&mut tx, &report).await.unwrap());
    }
    tx.commit().await.unwrap();
    let stored = whole::<Agent>(&mut db.read().await.unwrap(), id).await;
    assert_eq!(stored.state.descriptor, channel(0).1);
    assert_eq!((stored.state.chain.deposit, stored.state.chain.opened_at), (amount(100), Some(1)));
    assert_eq!(stored.state.book, Book { best: amount(60), acknowledged: amount(40) });
    assert_eq!((stored.state.meter.used, stored.damaged_voucher), (Usage::new(42), None));
    // A fold by other rules is made again from the events.
    run(&db, &format!("UPDATE channels SET fold_version = 0 WHERE id = {}", key(id))).await;
    assert_eq!(whole::<Agent>(&mut db.read().await.unwrap(), id).await, stored);
}

#[tokio::test]
async fn what_cannot_be_read_damages_its_channel_alone() {
    for (what, expected) in [
        ("own = 'no JSON'", "own"),
        ("own = '{\"held\": 3}'", "own"),
        // What a client does is nothing that an agent did.
        (
            "own = '{\"flights\": [{\"seq\": 1, \"purpose\": \"finalize_close\", \"bid\": {\"priority\": \"normal\", \
             \"repeatable\": true}, \"stage\": \"funding\"}]}'",
            "own",
        ),
        ("terms = '{\"unitPrice\": 3}'", "terms"),
        ("schema = 2", "schema"),
        ("adopted = '[\"a part of another version\"]'", "row"),
        ("own = x'ff'", "row"),
    ] {
        let (_dir, db) = fresh().await;
        let (damaged, other) = (created::<Agent>(&db, 0, at(5)).await, created::<Agent>(&db, 1, at(5)).await);
        run(&db, &format!("UPDATE channel_states SET {what} WHERE channel = {}", key(damaged))).await;
        let mut conn = db.read().await.unwrap();
        let loaded = states::load::<Agent>(&mut conn, damaged).await.unwrap();
        let Some(Loaded::Damaged(unreadable)) = loaded else { panic!("{what}: {loaded:?}") };
        let found = match unreadable {
            Unreadable::Own { .. } => "own",
            Unreadable::Terms { .. } => "terms",
            Unreadable::Schema { .. } => "schema",
            Unreadable::Row { .. } => "row",
            _ => "other",
        };
        assert_eq!(found, expected, "{what}: {unreadable}");
        assert!(!unreadable.remedy().is_empty());
        whole::<Agent>(&mut conn, other).await;
    }
}

#[tokio::test]
async fn events_and_uses_that_cannot_be_read_damage_the_channel() {
    let (_dir, db) = fresh().await;
    let id = created::<Agent>(&db, 0, at(5)).await;
    taken(&db, 1, 0, &opened(channel(0).1, 100)).await;
    let event = "UPDATE chain_events SET event = 'no JSON' WHERE block = 1 AND log_index = 0";
    run(&db, &format!("{event}; UPDATE channels SET fold = 'no JSON' WHERE id = {}", key(id))).await;
    let loaded = states::load::<Agent>(&mut db.read().await.unwrap(), id).await.unwrap();
    assert!(matches!(loaded, Some(Loaded::Damaged(Unreadable::Events { .. }))), "{loaded:?}");
}

#[tokio::test]
async fn a_damaged_voucher_damages_no_channel() {
    let (_dir, db) = fresh().await;
    let id = created::<Agent>(&db, 0, at(5)).await;
    let mut tx = db.begin().await.unwrap();
    vouchers::store(&mut tx, &voucher(id, 60)).await.unwrap();
    vouchers::acknowledge(&mut tx, id, amount(40)).await.unwrap();
    tx.commit().await.unwrap();
    run(&db, "UPDATE vouchers SET signature = zeroblob(65)").await;
    let stored = whole::<Agent>(&mut db.read().await.unwrap(), id).await;
    assert_eq!(stored.damaged_voucher, Some(amount(60)));
    assert_eq!(stored.state.book, Book { best: Amount::ZERO, acknowledged: amount(40) });
    // A better one heals it.
    let mut tx = db.begin().await.unwrap();
    vouchers::store(&mut tx, &voucher(id, 61)).await.unwrap();
    let stored = whole::<Agent>(&mut tx, id).await;
    assert_eq!(stored.damaged_voucher, None);
    assert_eq!(stored.state.book.best, amount(61));
}

#[tokio::test]
async fn a_save_stores_the_ceiling_where_settlement_is_decided_from_the_state() {
    let (_dir, db) = fresh().await;
    let id = created::<Agent>(&db, 0, at(5)).await;
    let elsewhere = add_channel(&db, 1).await;
    let mut tx = db.begin().await.unwrap();
    let parts = BTreeSet::from([LifePart::Service]);
    let other = AgentState::new(elsewhere, channel(1).1);
    assert!(states::create(&mut tx, &other, &parts, at(5)).await.unwrap());
    ceilings::set(&mut tx, elsewhere, Some(amount(7))).await.unwrap();

    let close = |cumulative| Flight {
        seq: 1,
        purpose: AgentPurpose::Close { cumulative: amount(cumulative) },
        bid: Bid::default(),
        stage: Stage::Sent { batch: false },
    };
    for (id, flights, expected) in [
        (id, vec![close(60)], Some(60)),
        (id, vec![close(60), close(50)], Some(50)),
        (id, vec![], None),
        (elsewhere, vec![close(60)], Some(7)),
    ] {
        let before = whole::<Agent>(&mut tx, id).await;
        let mut after = before.state.clone();
        after.own.flights = flights;
        let _ = states::save(&mut tx, &before, &after, before.due).await.unwrap();
        assert_eq!(ceilings::get(&mut tx, id).await.unwrap(), expected.map(amount));
    }
    // The chain was folded before the state was loaded: only the ceiling differs.
    let request =
        privatix_channel::ChannelEvent::CloseRequested { paid: amount(30), ends_at: ChainTime::new(9) };
    take(&mut tx, place(1, 0), &opened(channel(0).1, 100)).await;
    take(&mut tx, place(2, 0), &changed(id, request)).await;
    let before = whole::<Agent>(&mut tx, id).await;
    let saved = states::save(&mut tx, &before, &before.state, before.due).await.unwrap();
    assert_eq!(saved, Saved::Revision(before.revision + 1));
    assert_eq!(ceilings::get(&mut tx, id).await.unwrap(), Some(amount(30)));
}

#[tokio::test]
async fn a_save_stores_what_is_acknowledged() {
    let (_dir, db) = fresh().await;
    let id = created::<Client>(&db, 0, at(5)).await;
    let mut tx = db.begin().await.unwrap();
    vouchers::store(&mut tx, &voucher(id, 60)).await.unwrap();
    let before = whole::<Client>(&mut tx, id).await;
    let mut after = before.state.clone();
    after.book.acknowledged = amount(50);
    assert_eq!(states::save(&mut tx, &before, &after, at(5)).await.unwrap(), Saved::Revision(2));
    assert_eq!(whole::<Client>(&mut tx, id).await.state, after);
}

#[tokio::test]
async fn a_time_that_does_not_fit_is_stored_once() {
    let (_dir, db) = fresh().await;
    let never = Wake { uptime: Some(Uptime::MAX), chain: Some(ChainTime::new(u64::MAX)) };
    let id = created::<Agent>(&db, 0, Due::At(never)).await;
    let mut tx = db.begin().await.unwrap();
    let before = whole::<Agent>(&mut tx, id).await;
    let saved = states::save(&mut tx, &before, &before.state, Due::At(never)).await.unwrap();
    assert_eq!(saved, Saved::Revision(1));
}

#[tokio::test]
async fn channels_that_are_not_final_come_in_pages() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let mut expected = Vec::new();
    for nonce in 0..450 {
        let (id, descriptor) = channel(nonce);
        channels::insert(&mut tx, id, &descriptor, amount(100)).await.unwrap();
        let due = if nonce % 10 == 0 { Due::Final } else { at(nonce) };
        states::create(&mut tx, &ClientState::new(id, descriptor), &all_parts(), due).await.unwrap();
        expected.extend((due != Due::Final).then_some(id));
    }
    expected.sort_unstable();
    let (mut found, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = states::not_final(&mut tx, found.last().copied()).await.unwrap();
        pages.push(page.len());
        found.extend(&page);
        if page.len() < PAGE {
            break;
        }
    }
    assert_eq!((found, pages), (expected, vec![200, 200, 5]));
}

#[tokio::test]
async fn channels_without_a_state_come_in_pages() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let mut expected = Vec::new();
    for nonce in 0..30 {
        let (id, descriptor) = channel(nonce);
        channels::insert(&mut tx, id, &descriptor, amount(100)).await.unwrap();
        if nonce % 3 == 0 {
            let state = ClientState::new(id, descriptor);
            states::create(&mut tx, &state, &all_parts(), Due::Final).await.unwrap();
        } else {
            expected.push(id);
        }
    }
    expected.sort_unstable();
    let (mut found, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = states::without(&mut tx, found.last().copied(), 8).await.unwrap();
        if page.is_empty() {
            break;
        }
        pages.push(page.len());
        found.extend(&page);
    }
    assert_eq!((found, pages), (expected, vec![8, 8, 4]));
    assert_eq!(LifePart::all(), all_parts());
}

#[tokio::test]
async fn channels_whose_time_has_come_come_in_pages_the_longest_due_first() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(states::next(&mut tx, Wake::default()).await.unwrap(), Wake::default());
    let channels: Vec<_> = (0..450).map(channel).collect();
    for (nonce, &(id, descriptor)) in (0..).zip(&channels) {
        privatix_store::channels::insert(&mut tx, id, &descriptor, amount(100)).await.unwrap();
        // Many at one time.
        let time = 1_000 - nonce / 3;
        let (uptime, chain) = (Uptime::new(time), ChainTime::new(time));
        let due = match nonce % 4 {
            0 => Due::At(Wake { uptime: Some(uptime), chain: None }),
            1 => Due::At(Wake { uptime: None, chain: Some(chain) }),
            2 => Due::At(Wake { uptime: Some(uptime), chain: Some(chain) }),
            _ => Due::Final,
        };
        states::create(&mut tx, &ClientState::new(id, descriptor), &all_parts(), due).await.unwrap();
    }
    let first = Wake { uptime: Some(Uptime::new(851)), chain: Some(ChainTime::new(851)) };
    assert_eq!(states::next(&mut tx, Wake::default()).await.unwrap(), first);
    let later = Wake { uptime: Some(Uptime::new(900)), chain: Some(ChainTime::new(1_000)) };
    let last = Wake { uptime: Some(Uptime::new(901)), chain: None };
    assert_eq!(states::next(&mut tx, later).await.unwrap(), last, "what is due already is left out");
    assert_eq!(states::due_by_uptime(&mut tx, Uptime::new(850), None).await.unwrap(), []);

    let (mut by_uptime, mut by_chain) = (Vec::new(), Vec::new());
    loop {
        let page = states::due_by_uptime(&mut tx, Uptime::new(999), by_uptime.last().copied()).await.unwrap();
        by_uptime.extend(&page);
        if page.len() < PAGE {
            break;
        }
    }
    loop {
        let now = ChainTime::new(999);
        let page = states::due_by_chain(&mut tx, now, by_chain.last().copied()).await.unwrap();
        by_chain.extend(&page);
        if page.len() < PAGE {
            break;
        }
    }
    // Those of the time 1,000 are not due yet.
    let of = |kinds: [u64; 2]| {
        let due = (0..).zip(&channels).filter(|(nonce, _)| *nonce >= 3 && kinds.contains(&(nonce % 4)));
        let mut due: Vec<(u64, ChannelId)> = due.map(|(nonce, (id, _))| (1_000 - nonce / 3, *id)).collect();
        due.sort_unstable();
        due
    };
    let found: Vec<_> = by_uptime.iter().map(|(at, id)| (at.milliseconds(), *id)).collect();
    assert_eq!(found, of([0, 2]));
    let found: Vec<_> = by_chain.iter().map(|(at, id)| (at.seconds(), *id)).collect();
    assert_eq!(found, of([1, 2]));
}

#[tokio::test]
async fn states_are_not_taken_back_once_there_is_one() {
    use diesel::Connection as _;
    use diesel::migration::{Migration, MigrationSource as _};
    use diesel::sqlite::{Sqlite, SqliteConnection};
    use diesel_migrations::MigrationHarness as _;

    let (dir, db) = fresh().await;
    let id = created::<Agent>(&db, 0, at(5)).await;
    drop(db);
    let path = dir.path().join("market.db");
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = SCHEMA.migrations().unwrap();
    let states = migrations.iter().find(|one| one.name().to_string().ends_with("000314_channel_states"));
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let refusal = conn.revert_migration(&**states.unwrap()).unwrap_err().to_string();
    assert!(refusal.contains("an earlier version does not know"), "{refusal}");
    drop(conn);
    let db = open(&path).await;
    whole::<Agent>(&mut db.read().await.unwrap(), id).await;
    run(&db, &format!("DELETE FROM channel_states WHERE channel = {}", key(id))).await;
    drop(db);
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    conn.revert_migration(&**states.unwrap()).unwrap();
}

/// A voucher is its channel and amount, and always signed.
struct Signed;

impl Verifier for Signed {
    type Voucher = (ChannelId, Amount);
    type Refused = std::convert::Infallible;
    fn verified(&self, voucher: &(ChannelId, Amount)) -> Result<(ChannelId, Amount), Self::Refused> {
        Ok(*voucher)
    }
}

fn verified(channel: ChannelId, cumulative: u64) -> Verified {
    let Ok(verified) = Verified::check(&Signed, &(channel, amount(cumulative.into())));
    verified
}

/// What both sides take as input, by a number and a value.
fn common<P: Party>(kind: u8, value: u64) -> Input<P> {
    let chain = OnChain { deposit: amount(1_000), opened_at: Some(1), ..OnChain::default() };
    match kind {
        0 => Input::Chain(chain),
        1 => Input::Look,
        2 => Input::Used { used: Usage::new(value), running: value.is_multiple_of(2) },
        3 => Input::Terms(Arc::new(terms())),
        4 => {
            Input::Adapter { seq: u32::try_from(value % 12).unwrap(), answer: Answered::Did(Actual::Running) }
        }
        5 => Input::Adapter { seq: u32::try_from(value % 12).unwrap(), answer: Answered::Refused },
        6 => Input::Chain(OnChain { paid: amount(u128::from(value % 1_000)), ..chain }),
        _ => Input::Chain(OnChain {
            last_close_request: Some(privatix_channel::CloseRequest {
                at: place(5, 0).at,
                ends_at: ChainTime::new(90_000),
            }),
            ..chain
        }),
    }
}

fn fate(value: u64) -> Fate {
    match value % 5 {
        0 => Fate::Mined(BlockRef { number: value, hash: alloy::primitives::B256::repeat_byte(7) }),
        1 => Fate::Reverted,
        2 => Fate::Failed { lasting: value.is_multiple_of(2) },
        3 => Fate::Cancelled,
        _ => Fate::Final,
    }
}

fn of_agent(channel: ChannelId, kind: u8, value: u64) -> Input<Agent> {
    let orders =
        [AgentOrder::Hold, AgentOrder::Resume, AgentOrder::End, AgentOrder::Close, AgentOrder::Abandon];
    match kind {
        8 => Input::Order(orders[usize::try_from(value % 5).unwrap()]),
        9 => Input::Peer(AgentMessage::Voucher { voucher: verified(channel, value % 1_200), used: None }),
        10 => Input::Peer(AgentMessage::Access),
        11 => {
            let (seq, cumulative) = (u32::try_from(value % 12).unwrap(), amount(value.into()));
            Input::Tx { seq, purpose: AgentPurpose::Close { cumulative }, fate: fate(value) }
        }
        kind => common(kind, value),
    }
}

fn of_client(channel: ChannelId, kind: u8, value: u64) -> Input<Client> {
    let order = ClientOrder::TopUp { order: OrderId(value), amount: amount(value.into()) };
    let orders = [order, ClientOrder::Pause, ClientOrder::Resume, ClientOrder::End, ClientOrder::Close];
    let acknowledged = amount(value.into());
    let messages = [
        ClientMessage::Access(Fetched::default()),
        ClientMessage::AccessNotReady(None),
        ClientMessage::Paid { acknowledged, ended: false, carried: Carried::default() },
        ClientMessage::Stale { acknowledged, carried: Carried::default() },
        ClientMessage::NotNow(None),
        ClientMessage::Unanswered { seq: u32::try_from(value % 12).unwrap() },
    ];
    match kind {
        8 => Input::Order(orders[usize::try_from(value % 5).unwrap()]),
        9 => Input::Peer(messages[usize::try_from(value % 6).unwrap()]),
        10 => Input::Report(ClientReport::Signed(Ok(verified(channel, value % 1_000)))),
        11 => {
            let seq = u32::try_from(value % 12).unwrap();
            Input::Tx { seq, purpose: ClientPurpose::FinalizeClose, fate: fate(value) }
        }
        kind => common(kind, value),
    }
}

/// Decides one input after the other, each from what was stored of the decision before. `report` is what an effect reports.
async fn survives<P: Party>(
    policy: &P::Policy,
    input: impl Fn(ChannelId, u8, u64) -> Input<P>,
    report: impl Fn(ChannelId, &Effect<P>) -> Option<Input<P>>,
    steps: &[(u8, u64, u64)],
) where
    P::Own: Default,
{
    let (_dir, db) = fresh().await;
    let id = created::<P>(&db, 0, at(0)).await;
    let mut tx = db.begin().await.unwrap();
    let mut before = whole::<P>(&mut tx, id).await;
    let mut now = 0;
    for &(kind, value, pause) in steps {
        now += pause;
        let mut env = Env::<P>::new(Uptime::new(now), policy);
        env.chain.now = Some(ChainTime::new(1_000 + now / 1_000));
        let mut turn = Turn::new(before.state.clone());
        turn.push(input(id, kind, value));
        while let Some(decided) = turn.next(&env) {
            let effects = decided.unwrap_or_default();
            effects.iter().filter_map(|effect| report(id, effect)).for_each(|input| turn.push(input));
        }
        let mut after = turn.into_state();
        let due = Due::of(&after, &env);
        let saved = states::save(&mut tx, &before, &after, due).await.unwrap();
        let mut stored = whole::<P>(&mut tx, id).await;
        assert_eq!((saved, stored.due), (Saved::Revision(stored.revision), due));
        // What other tables hold, or the load fills in.
        after.mined().for_each(|(_, seen)| *seen = false);
        (stored.state.chain, stored.state.book) = (after.chain, after.book);
        stored.state.meter.used = after.meter.used;
        assert_eq!(stored.state, after);
        before = stored;
    }
}

fn steps() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    prop::collection::vec((0..12_u8, 0..3_000_u64, 0..200_000_u64), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_state_survives_save_and_load(agent in steps(), client in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            survives::<Agent>(&AgentPolicy::default(), of_agent, |_, _| None, &agent).await;
            let signed = |channel, effect: &Effect<Client>| match effect {
                Effect::Own(ClientEffect::Sign(due)) => {
                    let Ok(signed) = Verified::check(&Signed, &(channel, *due));
                    Some(Input::Report(ClientReport::Signed(Ok(signed))))
                }
                _ => None,
            };
            survives::<Client>(&ClientPolicy::default(), of_client, signed, &client).await;
        });
    }
}

#[tokio::test]
async fn a_new_life_of_the_plug_in_shows_no_decided_service_as_running() {
    let (_dir, db) = fresh().await;
    let decided = created::<Agent>(&db, 0, at(1)).await;
    let paused = created::<Agent>(&db, 1, at(1)).await;
    let undecided = add_channel(&db, 2).await;
    let mut tx = db.begin().await.unwrap();
    for (id, service) in [
        (decided, ServiceStatus::Active),
        (paused, ServiceStatus::Suspended),
        (undecided, ServiceStatus::Active),
    ] {
        show_service(&mut tx, id, service).await;
    }
    let before = channels::get(&mut tx, decided).await.unwrap().service_since;
    channels::show_none_running(&mut tx).await.unwrap();
    let mut shown = Vec::new();
    for id in [decided, paused, undecided] {
        shown.push(channels::get(&mut tx, id).await.unwrap().service);
    }
    assert_eq!(shown, [ServiceStatus::Activating, ServiceStatus::Suspended, ServiceStatus::Active]);
    assert!(channels::get(&mut tx, decided).await.unwrap().service_since >= before);
}
