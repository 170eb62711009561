//! Copies of a running daemon's database, and their way back.

use serde_json::Value;

use crate::market;
use crate::support::{Home, LONG};

fn drafts(home: &Home) -> Vec<Value> {
    home.ask(&["offerings", "list"]).as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_daemon_comes_back_and_the_former_database_is_kept() {
    let (_anvil, _, home) = market().await;
    let mut daemon = home.start().await;
    let draft = home.file("draft.json");
    std::fs::write(&draft, home.plain(&["offerings", "create", "--template-example"], "").stdout).unwrap();
    let draft = draft.to_str().unwrap();
    home.ask(&["offerings", "create", draft]);
    let before = drafts(&home);

    let copy = home.file("copy.db");
    let copy = copy.to_str().unwrap();
    let made = home.ask(&["backup", copy]);
    assert_eq!(made["bytes"].as_u64().unwrap(), std::fs::metadata(copy).unwrap().len());
    let others: Vec<&str> = made["notInIt"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    for name in ["agentd.toml", "keystore.json", "password"] {
        assert!(others.iter().any(|path| path.ends_with(name)), "{name} is not in {others:?}");
    }
    home.run(&["backup", copy]).fails(2, &["copy.db", "was not changed"]);
    home.run(&["restore", copy]).fails(1, &["agentd.db", "in use by another process"]);

    home.ask(&["offerings", "create", draft]);
    let after = drafts(&home);
    assert_eq!((before.len(), after.len()), (1, 2));
    assert!(daemon.terminate(LONG).await.unwrap().success());

    let restored = home.ask(&["restore", copy]);
    let former = restored["former"].as_str().unwrap().to_owned();
    let mut daemon = home.start().await;
    assert_eq!(drafts(&home), before);
    assert!(daemon.terminate(LONG).await.unwrap().success());

    // And the way back, as the former database is one like any other.
    home.ask(&["restore", &former]);
    let mut daemon = home.start().await;
    assert_eq!(drafts(&home), after);
    assert!(daemon.terminate(LONG).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_daemon_is_not_put_in_place() {
    let (_anvil, _, home) = market().await;
    drop(home.start().await);
    let copy = home.file("copy.db");
    let copy = copy.to_str().unwrap();
    home.run(&["backup", copy]).succeeds(); // nobody runs it

    let elsewhere = "chain.contract=0x00000000000000000000000000000000000000aa";
    home.run(&["--set", elsewhere, "restore", copy]).fails(2, &["it belongs to agent", "agentd.toml"]);
    home.run(&["restore", home.config().to_str().unwrap()]).fails(1, &["agentd.toml is damaged"]);
    home.run(&["restore", "/nowhere/copy"]).fails(2, &["/nowhere/copy"]);
    home.run(&["backup", "/nowhere/copy"]).fails(1, &["/nowhere"]);
}
