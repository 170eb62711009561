//! One input, one transaction: what is decided, what its effects write and report, and the state.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "shell/inputs.rs"]
mod inputs;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection as _;
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_chain::{
    Endpoint, Intent, Keyring, SinkError, Transactor, TxChange, TxFilter, TxId, TxRecord, TxSink, TxStatus,
};
use privatix_channel::{
    Amount, ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, ChannelStatus, Domain, Fee,
    LogPosition, OnChain, SignedVoucher, Usage, Voucher, VoucherVerifier, sign_voucher,
};
use privatix_db::{Conn, Database, on};
use privatix_market::*;
use privatix_node::NodeError;
use privatix_node::shell::{
    Applied, Cancellation, NotApplied, NumberUsed, Ran, Runner, Shell, Transactions, is_cancelling, keep,
};
use privatix_store::events::Place;
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_store::states::{self, Due, LifePart, Loaded, Saved};
use privatix_store::{ceilings, channels, events, sessions, vouchers};

const CHAIN: u64 = 31_337;

fn a(units: u128) -> Amount {
    Amount::new(units)
}

fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("client")).unwrap()
}

/// Who sends transactions.
fn key_of_agent() -> Address {
    key().address()
}

fn domain() -> Domain {
    Domain::new(CHAIN, Address::repeat_byte(0xc0), Address::repeat_byte(0x70))
}

fn descriptor() -> ChannelDescriptor {
    ChannelDescriptor {
        client: key().address(),
        agent: Address::repeat_byte(0xa9),
        offering: B256::repeat_byte(3).into(),
        nonce: 0,
        signer: key().address(),
    }
}

fn id() -> ChannelId {
    descriptor().id(&domain())
}

fn signed(cumulative: u128) -> SignedVoucher {
    sign_voucher(&key(), &domain(), Voucher { channel: id(), cumulative: a(cumulative) }).unwrap()
}

fn verified(voucher: &SignedVoucher) -> Verified {
    Verified::check(&VoucherVerifier::new(domain(), &descriptor()), voucher).unwrap()
}

/// A unit of a second for a base unit.
fn terms() -> Arc<Terms> {
    let draft = TermsDraft {
        unit: Unit { name: "second".into(), measure: Measure::Seconds, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: a(1),
        free_units: 0,
        min_units: 1,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 40,
        max_suspend: Duration::from_hours(10),
        max_inactive: Duration::from_hours(10),
        max_first_use: None,
    };
    Arc::new(draft.validate().unwrap())
}

/// What the transactor reported, each with whether it was for a decision that was being made.
#[derive(Clone, Default)]
struct Reported(Arc<Mutex<Vec<(TxChange, bool)>>>);

#[async_trait]
impl TxSink for Reported {
    type Applied = ();

    async fn changed(&self, conn: &mut Conn, record: &TxRecord, change: TxChange) -> Result<(), SinkError> {
        for recorded in purposes::of_tx(conn, TxNumber(record.id.0)).await.map_err(SinkError::new)? {
            self.0.lock().unwrap().push((change, is_cancelling(recorded.unwrap().effect)));
        }
        Ok(())
    }
}

/// A node without a chain: what it submits stays as it is.
struct Node {
    db: Database,
    shell: Shell<Transactor>,
    transactor: Transactor,
    reported: Reported,
    _dir: tempfile::TempDir,
}

impl Node {
    /// With a channel that is open on chain with a deposit of 1,000, and has this state.
    async fn with<P: Party>(own: P::Own) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("node.db"), &privatix_node::migrations()).await.unwrap();
        let reported = Reported::default();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(reported.clone());
        let mut tx = db.begin().await.unwrap();
        channels::insert(&mut tx, id(), &descriptor(), a(1_000)).await.unwrap();
        let mut state = State::<P>::with(id(), descriptor(), own);
        state.terms = Some(terms());
        let parts = BTreeSet::from([LifePart::Service, LifePart::Settlement]);
        assert!(states::create(&mut tx, &state, &parts, Due::At(Wake::default())).await.unwrap());
        tx.commit().await.unwrap();
        let node =
            Self { shell: Shell::new(transactor.clone(), domain()), db, transactor, reported, _dir: dir };
        let opened = ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO };
        let opened = ChainEvent::Opened { channel: id(), descriptor: descriptor(), event: opened };
        let mut tx = node.db.begin().await.unwrap();
        take(&mut tx, 1, opened).await;
        tx.commit().await.unwrap();
        node
    }

    fn restarted(mut self) -> Self {
        self.shell = Shell::new(self.transactor.clone(), domain());
        self
    }

    async fn state<P: Party>(&self) -> (State<P>, u64) {
        let stored = self.shell.load(&mut self.db.read().await.unwrap(), id()).await.unwrap();
        (stored.state, stored.revision)
    }

    async fn commit<P: Party>(
        &self,
        input: Input<P>,
        env: &Env<'_, P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        self.shell.commit(&self.db, id(), input, &|_| *env, runner).await
    }

    /// The transactions of the channel, the oldest first.
    async fn transactions(&self) -> Vec<(String, TxStatus)> {
        let mut all =
            self.transactor.list(&mut self.db.read().await.unwrap(), &TxFilter::default()).await.unwrap();
        all.reverse();
        all.into_iter().map(|record| (record.intent.key, record.status)).collect()
    }
}

