//! An agent whose database came back from a backup: vouchers that were accepted since are unknown to it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use privatix_agent::AgentHandle;
use privatix_chain::TxFilter;
use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure};
use privatix_client::Given;
use privatix_contracts::call;
use privatix_db::Database;
use privatix_db::backup::{self, BackupError, Restoring};
use privatix_jobs::{Filter, Job as _, JobRecord, JobStatus, PushOptions};
use privatix_node::{Node, NodeError, Withdraw};
use privatix_somc::{Client, ClientLimits, DirectTransport};
use privatix_store::{StoreError, recovery};

use privatix_testkit::{Fault, FaultProxy, Rule, Script, wait_for};

use crate::hostile::pay;
use crate::market::{AGENT, CLIENT, LIMIT, Market, Running, available, by_the_kib, channel, service};

/// A channel that was paid on, and the agent's database in between: 600 are known to the backup, 900 were lost.
struct Lost {
    market: Market,
    channel: ChannelId,
    backup: PathBuf,
}

const KNOWN: Amount = Amount::new(600);

impl Lost {
    async fn new() -> Self {
        let market = Market::new().await;
        let (agent, client) = (market.agent().await, market.client().await);
        let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
        let deposit = Amount::new(50_000);
        let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
        client.stop().await;

        let lost = Self { backup: market.database("agent").with_extension("copy"), market, channel: id };
        lost.pay(&agent.handle, 600).await;
        let path = lost.market.database("agent");
        back_up(&path, &lost.backup).await.unwrap();
        lost.pay(&agent.handle, 900).await;
        agent.stop().await;
        lost.market.closed("agent").await;
        lost
    }

    async fn pay(&self, agent: &AgentHandle, amount: u128) {
        let transport = DirectTransport::anywhere();
        let wire = Client::connect(&transport, agent.somc(), ClientLimits::default()).await.unwrap();
        let (domain, signer) = (self.market.contracts.domain, self.market.anvil.key(CLIENT));
        assert_eq!(pay(&wire, &domain, &signer, (self.channel, amount)).await, Ok(Amount::new(amount)));
    }

    async fn restore(&self) -> Running<AgentHandle> {
        let (path, sets) = (self.market.database("agent"), privatix_node::migrations());
        let restoring = Restoring::begin(&self.backup, &path, &sets, "").await.unwrap();
        restoring.replace().await.unwrap();
        self.market.agent().await
    }
}

async fn back_up(from: &Path, to: &Path) -> Result<u64, BackupError> {
    backup::back_up(from, to, &privatix_node::migrations(), || recovery::mark(SystemTime::now())).await
}

async fn caught_up(node: &Node) {
    wait_for("the recovery to catch up", LIMIT, async || {
        let recovery = node.recovery().ok_or("there is none")?;
        recovery.caught_up_at.ok_or("not yet")
    })
    .await
    .unwrap();
}

async fn newest(node: &Node, kind: &str) -> Option<JobRecord> {
    let filter = Filter::new().kind(kind).limit(1);
    privatix_jobs::list(&mut node.db().read().await.unwrap(), &filter).await.unwrap().jobs.pop()
}

