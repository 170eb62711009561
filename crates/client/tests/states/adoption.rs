//! Databases of versions that stored no states: what each channel's first state comes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use alloy::primitives::B256;
use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection as _;
use privatix_billing::Terms;
use privatix_chain::{Intent, TxId};
use privatix_channel::{
    ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelStatus, Closure, Fee, LogPosition, Phase,
    ServiceStatus, Voucher, sign_voucher,
};
use privatix_client::adoption::{Adopted, Adoption, Jobs, KnownTerms};
use privatix_client::{
    FetchAccess, FinalizeClose, Fund, Funding, Funds as _, Limits, NodeError, OpenChannel, RequestClose,
    ServiceAction, ServiceOrder, TopUp as TopUpJob,
};
use privatix_db::{Conn, on};
use privatix_jobs::{Filter, Job, JobStatus};
use privatix_market::*;
use privatix_store::channels::{self, Shown, StoredAccess};
use privatix_store::events::{self, Place};
use privatix_store::orders::{self, Held, What};
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_store::states::{self, LifePart, Loaded, Stored};
use privatix_store::{StoreError, vouchers};

use crate::support::{Failure, Parts, Scene, a, channel, domain, key, terms};

/// Knows one offering.
struct Known;

#[async_trait]
impl KnownTerms for Known {
    async fn terms(&self, _: &ChannelDescriptor) -> Result<Option<Arc<Terms>>, NodeError> {
        Ok(Some(terms()))
    }
}

/// Where the chain has a channel.
const PHASES: [&str; 4] = ["unopened", "open", "closing", "closed"];

/// Pending jobs of a channel.
const JOBS: [&str; 11] = [
    "none",
    "open",
    "top up",
    "fetch access",
    "run",
    "pause",
    "suspend by the monitor",
    "terminate",
    "request close",
    "unprompted request",
    "finalize",
];

/// A channel as an earlier version had it, with a voucher over 60 that is acknowledged up to 50.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fixture {
    phase: &'static str,
    service: ServiceStatus,
    job: &'static str,
    /// Whether a request to close it was submitted.
    requested: bool,
}

impl Fixture {
    /// All of them: each status with each pending job.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for phase in PHASES {
            for service in ServiceStatus::ALL {
                for job in JOBS {
                    for requested in [false, true] {
                        all.push(Self { phase, service, job, requested });
                    }
                }
            }
        }
        all
    }

    const fn with(phase: &'static str, service: ServiceStatus, job: &'static str) -> Self {
        Self { phase, service, job, requested: false }
    }

    fn has_access(&self) -> bool {
        self.service != ServiceStatus::Pending
    }
}

fn adoption(scene: &Scene) -> Adoption<'_> {
    Adoption::new(&scene.db, &scene.transactor, &Known, None, Jobs::new(scene.asked.clone()))
}

/// Stores a channel as an earlier version did.
async fn store(scene: &Scene, conn: &mut Conn, nonce: u64, fixture: Fixture) {
    let (id, descriptor) = channel(nonce);
    channels::insert(conn, id, &descriptor, a(100)).await.unwrap();
    let opened = ChannelEvent::Opened { deposit: a(100), fee: Fee::ZERO };
    let asked = ChannelEvent::CloseRequested { paid: a(60), ends_at: ChainTime::new(90_000) };
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
            username: "user".to_owned(),
            password: "secret".to_owned(),
            endpoint: serde_json::json!({}),
        };
        channels::set_access(conn, id, &access).await.unwrap();
        let voucher = sign_voucher(&key(), &domain(), Voucher { channel: id, cumulative: a(60) }).unwrap();
        assert!(vouchers::store(conn, &voucher).await.unwrap());
        vouchers::acknowledge(conn, id, a(50)).await.unwrap();
    }
    if fixture.requested {
        submit(scene, conn, nonce, Purpose::RequestClose { admitted: a(60) }).await;
    }
    let order = |order| ServiceOrder { channel: id, order, reason: "a reason".to_owned() };
    match fixture.job {
        "none" => {}
        "open" => push(conn, &OpenChannel { channel: id }, "user").await,
        "top up" => push(conn, &TopUpJob { channel: id, amount: a(40) }, "billing").await,
        "fetch access" => push(conn, &FetchAccess { channel: id }, "monitor").await,
        "run" => push(conn, &order(ServiceAction::Activate), "user").await,
        "pause" => push(conn, &order(ServiceAction::Suspend), "user").await,
        "suspend by the monitor" => push(conn, &order(ServiceAction::Suspend), "monitor").await,
        "terminate" => push(conn, &order(ServiceAction::Terminate), "user").await,
        "finalize" => push(conn, &FinalizeClose { channel: id }, "monitor").await,
        request => {
            let unprompted = request == "unprompted request";
            push(conn, &RequestClose { channel: id, unprompted }, "user").await;
        }
    }
}

