//! Whatever gets stuck or comes too late, money does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Health, Provision, Provisioned, UsageReporter,
    usage_reports,
};
use privatix_agent::AgentHandle;
use privatix_chain::{TxFilter, TxStatus};
use privatix_channel::{Amount, ChannelId, ChannelStatus, Closure, Usage};
use privatix_contracts::call;
use privatix_node::{ChannelView, NodeError};
use privatix_plugin_proxy::ProxyServer;
use privatix_somc::{Client, ClientLimits, DirectTransport, Refusal};
use privatix_store::{ceilings, vouchers};
use privatix_testkit::{FileServer, free_port, wait_for};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use crate::download_some;
use crate::hostile::pay;
use crate::market::{CLIENT, LIMIT, Market, Running, by_the_kib, channel, service};

/// What keeps it from serving.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unready {
    /// The call that configures it is never answered.
    HangsAtTheStart,
    /// It refuses the call that configures it.
    RefusesTheStart,
    /// Calls that provision channels are never answered.
    HangsAtChannels,
}

/// The proxy plug-in, with faults.
#[derive(Default)]
struct Faulty {
    proxy: ProxyServer,
    /// Lets the reporter of usage go.
    silent: bool,
    never_stops: bool,
    unready: Option<Unready>,
    no_bounds: AtomicBool,
    /// Takes bounds, and holds nothing to them.
    forgets_bounds: AtomicBool,
    /// What it was given to sell.
    provisions: Mutex<Vec<Provision>>,
    /// The calls about channels that decide when and how far they serve, in turn.
    calls: Mutex<Vec<&'static str>>,
}

impl Faulty {
    fn called(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    /// The calls since the last time, each once if it was repeated.
    fn take_calls(&self) -> Vec<&'static str> {
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.dedup();
        calls
    }
}

fn unavailable<T>() -> Result<T, AdapterRefusal> {
    Err(AdapterRefusal::Unavailable { reason: "out of order".into(), remedy: "none".into() })
}

#[async_trait]
impl Adapter for Faulty {
    fn about(&self) -> About {
        self.proxy.about()
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        match self.unready {
            Some(Unready::HangsAtTheStart) => std::future::pending::<()>().await,
            Some(Unready::RefusesTheStart) => return unavailable(),
            _ => {}
        }
        let reporter = if self.silent { usage_reports().0 } else { reporter };
        self.proxy.configure(configuration, reporter).await
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        self.provisions.lock().unwrap().push(provision.clone());
        self.called("provision");
        if self.unready == Some(Unready::HangsAtChannels) {
            std::future::pending::<()>().await;
        }
        self.proxy.provision(provision).await
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.called("start");
        self.proxy.start(channel).await
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.proxy.suspend(channel).await
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.called("resume");
        self.proxy.resume(channel).await
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        if self.never_stops { unavailable() } else { self.proxy.stop(channel).await }
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        if self.no_bounds.load(Ordering::Relaxed) {
            unavailable()
        } else {
            self.called("allow");
            if self.forgets_bounds.load(Ordering::Relaxed) {
                return Ok(Allowance::Enforced);
            }
            self.proxy.allow(channel, up_to).await
        }
    }

    async fn health(&self) -> Health {
        self.proxy.health().await
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        self.proxy.shutdown().await
    }
}

async fn agent_with(market: &Market, faulty: Arc<Faulty>) -> Running<AgentHandle> {
    market.agent_with(faulty, json!({ "listen": "127.0.0.1:0" })).await
}

