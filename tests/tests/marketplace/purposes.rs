//! What transactions are for.

use alloy::primitives::U256;
use diesel_async::SimpleAsyncConnection;
use privatix_chain::{TxFilter, TxRecord};
use privatix_channel::{Amount, ChannelId, ChannelStatus};
use privatix_db::{Conn, Database, on};
use privatix_market::{EffectId, Purpose, Subject};
use privatix_node::{Cause, Deposit, Node};
use privatix_store::ceilings;
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_testkit::{TestToken, wait_for};

use crate::market::{AGENT, LIMIT, Market, by_the_kib, channel};
use crate::tokens::settled;

/// The close of a channel, once it is stored.
async fn close_of(node: &Node, id: ChannelId) -> TxRecord {
    let filter = TxFilter {
        kind: Some("close_channel".to_owned()),
        subject: Some(id.to_string()),
        ..TxFilter::default()
    };
    wait_for("the close", LIMIT, async || {
        let mut conn = node.db().read().await.unwrap();
        let found = node.transactor().unwrap().list(&mut conn, &filter).await.unwrap();
        found.into_iter().next().ok_or("nothing was sent")
    })
    .await
    .unwrap()
}

async fn recorded(node: &Node, close: &TxRecord) -> Recorded {
    recorded_of(&mut node.db().read().await.unwrap(), close).await
}

async fn recorded_of(conn: &mut Conn, tx: &TxRecord) -> Recorded {
    let mut rows = purposes::of_tx(conn, TxNumber(tx.id.0)).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0).unwrap()
}

async fn cancel(node: &Node, close: &TxRecord) {
    let mut tx = node.db().begin().await.unwrap();
    let cancelling = node.transactor().unwrap().cancel(&mut tx, close.id).await.unwrap();
    tx.commit().await.unwrap();
    cancelling.committed();
    node.wake_transactor();
}

/// Changes the database of the agent, which does not run.
async fn change(market: &Market, sql: &str) {
    market.closed("agent").await;
    let db = Database::open(&market.database("agent"), &privatix_node::migrations()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
    drop(db);
    market.closed("agent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_an_earlier_version_is_answered_by_its_adopted_purpose() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;
    client.stop().await;
    // The close waits for ether, so that nothing is signed.
    market.anvil.set_balance(market.anvil.account(AGENT), U256::ZERO).await.unwrap();
    agent.handle.terminate(id).await.unwrap();
    let close = close_of(agent.handle.node(), id).await;
    let before = recorded(agent.handle.node(), &close).await;
    assert_eq!(before.effect.subject, Subject::Channel(id));
    assert_eq!(before.purpose, Purpose::Close { cumulative: Amount::new(500) });
    agent.stop().await;
    let earlier = format!("DELETE FROM purposes WHERE tx = {}; DELETE FROM channel_states", close.id);
    change(&market, &earlier).await;

    let agent = market.agent().await;
    let node = agent.handle.node();
    let adopted = recorded(node, &close).await;
    assert_eq!((adopted.effect.subject, adopted.purpose), (before.effect.subject, before.purpose));
    let ceiling = async || ceilings::get(&mut node.db().read().await.unwrap(), id).await.unwrap();
    assert_eq!(ceiling().await, Some(Amount::new(500)));
    cancel(node, &close).await;
    channel(node, "open again", id, |view| view.channel.status == ChannelStatus::Active).await;
    assert_eq!(ceiling().await, None);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_purpose_stops_no_other_channel() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
        channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;
        ids.push(id);
    }
    let (damaged, whole) = (ids[0], ids[1]);
    client.stop().await;
    market.anvil.set_balance(market.anvil.account(AGENT), U256::ZERO).await.unwrap();
    let mut closes = Vec::new();
    for id in ids {
        agent.handle.terminate(id).await.unwrap();
        closes.push(close_of(agent.handle.node(), id).await);
    }
    agent.stop().await;
    change(&market, &format!("UPDATE purposes SET purpose = '\"eat\"' WHERE tx = {}", closes[0].id)).await;

    let agent = market.agent().await;
    let node = agent.handle.node();
    for close in &closes {
        cancel(node, close).await;
    }
    let is_shown = async || {
        let shown = node.notices().all().into_iter().map(|(part, message)| format!("{part}: {message}"));
        let shown = shown.collect::<Vec<_>>().join("\n");
        if shown.contains(&format!("{damaged}: stored purpose is malformed")) { Ok(()) } else { Err(shown) }
    };
    wait_for("the warning", LIMIT, is_shown).await.unwrap();
    channel(node, "open again", whole, |view| view.channel.status == ChannelStatus::Active).await;
    let left = node.channel(damaged).await.unwrap();
    assert_eq!(left.channel.status, ChannelStatus::WaitCoop);
    // Of what was sent nothing is known, so nothing more is promised.
    let ceiling = ceilings::get(&mut node.db().read().await.unwrap(), damaged).await.unwrap();
    assert_eq!(ceiling, Some(Amount::new(500)));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_shows_every_transaction_it_made_among_a_thousand_others() {
    let market = Market::over(TestToken::UsdtLike).await;
    let client = market.client().await;
    let node = client.handle.node();
    let pushed = node.enqueue(&Deposit { amount: Amount::new(1_000) }, "test").await.unwrap();
    settled(node, pushed.id()).await;

    let mut tx = node.db().begin().await.unwrap();
    let account = Subject::Account(node.account());
    let cause = Cause::new(account, Purpose::Deposit { amount: Amount::new(1) });
    for n in 0..1_000 {
        // Its key ends as those of the job do.
        let intent = node.intent(format!("other {n} {}", pushed.id()), Vec::new());
        node.submit_intent(&mut tx, &cause, intent).await.unwrap();
    }
    let made = node.transactions_of_job(&mut tx, pushed.id()).await.unwrap();
    let kinds: Vec<&str> = made.iter().map(|record| record.intent.kind.as_str()).collect();
    assert_eq!(kinds, ["deposit", "approve"]);
    let approved = recorded_of(&mut tx, &made[1]).await;
    let deposit = EffectId { subject: account, seq: 1 };
    assert_eq!(approved.purpose, Purpose::Approve { effect: deposit });
    assert_eq!(recorded_of(&mut tx, &made[0]).await.effect, deposit);
    drop(tx); // nothing of it is sent
    client.stop().await;
}
