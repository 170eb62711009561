//! The contract's calls in the channel crate's types. Each gives alloy's call struct: encode it with
//! [`SolCall::abi_encode`](alloy::sol_types::SolCall::abi_encode) and send it to the contract.

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall as _;
use privatix_channel::{
    Amount, ChannelDescriptor, OfferingHash, SignedClose, SignedVoucher, VoucherSignature,
};

use crate::{AboveContractRange, IPSC, PSC, PTC, convert::to_u96};

fn bytes(signature: &VoucherSignature) -> Bytes {
    Bytes::copy_from_slice(signature.as_bytes())
}

/// Lets `spender` take `amount` from the caller's wallet: a call of the token.
pub fn approve(spender: Address, amount: Amount) -> PTC::approveCall {
    PTC::approveCall { spender, value: U256::from(amount.get()) }
}

/// Pays `amount` from the caller's wallet to `to`: a call of the token.
pub fn transfer(to: Address, amount: Amount) -> PTC::transferCall {
    PTC::transferCall { to, value: U256::from(amount.get()) }
}

/// Moves `amount` from the caller's wallet, which approved it, to its internal balance.
pub fn deposit(amount: Amount) -> PSC::depositCall {
    PSC::depositCall { amount: U256::from(amount.get()) }
}

/// The same with a permit in place of the approval.
pub fn deposit_with_permit(amount: Amount, permit: IPSC::Permit) -> PSC::depositWithPermitCall {
    PSC::depositWithPermitCall { amount: U256::from(amount.get()), permit }
}

/// Moves `amount` from the caller's internal balance to its wallet.
pub fn withdraw(amount: Amount) -> PSC::withdrawCall {
    PSC::withdrawCall { amount: U256::from(amount.get()) }
}

/// Whether calldata for the service contract is of a call that takes tokens from its caller's wallet, and so uses up an
/// allowance: two of them at a time would take each other's.
pub fn takes_from_wallet(calldata: &[u8]) -> bool {
    let taking = [
        PSC::depositCall::SELECTOR,
        PSC::depositWithPermitCall::SELECTOR,
        PSC::openWithPermitCall::SELECTOR,
        PSC::topUpWithPermitCall::SELECTOR,
    ];
    taking.iter().any(|selector| calldata.starts_with(selector))
}

/// Announces an offering of `supply` places and locks `min_deposit` for each. `source_type` and `source` say where its
/// message is served.
pub fn register_offering(
    offering: OfferingHash,
    min_deposit: Amount,
    supply: u32,
    source_type: u8,
    source: String,
) -> Result<PSC::registerOfferingCall, AboveContractRange> {
    Ok(PSC::registerOfferingCall {
        offering: offering.into(),
        minDeposit: to_u96(min_deposit)?,
        supply,
        sourceType: source_type,
        source,
    })
}

/// Announces a live offering anew.
pub fn pop_up_offering(offering: OfferingHash, source_type: u8, source: String) -> PSC::popUpOfferingCall {
    PSC::popUpOfferingCall { offering: offering.into(), sourceType: source_type, source }
}

/// Removes a live offering of the caller.
pub fn remove_offering(offering: OfferingHash) -> PSC::removeOfferingCall {
    PSC::removeOfferingCall { offering: offering.into() }
}

/// Opens the channel that `descriptor` describes from its client's internal balance; the client must send it.
pub fn open(descriptor: &ChannelDescriptor, deposit: Amount) -> Result<PSC::openCall, AboveContractRange> {
    Ok(PSC::openCall {
        agent: descriptor.agent,
        offering: descriptor.offering.into(),
        nonce: descriptor.nonce,
        signer: descriptor.signer,
        amount: to_u96(deposit)?,
    })
}

