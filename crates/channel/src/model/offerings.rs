//! Offerings.

use alloy::primitives::Address;

use super::{Call, Contract, Event, Revert, Source, contract::Events};
use crate::{Amount, ChainTime, Fee, OfferingHash};

/// The longest source, in bytes.
const MAX_SOURCE: usize = 300;

/// The life of an offering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferingState {
    /// Channels can be opened while places are free.
    Live,
    /// For ever.
    Removed,
}

/// An offering's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offering {
    /// The least deposit, and the agent's stake per place.
    pub min_deposit: Amount,
    /// Free places.
    pub supply: u32,
    /// Channels open under it.
    pub open: u32,
    /// The time of its last announcement.
    pub updated_at: ChainTime,
    /// The network fee of channels opened from now on.
    pub fee: Fee,
    /// Whether it can be used.
    pub state: OfferingState,
}

impl Contract {
    pub(super) fn run_on_offerings(
        &mut self,
        sender: Address,
        call: &Call,
        events: &mut Events,
    ) -> Result<(), Revert> {
        match *call {
            Call::RegisterOffering { offering, min_deposit, supply, ref source } => {
                self.register(sender, offering, min_deposit, supply, source, events)
            }
            Call::RegisterOfferingFor { agent, offering, min_deposit, supply, ref source } => {
                self.require_agent(sender, agent)?;
                self.register(agent, offering, min_deposit, supply, source, events)
            }
            Call::PopUpOffering { offering, ref source } => self.pop_up(sender, offering, source, events),
            Call::PopUpOfferingFor { agent, offering, ref source } => {
                self.require_agent(sender, agent)?;
                self.pop_up(agent, offering, source, events)
            }
            Call::RemoveOffering { offering } => self.remove(sender, offering, events),
            Call::RemoveOfferingFor { agent, offering } => {
                self.require_agent(sender, agent)?;
                self.remove(agent, offering, events)
            }
            Call::RefreshOfferingFee { agent, offering } => self.refresh_fee(agent, offering, events),
            _ => unreachable!("only calls about offerings come here"),
        }
    }

    fn register(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
        source: &Source,
        events: &mut Events,
    ) -> Result<(), Revert> {
        if supply == 0 {
            return Err(Revert::ZeroAmount);
        }
        let minimum = self.terms.min_stake;
        if min_deposit < minimum {
            return Err(Revert::StakeTooSmall { stake: min_deposit, minimum });
        }
        require_short(source)?;
        if self.offerings.contains_key(&(agent, offering)) {
            return Err(Revert::OfferingExists { agent, offering });
        }
        self.debit(agent, stake(min_deposit, supply))?;
        let (updated_at, fee, state) = (self.time, self.fee(), OfferingState::Live);
        self.offerings
            .insert((agent, offering), Offering { min_deposit, supply, open: 0, updated_at, fee, state });
        let source = source.clone();
        events.push(Event::OfferingRegistered { agent, offering, min_deposit, supply, fee, source });
        Ok(())
    }

    fn pop_up(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        source: &Source,
        events: &mut Events,
    ) -> Result<(), Revert> {
        require_short(source)?;
        let updated_at = self.live(agent, offering)?.updated_at;
        self.not_before(updated_at.plus(self.terms.pop_up))?;
        let (now, fee) = (self.time, self.fee());
        let live = self.live(agent, offering)?;
        (live.updated_at, live.fee) = (now, fee);
        let (min_deposit, supply, source) = (live.min_deposit, live.supply, source.clone());
        events.push(Event::OfferingPoppedUp { agent, offering, min_deposit, supply, fee, source });
        Ok(())
    }

    fn remove(&mut self, agent: Address, offering: OfferingHash, events: &mut Events) -> Result<(), Revert> {
        let updated_at = self.live(agent, offering)?.updated_at;
        self.not_before(updated_at.plus(self.terms.remove))?;
        let live = self.live(agent, offering)?;
        live.state = OfferingState::Removed;
        let unused = stake(live.min_deposit, std::mem::take(&mut live.supply));
        self.credit(agent, unused);
        events.push(Event::OfferingRemoved { agent, offering });
        Ok(())
    }

    fn refresh_fee(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        events: &mut Events,
    ) -> Result<(), Revert> {
        let fee = self.fee();
        let live = *self.live(agent, offering)?;
        if fee > live.fee {
            self.not_before(live.updated_at.plus(self.terms.fee_delay))?;
        }
        self.live(agent, offering)?.fee = fee;
        events.push(Event::OfferingFeeRefreshed { agent, offering, fee });
        Ok(())
    }

    /// Takes a place for a channel of `amount`; the fee that the channel will have.
    pub(super) fn take_place(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        amount: Amount,
    ) -> Result<Fee, Revert> {
        let live = self.live(agent, offering)?;
        if live.supply == 0 {
            return Err(Revert::NoSupply { agent, offering });
        }
        if amount < live.min_deposit {
            return Err(Revert::DepositTooSmall { deposit: amount, minimum: live.min_deposit });
        }
        live.supply -= 1;
        live.open += 1;
        Ok(live.fee)
    }

    pub(super) fn free_place(&mut self, agent: Address, offering: OfferingHash) {
        let Some(found) = self.offerings.get_mut(&(agent, offering)) else { return };
        found.open -= 1;
        match found.state {
            OfferingState::Live => found.supply += 1,
            OfferingState::Removed => {
                let stake = found.min_deposit;
                self.credit(agent, stake);
            }
        }
    }

    fn live(&mut self, agent: Address, offering: OfferingHash) -> Result<&mut Offering, Revert> {
        self.offerings
            .get_mut(&(agent, offering))
            .filter(|found| found.state == OfferingState::Live)
            .ok_or(Revert::OfferingNotLive { agent, offering })
    }
}

fn require_short(source: &Source) -> Result<(), Revert> {
    let length = source.address.len();
    if length > MAX_SOURCE {
        return Err(Revert::SourceTooLong { length: length as u64, maximum: MAX_SOURCE as u64 });
    }
    Ok(())
}

fn stake(min_deposit: Amount, places: u32) -> Amount {
    min_deposit.checked_mul(places.into()).unwrap_or(Amount::MAX)
}
