//! The chain monitor (confirmed, reorg-safe, resumable) and the transactor (stored intents, fees, receipts).
