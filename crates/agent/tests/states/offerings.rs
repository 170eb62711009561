//! An agent's own offerings, decided from stored states: orders, what the chain shows, outcomes of transactions, restarts.

mod adoption;
mod doubt;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_agent::{ContractView, NodeError, OfferingOrder, OwnOfferings, OwnOfferingsParts, Signatures};
use privatix_chain::{Endpoint, Intent, Keyring, NoTxSink, Transactor, TxChange, TxId, TxRecord};
use privatix_channel::{
    Announcement, ChainEvent, ChainTime, Fee, LogPosition, OfferingEvent, OfferingHash, OfferingStatus,
    Period,
};
use privatix_db::{Conn, Database};
use privatix_market::offering::{
    OfferingInput, OfferingPolicy, OfferingPurpose, OfferingState, Own, Problem, Source, Wanted,
};
use privatix_market::{BlockRef, EffectId, Fate, OrderId, Outcome, Purpose, RecoveryId, Subject};
use privatix_node::fate::Sender;
use privatix_node::shell::{Cancellation, Transactions};
use privatix_node::{Agreed, Notices, OfferingDecider, OfferingPeriods, Outlook, Stood};
use privatix_store::events::{self, Place};
use privatix_store::offering_states;
use privatix_store::offerings::{self, Offering};
use privatix_store::orders::{self, NewOrder, Reservation, What};
use privatix_store::purposes;
use privatix_testkit::{temp_dir, wait_for};
use tokio_util::sync::CancellationToken;

use crate::support::{AGENT, CHAIN, Sky, a, domain, key};

const LIMIT: Duration = Duration::from_mins(1);

fn hash(n: u8) -> OfferingHash {
    B256::repeat_byte(n).into()
}

fn source(address: &str) -> Source {
    Source { kind: 1, address: address.to_owned() }
}

/// Who signed all offerings.
struct Signed(Mutex<Address>);

#[async_trait]
impl Signatures for Signed {
    async fn is_signed_by(&self, _: OfferingHash, account: Address) -> Result<bool, NodeError> {
        Ok(*self.0.lock() == account)
    }
}

/// The transactor, and whether storing a transaction fails.
struct Transacts {
    transactor: Transactor,
    fails: AtomicBool,
}

#[async_trait]
impl Transactions for Transacts {
    async fn submit(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError> {
        if self.fails.load(SeqCst) {
            return Err(NodeError::NotRunning);
        }
        Transactions::submit(&self.transactor, conn, effect, purpose, intent).await
    }

    async fn submit_batch(
        &self,
        conn: &mut Conn,
        effects: &[(EffectId, Purpose)],
        intent: Intent,
    ) -> Result<(), NodeError> {
        self.transactor.submit_batch(conn, effects, intent).await
    }

    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError> {
        Transactions::cancel(&self.transactor, conn, effect).await
    }

    fn wake(&self) {}
}

/// What the contract shows: enough for one offering, 500 s between announcements, 100 s until a removal.
fn view(balance: u128) -> ContractView {
    ContractView {
        balance: a(balance),
        operator: None,
        periods: Agreed::Sure(OfferingPeriods { pop_up: Period::new(500), remove: Period::new(100) }),
    }
}

/// A run of an agent.
struct World {
    db: Database,
    transacts: Arc<Transacts>,
    own: Arc<OwnOfferings>,
    signed: Arc<Signed>,
    /// Whether a recovery has not caught up with the chain.
    catches_up: Arc<AtomicBool>,
    sky: Arc<Sky>,
    notices: Notices,
    decider: OfferingDecider,
}

impl World {
    /// One whose clients reach it there.
    async fn at(path: &Path, address: &str) -> Self {
        // The last run lets go of it a moment after its end.
        let open = async || Database::open(path, &privatix_agent::migrations()).await;
        let db = wait_for("the database", LIMIT, open).await.unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(NoTxSink);
        let transacts = Arc::new(Transacts { transactor, fails: AtomicBool::new(false) });
        let (signed, notices) = (Arc::new(Signed(Mutex::new(AGENT))), Notices::default());
        let catches_up = Arc::new(AtomicBool::new(false));
        let own = Arc::new(OwnOfferings::new(OwnOfferingsParts {
            agent: AGENT,
            sender: key().address(),
            contract: domain().contract(),
            source: source(address),
            signatures: Arc::<Signed>::clone(&signed),
            caught_up: Arc::new({
                let catches_up = Arc::clone(&catches_up);
                move || !catches_up.load(SeqCst)
            }),
            notices: notices.clone(),
        }));
        let sky = Arc::new(Sky::default());
        let decider = OfferingDecider::new(
            db.clone(),
            Arc::<Transacts>::clone(&transacts),
            Arc::<OwnOfferings>::clone(&own),
            Arc::<Sky>::clone(&sky) as Arc<dyn Outlook>,
            OfferingPolicy::default(),
        );
        Self { db, transacts, own, signed, catches_up, sky, notices, decider }
    }

