//! The contracts on a real node.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

use privatix_channel::Amount;
use privatix_contracts::{PSC, call};
use privatix_testkit::{Anvil, Contracts, TestkitError};

#[tokio::test]
async fn contracts_are_deployed_with_test_periods_and_funded_accounts() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    assert_eq!(anvil.view(contracts.contract, &PSC::popUpPeriodCall {}).await.unwrap().to::<u64>(), 10);
    assert_eq!(anvil.view(contracts.contract, &PSC::removePeriodCall {}).await.unwrap().to::<u64>(), 5);
    assert_eq!(anvil.view(contracts.contract, &PSC::challengePeriodCall {}).await.unwrap().to::<u64>(), 900);
    for index in [1, 9] {
        let tokens = contracts.token_balance(&anvil, anvil.account(index)).await.unwrap();
        assert_eq!(tokens, Contracts::FUNDS);
    }

    contracts.deposit(&anvil, 2, Amount::new(70)).await.unwrap();
    assert_eq!(contracts.internal_balance(&anvil, anvil.account(2)).await.unwrap(), Amount::new(70));

    let twin = Anvil::start().await.unwrap();
    assert_eq!(twin.deploy().await.unwrap(), contracts, "addresses do not depend on the run");
}

#[tokio::test]
async fn a_refused_call_is_an_error() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let error = anvil.send(1, contracts.contract, &call::withdraw(Amount::new(1))).await.unwrap_err();
    assert!(matches!(error, TestkitError::Rpc { .. }), "{error:?}");
}
