//! Whether money is safe: a function of what the parts of the daemon report.

use std::time::Duration;

use alloy::primitives::U256;
use privatix_chain::{Freshness, Why};
use privatix_channel::{ChainTime, ChannelId, Period};
use privatix_market::{Concern, Danger, Side};
use privatix_node::{RecoveryPhase, ReserveStanding};

use super::outlook::{Gas, Outlook, Urgent};
use crate::node::{Check, CheckState};

/// Below this much free space an operator should make room.
const LITTLE_SPACE: u64 = 1 << 30;
/// Below this much the database may soon take no vouchers.
const NO_SPACE: u64 = 64 << 20;
/// A commit that takes longer holds up acknowledgements of payments.
const SLOW_COMMIT: Duration = Duration::from_secs(2);
/// A commit that takes longer holds up answers to disputes.
const STUCK_COMMIT: Duration = Duration::from_secs(15);

/// What the parts report.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) view: View,
    /// None before the first look.
    pub(crate) disk: Option<Disk>,
    /// How far a recovery after a restore is, if there is one.
    pub(crate) recovery: Option<RecoveryPhase>,
    pub(crate) sender: Sender,
    /// None before the first look.
    pub(crate) outlook: Option<Outlook>,
    /// Whether the ether suffices for the closes of the channels.
    pub(crate) reserve: Reserve,
    pub(crate) channels: Channels,
}

/// What endangers the money of channels.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) concerns: Vec<(ChannelId, Concern)>,
    /// The chain's time, if it is known.
    pub(crate) now: Option<ChainTime>,
    /// How long a challenge takes.
    pub(crate) challenge: Period,
}

/// How the sending of transactions goes.
#[derive(Clone, Debug)]
pub(crate) enum Sender {
    /// It does not run yet.
    Nothing,
    /// Every transaction advances.
    Sends,
    /// One waits, for example for gas.
    Waits(String),
    /// None can be sent.
    Stalled(String),
}

/// The reserve of ether for closes.
#[derive(Clone, Debug)]
pub(crate) enum Reserve {
    /// A client keeps none.
    None,
    /// Before the first look.
    NotLookedAt,
    /// As of the last look.
    Seen(ReserveStanding),
}

/// How well the chain is seen.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// The node does not run yet.
    Nothing,
    /// As judged, and what an operator should know of it.
    Seen { freshness: Freshness, message: Option<String> },
}

/// The last look at the disk and the database's writer.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Bytes that this process may still write, or why that is not known.
    pub(crate) free: Result<u64, String>,
    /// How long a commit took, or why it failed.
    pub(crate) commit: Result<Duration, String>,
}

/// The checks behind "money is safe".
pub(crate) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        view(&facts.view),
        disk(facts.disk.as_ref()),
        writer(facts.disk.as_ref()),
        recovery(facts.recovery),
        sender(&facts.sender),
        gas(facts.outlook.as_ref()),
        urgent(facts.outlook.as_ref()),
        channels(&facts.channels),
    ];
    checks.extend(reserve(&facts.reserve));
    checks
}

fn view(view: &View) -> Check {
    match view {
        View::Nothing => {
            check("view", CheckState::Unknown, Some("the node is starting; try again".to_owned()))
        }
        View::Seen { freshness, message } => {
            let state = match freshness {
                Freshness::Stale(Why::NeverSeen) => CheckState::Unknown,
                Freshness::Stale(_) => CheckState::Bad,
                // It catches up, or had a failure.
                Freshness::Fresh if message.is_none() => CheckState::Good,
                _ => CheckState::AtRisk,
            };
            check("view", state, message.clone())
        }
    }
}

fn disk(disk: Option<&Disk>) -> Check {
    let Some(disk) = disk else { return not_looked_at("disk") };
    match (&disk.commit, &disk.free) {
        (Err(error), _) => {
            check("disk", CheckState::Bad, Some(format!("the database takes no commits: {error}")))
        }
        (Ok(_), Err(error)) => {
            check("disk", CheckState::Unknown, Some(format!("the free space cannot be determined: {error}")))
        }
        (Ok(_), Ok(free)) => {
            let state = match *free {
                ..NO_SPACE => CheckState::Bad,
                NO_SPACE..LITTLE_SPACE => CheckState::AtRisk,
                _ => CheckState::Good,
            };
            let message = format!("{} MiB are free in the data folder; make room", free >> 20);
            check("disk", state, Some(message))
        }
    }
}

