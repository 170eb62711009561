//! The agent's decisions about its channels, as tables: state, input, expected effects and owner.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod concerns;
mod dispute;
mod liveness;
mod opening;
mod orders;
mod payment;
mod recovery;
mod rows;
mod service;
mod settlement;
mod support;
mod undone;
mod view;
