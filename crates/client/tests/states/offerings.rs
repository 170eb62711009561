//! Offerings that agents announce: each is asked for until its message is here, and goes on being asked for.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_channel::{
    Amount, Announcement, ChainEvent, ChainTime, Fee, LogPosition, OfferingEvent, OfferingHash,
};
use privatix_client::{
    AT_ONCE, Announcers, AskOffering, FetchOffering, OfferingAsker, OfferingDecisions,
    OfferingDecisionsParts, OfferingPolicy, Unlisted, Visibility, adopt_offerings,
};
use privatix_db::{Conn, Database};
use privatix_jobs::{Filter, Job as _, JobStatus, JobsError, Processor, PushOptions, Wake};
use privatix_market::Uptime;
use privatix_market::offering::{Foreign, Ownership};
use privatix_node::{NodeError, Outlook as _, Stood};
use privatix_offering::{OfferingMessage, SignedOffering, Templates, proxy};
use privatix_store::events::{self, Place};
use privatix_store::offering_states::{self, Key, Loaded, Stored};
use privatix_store::offerings;
use privatix_testkit::{TempDir, wait_for};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::{LONG, database};
use crate::support::{CHAIN, Calm, domain};

type Reply = oneshot::Sender<Result<SignedOffering, NodeError>>;

/// Agents whose answers the test gives, one for each question.
struct Agents(mpsc::UnboundedSender<(Key, Reply)>);

#[async_trait]
impl Announcers for Agents {
    async fn offering(&self, of: Key, _: &Announcement) -> Result<SignedOffering, NodeError> {
        let (reply, replied) = oneshot::channel();
        self.0.send((of, reply)).unwrap();
        match replied.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await, // it never answers
        }
    }
}

fn agent() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("agent")).unwrap()
}

