//! The contract's rules.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "a reference for tests: an overflow is a finding, and is to fail them"
)]

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};

use super::{Call, Claim, Event, Revert};
use crate::{
    Amount, ChainEvent, ChannelDescriptor, ChannelId, CloseAuthorization, Domain, Fee, OfferingHash, Voucher,
    VoucherSignature, signature::address_of,
};

/// The contract's periods, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// Between two announcements of an offering.
    pub pop_up: u64,
    /// From the last announcement of an offering to its removal.
    pub remove: u64,
    /// In which an agent can answer a close request.
    pub challenge: u64,
}

/// A channel's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The deposit, top-ups included.
    pub deposit: Amount,
    /// Cumulative amount credited to the agent, fee included.
    pub paid: Amount,
    /// The block of the client's close request, if one stands.
    pub close_requested_at: Option<u64>,
    /// The network fee, fixed at the opening.
    pub fee: Fee,
    /// Whether it is open; else it is closed for ever.
    pub open: bool,
}

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
    /// The block of its last announcement.
    pub updated_at: u64,
    /// The network fee of channels opened from now on.
    pub fee: Fee,
    /// Whether it can be used.
    pub state: OfferingState,
}

/// The service contract and the token's wallets, at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    domain: Domain,
    periods: Periods,
    block: u64,
    fee: Fee,
    fee_address: Address,
    proposed_fee_address: Address,
    /// Beside the fee address's balance, and its own.
    uncollected_fees: Amount,
    /// Tokens that the contract holds.
    held: Amount,
    wallets: BTreeMap<Address, Amount>,
    balances: BTreeMap<Address, Amount>,
    offerings: BTreeMap<(Address, OfferingHash), Offering>,
    channels: BTreeMap<ChannelId, Channel>,
}

impl Contract {
    /// A fresh contract at block 1, with no fee.
    pub fn new(domain: Domain, fee_address: Address, periods: Periods) -> Self {
        Self {
            domain,
            periods,
            block: 1,
            fee: Fee::ZERO,
            fee_address,
            proposed_fee_address: Address::ZERO,
            uncollected_fees: Amount::ZERO,
            held: Amount::ZERO,
            wallets: BTreeMap::new(),
            balances: BTreeMap::new(),
            offerings: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }

    /// Puts tokens into a wallet, which allows the contract to take them.
    pub fn fund(&mut self, account: Address, amount: Amount) {
        add(self.wallets.entry(account).or_default(), amount);
    }

    /// The block in which calls happen.
    pub const fn block(&self) -> u64 {
        self.block
    }

    /// Goes on to a later block.
    pub const fn set_block(&mut self, block: u64) {
        self.block = block;
    }

    /// The contract's domain.
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The contract's periods.
    pub const fn periods(&self) -> Periods {
        self.periods
    }

    /// The fee of offerings that are announced or refreshed from now on.
    pub const fn fee(&self) -> Fee {
        self.fee
    }

    /// Who gets and sets the fee.
    pub const fn fee_address(&self) -> Address {
        self.fee_address
    }

    /// Who may become the fee address; zero when nobody may.
    pub const fn proposed_fee_address(&self) -> Address {
        self.proposed_fee_address
    }

    /// An account's internal balance; the fee address's holds the fees.
    pub fn balance_of(&self, account: Address) -> Amount {
        let fees = if account == self.fee_address { self.uncollected_fees } else { Amount::ZERO };
        self.balances.get(&account).copied().unwrap_or_default().saturating_add(fees)
    }

    /// The tokens in an account's wallet.
    pub fn wallet_of(&self, account: Address) -> Amount {
        self.wallets.get(&account).copied().unwrap_or_default()
    }

    /// The tokens that the contract holds.
    pub const fn held(&self) -> Amount {
        self.held
    }

    /// A channel, if it was ever opened.
    pub fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(&id)
    }

    /// An offering, if it was ever registered.
    pub fn offering(&self, agent: Address, offering: OfferingHash) -> Option<&Offering> {
        self.offerings.get(&(agent, offering))
    }

    /// Every offering.
    pub fn offerings(&self) -> impl Iterator<Item = (Address, OfferingHash, &Offering)> {
        self.offerings.iter().map(|(&(agent, hash), offering)| (agent, hash, offering))
    }

