//! Chains with other rules: how much gas a transaction may have, and what else it costs.

use alloy::primitives::{Address, U64};
use privatix_chain::{FeePolicy, Intent, TooMuchGas, TxStatus};
use privatix_testkit::{Anvil, Fault, FaultProxy, Overlay, Rule, Script};

use crate::support::{Outcomes, Running, ended, fresh, http, submit, transactor};

fn gift(anvil: &Anvil) -> Intent {
    Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1)
}

fn answers(method: &str, value: u64) -> Rule {
    Rule::new([method], Fault::Result(serde_json::to_value(U64::from(value)).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_above_the_gas_cap_fails_by_name() {
    let anvil = Anvil::start().await.unwrap();
    // What is configured, what the endpoint reports, the estimate, and the limit or the refusal.
    for (configured, reported, estimate, expected) in [
        (None, None, 16_777_217, Err(16_777_216)),
        (None, None, 16_000_000, Ok(16_777_216)),
        (None, Some(1_000_000), 1_000_001, Err(1_000_000)),
        (Some(900_000), Some(1_000_000), 900_001, Err(900_000)),
        (Some(20_000_000), None, 100_000, Ok(120_000)),
    ] {
        let (_dir, db) = fresh().await;
        let mut rules = vec![answers("eth_estimateGas", estimate)];
        rules.extend(reported.map(|cap| answers("eth_txGasLimitCap", cap)));
        rules.push(Rule::new([], Fault::Overlay(Overlay::Osaka)));
        let proxy = FaultProxy::scripted(anvil.url(), Script(rules)).await.unwrap();
        let mut fees = FeePolicy::default();
        fees.tx_gas_cap = configured;
        let transactor = transactor(&db, http(&proxy.url()), &anvil).fees(fees).build(Outcomes::default());
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil)).await;
        let record = ended(&db, &transactor, id).await;
        match expected {
            Ok(limit) => assert_eq!((record.status, record.gas_limit), (TxStatus::Mined, Some(limit))),
            Err(cap) => {
                let failure = TooMuchGas { needed: estimate, cap }.to_string();
                assert_eq!((record.status, record.failure), (TxStatus::Failed, Some(failure)));
            }
        }
        running.stop().await.unwrap();
    }
}
