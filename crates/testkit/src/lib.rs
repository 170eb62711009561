//! Test support: a local EVM node, temporary directories, free ports, processes that are always cleaned up.
