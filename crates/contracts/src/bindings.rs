//! What alloy's `sol!` makes of the committed artifacts: every call, event, error and struct, with typed instances.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the sources carry NatSpec"
)]

use alloy::sol;

sol!(
    #[sol(rpc, all_derives)]
    PSC,
    "artifacts/PSC.json"
);

sol!(
    #[sol(rpc, all_derives)]
    PTC,
    "artifacts/PTC.json"
);

sol!(
    #[sol(rpc, all_derives)]
    DepositProbe,
    "artifacts/DepositProbe.json"
);
