//! Intents become transactions that are mined once, with an outcome that is told once.

use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use privatix_chain::{
    Cancelled, ChainError, FeePolicy, Intent, Keyring, Obstacle, Raise, RevertDecoder, Transactor,
    TransactorState, TxChange, TxFilter, TxId, TxStatus, Wei,
};
use privatix_channel::Amount;
use privatix_contracts::{PTC, PscError, call};
use privatix_testkit::{Anvil, wait_until};

use crate::support::{
    FaultProxy, NEVER, Outcomes, PATIENCE, Running, Verdict, ended, fresh, http, keys, submit, transactor,
    until, within,
};

/// Somebody who holds nothing: what arrives there tells how often something was sent.
fn target(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn gift(anvil: &Anvil, key: &str, from: usize, to: u8) -> Intent {
    Intent::new(key, anvil.account(from), target(to), Vec::new()).value(1).kind("gift").subject(key)
}

fn decoder() -> RevertDecoder {
    RevertDecoder::new(|data| Some(PscError::decode(data).to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_submitted_many_times_is_mined_once_and_told_once() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let sink = Outcomes::default();
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(sink.clone());
    let id = submit(&db, &transactor, gift(&anvil, "one", 1, 0xa1)).await;
    assert_eq!(submit(&db, &transactor, gift(&anvil, "one", 1, 0xa1)).await, id);
    let running = Running::transactor(&transactor);
    let record = ended(&db, &transactor, id).await;
    assert_eq!(submit(&db, &transactor, gift(&anvil, "one", 1, 0xa2)).await, id, "whatever it says");
    let other = submit(&db, &transactor, gift(&anvil, "other", 1, 0xa3)).await;
    ended(&db, &transactor, other).await;

    assert_eq!(record.status, TxStatus::Mined);
    assert_eq!(
        (record.nonce, record.intent.kind.as_str(), record.intent.subject.as_str()),
        (Some(0), "gift", "one")
    );
    let inclusion = record.inclusion.unwrap();
    let receipt = anvil.provider().get_transaction_receipt(inclusion.tx_hash).await.unwrap().unwrap();
    assert_eq!(
        (inclusion.block, inclusion.block_hash, inclusion.gas_used, inclusion.gas_price),
        (
            receipt.block_number.unwrap(),
            receipt.block_hash.unwrap(),
            receipt.gas_used,
            receipt.effective_gas_price
        )
    );
    for (to, wei) in [(0xa1, 1), (0xa2, 0), (0xa3, 1)] {
        assert_eq!(anvil.balance(target(to)).await.unwrap(), U256::from(wei));
    }
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None), (other, TxStatus::Mined, None)]);
    let changes =
        [(id, TxChange::Mined), (id, TxChange::Final), (other, TxChange::Mined), (other, TxChange::Final)];
    assert_eq!(sink.committed(), changes);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_whose_transaction_was_rolled_back_was_never_there() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let mut tx = db.begin().await.unwrap();
    transactor.submit(&mut tx, gift(&anvil, "never", 1, 0xa1)).await.unwrap();
    drop(tx);
    transactor.wake();
    let id = submit(&db, &transactor, gift(&anvil, "real", 1, 0xa2)).await;
    ended(&db, &transactor, id).await;
    assert_eq!(transactor.find(&mut db.read().await.unwrap(), "never").await.unwrap(), None);
    assert_eq!(anvil.balance(target(0xa1)).await.unwrap(), U256::ZERO);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_transactor_is_woken_by_submission_and_by_blocks_without_polling() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor =
        transactor(&db, http(&anvil.ws_url()), &anvil).poll_interval(NEVER).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    for n in 1..=3_u8 {
        let mut status = transactor.status();
        let idle = status.wait_for(|status| status.state == TransactorState::Idle);
        drop(within("idleness", idle).await.unwrap());
        let id = submit(&db, &transactor, gift(&anvil, &format!("gift {n}"), 1, n)).await;
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_accounts_send_many_intents_each_in_order_without_gaps() {
    const EACH: u64 = 8;
    // Blocks that come by themselves: a pool may hold a transaction back until it is replaced, and this one does so at times.
    let anvil = Anvil::builder().block_time(1).start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = FeePolicy::default();
    fees.stuck_after_seconds = 2;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let mut ids = Vec::new();
    let mut tx = db.begin().await.unwrap();
    for n in 0..EACH {
        for account in 1..=3 {
            let intent = gift(&anvil, &format!("{account}.{n}"), account, 0xb0 + account as u8);
            ids.push((account, n, transactor.submit(&mut tx, intent).await.unwrap()));
        }
    }
    tx.commit().await.unwrap();
    transactor.wake();
    for (account, n, id) in ids {
        let record = ended(&db, &transactor, id).await;
        assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(n)), "account {account}");
    }
    for account in 1..=3 {
        assert_eq!(anvil.balance(target(0xb0 + account)).await.unwrap(), U256::from(EACH));
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_is_final_only_with_its_confirmations() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, http(&proxy.url()), &anvil).confirmations(3).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, "patient", 1, 0xa1)).await;
    until(&db, &transactor, id, "its block", |record| record.inclusion.is_some()).await;
    anvil.mine(2).await.unwrap();
    proxy.asked_again("eth_blockNumber", 3).await; // so it has looked twice from beginning to end
    let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(record.status, TxStatus::Sent);
    assert!(Outcomes::rows(&db).await.is_empty());

    anvil.mine(1).await.unwrap();
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_would_revert_fails_with_the_contracts_reason_and_costs_nothing() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).errors(decoder()).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let withdraw = call::withdraw(Amount::new(500)).abi_encode();
    let before = anvil.balance(anvil.account(1)).await.unwrap();
    let id = submit(&db, &transactor, Intent::new("w", anvil.account(1), contracts.contract, withdraw)).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Failed, None));
    let failure = record.failure.unwrap();
    assert!(failure.contains("is 0, 500 needed: deposit the difference first"), "{failure}");
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Failed, Some(failure))]);
    assert_eq!(anvil.balance(anvil.account(1)).await.unwrap(), before);

    // Nothing stands in the way of what comes later.
    let id = submit(&db, &transactor, gift(&anvil, "next", 1, 0xa1)).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_whose_words_sound_like_the_endpoints_trouble_is_a_revert() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    for words in [
        "execution reverted: insufficient funds",
        "execution reverted: rate limit",
        "execution reverted: too many logs",
    ] {
        proxy.rule(move |method, _| match method {
            "eth_estimateGas" | "eth_call" => Verdict::Error(3, words),
            _ => Verdict::Forward,
        });
        let id = submit(&db, &transactor, gift(&anvil, words, 1, 0xa1)).await;
        let record = ended(&db, &transactor, id).await;
        assert_eq!((record.status, record.failure.as_deref()), (TxStatus::Failed, Some(words)));
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_reverts_in_its_block_fails_with_the_reason() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let (owner, spender) = (anvil.account(2), anvil.account(1));
    anvil.send(2, contracts.token, &call::approve(spender, Amount::new(500))).await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).errors(decoder()).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let take = PTC::transferFromCall { from: owner, to: spender, value: U256::from(500) }.abi_encode();
    let id = submit(&db, &transactor, Intent::new("take", spender, contracts.token, take)).await;
    until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    let hash = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap()[0].hash;
    in_pool(&anvil, hash).await;

    // It is lost from the pool while nobody looks, and the owner changes its mind a block earlier.
    running.stop().await.unwrap();
    anvil.drop_transaction(hash).await.unwrap();
    let revoke = TransactionRequest::default()
        .from(owner)
        .to(contracts.token)
        .input(call::approve(spender, Amount::ZERO).abi_encode().into());
    drop(anvil.provider().send_transaction(revoke).await.unwrap());
    anvil.mine(1).await.unwrap();
    let running = Running::transactor(&transactor);
    in_pool(&anvil, hash).await; // sent again
    anvil.mine(1).await.unwrap();

    let record = ended(&db, &transactor, id).await;
    assert_eq!(record.status, TxStatus::Failed);
    assert!(!record.inclusion.unwrap().success);
    let failure = record.failure.unwrap();
    assert!(failure.starts_with("reverted: ") && failure.contains("500 needed"), "{failure}");
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Failed, Some(failure))]);
    running.stop().await.unwrap();
}

