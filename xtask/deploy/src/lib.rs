//! Places the contracts on a chain, and reports what to put into the daemons' configuration: what `cargo xtask deploy` runs.
//!
//! - [`args`]: the command line;
//! - [`plan`]: what the named networks mean, as a function from choices to a plan;
//! - [`run`](mod@run): carries the plan out; again with the same choices, it finds what is there;
//! - [`report`]: what was done, for people and for programs;
//! - [`error`]: what went wrong, and the exit codes.

pub mod args;
pub mod error;
pub mod plan;
pub mod report;
pub mod run;
