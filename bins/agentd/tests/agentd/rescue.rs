//! A rescue account: its keystore, and what is shown of it.

use alloy::primitives::U256;
use privatix_testkit::wait_for;
use serde_json::{Value, json};

use crate::market;
use crate::support::{Home, LONG};

const RESCUER: usize = 5;

/// Sets the keystore of another folder as the rescue account's.
fn rescued_by(home: &mut Home, other: &Home) {
    for (key, file) in [("KEYSTORE", "keystore.json"), ("PASSWORD_FILE", "password")] {
        home.set(&format!("CHAIN__RESCUE_{key}"), other.file(file).to_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_account_is_shown_with_its_ether_and_warned_of_when_it_has_none() {
    let (anvil, contracts, mut home) = market().await;
    assert_eq!(
        home.ask(&["config", "check", "--offline"])["settings"]["chain"]["rescue_keystore"],
        Value::Null
    );
    let other = crate::home();
    other.init(&anvil, &contracts, RESCUER);
    rescued_by(&mut home, &other);
    let account = anvil.account(RESCUER);
    let checked = home.run(&["config", "check", "--offline"]);
    let opens = format!("rescue keystore: opens, account {account}");
    assert!(checked.succeeds().stdout.contains(&opens), "{checked:?}");

    let plenty = anvil.balance(account).await.unwrap();
    anvil.set_balance(account, U256::ZERO).await.unwrap();
    let _daemon = home.start().await;
    let status = wait_for("a look at its ether", LONG, async || {
        let status = home.ask(&["status"]);
        // The reserve may be looked at a moment later.
        let is_known = status["rescue"]["ether"] == "0" && status["health"]["moneySafe"] == true;
        if is_known { Ok(status) } else { Err(status.to_string()) }
    });
    let status = status.await.unwrap();
    assert_eq!(status["rescue"], json!({ "account": account, "ether": "0" }));
    let checks = status["health"]["checks"].as_array().unwrap();
    let gas = checks.iter().find(|check| check["name"] == "gas").unwrap();
    assert_eq!(gas["state"], "atRisk", "{gas}");
    assert!(gas["message"].as_str().unwrap().contains("the rescue account cannot pay for one call"), "{gas}");
    let shown = home.run(&["status"]);
    assert!(shown.succeeds().stdout.contains(&format!("{account}, 0 wei")), "{shown:?}");

    anvil.set_balance(account, plenty).await.unwrap();
    let good = wait_for("the gas to suffice", LONG, async || {
        let health = home.ask(&["health"]);
        let checks = health["checks"].as_array().unwrap();
        if checks.iter().all(|check| check["state"] == "good") { Ok(()) } else { Err(health.to_string()) }
    });
    good.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_account_is_another_one_with_a_keystore_that_opens() {
    let (anvil, contracts, mut home) = market().await;
    let other = crate::home();
    other.init(&anvil, &contracts, RESCUER);
    let check = ["config", "check", "--offline"];
    let set = |key: &str, file: &std::path::Path| format!("chain.rescue_{key}={}", file.to_str().unwrap());
    let keystore = set("keystore", &other.file("keystore.json"));
    home.run(&[&["--set", &keystore][..], &check].concat()).succeeds();
    let (missing, wrong) =
        (set("keystore", &other.file("none.json")), set("password_file", &home.file("password")));
    home.run(&[&["--set", &missing][..], &check].concat()).fails(2, &["none.json", "chain.rescue_keystore"]);
    home.run(&[&["--set", &keystore, "--set", &wrong][..], &check].concat())
        .fails(2, &["does not open keystore", "chain.rescue_password_file"]);

    let own = home.folder.clone();
    home.set("CHAIN__RESCUE_KEYSTORE", own.join("keystore.json").to_str().unwrap());
    home.set("CHAIN__RESCUE_PASSWORD_FILE", own.join("password").to_str().unwrap());
    let refused = home.run(&["run"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("set chain.rescue_keystore"), "{refused:?}");
}
