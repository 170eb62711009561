// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IPSC, World} from "../support/World.sol";

/// @notice The network fee: who sets it, who gets it, when it counts.
contract FeesTest is World {
    address private constant SUCCESSOR = address(0xFEE2);

    function test_SetFee_IsTheFeeAddressAlone() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotFeeAddress.selector, STRANGER));
        VM.prank(STRANGER);
        psc.setFee(1);
        VM.expectEmit(address(psc));
        emit IPSC.FeeChanged(10_000);
        VM.prank(FEE_ADDRESS);
        psc.setFee(10_000);
        VM.assertEq(psc.fee(), 10_000, "the fee");
    }

    function test_SetFee_AboveTenPercentIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.FeeTooHigh.selector, 10_001, 10_000));
        VM.prank(FEE_ADDRESS);
        psc.setFee(10_001);
    }

    function test_Fee_IsTakenFromTheAgentsShare() public {
        _setFee(1000);
        (IPSC.Descriptor memory d,) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        _close(d, 1_000_000);
        VM.assertEq(psc.balanceOf(AGENT) - before, 990_000, "the agent's share");
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 10_000, "the fee address's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 1_000_000, "the client's");
    }

    function test_Fee_OfAChannelIsFixedAtItsOpening() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _setFee(10_000);
        VM.assertEq(psc.channels(id).fee, 0, "the channel's fee");
        _close(d, 1_000_000);
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 0, "the fee address's");
    }

    function test_Fee_ReachesAnOfferingAtItsPopUp() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(500);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 0, "before the pop-up");
        _pass(POP_UP);
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 500, "after the pop-up");
        (, bytes32 id) = _open(1);
        VM.assertEq(psc.channels(id).fee, 500, "of the next channel");
    }

    function test_RefreshOfferingFee_IsOpenToAnybody() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(700);
        IPSC.Offering memory before = psc.offerings(AGENT, OFFERING);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingFeeRefreshed(AGENT, OFFERING, 700);
        VM.prank(STRANGER);
        psc.refreshOfferingFee(AGENT, OFFERING);
        IPSC.Offering memory refreshed = psc.offerings(AGENT, OFFERING);
        VM.assertEq(refreshed.fee, 700, "the offering's fee");
        before.fee = 700;
        VM.assertEq(keccak256(abi.encode(refreshed)), keccak256(abi.encode(before)), "nothing else");
    }

    function test_RefreshOfferingFee_OfADeadOfferingIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingNotLive.selector, STRANGER, OFFERING));
        psc.refreshOfferingFee(STRANGER, OFFERING);
    }

    function test_Fees_AreSpentLikeAnyBalance() public {
        _setFee(10_000);
        (IPSC.Descriptor memory d,) = _open(1);
        _close(d, 1_000_000);
        VM.prank(FEE_ADDRESS);
        psc.withdraw(40_000);
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 60_000, "what is left");
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.InsufficientBalance.selector, FEE_ADDRESS, 60_000, 60_001)
        );
        VM.prank(FEE_ADDRESS);
        psc.withdraw(60_001);
        VM.prank(FEE_ADDRESS);
        psc.withdraw(60_000);
        VM.assertEq(ptc.balanceOf(FEE_ADDRESS), 100_000, "the wallet");
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 0, "nothing left");
    }

    function test_ProposeFeeAddress_IsTheFeeAddressAlone() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotFeeAddress.selector, STRANGER));
        VM.prank(STRANGER);
        psc.proposeFeeAddress(STRANGER);
    }

    function test_FeeAddress_ChangesInTwoSteps() public {
        VM.expectEmit(address(psc));
        emit IPSC.FeeAddressProposed(FEE_ADDRESS, SUCCESSOR);
        VM.prank(FEE_ADDRESS);
        psc.proposeFeeAddress(SUCCESSOR);
        VM.assertEq(psc.feeAddress(), FEE_ADDRESS, "before the acceptance");
        VM.assertEq(psc.proposedFeeAddress(), SUCCESSOR, "the proposal");
        VM.expectEmit(address(psc));
        emit IPSC.FeeAddressChanged(FEE_ADDRESS, SUCCESSOR);
        VM.prank(SUCCESSOR);
        psc.acceptFeeAddress();
        VM.assertEq(psc.feeAddress(), SUCCESSOR, "after it");
        VM.assertEq(psc.proposedFeeAddress(), address(0), "no proposal is left");
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotFeeAddress.selector, FEE_ADDRESS));
        VM.prank(FEE_ADDRESS);
        psc.setFee(1);
    }

    function test_AcceptFeeAddress_IsTheProposedAddressAlone() public {
        VM.prank(FEE_ADDRESS);
        psc.proposeFeeAddress(SUCCESSOR);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotProposedFeeAddress.selector, STRANGER));
        VM.prank(STRANGER);
        psc.acceptFeeAddress();
    }

    function test_ProposeFeeAddress_OfZeroWithdrawsTheProposal() public {
        VM.prank(FEE_ADDRESS);
        psc.proposeFeeAddress(SUCCESSOR);
        VM.prank(FEE_ADDRESS);
        psc.proposeFeeAddress(address(0));
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotProposedFeeAddress.selector, SUCCESSOR));
        VM.prank(SUCCESSOR);
        psc.acceptFeeAddress();
    }

    function test_FeeAddress_KeepsWhatItEarnedWhenItHandsOver() public {
        _setFee(10_000);
        (IPSC.Descriptor memory first,) = _open(1);
        (IPSC.Descriptor memory second,) = _open(2);
        _close(first, 1_000_000);
        VM.prank(FEE_ADDRESS);
        psc.proposeFeeAddress(SUCCESSOR);
        VM.prank(SUCCESSOR);
        psc.acceptFeeAddress();
        _close(second, 500_000);
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 100_000, "earned before");
        VM.assertEq(psc.balanceOf(SUCCESSOR), 50_000, "earned after");
        VM.assertEq(psc.fee(), 10_000, "the fee stays");
    }
}
