//! Channels are looked at when their time comes, each on its own, and what follows a commit is done.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection as _;
use privatix_chain::{Endpoint, Intent, Keyring, NoTxSink, Transactor};
use privatix_channel::{
    Amount, ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, Closure, Domain, Fee,
    LogPosition, Voucher, sign_voucher,
};
use privatix_db::{Conn, Database, on};
use privatix_jobs::Wake as JobWake;
use privatix_market::*;
use privatix_node::shell::{Applied, NotApplied, Ran, Runner};
use privatix_node::{Concerns, Damage, Decider, DeciderParts, NodeError, Notices, Outlook};
use privatix_store::events::Place;
use privatix_store::states::{self, Due, LifePart};
use privatix_store::{channels, events, vouchers};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CHAIN: u64 = 31_337;
const DAY: u64 = 24 * 3_600_000;

fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("client")).unwrap()
}

fn domain() -> Domain {
    Domain::new(CHAIN, Address::repeat_byte(0xc0), Address::repeat_byte(0x70))
}

/// The channel of this number.
fn channel(nonce: u64) -> (ChannelId, ChannelDescriptor) {
    let descriptor = ChannelDescriptor {
        client: key().address(),
        agent: Address::repeat_byte(0xa9),
        offering: B256::repeat_byte(3).into(),
        nonce,
        signer: key().address(),
    };
    (descriptor.id(&domain()), descriptor)
}

fn id(nonce: u64) -> ChannelId {
    channel(nonce).0
}

/// Surroundings as a test sets them.
#[derive(Clone)]
struct Sky(Arc<Mutex<Known>>);

#[derive(Clone)]
struct Known {
    uptime: u64,
    chain: ChainView,
    unexplained: BTreeSet<ChannelId>,
    gas: Gas,
    /// Channels without a voucher since then are kept open.
    backed_up_at: Option<SystemTime>,
    instance: u64,
}

impl Sky {
    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap());
    }

    fn get<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.0.lock().unwrap())
    }
}

impl Outlook for Sky {
    fn uptime(&self) -> Uptime {
        self.get(|known| Uptime::new(known.uptime))
    }

    fn chain(&self) -> ChainView {
        self.get(|known| known.chain)
    }

    fn unexplained(&self) -> BTreeSet<ChannelId> {
        self.get(|known| known.unexplained.clone())
    }

    fn gas(&self) -> Gas {
        self.get(|known| known.gas)
    }

    fn kept_open(&self, newest_voucher: Option<SystemTime>) -> Option<Uptime> {
        let backed_up_at = self.get(|known| known.backed_up_at)?;
        newest_voucher.is_none_or(|at| at <= backed_up_at).then_some(Uptime::new(9 * DAY))
    }

    fn recovery(&self) -> Option<RecoveryId> {
        self.get(|known| known.backed_up_at).map(RecoveryId::from)
    }

    fn run(&self) -> u64 {
        1
    }

    fn instance(&self) -> u64 {
        self.get(|known| known.instance)
    }

    fn is_reachable(&self) -> bool {
        true
    }
}

/// Reports each decision that is committed.
struct Reporter(mpsc::UnboundedSender<Applied<Agent>>);

#[async_trait]
impl Runner<Agent> for Reporter {
    async fn call(
        &self,
        _: &mut Conn,
        _: &AgentState,
        _: AgentPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError> {
        Ok(Ok(Intent::new("", key().address(), domain().contract(), Vec::new())))
    }

    async fn run(&self, _: &mut Conn, _: &AgentState, _: &Effect<Agent>) -> Result<Ran<Agent>, NodeError> {
        Ok(Ran::Done)
    }

    async fn take_back(&self, _: &mut Conn, _: EffectId) -> Result<(), NodeError> {
        Ok(())
    }

    fn committed(&self, applied: &Applied<Agent>) {
        self.0.send(applied.clone()).unwrap();
    }
}

/// A side that decides, without a chain.
struct Side {
    db: Database,
    decider: Arc<Decider<Agent>>,
    sky: Sky,
    notices: Notices,
    damage: Damage,
    concerns: Concerns,
    committed: mpsc::UnboundedReceiver<Applied<Agent>>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Side {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("node.db"), &privatix_node::migrations()).await.unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(NoTxSink);
        let mut chain = ChainView::default();
        chain.now = Some(ChainTime::new(1_000));
        let known = Known {
            uptime: 1_000,
            chain,
            unexplained: BTreeSet::new(),
            gas: Gas::default(),
            backed_up_at: None,
            instance: 1,
        };
        let sky = Sky(Arc::new(Mutex::new(known)));
        let notices = Notices::default();
        let (damage, concerns) = (Damage::new(notices.clone()), Concerns::default());
        let (sender, committed) = mpsc::unbounded_channel();
        let decider = Arc::new(Decider::new(DeciderParts {
            db: db.clone(),
            domain: domain(),
            transactions: Arc::new(transactor),
            runner: Arc::new(Reporter(sender)),
            outlook: Arc::new(sky.clone()),
            policy: AgentPolicy::default(),
            jobs: JobWake::new(),
            damage: damage.clone(),
            concerns: concerns.clone(),
        }));
        let stop = CancellationToken::new();
        Self { db, decider, sky, notices, damage, concerns, committed, stop, running: None, _dir: dir }
    }

