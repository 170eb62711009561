//! How the daemon is, without asking anybody: every part reports by itself.

use std::time::{Duration, Instant, SystemTime};

use privatix_adapter as adapter;
use privatix_chain::{Freshness, MonitorState, MonitorStatus, Standing, TransactorState, TxWaiting, Why};
use privatix_channel::{ChainTime, ChannelId};
use privatix_market::{ClockSkew, Concern};
use privatix_node::{Node, Part};

use super::Looks;
use super::money::{self, Channels, Facts, Reserve, Sender, View};
use crate::node::{ChainStatus, Health, Reason, RescueStatus};

/// How the daemon is, with what the last looks at its disk and its open transactions have shown.
pub(crate) fn health(node: &Node, looks: &Looks) -> Health {
    let (disk, outlook) = (looks.disk.borrow().clone(), looks.outlook.borrow().clone());
    let recovery = node.recovery_phase();
    let damaged = outlook.as_ref().map(|outlook| outlook.damaged.clone()).unwrap_or_default();
    let checks = money::checks(&Facts {
        view: view(node),
        disk,
        recovery,
        sender: sender(node),
        outlook,
        reserve: match node.side() {
            adapter::Role::Agent => node.reserve().map_or(Reserve::NotLookedAt, Reserve::Seen),
            adapter::Role::Client => Reserve::None,
        },
        channels: channels(node, damaged),
    });
    let (reasons, warnings) = in_the_way(node);
    Health {
        live: hanging(&steps(node)).next().is_none(),
        ready: reasons.is_empty(),
        money_safe: money::is_safe(&checks),
        checks,
        reasons,
        warnings,
    }
}

/// What endangers channels by what was decided about them, and by what of them cannot be read.
fn channels(node: &Node, damaged: Vec<(ChannelId, bool)>) -> Channels {
    let mut concerns = node.concerns().all();
    for (channel, in_challenge) in damaged {
        // In a challenge its agent shows vouchers, and the client none.
        let in_challenge = in_challenge && node.side() == adapter::Role::Agent;
        concerns.push((channel, Concern::Damaged { voucher: None, in_challenge }));
    }
    let now = node.chain_now().map(ChainTime::from);
    Channels { concerns, now, challenge: node.challenge_period() }
}

/// The rescue account, with what it had at the last look.
pub(crate) fn rescue(node: &Node, looks: &Looks) -> Option<RescueStatus> {
    let account = node.rescue_account()?;
    let outlook = looks.outlook.borrow();
    let funds = outlook.as_ref().and_then(|outlook| outlook.rescue.as_ref());
    Some(RescueStatus { account, ether: funds.and_then(|funds| funds.as_ref().ok()).map(|gas| gas.balance) })
}

/// A task on which all work depends, in the middle of a step.
struct TaskStep {
    part: Part,
    /// How long the step has taken, or of a step that consists of many requests and commits, the present one of them.
    took: Duration,
    /// A step that takes longer hangs: a restart may help.
    longest: Duration,
}

/// What the tasks are doing that are in the middle of something.
fn steps(node: &Node) -> Vec<TaskStep> {
    let now = Instant::now();
    let since = |since: Option<Instant>| since.map(|since| now.saturating_duration_since(since));
    let monitor = node.monitor().and_then(|status| since(status.step_since));
    let transactor = node.transactor().ok().and_then(|tx| since(tx.status().borrow().pass_since));
    [
        // A step takes less than a second on a healthy machine.
        (Part::Jobs, node.jobs().and_then(|jobs| jobs.in_step_for()), Duration::from_mins(1)),
        // A request takes seconds; one commit may undo all blocks of a stream.
        (Part::ChainMonitor, monitor, Duration::from_mins(15)),
        (Part::Transactor, transactor, Duration::from_mins(15)),
    ]
    .into_iter()
    .filter_map(|(part, took, longest)| Some(TaskStep { part, took: took?, longest }))
    .collect()
}

fn hanging(steps: &[TaskStep]) -> impl Iterator<Item = &TaskStep> {
    steps.iter().filter(|step| step.took > step.longest)
}

fn view(node: &Node) -> View {
    let (Some(status), Some(view)) = (node.monitor(), node.chain_view()) else { return View::Nothing };
    if let Some(what) = unreconciled(node) {
        return View::Seen { freshness: Freshness::Stale(Why::Disagreement), message: Some(what) };
    }
    View::Seen { freshness: view.freshness, message: view.complaint().or_else(|| monitor_hindered(&status)) }
}

/// What the contract holds and no event explains.
fn unreconciled(node: &Node) -> Option<String> {
    let entries = node.unreconciled();
    let (entry, what) = entries.first_key_value()?;
    let others = match entries.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n.saturating_sub(1)),
    };
    Some(format!("an endpoint leaves out logs of {entry}: {what}{others}; add or change a chain endpoint"))
}

