//! What must hold for a client that decides by `market`, and for a pair of it and an honest agent.

use std::time::Duration;

use privatix_billing::{Billing, Measure, covered, due, price};
use privatix_channel::{Amount, ChannelEvent, Closure, Phase, Usage};
use privatix_market::{
    AccessStatus, Client, ClientEnd, ClientPurpose, ClientState, ClockSkew, Effect, Ended, Env, Flight,
    Input, OrderId, Owner, Party as _, Stage,
};

use crate::buyer::Buyer;
use crate::check::Ledger;
use crate::report::Rule;
use crate::scenario::{Kind, amount};
use crate::sim::Sim;

/// What a close request must admit at least: what this side's meter shows, unless nothing more is paid on this channel, or its key
/// fails.
fn owed(state: &ClientState) -> Amount {
    let own = &state.own;
    let is_asking =
        |flight: &&Flight<ClientPurpose>| matches!(flight.purpose, ClientPurpose::RequestClose { .. });
    let is_paid = own.access == AccessStatus::Here && own.signer.tries == 0 && own.floor.is_none();
    let is_first = own.flights.iter().filter(is_asking).count() == 1;
    match (own.ending.map(|ending| ending.why), state.terms.as_deref()) {
        (Some(ClientEnd::NotOpened(_) | ClientEnd::AgentClaimsMore | ClientEnd::KeyUsedElsewhere), _)
        | (_, None) => Amount::ZERO,
        (_, Some(terms)) if is_paid && is_first => due(terms, state.meter.used, state.chain.deposit),
        _ => Amount::ZERO,
    }
}

