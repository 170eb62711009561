// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelHash} from "../libraries/ChannelHash.sol";
import {ChannelStorage} from "../libraries/ChannelStorage.sol";
import {ChannelWord} from "../libraries/ChannelWord.sol";
import {RawDescriptor} from "../libraries/RawDescriptor.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Offerings} from "./Offerings.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice What all calls on payment channels share: ids, signatures, payment and closing; and the views.
///
/// Storage: each channel's ChannelWord in the slot that is its id (ChannelStorage).
///
/// @dev A channel's money has two ways out only: to its agent, up to a voucher of its signer or what its client admits; and
/// to its client, when the channel closes.
abstract contract Channels is Offerings {
    using ChannelStorage for bytes32;
    using RawDescriptor for Descriptor;

    /// @dev Below lie the plain slots, which no id can meet.
    uint256 private constant LEAST_ID = 1 << 64;

    uint40 internal immutable CHALLENGE_PERIOD;

    // Ids keep the chain id of the deployment for ever: a fork with another one freezes no channel. Signatures are for the
    // chain that the call is made on.
    uint256 internal immutable DEPLOYED_CHAIN_ID;
    bytes32 private immutable DEPLOYED_SEPARATOR;

    constructor(uint40 challengePeriod_) {
        CHALLENGE_PERIOD = challengePeriod_;
        DEPLOYED_CHAIN_ID = block.chainid;
        DEPLOYED_SEPARATOR = ChannelHash.domainSeparator();
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IPSC
    function channels(bytes32 channelId) external view returns (Channel memory channel) {
        if (uint256(channelId) < LEAST_ID) return channel;
        ChannelWord word = channelId.slot().word;
        // Balances, accounts and offerings are stored at hashes too, and have no channel's state.
        if (word.state() == uint8(ChannelState.None)) return channel;
        channel = Channel({
            deposit: uint96(word.deposit()),
            paid: uint96(word.paid()),
            challengeEndsAt: word.challengeEndsAt(),
            fee: word.fee(),
            state: ChannelState(word.state()),
            disputed: word.disputed()
        });
    }

    /// @inheritdoc IPSC
    function channelIdOf(Descriptor calldata d) external view returns (bytes32) {
        return _idOf(d.client, d.agent, d.offering, d.nonce, d.signer);
    }

    /// @inheritdoc IPSC
    function voucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32) {
        return ChannelHash.voucherDigest(_separator(), channelId, cumulativeAmount);
    }

    /// @inheritdoc IPSC
    function closeDigest(bytes32 channelId, uint128 cumulativeAmount, uint64 nonce, uint64 deadline)
        external
        view
        returns (bytes32)
    {
        return _closingDigest(ChannelHash.CLOSE_TYPEHASH, channelId, cumulativeAmount, nonce, deadline);
    }

    /// @inheritdoc IPSC
    function requestCloseDigest(bytes32 channelId, uint128 admitted, uint64 nonce, uint64 deadline)
        external
        view
        returns (bytes32)
    {
        return _closingDigest(ChannelHash.REQUEST_CLOSE_TYPEHASH, channelId, admitted, nonce, deadline);
    }

    /// @inheritdoc IPSC
    function domainSeparator() external view returns (bytes32) {
        return _separator();
    }

    /// @inheritdoc IPSC
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        fields = 0x0f; // name, version, chain id, contract
        (name, version) = (ChannelHash.NAME, ChannelHash.VERSION);
        (chainId, verifyingContract) = (block.chainid, address(this));
        (salt, extensions) = (0, new uint256[](0));
    }

    /// @inheritdoc IPSC
    function deploymentChainId() external view returns (uint256) {
        return DEPLOYED_CHAIN_ID;
    }

    /// @inheritdoc IPSC
    function challengePeriod() external view returns (uint40) {
        return CHALLENGE_PERIOD;
    }

    // ---------------------------------------------------------------- payment and closing

    /// @notice Pays the agent up to a cumulative amount that was checked: paid < amount <= deposit.
    /// @return the channel with the amount paid, to be stored by the caller
    function _pay(ChannelWord channel, uint256 cumulativeAmount, address agent)
        internal
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
        Closure closure
    ) internal {
        channelId.slot().word = channel.closed();
        uint256 refund = channel.unpaid();
        _freePlace(agent, offering);
        if (refund != 0) _credit(client, refund);
        emit ChannelClosed(
            channelId, client, agent, offering, uint96(channel.paid()), uint96(refund), closure
        );
    }

    // ---------------------------------------------------------------- signatures

    /// @notice Whether a voucher over this amount is signed by whoever signs for the channel.
    function _isVoucher(
        bytes32 channelId,
        address signer,
        address client,
        uint256 cumulativeAmount,
        bytes calldata signature
    ) internal view returns (bool) {
        // `_separator()` and `_isSigned()` in place: it is on every payment's path.
        bytes32 separator =
            block.chainid == DEPLOYED_CHAIN_ID ? DEPLOYED_SEPARATOR : ChannelHash.domainSeparator();
        bytes32 digest = ChannelHash.voucherDigest(separator, channelId, cumulativeAmount);
        if (signer == address(0)) return Signatures.isAcceptedBy(client, digest, signature);
        return Signatures.recover(digest, signature) == signer;
    }

    /// @notice Whether a message is signed by whoever signs for the channel: the key of the signer that it names, or its client's
    /// account when it names none.
    /// @dev A named signer is a key, whatever code its account has or gets later (EIP-7702): nobody else's code decides.
    function _isSigned(address signer, address client, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        if (signer == address(0)) return Signatures.isAcceptedBy(client, digest, signature);
        return Signatures.recover(digest, signature) == signer;
    }

    function _closingDigest(
        bytes32 typeHash,
        bytes32 channelId,
        uint128 amount,
        uint64 nonce,
        uint64 deadline
    ) internal view returns (bytes32) {
        return ChannelHash.closingDigest(_separator(), typeHash, channelId, amount, nonce, deadline);
    }

    function _separator() internal view returns (bytes32) {
        return block.chainid == DEPLOYED_CHAIN_ID ? DEPLOYED_SEPARATOR : ChannelHash.domainSeparator();
    }

    // ---------------------------------------------------------------- ids

    function _idOf(address client, address agent, bytes32 offering, uint64 nonce, address signer)
        internal
        view
        returns (bytes32)
    {
        return ChannelHash.channelIdOf(
            client, agent, address(TOKEN), offering, nonce, signer, DEPLOYED_CHAIN_ID
        );
    }

    /// @notice The channel that a descriptor names; it must be open.
    /// @dev The id is `ChannelHash.channelIdOf`, hashed from the descriptor's words as they stand in calldata (see
    /// `RawDescriptor` for why they need no check): that saves each call on a channel 720 gas.
    function _openChannel(Descriptor calldata descriptor)
        internal
        view
        returns (bytes32 channelId, ChannelWord channel)
    {
        address token_ = address(TOKEN);
        uint256 chainId = DEPLOYED_CHAIN_ID;
        assembly ("memory-safe") {
            calldatacopy(0x00, add(descriptor, 0x40), 0x40) // offering, nonce
            let salt := keccak256(0x00, 0x40)
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
            calldatacopy(words, descriptor, 0x40) // client, agent
            mstore(add(words, 0x40), shr(96, shl(96, token_)))
            mstore(add(words, 0x60), salt)
            mstore(add(words, 0x80), calldataload(add(descriptor, 0x80))) // signer
            mstore(add(words, 0xa0), address())
            mstore(add(words, 0xc0), chainId)
            channelId := keccak256(words, 0xe0)
        }
        channel = channelId.slot().word;
        if (!channel.isOpen()) revert ChannelNotOpen(channelId);
    }
}