/// The offering whose message there is.
fn signed() -> SignedOffering {
    let terms = TermsDraft {
        unit: Unit { name: "KiB".into(), measure: Measure::Bytes, size: 1024 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: Amount::new(10),
        free_units: 0,
        min_units: 1,
        max_units: None,
        billing_interval: 64,
        max_billing_unit_lag: 256,
        max_suspend: Duration::from_mins(10),
        max_inactive: Duration::from_mins(10),
        max_first_use: None,
    };
    let message = OfferingMessage {
        template: proxy::offering_template(),
        agent: agent().address(),
        chain_id: CHAIN,
        contract: domain().contract(),
        nonce: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
        service_name: "Proxy".to_owned(),
        description: String::new(),
        country: "DE".parse().unwrap(),
        ip_type: None,
        addresses: vec![],
        protocol: None,
        supply: 3,
        terms,
        additional: serde_json::json!({ "protocols": ["socks5", "http"] }),
    };
    SignedOffering::sign(&message, &Templates::builtin(), &agent()).unwrap()
}

fn good() -> Key {
    (agent().address(), signed().hash())
}

/// An offering of somebody who never answers well.
fn dead(n: u16) -> Key {
    let mut hash = [0xde; 32];
    hash[..2].copy_from_slice(&n.to_be_bytes());
    (Address::repeat_byte(0xde), OfferingHash::new(hash.into()))
}

fn announced(key: Key, block: u64) -> (Place, ChainEvent) {
    let announcement = Announcement {
        min_deposit: Amount::new(10),
        supply: 3,
        fee: Fee::ZERO,
        source_type: 1,
        source: "192.0.2.1:4000".to_owned(),
    };
    let event = OfferingEvent::Registered(announcement);
    let block_time = Some(ChainTime::new(1_000));
    let place = Place { at: LogPosition::new(block, 0), tx: B256::left_padding_from(&block.to_be_bytes()) };
    (place, ChainEvent::Offering { agent: key.0, offering: key.1, block_time, event })
}

fn silent() -> Result<SignedOffering, NodeError> {
    Err(NodeError::Peer { address: "192.0.2.1:4000".to_owned(), reason: "nobody there".to_owned() })
}

/// A client that runs over a database.
struct Buyer {
    db: Database,
    calm: Arc<Calm>,
    decisions: Arc<OfferingDecisions>,
    questions: mpsc::UnboundedReceiver<(Key, Reply)>,
    stop: CancellationToken,
    jobs: JoinHandle<Result<(), JobsError>>,
    looks: JoinHandle<()>,
    jobs_run: Arc<AtomicBool>,
    dir: TempDir,
}

impl Buyer {
    async fn new() -> Self {
        Self::over(database().await, Arc::default())
    }

    fn over((dir, db): (TempDir, Database), calm: Arc<Calm>) -> Self {
        let (wake, stop) = (Wake::new(), CancellationToken::new());
        let jobs_run = Arc::new(AtomicBool::new(true));
        let decisions = Arc::new(OfferingDecisions::new(OfferingDecisionsParts {
            db: db.clone(),
            outlook: calm.clone(),
            policy: OfferingPolicy::default(),
            jobs: wake.clone(),
            jobs_run: Arc::new({
                let jobs_run = jobs_run.clone();
                move || jobs_run.load(SeqCst)
            }),
        }));
        let (sender, questions) = mpsc::unbounded_channel();
        let asker = OfferingAsker::new(db.clone(), decisions.clone(), Arc::new(Agents(sender)));
        let processor =
            Processor::builder(db.clone()).wake(wake).register::<AskOffering, _>(asker).build().unwrap();
        let jobs = tokio::spawn(processor.run(stop.clone()));
        let looks = tokio::spawn({
            let (decisions, stop) = (decisions.clone(), stop.clone());
            async move { decisions.run(&stop).await }
        });
        Self { db, calm, decisions, questions, stop, jobs, looks, jobs_run, dir }
    }

    async fn stop(self) -> ((TempDir, Database), Arc<Calm>) {
        self.stop.cancel();
        drop(self.questions);
        self.jobs.await.unwrap().unwrap();
        self.looks.await.unwrap();
        ((self.dir, self.db), self.calm)
    }

    /// The chain shows these events, as the sink takes them in.
    async fn shows(&self, news: &[(Place, ChainEvent)]) {
        let mut tx = self.db.begin().await.unwrap();
        let stood = stood(&mut tx, news.iter().map(|(_, event)| event)).await;
        events::record_all(&mut tx, news).await.unwrap();
        offerings::advance_all(&mut tx, news).await.unwrap();
        self.decisions.on_chain(&mut tx, stood).await.unwrap();
        tx.commit().await.unwrap();
        self.decisions.committed();
    }

    /// A reorganisation takes what is above this block.
    async fn undoes(&self, above: u64) {
        let mut tx = self.db.begin().await.unwrap();
        let undone = events::undo_above(&mut tx, above).await.unwrap();
        let stood = stood(&mut tx, undone.iter().map(|(_, event)| event)).await;
        for (agent, offering) in stood.offerings.keys() {
            offerings::refold(&mut tx, *agent, *offering).await.unwrap();
        }
        self.decisions.on_chain(&mut tx, stood).await.unwrap();
        tx.commit().await.unwrap();
        self.decisions.committed();
    }

    /// The next question, and the way back.
    async fn next(&mut self) -> (Key, Reply) {
        tokio::time::timeout(LONG, self.questions.recv()).await.unwrap().unwrap()
    }

    /// The next question, which must be about this offering, is answered so.
    async fn answers(&mut self, of: Key, answer: Result<SignedOffering, NodeError>) {
        let (asked, reply) = self.next().await;
        assert_eq!(asked, of);
        reply.send(answer).unwrap();
    }

    /// The node runs for this long.
    fn runs_for(&self, time: Duration) {
        self.calm.wait(time);
        self.decisions.committed();
    }

    async fn stored(&self, key: Key) -> Option<(Foreign, Stored)> {
        match offering_states::load(&mut self.db.read().await.unwrap(), key).await.unwrap()? {
            Loaded::Whole(stored) => match &stored.state.ownership {
                Ownership::Foreign(foreign) => Some((*foreign, *stored)),
                Ownership::Own(_) => panic!("it is another agent's"),
            },
            Loaded::Damaged(unreadable) => panic!("{unreadable}"),
        }
    }

    /// Waits until the state of the offering is as wanted.
    async fn until(&self, what: &str, key: Key, holds: impl Fn(&Foreign) -> bool) -> Foreign {
        let found = wait_for(what, LONG, async || match self.stored(key).await {
            Some((foreign, _)) if holds(&foreign) => Ok(foreign),
            other => Err(format!("{other:?}")),
        });
        found.await.unwrap()
    }

    async fn visibility(&self, key: Key) -> Visibility {
        let mut conn = self.db.read().await.unwrap();
        self.decisions.visibility(&mut conn, &[key]).await.unwrap()[&key]
    }

    async fn jobs(&self, status: JobStatus) -> Vec<String> {
        let filter = Filter::new().status(status).limit(1_000);
        let jobs = privatix_jobs::list(&mut self.db.read().await.unwrap(), &filter).await.unwrap().jobs;
        jobs.into_iter().map(|job| job.kind).collect()
    }

    async fn under_way(&self) -> u32 {
        offering_states::under_way(&mut self.db.read().await.unwrap()).await.unwrap()
    }
}

async fn stood<'a>(conn: &mut Conn, events: impl Iterator<Item = &'a ChainEvent>) -> Stood {
    let keys: BTreeSet<Key> = events.filter_map(ChainEvent::offering).collect();
    let keys: Vec<Key> = keys.into_iter().collect();
    let mut states = offering_states::load_all(conn, &keys).await.unwrap();
    Stood { offerings: keys.into_iter().map(|key| (key, states.remove(&key))).collect() }
}

