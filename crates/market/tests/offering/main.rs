//! Decisions about offerings, as tables: state, input, expected effects and owners.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod foreign;
mod liveness;
mod orders;
mod own;
mod support;