fn writer(disk: Option<&Disk>) -> Check {
    match disk.map(|disk| &disk.commit) {
        None => not_looked_at("writer"),
        // The disk's check names the reason.
        Some(Err(_)) => check("writer", CheckState::Bad, None),
        Some(Ok(took)) => {
            let state = match *took {
                took if took > STUCK_COMMIT => CheckState::Bad,
                took if took > SLOW_COMMIT => CheckState::AtRisk,
                _ => CheckState::Good,
            };
            let message = format!("a commit took {} s; look at the disk's load", took.as_secs());
            check("writer", state, Some(message))
        }
    }
}

fn sender(sender: &Sender) -> Check {
    let (state, message) = match sender {
        Sender::Nothing => (CheckState::Unknown, Some("the node is starting; try again".to_owned())),
        Sender::Sends => (CheckState::Good, None),
        Sender::Waits(message) => (CheckState::AtRisk, Some(message.clone())),
        Sender::Stalled(message) => (CheckState::Bad, Some(message.clone())),
    };
    check("sender", state, message)
}

fn gas(outlook: Option<&Outlook>) -> Check {
    let own = own_gas(outlook);
    match outlook.and_then(|outlook| outlook.rescue.as_ref()).and_then(rescue_trouble) {
        Some(trouble) if own.state == CheckState::Good => check("gas", CheckState::AtRisk, Some(trouble)),
        _ => own,
    }
}

/// What keeps a rescue account from standing in: at the present price, it could not send one call.
fn rescue_trouble(funds: &Result<Gas, String>) -> Option<String> {
    match funds {
        Err(error) => {
            Some(format!("the rescue account's ether is not known: {error}; check the chain endpoint"))
        }
        Ok(Gas { balance, needed }) if balance < needed => Some(
            "the rescue account cannot pay for one call; send it ether (`status` shows its address)"
                .to_owned(),
        ),
        Ok(_) => None,
    }
}

fn own_gas(outlook: Option<&Outlook>) -> Check {
    let Gas { balance, needed } = match outlook.map(|outlook| &outlook.gas) {
        None => return not_looked_at("gas"),
        Some(Err(error)) => {
            let message = format!("it is not known whether the gas suffices: {error}");
            return check("gas", CheckState::Unknown, Some(message));
        }
        Some(Ok(gas)) => *gas,
    };
    let state = if balance < needed {
        CheckState::Bad
    } else if balance < needed.saturating_mul(U256::from(2)) {
        CheckState::AtRisk
    } else {
        CheckState::Good
    };
    let message = "the account has little ether beside what its open transactions need; send it more";
    check("gas", state, Some(message.to_owned()))
}

fn urgent(outlook: Option<&Outlook>) -> Check {
    let Some(outlook) = outlook else { return not_looked_at("urgent") };
    let Some(urgent) = &outlook.urgent else { return check("urgent", CheckState::Good, None) };
    let state = match urgent.percent_left() {
        ..25 => CheckState::Bad,
        25..50 => CheckState::AtRisk,
        _ => CheckState::Good,
    };
    let Urgent { id, kind, left, .. } = urgent;
    let message = format!(
        "transaction {id} ({kind}) is not mined, and {left} s are left for it; see `transactions show {id}`, and raise its fee by `transactions bump {id} --max-fee GWEI --tip GWEI`"
    );
    check("urgent", state, Some(message))
}

fn reserve(reserve: &Reserve) -> Option<Check> {
    match reserve {
        Reserve::None => None,
        Reserve::NotLookedAt => Some(not_looked_at("reserve")),
        Reserve::Seen(ReserveStanding { danger, trouble, .. }) => {
            Some(check("reserve", state(*danger), trouble.clone()))
        }
    }
}

/// How many channels a message names.
const MOST_NAMED: usize = 5;

