//! Developer commands: demo, test, bench, contracts.
