//! What the chain says about a channel.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Amount, ChainTime, ChannelEvent, Closure, Fee};

/// Where a log stands on its chain. Later logs are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// The block's number.
    pub block: u64,
    /// The log's index in the block.
    pub index: u64,
}

impl LogPosition {
    /// The log number `index` of block `block`.
    pub const fn new(block: u64, index: u64) -> Self {
        Self { block, index }
    }
}

/// A client's request to close alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CloseRequest {
    /// Where it stands on the chain.
    pub at: LogPosition,
    /// The end of its challenge: the first second in which the close can be finalized.
    pub ends_at: ChainTime,
}

/// A channel's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ending {
    /// What went back to the client.
    pub refund: Amount,
    /// Who closed, and whether it was disputed.
    pub closure: Closure,
    /// The number of the block in which the channel closed.
    pub block: u64,
}

/// The state of a channel as far as its chain is known: a pure fold of its events.
///
/// Events may come twice and in any order: amounts on chain only grow, closing is final, and of a close request and its
/// cancellation (by a call or by a top-up) the one that stands later on the chain counts. After a reorganisation fold the
/// remaining events again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OnChain {
    /// The number of the block in which the channel opened, if that was seen.
    pub opened_at: Option<u64>,
    /// The deposit, top-ups included.
    pub deposit: Amount,
    /// Everything credited to the agent so far, fee included.
    pub paid: Amount,
    /// The network fee, fixed at the opening.
    pub fee: Fee,
    /// The last close request, whether it stands or is cancelled.
    pub last_close_request: Option<CloseRequest>,
    /// The last cancellation or top-up: no close request from before stands after it.
    pub last_cancellation: Option<LogPosition>,
    /// How the channel ended, if it did.
    pub closed: Option<Ending>,
}

/// Where a channel is in its life on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not open on the chain as far as it is known.
    Unopened,
    /// Open.
    Open,
    /// Open, and the client asked to close alone.
    Closing {
        /// The end of the challenge: the first second in which the close can be finalized.
        ends_at: ChainTime,
    },
    /// Closed for ever.
    Closed {
        /// Who closed, and whether it was disputed.
        closure: Closure,
    },
}

impl Phase {
    /// Whether vouchers can be cashed: open, during a challenge too.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Closing { .. })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened => f.write_str("not open on chain yet"),
            Self::Open => f.write_str("open"),
            Self::Closing { ends_at } => write!(f, "closing, with a challenge until second {ends_at}"),
            Self::Closed { .. } => f.write_str("closed"),
        }
    }
}

impl OnChain {
    /// The state after these events, in any order.
    pub fn fold(events: impl IntoIterator<Item = (LogPosition, ChannelEvent)>) -> Self {
        let mut state = Self::default();
        for (at, event) in events {
            state.apply(at, event);
        }
        state
    }

    /// Takes in one event; whether that changed anything. Repeating an event changes nothing.
    pub fn apply(&mut self, at: LogPosition, event: ChannelEvent) -> bool {
        let before = *self;
        match event {
            ChannelEvent::Opened { deposit, fee } => {
                self.opened_at = Some(at.block);
                self.deposit = self.deposit.max(deposit);
                self.fee = fee;
            }
            // Whether a request stood then or not, none from before stands now: its own cancellation may not be known yet.
            ChannelEvent::ToppedUp { deposit, request_cancelled: _ } => {
                self.deposit = self.deposit.max(deposit);
                self.last_cancellation = self.last_cancellation.max(Some(at));
            }
            ChannelEvent::Settled { paid } => self.paid = self.paid.max(paid),
            ChannelEvent::CloseRequested { paid, ends_at } => {
                self.paid = self.paid.max(paid);
                self.last_close_request = self.last_close_request.max(Some(CloseRequest { at, ends_at }));
            }
            ChannelEvent::CloseCancelled => {
                self.last_cancellation = self.last_cancellation.max(Some(at));
            }
            ChannelEvent::Closed { paid, refund, closure } => {
                self.paid = self.paid.max(paid);
                self.closed = Some(Ending { refund, closure, block: at.block });
            }
        }
        *self != before
    }

