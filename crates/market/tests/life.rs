//! The diagrams of `docs/channel-life.md` show steps that there are, and every state.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use privatix_channel::{ChainTime, ChannelStatus, Closure, Phase, ServiceStatus, UnderWay};
use privatix_market::{Actual, Service, Target};

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
    let closing = Phase::Closing { ends_at: ChainTime::new(1) };
    let closed = |closure| Phase::Closed { closure };
    let (by_agent, by_client) = (closed(Closure::ByAgent), closed(Closure::ByClient));
    let open = Phase::Open;
    // By events, and, the last one, by a reorganisation.
    let phases = [
        (Phase::Unopened, open),
        (open, closing),
        (closing, open),
        (open, by_agent),
        (closing, by_agent),
        (closing, by_client),
        (open, Phase::Unopened),
    ];
    let own = [None, Some(UnderWay::Close), Some(UnderWay::CloseRequest), Some(UnderWay::Finalization)];
    let name = |phase, own| ChannelStatus::of(phase, own).to_string();
    let mut taken = Steps::new();
    for before in own {
        taken.extend(phases.map(|(from, to)| (name(from, before), name(to, before))));
        for after in own {
            taken.extend(phases.map(|(phase, _)| (name(phase, before), name(phase, after))));
        }
    }

    let shown = &diagrams()[0];
    assert_eq!(shown.difference(&taken).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    assert_eq!(states(shown), ChannelStatus::ALL.iter().map(|status| status.as_str()).collect());
}

#[test]
fn the_diagram_of_a_service_shows_steps_that_it_takes() {
    let actuals = [Actual::Absent, Actual::Suspended, Actual::Running, Actual::Lost, Actual::Unknown];
    let states: Vec<Service> = [Target::Absent, Target::Suspended, Target::Running]
        .into_iter()
        .flat_map(|target| {
            actuals.map(|actual| {
                let mut service = Service::default();
                (service.target, service.actual) = (target, actual);
                service
            })
        })
        .collect();
    // Prepared, over: in the order of a service's life.
    let parts = [(false, false), (true, false), (true, true)];
    let name = |service: &Service, (prepared, over)| service.status(prepared, over, 0).to_string();
    let mut taken = Steps::new();
    for part in parts {
        for before in &states {
            // Either what is wanted changes, or what it does, or it is prepared, or it ends.
            let one = |after: &&Service| before.target == after.target || before.actual == after.actual;
            taken.extend(states.iter().filter(one).map(|after| (name(before, part), name(after, part))));
            let later = parts.into_iter().filter(|later| *later > part);
            taken.extend(later.map(|later| (name(before, part), name(before, later))));
        }
    }
    let shown = &diagrams()[1];
    assert_eq!(shown.difference(&taken).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    assert_eq!(self::states(shown), ServiceStatus::ALL.iter().map(|status| status.as_str()).collect());
}
