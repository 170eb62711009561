//! The program as its users run it, against a node of the test's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Stdio};

use privatix_channel::{Amount, Terms};
use privatix_contracts::deploy::{PROXY, ServiceDeployment};
use privatix_contracts::{PSC, known_code};
use privatix_daemon::keystore;
use privatix_deploy::plan::Network;
use privatix_testkit::{Anvil, Contracts, TempDir, temp_dir};
use serde_json::Value;

#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is not in {self:?}");
        }
        let named = self.stderr.lines().any(|line| line.starts_with("error: "));
        assert!(named && self.stdout.is_empty(), "{self:?}");
    }
}

fn deploy(arguments: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_privatix-deploy"))
        .args(arguments)
        .env_remove("PRIVATIX_DEPLOY_RPC")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A keystore of the node's account 3, and its password's file.
fn key(anvil: &Anvil) -> (TempDir, String, String) {
    let folder = temp_dir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (store, password) = (path("keystore.json"), path("password"));
    keystore::create(store.as_ref(), &anvil.key(3), &"secret word".into()).unwrap();
    fs::write(&password, "secret word\n").unwrap();
    (folder, store, password)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_deployment_needs_nothing_but_a_node_and_the_second_run_finds_the_first() {
    let anvil = Anvil::start().await.unwrap();
    let local = ["local", "--rpc", anvil.url(), "--json"];
    let first = deploy(&local).json();
    let blocks = anvil.block_number().await.unwrap();
    assert_eq!(first["contract"]["state"], "created");
    assert_eq!(first["verified"], true);
    let contract = first["contract"]["address"].as_str().unwrap().parse().unwrap();
    let known = known_code(contract, &anvil.code(contract).await.unwrap()).unwrap();
    assert_eq!(known.terms, Terms::TEST);
    assert!(known.has_known_origin(anvil.account(0)));

    let second = deploy(&local).json();
    assert_eq!(second["contract"]["state"], "present");
    assert_eq!(second["token"]["state"], "present");
    assert_eq!(second["token"]["address"], first["token"]["address"]);
    assert_eq!(second["contract"]["address"], first["contract"]["address"]);
    assert_eq!(anvil.block_number().await.unwrap(), blocks, "nothing was sent");

    let config: toml::Table = first["config"].as_str().unwrap().parse().unwrap();
    let chain = config["chain"].as_table().unwrap();
    assert_eq!(chain["contract"].as_str(), Some(contract.to_string().as_str()));
    assert_eq!(chain["chain_id"].as_integer(), Some(31_337));
    assert_eq!(chain["start_block"].as_integer(), first["contract"]["block"].as_i64());

    let people = deploy(&["local", "--rpc", anvil.url()]);
    assert_eq!(people.code, Some(0), "{people:?}");
    for line in [format!("contract = \"{contract}\""), "was there already".into(), "verified".into()] {
        assert!(people.stdout.contains(&line), "{line:?} is not in {people:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_a_keystore_pays_and_is_the_default_of_what_is_not_given() {
    let anvil = Anvil::builder().chain_id(11_155_111).start().await.unwrap();
    let (_folder, keystore, password) = key(&anvil);
    let account = anvil.account(3);
    let with_key =
        ["test", "--rpc", anvil.url(), "--keystore", &keystore, "--password-file", &password, "--json"];

    let tried = deploy(&[&with_key[..], &["--dry-run"]].concat()).json();
    assert_eq!((&tried["contract"]["state"], &tried["verified"]), (&"absent".into(), &false.into()));
    assert_eq!(anvil.block_number().await.unwrap(), 0, "nothing was sent");

    let done =
        deploy(&[&with_key[..], &["--chain-id", "11155111", "--min-stake", "1000000"]].concat()).json();
    assert_eq!(done["contract"]["address"], tried["contract"]["address"]);
    assert_eq!(done["deployer"], account.to_string().to_lowercase());
    let token = done["token"]["address"].as_str().unwrap().parse().unwrap();
    let contract = done["contract"]["address"].as_str().unwrap().parse().unwrap();
    let expected =
        ServiceDeployment { token, fee_address: account, terms: Terms::standard(Amount::new(1_000_000)) };
    assert_eq!(contract, expected.address().unwrap());
    assert_eq!(anvil.view(contract, &PSC::feeAddressCall {}).await.unwrap(), account);
    let domain = known_code(contract, &anvil.code(contract).await.unwrap()).unwrap().domain;
    assert_eq!((domain.token(), domain.chain_id()), (token, 11_155_111));
    let contracts = Contracts { token, contract, domain };
    assert_eq!(contracts.token_balance(&anvil, account).await.unwrap(), Network::SUPPLY);

    // Where tokens have value, everything is given; then nobody need be known to look.
    let (token, fee_address) = (token.to_string(), anvil.account(5).to_string());
    let main = ["main", "--rpc", anvil.url(), "--token", &token, "--fee-address", &fee_address];
    let looked = deploy(&[&main[..], &["--min-stake", "5", "--dry-run", "--json"]].concat()).json();
    assert_eq!(looked["token"]["state"], "given");
    assert_eq!(looked["terms"]["minStake"], "5");
    assert_eq!(looked["terms"]["challenge"], 86_400);
    deploy(&[&main[..], &["--dry-run"]].concat()).fails(2, &["main needs --min-stake"]);
    deploy(&[&main[..], &["--min-stake", "5"]].concat()).fails(2, &["main needs --keystore"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_an_exit_code_of_its_kind_and_without_secrets() {
    let mut anvil = Anvil::start().await.unwrap();
    let (folder, keystore, _) = key(&anvil);
    let rpc = anvil.url().to_owned();
    deploy(&["test"]).fails(2, &["test needs --keystore"]);
    deploy(&["test", "--dry-run"]).fails(2, &["test needs --rpc"]);
    deploy(&["test", "--rpc", &rpc, "--dry-run"]).fails(2, &["test needs --keystore"]);
    let malformed = deploy(&["local", "--rpc", "ftp://user:hunter2@node.example"]);
    malformed.fails(2, &["ftp"]);
    deploy(&["local", "--rpc", &rpc, "--chain-id", "5"]).fails(2, &["serves chain 31337"]);
    let wrong = folder.path().join("wrong").to_str().unwrap().to_owned();
    fs::write(&wrong, "another word").unwrap();
    deploy(&["local", "--rpc", &rpc, "--keystore", &keystore, "--password-file", &wrong])
        .fails(2, &["the password does not open keystore"]);
    let nobody = anvil.account(7).to_string();
    let refused = deploy(&["local", "--rpc", &rpc, "--token", &nobody]);
    refused.fails(3, &["cannot deploy the service contract (PSC)"]);
    let zero = deploy(&["local", "--rpc", &rpc, "--min-stake", "0"]);
    assert_eq!(zero.code, Some(3), "{zero:?}");

    // Other code is where the contract belongs.
    let done = deploy(&["local", "--rpc", &rpc, "--json"]).json();
    let contract = done["contract"]["address"].as_str().unwrap().parse().unwrap();
    anvil.set_code(contract, &[0xfe]).await.unwrap();
    deploy(&["local", "--rpc", &rpc, "--json"]).fails(4, &["is not the service contract", "1 bytes of code"]);
    anvil.set_code(contract, &[]).await.unwrap();
    anvil.set_code(PROXY, &[]).await.unwrap();
    deploy(&["local", "--rpc", &rpc, "--json"]).fails(3, &["no deterministic deployment proxy"]);

    anvil.process().kill().unwrap();
    let secret = format!("{}/s3cretkey", rpc.replace("http://", "http://user:hunter2@"));
    let gone = deploy(&["local", "--rpc", &secret]);
    gone.fails(1, &["unreachable"]);
    for outcome in [&gone, &malformed] {
        assert!(!outcome.stderr.contains("hunter2") && !outcome.stderr.contains("s3cretkey"), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_periods_are_refused_beyond_development_nodes() {
    let anvil = Anvil::builder().chain_id(11_155_111).start().await.unwrap();
    deploy(&["local", "--rpc", anvil.url()]).fails(2, &["chain 11155111", "`test` or `main`"]);
    assert_eq!(anvil.block_number().await.unwrap(), 0);
}
