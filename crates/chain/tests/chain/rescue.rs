//! An account that stands in for another one, which cannot do in time what must be done.

use std::path::Path;

use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::signers::local::PrivateKeySigner;
use privatix_chain::{
    Cancelled, Deadline, Ending, Endpoints, FeePolicy, Finality, Intent, Keyring, Obstacle, Priority,
    Transactor, TransactorBuilder, TxChange, TxId, TxRecord, TxStatus, TxUpdate,
};
use privatix_channel::Period;
use privatix_db::Database;
use privatix_testkit::{Anvil, Fault, Process, Rule, Script, temp_dir, wait_for, wait_until};

use serde_json::{Value, json};

use crate::support::{
    BACKOFF, FaultProxy, Outcomes, PATIENCE, POLL, Running, Verdict, emitter, ended, fresh, http, open,
    submit, transactor, until, within,
};

const GWEI: u128 = 1_000_000_000;
const ETHER: u128 = 1_000_000_000 * GWEI;
/// Who stands in.
const RESCUER: usize = 2;

/// An answer of account 1, with most of its time left. What it and its fallback do shows as logs.
async fn answer(anvil: &Anvil, contract: Address) -> Intent {
    let now = anvil.time().await.unwrap().seconds();
    Intent::new("answer", anvil.account(1), contract, b"by itself".to_vec())
        .kind("answer")
        .subject("channel")
        .priority(Priority::Urgent)
        .deadline(Deadline::new(now + 3_500, 3_600))
        .stake(ETHER)
        .repeatable()
        .fallback(contract, b"by its rescue".to_vec())
}

/// The same, with hardly any time left.
async fn pressed(anvil: &Anvil, contract: Address) -> Intent {
    let now = anvil.time().await.unwrap().seconds();
    answer(anvil, contract).await.deadline(Deadline::new(now + 600, 1_000_000))
}

fn with_rescue(db: &Database, url: &str, anvil: &Anvil) -> TransactorBuilder {
    transactor(db, http(url), anvil).rescue(anvil.account(RESCUER))
}

async fn rescue_of(db: &Database, transactor: &Transactor, id: TxId) -> Option<TxRecord> {
    transactor.rescue_of(&mut db.read().await.unwrap(), id).await.unwrap()
}

async fn rescued(db: &Database, transactor: &Transactor, id: TxId) -> TxRecord {
    wait_for("the rescue", PATIENCE, async || rescue_of(db, transactor, id).await.ok_or("none"))
        .await
        .unwrap()
}

/// Waits until an intent is as wished, although the change is none of its own.
async fn found(
    db: &Database,
    transactor: &Transactor,
    id: TxId,
    wish: impl Fn(&TxRecord) -> bool,
) -> TxRecord {
    wait_for("the intent", PATIENCE, async || {
        let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
        if wish(&record) { Ok(record) } else { Err(format!("{record:?}")) }
    })
    .await
    .unwrap()
}

async fn logs(anvil: &Anvil, contract: Address) -> Vec<String> {
    let filter = Filter::new().address(contract).from_block(0);
    let logs = anvil.provider().get_logs(&filter).await.unwrap();
    logs.into_iter().map(|log| String::from_utf8(log.data().data.to_vec()).unwrap()).collect()
}

