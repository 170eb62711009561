//! Databases of versions that stored no states: what each channel's first state comes to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use alloy::primitives::B256;
use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection as _;
use privatix_agent::adoption::{Adopted, Adoption, Jobs, KnownTerms};
use privatix_agent::{CloseChannel, NodeError, ProvisionChannel, ServiceAction, ServiceOrder};
use privatix_billing::{Measure, Terms};
use privatix_chain::{Endpoint, Intent, Keyring, NoTxSink, Transactor};
use privatix_channel::{
    Amount, ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelStatus, Closure, Fee, LogPosition,
    Phase, ServiceStatus, Voucher, sign_voucher,
};
use privatix_db::{Conn, Database, on};
use privatix_jobs::{Filter, Job, JobStatus};
use privatix_market::*;
use privatix_store::channels::{self, Shown, StoredAccess};
use privatix_store::events::{self, Place};
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_store::recovery::Recovery;
use privatix_store::states::{self, LifePart, Loaded, Stored};
use privatix_store::{ceilings, vouchers};
use privatix_testkit::temp_dir;

use crate::support::{CHAIN, a, channel, domain, key, terms};

/// Knows one offering.
struct Known;

#[async_trait]
impl KnownTerms for Known {
    async fn terms(&self, _: &ChannelDescriptor) -> Result<Option<Arc<Terms>>, NodeError> {
        Ok(Some(terms(Measure::Bytes)))
    }
}

/// Where the chain has a channel.
const PHASES: [&str; 4] = ["unopened", "open", "closing", "closed"];

/// Pending jobs of a channel.
const JOBS: [&str; 7] =
    ["none", "provision", "activate", "suspend", "terminate", "close for money", "close even unpaid"];

/// A channel as an earlier version had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fixture {
    phase: &'static str,
    service: ServiceStatus,
    job: &'static str,
    /// The best voucher, which is acknowledged.
    paid: u128,
    /// Whether its close was submitted.
    closes: bool,
}

impl Fixture {
    /// All of them: each status with each pending job.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for phase in PHASES {
            for service in ServiceStatus::ALL {
                for job in JOBS {
                    for paid in [0, 60] {
                        for closes in [false, true] {
                            all.push(Self { phase, service, job, paid, closes });
                        }
                    }
                }
            }
        }
        all
    }

    fn has_access(&self) -> bool {
        self.service != ServiceStatus::Pending
    }
}

/// A node's database, and the transactor that stored its transactions.
struct World {
    db: Database,
    transactor: Transactor,
}

impl World {
    async fn open(path: &Path) -> Self {
        let db = Database::open(path, &privatix_agent::migrations()).await.unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(NoTxSink);
        Self { db, transactor }
    }

