//! The calls to the service adapter, late ones too, and its reports.

use privatix_billing::Measure;
use privatix_channel::Usage;
use privatix_market::{Actual, Answered, Input, Target};

use super::{CallAnswer, CallOutcome, Event, Sim};

/// What a service does once a call for this target is done.
pub(super) const fn reached(target: Target) -> Actual {
    match target {
        Target::Absent => Actual::Absent,
        Target::Suspended => Actual::Suspended,
        Target::Running => Actual::Running,
    }
}

impl Sim<'_> {
    pub(super) fn measure(&self) -> Measure {
        self.terms.unit().measure
    }

    /// Sends the bound to the adapter.
    pub(super) fn raise(&mut self, channel: usize) {
        if self.now < self.until.hang {
            return;
        }
        let (now, measure) = (self.now, self.measure());
        let Some(bound) = self.disk.channels[channel].state.bound() else { return };
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        service.bound = bound.get();
    }

    pub(super) fn drive(&mut self, channel: usize, seq: u32, target: Target) {
        self.adapter.calls += 1;
        let (call, instance, life) = (self.adapter.calls, self.adapter.instance, self.memory.life);
        if seq > 0 {
            self.memory.calls[channel] = Some((call, seq));
        }
        let mut outcome = CallOutcome::Done;
        let mut pause = self.delays.between(20, 2_000);
        if self.now < self.until.hang {
            // What the runner repeats, it repeats until it is done.
            if seq > 0 && self.delays.chance(50) {
                return;
            }
            (outcome, pause) = (CallOutcome::Late, self.delays.between(5_000, 55_000));
        } else if self.now < self.until.refuse && target != Target::Absent {
            outcome = CallOutcome::Refused;
        }
        let bound = self.disk.channels[channel].state.bound().map_or(0, Usage::get);
        self.after(pause, Event::Call { channel, call, seq, life, instance, target, bound, outcome });
    }

    pub(super) fn finish_call(
        &mut self,
        channel: usize,
        (call, seq, life): (u64, u32, u64),
        instance: u64,
        (target, bound): (Target, u64),
        outcome: CallOutcome,
    ) {
        if instance != self.adapter.instance {
            return;
        }
        let actual = reached(target);
        let (now, measure) = (self.now, self.measure());
        if outcome != CallOutcome::Refused {
            if self.adapter.services[channel].actual == Actual::Absent {
                self.adapter.services[channel].bound = bound;
            }
            self.adapter.services[channel].set(actual, measure, now);
        }
        if self.memory.calls[channel].is_none_or(|(of, _)| of != call) {
            // The call was dropped, and is done nevertheless: the runner makes the newest one once more.
            let wanted = self.disk.channels[channel].state.own.service.target;
            if self.memory.is_up && wanted < target {
                self.drive(channel, 0, wanted);
            }
        }
        let answer = if outcome == CallOutcome::Refused { Answered::Refused } else { Answered::Did(actual) };
        let answer = CallAnswer { channel, call, seq, instance, life, answer };
        // An answer may come long after what it reports was done, and after the one to a later request.
        if outcome == CallOutcome::Late && self.delays.chance(50) {
            return;
        }
        if outcome == CallOutcome::Late || self.delays.chance(10) {
            let pause = self.delays.between(100, 50_000);
            return self.after(pause, Event::Answer(answer));
        }
        self.answered(answer);
    }

    /// The adapter's answer reaches the node, if that is still the one that asked.
    pub(super) fn answered(&mut self, answer: CallAnswer) {
        let CallAnswer { channel, call, seq, instance, life, answer } = answer;
        let is_heard = self.memory.is_up && self.memory.life == life && self.adapter.instance == instance;
        if !is_heard {
            return;
        }
        if self.now < self.until.full {
            return self
                .after(2_000, Event::Answer(CallAnswer { channel, call, seq, instance, life, answer }));
        }
        self.memory.calls[channel].take_if(|(of, _)| *of == call);
        if seq == 0 {
            return; // nobody asked: the runner made sure
        }
        self.transaction(|_| (), vec![(channel, Input::Adapter { seq, answer })]);
    }

    pub(super) fn report(&mut self, channel: usize) {
        let pause = if self.is_quiet { 60_000 } else { 5_000 };
        self.after(pause, Event::Report { channel });
        if self.is_quiet && self.is_over(channel) {
            return;
        }
        let (now, measure) = (self.now, self.measure());
        self.adapter.services[channel].count(measure, now);
        self.check_use(channel);
        if !self.is_rogue(channel) {
            self.check_belief(channel);
        }
        let is_reported = self.memory.is_up && self.now >= self.until.hang && self.now >= self.until.full;
        if !is_reported || !self.disk.channels[channel].is_known {
            return;
        }
        let service = &mut self.adapter.services[channel];
        let total = (service.counted(), service.session.is_some());
        if total != service.reported {
            service.reported = total;
            let (used, running) = (Usage::new(total.0), total.1);
            self.transaction(|_| (), vec![(channel, Input::Used { used, running })]);
        }
    }
}
