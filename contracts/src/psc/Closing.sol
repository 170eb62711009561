// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelHash} from "../libraries/ChannelHash.sol";
import {ChannelStorage} from "../libraries/ChannelStorage.sol";
import {ChannelWord} from "../libraries/ChannelWord.sol";
import {RawDescriptor} from "../libraries/RawDescriptor.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Opening} from "./Opening.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice One channel settled, or closed: by its agent, by both sides, or by its client alone.
abstract contract Closing is Opening {
    using ChannelStorage for bytes32;
    using RawDescriptor for Descriptor;

    // ---------------------------------------------------------------- by voucher

    /// @inheritdoc IPSC
    function settle(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external
    {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        uint256 due = channel.due(cumulativeAmount);
        if (channel.hasPaid(due)) revert NothingToSettle(channelId, channel.paid());
        if (!_isVoucher(
                channelId, descriptor.rawSigner(), descriptor.rawClient(), cumulativeAmount, signature
            )) {
            revert InvalidSignature(channelId);
        }
        channel = _pay(channel, due, descriptor.rawAgent());
        channelId.slot().word = channel;
        emit ChannelSettled(channelId, descriptor.rawClient(), descriptor.rawAgent(), uint96(channel.paid()));
    }

    /// @inheritdoc IPSC
    function close(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external
    {
        if (msg.sender != descriptor.rawAgent()) _requireOperator(descriptor.rawAgent());
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        uint256 due = channel.due(cumulativeAmount);
        if (!channel.hasPaid(due)) {
            if (!_isVoucher(
                    channelId, descriptor.rawSigner(), descriptor.rawClient(), cumulativeAmount, signature
                )) {
                revert InvalidSignature(channelId);
            }
            // `_pay` in place, which saves 49 gas: the agent's close is the call that every channel pays for.
            uint256 share;
            uint256 fees;
            (channel, share, fees) = channel.pay(due);
            _credit(descriptor.rawAgent(), share);
            if (fees != 0) _creditFees(fees);
        }
        Closure closure = Closure.ByAgent;
        if (channel.disputed()) closure = Closure.ByAgentDisputed;
        _close(
            channelId,
            channel,
            descriptor.rawClient(),
            descriptor.rawAgent(),
            descriptor.rawOffering(),
            closure
        );
    }

    /// @inheritdoc IPSC
    function closeWithBoth(
        Descriptor calldata descriptor,
        uint128 cumulativeAmount,
        bytes calldata voucherSignature,
        Consent calldata consent
    ) external {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        if (channel.paid() > cumulativeAmount) revert BelowPaid(cumulativeAmount, channel.paid());
        if (!_isVoucher(
                channelId, descriptor.rawSigner(), descriptor.rawClient(), cumulativeAmount, voucherSignature
            )) {
            revert InvalidSignature(channelId);
        }
        _requireConsent(channelId, descriptor.rawAgent(), cumulativeAmount, consent);
        uint256 due = channel.due(cumulativeAmount);
        if (!channel.hasPaid(due)) {
            // `_pay` in place, as in `close`.
            uint256 share;
            uint256 fees;
            (channel, share, fees) = channel.pay(due);
            _credit(descriptor.rawAgent(), share);
            if (fees != 0) _creditFees(fees);
        }
        _close(
            channelId,
            channel,
            descriptor.rawClient(),
            descriptor.rawAgent(),
            descriptor.rawOffering(),
            Closure.ByBoth
        );
    }

    // ---------------------------------------------------------------- by the client alone

    /// @inheritdoc IPSC
    function requestClose(Descriptor calldata descriptor, uint128 admitted) external {
        _requireClient(descriptor);
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        _requestClose(channelId, channel, descriptor, admitted);
    }

    /// @inheritdoc IPSC
    function requestCloseFor(
        Descriptor calldata descriptor,
        uint128 admitted,
        uint64 nonce,
        uint64 deadline,
        bytes calldata signature
    ) external {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        _requireCurrent(descriptor.rawClient(), nonce, deadline);
        bytes32 digest =
            _closingDigest(ChannelHash.REQUEST_CLOSE_TYPEHASH, channelId, admitted, nonce, deadline);
        // By whoever signs the vouchers, who can spend the whole deposit anyway; not by the client's account, whose code may
        // later accept everything.
        if (!_isSigned(descriptor.rawSigner(), descriptor.rawClient(), digest, signature)) {
            revert InvalidSignature(channelId);
        }
        _requestClose(channelId, channel, descriptor, admitted);
    }

    function _requestClose(
        bytes32 channelId,
        ChannelWord channel,
        Descriptor calldata descriptor,
        uint128 admitted
    ) private {
        if (channel.challengeEndsAt() != 0) {
            revert CloseAlreadyRequested(channelId);
        }
        // A settlement may overtake the request: then what is paid counts, and the request goes on.
        uint256 due = channel.due(admitted);
        if (!channel.hasPaid(due)) channel = _pay(channel, due, descriptor.rawAgent());
        uint256 end = block.timestamp + CHALLENGE_PERIOD;
        channelId.slot().word = channel.closeRequested(end);
        emit ChannelCloseRequested(
            channelId, descriptor.rawClient(), descriptor.rawAgent(), uint96(channel.paid()), uint40(end)
        );
    }

    /// @inheritdoc IPSC
    function cancelClose(Descriptor calldata descriptor) external {
        _requireClient(descriptor);
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        if (channel.challengeEndsAt() == 0) revert CloseNotRequested(channelId);
        channelId.slot().word = channel.closeCancelled();
        emit ChannelCloseCancelled(channelId, msg.sender, descriptor.rawAgent());
    }

    /// @inheritdoc IPSC
    function finalizeClose(Descriptor calldata descriptor) external {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        uint256 end = channel.challengeEndsAt();
        if (end == 0) revert CloseNotRequested(channelId);
        _requireTime(end);
        _close(
            channelId,
            channel,
            descriptor.rawClient(),
            descriptor.rawAgent(),
            descriptor.rawOffering(),
            channel.disputed() ? Closure.ByClientDisputed : Closure.ByClient
        );
    }

    // ---------------------------------------------------------------- common parts

    /// @notice Refuses a consent that neither the agent nor its operator signed, or that no longer counts.
    /// @dev Keys only: code that accepts everything could consent for its account to less than it is owed.
    function _requireConsent(
        bytes32 channelId,
        address agent,
        uint128 cumulativeAmount,
        Consent calldata consent
    ) private view {
        (uint64 nonce, uint64 deadline) = (consent.nonce, consent.deadline);
        _requireCurrent(agent, nonce, deadline);
        bytes32 digest = ChannelHash.closingDigest(
            _separator(), ChannelHash.CLOSE_TYPEHASH, channelId, cumulativeAmount, nonce, deadline
        );
        address key = Signatures.recover(digest, consent.signature);
        if (!_bindsAgent(agent, key)) revert InvalidSignature(channelId);
    }
}