fn is_poor(record: &TxRecord) -> bool {
    matches!(record.obstacle, Some(Obstacle::InsufficientFunds { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rescue_account_sends_the_fallback_when_there_is_no_ether() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let sink = Outcomes::default();
    anvil.set_balance(anvil.account(1), U256::ZERO).await.unwrap();
    let transactor = with_rescue(&db, anvil.url(), &anvil).build(sink.clone());
    let running = Running::transactor(&transactor);
    let asked = answer(&anvil, contract).await;
    let id = submit(&db, &transactor, asked.clone()).await;
    let child = rescued(&db, &transactor, id).await;
    let child = ended(&db, &transactor, child.id).await;
    assert_eq!((child.status, child.parent), (TxStatus::Mined, Some(id)));
    let Intent { key, from, kind, subject, .. } = &child.intent;
    assert_eq!((key.as_str(), kind.as_str(), subject.as_str()), ("rescue:answer", "rescue", "channel"));
    assert_eq!(*from, anvil.account(RESCUER));
    assert_eq!((child.intent.stake, child.intent.deadline), (asked.stake, asked.deadline));
    assert_eq!(logs(&anvil, contract).await, ["by its rescue"]);

    // Its parent goes on as an ordinary one, whose outcome alone concerns the submitter.
    let parent = found(&db, &transactor, id, |record| record.relieved).await;
    assert!(parent.status.is_open() && is_poor(&parent), "{parent:?}");
    let Intent { priority, deadline, stake, .. } = parent.intent;
    assert_eq!((priority, deadline, stake), (Priority::Normal, None, None));
    assert_eq!(Outcomes::rows(&db).await, []);
    assert_eq!(sink.own_changes(), [(child.id, TxChange::Mined), (child.id, TxChange::Final)]);
    anvil.set_balance(anvil.account(1), U256::from(ETHER)).await.unwrap();
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    assert_eq!(logs(&anvil, contract).await, ["by its rescue", "by itself"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_a_signer_is_stood_in_for_after_a_while() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let keys = Keyring::new([anvil.key(RESCUER)]);
    let transactor = Transactor::builder(db.clone(), http(anvil.url()), anvil.chain_id(), keys)
        .confirmations(0)
        .poll_interval(POLL)
        .rescue(anvil.account(RESCUER))
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let far = anvil.time().await.unwrap().seconds() + 3_600;
    // An eighth of its window is waited for, a second.
    let asked = answer(&anvil, contract).await.deadline(Deadline::new(far, 8));
    let begin = std::time::Instant::now();
    let id = submit(&db, &transactor, asked).await;
    let child = rescued(&db, &transactor, id).await;
    assert!(begin.elapsed().as_secs() >= 1);
    assert_eq!(ended(&db, &transactor, child.id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_with_time_and_ether_has_no_rescue_and_neither_has_one_without_a_fallback() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let transactor = with_rescue(&db, anvil.url(), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let calm = submit(&db, &transactor, answer(&anvil, contract).await).await;
    until(&db, &transactor, calm, "its broadcast", |record| record.status == TxStatus::Sent).await;
    let mut bare = pressed(&anvil, contract).await;
    (bare.key, bare.fallback) = ("bare".into(), None);
    let bare = submit(&db, &transactor, bare).await;
    until(&db, &transactor, bare, "its broadcast", |record| record.status == TxStatus::Sent).await;
    // Its passes have looked at both.
    let mut pressed = pressed(&anvil, contract).await;
    pressed.key = "pressed".into();
    let pressed = submit(&db, &transactor, pressed).await;
    rescued(&db, &transactor, pressed).await;
    assert_eq!(rescue_of(&db, &transactor, calm).await, None);
    assert_eq!(rescue_of(&db, &transactor, bare).await, None);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_whose_block_endpoints_contradict_each_other_is_stood_in_for() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    anvil.set_automine(false).await.unwrap();
    let (_dir, db) = fresh().await;
    let liar = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let endpoints = Endpoints::new(http(&liar.url()), [http(&second.url())]);
    let transactor =
        transactor(&db, endpoints, &anvil).rescue(anvil.account(RESCUER)).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let now = anvil.time().await.unwrap().seconds();
    let asked = answer(&anvil, contract).await.deadline(Deadline::new(now + 3_000, 4_000));
    let id = submit(&db, &transactor, asked).await;
    let sent = until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    let shown = attempts[0].hash;

    // Both have counted its nonce, and one of them shows it in a block that the other one has without it.
    let block = anvil.provider().get_block_by_number(1.into()).await.unwrap().unwrap().header.hash;
    let account = json!(sent.intent.from);
    let counts = move |method: &str, params: &Value| {
        (method == "eth_getTransactionCount"
            && params[0].as_str().map(str::to_lowercase) == account.as_str().map(str::to_lowercase))
        .then(|| Verdict::Change(Box::new(|_| json!("0x1"))))
    };
    let of_second = counts.clone();
    second.rule(move |method, params| of_second(method, params).unwrap_or(Verdict::Forward));
    liar.rule(move |method, params| match method {
        "eth_getTransactionReceipt" if params[0] == json!(shown) => Verdict::Change(Box::new(move |_| {
            json!({
                "transactionHash": shown, "blockNumber": "0x1", "blockHash": block,
                "status": "0x1", "gasUsed": "0x5208", "logs": [],
            })
        })),
        _ => counts(method, params).unwrap_or(Verdict::Forward),
    });
    let disputed = |record: &TxRecord| {
        record.inclusion.is_some() && record.obstacle == Some(Obstacle::Disputed { block: 1 })
    };
    found(&db, &transactor, id, disputed).await;
    assert_eq!(rescue_of(&db, &transactor, id).await, None, "most of its time is left");

    let signed = async || transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    let before = signed().await;
    anvil.warp(Period::new(1_500)).await.unwrap();
    let child = rescued(&db, &transactor, id).await;
    until(&db, &transactor, child.id, "the rescue's broadcast", |record| record.status == TxStatus::Sent)
        .await;
    assert_eq!(signed().await, before, "nothing is signed for what endpoints contradict each other about");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_that_is_mined_first_leaves_no_rescue_behind() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    for account in [1, RESCUER] {
        anvil.set_balance(anvil.account(account), U256::ZERO).await.unwrap();
    }
    let transactor = with_rescue(&db, anvil.url(), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, answer(&anvil, contract).await).await;
    let child = rescued(&db, &transactor, id).await;
    until(&db, &transactor, child.id, "no ether either", is_poor).await;
    let mut updates = transactor.updates();
    anvil.set_balance(anvil.account(1), U256::from(ETHER)).await.unwrap();
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    assert_eq!(ended(&db, &transactor, child.id).await.status, TxStatus::Cancelled);
    let cancelled = async {
        while !matches!(updates.recv().await.unwrap(), TxUpdate { id, status: TxStatus::Cancelled, .. } if id == child.id)
        {
        }
    };
    within("the notice of its end", cancelled).await;
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    assert_eq!(logs(&anvil, contract).await, ["by itself"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_of_a_final_success_brings_its_cancelled_rescue_back() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    for account in [1, RESCUER] {
        anvil.set_balance(anvil.account(account), U256::ZERO).await.unwrap();
    }
    let transactor =
        with_rescue(&db, anvil.url(), &anvil).finality(Finality::Depth(0)).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, answer(&anvil, contract).await).await;
    let child = rescued(&db, &transactor, id).await;
    until(&db, &transactor, child.id, "no ether either", is_poor).await;
    anvil.set_balance(anvil.account(1), U256::from(ETHER)).await.unwrap();
    assert_eq!(ended(&db, &transactor, child.id).await.status, TxStatus::Cancelled);

    anvil.set_automine(false).await.unwrap();
    anvil.reorg(1).await.unwrap();
    anvil.set_balance(anvil.account(1), U256::ZERO).await.unwrap();
    anvil.set_balance(anvil.account(RESCUER), U256::from(ETHER)).await.unwrap();
    // Whoever has something to do looks whether what was final still is.
    let other = Intent::new("other", anvil.account(1), contract, b"other".to_vec());
    submit(&db, &transactor, other).await;
    wait_until("the rescue", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        transactor.get(&mut db.read().await.unwrap(), child.id).await.unwrap().status == TxStatus::Mined
    })
    .await
    .unwrap();
    assert_eq!(logs(&anvil, contract).await, ["by its rescue"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_of_a_revert_brings_its_cancelled_rescue_back() {
    const REVERTS: &[u8] = &[0x5f, 0x5f, 0xfd];
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let emits = anvil.code(contract).await.unwrap();
    let (_dir, db) = fresh().await;
    for account in [1, RESCUER] {
        anvil.set_balance(anvil.account(account), U256::ZERO).await.unwrap();
    }
    // It does not show before it is mined that the call reverts.
    let estimate = Rule::new(["eth_estimateGas"], Fault::Result("0x186a0".into()));
    let proxy = FaultProxy::scripted(anvil.url(), Script(vec![estimate])).await.unwrap();
    let transactor =
        with_rescue(&db, &proxy.url(), &anvil).finality(Finality::Depth(10)).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, answer(&anvil, contract).await).await;
    let child = rescued(&db, &transactor, id).await;
    until(&db, &transactor, child.id, "no ether either", is_poor).await;
    anvil.set_code(contract, REVERTS).await.unwrap();
    anvil.set_balance(anvil.account(1), U256::from(ETHER)).await.unwrap();
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Failed);
    assert_eq!(ended(&db, &transactor, child.id).await.status, TxStatus::Cancelled);

    anvil.set_automine(false).await.unwrap();
    anvil.reorg(1).await.unwrap();
    anvil.set_code(contract, &emits).await.unwrap();
    anvil.set_balance(anvil.account(1), U256::ZERO).await.unwrap();
    anvil.set_balance(anvil.account(RESCUER), U256::from(ETHER)).await.unwrap();
    wait_until("the rescue", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        transactor.get(&mut db.read().await.unwrap(), child.id).await.unwrap().status == TxStatus::Mined
    })
    .await
    .unwrap();
    assert_eq!(logs(&anvil, contract).await, ["by its rescue"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_intent_takes_its_rescue_along() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    anvil.set_balance(anvil.account(1), U256::ZERO).await.unwrap();
    let transactor = with_rescue(&db, anvil.url(), &anvil).build(Outcomes::default());
    anvil.set_automine(false).await.unwrap();
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, answer(&anvil, contract).await).await;
    let child = rescued(&db, &transactor, id).await;
    let sent = |record: &TxRecord| record.status == TxStatus::Sent;
    until(&db, &transactor, child.id, "its broadcast", sent).await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(transactor.cancel(&mut tx, id).await.unwrap().what(), Cancelled::Done);
    tx.commit().await.unwrap();
    let ending = transactor.get(&mut db.read().await.unwrap(), child.id).await.unwrap().ending;
    assert_eq!(ending, Some(Ending::Cancelled));
    transactor.wake();
    wait_until("the end of the rescue", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        !transactor.get(&mut db.read().await.unwrap(), child.id).await.unwrap().status.is_open()
    })
    .await
    .unwrap();
    // The chain decides about what was in the pool already.
    let child = ended(&db, &transactor, child.id).await;
    let logged = if child.status == TxStatus::Mined { vec!["by its rescue"] } else { vec![] };
    assert_eq!(logs(&anvil, contract).await, logged);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Cancelled, None)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_that_takes_a_rescue_back_restores_its_parents_terms() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    anvil.set_balance(anvil.account(1), U256::ZERO).await.unwrap();
    let sink = Outcomes::default();
    let transactor = with_rescue(&db, anvil.url(), &anvil).finality(Finality::Depth(10)).build(sink.clone());
    let running = Running::transactor(&transactor);
    let asked = answer(&anvil, contract).await;
    let id = submit(&db, &transactor, asked.clone()).await;
    let child = rescued(&db, &transactor, id).await;
    ended(&db, &transactor, child.id).await;
    found(&db, &transactor, id, |record| record.relieved).await;

    anvil.set_automine(false).await.unwrap();
    anvil.reorg(1).await.unwrap();
    let parent = found(&db, &transactor, id, |record| !record.relieved).await;
    assert_eq!((parent.intent.stake, parent.intent.deadline), (asked.stake, asked.deadline));
    assert_eq!(parent.intent.priority, Priority::Urgent);
    wait_until("the rescue, once more", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().relieved
    })
    .await
    .unwrap();
    let changes: Vec<_> = sink.own_changes().into_iter().filter(|(of, _)| *of == child.id).collect();
    assert_eq!(changes[..3], [TxChange::Mined, TxChange::Reinstated, TxChange::Mined].map(|c| (child.id, c)));
    assert_eq!(sink.changes(), [], "nothing has become of the parent");
    assert_eq!(rescue_of(&db, &transactor, id).await.unwrap().id, child.id);
    running.stop().await.unwrap();
}

/// The most that the live transactions of an intent can cost.
async fn most(db: &Database, transactor: &Transactor, record: &TxRecord) -> u128 {
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), record.id).await.unwrap();
    let offer = attempts.iter().map(|attempt| attempt.fees.max_fee).max().unwrap_or(0);
    u128::from(record.gas_limit.unwrap_or(0)) * offer
}

/// Of the test below: enough for a few raises.
const STAKE: u128 = 30_000 * 400 * GWEI;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_together_never_cost_more_than_what_is_at_stake() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    anvil.set_automine(false).await.unwrap();
    let mut fees = FeePolicy::default();
    fees.max_fee_cap = 5 * GWEI;
    let transactor = with_rescue(&db, anvil.url(), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, pressed(&anvil, contract).await.stake(STAKE)).await;
    let child = rescued(&db, &transactor, id).await.id;
    for of in [id, child] {
        until(&db, &transactor, of, "its broadcast", |record| record.status == TxStatus::Sent).await;
    }
    // Each block is dearer than what both offer, until neither can offer more.
    let at_its_cap = |record: &TxRecord| matches!(record.obstacle, Some(Obstacle::FeeCap { .. }));
    let mut both = Vec::new();
    for _ in 0..40 {
        let mut offered = 0;
        for of in [id, child] {
            let attempts = transactor.attempts(&mut db.read().await.unwrap(), of).await.unwrap();
            offered = attempts.iter().map(|attempt| attempt.fees.max_fee).fold(offered, u128::max);
        }
        anvil.set_next_base_fee(offered + GWEI).await.unwrap();
        anvil.mine(1).await.unwrap();
        let head = anvil.block_number().await.unwrap();
        // One pass over the new head, at least.
        let mut status = transactor.status();
        within("the head", status.wait_for(|status| status.head >= Some(head))).await.unwrap();
        wait_for("both to be decided on", PATIENCE, async || {
            let mut conn = db.read().await.unwrap();
            both.clear();
            for of in [id, child] {
                let record = transactor.get(&mut conn, of).await.unwrap();
                assert!(record.inclusion.is_none(), "{record:?}");
                let attempts = transactor.attempts(&mut conn, of).await.unwrap();
                let is_raised = attempts.iter().any(|attempt| attempt.fees.max_fee > offered);
                if !is_raised && !at_its_cap(&record) {
                    return Err(format!("{record:?}"));
                }
                both.push(record);
            }
            Ok(())
        })
        .await
        .unwrap();
        let (parent, child) =
            (most(&db, &transactor, &both[0]).await, most(&db, &transactor, &both[1]).await);
        assert!(parent + child <= STAKE, "{parent} and {child}");
        if both.iter().all(at_its_cap) {
            assert!(parent + child > STAKE / 3, "{parent} and {child}");
            running.stop().await.unwrap();
            return;
        }
    }
    panic!("they never came to their caps: {both:?}");
}

const DATABASE: &str = "PRIVATIX_CHAIN_TEST_RESCUE_DATABASE";
const ENDPOINT: &str = "PRIVATIX_CHAIN_TEST_RESCUE_ENDPOINT";
const CONTRACT: &str = "PRIVATIX_CHAIN_TEST_RESCUE_CONTRACT";

/// Submits one intent of an account without ether and sees its rescue through; does nothing when it is not started by the test
/// below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(database), Ok(endpoint), Ok(contract)) =
        (std::env::var(DATABASE), std::env::var(ENDPOINT), std::env::var(CONTRACT))
    else {
        return;
    };
    see_it_through(Path::new(&database), &endpoint, contract.parse().unwrap()).await;
}

async fn see_it_through(database: &Path, endpoint: &str, contract: Address) {
    let db = open(database).await;
    let (poor, rescuer) = (key(POOR), key(RICH));
    let asked = Intent::new("answer", poor.address(), contract, b"by itself".to_vec())
        .priority(Priority::Urgent)
        .stake(ETHER)
        .repeatable()
        .fallback(contract, b"by its rescue".to_vec());
    let transactor =
        Transactor::builder(db.clone(), http(endpoint), 31_337, Keyring::new([poor, rescuer.clone()]))
            .confirmations(0)
            .poll_interval(POLL)
            .backoff(BACKOFF)
            .rescue(rescuer.address())
            .build(Outcomes::default());
    let id = submit(&db, &transactor, asked).await;
    let running = Running::transactor(&transactor);
    let child = rescued(&db, &transactor, id).await;
    let record = ended(&db, &transactor, child.id).await;
    assert_eq!(record.status, TxStatus::Mined);
    assert!(transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().relieved);
    assert_eq!(Outcomes::rows(&db).await, []);
    running.stop().await.unwrap();
}

fn key(bytes: [u8; 32]) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&bytes.into()).unwrap()
}