async fn store_all(scene: &Scene, fixtures: impl IntoIterator<Item = (u64, Fixture)>) {
    let mut tx = scene.db.begin().await.unwrap();
    for (nonce, fixture) in fixtures {
        store(scene, &mut tx, nonce, fixture).await;
    }
    tx.commit().await.unwrap();
}

/// Submits a transaction of a channel, with its purpose.
async fn submit(scene: &Scene, conn: &mut Conn, nonce: u64, purpose: Purpose) -> TxId {
    let effect = purposes::next_effect(conn, Subject::Channel(channel(nonce).0)).await.unwrap();
    let key_of_intent = format!("a job {} {}", channel(nonce).0, effect.seq);
    let intent = Intent::new(key_of_intent, key().address(), domain().contract(), Vec::new());
    let id = scene.transactor.submit(conn, intent).await.unwrap();
    let (tx, in_batch) = (TxNumber(id.0), false);
    let recorded = Recorded { tx, effect, purpose, from_wallet: false, job: None, in_batch };
    purposes::record(conn, &recorded).await.unwrap();
    id
}

async fn push<J: Job>(conn: &mut Conn, job: &J, by: &'static str) {
    privatix_node::push(conn, job, by).await.unwrap();
}

async fn state(scene: &Scene, nonce: u64) -> Stored<Client> {
    match states::load(&mut scene.db.read().await.unwrap(), channel(nonce).0).await.unwrap() {
        Some(Loaded::Whole(stored)) => *stored,
        other => panic!("{other:?}"),
    }
}

/// All pending jobs.
async fn pending(scene: &Scene) -> usize {
    let mut conn = scene.db.read().await.unwrap();
    let kinds = [
        ServiceOrder::KIND,
        OpenChannel::KIND,
        TopUpJob::KIND,
        RequestClose::KIND,
        FinalizeClose::KIND,
        FetchAccess::KIND,
    ];
    let mut pending = 0;
    for kind in kinds {
        let filter = Filter::new().kind(kind).status(JobStatus::Waiting).limit(1_000);
        pending += privatix_jobs::list(&mut conn, &filter).await.unwrap().jobs.len();
    }
    pending
}

fn env(policy: &ClientPolicy) -> Env<'_, Client> {
    let mut env = Env::new(Uptime::new(60_000), policy);
    env.chain.now = Some(ChainTime::new(1_000));
    env.instance = 1;
    env
}

