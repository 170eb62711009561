//! What a buyer's node and its user send, and what becomes of it on the way.

use privatix_channel::{Amount, Phase};
use privatix_market::{
    Ask, Carried, ClientEffect, ClientMessage, ClientOrder, Fate, Fetched, OrderId, Outcome, Uptime,
};

use super::moves::sooner;
use super::views::Way;
use super::{BuyerEvent, Event, Message, Sim};
use crate::buyer::{Asking, Buyer};
use crate::choice::hash;
use crate::report::Rule;
use crate::scenario::{Fault, Move, amount};

impl Sim<'_> {
    /// Sends a request over the network, or takes its answer for granted to be none.
    pub(super) fn send_of_buyer(&mut self, channel: usize, buyer: &mut Buyer, effect: ClientEffect) {
        let (seq, until, message) = match effect {
            ClientEffect::Send { seq, cumulative, until } => {
                self.check_send(channel, buyer, cumulative);
                (seq, until, Message::Voucher { cumulative, is_forged: false })
            }
            ClientEffect::Ask { seq, what: Ask::Access, until } => (seq, until, Message::Access),
            ClientEffect::Ask { seq, what: Ask::Attach, until } => (seq, until, Message::Attach),
            ClientEffect::Ask { seq, what: Ask::Ping, until } => {
                // Where there is a voucher, its repetition is the ping.
                let cumulative = buyer.state.book.best;
                let voucher = Message::Voucher { cumulative, is_forged: false };
                (seq, until, if cumulative.is_zero() { Message::Ping } else { voucher })
            }
            other => {
                let what = format!("an effect that nobody carries out: {other:?}");
                return self.violate(Some(channel), Rule::Invariant(3), &what);
            }
        };
        let sent = if let Message::Voucher { cumulative, .. } = message { cumulative } else { Amount::ZERO };
        let asking = Asking { seq, life: buyer.life, until: self.moment(buyer, until), sent };
        if message == Message::Attach && !self.speaks_2(channel) {
            // Its node knows that.
            let (life, until) = (asking.life, asking.until);
            let what = BuyerEvent::Message { life, until, message: ClientMessage::InClear };
            return self.after(20, Event::Buyer { channel, what });
        }
        // Its job does not run in time: nobody is asked, and nobody reports.
        let is_queued = hash(self.scenario.seed, 8, u64::from(seq)).is_multiple_of(32);
        let is_queued = self.now < buyer.until.queued || (self.scenario.world.users && is_queued);
        if !matches!(message, Message::Voucher { .. }) && is_queued {
            return;
        }
        // Whoever asks reports that nothing came.
        let last = asking.until.saturating_sub(self.now).saturating_sub(2_000);
        self.after(last, unanswered(channel, asking));
        if self.now < buyer.until.offline {
            return self.not_answered(channel, Some(asking));
        }
        if self.speaks_2(channel) {
            if self.delays.chance(95) {
                let pause = self.delays.between(20, 3_000);
                let pause = self.in_order(channel, Way::ToAgent, pause);
                self.after(pause, Event::ToAgent { channel, message, request: Some(asking) });
            }
            return;
        }
        if self.delays.chance(95) {
            let pause = self.delays.between(20, 3_000);
            self.after(pause, Event::ToAgent { channel, message, request: Some(asking) });
        }
        if self.delays.chance(4) {
            let pause = self.delays.between(20, 60_000);
            self.after(pause, Event::ToAgent { channel, message, request: Some(asking) });
        }
    }

    /// A time of the node's uptime, by the clock of the world.
    fn moment(&self, buyer: &Buyer, until: Uptime) -> u64 {
        let uptime = buyer.uptime(self.now);
        self.now + until.milliseconds().saturating_sub(uptime.milliseconds())
    }

    /// The connection fails at once, or nothing comes.
    pub(super) fn not_answered(&mut self, channel: usize, request: Option<Asking>) {
        let Some(asking) = request else { return };
        if self.delays.chance(60) {
            let pause = self.delays.between(20, 20_000);
            self.after(pause, unanswered(channel, asking));
        }
    }

    pub(super) fn order_ended(
        &mut self,
        channel: usize,
        buyer: &mut Buyer,
        OrderId(order): OrderId,
        outcome: Outcome,
    ) {
        let was_under_way = buyer.orders.remove(&order);
        let was_taken_back = self.ledgers[channel].was_undone || buyer.transactor.has_believed;
        if !was_under_way && was_taken_back {
            return; // it ends once more, after a reorganisation, or after a success that was none
        }
        if !was_under_way {
            let what = format!("order {order} ends, and was not under way");
            return self.violate(Some(channel), Rule::Invariant(3), &what);
        }
        if outcome == Outcome::Done {
            let added = buyer.state.own.top_ups.iter().find(|top_up| top_up.order.0 == order);
            let added = added.map_or(Amount::ZERO, |top_up| top_up.amount);
            buyer.ledger.added = buyer.ledger.added.saturating_add(added);
        }
    }

    /// What the buyer's user does of its own.
    pub(super) fn act_of_buyer(&mut self, channel: usize, phase: Phase) {
        let Some(buyer) = self.buyers[channel].as_mut() else { return };
        if self.is_quiet || phase != Phase::Open || !self.scenario.world.users {
            return;
        }
        let (uses, chosen, more) = (buyer.dice.below(3), buyer.dice.below(400), buyer.dice.between(20, 200));
        if self.now >= buyer.leaves {
            match chosen {
                0..=40 => self.make(channel, Move::Leave),
                41..=50 => self.make(channel, Move::RequestClose(0)),
                _ => {}
            }
            return;
        }
        match chosen {
            0..=3 => self.make(channel, Move::Pause),
            4..=60 => self.make(channel, Move::Continue),
            61..=64 => self.make(channel, Move::TopUp(more)),
            _ => {}
        }
        self.make(channel, Move::Use(uses));
    }

    /// What the buyer's user orders, where it is that; whether it is.
    pub(super) fn order_by_user(&mut self, channel: usize, step: Move) -> bool {
        let Some(buyer) = self.buyers[channel].as_ref() else { return false };
        let order = match step {
            Move::TopUp(more) => ClientOrder::TopUp { order: buyer.next_order(), amount: amount(more) },
            Move::RequestClose(_) => ClientOrder::Close,
            Move::Leave => ClientOrder::End,
            Move::Pause => ClientOrder::Pause,
            Move::Continue => ClientOrder::Resume,
            // Its node pays by itself, and takes no request back.
            Move::Pay(_) | Move::CancelClose => return true,
            _ => return false,
        };
        self.order_of_buyer(channel, order);
        true
    }

    /// The user cancels the newest transaction of its channel.
    pub(super) fn cancel_by_user(&mut self, channel: usize) {
        self.with_buyer(channel, |sim, buyer| {
            let Some((id, seq)) = buyer.transactor.newest(channel) else { return };
            if !buyer.is_up {
                return;
            }
            buyer.ledger.cancelled.insert(seq);
            if buyer.transactor.is_unsent(id) {
                sim.fate_of_buyer(channel, buyer, id, Fate::Cancelled);
            } else {
                buyer.transactor.cancel(id);
            }
        });
    }

    /// Somebody on the wire answers in the agent's place.
    pub(super) fn forge_answer(&mut self, channel: usize, n: u64) {
        if self.speaks_2(channel) {
            return; // nobody can
        }
        self.ledgers[channel].is_forged = true;
        self.with_buyer(channel, |sim, buyer| {
            let Some(request) = buyer.state.own.requests.first() else { return };
            let (seq, sent) = (request.seq, request.cumulative);
            let asking = Asking { seq, life: buyer.life, until: sim.now + 60_000, sent };
            let acknowledged = buyer.state.book.best.saturating_add(amount(n / 8));
            sim.reply_to_buyer(channel, lie(n, acknowledged), Some(asking));
        });
    }

    /// Something fails at the client.
    pub(super) fn fail_buyer(&mut self, channel: usize, fault: Fault) {
        let now = self.now;
        let end = |seconds: u64| now + seconds * 1_000;
        if matches!(fault, Fault::AdapterCrash) {
            return self.restart_buyers_adapter(channel);
        }
        self.with_buyer(channel, |sim, buyer| {
            let until = &mut buyer.until;
            match fault {
                Fault::Crash(commits) => buyer.crash = Some(commits),
                Fault::Stale(seconds) => until.stale = end(seconds),
                Fault::BackUp => buyer.back_up(),
                Fault::Restore => sim.restore_buyer(channel, buyer, true),
                Fault::RestoreUnnoted => sim.restore_buyer(channel, buyer, false),
                Fault::Lag(seconds) => until.lag = end(seconds),
                Fault::Lie(seconds) => until.lie = end(seconds),
                Fault::Hide(seconds) => {
                    let notices = now + sim.delays.between(10_000, 600_000);
                    until.hide(end(seconds), notices, buyer.has_gaps);
                }
                Fault::NoEther(seconds) => until.no_ether = end(seconds),
                Fault::Hang(seconds) => until.hang = end(seconds),
                Fault::Refuse(seconds) => until.refuse = end(seconds),
                Fault::Offline(seconds) => until.offline = end(seconds),
                Fault::NoKey(seconds) => until.no_key = end(seconds),
                Fault::Queued(seconds) => until.queued = end(seconds),
                Fault::Down(seconds) => {
                    if buyer.is_up {
                        sim.buyer_dies_for(channel, buyer, seconds * 1_000);
                    }
                }
                Fault::Sleep(seconds) => sim.buyer_sleeps(channel, buyer, seconds * 1_000),
                Fault::ClockJump(seconds) => {
                    buyer.wall += seconds;
                    if let Some((_, until, _)) = &mut buyer.recovers {
                        *until = sooner(*until, seconds);
                    }
                }
                Fault::FullDisk(seconds) => until.full = end(seconds),
                Fault::Drift(by) => buyer.drift = by,
                Fault::Drop => {
                    if buyer.runs() {
                        buyer.actual = privatix_market::Actual::Suspended;
                        sim.end_session(channel);
                    }
                }
                Fault::FailTransaction(n) => {
                    if let Some(id) = buyer.transactor.oldest().filter(|_| buyer.is_up) {
                        sim.fate_of_buyer(channel, buyer, id, Fate::Failed { lasting: n % 2 == 1 });
                    }
                }
                // These are not one side's.
                Fault::Reorg(_)
                | Fault::DeepReorg(_)
                | Fault::Unexplained(_)
                | Fault::GasSpike(_)
                | Fault::Overcount(_)
                | Fault::AdapterCrash => {}
            }
        });
    }
}

/// The report that a request was not answered.
const fn unanswered(channel: usize, Asking { seq, life, until, .. }: Asking) -> Event {
    let message = ClientMessage::Unanswered { seq };
    Event::Buyer { channel, what: BuyerEvent::Message { life, until, message } }
}

/// An answer that is not true.
pub(super) fn lie(n: u64, acknowledged: Amount) -> ClientMessage {
    match n % 8 {
        0 => ClientMessage::Paid { acknowledged, ended: true, carried: Carried::default() },
        1 => ClientMessage::Paid { acknowledged, ended: false, carried: Carried::default() },
        2 => ClientMessage::Stale { acknowledged, carried: Carried::default() },
        3 => ClientMessage::Stale { acknowledged: Amount::ZERO, carried: Carried::default() },
        4 => ClientMessage::Closing { carried: Carried::default() },
        5 => ClientMessage::NotNow(None),
        6 => ClientMessage::AccessRefused,
        _ => ClientMessage::Access(Fetched { number: None, is_same: false }),
    }
}
