//! The contract's calls in the channel crate's types. Each gives alloy's call struct: encode it with
//! [`SolCall::abi_encode`](alloy::sol_types::SolCall::abi_encode) and send it to the contract.

use alloy::primitives::{Address, B256, Bytes, Signature, U256};
use alloy::sol_types::SolCall as _;
use privatix_channel::{
    Amount, ChannelDescriptor, OfferingHash, SignedClose, SignedRequestClose, SignedVoucher,
    TransferAuthorization, VoucherSignature,
};

use crate::{AboveContractRange, IPSC, PSC, PTC, convert::to_u96};

/// Gas to be added to the estimate of a batch for each channel in it that names no signer: a contract account that decides
/// about the signature may take more than it took in the estimate.
pub const ACCOUNT_GAS: u64 = 100_000;

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

/// Moves `amount` from the caller's wallet, which approved it, to the internal balance of `account`.
pub fn deposit_for(account: Address, amount: Amount) -> PSC::depositForCall {
    PSC::depositForCall { account, amount: U256::from(amount.get()) }
}

/// Moves `amount` from the caller's internal balance to its wallet.
pub fn withdraw(amount: Amount) -> PSC::withdrawCall {
    PSC::withdrawCall { amount: U256::from(amount.get()) }
}

/// Moves `amount` from the caller's internal balance to the wallet `to`.
pub fn withdraw_to(to: Address, amount: Amount) -> PSC::withdrawToCall {
    PSC::withdrawToCall { to, amount: U256::from(amount.get()) }
}

/// Moves everything free of the caller, collected fees included, to the wallet `to`; nothing happens when that is nothing.
pub fn withdraw_all(to: Address) -> PSC::withdrawAllCall {
    PSC::withdrawAllCall { to }
}

/// Several encoded calls of the caller in one transaction: all succeed, or none.
pub fn multicall(calls: impl IntoIterator<Item = Vec<u8>>) -> PSC::multicallCall {
    PSC::multicallCall { calls: calls.into_iter().map(Bytes::from).collect() }
}

/// Appoints who may act for the caller as an agent; nobody when none is given. Voids all consents so far.
pub fn set_operator(operator: Option<Address>) -> PSC::setOperatorCall {
    PSC::setOperatorCall { operator: operator.unwrap_or_default() }
}

/// Voids all consents and relayed close requests of `account`; the account or its operator must send it.
pub fn revoke_consents(account: Address) -> PSC::revokeConsentsCall {
    PSC::revokeConsentsCall { account }
}

/// Whether calldata for the service contract is of a call that takes tokens from its caller's wallet, and so uses up an
/// allowance: two of them at a time would take each other's.
pub fn takes_from_wallet(calldata: &[u8]) -> bool {
    if let Ok(PSC::multicallCall { calls }) = PSC::multicallCall::abi_decode(calldata) {
        // A call inside of a call inside of a call is nothing that our software makes: one level is looked into.
        return calls
            .iter()
            .any(|call| takes_directly(call) || call.starts_with(&PSC::multicallCall::SELECTOR));
    }
    takes_directly(calldata)
}

