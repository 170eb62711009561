//! The invariants, checked after each step on what it touched. The numbers are those of the design.

use std::collections::BTreeSet;

use privatix_billing::covered;
use privatix_channel::{Amount, ChannelEvent, Closure, LogPosition, OnChain, Phase, Usage};
use privatix_market::batch::{self, Batch, BatchEnv};
use privatix_market::{
    Actual, Agent, AgentEffect, AgentPurpose, AgentState, Bid, Effect, Env, Flight, Input, Owner, Party as _,
    Priority, Reply, Stage, Target, Uptime,
};

use crate::report::Rule;
use crate::scenario::amount;
use crate::sim::Sim;
use crate::transactor::{EVERYDAY, GAS};

/// What one channel must come to, kept beside everything that is checked.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts that excuse what is checked")]
pub(crate) struct Ledger {
    /// What the agent has promised, as its database knows it.
    pub(crate) promised: Promised,
    /// The best voucher that was ever stored, also in a database that is lost.
    best: Amount,
    /// The highest deposit and payment that were ever on the chain, also in blocks that were undone.
    deposit: Amount,
    paid: Amount,
    /// For how long the node could have answered the close request that stands, in milliseconds.
    able: u64,
    submitted: u64,
    /// The transactions that the operator cancelled.
    pub(crate) cancelled: BTreeSet<u32>,
    /// The uptime since which wakes are counted, and how many there were.
    wakes: (u64, u64),
    pub(crate) is_abandoned: bool,
    /// The client took back what it owed while the node could do nothing about it.
    is_excused: bool,
    /// The best that the client signed, but for what it signed while a close request stood of which it could not know: that is not
    /// admitted, and the agent may find it worth less than its answer.
    pub(crate) signed_knowing: Amount,
    /// Somebody on the wire answered in the agent's place.
    pub(crate) is_forged: bool,
    /// Somebody else has sent the agent a voucher.
    pub(crate) is_replayed: bool,
    /// A database came back from a backup: what was paid since may be lost.
    pub(crate) was_restored: bool,
    /// The same, of the client's.
    pub(crate) was_restored_at_client: bool,
    /// A reorganisation took back what was final.
    pub(crate) was_undone: bool,
    /// Whether the agent's own close was the last that closed the channel.
    closed_by_agent: bool,
    /// The highest amount that was named while all endpoints left events out and nobody had noticed that.
    blind: Amount,
    /// Since when the service has done more than what the node believes, in milliseconds.
    unseen: Option<u64>,
}

/// What an agent has promised about a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promised {
    /// The highest amount that an answer to the client named.
    named: Amount,
    /// The highest amount that was stored as acknowledged while no close request stood.
    acknowledged: Amount,
    /// The best voucher that was stored.
    stored: Amount,
}

/// For how long a service may do more than what its node believes, in milliseconds: a call that was dropped is done late.
const BELIEF: u64 = 180_000;

impl Ledger {
    /// Counts afresh for how long the node could have answered: the close request that stands may be another one.
    pub(crate) const fn restart_answer_time(&mut self) {
        self.able = 0;
    }

    /// The database knows what was promised up to a backup.
    pub(crate) const fn restore(&mut self, promised: Promised) {
        (self.promised, self.was_restored, self.able) = (promised, true, 0);
    }
}

/// How long a node that works has for the answer to a close request, in milliseconds.
const ANSWER: u64 = 900_000;

