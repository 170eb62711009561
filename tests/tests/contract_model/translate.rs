//! Between the model's calls, events and errors and the bindings'.

use alloy::{
    primitives::{B256, Bytes, U256},
    sol_types::{SolCall, SolError as _},
};
use privatix_channel::{
    Amount, Announcement, ChannelDescriptor, Fee,
    model::{Authorization, Call, Claim, Event, Outcome, Returned, Revert, SkipReason, Source},
};
use privatix_contracts::{ChannelParties, IPSC, PSC, PTC, PscError, PscEvent, SkipReason as Skipped, call};

use crate::node::Done;

fn wide(amount: Amount) -> U256 {
    U256::from(amount.get())
}

/// The call as the contract takes it.
pub(crate) fn encode(call: &Call) -> Vec<u8> {
    // Nobody signed this permit: the contract ignores it, as it must, and the allowance decides.
    let permit = IPSC::Permit::default();
    let narrow = |amount: Amount| amount.get().try_into().unwrap();
    match *call {
        Call::Deposit { amount } => call::deposit(amount).abi_encode(),
        Call::DepositFor { account, amount } => call::deposit_for(account, amount).abi_encode(),
        Call::DepositWithPermit { amount } => call::deposit_with_permit(amount, permit).abi_encode(),
        Call::Withdraw { amount } => call::withdraw(amount).abi_encode(),
        Call::WithdrawTo { to, amount } => call::withdraw_to(to, amount).abi_encode(),
        Call::WithdrawAll { to } => call::withdraw_all(to).abi_encode(),
        Call::Multicall { ref calls } => call::multicall(calls.iter().map(encode)).abi_encode(),
        Call::SetOperator { operator } => PSC::setOperatorCall { operator }.abi_encode(),
        Call::RevokeConsents { account } => call::revoke_consents(account).abi_encode(),
        Call::RegisterOffering { offering, min_deposit, supply, source: Source { kind, ref address } } => {
            call::register_offering(offering, min_deposit, supply, kind, address.clone())
                .unwrap()
                .abi_encode()
        }
        Call::RegisterOfferingFor {
            agent,
            offering,
            min_deposit,
            supply,
            source: Source { kind, ref address },
        } => call::register_offering_for(agent, offering, min_deposit, supply, kind, address.clone())
            .unwrap()
            .abi_encode(),
        Call::PopUpOffering { offering, source: Source { kind, ref address } } => {
            call::pop_up_offering(offering, kind, address.clone()).abi_encode()
        }
        Call::PopUpOfferingFor { agent, offering, source: Source { kind, ref address } } => {
            call::pop_up_offering_for(agent, offering, kind, address.clone()).abi_encode()
        }
        Call::RemoveOffering { offering } => call::remove_offering(offering).abi_encode(),
        Call::RemoveOfferingFor { agent, offering } => {
            call::remove_offering_for(agent, offering).abi_encode()
        }
        Call::RefreshOfferingFee { agent, offering } => {
            call::refresh_offering_fee(agent, offering).abi_encode()
        }
        Call::Open { agent, offering, nonce, signer, amount } => {
            let (offering, amount) = (offering.into(), narrow(amount));
            PSC::openCall { agent, offering, nonce, signer, amount }.abi_encode()
        }
        Call::OpenFromWallet { agent, offering, nonce, signer, amount } => {
            let (offering, amount) = (offering.into(), narrow(amount));
            PSC::openWithPermitCall { agent, offering, nonce, signer, amount, permit }.abi_encode()
        }
        Call::OpenWithAuthorization { descriptor, amount, authorization } => {
            let ChannelDescriptor { client, agent, offering, nonce, signer } = descriptor;
            let (offering, amount) = (offering.into(), narrow(amount));
            let authorization = authorization_of(authorization);
            PSC::openWithAuthorizationCall { client, agent, offering, nonce, signer, amount, authorization }
                .abi_encode()
        }
        Call::TopUp { descriptor, amount } => call::top_up(&descriptor, amount).unwrap().abi_encode(),
        Call::TopUpFromWallet { descriptor, amount } => {
            call::top_up_with_permit(&descriptor, amount, permit).unwrap().abi_encode()
        }
        Call::TopUpWithAuthorization { descriptor, amount, salt, authorization } => {
            let (descriptor, amount) = (descriptor.into(), narrow(amount));
            let authorization = authorization_of(authorization);
            PSC::topUpWithAuthorizationCall { descriptor, amount, salt, authorization }.abi_encode()
        }
        Call::SettleBatch { agent, ref claims } => {
            PSC::settleBatchCall { agent, claims: claims.iter().map(claim).collect() }.abi_encode()
        }
        Call::CloseBatch { ref claims } => {
            PSC::closeBatchCall { claims: claims.iter().map(claim).collect() }.abi_encode()
        }
        Call::CloseBatchFor { agent, ref claims } => {
            PSC::closeBatchForCall { agent, claims: claims.iter().map(claim).collect() }.abi_encode()
        }
        Call::SetFee { fee } => PSC::setFeeCall { newFee: fee }.abi_encode(),
        Call::ProposeFeeAddress { proposed } => PSC::proposeFeeAddressCall { proposed }.abi_encode(),
        Call::AcceptFeeAddress => PSC::acceptFeeAddressCall {}.abi_encode(),
        Call::Settle { .. }
        | Call::Close { .. }
        | Call::CloseWithBoth { .. }
        | Call::RequestClose { .. }
        | Call::RequestCloseFor { .. }
        | Call::CancelClose { .. }
        | Call::FinalizeClose { .. } => encode_on_channel(call),
    }
}

