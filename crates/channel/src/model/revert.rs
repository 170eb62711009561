//! Why a call is refused.

use alloy::primitives::{Address, B256};

use crate::{Amount, ChainTime, ChannelId, OfferingHash};

/// An error of the service contract, or of the token under it, with its values. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contract refuses: {self:?}")]
#[expect(missing_docs, reason = "the names and meanings are those of the contract's interface")]
pub enum Revert {
    ZeroAmount,
    ZeroAddress,
    InvalidRecipient {
        recipient: Address,
    },
    AmountTooLarge {
        amount: Amount,
    },
    InsufficientBalance {
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
    StakeTooSmall {
        stake: Amount,
        minimum: Amount,
    },
    SourceTooLong {
        length: u64,
        maximum: u64,
    },
    TooEarly {
        now: ChainTime,
        allowed_at: ChainTime,
    },
    Expired {
        deadline: ChainTime,
    },
    WrongNonce {
        given: u64,
        current: u64,
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

    /// The token's `ERC20InsufficientBalance`.
    InsufficientWallet {
        account: Address,
        available: Amount,
        needed: Amount,
    },
    /// The token's `AuthorizationNotYetValid`.
    AuthorizationNotYetValid {
        valid_after: ChainTime,
    },
    /// The token's `AuthorizationExpired`.
    AuthorizationExpired {
        valid_before: ChainTime,
    },
    /// The token's `AuthorizationAlreadyUsed`.
    AuthorizationAlreadyUsed {
        authorizer: Address,
        nonce: B256,
    },
    /// The token's `AuthorizationNotSigned`.
    AuthorizationNotSigned {
        signer: Address,
        authorizer: Address,
    },
    /// The token's `ECDSAInvalidSignature`.
    AuthorizationMalformed,
    /// The token's `ECDSAInvalidSignatureS`.
    AuthorizationHighS {
        s: B256,
    },
}
