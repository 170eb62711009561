//! Many channels of one agent: what cannot be done is skipped and reported.

use alloy::primitives::Address;

use super::{Channel, Claim, Contract, Event, SkipReason, contract::Events};
use crate::{ChannelDescriptor, ChannelId};

impl Contract {
    /// The number of rows that took effect.
    pub(super) fn settle_batch(&mut self, agent: Address, claims: &[Claim], events: &mut Events) -> u64 {
        self.each(agent, claims, events, |contract, descriptor, id, channel, claim, events| {
            let due = channel.due(claim.cumulative);
            if due <= channel.paid {
                return Err(SkipReason::NothingToSettle);
            }
            if !contract.is_voucher(descriptor, claim.cumulative, &claim.signature) {
                return Err(SkipReason::InvalidSignature);
            }
            contract.pay(descriptor, id, due);
            events.push(Event::ChannelSettled { channel: id, client: claim.client, agent, paid: due });
            Ok(())
        })
    }

    /// The number of rows that took effect.
    pub(super) fn close_batch(&mut self, agent: Address, claims: &[Claim], events: &mut Events) -> u64 {
        self.each(agent, claims, events, |contract, descriptor, id, channel, claim, events| {
            let due = channel.due(claim.cumulative);
            if due > channel.paid {
                if !contract.is_voucher(descriptor, claim.cumulative, &claim.signature) {
                    return Err(SkipReason::InvalidSignature);
                }
                contract.pay(descriptor, id, due);
            }
            contract.close_by_agent(descriptor, id, events);
            Ok(())
        })
    }

    fn each(
        &mut self,
        agent: Address,
        claims: &[Claim],
        events: &mut Events,
        row: impl Fn(
            &mut Self,
            &ChannelDescriptor,
            ChannelId,
            Channel,
            &Claim,
            &mut Events,
        ) -> Result<(), SkipReason>,
    ) -> u64 {
        let mut done = 0;
        for (index, claim) in (0..).zip(claims) {
            let descriptor = claim.descriptor(agent);
            let id = descriptor.id(&self.domain);
            let outcome = match self.channels.get(&id).copied() {
                None => Err(SkipReason::NotOpened),
                Some(channel) if !channel.open => Err(SkipReason::Closed),
                Some(channel) => row(self, &descriptor, id, channel, claim, events),
            };
            match outcome {
                Ok(()) => done += 1,
                Err(reason) => events.push(Event::ClaimSkipped { index, channel: id, reason }),
            }
        }
        done
    }
}
