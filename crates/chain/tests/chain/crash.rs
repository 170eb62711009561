//! A process that is killed, with SIGKILL, at every single request that it makes.
//!
//! The test starts itself as the process to be killed, see [`child`].

use std::path::Path;

use alloy::primitives::{Address, U256};
use privatix_chain::{Intent, TxStatus};
use privatix_testkit::{Anvil, Process, temp_dir};

use crate::support::{FaultProxy, Outcomes, PATIENCE, Running, Verdict, ended, http, open, submit};

const DATABASE: &str = "PRIVATIX_CHAIN_TEST_DATABASE";
const ENDPOINT: &str = "PRIVATIX_CHAIN_TEST_ENDPOINT";
const TARGET: &str = "PRIVATIX_CHAIN_TEST_TARGET";

fn gift(anvil_account: Address, target: Address) -> Intent {
    Intent::new("gift", anvil_account, target, Vec::new()).value(1)
}

/// Submits one intent and sees it through; does nothing when it is not started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(database), Ok(endpoint), Ok(target)) =
        (std::env::var(DATABASE), std::env::var(ENDPOINT), std::env::var(TARGET))
    else {
        return;
    };
    see_it_through(Path::new(&database), &endpoint, target.parse().unwrap()).await;
}

async fn see_it_through(database: &Path, endpoint: &str, target: Address) {
    let db = open(database).await;
    let key = alloy::signers::local::PrivateKeySigner::from_bytes(&KEY.into()).unwrap();
    let account = key.address();
    let transactor = privatix_chain::Transactor::builder(
        db.clone(),
        http(endpoint),
        31_337,
        privatix_chain::Keyring::new([key]),
    )
    .confirmations(0)
    .poll_interval(crate::support::POLL)
    .backoff(crate::support::BACKOFF)
    .build(Outcomes::default());
    // As a job does that cannot know whether an earlier life of it had submitted already.
    let id = submit(&db, &transactor, gift(account, target)).await;
    let running = Running::transactor(&transactor);
    let record = ended(&db, &transactor, id).await;
    assert_eq!(record.status, TxStatus::Mined);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    running.stop().await.unwrap();
}

/// Account 1 of anvil.
const KEY: [u8; 32] =
    alloy::primitives::hex!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_request_it_sends_its_transaction_exactly_once() {
    let anvil = Anvil::start().await.unwrap();
    let account = anvil.account(1);
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let nonce = async || {
        let params = serde_json::json!([account, "latest"]);
        anvil.rpc::<U256>("eth_getTransactionCount", params).await.unwrap()
    };
    let mut kills = 0;
    // Before the node gets the request, and after it has acted on it.
    for acted in [false, true] {
        for at in 1.. {
            let dir = temp_dir().unwrap();
            let database = dir.path().join("chain.db");
            let target = Address::from_word(U256::from((at << 8) + usize::from(acted) + 1).into());
            let before = nonce().await;
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
                .args(["--exact", "crash::child", "--nocapture"])
                .env(DATABASE, &database)
                .env(ENDPOINT, proxy.url())
                .env(TARGET, target.to_string())
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
                see_it_through(&database, &proxy.url(), target).await;
            }
            assert_eq!(anvil.balance(target).await.unwrap(), U256::from(1), "killed at request {at}");
            assert_eq!(nonce().await, before + U256::from(1), "killed at request {at}");
            if ended {
                break;
            }
        }
    }
    assert!(kills > 16, "only {kills} kills");
}
