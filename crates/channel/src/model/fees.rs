//! The network fee: who sets it, and from when it counts.

use alloy::primitives::Address;

use super::{Contract, Event, Revert, contract::Events};
use crate::{ChainTime, Fee};

/// The fee, and the one that is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeeSchedule {
    fee: Fee,
    next: Option<(Fee, ChainTime)>,
}

impl FeeSchedule {
    /// The fee that counts at `now`.
    pub fn in_force(&self, now: ChainTime) -> Fee {
        match self.next {
            Some((fee, at)) if now >= at => fee,
            _ => self.fee,
        }
    }

    /// A higher fee that is announced and does not count at `now` yet, with the time from which it counts.
    pub fn announced(&self, now: ChainTime) -> Option<(Fee, ChainTime)> {
        self.next.filter(|&(_, at)| now < at)
    }
}

impl Contract {
    /// A higher fee that is announced, with the time from which it counts.
    pub fn next_fee(&self) -> Option<(Fee, ChainTime)> {
        self.fees.announced(self.time)
    }

    /// Who gets and sets the fee.
    pub const fn fee_address(&self) -> Address {
        self.fee_address
    }

    /// Who may become the fee address; zero when nobody may.
    pub const fn proposed_fee_address(&self) -> Address {
        self.proposed_fee_address
    }

    pub(super) fn set_fee(&mut self, sender: Address, fee: u16, events: &mut Events) -> Result<(), Revert> {
        self.only_fee_address(sender)?;
        let fee = Fee::new(fee).map_err(|_| Revert::FeeTooHigh { fee })?;
        let current = self.fee();
        let effective_at = if fee > current {
            let at = self.time.plus(self.terms.fee_delay);
            self.fees = FeeSchedule { fee: current, next: Some((fee, at)) };
            at
        } else {
            self.fees = FeeSchedule { fee, next: None };
            self.time
        };
        events.push(Event::FeeChanged { fee, effective_at });
        Ok(())
    }

    pub(super) fn propose_fee_address(
        &mut self,
        sender: Address,
        proposed: Address,
        events: &mut Events,
    ) -> Result<(), Revert> {
        self.only_fee_address(sender)?;
        self.proposed_fee_address = proposed;
        events.push(Event::FeeAddressProposed { current: sender, proposed });
        Ok(())
    }

    pub(super) fn accept_fee_address(&mut self, sender: Address, events: &mut Events) -> Result<(), Revert> {
        if sender != self.proposed_fee_address {
            return Err(Revert::NotProposedFeeAddress { caller: sender });
        }
        let previous = self.fee_address;
        let fees = std::mem::take(&mut self.uncollected_fees);
        self.credit(previous, fees);
        self.fee_address = sender;
        self.proposed_fee_address = Address::ZERO;
        events.push(Event::FeeAddressChanged { previous, current: sender });
        Ok(())
    }

    fn only_fee_address(&self, caller: Address) -> Result<(), Revert> {
        if caller == self.fee_address { Ok(()) } else { Err(Revert::NotFeeAddress { caller }) }
    }
}
