//! The client's pieces that carry out what is decided, without a chain and without agents.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod asks;
mod money;
mod support;
