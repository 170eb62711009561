//! Revert data as an error that names what happened and what to do.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::{Panic, Revert, SolError as _, SolInterface as _},
};
use privatix_channel::{ChainTime, ChannelId, OfferingHash};

use crate::{PSC::PSCErrors, PTC::PTCErrors, convert::from_u256};

/// Why a call of the service contract (or of the token under it) reverted.
///
/// Decode it with [`PscError::decode`] from revert data, or with [`PscError::of`] from alloy's errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PscError {
    /// A zero where an amount or a supply is needed.
    #[error("the amount or supply is zero: give at least one")]
    ZeroAmount,
    /// A zero where an address is needed.
    #[error("the address is zero: name the account")]
    ZeroAddress,
    /// Tokens would be nobody's there.
    #[error("tokens cannot be withdrawn to {recipient}: name a wallet")]
    InvalidRecipient {
        /// Where they were to go.
        recipient: Address,
    },
    /// The token does not return its balances.
    #[error("the token does not return its balances: there is no such token at its address")]
    TokenSilent,
    /// A call inside of `multicall` failed without a reason.
    #[error(
        "a call inside of the multicall failed without a reason: is it a call of this contract, and is there gas enough?"
    )]
    FailedCall,
    /// A call of the contract from inside of its token, while tokens arrive.
    #[error("the token called the contract while tokens arrived: do not use this token")]
    Reentered,
    /// Beyond the contract's 96 bits.
    #[error("amount {amount} is above what a channel can hold: use several channels")]
    AmountTooLarge {
        /// The amount.
        amount: U256,
    },
    /// The internal balance is short.
    #[error("internal balance of {account} is {available}, {needed} needed: deposit the difference first")]
    InsufficientBalance {
        /// Whose balance.
        account: Address,
        /// What it holds.
        available: U256,
        /// What the call takes.
        needed: U256,
    },
    /// The token's allowance is short.
    #[error(
        "token allowance of {spender} is {allowance}, {needed} needed: approve it, or send a fresh permit"
    )]
    InsufficientAllowance {
        /// Who takes the tokens.
        spender: Address,
        /// What it may take.
        allowance: U256,
        /// What the call takes.
        needed: U256,
    },
    /// The wallet's tokens are short.
    #[error("token balance of {owner} is {available}, {needed} needed: buy or transfer tokens first")]
    InsufficientTokens {
        /// Whose wallet.
        owner: Address,
        /// What it holds.
        available: U256,
        /// What the call takes.
        needed: U256,
    },
    /// Only the fee address may.
    #[error("{caller} is not the fee address: send it from there")]
    NotFeeAddress {
        /// Who called.
        caller: Address,
    },
    /// Only the proposed fee address may.
    #[error("{caller} is not the proposed fee address: have the fee address propose it first")]
    NotProposedFeeAddress {
        /// Who called.
        caller: Address,
    },
    /// The fee is too high.
    #[error("fee {fee} is above the maximum {maximum} (in 1/100,000): lower it")]
    FeeTooHigh {
        /// The fee asked for.
        fee: U256,
        /// The highest.
        maximum: U256,
    },
    /// A period of the deployment is too short or too long.
    #[error(
        "a period is out of range: each is 1 s to 90 days, the challenge at least 15 min, the fee's delay longer than the removal's; deploy with others"
    )]
    PeriodOutOfRange,
    /// The agent registered this offering before.
    #[error(
        "offering {offering} of agent {agent} was registered before: make a new one (a new nonce gives a new hash)"
    )]
    OfferingExists {
        /// Its agent.
        agent: Address,
        /// The offering.
        offering: OfferingHash,
    },
    /// The offering was never registered, or is removed.
    #[error("offering {offering} of agent {agent} is not live: choose another")]
    OfferingNotLive {
        /// Its agent.
        agent: Address,
        /// The offering.
        offering: OfferingHash,
    },
    /// All places are taken.
    #[error("offering {offering} of agent {agent} has no free place: wait for one, or choose another")]
    NoSupply {
        /// Its agent.
        agent: Address,
        /// The offering.
        offering: OfferingHash,
    },
    /// The stake behind each place is below the deployment's least.
    #[error(
        "a stake of {stake} for each place is below the contract's minimum {minimum}: raise the least deposit"
    )]
    StakeTooSmall {
        /// The stake asked for.
        stake: U256,
        /// The least.
        minimum: U256,
    },
    /// The source of an offering is too long.
    #[error("a source of {length} bytes is longer than {maximum}: serve the offering at a shorter address")]
    SourceTooLong {
        /// Its bytes.
        length: U256,
        /// The most.
        maximum: U256,
    },
    /// A period is not over.
    #[error("second {now} is too early: try again from second {allowed_at} on")]
    TooEarly {
        /// The time of the block.
        now: ChainTime,
        /// The first second in which the call succeeds.
        allowed_at: ChainTime,
    },
    /// A signature counts no longer.
    #[error("the signature counted until second {deadline}: have a new one signed")]
    Expired {
        /// The last second in which it counted.
        deadline: ChainTime,
    },
    /// A signature was revoked, or is not for this account.
    #[error("the signature carries the nonce {given}, the account's is {current}: have a new one signed")]
    WrongNonce {
        /// The signature's.
        given: U256,
        /// The account's.
        current: U256,
    },
    /// The deposit is below the offering's minimum.
    #[error("deposit {deposit} is below the offering's minimum {minimum}: raise it")]
    DepositTooSmall {
        /// The deposit asked for.
        deposit: U256,
        /// The least.
        minimum: U256,
    },
    /// The channel was opened before.
    #[error("channel {channel} was opened before: choose another nonce")]
    ChannelExists {
        /// The channel.
        channel: ChannelId,
    },
    /// The channel was never opened, or is closed.
    #[error("channel {channel} is not open: check the descriptor, or take it as closed")]
    ChannelNotOpen {
        /// The channel.
        channel: ChannelId,
    },
    /// Only the channel's client may.
    #[error("{caller} is not the channel's client: send it from there")]
    NotClient {
        /// Who called.
        caller: Address,
    },
    /// Only the agent or its operator may.
    #[error(
        "{caller} is neither the agent nor its operator: send it from there, or have the agent appoint it"
    )]
    NotAgent {
        /// Who called.
        caller: Address,
    },
    /// A close request stands already.
    #[error("a close of channel {channel} is requested already: wait for the challenge's end")]
    CloseAlreadyRequested {
        /// The channel.
        channel: ChannelId,
    },
    /// No close request stands.
    #[error("no close of channel {channel} is requested: request it first (a top-up cancels a request)")]
    CloseNotRequested {
        /// The channel.
        channel: ChannelId,
    },
    /// The voucher brings nothing new.
    #[error("channel {channel} has already paid {paid}: settle a higher voucher, or none")]
    NothingToSettle {
        /// The channel.
        channel: ChannelId,
        /// What is paid.
        paid: U256,
    },
    /// Both sides signed less than is paid by now.
    #[error("amount {amount} is below what is already paid, {paid}: sign a close over at least that")]
    BelowPaid {
        /// The amount.
        amount: U256,
        /// What is paid.
        paid: U256,
    },
    /// A signature is malformed, malleable or not by the right key.
    #[error("invalid signature for channel {channel}: check signer, chain id, contract and amount")]
    InvalidSignature {
        /// The channel.
        channel: ChannelId,
    },
    /// Too little gas to give a contract account all that its answer may take.
    #[error(
        "too little gas to ask a contract account for its signature: add 100,000 for each channel without a signer"
    )]
    InsufficientGas,
    /// A token authorisation does not count yet.
    #[error("the authorization counts after second {valid_after}: send it then")]
    AuthorizationNotYetValid {
        /// It counts after this second.
        valid_after: ChainTime,
    },
    /// A token authorisation counts no longer.
    #[error("the authorization counted before second {valid_before}: have a new one signed")]
    AuthorizationExpired {
        /// It counted before this second.
        valid_before: ChainTime,
    },
    /// A token authorisation was used or cancelled.
    #[error("the authorization {nonce} of {authorizer} was used or cancelled: have a new one signed")]
    AuthorizationAlreadyUsed {
        /// Whose.
        authorizer: Address,
        /// Its nonce.
        nonce: B256,
    },
    /// A token authorisation is signed by somebody else, or over other values.
    #[error(
        "the authorization is signed by {signer}, not by {authorizer}: check amount, times, channel and chain id"
    )]
    AuthorizationNotSigned {
        /// Who signed.
        signer: Address,
        /// Whose tokens they are.
        authorizer: Address,
    },
    /// An error of the token that the service contract passes on.
    #[error("the token refused: {0}")]
    Token(String),
    /// `require` with a message.
    #[error("reverted: {0}")]
    Message(String),
    /// A Solidity panic: in tokens without error messages, what a short balance or allowance looks like.
    #[error("{}", panic_text(code))]
    Panicked {
        /// Solidity's panic code.
        code: U256,
    },
    /// No or unknown data.
    #[error("reverted with unknown data {0}: is there the expected contract at the address, and gas enough?")]
    Unknown(Bytes),
}

