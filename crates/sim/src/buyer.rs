//! A client that decides by `market`, on a node of its own: what is on its disk, what it has in memory, and its user.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256};
use privatix_channel::{Amount, ChainTime, ChannelEvent, ChannelId, LogPosition};
use privatix_market::{
    Actual, ClientPurpose, ClientState, ClockSkew, Opening, OrderId, Outcome, RecoveryId, Refused, Uptime,
};
use privatix_market::{Client, ClientPolicy, Env};

use crate::choice::Dice;
use crate::sim::Until;
use crate::transactor::{Recorded, Transactor};

/// A client with a node and a user of its own.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "bits of the surroundings, independent of each other")]
pub(crate) struct Buyer {
    pub(crate) state: ClientState,
    pub(crate) logs: Vec<(LogPosition, ChannelEvent)>,
    /// The hashes of the blocks that its monitor has processed, by their numbers.
    pub(crate) blocks: Vec<B256>,
    /// Whether these blocks have events that no endpoint showed.
    pub(crate) has_gaps: bool,
    pub(crate) uptime: Uptime,
    /// The jobs that provide money, by the numbers of their transactions.
    pub(crate) funding: Vec<(u32, ClientPurpose)>,
    /// Those of them from before a restore: they are dropped at the next start, before anything else is done.
    pub(crate) dropped: Vec<(u32, ClientPurpose)>,
    pub(crate) transactor: Transactor<ClientPurpose>,
    /// The number of the last order.
    pub(crate) last_order: u64,
    /// The orders that have not ended.
    pub(crate) orders: BTreeSet<u64>,
    /// What its deposit takes of the budget, with its orders that have not failed.
    pub(crate) reserved: Amount,
    /// Those orders of them that have not ended.
    reservations: Vec<(OrderId, Amount)>,
    /// The best voucher that it signed, as its database knows it.
    pub(crate) signed: Amount,
    /// After a restore: which one, until when vouchers may be missing, and the best voucher of the backup.
    pub(crate) recovers: Option<(RecoveryId, Uptime, Amount)>,
    /// How many restores there were, and whether one of them was not noted.
    pub(crate) restores: u64,
    pub(crate) is_unnoted: bool,
    /// The newest copy of all this.
    pub(crate) backup: Option<Box<BuyersBackup>>,

    // In memory: a crash takes it away.
    pub(crate) is_up: bool,
    /// Another number after each start, and after each sleep: the connections are new.
    pub(crate) life: u64,
    /// Another number after each start.
    pub(crate) run: u64,
    /// When it started, and with which uptime.
    pub(crate) started: (u64, Uptime),
    pub(crate) is_fresh: bool,
    pub(crate) is_explained: bool,
    pub(crate) is_reachable: bool,
    pub(crate) clock_agrees: bool,
    pub(crate) seen_at: u64,
    pub(crate) instance: u64,
    pub(crate) wake: Option<Uptime>,
    pub(crate) chain_wake: Option<ChainTime>,
    /// The call to the adapter that is waited for: its number, and the request's.
    pub(crate) call: Option<(u64, u32)>,

    // Its adapter, which the node learns of from its answers only.
    pub(crate) actual: Actual,
    /// Another number after each start.
    pub(crate) adapter: u64,
    pub(crate) calls: u64,
    pub(crate) reported: (u64, bool),
    /// When its node knew last what it counts, in milliseconds.
    pub(crate) reported_at: u64,
    /// By how much its meter is too low.
    pub(crate) drift: u64,
    /// What its database has lost of its meter.
    pub(crate) lost: u64,

    /// By how many seconds its machine's wall clock is ahead.
    pub(crate) wall: i64,
    pub(crate) until: Until,
    /// How many sides of commits the process survives before it dies.
    pub(crate) crash: Option<u64>,
    /// Whether its transactions come before the agent's in the next block.
    pub(crate) is_early: bool,
    pub(crate) dice: Dice,
    /// When its user has had enough, in milliseconds.
    pub(crate) leaves: u64,
    pub(crate) ledger: Purse,
}