fn encode_on_channel(call: &Call) -> Vec<u8> {
    match *call {
        Call::Settle { descriptor, cumulative, ref signature } => PSC::settleCall {
            descriptor: descriptor.into(),
            cumulativeAmount: cumulative.get(),
            signature: Bytes::copy_from_slice(signature),
        }
        .abi_encode(),
        Call::Close { descriptor, cumulative, ref signature } => PSC::closeCall {
            descriptor: descriptor.into(),
            cumulativeAmount: cumulative.get(),
            signature: Bytes::copy_from_slice(signature),
        }
        .abi_encode(),
        Call::CloseWithBoth { descriptor, cumulative, ref voucher, ref consent } => PSC::closeWithBothCall {
            descriptor: descriptor.into(),
            cumulativeAmount: cumulative.get(),
            voucherSignature: Bytes::copy_from_slice(voucher),
            consent: IPSC::Consent {
                nonce: consent.nonce,
                deadline: consent.deadline.seconds(),
                signature: Bytes::copy_from_slice(&consent.signature),
            },
        }
        .abi_encode(),
        Call::RequestClose { descriptor, admitted } => {
            call::request_close(&descriptor, admitted).abi_encode()
        }
        Call::RequestCloseFor { descriptor, admitted, nonce, deadline, ref signature } => {
            PSC::requestCloseForCall {
                descriptor: descriptor.into(),
                admitted: admitted.get(),
                nonce,
                deadline: deadline.seconds(),
                signature: Bytes::copy_from_slice(signature),
            }
            .abi_encode()
        }
        Call::CancelClose { descriptor } => call::cancel_close(&descriptor).abi_encode(),
        Call::FinalizeClose { descriptor } => call::finalize_close(&descriptor).abi_encode(),
        ref other => unreachable!("{other:?} is not about one channel"),
    }
}

fn authorization_of(authorization: Authorization) -> IPSC::Authorization {
    let Authorization { valid_after, valid_before, signature } = authorization;
    IPSC::Authorization {
        validAfter: U256::from(valid_after.seconds()),
        validBefore: U256::from(valid_before.seconds()),
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    }
}

fn claim(claim: &Claim) -> IPSC::Claim {
    IPSC::Claim {
        client: claim.client,
        offering: claim.offering.into(),
        nonce: claim.nonce,
        signer: claim.signer,
        cumulativeAmount: claim.cumulative.get(),
        signature: Bytes::copy_from_slice(&claim.signature),
    }
}

