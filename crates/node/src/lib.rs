//! What both roles do alike: chain events into the store, services, metering, balances.