/// Names those that are in the greatest danger.
fn channels(channels: &Channels) -> Check {
    let Channels { concerns, now, challenge } = channels;
    let in_danger = |(channel, concern): &(ChannelId, Concern)| {
        Some((concern.danger(*now, *challenge)?, *channel, *concern))
    };
    let mut found: Vec<(Danger, ChannelId, Concern)> = concerns.iter().filter_map(in_danger).collect();
    found.sort_by_key(|(danger, channel, _)| (std::cmp::Reverse(*danger), *channel));
    let worst = found.first().map(|(danger, ..)| *danger);
    let named = found.iter().take(MOST_NAMED);
    let named = named
        .map(|(_, channel, concern)| format!("channel {channel}: {}", explained(*channel, *concern, *now)));
    let others = found.len().saturating_sub(MOST_NAMED);
    let others = (others > 0).then(|| format!("and {others} more"));
    let message = named.chain(others).collect::<Vec<_>>().join("; ");
    check("channels", state(worst), Some(message))
}

/// A concern in words, and what to do. Amounts are base units of the token.
fn explained(channel: ChannelId, concern: Concern, now: Option<ChainTime>) -> String {
    let left = |ends_at: ChainTime| match now {
        Some(now) => format!("{} s", ends_at.since(now).seconds()),
        None => "an unknown time".to_owned(),
    };
    match concern {
        Concern::Unanswered { claimable, ends_at } => format!(
            "its client asked to close for {claimable} less than it has paid, and no answer is submitted; {} are left. See \
             `channels show {channel}` and the log for the cause: ether, the endpoint or the key; it is tried again by itself",
            left(ends_at)
        ),
        Concern::Answered { claimable, ends_at } => format!(
            "the answer that claims {claimable} is not mined, and {} are left. Find it by `transactions list`, and raise its fee by \
             `transactions bump`",
            left(ends_at)
        ),
        Concern::Damaged { voucher, in_challenge } => {
            let what = voucher.map_or_else(
                || "something that is stored of it cannot be read".to_owned(),
                |amount| format!("its voucher over {amount} cannot be read"),
            );
            let when = if in_challenge { ", and a challenge runs" } else { "" };
            let given_up =
                if voucher.is_some() { "the voucher" } else { "what the channel could still bring" };
            format!("{what}{when}. Restore a backup, or give {given_up} up by `abandon {channel}`")
        }
        Concern::Unstopped { side } => {
            let unpaid = if side == Side::Agent { " unpaid" } else { "" };
            format!(
                "the plug-in did not stop its service, which may go on{unpaid}. Look at the plug-in's log, and restart the daemon"
            )
        }
        Concern::Unproven { admitted } => format!(
            "it is asked to be closed, and its agent has not shown since this start what it knows: {admitted} are admitted, and if the \
             database is an old copy, more was signed. See `channels show {channel}`"
        ),
        Concern::KeyUsedElsewhere => {
            "its agent showed a voucher that was not signed here: somebody else uses the key, or another copy of this database runs. Stop \
             that copy, or use another key for new channels"
                .to_owned()
        }
        Concern::Waits { by_order: true, .. } => format!(
            "it is paused, or its close was cancelled, by your order; `channels resume {channel}` or `channels close {channel}` ends that"
        ),
        Concern::Waits { at_stake, .. } => {
            let at_stake =
                if at_stake.is_zero() { String::new() } else { format!(", with {at_stake} at stake") };
            format!(
                "only you can move it on{at_stake}. See `channels show {channel}`; `channels close {channel}` ends it"
            )
        }
        other => format!("{other:?}"),
    }
}

const fn state(danger: Option<Danger>) -> CheckState {
    match danger {
        None => CheckState::Good,
        Some(Danger::Risk) => CheckState::AtRisk,
        Some(Danger::Loss) => CheckState::Bad,
    }
}

fn recovery(phase: Option<RecoveryPhase>) -> Check {
    let (state, message) = match phase {
        None | Some(RecoveryPhase::Over) => (CheckState::Good, None),
        Some(RecoveryPhase::Grace { .. }) => (
            CheckState::AtRisk,
            Some("payments may be missing since the restore; unpaid channels stay open".to_owned()),
        ),
        Some(_) => {
            (CheckState::Bad, Some("the chain has not been caught up with since the restore".to_owned()))
        }
    };
    check("recovery", state, message)
}