    fn adoption(&self) -> Adoption<'_> {
        Adoption::new(&self.db, &self.transactor, &Known, None, Jobs)
    }

    /// Stores a channel as an earlier version did.
    async fn store(&self, conn: &mut Conn, nonce: u64, fixture: Fixture) {
        let (id, descriptor) = channel(nonce);
        channels::insert(conn, id, &descriptor, a(100)).await.unwrap();
        let opened = ChannelEvent::Opened { deposit: a(100), fee: Fee::ZERO };
        let asked = ChannelEvent::CloseRequested { paid: a(20), ends_at: ChainTime::new(90_000) };
        let closed = ChannelEvent::Closed { paid: a(60), refund: a(40), closure: Closure::ByAgent };
        let events = match fixture.phase {
            "unopened" => vec![],
            "open" => vec![opened],
            "closing" => vec![opened, asked],
            _ => vec![opened, closed],
        };
        for (block, event) in (nonce * 10 + 1..).zip(events) {
            let place = Place { at: LogPosition::new(block, 0), tx: B256::repeat_byte(1) };
            let shown = match event {
                ChannelEvent::Opened { .. } => ChainEvent::Opened { channel: id, descriptor, event },
                ChannelEvent::Closed { .. } => ChainEvent::Closed {
                    channel: id,
                    agent: descriptor.agent,
                    client: descriptor.client,
                    offering: descriptor.offering,
                    event,
                },
                _ => ChainEvent::Changed { channel: id, agent: descriptor.agent, event },
            };
            assert!(events::record(conn, place, &shown).await.unwrap());
            channels::advance(conn, id, place.at, event).await.unwrap();
        }
        let status = channels::get(conn, id).await.unwrap().status;
        let shown = Shown { status, service: fixture.service, reason: Some("a reason"), held: false };
        channels::show(conn, id, shown).await.unwrap();
        if fixture.has_access() {
            let access = StoredAccess {
                username: id.to_string(),
                password: "secret".to_owned(),
                endpoint: serde_json::json!({}),
            };
            channels::set_access(conn, id, &access).await.unwrap();
        }
        if fixture.paid > 0 {
            let voucher = Voucher { channel: id, cumulative: a(fixture.paid) };
            let voucher = sign_voucher(&key(), &domain(), voucher).unwrap();
            assert!(vouchers::store(conn, &voucher).await.unwrap());
            vouchers::acknowledge(conn, id, a(fixture.paid)).await.unwrap();
        }
        if fixture.closes {
            self.submit(conn, nonce, Purpose::Close { cumulative: a(fixture.paid) }).await;
        }
        let order = |order| ServiceOrder { channel: id, order, reason: "a reason".to_owned() };
        match fixture.job {
            "none" => {}
            "provision" => push(conn, &ProvisionChannel { channel: id }).await,
            "activate" => push(conn, &order(ServiceAction::Activate)).await,
            "suspend" => push(conn, &order(ServiceAction::Suspend)).await,
            "terminate" => push(conn, &order(ServiceAction::Terminate)).await,
            close => {
                let even_unpaid = close == "close even unpaid";
                push(conn, &CloseChannel { channel: id, even_unpaid }).await;
            }
        }
    }

    async fn store_all(&self, fixtures: impl IntoIterator<Item = (u64, Fixture)>) {
        let mut tx = self.db.begin().await.unwrap();
        for (nonce, fixture) in fixtures {
            self.store(&mut tx, nonce, fixture).await;
        }
        tx.commit().await.unwrap();
    }

    /// Submits a transaction of a channel, with its purpose.
    async fn submit(&self, conn: &mut Conn, nonce: u64, purpose: Purpose) -> privatix_chain::TxId {
        let effect = purposes::next_effect(conn, Subject::Channel(channel(nonce).0)).await.unwrap();
        let key_of_intent = format!("close_channel {} {}", channel(nonce).0, effect.seq);
        let intent = Intent::new(key_of_intent, key().address(), domain().contract(), Vec::new());
        let id = self.transactor.submit(conn, intent.repeatable()).await.unwrap();
        let (tx, in_batch) = (TxNumber(id.0), false);
        let recorded = Recorded { tx, effect, purpose, from_wallet: false, job: None, in_batch };
        purposes::record(conn, &recorded).await.unwrap();
        id
    }

    async fn state(&self, nonce: u64) -> Stored<Agent> {
        match states::load(&mut self.db.read().await.unwrap(), channel(nonce).0).await.unwrap() {
            Some(Loaded::Whole(stored)) => *stored,
            other => panic!("{other:?}"),
        }
    }

    /// All pending jobs.
    async fn pending(&self) -> usize {
        let mut conn = self.db.read().await.unwrap();
        let mut pending = 0;
        for kind in [ServiceOrder::KIND, ProvisionChannel::KIND, CloseChannel::KIND] {
            let filter = Filter::new().kind(kind).status(JobStatus::Waiting).limit(1_000);
            pending += privatix_jobs::list(&mut conn, &filter).await.unwrap().jobs.len();
        }
        pending
    }
}

async fn push<J: Job>(conn: &mut Conn, job: &J) {
    privatix_node::push(conn, job, "test").await.unwrap();
}

fn env(policy: &AgentPolicy) -> Env<'_, Agent> {
    let mut env = Env::new(Uptime::new(60_000), policy);
    env.chain.now = Some(ChainTime::new(1_000));
    env.instance = 1;
    env.gas.close_cost = Some(Wei::new(1));
    env.gas.rate = Some(Rate { wei_per_token: 10, decimals: 0 });
    env
}

