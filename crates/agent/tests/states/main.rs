//! Channels and offerings of an agent that are decided from stored states: what carries the decisions out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod adoption;
mod batches;
mod drives;
mod offerings;
mod runner;
mod support;
