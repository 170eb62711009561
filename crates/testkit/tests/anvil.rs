//! The node under test is a real anvil.

use std::time::Duration;

use alloy::{
    network::TransactionBuilder as _,
    primitives::{Address, U256},
    providers::Provider as _,
    rpc::types::TransactionRequest,
};
use privatix_testkit::{Anvil, TestkitError, wait_until};

fn payment(to: Address) -> TransactionRequest {
    TransactionRequest::default().with_to(to).with_value(U256::from(7))
}

#[tokio::test]
async fn a_node_has_its_own_port_and_funded_accounts_that_the_provider_signs_for() {
    let (one, two) = tokio::try_join!(Anvil::start(), Anvil::builder().chain_id(4242).start()).unwrap();
    assert_ne!(one.url(), two.url());
    assert_eq!((one.chain_id(), two.chain_id()), (31337, 4242));

    let to = Address::repeat_byte(0x11);
    for index in [0, 9] {
        assert_eq!(one.account(index), one.key(index).address());
        let before = one.balance(one.account(index)).await.unwrap();
        assert_eq!(before, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
        let request = payment(to).with_from(one.account(index));
        let receipt = one.provider().send_transaction(request).await.unwrap().get_receipt().await.unwrap();
        assert!(receipt.status());
        assert_eq!(receipt.from, one.account(index));
    }
    assert_eq!(one.balance(to).await.unwrap(), U256::from(14));
    assert_eq!(one.block_number().await.unwrap(), 2);
    assert_eq!(two.block_number().await.unwrap(), 0);
}

#[tokio::test]
async fn blocks_are_mined_replaced_and_taken_back() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine(5).await.unwrap();
    assert_eq!(anvil.block_number().await.unwrap(), 5);

    let provider = anvil.provider();
    let hash = async |n: u64| provider.get_block(n.into()).await.unwrap().unwrap().header.hash;
    let (kept, replaced) = (hash(3).await, hash(4).await);
    anvil.reorg(2).await.unwrap();
    assert_eq!(anvil.block_number().await.unwrap(), 5);
    assert_eq!(hash(3).await, kept);
    assert_ne!(hash(4).await, replaced);

    anvil.rollback(4).await.unwrap();
    assert_eq!(anvil.block_number().await.unwrap(), 1);
}

#[tokio::test]
async fn a_reorg_drops_transactions_or_moves_them_to_another_block() {
    let anvil = Anvil::start().await.unwrap();
    let to = Address::repeat_byte(0x22);
    let pay = async || {
        let request = payment(to).with_from(anvil.account(1));
        anvil.provider().send_transaction(request).await.unwrap().get_receipt().await.unwrap()
    };
    let first = pay().await;
    anvil.mine(3).await.unwrap();
    anvil.reorg(4).await.unwrap();
    assert_eq!(anvil.balance(to).await.unwrap(), U256::ZERO);
    let gone = anvil.provider().get_transaction_receipt(first.transaction_hash).await.unwrap();
    assert!(gone.is_none());

    // The nonce is asked for again, so the account can go on after the reorg.
    pay().await;
    anvil.mine(3).await.unwrap();
    let moved = payment(to).with_from(anvil.account(1));
    anvil.reorg_with(4, &[(moved, 2)]).await.unwrap();
    assert_eq!(anvil.balance(to).await.unwrap(), U256::from(7));
    let block = anvil.provider().get_block(7.into()).await.unwrap().unwrap();
    assert_eq!(block.transactions.len(), 1);
}

#[tokio::test]
async fn transactions_wait_for_a_block_when_automining_is_off() {
    let anvil = Anvil::start().await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let to = Address::repeat_byte(0x33);
    let pending = anvil.provider().send_transaction(payment(to)).await.unwrap();
    assert_eq!(anvil.block_number().await.unwrap(), 0);
    anvil.mine(1).await.unwrap();
    assert!(pending.get_receipt().await.unwrap().status());

    let dropped = *anvil.provider().send_transaction(payment(to)).await.unwrap().tx_hash();
    anvil.drop_transaction(dropped).await.unwrap();
    anvil.mine(1).await.unwrap();
    assert_eq!(anvil.balance(to).await.unwrap(), U256::from(7));
}

#[tokio::test]
async fn a_snapshot_is_gone_back_to_once() {
    let anvil = Anvil::start().await.unwrap();
    let account = Address::repeat_byte(0x44);
    let snapshot = anvil.snapshot().await.unwrap();
    anvil.set_balance(account, U256::from(99)).await.unwrap();
    assert_eq!(anvil.balance(account).await.unwrap(), U256::from(99));
    assert!(anvil.revert(snapshot.clone()).await.unwrap());
    assert_eq!(anvil.balance(account).await.unwrap(), U256::ZERO);
    assert!(!anvil.revert(snapshot).await.unwrap());
}

#[tokio::test]
async fn a_node_that_is_gone_or_refuses_is_a_typed_error() {
    let mut anvil = Anvil::start().await.unwrap();
    let refused = anvil.rpc::<bool>("no_such_method", serde_json::json!([])).await.unwrap_err();
    assert!(matches!(&refused, TestkitError::Rpc { method, .. } if method == "no_such_method"), "{refused}");
    anvil.process().kill().unwrap();
    assert!(matches!(anvil.block_number().await, Err(TestkitError::Rpc { .. })));
}

#[test]
fn a_node_serves_several_runtimes_one_after_another() {
    let run = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    };
    let shared: std::sync::Arc<std::sync::OnceLock<Anvil>> = std::sync::Arc::default();
    let slot = shared.clone();
    run(Box::pin(async move { slot.set(Anvil::start().await.unwrap()).unwrap() }));
    for n in 1..=2 {
        let slot = shared.clone();
        run(Box::pin(async move {
            let anvil = slot.get().unwrap();
            anvil
                .provider()
                .send_transaction(payment(Address::ZERO))
                .await
                .unwrap()
                .get_receipt()
                .await
                .unwrap();
            assert_eq!(anvil.block_number().await.unwrap(), n);
        }));
    }
}

#[tokio::test]
async fn blocks_come_by_themselves_with_a_block_time() {
    let anvil = Anvil::builder().block_time(1).start().await.unwrap();
    wait_until("two blocks", Duration::from_secs(20), async || anvil.block_number().await.unwrap() >= 2)
        .await
        .unwrap();
}
