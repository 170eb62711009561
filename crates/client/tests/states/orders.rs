//! The user's orders: each has a number, is decided and stored at once, and is taken once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection as _;
use privatix_billing::{self as billing, Percent, TopUpAmount, TopUpPolicy};
use privatix_channel::{Amount, ChainTime, ChannelDescriptor, ChannelId, Domain, Fee};
use privatix_client::{
    ChannelOrders, Fund, Funder, Funding, Given, Limits, NodeError, Ordered, Purse, Turn, opening_nonce,
};
use privatix_contracts::call;
use privatix_db::on;
use privatix_jobs::{Filter, Job, JobStatus};
use privatix_market::*;
use privatix_node::{Balances, Limited};
use privatix_store::orders::{self, Held, What};
use privatix_store::{StoreError, states};

use crate::support::{Parts, Scene, a, channel, domain, id, terms};

/// An account with 1,500 in the contract.
struct Account;

#[async_trait]
impl Purse for Account {
    async fn balances(&self) -> Result<Balances, NodeError> {
        Ok(Balances { ether: U256::ZERO, contract: a(1_500), wallet: a(0) })
    }

    async fn turn(&self, _: Amount) -> Result<Arc<dyn Turn>, NodeError> {
        Err(NodeError::WalletBusy)
    }
}

/// The same scene, which keeps its orders.
fn taking_orders(scene: &mut Scene) -> ChannelOrders {
    taking_orders_within(scene, Limits::default(), ClientPolicy::default())
}

/// The same, within these limits.
fn taking_orders_within(scene: &mut Scene, limits: Limits, policy: ClientPolicy) -> ChannelOrders {
    let funding = Funding::new(limits, scene.calm.clone());
    scene.decider = scene.deciding_by(policy, Arc::new(funding.clone()));
    let (db, decider) = (scene.db.clone(), scene.decider.clone());
    let funder = Funder::new(db.clone(), decider.clone(), funding.clone(), Arc::new(Account));
    ChannelOrders::new(db, domain(), decider, funding, Arc::new(funder))
}

fn given(key: &str) -> Given {
    Given { key: Some(key.to_owned()), by: "a test".to_owned() }
}

async fn order(scene: &Scene, ordered: Ordered) -> orders::Order {
    orders::get(&mut scene.db.read().await.unwrap(), ordered.order).await.unwrap().unwrap()
}

async fn accept(
    orders: &ChannelOrders,
    nonce: u64,
    deposit: u128,
    given: Given,
) -> Result<Ordered, NodeError> {
    let opening = Opening { terms: terms(), deposit: a(deposit), fee: Fee::ZERO };
    orders.accept(&channel(nonce).1, &opening, given).await
}

