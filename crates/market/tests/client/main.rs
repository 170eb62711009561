//! The client's decisions about its channels, as tables: state, input, expected effects and owner.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod billing;
#[path = "../common/mod.rs"]
mod common;
mod concerns;
mod ending;
mod liveness;
mod meters;
mod opening;
mod payment;
mod proof;
mod recovery;
mod rows;
mod service;
mod settlement;
mod support;
mod top_up;
