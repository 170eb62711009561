//! What channels offer goes out together, once it has waited or is worth it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolInterface as _;
use async_trait::async_trait;
use privatix_agent::{AgentRunner, AgentRunnerParts, Batches, BatchesParts, Drives, NodeError, Offers};
use privatix_chain::{Endpoint, Keyring, NoTxSink, Priority, Transactor, TxFilter, TxRecord};
use privatix_channel::{
    Amount, ChainEvent, ChannelEvent, ChannelId, Fee, LogPosition, SignedVoucher, Voucher, sign_voucher,
};
use privatix_contracts::PSC::PSCCalls;
use privatix_db::{Conn, Database};
use privatix_jobs::Wake as JobWake;
use privatix_market::batch::BatchPolicy;
use privatix_market::{
    Agent, AgentOrder, AgentOwn, AgentPolicy, AgentPurpose, AgentState, Gas, Input, Rate, Stage, State,
    Subject, Target, Uptime, Wake, Wei,
};
use privatix_node::{Damage, Decider, DeciderParts, Notices, Outlook};
use privatix_store::events::Place;
use privatix_store::states::{self, Due, LifePart};
use privatix_store::{ceilings, channels, collected, events, purposes, vouchers};

use crate::support::{AGENT, CHAIN, Sky, channel, domain, id, key};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn operator() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("operator")).unwrap()
}

fn signed(nonce: u64, cumulative: u128) -> SignedVoucher {
    let voucher = Voucher { channel: id(nonce), cumulative: Amount::new(cumulative) };
    sign_voucher(&key(), &domain(), voucher).unwrap()
}

/// A base unit is worth a wei, and a unit of gas costs this.
fn gas(price: u128) -> Gas {
    let mut gas = Gas::default();
    gas.price = Some(Wei::new(price));
    gas.close_cost = Some(Wei::new(price * 100_000));
    gas.rate = Some(Rate { wei_per_token: 1, decimals: 0 });
    gas
}

/// No service adapter: the test answers in its stead.
struct NoAdapter;

#[async_trait]
impl Drives<Agent> for NoAdapter {
    async fn drive(&self, _: &mut Conn, _: ChannelId, _: u32, _: Target) -> Result<(), NodeError> {
        Ok(())
    }
}

/// A seller without a chain: what it submits stays as it is.
struct Seller {
    db: Database,
    transactor: Transactor,
    decider: Arc<Decider<Agent>>,
    batches: Batches,
    sky: Arc<Sky>,
    _dir: tempfile::TempDir,
}

