// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Strict signatures: one message and one key have one valid form.
library Signatures {
    /// @dev Half of secp256k1's order. Above it lies the mirror image of every signature (EIP-2).
    uint256 internal constant MAX_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice What a contract account may use to decide on a signature: enough for a wallet of several keys, or one passkey
    /// where the chain verifies it natively; little enough that a batch can bear rows that use it up.
    uint256 internal constant ACCOUNT_GAS = 100_000;

    /// @notice Whose key made `signature` (65 bytes: r, s, v) over `digest`; zero when it is malformed.
    /// @dev In assembly: it saves every payment 540 gas. The precompile refuses any v but 27 and 28, and any other malformed part, by
    /// returning nothing.
    function recover(bytes32 digest, bytes calldata signature) internal view returns (address key) {
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
                key := mload(0x00)
            }
        }
    }

    /// @notice Whether `account` accepts the signature: by its code when it has any (ERC-1271), else by its key.
    /// @dev The question to the code is a static call: it can change nothing. The call is by hand, so that of a mountain of
    /// returned data 32 bytes are read, and not because of gas.
    function isAcceptedBy(address account, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        if (account.code.length == 0) return recover(digest, signature) == account;
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        // A call gets at most 63/64 of what is left (EIP-150). With less than the full allowance, a "no" could be the caller's
        // doing: then nothing is decided.
        if (gasleft() < ACCOUNT_GAS + ACCOUNT_GAS / 32) revert IPSC.InsufficientGas();
        bool success;
        bytes32 answer;
        uint256 length;
        assembly ("memory-safe") {
            mstore(0, 0)
            success := staticcall(ACCOUNT_GAS, account, add(question, 32), mload(question), 0, 32)
            length := returndatasize()
            answer := mload(0)
        }
        return success && length >= 32 && answer == bytes32(IERC1271.isValidSignature.selector);
    }
}