/// A copy of a client's database.
#[derive(Debug)]
pub(crate) struct BuyersBackup {
    state: ClientState,
    logs: Vec<(LogPosition, ChannelEvent)>,
    blocks: Vec<B256>,
    has_gaps: bool,
    uptime: Uptime,
    funding: Vec<(u32, ClientPurpose)>,
    transactions: Vec<Recorded>,
    last_order: u64,
    orders: BTreeSet<u64>,
    signed: Amount,
    sent: Amount,
}

/// How long a client that came back from a backup asks its agent first, in milliseconds of its uptime.
const RECOVERY: u64 = 1_800_000;

impl Buyer {
    pub(crate) fn back_up(&mut self) {
        self.backup = Some(Box::new(BuyersBackup {
            state: self.state.clone(),
            logs: self.logs.clone(),
            blocks: self.blocks.clone(),
            has_gaps: self.has_gaps,
            uptime: self.uptime,
            funding: self.funding.clone(),
            transactions: self.transactor.record(),
            last_order: self.last_order,
            orders: self.orders.clone(),
            signed: self.signed,
            sent: self.ledger.sent,
        }));
    }

    /// The copy takes the place of the database. The transactions whose money was being provided are to be dropped. Returns whether
    /// there was a copy.
    pub(crate) fn restore(&mut self, is_noted: bool) -> bool {
        let Some(backup) = self.backup.take() else { return false };
        (self.state, self.logs, self.blocks) = (backup.state, backup.logs, backup.blocks);
        (self.has_gaps, self.uptime) = (backup.has_gaps, backup.uptime);
        (self.last_order, self.orders) = (backup.last_order, backup.orders);
        (self.signed, self.ledger.sent) = (backup.signed, backup.sent);
        let last = backup.last_order;
        self.transactor.restore(&backup.transactions, |purpose| match purpose {
            ClientPurpose::TopUp { order, .. } => order.0 <= last,
            _ => true,
        });
        self.restores += 1;
        self.is_unnoted |= !is_noted;
        let until = Uptime::new(self.uptime.milliseconds() + RECOVERY);
        self.recovers = is_noted.then(|| (RecoveryId::new(self.restores), until, self.signed));
        self.dropped.clone_from(&backup.funding);
        self.funding = backup.funding;
        true
    }
}

/// What a client must come to, kept beside everything that is checked.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    /// The highest amount that was ever sent.
    pub(crate) sent: Amount,
    /// The highest amount that a close request admitted.
    pub(crate) admitted: Amount,
    /// What the orders that were carried out have added.
    pub(crate) added: Amount,
    pub(crate) submitted: u64,
    /// The transactions that its user cancelled.
    pub(crate) cancelled: BTreeSet<u32>,
    /// The uptime since which wakes are counted, and how many there were.
    pub(crate) wakes: (u64, u64),
}

/// A request that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// Its number.
    pub(crate) seq: u32,
    /// The life of the process that asked.
    pub(crate) life: u64,
    /// Until when it waits, in milliseconds of the world.
    pub(crate) until: u64,
    /// The voucher that it sent; zero for all else.
    pub(crate) sent: Amount,
}

/// What makes a buyer.
#[derive(Clone, Copy)]
pub(crate) struct BuyerParts<'a> {
    pub(crate) id: ChannelId,
    pub(crate) descriptor: privatix_channel::ChannelDescriptor,
    pub(crate) opening: &'a Opening,
    pub(crate) policy: &'a ClientPolicy,
    pub(crate) depths: (usize, usize),
    /// The hash of the first block.
    pub(crate) first: B256,
    pub(crate) duration: u64,
    pub(crate) budget: Option<Amount>,
}