impl Sim<'_> {
    /// After each block: conservation, and what closed in it.
    pub(crate) fn check_block(&mut self, seconds: u64) {
        let able = self.is_able();
        for channel in 0..self.ledgers.len() {
            let Some(held) = self.chain.channel(channel) else { continue };
            let stands = held.open && held.challenge_ends_at.is_some();
            let (deposit, paid) = (held.deposit, held.paid);
            let ledger = &mut self.ledgers[channel];
            ledger.deposit = ledger.deposit.max(deposit);
            ledger.paid = ledger.paid.max(paid);
            ledger.able = if !stands {
                ledger.able
            } else if able {
                ledger.able + seconds * 1_000
            } else {
                0
            };
        }
        let Some(block) = self.chain.blocks.last() else { return };
        if block.logs.is_empty() {
            return;
        }
        let logs = block.logs.clone();
        if !self.chain.contract.is_conserved() {
            self.violate(None, Rule::Invariant(1), "the contract's tokens are not what it owes");
        }
        for (channel, _, event) in logs {
            match event {
                ChannelEvent::CloseRequested { paid, .. } => {
                    self.ledgers[channel].able = 0;
                    self.check_requested_by_buyer(channel, paid);
                }
                ChannelEvent::Closed { paid, closure, .. } => {
                    self.check_closed(channel, paid, closure);
                    self.check_closed_by_buyer(channel, &event);
                }
                _ => {}
            }
        }
    }

    fn check_closed(&mut self, channel: usize, paid: Amount, closure: Closure) {
        let deposit = self.chain.channel(channel).map_or(Amount::ZERO, |held| held.deposit);
        let is_by_agent = matches!(closure, Closure::ByAgent | Closure::ByAgentDisputed | Closure::ByBoth);
        self.ledgers[channel].closed_by_agent = is_by_agent;
        let ledger = &self.ledgers[channel];
        let lost = ledger.promised.named.min(deposit).saturating_sub(paid);
        if lost.is_zero() {
            return;
        }
        let named = ledger.promised.named;
        if self.transactor.has_forgotten(channel) || self.transactor.has_revived(channel) {
            // A close of the database that was lost, of which the agent knows nothing. Or one that had failed in a final block.
            self.ledgers[channel].is_excused = true;
            return;
        }
        if is_by_agent {
            let what = format!(
                "the agent's own close pays {paid}, and {named} was acknowledged (deposit {deposit})"
            );
            return self.violate(Some(channel), Rule::Invariant(2), &what);
        }
        let claimable = ledger.promised.stored.min(deposit).saturating_sub(paid);
        let unit = amount(self.scenario.world.unit_price);
        let is_small = claimable < self.policy.dispute_min.unwrap_or(unit);
        // What brings exactly its gas is not worth another answer.
        let gains = self.rate().is_none_or(|rate| rate.wei(claimable).get() > GAS * EVERYDAY);
        if is_small || !gains || ledger.is_abandoned || ledger.able < ANSWER {
            self.ledgers[channel].is_excused = true;
            return;
        }
        let able = ledger.able / 1_000;
        let what = format!(
            "the client took back {lost} of {named} that was acknowledged, and the node could have answered for {able} s"
        );
        self.violate(Some(channel), Rule::Invariant(6), &what);
    }

    /// After each commit: what is stored of a channel.
    pub(crate) fn check_stored(&mut self, channel: usize) {
        let stored = &self.disk.channels[channel];
        let (book, flights) = (stored.state.book, &stored.state.own.flights);
        let mut wrong = self.unconfirmed(&stored.logs, &stored.state.chain).map(|what| (5, what));
        let ledger = &mut self.ledgers[channel];
        if book.best < ledger.promised.stored {
            wrong =
                Some((2, format!("the best voucher was {}, and is {}", ledger.promised.stored, book.best)));
        }
        if book.acknowledged > book.best {
            wrong = Some((2, format!("{} is acknowledged, and {} is stored", book.acknowledged, book.best)));
        }
        ledger.promised.stored = ledger.promised.stored.max(book.best);
        ledger.best = ledger.best.max(book.best);
        if stored.state.chain.challenge_ends_at().is_none() {
            ledger.promised.acknowledged = ledger.promised.acknowledged.max(book.acknowledged);
        }
        if flights.len() > 64 {
            wrong = Some((9, format!("{} flights", flights.len())));
        }
        let mut waiting = 0;
        for alive in self.transactor.alive(channel) {
            let flight = flights.iter().find(|flight| flight.seq == alive.row.seq);
            if flight.is_none() {
                wrong = Some((4, format!("transaction {} is nobody's", alive.row.seq)));
            }
            // What a reorganisation has just brought back, the node does not know yet.
            let is_sent = flight.is_some_and(|flight| matches!(flight.stage, Stage::Sent { .. }));
            let is_single = !alive.is_cancelling && !alive.is_batch && is_sent;
            waiting += u32::from(alive.waits && is_single && alive.row.purpose.is_close());
        }
        if waiting > 1 {
            wrong = Some((3, format!("{waiting} closes wait beside each other")));
        }
        if let Some((number, wrong)) = wrong {
            return self.violate(Some(channel), Rule::Invariant(number), &wrong);
        }
        self.check_closes(channel);
    }

    /// What is believed of the chain beyond what the events of blocks with their confirmations show.
    pub(crate) fn unconfirmed(
        &self,
        logs: &[(LogPosition, ChannelEvent)],
        chain: &OnChain,
    ) -> Option<String> {
        let last = (self.chain.height() as u64).saturating_sub(self.scenario.world.confirmations);
        if let Some((at, _)) = logs.last().filter(|(at, _)| at.block > last) {
            return Some(format!(
                "an event of block {} counts, and the last with its confirmations is {last}",
                at.block
            ));
        }
        let shown = OnChain::fold(logs.iter().copied());
        (shown != *chain).then(|| format!("{chain:?} is believed, and the events show {shown:?}"))
    }

    /// What waits for a batch goes out when it must, nothing twice, and nothing for less than its gas.
    pub(crate) fn check_batches(&mut self, waiting: &[batch::Row], batches: &[Batch], env: &BatchEnv<'_>) {
        let rows = || batches.iter().flat_map(|batch| &batch.rows);
        let waits = |row: &&batch::Row| !rows().any(|of| of == *row);
        let patience = |row: &batch::Row| {
            if row.gain.is_zero() { env.policy.free_after } else { Some(env.policy.max_delay) }
        };
        let is_late =
            |row: &&batch::Row| patience(row).is_some_and(|patience| row.since.plus(patience) <= env.uptime);
        let gas = |batch: &Batch| 30_000 + 23_000 * batch.rows.len() as u128;
        let costs_more = |batch: &&Batch| {
            let gain = batch.rows.iter().fold(Amount::ZERO, |sum, row| sum.saturating_add(row.gain));
            let worth = env.rate.map_or(0, |rate| rate.wei(gain).get());
            batch.reason == batch::Reason::Gain && worth < gas(batch) * EVERYDAY
        };
        let mut seen = BTreeSet::new();
        let wrong = if let Some(row) = waiting.iter().filter(waits).find(is_late) {
            Some((9, format!("{row:?} waits for a batch for longer than it may")))
        } else if let Some(row) = rows().find(|row| !seen.insert((row.channel, row.seq))) {
            Some((3, format!("{row:?} is in two batches")))
        } else {
            batches.iter().find(costs_more).map(|batch| (8, format!("{batch:?} costs more than it brings")))
        };
        if let Some((number, wrong)) = wrong {
            self.violate(None, Rule::Invariant(number), &wrong);
        }
    }

    /// No close that may be mined is below what was acknowledged.
    fn check_closes(&mut self, channel: usize) {
        let deposit = self.chain.channel(channel).map_or(Amount::ZERO, |held| held.deposit);
        let promised = self.ledgers[channel].promised.named.min(deposit);
        let closes = self
            .transactor
            .alive(channel)
            .filter(|alive| alive.row.purpose.is_close() && alive.may_have_effect);
        let Some(lowest) = closes.map(|alive| alive.row.purpose.cumulative()).min() else { return };
        if lowest < promised {
            let what = format!("a close over {lowest} may be mined, and {promised} was acknowledged");
            self.violate(Some(channel), Rule::Invariant(2), &what);
        }
    }

    pub(crate) fn check_submit(
        &mut self,
        channel: usize,
        seq: u32,
        purpose: AgentPurpose,
        state: &AgentState,
    ) {
        let cumulative = purpose.cumulative();
        let ledger = &mut self.ledgers[channel];
        ledger.submitted += 1;
        let most = 12 + 6 * self.scenario.steps.len() as u64 + self.clients[channel].signed.len() as u64;
        if ledger.submitted > most {
            return self.violate(
                Some(channel),
                Rule::Invariant(3),
                &format!("{most} transactions of one channel"),
            );
        }
        if !cumulative.is_zero() && !self.clients[channel].signed.contains(&cumulative) {
            return self.violate(
                Some(channel),
                Rule::Invariant(8),
                &format!("{cumulative} was never signed"),
            );
        }
        if self.transactor.find(channel, seq).is_some() {
            return self.violate(Some(channel), Rule::Invariant(3), &format!("number {seq} is used twice"));
        }
        if matches!(state.chain.phase(), Phase::Closed { .. }) {
            self.violate(Some(channel), Rule::Invariant(3), "a transaction for a channel that is closed");
        }
        // In a challenge the success of a close is not believed against the events.
        let is_urgent = |flight: &Flight<AgentPurpose>| flight.bid.priority == Priority::Urgent;
        let answers = state.own.flights.iter().any(|flight| flight.seq == seq && is_urgent(flight));
        let closes = |flight: &Flight<AgentPurpose>| {
            let is_in_block =
                matches!(flight.stage, Stage::Mined { .. } | Stage::Unseen { disproved: false, .. });
            let is_mined = is_in_block && flight.bid != Bid::of_batch();
            let is_processed = !matches!(flight.stage, Stage::Mined { seen: false, .. });
            is_mined && flight.purpose.is_close() && !(answers && is_processed)
        };
        if purpose.is_close() && state.own.flights.iter().any(closes) {
            self.violate(Some(channel), Rule::Invariant(3), "a close beside one that is in a block");
        }
    }

    /// Nothing but a report takes back what was used.
    pub(crate) fn check_used(&mut self, channel: usize, before: Option<Usage>, after: Usage) {
        if let Some(before) = before.filter(|before| *before > after) {
            let what = format!("{} was used, and {} of it is known", before.get(), after.get());
            self.violate(Some(channel), Rule::Invariant(7), &what);
        }
    }

    /// The same surroundings again change nothing, and no service is to run beyond what the deposit can pay.
    pub(crate) fn check_again(&mut self, channel: usize, state: &AgentState, env: &Env<'_, Agent>) {
        let (used, payable) = (state.meter.used, covered(&self.terms, state.chain.deposit));
        if state.own.service.target == Target::Running && used > payable {
            let what = format!("{used} was used, the deposit pays for {payable}, and the service is to run");
            return self.violate(Some(channel), Rule::Invariant(7), &what);
        }
        let target = state.own.service.target;
        if !env.gas.affords_new && state.own.ready.is_none() && target != Target::Absent {
            let what = "a new channel is served, and the account could not pay for its close";
            return self.violate(Some(channel), Rule::Invariant(6), what);
        }
        let Ok(again) = Agent::decide(state, &Input::Look, env) else { return };
        if let Some(effect) = again.effects.first() {
            let what = match effect {
                Effect::Notify(notice) => format!("shown twice: {notice:?}"),
                effect => format!("not done at once: {effect:?}"),
            };
            self.violate(Some(channel), Rule::Invariant(3), &what);
        }
    }

    /// What the operator has to see to is what the operator has cancelled: nobody else is waited for.
    pub(crate) fn check_parked(&mut self, channel: usize, seq: Option<u32>, cancelled: &BTreeSet<u32>) {
        if !seq.is_some_and(|seq| cancelled.contains(&seq)) {
            let what = format!("it waits for its operator, who has not cancelled {seq:?}");
            self.violate(Some(channel), Rule::Invariant(4), &what);
        }
    }

    pub(crate) fn check_owners(&mut self, channel: usize, state: &AgentState, owners: &[Owner]) {
        let is_final = !state.chain.phase().is_open() && state.own.flights.is_empty();
        if owners.is_empty() && !is_final {
            self.violate(Some(channel), Rule::Invariant(9), "nobody moves this state on");
        }
    }

    pub(crate) fn check_busy(&mut self, channel: usize) {
        let uptime: Uptime = self.uptime();
        let wakes = &mut self.ledgers[channel].wakes;
        if uptime.milliseconds() > wakes.0 + 1_000 || uptime.milliseconds() < wakes.0 {
            *wakes = (uptime.milliseconds(), 0);
        }
        wakes.1 += 1;
        if wakes.1 > 40 {
            self.violate(
                Some(channel),
                Rule::Invariant(9),
                "it is looked at again and again, and nothing changes",
            );
        }
    }

    /// On a view that is not good, no answer promises anything new.
    pub(crate) fn check_unsure(&mut self, channel: usize, before: &AgentState, effects: &[Effect<Agent>]) {
        if self.memory.is_fresh && self.memory.is_explained {
            return;
        }
        let known = before.book.acknowledged.max(before.chain.paid);
        let named = effects.iter().find_map(|effect| match effect {
            Effect::Own(AgentEffect::Answer(
                Reply::Paid { acknowledged, .. }
                | Reply::Kept { acknowledged }
                | Reply::Stale { acknowledged }
                | Reply::Known { acknowledged },
            )) => Some(*acknowledged).filter(|acknowledged| *acknowledged > known),
            _ => None,
        });
        if let Some(named) = named {
            let what = format!("{named} is acknowledged on a view that is not good, and {known} was before");
            self.violate(Some(channel), Rule::Invariant(2), &what);
        }
    }

    /// What an answer names is stored, and no close takes it back.
    pub(crate) fn check_answer(&mut self, channel: usize, named: Amount) {
        let stored = &self.disk.channels[channel].state;
        let (best, paid) = (stored.book.best, stored.chain.paid);
        if named > best.max(paid) {
            return self.violate(
                Some(channel),
                Rule::Invariant(2),
                &format!("{named} is acknowledged, and {best} is stored"),
            );
        }
        let closing = stored.chain.challenge_ends_at().is_some();
        let acknowledged = stored.book.acknowledged;
        let (has_gaps, is_explained) = (self.disk.has_gaps, self.memory.is_explained);
        // Of its own close it knows without an event, unless its database is lost.
        let may_know = !self.chain.is_open(channel) && !self.transactor.has_forgotten(channel);
        let ledger = &mut self.ledgers[channel];
        let closed_by_us = ledger.closed_by_agent && may_know;
        if !closing {
            ledger.promised.acknowledged = ledger.promised.acknowledged.max(acknowledged);
        }
        if has_gaps && is_explained && !closed_by_us {
            // All endpoints lie, and nobody has noticed yet.
            ledger.blind = ledger.blind.max(named);
            return;
        }
        if !has_gaps || closed_by_us {
            ledger.blind = Amount::ZERO;
        }
        let deposit = ledger.deposit;
        if named > deposit {
            let what = format!("{named} is acknowledged, and the deposit was at most {deposit}");
            return self.violate(Some(channel), Rule::Invariant(2), &what);
        }
        if closing && named > paid.max(ledger.promised.named).max(ledger.promised.acknowledged) {
            let what = format!("{named} is acknowledged while a close request stands, and {paid} is paid");
            return self.violate(Some(channel), Rule::Invariant(2), &what);
        }
        // Nor is it a promise when the same is answered again, until the events are complete.
        if named > ledger.blind {
            ledger.promised.named = ledger.promised.named.max(named.min(best));
        }
        self.check_closes(channel);
    }

    /// A node that believes that nothing is served is right.
    pub(crate) fn check_belief(&mut self, channel: usize) {
        let service = self.disk.channels[channel].state.own.service;
        let believed = service.actual(self.memory.instance);
        let is_quiet = matches!(believed, Actual::Absent | Actual::Suspended) && service.asked.is_none();
        let is_wrong = is_quiet && self.adapter.services[channel].runs();
        // What an earlier life of the process asked for may still be done.
        let (at, _) = self.memory.started;
        let is_sure = self.memory.is_up && self.now > at + BELIEF && self.now >= self.until.hang + BELIEF;
        let ledger = &mut self.ledgers[channel];
        if !is_wrong || !is_sure {
            ledger.unseen = None;
            return;
        }
        let since = *ledger.unseen.get_or_insert(self.now);
        if self.now - since > BELIEF {
            let what = format!("the service runs, and the node believes that it is {believed:?}");
            self.violate(Some(channel), Rule::Invariant(7), &what);
        }
    }

    /// No service beyond what is paid for, the lag, and one more.
    pub(crate) fn check_use(&mut self, channel: usize) {
        if self.is_rogue(channel) {
            return;
        }
        let best = self.disk.channels[channel].state.book.best;
        let ledger = &mut self.ledgers[channel];
        ledger.best = ledger.best.max(best);
        let proven = ledger.best.max(ledger.paid).min(ledger.deposit);
        let used = self.adapter.services[channel].used;
        let most =
            covered(&self.terms, proven).saturating_add(self.terms.max_lag()).saturating_add(Usage::new(1));
        // What its node has lost may be used once more.
        let most = most.saturating_add(Usage::new(self.adapter.services[channel].most_lost));
        if used > most.get() {
            let what = format!("{used} was used, {proven} is paid, so at most {} may be", most.get());
            self.violate(Some(channel), Rule::Invariant(7), &what);
        }
    }

    /// All is final: the money is where it belongs.
    pub(crate) fn check_end(&mut self) {
        for channel in 0..self.ledgers.len() {
            self.check_end_of_buyer(channel);
            let Some(held) = self.chain.channel(channel) else { continue };
            let ledger = &self.ledgers[channel];
            let lost = ledger.promised.named.min(held.deposit).saturating_sub(held.paid);
            if held.open {
                self.violate(Some(channel), Rule::Invariant(9), "open at the end");
            } else if !lost.is_zero() && !ledger.is_excused {
                self.violate(
                    Some(channel),
                    Rule::Invariant(2),
                    &format!("{lost} that was acknowledged is not paid"),
                );
            }
        }
        let open: u32 = self.chain.contract.offerings().map(|(.., offering)| offering.open).sum();
        if open > 0 {
            self.violate(None, Rule::Invariant(9), &format!("{open} places are not free"));
        }
        let expect = &self.scenario.expect;
        for (channel, &paid) in expect.paid.iter().enumerate() {
            let is = self.chain.channel(channel).map_or(Amount::ZERO, |held| held.paid);
            if is != amount(paid) {
                return self.violate(
                    Some(channel),
                    Rule::Expected,
                    &format!("a payment of {paid}, and it is {is}"),
                );
            }
        }
        self.check_expected();
    }

    /// What a scenario expects beside the payments.
    fn check_expected(&mut self) {
        let expect = &self.scenario.expect;
        if let Some(notice) = expect.notices.iter().find(|notice| !self.notices.contains(*notice)) {
            let what = format!("the notice {notice}; shown were {:?}", self.notices);
            return self.violate(None, Rule::Expected, &what);
        }
        if let Some(notice) = expect.never.iter().find(|notice| self.notices.contains(*notice)) {
            let what = format!("never the notice {notice}; shown were {:?}", self.notices);
            return self.violate(None, Rule::Expected, &what);
        }
        if let Some(refused) = expect.refused.iter().find(|refused| !self.refused.contains(*refused)) {
            let what = format!("the refusal {refused}; refused was {:?}", self.refused);
            return self.violate(None, Rule::Expected, &what);
        }
        for (channel, &used) in expect.used.iter().enumerate() {
            let is = self.adapter.services.get(channel).map_or(0, |service| service.used);
            if is != used {
                let what = format!("a use of {used}, and it is {is}");
                return self.violate(Some(channel), Rule::Expected, &what);
            }
        }
        let batches = self.transactor.batches();
        if let Some(expected) = expect.batches.filter(|expected| *expected != batches) {
            let what = format!("{expected} batches, and there were {batches}");
            self.violate(None, Rule::Expected, &what);
        }
    }

    /// What a scenario expects at the end of its duration.
    pub(crate) fn check_duration(&mut self) {
        let is_open = |channel: &usize| self.chain.channel(*channel).is_none_or(|held| held.open);
        if self.scenario.expect.closed
            && let Some(channel) = (0..self.clients.len()).find(is_open)
        {
            self.violate(Some(channel), Rule::Expected, "a channel that is closed by now, and it is not");
        }
        for (channel, &paid) in self.scenario.expect.paid_in_time.iter().enumerate() {
            let is = self.chain.channel(channel).map_or(Amount::ZERO, |held| held.paid);
            if is != amount(paid) {
                let what = format!("a payment of {paid} by now, and it is {is}");
                return self.violate(Some(channel), Rule::Expected, &what);
            }
        }
    }
}
