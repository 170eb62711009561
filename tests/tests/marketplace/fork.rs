//! Which contract an endpoint shows: a chain that forks and takes another id, and one that lies.

use std::sync::Arc;

use privatix_adapter::Role;
use privatix_chain::{ChainError, Endpoint, Endpoints};
use privatix_node::{Agreed, ChainSettings, Node, NodeError, NodeParts, contract_domain};
use privatix_plugin_proxy::ProxyServer;
use privatix_testkit::{Anvil, Fault, FaultProxy, Rule, Script, temp_dir};

use crate::market::AGENT;

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

#[tokio::test(flavor = "multi_thread")]
async fn two_endpoints_that_show_different_code_start_nothing() {
    let (honest, liar) = (Anvil::start().await.unwrap(), Anvil::start().await.unwrap());
    let contracts = honest.deploy().await.unwrap();
    assert_eq!(liar.deploy().await.unwrap().contract, contracts.contract, "addresses are deterministic");
    let dir = temp_dir().unwrap();
    let open = async |name: &str| {
        let (db, key) = (dir.path().join(name), honest.key(AGENT));
        let plugin = Arc::new(ProxyServer::new());
        let mut parts = NodeParts::new(&db, honest.url(), contracts.contract, key, plugin).await.unwrap();
        let [first, second] = [honest.url(), liar.url()].map(|url| Endpoint::new(url).unwrap());
        parts.endpoints = Endpoints::new(first, [second]);
        Node::open(parts, Role::Agent).await
    };
    open("same.db").await.unwrap();

    liar.set_code(contracts.contract, &[0x00]).await.unwrap();
    let refusal = open("other.db").await.unwrap_err();
    assert!(matches!(&refusal, NodeError::EndpointsDisagree { what: "code", .. }), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_periods_of_offerings_are_no_single_endpoints_word() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let dir = temp_dir().unwrap();
    let (db, key) = (dir.path().join("periods.db"), anvil.key(AGENT));
    let plugin = Arc::new(ProxyServer::new());
    let mut parts = NodeParts::new(&db, anvil.url(), contracts.contract, key, plugin).await.unwrap();
    let endpoints = [anvil.url(), &second.url()].map(|url| Endpoint::new(url).unwrap());
    let [first, other] = endpoints;
    parts.endpoints = Endpoints::new(first, [other]);
    let node = Node::open(parts, Role::Agent).await.unwrap();
    let agreed = node.offering_periods().await.unwrap();
    assert!(agreed.is_sure(), "{agreed:?}");

    let one = format!("0x{:064x}", 1);
    second.script(Script(vec![Rule::new(["eth_call"], Fault::Result(one.into()))]));
    let refusal = node.offering_periods().await.unwrap_err();
    assert!(
        matches!(&refusal, NodeError::EndpointsDisagree { what: "periods of offerings", .. }),
        "{refusal}"
    );
    second.script(Script(vec![Rule::new([], Fault::Cut)]));
    let alone = node.offering_periods().await.unwrap();
    assert_eq!(alone, Agreed::Alone(agreed.for_now()), "one that is away denies and confirms nothing");
}
