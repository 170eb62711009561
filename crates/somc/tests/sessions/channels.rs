//! Channels that are proved in a session: what is answered about them, to whom, and what is sent unasked.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::{
    AgentView, Amount, ChannelDescriptor, ChannelId, OfferingHash, ServiceState, SignedVoucher, Usage,
    Voucher, sign_voucher,
};
use privatix_offering::{AccessRequest, ChannelProof, Receipt, SealedAccess, SignedReceipt};
use privatix_somc::{
    CallerSession, Client, ClientError, ClientLimits, DirectTransport, Notice, Paid, Peer, Refusal,
    RetryPolicy, Service, Standing, VersionRange,
};
use tokio::sync::Notify;

use crate::common::{Running, agent, domain, expected, generous, identities, limits, patient, soon};

fn key(number: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(number)).unwrap()
}

/// A channel of the client with this number.
fn descriptor(number: u8) -> ChannelDescriptor {
    let client = key(number).address();
    let offering = B256::repeat_byte(0x0f).into();
    ChannelDescriptor { client, agent: agent().address(), offering, nonce: 0, signer: client }
}

fn channel(number: u8) -> ChannelId {
    descriptor(number).id(&domain())
}

fn voucher(number: u8, cumulative: u128) -> SignedVoucher {
    let voucher = Voucher { channel: channel(number), cumulative: Amount::new(cumulative) };
    sign_voucher(&key(number), &domain(), voucher).unwrap()
}

fn proof(number: u8, client: &Client) -> ChannelProof {
    ChannelProof::sign(&descriptor(number), &domain(), client.session().unwrap(), &key(number)).unwrap()
}

/// An agent's books of some channels.
#[derive(Default)]
struct Books {
    best: Mutex<HashMap<ChannelId, SignedVoucher>>,
    used: Mutex<Vec<Option<Usage>>>,
    numbers: AtomicU64,
    /// While it is there, payments wait for it.
    gate: Option<Arc<Notify>>,
}

impl Books {
    fn view(&self) -> AgentView {
        AgentView {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            used: Usage::new(700),
            service: ServiceState::Running,
            reason: None,
            resumes_at: None,
            access: 1,
        }
    }

    fn take(&self, voucher: SignedVoucher) -> Standing {
        let mut best = self.best.lock();
        let known = best.entry(voucher.channel()).or_insert(voucher);
        let is_better = known.cumulative() > voucher.cumulative();
        if voucher.cumulative() > known.cumulative() {
            *known = voucher;
        }
        let carried = is_better.then_some((known.cumulative(), known.signature));
        Standing { cumulative: known.cumulative(), view: self.view(), voucher: carried }
    }
}

#[async_trait]
impl Service for Books {
    async fn offering(&self, offering: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::UnknownOffering { offering })
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        Err(Refusal::UnknownChannel { channel: request.channel })
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        Ok(Paid { cumulative: self.take(voucher).cumulative })
    }

    async fn attach(&self, session: CallerSession, proof: ChannelProof) -> Result<(), Refusal> {
        let known = (1..=9).find(|number| channel(*number) == proof.channel);
        let Some(known) = known.filter(|_| session.agent == agent().address()) else {
            return Err(Refusal::UnknownChannel { channel: proof.channel });
        };
        proof.verify(&descriptor(known), &domain(), session.id).map_err(|_| Refusal::WrongSigner)
    }

    async fn standing(&self, channel: ChannelId) -> Result<Standing, Refusal> {
        let best = self.best.lock().get(&channel).copied();
        let voucher = best.map(|voucher| (voucher.cumulative(), voucher.signature));
        let cumulative = best.map_or(Amount::ZERO, |voucher| voucher.cumulative());
        Ok(Standing { cumulative, view: self.view(), voucher })
    }

    async fn receipt(&self, channel: ChannelId) -> Result<SignedReceipt, Refusal> {
        let view = self.view();
        let receipt = Receipt {
            channel,
            agent: agent().address(),
            cumulative: Amount::new(7),
            used: view.used,
            service: view.service,
            reason: view.reason,
            block: 5,
            block_hash: B256::repeat_byte(5),
        };
        SignedReceipt::sign(receipt, &domain(), None, &agent()).map_err(|_| Refusal::Internal)
    }

    async fn pay_attached(&self, voucher: SignedVoucher, used: Option<Usage>) -> Result<Standing, Refusal> {
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        self.used.lock().push(used);
        Ok(self.take(voucher))
    }
}