    /// Stores channels that are not open on chain, whose state is decided from.
    async fn add(&self, channels: impl IntoIterator<Item = u64>) {
        let mut tx = self.db.begin().await.unwrap();
        for nonce in channels {
            self.add_with(&mut tx, nonce, AgentOwn::default()).await;
        }
        tx.commit().await.unwrap();
    }

    async fn add_with(&self, conn: &mut Conn, nonce: u64, own: AgentOwn) {
        let (id, descriptor) = channel(nonce);
        channels::insert(conn, id, &descriptor, Amount::new(1_000)).await.unwrap();
        let state = State::with(id, descriptor, own);
        let parts = BTreeSet::from([LifePart::Service, LifePart::Settlement]);
        assert!(states::create::<Agent>(conn, &state, &parts, Due::At(Wake::default())).await.unwrap());
    }

    /// Lets it look at channels until [`stop`](Self::stop).
    fn run(&mut self) {
        let (decider, stop) = (Arc::clone(&self.decider), self.stop.clone());
        self.running = Some(tokio::spawn(async move { decider.run(&stop).await }));
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
    }

    /// The next channel that was decided about.
    async fn next(&mut self) -> Applied<Agent> {
        self.committed.recv().await.unwrap()
    }

    async fn next_ones(&mut self, count: usize) -> Vec<ChannelId> {
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(self.next().await.state.id);
        }
        found
    }

    /// Whatever was due has been looked at once the looks at this channel come, which has no other cause for one: three of them, each a
    /// round later. Gives what was looked at meanwhile.
    async fn meanwhile(&mut self, nonce: u64) -> Vec<ChannelId> {
        let mut found = Vec::new();
        for _ in 0..3 {
            self.decider.mark(id(nonce));
            loop {
                let looked = self.next().await.state.id;
                if looked == id(nonce) {
                    break;
                }
                found.push(looked);
            }
        }
        found
    }

    async fn execute(&self, sql: &str) {
        let mut tx = self.db.begin().await.unwrap();
        on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
        tx.commit().await.unwrap();
    }
}

/// The id as it stands in SQL.
fn sql(channel: ChannelId) -> String {
    format!("x'{}'", alloy::hex::encode(channel.as_b256()))
}

