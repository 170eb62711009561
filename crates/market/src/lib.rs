//! What an agent and a client decide about their channels, as pure functions: no clock, no randomness, no I/O.
//!
//! - [`Purpose`]: why a transaction exists, and [`Purpose::bid`]: how urgent it is and what is at stake.
//! - [`Served`] and [`Stopwatch`]: time in which the node served, by which patience is measured.
//!
//! # Example
//!
//! ```
//! use privatix_channel::{Amount, ChainTime, Period};
//! use privatix_market::{AtStake, Challenge, Priority, Purpose, Rate};
//!
//! // The client asked to close without paying for the last 2 tokens (6 decimals), each worth 0.0005 ether.
//! let at_stake = AtStake {
//!     challenge: Some(Challenge { ends_at: ChainTime::new(1_700_086_400), period: Period::hours(24) }),
//!     claimable: Amount::new(2_000_000),
//!     rate: Some(Rate { wei_per_token: 500_000_000_000_000, decimals: 6 }),
//! };
//! let bid = Purpose::Close { cumulative: Amount::new(12_000_000) }.bid(&at_stake);
//! assert_eq!(bid.priority, Priority::Urgent);
//! assert_eq!(bid.stake.map(|stake| stake.get()), Some(1_000_000_000_000_000));
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod bid;
mod clock;
mod purpose;
mod rate;

pub use self::{
    bid::{AtStake, Bid, Challenge, Deadline, Priority},
    clock::{Served, Stopwatch},
    purpose::{Asset, EffectId, OrderId, Purpose, Subject},
    rate::{Rate, Wei},
};
