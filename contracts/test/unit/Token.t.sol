// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice PTC: a plain token with permits, which nobody operates.
contract TokenTest is World {
    function test_Token_IsPtcWithEightDecimals() public view {
        VM.assertEq(ptc.name(), "Privatix Token", "the name");
        VM.assertEq(ptc.symbol(), "PTC", "the symbol");
        VM.assertEq(ptc.decimals(), 8, "the decimals");
        VM.assertEq(ptc.totalSupply(), SUPPLY, "the supply");
    }

    function test_Token_PermitGivesAnAllowanceOnce() public {
        VM.assertEq(ptc.nonces(CLIENT), 0, "no permit used");
        IPSC.Permit memory p = _permit(CLIENT_KEY, 77);
        ptc.permit(CLIENT, address(psc), p.value, p.deadline, p.v, p.r, p.s);
        VM.assertEq(ptc.allowance(CLIENT, address(psc)), 77, "the allowance");
        VM.expectRevert();
        ptc.permit(CLIENT, address(psc), p.value, p.deadline, p.v, p.r, p.s);
    }

    function test_Token_HasNoCallsOfAnOperator() public {
        string[6] memory calls = [
            "mint(address,uint256)",
            "burn(address,uint256)",
            "pause()",
            "owner()",
            "transferOwnership(address)",
            "upgradeTo(address)"
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool success,) = address(ptc).call(abi.encodeWithSignature(calls[i], CLIENT, 1));
            VM.assertFalse(success, calls[i]);
        }
        VM.assertEq(ptc.totalSupply(), SUPPLY, "the supply");
    }
}