fn takes_directly(calldata: &[u8]) -> bool {
    let taking = [
        PSC::depositCall::SELECTOR,
        PSC::depositForCall::SELECTOR,
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

/// Announces a live offering again.
pub fn pop_up_offering(offering: OfferingHash, source_type: u8, source: String) -> PSC::popUpOfferingCall {
    PSC::popUpOfferingCall { offering: offering.into(), sourceType: source_type, source }
}

/// Removes a live offering of the caller.
pub fn remove_offering(offering: OfferingHash) -> PSC::removeOfferingCall {
    PSC::removeOfferingCall { offering: offering.into() }
}

/// [`register_offering`] by the operator of `agent`, from the agent's internal balance.
pub fn register_offering_for(
    agent: Address,
    offering: OfferingHash,
    min_deposit: Amount,
    supply: u32,
    source_type: u8,
    source: String,
) -> Result<PSC::registerOfferingForCall, AboveContractRange> {
    Ok(PSC::registerOfferingForCall {
        agent,
        offering: offering.into(),
        minDeposit: to_u96(min_deposit)?,
        supply,
        sourceType: source_type,
        source,
    })
}

/// [`pop_up_offering`] by the operator of `agent`.
pub fn pop_up_offering_for(
    agent: Address,
    offering: OfferingHash,
    source_type: u8,
    source: String,
) -> PSC::popUpOfferingForCall {
    PSC::popUpOfferingForCall { agent, offering: offering.into(), sourceType: source_type, source }
}

/// [`remove_offering`] by the operator of `agent`; the stake returns to the agent.
pub fn remove_offering_for(agent: Address, offering: OfferingHash) -> PSC::removeOfferingForCall {
    PSC::removeOfferingForCall { agent, offering: offering.into() }
}

/// Brings the network fee of an offering's next channels up to date; anybody may send it.
pub fn refresh_offering_fee(agent: Address, offering: OfferingHash) -> PSC::refreshOfferingFeeCall {
    PSC::refreshOfferingFeeCall { agent, offering: offering.into() }
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

/// Opens it from the client's wallet by its EIP-3009 authorisation; anybody may send it. `signature` is the client's over
/// [`TransferAuthorization::digest`].
pub fn open_with_authorization(
    descriptor: &ChannelDescriptor,
    authorization: &TransferAuthorization,
    signature: &Signature,
) -> Result<PSC::openWithAuthorizationCall, AboveContractRange> {
    Ok(PSC::openWithAuthorizationCall {
        client: descriptor.client,
        agent: descriptor.agent,
        offering: descriptor.offering.into(),
        nonce: descriptor.nonce,
        signer: descriptor.signer,
        amount: to_u96(authorization.value())?,
        authorization: signed(authorization, signature),
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

/// Adds to it from the client's wallet by its EIP-3009 authorisation with this salt; anybody may send it, while no close
/// request stands.
pub fn top_up_with_authorization(
    descriptor: &ChannelDescriptor,
    salt: B256,
    authorization: &TransferAuthorization,
    signature: &Signature,
) -> Result<PSC::topUpWithAuthorizationCall, AboveContractRange> {
    Ok(PSC::topUpWithAuthorizationCall {
        descriptor: (*descriptor).into(),
        amount: to_u96(authorization.value())?,
        salt,
        authorization: signed(authorization, signature),
    })
}

fn signed(authorization: &TransferAuthorization, signature: &Signature) -> IPSC::Authorization {
    IPSC::Authorization {
        validAfter: U256::from(authorization.valid_after().seconds()),
        validBefore: U256::from(authorization.valid_before().seconds()),
        v: if signature.v() { 28 } else { 27 },
        r: signature.r().into(),
        s: signature.s().into(),
    }
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

/// Closes with the best voucher, or with what is already paid when there is none; the agent or its operator must send it.
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
    PSC::closeBatchCall { claims: channels.into_iter().map(claim).collect() }
}

/// [`close`] for many channels of `agent`, whose operator must send it.
pub fn close_batch_for<'a>(
    agent: Address,
    channels: impl IntoIterator<Item = (&'a ChannelDescriptor, Option<&'a SignedVoucher>)>,
) -> PSC::closeBatchForCall {
    PSC::closeBatchForCall { agent, claims: channels.into_iter().map(claim).collect() }
}

fn claim((descriptor, voucher): (&ChannelDescriptor, Option<&SignedVoucher>)) -> IPSC::Claim {
    match voucher {
        Some(voucher) => IPSC::Claim::voucher(descriptor, voucher),
        None => IPSC::Claim::already_paid(descriptor),
    }
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
        consent: IPSC::Consent {
            nonce: close.authorization.nonce,
            deadline: close.authorization.deadline.seconds(),
            signature: bytes(&close.signature),
        },
    }
}

/// Asks to close alone, admitting `admitted` (cumulative); the client must send it.
pub fn request_close(descriptor: &ChannelDescriptor, admitted: Amount) -> PSC::requestCloseCall {
    PSC::requestCloseCall { descriptor: (*descriptor).into(), admitted: admitted.get() }
}

/// The same by the signature of the channel's signer; anybody may send it.
pub fn request_close_for(
    descriptor: &ChannelDescriptor,
    request: &SignedRequestClose,
) -> PSC::requestCloseForCall {
    PSC::requestCloseForCall {
        descriptor: (*descriptor).into(),
        admitted: request.request.admitted.get(),
        nonce: request.request.nonce,
        deadline: request.request.deadline.seconds(),
        signature: bytes(&request.signature),
    }
}

/// Takes the request back; the client must send it.
pub fn cancel_close(descriptor: &ChannelDescriptor) -> PSC::cancelCloseCall {
    PSC::cancelCloseCall { descriptor: (*descriptor).into() }
}

/// Gives the client the rest back after the challenge; anybody may send it.
pub fn finalize_close(descriptor: &ChannelDescriptor) -> PSC::finalizeCloseCall {
    PSC::finalizeCloseCall { descriptor: (*descriptor).into() }
}