async fn is_closed_by_the_agent(agent: &AgentHandle, id: ChannelId) -> Amount {
    let closed =
        channel(agent.node(), "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
    closed.channel.paid
}

async fn wire(agent: &AgentHandle) -> Client {
    Client::connect(&DirectTransport::anywhere(), agent.somc(), ClientLimits::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_is_given_after_a_restart_what_it_was_given_before() {
    let market = Market::new().await;
    let first = Arc::new(Faulty::default());
    let agent = agent_with(&market, Arc::clone(&first)).await;
    let client = market.client().await;
    let mut draft = by_the_kib();
    draft.additional["maxConnections"] = 7.into();
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    agent.stop().await;

    let second = Arc::new(Faulty::default());
    let agent = agent_with(&market, Arc::clone(&second)).await;
    service(agent.handle.node(), id, "active").await;
    let given = |plug_in: &Faulty| plug_in.provisions.lock().unwrap().clone();
    let Some(Provision::Sell { parameters, .. }) = given(&first).pop() else { panic!("nothing sold") };
    assert_eq!(parameters["maxConnections"], 7);
    wait_for("the channel to be provisioned", LIMIT, async || {
        if given(&second).is_empty() { Err("it is not") } else { Ok(()) }
    })
    .await
    .unwrap();
    // Without the bound, which a payment may have moved.
    let unbounded = |mut provisions: Vec<Provision>| {
        for provision in &mut provisions {
            if let Provision::Sell { up_to, .. } = provision {
                *up_to = Usage::ZERO;
            }
        }
        provisions
    };
    assert_eq!(unbounded(given(&second)), unbounded(given(&first)));
    client.stop().await;
    agent.stop().await;
}

/// A channel without a bound is served for nothing until billing has been heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_reinstated_channel_has_its_bound_before_it_starts() {
    let market = Market::new().await;
    let first = Arc::new(Faulty::default());
    let agent = agent_with(&market, Arc::clone(&first)).await;
    let client = market.client().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let calls = first.take_calls();
    assert_eq!(calls[..3], ["provision", "allow", "start"], "{calls:?}");
    client.stop().await; // so that no payment moves the bound
    agent.stop().await;

    // After a restart.
    let second = Arc::new(Faulty::default());
    let agent = agent_with(&market, Arc::clone(&second)).await;
    let node = agent.handle.node();
    let started = async || {
        wait_for("the start", LIMIT, async || {
            let mut calls = second.calls.lock().unwrap().clone();
            calls.dedup();
            if calls.ends_with(&["provision", "allow", "start"]) { Ok(()) } else { Err(format!("{calls:?}")) }
        })
        .await
        .unwrap();
    };
    started().await;
    assert_eq!(second.take_calls(), ["provision", "allow", "start"]);

    // Provisioned again, after the plug-in has forgotten the channel: what its earlier life was allowed is void.
    agent.handle.pause(id).await.unwrap();
    service(node, id, "suspended").await;
    second.proxy.stop(id).await.unwrap();
    second.take_calls();
    agent.handle.resume(id).await.unwrap();
    started().await;
    agent.stop().await;
}

/// As if no bound had been sent yet: that of the provision holds, however much is asked for and paid meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_passes_between_start_and_the_first_allow() {
    let market = Arc::new(Market::new().await);
    let files = FileServer::start_mib(64).await.unwrap();
    let settings = json!({
        "listen": format!("127.0.0.1:{}", free_port().unwrap()),
        "destinations": { "allow": ["127.0.0.0/8"] },
    });
    // A runtime of its own, to be killed as a process is.
    let life = Runtime::new().unwrap();
    let agent = tokio::task::spawn_blocking({
        let (market, settings, life) = (Arc::clone(&market), settings.clone(), life.handle().clone());
        move || life.block_on(market.agent_with(Arc::new(ProxyServer::new()), settings))
    });
    let agent = agent.await.unwrap();
    let client = market.client().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Some(Amount::new(5_000_000));
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    let load = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let _ = download_some(&files.url(), &format!("socks5h://127.0.0.1:{port}")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    channel(agent.handle.node(), "use", id, |view| view.used > Usage::new(1 << 20)).await;
    drop(agent);
    tokio::task::spawn_blocking(move || life.shutdown_timeout(LIMIT)).await.unwrap();

    let plug_in = Arc::new(Faulty { forgets_bounds: true.into(), ..Faulty::default() });
    let agent = market.agent_with(Arc::<Faulty>::clone(&plug_in), settings).await;
    let node = agent.handle.node();
    let bound = wait_for("the provision", LIMIT, async || match plug_in.provisions.lock().unwrap().last() {
        Some(Provision::Sell { up_to, .. }) => Ok(*up_to),
        other => Err(format!("{other:?}")),
    });
    let bound = bound.await.unwrap();
    let price = (bound.get().saturating_sub(16 * 1024) * 10).div_ceil(1024) + 500;
    let is_paid = |view: &ChannelView| view.paid >= Amount::from(price) && view.used >= bound;
    channel(node, "all of the bound to be used and paid", id, is_paid).await;
    service(node, id, "active").await;
    tokio::time::sleep(Duration::from_millis(500)).await; // in which it could serve more
    assert_eq!(node.channel(id).await.unwrap().used, bound);

    // The first one that counts.
    plug_in.forgets_bounds.store(false, Ordering::Relaxed);
    plug_in.proxy.allow(id, Usage::MAX).await.unwrap();
    channel(node, "more use", id, |view| view.used > bound).await;
    drop(load);
    client.stop().await;
    agent.stop().await;
}

async fn answered_beside(hanging: Faulty) {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;
    let descriptor = client.handle.node().channel(id).await.unwrap().channel.descriptor;
    client.stop().await;
    agent.stop().await;

    let request = call::request_close(&descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    let agent = agent_with(&market, Arc::new(hanging)).await;
    // Sooner than the plug-in could even be found to hang.
    let answered = tokio::time::timeout(Duration::from_secs(20), is_closed_by_the_agent(&agent.handle, id));
    assert_eq!(answered.await, Ok(Amount::new(500)));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_adapter_keeps_no_dispute_waiting_at_a_start() {
    let unready = |how| Faulty { unready: Some(how), ..Faulty::default() };
    let [hangs, hangs_later] = [Unready::HangsAtTheStart, Unready::HangsAtChannels].map(unready);
    tokio::join!(answered_beside(hangs), answered_beside(hangs_later));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_refuses_to_start_ends_nothing_that_channels_depend_on() {
    let refuses = Faulty { unready: Some(Unready::RefusesTheStart), ..Faulty::default() };
    answered_beside(refuses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_does_not_stop_keeps_nobody_from_the_money() {
    let market = Market::new().await;
    let agent = agent_with(&market, Arc::new(Faulty { never_stops: true, ..Faulty::default() })).await;
    let client = market.client().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;

    agent.handle.terminate(id).await.unwrap();
    assert_eq!(is_closed_by_the_agent(&agent.handle, id).await, Amount::new(500));
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_tells_no_usage_keeps_nobody_from_the_money() {
    let market = Market::new().await;
    let agent = agent_with(&market, Arc::new(Faulty { silent: true, ..Faulty::default() })).await;
    let client = market.client().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;

    agent.handle.close(id).await.unwrap();
    assert_eq!(is_closed_by_the_agent(&agent.handle, id).await, Amount::new(500));
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_takes_no_bound_is_still_suspended() {
    let market = Market::new().await;
    let plug_in = Arc::new(Faulty::default());
    let agent = agent_with(&market, Arc::clone(&plug_in)).await;
    let client = market.client().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    channel(agent.handle.node(), "paid", id, |view| view.paid == Amount::new(500)).await;
    client.stop().await;

    plug_in.no_bounds.store(true, Ordering::Relaxed);
    let (domain, key) = (market.contracts.domain, market.anvil.key(CLIENT));
    assert_eq!(pay(&wire(&agent.handle).await, &domain, &key, (id, 600)).await, Ok(Amount::new(600)));
    agent.handle.pause(id).await.unwrap();
    service(agent.handle.node(), id, "suspended").await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_comes_after_the_end_is_cashed() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let mut draft = by_the_kib();
    draft.terms.setup_price = Amount::ZERO;
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    client.stop().await;
    agent.handle.terminate(id).await.unwrap();
    let view = service(agent.handle.node(), id, "terminated").await;
    assert!(view.paid.is_zero() && view.channel.status == ChannelStatus::Active, "{view:?}");

    let (domain, key) = (market.contracts.domain, market.anvil.key(CLIENT));
    let answer = pay(&wire(&agent.handle).await, &domain, &key, (id, 600)).await;
    assert_eq!(answer, Err(Refusal::ServiceTerminated));
    assert_eq!(is_closed_by_the_agent(&agent.handle, id).await, Amount::new(600));
    agent.stop().await;
}

/// A close is final at the amount that it names, so what comes after it may never be paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_commits_after_a_close_is_not_acknowledged_above_it() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    channel(node, "paid", id, |view| view.paid == Amount::new(500)).await;
    client.stop().await;
    let wire = wire(&agent.handle).await;
    let (domain, key) = (market.contracts.domain, market.anvil.key(CLIENT));

    // The voucher was judged before the close was stored, and is stored after it.
    let mut close = node.db().begin().await.unwrap();
    let waiting = tokio::spawn({
        let (wire, key) = (wire.clone(), key.clone());
        async move { pay(&wire, &domain, &key, (id, 600)).await }
    });
    ceilings::set(&mut close, id, Some(Amount::new(500))).await.unwrap();
    close.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(Refusal::ChannelClosing));
    let stored = vouchers::get(&mut node.db().read().await.unwrap(), id).await.unwrap().unwrap();
    assert_eq!((stored.signed.cumulative(), stored.acknowledged), (Amount::new(600), Amount::new(500)));

    // With a real close, which takes all that was kept and stays in the pool.
    market.anvil.set_automine(false).await.unwrap();
    agent.handle.terminate(id).await.unwrap();
    channel(node, "closing", id, |view| view.channel.status == ChannelStatus::WaitCoop).await;
    let ceiling = async || ceilings::get(&mut node.db().read().await.unwrap(), id).await.unwrap();
    assert_eq!(ceiling().await, Some(Amount::new(600)));
    assert_eq!(pay(&wire, &domain, &key, (id, 600)).await, Err(Refusal::ServiceTerminated), "it is paid");
    assert_eq!(pay(&wire, &domain, &key, (id, 700)).await, Err(Refusal::ChannelClosing));
    assert_eq!(pay(&wire, &domain, &key, (id, 650)).await, Err(Refusal::ChannelClosing));
    let stored = vouchers::get(&mut node.db().read().await.unwrap(), id).await.unwrap().unwrap();
    assert_eq!((stored.signed.cumulative(), stored.acknowledged), (Amount::new(700), Amount::new(600)));

    market.anvil.mine(1).await.unwrap();
    market.anvil.set_automine(true).await.unwrap();
    assert_eq!(is_closed_by_the_agent(&agent.handle, id).await, Amount::new(600));
    // It stays, for a voucher that was accepted before and is stored after the end.
    assert_eq!(ceiling().await, Some(Amount::new(600)));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_ended_before_it_is_open_gives_its_deposit_back() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let node = client.handle.node();
    let before = node.balances().await.unwrap();
    market.anvil.set_automine(false).await.unwrap();
    let id = client.handle.accept(None, offering, None).await.unwrap().channel;
    let sent = TxFilter { subject: Some(id.to_string()), ..TxFilter::default() };
    wait_for("the opening to be sent", LIMIT, async || {
        let transactor = node.transactor()?;
        let opening = transactor.list(&mut *node.db().read().await?, &sent).await?;
        let is_sent = opening.iter().any(|record| record.status == TxStatus::Sent);
        if is_sent { Ok(()) } else { Err(NodeError::NotRunning) }
    })
    .await
    .unwrap();
    client.handle.close(id).await.unwrap();
    service(node, id, "terminated").await;

    // The opening is cancelled. If it is mined nevertheless, the close is asked for at once.
    market.anvil.mine(1).await.unwrap();
    market.anvil.set_automine(true).await.unwrap();
    wait_for("the deposit", LIMIT, async || {
        if node.channel(id).await.unwrap().channel.status == ChannelStatus::InChallenge {
            market.pass_the_challenge().await;
        }
        let now = node.balances().await.unwrap();
        let all = |has: &privatix_node::Balances| has.contract.checked_add(has.wallet);
        if all(&now) == all(&before) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap();
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_opened_again_keeps_its_access() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    let before = node.channel(id).await.unwrap();
    let opened_at = before.channel.opened_at.unwrap();
    let depth = market.anvil.block_number().await.unwrap() - opened_at + 1;
    client.stop().await;

    // The opening comes again, in another block.
    market.anvil.reorg(depth).await.unwrap();
    channel(node, "unopened", id, |view| view.channel.status == ChannelStatus::Pending).await;
    service(node, id, "suspended").await;
    let descriptor = before.channel.descriptor;
    let deposit = before.channel.deposit;
    market.contracts.deposit(&market.anvil, CLIENT, deposit).await.unwrap();
    let open = call::open(&descriptor, deposit).unwrap();
    market.anvil.send(CLIENT, market.contracts.contract, &open).await.unwrap();
    let after = service(node, id, "active").await;
    assert_eq!(after.channel.access, before.channel.access);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_close_request_is_taken_back_is_served_again() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = agent.handle.node();
    channel(node, "the set-up price to be paid", id, |view| !view.paid.is_zero()).await;
    let descriptor = node.channel(id).await.unwrap().channel.descriptor;
    client.stop().await;

    // All of it is admitted, so there is nothing to answer.
    let admitted = node.channel(id).await.unwrap().paid;
    let contract = market.contracts.contract;
    market.anvil.send(CLIENT, contract, &call::request_close(&descriptor, admitted)).await.unwrap();
    let asked = service(node, id, "suspended").await.channel;
    assert_eq!(asked.reason.as_deref(), Some("the client is closing the channel"));
    market.anvil.send(CLIENT, contract, &call::cancel_close(&descriptor)).await.unwrap();
    let again = service(node, id, "active").await.channel;
    assert_eq!(again.status, ChannelStatus::Active);
    agent.stop().await;
}

/// The block that took a close request back is undone, so the request stands again, with no event that says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_that_a_reorganisation_revives_is_finalized() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    agent.stop().await;

    let node = client.handle.node();
    let status = |wanted: ChannelStatus| move |view: &ChannelView| view.channel.status == wanted;
    let view = node.channel(id).await.unwrap();
    let (contract, descriptor) = (market.contracts.contract, view.channel.descriptor);
    // As an earlier life of the database may have done it.
    market.anvil.send(CLIENT, contract, &call::request_close(&descriptor, view.paid)).await.unwrap();
    channel(node, "in challenge", id, status(ChannelStatus::InChallenge)).await;
    market.anvil.send(CLIENT, contract, &call::cancel_close(&descriptor)).await.unwrap();
    channel(node, "active again", id, status(ChannelStatus::Active)).await;

    market.anvil.reorg(1).await.unwrap();
    channel(node, "in challenge again", id, status(ChannelStatus::InChallenge)).await;
    market.pass_the_challenge().await;
    let closed = channel(node, "closed", id, status(ChannelStatus::ClosedUncoop)).await;
    assert_eq!(closed.channel.closure, Some(Closure::ByClient));
    client.stop().await;
}
