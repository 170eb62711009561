//! What use costs, and what follows from it.

mod agent;
mod client;
mod deadlines;
mod drift;
mod drifting_pair;
mod honest_pair;
mod price;
mod rules;
mod scheduler;
mod support;
mod terms;
