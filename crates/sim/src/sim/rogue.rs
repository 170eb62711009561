//! A hostile agent, scripted: it serves as it likes, claims too much, answers late or never, and closes at the worst moment.

use privatix_channel::model::Call;
use privatix_channel::{Amount, Phase};
use privatix_market::{Actual, Carried, ClientMessage, Fetched};

use super::wire::lie;
use super::{Message, Sim};
use crate::buyer::Asking;
use crate::chain::AGENT;
use crate::scenario::amount;

impl Sim<'_> {
    /// Answers a buyer's message.
    pub(super) fn cheat(&mut self, channel: usize, message: Message, request: Option<Asking>) {
        // In the end some answer and do not close, some answer and take no payment, and some are gone.
        let is_gone = if self.is_quiet { channel.is_multiple_of(2) } else { self.delays.chance(10) };
        if is_gone {
            return self.not_answered(channel, request);
        }
        if self.is_quiet && message != Message::Access {
            match self.scenario.seed % 3 {
                1 => return self.reply_to_buyer(channel, ClientMessage::NotNow(None), request),
                2 => {
                    let nothing =
                        ClientMessage::Stale { acknowledged: Amount::ZERO, carried: Carried::default() };
                    return self.reply_to_buyer(channel, nothing, request);
                }
                _ => {}
            }
        }
        let n = self.delays.below(64);
        let best = self.clients[channel].best();
        let answer = match message {
            _ if !self.is_quiet && self.delays.chance(6) => lie(n, best.saturating_add(amount(n))),
            Message::Access if n < 20 => ClientMessage::AccessNotReady(None),
            Message::Access => ClientMessage::Access(Fetched { number: None, is_same: false }),
            Message::Ping => ClientMessage::Pong,
            Message::Voucher { cumulative, .. } => {
                ClientMessage::Paid { acknowledged: cumulative, ended: false, carried: Carried::default() }
            }
        };
        self.reply_to_buyer(channel, answer, request);
    }

    /// Acts of its own.
    pub(super) fn scheme(&mut self, channel: usize, phase: Phase) {
        if self.is_quiet {
            return; // its client comes to its end alone
        }
        let (now, measure) = (self.now, self.measure());
        let chosen = self.delays.below(100);
        let service = &mut self.adapter.services[channel];
        match chosen {
            0..=19 => {
                service.bound = u64::MAX;
                service.set(Actual::Running, measure, now);
            }
            20..=24 => service.set(Actual::Suspended, measure, now),
            _ => {}
        }
        let (_, descriptor) = self.chain.channels[channel];
        let is_closing = matches!(phase, Phase::Closing { .. });
        let n = self.delays.below(64);
        let cumulative = match self.signed(channel, n) {
            Some(signed) if !n.is_multiple_of(4) => signed,
            _ => self.clients[channel].best(),
        };
        let signature =
            || if cumulative.is_zero() { Vec::new() } else { self.chain.signature(channel, cumulative) };
        let call = match chosen {
            25 => Call::Settle { descriptor, cumulative, signature: signature() },
            26 if n < 16 => Call::Close { descriptor, cumulative: Amount::ZERO, signature: Vec::new() },
            27..=35 if is_closing => Call::Settle { descriptor, cumulative, signature: signature() },
            36..=38 if is_closing => Call::Close { descriptor, cumulative, signature: signature() },
            _ => return,
        };
        self.chain.pool.push((AGENT, call));
    }
}