async fn is_stored(scene: &Scene, channel: ChannelId) -> bool {
    states::is_stored(&mut scene.db.read().await.unwrap(), channel).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_is_not_promised_twice_and_what_is_refused_leaves_nothing() {
    let mut scene = Scene::empty(Parts::default()).await;
    let orders = taking_orders(&mut scene);
    let first = accept(&orders, 0, 1_000, Given::by_user()).await.unwrap();
    let stored = order(&scene, first).await;
    assert_eq!(
        (stored.what, stored.by.as_str(), stored.ended),
        (What::Open { deposit: a(1_000) }, "user", None)
    );
    assert_eq!(stored.money.unwrap().held, Held::Reserved);
    let filter = Filter::new().kind(Fund::KIND).status(JobStatus::Waiting);
    let jobs = privatix_jobs::list(&mut scene.db.read().await.unwrap(), &filter).await.unwrap().jobs;
    assert_eq!(jobs.len(), 1);

    let refused = accept(&orders, 1, 501, Given::by_user()).await.unwrap_err();
    let (needed, available) = (a(501), a(500));
    assert!(
        matches!(&refused, NodeError::Insufficient { needed: n, available: l, .. } if (*n, *l) == (needed, available)),
        "{refused}"
    );
    assert!(!is_stored(&scene, channel(1).0).await);
    let second = accept(&orders, 2, 500, Given::by_user()).await.unwrap();
    assert!(second.order > first.order);

    // Given up, its tokens are free for another one.
    orders.end(first.channel, Given::by_user()).await.unwrap();
    let ended = order(&scene, first).await;
    assert_eq!(ended.ended.unwrap().0, Outcome::Failed(Trouble::Cancelled));
    accept(&orders, 1, 501, Given::by_user()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_above_a_limit_is_refused_by_its_name() {
    let mut limits = Limits::default();
    (limits.overall, limits.daily, limits.per_agent) = (Some(a(1_400)), Some(a(1_300)), Some(a(1_300)));
    let mut scene = Scene::open(Parts::default()).await;
    let orders = taking_orders_within(&mut scene, limits, ClientPolicy::default());
    let limited = |refused: NodeError| match refused {
        NodeError::Limited(limited) => limited,
        refused => panic!("{refused}"),
    };
    let by_day = |needed, left| Limited::Daily { needed: a(needed), left: a(left) };
    let refused = accept(&orders, 1, 1_301, Given::by_user()).await.unwrap_err();
    assert_eq!(limited(refused), by_day(1_301, 1_300));
    accept(&orders, 1, 1_000, Given::by_user()).await.unwrap();
    let refused = orders.top_up(id(), a(301), Given::by_user()).await.unwrap_err();
    assert_eq!(limited(refused), by_day(301, 300), "an opening counts as a top-up does");
    let opening = Opening { terms: terms(), deposit: a(301), fee: Fee::ZERO };
    let refused = orders.may_accept(&channel(2).1, &opening).await.unwrap_err();
    assert_eq!(limited(refused), by_day(301, 300));
    assert_eq!(scene.state().await.own.top_ups, []);

    // On another day the next limit is the least.
    *scene.calm.now.lock().unwrap() = ChainTime::new(40_000 * 24 * 60 * 60);
    let refused = orders.top_up(id(), a(301), Given::by_user()).await.unwrap_err();
    let agent = channel(0).1.agent;
    assert_eq!(limited(refused), Limited::PerAgent { agent, needed: a(301), left: a(300) });
    orders.top_up(id(), a(300), Given::by_user()).await.unwrap();

    // Whom the user does not allow, and a fee above what is accepted.
    let mut policy = ClientPolicy::default();
    (policy.allowed, policy.accept_fee) = (Some(vec![Address::repeat_byte(1)]), Fee::ZERO);
    let orders = taking_orders_within(&mut scene, Limits::default(), policy.clone());
    let refused = accept(&orders, 3, 100, Given::by_user()).await.unwrap_err();
    assert_eq!(limited(refused), Limited::Agent { agent });
    policy.allowed = Some(vec![agent]);
    let orders = taking_orders_within(&mut scene, Limits::default(), policy);
    let opening = Opening { fee: Fee::MAX, deposit: a(100), terms: terms() };
    let refused = orders.accept(&channel(3).1, &opening, Given::by_user()).await.unwrap_err();
    assert_eq!(limited(refused), Limited::Fee { fee: Fee::MAX, accepted: Fee::ZERO });
    accept(&orders, 3, 100, Given::by_user()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_given_again_under_its_key_is_the_same() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    let opened = accept(&orders, 1, 1_000, given("open")).await.unwrap();
    // The caller did not see the answer, and draws another number for the channel.
    let again = accept(&orders, 2, 1_000, given("open")).await.unwrap();
    assert_eq!(again, Ordered { is_repeated: true, ..opened });
    assert!(!is_stored(&scene, channel(2).0).await);

    let first = orders.top_up(id(), a(200), given("more")).await.unwrap();
    let again = orders.top_up(id(), a(200), given("more")).await.unwrap();
    assert_eq!((again, scene.state().await.own.top_ups.len()), (Ordered { is_repeated: true, ..first }, 1));
    assert_eq!(order(&scene, first).await.by, "a test");
    let other = orders.top_up(id(), a(200), Given::by_user()).await.unwrap();
    assert!(other.order > first.order, "without a key it is another one");
    assert_eq!(scene.state().await.own.top_ups.len(), 2);

    let ended = orders.end(id(), given("end")).await.unwrap();
    let again = orders.end(id(), given("end")).await.unwrap();
    assert_eq!(again, Ordered { is_repeated: true, ..ended });
    for refused in [orders.close(id(), given("end")).await, orders.end(opened.channel, given("end")).await] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, NodeError::Store(StoreError::OrderKeyUsed { .. })), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_is_kept_with_what_became_of_it() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    let top_up = orders.top_up(id(), a(200), Given::by_user()).await.unwrap();
    let mut taken = vec![top_up];
    taken.push(orders.pause(id(), Given::by_user()).await.unwrap());
    taken.push(orders.resume(id(), Given::by_user()).await.unwrap());
    taken.push(orders.pause(id(), Given::by_user()).await.unwrap());
    assert_eq!(scene.state().await.own.service.target, Target::Suspended);
    taken.push(orders.close(id(), Given::by_user()).await.unwrap());
    assert!(taken.is_sorted_by_key(|ordered| ordered.order));

    let about = Subject::Channel(id());
    let mut conn = scene.db.read().await.unwrap();
    let mut stored = orders::of_subject(&mut conn, about, None, 10).await.unwrap();
    stored.reverse();
    let outcomes: Vec<_> = stored.iter().map(|order| (order.what, order.ended.map(|(o, _)| o))).collect();
    let done = Some(Outcome::Done);
    let expected = [
        // The close has ended it: nothing was sent.
        (What::TopUp { amount: a(200), automatic: false }, Some(Outcome::Failed(Trouble::Ended))),
        (What::Pause, done),
        (What::Resume, done),
        (What::Pause, done),
        (What::Close, done),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(
        stored.iter().map(|order| order.id).collect::<Vec<_>>(),
        taken.iter().map(|o| o.order).collect::<Vec<_>>()
    );
    drop(conn);
    let refused = orders.top_up(id(), a(1), Given::by_user()).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(_)), "{refused}");
    let unknown = orders.pause(channel(9).0, Given::by_user()).await.unwrap_err();
    assert!(matches!(unknown, NodeError::Store(StoreError::NoSuchChannel(_))), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_gives_up_what_waits_for_its_money_and_the_next_order_has_its_turn() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    let first = orders.top_up(id(), a(200), Given::by_user()).await.unwrap();
    let second = orders.top_up(id(), a(300), Given::by_user()).await.unwrap();
    let job_of = async |ordered| orders.job_of(&order(&scene, ordered).await).await.unwrap();
    assert_eq!(job_of(second).await, None, "it waits for the first");
    let job = job_of(first).await.unwrap();
    let mut tx = scene.db.begin().await.unwrap();
    privatix_jobs::cancel(&mut tx, job).await.unwrap();
    tx.commit().await.unwrap();

    // Whoever cancelled it says so.
    let record = privatix_jobs::get(&mut scene.db.read().await.unwrap(), job).await.unwrap();
    orders.job_cancelled(&record).await.unwrap();
    let cancelled = Some(Outcome::Failed(Trouble::Cancelled));
    assert_eq!(order(&scene, first).await.ended.map(|(outcome, _)| outcome), cancelled);
    assert_eq!(order(&scene, second).await.ended, None);
    assert!(job_of(second).await.is_some(), "no transaction waits for ever");
    orders.job_cancelled(&record).await.unwrap();
    assert_eq!(order(&scene, second).await.ended, None, "once is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_is_not_taken_for_a_cancelled_one() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    let ordered = orders.top_up(id(), a(200), Given::by_user()).await.unwrap();
    let job = orders.job_of(&order(&scene, ordered).await).await.unwrap().unwrap();
    let record = privatix_jobs::get(&mut scene.db.read().await.unwrap(), job).await.unwrap();
    orders.job_cancelled(&record).await.unwrap();
    assert_eq!(order(&scene, ordered).await.ended, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_an_opening_is_enough_to_find_it_again() {
    let mut scene = Scene::empty(Parts::default()).await;
    let orders = taking_orders(&mut scene);
    let opened = accept(&orders, 0, 1_000, given("open")).await.unwrap();
    let descriptor = channel(0).1;
    let (agent, offering) = (descriptor.agent, descriptor.offering);
    for deposit in [None, Some(a(1_000))] {
        for agent in [None, Some(agent)] {
            let again = orders.opened_as("open", (agent, offering), deposit).await.unwrap();
            assert_eq!(again, Some(Ordered { is_repeated: true, ..opened }));
        }
    }
    assert_eq!(orders.opened_as("another", (None, offering), None).await.unwrap(), None);
    // What was ordered under it is not another deposit, offering or agent.
    let (other, stranger) = (B256::repeat_byte(4).into(), Address::repeat_byte(4));
    let others = [
        orders.opened_as("open", (None, offering), Some(a(999))).await,
        orders.opened_as("open", (None, other), None).await,
        orders.opened_as("open", (Some(stranger), offering), None).await,
    ];
    for refused in others {
        assert!(matches!(refused, Err(NodeError::Store(StoreError::OrderKeyUsed { .. }))), "{refused:?}");
    }
    let opening = Opening { terms: terms(), deposit: a(1_000), fee: Fee::ZERO };
    let refused =
        orders.accept(&ChannelDescriptor { offering: other, ..descriptor }, &opening, given("open")).await;
    assert!(matches!(refused, Err(NodeError::Store(StoreError::OrderKeyUsed { .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_81_an_order_whose_database_is_lost_opens_no_second_channel() {
    // The channel was found on chain: no order of this database has opened it.
    let mut scene = Scene::open(Parts::default()).await;
    let orders = taking_orders(&mut scene);
    let descriptor = channel(0).1;
    let refused = orders.found_as(&descriptor, Some(a(999)), &given("open")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Store(StoreError::OrderKeyUsed { .. })), "{refused}");
    let again = accept(&orders, 0, 1_000, given("open")).await.unwrap();
    assert_eq!((again.channel, again.is_repeated), (id(), true));
    let stored = order(&scene, again).await;
    assert_eq!((stored.what, stored.key.as_deref()), (What::Open { deposit: a(1_000) }, Some("open")));
    assert_eq!(stored.money.unwrap().held, Held::Spent, "it is counted once");
    for deposit in [None, Some(a(1_000))] {
        assert_eq!(orders.found_as(&descriptor, deposit, &given("open")).await.unwrap(), Some(again));
    }
    assert_eq!(orders.list(None, None, 10).await.unwrap(), [stored]);
    assert_eq!(orders.found_as(&channel(1).1, None, &given("open")).await.unwrap(), None);
    assert_eq!(orders.found_as(&descriptor, None, &Given::by_user()).await.unwrap(), None);
    // Another key is another order, whose number is another one.
    let refused = orders.found_as(&descriptor, None, &given("another")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Store(StoreError::OrderKeyUsed { .. })), "{refused}");
}

#[test]
fn the_number_of_a_channel_follows_from_all_of_its_order() {
    let (client, agent, other) = (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
    let (offering, key) = (B256::repeat_byte(4).into(), "open");
    let of =
        |domain: &Domain, client, agent, offering, key| opening_nonce(domain, client, (agent, offering), key);
    let here = domain();
    let elsewhere = Domain::new(1, here.contract(), here.token());
    let nonce = of(&here, client, agent, offering, key);
    // What is stored elsewhere depends on it: it never changes.
    assert_eq!(nonce, of(&here, client, agent, offering, key));
    let others = [
        of(&elsewhere, client, agent, offering, key),
        of(&here, other, agent, offering, key),
        of(&here, client, other, offering, key),
        of(&here, client, agent, B256::repeat_byte(5).into(), key),
        of(&here, client, agent, offering, "open2"),
        of(&here, client, agent, offering, ""),
    ];
    let all: BTreeSet<u64> = others.into_iter().chain([nonce]).collect();
    assert_eq!(all.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_78_a_channel_whose_voucher_cannot_be_read_is_closed_by_order() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    scene.uses(60).await;
    scene
        .give(Input::Peer(ClientMessage::Paid {
            acknowledged: a(40),
            ended: false,
            carried: Carried::default(),
        }))
        .await;
    let refused = orders.abandon(id(), Given::by_user()).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(why) if why.contains("can be read")), "{refused}");
    let mut tx = scene.db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE vouchers SET signature = zeroblob(65)").await).unwrap();
    tx.commit().await.unwrap();

    orders.close(id(), Given::by_user()).await.unwrap();
    let seq = scene.state().await.own.service.asked.unwrap().seq;
    scene.give(Input::Adapter { seq, answer: Answered::Did(Actual::Absent) }).await;
    scene.calm.wait(Duration::from_hours(100));
    scene.give(Input::Look).await;
    assert_eq!(scene.transactions().await, [], "nothing is admitted without the user's word");
    let ordered = orders.abandon(id(), given("abandon")).await.unwrap();
    let again = orders.abandon(id(), given("abandon")).await.unwrap();
    assert_eq!(again, Ordered { is_repeated: true, ..ordered });
    assert_eq!(order(&scene, ordered).await.what, What::Abandon);
    // More than what can be read is due, and cannot be signed: that is tried a few times.
    for _ in 0..3 {
        scene.calm.wait(Duration::from_mins(2));
        scene.give(Input::Look).await;
    }
    let [sent] = &scene.transactions().await[..] else { panic!("not one transaction") };
    let admits = call::request_close(&channel(0).1, a(40)).abi_encode();
    assert_eq!(sent.intent.input, admits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_claims_after_a_restore_is_accepted_by_its_amount() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    let refused = orders.accept_claim(id(), a(90), Given::by_user()).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(why) if why.contains("claims nothing")), "{refused}");
    *scene.calm.kept_open.lock().unwrap() = Some(Uptime::new(1_000_000));
    scene.give(Input::Peer(ClientMessage::Stale { acknowledged: a(90), carried: Carried::default() })).await;
    assert_eq!(orders.claimed(id()).await.unwrap(), Some(a(90)));
    assert_eq!(scene.state().await.own.service.target, Target::Suspended);
    // The user decides about the amount that was shown, and not about whatever the agent claims by now.
    let refused = orders.accept_claim(id(), a(80), Given::by_user()).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(why) if why.contains("claims 90")), "{refused}");
    assert_eq!(orders.claimed(id()).await.unwrap(), Some(a(90)));

    let accepted = orders.accept_claim(id(), a(90), given("claim")).await.unwrap();
    let stored = order(&scene, accepted).await;
    assert_eq!((stored.what, stored.ended.unwrap().0), (What::AcceptClaim { claimed: a(90) }, Outcome::Done));
    assert_eq!(orders.claimed(id()).await.unwrap(), None);
    let state = scene.state().await;
    assert_eq!((state.own.service.target, state.own.ending), (Target::Running, None));
    let again = orders.accept_claim(id(), a(90), given("claim")).await.unwrap();
    assert_eq!(again, Ordered { is_repeated: true, ..accepted });
    let refused = orders.accept_claim(id(), a(95), given("claim")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Store(StoreError::OrderKeyUsed { .. })), "{refused}");
    // A higher claim is another one.
    scene.give(Input::Peer(ClientMessage::Stale { acknowledged: a(95), carried: Carried::default() })).await;
    assert_eq!(orders.claimed(id()).await.unwrap(), Some(a(95)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channels_own_policy_is_stored_and_followed_and_what_is_refused_leaves_nothing() {
    let mut scene = Scene::served().await;
    let orders = taking_orders(&mut scene);
    let top_up = |amount, most: Option<u128>| {
        let percent = Percent::try_from(50).unwrap();
        let top_up = TopUpPolicy { percent, amount, max_deposit: most.map(a) };
        billing::ClientPolicy { top_up: Some(top_up), ..Default::default() }
    };
    assert_eq!(orders.billing(id()).await.unwrap(), (billing::ClientPolicy::default(), false));
    let never = top_up(TopUpAmount::Double, Some(1_000));
    let refused = orders.set_billing(id(), Some(never), Given::by_user()).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(why) if why.contains("deposit is 1000")), "{refused}");
    assert_eq!(orders.list(Some(id()), None, 10).await.unwrap(), []);
    assert_eq!(scene.state().await.own.billing, None);

    let own = top_up(TopUpAmount::Fixed(a(300)), None);
    let ordered = orders.set_billing(id(), Some(own), given("own")).await.unwrap();
    let stored = order(&scene, ordered).await;
    assert_eq!(
        (stored.what, stored.ended.unwrap().0),
        (What::SetBilling { policy: Some(own) }, Outcome::Done)
    );
    let again = orders.set_billing(id(), Some(own), given("own")).await.unwrap();
    assert_eq!(again, Ordered { is_repeated: true, ..ordered });
    assert_eq!(orders.billing(id()).await.unwrap(), (own, true), "as the database has it");

    // It gives the orders of top-ups, once the balance is known; cleared, nothing does.
    let opening = Opening { terms: terms(), deposit: a(1), fee: Fee::ZERO };
    orders.may_accept(&channel(1).1, &opening).await.unwrap();
    scene.uses(600).await;
    let newest = orders.list(Some(id()), None, 1).await.unwrap();
    assert_eq!(newest[0].what, What::TopUp { amount: a(300), automatic: true });
    orders.set_billing(id(), None, Given::by_user()).await.unwrap();
    assert_eq!(orders.billing(id()).await.unwrap(), (orders.default_billing(), false));
}
