// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice Closes by the agent, by both, and by the client alone.
contract CloseTest is World {
    // ---------------------------------------------------------------- by the agent

    function test_Close_PaysTheAgentAndRefundsTheClient() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 500, MIN_DEPOSIT - 500, IPSC.Closure.ByAgent);
        _close(d, 500);
        VM.assertEq(psc.balanceOf(AGENT) - before, 500, "the agent's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 500, "the client's");
        _assertChannel(id, MIN_DEPOSIT, 500, 0, IPSC.ChannelState.Closed);
    }

    function test_Close_OfTheWholeDepositRefundsNothing() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, MIN_DEPOSIT, 0, IPSC.Closure.ByAgent);
        _close(d, MIN_DEPOSIT);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT, "the client's");
    }

    function test_Close_WithoutAVoucherKeepsWhatIsPaid() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _settle(d, 400);
        VM.prank(AGENT);
        psc.close(d, 0, "");
        _assertChannel(id, MIN_DEPOSIT, 400, 0, IPSC.ChannelState.Closed);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 400, "the client's");
    }

    function test_Close_DuringTheChallengeWinsWithABetterVoucher() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 100);
        _close(d, 900);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 900, "the client's");
    }

    function test_Close_IsTheAgentAlone() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 500);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotAgent.selector, CLIENT));
        VM.prank(CLIENT);
        psc.close(d, 500, voucher);
    }

    function test_Close_TwiceIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _close(d, 500);
        bytes memory voucher = _voucher(d, 600);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        VM.prank(AGENT);
        psc.close(d, 600, voucher);
    }

    function test_Close_WithABadVoucherIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 500, AGENT_KEY);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        VM.prank(AGENT);
        psc.close(d, 500, voucher);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        VM.prank(AGENT);
        psc.close(d, 500, "");
    }

    // ---------------------------------------------------------------- by both

    function test_CloseWithBoth_IsOpenToAnybodyWithBothSignatures() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 500, MIN_DEPOSIT - 500, IPSC.Closure.ByBoth);
        _closeWithBoth(d, 500);
        VM.assertEq(psc.balanceOf(AGENT) - before, 500, "the agent's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 500, "the client's");
    }

    function test_CloseWithBoth_AtWhatIsPaidAddsNothing() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _settle(d, 500);
        uint256 before = psc.balanceOf(AGENT);
        _closeWithBoth(d, 500);
        VM.assertEq(psc.balanceOf(AGENT), before, "the agent's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 500, "the client's");
    }

    function test_CloseWithBoth_BelowWhatIsPaidIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _settle(d, 500);
        bytes memory voucher = _voucher(d, 499);
        IPSC.Consent memory consent = _consent(d, 499);
        VM.expectRevert(abi.encodeWithSelector(IPSC.BelowPaid.selector, 499, 500));
        psc.closeWithBoth(d, 499, voucher, consent);
    }

    function test_CloseWithBoth_TwiceIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 500);
        IPSC.Consent memory consent = _consent(d, 500);
        psc.closeWithBoth(d, 500, voucher, consent);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        psc.closeWithBoth(d, 500, voucher, consent);
    }

    // ---------------------------------------------------------------- by the client alone

    function test_RequestClose_PaysWhatIsAdmittedAtOnce() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseRequested(id, CLIENT, AGENT, 300, uint40(_now() + CHALLENGE));
        _requestClose(d, 300);
        VM.assertEq(psc.balanceOf(AGENT) - before, 300, "the agent's");
        _assertChannel(id, MIN_DEPOSIT, 300, _now() + CHALLENGE, IPSC.ChannelState.Open);
    }

    function test_RequestClose_OvertakenByASettlementGoesOn() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _settle(d, 500);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseRequested(id, CLIENT, AGENT, 500, uint40(_now() + CHALLENGE));
        _requestClose(d, 300);
        _assertChannel(id, MIN_DEPOSIT, 500, _now() + CHALLENGE, IPSC.ChannelState.Open);
    }

    function test_RequestClose_IsTheClientAlone() public {
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = SIGNER;
        _open(d, MIN_DEPOSIT);
        address[3] memory others = [AGENT, STRANGER, SIGNER];
        for (uint256 i = 0; i < others.length; ++i) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.NotClient.selector, others[i]));
            VM.prank(others[i]);
            psc.requestClose(d, 0);
        }
    }

    function test_RequestClose_TwiceIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseAlreadyRequested.selector, id));
        _requestClose(d, 0);
    }

    function test_RequestClose_OfAChannelThatIsNotOpenIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _close(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        _requestClose(d, 0);
    }

    function test_FinalizeClose_ReturnsTheRestAfterTheChallenge() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 300);
        _pass(CHALLENGE);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 300, MIN_DEPOSIT - 300, IPSC.Closure.ByClient);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 300, "the client's");
        _assertOffering(OFFERING, PLACES, 0, IPSC.OfferingState.Live);
    }

    function test_FinalizeClose_DuringTheChallengeIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 0);
        uint256 allowed = _now() + CHALLENGE;
        _pass(CHALLENGE - 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, allowed - 1, allowed));
        _finalizeClose(d);
    }

    function test_FinalizeClose_WithoutARequestIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseNotRequested.selector, id));
        _finalizeClose(d);
    }

    function test_FinalizeClose_TwiceIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 0);
        _pass(CHALLENGE);
        _finalizeClose(d);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        _finalizeClose(d);
    }

    function test_FinalizeClose_IsOpenToAnybodyAfterTheChallenge() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 0);
        _pass(CHALLENGE);
        VM.prank(AGENT);
        psc.finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "the client's");
    }

    // ---------------------------------------------------------------- who closed, and whether it was disputed

    function test_Closure_AFullyAdmittedUnansweredCloseIsAgreed() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 300);
        _assertDisputed(id, false);
        _pass(CHALLENGE);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 300, MIN_DEPOSIT - 300, IPSC.Closure.ByClient);
        _finalizeClose(d);
    }

    function test_Closure_IsDisputedWhenTheAgentProvedMoreThanWasAdmitted() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 300);
        _settle(d, 301);
        _assertDisputed(id, true);
        _pass(CHALLENGE);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(
            id, CLIENT, AGENT, OFFERING, 301, MIN_DEPOSIT - 301, IPSC.Closure.ByClientDisputed
        );
        _finalizeClose(d);
    }

    function test_Closure_ByTheAgentInAChallengeSaysWhetherItClaimedMore() public {
        (IPSC.Descriptor memory more, bytes32 moreId) = _open(1);
        (IPSC.Descriptor memory same, bytes32 sameId) = _open(2);
        _requestClose(more, 300);
        _requestClose(same, 300);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(
            moreId, CLIENT, AGENT, OFFERING, 301, MIN_DEPOSIT - 301, IPSC.Closure.ByAgentDisputed
        );
        _close(more, 301);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(sameId, CLIENT, AGENT, OFFERING, 300, MIN_DEPOSIT - 300, IPSC.Closure.ByAgent);
        _close(same, 300);
    }

    function test_Closure_ByBothIsNeverDisputed() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 300);
        _settle(d, 301);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 301, MIN_DEPOSIT - 301, IPSC.Closure.ByBoth);
        _closeWithBoth(d, 301);
    }

    function test_Closure_ForgetsADisputeWithItsRequest() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 300);
        _settle(d, 301);
        VM.prank(CLIENT);
        psc.cancelClose(d);
        _assertDisputed(id, false);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 301, MIN_DEPOSIT - 301, IPSC.Closure.ByAgent);
        _close(d, 301);
    }

    // ---------------------------------------------------------------- a request taken back

    function test_CancelClose_CostsNothingAndStopsTheChallenge() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 300);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseCancelled(id, CLIENT, AGENT);
        VM.prank(CLIENT);
        psc.cancelClose(d);
        _assertChannel(id, MIN_DEPOSIT, 300, 0, IPSC.ChannelState.Open);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT, "nothing was paid for it");
        _pass(CHALLENGE);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseNotRequested.selector, id));
        _finalizeClose(d);
        _requestClose(d, 300); // and may be asked again, with a whole challenge
        _assertChannel(id, MIN_DEPOSIT, 300, _now() + CHALLENGE, IPSC.ChannelState.Open);
    }

    function test_CancelClose_IsTheClientAlone() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 0);
        address[2] memory others = [AGENT, STRANGER];
        for (uint256 i = 0; i < others.length; ++i) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.NotClient.selector, others[i]));
            VM.prank(others[i]);
            psc.cancelClose(d);
        }
    }

    function test_CancelClose_WithoutARequestIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseNotRequested.selector, id));
        VM.prank(CLIENT);
        psc.cancelClose(d);
    }

    function _assertDisputed(bytes32 id, bool disputed) private view {
        VM.assertEq(psc.channels(id).disputed ? 1 : 0, disputed ? 1 : 0, "disputed");
    }
}
