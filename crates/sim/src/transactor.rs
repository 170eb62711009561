//! The transactions of an account: nonces, replacement, cancellation, and all fates.

mod lies;

use alloy::primitives::{Address, B256};
use privatix_channel::model::{Call, Claim};
use privatix_market::{AgentPurpose, Bid, BlockRef, ClientPurpose, Fate, Priority};

use self::lies::Lie;
use crate::chain::{AGENT, Block, Chain};
use crate::choice::Dice;

/// Gas of a close, and its price in everyday times.
pub(crate) const GAS: u128 = 100_000;
pub(crate) const EVERYDAY: u128 = 1;

/// A purpose of one side: what its transactions call.
pub(crate) trait Calls: Copy {
    fn call(intent: &Intent<Self>, chain: &Chain) -> Option<Call>;
}

/// A channel's effect that a transaction carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<X> {
    pub(crate) channel: usize,
    pub(crate) seq: u32,
    pub(crate) purpose: X,
}

/// A transaction that was stored to be sent.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Intent<X> {
    pub(crate) rows: Vec<Row<X>>,
    pub(crate) is_batch: bool,
    bid: Bid,
    stage: TxStage,
    is_cancelling: bool,
    /// The block in which the endpoints have shown it, with success, and in which it is not.
    lie: Option<Lie>,
    /// What its channels know.
    known: Known,
    /// Whether it was reported to them as final, and a reorganisation took that back.
    is_undone: bool,
    /// Whether it was known to have failed for good.
    is_failed: bool,
    /// Whether it was made by a database that is lost: nobody knows of it.
    is_forgotten: bool,
    /// Whether it was cancelled by one.
    is_cancelled_by_lost: bool,
    /// Whether its order is known to that database alone.
    is_order_lost: bool,
}

impl<X> Intent<X> {
    /// Whether it is known, and in no block.
    fn waits(&self) -> bool {
        let is_in_block = !matches!(self.stage, TxStage::Waiting | TxStage::Pool { .. });
        !is_in_block && self.lie.is_none() && !self.is_forgotten
    }

    /// Its fate when it is not in its block any more.
    const fn taken_back(&self) -> Fate {
        if self.is_cancelling { Fate::Withdrawn } else { Fate::Reinstated { batch: self.is_batch } }
    }

    fn bid_pays(&self, price: u128) -> bool {
        match self.bid.stake {
            Some(stake) if self.bid.priority == Priority::Urgent => GAS * price <= stake.get(),
            _ => price <= EVERYDAY,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TxStage {
    /// Never signed.
    Waiting,
    /// Signed for this nonce. It may be mined.
    Pool {
        nonce: u64,
    },
    Mined {
        nonce: u64,
        number: usize,
        hash: B256,
        success: bool,
    },
    Over,
}

impl TxStage {
    /// Whether a database that holds this knows the transaction of another stage.
    fn is_signed_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Waiting, Self::Pool { .. } | Self::Mined { .. }) => false,
            (Self::Pool { nonce: held }, Self::Pool { nonce } | Self::Mined { nonce, .. }) => held == nonce,
            _ => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    InBlock(B256),
    Everything,
}

/// The transactor of an account. What is here was committed: a crash changes nothing of it.
#[derive(Debug)]
pub(crate) struct Transactor<X> {
    account: Address,
    pub(crate) intents: Vec<Intent<X>>,
    /// The first nonce that was never used.
    next: u64,
    /// The number of the block of each nonce that is used.
    mined_in: Vec<usize>,
    /// Nonces whose intents are cancelled by a transaction without effect.
    fillers: Vec<u64>,
    confirmations: usize,
    final_depth: usize,
    /// Whether a success that was made up was believed to be final.
    pub(crate) has_believed: bool,
}

/// What a backup holds of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    stage: TxStage,
    lie: Option<Lie>,
    known: Known,
    is_undone: bool,
    is_cancelling: bool,
    is_forgotten: bool,
}

/// What a cancellation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelOutcome {
    Done,
    Requested,
    NotOpen,
}

impl<X: Calls + std::fmt::Debug> Transactor<X> {
    pub(crate) const fn new(account: Address, confirmations: usize, final_depth: usize) -> Self {
        Self {
            account,
            intents: Vec::new(),
            next: 0,
            mined_in: Vec::new(),
            fillers: Vec::new(),
            confirmations,
            final_depth,
            has_believed: false,
        }
    }

