// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice Strict signatures: one message and one key have one valid form.
library Signatures {
    /// @dev Half of secp256k1's order. Above it lies the mirror image of every signature (EIP-2).
    uint256 internal constant MAX_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice Whether `signature` over `digest` is `signer`'s: 65 bytes (r, s, v) of its key, or, when it has code, whatever
    /// its code accepts (ERC-1271).
    /// @dev The key is tried first: an account that gained code later (EIP-7702) keeps the vouchers that its key signed. The
    /// question to the code is a static call: it can change nothing.
    function isValid(address signer, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool valid)
    {
        // `ecrecover` by hand: it is on every payment's path. The precompile refuses any v but 27 and 28, and any other
        // malformed part, by returning nothing: the zero address, which is nobody.
        assembly ("memory-safe") {
            let s := calldataload(add(signature.offset, 0x20))
            if iszero(or(gt(s, MAX_S), xor(signature.length, 65))) {
                let words := mload(0x40)
                mstore(words, digest)
                mstore(add(words, 0x20), byte(0, calldataload(add(signature.offset, 0x40))))
                mstore(add(words, 0x40), calldataload(signature.offset))
                mstore(add(words, 0x60), s)
                mstore(0x00, 0)
                pop(staticcall(gas(), 1, words, 0x80, 0x00, 0x20))
                let key := mload(0x00)
                valid := and(eq(key, shr(96, shl(96, signer))), iszero(iszero(key)))
            }
        }
        if (!valid) valid = signer.code.length != 0 && _accepts(signer, digest, signature);
    }

    /// @dev By hand, so that a wallet that returns a mountain of data or reverts gives a plain "no".
    function _accepts(address signer, bytes32 digest, bytes calldata signature) private view returns (bool) {
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        bool success;
        bytes32 answer;
        uint256 length;
        assembly ("memory-safe") {
            mstore(0, 0)
            success := staticcall(gas(), signer, add(question, 32), mload(question), 0, 32)
            length := returndatasize()
            answer := mload(0)
        }
        return success && length >= 32 && answer == bytes32(IERC1271.isValidSignature.selector);
    }
}
