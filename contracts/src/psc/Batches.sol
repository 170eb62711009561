// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelStorage} from "../libraries/ChannelStorage.sol";
import {ChannelWord} from "../libraries/ChannelWord.sol";
import {RawClaim} from "../libraries/RawDescriptor.sol";
import {Closing} from "./Closing.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Many channels of one agent in one transaction.
/// @dev No row stops another: what cannot be done is skipped and reported. Shares and fees are credited once, at the end.
abstract contract Batches is Closing {
    using ChannelStorage for bytes32;
    using RawClaim for Claim;

    /// @inheritdoc IPSC
    function settleBatch(address agent, Claim[] calldata claims) external returns (uint256 settled) {
        uint256 shares;
        uint256 fees;
        for (uint256 i = 0; i < claims.length; ++i) {
            (uint256 share, uint256 part) = _settleClaim(agent, claims[i], i);
            unchecked {
                if (share != 0) ++settled; // every settlement brings a share: fees are at most a tenth
                shares += share; // backed by tokens held, as every credit
                fees += part;
            }
        }
        if (shares != 0) _credit(agent, shares);
        if (fees != 0) _creditFees(fees);
    }

    /// @return share what the agent gets; zero when the row is skipped
    /// @return fees what the network gets
    function _settleClaim(address agent, Claim calldata claim, uint256 index)
        private
        returns (uint256 share, uint256 fees)
    {
        (bytes32 channelId, ChannelWord channel) = _claimed(agent, claim);
        if (!channel.isOpen()) {
            _skip(index, channelId, _whyNotOpen(channel));
            return (0, 0);
        }
        uint128 cumulativeAmount = claim.cumulativeAmount;
        uint256 due = channel.due(cumulativeAmount);
        if (channel.hasPaid(due)) {
            _skip(index, channelId, SkipReason.NothingToSettle);
            return (0, 0);
        }
        if (!_isVoucher(channelId, claim.rawSigner(), claim.rawClient(), cumulativeAmount, claim.signature)) {
            _skip(index, channelId, SkipReason.InvalidSignature);
            return (0, 0);
        }
        (channel, share, fees) = channel.pay(due);
        channelId.slot().word = channel;
        emit ChannelSettled(channelId, claim.rawClient(), agent, uint96(channel.paid()));
    }

    /// @inheritdoc IPSC
    function closeBatch(Claim[] calldata claims) external returns (uint256) {
        return _closeBatch(msg.sender, claims);
    }

    /// @inheritdoc IPSC
    function closeBatchFor(address agent, Claim[] calldata claims) external returns (uint256) {
        if (msg.sender != agent) _requireOperator(agent);
        return _closeBatch(agent, claims);
    }

    function _closeBatch(address agent, Claim[] calldata claims) private returns (uint256 closed) {
        uint256 shares;
        uint256 fees;
        for (uint256 i = 0; i < claims.length; ++i) {
            (bool done, uint256 share, uint256 part) = _closeClaim(agent, claims[i], i);
            unchecked {
                if (done) ++closed;
                shares += share; // backed by tokens held, as every credit
                fees += part;
            }
        }
        if (shares != 0) _credit(agent, shares);
        if (fees != 0) _creditFees(fees);
    }

    function _closeClaim(address agent, Claim calldata claim, uint256 index)
        private
        returns (bool done, uint256 share, uint256 fees)
    {
        (bytes32 channelId, ChannelWord channel) = _claimed(agent, claim);
        if (!channel.isOpen()) {
            _skip(index, channelId, _whyNotOpen(channel));
            return (false, 0, 0);
        }
        uint128 cumulativeAmount = claim.cumulativeAmount;
        uint256 due = channel.due(cumulativeAmount);
        if (!channel.hasPaid(due)) {
            if (!_isVoucher(
                    channelId, claim.rawSigner(), claim.rawClient(), cumulativeAmount, claim.signature
                )) {
                _skip(index, channelId, SkipReason.InvalidSignature);
                return (false, 0, 0);
            }
            (channel, share, fees) = channel.pay(due);
        }
        Closure closure = Closure.ByAgent;
        if (channel.disputed()) closure = Closure.ByAgentDisputed;
        _close(channelId, channel, claim.rawClient(), agent, claim.rawOffering(), closure);
        done = true;
    }

    /// @dev As `_openChannel`: hashed from calldata as it stands, which saves each row 522 gas.
    function _claimed(address agent, Claim calldata claim)
        private
        view
        returns (bytes32 channelId, ChannelWord channel)
    {
        address token_ = address(TOKEN);
        uint256 chainId = DEPLOYED_CHAIN_ID;
        assembly ("memory-safe") {
            calldatacopy(0x00, add(claim, 0x20), 0x40) // offering, nonce
            let salt := keccak256(0x00, 0x40)
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
            mstore(words, calldataload(claim)) // client
            mstore(add(words, 0x20), shr(96, shl(96, agent)))
            mstore(add(words, 0x40), shr(96, shl(96, token_)))
            mstore(add(words, 0x60), salt)
            mstore(add(words, 0x80), calldataload(add(claim, 0x60))) // signer
            mstore(add(words, 0xa0), address())
            mstore(add(words, 0xc0), chainId)
            channelId := keccak256(words, 0xe0)
        }
        channel = channelId.slot().word;
    }

    function _whyNotOpen(ChannelWord channel) private pure returns (SkipReason) {
        return channel.isNone() ? SkipReason.NotOpened : SkipReason.Closed;
    }

    function _skip(uint256 index, bytes32 channelId, SkipReason reason) private {
        emit ClaimSkipped(index, channelId, reason);
    }
}
