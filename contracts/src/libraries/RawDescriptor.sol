// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC} from "../interfaces/IPSC.sol";

/// @notice A descriptor's words as they stand in calldata.
/// @dev Solidity checks each address that it reads for dirty upper bits, each time (50 gas). For a channel's descriptor that
/// is not needed (which saves 378 to 1,127 gas a call): the channel's id is the hash of these very words, and every opened id was hashed of clean ones. So a
/// dirty word names a channel that nobody opened, and the call ends with `ChannelNotOpen`.
library RawDescriptor {
    function rawClient(IPSC.Descriptor calldata descriptor) internal pure returns (address client) {
        assembly ("memory-safe") {
            client := calldataload(descriptor)
        }
    }

    function rawAgent(IPSC.Descriptor calldata descriptor) internal pure returns (address agent) {
        assembly ("memory-safe") {
            agent := calldataload(add(descriptor, 0x20))
        }
    }

    function rawOffering(IPSC.Descriptor calldata descriptor) internal pure returns (bytes32 offering) {
        assembly ("memory-safe") {
            offering := calldataload(add(descriptor, 0x40))
        }
    }

    function rawSigner(IPSC.Descriptor calldata descriptor) internal pure returns (address signer) {
        assembly ("memory-safe") {
            signer := calldataload(add(descriptor, 0x80))
        }
    }
}

/// @notice The same for a row of a batch, whose agent is given beside it.
library RawClaim {
    function rawClient(IPSC.Claim calldata claim) internal pure returns (address client) {
        assembly ("memory-safe") {
            client := calldataload(claim)
        }
    }

    function rawOffering(IPSC.Claim calldata claim) internal pure returns (bytes32 offering) {
        assembly ("memory-safe") {
            offering := calldataload(add(claim, 0x20))
        }
    }

    function rawSigner(IPSC.Claim calldata claim) internal pure returns (address signer) {
        assembly ("memory-safe") {
            signer := calldataload(add(claim, 0x60))
        }
    }
}
