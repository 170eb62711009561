//! What agents are asked, and what their answers come to.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_channel::{ChannelDescriptor, SignedVoucher, Usage};
use privatix_client::{
    Agents, AskPeer, AskStranger, Asker, Asking, Deliveries, Funding, GivenAccess, Heard, Limits, Unheard,
    outgoing,
};
use privatix_jobs::{JobsError, Processor};
use privatix_market::{
    AccessStatus, Actual, Answered, Ask, ClientEnd, ClientOrder, ClientPolicy, ClientState, Input, Reach,
    Target,
};
use privatix_node::NodeError;
use privatix_somc::Refusal;
use privatix_store::channels::{self, StoredAccess};
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::{Base, LONG, database, id};
use crate::support::{Calm, a, terms};

/// A question that reached the agent.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Access,
    Terms,
    Pay(u128),
    Ping,
}

enum Said {
    Access,
    /// The same at another address, by this number.
    Moved(u32),
    Terms,
    Paid(u128),
    Pong,
}

/// An agent whose answers the test gives, one for each question.
struct Agent(mpsc::UnboundedSender<(Asked, oneshot::Sender<Result<Said, Unheard>>)>);

impl Agent {
    async fn ask(&self, what: Asked) -> Result<Said, Unheard> {
        let (answer, answered) = oneshot::channel();
        self.0.send((what, answer)).unwrap();
        match answered.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await, // it never answers
        }
    }
}

fn access() -> StoredAccess {
    let endpoint = serde_json::json!({ "address": "192.0.2.1" });
    StoredAccess { username: "user".to_owned(), password: "secret".to_owned(), endpoint }
}

fn elsewhere() -> StoredAccess {
    StoredAccess { endpoint: serde_json::json!({ "address": "192.0.2.2" }), ..access() }
}

#[async_trait]
impl Agents for Agent {
    async fn access(&self, _: &ChannelDescriptor) -> Result<GivenAccess, Unheard> {
        Ok(match self.ask(Asked::Access).await? {
            Said::Moved(number) => GivenAccess { access: elsewhere(), number: Some(number) },
            _ => GivenAccess { access: access(), number: None },
        })
    }

    async fn terms(&self, _: &ChannelDescriptor) -> Result<Arc<Terms>, Unheard> {
        self.ask(Asked::Terms).await.map(|_| terms())
    }

    async fn pay(&self, _: &ChannelDescriptor, voucher: SignedVoucher, _: Usage) -> Result<Heard, Unheard> {
        match self.ask(Asked::Pay(voucher.cumulative().get())).await? {
            Said::Paid(acknowledged) => Ok(Heard::Acknowledged(a(acknowledged))),
            _ => panic!("another answer"),
        }
    }

    async fn ping(&self, _: &ChannelDescriptor) -> Result<(), Unheard> {
        self.ask(Asked::Ping).await.map(drop)
    }
}

fn refused(refusal: Refusal) -> Result<Said, Unheard> {
    Err(Unheard::Refused(refusal))
}

fn silent() -> Result<Said, Unheard> {
    Err(Unheard::Silent("nobody there".to_owned()))
}

/// A client whose questions reach an agent.
struct Caller {
    base: Base,
    questions: mpsc::UnboundedReceiver<(Asked, oneshot::Sender<Result<Said, Unheard>>)>,
    stop: CancellationToken,
    jobs: JoinHandle<Result<(), JobsError>>,
}

impl Deref for Caller {
    type Target = Base;
    fn deref(&self) -> &Base {
        &self.base
    }
}

impl DerefMut for Caller {
    fn deref_mut(&mut self) -> &mut Base {
        &mut self.base
    }
}

