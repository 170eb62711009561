//! The clients: actors behind [`Client::act`], which sees what a client sees and gives its moves.

use privatix_billing::{Billing, Terms, price};
use privatix_channel::{Amount, ChainTime, Phase, Usage};

use crate::choice::Dice;
use crate::scenario::{Kind, Move};

/// What a client remembers.
#[derive(Debug)]
pub(crate) struct Client {
    kind: Kind,
    dice: Dice,
    /// Everything that it signed, in its order.
    pub(crate) signed: Vec<Amount>,
    /// The highest amount that the agent acknowledged.
    pub(crate) acknowledged: Amount,
    /// When it has had enough, in milliseconds.
    leaves: u64,
    /// Whether it leaves its close requests standing until they can be finalized.
    is_patient: bool,
}

/// What a client sees.
pub(crate) struct Seen<'a> {
    pub(crate) now: u64,
    pub(crate) phase: Phase,
    pub(crate) deposit: Amount,
    pub(crate) chain_time: ChainTime,
    pub(crate) used: Usage,
    pub(crate) runs: bool,
    pub(crate) terms: &'a Terms,
    /// All faults are over: it uses and pays nothing more.
    pub(crate) is_quiet: bool,
}

impl Client {
    pub(crate) fn new(kind: Kind, mut dice: Dice, duration: u64) -> Self {
        let leaves = dice.between(duration / 4, duration);
        let is_patient = dice.chance(50);
        Self { kind, dice, signed: Vec::new(), acknowledged: Amount::ZERO, leaves, is_patient }
    }

    /// The highest amount that it signed.
    pub(crate) fn best(&self) -> Amount {
        self.signed.iter().copied().max().unwrap_or_default()
    }

    /// When it acts again, in milliseconds from now.
    pub(crate) fn pause(&mut self) -> u64 {
        self.dice.between(3_000, 20_000)
    }

    /// What it does now.
    pub(crate) fn act(&mut self, seen: &Seen<'_>) -> Vec<Move> {
        let is_over = matches!(seen.phase, Phase::Closing { ends_at } if seen.chain_time >= ends_at);
        if self.kind == Kind::Hostile && is_over {
            return vec![Move::Finalize];
        }
        if seen.is_quiet || seen.phase != Phase::Open && self.kind != Kind::Hostile {
            return Vec::new();
        }
        match self.kind {
            Kind::Honest | Kind::Lazy => self.buy(seen),
            Kind::Hostile => self.attack(seen),
            Kind::Scripted => self.again(),
            Kind::Buyer | Kind::Cheated => Vec::new(),
        }
    }

    /// What was not acknowledged is sent again.
    fn again(&self) -> Vec<Move> {
        let is_acknowledged = self.best() <= self.acknowledged;
        if is_acknowledged { Vec::new() } else { vec![Move::Replay(self.signed.len() as u64 - 1)] }
    }

    fn buy(&mut self, seen: &Seen<'_>) -> Vec<Move> {
        let mut moves = Vec::new();
        let (best, due) = (self.best(), Self::due(seen));
        let pays = self.kind == Kind::Honest || self.dice.chance(15);
        if due > best && pays {
            moves.push(Move::Pay(units(due.saturating_sub(best))));
        } else {
            moves.extend(self.again());
        }
        if seen.now >= self.leaves {
            return moves;
        }
        if seen.runs {
            let more = self.dice.below(3);
            moves.push(Move::Use(more));
        }
        let is_low = seen.deposit.get() < due.get() * 5 / 4;
        if is_low && self.dice.chance(10) {
            moves.push(Move::TopUp(self.dice.between(20, 200)));
        }
        moves
    }

    /// What its meter shows as due: after an interval, or ahead of one; never more than the deposit.
    fn due(seen: &Seen<'_>) -> Amount {
        let ahead = match seen.terms.billing() {
            Billing::Prepaid => seen.terms.interval(),
            Billing::Postpaid => Usage::ZERO,
        };
        price(seen.terms, seen.used.saturating_add(ahead)).min(seen.deposit)
    }

    fn attack(&mut self, seen: &Seen<'_>) -> Vec<Move> {
        let last = self.signed.len() as u64;
        let best = units(self.best());
        let mut moves = vec![Move::Use(5)];
        if !seen.runs && self.dice.chance(50) {
            moves.push(Move::Pay(units(Self::due(seen)).saturating_sub(best).min(20)));
        }
        match self.dice.below(60) {
            0 => moves.push(Move::RequestClose(0)),
            1 => moves.push(Move::RequestClose(best / 2)),
            2 | 3 if !self.is_patient => moves.push(Move::CancelClose),
            4..=6 => moves.push(Move::Replay(self.dice.below(last.max(1)))),
            7 => moves.push(Move::Forge(best + 100)),
            8 => moves.push(Move::TopUp(5)),
            9 => moves.push(Move::Settle(self.dice.below(last.max(1)))),
            10 => moves.extend([Move::Pay(3), Move::RequestClose(0)]),
            11 => moves.push(Move::Pay(units(seen.deposit))),
            _ => {}
        }
        moves
    }
}

pub(crate) fn units(amount: Amount) -> u64 {
    u64::try_from(amount.get()).unwrap_or(u64::MAX)
}
