//! The contract's state, what it answers, and where calls go.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

use super::{
    Call, Channel, Code, Event, FeeSchedule, Offering, Outcome, Returned, Revert, accounts::Account,
};
use crate::{Amount, ChainTime, ChannelDescriptor, ChannelId, Domain, Fee, OfferingHash, Terms};

/// The service contract and the token's wallets, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    pub(super) domain: Domain,
    pub(super) terms: Terms,
    pub(super) time: ChainTime,
    pub(super) fees: FeeSchedule,
    pub(super) fee_address: Address,
    pub(super) proposed_fee_address: Address,
    /// Beside the fee address's balance, and its own.
    pub(super) uncollected_fees: Amount,
    /// Tokens that the contract holds.
    pub(super) held: Amount,
    pub(super) wallets: BTreeMap<Address, Amount>,
    /// The authorisations that the token has taken.
    pub(super) authorizations: BTreeSet<(Address, B256)>,
    /// Accounts with code of their own.
    pub(super) codes: BTreeMap<Address, Code>,
    pub(super) balances: BTreeMap<Address, Amount>,
    pub(super) accounts: BTreeMap<Address, Account>,
    pub(super) offerings: BTreeMap<(Address, OfferingHash), Offering>,
    pub(super) channels: BTreeMap<ChannelId, Channel>,
    pub(super) signatures: Signatures,
}

/// How the model judges signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signatures {
    /// As the contract does.
    #[default]
    Real,
    /// For simulations, which need no cryptography: a signature is a [`tag`](super::tag), which anybody can make.
    Tags,
}

/// What a call in progress may still do: events are made as it goes.
pub(super) type Events = Vec<Event>;

impl Contract {
    /// A fresh contract at second 1, with no fee.
    pub fn new(domain: Domain, fee_address: Address, terms: Terms) -> Self {
        Self {
            domain,
            terms,
            time: ChainTime::new(1),
            fees: FeeSchedule::default(),
            fee_address,
            proposed_fee_address: Address::ZERO,
            uncollected_fees: Amount::ZERO,
            held: Amount::ZERO,
            wallets: BTreeMap::new(),
            authorizations: BTreeSet::new(),
            codes: BTreeMap::new(),
            balances: BTreeMap::new(),
            accounts: BTreeMap::new(),
            offerings: BTreeMap::new(),
            channels: BTreeMap::new(),
            signatures: Signatures::default(),
        }
    }

    /// The time at which calls happen.
    pub const fn time(&self) -> ChainTime {
        self.time
    }

    /// Goes on to a later time.
    pub const fn set_time(&mut self, time: ChainTime) {
        self.time = time;
    }

    /// Judges signatures otherwise from now on.
    pub const fn set_signatures(&mut self, signatures: Signatures) {
        self.signatures = signatures;
    }

    /// Gives the chain another id, as a fork may have.
    pub fn set_chain_id(&mut self, chain_id: u64) {
        self.domain = self.domain.on_chain(chain_id);
    }

    /// The contract's domain on the chain as it is now.
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What the deployment fixed.
    pub const fn terms(&self) -> Terms {
        self.terms
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

    /// The fee of offerings that are announced or refreshed now.
    pub fn fee(&self) -> Fee {
        self.fees.in_force(self.time)
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

    /// Makes a call as `sender` at the current time. A refused call changes nothing.
    pub fn call(&mut self, sender: Address, call: &Call) -> Result<Outcome, Revert> {
        let mut next = self.clone();
        let mut events = Events::new();
        let returned = next.run(sender, call, &mut events)?;
        *self = next;
        Ok(Outcome { events, returned })
    }

    fn run(&mut self, sender: Address, call: &Call, events: &mut Events) -> Result<Returned, Revert> {
        match *call {
            Call::Multicall { ref calls } => {
                let results: Result<Vec<_>, _> =
                    calls.iter().map(|call| self.run(sender, call, events)).collect();
                return results.map(Returned::Calls);
            }
            Call::Deposit { amount } | Call::DepositWithPermit { amount } => {
                self.deposit(sender, sender, amount, events)?;
            }
            Call::DepositFor { account, amount } => self.deposit_for(sender, account, amount, events)?,
            Call::Withdraw { amount } => self.withdraw(sender, sender, amount, events)?,
            Call::WithdrawTo { to, amount } => self.withdraw(sender, to, amount, events)?,
            Call::WithdrawAll { to } => {
                return self.withdraw_all(sender, to, events).map(Returned::Amount);
            }
            Call::SetOperator { operator } => self.set_operator(sender, operator, events),
            Call::RevokeConsents { account } => self.revoke_consents(sender, account, events)?,
            Call::SetFee { fee } => self.set_fee(sender, fee, events)?,
            Call::ProposeFeeAddress { proposed } => self.propose_fee_address(sender, proposed, events)?,
            Call::AcceptFeeAddress => self.accept_fee_address(sender, events)?,
            Call::RegisterOffering { .. }
            | Call::RegisterOfferingFor { .. }
            | Call::PopUpOffering { .. }
            | Call::PopUpOfferingFor { .. }
            | Call::RemoveOffering { .. }
            | Call::RemoveOfferingFor { .. }
            | Call::RefreshOfferingFee { .. } => self.run_on_offerings(sender, call, events)?,
            Call::Open { .. }
            | Call::OpenFromWallet { .. }
            | Call::OpenWithAuthorization { .. }
            | Call::TopUp { .. }
            | Call::TopUpFromWallet { .. }
            | Call::TopUpWithAuthorization { .. } => return self.run_on_deposits(sender, call, events),
            Call::SettleBatch { agent, ref claims } => {
                return Ok(Returned::Rows(self.settle_batch(agent, claims, events)));
            }
            Call::CloseBatch { ref claims } => {
                return Ok(Returned::Rows(self.close_batch(sender, claims, events)));
            }
            Call::CloseBatchFor { agent, ref claims } => {
                self.require_agent(sender, agent)?;
                return Ok(Returned::Rows(self.close_batch(agent, claims, events)));
            }
            Call::Settle { .. }
            | Call::Close { .. }
            | Call::CloseWithBoth { .. }
            | Call::RequestClose { .. }
            | Call::RequestCloseFor { .. }
            | Call::CancelClose { .. }
            | Call::FinalizeClose { .. } => self.run_on_channel(sender, call, events)?,
        }
        Ok(Returned::Nothing)
    }

    pub(super) fn open_channel(
        &self,
        descriptor: &ChannelDescriptor,
    ) -> Result<(ChannelId, Channel), Revert> {
        let id = descriptor.id(&self.domain);
        let channel = self.channels.get(&id).filter(|channel| channel.open);
        channel.map(|channel| (id, *channel)).ok_or(Revert::ChannelNotOpen { channel: id })
    }

    pub(super) fn not_before(&self, allowed_at: ChainTime) -> Result<(), Revert> {
        if self.time < allowed_at {
            return Err(Revert::TooEarly { now: self.time, allowed_at });
        }
        Ok(())
    }
}

pub(super) fn require_client(sender: Address, descriptor: &ChannelDescriptor) -> Result<(), Revert> {
    if sender == descriptor.client { Ok(()) } else { Err(Revert::NotClient { caller: sender }) }
}
