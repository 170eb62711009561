//! What goes into the model.

use alloy::primitives::{Address, B256};

use crate::{Amount, ChainTime, ChannelDescriptor, OfferingHash};

/// A call of the service contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names and meanings are those of the contract's interface")]
pub enum Call {
    Deposit {
        amount: Amount,
    },
    DepositFor {
        account: Address,
        amount: Amount,
    },
    /// With an allowance.
    DepositWithPermit {
        amount: Amount,
    },
    Withdraw {
        amount: Amount,
    },
    WithdrawTo {
        to: Address,
        amount: Amount,
    },
    WithdrawAll {
        to: Address,
    },
    Multicall {
        calls: Vec<Self>,
    },

    SetOperator {
        operator: Address,
    },
    RevokeConsents {
        account: Address,
    },

    RegisterOffering {
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
        source: Source,
    },
    RegisterOfferingFor {
        agent: Address,
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
        source: Source,
    },
    PopUpOffering {
        offering: OfferingHash,
        source: Source,
    },
    PopUpOfferingFor {
        agent: Address,
        offering: OfferingHash,
        source: Source,
    },
    RemoveOffering {
        offering: OfferingHash,
    },
    RemoveOfferingFor {
        agent: Address,
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
    OpenWithAuthorization {
        descriptor: ChannelDescriptor,
        amount: Amount,
        authorization: Authorization,
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
    TopUpWithAuthorization {
        descriptor: ChannelDescriptor,
        amount: Amount,
        salt: B256,
        authorization: Authorization,
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
    CloseBatchFor {
        agent: Address,
        claims: Vec<Claim>,
    },
    CloseWithBoth {
        descriptor: ChannelDescriptor,
        cumulative: Amount,
        voucher: Vec<u8>,
        consent: Consent,
    },
    RequestClose {
        descriptor: ChannelDescriptor,
        admitted: Amount,
    },
    RequestCloseFor {
        descriptor: ChannelDescriptor,
        admitted: Amount,
        nonce: u64,
        deadline: ChainTime,
        signature: Vec<u8>,
    },
    CancelClose {
        descriptor: ChannelDescriptor,
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

/// Where an offering message is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// How `address` is to be read.
    pub kind: u8,
    /// The address.
    pub address: String,
}

/// An agent's consent to close, beside the amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The agent's nonce.
    pub nonce: u64,
    /// The last second in which it counts.
    pub deadline: ChainTime,
    /// By the agent or its operator.
    pub signature: Vec<u8>,
}

/// An EIP-3009 authorisation, beside amount and nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// It counts after this second.
    pub valid_after: ChainTime,
    /// It counts before this second.
    pub valid_before: ChainTime,
    /// `r || s || v` of the client.
    pub signature: [u8; 65],
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
    /// The voucher's amount.
    pub cumulative: Amount,
    /// The voucher's signature; may be empty when closing with what is already paid.
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