impl Caller {
    async fn new() -> Self {
        let calm = Arc::<Calm>::default();
        let funding = Funding::new(Limits::default(), calm.clone());
        let (outgoing, wanted) = outgoing();
        let asks = Arc::new(Asking::new(outgoing));
        let base = Base::new(database().await, ClientPolicy::default(), calm, Arc::new(funding), asks);
        let (sender, questions) = mpsc::unbounded_channel();
        let agents: Arc<dyn Agents> = Arc::new(Agent(sender));
        let (db, decider) = (base.db.clone(), base.decider.clone());
        let asker = Arc::new(Asker::new(db.clone(), decider.clone(), base.runner.clone(), agents.clone()));
        let processor = Processor::builder(db.clone())
            .wake(base.jobs.clone())
            .register::<AskPeer, _>(asker.clone())
            .register::<AskStranger, _>(asker)
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let jobs = tokio::spawn(processor.run(stop.clone()));
        tokio::spawn(Deliveries::new(db, decider, base.runner.clone(), agents, wanted).run(stop.clone()));
        Self { base, questions, stop, jobs }
    }

    /// With a channel of 1,000 that is open, and to which the agent gave access.
    async fn served() -> Self {
        let mut caller = Self::new().await;
        caller.open(0).await;
        caller.next(&Asked::Access).await.send(Ok(Said::Access)).ok().unwrap();
        let served = caller.until("access", |state| state.own.access == AccessStatus::Here).await;
        let (seq, answer) = (served.own.service.asked.unwrap().seq, Answered::Did(Actual::Running));
        drop(caller.decider.decide(id(0), Input::Adapter { seq, answer }).await.unwrap());
        caller
    }

    /// The next question, which must be this one, and the way back.
    async fn next(&mut self, what: &Asked) -> oneshot::Sender<Result<Said, Unheard>> {
        let asked = tokio::time::timeout(LONG, self.questions.recv()).await;
        let (asked, answer) = asked.unwrap().unwrap();
        assert_eq!(asked, *what);
        answer
    }

    async fn answers(&mut self, what: &Asked, answer: Result<Said, Unheard>) {
        self.next(what).await.send(answer).ok().unwrap();
    }

    /// This much was used so far.
    async fn uses(&self, used: u64) {
        let input = Input::Used { used: Usage::new(used), running: true };
        drop(self.decider.decide(id(0), input).await.unwrap());
    }

    /// Time passes, and the channel is looked at.
    async fn wait(&self, pause: Duration) {
        self.calm.wait(pause);
        drop(self.decider.decide(id(0), Input::Look).await.unwrap());
    }

    async fn stored_access(&self) -> Option<StoredAccess> {
        channels::get(&mut self.db.read().await.unwrap(), id(0)).await.unwrap().access
    }
}

fn asks(state: &ClientState) -> Vec<Ask> {
    state.own.requests.iter().map(|request| request.what).collect()
}

