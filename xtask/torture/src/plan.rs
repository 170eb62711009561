//! Which faults happen, and when: a function of the seed.

use std::time::Duration;

use privatix_testkit::{Fault, Rule, Script};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

/// Blocks on top of a block before its events count for the daemons.
pub(crate) const CONFIRMATIONS: u64 = 2;
/// Blocks on top of a block before the daemons take it for final. No reorganisation is deeper.
pub(crate) const FINAL: u64 = 8;
/// How deep reorganisations are: the deepest take back what had its confirmations.
const DEPTHS: [u64; 4] = [1, 2, CONFIRMATIONS + 1, CONFIRMATIONS + 2];

/// One of the two daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Agent,
    Client,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Agent, Self::Client];

    pub(crate) const fn daemon(self) -> &'static str {
        match self {
            Self::Agent => "agentd",
            Self::Client => "clientd",
        }
    }
}

/// When within its life a daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At no particular one.
    Any,
    /// Once it has asked its endpoint this, and the node knows nothing of it.
    Asked(&'static str),
    /// Once the node has done what this asked for, and the daemon has not heard of it.
    Done(&'static str),
    /// Right after the client has counted a voucher as acknowledged.
    Acknowledged,
    /// Right after such a line was logged.
    Logged(&'static str),
}

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// A daemon is killed, and started again after a pause.
    Kill { side: Side, at: Moment, pause: Duration },
    /// Both are killed at once.
    KillBoth { pause: Duration },
    /// A daemon stands still for a time, with its sockets open.
    Freeze { side: Side, length: Duration },
    /// The last blocks are replaced; with `again`, their transactions go back into the pool.
    Reorg { depth: u64, again: bool },
    /// A daemon's endpoint misbehaves for a time, beside all that follows.
    Endpoint { side: Side, trouble: Trouble, length: Duration },
}

/// How an endpoint misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Errors,
    Unavailable,
    RateLimit,
    Silence,
    Cuts,
    Delays,
    OmittedLogs,
    DoubledLogs,
    FrozenHead,
    Lag,
    RefusedBroadcasts,
    LostBroadcasts,
    LateBroadcasts,
    UnansweredBroadcasts,
    FailedAnswers,
}

impl Trouble {
    const ALL: [Self; 15] = [
        Self::Errors,
        Self::Unavailable,
        Self::RateLimit,
        Self::Silence,
        Self::Cuts,
        Self::Delays,
        Self::OmittedLogs,
        Self::DoubledLogs,
        Self::FrozenHead,
        Self::Lag,
        Self::RefusedBroadcasts,
        Self::LostBroadcasts,
        Self::LateBroadcasts,
        Self::UnansweredBroadcasts,
        Self::FailedAnswers,
    ];

    /// The rules of the endpoint's proxy.
    pub(crate) fn script(self) -> Script {
        const SEND: [&str; 1] = ["eth_sendRawTransaction"];
        let error = |message: &str| Fault::Error { code: -32000, message: message.to_owned(), data: None };
        let now_and_then = |fault| Rule { share: 0.4, ..Rule::new([], fault) };
        let rule = match self {
            Self::Errors => now_and_then(error("header not found")),
            Self::Unavailable => {
                Rule::new([], Fault::Http { status: 503, retry_after: None, body: String::new() })
            }
            Self::RateLimit => Rule::new([], Fault::AtMostRequests { per_second: 4, retry_after: Some(1) }),
            Self::Silence => now_and_then(Fault::Silence),
            Self::Cuts => now_and_then(Fault::Cut),
            Self::Delays => now_and_then(Fault::Delay { ms: 1_500 }),
            Self::OmittedLogs => now_and_then(Fault::OmitLogs {
                from: 0,
                to: None,
                topic: None,
                receipts: false,
                bloom: false,
            }),
            Self::DoubledLogs => Rule::new([], Fault::DuplicateLogs),
            Self::FrozenHead => Rule::new([], Fault::FrozenHead),
            Self::Lag => Rule::new([], Fault::Lag { blocks: 3 }),
            Self::RefusedBroadcasts => Rule::new(SEND, error("txpool is full")),
            Self::LostBroadcasts => Rule::new(SEND, Fault::KeepBack { after_ms: None, refusal: None }),
            Self::LateBroadcasts => Rule::new(SEND, Fault::KeepBack { after_ms: Some(3_000), refusal: None }),
            Self::UnansweredBroadcasts => Rule::new(SEND, Fault::ActThenSilence),
            Self::FailedAnswers => {
                let message = "internal error".to_owned();
                Rule::new(SEND, Fault::ActThenError { code: -32603, message })
            }
        };
        Script(vec![rule])
    }
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    /// Since the first fault could have happened.
    pub(crate) at: Duration,
    pub(crate) act: Act,
}

#[derive(Clone, Copy)]
enum Kind {
    Kill(Side),
    KillBoth,
    Freeze,
    Reorg,
    Endpoint,
}

/// The kinds in the proportion in which they happen.
const DECK: [Kind; 12] = [
    Kind::Kill(Side::Agent),
    Kind::Kill(Side::Agent),
    Kind::Kill(Side::Agent),
    Kind::Kill(Side::Client),
    Kind::Kill(Side::Client),
    Kind::Kill(Side::Client),
    Kind::KillBoth,
    Kind::Freeze,
    Kind::Reorg,
    Kind::Reorg,
    Kind::Endpoint,
    Kind::Endpoint,
];

