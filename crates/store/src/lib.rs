//! Marketplace persistence: accounts, offerings, channels, vouchers, sessions.
