// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @dev A token that says how many units it has.
contract SupplyToken {
    uint256 public totalSupply;

    constructor(uint256 supply) {
        totalSupply = supply;
    }
}

/// @notice What a deployment accepts, and what it answers from then on.
contract DeploymentTest is World {
    /// @dev github.com/Arachnid/deterministic-deployment-proxy
    address private constant PROXY = 0x4e59b44847b379578588920cA78FbF26c0B4956C;

    function test_Deployment_AnswersItsConfiguration() public view {
        VM.assertEq(psc.token(), address(ptc), "token");
        VM.assertEq(psc.feeAddress(), FEE_ADDRESS, "fee address");
        VM.assertEq(psc.fee(), 0, "fee");
        VM.assertEq(psc.popUpPeriod(), POP_UP, "pop-up period");
        VM.assertEq(psc.removePeriod(), REMOVE, "remove period");
        VM.assertEq(psc.challengePeriod(), CHALLENGE, "challenge period");
        VM.assertEq(psc.feeDelay(), FEE_DELAY, "fee delay");
        VM.assertEq(psc.minStake(), MIN_STAKE, "least stake");
        VM.assertEq(psc.deploymentChainId(), block.chainid, "chain id");
    }

    function test_Deployment_WithAZeroAddressIsRefused() public {
        _assertRefused(_tryDeploy(address(0), FEE_ADDRESS, _terms()), IPSC.ZeroAddress.selector);
        _assertRefused(_tryDeploy(address(ptc), address(0), _terms()), IPSC.ZeroAddress.selector);
    }

    function test_Deployment_WithAPeriodOutOfRangeIsRefused() public {
        uint40 longest = 90 days;
        _deployService(address(ptc), FEE_ADDRESS, IPSC.Terms(longest, longest - 1, longest, longest, 1));
        _deployService(address(ptc), FEE_ADDRESS, IPSC.Terms(1, 1, 15 minutes, 2, 1));
        IPSC.Terms[9] memory wrong = [
            IPSC.Terms(0, REMOVE, CHALLENGE, FEE_DELAY, 1),
            IPSC.Terms(longest + 1, REMOVE, CHALLENGE, FEE_DELAY, 1),
            IPSC.Terms(POP_UP, 0, CHALLENGE, FEE_DELAY, 1),
            IPSC.Terms(POP_UP, longest + 1, CHALLENGE, longest, 1),
            IPSC.Terms(POP_UP, REMOVE, CHALLENGE, REMOVE, 1),
            IPSC.Terms(POP_UP, REMOVE, CHALLENGE, longest + 1, 1),
            IPSC.Terms(POP_UP, REMOVE, longest + 1, FEE_DELAY, 1),
            IPSC.Terms(POP_UP, REMOVE, 0, FEE_DELAY, 1),
            IPSC.Terms(POP_UP, REMOVE, 15 minutes - 1, FEE_DELAY, 1)
        ];
        for (uint256 i = 0; i < wrong.length; ++i) {
            _assertRefused(_tryDeploy(address(ptc), FEE_ADDRESS, wrong[i]), IPSC.PeriodOutOfRange.selector);
        }
    }

    function test_Deployment_WithoutALeastStakeIsRefused() public {
        IPSC.Terms memory terms = _terms();
        terms.minStake = 0;
        _assertRefused(_tryDeploy(address(ptc), FEE_ADDRESS, terms), IPSC.ZeroAmount.selector);
    }

    function test_Deployment_ForATokenBeyond96BitsIsRefused() public {
        address huge = address(new SupplyToken(uint256(type(uint96).max) + 1));
        _assertRefused(_tryDeploy(huge, FEE_ADDRESS, _terms()), IPSC.AmountTooLarge.selector);
        _deployService(address(new SupplyToken(type(uint96).max)), FEE_ADDRESS, _terms());
    }

    /// @dev By the deterministic deployment proxy: who sends it does not matter, so nobody takes the address with other code.
    function test_Deployment_IsDeterministicAndTheSameForEverybody() public {
        // The proxy's runtime code, as on every chain that has it.
        VM.etch(
            PROXY,
            hex"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
        );
        bytes memory creation =
            abi.encodePacked(VM.getCode("PSC.sol:PSC"), abi.encode(address(ptc), FEE_ADDRESS, _terms()));
        bytes32 salt = keccak256("privatix.psc.2");
        address expected =
            address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", PROXY, salt, keccak256(creation))))));
        VM.prank(STRANGER);
        (bool done,) = PROXY.call(abi.encodePacked(salt, creation));
        VM.assertEq(done ? 1 : 0, 1, "deployed");
        VM.assertEq(expected.code.length, address(psc).code.length, "code is there");
        VM.assertEq(IPSC(expected).feeAddress(), FEE_ADDRESS, "not the deployer's");
        VM.prank(AGENT);
        (done,) = PROXY.call(abi.encodePacked(salt, creation));
        VM.assertFalse(done, "once");
    }

    function _tryDeploy(address token, address feeAddress, IPSC.Terms memory terms)
        private
        returns (bytes memory why)
    {
        bytes memory creation =
            abi.encodePacked(VM.getCode("PSC.sol:PSC"), abi.encode(token, feeAddress, terms));
        address deployed;
        assembly ("memory-safe") {
            deployed := create(0, add(creation, 32), mload(creation))
            if iszero(deployed) {
                why := mload(0x40)
                mstore(why, returndatasize())
                returndatacopy(add(why, 32), 0, returndatasize())
                mstore(0x40, add(why, and(add(returndatasize(), 63), not(31))))
            }
        }
        VM.assertEq(deployed, address(0), "refused");
    }

    function _assertRefused(bytes memory why, bytes4 selector) private pure {
        VM.assertEq(bytes32(bytes4(why)), bytes32(selector), "the reason");
    }
}
