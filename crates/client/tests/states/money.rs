//! The money of openings and top-ups: jobs that provide it, and the orders that they carry out.

mod tries;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use alloy::primitives::{B256, U256};
use alloy::sol_types::SolInterface as _;
use async_trait::async_trait;
use privatix_billing::{Percent, TopUpAmount, TopUpPolicy};
use privatix_chain::TxFilter;
use privatix_channel::{Amount, ChannelEvent, Fee, OnChain, Usage};
use privatix_client::{Fund, Funder, Funding, Funds as _, Limits, Payment, Purse, Turn};
use privatix_contracts::{IPSC, PSC::PSCCalls};
use privatix_db::Conn;
use privatix_jobs::{Filter, Job as _, JobRecord, JobStatus, JobsError, Processor};
use privatix_market::{
    Actual, Answered, BlockRef, ClientMessage, ClientOrder, ClientPolicy, ClientState, EffectId, Env, Fate,
    Fetched, Input, Opening, OrderId, Outcome, Refused, Stage, Trouble, Uptime,
};
use privatix_node::shell::NotApplied;
use privatix_node::{Balances, NodeError, Outlook as _};
use privatix_store::channels;
use privatix_store::orders::{self, Held, Order, Pot, Scope, What};
use privatix_testkit::wait_for;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::{AGENT, Base, LONG, Nobody, database, id};
use crate::support::{Calm, a, channel, terms};

/// Top-ups of 50 once 800 of 1,000 are used.
fn automatic() -> ClientPolicy {
    let percent = Percent::try_from(80).unwrap();
    let mut policy = ClientPolicy::default();
    policy.billing.top_up =
        Some(TopUpPolicy { percent, amount: TopUpAmount::Fixed(a(50)), max_deposit: None });
    policy
}

/// An account whose balances the test sets.
struct Account {
    contract: AtomicU64,
    wallet: AtomicU64,
    /// How many more questions are answered.
    answers: Semaphore,
    asked: mpsc::UnboundedSender<()>,
    /// What the next question for the wallet's turn fails with.
    trouble: Mutex<Option<NodeError>>,
    /// Questions for the balances fail.
    is_away: AtomicBool,
}

#[async_trait]
impl Purse for Account {
    async fn balances(&self) -> Result<Balances, NodeError> {
        self.asked.send(()).unwrap();
        self.answers.acquire().await.unwrap().forget();
        if self.is_away.load(SeqCst) {
            return Err(NodeError::NotRunning);
        }
        let (contract, wallet) = (self.contract.load(SeqCst).into(), self.wallet.load(SeqCst).into());
        Ok(Balances { ether: U256::ZERO, contract: a(contract), wallet: a(wallet) })
    }

    async fn turn(&self, _: Amount) -> Result<Arc<dyn Turn>, NodeError> {
        match self.trouble.lock().unwrap().take() {
            Some(error) => Err(error),
            None => Ok(Arc::new(Free)),
        }
    }
}

/// An allowance pays.
struct Free;

#[async_trait]
impl Turn for Free {
    async fn payment(&self, _: &mut Conn, _: EffectId) -> Result<Payment, NodeError> {
        Ok(Payment::Wallet { permit: IPSC::Permit::default(), after: None })
    }
}

/// A client without a chain: what it submits stays as it is.
struct Buyer {
    base: Base,
    funding: Funding,
    funder: Arc<Funder>,
    account: Arc<Account>,
    asked: mpsc::UnboundedReceiver<()>,
    running: Option<(CancellationToken, JoinHandle<Result<(), JobsError>>)>,
    /// How many seconds the clock of the jobs is ahead.
    ahead: Arc<AtomicU64>,
}

impl Deref for Buyer {
    type Target = Base;
    fn deref(&self) -> &Base {
        &self.base
    }
}

impl DerefMut for Buyer {
    fn deref_mut(&mut self) -> &mut Base {
        &mut self.base
    }
}

impl Buyer {
    /// With this much in the contract and in the wallet, whose jobs do not run yet.
    async fn with(contract: u64, wallet: u64, limits: Limits, policy: ClientPolicy) -> Self {
        let mut buyer = Self::unread(contract, wallet, limits, policy).await;
        assert_eq!(buyer.left().await, 0, "nothing is promised of a balance that is not known");
        buyer.read_balance().await;
        buyer
    }

