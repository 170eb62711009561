//! The monitor and the transactor against a real node, each test with its own node and database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "tests"
)]

mod backward;
mod cancel;
mod catch_up;
mod chains;
mod crash;
mod endpoints;
mod fees;
mod finality;
mod flood;
mod hang;
mod head;
mod lies;
mod monitor;
mod nonces;
mod oddities;
mod phases;
mod processed;
mod proxied;
mod refused;
mod reorg;
mod rescue;
mod secrets;
mod several;
mod signers;
mod support;
mod transactor;
mod urgent;
mod witness;