    /// One that knows the contract.
    async fn new(path: &Path) -> Self {
        let world = Self::at(path, "here").await;
        world.own.learn(view(1_000));
        world
    }

    fn at_second(&self, now: u64) {
        *self.sky.now.lock().unwrap() = ChainTime::new(now);
    }

    async fn draft(&self, n: u8) {
        let mut tx = self.db.begin().await.unwrap();
        offerings::insert_draft(&mut tx, &row(n, OfferingStatus::Draft)).await.unwrap();
        self.decider.begin(&mut tx, &OfferingState::draft(AGENT, hash(n))).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn order(&self, n: u8, order: OfferingOrder) -> Result<OfferingState, String> {
        let decided = self.decider.decide(hash(n), OfferingInput::Order(order)).await;
        decided.map_err(|error| error.to_string())
    }

    async fn look(&self, n: u8) -> OfferingState {
        self.decider.decide(hash(n), OfferingInput::Look).await.unwrap()
    }

    async fn own(&self, n: u8) -> Own {
        self.state(n).await.own().unwrap().clone()
    }

    async fn state(&self, n: u8) -> OfferingState {
        self.decider.load(&mut self.db.read().await.unwrap(), hash(n)).await.unwrap().state
    }

    async fn shown(&self, n: u8) -> (OfferingStatus, Option<String>) {
        let row = offerings::get(&mut self.db.read().await.unwrap(), AGENT, hash(n)).await.unwrap();
        (row.status, row.problem)
    }

    /// The recorded transactions, the oldest first: number and purpose.
    async fn sent(&self, n: u8) -> Vec<(u32, Purpose)> {
        let subject = Subject::Offering(AGENT, hash(n));
        let recorded = purposes::of_subject(&mut self.db.read().await.unwrap(), subject).await.unwrap();
        recorded.iter().rev().map(|recorded| (recorded.effect.seq, recorded.purpose)).collect()
    }

    /// An event of a block, taken in as the sink does it.
    async fn shows(&self, n: u8, block: u64, event: OfferingEvent) {
        let mut tx = self.db.begin().await.unwrap();
        let key = (AGENT, hash(n));
        let (agent, offering, block_time) = (AGENT, hash(n), Some(ChainTime::new(block)));
        let event = ChainEvent::Offering { agent, offering, block_time, event };
        let place = Place { at: LogPosition::new(block, 0), tx: B256::repeat_byte(1) };
        events::record(&mut tx, place, &event).await.unwrap();
        let before = offering_states::load(&mut tx, key).await.unwrap();
        offerings::advance_all(&mut tx, &[(place, event)]).await.unwrap();
        let stood = Stood { offerings: BTreeMap::from([(key, before)]) };
        self.decider.chain(&mut tx, stood).await.unwrap();
        tx.commit().await.unwrap();
        self.decider.committed();
    }

    /// A reorganisation takes the events above a block back, as the sink does it.
    async fn undoes(&self, n: u8, above: u64) {
        let mut tx = self.db.begin().await.unwrap();
        let key = (AGENT, hash(n));
        events::undo_above(&mut tx, above).await.unwrap();
        let before = offering_states::load(&mut tx, key).await.unwrap();
        offerings::refold(&mut tx, key.0, key.1).await.unwrap();
        self.decider.chain(&mut tx, Stood { offerings: BTreeMap::from([(key, before)]) }).await.unwrap();
        tx.commit().await.unwrap();
        self.decider.committed();
    }

    /// Stores an order of this number, as its handler does it.
    async fn places(&self, n: u8, number: u64, what: What) {
        let new = NewOrder {
            key: None,
            subject: Subject::Offering(AGENT, hash(n)),
            what,
            by: "a test".to_owned(),
            at: SystemTime::now(),
            reserves: Reservation { agent: AGENT, day: None },
        };
        let mut tx = self.db.begin().await.unwrap();
        orders::place(&mut tx, OrderId(number), &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The outcome of an order, and whether its transaction is known.
    async fn became(&self, number: u64) -> (Option<Outcome>, bool) {
        let order = orders::get(&mut self.db.read().await.unwrap(), OrderId(number)).await.unwrap().unwrap();
        (order.ended.map(|(outcome, _)| outcome), order.tx.is_some())
    }

    /// The outcome of the transaction with this number.
    async fn outcome(&self, n: u8, seq: u32, change: TxChange, failure: Option<&str>) {
        let mut tx = self.db.begin().await.unwrap();
        let effect = EffectId { subject: Subject::Offering(AGENT, hash(n)), seq };
        let recorded = purposes::of_effect(&mut tx, effect).await.unwrap().unwrap();
        let mut record: TxRecord = self.transacts.transactor.get(&mut tx, TxId(recorded.tx.0)).await.unwrap();
        record.failure = failure.map(str::to_owned);
        let change = (&record, change);
        self.decider.transaction(&mut tx, &recorded, change, Sender::MaySend).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn announcement(address: &str) -> Announcement {
    Announcement {
        min_deposit: a(10),
        supply: 10,
        fee: Fee::ZERO,
        source_type: 1,
        source: address.to_owned(),
    }
}

/// An offering as it is stored; its stake is 100.
fn row(n: u8, status: OfferingStatus) -> Offering {
    Offering {
        agent: AGENT,
        hash: hash(n),
        status,
        message: Some(vec![n]),
        country: Some("DE".to_owned()),
        announcement: announcement("here"),
        free_supply: 10,
        announced_at: None,
        problem: None,
        created_at: SystemTime::UNIX_EPOCH,
    }
}

fn published() -> OfferingEvent {
    OfferingEvent::Registered(announcement("here"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_its_transaction_and_what_people_see_are_stored_in_one_transaction() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;

    // The transaction cannot be stored: neither is the order.
    world.transacts.fails.store(true, SeqCst);
    world.order(1, OfferingOrder::Publish).await.unwrap_err();
    assert_eq!(world.own(1).await, Own::default());
    assert_eq!((world.shown(1).await.0, world.sent(1).await), (OfferingStatus::Draft, vec![]));

    world.transacts.fails.store(false, SeqCst);
    world.order(1, OfferingOrder::Publish).await.unwrap();
    assert_eq!(world.sent(1).await, [(1, Purpose::Publish)]);
    assert_eq!(world.shown(1).await, (OfferingStatus::Registering, None));

    // Whoever was killed after the commit finds the same again, and sends nothing twice.
    drop(world);
    let again = World::new(&dir.path().join("agent.db")).await;
    again.look(1).await;
    again.order(1, OfferingOrder::Publish).await.unwrap();
    assert_eq!(again.sent(1).await, [(1, Purpose::Publish)]);

    again.shows(1, 1_000, published()).await;
    assert_eq!(again.shown(1).await, (OfferingStatus::Registered, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_ends_in_the_transaction_that_takes_its_event_in() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;
    world.order(1, OfferingOrder::Publish).await.unwrap();
    world.places(1, 1, What::Publish).await;

    let block = BlockRef { number: 1_000, hash: B256::repeat_byte(1) };
    let purpose = OfferingPurpose::Publish;
    let mined = OfferingInput::Tx { seq: 1, purpose, fate: Fate::Mined(block) };
    world.decider.decide(hash(1), mined).await.unwrap();
    assert_eq!(world.became(1).await.0, None, "the chain does not show it yet");
    world.shows(1, 1_000, published()).await;
    assert_eq!(world.became(1).await, (Some(Outcome::Done), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop_up_that_a_reorganisation_takes_back_is_under_way_again() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;
    world.shows(1, 1_000, published()).await;
    for (number, block) in [(1, 20_000), (2, 40_000)] {
        world.order(1, OfferingOrder::PopUp).await.unwrap();
        world.places(1, number, What::PopUp).await;
        world.shows(1, block, OfferingEvent::PoppedUp(announcement("here"))).await;
        assert_eq!(world.became(number).await.0, Some(Outcome::Done));
    }
    world.undoes(1, 30_000).await;
    assert_eq!(world.became(1).await.0, Some(Outcome::Done), "its announcement stands");
    assert_eq!(world.became(2).await, (None, false));
    world.shows(1, 40_001, OfferingEvent::PoppedUp(announcement("here"))).await;
    assert_eq!(world.became(2).await.0, Some(Outcome::Done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_leads_to_its_transaction_when_the_contract_allows_it() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;
    let refused = world.order(1, OfferingOrder::PopUp).await.unwrap_err();
    assert!(refused.contains("publish it first"), "{refused}");
    let unknown = world.order(2, OfferingOrder::Publish).await.unwrap_err();
    assert!(unknown.contains(&hash(2).to_string()), "{unknown}");

    world.at_second(1_100);
    world.order(1, OfferingOrder::Publish).await.unwrap();
    world.outcome(1, 1, TxChange::Cancelled, None).await;
    // The operator cancelled it: the order is taken back.
    assert_eq!((world.own(1).await.wanted, world.shown(1).await.0), (Wanted::AsShown, OfferingStatus::Draft));
    world.order(1, OfferingOrder::Publish).await.unwrap();
    world.shows(1, 1_000, published()).await;

    world.order(1, OfferingOrder::PopUp).await.unwrap();
    assert_eq!(world.shown(1).await.0, OfferingStatus::Registered, "it is too early");
    world.at_second(1_500);
    world.look(1).await;
    assert_eq!(world.shown(1).await.0, OfferingStatus::PoppingUp);
    world.shows(1, 1_501, OfferingEvent::PoppedUp(announcement("here"))).await;
    world.at_second(1_550);
    let own = world.own(1).await;
    assert!(!own.pop_up, "the announcement is what was ordered");

    world.order(1, OfferingOrder::Remove).await.unwrap();
    world.at_second(1_601);
    world.look(1).await;
    assert_eq!(world.shown(1).await.0, OfferingStatus::Removing);
    world.shows(1, 1_602, OfferingEvent::Removed).await;
    assert_eq!(world.shown(1).await.0, OfferingStatus::Removed);
    let refused = world.order(1, OfferingOrder::Publish).await.unwrap_err();
    assert!(refused.contains("was removed"), "{refused}");
    let purposes = [Purpose::Publish, Purpose::Publish, Purpose::PopUp, Purpose::Remove];
    assert_eq!(world.sent(1).await, (1..).zip(purposes).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_for_an_order_is_shown_and_the_order_goes_on_once_it_is_there() {
    let dir = temp_dir().unwrap();
    let world = World::at(&dir.path().join("agent.db"), "here").await;
    world.draft(1).await;
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let world = Arc::new(world);
    let running = tokio::spawn({
        let (world, stop) = (Arc::clone(&world), stop.clone());
        async move { world.decider.run(&stop).await }
    });

    // Nothing is known of the contract: it waits.
    world.order(1, OfferingOrder::Publish).await.unwrap();
    assert_eq!((world.shown(1).await, world.sent(1).await), ((OfferingStatus::Draft, None), vec![]));
    // The stake is missing.
    world.own.learn(view(99));
    let problem =
        wait_for("the problem", LIMIT, async || world.shown(1).await.1.ok_or("none")).await.unwrap();
    assert!(problem.contains("its stake is 100") && problem.contains("has 99"), "{problem}");
    assert_eq!(world.own(1).await.problem, Some(Problem::Stake));
    let notice = world.notices.all();
    assert!(notice[0].1.contains(&hash(1).to_string()) && notice[0].1.contains("deposit"), "{notice:?}");
    // It is there, and the operator that signed was dismissed.
    *world.signed.0.lock() = Address::repeat_byte(9);
    world.own.learn(view(100));
    let signature =
        async || world.own(1).await.problem.filter(|it| *it == Problem::Signature).ok_or("not yet");
    wait_for("the other problem", LIMIT, signature).await.unwrap();
    // It is appointed.
    world.own.learn(ContractView { operator: Some(Address::repeat_byte(9)), ..view(100) });
    let sent = async || Some(world.sent(1).await).filter(|sent| !sent.is_empty()).ok_or("not yet");
    assert_eq!(wait_for("the transaction", LIMIT, sent).await.unwrap(), [(1, Purpose::Publish)]);
    assert_eq!((world.shown(1).await, world.notices.all()), ((OfferingStatus::Registering, None), vec![]));
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_shown_with_its_reason_and_repeated_until_it_lasts() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;
    world.order(1, OfferingOrder::Publish).await.unwrap();
    let tries = u32::from(OfferingPolicy::default().tries);
    for seq in 1..tries {
        world.outcome(1, seq, TxChange::Failed, Some("no such thing")).await;
        let (status, problem) = world.shown(1).await;
        assert_eq!(status, OfferingStatus::Draft);
        assert!(problem.unwrap().contains("tried again: no such thing"));
        world.sky.wait(Duration::from_hours(2));
        world.look(1).await;
        assert_eq!(world.sent(1).await.len(), usize::try_from(seq + 1).unwrap());
    }
    world.outcome(1, tries, TxChange::Failed, Some("no such thing")).await;
    world.sky.wait(Duration::from_hours(48));
    world.look(1).await;
    assert_eq!(world.sent(1).await.len(), usize::try_from(tries).unwrap());
    assert!(world.shown(1).await.1.unwrap().contains("the registration failed for good: no such thing"));
    assert_eq!(world.own(1).await.wanted, Wanted::AsShown);
    // An order begins afresh.
    world.order(1, OfferingOrder::Publish).await.unwrap();
    assert_eq!(world.shown(1).await, (OfferingStatus::Registering, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offering_is_popped_up_by_its_schedule_and_when_the_address_changed() {
    let dir = temp_dir().unwrap();
    let path = dir.path().join("agent.db");
    let world = World::new(&path).await;
    world.draft(1).await;
    world.order(1, OfferingOrder::PopUpEvery(Some(Period::new(3_600)))).await.unwrap();
    world.order(1, OfferingOrder::Publish).await.unwrap();
    world.shows(1, 1_000, published()).await;
    let stop = CancellationToken::new();
    let world = Arc::new(world);
    let running = tokio::spawn({
        let (world, stop) = (Arc::clone(&world), stop.clone());
        async move { world.decider.run(&stop).await }
    });
    world.at_second(4_599);
    world.look(1).await;
    assert_eq!(world.sent(1).await.len(), 1);
    // Nobody orders it.
    world.at_second(4_600);
    let sent = async || Some(world.sent(1).await).filter(|sent| sent.len() == 2).ok_or("not yet");
    assert_eq!(wait_for("the pop-up", LIMIT, sent).await.unwrap()[1], (2, Purpose::PopUp));
    world.shows(1, 4_700, OfferingEvent::PoppedUp(announcement("here"))).await;
    world.order(1, OfferingOrder::PopUpEvery(None)).await.unwrap();
    world.at_second(1_000_000);
    world.look(1).await;
    assert_eq!(world.sent(1).await.len(), 2);
    stop.cancel();
    running.await.unwrap();

    // The agent moved.
    drop(world);
    let moved = World::at(&path, "there").await;
    moved.own.learn(view(1_000));
    moved.at_second(4_800);
    moved.look(1).await;
    assert_eq!(moved.sent(1).await.len(), 2, "it is too early");
    moved.at_second(5_200);
    moved.look(1).await;
    assert_eq!(moved.sent(1).await[2], (3, Purpose::PopUp));
    moved.shows(1, 5_201, OfferingEvent::PoppedUp(announcement("there"))).await;
    moved.at_second(1_000_000);
    moved.look(1).await;
    assert_eq!(moved.sent(1).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offering_that_only_the_chain_knows_stays_as_it_is() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.shows(1, 1_000, published()).await;
    world.look(1).await;
    let own = world.own(1).await;
    assert_eq!((own.wanted, own.restored, world.sent(1).await), (Wanted::AsShown, false, vec![]));
    assert_eq!(world.shown(1).await.0, OfferingStatus::Registered);
    // Without its message nobody could check it, so it is not announced again, and can be removed.
    world.at_second(1_600);
    world.order(1, OfferingOrder::PopUp).await.unwrap();
    assert_eq!((world.own(1).await.problem, world.sent(1).await), (Some(Problem::Signature), vec![]));
    world.order(1, OfferingOrder::Remove).await.unwrap();
    assert_eq!(world.sent(1).await, [(1, Purpose::Remove)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_agent_sends_nothing_that_the_backup_ordered() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;
    world.draft(2).await;
    world.order(1, OfferingOrder::Publish).await.unwrap();
    world.order(2, OfferingOrder::PopUpEvery(Some(Period::new(600)))).await.unwrap();
    world.order(2, OfferingOrder::Publish).await.unwrap();
    world.shows(2, 1_000, published()).await;

    // The backup is opened. Until the chain was caught up with, nothing is sent, and what was sent is cancelled.
    world.catches_up.store(true, SeqCst);
    let restored = OfferingInput::Restored(RecoveryId::new(7));
    for n in [1, 2] {
        world.decider.decide(hash(n), restored.clone()).await.unwrap();
    }
    world.at_second(5_000);
    assert_eq!(world.own(1).await.flights, []);
    assert_eq!(world.shown(1).await.0, OfferingStatus::Draft);
    world.look(2).await;
    assert_eq!(world.sent(2).await, [(1, Purpose::Publish)]);
    // It was removed since.
    world.shows(2, 4_000, OfferingEvent::Removed).await;
    world.catches_up.store(false, SeqCst);
    for n in [1, 2] {
        world.look(n).await;
        assert_eq!(world.own(n).await.wanted, Wanted::AsShown);
    }
    // What is ordered after it counts, also where the node starts again in the recovery.
    world.order(1, OfferingOrder::Publish).await.unwrap();
    world.decider.decide(hash(1), restored).await.unwrap();
    assert_eq!(world.sent(1).await, [(1, Purpose::Publish), (2, Purpose::Publish)]);
    assert_eq!(world.own(1).await.wanted, Wanted::OnMarket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offering_that_cannot_be_read_stops_no_other() {
    use diesel_async::SimpleAsyncConnection as _;
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    world.draft(1).await;
    world.draft(2).await;
    let mut tx = world.db.begin().await.unwrap();
    let sql = format!(
        "UPDATE offering_states SET ownership = '?' WHERE agent = x'{}' AND hash = x'{}'",
        alloy::primitives::hex::encode(AGENT),
        alloy::primitives::hex::encode(hash(1).as_b256())
    );
    privatix_db::on!(&mut *tx, |c| c.batch_execute(&sql).await).unwrap();
    tx.commit().await.unwrap();
    let refused = world.order(1, OfferingOrder::Publish).await.unwrap_err();
    assert!(refused.contains("left as it is"), "{refused}");
    world.shows(1, 1_000, published()).await;
    world.order(2, OfferingOrder::Publish).await.unwrap();
    assert_eq!(world.sent(2).await, [(1, Purpose::Publish)]);
}

#[test]
fn an_outcome_is_about_offerings_by_its_purpose() {
    assert_eq!(OfferingPurpose::of(Purpose::FinalizeClose), None);
    for purpose in [OfferingPurpose::Publish, OfferingPurpose::PopUp, OfferingPurpose::Remove] {
        assert_eq!(OfferingPurpose::of(purpose.into()), Some(purpose));
    }
}
