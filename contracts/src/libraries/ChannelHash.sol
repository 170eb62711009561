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
    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
    bytes32 internal constant CLOSE_TYPEHASH = keccak256("Close(bytes32 channelId,uint128 cumulativeAmount)");

    /// @notice A channel's id: `keccak256(abi.encode(client, agent, token, salt, signer, this contract, chain id))`, where a
    /// marketplace channel's salt is `keccak256(abi.encode(offering, nonce))`.
    /// @dev Contract and chain are part of it: a voucher names one channel in the world. In assembly, as the digests below,
    /// because every call hashes and `abi.encode` costs some 150 gas more. The tests compare them with the plain forms.
    function channelIdOf(
        address client,
        address agent,
        address token,
        bytes32 offering,
        uint64 nonce,
        address signer
    ) internal view returns (bytes32 id) {
        assembly ("memory-safe") {
            mstore(0x00, offering)
            mstore(0x20, and(nonce, 0xffffffffffffffff))
            let salt := keccak256(0x00, 0x40)
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
            mstore(words, shr(96, shl(96, client)))
            mstore(add(words, 0x20), shr(96, shl(96, agent)))
            mstore(add(words, 0x40), shr(96, shl(96, token)))
            mstore(add(words, 0x60), salt)
            mstore(add(words, 0x80), shr(96, shl(96, signer)))
            mstore(add(words, 0xa0), address())
            mstore(add(words, 0xc0), chainid())
            id := keccak256(words, 0xe0)
        }
    }

    /// @notice The EIP-712 domain on this chain: a fork with another chain id has its own.
    function domainSeparator() internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }

    /// @notice The EIP-712 digest of a message of one of our two types, which have the same fields:
    /// `keccak256(0x1901 || separator || keccak256(abi.encode(typeHash, channelId, cumulativeAmount)))`.
    function digest(bytes32 separator, bytes32 typeHash, bytes32 channelId, uint256 cumulativeAmount)
        internal
        pure
        returns (bytes32 result)
    {
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, typeHash)
            mstore(add(words, 0x20), channelId)
            mstore(add(words, 0x40), cumulativeAmount)
            let structHash := keccak256(words, 0x60)
            mstore(words, shl(240, 0x1901))
            mstore(add(words, 0x02), separator)
            mstore(add(words, 0x22), structHash)
            result := keccak256(words, 0x42)
        }
    }
}
