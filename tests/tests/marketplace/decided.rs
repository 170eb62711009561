//! A client's decisions put together by hand, with a real agent: what its handle does not show.

use std::sync::Arc;
use std::time::SystemTime;

use privatix_adapter::Role as Side;
use privatix_channel::{Amount, ChannelDescriptor, ChannelStatus, Fee, OfferingHash};
use privatix_client::{
    Agents as _, ClientRole, ClientSettings, Decisions, DecisionsParts, Given, Limits, Node, NodeAgents,
    Views,
};
use privatix_db::backup::{self, Restoring};
use privatix_market::{ClientPolicy, Opening, Outcome, Subject};
use privatix_node::NodeError;
use privatix_somc::DirectTransport;
use privatix_store::{orders, purposes, recovery};
use privatix_testkit::{FileServer, wait_for};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::download;
use crate::market::{AGENT, CLIENT, LIMIT, Market, by_the_kib, channel, direct, publish, service};

pub struct Buyer {
    pub node: Arc<Node>,
    agents: Arc<NodeAgents>,
    pub decisions: Arc<Decisions>,
    stop: CancellationToken,
    runs: JoinHandle<Result<(), NodeError>>,
    decides: JoinHandle<()>,
}

impl Buyer {
    async fn start(market: &Market) -> Self {
        Self::start_with(market, &direct()).await
    }

    async fn start_with(market: &Market, settings: &ClientSettings) -> Self {
        Self::start_seen_by(market, settings, Arc::new(|_, _| {})).await
    }

    /// Starts it with somebody who is shown what each decision has stored.
    pub async fn start_seen_by(market: &Market, settings: &ClientSettings, views: Arc<Views>) -> Self {
        let node = Node::open(market.client_parts().await, Side::Client).await.unwrap();
        let transport = Arc::new(DirectTransport::anywhere());
        let agents = Arc::new(NodeAgents::new(&node, transport.clone(), transport, settings));
        let parts = DecisionsParts {
            policy: ClientPolicy::default(),
            offerings: settings.offerings.clone(),
            limits: Limits::default(),
            agents: agents.clone(),
            views,
        };
        let decisions = Arc::new(Decisions::start(&node, parts).await.unwrap());
        let role = Arc::new(ClientRole::new(node.clone(), decisions.clone()));
        let stop = CancellationToken::new();
        let runs = tokio::spawn({
            let (node, decisions, stop) = (node.clone(), decisions.clone(), stop.clone());
            async move { node.run(role, move |processor| decisions.register(processor), stop).await }
        });
        let decides = tokio::spawn({
            let (decisions, stop) = (decisions.clone(), stop.clone());
            async move { Box::pin(decisions.run(&stop)).await }
        });
        let processed = async || node.processed_block().ok_or("nothing processed");
        wait_for("the chain monitor", LIMIT, processed).await.unwrap();
        Self { node, agents, decisions, stop, runs, decides }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.runs.await.unwrap().unwrap();
        self.decides.await.unwrap();
    }