/// What the first state of a fixture has to show.
fn check(fixture: Fixture, stored: &Stored<Client>) {
    let state = &stored.state;
    let own = &state.own;
    assert_eq!((stored.revision, &stored.adopted), (1, &LifePart::all()), "{fixture:?}");
    let (best, acknowledged) = if fixture.has_access() { (a(60), a(50)) } else { (a(0), a(0)) };
    assert_eq!(state.book, Book { best, acknowledged }, "{fixture:?}");
    assert!(state.terms.is_some());

    // An end that was decided or ordered is not forgotten, and no other one is invented.
    let ends = fixture.service.is_ending() || fixture.job == "terminate";
    let closes = fixture.job == "request close" || (fixture.requested && fixture.phase == "open");
    let status = match fixture.phase {
        "unopened" => ChannelStatus::Pending,
        "open" => ChannelStatus::Active,
        "closing" => ChannelStatus::InChallenge,
        _ => ChannelStatus::ClosedCoop,
    };
    let expected = match (fixture.phase, closes, ends) {
        (_, false, false) => None,
        ("unopened", ..) => Some(ClientEnd::NotOpened(Trouble::Ended)),
        (_, true, _) => Some(ClientEnd::CloseByOrder),
        (_, false, true) => Some(ClientEnd::Adopted { status, service: fixture.service }),
    };
    assert_eq!(own.ending.map(|ending| ending.why), expected, "{fixture:?}");

    let request = fixture.requested.then_some((
        1,
        ClientPurpose::RequestClose { admitted: a(60) },
        Stage::Sent { batch: false },
    ));
    let is_opening = fixture.phase == "unopened" && fixture.job == "open" && expected.is_none();
    let seq = u32::from(fixture.requested) + u32::from(is_opening);
    let opening = is_opening.then_some((seq, ClientPurpose::Open { deposit: a(100) }, Stage::Funding));
    let flights: Vec<_> = own.flights.iter().map(|f| (f.seq, f.purpose, f.stage)).collect();
    assert_eq!(flights, request.into_iter().chain(opening).collect::<Vec<_>>(), "{fixture:?}");
    assert_eq!(own.seq, seq, "{fixture:?}");

    let is_topped_up =
        fixture.job == "top up" && expected.is_none() && ["unopened", "open"].contains(&fixture.phase);
    let top_ups: Vec<_> = own.top_ups.iter().map(|top_up| (top_up.amount, top_up.automatic)).collect();
    assert_eq!(top_ups, if is_topped_up { vec![(a(40), true)] } else { vec![] }, "{fixture:?}");
    assert_eq!(own.last_order.is_some(), fixture.job == "top up");

    assert_eq!(own.access == AccessStatus::Here, fixture.has_access());
    let is_suspended = matches!(fixture.service, ServiceStatus::Suspending | ServiceStatus::Suspended);
    let paused = match fixture.job {
        "pause" => true,
        "run" => false,
        _ => is_suspended && fixture.phase != "unopened",
    };
    assert_eq!(own.paused, paused, "{fixture:?}");
    let is_gone = match fixture.service {
        ServiceStatus::Terminated => true,
        ServiceStatus::Terminating => false,
        _ => !fixture.has_access(),
    };
    assert_eq!(own.service.actual, if is_gone { Actual::Absent } else { Actual::Unknown }, "{fixture:?}");
    assert_eq!(own.blocked, None);
}