fn announces(keys: RangeInclusive<u16>) -> Vec<(Place, ChainEvent)> {
    keys.map(|n| announced(dead(n), n.into())).collect()
}

#[tokio::test]
async fn a_message_that_failed_is_fetched_again_without_end() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&[announced(good(), 1)]).await;
    let mut pauses = Vec::new();
    for tries in 1..=14 {
        buyer.answers(good(), silent()).await;
        let failed = buyer.until("the failure", good(), |foreign| foreign.again.tries == tries).await;
        let pause = failed.again.at.since(buyer.calm.uptime());
        pauses.push(pause.as_secs() / 60);
        // A moment before, nobody is asked.
        buyer.runs_for(pause.saturating_sub(Duration::from_millis(1)));
        assert_eq!(buyer.under_way().await, 0);
        buyer.runs_for(Duration::from_millis(1));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440, 1_440, 1_440]);
    let known = offerings::get(&mut buyer.db.read().await.unwrap(), good().0, good().1).await.unwrap();
    assert!(known.problem.unwrap().contains("nobody there"));
    assert_eq!(buyer.visibility(good()).await.unlisted, Some(Unlisted::NoMessage));

    buyer.answers(good(), Ok(signed())).await;
    buyer.until("the message", good(), |foreign| foreign.again.tries == 0).await;
    let known = offerings::get(&mut buyer.db.read().await.unwrap(), good().0, good().1).await.unwrap();
    assert_eq!((known.message.as_deref(), known.problem), (Some(signed().wire()), None));
    assert_eq!(known.country.as_deref(), Some("DE"));
    let visibility = buyer.visibility(good()).await;
    assert!(visibility.seen_at.is_some() && visibility.unlisted.is_none(), "{visibility:?}");
    // Its agent is asked again after a day.
    buyer.runs_for(Duration::from_hours(24));
    buyer.answers(good(), Ok(signed())).await;
    drop(buyer.stop().await);
}

#[tokio::test]
async fn a_request_goes_on_after_a_restart() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&[announced(good(), 1)]).await;
    let (_, reply) = buyer.next().await;
    let before = buyer.stored(good()).await.unwrap().0;
    let (base, calm) = buyer.stop().await;
    drop(reply);

    let mut buyer = Buyer::over(base, calm);
    let (asked, reply) = buyer.next().await;
    assert_eq!((asked, buyer.stored(good()).await.unwrap().0), (good(), before), "it is the same request");
    // Nobody answers: given up in time, and asked again after the pause.
    buyer.runs_for(Duration::from_mins(1));
    let failed = buyer.until("the end of the request", good(), |foreign| foreign.asked.is_none()).await;
    assert_eq!((failed.seq, failed.again.tries), (1, 1));
    // The answer comes after its time.
    let _ = reply.send(Ok(signed()));
    buyer.runs_for(Duration::from_mins(1));
    let (_, reply) = buyer.next().await;
    let (base, calm) = buyer.stop().await;
    drop(reply);

    // Whoever could not be asked before is asked at a start.
    let mut buyer = Buyer::over(base, calm);
    buyer.answers(good(), Ok(signed())).await;
    buyer.until("the message", good(), |foreign| foreign.again.tries == 0 && foreign.asked.is_none()).await;
    drop(buyer.stop().await);
}

