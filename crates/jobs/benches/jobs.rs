//! Jobs per second with durable commits.
fn main() {}