    /// Every channel.
    pub fn channels(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        self.channels.iter().map(|(&id, channel)| (id, channel))
    }

    /// Invariant 1: the tokens held are the internal balances, what channels still hold and the agents' stakes.
    pub fn is_conserved(&self) -> bool {
        let balances: u128 = self.balances.values().map(|amount| amount.get()).sum();
        let channels: u128 = self
            .channels
            .values()
            .filter(|channel| channel.open)
            .map(|channel| channel.deposit.get() - channel.paid.get())
            .sum();
        let stakes: u128 = self
            .offerings
            .values()
            .map(|offering| offering.min_deposit.get() * u128::from(offering.supply + offering.open))
            .sum();
        self.held.get() == balances + self.uncollected_fees.get() + channels + stakes
    }

    /// Makes a call as `sender` in the current block. A refused call changes nothing.
    pub fn call(&mut self, sender: Address, call: &Call) -> Result<Vec<Event>, Revert> {
        let mut next = self.clone();
        let mut events = Vec::new();
        next.run(sender, call, &mut events)?;
        *self = next;
        Ok(events)
    }

    fn run(&mut self, sender: Address, call: &Call, events: &mut Vec<Event>) -> Result<(), Revert> {
        match *call {
            Call::Deposit { amount } => {
                non_zero(amount)?;
                self.pull(sender, amount)?;
                self.credit(sender, amount);
                events.push(Event::Deposited { account: sender, amount });
            }
            Call::Withdraw { amount } => {
                non_zero(amount)?;
                self.debit(sender, amount)?;
                take(&mut self.held, amount);
                self.fund(sender, amount);
                events.push(Event::Withdrawn { account: sender, amount });
            }
            Call::RegisterOffering { offering, min_deposit, supply } => {
                self.register(sender, offering, min_deposit, supply, events)?;
            }
            Call::PopUpOffering { offering } => self.pop_up(sender, offering, events)?,
            Call::RemoveOffering { offering } => self.remove(sender, offering, events)?,
            Call::RefreshOfferingFee { agent, offering } => {
                let fee = self.fee;
                self.live(agent, offering)?.fee = fee;
                events.push(Event::OfferingFeeRefreshed { agent, offering, fee: fee.get() });
            }
            Call::Open { agent, offering, nonce, signer, amount } => {
                let descriptor = ChannelDescriptor { client: sender, agent, offering, nonce, signer };
                self.open(&descriptor, amount, events)?;
                self.debit(sender, amount)?;
            }
            Call::OpenFromWallet { agent, offering, nonce, signer, amount } => {
                let descriptor = ChannelDescriptor { client: sender, agent, offering, nonce, signer };
                self.open(&descriptor, amount, events)?;
                self.pull(sender, amount)?;
            }
            Call::TopUp { ref descriptor, amount } => {
                self.top_up(sender, descriptor, amount, events)?;
                self.debit(sender, amount)?;
            }
            Call::TopUpFromWallet { ref descriptor, amount } => {
                self.top_up(sender, descriptor, amount, events)?;
                self.pull(sender, amount)?;
            }
            Call::Settle { ref descriptor, cumulative, ref signature } => {
                let (id, channel) = self.open_channel(descriptor)?;
                if cumulative <= channel.paid {
                    return Err(Revert::NothingToSettle { channel: id, paid: channel.paid });
                }
                self.check_voucher(descriptor, channel, cumulative, signature)?;
                let paid = self.pay(descriptor, id, cumulative);
                events.push(about(descriptor, id, ChainEvent::Settled { paid }));
            }
            Call::SettleBatch { agent, ref claims } => self.settle_batch(agent, claims, events)?,
            Call::Close { ref descriptor, cumulative, ref signature } => {
                if sender != descriptor.agent {
                    return Err(Revert::NotAgent { caller: sender });
                }
                let (id, channel) = self.open_channel(descriptor)?;
                if cumulative > channel.paid {
                    self.check_voucher(descriptor, channel, cumulative, signature)?;
                    self.pay(descriptor, id, cumulative);
                }
                self.close(descriptor, id, true, events);
            }
            Call::CloseBatch { ref claims } => self.close_batch(sender, claims, events)?,
            Call::CloseWithBoth { ref descriptor, cumulative, ref voucher, ref close } => {
                self.close_with_both(descriptor, cumulative, voucher, close, events)?;
            }
            Call::RequestClose { ref descriptor, admitted } => {
                self.request_close(sender, descriptor, admitted, events)?;
            }
            Call::FinalizeClose { ref descriptor } => {
                if sender != descriptor.client {
                    return Err(Revert::NotClient { caller: sender });
                }
                let (id, channel) = self.open_channel(descriptor)?;
                let since = channel.close_requested_at.ok_or(Revert::CloseNotRequested { channel: id })?;
                self.not_before(since + self.periods.challenge)?;
                self.close(descriptor, id, false, events);
            }
            Call::SetFee { fee } => {
                self.only_fee_address(sender)?;
                self.fee = Fee::new(fee).map_err(|_| Revert::FeeTooHigh { fee })?;
                events.push(Event::FeeChanged { fee });
            }
            Call::ProposeFeeAddress { proposed } => {
                self.only_fee_address(sender)?;
                self.proposed_fee_address = proposed;
                events.push(Event::FeeAddressProposed { current: sender, proposed });
            }
            Call::AcceptFeeAddress => {
                if sender != self.proposed_fee_address {
                    return Err(Revert::NotProposedFeeAddress { caller: sender });
                }
                let previous = self.fee_address;
                let fees = std::mem::take(&mut self.uncollected_fees);
                self.credit(previous, fees);
                self.fee_address = sender;
                self.proposed_fee_address = Address::ZERO;
                events.push(Event::FeeAddressChanged { previous, current: sender });
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------ offerings

    fn register(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        if min_deposit.is_zero() || supply == 0 {
            return Err(Revert::ZeroAmount);
        }
        if self.offerings.contains_key(&(agent, offering)) {
            return Err(Revert::OfferingExists { agent, offering });
        }
        self.debit(agent, stake(min_deposit, supply))?;
        let (updated_at, fee) = (self.block, self.fee);
        let state = OfferingState::Live;
        self.offerings
            .insert((agent, offering), Offering { min_deposit, supply, open: 0, updated_at, fee, state });
        events.push(Event::OfferingRegistered { agent, offering, min_deposit, supply });
        Ok(())
    }

    fn pop_up(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        let (block, fee, period) = (self.block, self.fee, self.periods.pop_up);
        let updated_at = self.live(agent, offering)?.updated_at;
        self.not_before(updated_at + period)?;
        let live = self.live(agent, offering)?;
        (live.updated_at, live.fee) = (block, fee);
        let (min_deposit, supply) = (live.min_deposit, live.supply);
        events.push(Event::OfferingPoppedUp { agent, offering, min_deposit, supply });
        Ok(())
    }

    fn remove(
        &mut self,
        agent: Address,
        offering: OfferingHash,
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        let updated_at = self.live(agent, offering)?.updated_at;
        self.not_before(updated_at + self.periods.remove)?;
        let live = self.live(agent, offering)?;
        live.state = OfferingState::Removed;
        let unused = stake(live.min_deposit, std::mem::take(&mut live.supply));
        self.credit(agent, unused);
        events.push(Event::OfferingRemoved { agent, offering });
        Ok(())
    }

    fn live(&mut self, agent: Address, offering: OfferingHash) -> Result<&mut Offering, Revert> {
        self.offerings
            .get_mut(&(agent, offering))
            .filter(|found| found.state == OfferingState::Live)
            .ok_or(Revert::OfferingNotLive { agent, offering })
    }

    // ------------------------------------------------------------ channels

    fn open(
        &mut self,
        descriptor: &ChannelDescriptor,
        amount: Amount,
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        let (agent, offering) = (descriptor.agent, descriptor.offering);
        let live = self.live(agent, offering)?;
        if live.supply == 0 {
            return Err(Revert::NoSupply { agent, offering });
        }
        if amount < live.min_deposit {
            return Err(Revert::DepositTooSmall { deposit: amount, minimum: live.min_deposit });
        }
        live.supply -= 1;
        live.open += 1;
        let fee = live.fee;
        let id = descriptor.id(&self.domain);
        if self.channels.contains_key(&id) {
            return Err(Revert::ChannelExists { channel: id });
        }
        let channel =
            Channel { deposit: amount, paid: Amount::ZERO, close_requested_at: None, fee, open: true };
        self.channels.insert(id, channel);
        events.push(about(descriptor, id, ChainEvent::Opened { deposit: amount, fee }));
        Ok(())
    }

    fn top_up(
        &mut self,
        sender: Address,
        descriptor: &ChannelDescriptor,
        amount: Amount,
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        if sender != descriptor.client {
            return Err(Revert::NotClient { caller: sender });
        }
        non_zero(amount)?;
        let (id, mut channel) = self.open_channel(descriptor)?;
        let deposit = channel.deposit.saturating_add(amount);
        if !deposit.fits_on_chain() {
            return Err(Revert::AmountTooLarge { amount: deposit });
        }
        (channel.deposit, channel.close_requested_at) = (deposit, None);
        self.channels.insert(id, channel);
        events.push(about(descriptor, id, ChainEvent::ToppedUp { deposit }));
        Ok(())
    }

    fn settle_batch(
        &mut self,
        agent: Address,
        claims: &[Claim],
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        for claim in claims {
            let descriptor = claim.descriptor(agent);
            let Ok((id, channel)) = self.open_channel(&descriptor) else { continue };
            if claim.cumulative > channel.paid {
                self.check_voucher(&descriptor, channel, claim.cumulative, &claim.signature)?;
                let paid = self.pay(&descriptor, id, claim.cumulative);
                events.push(about(&descriptor, id, ChainEvent::Settled { paid }));
            }
        }
        Ok(())
    }

    fn close_batch(
        &mut self,
        agent: Address,
        claims: &[Claim],
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        for claim in claims {
            let descriptor = claim.descriptor(agent);
            let Ok((id, channel)) = self.open_channel(&descriptor) else { continue };
            if claim.cumulative > channel.paid {
                self.check_voucher(&descriptor, channel, claim.cumulative, &claim.signature)?;
                self.pay(&descriptor, id, claim.cumulative);
            }
            self.close(&descriptor, id, true, events);
        }
        Ok(())
    }

    fn close_with_both(
        &mut self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        voucher: &[u8],
        close: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        let (id, channel) = self.open_channel(descriptor)?;
        if cumulative < channel.paid {
            return Err(Revert::BelowPaid { amount: cumulative, paid: channel.paid });
        }
        self.check_voucher(descriptor, channel, cumulative, voucher)?;
        let consent = CloseAuthorization { channel: id, cumulative }.digest(&self.domain);
        if !is_signed_by(descriptor.agent, consent, close) {
            return Err(Revert::InvalidSignature { channel: id });
        }
        self.pay(descriptor, id, cumulative);
        self.close(descriptor, id, true, events);
        Ok(())
    }

    fn request_close(
        &mut self,
        sender: Address,
        descriptor: &ChannelDescriptor,
        admitted: Amount,
        events: &mut Vec<Event>,
    ) -> Result<(), Revert> {
        if sender != descriptor.client {
            return Err(Revert::NotClient { caller: sender });
        }
        let (id, channel) = self.open_channel(descriptor)?;
        if channel.close_requested_at.is_some() {
            return Err(Revert::CloseAlreadyRequested { channel: id });
        }
        if admitted > channel.deposit {
            return Err(Revert::AmountAboveDeposit { amount: admitted, deposit: channel.deposit });
        }
        let paid = self.pay(descriptor, id, admitted.max(channel.paid));
        let since = self.block;
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.close_requested_at = Some(since);
        }
        events.push(about(descriptor, id, ChainEvent::CloseRequested { paid }));
        Ok(())
    }

    fn open_channel(&self, descriptor: &ChannelDescriptor) -> Result<(ChannelId, Channel), Revert> {
        let id = descriptor.id(&self.domain);
        let channel = self.channels.get(&id).filter(|channel| channel.open);
        channel.map(|channel| (id, *channel)).ok_or(Revert::ChannelNotOpen { channel: id })
    }

    fn check_voucher(
        &self,
        descriptor: &ChannelDescriptor,
        channel: Channel,
        cumulative: Amount,
        signature: &[u8],
    ) -> Result<(), Revert> {
        if cumulative > channel.deposit {
            return Err(Revert::AmountAboveDeposit { amount: cumulative, deposit: channel.deposit });
        }
        let voucher = Voucher { channel: descriptor.id(&self.domain), cumulative };
        if !is_signed_by(descriptor.voucher_signer(), voucher.digest(&self.domain), signature) {
            return Err(Revert::InvalidSignature { channel: voucher.channel });
        }
        Ok(())
    }

    /// Credits the agent up to `cumulative`, which is between what is paid and the deposit. The fee is taken of the
    /// cumulative amount, so that it does not depend on the number of settlements.
    fn pay(&mut self, descriptor: &ChannelDescriptor, id: ChannelId, cumulative: Amount) -> Amount {
        let Some(channel) = self.channels.get_mut(&id) else { return cumulative };
        let before = std::mem::replace(&mut channel.paid, cumulative);
        let fees = channel.fee.of(cumulative).saturating_sub(channel.fee.of(before));
        self.credit(descriptor.agent, cumulative.saturating_sub(before).saturating_sub(fees));
        add(&mut self.uncollected_fees, fees);
        cumulative
    }

    fn close(
        &mut self,
        descriptor: &ChannelDescriptor,
        id: ChannelId,
        cooperative: bool,
        events: &mut Vec<Event>,
    ) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.open = false;
        let (paid, refund) = (channel.paid, channel.deposit.saturating_sub(channel.paid));
        self.credit(descriptor.client, refund);
        if let Some(offering) = self.offerings.get_mut(&(descriptor.agent, descriptor.offering)) {
            offering.open -= 1;
            match offering.state {
                OfferingState::Live => offering.supply += 1,
                OfferingState::Removed => {
                    let stake = offering.min_deposit;
                    self.credit(descriptor.agent, stake);
                }
            }
        }
        events.push(about(descriptor, id, ChainEvent::Closed { paid, refund, cooperative }));
    }

    // ------------------------------------------------------------ common parts

    fn credit(&mut self, account: Address, amount: Amount) {
        add(self.balances.entry(account).or_default(), amount);
    }

    fn debit(&mut self, account: Address, needed: Amount) -> Result<(), Revert> {
        let available = self.balance_of(account);
        if available < needed {
            return Err(Revert::InsufficientBalance { account, available, needed });
        }
        if account == self.fee_address {
            let fees = std::mem::take(&mut self.uncollected_fees);
            self.credit(account, fees);
        }
        take(self.balances.entry(account).or_default(), needed);
        Ok(())
    }

    fn pull(&mut self, account: Address, needed: Amount) -> Result<(), Revert> {
        let available = self.wallet_of(account);
        if available < needed {
            return Err(Revert::InsufficientWallet { account, available, needed });
        }
        take(self.wallets.entry(account).or_default(), needed);
        add(&mut self.held, needed);
        Ok(())
    }

    fn only_fee_address(&self, caller: Address) -> Result<(), Revert> {
        if caller == self.fee_address { Ok(()) } else { Err(Revert::NotFeeAddress { caller }) }
    }

    const fn not_before(&self, allowed_at: u64) -> Result<(), Revert> {
        if self.block < allowed_at {
            return Err(Revert::TooEarly { current_block: self.block, allowed_at });
        }
        Ok(())
    }
}

fn about(descriptor: &ChannelDescriptor, channel: ChannelId, event: ChainEvent) -> Event {
    Event::Channel { channel, client: descriptor.client, agent: descriptor.agent, event }
}

fn is_signed_by(signer: Address, digest: B256, signature: &[u8]) -> bool {
    let key = VoucherSignature::from_bytes(signature).ok().and_then(|signature| signature.recover(digest));
    !signer.is_zero() && key.is_some_and(|key| address_of(&key) == signer)
}

const fn non_zero(amount: Amount) -> Result<(), Revert> {
    if amount.is_zero() { Err(Revert::ZeroAmount) } else { Ok(()) }
}

fn stake(min_deposit: Amount, places: u32) -> Amount {
    min_deposit.checked_mul(places.into()).unwrap_or(Amount::MAX)
}

/// Amounts here are backed by tokens, of which there are fewer than 2^96.
fn add(to: &mut Amount, amount: Amount) {
    *to = to.saturating_add(amount);
}

fn take(from: &mut Amount, amount: Amount) {
    *from = from.saturating_sub(amount);
}