/// A check, with its message unless it is good.
fn check(name: &str, state: CheckState, message: Option<String>) -> Check {
    Check { name: name.to_owned(), state, message: message.filter(|_| state != CheckState::Good) }
}

fn not_looked_at(name: &str) -> Check {
    let message = Some("not looked at yet; try again".to_owned());
    check(name, CheckState::Unknown, message)
}

/// Whether nothing is known to endanger money.
pub(crate) fn is_safe(checks: &[Check]) -> bool {
    checks.iter().all(|check| matches!(check.state, CheckState::Good | CheckState::AtRisk))
}

/// The names of all checks.
#[cfg(test)]
pub(crate) fn names() -> Vec<String> {
    checks(&tests::facts()).into_iter().map(|check| check.name).collect()
}

#[cfg(test)]
mod tests {
    use privatix_channel::Amount;
    use privatix_market::Runway;

    use super::*;

    const MIB: u64 = 1 << 20;

    pub(super) fn facts() -> Facts {
        Facts {
            view: View::Seen { freshness: Freshness::Fresh, message: None },
            disk: Some(Disk { free: Ok(100 << 30), commit: Ok(Duration::from_millis(3)) }),
            recovery: None,
            sender: Sender::Sends,
            outlook: Some(outlook(2, 1)),
            reserve: Reserve::Seen(ReserveStanding { runway: Runway::Unknown, danger: None, trouble: None }),
            channels: Channels {
                concerns: Vec::new(),
                now: Some(ChainTime::new(9_000)),
                challenge: Period::new(1_000),
            },
        }
    }

    fn outlook(balance: u64, needed: u64) -> Outlook {
        let gas = Gas { balance: U256::from(balance), needed: U256::from(needed) };
        Outlook { gas: Ok(gas), rescue: None, urgent: None, oldest: None, obstructed: 0, damaged: Vec::new() }
    }

    fn seen(freshness: Freshness) -> View {
        View::Seen { freshness, message: Some("why".into()) }
    }

    fn states(facts: &Facts) -> Vec<(String, CheckState)> {
        checks(facts).into_iter().map(|check| (check.name, check.state)).collect()
    }

    fn all_good_but(name: &str, state: CheckState, facts: &Facts) {
        for (check, found) in states(facts) {
            assert_eq!(found, if check == name { state } else { CheckState::Good }, "{check}: {facts:?}");
        }
    }

    #[test]
    fn all_is_good_on_a_good_day() {
        assert!(
            checks(&facts()).iter().all(|check| check.state == CheckState::Good && check.message.is_none())
        );
    }

    #[test]
    fn the_view_is_judged_by_its_freshness() {
        for (view, state) in [
            (View::Nothing, CheckState::Unknown),
            (seen(Freshness::Fresh), CheckState::AtRisk),
            (seen(Freshness::Late), CheckState::AtRisk),
            (seen(Freshness::Stale(Why::NeverSeen)), CheckState::Unknown),
            (seen(Freshness::Stale(Why::Silent)), CheckState::Bad),
            (seen(Freshness::Stale(Why::Behind { blocks: 9 })), CheckState::Bad),
        ] {
            all_good_but("view", state, &Facts { view, ..facts() });
        }
    }

    #[test]
    fn a_transaction_that_waits_is_a_risk_and_a_stalled_sender_is_bad() {
        for (sender, state) in [
            (Sender::Nothing, CheckState::Unknown),
            (Sender::Waits("no gas".into()), CheckState::AtRisk),
            (Sender::Stalled("unreachable".into()), CheckState::Bad),
        ] {
            all_good_but("sender", state, &Facts { sender, ..facts() });
        }
    }

    #[test]
    fn ether_must_suffice_twice_for_what_is_open() {
        for (balance, needed, state) in [
            (0, 0, CheckState::Good),
            (0, 1, CheckState::Bad),
            (99, 100, CheckState::Bad),
            (100, 100, CheckState::AtRisk),
            (199, 100, CheckState::AtRisk),
            (200, 100, CheckState::Good),
        ] {
            all_good_but("gas", state, &Facts { outlook: Some(outlook(balance, needed)), ..facts() });
        }
        let unknown = Outlook { gas: Err("the endpoint does not answer".into()), ..outlook(2, 1) };
        all_good_but("gas", CheckState::Unknown, &Facts { outlook: Some(unknown), ..facts() });
    }

