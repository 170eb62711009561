//! A JSON-RPC endpoint that misbehaves as a test wishes, in front of a real node.
//!
//! [`FaultProxy`] serves HTTP and WebSocket and passes on what no fault changes. What it does wrong is written down in
//! one of two ways: a [`Script`] of [`Rule`]s, which can be stored in a file and acts in the same way at each run; or
//! a closure that returns a [`Verdict`] for each request, for what only one test needs.

mod act;
mod kind;
mod overlay;
mod proxy;
mod script;
mod serve;
mod view;

pub use kind::{Fault, Overlay};
pub use proxy::{FaultProxy, Verdict};
pub use script::{Rule, Script};
