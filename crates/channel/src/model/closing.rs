//! Channels settled and closed, one at a time.

use alloy::primitives::Address;

use super::{Call, Consent, Contract, Event, Revert, contract::Events, contract::require_client};
use crate::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, CloseAuthorization, Closure, Fee, RequestClose, Voucher,
};

/// A channel's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The deposit, top-ups included.
    pub deposit: Amount,
    /// Cumulative amount credited to the agent, fee included.
    pub paid: Amount,
    /// The end of the challenge, once the client has asked to close; it stays when the channel closes.
    pub challenge_ends_at: Option<ChainTime>,
    /// The network fee, fixed at the opening.
    pub fee: Fee,
    /// Whether it is open; else it is closed for ever.
    pub open: bool,
    /// Whether the agent was paid more than the client admitted while its close request stood.
    pub disputed: bool,
}

impl Channel {
    pub(super) const fn opened(deposit: Amount, fee: Fee) -> Self {
        Self { deposit, paid: Amount::ZERO, challenge_ends_at: None, fee, open: true, disputed: false }
    }

    pub(super) const fn cancel_request(&mut self) {
        self.challenge_ends_at = None;
        self.disputed = false;
    }

    /// What a signed amount brings in all: it is a ceiling, and so is the deposit.
    pub(super) fn due(&self, cumulative: Amount) -> Amount {
        cumulative.min(self.deposit)
    }

    pub(super) const fn by_agent(&self) -> Closure {
        if self.disputed { Closure::ByAgentDisputed } else { Closure::ByAgent }
    }
}

impl Contract {
    pub(super) fn run_on_channel(
        &mut self,
        sender: Address,
        call: &Call,
        events: &mut Events,
    ) -> Result<(), Revert> {
        match *call {
            Call::Settle { ref descriptor, cumulative, ref signature } => {
                self.settle(descriptor, cumulative, signature, events)
            }
            Call::Close { ref descriptor, cumulative, ref signature } => {
                self.require_agent(sender, descriptor.agent)?;
                let (id, channel) = self.open_channel(descriptor)?;
                let due = channel.due(cumulative);
                if due > channel.paid {
                    self.require_voucher(descriptor, cumulative, signature)?;
                    self.pay(descriptor, id, due);
                }
                self.close_by_agent(descriptor, id, events);
                Ok(())
            }
            Call::CloseWithBoth { ref descriptor, cumulative, ref voucher, ref consent } => {
                self.close_with_both(descriptor, cumulative, voucher, consent, events)
            }
            Call::RequestClose { ref descriptor, admitted } => {
                require_client(sender, descriptor)?;
                self.request_close(descriptor, admitted, events)
            }
            Call::RequestCloseFor { ref descriptor, admitted, nonce, deadline, ref signature } => {
                let (channel, _) = self.open_channel(descriptor)?;
                self.require_current(descriptor.client, nonce, deadline)?;
                let request = RequestClose { channel, admitted, nonce, deadline };
                if !self.is_signed(descriptor, request.digest(&self.domain), signature) {
                    return Err(Revert::InvalidSignature { channel });
                }
                self.request_close(descriptor, admitted, events)
            }
            Call::CancelClose { ref descriptor } => {
                require_client(sender, descriptor)?;
                let (id, mut channel) = self.open_channel(descriptor)?;
                if channel.challenge_ends_at.is_none() {
                    return Err(Revert::CloseNotRequested { channel: id });
                }
                channel.cancel_request();
                self.channels.insert(id, channel);
                let (client, agent) = (descriptor.client, descriptor.agent);
                events.push(Event::ChannelCloseCancelled { channel: id, client, agent });
                Ok(())
            }
            Call::FinalizeClose { ref descriptor } => {
                let (id, channel) = self.open_channel(descriptor)?;
                let ends_at = channel.challenge_ends_at.ok_or(Revert::CloseNotRequested { channel: id })?;
                self.not_before(ends_at)?;
                let closure = if channel.disputed { Closure::ByClientDisputed } else { Closure::ByClient };
                self.close(descriptor, id, closure, events);
                Ok(())
            }
            _ => unreachable!("only calls about one channel come here"),
        }
    }

