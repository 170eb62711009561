//! What clients and the operator do, and what fails.

use privatix_billing::Measure;
use privatix_channel::model::Call;
use privatix_channel::{Amount, ChainTime, Phase, Usage};
use privatix_market::{Actual, AgentOrder, Fate, Input, Uptime};

use super::{Event, Message, Sim};
use crate::client::Seen;
use crate::scenario::{Fault, Move, What, amount};

impl Sim<'_> {
    pub(super) fn act(&mut self, channel: usize) {
        let pause = if self.is_quiet { 60_000 } else { self.clients[channel].pause() };
        self.after(pause, Event::Act { channel });
        let (now, measure) = (self.now, self.measure());
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        let (used, runs) = (Usage::new(service.used), service.runs());
        let phase = match self.chain.channel(channel) {
            None => Phase::Unopened,
            Some(held) if !held.open => return,
            Some(held) => held.challenge_ends_at.map_or(Phase::Open, |ends_at| Phase::Closing { ends_at }),
        };
        if self.buyers[channel].is_some() {
            if self.is_rogue(channel) {
                self.scheme(channel, phase);
            }
            return self.act_of_buyer(channel, phase);
        }
        if phase == Phase::Open && !self.is_quiet && self.disk.channels[channel].state.own.ready.is_none() {
            self.after(50, Event::ToAgent { channel, message: Message::Access, request: None });
        }
        let seen = Seen {
            now,
            phase,
            deposit: self.chain.channel(channel).map_or(Amount::ZERO, |held| held.deposit),
            chain_time: ChainTime::new(self.chain.time()),
            used,
            runs,
            terms: &self.terms,
            is_quiet: self.is_quiet,
        };
        for step in self.clients[channel].act(&seen) {
            self.make(channel, step);
        }
    }

    pub(super) fn step(&mut self, number: usize) {
        let step = &self.scenario.steps[number];
        let channel = step.who.min(self.clients.len() - 1);
        match step.what {
            What::Do(step) => self.make(channel, step),
            What::Fault(fault) => {
                self.counts.faults += 1;
                self.fail(channel, fault);
            }
            What::ClientFault(fault) => {
                self.counts.faults += 1;
                self.fail_buyer(channel, fault);
            }
        }
    }

    pub(super) fn make(&mut self, channel: usize, step: Move) {
        if self.order_by_user(channel, step) {
            return;
        }
        let (_, descriptor) = self.chain.channels[channel];
        let client = descriptor.client;
        match step {
            Move::Use(more) => self.consume(channel, more),
            Move::Pay(more) => {
                let cumulative = self.clients[channel].best().saturating_add(amount(more));
                if more > 0 {
                    self.clients[channel].signed.push(cumulative);
                    self.send(channel, cumulative, false);
                }
            }
            Move::Replay(n) => {
                if let Some(cumulative) = self.signed(channel, n) {
                    self.send(channel, cumulative, false);
                }
            }
            Move::Forge(cumulative) => self.send(channel, amount(cumulative), true),
            Move::TopUp(more) => {
                self.chain.pool.push((client, Call::TopUpFromWallet { descriptor, amount: amount(more) }));
            }
            Move::RequestClose(admitted) => {
                self.chain.pool.push((client, Call::RequestClose { descriptor, admitted: amount(admitted) }));
            }
            Move::CancelClose => self.chain.pool.push((client, Call::CancelClose { descriptor })),
            Move::Finalize => self.chain.pool.push((client, Call::FinalizeClose { descriptor })),
            Move::Settle(n) => {
                if let Some(cumulative) = self.signed(channel, n) {
                    let signature = self.chain.signature(channel, cumulative);
                    self.chain.pool.push((client, Call::Settle { descriptor, cumulative, signature }));
                }
            }
            Move::End => self.order(channel, AgentOrder::End),
            Move::Close => self.order(channel, AgentOrder::Close),
            Move::Hold => self.order(channel, AgentOrder::Hold),
            Move::Resume => self.order(channel, AgentOrder::Resume),
            Move::Abandon => {
                self.ledgers[channel].is_abandoned |= self.memory.is_up;
                self.order(channel, AgentOrder::Abandon);
            }
            Move::CancelTransaction => self.cancel_by_operator(channel),
            Move::Batch => self.batch(true),
            Move::CancelOfClient => self.cancel_by_user(channel),
            Move::ForgeAnswer(n) => self.forge_answer(channel, n),
            // Only a client with a node of its own has a user.
            Move::Leave | Move::Pause | Move::Continue => {}
        }
    }

    pub(super) fn signed(&self, channel: usize, n: u64) -> Option<Amount> {
        let signed = &self.clients[channel].signed;
        let place = n.checked_rem(signed.len() as u64)?;
        signed.get(usize::try_from(place).ok()?).copied()
    }

    pub(super) fn send(&mut self, channel: usize, cumulative: Amount, is_forged: bool) {
        let message = Message::Voucher { cumulative, is_forged };
        if self.delays.chance(96) {
            let pause = self.delays.between(20, 3_000);
            self.after(pause, Event::ToAgent { channel, message, request: None });
        }
        if self.delays.chance(4) {
            let pause = self.delays.between(20, 60_000);
            self.after(pause, Event::ToAgent { channel, message, request: None });
        }
    }

    pub(super) fn consume(&mut self, channel: usize, more: u64) {
        // Both sides serve, or nothing is used.
        let more = if self.buyers[channel].as_ref().is_none_or(|buyer| buyer.runs()) { more } else { 0 };
        let (now, measure) = (self.now, self.measure());
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        if measure == Measure::Seconds {
            // A session begins, or ends.
            let may_run = more > 0 && service.runs() && service.has_room();
            service.session = if may_run { service.session.or(Some(now)) } else { None };
        } else {
            service.consume(more);
        }
        self.check_use(channel);
    }

    pub(super) fn order(&mut self, channel: usize, order: AgentOrder) {
        if self.memory.is_up && self.disk.channels[channel].is_known {
            self.transaction(|_| (), vec![(channel, Input::Order(order))]);
        }
    }

    pub(super) fn cancel_by_operator(&mut self, channel: usize) {
        let Some((id, seq)) = self.transactor.newest(channel) else { return };
        let state = &self.disk.channels[channel].state;
        if !self.memory.is_up || state.may_cancel(seq, &self.policy).is_err() {
            return;
        }
        self.ledgers[channel].cancelled.insert(seq);
        if self.transactor.is_unsent(id) {
            self.fate(id, Fate::Cancelled);
        } else {
            self.transactor.cancel(id);
        }
    }

    pub(super) fn fail(&mut self, channel: usize, fault: Fault) {
        let end = |seconds: u64| self.now + seconds * 1_000;
        match fault {
            Fault::Reorg(depth) => self.reorganise(depth),
            Fault::DeepReorg(depth) => {
                self.ledgers.iter_mut().for_each(|ledger| ledger.was_undone = true);
                self.replace_blocks(self.scenario.world.final_depth - 1 + depth);
            }
            Fault::BackUp => self.back_up(),
            Fault::Restore => self.restore(true),
            Fault::RestoreUnnoted => self.restore(false),
            Fault::Lag(seconds) => self.until.lag = end(seconds),
            Fault::Lie(seconds) => self.until.lie = end(seconds),
            Fault::Hide(seconds) => {
                let notices = self.now + self.delays.between(10_000, 600_000);
                self.until.hide(end(seconds), notices, self.disk.has_gaps);
            }
            Fault::Crash(commits) => self.crash = Some(commits),
            Fault::Stale(seconds) => self.until.stale = end(seconds),
            Fault::Unexplained(seconds) => self.until.unexplained = end(seconds),
            Fault::GasSpike(seconds) => self.until.spike = end(seconds),
            Fault::NoEther(seconds) => self.until.no_ether = end(seconds),
            Fault::Hang(seconds) => self.until.hang = end(seconds),
            Fault::Refuse(seconds) => self.until.refuse = end(seconds),
            Fault::AdapterCrash => self.restart_adapter(),
            Fault::Drift(by) => self.adapter.services[channel].drift = by,
            Fault::Overcount(by) => self.adapter.services[channel].ahead = by,
            Fault::Drop => {
                let (now, measure) = (self.now, self.measure());
                let service = &mut self.adapter.services[channel];
                if service.runs() {
                    service.set(Actual::Suspended, measure, now);
                }
            }
            Fault::FailTransaction(n) => {
                self.until.trouble = self.until.trouble.max(self.now + 180_000);
                if self.memory.is_up
                    && let Some(id) = self.transactor.oldest()
                {
                    self.fate(id, Fate::Failed { lasting: n % 2 == 1 });
                }
            }
            Fault::Offline(seconds) => self.until.offline = end(seconds),
            Fault::Down(seconds) => {
                if self.memory.is_up {
                    self.die_for(seconds * 1_000);
                }
            }
            Fault::Sleep(seconds) => self.sleep(seconds * 1_000),
            Fault::ClockJump(seconds) => {
                for (until, _) in self.disk.channels.iter_mut().filter_map(|stored| stored.recovers.as_mut())
                {
                    *until = sooner(*until, seconds);
                }
            }
            Fault::FullDisk(seconds) => self.until.full = end(seconds),
            // It signs nothing, and asks nobody.
            Fault::NoKey(_) | Fault::Queued(_) => {}
        }
    }

    pub(super) fn restart_adapter(&mut self) {
        let (now, measure) = (self.now, self.measure());
        self.adapter.instance += 1;
        for service in &mut self.adapter.services {
            service.set(Actual::Absent, measure, now);
            // It gets a new one with each service that it prepares.
            service.bound = u64::MAX;
        }
    }
}

/// When a time of the wall clock comes, once that clock has moved on by this many seconds.
pub(super) fn sooner(at: Uptime, seconds: i64) -> Uptime {
    Uptime::new(at.milliseconds().saturating_add_signed(-seconds * 1_000))
}