    pub(crate) fn submit(&mut self, rows: Vec<Row<X>>, is_batch: bool, bid: Bid) {
        let (stage, known) = (TxStage::Waiting, Known::Nothing);
        self.intents.push(Intent {
            rows,
            is_batch,
            bid,
            stage,
            is_cancelling: false,
            lie: None,
            known,
            is_undone: false,
            is_failed: false,
            is_forgotten: false,
            is_cancelled_by_lost: false,
            is_order_lost: false,
        });
    }

    pub(crate) fn find(&self, channel: usize, seq: u32) -> Option<usize> {
        self.intents
            .iter()
            .rposition(|i| !i.is_forgotten && i.rows.iter().any(|r| (r.channel, r.seq) == (channel, seq)))
    }

    pub(crate) fn cancel(&mut self, id: usize) -> CancelOutcome {
        let intent = &mut self.intents[id];
        match intent.stage {
            TxStage::Waiting => {
                (intent.stage, intent.known) = (TxStage::Over, Known::Everything);
                CancelOutcome::Done
            }
            // In a block, it ends so only if a reorganisation takes that back.
            TxStage::Pool { .. } | TxStage::Mined { .. } => {
                intent.is_cancelling = true;
                CancelOutcome::Requested
            }
            TxStage::Over => CancelOutcome::NotOpen,
        }
    }

    /// Cancels a transaction for all its rows, which learn of it by its fate.
    pub(crate) fn ask_to_cancel(&mut self, id: usize) {
        self.intents[id].is_cancelling = true;
    }

    /// Whether a transaction was never signed, so that cancelling it is done at once.
    pub(crate) fn is_unsent(&self, id: usize) -> bool {
        self.intents[id].stage == TxStage::Waiting
    }

    /// The newest transaction of a channel that waits to be mined, alone.
    pub(crate) fn newest(&self, channel: usize) -> Option<(usize, u32)> {
        let waits = |i: &Intent<X>| i.waits() && !i.is_batch;
        let id =
            self.intents.iter().rposition(|i| waits(i) && i.rows.iter().any(|row| row.channel == channel))?;
        Some((id, self.intents[id].rows[0].seq))
    }

    /// The oldest transaction that waits.
    pub(crate) fn oldest(&self) -> Option<usize> {
        self.intents.iter().position(Intent::waits)
    }

    /// It will not be mined any more. Its nonce is used by one without effect.
    fn give_up(&mut self, id: usize) {
        if let TxStage::Pool { nonce } = self.intents[id].stage
            && !self.has_rival(id, nonce)
        {
            self.fillers.push(nonce);
        }
        let intent = &mut self.intents[id];
        (intent.stage, intent.known, intent.lie) = (TxStage::Over, Known::Everything, None);
    }

    fn has_rival(&self, id: usize, nonce: u64) -> bool {
        let is_rival =
            |(n, i): (usize, &Intent<X>)| n != id && i.stage == TxStage::Pool { nonce } && !i.is_cancelling;
        self.fillers.contains(&nonce) || self.intents.iter().enumerate().any(is_rival)
    }

    /// The account's nonce on chain.
    fn mined(&self) -> u64 {
        self.mined_in.len() as u64
    }

    /// Whether another transaction used a nonce for good.
    fn is_lost(&self, nonce: u64, head: usize) -> bool {
        let number = usize::try_from(nonce).ok().and_then(|nonce| self.mined_in.get(nonce));
        number.is_some_and(|number| head >= number + self.final_depth)
    }

    /// Gives waiting intents their nonces: that of one that is being cancelled, or the next. Urgent ones go first.
    /// What does not pay the present price waits.
    pub(crate) fn send(&mut self, head: usize, price: u128) {
        for id in 0..self.intents.len() {
            if let TxStage::Pool { nonce } = self.intents[id].stage
                && !self.intents[id].is_cancelling
                && self.intents[id].lie.is_none()
                && self.is_lost(nonce, head)
            {
                self.intents[id].stage = TxStage::Waiting;
            }
        }
        let is_waiting = |intent: &Intent<X>| intent.stage == TxStage::Waiting && intent.bid_pays(price);
        let mut waiting: Vec<usize> =
            (0..self.intents.len()).filter(|n| is_waiting(&self.intents[*n])).collect();
        waiting.sort_by_key(|n| (std::cmp::Reverse(self.intents[*n].bid.priority), *n));
        for id in waiting {
            let nonce = self.freed().unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            self.intents[id].stage = TxStage::Pool { nonce };
        }
        while let Some(nonce) = self.freed() {
            self.fillers.push(nonce);
        }
    }

