//! Decisions on the parts of a node that runs.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::keccak256;
use privatix_chain::StartFrom;
use privatix_channel::{ChannelDescriptor, Fee};
use privatix_client::{Client as Buyer, ClientSettings, Decisions, NodeParts};
use privatix_contracts::call;
use privatix_market::*;
use privatix_plugin_proxy::ProxyClient;
use privatix_somc::DirectTransport;
use privatix_store::channels;
use privatix_testkit::{Anvil, temp_dir, wait_for};
use tokio_util::sync::CancellationToken;

use crate::support::{Others, a, terms};

const AGENT: usize = 1;
const CLIENT: usize = 2;
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_on_a_running_node_is_mined_and_a_time_that_is_over_is_looked_at() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    contracts.deposit(&anvil, CLIENT, a(100_000)).await.unwrap();
    let offering = keccak256("offering").into();
    let publish = call::register_offering(offering, a(1_000), 2, 1, "agent.example:1".to_owned()).unwrap();
    contracts.deposit(&anvil, AGENT, a(100_000)).await.unwrap();
    anvil.send(AGENT, contracts.contract, &publish).await.unwrap();

    let dir = temp_dir().unwrap();
    let path = dir.path().join("client.db");
    let (key, proxy) = (anvil.key(CLIENT), Arc::new(ProxyClient::new()));
    let mut parts = NodeParts::new(&path, anvil.url(), contracts.contract, key, proxy).await.unwrap();
    parts.adapter_settings = serde_json::json!({ "port": 0 });
    parts.chain.confirmations = Some(0);
    parts.chain.poll_interval = Duration::from_millis(50);
    parts.chain.start = StartFrom::Block(0);
    let transport = Arc::new(DirectTransport::public_only());
    let client = Buyer::new(parts, transport, ClientSettings::default()).await.unwrap();
    let node = Arc::clone(client.handle().node());
    let stop = CancellationToken::new();
    let running = tokio::spawn(client.run(stop.clone()));
    let asked = Arc::<Others>::default();
    let mut policy = ClientPolicy::default();
    (policy.answer_within, policy.ask_first) = (Duration::from_millis(100), Duration::from_millis(100));
    let decisions =
        Decisions::start(&node, policy, Arc::new(|_, _| {}), asked.clone(), asked.clone()).await.unwrap();
    let decider = Arc::clone(decisions.decider());
    let deciding = tokio::spawn({
        let stop = stop.clone();
        async move { decisions.run(&stop).await }
    });
    let fresh = wait_for("a view of the chain", LIMIT, async || {
        let chain = decider.outlook().chain();
        if chain.fresh { Ok(()) } else { Err(format!("{chain:?}")) }
    });
    fresh.await.unwrap();

    let descriptor = ChannelDescriptor {
        client: node.account(),
        agent: anvil.account(AGENT),
        offering,
        nonce: 0,
        signer: node.account(),
    };
    let id = descriptor.id(node.domain());
    let opening = Opening { terms: terms(), deposit: a(1_000), fee: Fee::ZERO };
    let accepted = ClientState::accept(id, descriptor, &opening, &decider.surroundings()).unwrap();
    let mut tx = node.db().begin().await.unwrap();
    channels::insert(&mut tx, id, &descriptor, a(1_000)).await.unwrap();
    let applied = decider.begin(&mut tx, accepted).await.unwrap();
    tx.commit().await.unwrap();
    decider.committed(&applied);
    let purpose = ClientPurpose::Open { deposit: a(1_000) };
    assert_eq!(*asked.funded.lock().unwrap(), [(1, purpose)]);
    drop(decider.decide(id, Input::Tx { seq: 1, purpose, fate: Fate::Funded }).await.unwrap());
    let mined = wait_for("the channel on chain", LIMIT, async || {
        let row = channels::get(&mut node.db().read().await.unwrap(), id).await.unwrap();
        row.opened_at.ok_or("not seen yet")
    });
    mined.await.unwrap();

    // What the chain shows is decided; the agent does not answer, and is asked again when its time is over.
    let mut tx = node.db().begin().await.unwrap();
    let before = decider.load(&mut tx, id).await.unwrap();
    let chain = before.state.chain;
    let applied = decider.decide_in(&mut tx, &before, Input::Chain(chain)).await.unwrap();
    tx.commit().await.unwrap();
    decider.committed(&applied);
    let again = wait_for("a second request for access", LIMIT, async || {
        let asked = asked.questions.lock().unwrap().clone();
        let (first, again) = (asked.first().copied(), asked.get(1).copied());
        if again.is_some_and(|(_, what)| what == Ask::Access) { Ok(()) } else { Err(format!("{first:?}")) }
    });
    again.await.unwrap();

    stop.cancel();
    running.await.unwrap().unwrap();
    deciding.await.unwrap();
}
