// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice What the views return.
contract ViewsTest is World {
    /// @dev Channels lie at their ids, beside everything else that is stored: none of it is to look like a channel.
    function test_Channels_OfIdsThatAreNotChannelsAreZeros() public {
        _setFee(10_000);
        (IPSC.Descriptor memory d,) = _open(1);
        _close(d, 1_000_000);
        _appointOperator();
        VM.prank(FEE_ADDRESS);
        psc.proposeFeeAddress(STRANGER);
        // Fees high enough that their word looks like an open channel's.
        VM.store(address(psc), bytes32(uint256(1)), bytes32((uint256(1) << 248) | 0xFEE));
        for (uint256 i = 0; i < 8; ++i) {
            _assertNone(bytes32(i));
        }
        _assertNone(bytes32(uint256(type(uint64).max)));
        bytes32 account = bytes32(uint256(uint160(AGENT)));
        _assertNone(keccak256(abi.encode(account, uint256(0)))); // balances
        _assertNone(keccak256(abi.encode(account, uint256(3)))); // accounts
        bytes32 ofAgent = keccak256(abi.encode(account, uint256(4)));
        _assertNone(keccak256(abi.encode(OFFERING, ofAgent))); // offerings
        _assertNone(psc.channelIdOf(_descriptor(2))); // never opened
    }

    /// @dev The places named above are where these words are.
    function test_Storage_LiesAsDocumented() public {
        _appointOperator();
        bytes32 account = bytes32(uint256(uint160(AGENT)));
        VM.assertEq(
            VM.load(address(psc), keccak256(abi.encode(account, uint256(3)))),
            bytes32((uint256(1) << 160) | uint160(OPERATOR)),
            "operator and nonce"
        );
        VM.assertEq(
            uint256(VM.load(address(psc), keccak256(abi.encode(account, uint256(0))))),
            psc.balanceOf(AGENT),
            "the balance"
        );
        bytes32 offering = keccak256(abi.encode(OFFERING, keccak256(abi.encode(account, uint256(4)))));
        VM.assertEq(uint96(uint256(VM.load(address(psc), offering))), MIN_DEPOSIT, "the offering's deposit");
        VM.assertEq(
            VM.load(address(psc), bytes32(uint256(1))), bytes32(uint256(uint160(FEE_ADDRESS))), "fee address"
        );
    }

    function test_Eip712Domain_IsTheSeparatorsFields() public {
        for (uint256 i = 0; i < 2; ++i) {
            (
                bytes1 fields,
                string memory name,
                string memory version,
                uint256 chainId,
                address verifyingContract,
                bytes32 salt,
                uint256[] memory extensions
            ) = psc.eip712Domain();
            VM.assertEq(bytes32(fields), bytes32(bytes1(0x0f)), "fields");
            VM.assertEq(name, "EVM Payment Channel", "name");
            VM.assertEq(version, "1", "version");
            VM.assertEq(chainId, i == 0 ? 31_337 : 4242, "the live chain id");
            VM.assertEq(verifyingContract, address(psc), "contract");
            VM.assertEq(salt, bytes32(0), "salt");
            VM.assertEq(extensions.length, 0, "extensions");
            bytes32 separator = keccak256(
                abi.encode(
                    keccak256(
                        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                    ),
                    keccak256(bytes(name)),
                    keccak256(bytes(version)),
                    chainId,
                    verifyingContract
                )
            );
            VM.assertEq(separator, psc.domainSeparator(), "separator");
            VM.chainId(4242);
        }
    }

    function _assertNone(bytes32 id) private view {
        IPSC.Channel memory none;
        VM.assertEq(keccak256(abi.encode(psc.channels(id))), keccak256(abi.encode(none)), "zeros");
    }
}
