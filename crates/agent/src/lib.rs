//! The seller: publishes offerings, hands over access, meters, collects proofs and settles.
