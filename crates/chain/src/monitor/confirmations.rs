//! How many confirmations are usual.

/// Blocks on top of a block before its logs count, as is usual on a chain: its everyday reorganisations are shorter. 2 where
/// the chain is not known.
pub const fn usual_confirmations(chain_id: u64) -> u64 {
    match chain_id {
        // Arbitrum One, Nova, Sepolia: several blocks a second.
        42_161 | 42_170 | 421_614 => 8,
        // Polygon, Amoy.
        137 | 80_002 => 16,
        // BNB Smart Chain, its test network.
        56 | 97 => 3,
        _ => 2,
    }
}
