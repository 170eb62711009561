//! The clients' adapters: calls to them, sessions, and their meters.

use privatix_market::{Answered, Input, Target};

use super::service::reached;
use super::{BuyerEvent, CallOutcome, Event, Sim};
use crate::buyer::Buyer;

impl Sim<'_> {
    pub(super) fn drive_buyer(&mut self, channel: usize, buyer: &mut Buyer, seq: u32, target: Target) {
        buyer.calls += 1;
        let (call, instance) = (buyer.calls, buyer.adapter);
        buyer.call = Some((call, seq));
        let mut outcome = CallOutcome::Done;
        let mut pause = self.delays.between(20, 2_000);
        if self.now < buyer.until.hang {
            if self.delays.chance(50) {
                return;
            }
            (outcome, pause) = (CallOutcome::Late, self.delays.between(5_000, 55_000));
        } else if self.now < buyer.until.refuse && target != Target::Absent {
            outcome = CallOutcome::Refused;
        }
        self.after(
            pause,
            Event::Buyer { channel, what: BuyerEvent::Call { call, instance, target, outcome } },
        );
    }

    pub(super) fn finish_buyer_call(
        &mut self,
        channel: usize,
        buyer: &mut Buyer,
        (call, instance, target, outcome): (u64, u64, Target, CallOutcome),
    ) {
        if instance != buyer.adapter {
            return;
        }
        let actual = reached(target);
        if outcome != CallOutcome::Refused {
            buyer.actual = actual;
            if !buyer.runs() {
                self.end_session(channel);
            }
        }
        let Some((_, seq)) = buyer.call.filter(|(of, _)| *of == call && buyer.is_up) else {
            let wanted = buyer.state.own.service.target;
            if buyer.is_up && buyer.call.is_none() && wanted < target {
                self.drive_buyer(channel, buyer, 0, wanted);
            }
            return;
        };
        if outcome == CallOutcome::Late {
            return;
        }
        buyer.call = None;
        let answer = if outcome == CallOutcome::Refused { Answered::Refused } else { Answered::Did(actual) };
        self.buyer_input(channel, buyer, |_| (), Input::Adapter { seq, answer });
    }

    /// Its meter counts what the agent's adapter has served.
    pub(super) fn report_of_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let pause = if self.is_quiet { 60_000 } else { 5_000 };
        self.after(pause, Event::Buyer { channel, what: BuyerEvent::Report });
        let (now, measure) = (self.now, self.measure());
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        let total = (service.used.saturating_sub(buyer.drift + buyer.lost), service.session.is_some());
        self.check_use(channel);
        if !buyer.is_up || self.now < buyer.until.hang || total == buyer.reported {
            return;
        }
        let used = privatix_channel::Usage::new(total.0);
        let before = buyer.state.meter;
        if self.buyer_input(channel, buyer, |_| (), Input::Used { used, running: total.1 }) {
            buyer.reported = total;
            // A total that is lower than before says nothing.
            if buyer.state.meter != before {
                buyer.reported_at = self.now;
            }
        }
    }

    pub(super) fn restart_buyers_adapter(&mut self, channel: usize) {
        self.with_buyer(channel, |_, buyer| {
            buyer.adapter += 1;
            buyer.actual = privatix_market::Actual::Absent;
        });
        self.end_session(channel);
    }

    /// Without the buyer's side nothing is used.
    pub(super) fn end_session(&mut self, channel: usize) {
        let (now, measure) = (self.now, self.measure());
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        service.session = None;
    }
}
