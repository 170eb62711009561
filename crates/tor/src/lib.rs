//! Onion services.