/// Whatever was stored, the deposit is asked back with all that was signed, once the service is ended, and nothing is signed below.
fn check_comes_back(fixture: Fixture, stored: &Stored<Client>) {
    let policy = ClientPolicy::default();
    let mut state = stored.state.clone();
    let mut env = env(&policy);
    let mut give = |input: Input<Client>, pause: Duration| {
        env.uptime = env.uptime.plus(pause);
        let decision = Client::decide(&state, &input, &env).unwrap();
        for effect in &decision.effects {
            if let Effect::Own(ClientEffect::Sign(due)) = effect {
                assert!(*due > state.book.best, "{fixture:?}: {effect:?}");
            }
        }
        state = decision.state;
    };
    give(Input::Look, Duration::ZERO);
    if fixture.phase != "closed" {
        give(Input::Order(ClientOrder::End), Duration::from_secs(1));
    }
    // Neither the adapter nor the agent answers.
    for _ in 0..40 {
        give(Input::Look, Duration::from_mins(5));
    }
    let purposes: Vec<_> = state.own.flights.iter().map(|flight| flight.purpose).collect();
    let asks = |purpose: &ClientPurpose| matches!(purpose, ClientPurpose::RequestClose { admitted } if *admitted >= state.book.best);
    match state.chain.phase() {
        Phase::Open => assert!(purposes.iter().any(asks), "{fixture:?}: {purposes:?}"),
        Phase::Closing { .. } => {
            assert!(matches!(Client::owner(&state, &env), Owner::ChainTime(_)) || fixture.requested);
            env.chain.now = Some(ChainTime::new(90_000));
            let decision = Client::decide(&state, &Input::Look, &env).unwrap();
            let finalizes = |effect: &Effect<Client>| matches!(effect, Effect::Submit { purpose, .. } if *purpose == ClientPurpose::FinalizeClose);
            assert!(decision.effects.iter().any(finalizes), "{fixture:?}: {:?}", decision.effects);
        }
        // It is given up, or gone: no money is on its way there.
        Phase::Unopened | Phase::Closed { .. } => {
            let opens = |purpose: &ClientPurpose| matches!(purpose, ClientPurpose::Open { .. });
            assert!(!purposes.iter().any(opens), "{fixture:?}: {purposes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_each_status_and_pending_job_is_adopted_without_loss() {
    let scene = Scene::empty(Parts::default()).await;
    let fixtures: BTreeMap<u64, Fixture> = (0..).zip(Fixture::all()).collect();
    store_all(&scene, fixtures.clone()).await;
    let jobs = fixtures.values().filter(|fixture| fixture.job != "none").count();
    assert_eq!(pending(&scene).await, jobs);

    let policy = ClientPolicy::default();
    let adopted = adoption(&scene).run(&env(&policy)).await.unwrap();
    assert_eq!((adopted.channels, adopted.jobs, &adopted.damaged), (fixtures.len(), jobs, &Vec::new()));
    assert_eq!(pending(&scene).await, 0);
    let mut openings = 0;
    for (nonce, fixture) in &fixtures {
        let stored = state(&scene, *nonce).await;
        check(*fixture, &stored);
        check_comes_back(*fixture, &stored);
        openings += stored.state.own.flights.iter().filter(|flight| flight.stage == Stage::Funding).count();
    }
    let funded = scene.asked.funded.lock().unwrap().len();
    assert!(openings > 0);
    assert_eq!(funded, openings, "the money of each is provided");

    // Adopting twice is adopting once.
    assert_eq!(adoption(&scene).run(&env(&policy)).await.unwrap(), Adopted::default());
    assert_eq!(scene.asked.funded.lock().unwrap().len(), funded);
    for (nonce, fixture) in &fixtures {
        assert_eq!(state(&scene, *nonce).await.revision, 1, "{fixture:?}");
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
    let scene = Scene::empty(Parts::default()).await;
    let fixtures: Vec<(u64, Fixture)> = (0..).zip(Fixture::all().into_iter().step_by(13)).collect();
    store_all(&scene, fixtures.clone()).await;
    let policy = ClientPolicy::default();
    let mut starts = 0;
    loop {
        starts += 1;
        let killed = Killed(0.into());
        let jobs = Jobs::new(scene.asked.clone());
        let adoption = Adoption::new(&scene.db, &scene.transactor, &killed, None, jobs).in_pages_of(4);
        match adoption.run(&env(&policy)).await {
            Err(NodeError::NotRunning) => {
                // A job ends with its state, or stays.
                let conn = &mut scene.db.read().await.unwrap();
                let mut waiting = 0;
                for (nonce, fixture) in &fixtures {
                    let is_adopted = states::is_stored(conn, channel(*nonce).0).await.unwrap();
                    waiting += usize::from(!is_adopted && fixture.job != "none");
                }
                assert_eq!(pending(&scene).await, waiting);
            }
            done => {
                done.unwrap();
                break;
            }
        }
    }
    assert!(starts > 2);
    for (nonce, fixture) in &fixtures {
        check(*fixture, &state(&scene, *nonce).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_go_on_under_their_numbers_and_one_that_the_user_cancelled_waits_for_an_order() {
    let scene = Scene::empty(Parts::default()).await;
    let active = Fixture::with("open", ServiceStatus::Active, "none");
    let ended = Fixture::with("open", ServiceStatus::Terminated, "none");
    let top_up = Purpose::TopUp { order: OrderId(700), amount: a(40) };
    let request = Purpose::RequestClose { admitted: a(60) };
    let mut tx = scene.db.begin().await.unwrap();
    store(&scene, &mut tx, 0, active).await;
    submit(&scene, &mut tx, 0, top_up).await;
    for (nonce, job) in [(1, "none"), (2, "request close")] {
        store(&scene, &mut tx, nonce, Fixture { job, ..ended }).await;
        let request = submit(&scene, &mut tx, nonce, request).await;
        let _ = scene.transactor.cancel(&mut tx, request).await.unwrap();
    }
    store(&scene, &mut tx, 3, Fixture::with("unopened", ServiceStatus::Pending, "none")).await;
    submit(&scene, &mut tx, 3, Purpose::Open { deposit: a(100) }).await;
    tx.commit().await.unwrap();
    let policy = ClientPolicy::default();
    adoption(&scene).run(&env(&policy)).await.unwrap();

    let own = async |nonce| state(&scene, nonce).await.state.own;
    let sent = Stage::Sent { batch: false };
    let topped_up = own(0).await;
    let order = TopUp { order: OrderId(700), amount: a(40), automatic: false, outcome: None };
    assert_eq!(topped_up.top_ups, [order]);
    let flights: Vec<_> = topped_up.flights.iter().map(|f| (f.seq, f.purpose, f.stage)).collect();
    assert_eq!(flights, [(1, ClientPurpose::TopUp { order: OrderId(700), amount: a(40) }, sent)]);
    assert_eq!((topped_up.last_order, topped_up.seq), (Some(OrderId(700)), 1), "later orders are above it");
    let parked = own(1).await;
    assert_eq!(parked.blocked, Some(Blocked::Parked { since: Uptime::new(60_000) }));
    let again = own(2).await;
    assert_eq!((again.blocked, again.seq), (None, 1), "ordered since");
    let opening = own(3).await;
    assert_eq!(opening.flights[0].purpose, ClientPurpose::Open { deposit: a(100) });
    assert_eq!(opening.ending, None);
    assert!(scene.asked.funded.lock().unwrap().is_empty(), "it has its money");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_orders_about_a_pause_the_later_one_counts() {
    let scene = Scene::empty(Parts::default()).await;
    let order = |nonce, order| ServiceOrder { channel: channel(nonce).0, order, reason: String::new() };
    let mut tx = scene.db.begin().await.unwrap();
    for (nonce, service, orders) in [
        (0, ServiceStatus::Active, [ServiceAction::Activate, ServiceAction::Suspend]),
        (1, ServiceStatus::Suspended, [ServiceAction::Suspend, ServiceAction::Activate]),
    ] {
        store(&scene, &mut tx, nonce, Fixture::with("open", service, "none")).await;
        for of in orders {
            push(&mut tx, &order(nonce, of), "user").await;
        }
    }
    tx.commit().await.unwrap();
    let policy = ClientPolicy::default();
    adoption(&scene).run(&env(&policy)).await.unwrap();
    assert!(state(&scene, 0).await.state.own.paused);
    assert!(!state(&scene, 1).await.state.own.paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_channel_keeps_no_other_from_being_adopted() {
    let scene = Scene::empty(Parts::default()).await;
    let request = |requested| Fixture { requested, ..Fixture::with("open", ServiceStatus::Active, "pause") };
    store_all(&scene, [(0, request(true)), (1, request(false))]).await;
    let mut tx = scene.db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE purposes SET purpose = 'no JSON' WHERE tx > 0").await).unwrap();
    tx.commit().await.unwrap();
    let policy = ClientPolicy::default();
    let adopted = adoption(&scene).run(&env(&policy)).await.unwrap();
    let [(damaged, _)] = adopted.damaged.as_slice() else { panic!("{adopted:?}") };
    assert_eq!((*damaged, adopted.channels, adopted.jobs), (channel(0).0, 1, 1));
    assert_eq!(pending(&scene).await, 1, "it is left as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_orders_cannot_be_stored_keeps_no_other_from_being_adopted() {
    let scene = Scene::empty(Parts::default()).await;
    let paused = Fixture::with("open", ServiceStatus::Active, "pause");
    store_all(&scene, (0..3).map(|nonce| (nonce, paused))).await;
    let (failing, policy) = (channel(1).0, ClientPolicy::default());
    let fail = |error: Option<Failure>| {
        *scene.asked.fails.lock().unwrap() = error.map(|error| (failing, error));
    };
    let pending_top_up =
        async || channels::get(&mut scene.db.read().await.unwrap(), failing).await.unwrap().top_up_pending;

    // What passes ends the start, and keeps nothing of the page.
    fail(Some(|| NodeError::NotRunning));
    let ended = adoption(&scene).run(&env(&policy)).await;
    assert!(matches!(ended, Err(NodeError::NotRunning)), "{ended:?}");
    assert_eq!((pending(&scene).await, pending_top_up().await), (3, false));

    // What would be the same at each start is that channel's damage. Nothing of it is kept, and its jobs wait, by name.
    fail(Some(|| StoreError::OrderNumberUsed(7).into()));
    let adopted = adoption(&scene).run(&env(&policy)).await.unwrap();
    let [(damaged, what)] = adopted.damaged.as_slice() else { panic!("{adopted:?}") };
    assert_eq!((*damaged, adopted.channels, adopted.jobs), (failing, 2, 2));
    assert!(what.contains("(1)") && what.contains("must not be cancelled"), "{what}");
    assert_eq!((pending(&scene).await, pending_top_up().await), (1, false));
    for nonce in [0, 2] {
        check(paused, &state(&scene, nonce).await);
    }

    // At a later start it is adopted, with its job.
    fail(None);
    let adopted = adoption(&scene).run(&env(&policy)).await.unwrap();
    assert_eq!((adopted.channels, adopted.jobs, adopted.damaged.len()), (1, 1, 0));
    check(paused, &state(&scene, 1).await);
    assert_eq!(pending(&scene).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openings_and_top_ups_of_an_earlier_version_keep_their_money_reserved_until_they_end() {
    let mut scene = Scene::empty(Parts::default()).await;
    let top_up = Purpose::TopUp { order: OrderId(700), amount: a(40) };
    let mut tx = scene.db.begin().await.unwrap();
    store(&scene, &mut tx, 0, Fixture::with("open", ServiceStatus::Active, "none")).await;
    submit(&scene, &mut tx, 0, top_up).await;
    store(&scene, &mut tx, 1, Fixture::with("open", ServiceStatus::Active, "top up")).await;
    store(&scene, &mut tx, 2, Fixture::with("unopened", ServiceStatus::Pending, "open")).await;
    tx.commit().await.unwrap();
    let funding = Arc::new(Funding::new(Limits::default(), scene.calm.clone()));
    scene.decider = scene.deciding_with(funding.clone());
    let jobs = Jobs::new(funding);
    let adoption = Adoption::new(&scene.db, &scene.transactor, &Known, None, jobs);
    adoption.run(&scene.decider.surroundings()).await.unwrap();

    let of = async |nonce| {
        let mut conn = scene.db.read().await.unwrap();
        orders::first(&mut conn, Subject::Channel(channel(nonce).0)).await.unwrap().unwrap()
    };
    let reserved = async |nonce| {
        let order = of(nonce).await;
        (order.what, order.money.map(|money| money.held), order.ended.map(|(outcome, _)| outcome))
    };
    let adds = |automatic| What::TopUp { amount: a(40), automatic };
    assert_eq!(of(0).await.id, OrderId(700));
    assert_eq!(reserved(0).await, (adds(false), Some(Held::Reserved), None));
    assert_eq!(reserved(1).await, (adds(true), Some(Held::Reserved), None));
    assert_eq!(reserved(2).await, (What::Open { deposit: a(100) }, Some(Held::Reserved), None));
    let filter = Filter::new().kind(Fund::KIND).status(JobStatus::Waiting);
    let waiting = privatix_jobs::list(&mut scene.db.read().await.unwrap(), &filter).await.unwrap();
    assert_eq!(waiting.jobs.len(), 1, "the money for the opening is provided");

    // The transaction of the first ends, the second is asked for, and the third is given up.
    let give = async |nonce, input| drop(scene.decider.decide(channel(nonce).0, input).await.unwrap());
    let purpose = ClientPurpose::TopUp { order: OrderId(700), amount: a(40) };
    give(0, Input::Tx { seq: 1, purpose, fate: Fate::Final }).await;
    assert_eq!(of(0).await.ended.map(|(outcome, _)| outcome), Some(Outcome::Done));
    give(1, Input::Look).await;
    let waiting = privatix_jobs::list(&mut scene.db.read().await.unwrap(), &filter).await.unwrap();
    assert_eq!(waiting.jobs.len(), 2);
    give(2, Input::Order(ClientOrder::End)).await;
    let given_up = (Some(Held::Released), Some(Outcome::Failed(Trouble::Cancelled)));
    let (_, held, outcome) = reserved(2).await;
    assert_eq!((held, outcome), given_up);
}

/// Adopts with real orders, of which these numbers are another channel's already.
async fn adopt_beside(scene: &mut Scene, taken: impl IntoIterator<Item = u64>) {
    let funding = Arc::new(Funding::new(Limits::default(), scene.calm.clone()));
    scene.decider = scene.deciding_with(funding.clone());
    let mut tx = scene.db.begin().await.unwrap();
    let reserves = orders::Reservation { agent: channel(9).1.agent, day: None };
    for number in taken {
        let order = orders::NewOrder {
            key: None,
            subject: Subject::Channel(channel(9).0),
            what: What::TopUp { amount: a(1), automatic: false },
            by: "a test".to_owned(),
            at: std::time::SystemTime::now(),
            reserves,
        };
        orders::place(&mut tx, OrderId(number), &order).await.unwrap();
    }
    tx.commit().await.unwrap();
    let jobs = Jobs::new(funding);
    let adoption = Adoption::new(&scene.db, &scene.transactor, &Known, None, jobs);
    let adopted = adoption.run(&scene.decider.surroundings()).await.unwrap();
    assert_eq!(adopted.damaged, [], "the others, and this one, go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_another_order_has_by_now_is_not_taken_twice() {
    let mut scene = Scene::empty(Parts::default()).await;
    let active = Fixture::with("open", ServiceStatus::Active, "none");
    let mut tx = scene.db.begin().await.unwrap();
    store(&scene, &mut tx, 0, Fixture { job: "top up", ..active }).await; // of a job with a number below 20
    store(&scene, &mut tx, 1, active).await;
    submit(&scene, &mut tx, 1, Purpose::TopUp { order: OrderId(7), amount: a(40) }).await;
    tx.commit().await.unwrap();
    adopt_beside(&mut scene, 1..=20).await;

    // What waits has another number.
    let [top_up] = state(&scene, 0).await.state.own.top_ups[..] else { panic!("not one top-up") };
    assert!(top_up.order > OrderId(20));
    let order =
        async |number| orders::get(&mut scene.db.read().await.unwrap(), number).await.unwrap().unwrap();
    let stored = order(top_up.order).await;
    assert_eq!(stored.subject, Subject::Channel(channel(0).0));
    assert_eq!(state(&scene, 0).await.state.own.last_order, Some(top_up.order));
    // What has a transaction goes on without an order, and moves no other one's tokens.
    let own = state(&scene, 1).await.state.own;
    assert_eq!((own.top_ups.len(), own.flights.len()), (0, 1));
    let purpose = ClientPurpose::TopUp { order: OrderId(7), amount: a(40) };
    for fate in [Fate::Final, Fate::Reinstated { batch: false }] {
        let input = Input::Tx { seq: 1, purpose, fate };
        drop(scene.decider.decide(channel(1).0, input).await.unwrap());
        let other = order(OrderId(7)).await;
        assert_eq!((other.ended, other.money.unwrap().held), (None, Held::Reserved));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_count_the_deposits_that_are_on_chain_already() {
    let mut scene = Scene::empty(Parts::default()).await;
    let active = Fixture::with("open", ServiceStatus::Active, "none");
    let closed = Fixture::with("closed", ServiceStatus::Terminated, "none");
    store_all(&scene, [(0, active), (1, active), (2, closed)]).await;
    adopt_beside(&mut scene, []).await;
    let spent = orders::totals(&mut scene.db.read().await.unwrap(), orders::Scope::All).await.unwrap();
    assert_eq!((spent.spent, spent.reserved), (a(200), a(0)), "what is closed came back");
    let found = orders::first(&mut scene.db.read().await.unwrap(), Subject::Channel(channel(0).0)).await;
    let found = found.unwrap().unwrap();
    assert_eq!((found.what, found.by.as_str()), (What::Open { deposit: a(100) }, "found on chain"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_count_the_deposit_of_a_channel_that_is_being_topped_up_too() {
    let mut scene = Scene::empty(Parts::default()).await;
    let mut tx = scene.db.begin().await.unwrap();
    store(&scene, &mut tx, 0, Fixture::with("open", ServiceStatus::Active, "top up")).await;
    store(&scene, &mut tx, 1, Fixture::with("closing", ServiceStatus::Active, "none")).await;
    submit(&scene, &mut tx, 1, Purpose::TopUp { order: OrderId(1), amount: a(40) }).await;
    tx.commit().await.unwrap();
    adopt_beside(&mut scene, []).await;
    let conn = &mut scene.db.read().await.unwrap();
    for scope in [orders::Scope::All, orders::Scope::Agent(channel(0).1.agent)] {
        let totals = orders::totals(conn, scope).await.unwrap();
        assert_eq!((totals.spent, totals.reserved), (a(200), a(80)));
    }
    let mut limits = Limits::default();
    limits.overall = Some(a(290));
    let budget = Funding::new(limits, scene.calm.clone()).budget(conn, channel(0).1.agent).await.unwrap();
    assert_eq!(budget.overall, Some(a(10)));
}
