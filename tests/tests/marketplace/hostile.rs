//! Strangers who lie: on the wire, on chain, in what they sign.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_channel::{Amount, ChannelId, Domain, OfferingHash, SignedVoucher, Voucher, sign_voucher};
use privatix_client::{ClientHandle, Filter, Listing};
use privatix_contracts::call;
use privatix_offering::{
    AccessContext, AccessKey, AccessMessage, AccessRequest, Endpoint, OfferingMessage, Password,
    SealedAccess, SignedOffering, Templates, proxy,
};
use privatix_somc::{
    Client, ClientError, ClientLimits, DirectListener, DirectTransport, Paid, Refusal, Server, ServerLimits,
    Service, SomcAddress,
};
use privatix_testkit::wait_for;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::market::{AGENT, CLIENT, LIMIT, Market, by_the_kib, channel};

/// An account that sells nothing honestly.
const LIAR: usize = 3;

/// Answers whatever it is told to.
struct Liar {
    offering: Vec<u8>,
    access: Box<dyn Fn(&AccessRequest) -> SealedAccess + Send + Sync>,
}

#[async_trait]
impl Service for Liar {
    async fn offering(&self, _: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Ok(self.offering.clone())
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        Ok((self.access)(&request))
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        Ok(Paid { cumulative: voucher.cumulative() })
    }
}

/// Announces `hash` on chain from the liar's account and serves the lies.
async fn announce(market: &Market, hash: OfferingHash, liar: Liar) -> DropGuard {
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
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

fn message(market: &Market, agent: usize) -> OfferingMessage {
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
        supply: draft.supply,
        terms: draft.terms,
        additional: draft.additional,
    }
}

fn no_access(_: &AccessRequest) -> SealedAccess {
    unreachable!("nobody gets as far as that")
}

/// Waits until the client has judged an offering and gives its complaint.
async fn problem(client: &ClientHandle, hash: OfferingHash) -> String {
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
    let lies = Liar { offering: other.wire().to_vec(), access: Box::new(no_access) };
    let _server = announce(&market, honest.hash(), lies).await;
    let complaint = problem(&client.handle, honest.hash()).await;
    assert!(complaint.contains("hash"), "{complaint}");
    let refused = client.handle.accept(None, honest.hash(), None).await.unwrap_err().to_string();
    assert!(refused.contains("hash"), "{refused}");

    // Somebody else's message under the liar's address.
    let foreign =
        SignedOffering::sign(&message(&market, AGENT), &templates, &market.anvil.key(AGENT)).unwrap();
    let lies = Liar { offering: foreign.wire().to_vec(), access: Box::new(no_access) };
    let _server = announce(&market, foreign.hash(), lies).await;
    let complaint = problem(&client.handle, foreign.hash()).await;
    assert!(complaint.contains("agent") || complaint.contains("sign"), "{complaint}");

    // No message at all.
    let noise = OfferingHash::new([7; 32].into());
    let _server =
        announce(&market, noise, Liar { offering: b"{".to_vec(), access: Box::new(no_access) }).await;
    problem(&client.handle, noise).await;

    assert_eq!(client.handle.node().channels(10).await.unwrap().len(), 0);
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_that_is_sealed_for_somebody_else_is_refused() {
    let market = Market::new().await;
    let client = market.client().await;
    let templates = Templates::builtin();
    let key = market.anvil.key(LIAR);
    let offering = SignedOffering::sign(&message(&market, LIAR), &templates, &key).unwrap();

    let domain = market.contracts.domain;
    let node = Arc::clone(client.handle.node());
    let seal = move |request: &AccessRequest| {
        let channel = request.channel;
        let stored = futures::executor::block_on(node.channel(channel)).unwrap().channel;
        let context = AccessContext {
            descriptor: stored.descriptor,
            domain,
            offering_template: proxy::offering_template(),
        };
        let message = AccessMessage {
            template: proxy::access_template(),
            channel,
            username: channel.to_string(),
            password: Password::new("0123456789abcdef"),
            endpoint: Endpoint::new(json!({ "host": "127.0.0.1", "port": 1080, "protocols": ["socks5"] })),
        };
        let somebody_else = AccessKey::generate().public();
        SealedAccess::seal(&message, somebody_else, &context, &Templates::builtin(), &key).unwrap()
    };
    let lies = Liar { offering: offering.wire().to_vec(), access: Box::new(seal) };
    let _server = announce(&market, offering.hash(), lies).await;
    crate::market::available(&client.handle, offering.hash()).await;
    let id = client.handle.accept(None, offering.hash(), None).await.unwrap();

    let failure = wait_for("the access to be refused", LIMIT, async || {
        let filter = privatix_jobs::Filter::new().kind("fetch_access");
        let jobs =
            privatix_jobs::list(&mut client.handle.node().db().read().await.unwrap(), &filter).await.unwrap();
        let failure = jobs.jobs.into_iter().find_map(|job| job.failure);
        failure.map(|failure| failure.message).ok_or("no failure yet")
    })
    .await
    .unwrap();
    assert!(failure.contains("key"), "{failure}");
    let view = client.handle.node().channel(id).await.unwrap();
    assert!(view.channel.access.is_none() && view.paid.is_zero(), "{view:?}");
    client.stop().await;
}

/// What an agent says to a voucher.
async fn pay(
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
    assert_eq!(pay(&wire, &domain, &signer, (id, 50_001)).await, Err(Refusal::AboveDeposit { deposit }));
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