/// What the contract returned, in the model's words.
pub(crate) fn returned(call: &Call, data: &[u8]) -> Returned {
    let rows = |rows: U256| Returned::Rows(rows.to());
    match call {
        Call::Open { .. } => Returned::Channel(PSC::openCall::abi_decode_returns(data).unwrap().into()),
        Call::OpenFromWallet { .. } => {
            Returned::Channel(PSC::openWithPermitCall::abi_decode_returns(data).unwrap().into())
        }
        Call::OpenWithAuthorization { .. } => {
            Returned::Channel(PSC::openWithAuthorizationCall::abi_decode_returns(data).unwrap().into())
        }
        Call::WithdrawAll { .. } => {
            let amount = PSC::withdrawAllCall::abi_decode_returns(data).unwrap();
            Returned::Amount(amount.try_into().unwrap())
        }
        Call::SettleBatch { .. } => rows(PSC::settleBatchCall::abi_decode_returns(data).unwrap()),
        Call::CloseBatch { .. } => rows(PSC::closeBatchCall::abi_decode_returns(data).unwrap()),
        Call::CloseBatchFor { .. } => rows(PSC::closeBatchForCall::abi_decode_returns(data).unwrap()),
        Call::Multicall { calls } => {
            let results = PSC::multicallCall::abi_decode_returns(data).unwrap();
            assert_eq!(results.len(), calls.len());
            Returned::Calls(calls.iter().zip(results).map(|(call, data)| returned(call, &data)).collect())
        }
        _ => {
            assert!(data.is_empty(), "{call:?} returns nothing");
            Returned::Nothing
        }
    }
}

/// What the model did, as the contract's events show it.
pub(crate) fn done(outcome: Outcome) -> Done {
    Done { events: outcome.events.into_iter().map(event).collect(), returned: outcome.returned }
}

fn event(event: Event) -> PscEvent {
    let parties = |id, client, agent| ChannelParties { id, client, agent };
    match event {
        Event::Deposited { account, amount } => PscEvent::Deposited { account, amount },
        Event::Withdrawn { account, to, amount } => PscEvent::Withdrawn { account, to, amount },
        Event::OperatorChanged { agent, operator, nonce } => {
            let operator = Some(operator).filter(|operator| !operator.is_zero());
            PscEvent::OperatorChanged { agent, operator, nonce }
        }
        Event::ConsentsRevoked { account, nonce } => PscEvent::ConsentsRevoked { account, nonce },
        Event::OfferingRegistered { agent, offering, min_deposit, supply, fee, source } => {
            let Source { kind: source_type, address: source } = source;
            let announcement = Announcement { min_deposit, supply, fee, source_type, source };
            PscEvent::OfferingRegistered { agent, offering, announcement }
        }
        Event::OfferingPoppedUp { agent, offering, min_deposit, supply, fee, source } => {
            let Source { kind: source_type, address: source } = source;
            let announcement = Announcement { min_deposit, supply, fee, source_type, source };
            PscEvent::OfferingPoppedUp { agent, offering, announcement }
        }
        Event::OfferingRemoved { agent, offering } => PscEvent::OfferingRemoved { agent, offering },
        Event::OfferingFeeRefreshed { agent, offering, fee } => {
            PscEvent::OfferingFeeRefreshed { agent, offering, fee }
        }
        Event::ChannelOpened { channel, descriptor, deposit, fee } => {
            PscEvent::ChannelOpened { channel, descriptor, deposit, fee }
        }
        Event::ChannelToppedUp { channel, client, agent, deposit, request_cancelled } => {
            PscEvent::ChannelToppedUp { channel: parties(channel, client, agent), deposit, request_cancelled }
        }
        Event::ChannelSettled { channel, client, agent, paid } => {
            PscEvent::ChannelSettled { channel: parties(channel, client, agent), paid }
        }
        Event::ChannelCloseRequested { channel, client, agent, paid, ends_at } => {
            PscEvent::ChannelCloseRequested { channel: parties(channel, client, agent), paid, ends_at }
        }
        Event::ChannelCloseCancelled { channel, client, agent } => {
            PscEvent::ChannelCloseCancelled { channel: parties(channel, client, agent) }
        }
        Event::ChannelClosed { channel, client, agent, offering, paid, refund, closure } => {
            let channel = parties(channel, client, agent);
            PscEvent::ChannelClosed { channel, offering, paid, refund, closure }
        }
        Event::ClaimSkipped { index, channel, reason } => {
            let reason = match reason {
                SkipReason::NotOpened => Skipped::NotOpened,
                SkipReason::Closed => Skipped::Closed,
                SkipReason::NothingToSettle => Skipped::NothingToSettle,
                SkipReason::InvalidSignature => Skipped::InvalidSignature,
            };
            PscEvent::ClaimSkipped { index, channel, reason }
        }
        Event::FeeChanged { fee, effective_at } => PscEvent::FeeChanged { fee, effective_at },
        Event::FeeAddressProposed { current, proposed } => PscEvent::FeeAddressProposed { current, proposed },
        Event::FeeAddressChanged { previous, current } => PscEvent::FeeAddressChanged { previous, current },
    }
}