    /// A nonce whose intent is being cancelled and has no rival yet.
    fn freed(&self) -> Option<u64> {
        self.intents.iter().enumerate().find_map(|(id, intent)| match intent.stage {
            TxStage::Pool { nonce }
                if intent.is_cancelling
                    && intent.lie.is_none()
                    && nonce >= self.mined()
                    && !self.has_rival(id, nonce) =>
            {
                Some(nonce)
            }
            _ => None,
        })
    }

    /// Puts what can be mined into the block that was begun.
    pub(crate) fn mine(&mut self, chain: &mut Chain, price: u128, has_ether: bool, dice: &mut Dice) {
        if !has_ether || self.next == self.mined() {
            return;
        }
        loop {
            let nonce = self.mined();
            let is_there = |i: &Intent<X>| !i.lie.is_some_and(|lie| lie.is_dropped);
            let is_rival = |i: &Intent<X>| i.stage == TxStage::Pool { nonce } && is_there(i);
            let rivals = self.intents.iter().enumerate().filter(|(_, i)| is_rival(i));
            let mut rivals: Vec<Option<usize>> =
                rivals.filter(|(_, i)| i.bid_pays(price)).map(|(id, _)| Some(id)).collect();
            if self.fillers.contains(&nonce) && price <= EVERYDAY {
                rivals.push(None);
            }
            // The newest pays the most; now and then another is first.
            let Some(&newest) = rivals.last() else { return };
            let chosen = if dice.chance(80) { newest } else { dice.pick(&rivals) };
            let (number, hash) = (chain.height(), chain.hash(chain.height()).unwrap_or_default());
            if let Some(id) = chosen {
                let call = X::call(&self.intents[id], chain);
                let success = call.is_some_and(|call| chain.execute(self.account, &call));
                self.intents[id].stage = TxStage::Mined { nonce, number, hash, success };
            }
            if let Some(block) = chain.blocks.last_mut() {
                block.nonces.push((self.account, nonce, chosen));
            }
            self.mined_in.push(number);
        }
    }

    /// A block was undone: its transactions wait again.
    pub(crate) fn undo(&mut self, block: &Block) {
        for &(_, nonce, id) in block.nonces.iter().filter(|(account, ..)| *account == self.account) {
            self.mined_in.truncate(usize::try_from(nonce).unwrap_or(usize::MAX));
            let Some(id) = id else { continue };
            let intent = &mut self.intents[id];
            intent.stage = TxStage::Pool { nonce };
            if intent.known == Known::Everything {
                (intent.known, intent.is_undone) = (Known::InBlock(block.hash), true);
            }
        }
    }

    /// What became of one intent, if its channels do not know it yet, with the intent's number. `lies`: whether the endpoints do.
    pub(crate) fn next_fate(&self, head: usize, lies: bool) -> Option<(usize, Fate)> {
        self.intents.iter().enumerate().find_map(|(id, intent)| Some((id, self.fate_of(intent, head, lies)?)))
    }

    fn fate_of(&self, intent: &Intent<X>, head: usize, lies: bool) -> Option<Fate> {
        if intent.is_forgotten {
            return None;
        }
        if let Some(lie) = intent.lie {
            return self.fate_of_lie(intent, lie, head, lies);
        }
        match (intent.stage, intent.known) {
            (TxStage::Mined { number, hash, success, .. }, known) => {
                let depth = head.checked_sub(number)?; // the head that is shown may be older
                let block = BlockRef { number: number as u64, hash };
                let mined = if success { Fate::Mined(block) } else { Fate::Reverted };
                match known {
                    Known::Everything => None,
                    Known::InBlock(of) if of == hash => (depth >= self.final_depth).then_some(Fate::Final),
                    // Another block: the first outcome is taken back before.
                    Known::InBlock(_) => Some(intent.taken_back()),
                    Known::Nothing => (depth >= self.confirmations).then_some(mined),
                }
            }
            (TxStage::Pool { nonce }, known) => {
                if matches!(known, Known::InBlock(_)) {
                    return Some(intent.taken_back());
                }
                let is_over = intent.is_cancelling && self.is_lost(nonce, head);
                // Another transaction of the account used its nonce.
                let foreign = Fate::Failed { lasting: false };
                is_over.then_some(if intent.is_cancelled_by_lost { foreign } else { Fate::Cancelled })
            }
            (TxStage::Over, Known::Nothing | Known::InBlock(_)) => Some(Fate::Failed { lasting: false }),
            (TxStage::Waiting | TxStage::Over, _) => None,
        }
    }
}

