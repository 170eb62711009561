//! The proxy through its public face: both adapters with real sockets, programs and an origin in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test fails by panicking, its numbers are its own, and what it prints is for who looks"
)]

mod conformance;
mod gate;
mod hostile;
mod meters;
mod ports;
mod refusals;
mod strangers;
mod support;
mod traffic;
mod transparency;
