// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelHash} from "../libraries/ChannelHash.sol";
import {ChannelStorage} from "../libraries/ChannelStorage.sol";
import {ChannelWord, ChannelWords} from "../libraries/ChannelWord.sol";
import {RawDescriptor} from "../libraries/RawDescriptor.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Offerings} from "./Offerings.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Payment channels: opened and topped up by a client, paid by vouchers, closed by either side.
///
/// Storage: each channel's ChannelWord in the slot that is its id (ChannelStorage).
///
/// @dev A channel's money has two ways out only: to its agent, up to a voucher of its signer or what its client admits; and
/// to its client, when the channel closes.
abstract contract Channels is Offerings {
    using ChannelStorage for bytes32;
    using RawDescriptor for Descriptor;

    uint40 internal immutable CHALLENGE_PERIOD;

    // EIP-712 domain of the chain that the contract was deployed on; another chain id (a fork) has its own.
    uint256 private immutable DEPLOYED_CHAIN_ID;
    bytes32 private immutable DEPLOYED_SEPARATOR;

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
        if (!channelId.slot().word.isNone()) revert ChannelExists(channelId);
        channelId.slot().word = ChannelWords.opened(amount, channelFee);
        emit ChannelOpened(channelId, msg.sender, agent, offering, nonce, signer, amount, channelFee);
    }

    /// @dev Only the client: a top-up cancels a close request, and nobody else may stop the client's exit.
    function _topUp(Descriptor calldata descriptor, uint96 amount) private {
        if (msg.sender != descriptor.rawClient()) revert NotClient(msg.sender);
        if (amount == 0) revert ZeroAmount();
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        uint256 total = channel.deposit() + amount;
        if (total > type(uint96).max) revert AmountTooLarge(total);
        channelId.slot().word = channel.toppedUp(uint96(total));
        emit ChannelToppedUp(channelId, msg.sender, descriptor.rawAgent(), uint96(total));
    }

    // ---------------------------------------------------------------- settle

    /// @inheritdoc IPSC
    function settle(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external
    {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        if (channel.hasPaid(cumulativeAmount)) revert NothingToSettle(channelId, channel.paid());
        _checkVoucher(channelId, channel, descriptor.voucherSigner(), cumulativeAmount, signature);
        channel = _pay(channel, cumulativeAmount, descriptor.rawAgent());
        channelId.slot().word = channel;
        emit ChannelSettled(channelId, descriptor.rawClient(), descriptor.rawAgent(), uint96(channel.paid()));
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
        if (fees != 0) _creditFees(fees);
    }

    function _settleClaim(address agent, Claim calldata claim) private returns (uint256 share, uint256 fees) {
        bytes32 channelId = _idOf(agent, claim);
        ChannelWord channel = channelId.slot().word;
        uint128 cumulativeAmount = claim.cumulativeAmount;
        if (!channel.isOpen() || channel.hasPaid(cumulativeAmount)) return (0, 0);
        _checkVoucher(channelId, channel, _signerOf(claim), cumulativeAmount, claim.signature);
        (channel, share, fees) = channel.pay(cumulativeAmount);
        channelId.slot().word = channel;
        emit ChannelSettled(channelId, claim.client, agent, uint96(channel.paid()));
    }

    // ---------------------------------------------------------------- close by the agent, or by both

    /// @inheritdoc IPSC
    function close(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external
    {
        if (msg.sender != descriptor.rawAgent()) revert NotAgent(msg.sender);
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        if (!channel.hasPaid(cumulativeAmount)) {
            _checkVoucher(channelId, channel, descriptor.voucherSigner(), cumulativeAmount, signature);
            channel = _pay(channel, cumulativeAmount, msg.sender);
        }
        _close(channelId, channel, descriptor.rawClient(), msg.sender, descriptor.rawOffering(), true);
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
        if (fees != 0) _creditFees(fees);
    }

    function _closeClaim(Claim calldata claim) private returns (uint256 share, uint256 fees) {
        bytes32 channelId = _idOf(msg.sender, claim);
        ChannelWord channel = channelId.slot().word;
        if (!channel.isOpen()) return (0, 0);
        uint128 cumulativeAmount = claim.cumulativeAmount;
        if (!channel.hasPaid(cumulativeAmount)) {
            _checkVoucher(channelId, channel, _signerOf(claim), cumulativeAmount, claim.signature);
            (channel, share, fees) = channel.pay(cumulativeAmount);
        }
        _close(channelId, channel, claim.client, msg.sender, claim.offering, true);
    }

    /// @inheritdoc IPSC
    function closeWithBoth(
        Descriptor calldata descriptor,
        uint128 cumulativeAmount,
        bytes calldata voucherSignature,
        bytes calldata closeSignature
    ) external {
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        if (cumulativeAmount < channel.paid()) revert BelowPaid(cumulativeAmount, channel.paid());
        _checkVoucher(channelId, channel, descriptor.voucherSigner(), cumulativeAmount, voucherSignature);
        _checkClose(channelId, descriptor.rawAgent(), cumulativeAmount, closeSignature);
        channel = _pay(channel, cumulativeAmount, descriptor.rawAgent());
        _close(
            channelId, channel, descriptor.rawClient(), descriptor.rawAgent(), descriptor.rawOffering(), true
        );
    }

    // ---------------------------------------------------------------- close by the client alone

    /// @inheritdoc IPSC
    function requestClose(Descriptor calldata descriptor, uint128 admitted) external {
        if (msg.sender != descriptor.rawClient()) revert NotClient(msg.sender);
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        if (channel.closeRequestedAt() != 0) revert CloseAlreadyRequested(channelId);
        if (!channel.covers(admitted)) revert AmountAboveDeposit(admitted, channel.deposit());
        // A settlement may overtake the request: then what is paid counts, and the request goes on.
        if (!channel.hasPaid(admitted)) channel = _pay(channel, admitted, descriptor.rawAgent());
        channelId.slot().word = channel.closeRequested();
        emit ChannelCloseRequested(channelId, msg.sender, descriptor.rawAgent(), uint96(channel.paid()));
    }

    /// @inheritdoc IPSC
    function finalizeClose(Descriptor calldata descriptor) external {
        if (msg.sender != descriptor.rawClient()) revert NotClient(msg.sender);
        (bytes32 channelId, ChannelWord channel) = _openChannel(descriptor);
        uint256 requestedAt = channel.closeRequestedAt();
        if (requestedAt == 0) revert CloseNotRequested(channelId);
        _requireBlock(requestedAt + CHALLENGE_PERIOD);
        _close(channelId, channel, msg.sender, descriptor.rawAgent(), descriptor.rawOffering(), false);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IPSC
    function channels(bytes32 channelId) external view returns (Channel memory) {
        ChannelWord channel = channelId.slot().word;
        return Channel({
            deposit: uint96(channel.deposit()),
            paid: uint96(channel.paid()),
            closeRequestedAt: channel.closeRequestedAt(),
            fee: channel.fee(),
            state: ChannelState(channel.state())
        });
    }

    /// @inheritdoc IPSC
    function channelIdOf(Descriptor calldata descriptor) external view returns (bytes32) {
        return ChannelHash.channelIdOf(
            descriptor.client,
            descriptor.agent,
            address(TOKEN),
            descriptor.offering,
            descriptor.nonce,
            descriptor.signer
        );
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
        _credit(agent, share);
        if (fees != 0) _creditFees(fees);
        return next;
    }

    /// @notice Closes for ever: the place is free again and the client gets what is not paid.
    function _close(
        bytes32 channelId,
        ChannelWord channel,
        address client,
        address agent,
        bytes32 offering,
        bool cooperative
    ) private {
        channelId.slot().word = channel.closed();
        uint256 paid = channel.paid();
        uint256 refund = channel.unpaid();
        _freePlace(agent, offering);
        if (refund != 0) _credit(client, refund);
        // `emit ChannelClosed(...)` by hand: it costs 50 gas less.
        bytes32 topic = ChannelClosed.selector;
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, offering)
            mstore(add(words, 0x20), paid)
            mstore(add(words, 0x40), refund)
            mstore(add(words, 0x60), cooperative)
            log4(words, 0x80, topic, channelId, shr(96, shl(96, client)), shr(96, shl(96, agent)))
        }
    }

    /// @notice Refuses a voucher above the deposit or not signed by the channel's signer.
    function _checkVoucher(
        bytes32 channelId,
        ChannelWord channel,
        address signer,
        uint256 cumulativeAmount,
        bytes calldata signature
    ) private view {
        if (!channel.covers(cumulativeAmount)) {
            revert AmountAboveDeposit(cumulativeAmount, channel.deposit());
        }
        // `_separator()` in place: it is on every payment's path.
        bytes32 separator =
            block.chainid == DEPLOYED_CHAIN_ID ? DEPLOYED_SEPARATOR : ChannelHash.domainSeparator();
        bytes32 digest =
            ChannelHash.digest(separator, ChannelHash.VOUCHER_TYPEHASH, channelId, cumulativeAmount);
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

    /// @notice The channel that a descriptor names; it must be open.
    /// @dev The id is `ChannelHash.channelIdOf`, hashed from the descriptor's words as they stand in calldata (see
    /// `RawDescriptor` for why they need no check). By hand and in place, because every call on a channel passes here.
    function _openChannel(Descriptor calldata descriptor)
        private
        view
        returns (bytes32 channelId, ChannelWord channel)
    {
        address token_ = address(TOKEN);
        assembly ("memory-safe") {
            calldatacopy(0x00, add(descriptor, 0x40), 0x40) // offering, nonce
            let salt := keccak256(0x00, 0x40)
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
            calldatacopy(words, descriptor, 0x40) // client, agent
            mstore(add(words, 0x40), shr(96, shl(96, token_)))
            mstore(add(words, 0x60), salt)
            mstore(add(words, 0x80), calldataload(add(descriptor, 0x80))) // signer
            mstore(add(words, 0xa0), address())
            mstore(add(words, 0xc0), chainid())
            channelId := keccak256(words, 0xe0)
        }
        channel = channelId.slot().word;
        if (!channel.isOpen()) revert ChannelNotOpen(channelId);
    }

    function _idOf(address agent, Claim calldata c) private view returns (bytes32) {
        return ChannelHash.channelIdOf(c.client, agent, address(TOKEN), c.offering, c.nonce, c.signer);
    }

    /// @notice A channel that names no signer is signed for by its client.
    function _signerOf(Claim calldata claim) private pure returns (address signer) {
        signer = claim.signer;
        if (signer == address(0)) signer = claim.client;
    }

    function _separator() private view returns (bytes32) {
        return block.chainid == DEPLOYED_CHAIN_ID ? DEPLOYED_SEPARATOR : ChannelHash.domainSeparator();
    }
}