    /// The same, and does not know that yet.
    async fn unread(contract: u64, wallet: u64, limits: Limits, policy: ClientPolicy) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let account = Arc::new(Account {
            contract: contract.into(),
            wallet: wallet.into(),
            answers: Semaphore::new(1_000),
            asked: sender,
            trouble: Mutex::default(),
            is_away: AtomicBool::new(false),
        });
        let calm = Arc::<Calm>::default();
        let funding = Funding::new(limits, calm.clone());
        let funds = Arc::new(funding.clone());
        let base = Base::new(database().await, policy, calm, funds, Arc::new(Nobody));
        let funder = Funder::new(base.db.clone(), base.decider.clone(), funding.clone(), account.clone());
        let funder = Arc::new(funder);
        Self { base, funding, funder, account, asked, running: None, ahead: Arc::default() }
    }

    /// With this much in the contract and in the wallet.
    async fn rich(contract: u64, wallet: u64) -> Self {
        let mut buyer = Self::with(contract, wallet, Limits::default(), ClientPolicy::default()).await;
        buyer.run();
        buyer
    }

    fn run(&mut self) {
        let ahead = self.ahead.clone();
        let processor = Processor::builder(self.db.clone())
            .clock(move || SystemTime::now() + Duration::from_secs(ahead.load(SeqCst)))
            .wake(self.jobs.clone())
            .register::<Fund, _>(self.funder.clone())
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        self.running = Some((stop.clone(), tokio::spawn(processor.run(stop))));
    }

    async fn stop(&mut self) {
        let (stop, processor) = self.running.take().unwrap();
        stop.cancel();
        processor.await.unwrap().unwrap();
    }

    /// Kills all jobs that run.
    async fn kill(&mut self) {
        let (_, processor) = self.running.take().unwrap();
        processor.abort();
        assert!(processor.await.unwrap_err().is_cancelled());
    }

    async fn read_balance(&mut self) {
        self.funder.read_balance().await.unwrap();
        self.asked.recv().await.unwrap();
    }

    /// From now on the account does not answer; [`answers`](Self::answers) ends that.
    fn hangs(&self) {
        self.account.answers.forget_permits(1_000);
    }

    fn answers(&self) {
        self.account.answers.add_permits(1_000);
    }

    /// The user accepts an offering.
    async fn accept(&self, nonce: u64, deposit: u128) -> Result<(), Refused> {
        let (id, descriptor) = channel(nonce);
        let mut tx = self.db.begin().await.unwrap();
        let mut env = Env::new(self.calm.uptime(), self.decider.policy());
        env.budget = self.funding.budget(&mut tx, AGENT).await.unwrap();
        let opening = Opening { terms: terms(), deposit: a(deposit), fee: Fee::ZERO };
        let begins = ClientState::accept(id, descriptor, &opening, &env)?;
        channels::insert(&mut tx, id, &descriptor, a(deposit)).await.unwrap();
        self.funding.take_opening(&mut tx, &begins.state, a(deposit), (None, "user")).await.unwrap();
        let applied = self.decider.begin(&mut tx, begins).await.unwrap();
        tx.commit().await.unwrap();
        self.decider.committed(&applied);
        Ok(())
    }

    /// The user orders a top-up under a key.
    async fn top_up(&self, nonce: u64, amount: u128, key: &str) -> Result<OrderId, NotApplied> {
        let mut tx = self.db.begin().await.unwrap();
        if let Some(before) = orders::of_key(&mut tx, key).await? {
            return Ok(before.id);
        }
        let order = orders::next(&mut tx).await?;
        let before = self.decider.load(&mut tx, id(nonce)).await?;
        let given = Input::Order(ClientOrder::TopUp { order, amount: a(amount) });
        let applied = self.decider.decide_in(&mut tx, &before, given).await?;
        orders::name(&mut tx, order, key, "user").await?;
        tx.commit().await.unwrap();
        self.decider.committed(&applied);
        Ok(order)
    }

    /// The channel's service runs, and this much was used.
    async fn uses(&self, used: u64) {
        let applied =
            self.decider.decide(id(0), Input::Peer(ClientMessage::Access(Fetched::default()))).await.unwrap();
        let (seq, answer) = (applied.state.own.service.asked.unwrap().seq, Answered::Did(Actual::Running));
        drop(self.decider.decide(id(0), Input::Adapter { seq, answer }).await.unwrap());
        let input = Input::Used { used: Usage::new(used), running: false };
        drop(self.decider.decide(id(0), input).await.unwrap());
    }

    /// Until a transaction of a channel is submitted. Returns its number.
    async fn until_sent(&mut self, nonce: u64) -> u32 {
        let sent = |state: &ClientState| {
            let mut flights = state.own.flights.iter();
            let found = flights.find(|flight| matches!(flight.stage, Stage::Sent { .. }));
            found.map(|flight| flight.seq).filter(|_| state.id == id(nonce))
        };
        sent(&self.until("sent", |state| sent(state).is_some()).await).unwrap()
    }

    /// What became of a transaction of a channel.
    async fn fate(&self, nonce: u64, seq: u32, fate: Fate) {
        let state = self.state(nonce).await;
        let purpose = state.own.flights.iter().find(|flight| flight.seq == seq).unwrap().purpose;
        drop(self.decider.decide(id(nonce), Input::Tx { seq, purpose, fate }).await.unwrap());
    }

    async fn stages(&self, nonce: u64) -> Vec<Stage> {
        self.state(nonce).await.own.flights.iter().map(|flight| flight.stage).collect()
    }

    async fn order(&self, order: u64) -> Order {
        orders::get(&mut self.db.read().await.unwrap(), OrderId(order)).await.unwrap().unwrap()
    }

    async fn outcome(&self, order: u64) -> Option<Outcome> {
        self.order(order).await.ended.map(|(outcome, _)| outcome)
    }

    /// Reserved and spent.
    async fn sums(&self, scope: Scope) -> (u128, u128) {
        let totals = orders::totals(&mut self.db.read().await.unwrap(), scope).await.unwrap();
        (totals.reserved.get(), totals.spent.get())
    }

    async fn left(&self) -> u128 {
        self.funding.budget(&mut self.db.read().await.unwrap(), AGENT).await.unwrap().left().get()
    }

    /// The names of the calls that were stored, the newest first, and the amounts that they take.
    async fn calls(&self) -> Vec<(&'static str, u128)> {
        let mut conn = self.db.read().await.unwrap();
        let all = self.transactor.list(&mut conn, &TxFilter::default()).await.unwrap();
        let call = |input: &[u8]| match PSCCalls::abi_decode(input).unwrap() {
            PSCCalls::open(call) => ("open", call.amount.to::<u128>()),
            PSCCalls::openWithPermit(call) => ("open_with_permit", call.amount.to::<u128>()),
            PSCCalls::topUp(call) => ("top_up", call.amount.to::<u128>()),
            PSCCalls::topUpWithPermit(call) => ("top_up_with_permit", call.amount.to::<u128>()),
            _ => panic!("another call"),
        };
        all.iter().map(|record| call(&record.intent.input)).collect()
    }
}

const fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::repeat_byte(7) }
}

const fn failed(trouble: Trouble) -> Outcome {
    Outcome::Failed(trouble)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_top_ups_are_both_carried_out() {
    let mut buyer = Buyer::rich(100, 0).await;
    buyer.open(0).await;
    assert_eq!(buyer.top_up(0, 30, "first").await.unwrap(), OrderId(1));
    assert_eq!(buyer.top_up(0, 30, "second").await.unwrap(), OrderId(2));
    assert_eq!(buyer.left().await, 40, "both are promised their tokens");
    let refused = buyer.top_up(0, 41, "third").await.unwrap_err();
    let expected = Refused::Budget { needed: a(41), left: a(40) };
    assert!(matches!(&refused, NotApplied::Refused(refused) if *refused == expected), "{refused}");

    let first = buyer.until_sent(0).await;
    assert_eq!(buyer.calls().await, [("top_up", 30)], "one after the other");
    assert_eq!(buyer.order(1).await.money.unwrap().pot, Some(Pot::Contract));
    buyer.fate(0, first, Fate::Mined(block(5))).await;
    assert_eq!(buyer.sums(Scope::All).await, (30, 30));
    assert_eq!(buyer.left().await, 40, "the balance that is known is one of before");
    buyer.account.contract.store(70, SeqCst);
    let deposit = a(1_030);
    buyer.happens(0, 5, ChannelEvent::ToppedUp { deposit, request_cancelled: false }).await;
    buyer.fate(0, first, Fate::Final).await;
    assert_eq!(buyer.outcome(1).await, Some(Outcome::Done));
    let second = buyer.until_sent(0).await;
    assert_eq!(buyer.calls().await, [("top_up", 30), ("top_up", 30)]);
    buyer.fate(0, second, Fate::Failed { lasting: false }).await;
    assert_eq!(buyer.outcome(2).await, Some(failed(Trouble::Failed)));
    assert_eq!((buyer.sums(Scope::All).await, buyer.left().await), ((0, 30), 70));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_is_paid_by_the_wallet_where_the_contract_holds_too_little() {
    let mut buyer = Buyer::rich(50, 80).await;
    buyer.accept(0, 60).await.unwrap();
    let order = buyer.order(1).await;
    assert_eq!((order.what, order.by.as_str()), (What::Open { deposit: a(60) }, "user"));
    let seq = buyer.until_sent(0).await;
    assert_eq!(buyer.calls().await, [("open_with_permit", 60)]);
    assert_eq!(buyer.order(1).await.money.unwrap().pot, Some(Pot::Wallet));
    // What the contract holds is promised to nobody. Fault 63: more was accepted, and ended as not opened.
    assert_eq!(buyer.left().await, 50);
    assert_eq!(buyer.accept(1, 51).await, Err(Refused::Budget { needed: a(51), left: a(50) }));
    buyer.accept(1, 50).await.unwrap();
    buyer.until_sent(1).await;
    assert_eq!(buyer.calls().await, [("open", 50), ("open_with_permit", 60)]);

    buyer.fate(0, seq, Fate::Mined(block(5))).await;
    buyer.account.wallet.store(20, SeqCst);
    buyer.happens(0, 5, ChannelEvent::Opened { deposit: a(60), fee: Fee::ZERO }).await;
    assert_eq!(buyer.outcome(1).await, Some(Outcome::Done));
    assert_eq!(buyer.sums(Scope::Pot(Pot::Wallet)).await, (0, 60));
    buyer.read_balance().await;
    assert_eq!(buyer.left().await, 20);
}

/// The event comes before the transaction's outcome here, so that no transaction shows that the tokens come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_an_opening_that_is_undone_are_reserved_again() {
    let mut buyer = Buyer::rich(100, 0).await;
    buyer.accept(0, 60).await.unwrap();
    buyer.until_sent(0).await;
    let opened = ChannelEvent::Opened { deposit: a(60), fee: Fee::ZERO };
    buyer.happens(0, 5, opened).await;
    assert_eq!((buyer.outcome(1).await, buyer.sums(Scope::All).await), (Some(Outcome::Done), (0, 60)));
    drop(buyer.decider.decide(id(0), Input::Chain(OnChain::default())).await.unwrap());
    assert_eq!((buyer.outcome(1).await, buyer.sums(Scope::All).await), (None, (60, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_a_reorganisation_gives_back_are_promised_again() {
    let mut buyer = Buyer::rich(100, 0).await;
    buyer.open(0).await;
    buyer.top_up(0, 60, "first").await.unwrap();
    let seq = buyer.until_sent(0).await;
    buyer.asked.recv().await.unwrap();
    for _ in 0..2 {
        buyer.fate(0, seq, Fate::Mined(block(5))).await;
        assert_eq!(buyer.order(1).await.money.unwrap().held, Held::Spent);
        buyer.account.contract.store(40, SeqCst);
        buyer.read_balance().await;
        assert_eq!(buyer.left().await, 40);
        buyer.fate(0, seq, Fate::Reinstated { batch: false }).await;
        assert_eq!(buyer.order(1).await.money.unwrap().held, Held::Reserved);
        buyer.account.contract.store(100, SeqCst);
        buyer.read_balance().await;
        assert_eq!((buyer.left().await, buyer.outcome(1).await), (40, None));
    }
    // Below the final block, too, and then it fails.
    buyer.fate(0, seq, Fate::Mined(block(5))).await;
    let purpose = buyer.state(0).await.own.flights[0].purpose;
    for (fate, sums) in [
        (Fate::Final, (0, 60)),
        (Fate::Reinstated { batch: false }, (60, 0)),
        (Fate::Failed { lasting: false }, (0, 0)),
    ] {
        drop(buyer.decider.decide(id(0), Input::Tx { seq, purpose, fate }).await.unwrap());
        assert_eq!(buyer.sums(Scope::All).await, sums, "{fate:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_is_not_there_ends_its_order() {
    let mut buyer = Buyer::rich(100, 0).await;
    buyer.accept(0, 60).await.unwrap();
    buyer.until_sent(0).await;
    // Somebody withdraws the rest.
    buyer.account.contract.store(39, SeqCst);
    buyer.accept(1, 40).await.unwrap();
    let gone = buyer.until("given up", |state| state.own.ending.is_some()).await;
    assert_eq!((gone.id, gone.own.flights.len()), (id(1), 0));
    assert_eq!(buyer.outcome(2).await, Some(failed(Trouble::Funds)));
    assert_eq!(buyer.sums(Scope::All).await, (60, 0));
    assert_eq!(buyer.calls().await, [("open", 60)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_by_itself_is_waited_for_and_a_key_that_fails_is_not() {
    let mut buyer = Buyer::rich(0, 100).await;
    *buyer.account.trouble.lock().unwrap() =
        Some(NodeError::Signing { what: "a permit", reason: "locked".to_owned() });
    buyer.accept(0, 60).await.unwrap();
    buyer.until("given up", |state| state.own.ending.is_some()).await;
    assert_eq!(buyer.outcome(1).await, Some(failed(Trouble::Key)));
    *buyer.account.trouble.lock().unwrap() = Some(NodeError::WalletBusy);
    buyer.accept(1, 60).await.unwrap();
    buyer.until_sent(1).await;
    assert_eq!(buyer.calls().await, [("open_with_permit", 60)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_not_wanted_any_more_gets_no_money() {
    let mut buyer = Buyer::rich(100, 0).await;
    buyer.hangs();
    buyer.accept(0, 60).await.unwrap();
    buyer.asked.recv().await.unwrap();
    // Fault 53: the user gives up while the account is asked.
    drop(buyer.decider.decide(id(0), Input::Order(ClientOrder::End)).await.unwrap());
    assert_eq!(buyer.outcome(1).await, Some(failed(Trouble::Cancelled)));
    buyer.answers();
    buyer.accept(1, 60).await.unwrap();
    buyer.until_sent(1).await;
    buyer.stop().await;
    assert_eq!(buyer.calls().await, [("open", 60)]);
    assert_eq!((buyer.stages(0).await, buyer.sums(Scope::All).await), (vec![], (60, 0)));
    // One that waits is taken back.
    buyer.accept(2, 30).await.unwrap();
    drop(buyer.decider.decide(id(2), Input::Order(ClientOrder::End)).await.unwrap());
    let waiting = Filter::new().status(JobStatus::Waiting);
    let waiting = privatix_jobs::list(&mut buyer.db.read().await.unwrap(), &waiting).await.unwrap();
    assert_eq!(waiting.jobs.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_killed_is_carried_on() {
    let mut buyer = Buyer::rich(100, 0).await;
    buyer.hangs();
    buyer.accept(0, 60).await.unwrap();
    buyer.asked.recv().await.unwrap();
    buyer.kill().await;
    assert_eq!(buyer.stages(0).await, [Stage::Funding]);
    // It has a job, though nobody runs it.
    buyer.funder.settle_cancelled(id(0)).await.unwrap();
    assert_eq!(buyer.stages(0).await, [Stage::Funding]);
    buyer.answers();
    buyer.run();
    buyer.until_sent(0).await;
    assert_eq!(buyer.calls().await, [("open", 60)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_what_waits_for_it() {
    let buyer = Buyer::with(100, 0, Limits::default(), ClientPolicy::default()).await;
    buyer.open(0).await;
    buyer.top_up(0, 30, "first").await.unwrap();
    buyer.top_up(0, 30, "second").await.unwrap();
    assert_eq!(buyer.top_up(0, 30, "first").await.unwrap(), OrderId(1), "it is the same order");
    let mut tx = buyer.db.begin().await.unwrap();
    let jobs = privatix_jobs::list(&mut tx, &Filter::new()).await.unwrap().jobs;
    let [job] = &jobs[..] else { panic!("not one job") };
    privatix_jobs::cancel(&mut tx, job.id).await.unwrap();
    tx.commit().await.unwrap();
    // Faults 19 and 48.
    buyer.funder.settle_cancelled(id(0)).await.unwrap();
    assert_eq!(buyer.outcome(1).await, Some(failed(Trouble::Cancelled)));
    // The next one goes on.
    for _ in 0..2 {
        assert_eq!((buyer.stages(0).await, buyer.outcome(2).await), (vec![Stage::Funding], None));
        buyer.funder.settle_cancelled(id(0)).await.unwrap();
    }
    buyer.funder.settle_cancelled(id(9)).await.unwrap(); // it has no state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_automatic_top_up_is_an_order_of_the_policy_within_the_budget() {
    let mut limits = Limits::default();
    limits.per_agent = Some(a(70));
    let buyer = Buyer::with(1_000, 0, limits, automatic()).await;
    buyer.open(0).await;
    buyer.uses(900).await;
    let order = buyer.order(1).await;
    assert_eq!(order.what, What::TopUp { amount: a(50), automatic: true });
    assert_eq!((order.by.as_str(), order.key, order.ended), ("policy", None, None));
    assert_eq!((buyer.left().await, buyer.sums(Scope::Agent(AGENT)).await), (20, (50, 0)));
    let refused = buyer.top_up(0, 21, "more").await.unwrap_err();
    assert!(matches!(refused, NotApplied::Refused(Refused::Budget { .. })), "{refused}");
    buyer.top_up(0, 20, "mine").await.unwrap();
    let order = buyer.order(2).await;
    assert_eq!((order.by.as_str(), order.key.as_deref()), ("user", Some("mine")));
    let seq = buyer.state(0).await.own.flights[0].seq;
    buyer.fate(0, seq, Fate::Unfunded(Trouble::Funds)).await;
    assert_eq!(buyer.outcome(1).await, Some(failed(Trouble::Funds)));
    assert_eq!((buyer.left().await, buyer.sums(Scope::Agent(AGENT)).await), (50, (20, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_automatic_top_up_above_the_budget_has_a_number_of_its_own() {
    let buyer = Buyer::with(49, 0, Limits::default(), automatic()).await;
    buyer.open(0).await;
    buyer.uses(900).await;
    assert_eq!(buyer.outcome(1).await, Some(failed(Trouble::Budget)));
    assert_eq!(buyer.sums(Scope::All).await, (0, 0));
    assert_eq!(buyer.top_up(0, 49, "mine").await.unwrap(), OrderId(2));
    assert_eq!(buyer.stages(0).await, [Stage::Funding]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_count_top_ups_that_a_backup_does_not_know() {
    let mut buyer = Buyer::rich(200, 0).await;
    buyer.accept(0, 60).await.unwrap();
    let seq = buyer.until_sent(0).await;
    buyer.fate(0, seq, Fate::Mined(block(5))).await;
    buyer.happens(0, 5, ChannelEvent::Opened { deposit: a(60), fee: Fee::ZERO }).await;
    // In the backup a top-up waits for its money.
    buyer.stop().await;
    buyer.top_up(0, 30, "waits").await.unwrap();
    assert_eq!(buyer.sums(Scope::All).await, (30, 60));

    // It was carried out since, and so was another one. They are seen with the first decision after the restore.
    *buyer.calm.kept_open.lock().unwrap() = Some(Uptime::new(1_000_000));
    for (number, deposit) in [(6, 90), (7, 110)] {
        let topped_up = ChannelEvent::ToppedUp { deposit: a(deposit), request_cancelled: false };
        buyer.happens(0, number, topped_up).await;
        assert_eq!(buyer.sums(Scope::All).await, (0, deposit));
        assert_eq!(buyer.sums(Scope::Agent(AGENT)).await, (0, deposit));
    }
    assert_eq!(buyer.outcome(2).await, Some(failed(Trouble::Restored)));
    assert_eq!(buyer.order(3).await.by, "found on chain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_automatic_top_up_waits_for_the_first_reading_of_the_balance() {
    let mut buyer = Buyer::unread(1_000, 0, Limits::default(), automatic()).await;
    buyer.open(0).await;
    buyer.uses(900).await;
    let state = buyer.state(0).await;
    assert_eq!((state.own.top_ups.len(), state.own.auto.tries, state.own.last_order), (0, 0, None));
    buyer.read_balance().await;
    let input = Input::Used { used: Usage::new(900), running: false }; // no session is stored here
    drop(buyer.decider.decide(id(0), input).await.unwrap());
    assert_eq!(buyer.order(1).await.what, What::TopUp { amount: a(50), automatic: true });
    assert_eq!(buyer.outcome(1).await, None);
}
