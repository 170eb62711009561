//! Tor in the process, where there is no network: what an operator sees of it, and what goes on without it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use privatix_testkit::{Process, free_port, wait_for};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::bad_input::offline;
use crate::market;
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
    wait_for("the API's address", LONG, async || fs::read_to_string(home.file("api.address"))).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_tor_cannot_use_ends_only_a_seller_without_a_direct_address() {
    let (_anvil, _, mut home) = market().await;
    tor_without_network(&mut home);
    home.set("SOMC__ONION", "own");
    let folder = home.file("tor");
    let shown = folder.to_str().unwrap();

    // With nothing else, it is needed.
    let address = home.env.iter().position(|(key, _)| key.ends_with("SOMC__LISTEN")).unwrap();
    let (listen, address) = home.env.remove(address);
    fs::write(&folder, "no folder").unwrap();
    home.run(&["run"]).fails(1, &[shown, "make it a folder of this user"]);
    home.set("SOMC__ANNOUNCE", "127.0.0.1:9");
    home.env.push((listen, address));
    home.set("CHAIN__PROXY", "tor");
    home.run(&["run"]).fails(1, &[shown]);
    home.env.pop();

    for case in ["no folder", "others can write"] {
        if case == "others can write" {
            fs::remove_file(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut daemon = home.start().await;
        let status = home.ask(&["status"]);
        assert_eq!(status["addresses"], serde_json::json!(["direct:127.0.0.1:9"]), "{case}: {status}");
        let problem = status["tor"]["problem"].as_str().unwrap();
        assert!(problem.contains(shown) && problem.contains("make it a folder"), "{case}: {problem}");
        let health = home.ask(&["health"]);
        let warning = health["warnings"].as_array().unwrap().iter().find(|warning| warning["part"] == "tor");
        let warning = warning.unwrap()["message"].as_str().unwrap();
        assert!(warning.contains(shown) && warning.contains("direct address only"), "{case}: {warning}");
        assert!(daemon.terminate(LONG).await.unwrap().success());
        assert!(daemon.log().contains(shown), "{case}: {}", daemon.log());
    }
}