fn sender(node: &Node) -> Sender {
    let Ok(transactor) = node.transactor() else { return Sender::Nothing };
    let status = transactor.status().borrow().clone();
    match (status.state, status.waiting) {
        (TransactorState::Stalled { reason, failures, .. }, _) => {
            Sender::Stalled(format!("no transaction can be sent: {reason} ({failures} failures in a row)"))
        }
        (_, Some(TxWaiting { id, kind, obstacle, .. })) => {
            Sender::Waits(format!("transaction {id} ({kind}) waits: {obstacle}"))
        }
        _ => Sender::Sends,
    }
}

pub(crate) fn reason_of(part: Part, message: String) -> Reason {
    Reason { part: part.as_str().to_owned(), message }
}

/// What keeps the daemon from its work, and what does not but should be known.
fn in_the_way(node: &Node) -> (Vec<Reason>, Vec<Reason>) {
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    let mut hindered = |part: Part, message: String| reasons.push(reason_of(part, message));
    for TaskStep { part, took, .. } in hanging(&steps(node)) {
        let seconds = took.as_secs();
        let message = match part {
            Part::Jobs => format!("no job has started or ended for {seconds} s: a handler or the disk hangs"),
            _ => format!("it has waited for one request or one commit for {seconds} s: it or the disk hangs"),
        };
        hindered(*part, format!("{message}; look at the log and the disk, then restart"));
    }
    if node.recovery().is_some_and(|recovery| recovery.caught_up_at.is_none()) {
        hindered(
            Part::Recovery,
            "no job runs and no service is resumed until the chain was caught up with".into(),
        );
    }
    match node.monitor() {
        None => hindered(Part::ChainMonitor, "the node is starting; try again".into()),
        Some(status) => {
            if let Some(reason) = monitor_hindered(&status) {
                hindered(Part::ChainMonitor, reason);
            }
        }
    }
    for endpoint in node.endpoints().status() {
        if let Standing::Quarantined { evidence, .. } = endpoint.standing {
            let message = format!(
                "{} is not used while another answers: {evidence}; remove or replace it",
                endpoint.label
            );
            warnings.push(reason_of(Part::ChainEndpoint, message));
        }
    }
    if let Some(what) = unreconciled(node) {
        hindered(Part::Reconciliation, what);
    }
    if let Some(view) = node.chain_view()
        && let Some(complaint) = view.complaint()
    {
        match view.freshness {
            // The monitor names the reason.
            Freshness::Stale(Why::Disagreement | Why::Behind { .. }) => {}
            Freshness::Stale(_) => hindered(Part::ChainHead, complaint),
            _ => warnings.push(reason_of(Part::ChainHead, complaint)),
        }
    }
    let skew = node.clock_skew();
    let behind = || node.chain_now().and_then(|chain| clock_behind(SystemTime::now(), chain));
    if let Some(what) = skew.as_ref().map(clock_contradicts).or_else(behind) {
        warnings.push(reason_of(Part::Clock, what));
    }
    if let Ok(transactor) = node.transactor() {
        let status = transactor.status().borrow().clone();
        if let TransactorState::Stalled { reason, failures, .. } = &status.state {
            hindered(Part::Transactor, format!("{reason} ({failures} failures in a row)"));
        }
        if let Some(waiting) = &status.waiting {
            let TxWaiting { id, kind, obstacle, .. } = waiting;
            let message = format!("transaction {id} ({kind}) waits: {obstacle}");
            warnings.push(reason_of(Part::Transactor, message));
        }
    }
    let changes = node.services().host().health_changes();
    let plugin = changes.borrow().clone();
    match plugin {
        None => hindered(Part::Adapter, "the plug-in has not reported yet how it is; try again".into()),
        Some(adapter::Health::Well) => {}
        Some(adapter::Health::Degraded { reason }) => {
            warnings.push(reason_of(Part::Adapter, reason));
        }
        Some(adapter::Health::Failed { reason }) => hindered(Part::Adapter, reason),
        Some(other) => hindered(Part::Adapter, format!("{other:?}")),
    }
    warnings.extend(
        node.notices().all().into_iter().map(|(part, message)| Reason { part: part.to_owned(), message }),
    );
    (reasons, warnings)
}

/// That no money is locked because of the clocks.
fn clock_contradicts(skew: &ClockSkew) -> String {
    format!(
        "{skew}: nothing is opened, topped up or published while they are more than chain.max_clock_skew apart; set the clock, or, if the \
         endpoint is behind its chain, use another one"
    )
}

/// That this machine's clock is behind the chain's time, which is no block from the future. One that is ahead looks like an endpoint that is
/// behind its chain, and is reported as that.
fn clock_behind(ours: SystemTime, chain: SystemTime) -> Option<String> {
    const MOST: Duration = Duration::from_mins(5);
    let behind = chain.duration_since(ours).ok().filter(|behind| *behind > MOST)?;
    let seconds = behind.as_secs();
    Some(format!("this machine's clock is {seconds} s behind the chain's time: set the clock"))
}

/// What keeps orders that need the chain from being carried out now.
pub(crate) fn chain_trouble(node: &Node) -> Option<String> {
    let (reasons, warnings) = in_the_way(node);
    let of_chain = |reason: &Reason| {
        [Part::ChainMonitor, Part::ChainHead, Part::Transactor]
            .iter()
            .any(|part| part.as_str() == reason.part)
    };
    let said: Vec<String> =
        reasons.into_iter().chain(warnings).filter(of_chain).map(|reason| reason.message).collect();
    (!said.is_empty()).then(|| format!("it may have to wait: {}", said.join("; ")))
}

