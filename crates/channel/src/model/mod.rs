//! A model of the service contract, for tests: the same calls, events and errors, in plain Rust.
//!
//! [`Contract`] stands in wherever a test needs a chain but not a node: in this crate's own state-machine test, and in the
//! tests of others. It is kept true by the workspace's differential test, which runs random calls against it and against
//! the real contract on a real node and compares every event, error and balance.
//!
//! Left out: permits (a call "from the wallet" has its allowance), announcement sources, and contract wallets (ERC-1271).
//!
//! ```
//! use alloy::primitives::Address;
//! use privatix_channel::{Amount, Domain, model::{Call, Contract, Periods, Revert}};
//!
//! let (owner, agent) = (Address::repeat_byte(1), Address::repeat_byte(2));
//! let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
//! let mut contract = Contract::new(domain, owner, Periods { pop_up: 5, remove: 5, challenge: 10 });
//! contract.fund(agent, Amount::new(500));
//!
//! contract.call(agent, &Call::Deposit { amount: Amount::new(400) })?;
//! assert_eq!(contract.balance_of(agent), Amount::new(400));
//! assert_eq!(contract.call(agent, &Call::Deposit { amount: Amount::ZERO }), Err(Revert::ZeroAmount));
//! assert!(contract.is_conserved());
//! # Ok::<(), Revert>(())
//! ```

mod call;
mod contract;

pub use self::{
    call::{Call, Claim, Event, Revert},
    contract::{Channel, Contract, Offering, OfferingState, Periods},
};
