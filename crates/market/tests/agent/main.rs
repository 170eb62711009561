//! The agent's decisions about its channels, as tables: state, input, expected effects and owner.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod dispute;
mod liveness;
mod payment;
mod recovery;
mod settlement;
mod support;
