//! An agent whose key stays off the server: one daemon appoints, the other one sells.

use serde_json::json;

use crate::{home, market};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_appoints_an_operator_which_publishes_and_cannot_withdraw() {
    let (anvil, contracts, treasury) = market().await;
    let mut server = home();
    server.init(&anvil, &contracts, 4);
    let (agent_account, operator_account) = (anvil.account(1), anvil.account(4));
    let (agent, operator) = (agent_account.to_string(), operator_account.to_string());
    server.set("OPERATOR__AGENT", &agent);
    let mut selling = server.start().await;
    let shown = server.ask(&["status"]);
    assert_eq!((&shown["account"], &shown["operator"]), (&json!(agent_account), &json!(operator_account)));
    assert!(server.run(&["status"]).succeeds().stdout.contains("acting as operator"));
    let health = server.run(&["health"]);
    assert!(health.succeeds().stdout.contains(&format!("operator appoint {operator}")), "{health:?}");
    for refused in [&["deposit", "1"][..], &["withdraw", "1"], &["operator", "appoint", &operator]] {
        server.run(refused).fails(4, &["an operator cannot", &agent, "with the key of that account"]);
    }

    // The agent's own key appoints it, and puts up the stake.
    let paying = treasury.start().await;
    treasury.run(&["operator", "appoint", &agent]).fails(4, &["the agent itself"]);
    let appointed = treasury.ask(&["operator", "appoint", &operator, "--wait"]);
    assert_eq!(appointed["transactions"][0]["kind"], "appoint_operator");
    assert_eq!(treasury.ask(&["operator", "show"])["operator"], json!(operator_account));
    treasury.ask(&["deposit", "2500000", "--wait"]);
    drop(paying);

    assert_eq!(server.ask(&["balances"])["contract"], "2500000");
    let example = server.plain(&["offerings", "create", "--template-example"], "");
    let draft = server.file("draft.json");
    std::fs::write(&draft, &example.succeeds().stdout).unwrap();
    let created = server.ask(&["offerings", "create", draft.to_str().unwrap()]);
    let offering = created["hash"].as_str().unwrap();
    let published = server.ask(&["offerings", "publish", offering, "--wait"]);
    assert_eq!((&published["status"], &published["agent"]), (&json!("registered"), &json!(agent_account)));
    assert!(server.run(&["operator", "show"]).succeeds().stdout.contains(&operator));
    assert!(selling.terminate(crate::support::LONG).await.unwrap().success());

    // Dismissed, it can do nothing; and the agent takes its money where it wants it.
    let _paying = treasury.start().await;
    treasury.ask(&["operator", "dismiss", "--wait"]);
    assert_eq!(treasury.ask(&["operator", "show"])["operator"], json!(null));
    let elsewhere = anvil.account(7);
    let before = contracts.token_balance(&anvil, elsewhere).await.unwrap();
    treasury.ask(&["withdraw", "1500000", "--to", &elsewhere.to_string(), "--wait"]);
    let after = contracts.token_balance(&anvil, elsewhere).await.unwrap();
    assert_eq!(after.get() - before.get(), 1_500_000);
}
