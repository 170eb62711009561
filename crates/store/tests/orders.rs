//! Orders, what they reserve, and what all of them come to.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, SystemTime};

use common::*;
use diesel::Connection as _;
use diesel::migration::{Migration, MigrationSource as _};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_async::SimpleAsyncConnection as _;
use diesel_migrations::MigrationHarness as _;
use privatix_db::{Conn, on};
use privatix_market::{OrderId, Outcome, Subject, Trouble};
use privatix_store::StoreError;
use privatix_store::orders::{
    self, Day, Held, NewOrder, Placed, Pot, Reservation, Scope, Today, Totals, What,
};
use proptest::prelude::*;

fn about(nonce: u64) -> Subject {
    Subject::Channel(channel(nonce).0)
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn today(day: u32) -> Today {
    Today { day: Day(day), latest: Day(day + 1) }
}

fn order(nonce: u64, what: What, key: Option<&str>) -> NewOrder {
    NewOrder {
        key: key.map(str::to_owned),
        subject: about(nonce),
        what,
        by: "user".to_owned(),
        at: at(10),
        reserves: Reservation { agent: AGENT, day: Some(today(20_000)) },
    }
}

fn top_up(added: u128) -> What {
    What::TopUp { amount: amount(added), automatic: false }
}

async fn sums(conn: &mut Conn, scope: Scope) -> (u128, u128) {
    let Totals { reserved, spent, .. } = orders::totals(conn, scope).await.unwrap();
    (reserved.get(), spent.get())
}

#[tokio::test]
async fn an_order_reserves_its_tokens_until_it_ends() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(orders::next(&mut tx).await.unwrap(), OrderId(1));
    assert_eq!(orders::counted_day(&mut tx, None).await.unwrap(), Day(0));
    let opening = order(0, What::Open { deposit: amount(60) }, Some("open"));
    assert_eq!(orders::place(&mut tx, OrderId(1), &opening).await.unwrap(), Placed::New(OrderId(1)));
    // The number may be one that was given before there were orders.
    let other = NewOrder {
        reserves: Reservation { agent: STRANGER, day: Some(today(20_001)) },
        ..order(1, top_up(7), None)
    };
    assert_eq!(orders::place(&mut tx, OrderId(9), &other).await.unwrap().id(), OrderId(9));
    assert_eq!(orders::next(&mut tx).await.unwrap(), OrderId(10));
    // A clock that went back.
    let third = order(1, top_up(5), None);
    let _ = orders::place(&mut tx, OrderId(10), &third).await.unwrap();
    let money = orders::get(&mut tx, OrderId(10)).await.unwrap().unwrap().money.unwrap();
    assert_eq!((money.day, money.held, money.pot), (Day(20_001), Held::Reserved, None));
    for (day, latest, counted) in [
        (19_999, 20_001, 20_001),
        (20_001, 20_002, 20_001),
        (20_005, 20_006, 20_005),
        // What cannot have come was stored by a wrong clock.
        (19_999, 20_000, 20_000),
        (19_998, 19_999, 19_998),
    ] {
        let today = Today { day: Day(day), latest: Day(latest) };
        assert_eq!(orders::counted_day(&mut tx, Some(today)).await.unwrap(), Day(counted), "{today:?}");
    }
    assert_eq!(orders::counted_day(&mut tx, None).await.unwrap(), Day(20_001));
    assert_eq!(sums(&mut tx, Scope::All).await, (72, 0));

    orders::fund_from(&mut tx, OrderId(9), Pot::Contract).await.unwrap();
    orders::fund_from(&mut tx, OrderId(9), Pot::Wallet).await.unwrap();
    orders::fund_from(&mut tx, OrderId(9), Pot::Wallet).await.unwrap();
    orders::hold(&mut tx, OrderId(9), Held::Spent).await.unwrap();
    orders::hold(&mut tx, OrderId(9), Held::Spent).await.unwrap();
    assert!(orders::end(&mut tx, OrderId(1), Outcome::Failed(Trouble::Funds), at(11)).await.unwrap());
    assert!(!orders::end(&mut tx, OrderId(1), Outcome::Failed(Trouble::Funds), at(12)).await.unwrap());
    assert!(orders::end(&mut tx, OrderId(9), Outcome::Done, at(13)).await.unwrap());
    for (scope, expected) in [
        (Scope::All, (5, 7)),
        (Scope::Day(Day(20_000)), (0, 0)),
        (Scope::Day(Day(20_001)), (5, 7)),
        (Scope::Day(Day(20_002)), (0, 0)),
        (Scope::Agent(AGENT), (5, 0)),
        (Scope::Agent(STRANGER), (0, 7)),
        (Scope::Pot(Pot::Contract), (0, 0)),
        (Scope::Pot(Pot::Wallet), (0, 7)),
    ] {
        assert_eq!(sums(&mut tx, scope).await, expected, "{scope:?}");
    }
    // A reorganisation below the final block: under way again, and paid until its transaction is known to come again or not.
    orders::resume(&mut tx, OrderId(9)).await.unwrap();
    let again = orders::get(&mut tx, OrderId(9)).await.unwrap().unwrap();
    assert_eq!((again.ended, again.money.map(|money| money.held)), (None, Some(Held::Spent)));
    orders::hold(&mut tx, OrderId(9), Held::Reserved).await.unwrap();
    assert_eq!(orders::unsettled(&mut tx, about(1)).await.unwrap().len(), 2);
    assert!(orders::end(&mut tx, OrderId(9), Outcome::Failed(Trouble::Failed), at(14)).await.unwrap());
    assert_eq!(sums(&mut tx, Scope::All).await, (5, 0));
    for scope in [Scope::All, Scope::Pot(Pot::Wallet)] {
        assert_eq!(orders::totals(&mut tx, scope).await.unwrap().ever, amount(7), "{scope:?}");
    }
    assert_eq!(sums(&mut tx, Scope::Pot(Pot::Wallet)).await, (0, 0));
    tx.commit().await.unwrap();

    let conn = &mut db.read().await.unwrap();
    let first = orders::get(conn, OrderId(1)).await.unwrap().unwrap();
    assert_eq!((first.subject, first.what, first.by.as_str()), (about(0), opening.what, "user"));
    assert_eq!((first.at, first.ended), (at(10), Some((Outcome::Failed(Trouble::Funds), at(11)))));
    let listed = orders::of_subject(conn, about(1), None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|order| order.id.0).collect::<Vec<_>>(), [10, 9]);
    let page = orders::of_subject(conn, about(1), Some(OrderId(10)), 10).await.unwrap();
    assert_eq!(page.iter().map(|order| order.id.0).collect::<Vec<_>>(), [9]);
    assert_eq!(orders::of_subject(conn, about(1), None, 1).await.unwrap().len(), 1);
    assert_eq!(orders::first(conn, about(1)).await.unwrap().unwrap().id, OrderId(9));
    assert_eq!(orders::first(conn, about(2)).await.unwrap(), None);
    let unsettled = orders::unsettled(conn, about(1)).await.unwrap();
    assert_eq!(unsettled.iter().map(|order| order.id.0).collect::<Vec<_>>(), [10]);
}

