//! What a payment costs, and why one is not taken.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, SqliteConnection};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use futures::future::join_all;
use privatix_agent::Reply;
use privatix_channel::{Amount, ChannelId, Voucher, sign_voucher};
use privatix_db::{Database, on};
use privatix_offering::{SignedOffering, Templates};
use privatix_somc::{Client, ClientLimits, DirectTransport, Refusal, Unready};
use privatix_testkit::{Fault, FaultProxy, Rule, Script, wait_for};
use serde_json::{Value, json};

use crate::hostile::{LIAR, Liar, announce, message, pay, sealer};
use crate::market::{CLIENT, LIMIT, Market, available, by_the_kib, channel, service};

#[derive(diesel::QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(diesel::QueryableByName)]
struct Written {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Counts from now on how many rows of each table are written.
async fn count_rows(db: &Database, path: &Path) {
    let mut tx = db.begin().await.unwrap();
    // By a connection of its own: no program asks this.
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    let mut direct = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let tables: Vec<Table> = diesel::RunQueryDsl::load(diesel::sql_query(tables), &mut direct).unwrap();
    let mut sql = vec!["CREATE TABLE written (name TEXT PRIMARY KEY, rows INTEGER NOT NULL);".to_owned()];
    for Table { name } in &tables {
        sql.push(format!("INSERT INTO written VALUES ('{name}', 0);"));
        sql.extend(["INSERT", "UPDATE", "DELETE"].map(|what| {
            format!(
                "CREATE TRIGGER \"count {what} {name}\" AFTER {what} ON \"{name}\" BEGIN \
                 UPDATE written SET rows = rows + 1 WHERE name = '{name}'; END;"
            )
        }));
    }
    let sql = sql.concat();
    on!(&mut *tx, |c| c.batch_execute(&sql).await).unwrap();
    tx.commit().await.unwrap();
}

async fn written(db: &Database) -> BTreeMap<String, i64> {
    let mut conn = db.read().await.unwrap();
    let rows = "SELECT name, rows FROM written WHERE rows > 0";
    let rows: Vec<Written> = on!(&mut *conn, |c| diesel::sql_query(rows).load(c).await).unwrap();
    rows.into_iter().map(|Written { name, rows }| (name, rows)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_payments_write_a_thousand_rows() {
    const CHANNELS: u128 = 4; // each has a place
    const EACH: u128 = 1_000 / CHANNELS;
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let mut draft = by_the_kib();
    draft.supply = 4;
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let mut ids = Vec::new();
    for _ in 0..CHANNELS {
        ids.push(market.buy(&agent.handle, &client.handle, offering, None).await.0);
    }
    client.stop().await; // it has paid the setup
    let (domain, signer) = (market.contracts.domain, market.anvil.key(CLIENT));
    let paid = async |channel: ChannelId, cumulative: Amount| {
        let signed = sign_voucher(&signer, &domain, Voucher { channel, cumulative }).unwrap();
        let reply = agent.handle.payments().pay(&signed).await.unwrap();
        assert_eq!(reply, Reply::Paid { acknowledged: cumulative, ended: false });
    };
    let node = agent.handle.node();
    for id in &ids {
        channel(node, "paid", *id, |view| view.paid == Amount::new(500)).await;
        paid(*id, Amount::new(501)).await;
    }
    count_rows(node.db(), &market.database("agent")).await;
    join_all(ids.iter().map(async |id| {
        for n in 0..EACH {
            paid(*id, Amount::new(502 + n)).await;
        }
    }))
    .await;
    let mut rows = written(node.db()).await;
    assert_eq!(rows.remove("vouchers"), Some(1_000));
    // The clock, the blocks, what came of the payments before.
    let others: i64 = rows.values().sum();
    assert!(others < 100, "{rows:?}");
    for id in ids {
        let view = node.channel(id).await.unwrap();
        assert_eq!((view.paid, view.vouchers), (Amount::new(501 + EACH), 2 + 250), "{view:?}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_is_not_taken_on_a_stale_view_is_answered_with_the_reason() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    client.stop().await;
    agent.stop().await;
    let endpoint = FaultProxy::start(market.anvil.url()).await.unwrap();
    endpoint.script(Script(vec![Rule::new([], Fault::Cut)]));
    let agent = market.agent_with_view(&endpoint.url(), Duration::from_secs(3)).await;
    wait_for("a stale view", LIMIT, async || {
        let view = agent.handle.node().chain_view().ok_or("it does not run yet")?;
        // Before what is stored is known, it is stale for a moment; after that it only gets older.
        if view.processed.is_some() && view.freshness.is_stale() { Ok(()) } else { Err("fresh") }
    })
    .await
    .unwrap();
    let transport = DirectTransport::anywhere();
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let (domain, signer) = (market.contracts.domain, market.anvil.key(CLIENT));
    let stale =
        Err(Refusal::NotReady { retry_after: Duration::from_secs(30), reason: Some(Unready::StaleView) });
    assert_eq!(pay(&wire, &domain, &signer, (id, 600)).await, stale);
    // What was acknowledged before stays so.
    assert_eq!(pay(&wire, &domain, &signer, (id, 500)).await, Ok(Amount::new(500)));

    endpoint.honest();
    // A block a second: faster, their times would run ahead of the clock, and without any the view would be stale again.
    let _: Value = market.anvil.rpc("evm_setIntervalMining", json!([1])).await.unwrap();
    wait_for("the voucher to be taken", LIMIT, async || {
        let answer = pay(&wire, &domain, &signer, (id, 600)).await;
        if answer == stale {
            return Err("not_ready");
        }
        assert_eq!(answer, Ok(Amount::new(600)));
        Ok(())
    })
    .await
    .unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_why_its_agent_takes_no_payment() {
    let market = Market::new().await;
    let client = market.client().await;
    let key = market.anvil.key(LIAR);
    let offering = SignedOffering::sign(&message(&market, LIAR), &Templates::builtin(), &key).unwrap();
    let seal = sealer(&market, &client.handle);
    let mut agent = Liar::new(offering.wire(), move |request| Ok(seal(request, request.recipient)));
    agent.refuse_payments(|_| Refusal::NotReady {
        retry_after: Duration::from_millis(1),
        reason: Some(Unready::StaleView),
    });
    let _server = announce(&market, offering.hash(), agent).await;
    available(&client.handle, offering.hash()).await;
    let id = client.handle.accept(None, offering.hash(), None).await.unwrap().channel;
    let node = client.handle.node();
    service(node, id, "active").await;
    let view = channel(node, "the reason", id, |view| {
        view.channel.reason.as_ref().is_some_and(|reason| reason.contains("view of the chain is out of date"))
    })
    .await;
    assert!(view.acknowledged.is_zero() && !view.paid.is_zero(), "it is tried again: {view:?}");
    client.stop().await;
}