async fn sent(node: &Node, kind: &str) -> usize {
    let filter = TxFilter { kind: Some(kind.to_owned()), ..TxFilter::default() };
    node.transactor().unwrap().list(&mut node.db().read().await.unwrap(), &filter).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_agent_closes_nothing_below_a_lost_voucher() {
    let lost = Lost::new().await;
    let agent = lost.restore().await;
    let (node, id) = (agent.handle.node(), lost.channel);
    caught_up(node).await;
    assert_eq!(node.channel(id).await.unwrap().paid, KNOWN, "the rest is lost");

    agent.handle.terminate(id).await.unwrap();
    service(node, id, "terminated").await;
    assert_eq!(sent(node, "close_channel").await, 0);

    // By the operator's order, with what is known.
    assert!(node.end_recovery().await.unwrap());
    assert!(!node.end_recovery().await.unwrap(), "it is over");
    let status = ChannelStatus::ClosedCoop;
    let closed = channel(node, "closed", id, |view| view.channel.status == status).await;
    assert_eq!(closed.channel.paid, KNOWN);
    agent.stop().await;

    // The mark is gone for good.
    lost.market.closed("agent").await;
    let agent = lost.market.agent().await;
    assert_eq!(agent.handle.node().recovery(), None);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_after_the_restore_brings_back_what_was_lost() {
    let lost = Lost::new().await;
    let agent = lost.restore().await;
    let (node, id) = (agent.handle.node(), lost.channel);
    lost.pay(&agent.handle, 1_000).await;
    agent.handle.terminate(id).await.unwrap();
    let status = ChannelStatus::ClosedCoop;
    let closed = channel(node, "closed", id, |view| view.channel.status == status).await;
    assert_eq!(closed.channel.paid, Amount::new(1_000));
    assert!(node.recovery().is_some(), "other channels may still lack theirs");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_answered_with_what_is_known_and_the_channel_stays_open() {
    let lost = Lost::new().await;
    let market = &lost.market;
    // While the agent was away, the client admits nothing.
    let descriptor = {
        let db = Database::open(&market.database("agent"), &privatix_node::migrations()).await.unwrap();
        let mut conn = db.read().await.unwrap();
        privatix_store::channels::get(&mut conn, lost.channel).await.unwrap().descriptor
    };
    let request = call::request_close(&descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();

    market.closed("agent").await;
    let agent = lost.restore().await;
    let node = agent.handle.node();
    let settled = channel(node, "settled", lost.channel, |view| view.channel.paid == KNOWN).await;
    assert!(!settled.channel.status.is_closed(), "a higher voucher can still come: {settled:?}");
    assert_eq!((sent(node, "settle_channel").await, sent(node, "close_channel").await), (1, 0));

    market.pass_the_challenge().await;
    market.anvil.send(CLIENT, market.contracts.contract, &call::finalize_close(&descriptor)).await.unwrap();
    let closed = channel(node, "closed", lost.channel, |view| view.channel.status.is_closed()).await;
    assert_eq!(closed.channel.paid, KNOWN);
    assert!(matches!(closed.channel.closure, Some(Closure::ByClient | Closure::ByClientDisputed)));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_may_have_been_carried_out_since_is_not_carried_out_again() {
    let lost = Lost::new().await;
    {
        // The backup holds a withdrawal that waits; the daemon that it was made of carried it out afterwards.
        let db = Database::open(&lost.backup, &privatix_node::migrations()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let withdraw = Withdraw { amount: Amount::new(7), to: None };
        privatix_jobs::push(&mut tx, &withdraw, PushOptions::by("test")).await.unwrap();
        recovery::end(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        drop(db);
        let marked = lost.backup.with_extension("marked");
        wait_for("the database", LIMIT, async || back_up(&lost.backup, &marked).await).await.unwrap();
        std::fs::remove_file(&lost.backup).unwrap();
        std::fs::rename(&marked, &lost.backup).unwrap();
        for suffix in ["copy-wal", "copy-shm"] {
            let _ = std::fs::remove_file(lost.backup.with_extension(suffix)); // not there once it was closed
        }
    }
    let agent = lost.restore().await;
    let node = agent.handle.node();
    caught_up(node).await;
    let old = newest(node, Withdraw::KIND).await.unwrap();
    assert_eq!(old.status, JobStatus::Cancelled);
    assert_eq!(sent(node, "withdraw").await, 0);

    // A new order is one of its own.
    agent.handle.node().enqueue(&Withdraw { amount: Amount::new(8), to: None }, "test").await.unwrap();
    wait_for("the withdrawal", LIMIT, async || {
        if sent(node, "withdraw").await == 1 { Ok(()) } else { Err("not yet") }
    })
    .await
    .unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_chain_is_caught_up_with_no_job_runs_and_the_recovery_cannot_be_ended() {
    let lost = Lost::new().await;
    let (path, sets) = (lost.market.database("agent"), privatix_node::migrations());
    Restoring::begin(&lost.backup, &path, &sets, "").await.unwrap().replace().await.unwrap();
    let script = Script(vec![Rule::new(
        ["eth_getLogs"],
        Fault::Http { status: 503, retry_after: None, body: String::new() },
    )]);
    let proxy = FaultProxy::scripted(lost.market.anvil.url(), script).await.unwrap();
    let agent = lost.market.agent_over(&proxy.url()).await;
    let node = agent.handle.node();
    lost.pay(&agent.handle, 1_000).await;
    agent.handle.terminate(lost.channel).await.unwrap();
    let refused = node.end_recovery().await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(reason) if reason.contains("caught up")), "{refused}");
    let drive = newest(node, "drive").await.unwrap();
    assert_eq!((drive.status, drive.tries), (JobStatus::Waiting, 0));

    proxy.honest();
    caught_up(node).await;
    let status = ChannelStatus::ClosedCoop;
    let closed = channel(node, "closed", lost.channel, |view| view.channel.status == status).await;
    assert_eq!(closed.channel.paid, Amount::new(1_000), "paid on since, so it is not held");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_81_a_client_that_lost_its_database_opens_no_second_channel_for_one_order() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let given = || Given { key: Some("order 1".to_owned()), by: "a program".to_owned() };
    let opened = client.handle.accept_as((None, offering), None, given()).await.unwrap();
    let id = opened.channel;
    service(client.handle.node(), id, "active").await;
    client.stop().await;
    market.closed("client").await;
    for file in market.files("client") {
        std::fs::remove_file(file).unwrap();
    }

    let client = market.client().await;
    available(&client.handle, offering).await;
    channel(client.handle.node(), "found", id, |view| view.channel.opened_at.is_some()).await;
    for agent in [None, Some(market.anvil.account(AGENT))] {
        let again = client.handle.accept_as((agent, offering), None, given()).await.unwrap();
        assert_eq!((again.channel, again.is_repeated), (id, true));
    }
    let other = client.handle.accept_as((None, offering), Some(Amount::new(49_999)), given()).await;
    assert!(matches!(other, Err(NodeError::Store(StoreError::OrderKeyUsed { .. }))), "{other:?}");
    assert_eq!(client.handle.node().channels(10).await.unwrap().len(), 1);
    client.stop().await;
    agent.stop().await;
}
