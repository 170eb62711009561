//! What the contract's own events come to: the network fee, and operators and nonces of accounts.

use alloy::primitives::Address;

use crate::{ChainTime, ContractEvent, Fee};

/// The network fee of offerings that are announced: the one that counts, and one that is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeeSchedule {
    fee: Fee,
    next: Option<(Fee, ChainTime)>,
}

impl FeeSchedule {
    /// Takes in an event that is in a block with the time `now`. Events must come in chain order; those that are not about the
    /// fee change nothing.
    pub fn apply(&mut self, now: ChainTime, event: &ContractEvent) {
        let ContractEvent::FeeChanged { fee, effective_at } = *event else { return };
        self.fee = self.at(now);
        self.next = None;
        if effective_at <= now {
            self.fee = fee;
        } else {
            self.next = Some((fee, effective_at));
        }
    }

    /// The fee that counts at `time`, as far as is known now. Times before the last change are not answered from memory:
    /// they get the fee that counts since.
    pub fn at(&self, time: ChainTime) -> Fee {
        match self.next {
            Some((fee, from)) if from <= time => fee,
            _ => self.fee,
        }
    }

    /// The fee that does not count at `now` yet, and from when it will.
    pub fn announced(&self, now: ChainTime) -> Option<(Fee, ChainTime)> {
        self.next.filter(|(_, from)| now < *from)
    }
}

/// What the chain says of an account of the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Who may act for it as an agent.
    pub operator: Option<Address>,
    /// Its nonce: what it signed with a lower one is void.
    pub nonce: u64,
}

impl AccountState {
    /// Takes in an event of this account. Events must come in chain order.
    pub const fn apply(&mut self, event: &ContractEvent) {
        match *event {
            ContractEvent::OperatorChanged { operator, nonce, .. } => *self = Self { operator, nonce },
            ContractEvent::ConsentsRevoked { nonce, .. } => self.nonce = nonce,
            ContractEvent::FeeChanged { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Address = Address::repeat_byte(0xa9);
    const OPERATOR: Address = Address::repeat_byte(0x09);

    fn t(seconds: u64) -> ChainTime {
        ChainTime::new(seconds)
    }

    fn fee(of: u16) -> Fee {
        Fee::new(of).unwrap()
    }

    /// Changes of the fee: the time of the block, the new fee, from when it counts.
    fn schedule(changes: &[(u64, u16, u64)]) -> FeeSchedule {
        let mut schedule = FeeSchedule::default();
        for (now, new, effective_at) in changes {
            let event = ContractEvent::FeeChanged { fee: fee(*new), effective_at: t(*effective_at) };
            schedule.apply(t(*now), &event);
            schedule.apply(t(*now), &ContractEvent::ConsentsRevoked { account: AGENT, nonce: 1 });
        }
        schedule
    }

    #[test]
    fn a_fee_that_falls_counts_at_once_and_one_that_rises_from_its_announced_time() {
        assert_eq!(schedule(&[]).at(ChainTime::MAX), Fee::ZERO);
        let fees = schedule(&[(10, 500, 10), (20, 900, 120)]);
        assert_eq!((fees.at(t(119)), fees.at(t(120))), (fee(500), fee(900)));
        assert_eq!((fees.announced(t(119)), fees.announced(t(120))), (Some((fee(900), t(120))), None));
    }

    #[test]
    fn an_announced_fee_is_withdrawn_before_its_time_and_stays_after_it() {
        let withdrawn = [(10, 900, 50), (40, 100, 140)];
        assert_eq!(schedule(&withdrawn).at(t(100)), Fee::ZERO);
        let fees = schedule(&[&withdrawn[..], &[(150, 300, 250)]].concat());
        assert_eq!((fees.at(t(249)), fees.at(t(250))), (fee(100), fee(300)));
    }

    #[test]
    fn an_account_has_its_last_operator_and_nonce() {
        let appoint = |operator, nonce| ContractEvent::OperatorChanged { agent: AGENT, operator, nonce };
        let mut state = AccountState::default();
        let steps = [
            (appoint(Some(OPERATOR), 1), (Some(OPERATOR), 1)),
            (ContractEvent::ConsentsRevoked { account: AGENT, nonce: 2 }, (Some(OPERATOR), 2)),
            (ContractEvent::FeeChanged { fee: fee(1), effective_at: t(0) }, (Some(OPERATOR), 2)),
            (appoint(None, 3), (None, 3)),
        ];
        for (event, expected) in steps {
            state.apply(&event);
            assert_eq!((state.operator, state.nonce), expected, "after {event:?}");
        }
    }
}