async fn running(books: &Arc<Books>) -> Running {
    running_with(books, generous()).await
}

async fn running_with(books: &Arc<Books>, limits: privatix_somc::ServerLimits) -> Running {
    let address = "127.0.0.1:0".parse().unwrap();
    Running::start_with(address, Arc::clone(books), limits, Some(identities())).await
}

fn notice(number: u8, view: AgentView) -> Notice {
    Notice { channel: channel(number), view }
}

#[tokio::test]
async fn who_proves_a_channel_sees_where_it_stands_and_both_meters_meet() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let client = running.client().await;
    let unproved = soon(client.pay(voucher(1, 400))).await.unwrap();
    assert_eq!(unproved, Paid { cumulative: Amount::new(400) });
    assert!(!client.is_attached(channel(1)));

    let standing = soon(client.attach(proof(1, &client))).await.unwrap();
    assert!(client.is_attached(channel(1)));
    let carried = voucher(1, 400);
    assert_eq!(
        standing.voucher,
        Some((carried.cumulative(), carried.signature)),
        "what this side signed before"
    );
    assert_eq!((standing.cumulative, standing.view.used), (Amount::new(400), Usage::new(700)));

    let paid = soon(client.pay_attached(voucher(1, 500), Usage::new(650))).await.unwrap();
    assert_eq!((paid.cumulative, paid.voucher), (Amount::new(500), None));
    assert_eq!(*books.used.lock(), [Some(Usage::new(650))]);
    // Less than what is known: the answer shows it.
    let stale = soon(client.pay_attached(voucher(1, 450), Usage::new(650))).await.unwrap();
    let best = voucher(1, 500);
    assert_eq!(
        (stale.cumulative, stale.voucher),
        (Amount::new(500), Some((best.cumulative(), best.signature)))
    );
}

#[tokio::test]
async fn a_proof_counts_for_its_session_and_its_signer_only() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let (client, other) = (running.client().await, running.client().await);
    let replayed = soon(client.attach(proof(1, &other))).await.unwrap_err();
    assert_eq!(replayed.refusal(), Some(&Refusal::WrongSigner));
    let forged = ChannelProof { signature: proof(2, &client).signature, ..proof(1, &client) };
    let forged = soon(client.attach(forged)).await.unwrap_err();
    assert_eq!(forged.refusal(), Some(&Refusal::WrongSigner));
    assert!(!client.is_attached(channel(1)));
    // And then nothing but the voucher counts.
    soon(client.pay_attached(voucher(1, 5), Usage::new(3))).await.unwrap_err();
    assert_eq!(*books.used.lock(), []);
}

#[tokio::test]
async fn a_receipt_is_for_whoever_proved_the_channel() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let (client, stranger) = (running.client().await, running.client().await);
    soon(client.attach(proof(1, &client))).await.unwrap();
    let receipt = soon(client.receipt(channel(1))).await.unwrap();
    let said = receipt.verify(&domain(), agent().address(), None).unwrap();
    assert_eq!((said.channel, said.cumulative), (channel(1), Amount::new(7)));
    let refused = soon(stranger.receipt(channel(1))).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::NotProved));
}

#[tokio::test]
async fn nothing_is_proved_in_clear() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let (transport, address) = (DirectTransport::anywhere(), running.address());
    let clear = soon(Client::connect(&transport, &address, patient())).await.unwrap();
    let session = running.client().await;
    let error = soon(clear.attach(proof(1, &session))).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::UnknownMethod { method: "attach".into() }));
    assert_eq!(soon(clear.notices().next()).await, None, "none can come");
}

