//! The words that lists have for a service.

use privatix_channel::ServiceStatus;
use privatix_market::{Actual, Service, Target};

/// The adapter's present life.
const NOW: u64 = 2;

#[test]
fn a_service_of_every_state_has_one_word() {
    use ServiceStatus::{Activating, Active, Pending, Suspended, Suspending, Terminated, Terminating};
    let actual = [Actual::Absent, Actual::Suspended, Actual::Running, Actual::Lost, Actual::Unknown];
    let targets = [Target::Absent, Target::Suspended, Target::Running];
    let ended = [Terminated, Terminating, Terminating, Terminating, Terminating];
    let stopped = [Suspended, Suspended, Suspending, Suspending, Suspending];
    // Prepared, over: for each target, the word for each thing that the service does.
    let rows = [
        (false, false, [[Pending; 5]; 3]),
        (true, false, [stopped, stopped, [Activating, Activating, Active, Activating, Activating]]),
        (false, true, [ended; 3]),
        (true, true, [ended; 3]),
    ];
    for (prepared, over, of_targets) in rows {
        for (target, words) in targets.into_iter().zip(of_targets) {
            for (actual, word) in actual.into_iter().zip(words) {
                let mut service = Service::default();
                (service.target, service.actual, service.instance) = (target, actual, NOW);
                assert_eq!(service.status(prepared, over, NOW), word, "{service:?} {prepared} {over}");
            }
        }
    }
}

#[test]
fn what_an_earlier_life_of_the_adapter_did_is_not_known() {
    let mut service = Service::default();
    (service.target, service.actual, service.instance) = (Target::Running, Actual::Running, NOW - 1);
    assert_eq!(service.status(true, false, NOW), ServiceStatus::Activating);
    service.target = Target::Suspended;
    assert_eq!(service.status(true, false, NOW), ServiceStatus::Suspending);
    // What is gone stays gone.
    service.actual = Actual::Absent;
    assert_eq!(service.status(true, true, NOW), ServiceStatus::Terminated);
}
