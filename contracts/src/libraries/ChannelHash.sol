// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice Everything that is hashed: channel ids and EIP-712 digests.
/// @dev The domain and the `Voucher` type are, byte for byte, those of the MPP EVM session draft, so that its wallets can
/// pay into our channels.
library ChannelHash {
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant NAME_HASH = keccak256("EVM Payment Channel");
    bytes32 internal constant VERSION_HASH = keccak256("1");
    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
    bytes32 internal constant CLOSE_TYPEHASH = keccak256("Close(bytes32 channelId,uint128 cumulativeAmount)");

    /// @notice A marketplace channel's salt: its offering and the client's nonce.
    function saltOf(bytes32 offering, uint64 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(offering, nonce));
    }

    /// @notice A channel's id. Contract and chain are part of it: a voucher names one channel in the world.
    function channelIdOf(
        address client,
        address agent,
        address token,
        bytes32 offering,
        uint64 nonce,
        address signer
    ) internal view returns (bytes32) {
        return keccak256(
            abi.encode(client, agent, token, saltOf(offering, nonce), signer, address(this), block.chainid)
        );
    }

    function domainSeparator() internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }

    /// @notice The EIP-712 digest of a message of one of our two types, which have the same fields.
    function digest(bytes32 separator, bytes32 typeHash, bytes32 channelId, uint128 cumulativeAmount)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encodePacked(
                hex"1901", separator, keccak256(abi.encode(typeHash, channelId, uint256(cumulativeAmount)))
            )
        );
    }
}