impl PscError {
    /// Decodes revert data of the service contract or of the token.
    pub fn decode(data: &[u8]) -> Self {
        if let Ok(error) = PSCErrors::abi_decode(data) {
            return error.into();
        }
        if let Ok(error) = PTCErrors::abi_decode(data) {
            return of_token(error);
        }
        if let Ok(revert) = Revert::abi_decode(data) {
            return Self::Message(revert.reason);
        }
        if let Ok(panic) = Panic::abi_decode(data) {
            return Self::Panicked { code: panic.code };
        }
        Self::Unknown(Bytes::copy_from_slice(data))
    }

    /// The revert inside an error of alloy's contract calls, if it is one and not, say, a lost connection.
    pub fn of(error: &alloy::contract::Error) -> Option<Self> {
        error.as_revert_data().map(|data| Self::decode(&data))
    }

    /// The revert inside an error of a provider's call or gas estimate, if it is one.
    pub fn of_transport(error: &alloy::transports::TransportError) -> Option<Self> {
        error.as_error_resp()?.as_revert_data().map(|data| Self::decode(&data))
    }
}

impl From<PSCErrors> for PscError {
    fn from(error: PSCErrors) -> Self {
        let offering_of = |offering: B256| OfferingHash::from(offering);
        match error {
            PSCErrors::ZeroAmount(_) => Self::ZeroAmount,
            PSCErrors::ZeroAddress(_) => Self::ZeroAddress,
            PSCErrors::InvalidRecipient(e) => Self::InvalidRecipient { recipient: e.recipient },
            PSCErrors::TokenSilent(_) => Self::TokenSilent,
            // The contract always has code; the library that declares this error checks it.
            PSCErrors::FailedCall(_) | PSCErrors::AddressEmptyCode(_) => Self::FailedCall,
            PSCErrors::Reentered(_) => Self::Reentered,
            PSCErrors::AmountTooLarge(e) => Self::AmountTooLarge { amount: e.amount },
            PSCErrors::InsufficientBalance(e) => {
                Self::InsufficientBalance { account: e.account, available: e.available, needed: e.needed }
            }
            PSCErrors::NotFeeAddress(e) => Self::NotFeeAddress { caller: e.caller },
            PSCErrors::NotProposedFeeAddress(e) => Self::NotProposedFeeAddress { caller: e.caller },
            PSCErrors::FeeTooHigh(e) => Self::FeeTooHigh { fee: e.fee, maximum: e.maximum },
            PSCErrors::PeriodOutOfRange(_) => Self::PeriodOutOfRange,
            PSCErrors::OfferingExists(e) => {
                Self::OfferingExists { agent: e.agent, offering: offering_of(e.offering) }
            }
            PSCErrors::OfferingNotLive(e) => {
                Self::OfferingNotLive { agent: e.agent, offering: offering_of(e.offering) }
            }
            PSCErrors::NoSupply(e) => Self::NoSupply { agent: e.agent, offering: offering_of(e.offering) },
            PSCErrors::StakeTooSmall(e) => Self::StakeTooSmall { stake: e.stake, minimum: e.minimum },
            PSCErrors::SourceTooLong(e) => Self::SourceTooLong { length: e.length, maximum: e.maximum },
            PSCErrors::TooEarly(e) => {
                Self::TooEarly { now: from_u256(e.currentTime), allowed_at: from_u256(e.allowedAt) }
            }
            PSCErrors::Expired(e) => Self::Expired { deadline: from_u256(e.deadline) },
            PSCErrors::WrongNonce(e) => Self::WrongNonce { given: e.given, current: e.current },
            PSCErrors::DepositTooSmall(e) => Self::DepositTooSmall { deposit: e.deposit, minimum: e.minimum },
            PSCErrors::ChannelExists(e) => Self::ChannelExists { channel: e.channelId.into() },
            PSCErrors::ChannelNotOpen(e) => Self::ChannelNotOpen { channel: e.channelId.into() },
            PSCErrors::NotClient(e) => Self::NotClient { caller: e.caller },
            PSCErrors::NotAgent(e) => Self::NotAgent { caller: e.caller },
            PSCErrors::CloseAlreadyRequested(e) => {
                Self::CloseAlreadyRequested { channel: e.channelId.into() }
            }
            PSCErrors::CloseNotRequested(e) => Self::CloseNotRequested { channel: e.channelId.into() },
            PSCErrors::NothingToSettle(e) => {
                Self::NothingToSettle { channel: e.channelId.into(), paid: e.paid }
            }
            PSCErrors::BelowPaid(e) => Self::BelowPaid { amount: e.amount, paid: e.paid },
            PSCErrors::InvalidSignature(e) => Self::InvalidSignature { channel: e.channelId.into() },
            PSCErrors::InsufficientGas(_) => Self::InsufficientGas,
            PSCErrors::SafeERC20FailedOperation(e) => {
                Self::Token(format!("the transfer by {} failed without a reason", e.token))
            }
        }
    }
}