impl Seller {
    /// With `channels` open on chain, each with a deposit of 1,000 and a voucher over this amount, whose services have ended.
    async fn with(cumulative: u128, channels: std::ops::Range<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("node.db"), &privatix_node::migrations()).await.unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let keys = Keyring::new([operator()]);
        let transactor = Transactor::builder(db.clone(), endpoint, CHAIN, keys).build(NoTxSink);
        let sky = Arc::<Sky>::default();
        sky.at(MINUTE);
        *sky.gas.lock().unwrap() = gas(1);
        let outlook: Arc<dyn Outlook> = Arc::<Sky>::clone(&sky);
        let (offers, damage) = (Offers::new(Arc::clone(&outlook)), Damage::new(Notices::default()));
        let runner = AgentRunner::new(AgentRunnerParts {
            sender: operator().address(),
            contract: domain().contract(),
            drives: Arc::new(NoAdapter),
            collects: Arc::new(offers.clone()),
            views: Arc::new(|_| {}),
        });
        let decider = Arc::new(Decider::new(DeciderParts {
            db: db.clone(),
            domain: domain(),
            transactions: Arc::new(transactor.clone()),
            runner: Arc::new(runner),
            outlook,
            policy: AgentPolicy::default(),
            jobs: JobWake::new(),
            damage,
            concerns: privatix_node::Concerns::default(),
        }));
        let batches = Batches::new(BatchesParts {
            db: db.clone(),
            transactions: Arc::new(transactor.clone()),
            decider: Arc::clone(&decider),
            offers,
            account: AGENT,
            sender: operator().address(),
            contract: domain().contract(),
            policy: BatchPolicy::default(),
        });
        let seller = Self { db, transactor, decider, batches, sky, _dir: dir };
        for nonce in channels {
            seller.open(nonce, cumulative).await;
            let ended = seller.decider.decide(id(nonce), Input::Order(AgentOrder::End)).await.unwrap();
            // Nothing was served, and the clients' last vouchers are there.
            assert_eq!(ended.state.own.service.asked, None);
            assert_eq!(seller.stages(nonce).await, [Stage::Collected]);
        }
        seller
    }

    async fn open(&self, nonce: u64, cumulative: u128) {
        let (id, descriptor) = channel(nonce);
        let mut tx = self.db.begin().await.unwrap();
        channels::insert(&mut tx, id, &descriptor, Amount::new(1_000)).await.unwrap();
        let state = State::<Agent>::with(id, descriptor, AgentOwn::default());
        let parts =
            BTreeSet::from([LifePart::Service, LifePart::Settlement, LifePart::Ending, LifePart::Opening]);
        assert!(states::create(&mut tx, &state, &parts, Due::At(Wake::default())).await.unwrap());
        let opened = ChannelEvent::Opened { deposit: Amount::new(1_000), fee: Fee::ZERO };
        let event = ChainEvent::Opened { channel: id, descriptor, event: opened };
        let place = Place { at: LogPosition::new(nonce + 1, 0), tx: B256::repeat_byte(1) };
        assert!(events::record(&mut tx, place, &event).await.unwrap());
        channels::advance(&mut tx, id, place.at, opened).await.unwrap();
        if cumulative > 0 {
            vouchers::store(&mut tx, &signed(nonce, cumulative)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    fn at(&self, uptime: u64) {
        self.sky.at(uptime);
    }

    async fn state(&self, nonce: u64) -> AgentState {
        self.decider.load(&mut self.db.read().await.unwrap(), id(nonce)).await.unwrap().state
    }

    async fn stages(&self, nonce: u64) -> Vec<Stage> {
        self.state(nonce).await.own.flights.iter().map(|flight| flight.stage).collect()
    }

    /// The nonces of the channels that have an offer, with what it brings.
    async fn waiting(&self) -> Vec<(u64, u128)> {
        let rows = collected::waiting(&mut self.db.read().await.unwrap()).await.unwrap();
        let nonce = |channel| (0..10).find(|nonce| id(*nonce) == channel).unwrap();
        let mut found: Vec<_> = rows.iter().map(|row| (nonce(row.channel), row.gain.get())).collect();
        found.sort_unstable();
        found
    }

    async fn transactions(&self) -> Vec<TxRecord> {
        self.transactor.list(&mut self.db.read().await.unwrap(), &TxFilter::default()).await.unwrap()
    }
}

/// The nonces and amounts of a batch of closes by an operator.
fn claims(tx: &TxRecord) -> Vec<(u64, u128)> {
    let Ok(PSCCalls::closeBatchFor(call)) = PSCCalls::abi_decode(&tx.intent.input) else { panic!("{tx:?}") };
    assert_eq!(call.agent, AGENT);
    call.claims.iter().map(|claim| (claim.nonce, claim.cumulativeAmount)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_that_are_not_worth_a_transaction_each_go_out_in_one_when_one_has_waited() {
    let seller = Seller::with(60, 0..3).await;
    seller.open(7, 0).await; // it goes on
    assert_eq!(seller.waiting().await, [(0, 60), (1, 60), (2, 60)]);
    assert_eq!(seller.batches.look().await.unwrap(), Some(Duration::from_secs(15)), "the price may fall");
    assert_eq!(seller.transactions().await.len(), 0);

    seller.at(21 * MINUTE - SECOND);
    assert_eq!(seller.batches.look().await.unwrap(), Some(Duration::from_secs(1)), "what cannot wait longer");
    assert_eq!(seller.transactions().await.len(), 0);
    seller.at(21 * MINUTE);
    seller.batches.look().await.unwrap();
    let [batch] = &seller.transactions().await[..] else { panic!("not one transaction") };
    let mut found = claims(batch);
    found.sort_unstable();
    assert_eq!(found, [(0, 60), (1, 60), (2, 60)]);
    assert_eq!((batch.intent.priority, batch.intent.repeatable), (Priority::Background, true));
    assert_eq!((batch.intent.kind.as_str(), batch.intent.extra_gas), ("close_channel", 0));
    assert_eq!(seller.waiting().await, []);
    let conn = &mut seller.db.read().await.unwrap();
    let recorded = purposes::of_tx(conn, purposes::TxNumber(batch.id.0)).await.unwrap();
    let subjects: BTreeSet<_> =
        recorded.into_iter().map(|row| row.unwrap()).map(|row| (row.effect.subject, row.in_batch)).collect();
    assert_eq!(subjects, (0..3).map(|nonce| (Subject::Channel(id(nonce)), true)).collect());
    for nonce in 0..3 {
        assert_eq!(seller.stages(nonce).await, [Stage::Sent { batch: true }]);
        assert_eq!(ceilings::get(conn, id(nonce)).await.unwrap(), Some(Amount::new(60)));
    }

    // The same again has no effect.
    assert_eq!(seller.batches.look().await.unwrap(), None);
    assert_eq!(seller.transactions().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_once_its_gains_exceed_its_costs() {
    // At a price of a wei, a batch of four costs 130,000 wei.
    let seller = Seller::with(900, 0..4).await;
    seller.batches.look().await.unwrap();
    assert_eq!(seller.transactions().await.len(), 0);
    *seller.sky.gas.lock().unwrap() = gas(0);
    seller.batches.look().await.unwrap();
    let [batch] = &seller.transactions().await[..] else { panic!("not one transaction") };
    assert_eq!(claims(batch).len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_stands_no_more_is_left_out() {
    let seller = Seller::with(60, 0..3).await;
    // A better voucher of 0 came, and is not decided yet. 1 is to be closed at once.
    let mut tx = seller.db.begin().await.unwrap();
    vouchers::store(&mut tx, &signed(0, 70)).await.unwrap();
    tx.commit().await.unwrap();
    drop(seller.decider.decide(id(1), Input::Order(AgentOrder::Close)).await.unwrap());
    assert_eq!(seller.stages(1).await, [Stage::Sent { batch: false }]);
    assert_eq!(seller.waiting().await, [(0, 60), (2, 60)]);

    seller.at(21 * MINUTE);
    seller.batches.look().await.unwrap();
    let batch = seller.transactions().await.into_iter().find(|tx| tx.intent.key.starts_with("batch"));
    assert_eq!(claims(&batch.unwrap()), [(2, 60)]);
    // It is offered with the better one, and goes with the next.
    drop(seller.decider.decide(id(0), Input::Look).await.unwrap());
    assert_eq!(seller.waiting().await, [(0, 70)]);
    seller.batches.look().await.unwrap();
    let batches = seller.transactions().await;
    let batches: Vec<_> =
        batches.iter().filter(|tx| tx.intent.key.starts_with("batch")).map(claims).collect();
    assert_eq!(batches, [vec![(0, 70)], vec![(2, 60)]], "the newest first");
    let purposes: Vec<_> = seller.state(0).await.own.flights.iter().map(|flight| flight.purpose).collect();
    assert_eq!(purposes, [AgentPurpose::Close { cumulative: Amount::new(70) }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_closed_in_a_batch_while_vouchers_may_be_missing() {
    let seller = Seller::with(60, 0..2).await;
    *seller.sky.kept_open.lock().unwrap() = Some(Uptime::new(1_000 * MINUTE));
    seller.at(21 * MINUTE);
    seller.batches.look().await.unwrap();
    assert_eq!(seller.transactions().await.len(), 0);
    // The channel takes its offer back by itself.
    let _ = seller.decider.decide(id(0), Input::Look).await.unwrap();
    assert_eq!(seller.stages(0).await, []);
    assert_eq!(seller.waiting().await, [(1, 60)]);
    *seller.sky.kept_open.lock().unwrap() = None;
    seller.batches.look().await.unwrap();
    assert_eq!(seller.transactions().await.iter().map(claims).collect::<Vec<_>>(), [[(1, 60)]]);
}