#[tokio::test(start_paused = true)]
async fn a_channel_whose_time_has_come_is_looked_at_once() {
    let mut side = Side::new().await;
    side.add([0, 1]).await;
    side.run();
    let first = side.next_ones(2).await;
    assert_eq!(BTreeSet::from_iter(first), [id(0), id(1)].into(), "each once at the start");
    // An opening that does not come is given up after a day. Number 0 is decided about an hour later again, so its time is the same.
    assert_eq!(side.meanwhile(1).await, []);
    side.sky.set(|known| known.uptime += DAY - 1);
    assert_eq!(side.meanwhile(1).await, [], "its time has not come");
    side.sky.set(|known| known.uptime += 1);
    let looked = side.next_ones(2).await;
    assert_eq!(BTreeSet::from_iter(looked), [id(0), id(1)].into());
    assert_eq!(side.meanwhile(1).await, [], "once");
    let stored = side.decider.load(&mut side.db.read().await.unwrap(), id(0)).await.unwrap();
    assert_eq!(
        (stored.state.own.ending.map(|end| end.why), stored.due),
        (Some(AgentEnd::Vanished), Due::Final)
    );
    side.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_damaged_state_keeps_no_other_from_its_look() {
    let mut side = Side::new().await;
    side.add(0..4).await;
    let damaged = sql(id(1));
    side.execute(&format!(
        "UPDATE channel_states SET own = 'no JSON', wake_at = 0 WHERE channel = {damaged}"
    ))
    .await;
    side.run();
    let looked = side.next_ones(3).await;
    assert_eq!(BTreeSet::from_iter(looked), [id(0), id(2), id(3)].into());
    side.sky.set(|known| known.uptime += DAY);
    let looked = side.next_ones(3).await;
    assert_eq!(BTreeSet::from_iter(looked), [id(0), id(2), id(3)].into());
    assert_eq!(side.meanwhile(3).await, []);
    let shown = side.notices.all();
    assert!(matches!(&shown[..], [(_, text)] if text.contains(&id(1).to_string())), "{shown:?}");

    // Repaired, it goes on.
    side.execute(&format!("UPDATE channel_states SET own = '{{}}' WHERE channel = {damaged}")).await;
    side.decider.mark(id(1));
    assert_eq!(side.next().await.state.id, id(1));
    assert_eq!(side.notices.all(), []);
    assert_eq!(side.meanwhile(3).await, []);
    side.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_channels_are_looked_at_when_the_surroundings_change_those_that_are_served_first() {
    let mut side = Side::new().await;
    side.add(0..205).await;
    let mut own = AgentOwn::default();
    (own.service.actual, own.service.instance) = (Actual::Running, 1);
    let mut tx = side.db.begin().await.unwrap();
    side.add_with(&mut tx, 205, own).await;
    tx.commit().await.unwrap();
    let all: BTreeSet<ChannelId> = (0..206).map(id).collect();
    side.run();
    assert_eq!(BTreeSet::from_iter(side.next_ones(206).await), all, "more than a page");

    let skew = |chain| ClockSkew { wall: SystemTime::UNIX_EPOCH, chain: ChainTime::new(chain) };
    let changes: [&dyn Fn(&mut Known); 6] = [
        &|known| known.chain.skew = Some(skew(10_000)),
        &|known| known.chain.skew = None,
        &|known| known.chain.fresh = false,
        &|known| known.gas.affords_new = false,
        &|known| known.backed_up_at = Some(SystemTime::UNIX_EPOCH),
        &|known| known.instance = 2,
    ];
    for change in changes {
        side.sky.set(change);
        let looked = side.next_ones(207).await;
        assert_eq!(looked.first(), Some(&id(205)), "the one that is served");
        assert_eq!(BTreeSet::from_iter(looked), all);
        assert_eq!(side.meanwhile(0).await, []);
    }
    // A clock that goes on is no cause, as long as it is wrong.
    side.sky.set(|known| known.chain.skew = Some(skew(20_000)));
    assert_eq!(side.next_ones(207).await.len(), 207);
    side.sky.set(|known| known.chain.skew = Some(skew(20_001)));
    assert_eq!(side.meanwhile(0).await, []);
    // What changes for one is for that one.
    side.sky.set(|known| {
        known.unexplained.insert(id(7));
    });
    assert_eq!(side.next().await.state.id, id(7));
    assert_eq!(side.meanwhile(0).await, []);
    // A price is no cause.
    side.sky.set(|known| known.gas.close_cost = Some(Wei::new(5)));
    assert_eq!(side.meanwhile(0).await, []);
    side.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_with_an_earlier_time_wakes_the_scheduler() {
    let mut side = Side::new().await;
    side.add([0, 1]).await;
    side.run();
    side.next_ones(2).await;
    // The client asks to close what is opened in the same block, and admits everything: it is closed for it an hour after the end.
    let mut tx = side.db.begin().await.unwrap();
    let before = side.decider.load(&mut tx, id(0)).await.unwrap();
    let (channel, descriptor) = channel(0);
    let opened = ChannelEvent::Opened { deposit: Amount::new(1_000), fee: Fee::ZERO };
    let asked = ChannelEvent::CloseRequested { paid: Amount::ZERO, ends_at: ChainTime::new(2_000) };
    for (log, event) in [
        (0, ChainEvent::Opened { channel, descriptor, event: opened }),
        (1, ChainEvent::Changed { channel, agent: descriptor.agent, event: asked }),
    ] {
        let place = Place { at: LogPosition::new(1, log), tx: B256::repeat_byte(1) };
        assert!(events::record(&mut tx, place, &event).await.unwrap());
        channels::advance(&mut tx, channel, place.at, event.channel_event().unwrap()).await.unwrap();
    }
    let chain = channels::on_chain(&mut tx, channel).await.unwrap();
    let applied = side.decider.decide_in(&mut tx, &before, Input::Chain(chain)).await.unwrap();
    tx.commit().await.unwrap();
    side.decider.committed(&applied);
    assert_eq!(side.next().await.revision, applied.revision);
    let Due::At(Wake { chain: Some(at), .. }) = applied.due else { panic!("{:?}", applied.due) };
    assert_eq!(at, ChainTime::new(2_000 + 3_600));

    side.sky.set(|known| known.chain.now = Some(ChainTime::new(2_000 + 3_599)));
    assert_eq!(side.meanwhile(1).await, []);
    side.sky.set(|known| known.chain.now = Some(at));
    assert_eq!(side.next().await.state.id, channel);
    let looked = side.meanwhile(1).await;
    assert!(looked.len() <= 1, "a time that stays over is looked at less and less often: {looked:?}");
    side.stop().await;
}

// What is dropped in the middle of a statement is waited for in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_commit_is_done_though_nobody_waits_for_the_decision() {
    let mut side = Side::new().await;
    side.add([0, 1]).await;
    side.run();
    side.next_ones(2).await;
    let order = || side.decider.decide(id(0), Input::Order(AgentOrder::Hold));
    // Asked once, and dropped; again where that was enough for the whole of it.
    while tokio::time::timeout(Duration::ZERO, order()).await.is_ok() {
        assert_eq!(side.committed.recv().await.unwrap().state.id, id(0));
    }
    assert_eq!(side.next().await.state.id, id(0), "looked at, for it may have been committed");
    assert_eq!(side.meanwhile(1).await, []);
    side.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_commit_of_the_callers_is_done_though_nobody_waits_for_it() {
    let mut side = Side::new().await;
    side.add([0]).await;
    side.run();
    side.next_ones(1).await;
    let mut tx = side.db.begin().await.unwrap();
    let before = side.decider.load(&mut tx, id(0)).await.unwrap();
    let applied = side.decider.decide_in(&mut tx, &before, Input::Order(AgentOrder::Hold)).await.unwrap();
    let (done, committed) = tokio::sync::oneshot::channel();
    let commit = side.decider.commit(&applied, async move {
        tx.commit().await?;
        done.send(()).unwrap();
        std::future::pending::<Result<(), privatix_db::DbError>>().await
    });
    tokio::select! {
        ended = commit => panic!("{ended:?}"),
        committed = committed => committed.unwrap(),
    }
    let looked = side.next().await;
    assert_eq!((looked.state.id, looked.state.own.held), (id(0), true));
    side.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_kept_open_until_a_voucher_comes_that_is_newer_than_the_backup() {
    let side = Side::new().await;
    let mut tx = side.db.begin().await.unwrap();
    let (channel, descriptor) = channel(0);
    side.add_with(&mut tx, 0, AgentOwn::default()).await;
    let opened = ChannelEvent::Opened { deposit: Amount::new(1_000), fee: Fee::ZERO };
    let place = Place { at: LogPosition::new(1, 0), tx: B256::repeat_byte(1) };
    let event = ChainEvent::Opened { channel, descriptor, event: opened };
    assert!(events::record(&mut tx, place, &event).await.unwrap());
    channels::advance(&mut tx, channel, place.at, opened).await.unwrap();
    tx.commit().await.unwrap();
    let store = async |cumulative| {
        let voucher = Voucher { channel, cumulative: Amount::new(cumulative) };
        let signed = sign_voucher(&key(), &domain(), voucher).unwrap();
        let mut tx = side.db.begin().await.unwrap();
        assert!(vouchers::store(&mut tx, &signed).await.unwrap());
        tx.commit().await.unwrap();
    };
    store(60).await;
    side.sky.set(|known| known.backed_up_at = Some(SystemTime::now()));
    let closes = async |input| {
        let applied = side.decider.decide(channel, input).await.unwrap();
        applied.state.own.flights.iter().map(|flight| flight.purpose.cumulative()).collect::<Vec<_>>()
    };
    assert_eq!(closes(Input::Order(AgentOrder::Close)).await, []);
    side.sky.set(|known| known.uptime += 60_000);
    assert_eq!(closes(Input::Look).await, [], "vouchers may be missing");
    store(70).await;
    assert_eq!(closes(Input::Look).await, [Amount::new(70)]);
    let other = side.decider.decide(id(9), Input::Look).await.unwrap_err();
    assert!(matches!(other, NotApplied::NoState(channel) if channel == id(9)));
}

impl Side {
    /// A channel that is open on chain, with a voucher over 60 whose signature cannot be read.
    async fn add_with_damaged_voucher(&self, nonce: u64) -> ChannelId {
        let (channel, descriptor) = channel(nonce);
        let mut tx = self.db.begin().await.unwrap();
        self.add_with(&mut tx, nonce, AgentOwn::default()).await;
        let opened = ChannelEvent::Opened { deposit: Amount::new(1_000), fee: Fee::ZERO };
        let place = Place { at: LogPosition::new(1, nonce), tx: B256::repeat_byte(1) };
        let event = ChainEvent::Opened { channel, descriptor, event: opened };
        assert!(events::record(&mut tx, place, &event).await.unwrap());
        channels::advance(&mut tx, channel, place.at, opened).await.unwrap();
        let voucher = Voucher { channel, cumulative: Amount::new(60) };
        let signed = sign_voucher(&key(), &domain(), voucher).unwrap();
        assert!(vouchers::store(&mut tx, &signed).await.unwrap());
        tx.commit().await.unwrap();
        let id = sql(channel);
        self.execute(&format!("UPDATE vouchers SET signature = zeroblob(65) WHERE channel = {id}")).await;
        channel
    }

    /// Asserts that a channel is shown for its voucher alone, which its state knows as a concern.
    fn shows_voucher(&self, channel: ChannelId) {
        let shown = self.notices.all();
        assert!(matches!(&shown[..], [(_, text)] if text.contains(&channel.to_string())), "{shown:?}");
        assert_eq!(self.damage.unreadable(), []);
        let damaged = Concern::Damaged { voucher: Some(Amount::new(60)), in_challenge: false };
        assert_eq!(self.concerns.all(), [(channel, damaged)]);
    }

    fn shows_nothing(&self) {
        assert_eq!(
            (self.notices.all(), self.damage.unreadable(), self.concerns.all()),
            (vec![], vec![], vec![])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_voucher_is_shown_until_it_is_given_up() {
    let side = Side::new().await;
    let channel = side.add_with_damaged_voucher(0).await;
    let decide = async |order| side.decider.decide(channel, Input::Order(order)).await.unwrap();
    let closes = decide(AgentOrder::Close).await;
    side.shows_voucher(channel);
    let given_up = decide(AgentOrder::Abandon).await;
    assert!(given_up.damaged_voucher, "it still cannot be read");
    side.shows_nothing();
    // What follows an earlier commit may be done after what follows a later one.
    assert!(closes.revision < given_up.revision);
    side.decider.committed(&closes);
    side.shows_nothing();
}

#[tokio::test(start_paused = true)]
async fn nothing_that_cannot_be_read_is_shown_of_a_channel_that_is_closed() {
    let side = Side::new().await;
    let channel = side.add_with_damaged_voucher(0).await;
    let _ = side.decider.decide(channel, Input::Look).await.unwrap();
    side.shows_voucher(channel);
    side.damage.found(channel, "its row".to_owned());
    let _ = side.decider.decide(channel, Input::Look).await.unwrap();
    assert_eq!(side.damage.unreadable(), [channel], "what others found");

    let mut tx = side.db.begin().await.unwrap();
    let before = side.decider.load(&mut tx, channel).await.unwrap();
    let (paid, refund) = (Amount::new(20), Amount::new(980));
    let event = ChannelEvent::Closed { paid, refund, closure: Closure::ByAgent };
    let place = Place { at: LogPosition::new(2, 0), tx: B256::repeat_byte(2) };
    let (agent, offering) = (before.state.descriptor.agent, before.state.descriptor.offering);
    let closed = ChainEvent::Closed { channel, agent, client: key().address(), offering, event };
    assert!(events::record(&mut tx, place, &closed).await.unwrap());
    channels::advance(&mut tx, channel, place.at, event).await.unwrap();
    let shown = channels::on_chain(&mut tx, channel).await.unwrap();
    let applied = side.decider.decide_in(&mut tx, &before, Input::Chain(shown)).await.unwrap();
    tx.commit().await.unwrap();
    side.decider.committed(&applied);
    assert!(applied.damaged_voucher);
    side.shows_nothing();
}
