//! An agent whose only endpoint leaves out a log.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use privatix_agent::{Agent, AgentHandle, Messaging, NodeError, NodeParts, OfferingAction, OfferingDraft};
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_chain::{MonitorState, StartFrom};
use privatix_channel::{Amount, ChannelDescriptor, ChannelStatus, Voucher, sign_voucher};
use privatix_contracts::{ChannelInfo, PSC, call, topics};
use privatix_plugin_proxy::ProxyServer;
use privatix_somc::DirectListener;
use privatix_store::{channels, vouchers};
use privatix_testkit::{Anvil, Fault, FaultProxy, Rule, Script, temp_dir, wait_for};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const AGENT: usize = 1;
const CLIENT: usize = 2;
const EARNED: Amount = Amount::new(500);
/// Guards against hangs.
const LIMIT: Duration = Duration::from_secs(90);

fn draft() -> OfferingDraft {
    let terms = TermsDraft {
        unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: 1 << 20 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: Amount::new(10),
        free_units: 0,
        min_units: 100,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 4,
        max_suspend: Duration::from_mins(10),
        max_inactive: Duration::from_mins(10),
    };
    let mut draft = OfferingDraft::new("Proxy", "DE".parse().unwrap(), 1, terms);
    draft.additional = json!({ "protocols": ["socks5", "http"] });
    draft
}

type Task = JoinHandle<Result<(), NodeError>>;

async fn run(parts: NodeParts) -> (AgentHandle, CancellationToken, Task) {
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let messaging = Messaging::new(listener.local_addr().into(), listener);
    let agent = Agent::new(parts, messaging).await.unwrap();
    let (handle, stop) = (agent.handle(), CancellationToken::new());
    let task = tokio::spawn(agent.run(stop.clone()));
    (handle, stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_omitted_close_request_is_found_by_reconciliation() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    for account in [AGENT, CLIENT] {
        contracts.deposit(&anvil, account, Amount::new(100_000_000)).await.unwrap();
    }
    let endpoint = FaultProxy::start(anvil.url()).await.unwrap();
    let dir = temp_dir().unwrap();
    let plugin = Arc::new(ProxyServer::new());
    let (path, key) = (dir.path().join("agent.db"), anvil.key(AGENT));
    let mut parts = NodeParts::new(&path, &endpoint.url(), contracts.contract, key, plugin).await.unwrap();
    parts.adapter_settings = json!({ "listen": "127.0.0.1:0" });
    parts.chain.confirmations = Some(0); // a block is mined per transaction, and none after it
    parts.chain.poll_interval = Duration::from_millis(50);
    parts.chain.start = StartFrom::Block(0);
    let (agent, stop, task) = run(parts).await;
    let node = Arc::clone(agent.node());
    let until = async |what: &str, block: u64| {
        let processed = async || node.processed_block().filter(|seen| *seen >= block).ok_or("not processed");
        wait_for(what.to_owned(), LIMIT, processed).await.unwrap();
    };
    until("the chain monitor", 1).await;

    // A channel of which the agent has earned something.
    let offering = agent.create_offering(draft()).await.unwrap().hash();
    agent.change_offering(offering, OfferingAction::Publish).await.unwrap();
    wait_for("the offering on the market", LIMIT, async || {
        let is_there = agent.offerings(1).await.unwrap().remove(0).status.is_on_market();
        is_there.then_some(()).ok_or("not announced")
    })
    .await
    .unwrap();
    let client = anvil.key(CLIENT);
    let descriptor = ChannelDescriptor {
        client: client.address(),
        agent: anvil.account(AGENT),
        offering,
        nonce: 1,
        signer: client.address(),
    };
    let channel = descriptor.id(node.domain());
    let open = call::open(&descriptor, Amount::new(10_000)).unwrap();
    anvil.send(CLIENT, contracts.contract, &open).await.unwrap();
    until("the channel", anvil.block_number().await.unwrap()).await;
    let voucher = Voucher { channel, cumulative: EARNED };
    let signed = sign_voucher(&client, node.domain(), voucher).unwrap();
    let mut tx = node.db().begin().await.unwrap();
    assert!(vouchers::store(&mut tx, &signed).await.unwrap());
    tx.commit().await.unwrap();

    // The client admits nothing, and the endpoint hides its request.
    let request = format!("{}", topics::CHANNEL[3]);
    let hides = Fault::OmitLogs { from: 0, to: None, topic: Some(request), receipts: true, bloom: true };
    endpoint.script(Script(vec![Rule::new([], hides)]));
    let close = call::request_close(&descriptor, Amount::ZERO);
    anvil.send(CLIENT, contracts.contract, &close).await.unwrap();
    until("the block of the request", anvil.block_number().await.unwrap()).await;
    let stored = channels::get(&mut node.db().read().await.unwrap(), channel).await.unwrap();
    assert_eq!((stored.status, stored.challenge_ends_at), (ChannelStatus::Active, None));

    // It fails for a moment, and is honest from then on; what it hid is below what was processed.
    let down = Fault::Http { status: 503, retry_after: None, body: String::new() };
    endpoint.script(Script(vec![Rule::new([], down)]));
    wait_for("the gap", LIMIT, async || {
        let status = node.monitor().unwrap();
        matches!(status.state, MonitorState::Stalled { .. }).then_some(()).ok_or(format!("{status:?}"))
    })
    .await
    .unwrap();
    endpoint.honest();

    let held = wait_for("the answer to the dispute", LIMIT, async || {
        let asked = PSC::channelsCall { channelId: *channel.as_b256() };
        let held = ChannelInfo::from(anvil.view(contracts.contract, &asked).await.unwrap());
        if held.paid == EARNED { Ok(held) } else { Err(format!("{held:?}")) }
    })
    .await
    .unwrap();
    assert!(held.disputed, "{held:?}");
    assert!(node.unreconciled().is_empty());
    stop.cancel();
    task.await.unwrap().unwrap();
}
