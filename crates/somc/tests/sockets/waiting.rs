//! Requests for access that is not ready yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use privatix_somc::{Refusal, Unready};
use tokio::sync::Notify;

use crate::common::{
    Running, Script, ask_for_access, generous, in_memory, limits, offering, sealed, soon, until,
};

/// A service whose access is not ready before `ready` is notified.
fn waiting(ready: &Arc<Notify>) -> Script {
    let (ready, is_ready) = (Arc::clone(ready), Arc::new(AtomicBool::new(false)));
    let now = Arc::clone(&is_ready);
    Script::new()
        .access(move |_| {
            let is_ready = now.load(Relaxed);
            async move {
                if is_ready { Ok(sealed(1, 64)) } else { Err(Refusal::not_ready(Duration::from_secs(1))) }
            }
        })
        .until_ready(move |_| {
            let (ready, is_ready) = (Arc::clone(&ready), Arc::clone(&is_ready));
            async move {
                ready.notified().await;
                is_ready.store(true, Relaxed);
                true
            }
        })
        .offering(|_| async { Ok(vec![7]) })
}

#[tokio::test]
async fn access_that_is_not_ready_is_waited_for_without_a_place_for_calls() {
    let ready = Arc::default();
    let running = Running::start(waiting(&ready), limits(|limits| limits.max_calls = 1)).await;
    let (waits, other) = (running.client().await, running.client().await);
    let waiting = tokio::spawn(async move { ask_for_access(&waits, 1).await });
    until(|| running.server.stats().requests == 1).await;
    // Whether it waits already or not: all others are served.
    assert_eq!(soon(other.offering(offering(1))).await.unwrap(), [7]);
    ready.notify_one();
    soon(waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_access_ends_before_the_time_of_its_request_and_with_its_connection() {
    let (memory, server, shutdown, task) = in_memory(
        waiting(&Arc::default()),
        limits(|limits| limits.request_timeout = Duration::from_secs(30)),
    );
    let client = memory.client().await;
    let asked = tokio::time::Instant::now();
    let refused = ask_for_access(&client, 1).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::not_ready(Duration::from_secs(1))));
    assert_eq!(asked.elapsed().as_secs(), 25);
    // A shutdown ends it at once.
    let raw = memory.client().await;
    let waiting = tokio::spawn(async move { ask_for_access(&raw, 1).await });
    until(|| server.stats().requests == 2).await;
    let asked = tokio::time::Instant::now();
    shutdown.cancel();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::not_ready(Duration::from_secs(1))));
    task.await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

/// What is refused with a reason lasts, so that its client is to hear of it; and nothing waits behind a service that waits for nothing.
#[tokio::test]
async fn access_that_is_refused_with_a_reason_is_not_waited_for() {
    for reason in [Some(Unready::StaleView), None] {
        let refusal = Refusal::NotReady { retry_after: Duration::from_secs(1), reason };
        let (given, waits) = (refusal.clone(), reason.is_some());
        let service = Script::new()
            .access(move |_| {
                let refusal = given.clone();
                async move { Err(refusal) }
            })
            .until_ready(move |_| async move {
                if waits {
                    std::future::pending::<()>().await;
                }
                false
            });
        let running = Running::start(service, generous()).await;
        let refused = soon(ask_for_access(&running.client().await, 1)).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(&refusal));
    }
}
