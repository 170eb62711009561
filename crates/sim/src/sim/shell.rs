//! The node's shell: commits, wakes, surroundings, starts and crashes.

use std::collections::BTreeSet;

use privatix_channel::ChainTime;
use privatix_market::{
    Actual, Agent, AgentEffect, AgentPolicy, AgentState, BlockRef, Blocked, Effect, Env, Fate, Input, Owner,
    Party, Rate, Reply, Reserve, Turn, Uptime, Wei,
};

use super::{Event, Sim};
use crate::node::Collected;
use crate::report::Rule;
use crate::transactor::{CancelOutcome, EVERYDAY, GAS, Row};

impl Sim<'_> {
    pub(crate) fn uptime(&self) -> Uptime {
        let (at, uptime) = self.memory.started;
        Uptime::new(uptime.milliseconds() + (self.now - at))
    }

    fn env<'e>(&self, policy: &'e AgentPolicy) -> Env<'e, Agent> {
        let mut env = Env::new(self.uptime(), policy);
        let seen = self.chain.blocks.get(self.disk.blocks.len() - 1);
        env.chain.now = seen.map(|block| ChainTime::new(block.time));
        env.chain.fresh = self.memory.is_fresh;
        env.chain.explained = self.memory.is_explained;
        env.chain.challenge = self.scenario.world.challenge();
        env.gas.affords_new = self.memory.affords_new.get();
        env.gas.close_cost = Some(Wei::new(GAS * self.price()));
        env.gas.rate = self.rate();
        env.instance = self.memory.instance;
        env
    }

    /// The surroundings of a channel.
    pub(crate) fn env_of<'e>(&self, channel: usize, policy: &'e AgentPolicy) -> Env<'e, Agent> {
        let mut env = self.env(policy);
        let best = self.disk.channels[channel].state.book.best;
        env.kept_open = self.kept_open(channel, best, env.uptime);
        env
    }

    /// A base unit is worth `rate` hundredths of what a close costs at the everyday price of gas.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let per_unit = u128::from(self.scenario.world.rate?) * GAS / 100;
        Some(Rate { wei_per_token: per_unit, decimals: 0 })
    }

    /// One commit: facts first, then each input is decided and its effects in the database are carried out. What else follows,
    /// follows after the commit. The process may die on either side of it.
    /// Gives the answers to messages, which are sent once all is stored.
    pub(super) fn transaction(
        &mut self,
        facts: impl FnOnce(&mut Self),
        inputs: Vec<(usize, Input<Agent>)>,
    ) -> Vec<Reply> {
        if self.now < self.until.full {
            self.not_stored(&inputs);
            return Vec::new();
        }
        if self.dies() {
            self.die();
            return Vec::new();
        }
        facts(self);
        let policy = std::mem::take(&mut self.policy);
        let mut decided = BTreeSet::new();
        let mut replies = Vec::new();
        for (channel, input) in inputs {
            self.decide(channel, input, &policy, &mut replies);
            decided.insert(channel);
        }
        for &channel in &decided {
            self.check_stored(channel);
        }
        if self.dies() {
            self.policy = policy;
            self.die();
            return Vec::new();
        }
        for channel in decided {
            self.committed(channel, &policy);
        }
        self.policy = policy;
        replies
    }

    /// A commit failed: what is shown once more comes again by itself, and the channels are looked at once more in a while.
    fn not_stored(&mut self, inputs: &[(usize, Input<Agent>)]) {
        let again = Uptime::new(self.uptime().milliseconds() + 5_000);
        for &(channel, _) in inputs {
            self.memory.wakes[channel] = Some(again);
            self.schedule_wake(channel);
        }
    }

    pub(super) fn load(&self, channel: usize) -> AgentState {
        let mut state = self.disk.channels[channel].state.clone();
        let blocks = &self.disk.blocks;
        see(state.mined(), |block| blocks.get(index(block.number)) == Some(&block.hash));
        state
    }

    pub(super) fn decide(
        &mut self,
        channel: usize,
        input: Input<Agent>,
        policy: &AgentPolicy,
        replies: &mut Vec<Reply>,
    ) {
        let state = self.load(channel);
        let env = self.env_of(channel, policy);
        // An answer of the adapter to an earlier request says nothing, but that what was lost is found.
        let is_earlier = |seq: u32| state.own.service.asked.is_none_or(|asked| asked.seq != seq);
        let expected = match input {
            Input::Adapter { seq, .. } if is_earlier(seq) && state.own.service.actual != Actual::Lost => {
                Agent::decide(&state, &Input::Look, &env).ok()
            }
            _ => None,
        };
        let before = (!matches!(input, Input::Used { .. })).then(|| Agent::used(&state, &env));
        let was_parked = matches!(state.own.blocked, Some(Blocked::Parked { .. }));
        let cancelled = cancelled(&input);
        let mut turn = Turn::new(state);
        let mut shown = self.rows.is_some().then(|| format!("{input:?}"));
        turn.push(input);
        // What is refused is not decided about: what time alone has made due follows with the wake for it.
        let mut was_refused = false;
        while let Some(decided) = turn.next(&env) {
            self.counts.decisions += 1;
            was_refused = decided.is_err();
            let effects = decided.unwrap_or_default();
            if let Some(shown) = shown.take() {
                self.note(channel, &shown, &effects, turn.state());
            }
            if expected.as_ref().is_some_and(|expected| expected.state != *turn.state()) {
                let what = "an answer of the adapter to an earlier request counts";
                self.violate(Some(channel), Rule::Invariant(3), what);
            }
            for effect in effects {
                match effect {
                    Effect::Submit { seq, purpose, bid } => {
                        self.disk.channels[channel].collected.take_if(|row| row.seq == seq);
                        self.check_submit(channel, seq, purpose, turn.state());
                        self.transactor.submit(vec![Row { channel, seq, purpose }], false, bid);
                    }
                    Effect::Collect { seq, purpose } => {
                        let stored = &mut self.disk.channels[channel];
                        let waits = stored.collected.filter(|row| row.seq == seq).map(|row| row.since);
                        let since = waits.unwrap_or(env.uptime);
                        stored.collected = Some(Collected { seq, purpose, since });
                    }
                    Effect::Cancel { seq } => {
                        if let Some(input) = self.cancel(channel, seq) {
                            shown = self.rows.is_some().then(|| format!("{input:?}"));
                            turn.push(input);
                        }
                    }
                    Effect::Own(AgentEffect::Answer(reply)) => replies.push(reply),
                    Effect::Notify(notice) => {
                        self.shown(&format!("{notice:?}"));
                    }
                    Effect::Own(AgentEffect::Keep(_)) | Effect::Drive { .. } => {}
                    other => self.violate(
                        Some(channel),
                        Rule::Invariant(3),
                        &format!("an effect that nobody carries out: {other:?}"),
                    ),
                }
            }
            // The monitor may have processed the block of a transaction before its outcome was reported.
            let blocks = &self.disk.blocks;
            if see(turn.mined(), |block| blocks.get(index(block.number)) == Some(&block.hash)) {
                turn.push(Input::Look);
            }
        }
        let state = turn.into_state();
        self.check_used(channel, before, Agent::used(&state, &env));
        if matches!(state.own.blocked, Some(Blocked::Parked { .. })) && !was_parked {
            let by_operator = std::mem::take(&mut self.ledgers[channel].cancelled);
            self.check_parked(channel, cancelled, &by_operator);
            self.ledgers[channel].cancelled = by_operator;
        }
        if !was_refused {
            self.check_again(channel, &state, &env);
        }
        let stored = &mut self.disk.channels[channel];
        stored.ceiling = state.ceiling();
        stored.state = state;
    }

    pub(super) fn cancel(&mut self, channel: usize, seq: u32) -> Option<Input<Agent>> {
        if self.disk.channels[channel].collected.take_if(|row| row.seq == seq).is_some() {
            return None;
        }
        let Some(id) = self.transactor.find(channel, seq) else {
            self.violate(Some(channel), Rule::Invariant(3), &format!("cancels {seq}, which does not exist"));
            return None;
        };
        if self.transactor.intents[id].is_batch && self.disk.channels[channel].recovers.is_some() {
            // In a recovery all of it goes.
            self.transactor.ask_to_cancel(id);
            return None;
        }
        if self.transactor.intents[id].is_batch {
            let what = format!("cancels {seq}, and with it a batch of other channels");
            self.violate(Some(channel), Rule::Invariant(3), &what);
            return None;
        }
        let row = *self.transactor.intents[id].rows.first()?;
        match self.transactor.cancel(id) {
            CancelOutcome::Done => Some(Input::Tx { seq, purpose: row.purpose, fate: Fate::Cancelled }),
            CancelOutcome::Requested | CancelOutcome::NotOpen => None,
        }
    }

    /// What follows a commit: wakes, calls to the adapter, its bound.
    pub(super) fn committed(&mut self, channel: usize, policy: &AgentPolicy) {
        let (env, state) = (self.env_of(channel, policy), self.load(channel));
        let owners = Agent::owners(&state, &env);
        self.check_owners(channel, &state, &owners);
        let at = owners.iter().filter_map(Owner::uptime).min();
        self.memory.chain_wakes[channel] = owners.iter().filter_map(Owner::chain_time).min();
        if self.memory.wakes[channel] != at {
            self.memory.wakes[channel] = at;
            self.schedule_wake(channel);
        }
        self.notify(channel, &state, &env);
        self.raise(channel);
        let asked = state.own.service.asked;
        let asked_for = self.memory.calls[channel].map(|(_, seq)| seq);
        match asked {
            Some(asked) if asked_for != Some(asked.seq) => self.drive(channel, asked.seq, asked.target),
            None => self.memory.calls[channel] = None,
            Some(_) => {}
        }
        self.send_soon();
    }

    pub(super) fn schedule_wake(&mut self, channel: usize) {
        let Some(at) = self.memory.wakes[channel] else { return };
        let pause = at.milliseconds().saturating_sub(self.uptime().milliseconds()).max(1);
        let life = self.memory.life;
        self.after(pause, Event::Wake { life, channel });
    }

    pub(super) fn send_soon(&mut self) {
        self.transactor.send(self.head(&self.until), self.price());
    }

    pub(super) fn look(&mut self, channel: usize) {
        self.transaction(|_| (), vec![(channel, Input::Look)]);
    }

    pub(super) fn wake(&mut self, channel: usize) {
        let uptime = self.uptime();
        if self.memory.wakes[channel].is_some_and(|at| at <= uptime) {
            self.memory.wakes[channel] = None;
            self.check_busy(channel);
            self.look(channel);
        }
    }

    /// Each channel is looked at when a bit of its surroundings changed, or its time by the chain's clock has come.
    pub(super) fn surroundings(&mut self) {
        let seen = (
            self.now - self.memory.seen_at <= self.stale_after(),
            self.is_explained(&self.until, self.disk.has_gaps),
            self.adapter.instance,
        );
        let (balance, reserve) = (self.balance(), self.reserve());
        let memory = &mut self.memory;
        let known = (memory.is_fresh, memory.is_explained, memory.instance);
        let has_changed = memory.affords_new.look(balance, reserve) || seen != known;
        (memory.is_fresh, memory.is_explained, memory.instance) = seen;
        let time = self.chain.blocks.get(self.disk.blocks.len() - 1).map(|block| ChainTime::new(block.time));
        for channel in 0..self.clients.len() {
            let is_time =
                self.memory.chain_wakes[channel].is_some_and(|at| time.is_some_and(|now| now >= at));
            if has_changed || is_time {
                self.look(channel);
            }
            if !self.memory.is_up || self.violation.is_some() {
                return;
            }
        }
    }

    pub(super) fn tick(&mut self) {
        let life = self.memory.life;
        let pause = if self.is_quiet { 60_000 } else { 10_000 };
        self.after(pause, Event::Tick { life });
        let uptime = self.uptime();
        if uptime.since(self.disk.uptime).as_secs() >= 60 {
            self.disk.uptime = uptime;
        }
        self.surroundings();
    }

    pub(super) fn start(&mut self) {
        if self.memory.is_up {
            return;
        }
        let count = self.clients.len();
        self.memory.is_up = true;
        self.memory.life += 1;
        self.memory.started = (self.now, self.disk.uptime);
        self.memory.is_fresh = false;
        self.memory.seen_at = 0;
        self.memory.queue.clear();
        self.memory.wakes = vec![None; count];
        self.memory.chain_wakes = vec![None; count];
        self.memory.calls = vec![None; count];
        self.memory.views = vec![None; count];
        self.memory.instance = self.adapter.instance;
        let life = self.memory.life;
        self.after(10_000, Event::Tick { life });
        self.after(1_000, Event::Deliver { life });
        for channel in 0..count {
            if self.memory.is_up {
                self.look(channel);
            }
        }
    }

    /// The machine sleeps. Its processes do nothing, and their uptime stands still.
    pub(super) fn sleep(&mut self, pause: u64) {
        if !self.memory.is_up {
            return;
        }
        let (life, uptime) = (self.memory.life, self.uptime());
        self.memory.is_up = false;
        self.until.trouble = self.until.trouble.max(self.now + pause + 60_000);
        self.after(pause, Event::Awake { life, uptime });
    }

    /// Everything goes on where it was. The connections are new: whatever the adapter was asked, it is asked again.
    pub(super) fn awake(&mut self, life: u64, uptime: Uptime) {
        if self.memory.is_up || self.memory.life != life {
            return;
        }
        self.memory.is_up = true;
        self.memory.life += 1;
        self.memory.started = (self.now, uptime);
        self.memory.calls.fill(None);
        let life = self.memory.life;
        self.after(10_000, Event::Tick { life });
        self.after(1_000, Event::Deliver { life });
        if !self.memory.queue.is_empty() {
            self.after(10, Event::Write { life });
        }
        self.surroundings();
        for channel in 0..self.clients.len() {
            if self.memory.is_up {
                self.memory.wakes[channel] = None;
                self.look(channel);
            }
        }
    }

    /// What the account holds, and what it keeps for closes.
    fn balance(&self) -> Wei {
        let closes =
            self.scenario.world.ether.map_or(u128::MAX, |closes| u128::from(closes) * GAS * EVERYDAY);
        Wei::new(if self.has_ether() { closes } else { 0 })
    }

    fn reserve(&self) -> Reserve {
        let open = self.disk.channels.iter().filter(|stored| stored.state.chain.phase().is_open()).count();
        Reserve { open: open as u64, close_cost: Wei::new(GAS * self.price()) }
    }

    /// Whether the process dies here.
    pub(super) fn dies(&mut self) -> bool {
        match &mut self.crash {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    pub(super) fn die(&mut self) {
        let down = self.delays.pick(&[5_000, 30_000, 30_000, 120_000, 600_000]);
        self.die_for(down);
    }

    pub(super) fn die_for(&mut self, down: u64) {
        self.crash = None;
        self.memory.is_up = false;
        self.until.trouble = self.until.trouble.max(self.now + down + 60_000);
        self.after(down, Event::Start);
    }
}

/// The number of the transaction whose cancellation is reported, if that is the input.
pub(super) const fn cancelled<P: Party>(input: &Input<P>) -> Option<u32> {
    match input {
        Input::Tx { seq, fate: Fate::Cancelled, .. } => Some(*seq),
        _ => None,
    }
}

/// Fills in which blocks the monitor has processed; whether one of them was not known before.
pub(super) fn see<'s>(
    mined: impl Iterator<Item = (BlockRef, &'s mut bool)>,
    is_processed: impl Fn(BlockRef) -> bool,
) -> bool {
    let mut is_new = false;
    for (block, seen) in mined {
        let was_seen = std::mem::replace(seen, is_processed(block));
        is_new |= *seen && !was_seen;
    }
    is_new
}

/// A block's number as its place in a list.
pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
