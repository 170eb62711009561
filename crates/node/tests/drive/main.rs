//! Services come to their targets, whatever the plug-in does: over adapters in this process, and one in a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

mod desk;
mod process;
mod scripted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use privatix_adapter::{Host, Timeouts};
use privatix_channel::Usage;
use privatix_market::{Actual, Answered, Target};
use privatix_node::drive::{Bound, Bounds, Times};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use desk::{Desk, channel, soon};
use process::PlugIn;
use scripted::{Does, Scripted};

/// Against hangs only.
const LONG: Duration = Duration::from_mins(1);

fn quick() -> Times {
    let mut times = Times::default();
    times.slow_after = Duration::from_millis(100);
    times.pause = Duration::from_millis(50);
    times
}

/// The plug-in finishes the start that was dropped, after the suspension.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspend_during_a_slow_start_ends_suspended() {
    let slow = Duration::from_millis(600);
    let (plug_in, mut events) = PlugIn::start(slow).await;
    let host = Host::with_timeouts(plug_in.clone(), Timeouts::all(Duration::from_secs(1))).unwrap();
    let mut desk = Desk::open(host, quick(), 16).await;
    let id = channel(1);
    desk.want(id, Target::Running).await;
    assert_eq!(events.next().await, "provisioned up to 7");
    assert_eq!(events.next().await, "allowed 7");
    assert_eq!(events.next().await, "starting");

    let suspend = desk.want(id, Target::Suspended).await;
    assert_eq!(events.next().await, "suspended");
    assert_eq!(desk.answer().await, (id, suspend, Answered::Did(Actual::Suspended)));
    assert_eq!(events.next().await, "started", "too late, and nobody waits for it");
    assert_eq!(events.next().await, "suspended");
    assert!(!plug_in.serves(id).await);
    desk.stop().await;
}

