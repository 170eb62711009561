//! The protocol over real sockets: what each side gets for what the other does, right or wrong.
//!
//! Rules about time run on a paused clock over an in-memory stream where a real one could make them fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

/// The version that is tested; `tests/sessions` tests another.
const VERSION: u16 = 1;

mod client;
mod common;
mod direct;
mod handshake;
mod hostile;
mod limits;
mod peer;
mod pipelining;
mod requests;
mod shutdown;
mod socks;
mod waiting;
