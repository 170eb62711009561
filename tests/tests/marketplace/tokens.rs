//! Markets over tokens as they are found on public chains.

use std::sync::Arc;

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall as _;
use privatix_chain::{Endpoint, TxFilter, TxRecord, TxStatus};
use privatix_channel::{Amount, ChannelStatus};
use privatix_client::{ClientHandle, Payment, Purse};
use privatix_contracts::token::{DepositWay, NoPermit};
use privatix_contracts::{PTC, call};
use privatix_jobs::{JobId, JobRecord, JobStatus};
use privatix_market::{EffectId, OrderId, Purpose, Subject};
use privatix_node::shell::Transactions;
use privatix_node::{ChainSettings, Deposit, Node, Token, Withdraw, contract_domain, contract_token};
use privatix_store::purposes;
use privatix_testkit::{Anvil, Contracts, TestToken, wait_for};
use tokio::runtime::Runtime;

use crate::market::{CLIENT, LIMIT, Market, Running, by_the_kib, channel};

async fn described(anvil: &Anvil, contracts: Contracts) -> Token {
    let endpoint = Endpoint::new(anvil.url()).unwrap();
    let domain = contract_domain(&endpoint, &ChainSettings::new(contracts.contract)).await.unwrap();
    contract_token(&endpoint, &domain).await.unwrap()
}

fn approve(because: NoPermit) -> String {
    DepositWay::Approve { because }.to_string()
}

fn permit(domain: &str) -> String {
    format!("by permit, signed in the domain {domain}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_token_is_asked_for_its_name_its_decimals_and_its_permits() {
    use TestToken as T;

    let anvil = Anvil::start().await.unwrap();
    let own = described(&anvil, anvil.deploy().await.unwrap()).await;
    assert_eq!(own.way, permit("\"Privatix Token\" version \"1\""));
    assert_eq!((own.symbol.as_deref(), own.decimals), (Some("PTC"), Some(8)));

    let expected = [
        (T::UsdcLike, "USD Coin", "USDC", Some(6), permit("\"USD Coin\" version \"2\"")),
        (T::SaltedDomain, "USD Coin (PoS)", "USDC.e", Some(6), permit("\"USD Coin (PoS)\" version \"1\"")),
        (T::NoVersion, "Uniswap", "UNI", Some(18), permit("\"Uniswap\" without a version")),
        (T::WrongSeparator, "Copied Coin", "COPY", Some(18), approve(NoPermit::OtherForm)),
        (T::UsdtLike, "Tether USD", "USDT", Some(6), approve(NoPermit::NoSeparator)),
        (T::DaiLike, "Dai Stablecoin", "DAI", Some(18), approve(NoPermit::OtherForm)),
        (T::MkrLike, "Maker", "MKR", Some(18), approve(NoPermit::NoSeparator)),
        (T::AcceptsAnyPermit, "Good Coin", "-", None, approve(NoPermit::AcceptsAny)),
    ];
    for (token, name, symbol, decimals, way) in expected {
        let read = described(&anvil, anvil.deploy_over(token).await.unwrap()).await;
        assert_eq!(read.way, way, "{token:?}");
        assert_eq!(read.name.as_deref(), Some(name), "{token:?}");
        assert_eq!(read.symbol.as_deref().unwrap_or("-"), symbol, "{token:?}");
        assert_eq!(read.decimals, decimals, "{token:?}");
    }
}

/// Waits until a job has ended and its transactions are final.
pub(crate) async fn settled(node: &Node, job: JobId) -> JobRecord {
    wait_for("the job", LIMIT, async || {
        let mut conn = node.db().read().await.unwrap();
        let record = privatix_jobs::get(&mut conn, job).await.unwrap();
        let open = transactions(node).await.into_iter().any(|transaction| transaction.status.is_open());
        match record.status {
            JobStatus::Done if open => Err("its transactions are open".to_owned()),
            JobStatus::Done | JobStatus::Failed => Ok(record),
            status => Err(format!("{status}: {:?}", record.failure)),
        }
    })
    .await
    .unwrap()
}

/// All transactions of the node, the oldest first.
async fn transactions(node: &Node) -> Vec<TxRecord> {
    let mut conn = node.db().read().await.unwrap();
    let mut all = node.transactor().unwrap().list(&mut conn, &TxFilter::default()).await.unwrap();
    all.reverse();
    all
}

/// What the node sent, in order; everything succeeded.
async fn sent(node: &Node) -> Vec<String> {
    let all = transactions(node).await;
    assert!(all.iter().all(|transaction| transaction.status == TxStatus::Mined), "{all:?}");
    all.into_iter().map(|transaction| transaction.intent.kind).collect()
}

async fn deposit(node: &Node, amount: u128) -> JobRecord {
    let pushed = node.enqueue(&Deposit { amount: Amount::new(amount) }, "test").await.unwrap();
    settled(node, pushed.id()).await
}

async fn allowance(market: &Market) -> U256 {
    let (owner, spender) = (market.anvil.account(CLIENT), market.contracts.contract);
    market.anvil.view(market.contracts.token, &PTC::allowanceCall { owner, spender }).await.unwrap()
}

async fn set_allowance(market: &Market, amount: u128) {
    let approve = call::approve(market.contracts.contract, Amount::new(amount));
    market.anvil.send(CLIENT, market.contracts.token, &approve).await.unwrap();
}

/// Two deposits, a channel and its top-up out of the wallet, a withdrawal: what was sent for each, in order.
async fn trade_over(token: TestToken) -> Vec<String> {
    let market = Market::over(token).await;
    let (agent, client) = (market.agent().await, market.client().await);
    let node = client.handle.node();
    let before = node.balances().await.unwrap().wallet;

    for amount in [1_000, 500] {
        assert_eq!(deposit(node, amount).await.status, JobStatus::Done);
    }
    let has = node.balances().await.unwrap();
    assert_eq!(has.contract, Amount::new(1_500));
    assert_eq!(has.wallet, before.checked_sub(Amount::new(1_500)).unwrap());

    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(50_000))).await;
    client.handle.top_up(id, Amount::new(7_000)).await.unwrap();
    channel(node, "topped up", id, |view| view.channel.deposit == Amount::new(57_000)).await;

    let pushed = node.enqueue(&Withdraw { amount: Amount::new(1_500), to: None }, "test").await.unwrap();
    assert_eq!(settled(node, pushed.id()).await.status, JobStatus::Done);
    let has = node.balances().await.unwrap();
    assert_eq!(has.contract, Amount::ZERO);
    assert_eq!(has.wallet, before.checked_sub(Amount::new(57_000)).unwrap());
    assert_eq!(allowance(&market).await, U256::ZERO, "nothing more than needed was ever approved");

    client.handle.close(id).await.unwrap();
    channel(node, "closing", id, |view| view.channel.status != ChannelStatus::Active).await;
    let kinds = transactions(node).await.into_iter().map(|transaction| transaction.intent.kind);
    let kinds = kinds.filter(|kind| kind != "request_close").collect();
    client.stop().await;
    agent.stop().await;
    kinds
}

