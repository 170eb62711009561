//! The `agentd` daemon.

fn main() {}