impl<X: Calls + std::fmt::Debug> Transactor<X> {
    /// The channels have received a fate.
    pub(crate) fn reported(&mut self, id: usize, fate: Fate) {
        let intent = &mut self.intents[id];
        match (fate, intent.stage) {
            (Fate::Mined(BlockRef { hash, .. }), _) | (Fate::Reverted, TxStage::Mined { hash, .. }) => {
                intent.known = Known::InBlock(hash);
            }
            (Fate::Reinstated { .. } | Fate::Withdrawn, _) => {
                (intent.known, intent.is_undone) = (Known::Nothing, false);
            }
            (Fate::Failed { .. }, _) => self.give_up(id),
            (Fate::Final, stage) => {
                intent.known = Known::Everything;
                self.has_believed |= intent.lie.is_some();
                intent.is_failed |= matches!(stage, TxStage::Mined { success: false, .. });
            }
            (Fate::Cancelled, _) => (intent.stage, intent.known) = (TxStage::Over, Known::Everything),
            _ => {}
        }
    }

    /// What a backup holds: how far each is.
    pub(crate) fn record(&self) -> Vec<Recorded> {
        let record = |i: &Intent<X>| Recorded {
            stage: i.stage,
            lie: i.lie,
            known: i.known,
            is_undone: i.is_undone,
            is_cancelling: i.is_cancelling,
            is_forgotten: i.is_forgotten,
        };
        self.intents.iter().map(record).collect()
    }

    /// The database came back from a backup. What it does not hold and is in no block comes in none any more. What it holds as not
    /// signed, or signed for another nonce than it was in the end, is sent once more: it does not know the transaction that was.
    /// `knows` is asked whether it knows the order of a transaction that it does not hold.
    pub(crate) fn restore(&mut self, backup: &[Recorded], knows: impl Fn(X) -> bool) {
        for id in 0..self.intents.len() {
            let recorded = backup.get(id).copied();
            let is_held =
                recorded.is_some_and(|recorded| recorded.stage.is_signed_as(self.intents[id].stage));
            if let Some(recorded) = recorded.filter(|recorded| !is_held && !recorded.is_forgotten) {
                let again = Intent { stage: recorded.stage, ..self.intents[id].clone() };
                self.intents.push(Intent {
                    is_cancelling: recorded.is_cancelling,
                    lie: recorded.lie,
                    known: recorded.known,
                    ..again
                });
            }
            let intent = &mut self.intents[id];
            let Some(recorded) = recorded.filter(|_| is_held) else {
                intent.is_order_lost |= !intent.rows.iter().all(|row| knows(row.purpose));
                intent.is_forgotten = true;
                if matches!(intent.stage, TxStage::Waiting | TxStage::Pool { .. }) {
                    self.give_up(id);
                }
                continue;
            };
            (intent.known, intent.is_undone) = (recorded.known, recorded.is_undone);
            intent.lie = recorded.lie;
            intent.is_forgotten = recorded.is_forgotten;
            intent.is_cancelled_by_lost |= intent.is_cancelling && !recorded.is_cancelling;
        }
    }

    /// Whether a transaction of a database that is lost is about a channel, and in a block.
    pub(crate) fn has_forgotten(&self, channel: usize) -> bool {
        let is_forgotten = |i: &Intent<X>| i.is_forgotten && matches!(i.stage, TxStage::Mined { .. });
        self.intents.iter().any(|i| is_forgotten(i) && i.rows.iter().any(|row| row.channel == channel))
    }

    /// Whether a transaction of a channel that had failed for good has its effect after all: a reorganisation took what was final.
    pub(crate) fn has_revived(&self, channel: usize) -> bool {
        let is_revived = |i: &Intent<X>| {
            let may_have_effect = !matches!(i.stage, TxStage::Mined { success: false, .. });
            i.is_failed && may_have_effect
        };
        self.intents.iter().any(|i| is_revived(i) && i.rows.iter().any(|row| row.channel == channel))
    }

