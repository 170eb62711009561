//! The seller and the buyer as a reader runs them: two processes and a chain between them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use privatix_channel::Amount;
use privatix_testkit::{Anvil, Contracts, Process, temp_dir, wait_for};

/// Guards against hangs; nothing here takes long.
const LIMIT: Duration = Duration::from_mins(2);
const SELLER: usize = 1;
const BUYER: usize = 2;

fn start(
    name: &str,
    program: &str,
    account: usize,
    dir: &Path,
    chain: (&Anvil, &Contracts),
    more: &[&str],
) -> Process {
    let (anvil, contracts) = chain;
    let key_file = dir.join(format!("{name}.key"));
    let key = anvil.key(account).to_bytes();
    fs::write(&key_file, key.to_string()).unwrap();
    Process::builder(name, program)
        .env("ENDPOINT", anvil.url())
        .env("CONTRACT", contracts.contract.to_string())
        .env("KEY_FILE", &key_file)
        .env("DATABASE", dir.join(format!("{name}.db")))
        .env("CONFIRMATIONS", "0") // a block is mined per transaction, and none after it
        .env("POLL_MS", "50")
        .args(more.iter().copied())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buyer_buys_what_the_seller_sells_and_pays_for_it() {
    let dir = temp_dir().unwrap();
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let chain = (&anvil, &contracts);
    let any_port = ["--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0"];

    let mut seller = start("seller", env!("CARGO_BIN_EXE_seller"), SELLER, dir.path(), chain, &any_port);
    seller.wait_for_line("selling quotes", LIMIT).await.unwrap();
    let mut buyer =
        start("buyer", env!("CARGO_BIN_EXE_buyer"), BUYER, dir.path(), chain, &["--quotes", "11"]);
    let paid = buyer.wait_for_line("paid ", LIMIT).await.unwrap();
    assert!(paid.starts_with("paid 1100 for 11 quotes on channel 0x"), "{paid}");
    assert!(buyer.wait_exit(LIMIT).await.unwrap().success(), "{}", buyer.log());
    assert_eq!(buyer.log().lines().count(), 12, "{}", buyer.log());

    // The seller closes the channel that nobody uses any more. What the one spent, the other has, beside the stake that it
    // locked for three places of 25 quotes.
    let stake = Amount::new(3 * 25 * 100);
    let price = Amount::new(1_100);
    let holds = async |account: usize| {
        let account = anvil.account(account);
        let wallet = contracts.token_balance(&anvil, account).await.unwrap();
        wallet.checked_add(contracts.internal_balance(&anvil, account).await.unwrap()).unwrap()
    };
    wait_for("the seller's closing", LIMIT, async || {
        let rest = holds(BUYER).await;
        if rest.checked_add(price) == Some(Contracts::FUNDS) { Ok(()) } else { Err(rest) }
    })
    .await
    .unwrap();
    assert_eq!(holds(SELLER).await.checked_add(stake), Contracts::FUNDS.checked_add(price));
    assert!(seller.terminate(LIMIT).await.unwrap().success(), "{}", seller.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_key_file_is_named() {
    let dir = temp_dir().unwrap();
    let key_file = dir.path().join("not.key");
    fs::write(&key_file, "not a key").unwrap();
    let mut buyer = Process::builder("buyer", env!("CARGO_BIN_EXE_buyer"))
        .args([
            "--endpoint",
            "http://127.0.0.1:1",
            "--contract",
            "0x0000000000000000000000000000000000000001",
        ])
        .env("KEY_FILE", &key_file)
        .env("DATABASE", dir.path().join("buyer.db"))
        .spawn()
        .unwrap();
    assert!(!buyer.wait_exit(LIMIT).await.unwrap().success());
    assert!(buyer.log().contains("not.key: not a private key in hex"), "{}", buyer.log());
}
