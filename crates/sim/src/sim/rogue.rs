//! A hostile agent, scripted: it serves as it likes, claims too much, answers late or never, and closes at the worst moment.

use privatix_channel::model::Call;
use privatix_channel::{AgentView, Amount, Phase, ServiceState, Usage};
use privatix_market::{Actual, Carried, ClientMessage, Fetched, Shown, Uptime, Verified};

use super::wire::lie;
use super::{Message, Sim};
use crate::buyer::Asking;
use crate::chain::AGENT;
use crate::node::Tags;
use crate::scenario::amount;

impl Sim<'_> {
    /// Answers a buyer's message.
    pub(super) fn cheat(&mut self, channel: usize, message: Message, request: Option<Asking>) {
        // In the end some answer and do not close, some answer and take no payment, and some are gone.
        let is_gone = if self.is_quiet { channel.is_multiple_of(2) } else { self.delays.chance(10) };
        if is_gone {
            return self.not_answered(channel, request);
        }
        if self.is_cut(channel, request) {
            return;
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
            Message::Attach => ClientMessage::Known { acknowledged: best, carried: Carried::default() },
            Message::Voucher { cumulative, .. } => {
                ClientMessage::Paid { acknowledged: cumulative, ended: false, carried: Carried::default() }
            }
        };
        let answer = if self.speaks_2(channel) { self.claims(channel, answer) } else { answer };
        self.reply_to_buyer(channel, answer, request);
    }

    /// The same on a connection on which the channel was proved: with a view that is not true, and a signature that is.
    fn claims(&mut self, channel: usize, mut answer: ClientMessage) -> ClientMessage {
        let (n, more) = (self.delays.below(64), self.delays.below(400));
        let best = self.signed(channel, n).filter(|_| n < 40);
        let (id, descriptor) = self.chain.channels[channel];
        let voucher = |best| Verified::check(&Tags(descriptor.signer), &(id, best, descriptor.signer)).ok();
        let used = self.adapter.services[channel].used;
        let is_suspended = n.is_multiple_of(2);
        let view = AgentView {
            number: self.now,
            used: Usage::new(if n.is_multiple_of(5) { u64::MAX } else { used + more }),
            service: if is_suspended { ServiceState::Suspended } else { ServiceState::Running },
            reason: None,
            resumes_at: is_suspended.then(|| amount(more * 10)),
            access: 0,
        };
        let shown = Shown { connected: Uptime::default(), view };
        if let ClientMessage::Paid { carried, .. }
        | ClientMessage::Stale { carried, .. }
        | ClientMessage::Known { carried, .. }
        | ClientMessage::Closing { carried } = &mut answer
        {
            *carried = Carried { view: Some(shown), best: best.and_then(voucher) };
        }
        answer
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