    /// How many batches were submitted.
    pub(crate) fn batches(&self) -> usize {
        self.intents.iter().filter(|intent| intent.is_batch).count()
    }

    /// What was mined with success for orders that the present database knows, also by one that is lost.
    pub(crate) fn carried_out(&self, channel: usize) -> impl Iterator<Item = X> + '_ {
        let is_done =
            |i: &&Intent<X>| matches!(i.stage, TxStage::Mined { success: true, .. }) && !i.is_order_lost;
        let rows = self.intents.iter().filter(is_done).flat_map(|i| &i.rows);
        rows.filter(move |row| row.channel == channel).map(|row| row.purpose)
    }

    /// The transactions of a channel that are not over, for people.
    pub(crate) fn shown(&self, channel: usize) -> String {
        let is_open =
            |i: &&Intent<X>| i.known != Known::Everything && i.rows.iter().any(|row| row.channel == channel);
        let shown =
            self.intents.iter().filter(is_open).map(|intent| format!("{intent:?}")).collect::<Vec<_>>();
        format!("nonce {} of {}; {}", self.mined(), self.next, shown.join("; "))
    }

    /// The rows of a channel whose transactions are not over.
    pub(crate) fn alive(&self, channel: usize) -> impl Iterator<Item = Alive<X>> + '_ {
        let is_alive = |i: &&Intent<X>| {
            let is_known = !i.is_undone && !i.is_failed && !i.is_forgotten;
            i.stage != TxStage::Over && i.known != Known::Everything && is_known
        };
        let alive = self.intents.iter().filter(is_alive);
        alive.flat_map(move |intent| {
            let rows = intent.rows.iter().filter(move |row| row.channel == channel);
            rows.map(|row| Alive {
                row: *row,
                is_batch: intent.is_batch,
                is_cancelling: intent.is_cancelling,
                waits: matches!(intent.stage, TxStage::Waiting | TxStage::Pool { .. }),
                may_have_effect: !matches!(intent.stage, TxStage::Mined { success: false, .. }),
            })
        })
    }
}

/// A transaction that is not over.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, for checks")]
pub(crate) struct Alive<X> {
    pub(crate) row: Row<X>,
    pub(crate) is_batch: bool,
    pub(crate) is_cancelling: bool,
    /// Not in a block.
    pub(crate) waits: bool,
    pub(crate) may_have_effect: bool,
}

impl Calls for AgentPurpose {
    fn call(intent: &Intent<Self>, chain: &Chain) -> Option<Call> {
        let of = |row: &Row<Self>| (chain.channels[row.channel].1, row.purpose.cumulative());
        let signed = |row: &Row<Self>| {
            let cumulative = row.purpose.cumulative();
            if cumulative.is_zero() { Vec::new() } else { chain.signature(row.channel, cumulative) }
        };
        if intent.is_batch {
            let claim = |row: &Row<Self>| {
                let (descriptor, cumulative) = of(row);
                Claim {
                    client: descriptor.client,
                    offering: descriptor.offering,
                    nonce: descriptor.nonce,
                    signer: descriptor.signer,
                    cumulative,
                    signature: signed(row),
                }
            };
            let claims: Vec<_> = intent.rows.iter().map(claim).collect();
            let closes = intent.rows.iter().all(|row| row.purpose.is_close());
            let agent = AGENT;
            return Some(if closes {
                Call::CloseBatch { claims }
            } else {
                Call::SettleBatch { agent, claims }
            });
        }
        let row = intent.rows.first()?;
        let ((descriptor, cumulative), signature) = (of(row), signed(row));
        Some(if row.purpose.is_close() {
            Call::Close { descriptor, cumulative, signature }
        } else {
            Call::Settle { descriptor, cumulative, signature }
        })
    }
}

impl Calls for ClientPurpose {
    fn call(intent: &Intent<Self>, chain: &Chain) -> Option<Call> {
        let row = intent.rows.first()?;
        let descriptor = chain.channels[row.channel].1;
        Some(match row.purpose {
            Self::Open { deposit } => chain.open(row.channel, deposit),
            Self::TopUp { amount, .. } => Call::TopUpFromWallet { descriptor, amount },
            Self::RequestClose { admitted } => Call::RequestClose { descriptor, admitted },
            Self::FinalizeClose => Call::FinalizeClose { descriptor },
        })
    }
}
