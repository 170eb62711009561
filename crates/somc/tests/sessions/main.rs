//! The protocol in sessions: what the tests over sockets show of version 1, of version 2; and who is behind a session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "what the tests of version 1 share")]

/// The version that is tested.
const VERSION: u16 = 2;

mod access;
mod agents;
mod channels;
#[path = "../sockets/common.rs"]
mod common;
#[path = "../sockets/limits.rs"]
mod limits;
#[path = "../sockets/pipelining.rs"]
mod pipelining;
#[path = "../sockets/requests.rs"]
mod requests;
#[path = "../sockets/shutdown.rs"]
mod shutdown;
#[path = "../sockets/waiting.rs"]
mod waiting;