/// Stores an event of the channel. Gives what the chain shows now.
async fn take(conn: &mut Conn, block: u64, event: ChainEvent) -> OnChain {
    let place = Place { at: LogPosition::new(block, 0), tx: B256::repeat_byte(1) };
    assert!(events::record(conn, place, &event).await.unwrap());
    channels::advance(conn, id(), place.at, event.channel_event().unwrap()).await.unwrap();
    channels::on_chain(conn, id()).await.unwrap()
}

/// A seller's runner, of one input.
#[derive(Default)]
struct Seller {
    /// What came with the input.
    voucher: Option<SignedVoucher>,
    /// Whether its key is gone.
    has_no_key: bool,
    /// Whether what it does besides transactions fails.
    fails: bool,
    /// How many decisions another one stores in the middle of this one.
    disturbs: AtomicU32,
    /// What was taken back.
    taken_back: Mutex<Vec<u32>>,
}

#[async_trait]
impl Runner<Agent> for Seller {
    async fn call(
        &self,
        conn: &mut Conn,
        _: &AgentState,
        purpose: AgentPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError> {
        if self.has_no_key {
            return Ok(Err(Fate::Failed { lasting: true }));
        }
        let voucher = vouchers::get(conn, id()).await?.map(|stored| stored.signed.cumulative());
        assert_eq!(voucher.unwrap_or_default(), purpose.cumulative(), "the voucher that is stored now");
        Ok(Ok(Intent::new("", key().address(), domain().contract(), Vec::new()).kind("close")))
    }

    async fn run(
        &self,
        conn: &mut Conn,
        state: &AgentState,
        effect: &Effect<Agent>,
    ) -> Result<Ran<Agent>, NodeError> {
        if self.fails {
            return Err(NodeError::NotRunning);
        }
        if self.disturbs.load(SeqCst) > 0 {
            self.disturbs.fetch_sub(1, SeqCst);
            let Some(Loaded::Whole(stored)) = states::load::<Agent>(conn, state.id).await? else { panic!() };
            let mut other = stored.state.clone();
            other.own.refused = !other.own.refused;
            let saved = states::save(conn, &stored, &other, stored.due).await?;
            assert_ne!(saved, Saved::Moved);
        }
        match effect {
            Effect::Own(AgentEffect::Keep(kept)) => {
                keep(conn, self.voucher.as_ref().unwrap(), *kept).await?;
                Ok(Ran::Done)
            }
            Effect::Own(AgentEffect::Answer(_)) => Ok(Ran::AfterCommit),
            _ => Ok(Ran::Done),
        }
    }

    async fn take_back(&self, _: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        self.taken_back.lock().unwrap().push(effect.seq);
        Ok(())
    }

    fn committed(&self, _: &Applied<Agent>) {}
}

fn env<P: Party>(policy: &P::Policy) -> Env<'_, P> {
    let mut env = Env::new(Uptime::new(60_000), policy);
    env.chain.now = Some(ChainTime::new(1_000));
    env
}

/// When nothing more is to come of what was ordered at [`env`].
fn later<P: Party>(policy: &P::Policy) -> Env<'_, P> {
    let mut env = env(policy);
    env.uptime = Uptime::new(90_000);
    env
}

fn paying(cumulative: u128) -> (Seller, Input<Agent>) {
    let voucher = signed(cumulative);
    let input = Input::Peer(AgentMessage::Voucher { voucher: verified(&voucher), used: None });
    (Seller { voucher: Some(voucher), ..Seller::default() }, input)
}