    #[test]
    fn a_rescue_account_must_be_able_to_send_one_call() {
        for (balance, needed, state) in
            [(0, 1, CheckState::AtRisk), (99, 100, CheckState::AtRisk), (100, 100, CheckState::Good)]
        {
            let funds = Gas { balance: U256::from(balance), needed: U256::from(needed) };
            let outlook = Outlook { rescue: Some(Ok(funds)), ..outlook(2, 1) };
            all_good_but("gas", state, &Facts { outlook: Some(outlook), ..facts() });
        }
        let unknown = Outlook { rescue: Some(Err("no answer".into())), ..outlook(2, 1) };
        all_good_but("gas", CheckState::AtRisk, &Facts { outlook: Some(unknown), ..facts() });
        // What is wrong with the account itself is worse.
        let funds = Gas { balance: U256::ZERO, needed: U256::ONE };
        let both = Outlook { rescue: Some(Ok(funds)), ..outlook(0, 1) };
        all_good_but("gas", CheckState::Bad, &Facts { outlook: Some(both), ..facts() });
    }

    #[test]
    fn an_urgent_transaction_is_judged_by_the_share_of_its_time_that_is_left() {
        for (left, state) in [
            (900, CheckState::Good),
            (450, CheckState::Good),
            (449, CheckState::AtRisk),
            (225, CheckState::AtRisk),
            (224, CheckState::Bad),
            (0, CheckState::Bad),
        ] {
            let urgent = Urgent { id: "7".into(), kind: "close_channel".into(), left, window: 900 };
            let outlook = Outlook { urgent: Some(urgent), ..outlook(2, 1) };
            all_good_but("urgent", state, &Facts { outlook: Some(outlook), ..facts() });
        }
    }

    #[test]
    fn ether_that_does_not_pay_for_the_closes_is_not_safe() {
        for (danger, state) in [
            (None, CheckState::Good),
            (Some(Danger::Risk), CheckState::AtRisk),
            (Some(Danger::Loss), CheckState::Bad),
        ] {
            let trouble = danger.map(|_| "send the account ether".to_owned());
            let reserve = Reserve::Seen(ReserveStanding { runway: Runway::Unknown, danger, trouble });
            all_good_but("reserve", state, &Facts { reserve, ..facts() });
        }
        assert!(!is_safe(&checks(&Facts { reserve: Reserve::NotLookedAt, ..facts() })));
        // A client keeps none.
        assert!(is_safe(&checks(&Facts { reserve: Reserve::None, ..facts() })));
    }

    #[test]
    fn a_channel_whose_money_is_endangered_is_named_with_the_amount_and_the_remedy() {
        let (claimable, ends_at) = (Amount::new(4711), ChainTime::new(9_100));
        let waits = |at_stake| Concern::Waits { at_stake: Amount::new(at_stake), by_order: false };
        let damaged = |voucher, in_challenge| Concern::Damaged { voucher, in_challenge };
        let lost = |side| Concern::Unstopped { side };
        let paused = Concern::Waits { at_stake: claimable, by_order: true };
        let (agent, client) = (Side::Agent, Side::Client);
        for (concern, state, says) in [
            (
                Concern::Unanswered { claimable, ends_at },
                CheckState::Bad,
                ["4711", "100 s are left", "ether"],
            ),
            (Concern::Answered { claimable, ends_at }, CheckState::Bad, ["4711", "100 s are left", "bump"]),
            (damaged(Some(claimable), true), CheckState::Bad, ["4711", "a challenge runs", "abandon"]),
            (damaged(None, false), CheckState::AtRisk, ["cannot be read", "backup", "abandon"]),
            (lost(agent), CheckState::Bad, ["did not stop", "unpaid", "restart"]),
            (lost(client), CheckState::AtRisk, ["did not stop", "may go on.", "restart the daemon"]),
            (
                Concern::Unproven { admitted: claimable },
                CheckState::AtRisk,
                ["4711", "old copy", "channels show"],
            ),
            (Concern::KeyUsedElsewhere, CheckState::Bad, ["somebody else", "copy", "another key"]),
            (waits(4711), CheckState::Bad, ["4711 at stake", "channels show", "channels close"]),
            (waits(0), CheckState::AtRisk, ["only you", "channels show", "channels close"]),
            (paused, CheckState::AtRisk, ["by your order", "channels resume", "channels close"]),
        ] {
            let channel = ChannelId::new([7; 32].into());
            let channels = Channels { concerns: vec![(channel, concern)], ..facts().channels };
            let facts = Facts { channels, ..facts() };
            all_good_but("channels", state, &facts);
            let found = checks(&facts).into_iter().find(|check| check.name == "channels").unwrap();
            let message = found.message.unwrap();
            assert!(message.contains(&channel.to_string()), "{message}");
            assert!(says.iter().all(|says| message.contains(says)), "{says:?} is not in {message}");
        }
        let early = Concern::Answered { claimable, ends_at: ChainTime::new(10_000) };
        let channels =
            Channels { concerns: vec![(ChannelId::new([7; 32].into()), early)], ..facts().channels };
        all_good_but("channels", CheckState::Good, &Facts { channels, ..facts() });
    }