fn is_paused(state: &ClientState) -> bool {
    state.own.requests.iter().all(|request| request.until.is_none())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_is_asked_for_until_it_is_here_and_is_stored_with_the_decision() {
    let mut caller = Caller::new().await;
    caller.open(0).await;
    // Asked again by the same request, after the time that the agent named.
    let retry_after = Duration::from_millis(1);
    for _ in 0..2 {
        caller.answers(&Asked::Access, refused(Refusal::not_ready(retry_after))).await;
    }
    let unusable = Unheard::Unusable("for somebody else".to_owned());
    caller.answers(&Asked::Access, Err(unusable)).await;
    caller.until("paused", |state| asks(state) == [Ask::Access] && is_paused(state)).await;
    caller.wait(Duration::from_secs(1)).await;
    caller.answers(&Asked::Access, silent()).await;
    caller.until("silent", |state| state.own.peer == Reach::Silent).await;
    assert_eq!(caller.stored_access().await, None);
    caller.wait(Duration::from_secs(2)).await;
    caller.answers(&Asked::Access, Ok(Said::Access)).await;
    let state = caller.until("access", |state| state.own.access == AccessStatus::Here).await;
    assert_eq!((asks(&state), state.own.peer), (vec![], Reach::Answers));
    assert_eq!(caller.stored_access().await, Some(access()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_that_leads_nowhere_is_asked_for_again_and_replaced_by_another_one() {
    let mut caller = Caller::served().await;
    drop(caller.decider.decide(id(0), Input::Reached(false)).await.unwrap());
    caller.answers(&Asked::Access, Ok(Said::Access)).await;
    let same = caller.until("the same", |state| state.own.refetch.tries == 1).await;
    assert_eq!((same.own.service.asked, caller.stored_access().await), (None, Some(access())));
    caller.wait(Duration::from_secs(5)).await;
    let asked = caller.next(&Asked::Access).await;
    assert_eq!(caller.state(0).await.own.service.target, Target::Running, "what is here stays in use");
    asked.send(Ok(Said::Moved(7))).ok().unwrap();
    let moved = caller.until("another one", |state| state.own.access_number == Some(7)).await;
    assert!(moved.own.service.afresh && moved.own.service.asked.is_some());
    assert_eq!(caller.stored_access().await, Some(elsewhere()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_refuses_access_for_good_ends_the_service() {
    let mut caller = Caller::new().await;
    caller.open(0).await;
    caller.answers(&Asked::Access, refused(Refusal::ServiceTerminated)).await;
    let state = caller.until("ended", |state| state.own.ending.is_some()).await;
    assert_eq!(state.own.ending.unwrap().why, ClientEnd::NoAccess);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_asked_for_any_more_has_no_effect() {
    let mut caller = Caller::new().await;
    caller.open(0).await;
    let late = caller.next(&Asked::Access).await;
    drop(caller.decider.decide(id(0), Input::Order(ClientOrder::End)).await.unwrap());
    late.send(Ok(Said::Access)).ok().unwrap();
    caller.stop.cancel();
    (&mut caller.jobs).await.unwrap().unwrap();
    let state = caller.state(0).await;
    assert_eq!((state.own.access, caller.stored_access().await), (AccessStatus::None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_ends_with_its_time() {
    let mut caller = Caller::new().await;
    caller.open(0).await;
    let hangs = caller.next(&Asked::Access).await;
    // Its time is over before its job knows: the next one is asked once that has ended.
    caller.wait(Duration::from_mins(1)).await;
    let late = caller.until("over", |state| state.own.unasked && is_paused(state)).await;
    assert_eq!(late.own.peer, Reach::Unknown, "nobody has reported that it does not answer");
    caller.wait(Duration::from_secs(1)).await;
    caller.until("again", |state| asks(state) == [Ask::Access] && !is_paused(state)).await;
    hangs.send(silent()).ok().unwrap();
    caller.answers(&Asked::Access, Ok(Said::Access)).await;
    caller.until("access", |state| state.own.access == AccessStatus::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silence_of_an_agent_counts_once_its_job_reports_it() {
    let mut caller = Caller::new().await;
    caller.open(0).await;
    let hangs = caller.next(&Asked::Access).await;
    caller.wait(Duration::from_mins(1)).await;
    caller.until("over", |state| state.own.unasked).await;
    hangs.send(silent()).ok().unwrap();
    let state = caller.until("silent", |state| state.own.peer == Reach::Silent).await;
    assert!(!state.own.unasked && is_paused(&state));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_82_a_request_whose_job_runs_too_late_says_nothing_of_the_agent() {
    let mut caller = Caller::new().await;
    caller.stop.cancel();
    (&mut caller.jobs).await.unwrap().unwrap();
    caller.open(0).await;
    caller.wait(Duration::from_mins(1)).await;
    let state = caller.state(0).await;
    assert_eq!((state.own.peer, state.own.unasked), (Reach::Unknown, true));
    assert!(is_paused(&state));
    assert!(caller.questions.try_recv().is_err(), "nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_nothing_of_the_agent_is_not_decided() {
    let mut caller = Caller::new().await;
    caller.open(0).await;
    let ours = Unheard::Ours(NodeError::AdapterStarting);
    caller.answers(&Asked::Access, Err(ours)).await;
    caller.answers(&Asked::Access, Ok(Said::Access)).await; // the same job again
    let state = caller.until("access", |state| state.own.access == AccessStatus::Here).await;
    assert_eq!(state.own.seq, 2, "access, and the request to the adapter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vouchers_go_one_at_a_time_and_the_best_one_next() {
    let mut caller = Caller::served().await;
    caller.uses(10).await;
    let first = caller.next(&Asked::Pay(10)).await;
    for used in [20, 30] {
        caller.uses(used).await;
    }
    first.send(Ok(Said::Paid(10))).ok().unwrap();
    let second = caller.next(&Asked::Pay(30)).await;
    let state = caller.until("ten", |state| state.book.acknowledged == a(10)).await;
    assert_eq!((state.book.best, state.own.peer), (a(30), Reach::Answers));
    second.send(Ok(Said::Paid(30))).ok().unwrap();
    let state = caller.until("thirty", |state| state.book.acknowledged == a(30)).await;
    assert_eq!(asks(&state), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voucher_that_is_not_answered_is_decided_to_be_sent_again() {
    let mut caller = Caller::served().await;
    caller.uses(10).await;
    caller.answers(&Asked::Pay(10), silent()).await;
    let state = caller.until("silent", |state| state.own.peer == Reach::Silent).await;
    assert_eq!((asks(&state), is_paused(&state)), (vec![Ask::Voucher], true));
    caller.wait(Duration::from_secs(1)).await;
    caller.answers(&Asked::Pay(10), Ok(Said::Paid(10))).await;
    caller.until("acknowledged", |state| state.book.acknowledged == a(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_claims_more_than_was_signed_is_left() {
    let mut caller = Caller::served().await;
    caller.uses(10).await;
    caller.answers(&Asked::Pay(10), refused(Refusal::Stale { acknowledged: a(11) })).await;
    let state = caller.until("ended", |state| state.own.ending.is_some()).await;
    assert_eq!(state.own.ending.unwrap().why, ClientEnd::AgentClaimsMore);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_must_not_be_contacted_ends_the_service() {
    let mut caller = Caller::served().await;
    caller.uses(10).await;
    caller.answers(&Asked::Pay(10), Err(Unheard::NotPermitted("no onion service".to_owned()))).await;
    let state = caller.until("ended", |state| state.own.ending.is_some()).await;
    assert_eq!(state.own.ending.unwrap().why, ClientEnd::Excluded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_was_found_on_chain_learns_its_terms_before_it_has_access() {
    let mut caller = Caller::new().await;
    caller.open_with(0, None).await;
    caller.answers(&Asked::Terms, silent()).await;
    caller.until("silent", |state| state.own.peer == Reach::Silent).await;
    caller.wait(Duration::from_secs(1)).await;
    caller.answers(&Asked::Terms, Ok(Said::Terms)).await;
    caller.answers(&Asked::Access, Ok(Said::Access)).await;
    let state = caller.until("access", |state| state.own.access == AccessStatus::Here).await;
    assert_eq!(state.terms, Some(terms()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_asked_whether_it_is_there_before_an_idle_channel_is_given_up() {
    for used in [0, 10] {
        let mut caller = Caller::served().await;
        if used > 0 {
            caller.uses(used).await;
            caller.answers(&Asked::Pay(10), Ok(Said::Paid(10))).await;
            caller.until("paid", |state| state.book.acknowledged == a(10)).await;
        }
        caller.wait(Duration::from_hours(10)).await;
        if used > 0 {
            caller.answers(&Asked::Pay(10), Ok(Said::Paid(10))).await; // by a repetition
        } else {
            caller.answers(&Asked::Ping, Ok(Said::Pong)).await;
        }
        let state = caller.until("given up", |state| state.own.ending.is_some()).await;
        assert_eq!(state.own.ending.unwrap().why, ClientEnd::Inactive);
    }
}
