//! An operator keeps the keys of several accounts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use privatix_testkit::{TempDir, temp_dir};
use serde_json::{Value, json};

use crate::support::{Home, read};
use crate::{home, market};

const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const WORDS: &str = "test test test test test test test test test test test junk";
/// The account of that key and those words, and the words' next one.
const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SECOND: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A seller's folder without a chain.
fn set_up() -> Home {
    let home = home();
    let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let folder = home.folder.to_str().unwrap();
    home.plain(&["init", folder, "--contract", contract, "--generate-password"], "").succeeds();
    home
}

/// Runs a command that reads standard input.
fn run(home: &Home, arguments: &[&str], stdin: &str) -> crate::support::Outcome {
    home.plain(&[&["--json", "--config", home.config().to_str().unwrap()], arguments].concat(), stdin)
}

fn desk(name: &str, contents: &str) -> (TempDir, String) {
    let dir = temp_dir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap_or(&Value::Null)
}

/// The account that the daemon would sign with.
fn signer(home: &Home) -> String {
    let checked = home.run(&["config", "check", "--offline"]);
    let line = checked.succeeds().stdout.lines().find(|line| line.contains("opens, account ")).unwrap();
    line.split("account ").nth(1).unwrap()[..42].to_lowercase()
}

#[test]
fn keys_are_made_imported_exported_renamed_and_chosen() {
    let home = set_up();
    let listed = home.ask(&["accounts", "list"]);
    let main = json!([{ "name": "main", "address": signer(&home), "file": home.file("keystore.json"), "default": true }]);
    assert_eq!(listed, main);

    let made = home.ask(&["accounts", "generate", "spare"]);
    assert_eq!((&made["name"], &made["default"]), (&json!("spare"), &json!(false)));
    let imported = run(&home, &["accounts", "import", "first", "--import-key", "-"], KEY).json();
    assert_eq!(imported["address"], ACCOUNT.to_lowercase());
    let words = ["accounts", "import", "second", "--import-mnemonic", "-", "--account-index", "1"];
    assert_eq!(run(&home, &words, WORDS).json()["address"], SECOND.to_lowercase());
    let listed = home.ask(&["accounts", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 4, "{listed}");

    // Out under another password, and into another folder by it.
    let (dir, password) = desk("password", "of its own\n");
    let copy = dir.path().join("copy.json");
    let copy = copy.to_str().unwrap();
    let export = ["accounts", "export", SECOND, copy, "--export-password-file", &password];
    assert_eq!(home.ask(&export)["name"], "second");
    assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    let before = read(copy.as_ref());
    home.run(&export).fails(2, &["copy.json", "is there already"]);
    assert_eq!(read(copy.as_ref()), before);
    let other = set_up();
    let import = ["accounts", "import", "mine", "--import-key", copy, "--import-password-file", &password];
    assert_eq!(other.ask(&import)["address"], SECOND.to_lowercase());
    other.run(&import[..5]).fails(2, &["the name mine is in use", "mine.json"]);

    let renamed = home.ask(&["accounts", "rename", "second", "buyer-2"]);
    assert_eq!((&renamed["formerName"], &renamed["name"]), (&json!("second"), &json!("buyer-2")));
    assert_eq!(home.ask(&["accounts", "set-default", "buyer-2"])["default"], true);
    assert_eq!(signer(&home), SECOND.to_lowercase());
    let renamed = home.ask(&["accounts", "rename", SECOND, "seller"]);
    assert_eq!((&renamed["name"], &renamed["default"]), (&json!("seller"), &json!(true)));
    assert_eq!(signer(&home), SECOND.to_lowercase(), "the default goes with its account");
    let listed = home.ask(&["accounts", "list"]);
    assert_eq!(named(&listed, "seller")["default"], true);
    assert_eq!(named(&listed, "main")["default"], false);
    home.run(&["accounts", "set-default", "main"]).succeeds();
    assert_eq!(json!(signer(&home)), main[0]["address"]);

    // No key or word is on the disk, or in an answer.
    for entry in fs::read_dir(home.file("keys")).unwrap() {
        let path = entry.unwrap().path();
        let text = read(&path);
        assert!(!text.contains(&KEY[..30]) && !text.contains("junk"), "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
    let shown = home.run(&["accounts", "list"]);
    assert!(shown.succeeds().stdout.contains("default"), "{shown:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_its_reason_and_changes_nothing() {
    let home = set_up();
    home.run(&["accounts", "generate", "spare"]).succeeds();
    run(&home, &["accounts", "import", "first", "--import-key", "-"], KEY).succeeds();
    let before = home.ask(&["accounts", "list"]);
    let (dir, wrong) = desk("wrong", "wrong\n");

    let again = home.plain(
        &["--config", home.config().to_str().unwrap(), "accounts", "import", "again", "--import-key", "-"],
        KEY,
    );
    again.fails(2, &[ACCOUNT, "is the account first already"]);
    for (arguments, says) in [
        (&["generate", "spare"][..], "the name spare is in use"),
        (&["generate", "Spare"], "lower-case letters"),
        (&["generate", "../spare"], "lower-case letters"),
        (&["generate", "main"], "the name main is in use"),
        (&["generate", "other", "--password-file", &wrong], "does not open keystore"),
        (&["import", "other"], "--import-mnemonic"),
        (&["rename", "nobody", "other"], "there is no account nobody"),
        (&["rename", "spare", "first"], "the name first is in use"),
        (&["rename", "main", "other"], "account.keystore"),
        (&["set-default", "nobody"], "there is no account nobody"),
        (&["export", "spare", dir.path().join("copy.json").to_str().unwrap()], "--export-password-file"),
        (
            &[
                "export",
                "spare",
                home.file("keys/copy.json").to_str().unwrap(),
                "--export-password-file",
                &wrong,
            ],
            "the daemon's own keys",
        ),
    ] {
        home.run(&[&["accounts"], arguments].concat()).fails(2, &[says]);
    }
    let key = home.run(&["accounts", "export", KEY, "copy.json"]);
    key.fails(2, &["an address has 0x"]);
    assert!(!key.stderr.contains(KEY), "{key:?}");
    let refused = run(&home, &["accounts", "generate", "main"], "");
    let error: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!((refused.code, &error["error"]["code"]), (Some(2), &json!("account")));

    assert_eq!(home.ask(&["accounts", "list"]), before);
    assert!(!dir.path().join("copy.json").exists());
}

#[test]
fn a_damaged_file_is_listed_warned_of_and_in_nobodys_way() {
    let home = set_up();
    home.run(&["accounts", "generate", "spare"]).succeeds();
    fs::write(home.file("keys/broken.json"), "{").unwrap();
    fs::write(home.file("keys").join(OsStr::from_bytes(b"not-\xff-text.json")), "{").unwrap();
    let listed = home.ask(&["accounts", "list"]);
    let broken = named(&listed, "broken");
    assert!(broken["problem"].as_str().unwrap().contains("no usable keystore"), "{listed}");
    assert_eq!(broken["address"], Value::Null);
    let shown = home.run(&["accounts", "list"]);
    assert!(shown.succeeds().stdout.contains("DAMAGED: it is no usable keystore"), "{shown:?}");
    let checked = home.run(&["config", "check", "--offline"]);
    assert!(checked.succeeds().stdout.contains("WARN  accounts: "), "{checked:?}");
    home.run(&["accounts", "rename", "spare", "broken"]).fails(2, &["in use", "broken.json"]);
    home.run(&["accounts", "generate", "another"]).succeeds();
    home.run(&["accounts", "export", "broken", "x"]).fails(2, &["there is no account broken"]);

    // The key of the default is gone: the daemon signs with no other one in its place.
    home.run(&["accounts", "set-default", "spare"]).succeeds();
    fs::rename(home.file("keys/spare.json"), home.file("spare.away")).unwrap();
    home.run(&["config", "check", "--offline"]).fails(2, &["the default account", "set-default"]);
    home.run(&["run"]).fails(2, &["the default account", "set-default"]);
    // And `init` makes no key that the choice would leave unused.
    for made in ["agentd.toml", "keystore.json", "api.token", "metrics.token", "password"] {
        fs::rename(home.file(made), home.file(&format!("{made}.away"))).unwrap();
    }
    let init = ["init", home.folder.to_str().unwrap(), "--generate-password"];
    home.plain(&init, "").fails(2, &["keys/default", "is there already"]);
    for made in ["agentd.toml", "keystore.json", "api.token", "metrics.token", "password"] {
        fs::rename(home.file(&format!("{made}.away")), home.file(made)).unwrap();
    }
    home.run(&["accounts", "set-default", "main"]).succeeds();
    home.run(&["config", "check", "--offline"]).succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_signs_with_the_default_until_its_database_belongs_to_it() {
    let (anvil, _, home) = market().await;
    let (main, chosen) = (anvil.account(1), anvil.account(2));
    let key = anvil.key(2).to_bytes().to_string();
    run(&home, &["accounts", "import", "chosen", "--import-key", "-"], &key).succeeds();
    home.run(&["accounts", "set-default", "chosen"]).succeeds();
    let mut daemon = home.start().await;
    assert_eq!(home.ask(&["status"])["account"], json!(chosen));

    // While it runs and after it: the database is that account's.
    let refuse = || {
        home.run(&["accounts", "set-default", "main"])
            .fails(2, &["agentd.db", &format!("belongs to account {chosen}"), &main.to_string()]);
    };
    refuse();
    home.run(&["accounts", "generate", "spare"]).succeeds();
    home.run(&["accounts", "set-default", "chosen"]).succeeds();
    let copy = home.file("copy.db");
    let made = home.ask(&["backup", copy.to_str().unwrap()]);
    assert!(made["notInIt"].to_string().contains("/keys"), "{made}");
    assert!(daemon.terminate(crate::support::LONG).await.unwrap().success());
    refuse();
    home.run(&["accounts", "rename", "chosen", "renamed"]).succeeds();
    let _daemon = home.start().await;
    assert_eq!(home.ask(&["status"])["account"], json!(chosen));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_s_key_may_be_replaced_by_another_default() {
    let (anvil, contracts, _) = market().await;
    let mut server = home();
    server.init(&anvil, &contracts, 4);
    server.set("OPERATOR__AGENT", &anvil.account(1).to_string());
    let mut daemon = server.start().await;
    assert!(daemon.terminate(crate::support::LONG).await.unwrap().success());
    server.run(&["accounts", "generate", "next"]).succeeds();
    server.run(&["accounts", "set-default", "next"]).succeeds();
    let next = server.ask(&["accounts", "list"])[1]["address"].clone();
    let _daemon = server.start().await;
    let status = server.ask(&["status"]);
    assert_eq!((&status["account"], &status["operator"]), (&json!(anvil.account(1)), &next));
}

#[test]
fn a_rescue_account_is_no_account_of_the_daemon() {
    let mut home = set_up();
    let other = set_up();
    home.set("CHAIN__RESCUE_KEYSTORE", other.file("keystore.json").to_str().unwrap());
    let (dir, password) = desk("password", "of its own\n");
    let copy = dir.path().join("copy.json");
    let copy = copy.to_str().unwrap();
    other.run(&["accounts", "export", "main", copy, "--export-password-file", &password]).succeeds();
    home.run(&["accounts", "import", "rescue", "--import-key", copy, "--import-password-file", &password])
        .fails(2, &["chain.rescue_keystore"]);
}