#[tokio::test]
async fn a_start_asks_for_what_could_not_be_had_whatever_the_pause() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&[announced(good(), 1)]).await;
    let refused = Err(NodeError::Refused("no such kind of address".to_owned()));
    buyer.answers(good(), refused).await;
    buyer.until("the refusal", good(), |foreign| foreign.again.tries == 1).await;
    let (base, calm) = buyer.stop().await;
    let mut buyer = Buyer::over(base, calm);
    buyer.answers(good(), Ok(signed())).await;
    drop(buyer.stop().await);
}

#[tokio::test]
async fn a_hundred_offerings_that_lead_nowhere_are_asked_for_a_few_at_a_time() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&announces(1..=100)).await;
    buyer.shows(&[announced(good(), 200)]).await;
    let mut replies = Vec::new();
    for _ in 0..AT_ONCE {
        replies.push(buyer.next().await);
    }
    assert_eq!(buyer.under_way().await, AT_ONCE);
    assert_eq!(buyer.jobs(JobStatus::Waiting).await.len() + buyer.jobs(JobStatus::Running).await.len(), 12);
    // Each that ends makes room for one, until all were asked for.
    let mut asked: BTreeSet<Key> = replies.iter().map(|(key, _)| *key).collect();
    for _ in 0..101 - AT_ONCE {
        let (_, reply) = replies.pop().unwrap();
        reply.send(silent()).unwrap();
        let next = buyer.next().await;
        assert!(asked.insert(next.0), "each once");
        replies.push(next);
        assert!(buyer.under_way().await <= AT_ONCE);
    }
    assert!(asked.contains(&good()) && asked.len() == 101);
    drop(buyer.stop().await);
}

#[tokio::test]
async fn an_offering_that_is_old_or_whose_agent_is_silent_is_not_listed() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&[announced(good(), 1)]).await;
    buyer.answers(good(), Ok(signed())).await;
    buyer.until("the message", good(), |foreign| foreign.asked.is_none() && foreign.seq == 1).await;
    assert_eq!(buyer.visibility(good()).await.unlisted, None);

    // For three days its agent is silent.
    for hours in [24, 48] {
        buyer.runs_for(Duration::from_hours(hours));
        buyer.answers(good(), silent()).await;
        buyer
            .until("the silence", good(), |foreign| foreign.asked.is_none() && foreign.again.tries > 0)
            .await;
    }
    let unseen = Duration::from_hours(72);
    assert_eq!(buyer.visibility(good()).await.unlisted, Some(Unlisted::Unseen { unseen }));
    let known = offerings::get(&mut buyer.db.read().await.unwrap(), good().0, good().1).await.unwrap();
    assert_eq!((known.message.as_deref(), known.problem), (Some(signed().wire()), None), "it is kept");
    buyer.runs_for(Duration::from_hours(24));
    buyer.answers(good(), Ok(signed())).await;
    buyer.until("the answer", good(), |foreign| foreign.again.tries == 0 && foreign.asked.is_none()).await;
    assert_eq!(buyer.visibility(good()).await.unlisted, None);

    // By the chain's clock it was announced 30 days ago.
    *buyer.calm.now.lock().unwrap() = ChainTime::new(1_000 + 30 * 86_400);
    let age = Duration::from_hours(30 * 24);
    assert_eq!(
        buyer.visibility(good()).await.unlisted,
        Some(Unlisted::Expired { age }),
        "whatever this machine's clock shows"
    );
    drop(buyer.stop().await);
}