/// Opens it straight from the client's wallet. A permit that is void does no harm: then an allowance from before pays.
pub fn open_with_permit(
    descriptor: &ChannelDescriptor,
    deposit: Amount,
    permit: IPSC::Permit,
) -> Result<PSC::openWithPermitCall, AboveContractRange> {
    Ok(PSC::openWithPermitCall {
        agent: descriptor.agent,
        offering: descriptor.offering.into(),
        nonce: descriptor.nonce,
        signer: descriptor.signer,
        amount: to_u96(deposit)?,
        permit,
    })
}

/// Adds to a channel's deposit from its client's internal balance; the client must send it. Cancels a close request.
pub fn top_up(descriptor: &ChannelDescriptor, added: Amount) -> Result<PSC::topUpCall, AboveContractRange> {
    Ok(PSC::topUpCall { descriptor: (*descriptor).into(), amount: to_u96(added)? })
}

/// The same straight from the client's wallet.
pub fn top_up_with_permit(
    descriptor: &ChannelDescriptor,
    added: Amount,
    permit: IPSC::Permit,
) -> Result<PSC::topUpWithPermitCall, AboveContractRange> {
    Ok(PSC::topUpWithPermitCall { descriptor: (*descriptor).into(), amount: to_u96(added)?, permit })
}

/// Pays the agent up to the voucher; anybody may send it, the channel stays open.
pub fn settle(descriptor: &ChannelDescriptor, voucher: &SignedVoucher) -> PSC::settleCall {
    PSC::settleCall {
        descriptor: (*descriptor).into(),
        cumulativeAmount: voucher.cumulative().get(),
        signature: bytes(&voucher.signature),
    }
}

/// [`settle`] for many channels of one agent.
pub fn settle_batch<'a>(
    agent: Address,
    channels: impl IntoIterator<Item = (&'a ChannelDescriptor, &'a SignedVoucher)>,
) -> PSC::settleBatchCall {
    let claims = channels.into_iter().map(|(d, v)| IPSC::Claim::voucher(d, v)).collect();
    PSC::settleBatchCall { agent, claims }
}

/// Closes with the best voucher, or with what is already paid when there is none; the agent must send it.
pub fn close(descriptor: &ChannelDescriptor, voucher: Option<&SignedVoucher>) -> PSC::closeCall {
    PSC::closeCall {
        descriptor: (*descriptor).into(),
        cumulativeAmount: voucher.map_or(0, |v| v.cumulative().get()),
        signature: voucher.map_or_else(Bytes::new, |v| bytes(&v.signature)),
    }
}

/// [`close`] for many channels of the sender.
pub fn close_batch<'a>(
    channels: impl IntoIterator<Item = (&'a ChannelDescriptor, Option<&'a SignedVoucher>)>,
) -> PSC::closeBatchCall {
    let claim = |(d, v): (&ChannelDescriptor, Option<&SignedVoucher>)| match v {
        Some(voucher) => IPSC::Claim::voucher(d, voucher),
        None => IPSC::Claim::already_paid(d),
    };
    PSC::closeBatchCall { claims: channels.into_iter().map(claim).collect() }
}

/// Closes with both sides' signatures over one amount; anybody may send it.
pub fn close_with_both(
    descriptor: &ChannelDescriptor,
    voucher: &SignedVoucher,
    close: &SignedClose,
) -> PSC::closeWithBothCall {
    PSC::closeWithBothCall {
        descriptor: (*descriptor).into(),
        cumulativeAmount: voucher.cumulative().get(),
        voucherSignature: bytes(&voucher.signature),
        closeSignature: bytes(&close.signature),
    }
}

/// Asks to close alone, admitting `admitted` (cumulative); the client must send it.
pub fn request_close(descriptor: &ChannelDescriptor, admitted: Amount) -> PSC::requestCloseCall {
    PSC::requestCloseCall { descriptor: (*descriptor).into(), admitted: admitted.get() }
}

/// Takes the rest back after the challenge; the client must send it.
pub fn finalize_close(descriptor: &ChannelDescriptor) -> PSC::finalizeCloseCall {
    PSC::finalizeCloseCall { descriptor: (*descriptor).into() }
}
