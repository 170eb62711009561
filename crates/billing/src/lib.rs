//! Billing rules as pure functions: terms, usage, payments and a clock in, decisions out.
//!
//! This crate owns every rule about money between an agent and a client while a service runs:
//! what a metered use costs ([`due`]), when the agent suspends, resumes or terminates
//! ([`assess_agent`]), when the client pays, tops up or leaves ([`assess_client`]). It knows no
//! database, no network and no runtime; it never reads a clock itself.
//!
//! Every assessment also says when *time alone* would change its answer (`next`). A role keeps
//! that moment, and what changed meanwhile, in a [`Scheduler`]: the work of a tick grows with the
//! channels that changed, never with the channels that are open.
//!
//! # The rules in one place
//!
//! With `m` the metered use, `L` the `max_billing_unit_lag`, `I` the `billing_interval`:
//!
//! | rule | holds when |
//! | --- | --- |
//! | due | `setup_price + ceil(max(0, m - free) * unit_price / unit_size)`, `m` counted up to `max_units`, capped at the deposit |
//! | agent serves | paid covers `m - L`; a prepaid offering asks for its first interval before any service |
//! | agent suspends | the above does not hold, or the deposit or `max_units` is used up and not yet paid for |
//! | agent terminates | deposit or `max_units` used up and paid; idle for `max_inactive`; suspended for `max_suspend` |
//! | client pays, postpaid | when `I` units are unpaid, at a limit, or when the service falls idle: exactly what is due |
//! | client pays, prepaid | when less than half of `I` is left of what it paid for: up to `I` ahead of its meter |
//! | client tops up | due reaches the policy's percent of the deposit and no top-up is under way |
//!
//! A postpaid offering with `I <= L` (others are refused by [`TermsDraft::validate`]) and a client
//! whose meter is at most `L` behind the agent's can never wait for each other: what the client is
//! willing to pay is always enough for the agent to resume. For prepaid the slack is `I + L`.
//!
//! [`agreed`] widens both by a tolerance: it is the use that a client pays for where it knows the agent's total, too
//! ([`Account::theirs`]); top-ups, inactivity and `max_units` go by the client's own meter.
//!
//! # Example
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use privatix_billing::*;
//! use privatix_channel::{Amount, ServiceStatus, Usage};
//!
//! let terms = TermsDraft {
//!     unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: 1_048_576 },
//!     billing: Billing::Postpaid,
//!     setup_price: Amount::ZERO,
//!     unit_price: Amount::new(1_000),
//!     free_units: 0,
//!     min_units: 100,
//!     max_units: None,
//!     billing_interval: 1,
//!     max_billing_unit_lag: 3,
//!     max_suspend: Duration::from_secs(1_800),
//!     max_inactive: Duration::from_secs(1_800),
//!     max_first_use: None,
//! }
//! .validate()?;
//! assert_eq!(min_deposit(&terms), Amount::new(100_000));
//!
//! let now = SystemTime::UNIX_EPOCH;
//! let mut account = Account::new(min_deposit(&terms), ServiceStatus::Active, now);
//! account.used = Usage::new(3 * 1_048_576 + 1); // one byte above the lag, nothing paid
//!
//! let agent = assess_agent(&terms, &account, now);
//! assert_eq!(agent.action, Some(AgentAction::Suspend(SuspendReason::Unpaid)));
//!
//! let client = assess_client(&terms, &account, &ClientPolicy::default(), now);
//! assert_eq!(client.pay_to, Some(Amount::new(3_001))); // rounded up once, on the whole
//! # Ok::<(), TermsError>(())
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod account;
mod agent;
mod client;
mod drift;
mod horizon;
mod price;
mod scheduler;
mod terms;

pub use account::Account;
pub use agent::{
    AgentAction, Assessment, SuspendReason, TerminateReason, allowance, assess_agent, resumes_at,
};
pub use client::{
    ClientAction, ClientAssessment, ClientPolicy, Percent, PercentOutOfRange, TopUpAmount, TopUpPolicy,
    assess_client,
};
pub use drift::{Agreed, Drift, PerMille, PerMilleOutOfRange, agreed};
pub use price::{covered, due, min_deposit, price, signed_for, unpaid};
pub use scheduler::Scheduler;
pub use terms::{Billing, Field, Measure, SHORTEST_FIRST_USE, Terms, TermsDraft, TermsError, Unit};
