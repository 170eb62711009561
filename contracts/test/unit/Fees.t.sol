// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice The network fee: who sets it, who gets it, when it counts.
contract FeesTest is World {
    address private constant SUCCESSOR = address(0xFEE2);

    function test_SetFee_IsTheFeeAddressAlone() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotFeeAddress.selector, STRANGER));
        VM.prank(STRANGER);
        psc.setFee(1);
        VM.prank(FEE_ADDRESS);
        psc.setFee(1);
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

    // ---------------------------------------------------------------- from when a fee counts

    function test_SetFee_HigherCountsAfterItsDelay() public {
        uint40 at = uint40(_now() + FEE_DELAY);
        VM.expectEmit(address(psc));
        emit IPSC.FeeChanged(10_000, at);
        VM.prank(FEE_ADDRESS);
        psc.setFee(10_000);
        _assertFees(0, 10_000, at);
        _pass(FEE_DELAY - 1);
        _assertFees(0, 10_000, at);
        _pass(1);
        _assertFees(10_000, 0, 0);
    }

    function test_SetFee_LowerCountsAtOnce() public {
        _setFee(700);
        VM.expectEmit(address(psc));
        emit IPSC.FeeChanged(600, uint40(_now()));
        VM.prank(FEE_ADDRESS);
        psc.setFee(600);
        _assertFees(600, 0, 0);
        psc.refreshOfferingFee(AGENT, OFFERING);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 600, "the offering's");
    }

    function test_SetFee_AgainWithdrawsAnAnnouncedIncrease() public {
        _setFee(100);
        VM.startPrank(FEE_ADDRESS);
        psc.setFee(200);
        psc.setFee(100);
        VM.stopPrank();
        _assertFees(100, 0, 0);
        _pass(FEE_DELAY);
        _assertFees(100, 0, 0);
    }

    /// @dev Each increase waits its own time: an old announcement cannot be used for a higher fee.
    function test_SetFee_HigherStillStartsAnotherDelay() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(100);
        _pass(FEE_DELAY - 1);
        VM.prank(FEE_ADDRESS);
        psc.setFee(10_000);
        _pass(1);
        _assertFees(0, 10_000, uint40(_now() + FEE_DELAY - 1));
    }

    /// @dev What is in force when another increase is announced stays in force until then.
    function test_SetFee_OnTopOfAnIncreaseInForceKeepsIt() public {
        _setFee(100);
        VM.prank(FEE_ADDRESS);
        psc.setFee(200);
        _assertFees(100, 200, uint40(_now() + FEE_DELAY));
    }

    /// @dev What its last announcement carried, even where another fee is in force by now.
    function test_Fee_OfAChannelIsItsOfferings() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(500);
        _pass(FEE_DELAY);
        VM.assertEq(psc.fee(), 500, "in force");
        VM.expectEmit(address(psc));
        emit IPSC.ChannelOpened(
            psc.channelIdOf(_descriptor(1)), CLIENT, AGENT, OFFERING, 1, address(0), MIN_DEPOSIT, 0
        );
        (, bytes32 id) = _open(1);
        VM.assertEq(psc.channels(id).fee, 0, "of the channel");
    }

    function test_Fee_ReachesAnOfferingAtItsPopUpAndIsAnnouncedWithIt() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(500);
        _pass(FEE_DELAY);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 0, "before the pop-up");
        VM.expectEmit(address(psc));
        emit IPSC.OfferingPoppedUp(AGENT, OFFERING, MIN_DEPOSIT, PLACES, 500, 0, SOURCE);
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 500, "after the pop-up");
        (, bytes32 id) = _open(1);
        VM.assertEq(psc.channels(id).fee, 500, "of the next channel");
    }

    function test_Fee_IsAnnouncedWithARegistration() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(300);
        bytes32 early = keccak256("before the fee counts");
        VM.expectEmit(address(psc));
        emit IPSC.OfferingRegistered(AGENT, early, MIN_DEPOSIT, 1, 0, 0, SOURCE);
        _register(early, MIN_DEPOSIT, 1);
        _pass(FEE_DELAY);
        bytes32 late = keccak256("when it counts");
        VM.expectEmit(address(psc));
        emit IPSC.OfferingRegistered(AGENT, late, MIN_DEPOSIT, 1, 300, 0, SOURCE);
        _register(late, MIN_DEPOSIT, 1);
        VM.assertEq(psc.offerings(AGENT, late).fee, 300, "stored");
    }

    function test_RefreshOfferingFee_IsOpenToAnybody() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(700);
        _pass(FEE_DELAY);
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

    /// @dev The fee address and a stranger together: whenever they can raise an offering's fee, its agent could leave before.
    function test_Fee_CannotRiseFasterThanTheAgentCanLeave() public {
        VM.prank(FEE_ADDRESS);
        psc.setFee(10_000);
        _assertFeeStays();
        _pass(FEE_DELAY - 1);
        _assertFeeStays();
        // The agent announced the offering just before the fee counts: it cannot remove it yet, and the fee cannot rise yet.
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
        uint256 allowed = _now() + FEE_DELAY;
        _pass(1);
        VM.assertEq(psc.fee(), 10_000, "in force");
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, _now(), allowed));
        psc.refreshOfferingFee(AGENT, OFFERING);
        _pass(FEE_DELAY - 2);
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, _now(), allowed));
        psc.refreshOfferingFee(AGENT, OFFERING);
        // All this while it could leave.
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
    }

    function testFuzz_Fee_RisesOnlyWhenTheAgentCouldHaveLeft(
        uint32 announced,
        uint32 poppedUp,
        uint32 refreshed
    ) public {
        _pass(announced % (30 days));
        VM.prank(FEE_ADDRESS);
        psc.setFee(10_000);
        uint256 known = _now();
        _pass(poppedUp % (30 days));
        if (poppedUp % 2 == 0 && _now() >= psc.offerings(AGENT, OFFERING).updatedAt + POP_UP) {
            VM.prank(AGENT);
            psc.popUpOffering(OFFERING, 0, SOURCE);
            if (psc.offerings(AGENT, OFFERING).fee != 0) return; // its own act
        }
        _pass(refreshed % (30 days));
        (bool done,) = address(psc).call(abi.encodeCall(IPSC.refreshOfferingFee, (AGENT, OFFERING)));
        if (!done || psc.offerings(AGENT, OFFERING).fee == 0) return;
        // It rose: then the agent, who knew it from `known` on, could have removed the offering before now.
        uint256 couldLeave = uint256(psc.offerings(AGENT, OFFERING).updatedAt) + REMOVE;
        VM.assertLe((couldLeave > known ? couldLeave : known) + 1, _now(), "the agent could leave before");
    }

    function _assertFeeStays() private {
        psc.refreshOfferingFee(AGENT, OFFERING);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 0, "the offering's fee");
    }

    function _assertFees(uint256 fee, uint256 next, uint256 at) private view {
        VM.assertEq(psc.fee(), fee, "the fee in force");
        (uint16 nextFee, uint40 effectiveAt) = psc.nextFee();
        VM.assertEq(nextFee, next, "the announced fee");
        VM.assertEq(effectiveAt, at, "when it counts");
    }

    function test_RefreshOfferingFee_LowersAtOnceAfterAnAnnouncement() public {
        _setFee(700);
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
        VM.prank(FEE_ADDRESS);
        psc.setFee(600);
        psc.refreshOfferingFee(AGENT, OFFERING);
        VM.assertEq(psc.offerings(AGENT, OFFERING).fee, 600, "the offering's");
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