/// A seller with a voucher over 60, and a close of everyday terms that is on its way.
async fn closing() -> Node {
    let (node, policy) = (Node::with::<Agent>(AgentOwn::default()).await, AgentPolicy::default());
    let (seller, payment) = paying(60);
    let applied = node.commit(payment, &env(&policy), &seller).await.unwrap();
    let answer = Reply::Paid { acknowledged: a(60), ended: false };
    assert_eq!(applied.effects, [Effect::Own(AgentEffect::Answer(answer))]);
    let stored = vouchers::get(&mut node.db.read().await.unwrap(), id()).await.unwrap().unwrap();
    assert_eq!((stored.signed, stored.acknowledged), (signed(60), a(60)));

    let order = Input::Order(AgentOrder::Close);
    let applied = node.commit(order, &env(&policy), &Seller::default()).await.unwrap();
    assert_eq!(applied.effects, [Effect::Notify(AgentNotice::Ends(AgentEnd::CloseByOrder))]);
    // The client's last voucher is waited for.
    let applied = node.commit(Input::Look, &later(&policy), &Seller::default()).await.unwrap();
    assert!(applied.wakes_transactor);
    let ceiling = ceilings::get(&mut node.db.read().await.unwrap(), id()).await.unwrap();
    assert_eq!(ceiling, Some(a(60)), "stored with the close");
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_effect_reports_is_decided_in_the_same_transaction() {
    let (node, policy) = (closing().await, AgentPolicy::default());
    let (before, revision) = node.state::<Agent>().await;
    let [close] = before.own.flights[..] else { panic!("{:?}", before.own.flights) };
    assert_eq!(node.transactions().await, [(format!("channel {} {}", id(), close.seq), TxStatus::Unsent)]);

    // The client asks to close: the close becomes urgent, so the one of everyday terms is cancelled. It was never sent, and the
    // transactor reports the cancellation at once.
    let mut tx = node.db.begin().await.unwrap();
    let stored = node.shell.load::<Agent>(&mut tx, id()).await.unwrap();
    let asked = ChannelEvent::CloseRequested { paid: a(20), ends_at: ChainTime::new(90_000) };
    let agent = descriptor().agent;
    let chain = take(&mut tx, 2, ChainEvent::Changed { channel: id(), agent, event: asked }).await;
    let seller = Seller::default();
    let applied =
        node.shell.decide(&mut tx, &stored, Input::Chain(chain), &env(&policy), &seller).await.unwrap();
    tx.commit().await.unwrap();

    let (state, now) = node.state::<Agent>().await;
    assert_eq!((&state, now), (&applied.state, applied.revision));
    assert_eq!(now, revision + 1, "stored once");
    let [answer] = state.own.flights[..] else {
        panic!("the report was not decided: {:?}", state.own.flights)
    };
    assert!(answer.seq > close.seq);
    assert_eq!(answer.bid.priority, Priority::Urgent);
    let key = |seq| format!("channel {} {seq}", id());
    let expected = [(key(close.seq), TxStatus::Cancelled), (key(answer.seq), TxStatus::Unsent)];
    assert_eq!(node.transactions().await, expected);
    assert_eq!(*node.reported.0.lock().unwrap(), [(TxChange::Cancelled, true)], "the sink leaves it alone");
    let disputed = AgentNotice::Disputed { claimable: a(40), ends_at: ChainTime::new(90_000) };
    assert_eq!(applied.effects, [Effect::Notify(disputed)]);
    // With the terms of the answer.
    let conn = &mut node.db.read().await.unwrap();
    let record = node.transactor.find(conn, &key(answer.seq)).await.unwrap().unwrap();
    assert_eq!(record.intent.priority, privatix_chain::Priority::Urgent);
    assert_eq!(record.intent.deadline.map(|deadline| deadline.at), Some(90_000));
    assert!(record.intent.repeatable);
    assert_eq!(ceilings::get(conn, id()).await.unwrap(), Some(a(20)), "what the client may finalize at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_submitted_is_decided_in_the_same_transaction() {
    let (node, policy) = (Node::with::<Agent>(AgentOwn::default()).await, AgentPolicy::default());
    let seller = Seller { has_no_key: true, ..Seller::default() };
    let applied = node.commit(Input::Order(AgentOrder::Close), &env(&policy), &seller).await.unwrap();
    assert_eq!(applied.state.own.flights, []);
    let failing = AgentNotice::Failing { tries: 1, lasting: true };
    assert!(applied.effects.contains(&Effect::Notify(failing)), "{:?}", applied.effects);
    assert_eq!(node.transactions().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_batch_is_taken_back_when_it_goes_alone_or_not_at_all() {
    let policy = AgentPolicy::default();
    let mut own = AgentOwn::default();
    own.seq = 1;
    let purpose = AgentPurpose::Close { cumulative: Amount::ZERO };
    own.flights = vec![Flight { seq: 1, purpose, bid: Bid::of_batch(), stage: Stage::Collected }];
    let node = Node::with::<Agent>(own.clone()).await;
    let seller = Seller::default();
    let applied = node.commit(Input::Order(AgentOrder::Close), &env(&policy), &seller).await.unwrap();
    assert_eq!(applied.state.own.flights[0].stage, Stage::Sent { batch: false });
    assert_eq!(*seller.taken_back.lock().unwrap(), [1]);
    assert_eq!(node.transactions().await, [(format!("channel {} 1", id()), TxStatus::Unsent)]);

    // In a recovery nothing is closed.
    let node = Node::with::<Agent>(own).await;
    let (mut recovery, seller) = (env(&policy), Seller::default());
    recovery.kept_open = Some(Uptime::new(900_000));
    let applied = node.commit(Input::Look, &recovery, &seller).await.unwrap();
    assert_eq!(applied.state.own.flights, []);
    assert_eq!(*seller.taken_back.lock().unwrap(), [1]);
    assert_eq!(node.transactions().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_exists_for_another_purpose_is_refused_by_name() {
    let node = Node::with::<Agent>(AgentOwn::default()).await;
    let subject = Subject::Channel(id());
    let effect = |seq| EffectId { subject, seq };
    let close = |amount| Purpose::Close { cumulative: a(amount) };
    let intent = |key: String| Intent::new(key, key_of_agent(), domain().contract(), Vec::new());
    let mut tx = node.db.begin().await.unwrap();
    let submit = async |conn: &mut Conn, seq, purpose| {
        let intent = intent(effect(seq).to_string());
        Transactions::submit(&node.transactor, conn, effect(seq), purpose, intent).await
    };
    submit(&mut tx, 1, close(60)).await.unwrap();
    let recorded = purposes::of_effect(&mut tx, effect(1)).await.unwrap().unwrap();
    assert_eq!((recorded.purpose, recorded.job), (close(60), None));
    let record = node.transactor.get(&mut tx, TxId(recorded.tx.0)).await.unwrap();
    assert_eq!((record.intent.kind.as_str(), record.intent.subject), ("close_channel", id().to_string()));
    // The same again is the same transaction.
    submit(&mut tx, 1, close(60)).await.unwrap();
    assert_eq!(node.transactor.open_intents(&mut tx).await.unwrap().len(), 1);
    assert_eq!(purposes::last_number(&mut tx, subject).await.unwrap(), 1);

    let used = |refusal: NodeError| match refusal {
        NodeError::NumberUsed(used) => *used,
        other => panic!("{other}"),
    };
    let refusal = submit(&mut tx, 1, close(70)).await.unwrap_err();
    assert!(refusal.is_damage() && refusal.to_string().contains("restore the database"), "{refusal}");
    let for_another = |seq, found, wanted| NumberUsed::ForAnother { effect: effect(seq), found, wanted };
    assert_eq!(used(refusal), for_another(1, Some(close(60)), close(70)));
    // Cancelled, it is over: its number is not used again.
    let cancelled = Transactions::cancel(&node.transactor, &mut tx, effect(1)).await.unwrap();
    assert_eq!(cancelled, Cancellation::Done);
    let refusal = submit(&mut tx, 1, close(60)).await.unwrap_err();
    let over = NumberUsed::Over { effect: effect(1), status: TxStatus::Cancelled };
    assert_eq!(used(refusal), over);
    assert_eq!(
        Transactions::cancel(&node.transactor, &mut tx, effect(1)).await.unwrap(),
        Cancellation::Over { status: TxStatus::Cancelled }
    );
    assert_eq!(
        Transactions::cancel(&node.transactor, &mut tx, effect(9)).await.unwrap(),
        Cancellation::Unknown
    );
    // A transaction of which nothing is recorded has the number's key.
    node.transactor.submit(&mut tx, intent(effect(2).to_string())).await.unwrap();
    let refusal = submit(&mut tx, 2, close(60)).await.unwrap_err();
    assert_eq!(used(refusal), for_another(2, None, close(60)));
    // One that was stored under another key is cancelled by its number.
    let other = node.transactor.submit(&mut tx, intent("close_channel by job 7".to_owned())).await.unwrap();
    let recorded = Recorded {
        tx: TxNumber(other.0),
        effect: effect(3),
        purpose: close(60),
        from_wallet: false,
        job: None,
        in_batch: false,
    };
    purposes::record(&mut tx, &recorded).await.unwrap();
    assert_eq!(Transactions::cancel(&node.transactor, &mut tx, effect(3)).await.unwrap(), Cancellation::Done);
    assert_eq!(node.transactor.get(&mut tx, other).await.unwrap().status, TxStatus::Cancelled);
}

/// Signs what its channel owes.
struct Buyer;

#[async_trait]
impl Runner<Client> for Buyer {
    async fn call(
        &self,
        _: &mut Conn,
        _: &ClientState,
        purpose: ClientPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError> {
        panic!("{purpose:?}")
    }

    async fn run(
        &self,
        conn: &mut Conn,
        _: &ClientState,
        effect: &Effect<Client>,
    ) -> Result<Ran<Client>, NodeError> {
        match effect {
            Effect::Own(ClientEffect::Sign(due)) => {
                let voucher = signed(due.get());
                keep(conn, &voucher, verified(&voucher)).await?;
                Ok(Ran::Reports(Input::Report(ClientReport::Signed(Ok(verified(&voucher))))))
            }
            _ => Ok(Ran::AfterCommit),
        }
    }

    async fn take_back(&self, _: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        panic!("{effect}")
    }

    fn committed(&self, _: &Applied<Client>) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_is_signed_and_stored_before_it_is_to_be_sent() {
    let policy = ClientPolicy::default();
    let mut own = ClientOwn::default();
    (own.access, own.ran) = (AccessStatus::Here, Some(Uptime::new(1)));
    (own.service.target, own.service.actual, own.service.why) = (Target::Running, Actual::Running, None);
    own.proven_in_run = Some(0);
    let node = Node::with::<Client>(own).await;
    let mut tx = node.db.begin().await.unwrap();
    let now = std::time::SystemTime::now();
    let report = sessions::Report {
        session: "11111111-1111-1111-1111-111111111111".parse().unwrap(),
        channel: id(),
        used: Usage::new(10),
        peer: None,
        started_at: now,
        last_usage: now,
        stopped_at: None,
    };
    assert!(sessions::record(&mut tx, &report).await.unwrap());
    let used = Input::Used { used: Usage::new(10), running: true };
    let applied = node.shell.apply(&mut tx, id(), used, &|_| env(&policy), &Buyer).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(applied.state.book.best, a(10));
    let sends = |effect: &Effect<Client>| matches!(effect, Effect::Own(ClientEffect::Send { cumulative, .. }) if *cumulative == a(10));
    assert!(applied.effects.iter().any(sends), "{:?}", applied.effects);
    assert_eq!(node.state::<Client>().await, (applied.state, applied.revision));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_is_decided_again_when_another_decision_came_first() {
    let (node, policy) = (Node::with::<Agent>(AgentOwn::default()).await, AgentPolicy::default());
    let (seller, payment) = paying(60);
    seller.disturbs.store(3, SeqCst);
    let applied = node.commit(payment.clone(), &env(&policy), &seller).await.unwrap();
    assert_eq!(applied.revision, 2, "what came first was rolled back with it");
    assert_eq!(applied.state.book, Book { best: a(60), acknowledged: a(60) });
    assert_eq!(node.state::<Agent>().await, (applied.state, 2));

    let (seller, payment) = paying(70);
    seller.disturbs.store(u32::MAX, SeqCst);
    let refusal = node.commit(payment, &env(&policy), &seller).await.unwrap_err();
    assert!(matches!(refusal, NotApplied::Moved(channel) if channel == id()), "{refusal}");
    assert_eq!(node.state::<Agent>().await.0.book.best, a(60), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_refused_or_fails_stores_nothing() {
    let (node, policy) = (Node::with::<Agent>(AgentOwn::default()).await, AgentPolicy::default());
    let before = node.state::<Agent>().await;
    let (seller, payment) = paying(60);
    let failing = Seller { fails: true, ..seller };
    let failure = node.commit(payment, &env(&policy), &failing).await.unwrap_err();
    assert!(matches!(failure, NotApplied::Node(NodeError::NotRunning)), "{failure}");
    assert_eq!(node.state::<Agent>().await, before);

    let closed = OnChain {
        closed: Some(privatix_channel::Ending {
            refund: a(1_000),
            closure: privatix_channel::Closure::ByAgent,
            block: 2,
        }),
        ..before.0.chain
    };
    let mut tx = node.db.begin().await.unwrap();
    let mut stored = node.shell.load::<Agent>(&mut tx, id()).await.unwrap();
    stored.state.chain = closed;
    let (order, seller) = (Input::Order(AgentOrder::Close), Seller::default());
    let refusal = node.shell.decide(&mut tx, &stored, order, &env(&policy), &seller).await.unwrap_err();
    assert!(matches!(refusal, NotApplied::Refused(Refused::Over { .. })), "{refusal}");
    tx.commit().await.unwrap();
    assert_eq!(node.state::<Agent>().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_channel_decides_nothing() {
    let (node, policy) = (Node::with::<Agent>(AgentOwn::default()).await, AgentPolicy::default());
    let sql = format!(
        "UPDATE channel_states SET own = 'no JSON' WHERE channel = x'{}'",
        alloy::hex::encode(id().as_b256())
    );
    run(&node.db, &sql).await;
    let refusal = node.commit(Input::Look, &env(&policy), &Seller::default()).await.unwrap_err();
    assert!(matches!(refusal, NotApplied::Damaged { .. }), "{refusal}");
    assert!(refusal.to_string().contains("restore the database"), "{refusal}");
    let other = ChannelId::new([9; 32].into());
    let look = node.shell.commit(&node.db, other, Input::Look, &|_| env(&policy), &Seller::default()).await;
    assert!(matches!(look.unwrap_err(), NotApplied::NoState(channel) if channel == other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voucher_below_a_damaged_one_is_not_acknowledged_and_one_of_its_amount_mends_it() {
    // One that cannot be read, and one that somebody else signed.
    let voucher = Voucher { channel: id(), cumulative: a(60) };
    let other = sign_voucher(&PrivateKeySigner::random(), &domain(), voucher).unwrap();
    let other = format!("x'{}'", alloy::hex::encode(other.signature.as_bytes()));
    for signature in ["zeroblob(65)".to_owned(), other] {
        refuses_what_is_below_a_voucher_with(&signature).await;
    }
}

async fn refuses_what_is_below_a_voucher_with(signature: &str) {
    let (node, policy) = (Node::with::<Agent>(AgentOwn::default()).await, AgentPolicy::default());
    let (seller, payment) = paying(60);
    let _ = node.commit(payment, &env(&policy), &seller).await.unwrap();
    let channel = alloy::hex::encode(id().as_b256());
    run(&node.db, &format!("UPDATE vouchers SET signature = {signature} WHERE channel = x'{channel}'")).await;
    // After a restart: a voucher is checked once in a run.
    let node = node.restarted();
    // Without the voucher the channel is not closed.
    let order = Input::Order(AgentOrder::Close);
    let _ = node.commit(order, &env(&policy), &Seller::default()).await.unwrap();
    let _ = node.commit(Input::Look, &later(&policy), &Seller::default()).await.unwrap();
    assert_eq!(node.transactions().await, []);

    let (seller, payment) = paying(59);
    let applied = node.commit(payment, &env(&policy), &seller).await.unwrap();
    let stale = Effect::Own(AgentEffect::Answer(Reply::Stale { acknowledged: a(60) }));
    assert!(applied.effects.contains(&stale) && applied.damaged_voucher, "{:?}", applied.effects);
    // It says nothing about what came after the backup, so the recovery goes on.
    let recovers = |policy| {
        let mut env = env(policy);
        env.kept_open = Some(env.uptime.plus(Duration::from_hours(1)));
        env
    };
    let (seller, payment) = paying(60);
    let applied = node.commit(payment, &recovers(&policy), &seller).await.unwrap();
    assert!(!applied.damaged_voucher);
    assert_eq!(node.transactions().await, []);
    let _ = node.commit(Input::Look, &later(&policy), &Seller::default()).await.unwrap();
    assert_eq!(node.transactions().await.len(), 1, "closed with the mended one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mined_transaction_is_seen_once_its_very_block_was_processed() {
    let node = closing().await;
    let policy = AgentPolicy::default();
    let [close] = node.state::<Agent>().await.0.own.flights[..] else { panic!("no close") };
    let block = BlockRef { number: 7, hash: B256::repeat_byte(7) };
    let mined = Input::Tx { seq: close.seq, purpose: close.purpose, fate: Fate::Mined(block) };
    let _ = node.commit(mined, &env(&policy), &Seller::default()).await.unwrap();
    let seen = async || {
        let [flight] = node.state::<Agent>().await.0.own.flights[..] else { panic!("no close") };
        matches!(flight.stage, Stage::Mined { seen: true, .. })
    };
    assert!(!seen().await, "not reached");
    processed(&node.db, 7, 8).await;
    assert!(!seen().await, "another block");
    let hash = alloy::hex::encode(block.hash);
    run(&node.db, &format!("UPDATE chain_blocks SET hash = x'{hash}' WHERE stream = 'main' AND number = 7"))
        .await;
    assert!(seen().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_cancelled_for_one_channel_is_over_for_the_others() {
    let policy = AgentPolicy::default();
    let purpose = AgentPurpose::Close { cumulative: Amount::ZERO };
    let mut own = AgentOwn::default();
    own.seq = 1;
    own.flights = vec![Flight { seq: 1, purpose, bid: Bid::of_batch(), stage: Stage::Sent { batch: true } }];
    let node = Node::with::<Agent>(own).await;
    let other = EffectId { subject: Subject::Channel(ChannelId::new([9; 32].into())), seq: 4 };
    let ours = EffectId { subject: Subject::Channel(id()), seq: 1 };
    let mut tx = node.db.begin().await.unwrap();
    let effects = [(other, purpose.into()), (ours, purpose.into())];
    let batch = Intent::new("", key().address(), domain().contract(), Vec::new());
    node.transactor.submit_batch(&mut tx, &effects, batch).await.unwrap();
    // For the other channel, whose decision learns of it by itself.
    let cancelled = Transactions::cancel(&node.transactor, &mut tx, other).await.unwrap();
    assert_eq!(cancelled, Cancellation::Done);
    tx.commit().await.unwrap();
    let mut reported = node.reported.0.lock().unwrap().clone();
    reported.sort_by_key(|(_, is_of_the_decision)| *is_of_the_decision);
    assert_eq!(reported, [(TxChange::Cancelled, false), (TxChange::Cancelled, true)], "ours is for the sink");

    // Whether or not the sink has decided it: a decision that cancels it learns that it is over.
    let mut env = env(&policy);
    env.kept_open = Some(Uptime::new(9_000_000));
    let applied = node.commit(Input::Look, &env, &Seller::default()).await.unwrap();
    assert_eq!(applied.state.own.flights, []);
}

/// Found by the simulator (seed 718): the monitor was faster than the transactor, and what waits for the block waited until its outcome was
/// final.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_mined_in_a_block_that_was_processed_before_is_seen_at_once() {
    let node = closing().await;
    let policy = AgentPolicy::default();
    let [close] = node.state::<Agent>().await.0.own.flights[..] else { panic!("no close") };
    let block = BlockRef { number: 7, hash: B256::repeat_byte(7) };
    processed(&node.db, 7, 7).await;
    let mined = Input::Tx { seq: close.seq, purpose: close.purpose, fate: Fate::Mined(block) };
    let applied = node.commit(mined, &env(&policy), &Seller::default()).await.unwrap();
    let stages: Vec<Stage> = applied.state.own.flights.iter().map(|flight| flight.stage).collect();
    assert_eq!(stages, [Stage::Mined { block, seen: true }]);
    // No event shows it. That it closed the channel is known all the same.
    assert_eq!(applied.state.status(), ChannelStatus::WaitCoop);
}

/// The monitor has processed this block.
async fn processed(db: &Database, number: u64, hash: u8) {
    let hash = alloy::hex::encode(B256::repeat_byte(hash));
    run(
        db,
        &format!(
            "INSERT INTO chain_cursors (stream, chain_id, contracts, start_block, next_block, interests) \
             VALUES ('main', {CHAIN}, '', 1, {number} + 1, ''); \
             INSERT INTO chain_blocks (stream, number, hash) VALUES ('main', {number}, x'{hash}')"
        ),
    )
    .await;
}

async fn run(db: &Database, sql: &str) {
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
}
