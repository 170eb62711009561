//! What is printed of a run.

use std::collections::VecDeque;
use std::fmt;

use privatix_market::{Agent, AgentState, Client, ClientPurpose, ClientState, Effect, Flight, Party};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The invariant of this number.
    Invariant(u8),
    /// What a scenario expects.
    Expected,
    /// The rules for an offering's terms.
    Terms,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invariant(number) => write!(f, "invariant {number}"),
            Self::Expected => f.write_str("expectation of the scenario"),
            Self::Terms => f.write_str("terms of the scenario"),
        }
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in milliseconds after the start.
    pub at: u64,
    /// The number of the channel, where it is one's.
    pub channel: Option<usize>,
    /// What does not hold.
    pub rule: Rule,
    /// What is wrong, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, channel, rule, what } = self;
        let seconds = at / 1_000;
        match channel {
            Some(channel) => write!(f, "at {seconds} s, channel {channel}: {rule}: {what}"),
            None => write!(f, "at {seconds} s: {rule}: {what}"),
        }
    }
}

/// The last inputs, of one channel or of all.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) of: Option<usize>,
    pub(crate) last: VecDeque<RowOfRun>,
}

/// An input, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowOfRun {
    at: u64,
    channel: usize,
    input: String,
    effects: String,
    state: String,
}

impl RowOfRun {
    pub(crate) fn new(
        at: u64,
        channel: usize,
        input: &str,
        effects: &[Effect<Agent>],
        state: &AgentState,
    ) -> Self {
        let (effects, own) = (show(effects), &state.own);
        let flights = show_flights(&own.flights);
        let state = format!(
            "{}, deposit {}, paid {}; best {}, acknowledged {}; used {}; {:?} of {:?} ({:?}); ending {:?}; blocked {:?}; [{flights}]",
            state.chain.phase(),
            state.chain.deposit,
            state.chain.paid,
            state.book.best,
            state.book.acknowledged,
            state.meter.used,
            own.service.actual,
            own.service.target,
            own.service.why,
            own.ending.map(|ending| ending.why),
            own.blocked,
        );
        Self { at, channel, input: short(input), effects, state: short(&state) }
    }

    pub(crate) fn of_client(
        at: u64,
        channel: usize,
        input: &str,
        effects: &[Effect<Client>],
        state: &ClientState,
    ) -> Self {
        let (effects, own) = (show(effects), &state.own);
        let flights: String = show_flights::<ClientPurpose>(&own.flights);
        let requests = own.requests.iter().map(|r| format!("{} {:?} {:?}", r.seq, r.what, r.until));
        let requests = requests.collect::<Vec<_>>().join("; ");
        let top_ups = own.top_ups.iter().map(|t| format!("{} {}", t.order.0, t.amount)).collect::<Vec<_>>();
        let state = format!(
            "{}, deposit {}, paid {}; signed {}, acknowledged {}; used {}; {:?} of {:?} ({:?}); {:?}, peer {:?}; ending {:?}; blocked {:?}; [{flights}] [{requests}] {top_ups:?}",
            state.chain.phase(),
            state.chain.deposit,
            state.chain.paid,
            state.book.best,
            state.book.acknowledged,
            state.meter.used,
            own.service.actual,
            own.service.target,
            own.service.why,
            own.access,
            own.peer,
            own.ending.map(|ending| ending.why),
            own.blocked,
        );
        let input = format!("client: {}", short(input));
        Self { at, channel, input, effects, state: short(&state) }
    }
}

fn show<P: Party>(effects: &[Effect<P>]) -> String {
    effects.iter().map(|effect| short(&format!("{effect:?}"))).collect::<Vec<_>>().join(", ")
}

fn show_flights<X: fmt::Debug>(flights: &[Flight<X>]) -> String {
    let show = |flight: &Flight<X>| format!("{} {:?} {:?}", flight.seq, flight.purpose, flight.stage);
    flights.iter().map(show).collect::<Vec<_>>().join("; ")
}

/// Without what repeats in every row.
fn short(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.find("channel: ChannelId(") {
        let end = text[start..].find("), ").map_or(text.len(), |end| start + end + 3);
        text.replace_range(start..end, "");
    }
    for (long, short) in [(", repeatable: true", ""), ("cumulative: ", ""), ("Some(", "("), ("Amount(", "(")]
    {
        text = text.replace(long, short);
    }
    text
}

/// `| seconds | channel | input | effects | state |`, a row of a table.
impl fmt::Display for RowOfRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, channel, input, effects, state } = self;
        write!(f, "| {}.{:03} | {channel} | {input} | {effects} | {state} |", at / 1_000, at % 1_000)
    }
}