    fn settle(
        &mut self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        signature: &[u8],
        events: &mut Events,
    ) -> Result<(), Revert> {
        let (id, channel) = self.open_channel(descriptor)?;
        let due = channel.due(cumulative);
        if due <= channel.paid {
            return Err(Revert::NothingToSettle { channel: id, paid: channel.paid });
        }
        self.require_voucher(descriptor, cumulative, signature)?;
        self.pay(descriptor, id, due);
        let (client, agent) = (descriptor.client, descriptor.agent);
        events.push(Event::ChannelSettled { channel: id, client, agent, paid: due });
        Ok(())
    }

    fn close_with_both(
        &mut self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        voucher: &[u8],
        consent: &Consent,
        events: &mut Events,
    ) -> Result<(), Revert> {
        let (id, channel) = self.open_channel(descriptor)?;
        if cumulative < channel.paid {
            return Err(Revert::BelowPaid { amount: cumulative, paid: channel.paid });
        }
        self.require_voucher(descriptor, cumulative, voucher)?;
        let Consent { nonce, deadline, ref signature } = *consent;
        self.require_current(descriptor.agent, nonce, deadline)?;
        let signed = CloseAuthorization { channel: id, cumulative, nonce, deadline };
        if !self.binds_agent(descriptor.agent, signed.digest(&self.domain), signature) {
            return Err(Revert::InvalidSignature { channel: id });
        }
        let due = channel.due(cumulative);
        if due > channel.paid {
            self.pay(descriptor, id, due);
        }
        self.close(descriptor, id, Closure::ByBoth, events);
        Ok(())
    }

    fn request_close(
        &mut self,
        descriptor: &ChannelDescriptor,
        admitted: Amount,
        events: &mut Events,
    ) -> Result<(), Revert> {
        let (id, channel) = self.open_channel(descriptor)?;
        if channel.challenge_ends_at.is_some() {
            return Err(Revert::CloseAlreadyRequested { channel: id });
        }
        let due = channel.due(admitted);
        if due > channel.paid {
            self.pay(descriptor, id, due);
        }
        let (ends_at, paid) = (self.time.plus(self.terms.challenge), due.max(channel.paid));
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.challenge_ends_at = Some(ends_at);
        }
        let (client, agent) = (descriptor.client, descriptor.agent);
        events.push(Event::ChannelCloseRequested { channel: id, client, agent, paid, ends_at });
        Ok(())
    }

    pub(super) fn is_voucher(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        signature: &[u8],
    ) -> bool {
        let voucher = Voucher { channel: descriptor.id(&self.domain), cumulative };
        self.is_signed(descriptor, voucher.digest(&self.domain), signature)
    }

    fn require_voucher(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        signature: &[u8],
    ) -> Result<(), Revert> {
        if self.is_voucher(descriptor, cumulative, signature) {
            return Ok(());
        }
        Err(Revert::InvalidSignature { channel: descriptor.id(&self.domain) })
    }

    /// Credits the agent up to `cumulative`, which is between what is paid and the deposit. The fee is taken of the
    /// cumulative amount, so that it does not depend on the number of settlements. Whatever is paid while a close request
    /// stands is disputed.
    pub(super) fn pay(&mut self, descriptor: &ChannelDescriptor, id: ChannelId, cumulative: Amount) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let before = std::mem::replace(&mut channel.paid, cumulative);
        channel.disputed |= channel.challenge_ends_at.is_some();
        let fees = channel.fee.of(cumulative).saturating_sub(channel.fee.of(before));
        self.credit(descriptor.agent, cumulative.saturating_sub(before).saturating_sub(fees));
        self.credit_fees(fees);
    }

    pub(super) fn close_by_agent(
        &mut self,
        descriptor: &ChannelDescriptor,
        id: ChannelId,
        events: &mut Events,
    ) {
        let closure = self.channels.get(&id).map_or(Closure::ByAgent, Channel::by_agent);
        self.close(descriptor, id, closure, events);
    }

    fn close(
        &mut self,
        descriptor: &ChannelDescriptor,
        id: ChannelId,
        closure: Closure,
        events: &mut Events,
    ) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.open = false;
        let (paid, refund) = (channel.paid, channel.deposit.saturating_sub(channel.paid));
        let ChannelDescriptor { client, agent, offering, .. } = *descriptor;
        self.free_place(agent, offering);
        self.credit(client, refund);
        events.push(Event::ChannelClosed { channel: id, client, agent, offering, paid, refund, closure });
    }
}
