//! What is committed is what the sources compile to.

use std::{fs, process::Command};

use alloy::primitives::{B256, hex};
use privatix_contracts::{PSC, PTC, topics};
use serde_json::Value;

use crate::world::contracts_folder;

fn artifact(name: &str) -> Value {
    let path = contracts_folder().join(format!("../crates/contracts/artifacts/{name}.json"));
    serde_json::from_slice(&fs::read(path).expect("the artifact is there")).expect("JSON")
}

#[test]
fn the_committed_artifacts_are_byte_for_byte_what_the_pinned_compiler_makes_of_the_sources() {
    let output = Command::new("node")
        .args(["scripts/artifacts.mjs", "--check"])
        .current_dir(contracts_folder())
        .output()
        .expect("node is installed, and `npm ci` was run in contracts/");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_bindings_deploy_the_artifacts_bytecode() {
    for (name, bytecode) in [("PSC", &PSC::BYTECODE), ("PTC", &PTC::BYTECODE)] {
        assert_eq!(artifact(name)["bytecode"]["object"], hex::encode_prefixed(bytecode), "{name}");
    }
}

/// EIP-170: no chain would take the contract.
#[test]
fn the_code_fits_the_size_limit_of_contracts() {
    for bytecode in [&PSC::DEPLOYED_BYTECODE, &PTC::DEPLOYED_BYTECODE] {
        assert!(bytecode.len() <= 24_576, "{} bytes", bytecode.len());
    }
}

#[test]
fn filters_know_every_event_of_the_service_contract() {
    let mut known = topics::all();
    known.push(topics::SKIPPED); // in receipts only
    known.sort();
    let mut declared: Vec<_> = PSC::PSCEvents::SELECTORS.iter().map(B256::from).collect();
    declared.sort();
    assert_eq!(known, declared);
}