impl Sim<'_> {
    /// A voucher that is to be signed: more than before, within the deposit, and within what was used and is agreed.
    pub(crate) fn check_sign(&mut self, channel: usize, buyer: &Buyer, due: Amount, state: &ClientState) {
        let before = buyer.signed;
        let held = self.disk.channels[channel].state.book.best;
        let is_proved =
            self.speaks_2(channel) && !self.is_rogue(channel) && !self.ledgers[channel].is_replayed;
        let wrong = if due <= before {
            Some(format!("the client signs {due} after {before}"))
        } else if is_proved && due <= held {
            Some(format!("the client signs {due}, and its agent holds {held}"))
        } else if due > state.chain.deposit {
            Some(format!("the client signs {due} above its deposit of {}", state.chain.deposit))
        } else if due > self.payable(channel, buyer) {
            let used = self.adapter.services[channel].used;
            Some(format!("the client signs {due}, and {used} was used"))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.violate(Some(channel), Rule::Invariant(2), &wrong);
        }
        let stands = self.chain.channel(channel).is_some_and(|held| held.challenge_ends_at.is_some());
        let is_known =
            |flight: &Flight<ClientPurpose>| matches!(flight.purpose, ClientPurpose::RequestClose { .. });
        let knows = state.chain.phase() != Phase::Open || state.own.flights.iter().any(is_known);
        if knows || !stands {
            self.ledgers[channel].signed_knowing = due;
        }
    }

    /// The most that a client may have paid for what it used.
    fn payable(&self, channel: usize, buyer: &Buyer) -> Amount {
        let used = self.adapter.services[channel].used;
        let ahead = match self.terms.billing() {
            Billing::Prepaid => self.terms.interval().get(),
            Billing::Postpaid => 0,
        };
        // A session that was reported counts as running for a while without another report.
        let unreported = match (self.terms.unit().measure, buyer.reported.1) {
            (Measure::Seconds, true) => {
                let believed = Duration::from_millis(self.now - buyer.reported_at);
                believed.min(self.client_policy.report_within).as_secs() + 1
            }
            _ => 0,
        };
        let tolerated = if self.speaks_2(channel) {
            // A restored one takes for used what it has signed for: an interval ahead, one tolerance, and what it believed of a session.
            let times = buyer.restores + 1;
            let tolerance =
                self.client_policy.billing.drift.tolerance(&self.terms, Usage::new(used + unreported));
            let tolerance = tolerance.get();
            let believed = match self.terms.unit().measure {
                Measure::Seconds => self.client_policy.report_within.as_secs() + 1,
                _ => 0,
            };
            tolerance * times + (ahead + believed + 1) * buyer.restores
        } else {
            0
        };
        price(&self.terms, Usage::new(used + ahead + unreported + tolerated))
    }

    /// What is adopted was signed here, in a database that is lost.
    pub(crate) fn check_adopted(&mut self, channel: usize, adopted: Amount) {
        if !self.clients[channel].signed.contains(&adopted) {
            let what = format!("the client adopts {adopted}, which it never signed");
            self.violate(Some(channel), Rule::Invariant(8), &what);
        }
        if !self.ledgers[channel].was_restored_at_client {
            let what = format!("the client adopts {adopted}, and its database was never lost");
            self.violate(Some(channel), Rule::Invariant(2), &what);
        }
    }

    /// Nothing is sent that is not stored.
    pub(crate) fn check_send(&mut self, channel: usize, buyer: &mut Buyer, cumulative: Amount) {
        buyer.ledger.sent = buyer.ledger.sent.max(cumulative);
        let stored = buyer.state.book.best;
        let recovery = buyer.recovery(buyer.uptime(self.now));
        let is_proven = recovery.is_none() || buyer.state.own.proven_in == recovery;
        let is_lost = buyer.state.own.behind;
        if cumulative <= buyer.state.book.acknowledged && is_proven && !is_lost {
            let what = format!("the client sends {cumulative} again, which its agent has acknowledged");
            self.violate(Some(channel), Rule::Invariant(3), &what);
        }
        if cumulative > stored {
            let what = format!("the client sends {cumulative}, and {stored} is stored");
            self.violate(Some(channel), Rule::Invariant(2), &what);
        }
    }

    pub(crate) fn check_buyer_submit(
        &mut self,
        channel: usize,
        buyer: &mut Buyer,
        (seq, purpose): (u32, ClientPurpose),
        state: &ClientState,
    ) {
        buyer.ledger.submitted += 1;
        let most = 16 + 6 * self.scenario.steps.len() as u64 + 2 * buyer.last_order;
        let sent = buyer.ledger.sent.min(state.chain.deposit);
        let payable = self.payable(channel, buyer).max(state.book.best).max(state.chain.paid);
        if let ClientPurpose::RequestClose { admitted } = purpose {
            buyer.ledger.admitted = buyer.ledger.admitted.max(admitted);
        }
        let wrong = if buyer.ledger.submitted > most {
            Some((3, format!("{most} transactions of one client")))
        } else if buyer.transactor.find(channel, seq).is_some() {
            Some((3, format!("the client uses number {seq} twice")))
        } else if matches!(state.chain.phase(), Phase::Closed { .. }) {
            Some((3, "a client's transaction for a channel that is closed".to_owned()))
        } else {
            match purpose {
                ClientPurpose::RequestClose { admitted } if admitted < sent => {
                    Some((2, format!("the client admits {admitted}, and has sent {sent}")))
                }
                ClientPurpose::RequestClose { admitted } if admitted > payable => {
                    Some((2, format!("the client admits {admitted}, and {payable} is signed or used")))
                }
                ClientPurpose::RequestClose { admitted } if admitted < owed(state) => {
                    Some((2, format!("the client admits {admitted}, and its meter shows {}", owed(state))))
                }
                _ => None,
            }
        };
        if let Some((number, wrong)) = wrong {
            self.violate(Some(channel), Rule::Invariant(number), &wrong);
        }
    }

    /// Without an order, no channel that may be open ends as one that was not opened.
    pub(crate) fn check_not_opened(&mut self, channel: usize, state: &ClientState, env: &Env<'_, Client>) {
        if !matches!(state.own.ending, Some(Ended { why: ClientEnd::NotOpened(_), .. })) {
            return;
        }
        if state.chain.phase() != Phase::Unopened {
            self.violate(
                Some(channel),
                Rule::Invariant(4),
                "the client gives up a channel that it sees open",
            );
        }
        // Its buyers accept their channels before the first backup.
        if env.recovery.is_some() && !env.chain.fresh {
            let what = "a restored client gives a channel up before it has seen the chain";
            self.violate(Some(channel), Rule::Invariant(4), what);
        }
    }

    /// Top-ups go out one after the other: the money of the second is there once the first has left.
    pub(crate) fn check_fund(&mut self, channel: usize, seq: u32, state: &ClientState) {
        let waits = |flight: &&Flight<ClientPurpose>| {
            flight.purpose.is_top_up() && flight.seq != seq && flight.stage.is_under_way()
        };
        if let Some(other) = state.own.flights.iter().find(waits) {
            let what = format!("the client provides the money of {seq} beside that of {}", other.seq);
            self.violate(Some(channel), Rule::Invariant(3), &what);
        }
    }

    /// No money is locked while the clock contradicts the chain.
    pub(crate) fn check_clock(&mut self, channel: usize, buyer: &Buyer) {
        if buyer.is_fresh && buyer.wall.unsigned_abs() > ClockSkew::MOST.as_secs() {
            let what =
                format!("the client locks money, and its clock is {} s ahead of the chain", buyer.wall);
            self.violate(Some(channel), Rule::Invariant(8), &what);
        }
    }

    /// After each commit: what the client has stored.
    pub(crate) fn check_buyer(&mut self, channel: usize, buyer: &mut Buyer) {
        let (book, own) = (buyer.state.book, &buyer.state.own);
        let signed = buyer.signed;
        // Once its recovery is over, or it has signed again, it believes what its database shows.
        let is_excused = buyer.recovers.is_some() && buyer.kept_open(buyer.uptime(self.now)).is_none();
        let mut wrong = self.unconfirmed(&buyer.logs, &buyer.state.chain).map(|what| (5, what));
        if book.best != signed {
            wrong = Some((2, format!("the client has stored {}, and signed {signed}", book.best)));
        }
        if book.acknowledged > book.best {
            wrong = Some((2, format!("{} is acknowledged of the {} signed", book.acknowledged, book.best)));
        }
        if own.signing.is_some() {
            wrong = Some((2, "a signature is not reported".to_owned()));
        }
        if own.flights.len() > 64 {
            wrong = Some((9, format!("{} flights of the client", own.flights.len())));
        }
        let mut waiting = 0;
        for alive in buyer.transactor.alive(channel) {
            let flight = own.flights.iter().find(|flight| flight.seq == alive.row.seq);
            if flight.is_none() {
                wrong = Some((4, format!("the client's transaction {} is nobody's", alive.row.seq)));
            }
            // What a reorganisation has just brought back, the node does not know yet.
            let is_sent = flight.is_some_and(|flight| matches!(flight.stage, Stage::Sent { .. }));
            waiting +=
                u32::from(alive.waits && is_sent && !alive.is_cancelling && alive.row.purpose.closes());
        }
        if waiting > 1 {
            wrong = Some((3, format!("{waiting} of the client's close requests wait beside each other")));
        }
        for flight in own.flights.iter().filter(|flight| flight.stage == Stage::Funding) {
            if !buyer.funding.iter().any(|(seq, _)| *seq == flight.seq) {
                wrong = Some((4, format!("nobody provides the money of {}", flight.seq)));
            }
        }
        let ends_by = |why| own.ending.is_some_and(|ending| ending.why == why);
        let was_restored = self.ledgers[channel].was_restored_at_client;
        if ends_by(ClientEnd::KeyUsedElsewhere) && !was_restored && !self.is_rogue(channel) {
            wrong = Some((7, "a client takes its own signature for somebody else's".to_owned()));
        }
        // Where both have lost what they knew, the chain alone explains a claim, and endpoints may hide that.
        let is_excused = is_excused || (was_restored && self.ledgers[channel].was_restored);
        let ends_badly = ends_by(ClientEnd::AgentClaimsMore);
        if ends_badly && !is_excused && !self.is_rogue(channel) && !self.ledgers[channel].is_forged {
            wrong = Some((7, "an honest agent claims more than was signed".to_owned()));
        }
        if let Some((number, wrong)) = wrong {
            self.violate(Some(channel), Rule::Invariant(number), &wrong);
        }
    }

    /// The same surroundings again change nothing.
    pub(crate) fn check_buyer_again(&mut self, channel: usize, state: &ClientState, env: &Env<'_, Client>) {
        let Ok(again) = Client::decide(state, &Input::Look, env) else { return };
        if let Some(effect) = again.effects.first() {
            let what = match effect {
                Effect::Notify(notice) => format!("the client is shown twice: {notice:?}"),
                effect => format!("the client does not do at once: {effect:?}"),
            };
            self.violate(Some(channel), Rule::Invariant(3), &what);
        }
    }

    pub(crate) fn check_buyer_owners(&mut self, channel: usize, state: &ClientState, owners: &[Owner]) {
        let is_final = !state.chain.phase().is_open() && state.own.flights.is_empty();
        if owners.is_empty() && !is_final {
            self.violate(Some(channel), Rule::Invariant(9), "nobody moves the client's state on");
        }
    }

    pub(crate) fn check_buyer_busy(&mut self, channel: usize, buyer: &mut Buyer) {
        let uptime = buyer.uptime(self.now).milliseconds();
        let wakes = &mut buyer.ledger.wakes;
        if uptime > wakes.0 + 1_000 || uptime < wakes.0 {
            *wakes = (uptime, 0);
        }
        wakes.1 += 1;
        if wakes.1 > 40 {
            let what = "the client looks again and again, and nothing changes";
            self.violate(Some(channel), Rule::Invariant(9), what);
        }
    }

    /// A close request admits all that was signed, so that an honest pair has no dispute.
    pub(crate) fn check_requested_by_buyer(&mut self, channel: usize, paid: Amount) {
        if self.buyers[channel].is_none() || self.ledgers[channel].was_restored_at_client {
            return;
        }
        let deposit = self.chain.channel(channel).map_or(Amount::ZERO, |held| held.deposit);
        let unpaid = self.clients[channel].best().min(deposit).saturating_sub(paid);
        if !unpaid.is_zero() {
            let what = format!("a close request pays {paid}, and leaves {unpaid} that the client signed");
            self.violate(Some(channel), Rule::Invariant(7), &what);
        }
    }

    /// A client that has admitted all that it sent leaves its agent nothing to claim.
    pub(crate) fn check_closed_by_buyer(&mut self, channel: usize, event: &ChannelEvent) {
        let ChannelEvent::Closed { paid, closure, .. } = *event else { return };
        let was_restored = self.ledgers[channel].was_restored_at_client;
        if self.buyers[channel].is_none() || self.is_rogue(channel) || was_restored {
            return;
        }
        let deposit = self.chain.channel(channel).map_or(Amount::ZERO, |held| held.deposit);
        let admissible =
            self.disk.channels[channel].state.book.best.min(self.ledgers[channel].signed_knowing);
        let claimable = admissible.min(deposit).saturating_sub(paid);
        if matches!(closure, Closure::ByClient | Closure::ByClientDisputed) && !claimable.is_zero() {
            let what = format!("an honest client closes, and leaves {claimable} unpaid that it sent");
            self.violate(Some(channel), Rule::Invariant(7), &what);
        }
    }

    /// All is final: what a client paid is what it used and signed.
    pub(crate) fn check_end_of_buyer(&mut self, channel: usize) {
        let Some(buyer) = &self.buyers[channel] else { return };
        let Some(held) = self.chain.channel(channel) else { return };
        // What was used and not signed is admitted by a client that does not know whether it has signed it.
        let signed = self.clients[channel].best().max(buyer.ledger.admitted);
        let deposit = amount(self.scenario.world.deposit).saturating_add(buyer.ledger.added);
        let mut wrong = None;
        if held.paid > signed {
            wrong = Some((2, format!("{} is paid, and {signed} was signed", held.paid)));
        }
        if !buyer.orders.is_empty() {
            wrong = Some((9, format!("orders without an outcome: {:?}", buyer.orders)));
        }
        let mut carried_out: Vec<u64> = Vec::new();
        for purpose in buyer.transactor.carried_out(channel) {
            let ClientPurpose::TopUp { order: OrderId(order), .. } = purpose else { continue };
            // A copy that nobody noted repeats what it holds as not done.
            if carried_out.contains(&order) && !buyer.is_unnoted {
                wrong = Some((3, format!("order {order} is carried out twice")));
            }
            carried_out.push(order);
        }
        let Ledger { was_restored, was_restored_at_client, was_undone, .. } = self.ledgers[channel];
        // An order counts as carried out that was believed to be.
        let is_believed = buyer.transactor.has_believed && held.deposit < deposit;
        if held.deposit != deposit && !was_undone && !was_restored_at_client && !is_believed {
            wrong = Some((3, format!("{} is deposited, and {deposit} was ordered", held.deposit)));
        }
        let budget = self.scenario.world.budget.map_or(Amount::MAX, amount);
        if held.deposit > budget && !was_undone && !was_restored_at_client {
            wrong = Some((8, format!("{} is deposited, and {budget} may be spent", held.deposit)));
        }
        let is_bound = !was_restored && !was_restored_at_client;
        if self.scenario.world.clients[channel] == Kind::Buyer && is_bound {
            // What is unpaid in the end: the lag, what a report does not show yet, and one payment that came too late.
            let used =
                Usage::new(self.adapter.services[channel].used).min(covered(&self.terms, held.deposit));
            let portion = self.terms.max_lag().saturating_add(self.terms.interval());
            let most = covered(&self.terms, held.paid).saturating_add(portion).saturating_add(Usage::new(2));
            if used > most {
                let what = format!("{} was used, and {} is paid", used.get(), held.paid);
                wrong = Some((7, what));
            }
        }
        if let Some((number, wrong)) = wrong {
            self.violate(Some(channel), Rule::Invariant(number), &wrong);
        }
    }
}