    #[test]
    fn the_worst_channels_are_named_first_and_the_others_are_counted() {
        let channel = |n: u8| ChannelId::new([n; 32].into());
        let waits = |at_stake| Concern::Waits { at_stake: Amount::new(at_stake), by_order: false };
        let concerns = (1..=7).map(|n| (channel(n), waits(u128::from(n == 7)))).collect();
        let channels = Channels { concerns, ..facts().channels };
        let message = super::channels(&channels).message.unwrap();
        assert!(message.starts_with(&format!("channel {}: ", channel(7))), "{message}");
        assert!(message.ends_with("; and 2 more"), "{message}");
    }

    #[test]
    fn a_recovery_is_not_safe_until_the_chain_was_caught_up_with() {
        let until = std::time::SystemTime::UNIX_EPOCH;
        for (phase, state) in [
            (RecoveryPhase::CatchingUp, CheckState::Bad),
            (RecoveryPhase::Grace { until }, CheckState::AtRisk),
            (RecoveryPhase::Over, CheckState::Good),
        ] {
            all_good_but("recovery", state, &Facts { recovery: Some(phase), ..facts() });
        }
    }

    #[test]
    fn free_space_and_commits_are_judged_by_their_limits() {
        for (free, state) in [
            (0, CheckState::Bad),
            (64 * MIB - 1, CheckState::Bad),
            (64 * MIB, CheckState::AtRisk),
            (1024 * MIB - 1, CheckState::AtRisk),
            (1024 * MIB, CheckState::Good),
        ] {
            let disk = Some(Disk { free: Ok(free), commit: Ok(Duration::ZERO) });
            all_good_but("disk", state, &Facts { disk, ..facts() });
        }
        for (millis, state) in [
            (2_000, CheckState::Good),
            (2_001, CheckState::AtRisk),
            (15_000, CheckState::AtRisk),
            (15_001, CheckState::Bad),
        ] {
            let disk = Some(Disk { free: Ok(100 << 30), commit: Ok(Duration::from_millis(millis)) });
            all_good_but("writer", state, &Facts { disk, ..facts() });
        }
    }

    #[test]
    fn a_commit_that_fails_and_what_is_not_known_are_not_safe() {
        let full = Disk { free: Ok(0), commit: Err("database or disk is full".into()) };
        let found = checks(&Facts { disk: Some(full), ..facts() });
        assert!(!is_safe(&found));
        assert!(found[1].message.as_ref().unwrap().contains("disk is full"));
        assert!(!is_safe(&checks(&Facts { disk: None, ..facts() })));
        assert!(!is_safe(&checks(&Facts { outlook: None, ..facts() })));
        assert!(!is_safe(&checks(&Facts { view: View::Nothing, ..facts() })));
        let unknown = Disk { free: Err("not supported".into()), commit: Ok(Duration::ZERO) };
        assert!(!is_safe(&checks(&Facts { disk: Some(unknown), ..facts() })));
        assert!(is_safe(&checks(&Facts { view: seen(Freshness::Late), ..facts() })), "at risk only");
    }
}
