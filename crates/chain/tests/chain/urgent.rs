//! An urgent intent is never held up by cheaper ones of its account.

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use privatix_chain::{Deadline, FeePolicy, Intent, Obstacle, Priority, Transactor, TxId, TxStatus};
use privatix_channel::Amount;
use privatix_contracts::{PTC, call};
use privatix_db::Database;
use privatix_testkit::{Anvil, Contracts, Fault, Rule, Script, wait_until};

use crate::support::{Outcomes, PATIENCE, Running, ended, fresh, http, submit, transactor, until};

const GWEI: u128 = 1_000_000_000;
const ETHER: u128 = 1_000_000_000 * GWEI;

fn target(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn gift(anvil: &Anvil, n: u8) -> Intent {
    Intent::new(format!("gift {n}"), anvil.account(1), target(n), Vec::new()).value(1)
}

/// An answer that is due in ten minutes, at the end of a long window.
async fn dispute(anvil: &Anvil, n: u8) -> Intent {
    let now = anvil.now().await;
    gift(anvil, n)
        .priority(Priority::Urgent)
        .deadline(Deadline::new(now + 600, 1_000_000))
        .stake(ETHER)
        .repeatable()
}

trait Now {
    async fn now(&self) -> u64;
}

impl Now for Anvil {
    async fn now(&self) -> u64 {
        use alloy::providers::Provider;
        let head = self.provider().get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
        head.header.timestamp
    }
}

async fn sent(db: &Database, transactor: &Transactor, id: TxId) -> u64 {
    let record = until(db, transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    record.nonce.unwrap()
}

/// Mines blocks whose gas costs this much until the intents are over.
async fn mine_at(anvil: &Anvil, db: &Database, transactor: &Transactor, base_fee: u128, ids: &[TxId]) {
    wait_until("the end", PATIENCE, async || {
        anvil.set_next_base_fee(base_fee).await.unwrap();
        anvil.mine(1).await.unwrap();
        let mut conn = db.read().await.unwrap();
        for id in ids {
            if transactor.get(&mut conn, *id).await.unwrap().status.is_open() {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
}

fn cheap() -> FeePolicy {
    let mut fees = FeePolicy::default();
    fees.max_fee_cap = 5 * GWEI;
    fees
}

/// As much as may be taken once: the second try reverts, as that of a dispute would.
async fn once(anvil: &Anvil) -> (Contracts, Intent) {
    let contracts = anvil.deploy().await.unwrap();
    let (owner, spender) = (anvil.account(2), anvil.account(1));
    anvil.send(2, contracts.token, &call::approve(spender, Amount::new(500))).await.unwrap();
    let take = PTC::transferFromCall { from: owner, to: target(0xd1), value: U256::from(500) }.abi_encode();
    let now = anvil.now().await;
    let intent = Intent::new("dispute", spender, contracts.token, take)
        .priority(Priority::Urgent)
        .deadline(Deadline::new(now + 600, 1_000_000))
        .stake(ETHER)
        .repeatable();
    (contracts, intent)
}

/// Whether the dispute comes when gas is dear already, or is on its way when that begins.
async fn overtakes(comes_first: bool) {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(cheap()).build(Outcomes::default());
    let (contracts, dispute) = once(&anvil).await;
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let mut gifts = Vec::new();
    for n in 1..=12 {
        gifts.push(submit(&db, &transactor, gift(&anvil, n)).await);
    }
    for (n, id) in gifts.iter().enumerate() {
        assert_eq!(sent(&db, &transactor, *id).await, n as u64);
    }
    let mut answer = None;
    if comes_first {
        let id = submit(&db, &transactor, dispute.clone()).await;
        assert_eq!(sent(&db, &transactor, id).await, 12, "the others are mined soon");
        answer = Some(id);
    }
    anvil.set_next_base_fee(50 * GWEI).await.unwrap();
    anvil.mine(1).await.unwrap();
    let answer = match answer {
        Some(id) => id,
        None => submit(&db, &transactor, dispute).await,
    };
    mine_at(&anvil, &db, &transactor, 50 * GWEI, &[answer]).await;
    let record = ended(&db, &transactor, answer).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    for n in 1..=12 {
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::ZERO, "gas is too dear for {n}");
    }

    mine_at(&anvil, &db, &transactor, GWEI, &gifts).await;
    for n in 1..=12 {
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::from(1), "{n}");
    }
    let taken = contracts.token_balance(&anvil, target(0xd1)).await.unwrap();
    assert_eq!(taken, Amount::new(500), "once");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_is_mined_before_twelve_stuck_cheaper_transactions() {
    overtakes(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_that_was_sent_last_overtakes_the_others_when_gas_gets_dear() {
    overtakes(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserves_of_cheaper_ones_do_not_hold_it_up() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(cheap()).build(Outcomes::default());
    anvil.set_balance(anvil.account(1), U256::from(ETHER)).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let running = Running::transactor(&transactor);
    let large = submit(&db, &transactor, gift(&anvil, 1).value(ETHER * 99 / 100)).await;
    sent(&db, &transactor, large).await;
    let other = submit(&db, &transactor, gift(&anvil, 2).value(ETHER / 50)).await;
    let record = until(&db, &transactor, other, "an obstacle", |record| record.obstacle.is_some()).await;
    assert!(matches!(record.obstacle, Some(Obstacle::InsufficientFunds { .. })), "{record:?}");
    let answer = submit(&db, &transactor, dispute(&anvil, 0xd1).await.value(ETHER / 50)).await;
    sent(&db, &transactor, answer).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_intent_is_not_given_up_before_its_deadline() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = crate::support::FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_estimateGas" | "eth_call" => crate::support::Verdict::Error(3, "execution reverted: not yet"),
        _ => crate::support::Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let answer = submit(&db, &transactor, dispute(&anvil, 0xd1).await).await;
    let reverts =
        |record: &privatix_chain::TxRecord| matches!(record.obstacle, Some(Obstacle::WouldRevert { .. }));
    until(&db, &transactor, answer, "an obstacle", reverts).await;
    for _ in 0..4 {
        let asked = proxy.count("eth_call");
        anvil.mine(1).await.unwrap();
        proxy.asked("another try", |all| all.iter().filter(|m| *m == "eth_call").count() > asked).await;
    }
    proxy.honest();
    anvil.mine(1).await.unwrap();
    assert_eq!(ended(&db, &transactor, answer).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reverted_try_has_cost_counts_against_the_stake_of_the_next() {
    const GAS: u128 = 120_000;
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    // It does not show before it is mined that the call reverts.
    let estimate = Rule::new(["eth_estimateGas"], Fault::Result("0x186a0".into()));
    let proxy = crate::support::FaultProxy::scripted(anvil.url(), Script(vec![estimate])).await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let take =
        PTC::transferFromCall { from: target(0xd1), to: target(0xd2), value: U256::from(1) }.abi_encode();
    let deadline = Deadline::new(anvil.now().await + 600, 1_000_000);
    let answer = |key: &str, stake| {
        Intent::new(key, anvil.account(1), contracts.token, take.clone())
            .kind("answer")
            .subject("channel")
            .priority(Priority::Urgent)
            .deadline(deadline)
            .stake(stake)
            .repeatable()
    };
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let first = submit(&db, &transactor, answer("first", ETHER)).await;
    let first = ended(&db, &transactor, first).await;
    assert_eq!(first.status, TxStatus::Failed);
    let burnt = first.inclusion.unwrap().cost();

    anvil.set_next_base_fee(GWEI).await.unwrap();
    anvil.mine(1).await.unwrap();
    let left = GWEI * 9 / 10;
    let second = submit(&db, &transactor, answer("second", burnt + GAS * left)).await;
    let record = until(&db, &transactor, second, "an obstacle", |record| record.obstacle.is_some()).await;
    let Some(Obstacle::FeeCap { cap, .. }) = record.obstacle else { panic!("{record:?}") };
    assert_eq!(cap.0, left);
    running.stop().await.unwrap();
}
