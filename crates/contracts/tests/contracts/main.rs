//! The bindings against the contracts themselves, on a real node; the artifacts against their sources; the gas of every call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the gas table is shown")]

mod artifacts;
mod builders;
mod deployment;
mod errors;
mod gas;
mod hashes;
mod permits;
mod world;

/// Runs a test against a node of its own, with a limit on its time.
fn on_chain(test: impl AsyncFnOnce(world::World)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let whole = async { test(world::World::start().await).await };
        tokio::time::timeout(world::LIMIT, whole).await.expect("the node answers in time");
    });
}