impl Buyer {
    /// A buyer that has just accepted an offering.
    ///
    /// # Errors
    /// The rule by which it refuses the offering.
    pub(crate) fn new(parts: BuyerParts<'_>, mut dice: Dice) -> Result<Self, Refused> {
        let BuyerParts { id, descriptor, opening, policy, depths, first, duration, budget } = parts;
        let mut env = Env::<Client>::new(Uptime::default(), policy);
        env.run = 1; // the first start follows
        env.budget.overall = budget;
        let state = ClientState::accept(id, descriptor, opening, &env)?.state;
        let account: Address = descriptor.client;
        let flights = state.own.flights.iter();
        let funding = flights.map(|flight| (flight.seq, flight.purpose)).collect();
        let leaves = dice.between(duration / 4, duration);
        let is_early = dice.chance(50);
        Ok(Self {
            state,
            logs: Vec::new(),
            blocks: vec![first],
            has_gaps: false,
            uptime: Uptime::default(),
            funding,
            dropped: Vec::new(),
            transactor: Transactor::new(account, depths.0, depths.1),
            last_order: 0,
            orders: BTreeSet::new(),
            reserved: opening.deposit,
            reservations: Vec::new(),
            signed: Amount::ZERO,
            recovers: None,
            restores: 0,
            is_unnoted: false,
            backup: None,
            is_up: false,
            life: 0,
            run: 0,
            started: (0, Uptime::default()),
            is_fresh: false,
            is_explained: true,
            is_reachable: true,
            clock_agrees: true,
            seen_at: 0,
            instance: 0,
            wake: None,
            chain_wake: None,
            call: None,
            actual: Actual::Absent,
            adapter: 0,
            calls: 0,
            reported: (0, false),
            reported_at: 0,
            drift: 0,
            lost: 0,
            wall: 0,
            until: Until::default(),
            crash: None,
            is_early,
            dice,
            leaves,
            ledger: Purse::default(),
        })
    }

    pub(crate) fn uptime(&self, now: u64) -> Uptime {
        let (at, uptime) = self.started;
        Uptime::new(uptime.milliseconds() + (now - at))
    }

    pub(crate) fn runs(&self) -> bool {
        self.actual == Actual::Running
    }

    /// An order was taken: the budget counts it.
    pub(crate) fn reserve(&mut self, order: OrderId, amount: Amount) {
        self.reserved = self.reserved.saturating_add(amount);
        self.reservations.push((order, amount));
    }

    /// An order has ended: what was not added is free again.
    pub(crate) fn release(&mut self, order: OrderId, outcome: Outcome) {
        let place = self.reservations.iter().position(|(of, _)| *of == order);
        let released = place.map(|place| self.reservations.remove(place));
        if let Some((_, amount)) = released.filter(|_| outcome != Outcome::Done) {
            self.reserved = self.reserved.saturating_sub(amount);
        }
    }

    /// What its node finds of its wall clock while it sees the chain, whose time goes as the world's.
    pub(crate) fn skew(&self, now: u64) -> Option<ClockSkew> {
        const BEGIN: u64 = 1_700_000_000;
        let chain = BEGIN + now / 1_000;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(chain.saturating_add_signed(self.wall));
        ClockSkew::between(wall, ChainTime::new(chain), true, ClockSkew::MOST).filter(|_| self.is_fresh)
    }

    /// The recovery, while there is one.
    pub(crate) fn recovery(&self, now: Uptime) -> Option<RecoveryId> {
        self.recovers.filter(|(_, until, _)| *until > now).map(|(recovery, ..)| recovery)
    }

    /// Until when the channel must not be closed: no voucher is newer than the backup. The shell takes it from the wall clock, so it moves
    /// a little against the uptime.
    pub(crate) fn kept_open(&self, now: Uptime) -> Option<Uptime> {
        let (_, until, known) = self.recovers?;
        let moved = Uptime::new(until.milliseconds() + now.milliseconds() % 7);
        (until > now && self.signed <= known).then_some(moved)
    }

    pub(crate) const fn next_order(&self) -> OrderId {
        OrderId(self.last_order + 1)
    }
}
