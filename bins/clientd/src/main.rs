//! The `clientd` daemon.

fn main() {}