/// What the first state of a fixture has to show.
fn check(fixture: Fixture, stored: &Stored<Agent>, ceiling: Option<Amount>) {
    let state = &stored.state;
    let own = &state.own;
    assert_eq!(stored.revision, 1, "{fixture:?}");
    assert_eq!(stored.adopted, LifePart::all());
    assert_eq!(state.book, Book { best: a(fixture.paid), acknowledged: a(fixture.paid) }, "{fixture:?}");
    assert!(state.terms.is_some());

    // An end that was decided or ordered is not forgotten, and no other one is invented.
    let ends = fixture.service.is_ending() || fixture.job == "terminate";
    let is_for_nothing = fixture.closes && fixture.paid == 0 && fixture.phase == "open";
    let expected = if fixture.job == "close even unpaid" || is_for_nothing {
        Some(AgentEnd::CloseByOrder)
    } else {
        let status = match fixture.phase {
            "unopened" => ChannelStatus::Pending,
            "open" => ChannelStatus::Active,
            "closing" => ChannelStatus::InChallenge,
            _ => ChannelStatus::ClosedCoop,
        };
        ends.then_some(AgentEnd::Adopted { status, service: fixture.service })
    };
    assert_eq!(own.ending.map(|ending| ending.why), expected, "{fixture:?}");

    // The close goes on under its number.
    let close = Flight {
        seq: 1,
        purpose: AgentPurpose::Close { cumulative: a(fixture.paid) },
        bid: Bid { repeatable: true, ..Bid::default() },
        stage: Stage::Sent { batch: false },
    };
    let flights = if fixture.closes { vec![close] } else { vec![] };
    assert_eq!((own.flights.as_slice(), own.seq), (flights.as_slice(), u32::from(fixture.closes)));
    assert_eq!(ceiling, state.ceiling(), "{fixture:?}");

    assert_eq!(own.ready.is_some(), fixture.has_access());
    let is_gone = match fixture.service {
        ServiceStatus::Terminated => true,
        ServiceStatus::Terminating => false,
        _ => !fixture.has_access(),
    };
    assert_eq!(own.service.actual, if is_gone { Actual::Absent } else { Actual::Unknown }, "{fixture:?}");
    assert_eq!((own.held, own.blocked), (false, None));
}

