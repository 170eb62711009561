// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelHash} from "../libraries/ChannelHash.sol";
import {ChannelWord, ChannelWords} from "../libraries/ChannelWord.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Offerings} from "./Offerings.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Payment channels: opened and topped up by a client, paid by vouchers, closed by either side.
///
/// Storage:
///   slot 4  channels            channel id => ChannelWord
///
/// @dev A channel's money has two ways out only: to its agent, up to a voucher of its signer or what its client admits; and
/// to its client, when the channel closes.
abstract contract Channels is Offerings {
    uint40 internal immutable CHALLENGE_PERIOD;

    // EIP-712 domain of the chain that the contract was deployed on; another chain id (a fork) has its own.
    uint256 private immutable DEPLOYED_CHAIN_ID;
    bytes32 private immutable DEPLOYED_SEPARATOR;

    /// @dev A struct around the word, so that its place in storage is computed once for reading and writing.
    struct ChannelSlot {
        ChannelWord word;
    }

    mapping(bytes32 channelId => ChannelSlot) private _channels;

    constructor(uint40 challengePeriod_) {
        CHALLENGE_PERIOD = challengePeriod_;
        DEPLOYED_CHAIN_ID = block.chainid;
        DEPLOYED_SEPARATOR = ChannelHash.domainSeparator();
    }

    // ---------------------------------------------------------------- open, top up

    /// @inheritdoc IPSC
    function open(address agent, bytes32 offering, uint64 nonce, address signer, uint96 amount)
        external
        returns (bytes32 channelId)
    {
        channelId = _open(agent, offering, nonce, signer, amount);
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
        channelId = _open(agent, offering, nonce, signer, amount);
        _permit(permit);
        _pull(amount);
    }

    /// @inheritdoc IPSC
    function topUp(Descriptor calldata descriptor, uint96 amount) external {
        _topUp(descriptor, amount);
        _debit(msg.sender, amount);
    }

    /// @inheritdoc IPSC
    function topUpWithPermit(Descriptor calldata descriptor, uint96 amount, Permit calldata permit) external {
        _topUp(descriptor, amount);
        _permit(permit);
        _pull(amount);
    }

    function _open(address agent, bytes32 offering, uint64 nonce, address signer, uint96 amount)
        private
        returns (bytes32 channelId)
    {
        uint16 channelFee = _takePlace(agent, offering, amount);
        channelId = ChannelHash.channelIdOf(msg.sender, agent, address(TOKEN), offering, nonce, signer);
        ChannelSlot storage slot = _channels[channelId];
        if (!slot.word.isNone()) revert ChannelExists(channelId);
        slot.word = ChannelWords.opened(amount, channelFee);
        emit ChannelOpened(channelId, msg.sender, agent, offering, nonce, signer, amount, channelFee);
    }

    /// @dev Only the client: a top-up cancels a close request, and nobody else may stop the client's exit.
    function _topUp(Descriptor calldata descriptor, uint96 amount) private {
        if (msg.sender != descriptor.client) revert NotClient(msg.sender);
        if (amount == 0) revert ZeroAmount();
        (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel) = _openChannel(descriptor);
        uint256 total = uint256(channel.deposit()) + amount;
        if (total > type(uint96).max) revert AmountTooLarge(total);
        slot.word = channel.toppedUp(uint96(total));
        emit ChannelToppedUp(channelId, msg.sender, descriptor.agent, uint96(total));
    }

    // ---------------------------------------------------------------- settle

    /// @inheritdoc IPSC
    function settle(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external
    {
        (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel) = _openChannel(descriptor);
        if (cumulativeAmount <= channel.paid()) revert NothingToSettle(channelId, channel.paid());
        _checkVoucher(channelId, channel, _signerOf(descriptor), cumulativeAmount, signature);
        channel = _pay(channel, cumulativeAmount, descriptor.agent);
        slot.word = channel;
        emit ChannelSettled(channelId, descriptor.client, descriptor.agent, channel.paid());
    }

    /// @inheritdoc IPSC
    function settleBatch(address agent, Claim[] calldata claims) external {
        uint256 shares;
        uint256 fees;
        for (uint256 i = 0; i < claims.length; ++i) {
            (uint256 share, uint256 part) = _settleClaim(agent, claims[i]);
            unchecked {
                shares += share; // backed by tokens held, as every credit
                fees += part;
            }
        }
        if (shares != 0) _credit(agent, shares);
        _creditFees(fees);
    }

    function _settleClaim(address agent, Claim calldata claim) private returns (uint256 share, uint256 fees) {
        bytes32 channelId = _idOf(agent, claim);
        ChannelSlot storage slot = _channels[channelId];
        ChannelWord channel = slot.word;
        uint128 cumulativeAmount = claim.cumulativeAmount;
        if (!channel.isOpen() || cumulativeAmount <= channel.paid()) return (0, 0);
        _checkVoucher(channelId, channel, _signerOf(claim), cumulativeAmount, claim.signature);
        (channel, share, fees) = channel.pay(cumulativeAmount);
        slot.word = channel;
        emit ChannelSettled(channelId, claim.client, agent, channel.paid());
    }

    // ---------------------------------------------------------------- close by the agent, or by both

    /// @inheritdoc IPSC
    function close(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external
    {
        if (msg.sender != descriptor.agent) revert NotAgent(msg.sender);
        (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel) = _openChannel(descriptor);
        if (cumulativeAmount > channel.paid()) {
            _checkVoucher(channelId, channel, _signerOf(descriptor), cumulativeAmount, signature);
            channel = _pay(channel, cumulativeAmount, msg.sender);
        }
        slot.word = channel.closed();
        _release(channelId, channel, descriptor.client, msg.sender, descriptor.offering, true);
    }

    /// @inheritdoc IPSC
    function closeBatch(Claim[] calldata claims) external {
        uint256 shares;
        uint256 fees;
        for (uint256 i = 0; i < claims.length; ++i) {
            (uint256 share, uint256 part) = _closeClaim(claims[i]);
            unchecked {
                shares += share; // backed by tokens held, as every credit
                fees += part;
            }
        }
        if (shares != 0) _credit(msg.sender, shares);
        _creditFees(fees);
    }

    function _closeClaim(Claim calldata claim) private returns (uint256 share, uint256 fees) {
        bytes32 channelId = _idOf(msg.sender, claim);
        ChannelSlot storage slot = _channels[channelId];
        ChannelWord channel = slot.word;
        if (!channel.isOpen()) return (0, 0);
        uint128 cumulativeAmount = claim.cumulativeAmount;
        if (cumulativeAmount > channel.paid()) {
            _checkVoucher(channelId, channel, _signerOf(claim), cumulativeAmount, claim.signature);
            (channel, share, fees) = channel.pay(cumulativeAmount);
        }
        slot.word = channel.closed();
        _release(channelId, channel, claim.client, msg.sender, claim.offering, true);
    }

    /// @inheritdoc IPSC
    function closeWithBoth(
        Descriptor calldata descriptor,
        uint128 cumulativeAmount,
        bytes calldata voucherSignature,
        bytes calldata closeSignature
    ) external {
        (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel) = _openChannel(descriptor);
        if (cumulativeAmount < channel.paid()) revert BelowPaid(cumulativeAmount, channel.paid());
        _checkVoucher(channelId, channel, _signerOf(descriptor), cumulativeAmount, voucherSignature);
        _checkClose(channelId, descriptor.agent, cumulativeAmount, closeSignature);
        channel = _pay(channel, cumulativeAmount, descriptor.agent);
        slot.word = channel.closed();
        _release(channelId, channel, descriptor.client, descriptor.agent, descriptor.offering, true);
    }

    // ---------------------------------------------------------------- close by the client alone

    /// @inheritdoc IPSC
    function requestClose(Descriptor calldata descriptor, uint128 admitted) external {
        if (msg.sender != descriptor.client) revert NotClient(msg.sender);
        (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel) = _openChannel(descriptor);
        if (channel.closeRequestedAt() != 0) revert CloseAlreadyRequested(channelId);
        if (admitted > channel.deposit()) revert AmountAboveDeposit(admitted, channel.deposit());
        // A settlement may overtake the request: then what is paid counts, and the request goes on.
        if (admitted > channel.paid()) channel = _pay(channel, admitted, descriptor.agent);
        slot.word = channel.closeRequested();
        emit ChannelCloseRequested(channelId, msg.sender, descriptor.agent, channel.paid());
    }

    /// @inheritdoc IPSC
    function finalizeClose(Descriptor calldata descriptor) external {
        if (msg.sender != descriptor.client) revert NotClient(msg.sender);
        (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel) = _openChannel(descriptor);
        uint256 requestedAt = channel.closeRequestedAt();
        if (requestedAt == 0) revert CloseNotRequested(channelId);
        _requireBlock(requestedAt + CHALLENGE_PERIOD);
        slot.word = channel.closed();
        _release(channelId, channel, msg.sender, descriptor.agent, descriptor.offering, false);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IPSC
    function channels(bytes32 channelId) external view returns (Channel memory) {
        ChannelWord channel = _channels[channelId].word;
        return Channel({
            deposit: channel.deposit(),
            paid: channel.paid(),
            closeRequestedAt: channel.closeRequestedAt(),
            fee: channel.fee(),
            state: ChannelState(channel.state())
        });
    }

    /// @inheritdoc IPSC
    function channelIdOf(Descriptor calldata descriptor) external view returns (bytes32) {
        return ChannelHash.channelIdOf(descriptor, address(TOKEN));
    }

    /// @inheritdoc IPSC
    function voucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32) {
        return ChannelHash.digest(_separator(), ChannelHash.VOUCHER_TYPEHASH, channelId, cumulativeAmount);
    }

    /// @inheritdoc IPSC
    function closeDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32) {
        return ChannelHash.digest(_separator(), ChannelHash.CLOSE_TYPEHASH, channelId, cumulativeAmount);
    }

    /// @inheritdoc IPSC
    function domainSeparator() external view returns (bytes32) {
        return _separator();
    }

    /// @inheritdoc IPSC
    function challengePeriod() external view returns (uint40) {
        return CHALLENGE_PERIOD;
    }

    // ---------------------------------------------------------------- common parts

    /// @notice Pays the agent up to a cumulative amount that was checked: paid <= amount <= deposit.
    /// @return the channel with the amount paid, to be stored by the caller
    function _pay(ChannelWord channel, uint256 cumulativeAmount, address agent)
        private
        returns (ChannelWord)
    {
        (ChannelWord next, uint256 share, uint256 fees) = channel.pay(cumulativeAmount);
        if (share != 0) _credit(agent, share);
        _creditFees(fees);
        return next;
    }

    /// @notice What follows from a close, once stored: the place is free again and the client gets what is not paid.
    function _release(
        bytes32 channelId,
        ChannelWord channel,
        address client,
        address agent,
        bytes32 offering,
        bool cooperative
    ) private {
        uint96 paid = channel.paid();
        uint96 refund;
        unchecked {
            refund = channel.deposit() - paid; // paid never exceeds the deposit
        }
        _freePlace(agent, offering);
        if (refund != 0) _credit(client, refund);
        emit ChannelClosed(channelId, client, agent, offering, paid, refund, cooperative);
    }

    /// @notice Refuses a voucher above the deposit or not signed by the channel's signer.
    function _checkVoucher(
        bytes32 channelId,
        ChannelWord channel,
        address signer,
        uint128 cumulativeAmount,
        bytes calldata signature
    ) private view {
        if (cumulativeAmount > channel.deposit()) {
            revert AmountAboveDeposit(cumulativeAmount, channel.deposit());
        }
        bytes32 digest =
            ChannelHash.digest(_separator(), ChannelHash.VOUCHER_TYPEHASH, channelId, cumulativeAmount);
        if (!Signatures.isValid(signer, digest, signature)) revert InvalidSignature(channelId);
    }

    /// @notice Refuses a closing authorisation that the agent did not sign.
    function _checkClose(bytes32 channelId, address agent, uint128 cumulativeAmount, bytes calldata signature)
        private
        view
    {
        bytes32 digest =
            ChannelHash.digest(_separator(), ChannelHash.CLOSE_TYPEHASH, channelId, cumulativeAmount);
        if (!Signatures.isValid(agent, digest, signature)) revert InvalidSignature(channelId);
    }

    function _openChannel(Descriptor calldata descriptor)
        private
        view
        returns (bytes32 channelId, ChannelSlot storage slot, ChannelWord channel)
    {
        channelId = ChannelHash.channelIdOf(descriptor, address(TOKEN));
        slot = _channels[channelId];
        channel = slot.word;
        if (!channel.isOpen()) revert ChannelNotOpen(channelId);
    }

    function _idOf(address agent, Claim calldata c) private view returns (bytes32) {
        return ChannelHash.channelIdOf(c.client, agent, address(TOKEN), c.offering, c.nonce, c.signer);
    }

    /// @notice A channel that names no signer is signed for by its client.
    function _signerOf(Descriptor calldata descriptor) private pure returns (address signer) {
        signer = descriptor.signer;
        if (signer == address(0)) signer = descriptor.client;
    }

    function _signerOf(Claim calldata claim) private pure returns (address signer) {
        signer = claim.signer;
        if (signer == address(0)) signer = claim.client;
    }

    function _separator() private view returns (bytes32) {
        return block.chainid == DEPLOYED_CHAIN_ID ? DEPLOYED_SEPARATOR : ChannelHash.domainSeparator();
    }
}
