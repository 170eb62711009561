//! A simulator that tries to break what agents and clients decide about their channels.
//!
//! It drives the agent's side of [`privatix_market`] against models of everything else: the chain with its mempool, reorganisations
//! and price spikes, the transactor with all fates of a transaction, a disk with crashes beside any commit, the group commit
//! of vouchers, a service adapter that drifts, refuses, hangs and crashes, and clients that are honest, late or hostile. After each
//! step it checks the invariants on what the step touched; once all faults are over, every channel must become final within a
//! bound, with the money where it belongs.
//!
//! A [`Scenario`] is a complete run: made from a seed, or read from a file. The same scenario always gives the same run.
//!
//! ```
//! use privatix_sim::{Scenario, run};
//!
//! let first = run(&Scenario::random(7))?;
//! assert_eq!(run(&Scenario::random(7))?, first);
//! # Ok::<(), Box<privatix_sim::Failure>>(())
//! ```

mod adapter;
mod buyer;
mod chain;
mod check;
mod check_buyer;
mod choice;
mod client;
mod node;
mod report;
mod run;
mod scenario;
mod shrink;
mod sim;
mod transactor;

pub use self::{
    report::{RowOfRun, Rule, Violation},
    run::{Failure, Plan, Summary, run, run_many},
    scenario::{Expect, Fault, Kind, Move, Scenario, Step, What, World},
    shrink::shrink,
    sim::Counts,
};
