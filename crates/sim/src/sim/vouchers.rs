//! The voucher path: decided in memory, stored by the group commit, answered from what was stored.

use std::collections::BTreeSet;

use privatix_channel::Amount;
use privatix_market::{
    Agent, AgentMessage, Book, Carried, ClientMessage, Fetched, Input, NotNow, Party as _, Reply, Taken,
    Verified, Why,
};

use super::{Event, Message, Sim};
use crate::buyer::Asking;
use crate::chain::AGENT;
use crate::node::{Pending, Tags};

impl Sim<'_> {
    pub(super) fn receive(&mut self, channel: usize, message: Message, request: Option<Asking>) {
        if self.is_rogue(channel) {
            return self.cheat(channel, message, request);
        }
        if self.is_cut(channel, request) {
            return;
        }
        let is_heard = self.memory.is_up && self.now >= self.until.offline;
        if !is_heard {
            return self.not_answered(channel, request);
        }
        // What the chain does not show yet is answered without a state.
        match message {
            Message::Ping => return self.reply_to_buyer(channel, ClientMessage::Pong, request),
            Message::Access if !self.disk.channels[channel].is_known => {
                return self.reply_to_buyer(channel, ClientMessage::AccessNotReady(None), request);
            }
            Message::Voucher { .. } | Message::Attach if !self.disk.channels[channel].is_known => {
                return self.reply_to_buyer(channel, ClientMessage::NotNow(None), request);
            }
            _ => {}
        }
        let (id, descriptor) = self.chain.channels[channel];
        self.ledgers[channel].is_replayed |= request.is_none();
        let sent = message;
        let message = match message {
            Message::Access => AgentMessage::Access,
            Message::Ping => return,
            Message::Attach => AgentMessage::Attach,
            Message::Voucher { cumulative, is_forged } => {
                let signer = if is_forged { AGENT } else { descriptor.signer };
                let Ok(voucher) = Verified::check(&Tags(descriptor.signer), &(id, cumulative, signer)) else {
                    return;
                };
                let meter = self.buyers[channel].as_ref().map(|buyer| buyer.state.meter.used);
                let used = meter.filter(|_| request.is_some() && self.speaks_2(channel));
                AgentMessage::Voucher { voucher, used }
            }
        };
        if matches!(message, AgentMessage::Voucher { .. }) && self.is_written(channel) {
            // The payments of one channel are taken in turn.
            return self.after(50, Event::ToAgent { channel, message: sent, request });
        }
        let policy = std::mem::take(&mut self.policy);
        let view = self.load(channel);
        let input = Input::Peer(message);
        let decided = Agent::decide(&view, &input, &self.env_of(channel, &policy));
        self.counts.decisions += 1;
        self.policy = policy;
        let Ok(decision) = decided else { return };
        self.check_unsure(channel, &view, &decision.effects);
        let (taken, cumulative) = match message {
            AgentMessage::Voucher { voucher, .. } => {
                let cumulative = voucher.cumulative();
                (Taken::of(&view, cumulative, &decision), cumulative)
            }
            _ => (Taken::WithEffects, Amount::ZERO),
        };
        if taken != Taken::WithEffects && self.rows.is_some() {
            self.note(channel, &format!("{input:?} (view)"), &decision.effects, &decision.state);
        }
        match taken {
            Taken::WithEffects => {
                for reply in self.transaction(|_| (), vec![(channel, input)]) {
                    self.answer(channel, reply, request);
                }
            }
            Taken::Answered(reply) => self.answer(channel, reply, request),
            Taken::Entered(entry) => {
                if self.memory.queue.is_empty() {
                    let (life, pause) = (self.memory.life, self.delays.between(1, 50));
                    self.after(pause, Event::Write { life });
                }
                self.memory.queue.push(Pending { channel, cumulative, entry: *entry, request });
            }
        }
    }

    /// Whether a voucher of the channel waits for the group commit.
    fn is_written(&self, channel: usize) -> bool {
        self.memory.queue.iter().any(|pending| pending.channel == channel)
    }

    /// The group commit. Its transaction decides what is acknowledged: a close may have been stored a moment before.
    pub(super) fn write(&mut self) {
        if self.dies() {
            return self.die();
        }
        let queue = std::mem::take(&mut self.memory.queue);
        if self.now < self.until.full {
            for Pending { channel, request, .. } in queue {
                self.not_answered(channel, request);
            }
            return;
        }
        let mut answers = Vec::new();
        let mut grown = BTreeSet::new();
        for Pending { channel, cumulative, entry, request } in queue {
            let stored = &mut self.disk.channels[channel];
            let ceiling = stored.ceiling;
            let book = &mut stored.state.book;
            if cumulative <= book.best {
                answers.push((channel, None, request));
                continue;
            }
            let permitted = entry.acknowledge().min(ceiling.unwrap_or(Amount::MAX));
            *book = Book { best: cumulative, acknowledged: book.acknowledged.max(permitted) };
            grown.insert(channel);
            answers.push((channel, Some(entry.stored(ceiling).1), request));
        }
        if self.dies() {
            return self.die();
        }
        for (channel, reply, request) in answers {
            match reply {
                Some(reply) => self.answer(channel, reply, request),
                None => self.not_answered(channel, request),
            }
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
        | Reply::Stale { acknowledged }
        | Reply::Known { acknowledged } = reply
        {
            self.check_answer(channel, acknowledged);
            if request.is_none() && self.delays.chance(95) && self.now >= self.until.offline {
                let pause = self.delays.between(20, 2_000);
                self.after(pause, Event::ToClient { channel, acknowledged });
            }
        }
        if self.now >= self.until.offline {
            let carried = self.carried(channel, reply, request);
            self.reply_to_buyer(channel, on_the_wire(reply, carried), request);
        }
    }
}

/// An answer as messages carry it.
const fn on_the_wire(reply: Reply, carried: Carried) -> ClientMessage {
    match reply {
        Reply::Paid { acknowledged, ended } => ClientMessage::Paid { acknowledged, ended, carried },
        Reply::Known { acknowledged } => ClientMessage::Known { acknowledged, carried },
        Reply::Stale { acknowledged } => ClientMessage::Stale { acknowledged, carried },
        Reply::Kept { .. } | Reply::NoSigner | Reply::NotOpen { closed: true } => {
            ClientMessage::Closing { carried }
        }
        Reply::Access => ClientMessage::Access(Fetched { number: None, is_same: false }),
        Reply::NotReady(Why::StaleView) => ClientMessage::AccessNotReady(Some(NotNow::StaleView)),
        Reply::NotReady(Why::Unexplained) => ClientMessage::AccessNotReady(Some(NotNow::Unexplained)),
        Reply::NotReady(_) => ClientMessage::AccessNotReady(None),
        Reply::Ended(_) => ClientMessage::AccessRefused,
        Reply::NotNow(why) => ClientMessage::NotNow(Some(why)),
        // A channel that is not open yet, and what a later version adds.
        _ => ClientMessage::NotNow(None),
    }
}
