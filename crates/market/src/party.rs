//! The two sides of a channel, and what a decision about one consists of.

use std::fmt;
use std::sync::Arc;

use privatix_billing::Terms;
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, ChannelStatus, OnChain, UnderWay, Usage,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{
    BlockRef, Book, Concern, Effect, Env, Flight, Input, Owner, Purpose, Refused, Service, Stage, Uptime,
};

/// A side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The seller.
    Agent,
    /// The buyer.
    Client,
}

/// One side's rules about a channel. Its implementations are types without values.
pub trait Party: Sized + Copy + fmt::Debug + Eq + Send + Sync + 'static {
    /// Which side it is.
    const SIDE: Side;
    /// What this side knows beyond the chain and the vouchers. It is stored as one value: a field that is missing has its
    /// default, and one that is not known is left out.
    type Own: Clone + fmt::Debug + Eq + Send + Sync + Serialize + DeserializeOwned;
    /// What its user can order.
    type Order: Clone + fmt::Debug + Eq + Send + Sync;
    /// What the other side can send.
    type Message: Clone + fmt::Debug + Eq + Send + Sync;
    /// What it reports about effects that are done at once.
    type Report: Clone + fmt::Debug + Eq + Send + Sync;
    /// What its transactions about a channel are for.
    type Purpose: Copy + fmt::Debug + Eq + Send + Sync + Into<Purpose>;
    /// Effects that only this side has.
    type Effect: Clone + fmt::Debug + Eq + Send + Sync;
    /// What it shows to people and programs.
    type Notice: Clone + fmt::Debug + Eq + Send + Sync;
    /// What its operator sets.
    type Policy: fmt::Debug + Send + Sync;

    /// The state after an input, and what is to be done. The shell stores the state and the effects in one transaction.
    ///
    /// # Errors
    /// [`Refused`]: nothing changed. A voucher that is answered with a refusal is no error.
    fn decide(
        state: &State<Self>,
        input: &Input<Self>,
        env: &Env<'_, Self>,
    ) -> Result<Decision<Self>, Refused>;

    /// All that can move the state on, in the order of [`Owner`]. Empty only for a final state.
    fn owners(state: &State<Self>, env: &Env<'_, Self>) -> Vec<Owner>;

    /// What endangers the money of the channel. Time alone may change how much, see [`Concern::danger`]; what it consists of changes by
    /// decisions only.
    fn concerns(state: &State<Self>, env: &Env<'_, Self>) -> Vec<Concern>;

    /// What was used by now, in the measure of the terms: what the meter reported, and what of a timed session it has not.
    fn used(state: &State<Self>, env: &Env<'_, Self>) -> Usage;

    /// Its side of the service.
    fn service(own: &Self::Own) -> &Service;

    /// How much may be used in all before the adapter stops the service by itself. `None` where it holds the service to nothing: a
    /// buyer's side is bounded by what is signed.
    fn bound(_: &State<Self>) -> Option<Usage> {
        None
    }

    /// The transactions under way, of what this side knows.
    fn flights(own: &Self::Own) -> &[Flight<Self::Purpose>];

    /// The same, to be changed.
    fn flights_mut(own: &mut Self::Own) -> &mut [Flight<Self::Purpose>];

    /// What the channel's [status](State::status) shows of a transaction for this purpose.
    fn shown(purpose: Self::Purpose) -> Option<UnderWay>;

    /// Whether the effect of a transaction is on its way, or was brought by a block and the channel's events do not show it: nothing
    /// else is needed for the same.
    fn is_under_way(flight: &Flight<Self::Purpose>, chain: &OnChain) -> bool;

    /// Whether the service may run now, or is to: such channels come first when something changes for all.
    fn may_serve(own: &Self::Own) -> bool;

    /// The last number that was given to an effect of the channel. Those of transactions of versions that numbered them elsewhere
    /// are not given again.
    fn last_effect(own: &mut Self::Own) -> &mut u32;

    /// A stored purpose as one of this side's about a channel; `None` for any other.
    fn purpose(stored: Purpose) -> Option<Self::Purpose>;

    /// The amount above which no voucher may be acknowledged, in base units, if there is one. Whoever stores the state stores it
    /// in the same transaction.
    fn ceiling(_: &State<Self>) -> Option<Amount> {
        None
    }

    /// The first of those that move the state on.
    fn owner(state: &State<Self>, env: &Env<'_, Self>) -> Owner {
        Self::owners(state, env).into_iter().next().unwrap_or(Owner::Nobody)
    }

    /// When time alone may change a decision. The shell stores it with the state and gives [`Input::Look`] then.
    fn wake(state: &State<Self>, env: &Env<'_, Self>) -> Wake {
        let owners = Self::owners(state, env);
        Wake {
            uptime: owners.iter().filter_map(Owner::uptime).min(),
            chain: owners.iter().filter_map(Owner::chain_time).min(),
        }
    }
}

/// When time alone may change a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// By the node's uptime.
    pub uptime: Option<Uptime>,
    /// By the chain's clock.
    pub chain: Option<ChainTime>,
}

/// Everything that one side knows about a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct State<P: Party> {
    /// The channel.
    pub id: ChannelId,
    /// What identifies it.
    pub descriptor: ChannelDescriptor,
    /// What the chain shows.
    pub chain: OnChain,
    /// The vouchers.
    pub book: Book,
    /// What was used, by this side's meter.
    pub meter: Meter,
    /// The offering's terms, copied when the channel opened: no later change of the offering stops its billing. `None` while
    /// the offering is not known.
    pub terms: Option<Arc<Terms>>,
    /// What this side did, and the answers that it received. No rollback of the chain changes it.
    pub own: P::Own,
}