#[tokio::test]
async fn an_order_that_is_given_again_under_its_key_is_the_same() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let first = order(0, top_up(5), Some("mine"));
    assert_eq!(orders::place(&mut tx, OrderId(1), &first).await.unwrap(), Placed::New(OrderId(1)));
    assert_eq!(orders::place(&mut tx, OrderId(2), &first).await.unwrap(), Placed::Before(OrderId(1)));
    assert_eq!(sums(&mut tx, Scope::All).await, (5, 0));
    for other in [order(0, top_up(6), Some("mine")), order(1, top_up(5), Some("mine"))] {
        let refused = orders::place(&mut tx, OrderId(2), &other).await.unwrap_err();
        assert!(matches!(refused, StoreError::OrderKeyUsed { order: 1, .. }), "{refused}");
    }
    let another = order(0, top_up(5), Some("another"));
    let refused = orders::place(&mut tx, OrderId(1), &another).await.unwrap_err();
    assert!(matches!(refused, StoreError::OrderNumberUsed(1)), "{refused}");
    // One that a decision stored without a key gets that of whoever gave it.
    let _ = orders::place(&mut tx, OrderId(2), &order(1, What::Pause, None)).await.unwrap();
    for _ in 0..2 {
        orders::name(&mut tx, OrderId(2), "pause", "api").await.unwrap();
    }
    let again = order(1, What::Pause, Some("pause"));
    assert_eq!(orders::place(&mut tx, OrderId(7), &again).await.unwrap(), Placed::Before(OrderId(2)));
    let again = order(1, What::Pause, None);
    assert_eq!(orders::place(&mut tx, OrderId(2), &again).await.unwrap(), Placed::Before(OrderId(2)));
    let refused = orders::name(&mut tx, OrderId(2), "mine", "api").await.unwrap_err();
    assert!(matches!(refused, StoreError::OrderKeyUsed { order: 1, .. }), "{refused}");
    let refused = orders::name(&mut tx, OrderId(9), "new", "api").await.unwrap_err();
    assert!(matches!(refused, StoreError::NoSuchOrder(9)), "{refused}");
    let found = orders::of_key(&mut tx, "pause").await.unwrap().unwrap();
    assert_eq!((found.id, found.by.as_str(), found.money), (OrderId(2), "api", None));
    // It takes no tokens.
    orders::hold(&mut tx, OrderId(2), Held::Spent).await.unwrap();
    orders::fund_from(&mut tx, OrderId(2), Pot::Wallet).await.unwrap();
    assert!(orders::end(&mut tx, OrderId(2), Outcome::Done, at(20)).await.unwrap());
    assert_eq!(sums(&mut tx, Scope::All).await, (5, 0));
    let unknown = orders::end(&mut tx, OrderId(3), Outcome::Done, at(20)).await.unwrap_err();
    assert!(matches!(unknown, StoreError::NoSuchOrder(3)), "{unknown}");
}

