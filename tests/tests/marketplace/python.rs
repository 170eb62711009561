//! A client in another language, written by the page of the protocol alone: it fetches an offering and pays.

use std::process::Stdio;

use privatix_channel::{Amount, Usage};
use privatix_testkit::wait_for;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::market::{AGENT, CLIENT, LIMIT, Market, by_the_kib};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python/client.py");

/// A Python that has the package for cryptography: the one on the path, or the system's, to which Debian's package belongs.
async fn python() -> &'static str {
    for python in ["python3", "/usr/bin/python3"] {
        let mut check = Command::new(python);
        check.args(["-c", "import cryptography"]).stderr(Stdio::null());
        if check.status().await.is_ok_and(|status| status.success()) {
            return python;
        }
    }
    panic!(
        "no Python with the package `cryptography`: install `python3-cryptography`, as `cargo xtask test` does on Debian"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_150_lines_of_python_fetches_an_offering_and_pays() {
    let lines = std::fs::read_to_string(SCRIPT).unwrap().lines().count();
    assert!(lines <= 150, "{lines} lines");
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Amount::new(50_000);
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, Some(deposit)).await;
    client.stop().await; // it has paid the setup
    let paid_before = agent.handle.node().channel(id).await.unwrap().paid;

    let domain = market.contracts.domain;
    let (host, port) = agent
        .handle
        .somc()
        .source()
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .unwrap();
    let given = json!({
        "host": host, "port": port.parse::<u16>().unwrap(), "agent": market.anvil.account(AGENT),
        "chainId": domain.chain_id(), "contract": domain.contract(), "offering": offering, "channel": id,
        "key": alloy::hex::encode_prefixed(market.anvil.key(CLIENT).to_bytes()),
        "cumulative": "7000", "used": 4_321,
    });
    let mut script = Command::new(python().await);
    script.arg("-B").arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut running = script.spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    input.write_all(given.to_string().as_bytes()).await.unwrap();
    drop(input);
    let ended = tokio::time::timeout(LIMIT, running.wait_with_output()).await.expect("it hangs").unwrap();
    assert!(ended.status.success(), "{ended:?}");

    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(said["before"]["voucher"]["cumulative"], json!(paid_before), "what was signed before: {said}");
    assert_eq!(
        (&said["paid"]["cumulative"], &said["paid"]["voucher"]),
        (&json!("7000"), &Value::Null),
        "{said}"
    );
    assert_eq!(said["paid"]["view"]["service"], "running", "{said}");
    let message = agent.handle.node().offering(market.anvil.account(AGENT), offering).await.unwrap();
    assert_eq!(said["service"], json!(message.message().service_name));
    let stored = async || {
        let paid = agent.handle.node().channel(id).await.unwrap().paid;
        if paid == Amount::new(7_000) { Ok(()) } else { Err(paid) }
    };
    wait_for("the payment to be stored", LIMIT, stored).await.unwrap();
    assert_eq!(agent.handle.client_used(id).await.unwrap(), Some(Usage::new(4_321)));
    agent.stop().await;
}