#[tokio::test]
async fn a_changed_view_is_sent_to_those_who_proved_the_channel_and_to_nobody_else() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let (owner, stranger) = (running.client().await, running.client().await);
    soon(owner.attach(proof(1, &owner))).await.unwrap();
    soon(stranger.attach(proof(2, &stranger))).await.unwrap();
    let view = AgentView { service: ServiceState::Suspended, ..books.view() };
    running.server.notifier().notify(notice(1, view));
    assert_eq!(soon(owner.notices().next()).await, Some(notice(1, view)));
    let own = AgentView { service: ServiceState::Ended, ..books.view() };
    running.server.notifier().notify(notice(2, own));
    assert_eq!(
        soon(stranger.notices().next()).await,
        Some(notice(2, own)),
        "and the other's was not sent before it"
    );
    // A connection that has ended takes none, and is forgotten.
    owner.close();
    assert_eq!(soon(owner.notices().next()).await, None);
}

#[tokio::test]
async fn no_change_is_missed_between_the_proof_and_the_answer_to_it() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let client = running.client().await;
    let sending = tokio::spawn({
        let (notifier, books) = (running.server.notifier(), Arc::clone(&books));
        async move {
            loop {
                notifier.notify(notice(1, books.view()));
                tokio::task::yield_now().await;
            }
        }
    });
    let standing = soon(client.attach(proof(1, &client))).await.unwrap();
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let last = AgentView { service: ServiceState::Ended, ..books.view() };
    running.server.notifier().notify(notice(1, last));
    let mut newest = standing.view;
    while newest.service != ServiceState::Ended {
        let next = soon(client.notices().next()).await.unwrap().view;
        newest = if next.number > newest.number { next } else { newest };
    }
    assert_eq!(newest, last);
}

#[tokio::test]
async fn a_connection_proves_no_more_channels_than_the_limit() {
    let books = Arc::new(Books::default());
    let running = running_with(&books, limits(|limits| limits.max_attached = 2)).await;
    let client = running.client().await;
    for number in [1, 2, 1] {
        soon(client.attach(proof(number, &client))).await.unwrap();
    }
    let error = soon(client.attach(proof(3, &client))).await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Busy { .. })), "{error}");
}

#[tokio::test]
async fn a_peer_proves_its_channel_on_each_connection() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let expected = expected(VersionRange::exactly(2));
    let transport = Arc::new(DirectTransport::anywhere());
    let limits: ClientLimits = patient();
    let peer = Peer::expecting(expected, transport, running.address(), limits, RetryPolicy::default());
    let pay = |amount| {
        peer.on_connection(move |client| async move {
            if !client.is_attached(channel(1)) {
                client.attach(proof(1, &client)).await?;
            }
            client.pay_attached(voucher(1, amount), Usage::new(1)).await
        })
    };
    assert_eq!(soon(pay(10)).await.unwrap().cumulative, Amount::new(10));
    peer.disconnect();
    assert_eq!(soon(pay(20)).await.unwrap().cumulative, Amount::new(20));
    assert_eq!(running.server.stats().sessions, 2);
}

#[tokio::test]
async fn the_highest_of_waiting_payments_is_passed_on_with_the_highest_meter() {
    let gate = Arc::new(Notify::new());
    let books = Arc::new(Books { gate: Some(Arc::clone(&gate)), ..Books::default() });
    let running = running(&books).await;
    let client = running.client().await;
    soon(client.attach(proof(1, &client))).await.unwrap();
    let pay = |amount, used| {
        let client = client.clone();
        tokio::spawn(async move { client.pay_attached(voucher(1, amount), Usage::new(used)).await })
    };
    let first = pay(10, 1);
    while running.server.stats().payment_calls == 0 {
        tokio::task::yield_now().await;
    }
    let rest = [pay(30, 3), pay(20, 4)];
    while running.server.stats().payments < 3 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    assert_eq!(soon(first).await.unwrap().unwrap().cumulative, Amount::new(10));
    gate.notify_one();
    for paid in rest {
        assert_eq!(soon(paid).await.unwrap().unwrap().cumulative, Amount::new(30));
    }
    assert_eq!(*books.used.lock(), [Some(Usage::new(1)), Some(Usage::new(4))]);
}

/// An agent that answers nonsense about a channel that was proved.
#[tokio::test]
async fn an_answer_without_a_view_is_none() {
    let books = Arc::new(Books::default());
    let running = running(&books).await;
    let client = running.client().await;
    let error = soon(client.pay_attached(voucher(1, 1), Usage::ZERO)).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}
