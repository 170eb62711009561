//! A chain that forks and takes another id.

use privatix_chain::{ChainError, Endpoint};
use privatix_node::{ChainSettings, NodeError, contract_domain};
use privatix_testkit::Anvil;

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_keeps_the_chain_id_of_the_contracts_deployment_and_is_not_taken_for_the_configured_chain() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let endpoint = Endpoint::new(anvil.url()).unwrap();
    let mut settings = ChainSettings::new(contracts.contract);
    settings.chain_id = Some(anvil.chain_id());
    assert_eq!(contract_domain(&endpoint, &settings).await.unwrap(), contracts.domain);

    let fork = anvil.chain_id() + 1;
    anvil.set_chain_id(fork).await.unwrap();
    let refusal = contract_domain(&endpoint, &settings).await.unwrap_err();
    assert!(matches!(&refusal, NodeError::Chain(ChainError::WrongChain { .. })), "{refusal}");
    settings.chain_id = Some(fork);
    let domain = contract_domain(&endpoint, &settings).await.unwrap();
    assert_eq!((domain.chain_id(), domain.deployment_chain_id()), (fork, anvil.chain_id()));
    assert_eq!(domain, contracts.domain.on_chain(fork));
}
