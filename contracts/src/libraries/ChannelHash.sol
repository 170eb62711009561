// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Everything that is hashed: channel ids and EIP-712 digests.
/// @dev The domain and the `Voucher` type are, byte for byte, those of the MPP EVM session draft, so that its wallets can
/// pay into our channels.
library ChannelHash {
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    string internal constant NAME = "EVM Payment Channel";
    string internal constant VERSION = "1";
    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
    bytes32 internal constant CLOSE_TYPEHASH =
        keccak256("Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)");
    bytes32 internal constant REQUEST_CLOSE_TYPEHASH =
        keccak256("RequestClose(bytes32 channelId,uint128 admitted,uint64 nonce,uint64 deadline)");

    /// @notice A channel's id: `keccak256(abi.encode(client, agent, token, salt, signer, this contract, chain id))`, where a
    /// marketplace channel's salt is `keccak256(abi.encode(offering, nonce))`.
    /// @param chainId the chain's at the deployment: a fork with another id still finds its channels
    /// @dev Contract and chain are part of it: a voucher names one channel in the world. In assembly: it saves an opening 319 gas.
    /// The tests compare every hash here with its plain form.
    function channelIdOf(
        address client,
        address agent,
        address token,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint256 chainId
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
            mstore(add(words, 0xc0), chainId)
            id := keccak256(words, 0xe0)
        }
    }

    /// @notice The EIP-712 domain on this chain: a fork with another chain id has its own.
    function domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256(bytes(NAME)),
                keccak256(bytes(VERSION)),
                block.chainid,
                address(this)
            )
        );
    }

    /// @notice The EIP-712 digest of a voucher:
    /// `keccak256(0x1901 || separator || keccak256(abi.encode(typeHash, channelId, cumulativeAmount)))`.
    /// @dev In assembly: it saves every payment 165 gas, 181 in a batch. That is less than we ask of assembly elsewhere, but
    /// without it an agent's close misses its limit.
    function voucherDigest(bytes32 separator, bytes32 channelId, uint256 cumulativeAmount)
        internal
        pure
        returns (bytes32 result)
    {
        bytes32 typeHash = VOUCHER_TYPEHASH;
        assembly ("memory-safe") {
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
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

    /// @notice The EIP-712 digest of a message of one of the two types about closing, which have the same fields.
    /// @dev In assembly, as the voucher's: it saves a close by both 208 gas.
    function closingDigest(
        bytes32 separator,
        bytes32 typeHash,
        bytes32 channelId,
        uint128 amount,
        uint64 nonce,
        uint64 deadline
    ) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
            mstore(words, typeHash)
            mstore(add(words, 0x20), channelId)
            mstore(add(words, 0x40), shr(128, shl(128, amount)))
            mstore(add(words, 0x60), and(nonce, 0xffffffffffffffff))
            mstore(add(words, 0x80), and(deadline, 0xffffffffffffffff))
            let structHash := keccak256(words, 0xa0)
            mstore(words, shl(240, 0x1901))
            mstore(add(words, 0x02), separator)
            mstore(add(words, 0x22), structHash)
            result := keccak256(words, 0x42)
        }
    }
}
