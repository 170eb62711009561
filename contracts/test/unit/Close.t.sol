// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IPSC, World} from "../support/World.sol";

/// @notice Closes by the agent, by both, and by the client alone.
contract CloseTest is World {
    // ---------------------------------------------------------------- by the agent

    function test_Close_PaysTheAgentAndRefundsTheClient() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 500, MIN_DEPOSIT - 500, true);
        _close(d, 500);
        VM.assertEq(psc.balanceOf(AGENT) - before, 500, "the agent's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 500, "the client's");
        _assertChannel(id, MIN_DEPOSIT, 500, 0, IPSC.ChannelState.Closed);
    }

    function test_Close_OfTheWholeDepositRefundsNothing() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, MIN_DEPOSIT, 0, true);
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

    function test_Close_AboveTheDepositIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, MIN_DEPOSIT + 1);
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.AmountAboveDeposit.selector, MIN_DEPOSIT + 1, MIN_DEPOSIT)
        );
        VM.prank(AGENT);
        psc.close(d, MIN_DEPOSIT + 1, voucher);
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

    // ---------------------------------------------------------------- in batches

    function test_CloseBatch_ClosesWithAndWithoutVouchers() public {
        (IPSC.Descriptor memory paid, bytes32 paidId) = _open(1);
        (IPSC.Descriptor memory free, bytes32 freeId) = _open(2);
        (IPSC.Descriptor memory gone, bytes32 goneId) = _open(3);
        _close(gone, 5);
        IPSC.Claim[] memory claims = new IPSC.Claim[](4);
        claims[0] = _claim(paid, 700, _voucher(paid, 700));
        claims[1] = _claim(free, 0, "");
        claims[2] = _claim(gone, 700, _voucher(gone, 700));
        claims[3] = claims[0]; // named twice: closed once
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(paidId, CLIENT, AGENT, OFFERING, 700, MIN_DEPOSIT - 700, true);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(freeId, CLIENT, AGENT, OFFERING, 0, MIN_DEPOSIT, true);
        VM.prank(AGENT);
        psc.closeBatch(claims);
        VM.assertEq(psc.balanceOf(AGENT) - before, 700, "the agent's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 705, "the client's");
        _assertChannel(goneId, MIN_DEPOSIT, 5, 0, IPSC.ChannelState.Closed);
        _assertOffering(OFFERING, PLACES, 0, IPSC.OfferingState.Live);
    }

    function test_CloseBatch_OfAnotherAgentsChannelsFindsNone() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, 700, _voucher(d, 700));
        VM.prank(STRANGER);
        psc.closeBatch(claims);
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    function test_CloseBatch_WithABadVoucherClosesNothing() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, 700, "");
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        VM.prank(AGENT);
        psc.closeBatch(claims);
        claims[0] = _claim(d, MIN_DEPOSIT + 1, _voucher(d, MIN_DEPOSIT + 1));
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.AmountAboveDeposit.selector, MIN_DEPOSIT + 1, MIN_DEPOSIT)
        );
        VM.prank(AGENT);
        psc.closeBatch(claims);
    }

    // ---------------------------------------------------------------- by both

    function test_CloseWithBoth_IsOpenToAnybodyWithBothSignatures() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 500, MIN_DEPOSIT - 500, true);
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
        bytes memory consent = _consent(d, 499);
        VM.expectRevert(abi.encodeWithSelector(IPSC.BelowPaid.selector, 499, 500));
        psc.closeWithBoth(d, 499, voucher, consent);
    }

    function test_CloseWithBoth_AboveTheDepositIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, MIN_DEPOSIT + 1);
        bytes memory consent = _consent(d, MIN_DEPOSIT + 1);
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.AmountAboveDeposit.selector, MIN_DEPOSIT + 1, MIN_DEPOSIT)
        );
        psc.closeWithBoth(d, MIN_DEPOSIT + 1, voucher, consent);
    }

    function test_CloseWithBoth_WithoutEitherSignatureIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 500);
        bytes memory consent = _consent(d, 500);
        bytes memory other = _consent(d, 501);
        bytes memory foreign = _sign(STRANGER_KEY, psc.closeDigest(id, 500));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 500, voucher, other);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 500, voucher, foreign);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 500, voucher, "");
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 500, "", consent);
    }

    function test_CloseWithBoth_TwiceIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 500);
        bytes memory consent = _consent(d, 500);
        psc.closeWithBoth(d, 500, voucher, consent);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        psc.closeWithBoth(d, 500, voucher, consent);
    }

    // ---------------------------------------------------------------- by the client alone

    function test_RequestClose_PaysWhatIsAdmittedAtOnce() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseRequested(id, CLIENT, AGENT, 300);
        _requestClose(d, 300);
        VM.assertEq(psc.balanceOf(AGENT) - before, 300, "the agent's");
        _assertChannel(id, MIN_DEPOSIT, 300, VM.getBlockNumber(), IPSC.ChannelState.Open);
    }

    function test_RequestClose_OvertakenByASettlementGoesOn() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _settle(d, 500);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseRequested(id, CLIENT, AGENT, 500);
        _requestClose(d, 300);
        _assertChannel(id, MIN_DEPOSIT, 500, VM.getBlockNumber(), IPSC.ChannelState.Open);
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

    function test_RequestClose_AboveTheDepositIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.AmountAboveDeposit.selector, type(uint128).max, MIN_DEPOSIT)
        );
        _requestClose(d, type(uint128).max);
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
        emit IPSC.ChannelClosed(id, CLIENT, AGENT, OFFERING, 300, MIN_DEPOSIT - 300, false);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 300, "the client's");
        _assertOffering(OFFERING, PLACES, 0, IPSC.OfferingState.Live);
    }

    function test_FinalizeClose_DuringTheChallengeIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 0);
        uint256 allowed = VM.getBlockNumber() + CHALLENGE;
        _pass(CHALLENGE - 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, allowed - 1, allowed));
        _finalizeClose(d);
    }

    function test_FinalizeClose_WithoutARequestIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseNotRequested.selector, id));
        _finalizeClose(d);
    }

    function test_FinalizeClose_IsTheClientAlone() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 0);
        _pass(CHALLENGE);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotClient.selector, AGENT));
        VM.prank(AGENT);
        psc.finalizeClose(d);
    }

    function test_FinalizeClose_TwiceIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 0);
        _pass(CHALLENGE);
        _finalizeClose(d);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        _finalizeClose(d);
    }
}
