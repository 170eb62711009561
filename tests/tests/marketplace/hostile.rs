//! Strangers who lie: on the wire, on chain, in what they sign.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_chain::TxFilter;
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, ChannelStatus, Closure, Domain, OfferingHash, SignedVoucher,
    Voucher, sign_voucher,
};
use privatix_client::{ClientHandle, Filter, Listing};
use privatix_contracts::call;
use privatix_offering::{
    AccessContext, AccessKey, AccessMessage, AccessRequest, Endpoint, OfferingMessage, Password,
    RecipientKey, SealedAccess, SignedOffering, Templates, proxy,
};
use privatix_somc::{
    Client, ClientError, ClientLimits, DirectListener, DirectTransport, Paid, Refusal, Server, ServerLimits,
    Service, SomcAddress,
};
use privatix_store::vouchers;
use privatix_testkit::{FileServer, wait_for};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::download_some;
use crate::market::{AGENT, CLIENT, LIMIT, Market, by_the_kib, channel, direct, service};

/// An account that sells nothing honestly.
pub(crate) const LIAR: usize = 3;

pub(crate) type Answer<Q, A> = Box<dyn Fn(&Q) -> Result<A, Refusal> + Send + Sync>;

/// Answers whatever it is told to.
pub(crate) struct Liar {
    offering: Vec<u8>,
    access: Answer<AccessRequest, SealedAccess>,
    pay: Answer<SignedVoucher, Paid>,
}

impl Liar {
    pub(crate) fn new(
        offering: &[u8],
        access: impl Fn(&AccessRequest) -> Result<SealedAccess, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let pay = |voucher: &SignedVoucher| Ok(Paid { cumulative: voucher.cumulative() });
        Self { offering: offering.to_vec(), access: Box::new(access), pay: Box::new(pay) }
    }

    /// Takes no payment.
    pub(crate) fn refuse_payments(
        &mut self,
        why: impl Fn(&SignedVoucher) -> Refusal + Send + Sync + 'static,
    ) {
        self.pay = Box::new(move |voucher| Err(why(voucher)));
    }
}

#[async_trait]
impl Service for Liar {
    async fn offering(&self, _: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Ok(self.offering.clone())
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        (self.access)(&request)
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        (self.pay)(&voucher)
    }
}

/// Announces `hash` on chain from the liar's account and serves the lies.
pub(crate) async fn announce(market: &Market, hash: OfferingHash, liar: Liar) -> DropGuard {
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    announce_at(market, hash, liar, listener).await
}

pub(crate) async fn announce_at(
    market: &Market,
    hash: OfferingHash,
    liar: Liar,
    listener: DirectListener,
) -> DropGuard {
    let address = SomcAddress::direct("127.0.0.1", listener.local_addr().port()).unwrap();
    let stop = CancellationToken::new();
    let server = Server::new(liar, ServerLimits::default());
    let token = stop.clone();
    tokio::spawn(async move { server.serve(listener, token).await });

    market.contracts.deposit(&market.anvil, LIAR, Amount::new(1_000_000)).await.unwrap();
    let register =
        call::register_offering(hash, Amount::new(10_740), 3, address.kind().number(), address.source())
            .unwrap();
    market.anvil.send(LIAR, market.contracts.contract, &register).await.unwrap();
    stop.drop_guard()
}

pub(crate) fn message(market: &Market, agent: usize) -> OfferingMessage {
    let draft = by_the_kib();
    OfferingMessage {
        template: proxy::offering_template(),
        agent: market.anvil.account(agent),
        chain_id: market.contracts.domain.chain_id(),
        contract: market.contracts.contract,
        nonce: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
        service_name: draft.service_name,
        description: draft.description,
        country: draft.country,
        ip_type: draft.ip_type,
        addresses: vec![],
        protocol: None,
        supply: draft.supply,
        terms: draft.terms,
        additional: draft.additional,
    }
}

fn no_access(_: &AccessRequest) -> Result<SealedAccess, Refusal> {
    unreachable!("nobody gets as far as that")
}