fn monitor_hindered(status: &MonitorStatus) -> Option<String> {
    match &status.state {
        MonitorState::Following => None,
        MonitorState::Idle => Some("it has not heard from the chain endpoint yet; try again".into()),
        MonitorState::CatchingUp => {
            let block = |block: Option<u64>| block.map_or("?".into(), |block| block.to_string());
            let (processed, confirmed) = (block(status.processed), block(status.confirmed));
            Some(format!("it is catching up: block {processed} of {confirmed}; wait"))
        }
        MonitorState::Stalled { reason, failures, .. } => {
            Some(format!("{reason} ({failures} failures in a row)"))
        }
        other => Some(format!("{other:?}")),
    }
}

pub(crate) fn chain_status(node: &Node) -> ChainStatus {
    let monitor = node.monitor();
    let state = match monitor.as_ref().map(|status| &status.state) {
        None | Some(MonitorState::Idle) => "idle",
        Some(MonitorState::CatchingUp) => "catching_up",
        Some(MonitorState::Following) => "following",
        Some(_) => "stalled",
    };
    let view = node.chain_view();
    let open = node.transactor().map_or(0, |transactor| transactor.status().borrow().open);
    ChainStatus {
        state: state.to_owned(),
        head: monitor.as_ref().and_then(|status| status.head),
        head_time: monitor.as_ref().and_then(|status| status.newest).map(|head| head.time),
        head_age: view.and_then(|view| view.head_age).map(|age| age.as_secs()),
        view_age: view.and_then(|view| view.age).map(|age| age.as_secs()),
        freshness: view.and_then(|view| match view.freshness {
            Freshness::Fresh => Some("fresh".to_owned()),
            Freshness::Late => Some("late".to_owned()),
            Freshness::Stale(_) => Some("stale".to_owned()),
            _ => None,
        }),
        confirmed: monitor.as_ref().and_then(|status| status.confirmed),
        processed: monitor.as_ref().and_then(|status| status.processed),
        unsearched: monitor.as_ref().and_then(|status| status.unsearched),
        reorgs: monitor.as_ref().map_or(0, |status| status.reorgs),
        open_transactions: u64::try_from(open).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use privatix_node::NodeError;

    use super::*;
    use crate::{ErrorCode, Failure};

    /// A section is named as what it explains; the two chapters have nothing else.
    #[test]
    fn each_check_and_each_part_has_a_section_for_operators() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let mut chapter = "";
        let mut sections = Vec::new();
        for line in docs.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                chapter = title;
            } else if let Some(title) = line.strip_prefix("### ")
                && ["Alarms", "Reasons and warnings"].contains(&chapter)
            {
                sections.push(title.to_owned());
            }
        }
        let names = money::names().into_iter().chain(Part::ALL.iter().map(|part| part.as_str().to_owned()));
        let names: BTreeSet<String> = names.collect();
        sections.sort();
        assert_eq!(sections, names.into_iter().collect::<Vec<_>>(), "the sections on the left");
    }

    #[test]
    fn a_clock_that_is_behind_the_chain_is_named() {
        let chain = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        for (behind, is_named) in [(0, false), (300, false), (301, true)] {
            let said = clock_behind(chain - Duration::from_secs(behind), chain);
            assert_eq!(said.is_some(), is_named, "{said:?}");
            assert!(said.is_none_or(|said| said.contains("301 s behind") && said.contains("set the clock")));
        }
        assert_eq!(clock_behind(chain + Duration::from_hours(100), chain), None);
    }

    #[test]
    fn a_clock_that_contradicts_the_chain_is_named_with_both_times() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let skew = ClockSkew::between(wall, ChainTime::new(7_200), true, ClockSkew::MOST).unwrap();
        let said = clock_contradicts(&skew);
        for named in [
            "1970-01-01T01:00:00Z",
            "1970-01-01T02:00:00Z",
            "chain.max_clock_skew",
            "set the clock",
            "endpoint",
        ] {
            assert!(said.contains(named), "{named}: {said}");
        }
        let refused = Failure::from(NodeError::Clock(skew));
        assert_eq!(refused.code, ErrorCode::ChainUnavailable, "{}", refused.message);
        assert!(refused.message.contains(&skew.to_string()), "{}", refused.message);
    }

    #[test]
    fn a_daemon_with_a_task_that_hangs_is_not_live() {
        let longest = Duration::from_mins(1);
        let step = |part, seconds| TaskStep { part, took: Duration::from_secs(seconds), longest };
        let hang = |steps: &[TaskStep]| hanging(steps).map(|step| step.part).collect::<Vec<_>>();
        assert_eq!(hang(&[]), []);
        assert_eq!(hang(&[step(Part::Jobs, 60), step(Part::Transactor, 1)]), []);
        assert_eq!(hang(&[step(Part::Jobs, 60), step(Part::Transactor, 61)]), [Part::Transactor]);
    }
}