async fn in_pool(anvil: &Anvil, hash: B256) {
    wait_until("the transaction in the pool", PATIENCE, async || {
        anvil.provider().get_transaction_by_hash(hash).await.unwrap().is_some()
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_after_another_waits_until_that_is_mined_and_fails_with_it() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let account = anvil.account(1);
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).errors(decoder()).build(Outcomes::default());
    // The first carries more ether than there is, so that it cannot go out; it holds up nothing else.
    let fortune = 20_000 * 10_u128.pow(18);
    let blocked = Intent::new("blocked", account, target(0xa1), Vec::new()).value(fortune);
    let blocked = submit(&db, &transactor, blocked).await;
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let approve = call::approve(contracts.contract, Amount::new(500)).abi_encode();
    let approve = submit(&db, &transactor, Intent::new("approve", account, contracts.token, approve)).await;
    let deposit = call::deposit(Amount::new(500)).abi_encode();
    let deposit = Intent::new("deposit", account, contracts.contract, deposit).after(approve);
    let deposit = submit(&db, &transactor, deposit).await;
    let record = until(&db, &transactor, deposit, "an obstacle", |record| record.obstacle.is_some()).await;
    assert_eq!(record.obstacle, Some(Obstacle::After { tx: approve }));
    anvil.set_automine(true).await.unwrap();
    anvil.mine(1).await.unwrap();
    for id in [approve, deposit] {
        let record = ended(&db, &transactor, id).await;
        assert_eq!((record.status, record.failure), (TxStatus::Mined, None));
    }
    assert_eq!(contracts.internal_balance(&anvil, account).await.unwrap(), Amount::new(500));

    let orphan = submit(&db, &transactor, gift(&anvil, "orphan", 1, 0xa2).after(blocked)).await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(transactor.cancel(&mut tx, blocked).await.unwrap().what(), Cancelled::Done);
    tx.commit().await.unwrap();
    transactor.wake();
    let record = ended(&db, &transactor, orphan).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Failed, None));
    assert!(record.failure.unwrap().contains("is cancelled"));
    assert_eq!(ended(&db, &transactor, blocked).await.status, TxStatus::Cancelled);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_account_cannot_pay_for_is_told_and_goes_out_once_it_can() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let account = anvil.account(1);
    anvil.set_balance(account, U256::from(1_000)).await.unwrap();
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, "poor", 1, 0xa1)).await;
    let record = until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
    let Some(obstacle) = record.obstacle else { unreachable!() };
    assert!(
        matches!(obstacle, Obstacle::InsufficientFunds { account: of, available: Wei(1_000), .. } if of == account),
        "{obstacle:?}"
    );
    assert!(obstacle.to_string().contains("send it ether"), "{obstacle}");
    assert!(Outcomes::rows(&db).await.is_empty());

    anvil.set_balance(account, U256::from(10_u128.pow(18))).await.unwrap();
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.obstacle), (TxStatus::Mined, None));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_key_comes_later_is_waited_for() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let ring = Keyring::default();
    let transactor = Transactor::builder(db.clone(), http(anvil.url()), anvil.chain_id(), ring.clone())
        .confirmations(0)
        .poll_interval(NEVER)
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, "keyless", 1, 0xa1)).await;
    let account = anvil.account(1);
    until(&db, &transactor, id, "an obstacle", |record| record.obstacle == Some(Obstacle::NoKey { account }))
        .await;
    ring.insert(anvil.key(1));
    assert_eq!(transactor.accounts(), keys(&anvil, [1]).accounts());
    transactor.wake();
    until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    // The node mines it a moment after it took it: one look may come too early.
    wait_until("its block", PATIENCE, async || {
        transactor.wake();
        transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().status == TxStatus::Mined
    })
    .await
    .unwrap();
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_the_sink_refuses_is_not_final_and_holds_up_no_other() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let sink = Outcomes::default();
    sink.refuse(Some("poison"));
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(sink.clone());
    let running = Running::transactor(&transactor);
    let poison = submit(&db, &transactor, gift(&anvil, "poison", 1, 0xa1)).await;
    until(&db, &transactor, poison, "its block", |record| record.inclusion.is_some()).await;
    let other = submit(&db, &transactor, gift(&anvil, "other", 1, 0xa2)).await;
    assert_eq!(ended(&db, &transactor, other).await.status, TxStatus::Mined);
    wait_until("a second refusal", PATIENCE, async || sink.refused() >= 2).await.unwrap();

    let record = transactor.get(&mut db.read().await.unwrap(), poison).await.unwrap();
    assert_eq!(record.status, TxStatus::Sent, "what the sink wrote and the status are one transaction");
    assert_eq!(Outcomes::rows(&db).await, [(other, TxStatus::Mined, None)]);
    let TransactorState::Stalled { reason, .. } = transactor.status().borrow().state.clone() else {
        panic!("the refusal is not shown")
    };
    assert!(reason.contains("the test refuses"), "{reason}");

    sink.refuse(None);
    transactor.wake();
    assert_eq!(ended(&db, &transactor, poison).await.status, TxStatus::Mined);
    assert_eq!(Outcomes::rows(&db).await, [(other, TxStatus::Mined, None), (poison, TxStatus::Mined, None)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_can_be_listed_and_a_wrong_question_is_refused() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let first = submit(&db, &transactor, gift(&anvil, "first", 1, 0xa1)).await;
    ended(&db, &transactor, first).await;
    running.stop().await.unwrap();
    let second = submit(&db, &transactor, gift(&anvil, "second", 2, 0xa1).kind("other")).await;

    let mut conn = db.read().await.unwrap();
    let mut ids = async |filter: TxFilter| -> Vec<TxId> {
        transactor.list(&mut conn, &filter).await.unwrap().iter().map(|record| record.id).collect()
    };
    assert_eq!(ids(TxFilter::default()).await, [second, first]);
    assert_eq!(ids(TxFilter { status: Some(TxStatus::Mined), ..TxFilter::default() }).await, [first]);
    assert_eq!(ids(TxFilter { kind: Some("other".into()), ..TxFilter::default() }).await, [second]);
    assert_eq!(ids(TxFilter { subject: Some("first".into()), ..TxFilter::default() }).await, [first]);
    assert_eq!(ids(TxFilter { from: Some(anvil.account(2)), ..TxFilter::default() }).await, [second]);
    assert_eq!(ids(TxFilter { before: Some(second), limit: 5, ..TxFilter::default() }).await, [first]);
    assert_eq!(ids(TxFilter { limit: 1, ..TxFilter::default() }).await, [second]);
    drop(conn);

    let mut tx = db.begin().await.unwrap();
    let refusal = transactor.bump(&mut tx, first, Raise::Market).await.unwrap_err();
    assert!(matches!(refusal, ChainError::NotSent { status: TxStatus::Mined, .. }), "{refusal}");
    let refusal = transactor.bump(&mut tx, TxId(77), Raise::Market).await.unwrap_err();
    assert!(matches!(refusal, ChainError::UnknownTx { tx: TxId(77) }), "{refusal}");
}
