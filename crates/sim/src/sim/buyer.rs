//! The clients' nodes: commits, wakes, the chain as they see it, starts and crashes.

use std::sync::Arc;

use privatix_channel::{ChainTime, OnChain};
use privatix_market::{
    Blocked, Client, ClientEffect, ClientMessage, ClientOrder, ClientPurpose, ClientReport, ClientState,
    Effect, Env, Fate, Flight, Input, Opening, Owner, Party as _, Stage, Trouble, Turn, Uptime, Verified,
};

use super::shell::{cancelled, index, see};
use super::{BuyerEvent, Event, Sim, variant};
use crate::buyer::{Buyer, BuyerParts};
use crate::choice::Dice;
use crate::node::Tags;
use crate::report::Rule;
use crate::scenario::{Kind, amount, fee};
use crate::transactor::{CancelOutcome, Row};

impl Sim<'_> {
    /// The client that decides by `market`, if this channel has one.
    pub(super) fn new_buyer(&mut self, channel: usize, kind: Kind) -> Option<Box<Buyer>> {
        if !matches!(kind, Kind::Buyer | Kind::Cheated) {
            return None;
        }
        let world = &self.scenario.world;
        let (id, descriptor) = self.chain.channels[channel];
        let to_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let opening =
            Opening { terms: Arc::clone(&self.terms), deposit: amount(world.deposit), fee: fee(world.fee) };
        let parts = BuyerParts {
            id,
            descriptor,
            opening: &opening,
            policy: &self.client_policy,
            depths: (to_usize(world.confirmations), to_usize(world.final_depth)),
            first: self.chain.blocks[0].hash,
            duration: world.duration * 1_000,
            budget: world.budget.map(amount),
        };
        match Buyer::new(parts, Dice::new(self.scenario.seed, 200 + channel as u64)) {
            Ok(buyer) => Some(Box::new(buyer)),
            Err(refused) => {
                self.refused.insert(variant(&format!("{refused:?}")).to_owned());
                None
            }
        }
    }

    /// Whether the channel's agent is a script.
    pub(crate) fn is_rogue(&self, channel: usize) -> bool {
        self.scenario.world.clients[channel] == Kind::Cheated
    }

    /// Does something with a client's node.
    pub(super) fn with_buyer(&mut self, channel: usize, what: impl FnOnce(&mut Self, &mut Buyer)) {
        if let Some(mut buyer) = self.buyers[channel].take() {
            what(self, &mut buyer);
            self.buyers[channel] = Some(buyer);
        }
    }

    pub(super) fn buyer_event(&mut self, channel: usize, what: BuyerEvent) {
        self.with_buyer(channel, |sim, buyer| {
            let (is_up, life) = (buyer.is_up, buyer.life);
            let is_alive = |of: u64| is_up && of == life;
            match what {
                BuyerEvent::Start => sim.start_buyer(channel, buyer),
                BuyerEvent::Awake { life, uptime } => sim.buyer_wakes(channel, buyer, life, uptime),
                BuyerEvent::Deliver { life } if is_alive(life) => sim.deliver_to_buyer(channel, buyer),
                BuyerEvent::Wake { life } if is_alive(life) => sim.wake_buyer(channel, buyer),
                BuyerEvent::Tick { life } if is_alive(life) => sim.tick_buyer(channel, buyer),
                BuyerEvent::Message { life, until, message } if is_alive(life) => {
                    // Later nobody listens any more.
                    if sim.now <= until && sim.now >= buyer.until.offline {
                        sim.buyer_input(channel, buyer, |_| (), Input::Peer(message));
                    }
                }
                BuyerEvent::Deliver { .. }
                | BuyerEvent::Wake { .. }
                | BuyerEvent::Tick { .. }
                | BuyerEvent::Message { .. } => {}
                BuyerEvent::Funded { seq } => sim.funded(channel, buyer, seq),
                BuyerEvent::Report => sim.report_of_buyer(channel, buyer),
                BuyerEvent::Call { call, instance, target, outcome } => {
                    sim.finish_buyer_call(channel, buyer, (call, instance, target, outcome));
                }
            }
        });
    }

    pub(super) fn client_env<'e>(
        &self,
        buyer: &Buyer,
        policy: &'e privatix_market::ClientPolicy,
    ) -> Env<'e, Client> {
        let mut env = Env::new(buyer.uptime(self.now), policy);
        let seen = self.chain.blocks.get(buyer.blocks.len() - 1);
        env.chain.now = seen.map(|block| ChainTime::new(block.time));
        (env.chain.fresh, env.chain.skew) = (buyer.is_fresh, buyer.skew(self.now));
        env.chain.explained = buyer.is_explained;
        env.chain.challenge = self.scenario.world.challenge();
        (env.instance, env.run) = (buyer.instance, buyer.run);
        env.reachable = buyer.is_reachable;
        env.next_order = buyer.next_order();
        env.budget.overall =
            self.scenario.world.budget.map(|budget| amount(budget).saturating_sub(buyer.reserved));
        (env.recovery, env.kept_open) = (buyer.recovery(env.uptime), buyer.kept_open(env.uptime));
        env
    }

    /// What is stored, as the node loads it.
    pub(super) fn load_buyer(buyer: &Buyer) -> ClientState {
        let mut state = buyer.state.clone();
        state.own.signing = None;
        see(state.mined(), |block| buyer.blocks.get(index(block.number)) == Some(&block.hash));
        state
    }

    /// One commit, as the agent's. Whether it was made.
    pub(super) fn buyer_input(
        &mut self,
        channel: usize,
        buyer: &mut Buyer,
        facts: impl FnOnce(&mut Buyer),
        input: Input<Client>,
    ) -> bool {
        if self.now < buyer.until.full {
            // It looks at its channel once more in a while.
            let life = buyer.life;
            buyer.wake = Some(Uptime::new(buyer.uptime(self.now).milliseconds() + 5_000));
            self.after(5_000, Event::Buyer { channel, what: BuyerEvent::Wake { life } });
            return false;
        }
        if dies(buyer) {
            self.buyer_dies(channel, buyer);
            return false;
        }
        facts(buyer);
        let policy = std::mem::take(&mut self.client_policy);
        let outgoing = self.decide_buyer(channel, buyer, input, &policy);
        self.check_buyer(channel, buyer);
        if dies(buyer) {
            self.client_policy = policy;
            self.buyer_dies(channel, buyer);
            return true;
        }
        let (env, state) = (self.client_env(buyer, &policy), Self::load_buyer(buyer));
        let owners = Client::owners(&state, &env);
        self.client_policy = policy;
        self.check_buyer_owners(channel, &state, &owners);
        let at = owners.iter().filter_map(Owner::uptime).min();
        buyer.chain_wake = owners.iter().filter_map(Owner::chain_time).min();
        if buyer.wake != at {
            buyer.wake = at;
            if let Some(at) = at {
                let pause = at.milliseconds().saturating_sub(buyer.uptime(self.now).milliseconds()).max(1);
                self.after(pause, Event::Buyer { channel, what: BuyerEvent::Wake { life: buyer.life } });
            }
        }
        let asked_for = buyer.call.map(|(_, seq)| seq);
        match state.own.service.asked {
            Some(asked) if asked_for != Some(asked.seq) => {
                self.drive_buyer(channel, buyer, asked.seq, asked.target);
            }
            None => buyer.call = None,
            Some(_) => {}
        }
        buyer.transactor.send(self.head(&buyer.until), self.price());
        for effect in outgoing {
            self.send_of_buyer(channel, buyer, effect);
        }
        true
    }

    fn decide_buyer(
        &mut self,
        channel: usize,
        buyer: &mut Buyer,
        input: Input<Client>,
        policy: &privatix_market::ClientPolicy,
    ) -> Vec<ClientEffect> {
        let state = Self::load_buyer(buyer);
        let env = self.client_env(buyer, policy);
        let before = (!matches!(input, Input::Used { .. })).then(|| Client::used(&state, &env));
        let was_parked = matches!(state.own.blocked, Some(Blocked::Parked { .. }));
        let cancelled = cancelled(&input);
        let mut turn = Turn::new(state);
        let mut outgoing = Vec::new();
        let mut shown = self.rows.is_some().then(|| format!("{input:?}"));
        let is_order = matches!(input, Input::Order(_));
        turn.push(input);
        // Each order that the node gives itself takes a number, so the surroundings are read for each decision.
        // What is refused is not decided about: what time alone has made due follows with the wake for it.
        let mut was_refused = false;
        loop {
            let before = turn.state().own.last_order;
            let had_ended = turn.state().own.ending.is_some();
            let env = self.client_env(buyer, policy);
            let Some(decided) = turn.next(&env) else { break };
            self.counts.decisions += 1;
            was_refused = decided.is_err();
            if let Err(refused) = &decided {
                self.refused.insert(variant(&format!("{refused:?}")).to_owned());
            }
            let effects = decided.unwrap_or_default();
            if let Some(shown) = shown.take() {
                self.note_buyer(channel, &shown, &effects, turn.state());
            }
            if !is_order && !had_ended {
                self.check_not_opened(channel, turn.state(), &env);
            }
            let after = turn.state().own.last_order;
            if let Some(order) = after.filter(|_| after != before) {
                buyer.last_order = buyer.last_order.max(order.0);
                buyer.orders.insert(order.0);
            }
            for effect in effects {
                match effect {
                    Effect::Submit { seq, purpose, bid } => {
                        self.check_buyer_submit(channel, buyer, (seq, purpose), turn.state());
                        buyer.transactor.submit(vec![Row { channel, seq, purpose }], false, bid);
                    }
                    Effect::Cancel { seq } => {
                        if let Some(input) = self.cancel_of_buyer(channel, buyer, seq) {
                            shown = self.rows.is_some().then(|| format!("{input:?}"));
                            turn.push(input);
                        }
                    }
                    Effect::Own(ClientEffect::Fund { seq, purpose }) => {
                        self.check_fund(channel, seq, turn.state());
                        self.check_clock(channel, buyer);
                        buyer.funding.push((seq, purpose));
                        let pause = self.delays.between(10, 20_000);
                        self.after(pause, Event::Buyer { channel, what: BuyerEvent::Funded { seq } });
                    }
                    Effect::Own(ClientEffect::Sign(due)) => {
                        self.check_sign(channel, buyer, due, turn.state());
                        let signed = if self.now < buyer.until.no_key {
                            Err(Trouble::Key)
                        } else {
                            let (id, descriptor) = self.chain.channels[channel];
                            let voucher = (id, due, descriptor.signer);
                            Verified::check(&Tags(descriptor.signer), &voucher).map_err(|_| Trouble::Key)
                        };
                        if signed.is_ok() {
                            buyer.signed = due;
                            self.clients[channel].signed.push(due);
                        }
                        let input = Input::Report(ClientReport::Signed(signed));
                        shown = self.rows.is_some().then(|| format!("{input:?}"));
                        turn.push(input);
                    }
                    Effect::Own(ClientEffect::Adopt(voucher)) => {
                        self.check_adopted(channel, voucher.cumulative());
                        buyer.signed = voucher.cumulative();
                        turn.push(Input::Look);
                    }
                    Effect::Own(ClientEffect::TakeOrder { order, amount, .. }) => {
                        buyer.reserve(order, amount);
                    }
                    Effect::Own(ClientEffect::EndOrder { order, outcome }) => {
                        buyer.release(order, outcome);
                        self.order_ended(channel, buyer, order, outcome);
                    }
                    Effect::Own(effect) => outgoing.push(effect),
                    Effect::Notify(notice) => self.shown(&format!("{notice:?}")),
                    Effect::Drive { .. } => {}
                    other => self.violate(
                        Some(channel),
                        Rule::Invariant(3),
                        &format!("an effect that nobody carries out: {other:?}"),
                    ),
                }
            }
            if see(turn.mined(), |block| buyer.blocks.get(index(block.number)) == Some(&block.hash)) {
                turn.push(Input::Look);
            }
        }
        let state = turn.into_state();
        let env = self.client_env(buyer, policy);
        self.check_used(channel, before, Client::used(&state, &env));
        if matches!(state.own.blocked, Some(Blocked::Parked { .. })) && !was_parked {
            self.check_parked(channel, cancelled, &buyer.ledger.cancelled);
        }
        if !was_refused {
            self.check_buyer_again(channel, &state, &env);
        }
        buyer.state = state;
        outgoing
    }

    fn cancel_of_buyer(&mut self, channel: usize, buyer: &mut Buyer, seq: u32) -> Option<Input<Client>> {
        if let Some(place) = buyer.funding.iter().position(|(of, _)| *of == seq) {
            buyer.funding.remove(place);
            return None;
        }
        if buyer.dropped.iter().any(|(of, _)| *of == seq) {
            return None; // the recovery has removed its job
        }
        let Some(id) = buyer.transactor.find(channel, seq) else {
            let what = format!("the client cancels {seq}, which does not exist");
            self.violate(Some(channel), Rule::Invariant(3), &what);
            return None;
        };
        let row = *buyer.transactor.intents[id].rows.first()?;
        match buyer.transactor.cancel(id) {
            CancelOutcome::Done => Some(Input::Tx { seq, purpose: row.purpose, fate: Fate::Cancelled }),
            CancelOutcome::Requested | CancelOutcome::NotOpen => None,
        }
    }

    /// A job has looked for the money of a transaction.
    fn funded(&mut self, channel: usize, buyer: &mut Buyer, seq: u32) {
        let Some(&(_, purpose)) = buyer.funding.iter().find(|(of, _)| *of == seq) else { return };
        // Without ether, or while the process is down, the job waits.
        if !buyer.is_up || self.now < buyer.until.no_ether {
            return self.after(30_000, Event::Buyer { channel, what: BuyerEvent::Funded { seq } });
        }
        let fails = !self.is_quiet && self.delays.chance(4);
        let fate = if fails { Fate::Unfunded(Trouble::Funds) } else { Fate::Funded };
        let done = |buyer: &mut Buyer| buyer.funding.retain(|(of, _)| *of != seq);
        if !self.buyer_input(channel, buyer, done, Input::Tx { seq, purpose, fate }) {
            self.after(30_000, Event::Buyer { channel, what: BuyerEvent::Funded { seq } });
        }
    }

    fn deliver_to_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        if self.now < buyer.until.stale {
            return;
        }
        buyer.seen_at = self.seen_at(&buyer.until);
        // They do not wait for each other.
        let is_transactor_first = self.views.chance(20);
        if is_transactor_first {
            self.transact_of_buyer(channel, buyer);
        }
        if buyer.is_up {
            self.monitor_of_buyer(channel, buyer);
        }
        if !is_transactor_first {
            self.transact_of_buyer(channel, buyer);
        }
        if buyer.is_up {
            self.surroundings_of_buyer(channel, buyer);
        }
    }

    /// Its transactor sends what waits, and reports what became of the rest.
    fn transact_of_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let (head, lies) = (self.head(&buyer.until), self.now < buyer.until.lie);
        if buyer.is_up {
            buyer.transactor.hear(&self.chain, head, lies, &mut self.views);
            buyer.transactor.send(head, self.price());
        }
        while buyer.is_up && self.violation.is_none() && self.now >= buyer.until.full {
            let Some((id, fate)) = buyer.transactor.next_fate(head, lies) else { break };
            self.fate_of_buyer(channel, buyer, id, fate);
        }
    }

    pub(super) fn fate_of_buyer(&mut self, channel: usize, buyer: &mut Buyer, id: usize, fate: Fate) {
        let Some(&Row { seq, purpose, .. }) = buyer.transactor.intents[id].rows.first() else { return };
        let reported = |buyer: &mut Buyer| buyer.transactor.reported(id, fate);
        self.buyer_input(channel, buyer, reported, Input::Tx { seq, purpose, fate });
    }

    fn monitor_of_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let confirmations = usize::try_from(self.scenario.world.confirmations).unwrap_or(0);
        let last = self.head(&buyer.until).saturating_sub(confirmations);
        let mut common = buyer.blocks.len();
        while common > 1 && self.chain.hash(common - 1) != Some(buyer.blocks[common - 1]) {
            common -= 1;
        }
        let hides = self.hides(&buyer.until);
        let searches = buyer.has_gaps && !hides;
        if searches {
            common = 1;
        }
        let is_rollback = common < buyer.blocks.len();
        if !is_rollback && common > last {
            return;
        }
        let new = || self.chain.blocks.iter().take(last + 1).skip(common);
        let hashes: Vec<_> = new().map(|block| block.hash).collect();
        let is_kept = |(at, _): &(privatix_channel::LogPosition, _)| at.block < common as u64;
        let is_ours = |(of, ..): &&(usize, _, _)| *of == channel;
        let mut is_touched = !buyer.logs.iter().all(is_kept);
        let is_new = new().any(|block| block.logs.iter().any(|log| is_ours(&log)));
        is_touched |= is_new && !hides;
        let has_gaps = (buyer.has_gaps && !searches) || (is_new && hides);
        let is_mined =
            |stage: &Stage| matches!(stage, Stage::Mined { block, .. } if block.number >= common as u64);
        is_touched |= buyer.state.own.flights.iter().any(|flight| is_mined(&flight.stage));
        if !is_touched {
            buyer.blocks.truncate(common);
            buyer.blocks.extend(hashes);
            buyer.has_gaps = has_gaps;
            return;
        }
        let mut logs: Vec<_> = buyer.logs.iter().filter(|log| is_kept(log)).copied().collect();
        for block in new().filter(|_| !hides) {
            logs.extend(block.logs.iter().filter(is_ours).map(|(_, at, event)| (*at, *event)));
        }
        let fold = OnChain::fold(logs.iter().copied());
        let facts = |buyer: &mut Buyer| {
            buyer.blocks.truncate(common);
            buyer.blocks.extend(hashes);
            (buyer.logs, buyer.has_gaps) = (logs, has_gaps);
        };
        self.buyer_input(channel, buyer, facts, Input::Chain(fold));
    }

    fn surroundings_of_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let is_fresh = self.now - buyer.seen_at <= self.stale_after();
        let is_explained = self.is_explained(&buyer.until, buyer.has_gaps);
        let is_reachable = self.now >= buyer.until.offline;
        let seen = (is_fresh, is_explained, is_reachable, buyer.adapter);
        let known = (buyer.is_fresh, buyer.is_explained, buyer.is_reachable, buyer.instance);
        (buyer.is_fresh, buyer.is_explained, buyer.is_reachable, buyer.instance) = seen;
        let clock_agrees = buyer.skew(self.now).is_none();
        let has_changed = seen != known || clock_agrees != buyer.clock_agrees;
        buyer.clock_agrees = clock_agrees;
        let time = self.chain.blocks.get(buyer.blocks.len() - 1).map(|block| ChainTime::new(block.time));
        let is_time = buyer.chain_wake.is_some_and(|at| time.is_some_and(|now| now >= at));
        if has_changed || is_time {
            self.buyer_input(channel, buyer, |_| (), Input::Look);
        }
    }

    fn wake_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let uptime = buyer.uptime(self.now);
        if buyer.wake.is_some_and(|at| at <= uptime) {
            buyer.wake = None;
            self.check_buyer_busy(channel, buyer);
            self.buyer_input(channel, buyer, |_| (), Input::Look);
        }
    }

    fn tick_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let pause = if self.is_quiet { 60_000 } else { 20_000 };
        self.after(pause, Event::Buyer { channel, what: BuyerEvent::Tick { life: buyer.life } });
        let uptime = buyer.uptime(self.now);
        if uptime.since(buyer.uptime).as_secs() >= 60 {
            buyer.uptime = uptime;
        }
        self.surroundings_of_buyer(channel, buyer);
    }

    pub(super) fn start_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        if buyer.is_up {
            return;
        }
        buyer.is_up = true;
        buyer.life += 1;
        buyer.run += 1;
        buyer.started = (self.now, buyer.uptime);
        (buyer.is_fresh, buyer.seen_at) = (false, 0);
        (buyer.wake, buyer.chain_wake, buyer.call) = (None, None, None);
        buyer.instance = buyer.adapter;
        let life = buyer.life;
        self.after(20_000, Event::Buyer { channel, what: BuyerEvent::Tick { life } });
        self.after(1_000, Event::Buyer { channel, what: BuyerEvent::Deliver { life } });
        // In a recovery a channel with transactions that may have been mined since is looked at first, and then the jobs that provide
        // money are known to be gone.
        let is_sent = |flight: &Flight<ClientPurpose>| matches!(flight.stage, Stage::Sent { .. });
        let recovers = buyer.recovery(buyer.uptime(self.now)).is_some();
        if recovers && buyer.state.own.flights.iter().any(is_sent) {
            self.buyer_input(channel, buyer, |_| (), Input::Look);
        }
        while let Some(&(seq, purpose)) = buyer.dropped.first().filter(|_| buyer.is_up) {
            let input = Input::Tx { seq, purpose, fate: Fate::Unfunded(Trouble::Cancelled) };
            let done = |buyer: &mut Buyer| buyer.funding.retain(|(of, _)| *of != seq);
            if !self.buyer_input(channel, buyer, done, input) {
                // Killed, or nothing can be stored: the rest follows at the next start.
                if buyer.is_up {
                    self.buyer_dies(channel, buyer);
                }
                return;
            }
            buyer.dropped.retain(|(of, _)| *of != seq);
        }
        self.buyer_input(channel, buyer, |_| (), Input::Look);
    }

    /// The machine sleeps. Its processes do nothing, and their uptime stands still.
    pub(super) fn buyer_sleeps(&mut self, channel: usize, buyer: &mut Buyer, pause: u64) {
        if !buyer.is_up {
            return;
        }
        let (life, uptime) = (buyer.life, buyer.uptime(self.now));
        buyer.is_up = false;
        self.after(pause, Event::Buyer { channel, what: BuyerEvent::Awake { life, uptime } });
    }

    fn buyer_wakes(&mut self, channel: usize, buyer: &mut Buyer, life: u64, uptime: Uptime) {
        if buyer.is_up || buyer.life != life {
            return;
        }
        (buyer.is_up, buyer.call, buyer.wake) = (true, None, None);
        buyer.life += 1;
        buyer.started = (self.now, uptime);
        let life = buyer.life;
        self.after(20_000, Event::Buyer { channel, what: BuyerEvent::Tick { life } });
        self.after(1_000, Event::Buyer { channel, what: BuyerEvent::Deliver { life } });
        self.surroundings_of_buyer(channel, buyer);
        if buyer.is_up {
            self.buyer_input(channel, buyer, |_| (), Input::Look);
        }
    }

    fn buyer_dies(&mut self, channel: usize, buyer: &mut Buyer) {
        let down = self.delays.pick(&[5_000, 30_000, 30_000, 120_000, 600_000]);
        self.buyer_dies_for(channel, buyer, down);
    }

    pub(super) fn buyer_dies_for(&mut self, channel: usize, buyer: &mut Buyer, down: u64) {
        buyer.crash = None;
        buyer.is_up = false;
        self.after(down, Event::Buyer { channel, what: BuyerEvent::Start });
    }

    pub(super) fn order_of_buyer(&mut self, channel: usize, order: ClientOrder) {
        self.with_buyer(channel, |sim, buyer| {
            if buyer.is_up {
                sim.buyer_input(channel, buyer, |_| (), Input::Order(order));
            }
        });
    }

    /// Whether all is over for the client.
    pub(super) fn is_over_for_buyer(&self, channel: usize) -> bool {
        let Some(buyer) = &self.buyers[channel] else { return true };
        if !buyer.is_up {
            return false;
        }
        let env = self.client_env(buyer, &self.client_policy);
        Client::owners(&Self::load_buyer(buyer), &env).is_empty() && buyer.funding.is_empty()
    }

    /// What only its user moves on, its user closes.
    pub(super) fn attend_buyer(&mut self, channel: usize) {
        let Some(buyer) = &self.buyers[channel] else { return };
        let env = self.client_env(buyer, &self.client_policy);
        let owners = Client::owners(&Self::load_buyer(buyer), &env);
        if owners.iter().any(|owner| matches!(owner, Owner::User { .. })) {
            self.order_of_buyer(channel, ClientOrder::Close);
        }
    }

    /// The answer to a request, over the network.
    pub(super) fn reply_to_buyer(
        &mut self,
        channel: usize,
        message: ClientMessage,
        request: Option<crate::buyer::Asking>,
    ) {
        let Some(crate::buyer::Asking { life, until, .. }) = request else { return };
        if self.speaks_2(channel) {
            if self.delays.chance(95) {
                self.deliver_in_order(channel, life, until, message);
            }
            return;
        }
        let event = BuyerEvent::Message { life, until, message };
        if self.delays.chance(95) {
            let pause = self.delays.between(20, 2_000);
            self.after(pause, Event::Buyer { channel, what: event });
        }
        if self.delays.chance(4) {
            let pause = self.delays.between(20, 55_000);
            self.after(pause, Event::Buyer { channel, what: event });
        }
    }
}

/// Whether the process dies here.
fn dies(buyer: &mut Buyer) -> bool {
    match &mut buyer.crash {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}