/// Waits until the client has judged an offering and gives its complaint.
pub(crate) async fn problem(client: &ClientHandle, hash: OfferingHash) -> String {
    wait_for("a problem", LIMIT, async || {
        let found: Vec<Listing> = client.browse(&Filter::default(), 10).await.unwrap();
        let listing = found.into_iter().find(|listing| listing.offering.hash == hash).ok_or("not seen")?;
        assert!(listing.message.is_none());
        listing.offering.problem.ok_or("no problem yet")
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offering_that_is_not_what_was_announced_cannot_be_accepted() {
    let market = Market::new().await;
    let client = market.client().await;
    let templates = Templates::builtin();
    let honest = SignedOffering::sign(&message(&market, LIAR), &templates, &market.anvil.key(LIAR)).unwrap();

    // Another message than the announced one.
    let mut other = message(&market, LIAR);
    other.terms.unit_price = Amount::new(1);
    let other = SignedOffering::sign(&other, &templates, &market.anvil.key(LIAR)).unwrap();
    let lies = Liar::new(other.wire(), no_access);
    let _server = announce(&market, honest.hash(), lies).await;
    let complaint = problem(&client.handle, honest.hash()).await;
    assert!(complaint.contains("hash"), "{complaint}");
    let refused = client.handle.accept(None, honest.hash(), None).await.unwrap_err().to_string();
    assert!(refused.contains("hash"), "{refused}");

    // Somebody else's message under the liar's address.
    let foreign =
        SignedOffering::sign(&message(&market, AGENT), &templates, &market.anvil.key(AGENT)).unwrap();
    let lies = Liar::new(foreign.wire(), no_access);
    let _server = announce(&market, foreign.hash(), lies).await;
    let complaint = problem(&client.handle, foreign.hash()).await;
    assert!(complaint.contains("agent") || complaint.contains("sign"), "{complaint}");

    // No message at all.
    let noise = OfferingHash::new([7; 32].into());
    let _server = announce(&market, noise, Liar::new(b"{", no_access)).await;
    problem(&client.handle, noise).await;

    assert_eq!(client.handle.node().channels(10).await.unwrap().len(), 0);
    client.stop().await;
}

/// Seals access to the liar's own channels as its agent would, for whomever it is told to.
pub(crate) fn sealer(
    market: &Market,
    client: &ClientHandle,
) -> impl Fn(&AccessRequest, RecipientKey) -> SealedAccess + use<> {
    let (domain, key, node) = (market.contracts.domain, market.anvil.key(LIAR), Arc::clone(client.node()));
    move |request, recipient| {
        let channel = request.channel;
        let stored = futures::executor::block_on(node.channel(channel)).unwrap().channel;
        let offering_template = proxy::offering_template();
        let context =
            AccessContext { descriptor: stored.descriptor, domain, offering_template, operator: None };
        let message = AccessMessage {
            template: proxy::access_template(),
            channel,
            username: channel.to_string(),
            password: Password::new("0123456789abcdef"),
            endpoint: Endpoint::new(json!({ "host": "127.0.0.1", "port": 1080, "protocols": ["socks5"] })),
        };
        SealedAccess::seal(&message, recipient, &context, &Templates::builtin(), &key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_comes_back_from_an_agent_that_gives_no_access() {
    let market = Market::new().await;
    let mut settings = direct();
    settings.access_within = Duration::from_secs(1);
    settings.request_close_after = Some(Duration::ZERO);
    let client = market.client_with(settings).await;
    let key = market.anvil.key(LIAR);
    let offering = SignedOffering::sign(&message(&market, LIAR), &Templates::builtin(), &key).unwrap();
    let soon = |_: &AccessRequest| Err(Refusal::not_ready(Duration::from_millis(1)));
    let _server = announce(&market, offering.hash(), Liar::new(offering.wire(), soon)).await;
    crate::market::available(&client.handle, offering.hash()).await;
    let id = client.handle.accept(None, offering.hash(), None).await.unwrap().channel;

    let node = client.handle.node();
    channel(node, "in challenge", id, |view| view.channel.status == ChannelStatus::InChallenge).await;
    market.pass_the_challenge().await;
    let closed = channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedUncoop).await;
    assert!(closed.channel.paid.is_zero(), "{closed:?}");
    assert_eq!(closed.channel.service.as_str(), "terminated");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_agent_is_waited_for_and_one_that_denies_a_payment_is_not_asked_without_pause() {
    let market = Market::new().await;
    let client = market.client().await;
    let key = market.anvil.key(LIAR);
    let offering = SignedOffering::sign(&message(&market, LIAR), &Templates::builtin(), &key).unwrap();
    let (seal, asked) = (sealer(&market, &client.handle), AtomicU32::new(0));
    let slow = move |request: &AccessRequest| {
        if asked.fetch_add(1, Ordering::Relaxed) < 250 {
            return Err(Refusal::not_ready(Duration::from_millis(1)));
        }
        Ok(seal(request, request.recipient))
    };
    let mut liar = Liar::new(offering.wire(), slow);
    let (told, mut times) = tokio::sync::mpsc::unbounded_channel();
    liar.pay = Box::new(move |_| {
        let _ = told.send(Instant::now());
        Err(Refusal::Stale { acknowledged: Amount::ZERO })
    });
    let _server = announce(&market, offering.hash(), liar).await;
    crate::market::available(&client.handle, offering.hash()).await;
    let id = client.handle.accept(None, offering.hash(), None).await.unwrap().channel;
    service(client.handle.node(), id, "active").await;

    let mut next = async || tokio::time::timeout(LIMIT, times.recv()).await.unwrap().unwrap();
    let first = next().await;
    next().await;
    let third = next().await;
    assert!(third - first >= Duration::from_millis(500), "asked thrice within {:?}", third - first);
    let view = client.handle.node().channel(id).await.unwrap();
    assert!(view.acknowledged.is_zero(), "{view:?}");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_that_is_sealed_for_somebody_else_is_refused() {
    let market = Market::new().await;
    let client = market.client().await;
    let templates = Templates::builtin();
    let key = market.anvil.key(LIAR);
    let offering = SignedOffering::sign(&message(&market, LIAR), &templates, &key).unwrap();

    let somebody_else = AccessKey::generate().public();
    let seal = sealer(&market, &client.handle);
    let sealed = Arc::new(AtomicU32::new(0));
    let seal = {
        let sealed = Arc::clone(&sealed);
        move |request: &AccessRequest| {
            sealed.fetch_add(1, Ordering::Relaxed);
            Ok(seal(request, somebody_else))
        }
    };
    let lies = Liar::new(offering.wire(), seal);
    let _server = announce(&market, offering.hash(), lies).await;
    crate::market::available(&client.handle, offering.hash()).await;
    let id = client.handle.accept(None, offering.hash(), None).await.unwrap().channel;

    wait_for("the access to be refused, and asked for again", LIMIT, async || {
        let answers = sealed.load(Ordering::Relaxed);
        if answers > 1 { Ok(()) } else { Err(answers) }
    })
    .await
    .unwrap();
    let view = client.handle.node().channel(id).await.unwrap();
    assert!(view.channel.access.is_none() && view.paid.is_zero(), "{view:?}");
    client.stop().await;
}

/// What an agent says to a voucher.
pub async fn pay(
    client: &Client,
    domain: &Domain,
    signer: &impl alloy::signers::SignerSync,
    voucher: (ChannelId, u128),
) -> Result<Amount, Refusal> {
    let voucher = Voucher { channel: voucher.0, cumulative: Amount::new(voucher.1) };
    match client.pay(sign_voucher(signer, domain, voucher).unwrap()).await {
        Ok(paid) => Ok(paid.cumulative),
        Err(ClientError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_voucher_changes_nothing() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Amount::new(50_000);
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
    client.stop().await; // it has paid the setup

    let transport = DirectTransport::anywhere();
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let domain = market.contracts.domain;
    let (signer, stranger) = (market.anvil.key(CLIENT), market.anvil.key(LIAR));
    assert_eq!(pay(&wire, &domain, &signer, (id, 600)).await, Ok(Amount::new(600)));

    let nowhere = ChannelId::new([9; 32].into());
    let elsewhere = Domain::new(domain.chain_id() + 1, domain.contract(), domain.token());
    assert_eq!(pay(&wire, &domain, &stranger, (id, 700)).await, Err(Refusal::WrongSigner));
    assert_eq!(pay(&wire, &elsewhere, &signer, (id, 700)).await, Err(Refusal::WrongSigner));
    assert_eq!(
        pay(&wire, &domain, &signer, (id, 599)).await,
        Err(Refusal::Stale { acknowledged: Amount::new(600) })
    );
    assert_eq!(
        pay(&wire, &domain, &signer, (nowhere, 700)).await,
        Err(Refusal::UnknownChannel { channel: nowhere })
    );
    // A stranger does not learn what was paid, and a replay is no second payment.
    assert_eq!(pay(&wire, &domain, &stranger, (id, 1)).await, Err(Refusal::WrongSigner));
    assert_eq!(pay(&wire, &domain, &signer, (id, 600)).await, Ok(Amount::new(600)));

    let view = channel(agent.handle.node(), "unchanged", id, |view| view.paid == Amount::new(600)).await;
    assert_eq!(view.vouchers, 2, "the setup and the one good one: {view:?}");
    assert_eq!(pay(&wire, &domain, &signer, (id, 50_000)).await, Ok(deposit));
    tokio::time::timeout(Duration::from_mins(1), agent.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_claims_more_than_was_signed_gets_nothing_and_its_client_gets_the_rest_back() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Amount::new(50_000);
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
    let node = client.handle.node();
    let descriptor = node.channel(id).await.unwrap().channel.descriptor;
    let signed =
        vouchers::get(&mut agent.handle.node().db().read().await.unwrap(), id).await.unwrap().unwrap().signed;
    assert_eq!(signed.cumulative(), Amount::new(500));
    agent.stop().await;

    let (domain, contract) = (market.contracts.domain, market.contracts.contract);
    let voucher = Voucher { channel: id, cumulative: deposit };
    let by_itself = sign_voucher(&market.anvil.key(AGENT), &domain, voucher).unwrap();
    let mut raised = signed;
    raised.voucher.cumulative = deposit;
    for (what, claim) in [("its own signature", by_itself), ("the client's signature of less", raised)] {
        let close = market.anvil.send(AGENT, contract, &call::close(&descriptor, Some(&claim))).await;
        assert!(close.is_err(), "a close with {what}");
        let settle = market.anvil.send(AGENT, contract, &call::settle(&descriptor, &claim)).await;
        assert!(settle.is_err(), "a settlement with {what}");
        // A batch leaves the row out.
        let batch = call::close_batch([(&descriptor, Some(&claim))]);
        let _ = market.anvil.send(AGENT, contract, &batch).await;
    }
    let view = node.channel(id).await.unwrap();
    assert_eq!((view.channel.status, view.channel.paid), (ChannelStatus::Active, Amount::ZERO));

    let before = market.contracts.internal_balance(&market.anvil, descriptor.client).await.unwrap();
    let sellers = market.contracts.internal_balance(&market.anvil, descriptor.agent).await.unwrap();
    client.handle.close(id).await.unwrap();
    channel(node, "in challenge", id, |view| view.channel.status == ChannelStatus::InChallenge).await;
    // Nor does it get more by its answer.
    assert!(market.anvil.send(AGENT, contract, &call::close(&descriptor, Some(&raised))).await.is_err());
    market.pass_the_challenge().await;
    let closed = channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedUncoop).await;
    assert_eq!((closed.channel.paid, closed.channel.closure), (Amount::new(500), Some(Closure::ByClient)));
    let gained = async |account, before: Amount| {
        let after = market.contracts.internal_balance(&market.anvil, account).await.unwrap();
        after.get() - before.get()
    };
    assert_eq!(gained(descriptor.client, before).await, 49_500);
    assert_eq!(gained(descriptor.agent, sellers).await, 500);
    client.stop().await;
}

/// Asks on one connection after the other, as fast as it is answered, until it is stopped. Counts what it asked.
async fn flood(server: SomcAddress, hash: OfferingHash, asked: Arc<AtomicU32>) {
    let transport = DirectTransport::anywhere();
    loop {
        let Ok(wire) = Client::connect(&transport, &server, ClientLimits::default()).await else {
            tokio::task::yield_now().await;
            continue;
        };
        // What is refused is asked again at once.
        while let Ok(_) | Err(ClientError::Refused(_)) = wire.offering(hash).await {
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_requests_keeps_no_paying_channel_from_its_service() {
    const STRANGERS: usize = 40;
    let market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(50_000))).await;

    let asked = Arc::new(AtomicU32::new(0));
    let mut strangers = JoinSet::new();
    for _ in 0..STRANGERS {
        strangers.spawn(flood(agent.handle.somc().clone(), offering, Arc::clone(&asked)));
    }
    wait_for("the flood", LIMIT, async || {
        let asked = asked.load(Ordering::Relaxed);
        if asked > 200 { Ok(()) } else { Err(asked) }
    })
    .await
    .unwrap();
    // It goes on while the channel is used and paid for, which stops after 256 KiB without a payment.
    let proxy = format!("http://127.0.0.1:{port}");
    let got = tokio::time::timeout(LIMIT, download_some(&files.url(), &proxy)).await.unwrap();
    assert_eq!(got, Ok(1024 * 1024));
    let (most_behind, price) = (256 * 10, 500 + (1024 - 16) * 10);
    channel(agent.handle.node(), "paid", id, |view| view.paid >= Amount::new(price - most_behind)).await;
    service(agent.handle.node(), id, "active").await;
    assert_eq!(strangers.len(), STRANGERS);
    assert!(strangers.try_join_next().is_none(), "the flood went on");
    strangers.shutdown().await;
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_above_the_deposit_is_kept_and_pays_the_deposit() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Amount::new(50_000);
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
    client.stop().await;

    let transport = DirectTransport::anywhere();
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let (domain, signer) = (market.contracts.domain, market.anvil.key(CLIENT));
    let above = Err(Refusal::AboveDeposit { deposit });
    assert_eq!(pay(&wire, &domain, &signer, (id, 70_000)).await, above);
    assert_eq!(agent.handle.node().channel(id).await.unwrap().paid, deposit);
    assert_eq!(agent.handle.claimable(id).await.unwrap(), deposit);

    // A top-up makes the same voucher worth more.
    let descriptor = agent.handle.node().channel(id).await.unwrap().channel.descriptor;
    market.contracts.deposit(&market.anvil, CLIENT, Amount::new(10_000)).await.unwrap();
    let top_up = call::top_up(&descriptor, Amount::new(10_000)).unwrap();
    market.anvil.send(CLIENT, market.contracts.contract, &top_up).await.unwrap();
    channel(agent.handle.node(), "topped up", id, |view| view.paid == Amount::new(60_000)).await;

    agent.handle.terminate(id).await.unwrap();
    let closed =
        channel(agent.handle.node(), "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop)
            .await;
    assert_eq!(closed.channel.paid, Amount::new(60_000));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_without_a_signer_is_not_served_and_costs_the_agent_nothing() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    client.stop().await; // it names its own key

    let deposit = Amount::new(50_000);
    let descriptor = ChannelDescriptor {
        client: market.anvil.account(CLIENT),
        agent: market.anvil.account(AGENT),
        offering,
        nonce: 7,
        signer: Address::ZERO,
    };
    market.contracts.deposit(&market.anvil, CLIENT, deposit).await.unwrap();
    let open = call::open(&descriptor, deposit).unwrap();
    market.anvil.send(CLIENT, market.contracts.contract, &open).await.unwrap();

    let id = descriptor.id(&market.contracts.domain);
    let ended = service(agent.handle.node(), id, "terminated").await;
    assert_eq!((ended.channel.paid, &ended.channel.access), (Amount::ZERO, &None));
    assert!(
        ended.channel.reason.as_ref().is_some_and(|reason| reason.contains("names no signer")),
        "{ended:?}"
    );

    let transport = DirectTransport::anywhere();
    let wire = Client::connect(&transport, agent.handle.somc(), ClientLimits::default()).await.unwrap();
    let (domain, signer) = (market.contracts.domain, market.anvil.key(CLIENT));
    assert_eq!(pay(&wire, &domain, &signer, (id, 600)).await, Err(Refusal::NoSigner));
    let (key, now) = (AccessKey::generate(), std::time::SystemTime::now());
    let request = AccessRequest::sign(&descriptor, &domain, key.public(), now, &signer).unwrap();
    let refused = wire.access(request).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(Refusal::NoSigner)), "{refused}");

    // The client gets its deposit back by its own transactions. The agent has sent none but its announcement.
    let request = call::request_close(&descriptor, Amount::ZERO);
    market.anvil.send(CLIENT, market.contracts.contract, &request).await.unwrap();
    market.pass_the_challenge().await;
    let finalize = call::finalize_close(&descriptor);
    market.anvil.send(CLIENT, market.contracts.contract, &finalize).await.unwrap();
    let status = ChannelStatus::ClosedUncoop;
    let closed = channel(agent.handle.node(), "closed", id, |view| view.channel.status == status).await;
    assert_eq!(closed.channel.closure, Some(Closure::ByClient));
    let back = market.contracts.internal_balance(&market.anvil, descriptor.client).await.unwrap();
    assert_eq!(back, deposit);
    let sent = {
        let node = agent.handle.node();
        let filter = TxFilter { limit: 100, ..TxFilter::default() };
        node.transactor().unwrap().list(&mut node.db().read().await.unwrap(), &filter).await.unwrap()
    };
    let kinds: Vec<&str> = sent.iter().map(|record| record.intent.kind.as_str()).collect();
    assert_eq!(kinds, ["register_offering"]);
    agent.stop().await;
}