/// What is wanted after an answer follows from the decision about it: nothing is loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_loads_its_channel_once_in_the_transaction_that_ends_it() {
    let adapter = Arc::new(Scripted::default());
    let host = Host::with_timeouts(adapter.clone(), Timeouts::all(LONG)).unwrap();
    let mut desk = Desk::open(host, quick(), 1).await;
    let id = channel(1);
    adapter.set(id, "start", Does::Hang);
    let run = desk.want(id, Target::Running).await;
    soon("the start", adapter.called(id, "start")).await;
    desk.driven.asked.lock().clear(); // the looks before the call
    adapter.set(id, "start", Does::All);
    assert_eq!(desk.answer().await, (id, run, Answered::Did(Actual::Running)));
    assert_eq!(*desk.driven.asked.lock(), ["load", "report"]);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_channel_holds_no_place_of_others() {
    let adapter = Arc::new(Scripted::default());
    let host = Host::with_timeouts(adapter.clone(), Timeouts::all(LONG)).unwrap();
    let mut desk = Desk::open(host, quick(), 1).await;
    let (hanging, other) = (channel(1), channel(2));
    adapter.set(hanging, "start", Does::Hang);
    let first = desk.want(hanging, Target::Running).await;
    adapter.called(hanging, "start").await;
    let second = desk.want(other, Target::Running).await;
    assert_eq!(desk.answer().await, (other, second, Answered::Did(Actual::Running)));
    // What hung goes on, and was not asked again.
    adapter.set(hanging, "start", Does::All);
    assert_eq!(desk.answer().await, (hanging, first, Answered::Did(Actual::Running)));
    assert_eq!(adapter.calls(hanging), ["provision", "allow", "start"]);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_refuses_is_reported_refused_and_one_that_hangs_as_given_up() {
    let adapter = Arc::new(Scripted::default());
    let host = Host::with_timeouts(adapter.clone(), Timeouts::all(Duration::from_millis(100))).unwrap();
    let mut desk = Desk::open(host, quick(), 16).await;
    let (refused, hanging) = (channel(1), channel(2));
    adapter.set(refused, "provision", Does::Refuse);
    let seq = desk.want(refused, Target::Suspended).await;
    assert_eq!(desk.answer().await, (refused, seq, Answered::Refused));

    adapter.set(hanging, "stop", Does::Hang);
    let seq = desk.want_within(hanging, Target::Absent, Duration::from_millis(500)).await;
    assert_eq!(desk.answer().await, (hanging, seq, Answered::GaveUp));
    assert!(adapter.calls(hanging).len() > 1, "it was asked again within its time");
    // However late it comes.
    adapter.set(hanging, "stop", Does::All);
    let seq = desk.want(hanging, Target::Absent).await;
    let done = Answered::Did(Actual::Absent);
    while desk.answer().await != (hanging, seq, done) {} // the call of the earlier request may be answered first
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_asked_for_again_after_a_pause_and_anything_else_at_once() {
    let adapter = Arc::new(Scripted::default());
    let host = Host::with_timeouts(adapter.clone(), Timeouts::all(LONG)).unwrap();
    let mut times = quick();
    (times.pause, times.longest_pause) = (LONG, LONG);
    let mut desk = Desk::open(host, times, 16).await;
    let id = channel(1);
    adapter.set(id, "start", Does::Refuse);
    let seq = desk.want(id, Target::Running).await;
    assert_eq!(desk.answer().await, (id, seq, Answered::Refused));
    let calls = adapter.calls(id);
    desk.want(id, Target::Running).await; // waits for a minute
    let seq = desk.want(id, Target::Suspended).await;
    assert_eq!(desk.answer().await, (id, seq, Answered::Did(Actual::Suspended)));
    assert_eq!(adapter.calls(id)[calls.len()..], ["suspend"]);
    desk.stop().await;
}

/// Here because what came of the calls cannot be stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_job_fails_for_good_is_given_up() {
    let host = Host::with_timeouts(Arc::new(Scripted::default()), Timeouts::all(LONG)).unwrap();
    let (began, start) = (std::time::Instant::now(), SystemTime::now());
    let fast = move || start + began.elapsed() * 1_000; // the pauses between tries pass at once
    let mut desk = Desk::with_clock(host, quick(), 16, fast).await;
    desk.driven.is_broken.store(true, Ordering::Relaxed);
    let id = channel(1);
    let seq = desk.want(id, Target::Running).await;
    desk.until_given_up(id, seq).await;
    desk.stop().await;
}

/// Two targets in a row while one call is under way: the last one counts, and each request that is still meant is answered.
#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_pause_ends_paused() {
    let adapter = Arc::new(Scripted::default());
    let host = Host::with_timeouts(adapter.clone(), Timeouts::all(LONG)).unwrap();
    let mut desk = Desk::open(host, quick(), 16).await;
    let id = channel(1);
    let seq = desk.want(id, Target::Running).await;
    assert_eq!(desk.answer().await, (id, seq, Answered::Did(Actual::Running)));
    adapter.set(id, "suspend", Does::Hang);
    desk.want(id, Target::Suspended).await;
    adapter.called(id, "suspend").await;
    desk.want(id, Target::Running).await;
    let last = desk.want(id, Target::Suspended).await;
    adapter.set(id, "suspend", Does::All);
    assert_eq!(desk.answer().await, (id, last, Answered::Did(Actual::Suspended)));
    assert_eq!(adapter.calls(id).last(), Some(&"suspend"));
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_plug_in_makes_its_state_unknown() {
    let (plug_in, mut events) = PlugIn::start(Duration::from_millis(300)).await;
    let host = Host::with_timeouts(plug_in.clone(), Timeouts::all(LONG)).unwrap();
    let mut desk = Desk::open(host, quick(), 16).await;
    let id = channel(1);
    let up = ["provisioned up to 7", "allowed 7", "starting", "started"];
    let seq = desk.want(id, Target::Running).await;
    for expected in up {
        assert_eq!(events.next().await, expected);
    }
    assert_eq!(desk.answer().await, (id, seq, Answered::Did(Actual::Running)));

    // Nothing is written at its restart. What it did is not known, and it is given the channel again, bound first.
    plug_in.restart(&desk.instance).await;
    assert_eq!(desk.actual(id), Actual::Unknown);
    let seq = desk.want(id, Target::Running).await;
    for expected in &up[..3] {
        assert_eq!(events.next().await, *expected);
    }
    // Restarted in the middle of a call: its answer says nothing about the present life.
    plug_in.restart(&desk.instance).await;
    for expected in up {
        assert_eq!(events.next().await, expected);
    }
    assert_eq!(desk.answer().await, (id, seq, Answered::Did(Actual::Running)));
    assert_eq!(desk.actual(id), Actual::Running);
    assert!(plug_in.serves(id).await);
    desk.stop().await;
}

fn bound(revision: u64, up_to: u64) -> Bound {
    Bound { revision, up_to: Usage::new(up_to) }
}

/// With two channels that run, and the task that sends bounds.
async fn running(
    adapter: &Arc<Scripted>,
    times: Times,
    timeouts: Timeouts,
) -> (Desk, Bounds, AbortOnDropHandle<()>) {
    let host = Host::with_timeouts(adapter.clone(), timeouts).unwrap();
    let mut desk = Desk::open(host, times, 16).await;
    for id in [channel(1), channel(2)] {
        desk.want(id, Target::Running).await;
        desk.answer().await;
    }
    let (bounds, driven) = (desk.bounds.clone(), Arc::clone(&desk.driven));
    let task = tokio::spawn({
        let bounds = bounds.clone();
        async move { bounds.run(&*driven, CancellationToken::new()).await }
    });
    (desk, bounds, AbortOnDropHandle::new(task))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_bound_goes_out_and_a_channel_whose_calls_hang_keeps_no_other_waiting() {
    let adapter = Arc::new(Scripted::default());
    let (desk, bounds, _task) = running(&adapter, quick(), Timeouts::all(LONG)).await;
    let (hanging, other) = (channel(1), channel(2));
    adapter.set(hanging, "allow", Does::Hang);
    bounds.set(hanging, bound(2, 20));
    soon("the call", adapter.called_times(hanging, "allow", 2)).await;
    bounds.set(other, bound(2, 30));
    bounds.set(hanging, bound(4, 40));
    bounds.set(hanging, bound(3, 10)); // of an earlier state
    soon("the other's bound", adapter.bounded(other, 30)).await;
    adapter.set(hanging, "allow", Does::All);
    soon("the newest bound", adapter.bounded(hanging, 40)).await;
    assert_eq!(adapter.bounds(hanging), [7, 20, 40]);
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_bound_that_is_not_taken_in_time_is_reported_and_a_higher_one_is_not() {
    let adapter = Arc::new(Scripted::default());
    let mut times = quick();
    times.stop_within = Duration::from_millis(200);
    let (mut desk, bounds, _task) = running(&adapter, times, Timeouts::all(Duration::from_millis(100))).await;
    let (raised, lowered) = (channel(1), channel(2));
    for id in [raised, lowered] {
        adapter.set(id, "allow", Does::Refuse);
    }
    bounds.set(raised, bound(2, 20));
    bounds.set(lowered, bound(2, 3));
    assert_eq!(desk.unbounded().await, lowered);
    soon("tries", adapter.called_times(raised, "allow", 9)).await;
    for id in [raised, lowered] {
        adapter.set(id, "allow", Does::All);
    }
    soon("the lower bound", adapter.bounded(lowered, 3)).await;
    soon("the higher bound", adapter.bounded(raised, 20)).await;
    assert!(desk.is_quiet(), "it is reported once, and a higher one costs nobody but its buyer");
    desk.stop().await;
}

/// The call that was not answered may set an old bound after the new one was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_after_one_that_was_not_answered_is_sent_once_more() {
    let adapter = Arc::new(Scripted::default());
    let (desk, bounds, _task) = running(&adapter, quick(), Timeouts::all(Duration::from_millis(150))).await;
    let id = channel(1);
    adapter.set(id, "allow", Does::Hang);
    bounds.set(id, bound(2, 20));
    soon("the call", adapter.called_times(id, "allow", 2)).await;
    bounds.set(id, bound(3, 5));
    adapter.set_next(id, "allow", Does::All);
    soon("both calls", adapter.bounded_times(id, 5, 2)).await;
    desk.stop().await;
}
