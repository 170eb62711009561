//! Channels opened and topped up.

use alloy::primitives::Address;

use super::{Call, Channel, Contract, Event, Returned, Revert, contract::Events, contract::require_client};
use crate::{Amount, ChannelDescriptor, TransferAuthorization};

impl Contract {
    pub(super) fn run_on_deposits(
        &mut self,
        sender: Address,
        call: &Call,
        events: &mut Events,
    ) -> Result<Returned, Revert> {
        match *call {
            Call::Open { agent, offering, nonce, signer, amount } => {
                let descriptor = ChannelDescriptor { client: sender, agent, offering, nonce, signer };
                let opened = self.open(&descriptor, amount, events)?;
                self.debit(sender, amount)?;
                return Ok(opened);
            }
            Call::OpenFromWallet { agent, offering, nonce, signer, amount } => {
                let descriptor = ChannelDescriptor { client: sender, agent, offering, nonce, signer };
                self.pull(sender, amount)?;
                return self.open(&descriptor, amount, events);
            }
            Call::OpenWithAuthorization { ref descriptor, amount, ref authorization } => {
                if descriptor.client.is_zero() {
                    return Err(Revert::ZeroAddress);
                }
                let validity = (authorization.valid_after, authorization.valid_before);
                let signed = TransferAuthorization::opening(&self.domain, descriptor, amount, validity);
                self.pull_authorized(&signed, authorization)?;
                return self.open(descriptor, amount, events);
            }
            Call::TopUp { ref descriptor, amount } => {
                require_client(sender, descriptor)?;
                self.top_up(descriptor, amount, events)?;
                self.debit(sender, amount)?;
            }
            Call::TopUpFromWallet { ref descriptor, amount } => {
                require_client(sender, descriptor)?;
                self.pull(sender, amount)?;
                self.top_up(descriptor, amount, events)?;
            }
            Call::TopUpWithAuthorization { ref descriptor, amount, salt, ref authorization } => {
                let (id, channel) = self.open_channel(descriptor)?;
                if channel.challenge_ends_at.is_some() {
                    return Err(Revert::CloseAlreadyRequested { channel: id });
                }
                let validity = (authorization.valid_after, authorization.valid_before);
                let signed = TransferAuthorization::top_up(&self.domain, descriptor, amount, salt, validity);
                self.pull_authorized(&signed, authorization)?;
                self.top_up(descriptor, amount, events)?;
            }
            _ => unreachable!("only openings and top-ups come here"),
        }
        Ok(Returned::Nothing)
    }

    fn open(
        &mut self,
        descriptor: &ChannelDescriptor,
        deposit: Amount,
        events: &mut Events,
    ) -> Result<Returned, Revert> {
        let fee = self.take_place(descriptor.agent, descriptor.offering, deposit)?;
        let channel = descriptor.id(&self.domain);
        if self.channels.contains_key(&channel) {
            return Err(Revert::ChannelExists { channel });
        }
        self.channels.insert(channel, Channel::opened(deposit, fee));
        events.push(Event::ChannelOpened { channel, descriptor: *descriptor, deposit, fee });
        Ok(Returned::Channel(channel))
    }

    fn top_up(
        &mut self,
        descriptor: &ChannelDescriptor,
        amount: Amount,
        events: &mut Events,
    ) -> Result<(), Revert> {
        if amount.is_zero() {
            return Err(Revert::ZeroAmount);
        }
        let (id, mut channel) = self.open_channel(descriptor)?;
        let deposit = channel.deposit.saturating_add(amount);
        if !deposit.fits_on_chain() {
            return Err(Revert::AmountTooLarge { amount: deposit });
        }
        let request_cancelled = channel.challenge_ends_at.is_some();
        channel.cancel_request();
        channel.deposit = deposit;
        self.channels.insert(id, channel);
        let (client, agent) = (descriptor.client, descriptor.agent);
        events.push(Event::ChannelToppedUp { channel: id, client, agent, deposit, request_cancelled });
        Ok(())
    }
}
