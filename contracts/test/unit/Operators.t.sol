// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice An operator does an agent's daily work; money goes to the agent's balance only.
contract OperatorsTest is World {
    bytes32 private constant ANOTHER = keccak256("another offering");

    function test_SetOperator_IsAnEventAndVoidsConsents() public {
        VM.expectEmit(address(psc));
        emit IPSC.OperatorChanged(AGENT, OPERATOR, 1);
        _appointOperator();
        VM.assertEq(psc.operatorOf(AGENT), OPERATOR, "the operator");
        VM.assertEq(psc.nonceOf(AGENT), 1, "the nonce");
        VM.expectEmit(address(psc));
        emit IPSC.OperatorChanged(AGENT, address(0), 2);
        VM.prank(AGENT);
        psc.setOperator(address(0));
        VM.assertEq(psc.operatorOf(AGENT), address(0), "no operator");
    }

    function test_Operator_DoesTheAgentsWork() public {
        _appointOperator();
        uint256 before = psc.balanceOf(AGENT);
        VM.startPrank(OPERATOR);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingRegistered(AGENT, ANOTHER, 50, 4, 0, 1, SOURCE);
        psc.registerOfferingFor(AGENT, ANOTHER, 50, 4, 1, SOURCE);
        VM.assertEq(before - psc.balanceOf(AGENT), 200, "the stake is the agent's");
        _pass(POP_UP);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingPoppedUp(AGENT, ANOTHER, 50, 4, 0, 0, "elsewhere");
        psc.popUpOfferingFor(AGENT, ANOTHER, 0, "elsewhere");
        _pass(REMOVE);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingRemoved(AGENT, ANOTHER);
        psc.removeOfferingFor(AGENT, ANOTHER);
        VM.stopPrank();
        VM.assertEq(psc.balanceOf(AGENT), before, "the stake returns to the agent");
        VM.assertEq(psc.balanceOf(OPERATOR), 0, "the operator's");
    }

    function test_Operator_ClosesForTheAgent() public {
        _appointOperator();
        uint256 before = psc.balanceOf(AGENT);
        (IPSC.Descriptor memory alone,) = _open(1);
        (IPSC.Descriptor memory row,) = _open(2);
        (IPSC.Descriptor memory both,) = _open(3);
        bytes memory voucher = _voucher(alone, 100);
        VM.prank(OPERATOR);
        psc.close(alone, 100, voucher);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(row, 200, _voucher(row, 200));
        VM.prank(OPERATOR);
        VM.assertEq(psc.closeBatchFor(AGENT, claims), 1, "rows closed");
        voucher = _voucher(both, 400);
        IPSC.Consent memory consent = _consent(both, 400, OPERATOR_KEY);
        psc.closeWithBoth(both, 400, voucher, consent);
        VM.assertEq(psc.balanceOf(AGENT) - before, 700, "the agent's");
        VM.assertEq(psc.balanceOf(OPERATOR), 0, "the operator's");
    }

    /// @dev A stolen server: its key moves no money out, neither of the balance nor of stakes nor of channels.
    function test_Operator_StolenCannotTakeMoney() public {
        _appointOperator();
        (IPSC.Descriptor memory d,) = _open(1);
        VM.startPrank(OPERATOR);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, OPERATOR, 0, 1));
        psc.withdraw(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, OPERATOR, 0, 1));
        psc.withdrawTo(OPERATOR, 1);
        VM.assertEq(psc.withdrawAll(OPERATOR), 0, "nothing is its own");
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, OPERATOR, 0, MIN_DEPOSIT));
        psc.open(AGENT, OFFERING, 9, address(0), MIN_DEPOSIT);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotClient.selector, OPERATOR));
        psc.topUp(d, 1);
        _pass(REMOVE);
        psc.removeOfferingFor(AGENT, OFFERING);
        psc.close(d, 0, "");
        VM.stopPrank();
        VM.assertEq(psc.balanceOf(AGENT), FUNDS, "everything is the agent's");
        VM.assertEq(ptc.balanceOf(OPERATOR), 0, "the operator's wallet");
    }

    function test_Operator_DismissedCanDoNothing() public {
        _appointOperator();
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory old = _consent(d, 100, OPERATOR_KEY);
        VM.prank(AGENT);
        psc.setOperator(STRANGER);
        _assertCanDoNothing(OPERATOR, d);
        VM.expectRevert(abi.encodeWithSelector(IPSC.WrongNonce.selector, 1, 2));
        psc.closeWithBoth(d, 100, voucher, old);
        IPSC.Consent memory consent = _consent(d, 100, OPERATOR_KEY);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, voucher, consent);
    }

    function test_Operator_OfAnotherAgentCanDoNothing() public {
        VM.prank(CLIENT);
        psc.setOperator(OPERATOR);
        (IPSC.Descriptor memory d,) = _open(1);
        _assertCanDoNothing(OPERATOR, d);
        _assertCanDoNothing(CLIENT, d);
    }

    /// @dev Who has no operator has the zero address as one, from which nobody can send.
    function test_Operator_OfAnAgentWithoutOneIsNobody() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _assertCanDoNothing(STRANGER, d);
    }

    function _assertCanDoNothing(address who, IPSC.Descriptor memory d) private {
        bytes[6] memory calls = [
            abi.encodeCall(IPSC.registerOfferingFor, (AGENT, ANOTHER, 50, 4, 1, SOURCE)),
            abi.encodeCall(IPSC.popUpOfferingFor, (AGENT, OFFERING, 1, SOURCE)),
            abi.encodeCall(IPSC.removeOfferingFor, (AGENT, OFFERING)),
            abi.encodeCall(IPSC.closeBatchFor, (AGENT, new IPSC.Claim[](0))),
            abi.encodeCall(IPSC.close, (d, 0, "")),
            abi.encodeCall(IPSC.revokeConsents, (AGENT))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            VM.prank(who);
            (bool done, bytes memory why) = address(psc).call(calls[i]);
            VM.assertFalse(done, "refused");
            VM.assertEq(
                keccak256(why), keccak256(abi.encodeWithSelector(IPSC.NotAgent.selector, who)), "the reason"
            );
        }
    }
}