const BY_PERMIT: [&str; 5] =
    ["deposit_with_permit", "deposit_with_permit", "open_channel", "top_up", "withdraw"];
const BY_APPROVAL: [&str; 9] =
    ["approve", "deposit", "approve", "deposit", "approve", "open_channel", "approve", "top_up", "withdraw"];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_permits_under_another_domain_is_paid_with_permits() {
    assert_eq!(trade_over(TestToken::UsdcLike).await, BY_PERMIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_domain_is_bound_by_its_salt_is_paid_with_permits() {
    assert_eq!(trade_over(TestToken::SaltedDomain).await, BY_PERMIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_permits_and_without_return_values_is_approved_and_paid() {
    assert_eq!(trade_over(TestToken::UsdtLike).await, BY_APPROVAL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_permits_of_another_form_is_approved_and_paid() {
    assert_eq!(trade_over(TestToken::DaiLike).await, BY_APPROVAL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_named_by_words_is_approved_and_paid() {
    assert_eq!(trade_over(TestToken::MkrLike).await, BY_APPROVAL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_shows_a_wrong_separator_is_approved_and_paid() {
    assert_eq!(trade_over(TestToken::WrongSeparator).await, BY_APPROVAL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_accepts_any_call_is_approved_and_paid() {
    assert_eq!(trade_over(TestToken::AcceptsAnyPermit).await, BY_APPROVAL);
}

/// What one deposit of 1,000 sends when this much is approved already.
async fn deposit_with_allowance(token: TestToken, approved: u128) -> (Vec<String>, U256) {
    let market = Market::over(token).await;
    set_allowance(&market, approved).await;
    let client = market.client().await;
    let node = client.handle.node();
    assert_eq!(deposit(node, 1_000).await.status, JobStatus::Done);
    assert_eq!(node.balances().await.unwrap().contract, Amount::new(1_000));
    let sent = (sent(node).await, allowance(&market).await);
    client.stop().await;
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_that_a_token_refuses_to_change_is_set_to_zero_first() {
    let (sent, left) = deposit_with_allowance(TestToken::UsdtLike, 5).await;
    assert_eq!(sent, ["approve", "approve", "deposit"]);
    assert_eq!(left, U256::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_that_a_token_changes_is_changed_at_once() {
    let (sent, left) = deposit_with_allowance(TestToken::MkrLike, 5).await;
    assert_eq!(sent, ["approve", "deposit"]);
    assert_eq!(left, U256::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_that_suffices_is_used() {
    let (sent, left) = deposit_with_allowance(TestToken::UsdtLike, 1_200).await;
    assert_eq!(sent, ["deposit"]);
    assert_eq!(left, U256::from(200));
}

/// The deposit fails with this reason before anything is sent.
async fn refused(token: TestToken) -> String {
    let market = Market::over(token).await;
    let client = market.client().await;
    let node = client.handle.node();
    let before = node.balances().await.unwrap();
    let record = deposit(node, 1_000).await;
    assert_eq!(record.status, JobStatus::Failed);
    assert_eq!(node.balances().await.unwrap(), before);
    assert!(transactions(node).await.is_empty());
    client.stop().await;
    record.failure.unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_takes_a_fee_from_transfers_is_refused_by_name() {
    let reason = refused(TestToken::FeeOnTransfer).await;
    assert!(reason.contains("takes a fee from transfers (990 of 1000 base units arrive)"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_returns_false_is_refused_by_name() {
    let reason = refused(TestToken::ReturnsFalse).await;
    assert!(reason.contains("does not let the service contract take tokens"), "{reason}");
}

/// The account's next nonce: how many transactions of it were mined.
async fn mined(market: &Market, account: Address) -> u64 {
    let count = market
        .anvil
        .rpc::<alloy::primitives::U64>("eth_getTransactionCount", serde_json::json!([account, "latest"]));
    count.await.unwrap().to()
}

/// Waits until a transaction of the client is in the pool.
async fn in_pool(market: &Market, client: &ClientHandle) {
    let account = market.anvil.account(CLIENT);
    wait_for("a transaction in the pool", LIMIT, async || {
        let pending = market.anvil.rpc::<alloy::primitives::U64>(
            "eth_getTransactionCount",
            serde_json::json!([account, "pending"]),
        );
        let (pending, mined) = (pending.await.unwrap().to::<u64>(), mined(market, account).await);
        if pending > mined { Ok(()) } else { Err(format!("{:?}", transactions(client.node()).await)) }
    })
    .await
    .unwrap();
}

/// Mines the client's next transaction alone: those behind it are lost from the pool, as when a node restarts.
async fn mine_one(market: &Market) {
    let next = mined(market, market.anvil.account(CLIENT)).await;
    let pool: serde_json::Value = market.anvil.rpc("txpool_content", serde_json::json!([])).await.unwrap();
    let kinds = ["pending", "queued"].iter().filter_map(|kind| pool[kind].as_object());
    for (nonce, waiting) in
        kinds.flat_map(|senders| senders.values()).filter_map(|of| of.as_object()).flatten()
    {
        if nonce.parse::<u64>().unwrap() > next {
            let hash = waiting["hash"].as_str().unwrap().parse().unwrap();
            market.anvil.drop_transaction(hash).await.unwrap();
        }
    }
    market.anvil.mine(1).await.unwrap();
}

/// A client in a runtime of its own, which ends as in a crash: its tasks are dropped wherever they are.
struct Mortal {
    client: Running<ClientHandle>,
    runtime: Runtime,
}

impl Mortal {
    async fn start(market: &Arc<Market>) -> Self {
        let runtime = Runtime::new().unwrap();
        let (market, handle) = (Arc::clone(market), runtime.handle().clone());
        let started = tokio::task::spawn_blocking(move || handle.block_on(market.client()));
        let client = started.await.unwrap();
        Self { client, runtime }
    }

    fn kill(self) {
        drop(self.client);
        self.runtime.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_killed_between_its_steps_goes_on_and_repeats_none() {
    let market = Arc::new(Market::over(TestToken::UsdtLike).await);
    set_allowance(&market, 5).await;
    let account = market.anvil.account(CLIENT);
    let before = mined(&market, account).await;
    market.anvil.set_automine(false).await.unwrap();

    let first = Mortal::start(&market).await;
    let node = first.client.handle.node();
    let wallet = node.balances().await.unwrap().wallet;
    node.enqueue(&Deposit { amount: Amount::new(1_000) }, "test").await.unwrap();
    in_pool(&market, &first.client.handle).await;
    first.kill();
    // The allowance to zero, the allowance, the deposit: killed with each in the pool, and with each mined.
    for step in 1..=3 {
        mine_one(&market).await;
        assert_eq!(mined(&market, account).await, before + step);
        let next = Mortal::start(&market).await;
        if step < 3 {
            in_pool(&market, &next.client.handle).await;
        }
        next.kill();
    }
    let client = market.client().await;
    let node = client.handle.node();
    let ended = async || {
        let all = transactions(node).await;
        if all.iter().all(|transaction| !transaction.status.is_open()) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    };
    wait_for("the deposit", LIMIT, ended).await.unwrap();

    assert_eq!(sent(node).await, ["approve", "approve", "deposit"]);
    let inputs: Vec<_> = transactions(node).await.into_iter().map(|t| t.intent.input).collect();
    let contract = market.contracts.contract;
    assert_eq!(inputs[0], call::approve(contract, Amount::ZERO).abi_encode());
    assert_eq!(inputs[1], call::approve(contract, Amount::new(1_000)).abi_encode());
    let has = node.balances().await.unwrap();
    assert_eq!(has.contract, Amount::new(1_000));
    assert_eq!(has.wallet, wallet.checked_sub(Amount::new(1_000)).unwrap());
    assert_eq!(allowance(&market).await, U256::ZERO);
    assert_eq!(mined(&market, account).await, before + 3);
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deposits_that_are_ordered_together_do_not_take_each_others_allowance() {
    let market = Market::over(TestToken::UsdtLike).await;
    let client = market.client().await;
    let node = client.handle.node();
    let amounts = [300, 200, 100];
    let mut jobs = Vec::new();
    for amount in amounts {
        jobs.push(node.enqueue(&Deposit { amount: Amount::new(amount) }, "test").await.unwrap().id());
    }
    for job in jobs {
        assert_eq!(settled(node, job).await.status, JobStatus::Done);
    }
    assert_eq!(node.balances().await.unwrap().contract, Amount::new(600));
    assert_eq!(sent(node).await, ["approve", "deposit"].repeat(3));
    client.stop().await;
}

/// What is sent so that the wallet pays for a top-up whose number a decision gave.
async fn paid_by_the_wallet(market: &Market) -> Vec<String> {
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(Amount::new(50_000))).await;
    let node = client.handle.node();
    let before = transactions(node).await.len();
    set_allowance(market, 3).await;

    let amount = Amount::new(7_000);
    let effect = EffectId { subject: Subject::Channel(id), seq: 1_000 };
    let turn = Purse::turn(node, amount).await.unwrap();
    let mut tx = node.db().begin().await.unwrap();
    let Payment::Wallet { permit, after } = turn.payment(&mut tx, effect).await.unwrap() else {
        panic!("it pays")
    };
    let descriptor = node.channel(id).await.unwrap().channel.descriptor;
    let call = call::top_up_with_permit(&descriptor, amount, permit).unwrap();
    let intent = node.intent(effect.to_string(), call.abi_encode());
    let intent = if let Some(approval) = after { intent.after(approval) } else { intent };
    let purpose = Purpose::TopUp { order: OrderId(1), amount };
    Transactions::submit(&**node, &mut tx, effect, purpose, intent).await.unwrap();
    let recorded = purposes::of_effect(&mut tx, effect).await.unwrap().unwrap();
    assert!(recorded.from_wallet, "no other payment is prepared meanwhile");
    tx.commit().await.unwrap();
    drop(turn);
    node.wake_transactor();
    channel(node, "topped up", id, |view| view.channel.deposit == Amount::new(57_000)).await;
    let kinds = transactions(node).await.into_iter().skip(before).map(|transaction| transaction.intent.kind);
    let kinds = kinds.collect();
    client.stop().await;
    agent.stop().await;
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_decision_numbered_waits_for_its_approvals() {
    assert_eq!(paid_by_the_wallet(&Market::new().await).await, ["top_up"], "by permit");
    let market = Market::over(TestToken::UsdtLike).await;
    assert_eq!(
        paid_by_the_wallet(&market).await,
        ["approve", "approve", "top_up"],
        "the old allowance is reset"
    );
    assert_eq!(allowance(&market).await, U256::ZERO);
}
