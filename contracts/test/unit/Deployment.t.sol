// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IPSC, World} from "../support/World.sol";

/// @dev A token with more units than the packed amounts can count.
contract HugeToken {
    function totalSupply() external pure returns (uint256) {
        return uint256(type(uint96).max) + 1;
    }
}

/// @notice What a deployment accepts, and what it answers from then on.
contract DeploymentTest is World {
    function test_Deployment_AnswersItsConfiguration() public view {
        VM.assertEq(psc.token(), address(ptc), "token");
        VM.assertEq(psc.feeAddress(), FEE_ADDRESS, "fee address");
        VM.assertEq(psc.fee(), 0, "fee");
        VM.assertEq(psc.popUpPeriod(), POP_UP, "pop-up period");
        VM.assertEq(psc.removePeriod(), REMOVE, "remove period");
        VM.assertEq(psc.challengePeriod(), CHALLENGE, "challenge period");
    }

    function test_Deployment_WithAZeroAddressIsRefused() public {
        (bool done, bytes memory why) = _tryDeploy(address(0), FEE_ADDRESS, 1, 1, 1);
        _assertRefused(done, why, IPSC.ZeroAddress.selector);
        (done, why) = _tryDeploy(address(ptc), address(0), 1, 1, 1);
        _assertRefused(done, why, IPSC.ZeroAddress.selector);
    }

    function test_Deployment_WithAPeriodOutOfRangeIsRefused() public {
        uint40 longest = 10_000_000;
        _deployService(address(ptc), FEE_ADDRESS, longest, longest, longest);
        uint40[2] memory wrong = [0, longest + 1];
        for (uint256 i = 0; i < 2; ++i) {
            (bool done, bytes memory why) = _tryDeploy(address(ptc), FEE_ADDRESS, wrong[i], 1, 1);
            _assertRefused(done, why, IPSC.PeriodOutOfRange.selector);
            (done, why) = _tryDeploy(address(ptc), FEE_ADDRESS, 1, wrong[i], 1);
            _assertRefused(done, why, IPSC.PeriodOutOfRange.selector);
            (done, why) = _tryDeploy(address(ptc), FEE_ADDRESS, 1, 1, wrong[i]);
            _assertRefused(done, why, IPSC.PeriodOutOfRange.selector);
        }
    }

    function test_Deployment_ForATokenBeyond96BitsIsRefused() public {
        (bool done, bytes memory why) = _tryDeploy(address(new HugeToken()), FEE_ADDRESS, 1, 1, 1);
        _assertRefused(done, why, IPSC.AmountTooLarge.selector);
    }

    function _tryDeploy(address token, address feeAddress, uint40 popUp, uint40 remove, uint40 challenge)
        private
        returns (bool done, bytes memory why)
    {
        bytes memory code = VM.getCode("PSC.sol:PSC");
        bytes memory creation =
            abi.encodePacked(code, abi.encode(token, feeAddress, popUp, remove, challenge));
        address deployed;
        assembly ("memory-safe") {
            deployed := create(0, add(creation, 32), mload(creation))
        }
        done = deployed != address(0);
        if (!done) {
            assembly ("memory-safe") {
                why := mload(0x40)
                mstore(why, returndatasize())
                returndatacopy(add(why, 32), 0, returndatasize())
                mstore(0x40, add(why, and(add(returndatasize(), 63), not(31))))
            }
        }
    }

    function _assertRefused(bool done, bytes memory why, bytes4 selector) private pure {
        VM.assertFalse(done, "refused");
        VM.assertEq(bytes32(bytes4(why)), bytes32(selector), "the reason");
    }
}
