//! Tor in the process, where there is no network: what an operator sees of it, and what goes on without it.

use privatix_testkit::{Process, free_port, wait_for};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::bad_input::offline;
use crate::support::{Home, LONG, read};

/// Relays are sought behind a proxy that is not there, so that no test leaves loopback.
fn tor_without_network(home: &mut Home) {
    let nowhere = free_port().unwrap();
    home.set("TOR__ENABLED", "true");
    home.set("TOR__ARTI__CHANNEL__OUTBOUND_PROXY", &format!("socks5://127.0.0.1:{nowhere}"));
}

/// Starts the daemon and waits until its API listens.
async fn start(home: &Home) -> Process {
    let process = home.builder().spawn().unwrap();
    wait_for("the API's address", LONG, async || std::fs::read_to_string(home.file("api.address")))
        .await
        .unwrap();
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_waits_for_tor_reports_how_far_it_is_and_can_be_stopped() {
    let mut home = offline();
    tor_without_network(&mut home);
    home.set("CHAIN__PROXY", "tor");
    let mut daemon = start(&home).await;

    let http = Client::builder().no_proxy().build().unwrap();
    let page = format!("{}/health", home.url());
    let shown = wait_for("what is in Tor's way", LONG, async || {
        let answer = http.get(&page).send().await.map_err(|error| error.to_string())?;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let health: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        assert_eq!(health["reasons"][0]["part"], "tor", "{health}");
        let message = health["reasons"][0]["message"].as_str().unwrap_or_default().to_owned();
        if message.contains("check this machine's") { Ok(message) } else { Err(message) }
    });
    let shown = shown.await.unwrap();
    assert!(shown.contains("waits for Tor") && shown.contains(" %)"), "{shown}");

    home.run(&["health"]).fails(1, &["not ready", "waits for Tor"]);
    home.run(&["status"]).fails(4, &["waits for Tor", " %"]);
    let api = privatix_api::ApiClient::new(&home.url(), read(&home.file("api.token")).into()).unwrap();
    assert!(api.metrics().await.unwrap().contains("privatix_tor_ready 0"));

    assert!(daemon.terminate(LONG).await.unwrap().success());
    assert!(daemon.log().contains("agentd has ended"), "{}", daemon.log());
}