    /// Where the channel is in its life.
    pub fn phase(&self) -> Phase {
        if let Some(Ending { closure, .. }) = self.closed {
            return Phase::Closed { closure };
        }
        if self.opened_at.is_none() {
            return Phase::Unopened;
        }
        match self.last_close_request {
            Some(CloseRequest { at, ends_at }) if self.last_cancellation < Some(at) => {
                Phase::Closing { ends_at }
            }
            _ => Phase::Open,
        }
    }

    /// The end of the challenge of the close request that stands, if one does.
    pub fn challenge_ends_at(&self) -> Option<ChainTime> {
        match self.phase() {
            Phase::Closing { ends_at } => Some(ends_at),
            _ => None,
        }
    }

    /// What the deposit still holds beyond what is paid on chain. Nothing once closed.
    pub fn locked(&self) -> Amount {
        if self.closed.is_some() { Amount::ZERO } else { self.deposit.saturating_sub(self.paid) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a(base_units: u128) -> Amount {
        Amount::new(base_units)
    }

    fn t(seconds: u64) -> ChainTime {
        ChainTime::new(seconds)
    }

    fn life() -> Vec<(LogPosition, ChannelEvent)> {
        let fee = Fee::new(7).unwrap();
        [
            (1, ChannelEvent::Opened { deposit: a(100), fee }),
            (2, ChannelEvent::Settled { paid: a(10) }),
            (3, ChannelEvent::CloseRequested { paid: a(20), ends_at: t(1_000) }),
            (4, ChannelEvent::ToppedUp { deposit: a(150), request_cancelled: true }),
            (4, ChannelEvent::CloseRequested { paid: a(20), ends_at: t(1_100) }),
            (5, ChannelEvent::CloseCancelled),
            (6, ChannelEvent::ToppedUp { deposit: a(160), request_cancelled: false }),
            // An earlier end than before: on chain time may stand still, and the later request counts.
            (6, ChannelEvent::CloseRequested { paid: a(20), ends_at: t(1_050) }),
            (7, ChannelEvent::Settled { paid: a(30) }),
            (9, ChannelEvent::Closed { paid: a(30), refund: a(130), closure: Closure::ByClientDisputed }),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, (block, event))| (LogPosition::new(block, index as u64), event))
        .collect()
    }

    #[test]
    fn a_channel_goes_through_its_phases() {
        let phases: Vec<_> =
            (0..=life().len()).map(|n| OnChain::fold(life().into_iter().take(n)).phase()).collect();
        assert_eq!(
            phases,
            [
                Phase::Unopened,
                Phase::Open,
                Phase::Open,
                Phase::Closing { ends_at: t(1_000) },
                Phase::Open,
                Phase::Closing { ends_at: t(1_100) },
                Phase::Open,
                Phase::Open,
                Phase::Closing { ends_at: t(1_050) },
                Phase::Closing { ends_at: t(1_050) },
                Phase::Closed { closure: Closure::ByClientDisputed },
            ]
        );
        let end = OnChain::fold(life());
        assert_eq!((end.deposit, end.paid, end.locked()), (a(160), a(30), a(0)));
        let closure = Closure::ByClientDisputed;
        assert_eq!(end.closed, Some(Ending { refund: a(130), closure, block: 9 }));
    }

    #[test]
    fn a_repeated_event_changes_nothing() {
        let mut state = OnChain::fold(life());
        for (at, event) in life() {
            assert!(!state.apply(at, event), "{event:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_and_number_of_deliveries_do_not_matter(
            deliveries in Just(life()).prop_shuffle(),
            again in prop::collection::vec(0..10_usize, 0..12),
        ) {
            let repeated = again.iter().map(|&index| life()[index]);
            prop_assert_eq!(OnChain::fold(repeated.chain(deliveries)), OnChain::fold(life()));
        }
    }
}
