// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelStorage} from "../libraries/ChannelStorage.sol";
import {ChannelWord, ChannelWords} from "../libraries/ChannelWord.sol";
import {RawDescriptor} from "../libraries/RawDescriptor.sol";
import {Channels} from "./Channels.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Channels opened and topped up: from the internal balance, from the wallet, or by a relayed authorization.
abstract contract Opening is Channels {
    using ChannelStorage for bytes32;
    using RawDescriptor for Descriptor;

    // ---------------------------------------------------------------- open

    /// @inheritdoc IPSC
    function open(address agent, bytes32 offering, uint64 nonce, address signer, uint96 amount)
        external
        returns (bytes32 channelId)
    {
        channelId = _idOf(msg.sender, agent, offering, nonce, signer);
        _open(channelId, msg.sender, agent, offering, nonce, signer, amount);
        _debit(msg.sender, amount);
    }

    /// @inheritdoc IPSC
    function openWithPermit(
        address agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 amount,
        Permit calldata permit
    ) external returns (bytes32 channelId) {
        _permit(permit);
        channelId = _idOf(msg.sender, agent, offering, nonce, signer);
        _open(channelId, msg.sender, agent, offering, nonce, signer, _pull(amount));
    }

    /// @inheritdoc IPSC
    function openWithAuthorization(
        address client,
        address agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 amount,
        Authorization calldata authorization
    ) external returns (bytes32 channelId) {
        // Some tokens take a signature of nobody for one of the zero address.
        if (client == address(0)) revert ZeroAddress();
        channelId = _idOf(client, agent, offering, nonce, signer);
        uint96 received = _pullAuthorized(client, amount, channelId, authorization);
        _open(channelId, client, agent, offering, nonce, signer, received);
    }

    function _open(
        bytes32 channelId,
        address client,
        address agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 amount
    ) private {
        uint16 channelFee = _takePlace(agent, offering, amount);
        if (!channelId.slot().word.isNone()) revert ChannelExists(channelId);
        channelId.slot().word = ChannelWords.opened(amount, channelFee);
        emit ChannelOpened(channelId, client, agent, offering, nonce, signer, amount, channelFee);
    }

    // ---------------------------------------------------------------- top up

    /// @inheritdoc IPSC
    function topUp(Descriptor calldata descriptor, uint96 amount) external {
        _requireClient(descriptor);
        _topUp(descriptor, amount);
        _debit(msg.sender, amount);
    }

    /// @inheritdoc IPSC
    function topUpWithPermit(Descriptor calldata descriptor, uint96 amount, Permit calldata permit) external {
        _requireClient(descriptor);
        _permit(permit);
        _topUp(descriptor, _pull(amount));
    }

    /// @inheritdoc IPSC
    function topUpWithAuthorization(
        Descriptor calldata descriptor,
        uint96 amount,
        bytes32 salt,
        Authorization calldata authorization
    ) external {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        // Signed before the request, perhaps, and kept by whoever wants the client to stay.
        if (channel.challengeEndsAt() != 0) revert CloseAlreadyRequested(channelId);
        bytes32 nonce = keccak256(abi.encode(channelId, salt));
        uint96 received = _pullAuthorized(descriptor.client, amount, nonce, authorization);
        _topUp(descriptor, received);
    }

    function _topUp(Descriptor calldata descriptor, uint96 amount) private {
        if (amount == 0) revert ZeroAmount();
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        uint256 total = channel.deposit() + amount;
        if (total > type(uint96).max) revert AmountTooLarge(total);
        channelId.slot().word = channel.toppedUp(uint96(total));
        emit ChannelToppedUp(
            channelId,
            descriptor.rawClient(),
            descriptor.rawAgent(),
            uint96(total),
            channel.challengeEndsAt() != 0
        );
    }

    /// @dev Only the client: a top-up cancels a close request, and nobody else may stop the client's exit.
    function _requireClient(Descriptor calldata descriptor) internal view {
        if (msg.sender != descriptor.rawClient()) revert NotClient(msg.sender);
    }
}
