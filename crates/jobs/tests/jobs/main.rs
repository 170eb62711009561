//! The queue and its processor, on real databases.

mod commits;
mod common;
mod control;
mod crash;
mod duplicates;
mod lanes;
mod leases;
mod list;
mod order;
mod outcomes;
mod rounds;
mod stats;
mod suspects;
mod two_processors;
mod upkeep;