/// What a panic means for who called: the service contract's own arithmetic is checked before, so it is the token's.
fn panic_text(code: &U256) -> String {
    let meaning = match u8::try_from(*code) {
        Ok(0x01) => "an assertion of the token or the service contract failed",
        Ok(0x11) => {
            "the token's arithmetic over- or underflows: most likely the allowance or the wallet's balance does not cover the \
             amount; compare them with `balances`, and try again"
        }
        Ok(0x12) => "the token divided by zero",
        Ok(0x32) => "the token read beyond the end of a list",
        Ok(0x41) => "the token asked for too much memory",
        _ => "the token or the service contract failed in a way of its own",
    };
    format!("{meaning} (Solidity panic {code})")
}

fn of_token(error: PTCErrors) -> PscError {
    match error {
        PTCErrors::ERC20InsufficientAllowance(e) => {
            PscError::InsufficientAllowance { spender: e.spender, allowance: e.allowance, needed: e.needed }
        }
        PTCErrors::ERC20InsufficientBalance(e) => {
            PscError::InsufficientTokens { owner: e.sender, available: e.balance, needed: e.needed }
        }
        PTCErrors::AuthorizationNotYetValid(e) => {
            PscError::AuthorizationNotYetValid { valid_after: from_u256(e.validAfter) }
        }
        PTCErrors::AuthorizationExpired(e) => {
            PscError::AuthorizationExpired { valid_before: from_u256(e.validBefore) }
        }
        PTCErrors::AuthorizationAlreadyUsed(e) => {
            PscError::AuthorizationAlreadyUsed { authorizer: e.authorizer, nonce: e.nonce }
        }
        PTCErrors::AuthorizationNotSigned(e) => {
            PscError::AuthorizationNotSigned { signer: e.signer, authorizer: e.authorizer }
        }
        other => PscError::Token(format!("{other:?}")),
    }
}