#[tokio::test]
async fn orders_under_way_are_not_lost_to_an_earlier_version() {
    let (dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let _ = orders::place(&mut tx, OrderId(1), &order(0, top_up(5), None)).await.unwrap();
    tx.commit().await.unwrap();
    drop(db);
    let path = dir.path().join("market.db");
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = privatix_store::MIGRATIONS.sqlite.migrations().unwrap();
    let ours = migrations.iter().find(|one| one.name().to_string().ends_with("000317_orders")).unwrap();
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let refusal = conn.revert_migration(&**ours).unwrap_err().to_string();
    assert!(refusal.contains("orders of this database are under way"), "{refusal}");
    drop(conn);
    let db = open(&path).await;
    let mut tx = db.begin().await.unwrap();
    assert!(orders::end(&mut tx, OrderId(1), Outcome::Done, at(20)).await.unwrap());
    tx.commit().await.unwrap();
    drop(db);
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    conn.revert_migration(&**ours).unwrap();
}

#[tokio::test]
async fn a_damaged_order_is_named() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let _ = orders::place(&mut tx, OrderId(1), &order(0, top_up(5), None)).await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE orders SET what = '\"eat\"' WHERE id = 1").await).unwrap();
    let error = orders::get(&mut tx, OrderId(1)).await.unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("stored order is malformed"), "{error}");
}

/// What happens to an order.
#[derive(Clone, Copy, Debug)]
enum Move {
    Place(u128),
    Hold(Held),
    Fund(Pot),
    End(bool),
}

fn moves() -> impl Strategy<Value = Vec<(u64, Move)>> {
    let held = prop_oneof![Just(Held::Reserved), Just(Held::Spent), Just(Held::Released)];
    let one = prop_oneof![
        3 => (1..100_u128).prop_map(Move::Place),
        2 => held.prop_map(Move::Hold),
        2 => prop_oneof![Just(Pot::Contract), Just(Pot::Wallet)].prop_map(Move::Fund),
        1 => any::<bool>().prop_map(Move::End),
    ];
    proptest::collection::vec((1..5_u64, one), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_totals_are_what_the_orders_come_to(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, db) = fresh().await;
            let mut tx = db.begin().await.unwrap();
            for (id, one) in moves {
                let known = orders::get(&mut tx, OrderId(id)).await.unwrap().is_some();
                match one {
                    Move::Place(tokens) if !known => {
                        let agent = if id % 2 == 0 { AGENT } else { STRANGER };
                        let reserves = Reservation { agent, day: Some(today(u32::try_from(id).unwrap())) };
                        let new = NewOrder { reserves, ..order(id, top_up(tokens), None) };
                        let _ = orders::place(&mut tx, OrderId(id), &new).await.unwrap();
                    }
                    Move::Hold(held) if known => orders::hold(&mut tx, OrderId(id), held).await.unwrap(),
                    Move::Fund(pot) if known => orders::fund_from(&mut tx, OrderId(id), pot).await.unwrap(),
                    Move::End(done) if known => {
                        let outcome = if done { Outcome::Done } else { Outcome::Failed(Trouble::Failed) };
                        let _ = orders::end(&mut tx, OrderId(id), outcome, at(1)).await.unwrap();
                    }
                    _ => {}
                }
            }
            let mut all = Vec::new();
            for id in 1..5 {
                all.extend(orders::get(&mut tx, OrderId(id)).await.unwrap());
            }
            let monies: Vec<_> = all.iter().filter_map(|order| order.money).collect();
            let mut scopes = vec![Scope::All, Scope::Agent(AGENT), Scope::Agent(STRANGER)];
            scopes.extend([Scope::Pot(Pot::Contract), Scope::Pot(Pot::Wallet)]);
            scopes.extend((1..5).map(|day| Scope::Day(Day(day))));
            for scope in scopes {
                let mine = |money: &&orders::Money| match scope {
                    Scope::All => true,
                    Scope::Day(day) => money.day == day,
                    Scope::Agent(agent) => money.agent == agent,
                    Scope::Pot(pot) => money.pot == Some(pot),
                };
                let of = |held| -> u128 {
                    let such = monies.iter().filter(mine).filter(|money| money.held == held);
                    such.map(|money| money.amount.get()).sum()
                };
                assert_eq!(sums(&mut tx, scope).await, (of(Held::Reserved), of(Held::Spent)), "{scope:?}");
            }
        });
    }
}
