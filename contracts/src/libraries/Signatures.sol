// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice Strict signatures: one message and one key have one valid form.
library Signatures {
    /// @dev Half of secp256k1's order. Above it lies the mirror image of every signature (EIP-2).
    uint256 internal constant MAX_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice Whether `signature` (65 bytes: r, s, v) over `digest` is `signer`'s.
    /// @dev The key is tried first, the ERC-1271 question only when the signer has code: an account that gained code
    /// later (EIP-7702) keeps the vouchers that its key signed. The question is a static call: it can change nothing.
    function isValid(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        if (signature.length != 65) return false;
        if (_recover(digest, signature) == signer) return signer != address(0);
        if (signer.code.length == 0) return false;
        return _accepts(signer, digest, signature);
    }

    /// @dev `ecrecover` by hand: it is on every payment's path. The precompile refuses any v but 27 and 28, by returning
    /// nothing.
    /// @return key the address of the key, or zero for a malformed or high-s signature
    function _recover(bytes32 digest, bytes calldata signature) private view returns (address key) {
        assembly ("memory-safe") {
            let s := calldataload(add(signature.offset, 0x20))
            if iszero(gt(s, MAX_S)) {
                let words := mload(0x40)
                mstore(words, digest)
                mstore(add(words, 0x20), byte(0, calldataload(add(signature.offset, 0x40))))
                mstore(add(words, 0x40), calldataload(signature.offset))
                mstore(add(words, 0x60), s)
                mstore(0x00, 0)
                pop(staticcall(gas(), 1, words, 0x80, 0x00, 0x20))
                key := mload(0x00)
            }
        }
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