/// The model's error as the bindings decode the contract's, with every value.
pub(crate) fn error_of(revert: Revert) -> PscError {
    match revert {
        Revert::ZeroAmount => PscError::ZeroAmount,
        Revert::ZeroAddress => PscError::ZeroAddress,
        Revert::InvalidRecipient { recipient } => PscError::InvalidRecipient { recipient },
        Revert::AmountTooLarge { amount } => PscError::AmountTooLarge { amount: wide(amount) },
        Revert::InsufficientBalance { account, available, needed } => {
            PscError::InsufficientBalance { account, available: wide(available), needed: wide(needed) }
        }
        Revert::NotFeeAddress { caller } => PscError::NotFeeAddress { caller },
        Revert::FeeTooHigh { fee } => {
            PscError::FeeTooHigh { fee: U256::from(fee), maximum: U256::from(Fee::MAX.get()) }
        }
        Revert::NotProposedFeeAddress { caller } => PscError::NotProposedFeeAddress { caller },
        Revert::OfferingExists { agent, offering } => PscError::OfferingExists { agent, offering },
        Revert::OfferingNotLive { agent, offering } => PscError::OfferingNotLive { agent, offering },
        Revert::NoSupply { agent, offering } => PscError::NoSupply { agent, offering },
        Revert::StakeTooSmall { stake, minimum } => {
            PscError::StakeTooSmall { stake: wide(stake), minimum: wide(minimum) }
        }
        Revert::SourceTooLong { length, maximum } => {
            PscError::SourceTooLong { length: U256::from(length), maximum: U256::from(maximum) }
        }
        Revert::TooEarly { now, allowed_at } => PscError::TooEarly { now, allowed_at },
        Revert::Expired { deadline } => PscError::Expired { deadline },
        Revert::WrongNonce { given, current } => {
            PscError::WrongNonce { given: U256::from(given), current: U256::from(current) }
        }
        Revert::DepositTooSmall { deposit, minimum } => {
            PscError::DepositTooSmall { deposit: wide(deposit), minimum: wide(minimum) }
        }
        Revert::ChannelExists { channel } => PscError::ChannelExists { channel },
        Revert::ChannelNotOpen { channel } => PscError::ChannelNotOpen { channel },
        Revert::NotClient { caller } => PscError::NotClient { caller },
        Revert::NotAgent { caller } => PscError::NotAgent { caller },
        Revert::CloseAlreadyRequested { channel } => PscError::CloseAlreadyRequested { channel },
        Revert::CloseNotRequested { channel } => PscError::CloseNotRequested { channel },
        Revert::NothingToSettle { channel, paid } => PscError::NothingToSettle { channel, paid: wide(paid) },
        Revert::BelowPaid { amount, paid } => PscError::BelowPaid { amount: wide(amount), paid: wide(paid) },
        Revert::InvalidSignature { channel } => PscError::InvalidSignature { channel },
        Revert::InsufficientWallet { account, available, needed } => {
            PscError::InsufficientTokens { owner: account, available: wide(available), needed: wide(needed) }
        }
        Revert::AuthorizationNotYetValid { valid_after } => {
            PscError::AuthorizationNotYetValid { valid_after }
        }
        Revert::AuthorizationExpired { valid_before } => PscError::AuthorizationExpired { valid_before },
        Revert::AuthorizationAlreadyUsed { authorizer, nonce } => {
            PscError::AuthorizationAlreadyUsed { authorizer, nonce }
        }
        Revert::AuthorizationNotSigned { signer, authorizer } => {
            PscError::AuthorizationNotSigned { signer, authorizer }
        }
        Revert::AuthorizationMalformed => PscError::decode(&PTC::ECDSAInvalidSignature {}.abi_encode()),
        Revert::AuthorizationHighS { s } => PscError::decode(&PTC::ECDSAInvalidSignatureS { s }.abi_encode()),
    }
}
