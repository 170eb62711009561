//! The fault proxy in front of a real node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::OnceLock;
use std::time::Duration;

use alloy::consensus::TxEnvelope;
use alloy::eips::eip2718::Encodable2718;
use alloy::network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder};
use alloy::primitives::{Address, Bytes, TxHash, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use futures::{SinkExt, StreamExt};
use privatix_testkit::{Anvil, Fault, FaultProxy, Overlay, Rule, Script, wait_until};
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

fn proxy_client() -> &'static reqwest::Client {
    // Making one reads the certificates of the system.
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
    })
}

/// Sends one request by HTTP. The status, and the body if it is JSON.
async fn ask(proxy: &FaultProxy, method: &str, params: Value) -> Option<(u16, Value)> {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
    let answer = proxy_client().post(proxy.url()).body(body).send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, serde_json::from_str(&answer.text().await.ok()?).unwrap_or_default()))
}

async fn result(proxy: &FaultProxy, method: &str, params: Value) -> Value {
    ask(proxy, method, params).await.unwrap().1["result"].take()
}

async fn refusal(proxy: &FaultProxy, method: &str, params: Value) -> String {
    let (_, answer) = ask(proxy, method, params).await.unwrap();
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A signed transfer that is not sent.
async fn transfer(anvil: &Anvil, nonce: u64, gas: u64) -> (TxHash, Bytes) {
    let wallet = EthereumWallet::from(anvil.key(1));
    let request = TransactionRequest::default()
        .with_to(Address::repeat_byte(9))
        .with_value(U256::ONE)
        .with_chain_id(anvil.chain_id())
        .with_nonce(nonce)
        .with_gas_limit(gas)
        .with_max_fee_per_gas(5_000_000_000)
        .with_max_priority_fee_per_gas(1_000_000_000);
    let signed: TxEnvelope = request.build(&wallet).await.unwrap();
    (*signed.tx_hash(), signed.encoded_2718().into())
}

#[tokio::test]
async fn a_script_replays_the_same_faults_from_its_seed() {
    let anvil = Anvil::start().await.unwrap();
    let script: Script = serde_json::from_str(
        r#"[
            { "methods": ["eth_blockNumber"], "share": 0.3, "seed": 11, "fault": { "http": { "status": 503 } } },
            { "from": 10, "times": 20, "share": 0.5, "seed": 4, "fault": "cut" }
        ]"#,
    )
    .unwrap();
    let stored = serde_json::to_string(&script).unwrap();
    assert_eq!(serde_json::from_str::<Script>(&stored).unwrap(), script);
    let run = async |script: Script| {
        let proxy = FaultProxy::scripted(anvil.url(), script).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..60 {
            seen.push(ask(&proxy, "eth_blockNumber", json!([])).await.map(|(status, _)| status));
        }
        seen
    };
    let first = run(script.clone()).await;
    assert_eq!(run(script.clone()).await, first);
    for outcome in [None, Some(200), Some(503)] {
        assert!(first.contains(&outcome), "{outcome:?} does not occur in {first:?}");
    }
    let mut other = script;
    other.0[0].seed = 12;
    assert_ne!(run(other).await, first);
}

#[tokio::test]
async fn the_chain_is_shown_as_the_script_says() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine(10).await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let shown = async |fault: Fault| {
        proxy.script(Script(vec![Rule::new([], fault)]));
        let head = result(&proxy, "eth_blockNumber", json!([])).await;
        anvil.mine(2).await.unwrap();
        (head, result(&proxy, "eth_blockNumber", json!([])).await)
    };
    assert_eq!(shown(Fault::FrozenHead).await, (json!("0xa"), json!("0xa")));
    assert_eq!(shown(Fault::Lag { blocks: 4 }).await, (json!("0x8"), json!("0xa")));
    assert_eq!(result(&proxy, "eth_getBlockByNumber", json!(["0xd", false])).await, Value::Null);

    proxy.script(Script(vec![Rule::new([], Fault::WrongChain { id: 5 })]));
    assert_eq!(result(&proxy, "eth_chainId", json!([])).await, "0x5");

    proxy.honest();
    let block = async |n: &str| result(&proxy, "eth_getBlockByNumber", json!([n, false])).await;
    let (below, real) = (block("0x7").await, block("0x8").await);
    proxy.script(Script(vec![Rule::new([], Fault::OtherFork { from: 8 })]));
    let forked = block("0x8").await;
    assert_eq!(forked["parentHash"], below["hash"]);
    assert_ne!(forked["hash"], real["hash"]);
    assert_eq!(result(&proxy, "eth_getBlockByHash", json!([forked["hash"], false])).await["number"], "0x8");
    assert_eq!(result(&proxy, "eth_getBlockByHash", json!([below["hash"], false])).await["number"], "0x7");
}