const AGENT_MOMENTS: [Moment; 12] = [
    Moment::Any,
    Moment::Acknowledged,
    Moment::Acknowledged,
    Moment::Asked("eth_sendRawTransaction"),
    Moment::Done("eth_sendRawTransaction"),
    Moment::Done("eth_getLogs"),
    Moment::Done("eth_getTransactionReceipt"),
    Moment::Logged("channel provisioned"),
    Moment::Logged("access handed over"),
    Moment::Logged("closing the channel"),
    Moment::Logged("transaction signed"),
    Moment::Logged("transaction mined; waiting for confirmations"),
];

const CLIENT_MOMENTS: [Moment; 12] = [
    Moment::Any,
    Moment::Acknowledged,
    Moment::Acknowledged,
    Moment::Asked("eth_sendRawTransaction"),
    Moment::Done("eth_sendRawTransaction"),
    Moment::Done("eth_getLogs"),
    Moment::Done("eth_getTransactionReceipt"),
    Moment::Logged("opening a channel"),
    Moment::Logged("access received"),
    Moment::Logged("channel changed on chain"),
    Moment::Logged("transaction signed"),
    Moment::Logged("transaction mined; waiting for confirmations"),
];

/// This many faults, spread over a time. Every kind of fault, every depth and every moment comes once before it comes again.
pub(crate) fn plan(seed: u64, faults: u32, over: Duration) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kinds = Deck::of(DECK);
    let mut moments = [Deck::of(AGENT_MOMENTS), Deck::of(CLIENT_MOMENTS)];
    let mut troubles = Deck::of(Trouble::ALL);
    let mut depths = Deck::of(DEPTHS);
    let mut endpoints = Deck::of(Side::BOTH);
    let slot = over / faults.max(1);
    let mut planned = Vec::new();
    for n in 0..faults {
        let at = slot * n + random.random_range(Duration::ZERO..slot.max(Duration::from_millis(1)));
        let pause = Duration::from_millis(*[0, 0, 200, 1_000, 3_000].choose(&mut random).unwrap_or(&0));
        let act = match kinds.draw(&mut random) {
            Kind::Kill(side) => {
                let at = moments[usize::from(side == Side::Client)].draw(&mut random);
                Act::Kill { side, at, pause }
            }
            Kind::KillBoth => Act::KillBoth { pause },
            Kind::Freeze => {
                let length = Duration::from_millis(random.random_range(200..4_000));
                Act::Freeze { side: endpoints.draw(&mut random), length }
            }
            Kind::Reorg => {
                Act::Reorg { depth: depths.draw(&mut random), again: random.random_range(0..2) == 0 }
            }
            Kind::Endpoint => {
                let length = Duration::from_millis(random.random_range(1_000..8_000));
                let (side, trouble) = (endpoints.draw(&mut random), troubles.draw(&mut random));
                Act::Endpoint { side, trouble, length }
            }
        };
        planned.push(Planned { at, act });
    }
    planned
}

/// Values in an order that chance gives, each once before one comes again.
struct Deck<T, const N: usize> {
    cards: [T; N],
    drawn: usize,
}

impl<T: Copy, const N: usize> Deck<T, N> {
    const fn of(cards: [T; N]) -> Self {
        Self { cards, drawn: 0 }
    }

    fn draw(&mut self, random: &mut StdRng) -> T {
        let place = self.drawn % N;
        if place == 0 {
            self.cards.shuffle(random);
        }
        self.drawn += 1;
        self.cards[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_mins(2);

    #[test]
    fn a_seed_gives_the_same_faults_each_time_and_another_seed_others() {
        assert_eq!(plan(1, 40, MINUTES), plan(1, 40, MINUTES));
        assert_ne!(plan(1, 40, MINUTES), plan(2, 40, MINUTES));
    }

    #[test]
    fn faults_come_in_order_and_within_the_time() {
        let planned = plan(3, 40, MINUTES);
        assert_eq!(planned.len(), 40);
        assert!(planned.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(planned.iter().all(|planned| planned.at < MINUTES));
    }

    #[test]
    fn forty_faults_have_every_kind_and_every_depth() {
        let planned = plan(4, 40, MINUTES);
        let has = |what: &dyn Fn(&Act) -> bool| planned.iter().any(|planned| what(&planned.act));
        for side in Side::BOTH {
            assert!(has(&|act| matches!(act, Act::Kill { side: killed, .. } if *killed == side)));
            assert!(has(&|act| matches!(act, Act::Endpoint { side: of, .. } if *of == side)));
        }
        assert!(has(&|act| matches!(act, Act::KillBoth { .. })));
        assert!(has(&|act| matches!(act, Act::Freeze { .. })));
        for depth in DEPTHS {
            assert!(has(&|act| matches!(act, Act::Reorg { depth: of, .. } if *of == depth)), "depth {depth}");
        }
    }

    #[test]
    fn no_reorganisation_takes_back_what_is_final() {
        assert!(DEPTHS.iter().all(|depth| *depth < FINAL));
    }
}