    /// Describes a channel under the offering, which is fetched first.
    pub async fn choose(
        &self,
        market: &Market,
        offering: OfferingHash,
        deposit: Amount,
    ) -> (ChannelDescriptor, Opening) {
        let client = self.node.account();
        let agent = market.anvil.account(AGENT);
        let descriptor = ChannelDescriptor { client, agent, offering, nonce: 5, signer: client };
        let terms = wait_for("the offering's terms", LIMIT, async || self.agents.terms(&descriptor).await);
        (descriptor, Opening { terms: terms.await.unwrap(), deposit, fee: Fee::ZERO })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_decisions_buys_uses_pays_pauses_restarts_and_ends() {
    let market = Market::new().await;
    let files = FileServer::start_mib(4).await.unwrap();
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let buyer = Buyer::start(&market).await;
    let before = buyer.node.balances().await.unwrap();
    let (descriptor, opening) = buyer.choose(&market, offering, Amount::new(200_000)).await;
    let opened = buyer.decisions.orders().accept(&descriptor, &opening, Given::by_user()).await.unwrap();
    let id = opened.channel;
    service(&buyer.node, id, "active").await;
    service(agent.handle.node(), id, "active").await;
    let recorded =
        purposes::of_subject(&mut buyer.node.db().read().await.unwrap(), Subject::Channel(id)).await.unwrap();
    assert!(
        recorded.iter().all(|recorded| recorded.job.is_some()),
        "whoever follows the job finds the opening"
    );
    let proxy = |node: &Node| {
        let endpoint = node.services().endpoint(id).unwrap();
        format!("socks5h://127.0.0.1:{}", endpoint["port"].as_u64().unwrap())
    };
    let place = proxy(&buyer.node);
    assert_eq!(download(&files.url(), &place).await, files.size());
    buyer.decisions.orders().pause(id, Given::by_user()).await.unwrap();
    service(&buyer.node, id, "suspended").await;
    buyer.stop().await;

    let buyer = Buyer::start(&market).await;
    buyer.decisions.orders().resume(id, Given::by_user()).await.unwrap();
    service(&buyer.node, id, "active").await;
    assert_eq!(proxy(&buyer.node), place, "programs find it where it was");
    assert_eq!(download(&files.url(), &place).await, files.size());
    let (sold, bought) = wait_for("everything metered and paid", LIMIT, async || {
        let sold = agent.handle.node().channel(id).await.unwrap();
        let bought = buyer.node.channel(id).await.unwrap();
        let (used, paid) = (bought.used.get(), bought.acknowledged);
        let price = (used.saturating_sub(16 * 1024) * 10).div_ceil(1024) + 500;
        let settled = used > 2 * files.size() && sold.used == bought.used && paid == Amount::from(price);
        if settled { Ok((sold, bought)) } else { Err(format!("{sold:?} {bought:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(sold.paid, bought.paid);

    // The agent hears of the end by what the client does not pay any more, and closes by its own order here.
    buyer.decisions.orders().end(id, Given::by_user()).await.unwrap();
    service(&buyer.node, id, "terminated").await;
    agent.handle.close(id).await.unwrap();
    for node in [agent.handle.node(), &buyer.node] {
        let closed =
            channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
        assert_eq!(closed.channel.paid, bought.paid);
    }
    let after = buyer.node.balances().await.unwrap();
    let all = |has: privatix_node::Balances| has.contract.checked_add(has.wallet).unwrap();
    assert_eq!(all(before).checked_sub(all(after)), Some(bought.paid));
    let order = orders::get(&mut buyer.node.db().read().await.unwrap(), opened.order).await.unwrap();
    assert_eq!(order.unwrap().ended.map(|(outcome, _)| outcome), Some(Outcome::Done));
    buyer.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_decisions_closes_alone_and_takes_the_rest_back() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let buyer = Buyer::start(&market).await;
    let before = buyer.node.balances().await.unwrap();
    let (descriptor, opening) = buyer.choose(&market, offering, Amount::new(200_000)).await;
    let id = buyer.decisions.orders().accept(&descriptor, &opening, Given::by_user()).await.unwrap().channel;
    service(&buyer.node, id, "active").await;
    agent.stop().await;

    buyer.decisions.orders().close(id, Given::by_user()).await.unwrap();
    let asked = |view: &privatix_node::ChannelView| view.channel.status == ChannelStatus::InChallenge;
    channel(&buyer.node, "asked to close", id, asked).await;
    market.pass_the_challenge().await;
    let closed = |view: &privatix_node::ChannelView| view.channel.status.is_closed();
    let closed = channel(&buyer.node, "closed", id, closed).await;
    service(&buyer.node, id, "terminated").await;
    let after = buyer.node.balances().await.unwrap();
    let all = |has: privatix_node::Balances| has.contract.checked_add(has.wallet).unwrap();
    assert_eq!(all(before).checked_sub(all(after)), Some(closed.channel.paid));
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_the_running_client_go_on_by_decisions() {
    let market = Market::new().await;
    let files = FileServer::start_mib(2).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Some(Amount::new(200_000));
    let (used, port) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    let (paused, _) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    let (ended, _) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    let place = format!("socks5h://127.0.0.1:{port}");
    assert_eq!(download(&files.url(), &place).await, files.size());
    client.handle.pause(paused).await.unwrap();
    service(client.handle.node(), paused, "suspended").await;
    client.handle.terminate(ended).await.unwrap();
    service(client.handle.node(), ended, "terminated").await;
    client.handle.top_up(used, Amount::new(50_000)).await.unwrap();
    client.stop().await;

    let buyer = Buyer::start(&market).await;
    service(&buyer.node, used, "active").await;
    service(&buyer.node, paused, "suspended").await;
    service(&buyer.node, ended, "terminated").await;
    let at =
        wait_for("the local address", LIMIT, async || buyer.node.services().endpoint(used).ok_or("none"));
    assert_eq!(at.await.unwrap()["port"].as_u64(), Some(port.into()));
    assert_eq!(download(&files.url(), &place).await, files.size());
    // The top-up came before the stop, or is carried out by its order now.
    channel(&buyer.node, "topped up", used, |view| view.channel.deposit == Amount::new(250_000)).await;
    let paid = wait_for("everything metered and paid", LIMIT, async || {
        let sold = agent.handle.node().channel(used).await.unwrap();
        let bought = buyer.node.channel(used).await.unwrap();
        let price = (bought.used.get().saturating_sub(16 * 1024) * 10).div_ceil(1024) + 500;
        let is_paid = bought.used.get() > 2 * files.size() && sold.used == bought.used;
        let is_settled = is_paid && bought.acknowledged == Amount::from(price) && sold.paid == bought.paid;
        if is_settled { Ok(()) } else { Err(format!("{sold:?} {bought:?}")) }
    });
    paid.await.unwrap();
    let orders = buyer.decisions.orders();
    orders.resume(paused, Given::by_user()).await.unwrap();
    service(&buyer.node, paused, "active").await;
    orders.close(ended, Given::by_user()).await.unwrap();
    channel(&buyer.node, "asked to close", ended, |view| {
        matches!(view.channel.status, ChannelStatus::InChallenge | ChannelStatus::ClosedCoop)
    })
    .await;
    buyer.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_decisions_that_was_restored_goes_on_with_what_it_signed_since() {
    let market = Market::new().await;
    let files = FileServer::start_mib(2).await.unwrap();
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let buyer = Buyer::start(&market).await;
    let (descriptor, opening) = buyer.choose(&market, offering, Amount::new(200_000)).await;
    let id = buyer.decisions.orders().accept(&descriptor, &opening, Given::by_user()).await.unwrap().channel;
    service(&buyer.node, id, "active").await;
    service(agent.handle.node(), id, "active").await;
    let place = |buyer: &Buyer| {
        let endpoint = buyer.node.services().endpoint(id).unwrap();
        format!("socks5h://127.0.0.1:{}", endpoint["port"].as_u64().unwrap())
    };
    let paid = async |buyer: &Buyer, files_used: u64| {
        assert_eq!(download(&files.url(), &place(buyer)).await, files.size());
        let paid = wait_for("everything metered and paid", LIMIT, async || {
            let sold = agent.handle.node().channel(id).await.unwrap();
            let bought = buyer.node.channel(id).await.unwrap();
            let price = (bought.used.get().saturating_sub(16 * 1024) * 10).div_ceil(1024) + 500;
            let is_paid = bought.used.get() > files_used * files.size() && sold.used == bought.used;
            let is_settled = is_paid && bought.acknowledged == Amount::from(price);
            if is_settled { Ok(bought.acknowledged) } else { Err(format!("{sold:?} {bought:?}")) }
        });
        paid.await.unwrap()
    };
    let known = paid(&buyer, 1).await;
    let (path, sets) = (market.database("client"), privatix_node::migrations());
    let copy = path.with_extension("copy");
    backup::back_up(&path, &copy, &sets, || recovery::mark(SystemTime::now())).await.unwrap();
    let lost = paid(&buyer, 2).await;
    assert!(lost > known);
    buyer.stop().await;
    market.closed("client").await;
    Restoring::begin(&copy, &path, &sets, "").await.unwrap().replace().await.unwrap();

    // The agent's first answer carries what this side signed after the copy was made.
    let buyer = Buyer::start(&market).await;
    channel(&buyer.node, "what was signed to be known again", id, |view| view.paid == lost).await;
    service(&buyer.node, id, "active").await;
    assert_eq!(download(&files.url(), &place(&buyer)).await, files.size());
    channel(&buyer.node, "what is used now to be paid, too", id, |view| view.acknowledged > lost).await;
    service(agent.handle.node(), id, "active").await;
    buyer.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_decisions_ends_what_a_narrower_policy_excludes_at_its_start() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let buyer = Buyer::start(&market).await;
    let (descriptor, opening) = buyer.choose(&market, offering, Amount::new(200_000)).await;
    let id = buyer.decisions.orders().accept(&descriptor, &opening, Given::by_user()).await.unwrap().channel;
    service(&buyer.node, id, "active").await;
    buyer.stop().await;

    // Only onion services may be contacted, and the agent has none.
    let buyer = Buyer::start_with(&market, &ClientSettings::default()).await;
    let ended = service(&buyer.node, id, "terminated").await;
    assert_eq!(ended.channel.reason.as_deref(), Some("its agent cannot be contacted"));
    // It could not be paid by voucher, so the close is asked for at once.
    channel(&buyer.node, "asked to close", id, |view| !view.channel.status.is_active()).await;
    assert!(buyer.node.notices().all().iter().any(|(part, _)| *part == "contact"));
    buyer.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_decisions_that_was_restored_tops_nothing_up_twice() {
    let market = Market::new().await;
    market.contracts.deposit(&market.anvil, CLIENT, Amount::new(400_000)).await.unwrap();
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let buyer = Buyer::start(&market).await;
    let (descriptor, opening) = buyer.choose(&market, offering, Amount::new(200_000)).await;
    let orders = buyer.decisions.orders();
    let id = orders.accept(&descriptor, &opening, Given::by_user()).await.unwrap().channel;
    service(&buyer.node, id, "active").await;

    // In the backup one is on its way, and the other one waits for it.
    market.anvil.set_automine(false).await.unwrap();
    let first = orders.top_up(id, Amount::new(50_000), Given::by_user()).await.unwrap();
    let second = orders.top_up(id, Amount::new(30_000), Given::by_user()).await.unwrap();
    let about = async |node: &Arc<Node>| {
        purposes::of_subject(&mut node.db().read().await.unwrap(), Subject::Channel(id)).await.unwrap()
    };
    wait_for("the first top-up to be submitted", LIMIT, async || {
        let recorded = about(&buyer.node).await.len();
        if recorded == 2 { Ok(()) } else { Err(recorded) }
    })
    .await
    .unwrap();
    let (path, sets) = (market.database("client"), privatix_node::migrations());
    let copy = path.with_extension("copy");
    backup::back_up(&path, &copy, &sets, || recovery::mark(SystemTime::now())).await.unwrap();

    // Both are carried out after it.
    market.anvil.set_automine(true).await.unwrap();
    market.anvil.mine(1).await.unwrap();
    let topped_up = Amount::new(280_000);
    channel(&buyer.node, "topped up twice", id, |view| view.channel.deposit == topped_up).await;
    drop(orders); // it holds the database
    buyer.stop().await;
    market.closed("client").await;
    Restoring::begin(&copy, &path, &sets, "").await.unwrap().replace().await.unwrap();

    let buyer = Buyer::start(&market).await;
    channel(&buyer.node, "what is on chain", id, |view| view.channel.deposit == topped_up).await;
    for ordered in [first, second] {
        wait_for("the order to end", LIMIT, async || {
            let order = orders::get(&mut buyer.node.db().read().await.unwrap(), ordered.order).await.unwrap();
            order.unwrap().ended.ok_or("it is under way")
        })
        .await
        .unwrap();
    }
    market.anvil.mine(3).await.unwrap();
    let seen = market.anvil.block_number().await.unwrap();
    wait_for("the blocks after it", LIMIT, async || {
        let processed = buyer.node.processed_block();
        if processed >= Some(seen) { Ok(()) } else { Err(format!("{processed:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(buyer.node.channel(id).await.unwrap().channel.deposit, topped_up);
    assert!(about(&buyer.node).await.len() <= 2, "nothing was submitted again");
    buyer.stop().await;
    agent.stop().await;
}
