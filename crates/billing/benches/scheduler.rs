//! What a tick costs with a million open channels, of which a hundred changed.
fn main() {}
