//! What goes into the model and what comes out.

use alloy::primitives::Address;

use crate::{Amount, ChainEvent, ChannelDescriptor, ChannelId, OfferingHash};

/// A call of the service contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names and meanings are those of the contract's interface")]
pub enum Call {
    Deposit {
        amount: Amount,
    },
    Withdraw {
        amount: Amount,
    },
    RegisterOffering {
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
    },
    PopUpOffering {
        offering: OfferingHash,
    },
    RemoveOffering {
        offering: OfferingHash,
    },
    RefreshOfferingFee {
        agent: Address,
        offering: OfferingHash,
    },
    Open {
        agent: Address,
        offering: OfferingHash,
        nonce: u64,
        signer: Address,
        amount: Amount,
    },
    /// `openWithPermit` with an allowance.
    OpenFromWallet {
        agent: Address,
        offering: OfferingHash,
        nonce: u64,
        signer: Address,
        amount: Amount,
    },
    TopUp {
        descriptor: ChannelDescriptor,
        amount: Amount,
    },
    /// `topUpWithPermit` with an allowance.
    TopUpFromWallet {
        descriptor: ChannelDescriptor,
        amount: Amount,
    },
    Settle {
        descriptor: ChannelDescriptor,
        cumulative: Amount,
        signature: Vec<u8>,
    },
    SettleBatch {
        agent: Address,
        claims: Vec<Claim>,
    },
    Close {
        descriptor: ChannelDescriptor,
        cumulative: Amount,
        signature: Vec<u8>,
    },
    CloseBatch {
        claims: Vec<Claim>,
    },
    CloseWithBoth {
        descriptor: ChannelDescriptor,
        cumulative: Amount,
        voucher: Vec<u8>,
        close: Vec<u8>,
    },
    RequestClose {
        descriptor: ChannelDescriptor,
        admitted: Amount,
    },
    FinalizeClose {
        descriptor: ChannelDescriptor,
    },
    SetFee {
        fee: u16,
    },
    ProposeFeeAddress {
        proposed: Address,
    },
    AcceptFeeAddress,
}

/// One channel of a batch; the agent is the batch's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The channel's client.
    pub client: Address,
    /// The channel's offering.
    pub offering: OfferingHash,
    /// The channel's nonce.
    pub nonce: u64,
    /// The channel's signer.
    pub signer: Address,
    /// What the voucher says.
    pub cumulative: Amount,
    /// The voucher's signature; empty only in `CloseBatch`, to close with what is already paid.
    pub signature: Vec<u8>,
}

impl Claim {
    /// The descriptor of the claimed channel of `agent`.
    pub const fn descriptor(&self, agent: Address) -> ChannelDescriptor {
        ChannelDescriptor {
            client: self.client,
            agent,
            offering: self.offering,
            nonce: self.nonce,
            signer: self.signer,
        }
    }
}

/// An event of the service contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names and meanings are those of the contract's interface")]
pub enum Event {
    Deposited { account: Address, amount: Amount },
    Withdrawn { account: Address, amount: Amount },
    OfferingRegistered { agent: Address, offering: OfferingHash, min_deposit: Amount, supply: u32 },
    OfferingPoppedUp { agent: Address, offering: OfferingHash, min_deposit: Amount, supply: u32 },
    OfferingRemoved { agent: Address, offering: OfferingHash },
    OfferingFeeRefreshed { agent: Address, offering: OfferingHash, fee: u16 },
    Channel { channel: ChannelId, client: Address, agent: Address, event: ChainEvent },
    FeeChanged { fee: u16 },
    FeeAddressProposed { current: Address, proposed: Address },
    FeeAddressChanged { previous: Address, current: Address },
}

/// An error of the service contract, with its values. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contract refuses: {self:?}")]
#[expect(missing_docs, reason = "the names and meanings are those of the contract's interface")]
pub enum Revert {
    ZeroAmount,
    AmountTooLarge {
        amount: Amount,
    },
    InsufficientBalance {
        account: Address,
        available: Amount,
        needed: Amount,
    },
    /// The token's own `ERC20InsufficientBalance`.
    InsufficientWallet {
        account: Address,
        available: Amount,
        needed: Amount,
    },
    NotFeeAddress {
        caller: Address,
    },
    FeeTooHigh {
        fee: u16,
    },
    NotProposedFeeAddress {
        caller: Address,
    },
    OfferingExists {
        agent: Address,
        offering: OfferingHash,
    },
    OfferingNotLive {
        agent: Address,
        offering: OfferingHash,
    },
    NoSupply {
        agent: Address,
        offering: OfferingHash,
    },
    TooEarly {
        current_block: u64,
        allowed_at: u64,
    },
    DepositTooSmall {
        deposit: Amount,
        minimum: Amount,
    },
    ChannelExists {
        channel: ChannelId,
    },
    ChannelNotOpen {
        channel: ChannelId,
    },
    NotClient {
        caller: Address,
    },
    NotAgent {
        caller: Address,
    },
    CloseAlreadyRequested {
        channel: ChannelId,
    },
    CloseNotRequested {
        channel: ChannelId,
    },
    AmountAboveDeposit {
        amount: Amount,
        deposit: Amount,
    },
    NothingToSettle {
        channel: ChannelId,
        paid: Amount,
    },
    BelowPaid {
        amount: Amount,
        paid: Amount,
    },
    InvalidSignature {
        channel: ChannelId,
    },
}
