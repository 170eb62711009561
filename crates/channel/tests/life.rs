//! The diagrams of `docs/channel-life.md` show steps that there are, and every state.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use privatix_channel::{
    Amount, ChainTime, ChannelEvent, ChannelStatus, Closure, Fee, OwnStep, ServiceEvent, ServiceStatus,
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/channel-life.md");

type Steps = BTreeSet<(String, String)>;

/// The steps of the diagrams, in the document's order, but for those from and to `[*]`.
fn diagrams() -> Vec<Steps> {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let blocks =
        document.split("```mermaid").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let step = |line: &str| {
        let (from, rest) = line.trim().split_once(" --> ")?;
        let to = rest.split(':').next()?.trim();
        (from != "[*]" && to != "[*]").then(|| (from.to_owned(), to.to_owned()))
    };
    blocks.map(|block| block.lines().filter_map(step).collect()).collect()
}

fn states(steps: &Steps) -> BTreeSet<&str> {
    steps.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]).collect()
}

#[test]
fn the_diagram_of_a_channels_status_shows_steps_that_it_takes() {
    use ChannelEvent as E;
    use OwnStep as S;
    let (none, ends_at) = (Amount::ZERO, ChainTime::new(1));
    let closed = |closure| E::Closed { paid: none, refund: none, closure };
    let events = [
        E::Opened { deposit: none, fee: Fee::ZERO },
        E::ToppedUp { deposit: none, request_cancelled: true },
        E::Settled { paid: none },
        E::CloseRequested { paid: none, ends_at },
        E::CloseCancelled,
        closed(Closure::ByAgent),
        closed(Closure::ByClient),
    ];
    let steps = [
        S::CloseSent,
        S::CloseFailed { in_challenge: true },
        S::CloseFailed { in_challenge: false },
        S::CloseRequestSent,
        S::CloseRequestFailed,
        S::FinalizeSent,
        S::FinalizeFailed,
    ];
    let mut taken = Steps::new();
    for from in ChannelStatus::ALL {
        let by_events = events.iter().filter_map(|event| from.apply(*event).ok());
        let to = by_events.chain(steps.iter().filter_map(|step| from.step(*step).ok()));
        taken.extend(to.map(|to| (from.to_string(), to.to_string())));
    }
    // A reorganisation folds the channel afresh.
    taken.insert((ChannelStatus::Active.to_string(), ChannelStatus::Pending.to_string()));

    let shown = &diagrams()[0];
    assert_eq!(shown.difference(&taken).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    assert_eq!(states(shown), ChannelStatus::ALL.iter().map(|status| status.as_str()).collect());
}

#[test]
fn the_diagram_of_a_service_shows_all_its_steps() {
    use ServiceEvent as E;
    let events =
        [E::Prepared, E::Activate, E::Activated, E::Suspend, E::Suspended, E::Terminate, E::Terminated];
    let mut taken = Steps::new();
    for from in ServiceStatus::ALL {
        let to = events.iter().filter_map(|event| from.apply(*event).ok()).filter(|to| *to != from);
        taken.extend(to.map(|to| (from.to_string(), to.to_string())));
    }
    assert_eq!(diagrams()[1], taken);
}
