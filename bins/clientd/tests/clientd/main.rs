//! `clientd` as its user meets it, against a real `agentd`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../agentd/tests/agentd/support.rs"]
#[allow(dead_code, reason = "shared with agentd's tests")]
mod support;

use privatix_testkit::{Anvil, Contracts, FileServer, wait_for, workspace_bin};
use serde_json::{Value, json};
use support::{Home, LONG};

const UNKNOWN: &str = "0x0101010101010101010101010101010101010101010101010101010101010101";

/// A buyer who reaches agents on this machine.
fn buyer() -> Home {
    let mut home = Home::new(env!("CARGO_BIN_EXE_clientd"), "clientd", "PRIVATIX_CLIENT_");
    home.set("SOMC__ALLOW_PRIVATE", "true");
    home.set("ADAPTER__SETTINGS__PORT", "0");
    home.set("ADAPTER__SETTINGS__ALLOW_PRIVATE_AGENTS", "true");
    home
}

fn seller() -> Home {
    let program = workspace_bin("privatix-agentd", "agentd").unwrap();
    let mut home = Home::new(program, "agentd", "PRIVATIX_AGENT_");
    home.set("SOMC__LISTEN", "127.0.0.1:0");
    home.set("ADAPTER__SETTINGS__LISTEN", "127.0.0.1:0");
    home.set("ADAPTER__SETTINGS__DESTINATIONS", "{allow=[\"127.0.0.0/8\"]}");
    home
}

async fn chain() -> (Anvil, Contracts) {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    (anvil, contracts)
}

/// Publishes an offering with `agentd`'s commands and gives its hash.
fn publish(seller: &Home) -> String {
    seller.ask(&["deposit", "5000000", "--wait"]);
    let draft = seller.file("draft.json");
    let example = seller.plain(&["offerings", "create", "--template-example"], "");
    std::fs::write(&draft, &example.succeeds().stdout).unwrap();
    let created = seller.ask(&["offerings", "create", draft.to_str().unwrap()]);
    let hash = created["hash"].as_str().unwrap().to_owned();
    assert_eq!(seller.ask(&["offerings", "publish", &hash, "--wait"])["status"], "registered");
    hash
}

