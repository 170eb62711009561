//! A model of the service contract, for tests: the same calls, events and errors, in plain Rust.
//!
//! [`Contract`] stands in wherever a test needs a chain but not a node: in this crate's own state-machine test, and in the
//! tests of others. It is kept true by the workspace's differential test, which runs random calls against it and against
//! the real contract on a real node and compares every event, error, returned value and balance.
//!
//! Left out: permits (a call "from the wallet" has its allowance), other tokens than PTC, and how much gas a contract account
//! takes; its code accepts or refuses everything ([`Code`]).
//!
//! ```
//! use alloy::primitives::Address;
//! use privatix_channel::{Amount, Domain, Terms, model::{Call, Contract, Revert}};
//!
//! let (owner, agent) = (Address::repeat_byte(1), Address::repeat_byte(2));
//! let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
//! let mut contract = Contract::new(domain, owner, Terms::TEST);
//! contract.fund(agent, Amount::new(500));
//!
//! contract.call(agent, &Call::Deposit { amount: Amount::new(400) })?;
//! assert_eq!(contract.balance_of(agent), Amount::new(400));
//! assert_eq!(contract.call(agent, &Call::Deposit { amount: Amount::ZERO }), Err(Revert::ZeroAmount));
//! assert!(contract.is_conserved());
//! # Ok::<(), Revert>(())
//! ```
#![allow(
    clippy::arithmetic_side_effects,
    reason = "a reference for tests: an overflow is a finding, and is to fail them"
)]

mod accounts;
mod balances;
mod batches;
mod call;
mod closing;
mod contract;
mod event;
mod fees;
mod offerings;
mod opening;
mod revert;

pub use self::{
    accounts::{Code, tag},
    call::{Authorization, Call, Claim, Consent, Source},
    closing::Channel,
    contract::{Contract, Signatures},
    event::{Event, Outcome, Returned, SkipReason},
    fees::FeeSchedule,
    offerings::{Offering, OfferingState},
    revert::Revert,
};
