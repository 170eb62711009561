//! Whether what a channel's events come to is what its contract holds.

use std::fmt;

use crate::{Amount, ChainTime, Fee, OnChain, Phase};

/// What the contract holds of a channel: the answer of its `channels(id)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where the channel is in its life.
    pub life: Life,
    /// The deposit, top-ups included.
    pub deposit: Amount,
    /// Everything credited to the agent so far, fee included.
    pub paid: Amount,
    /// The network fee, fixed at the opening.
    pub fee: Fee,
    /// The end of the challenge of the close request that stands; of a closed channel it means nothing.
    pub challenge_ends_at: Option<ChainTime>,
}

/// Where a channel is in its life, for the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Never opened.
    Unopened,
    /// Open, a close request included.
    Open,
    /// Closed for ever.
    Closed,
}

/// What the contract holds, and the events that were seen do not explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexplained {
    /// Where the channel is in its life.
    Life {
        /// By its events.
        seen: Life,
        /// By the contract.
        held: Life,
    },
    /// The end of the challenge of a close request that stands.
    Challenge {
        /// By its events.
        seen: Option<ChainTime>,
        /// By the contract.
        held: Option<ChainTime>,
    },
    /// What was credited to the agent.
    Paid {
        /// By its events.
        seen: Amount,
        /// By the contract.
        held: Amount,
    },
    /// The deposit.
    Deposit {
        /// By its events.
        seen: Amount,
        /// By the contract.
        held: Amount,
    },
    /// The network fee.
    Fee {
        /// By its events.
        seen: Fee,
        /// By the contract.
        held: Fee,
    },
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unopened => "unopened",
            Self::Open => "open",
            Self::Closed => "closed",
        })
    }
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |at: &Option<ChainTime>| match at {
            Some(at) => format!("second {at}"),
            None => "no time (no close request)".to_owned(),
        };
        match self {
            Self::Life { seen, held } => write!(f, "the contract has it {held}, its events have it {seen}"),
            Self::Challenge { seen, held } => {
                write!(
                    f,
                    "the challenge ends at {} by the contract, at {} by its events",
                    end(held),
                    end(seen)
                )
            }
            Self::Paid { seen, held } => write!(f, "paid is {held} by the contract, {seen} by its events"),
            Self::Deposit { seen, held } => {
                write!(f, "the deposit is {held} by the contract, {seen} by its events")
            }
            Self::Fee { seen, held } => {
                write!(f, "the fee is {} by the contract, {} by its events", held.get(), seen.get())
            }
        }
    }
}

impl OnChain {
    /// What the contract holds at the block up to which the events were seen, and they do not explain; the most urgent first.
    pub fn unexplained(&self, held: &Held) -> Option<Unexplained> {
        let seen = match self.phase() {
            Phase::Unopened => Life::Unopened,
            Phase::Open | Phase::Closing { .. } => Life::Open,
            Phase::Closed { .. } => Life::Closed,
        };
        if seen != held.life {
            return Some(Unexplained::Life { seen, held: held.life });
        }
        if seen == Life::Unopened {
            return None; // nothing else has a meaning
        }
        let ends_at = self.challenge_ends_at();
        if seen == Life::Open && ends_at != held.challenge_ends_at {
            return Some(Unexplained::Challenge { seen: ends_at, held: held.challenge_ends_at });
        }
        if self.paid != held.paid {
            return Some(Unexplained::Paid { seen: self.paid, held: held.paid });
        }
        if self.deposit != held.deposit {
            return Some(Unexplained::Deposit { seen: self.deposit, held: held.deposit });
        }
        (self.fee != held.fee).then_some(Unexplained::Fee { seen: self.fee, held: held.fee })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelEvent, Closure, LogPosition};

    fn a(base_units: u128) -> Amount {
        Amount::new(base_units)
    }

    /// A life in which each event changes what the contract holds, and what that is after each.
    fn life() -> Vec<(ChannelEvent, Held)> {
        let fee = Fee::new(7).unwrap();
        let end = ChainTime::new(900);
        let held = Held { life: Life::Open, deposit: a(100), paid: a(0), fee, challenge_ends_at: None };
        vec![
            (ChannelEvent::Opened { deposit: a(100), fee }, held),
            (ChannelEvent::Settled { paid: a(10) }, Held { paid: a(10), ..held }),
            (
                ChannelEvent::CloseRequested { paid: a(10), ends_at: end },
                Held { paid: a(10), challenge_ends_at: Some(end), ..held },
            ),
            (
                ChannelEvent::ToppedUp { deposit: a(150), request_cancelled: true },
                Held { deposit: a(150), paid: a(10), ..held },
            ),
            (
                ChannelEvent::CloseRequested { paid: a(20), ends_at: end },
                Held { deposit: a(150), paid: a(20), challenge_ends_at: Some(end), ..held },
            ),
            (ChannelEvent::CloseCancelled, Held { deposit: a(150), paid: a(20), ..held }),
            (
                ChannelEvent::Closed { paid: a(30), refund: a(120), closure: Closure::ByAgent },
                Held {
                    life: Life::Closed,
                    deposit: a(150),
                    paid: a(30),
                    challenge_ends_at: Some(end),
                    ..held
                },
            ),
        ]
    }

    #[test]
    fn events_explain_what_the_contract_holds_after_them_and_nothing_else() {
        let nothing =
            Held { life: Life::Unopened, deposit: a(0), paid: a(0), fee: Fee::ZERO, challenge_ends_at: None };
        let states: Vec<Held> =
            std::iter::once(nothing).chain(life().iter().map(|(_, held)| *held)).collect();
        let mut seen = OnChain::default();
        for (n, held) in states.iter().enumerate() {
            assert_eq!(seen.unexplained(held), None, "after {n} events");
            if let Some(next) = states.get(n + 1) {
                assert!(seen.unexplained(next).is_some(), "event {n} was omitted");
                seen.apply(LogPosition::new(n as u64, 0), life()[n].0);
            }
        }
    }

    #[test]
    fn an_omitted_close_request_is_named_by_the_end_of_its_challenge() {
        let seen = OnChain::fold([(LogPosition::new(1, 0), life()[0].0)]);
        let found = seen.unexplained(&life()[2].1).unwrap();
        assert_eq!(found, Unexplained::Challenge { seen: None, held: Some(ChainTime::new(900)) });
        let message =
            "the challenge ends at second 900 by the contract, at no time (no close request) by its events";
        assert_eq!(found.to_string(), message);
    }
}