#[tokio::test]
async fn limits_refuse_in_the_words_of_providers_and_a_rate_in_http() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine(6).await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.script(Script(vec![
        Rule::new(["eth_getLogs"], Fault::AtMostBlocks { blocks: 5 }),
        Rule::new(["eth_getBlockByNumber"], Fault::AtMostBytes { bytes: 100 }),
        Rule::new(["eth_gasPrice"], Fault::AtMostRequests { per_second: 2, retry_after: Some(3) }),
    ]));
    let logs = |to: &str| json!([{"fromBlock": "0x1", "toBlock": to}]);
    assert!(refusal(&proxy, "eth_getLogs", logs("0x6")).await.contains("limited to a 5 block range"));
    assert_eq!(result(&proxy, "eth_getLogs", logs("0x5")).await, json!([]));
    assert!(refusal(&proxy, "eth_getBlockByNumber", json!(["0x0", false])).await.contains("response size"));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(ask(&proxy, "eth_gasPrice", json!([])).await.unwrap().0);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_transaction_that_is_kept_back_is_mined_when_it_is_released() {
    let anvil = Anvil::start().await.unwrap();
    let refused = Fault::KeepBack { after_ms: None, refusal: Some("txpool is full".to_owned()) };
    let script = Script(vec![Rule::new(["eth_sendRawTransaction"], refused)]);
    let proxy = FaultProxy::scripted(anvil.url(), script).await.unwrap();
    let (hash, raw) = transfer(&anvil, 0, 21_000).await;
    assert_eq!(refusal(&proxy, "eth_sendRawTransaction", json!([raw])).await, "txpool is full");
    assert!(anvil.provider().get_transaction_receipt(hash).await.unwrap().is_none());
    assert_eq!(proxy.release().await, 1);
    assert!(anvil.provider().get_transaction_receipt(hash).await.unwrap().is_some());

    let delayed = Fault::KeepBack { after_ms: Some(1), refusal: None };
    proxy.script(Script(vec![Rule::new(["eth_sendRawTransaction"], delayed)]));
    let (hash, raw) = transfer(&anvil, 1, 21_000).await;
    assert_eq!(result(&proxy, "eth_sendRawTransaction", json!([raw])).await, json!(hash));
    wait_until("the receipt", Duration::from_secs(30), async || {
        anvil.provider().get_transaction_receipt(hash).await.is_ok_and(|receipt| receipt.is_some())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn calls_revert_on_as_many_heads_as_the_script_says() {
    let anvil = Anvil::start().await.unwrap();
    let reverts = Fault::Revert { heads: 2, message: "not yet".to_owned() };
    let script = Script(vec![Rule::new(["eth_call", "eth_estimateGas"], reverts)]);
    let proxy = FaultProxy::scripted(anvil.url(), script).await.unwrap();
    let call = json!([{"to": Address::repeat_byte(9)}, "latest"]);
    for _ in 0..2 {
        assert_eq!(refusal(&proxy, "eth_call", call.clone()).await, "execution reverted: not yet");
        assert_eq!(refusal(&proxy, "eth_estimateGas", call.clone()).await, "execution reverted: not yet");
        anvil.mine(1).await.unwrap();
    }
    assert_eq!(result(&proxy, "eth_call", call).await, "0x");
}

#[tokio::test]
async fn overlays_answer_like_the_chains_they_are_named_after() {
    let anvil = Anvil::start().await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let over = |overlay| proxy.script(Script(vec![Rule::new([], Fault::Overlay(overlay))]));
    let word = |n: u64| json!(format!("{:#066x}", n));

    over(Overlay::Arbitrum { minimum_gas_price: 10_000_000 });
    let call = |to: &str, input: &str| json!([{"to": to, "input": input}, "latest"]);
    let minimum = call("0x000000000000000000000000000000000000006C", "0xf918379a");
    assert_eq!(result(&proxy, "eth_call", minimum).await, word(10_000_000));

    // More than account 1 has: 10,000 ether.
    over(Overlay::OpStack { l1_fee: u64::MAX });
    let oracle = "0x420000000000000000000000000000000000000F";
    let l1_fee = call(oracle, &format!("0x49948e0e{:064x}{:064x}", 32, 0));
    assert_eq!(result(&proxy, "eth_call", l1_fee).await, word(u64::MAX));
    let (_, raw) = transfer(&anvil, 0, 21_000).await;
    anvil.set_balance(anvil.account(1), U256::from(u64::MAX)).await.unwrap();
    let words = refusal(&proxy, "eth_sendRawTransaction", json!([raw])).await;
    assert!(words.starts_with("insufficient funds for gas * price + value: balance"), "{words}");

    over(Overlay::Legacy);
    assert_eq!(
        refusal(&proxy, "eth_sendRawTransaction", json!([raw])).await,
        "transaction type not supported"
    );
    let header = result(&proxy, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert!(header["hash"].is_string() && header.get("baseFeePerGas").is_none(), "{header}");

    over(Overlay::Osaka);
    let (_, large) = transfer(&anvil, 0, (1 << 24) + 1).await;
    let words = refusal(&proxy, "eth_sendRawTransaction", json!([large])).await;
    assert!(words.starts_with("transaction gas limit too high"), "{words}");
    assert!(result(&proxy, "eth_sendRawTransaction", json!([raw])).await.is_string());
}

#[tokio::test]
async fn subscriptions_and_faults_pass_through_a_websocket() {
    let anvil = Anvil::start().await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let stream = tokio::net::TcpStream::connect(proxy.ws_url().strip_prefix("ws://").unwrap()).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(proxy.ws_url(), stream).await.unwrap();
    let mut ask = async |method: &str, params: Value| {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        socket.send(Message::text(request.to_string())).await.unwrap();
        receive(&mut socket).await["result"].take()
    };
    assert!(ask("eth_subscribe", json!(["newHeads"])).await.is_string());
    proxy.script(Script(vec![Rule::new([], Fault::WrongChain { id: 5 })]));
    assert_eq!(ask("eth_chainId", json!([])).await, "0x5");
    assert_eq!(ask("eth_blockNumber", json!([])).await, "0x0");
    anvil.mine(1).await.unwrap();
    assert_eq!(receive(&mut socket).await["params"]["result"]["number"], "0x1");
}

async fn receive(socket: &mut WebSocketStream<tokio::net::TcpStream>) -> Value {
    let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap();
    serde_json::from_str(message.unwrap().unwrap().to_text().unwrap()).unwrap()
}