/// Waits until `clientd` has fetched and checked an offering.
async fn discovered(buyer: &Home, offering: &str) -> Value {
    let found = wait_for("the offering", LONG, async || {
        let found = buyer.ask(&["browse"]);
        if found[0]["hash"] == offering { Ok(found[0].clone()) } else { Err(found.to_string()) }
    });
    found.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_buys_uses_pays_and_ends() {
    let (anvil, contracts) = chain().await;
    let (seller, buyer) = (seller(), buyer());
    seller.init(&anvil, &contracts, 1);
    buyer.init(&anvil, &contracts, 2);
    let _agentd = seller.start().await;
    let mut clientd = buyer.start().await;
    assert_eq!(buyer.ask(&["status"])["role"], "client");
    assert_eq!(buyer.ask(&["browse"]), json!([]));

    let offering = publish(&seller);
    let found = discovered(&buyer, &offering).await;
    assert_eq!(found["message"]["terms"]["unitPrice"], "1000");
    assert_eq!(buyer.ask(&["browse", "--country", "AQ"]), json!([]));
    buyer.run(&["browse", "--all"]).succeeds();

    let opened = buyer.ask(&["accept", &offering, "--deposit", "300000", "--wait"]);
    let channel = opened["channel"]["id"].as_str().unwrap();
    assert_eq!(opened["channel"]["service"], "active");
    let endpoint = &opened["endpoint"];
    let proxy = format!("http://{}:{}", endpoint["host"].as_str().unwrap(), endpoint["port"]);

    let size = 3 << 20;
    let files = FileServer::start(size).await.unwrap();
    let proxied = reqwest::Client::builder().proxy(reqwest::Proxy::all(&proxy).unwrap()).build().unwrap();
    let body = proxied.get(files.url()).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), usize::try_from(size).unwrap());

    // Both sides metered, the client paid, the agent holds the vouchers.
    let paid = wait_for("the payment", LONG, async || {
        let seen = seller.ask(&["usage", channel]);
        let paid: u64 = seen["channel"]["paid"].as_str().unwrap().parse().unwrap();
        if paid >= 3_000 { Ok(paid) } else { Err(seen.to_string()) }
    });
    let paid = paid.await.unwrap();
    let usage = buyer.ask(&["usage", channel]);
    assert!(usage["channel"]["used"].as_u64().unwrap() >= size, "{usage}");
    assert_eq!(usage["unit"]["name"], "MiB");
    assert!(buyer.run(&["usage", channel]).succeeds().stdout.contains("MiB"));
    buyer.run(&["channels", "show", channel]).succeeds();
    for daemon in [&seller, &buyer] {
        wait_for("what a daemon has earned and locked to be safe", LONG, async || {
            let health = daemon.run(&["health", "--of", "money"]);
            if health.code == Some(0) { Ok(()) } else { Err(health.stdout) }
        })
        .await
        .unwrap();
    }
    assert_eq!(buyer.ask(&["channels", "list"])[0]["id"], channel);

    // How this channel is topped up by itself.
    let shown = buyer.ask(&["channels", "show", channel]);
    assert_eq!((&shown["policy"]["topUp"], &shown["hasOwnPolicy"]), (&Value::Null, &json!(false)), "{shown}");
    let set =
        buyer.ask(&["policy", channel, "--top-up-at", "99", "--top-up-by", "7", "--max-deposit", "900000"]);
    let shown = buyer.ask(&["channels", "show", channel]);
    let own =
        json!({ "topUp": { "percent": 99, "amount": "7", "maxDeposit": "900000" }, "settleAfter": "3s" });
    assert_eq!((&shown["policy"], &shown["hasOwnPolicy"]), (&own, &json!(true)), "{shown}");
    let order = buyer.ask(&["orders", "show", &set["order"].to_string()]);
    assert_eq!((&order["what"], &order["isDone"]), (&json!("setPolicy"), &json!(true)), "{order}");
    let refused = buyer.run(&["policy", channel, "--top-up-at", "50", "--max-deposit", "300000"]);
    refused.fails(4, &["would never be made"]);
    buyer.run(&["policy", channel]).fails(2, &["--as-configured"]);
    buyer.run(&["policy", UNKNOWN, "--no-top-up"]).fails(4, &[UNKNOWN]);
    let cleared = buyer.run(&["policy", channel, "--as-configured"]).succeeds().stdout.clone();
    assert!(cleared.contains("follows the configuration"), "{cleared}");
    assert!(buyer.run(&["channels", "show", channel]).succeeds().stdout.contains("never, as configured"));

    let topped = buyer.ask(&["topup", channel, "50000", "--wait"]);
    assert_eq!(topped["job"]["kind"], "fund");
    // Each order can be followed by its number.
    let orders = buyer.ask(&["orders", "list", "--channel", channel]);
    let what: Vec<&serde_json::Value> =
        orders.as_array().unwrap().iter().map(|order| &order["what"]).collect();
    assert_eq!(what, ["topUp", "setPolicy", "setPolicy", "open"], "{orders}");
    assert_eq!(orders[3]["isDone"], true, "{orders}");
    let paused = buyer.ask(&["channels", "pause", channel]);
    let shown = buyer.ask(&["orders", "show", &paused["order"].to_string()]);
    assert_eq!(
        (&shown["what"], &shown["isDone"], &shown["channel"]),
        (&json!("pause"), &json!(true), &json!(channel))
    );
    assert!(buyer.ask(&["channels", "resume", channel])["order"].as_u64() > paused["order"].as_u64());
    buyer.run(&["orders", "list"]).succeeds();
    wait_for("the larger deposit", LONG, async || {
        let deposit = seller.ask(&["channels", "show", channel])["channel"]["deposit"].clone();
        if deposit == "350000" { Ok(()) } else { Err(deposit.to_string()) }
    })
    .await
    .unwrap();

    // The agent closes; what it was paid is on chain.
    seller.ask(&["channels", "close", channel, "--wait"]);
    let order = seller.ask(&["orders", "list", "--channel", channel])[0].clone();
    let close = (&order["what"], &order["isDone"], &order["closure"]);
    assert_eq!(close, (&json!("close"), &json!(true), &json!("by_agent")), "{order}");
    let number = order["order"].to_string();
    assert_eq!(seller.ask(&["orders", "show", &number])["transaction"], order["transaction"]);
    let carried = seller.ask(&["transactions", "show", &order["transaction"].to_string()]);
    assert_eq!(carried["transaction"]["kind"], "close_channel", "{carried}");
    assert!(seller.run(&["orders", "show", &number]).succeeds().stdout.contains("closed by the agent"));
    wait_for("the close", LONG, async || {
        let seen = buyer.ask(&["channels", "show", channel]);
        if seen["channel"]["status"] == "closed_coop" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await
    .unwrap();
    let settled = seller.ask(&["usage", channel])["channel"]["settled"].clone();
    assert!(settled.as_str().unwrap().parse::<u64>().unwrap() >= paid, "{settled}");
    let on_chain = contracts.internal_balance(&anvil, anvil.account(1)).await.unwrap();
    let stake = 10 * 100_000;
    let expected = 5_000_000 - stake + settled.as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!(on_chain, expected.into());
    assert!(clientd.terminate(LONG).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_while_data_flows_loses_no_usage() {
    let (anvil, contracts) = chain().await;
    let (mut seller, mut buyer) = (seller(), buyer());
    seller.init(&anvil, &contracts, 1);
    buyer.init(&anvil, &contracts, 2);
    // Where the other side finds them again.
    let port = || privatix_testkit::free_port().unwrap();
    seller.set("SOMC__LISTEN", &format!("127.0.0.1:{}", port()));
    seller.set("ADAPTER__SETTINGS__LISTEN", &format!("127.0.0.1:{}", port()));
    buyer.set("ADAPTER__SETTINGS__PORT", &port().to_string());
    let mut agentd = seller.start().await;
    let mut clientd = buyer.start().await;
    let offering = publish(&seller);
    discovered(&buyer, &offering).await;
    let opened = buyer.ask(&["accept", &offering, "--deposit", "300000", "--wait"]);
    let channel = opened["channel"]["id"].as_str().unwrap();
    let endpoint = &opened["endpoint"];
    let proxy = format!("http://{}:{}", endpoint["host"].as_str().unwrap(), endpoint["port"]);
    let used = |home: &Home| home.ask(&["usage", channel])["channel"]["used"].as_u64().unwrap();

    let size = 1 << 20;
    let files = FileServer::start(size).await.unwrap();
    let download = async || {
        let proxied = reqwest::Client::builder().proxy(reqwest::Proxy::all(&proxy).unwrap()).build().unwrap();
        wait_for("a download", LONG, async || {
            let body = proxied.get(files.url()).send().await?.error_for_status()?.bytes().await?;
            assert_eq!(body.len(), usize::try_from(size).unwrap());
            Ok::<_, reqwest::Error>(())
        })
        .await
        .unwrap();
    };
    download().await;
    clientd.hang_up().unwrap();
    assert_eq!(clientd.wait_exit(LONG).await.unwrap().code(), Some(0));
    let _clientd = buyer.start().await;
    assert!(used(&buyer) >= size, "{}", used(&buyer));

    download().await;
    agentd.hang_up().unwrap();
    assert_eq!(agentd.wait_exit(LONG).await.unwrap().code(), Some(0));
    let _agentd = seller.start().await;
    assert!(used(&seller) >= 2 * size, "{}", used(&seller));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bought_is_refused_with_the_reason() {
    let (anvil, contracts) = chain().await;
    let (seller, mut buyer) = (seller(), buyer());
    seller.init(&anvil, &contracts, 1);
    buyer.init(&anvil, &contracts, 2);
    buyer.set("BUDGET__PER_AGENT", "150000");
    let mut agentd = seller.start().await;
    let _clientd = buyer.start().await;
    buyer.run(&["accept", UNKNOWN]).fails(4, &[UNKNOWN, "browse"]);
    buyer.run(&["topup", UNKNOWN, "5"]).fails(4, &["no channel", UNKNOWN]);
    let (url, token) = (buyer.url(), buyer.file("api.token"));
    let api = privatix_api::ApiClient::new(&url, support::read(&token).into()).unwrap();
    let top_up = privatix_api::client::TopUpChannel {
        channel: UNKNOWN.parse().unwrap(),
        amount: 5_u128.into(),
        key: None,
    };
    assert_eq!(api.call(&top_up).await.unwrap_err().code(), Some(privatix_api::ErrorCode::NotFound));
    // A seller's command at a buyer's daemon.
    let there = ["--api-url", &url, "--api-token-file", token.to_str().unwrap(), "offerings", "list"];
    seller.run(&there).fails(4, &["no such method"]);

    let offering = publish(&seller);
    discovered(&buyer, &offering).await;
    buyer.run(&["accept", &offering, "--deposit", "5"]).fails(4, &["deposit of at least 100000"]);
    buyer.run(&["accept", &offering, "--deposit", "999999999999999999"]).fails(4, &["deposit"]);
    buyer.run(&["accept", &offering, "--deposit", "150001"]).fails(4, &["budget.per_agent", "150000"]);
    agentd.kill().unwrap();
    buyer.run(&["accept", &offering]).fails(4, &["127.0.0.1"]);
    assert_eq!(buyer.ask(&["channels", "list"]), json!([]), "nothing was half opened");
}

#[test]
fn a_buyer_keeps_several_keys() {
    let buyer = buyer();
    let folder = buyer.folder.to_str().unwrap();
    let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    buyer.plain(&["init", folder, "--contract", contract, "--generate-password"], "").succeeds();
    let made = buyer.ask(&["accounts", "generate", "second"]);
    buyer.ask(&["accounts", "set-default", "second"]);
    let address = made["address"].as_str().unwrap();
    let checked = buyer.run(&["config", "check", "--offline"]);
    let opens = format!("opens, account {address}");
    assert!(checked.succeeds().stdout.to_lowercase().contains(&opens), "{checked:?}");
    let help = buyer.plain(&["accounts", "--help"], "");
    assert!(help.succeeds().stdout.contains("accounts set-default"), "{help:?}");
}

#[test]
fn settings_of_a_buyer_are_checked() {
    let mut home = buyer();
    let folder = home.folder.to_str().unwrap().to_owned();
    home.plain(
        &["init", &folder, "--contract", "0x5FbDB2315678afecb367f032d93F642f64180aa3", "--generate-password"],
        "",
    )
    .succeeds();
    let with = |settings: &[&str]| {
        let mut arguments = Vec::new();
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        arguments.extend(["config", "check", "--offline", "--json"]);
        home.run(&arguments)
    };
    let percent = "billing.top_up.percent=80";
    let agent = "budget.allowed_agents=[\"0x5FbDB2315678afecb367f032d93F642f64180aa3\"]";
    let sound = [percent, "billing.top_up.amount=5000", "billing.settle_after=10s", "budget.daily=7", agent];
    let sound = with(&sound).json();
    assert_eq!(sound["settings"]["budget"]["daily"], "7");
    assert_eq!(sound["settings"]["billing"]["top_up"]["amount"], "5000");
    assert_eq!(sound["settings"]["billing"]["settle_after"], "10s");
    for (settings, says) in [
        (&["billing.top_up.percent=101"][..], "billing.top_up.percent"),
        (&["billing.top_up.amount=5"], "billing.top_up.percent"),
        (&[percent, "billing.top_up.amount=-5"], "billing.top_up.amount"),
        (&[percent, "billing.top_up.often=true"], "billing.top_up.often"),
        (&["budget.daily=much"], "budget.daily"),
        (&["budget.weekly=5"], "budget.weekly"),
        (&["budget.allowed_agents=[]"], "budget.allowed_agents"),
        (&["budget.allowed_agents=[\"agent.example\"]"], "budget.allowed_agents"),
        (&["chain.accept_fee=many"], "chain.accept_fee"),
        (&["somc.allow_private=perhaps"], "somc.allow_private"),
        (&["somc.contact=always"], "somc.contact"),
        (&["tor.socks=127.0.0.1:9050"], "tor.socks"), // Tor is off here
        (&["somc.contact=tor-only"], "tor.enabled"),  // which is off here
        (&["somc.private_agents=[\"agent.example.org:80\"]"], "somc.private_agents"),
        (&["adapter.settings.listen=0.0.0.0"], "allow_remote_users"),
    ] {
        let refused = with(settings);
        assert_eq!(refused.code, Some(2), "{settings:?}: {refused:?}");
        let error: Value = serde_json::from_str(&refused.stderr).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{settings:?}: {message}");
    }
    let template = support::read(&home.config());
    assert_eq!(template.matches("\n[tor]\n").count(), 1);
    assert!(template.contains("\n# socks = \"127.0.0.1:9050\"\n"));
    home.env.clear();
    let default = home.run(&["config", "check", "--offline", "--json"]).json();
    assert_eq!(default["settings"]["somc"]["contact"], "tor-only");
    let agent = "rlwpm3t44rbn5jllcabzyhgpsea55xx2m3c7jzwgq2cvavdpuodno4ad.onion:80";
    let key = home.run(&["onion-key", agent]);
    key.succeeds();
    assert!(key.stdout.starts_with("descriptor:x25519:"), "{key:?}");
    assert_eq!(home.run(&["onion-key", agent]).stdout, key.stdout);
    assert_eq!(home.run(&["onion-key", "agent.example.org:80"]).code, Some(2));
}
