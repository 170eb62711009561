//! A service that is paid ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Health, Provision, Provisioned, UsageReporter,
};
use privatix_billing::Billing;
use privatix_channel::{Amount, ChannelId, ChannelStatus, Usage};
use privatix_plugin_proxy::ProxyClient;
use privatix_testkit::{FileServer, wait_for};
use tokio::sync::Semaphore;

use crate::download;
use crate::market::{AGENT, CLIENT, LIMIT, Market, by_the_kib, channel, service};

/// A client's proxy that starts no channel before it may.
struct Gated {
    proxy: ProxyClient,
    asked: AtomicUsize,
    open: Semaphore,
}

#[async_trait]
impl Adapter for Gated {
    fn about(&self) -> About {
        self.proxy.about()
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        self.proxy.configure(configuration, reporter).await
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        self.proxy.provision(provision).await
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.open.acquire().await.unwrap().forget();
        self.proxy.start(channel).await
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.proxy.suspend(channel).await
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.proxy.resume(channel).await
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.proxy.stop(channel).await
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        self.proxy.allow(channel, up_to).await
    }

    async fn health(&self) -> Health {
        self.proxy.health().await
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        self.proxy.shutdown().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepaid_channel_is_paid_an_interval_ahead_once_the_clients_own_side_runs() {
    // An interval of 64 KiB at 10 each, of which 16 are free.
    const FIRST: Amount = Amount::new((64 - 16) * 10);
    const INTERVAL: u128 = 64 * 10;
    let market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let gate =
        Arc::new(Gated { proxy: ProxyClient::new(), asked: AtomicUsize::new(0), open: Semaphore::new(0) });
    let agent = market.agent().await;
    let client = market.client_with_adapter(Arc::<Gated>::clone(&gate)).await;
    let mut draft = by_the_kib();
    (draft.terms.billing, draft.terms.setup_price) = (Billing::Prepaid, Amount::ZERO);
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let deposit = Amount::new(50_000);
    let id = client.handle.accept(None, offering, Some(deposit)).await.unwrap().channel;
    let (sellers_node, buyers_node) = (agent.handle.node(), client.handle.node());

    wait_for("the client's plug-in to be asked", LIMIT, async || {
        let asked = gate.asked.load(Ordering::Relaxed);
        if asked > 0 { Ok(()) } else { Err(asked) }
    })
    .await
    .unwrap();
    // The agent has given access, and waits for the payment.
    service(sellers_node, id, "suspended").await;
    for node in [sellers_node, buyers_node] {
        let view = node.channel(id).await.unwrap();
        assert_eq!((view.vouchers, view.paid), (0, Amount::ZERO), "paid before its own side ran: {view:?}");
    }
    let free = async |account| {
        market.contracts.internal_balance(&market.anvil, market.anvil.account(account)).await.unwrap().get()
    };
    let (sellers, buyers) = (free(AGENT).await, free(CLIENT).await);

    gate.open.add_permits(1);
    service(buyers_node, id, "active").await;
    service(sellers_node, id, "active").await;
    assert_eq!(
        channel(sellers_node, "the first interval to be paid", id, |view| view.vouchers > 0).await.paid,
        FIRST
    );

    let endpoint = buyers_node.services().endpoint(id).unwrap();
    download(&files.url(), &format!("http://127.0.0.1:{}", endpoint["port"])).await;
    // Use is paid for before it happens: 1,008 KiB of the file cost something.
    let of_the_file = Amount::new((1_024 - 16) * 10);
    let ahead = |view: &privatix_node::ChannelView| view.acknowledged >= of_the_file;
    channel(buyers_node, "the download to be paid", id, ahead).await;
    client.handle.terminate(id).await.unwrap();
    service(buyers_node, id, "terminated").await;
    let signed = buyers_node.channel(id).await.unwrap().paid;
    agent.handle.close(id).await.unwrap();
    for node in [sellers_node, buyers_node] {
        let closed = channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop)
            .await
            .channel;
        assert_eq!(closed.paid, signed);
    }
    // What is paid beyond the use is less than the interval that was paid ahead, and what the headers cost.
    let used = buyers_node.channel(id).await.unwrap().used.get();
    let price = u128::from(used.div_ceil(1_024)).saturating_sub(16) * 10;
    assert!((price..=price + INTERVAL + 20).contains(&signed.get()), "{signed} for {used} bytes: {price}");
    assert_eq!(free(AGENT).await, sellers + signed.get());
    assert_eq!(free(CLIENT).await, buyers + deposit.get() - signed.get());
    client.stop().await;
    agent.stop().await;
}
