//! `agentd` as its operator meets it: a real process, a real chain, real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod accounts;
mod backup;
mod bad_input;
mod daemon;
mod keys;
mod operator;
mod rescue;
mod secrets;
mod streams;
mod support;
mod surroundings;
mod tor;
mod transactions;

use privatix_testkit::{Anvil, Contracts};
use support::Home;

/// A seller whose ports are free ones.
fn home() -> Home {
    let mut home = Home::new(env!("CARGO_BIN_EXE_agentd"), "agentd", "PRIVATIX_AGENT_");
    home.set("SOMC__LISTEN", "127.0.0.1:0");
    home.set("ADAPTER__SETTINGS__LISTEN", "127.0.0.1:0");
    home
}

/// A chain with the contracts, and a seller's folder for one of its accounts.
async fn market() -> (Anvil, Contracts, Home) {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let home = home();
    home.init(&anvil, &contracts, 1);
    (anvil, contracts, home)
}