/// What was acknowledged is cashed, whatever was stored, once the service has ended or the client asks to close.
fn check_is_claimed(fixture: Fixture, stored: &Stored<Agent>) {
    let policy = AgentPolicy::default();
    let mut state = stored.state.clone();
    let mut env = env(&policy);
    let mut give = |input: Input<Agent>, seconds: u64| {
        env.uptime = env.uptime.plus(Duration::from_secs(seconds));
        let decision = Agent::decide(&state, &input, &env).unwrap();
        state = decision.state;
        for flight in state.own.flights.iter().filter(|flight| flight.stage.may_be_mined()) {
            let is_below = flight.purpose.is_close() && flight.purpose.cumulative() < state.book.acknowledged;
            assert!(!is_below, "{fixture:?}: {flight:?}");
        }
    };
    give(Input::Look, 0);
    if fixture.phase == "open" {
        give(Input::Order(AgentOrder::End), 1);
    }
    // The adapter does not answer, so that the service counts as gone.
    give(Input::Look, 120);
    give(Input::Look, 120);
    let claimable = state.book.claimable(&state.chain);
    let is_open = matches!(state.chain.phase(), Phase::Open | Phase::Closing { .. });
    let brings = |flight: &Flight<AgentPurpose>| {
        flight.purpose.cumulative() >= state.book.acknowledged && flight.stage.may_be_mined()
    };
    assert_eq!(claimable.is_zero(), fixture.paid == 0 || !is_open, "{fixture:?}");
    assert!(claimable.is_zero() || state.own.flights.iter().any(brings), "{fixture:?}: {:?}", state.own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_each_status_and_pending_job_is_adopted_without_loss() {
    let dir = temp_dir().unwrap();
    let world = World::open(&dir.path().join("agent.db")).await;
    let fixtures: BTreeMap<u64, Fixture> = (0..).zip(Fixture::all()).collect();
    world.store_all(fixtures.clone()).await;
    let jobs = fixtures.values().filter(|fixture| fixture.job != "none").count();
    assert_eq!(world.pending().await, jobs);

    let policy = AgentPolicy::default();
    let adopted = world.adoption().run(&env(&policy)).await.unwrap();
    let (channels, damaged) = (fixtures.len(), Vec::new());
    assert_eq!((adopted.channels, adopted.jobs, &adopted.damaged), (channels, jobs, &damaged));
    assert_eq!(world.pending().await, 0);
    for (nonce, fixture) in &fixtures {
        let stored = world.state(*nonce).await;
        let ceiling = ceilings::get(&mut world.db.read().await.unwrap(), channel(*nonce).0).await.unwrap();
        check(*fixture, &stored, ceiling);
        check_is_claimed(*fixture, &stored);
    }
    // What is over for good is not looked at again.
    let mut looked_at = 0;
    let mut after = None;
    loop {
        let page = states::not_final(&mut world.db.read().await.unwrap(), after).await.unwrap();
        let Some(last) = page.last() else { break };
        (looked_at, after) = (looked_at + page.len(), Some(*last));
    }
    let is_over = |fixture: &&Fixture| {
        let is_gone = matches!(fixture.service, ServiceStatus::Terminated | ServiceStatus::Pending);
        fixture.phase == "closed" && is_gone && !fixture.closes
    };
    assert_eq!(looked_at, channels - fixtures.values().filter(is_over).count());

    // Adopting twice is adopting once.
    assert_eq!(world.adoption().run(&env(&policy)).await.unwrap(), Adopted::default());
    for (nonce, fixture) in &fixtures {
        assert_eq!(world.state(*nonce).await.revision, 1, "{fixture:?}");
    }
}

/// Is killed when it is asked for the terms of the eleventh channel.
struct Killed(AtomicU32);

#[async_trait]
impl KnownTerms for Killed {
    async fn terms(&self, descriptor: &ChannelDescriptor) -> Result<Option<Arc<Terms>>, NodeError> {
        if self.0.fetch_add(1, SeqCst) == 10 {
            return Err(NodeError::NotRunning);
        }
        Known.terms(descriptor).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adoption_that_is_killed_between_two_pages_goes_on_at_the_next_start() {
    let dir = temp_dir().unwrap();
    let path = dir.path().join("agent.db");
    let world = World::open(&path).await;
    let fixtures: Vec<(u64, Fixture)> = (0..).zip(Fixture::all().into_iter().step_by(11)).collect();
    world.store_all(fixtures.clone()).await;
    let policy = AgentPolicy::default();
    let mut starts = 0;
    loop {
        starts += 1;
        let killed = Killed(0.into());
        let adoption = Adoption::new(&world.db, &world.transactor, &killed, None, Jobs).in_pages_of(4);
        match adoption.run(&env(&policy)).await {
            Err(NodeError::NotRunning) => {
                let mut without = 0;
                let conn = &mut world.db.read().await.unwrap();
                for (nonce, fixture) in &fixtures {
                    let is_adopted = states::load::<Agent>(conn, channel(*nonce).0).await.unwrap().is_some();
                    without += usize::from(!is_adopted);
                    // The job ends with the state, or stays.
                    let subjects =
                        [format!("channel {}", channel(*nonce).0), format!("close {}", channel(*nonce).0)];
                    let mut pending = 0;
                    for subject in subjects {
                        let filter = Filter::new().subject(subject).status(JobStatus::Waiting);
                        pending += privatix_jobs::list(conn, &filter).await.unwrap().jobs.len();
                    }
                    assert_eq!(pending, usize::from(!is_adopted && fixture.job != "none"), "{fixture:?}");
                }
                assert_eq!(without, fixtures.len() - starts * 8, "two pages, whole");
            }
            done => {
                done.unwrap();
                break;
            }
        }
    }
    assert!(starts > 2);
    assert_eq!(world.pending().await, 0);
    for (nonce, fixture) in &fixtures {
        let stored = world.state(*nonce).await;
        let ceiling = ceilings::get(&mut world.db.read().await.unwrap(), channel(*nonce).0).await.unwrap();
        check(*fixture, &stored, ceiling);
    }
}

fn ended(paid: u128) -> Fixture {
    Fixture { phase: "open", service: ServiceStatus::Terminated, job: "none", paid, closes: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_the_operator_cancelled_waits_for_an_order_and_one_of_a_recovery_does_not() {
    let dir = temp_dir().unwrap();
    let world = World::open(&dir.path().join("agent.db")).await;
    let job = |job| Fixture { job, ..ended(60) };
    for (nonce, fixture) in [(0, ended(60)), (1, job("close for money")), (2, ended(60))] {
        let mut tx = world.db.begin().await.unwrap();
        world.store(&mut tx, nonce, fixture).await;
        let close = world.submit(&mut tx, nonce, Purpose::Close { cumulative: a(60) }).await;
        let _ = world.transactor.cancel(&mut tx, close).await.unwrap();
        if nonce == 2 {
            world.submit(&mut tx, nonce, Purpose::Close { cumulative: a(60) }).await;
        }
        tx.commit().await.unwrap();
    }
    let policy = AgentPolicy::default();
    world.adoption().run(&env(&policy)).await.unwrap();
    let own = async |nonce| world.state(nonce).await.state.own;
    let parked = own(0).await;
    assert_eq!((parked.blocked, parked.seq), (Some(Blocked::Parked { since: Uptime::new(60_000) }), 1));
    assert_eq!(own(1).await.blocked, None, "ordered since");
    let again = own(2).await;
    assert_eq!((again.blocked, again.flights.len(), again.seq), (None, 1, 2));

    // A recovery cancels what came back with the backup: its purpose remains.
    let other = World::open(&dir.path().join("restored.db")).await;
    let mut tx = other.db.begin().await.unwrap();
    other.store(&mut tx, 0, ended(60)).await;
    let close = other.submit(&mut tx, 0, Purpose::Close { cumulative: a(60) }).await;
    let _ = other.transactor.cancel(&mut tx, close).await.unwrap();
    tx.commit().await.unwrap();
    let recovery = Recovery { backed_up_at: SystemTime::now(), caught_up_at: None };
    let adoption = Adoption::new(&other.db, &other.transactor, &Known, Some(recovery), Jobs);
    adoption.run(&env(&policy)).await.unwrap();
    assert_eq!(other.state(0).await.state.own.blocked, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_channel_keeps_no_other_from_being_adopted() {
    let dir = temp_dir().unwrap();
    let world = World::open(&dir.path().join("agent.db")).await;
    let order = |closes| Fixture { job: "close even unpaid", closes, ..ended(60) };
    world.store_all([(0, order(true)), (1, order(false))]).await;
    let mut tx = world.db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE purposes SET purpose = 'no JSON' WHERE tx > 0").await).unwrap();
    let held = "UPDATE channels SET held = 1 WHERE id > ''";
    on!(&mut *tx, |c| c.batch_execute(held).await).unwrap();
    tx.commit().await.unwrap();
    let policy = AgentPolicy::default();
    let adopted = world.adoption().run(&env(&policy)).await.unwrap();
    let [(damaged, what)] = adopted.damaged.as_slice() else { panic!("{adopted:?}") };
    assert_eq!((*damaged, adopted.channels, adopted.jobs), (channel(0).0, 1, 1));
    assert!(what.contains("purpose"), "{what}");
    assert!(world.state(1).await.state.own.held);
    // It is left as it was.
    assert_eq!(world.pending().await, 1);

    // Repaired, it is adopted at the next start.
    let mut tx = world.db.begin().await.unwrap();
    let repair = r#"UPDATE purposes SET purpose = '{"close":{"cumulative":"60"}}' WHERE tx > 0"#;
    on!(&mut *tx, |c| c.batch_execute(repair).await).unwrap();
    tx.commit().await.unwrap();
    let adopted = world.adoption().run(&env(&policy)).await.unwrap();
    assert_eq!((adopted.channels, adopted.jobs, adopted.damaged), (1, 1, Vec::new()));
    assert_eq!(world.state(0).await.state.own.flights.len(), 1);
}