const POOR: [u8; 32] = [7; 32];
/// Account 1 of anvil.
const RICH: [u8; 32] =
    alloy::primitives::hex!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_request_it_sends_a_rescue_exactly_once() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let (mut kills, mut rescues) = (0, 0);
    // Before the node gets the request, and after it has acted on it.
    for acted in [false, true] {
        for at in 1.. {
            let dir = temp_dir().unwrap();
            let database = dir.path().join("chain.db");
            let mut asked = 0;
            let silenced = proxy.silenced();
            proxy.rule(move |_, _| {
                asked += 1;
                if asked < at {
                    Verdict::Forward
                } else if asked == at && acted {
                    Verdict::ForwardThenSilence
                } else {
                    Verdict::Silence
                }
            });
            let mut child = Process::builder("transactor", std::env::current_exe().unwrap())
                .args(["--exact", "rescue::child", "--nocapture"])
                .env(DATABASE, &database)
                .env(ENDPOINT, proxy.url())
                .env(CONTRACT, contract.to_string())
                .spawn()
                .unwrap();
            let ended = tokio::select! {
                () = proxy.silenced_more(silenced) => false,
                exit = child.wait_exit(PATIENCE) => {
                    assert!(exit.unwrap().success(), "{}", child.log());
                    true
                }
            };
            child.kill().unwrap();
            if !ended {
                kills += 1;
                proxy.honest();
                see_it_through(&database, &proxy.url(), contract).await;
            }
            rescues += 1;
            assert_eq!(logs(&anvil, contract).await.len(), rescues, "killed at request {at}");
            if ended {
                break;
            }
        }
    }
    assert!(kills > 16, "only {kills} kills");
}
