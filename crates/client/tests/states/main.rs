//! Channels of a client that are decided from stored states: what carries the decisions out, on a real database.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod adoption;
mod asks;
mod base;
mod chain;
mod decisions;
mod drives;
mod money;
mod offerings;
mod orders;
mod runner;
mod support;
