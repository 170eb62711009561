//! The voucher path: decided in memory, stored by the group commit, answered from what was stored.

use std::collections::BTreeSet;

use privatix_channel::Amount;
use privatix_market::{
    Agent, AgentEffect, AgentMessage, ClientMessage, Effect, Input, Party as _, Reply, Verified,
};

use super::{Event, Message, Sim};
use crate::buyer::Asking;
use crate::chain::AGENT;
use crate::node::{Pending, Tags};
use crate::report::Rule;

impl Sim<'_> {
    pub(super) fn receive(&mut self, channel: usize, message: Message, request: Option<Asking>) {
        if self.is_rogue(channel) {
            return self.cheat(channel, message, request);
        }
        let is_heard = self.memory.is_up && self.now >= self.until.offline;
        if !is_heard {
            return self.not_answered(channel, request);
        }
        // What the chain does not show yet is answered without a state.
        match message {
            Message::Ping => return self.reply_to_buyer(channel, ClientMessage::Pong, request),
            Message::Access if !self.disk.channels[channel].is_known => {
                return self.reply_to_buyer(channel, ClientMessage::AccessNotReady, request);
            }
            Message::Voucher { .. } if !self.disk.channels[channel].is_known => {
                return self.reply_to_buyer(channel, ClientMessage::NotNow, request);
            }
            _ => {}
        }
        let (id, descriptor) = self.chain.channels[channel];
        let message = match message {
            Message::Access => AgentMessage::Access,
            Message::Ping => return,
            Message::Voucher { cumulative, is_forged } => {
                let signer = if is_forged { AGENT } else { descriptor.signer };
                let Ok(voucher) = Verified::check(&Tags(descriptor.signer), &(id, cumulative, signer)) else {
                    return;
                };
                AgentMessage::Voucher(voucher)
            }
        };
        let policy = std::mem::take(&mut self.policy);
        let mut view = self.load(channel);
        for pending in self.memory.queue.iter().filter(|pending| pending.channel == channel) {
            view.book.best = view.book.best.max(pending.best);
            view.book.acknowledged = view.book.acknowledged.max(pending.acknowledged);
        }
        let input = Input::Peer(message);
        let decided = Agent::decide(&view, &input, &self.env_of(channel, &policy));
        self.counts.decisions += 1;
        self.policy = policy;
        let Ok(decision) = decided else { return };
        let is_plain = |effect: &Effect<Agent>| {
            matches!(effect, Effect::Own(AgentEffect::Keep(_) | AgentEffect::Answer(_)))
        };
        let is_voucher = matches!(message, AgentMessage::Voucher(_));
        if !is_voucher || !decision.effects.iter().all(is_plain) {
            for reply in self.transaction(|_| (), vec![(channel, input)]) {
                self.answer(channel, reply, request);
            }
            return;
        }
        let reply = decision.effects.iter().find_map(|effect| match effect {
            Effect::Own(AgentEffect::Answer(reply)) => Some(*reply),
            _ => None,
        });
        if self.rows.is_some() {
            self.note(channel, &format!("{input:?} (view)"), &decision.effects, &decision.state);
        }
        let Some(reply) = reply else {
            return self.violate(Some(channel), Rule::Invariant(8), "a voucher without an answer");
        };
        let book = decision.state.book;
        if self.memory.queue.is_empty() {
            let (life, pause) = (self.memory.life, self.delays.between(1, 50));
            self.after(pause, Event::Write { life });
        }
        let (best, acknowledged) = (book.best, book.acknowledged);
        self.memory.queue.push(Pending { channel, best, acknowledged, reply, request });
    }

    /// The group commit. Its transaction decides what is acknowledged: a close may have been stored a moment before.
    pub(super) fn write(&mut self) {
        if self.dies() {
            return self.die();
        }
        let queue = std::mem::take(&mut self.memory.queue);
        let mut answers = Vec::new();
        let mut grown = BTreeSet::new();
        for pending in queue {
            let stored = &mut self.disk.channels[pending.channel];
            let ceiling = stored.ceiling.unwrap_or(Amount::MAX);
            let book = &mut stored.state.book;
            if pending.best > book.best {
                book.best = pending.best;
                grown.insert(pending.channel);
            }
            book.acknowledged = book.acknowledged.max(pending.acknowledged.min(ceiling));
            let most = book.acknowledged.max(ceiling.min(book.best));
            let reply = match pending.reply {
                Reply::Paid { acknowledged, .. } if acknowledged > most => Reply::Kept { acknowledged: most },
                reply => reply,
            };
            answers.push((pending.channel, reply, pending.request));
        }
        if self.dies() {
            return self.die();
        }
        for (channel, reply, request) in answers {
            self.answer(channel, reply, request);
        }
        for channel in grown {
            self.raise(channel);
            let (life, pause) = (self.memory.life, self.delays.between(1, 200));
            self.after(pause, Event::Follow { life, channel });
        }
    }

    pub(super) fn answer(&mut self, channel: usize, reply: Reply, request: Option<Asking>) {
        if let Reply::Paid { acknowledged, .. }
        | Reply::Kept { acknowledged }
        | Reply::Stale { acknowledged } = reply
        {
            self.check_answer(channel, acknowledged);
            if request.is_none() && self.delays.chance(95) && self.now >= self.until.offline {
                let pause = self.delays.between(20, 2_000);
                self.after(pause, Event::ToClient { channel, acknowledged });
            }
        }
        if self.now >= self.until.offline {
            self.reply_to_buyer(channel, on_the_wire(reply), request);
        }
    }
}

/// An answer as the messages of protocol 1 carry it.
const fn on_the_wire(reply: Reply) -> ClientMessage {
    match reply {
        Reply::Paid { acknowledged, ended } => ClientMessage::Paid { acknowledged, ended },
        Reply::Stale { acknowledged } => ClientMessage::Stale { acknowledged },
        Reply::Kept { .. } | Reply::NoSigner | Reply::NotOpen { closed: true } => ClientMessage::Closing,
        Reply::Access => ClientMessage::Access,
        Reply::NotReady(_) => ClientMessage::AccessNotReady,
        Reply::Ended(_) => ClientMessage::AccessRefused,
        // `Reply::NotNow`, a channel that is not open yet, and what a later version adds.
        _ => ClientMessage::NotNow,
    }
}