impl<P: Party> State<P>
where
    P::Own: Default,
{
    /// The state of a channel of which nothing is known yet.
    pub fn new(id: ChannelId, descriptor: ChannelDescriptor) -> Self {
        Self::with(id, descriptor, P::Own::default())
    }
}

impl<P: Party> State<P> {
    /// The state of a channel of which only this side's own part is known.
    pub fn with(id: ChannelId, descriptor: ChannelDescriptor, own: P::Own) -> Self {
        let (chain, book, meter) = (OnChain::default(), Book::default(), Meter::default());
        Self { id, descriptor, chain, book, meter, terms: None, own }
    }

    /// The channel's status, for lists: what the chain shows, and what of ours is under way.
    pub fn status(&self) -> ChannelStatus {
        let phase = self.chain.phase();
        let flights = P::flights(&self.own).iter().filter(|flight| P::is_under_way(flight, &self.chain));
        let mut under_way = flights.filter_map(|flight| P::shown(flight.purpose));
        let is_shown =
            |under_way: &UnderWay| ChannelStatus::of(phase, Some(*under_way)).under_way().is_some();
        ChannelStatus::of(phase, under_way.find(is_shown))
    }

    /// The blocks with transactions of the channel whose outcomes are not final, each with whether the monitor has processed that
    /// very block: see [`Stage::Mined`]. Whoever loads the state sets it.
    pub fn mined(&mut self) -> impl Iterator<Item = (BlockRef, &mut bool)> {
        P::flights_mut(&mut self.own).iter_mut().filter_map(|flight| match &mut flight.stage {
            Stage::Mined { block, seen } => Some((*block, seen)),
            _ => None,
        })
    }
}

/// What was used of a service, by one side's meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Meter {
    /// The total over all sessions, in the measure of the terms.
    pub used: Usage,
    /// When it grew last.
    pub last: Uptime,
    /// Since when a session runs that `used` does not count yet. A service measured in seconds is used up by the clock then,
    /// without reports.
    pub running: Option<Uptime>,
}

/// What follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision<P: Party> {
    /// The state from now on.
    pub state: State<P>,
    /// What is to be done, in this order.
    pub effects: Vec<Effect<P>>,
}