#[tokio::test]
async fn a_reorganisation_takes_an_offering_with_its_request_and_brings_it_again() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&[announced(good(), 1)]).await;
    let (_, reply) = buyer.next().await;
    buyer.undoes(0).await;
    assert!(buyer.stored(good()).await.is_none());
    reply.send(Ok(signed())).unwrap();
    let ended =
        wait_for("the end of its job", LONG, async || match buyer.jobs(JobStatus::Done).await.len() {
            1 => Ok(()),
            others => Err(others),
        });
    ended.await.unwrap();
    buyer.shows(&[announced(good(), 2)]).await;
    buyer.answers(good(), Ok(signed())).await;
    buyer.until("the message", good(), |foreign| foreign.again.at > Uptime::new(2_000)).await;
    let known = offerings::get(&mut buyer.db.read().await.unwrap(), good().0, good().1).await.unwrap();
    assert_eq!((known.announced_at, known.message.is_some()), (Some(2), true));

    // One that is removed is not asked for any more.
    let removed = ChainEvent::Offering {
        agent: good().0,
        offering: good().1,
        block_time: Some(ChainTime::new(2_000)),
        event: OfferingEvent::Removed,
    };
    let (place, _) = announced(good(), 3);
    buyer.shows(&[(place, removed)]).await;
    let (_, stored) = buyer.stored(good()).await.unwrap();
    assert_eq!(stored.wake, privatix_market::Wake::default());
    assert_eq!(buyer.visibility(good()).await.unlisted, Some(Unlisted::NotOnMarket));
    // A reorganisation takes the removal.
    buyer.undoes(2).await;
    assert_eq!(buyer.visibility(good()).await.unlisted, None);
    drop(buyer.stop().await);
}

#[tokio::test]
async fn an_outage_of_our_own_network_counts_against_nobody() {
    let mut buyer = Buyer::new().await;
    buyer.shows(&[announced(good(), 1)]).await;
    buyer.answers(good(), Err(NodeError::Offline { reason: "no uplink".to_owned() })).await;
    let paused = buyer.until("the pause", good(), |foreign| foreign.asked.is_none()).await;
    assert_eq!(paused.again.tries, 0);
    let known = offerings::get(&mut buyer.db.read().await.unwrap(), good().0, good().1).await.unwrap();
    assert_eq!(known.problem.as_deref(), Some("no uplink"));
    // Meanwhile nobody else is asked.
    buyer.shows(&[announced(dead(1), 2)]).await;
    assert_eq!(buyer.under_way().await, 0);
    buyer.runs_for(Duration::from_mins(1));
    let asked = [buyer.next().await, buyer.next().await].map(|(key, _)| key);
    assert_eq!(BTreeSet::from(asked), [good(), dead(1)].into());
    drop(buyer.stop().await);
}

#[tokio::test]
async fn nobody_is_asked_while_no_jobs_run() {
    let mut buyer = Buyer::new().await;
    buyer.jobs_run.store(false, SeqCst);
    buyer.shows(&[announced(good(), 1)]).await;
    assert_eq!(buyer.under_way().await, 0);
    buyer.jobs_run.store(true, SeqCst);
    buyer.decisions.committed();
    buyer.answers(good(), Ok(signed())).await;
    drop(buyer.stop().await);
}

#[tokio::test]
async fn offerings_of_an_earlier_version_are_adopted_with_their_jobs() {
    let (dir, db) = database().await;
    let mut tx = db.begin().await.unwrap();
    let mut news = announces(1..=450);
    news.push(announced(good(), 500));
    events::record_all(&mut tx, &news).await.unwrap();
    offerings::advance_all(&mut tx, &news).await.unwrap();
    offerings::set_message(&mut tx, good().0, good().1, signed().wire().to_vec(), "DE").await.unwrap();
    for n in 1..=20 {
        let (agent, offering) = dead(n);
        privatix_jobs::push(&mut tx, &FetchOffering { agent, offering }, PushOptions::by("monitor"))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();

    assert_eq!(adopt_offerings(&db, Uptime::new(1_000)).await.unwrap(), 451);
    assert_eq!(adopt_offerings(&db, Uptime::new(1_000)).await.unwrap(), 0);
    let filter = Filter::new().kind(FetchOffering::KIND).status(JobStatus::Waiting);
    assert_eq!(privatix_jobs::list(&mut db.read().await.unwrap(), &filter).await.unwrap().jobs, []);
    let mut buyer = Buyer::over((dir, db), Arc::default());
    assert_eq!(buyer.visibility(good()).await.unlisted, None, "it counts as seen now");
    assert_eq!(buyer.visibility(dead(1)).await.unlisted, Some(Unlisted::NoMessage));
    let mut asked = BTreeSet::new();
    let mut replies = Vec::new();
    while asked.len() < 451 {
        let (key, reply) = buyer.next().await;
        asked.insert(key);
        reply.send(if key == good() { Ok(signed()) } else { silent() }).unwrap();
        replies.push(key);
    }
    assert_eq!(replies.len(), 451, "each once");
    drop(buyer.stop().await);
}
