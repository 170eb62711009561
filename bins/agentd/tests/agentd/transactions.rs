//! What an operator does about transactions that wait.

use privatix_testkit::wait_for;
use serde_json::{Value, json};

use crate::market;
use crate::support::{Home, LONG};

/// The transaction of this kind, once it is sent.
async fn sent(home: &Home, kind: &str) -> String {
    let sent = wait_for("a sent transaction", LONG, async || {
        let listed = home.ask(&["transactions", "list", "--status", "sent", "--kind", kind]);
        if listed[0]["id"].is_null() { Err(listed.to_string()) } else { Ok(listed[0]["id"].to_string()) }
    });
    sent.await.unwrap()
}

async fn until(home: &Home, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let shown = wait_for(what, LONG, async || {
        let shown = home.ask(&["transactions", "show", id]);
        if is(&shown) { Ok(shown) } else { Err(shown.to_string()) }
    });
    shown.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_waits_is_raised_to_the_fee_that_is_ordered() {
    let (anvil, _, home) = market().await;
    let _daemon = home.start().await;
    home.ask(&["deposit", "2500000", "--wait"]);
    anvil.set_automine(false).await.unwrap();
    let order = home.ask(&["withdraw", "1000"]);
    let id = sent(&home, "withdraw").await;
    let before = until(&home, &id, "its signature", |shown| shown["attempts"][0]["hash"].is_string()).await;
    assert_eq!(before["attempts"].as_array().unwrap().len(), 1, "{before}");

    // One without the other is no price.
    home.run(&["transactions", "bump", &id, "--max-fee", "90"]).fails(2, &["--tip"]);
    let raised = home.run(&["transactions", "bump", &id, "--max-fee", "90", "--tip", "7.5"]);
    assert!(raised.succeeds().stdout.contains("is raised"), "{raised:?}");
    let is_raised = |shown: &Value| shown["attempts"].as_array().is_some_and(|attempts| attempts.len() == 2);
    let shown = until(&home, &id, "the raised fee", is_raised).await;
    let newest = &shown["attempts"][0];
    assert_eq!(
        (&newest["maxFee"], &newest["priorityFee"]),
        (&json!("90000000000"), &json!("7500000000")),
        "{shown}"
    );

    // That one is mined, and pays the tip that was ordered.
    let mined = wait_for("it to be mined", LONG, async || {
        anvil.mine(1).await.map_err(|error| error.to_string())?;
        let shown = home.ask(&["transactions", "show", &id]);
        if shown["transaction"]["status"] == "mined" { Ok(shown) } else { Err(shown.to_string()) }
    });
    let mined = mined.await.unwrap();
    let inclusion = &mined["transaction"]["inclusion"];
    assert_eq!((&inclusion["hash"], &inclusion["success"]), (&newest["hash"], &json!(true)));
    let price: u128 = inclusion["gasPrice"].as_str().unwrap().parse().unwrap();
    assert!(price >= 7_500_000_000, "{mined}");
    let job = order["job"].to_string();
    let done = wait_for("the withdrawal's end", LONG, async || {
        let shown = home.ask(&["jobs", "show", &job]);
        if shown["job"]["status"] == "done" { Ok(()) } else { Err(shown.to_string()) }
    });
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_sent_is_cancelled_by_another_one_in_its_place() {
    let (anvil, contracts, home) = market().await;
    let _daemon = home.start().await;
    home.ask(&["deposit", "2500000", "--wait"]);
    anvil.set_automine(false).await.unwrap();
    home.ask(&["withdraw", "1000"]);
    let id = sent(&home, "withdraw").await;
    let signed = until(&home, &id, "its signature", |shown| shown["attempts"][0]["hash"].is_string()).await;
    let hash = &signed["attempts"][0]["hash"];

    let cancelled = home.run(&["transactions", "cancel", &id]);
    assert!(cancelled.succeeds().stdout.contains("another one takes its place"), "{cancelled:?}");
    // Its nonce goes to another one, which takes its place in the pool.
    wait_for("the pool to drop it", LONG, async || {
        let pooled: Result<Value, _> = anvil.rpc("eth_getTransactionByHash", json!([hash])).await;
        match pooled.map_err(|error| error.to_string())? {
            Value::Null => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await
    .unwrap();
    let over = wait_for("the cancellation to be mined", LONG, async || {
        anvil.mine(1).await.map_err(|error| error.to_string())?;
        let shown = home.ask(&["transactions", "show", &id]);
        if shown["transaction"]["status"] == "cancelled" { Ok(shown) } else { Err(shown.to_string()) }
    });
    let over = over.await.unwrap();
    assert_eq!(over["transaction"]["inclusion"], Value::Null, "{over}");
    let there = contracts.internal_balance(&anvil, anvil.account(1)).await.unwrap();
    assert_eq!(there, 2_500_000_u128.into(), "nothing was withdrawn");

    // One that is over is not cancelled.
    home.run(&["transactions", "cancel", &id]).fails(4, &[&id]);
}
