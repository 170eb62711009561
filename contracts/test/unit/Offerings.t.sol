// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice Offerings: registered with a stake, announced anew, removed.
contract OfferingsTest is World {
    bytes32 private constant ANOTHER = keccak256("another offering");
    uint256 private constant STAKE = uint256(MIN_DEPOSIT) * PLACES;

    function test_RegisterOffering_LocksAStakeBehindEachPlace() public {
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingRegistered(AGENT, ANOTHER, 50, 4, 0, 1, SOURCE);
        VM.prank(AGENT);
        psc.registerOffering(ANOTHER, 50, 4, 1, SOURCE);
        VM.assertEq(before - psc.balanceOf(AGENT), 200, "the stake");
        IPSC.Offering memory stored = psc.offerings(AGENT, ANOTHER);
        VM.assertEq(stored.minDeposit, 50, "the least deposit");
        VM.assertEq(stored.updatedAt, _now(), "the time of the announcement");
        _assertOffering(ANOTHER, 4, 0, IPSC.OfferingState.Live);
    }

    function test_RegisterOffering_OfNothingIsRefused() public {
        VM.startPrank(AGENT);
        VM.expectRevert(abi.encodeWithSelector(IPSC.StakeTooSmall.selector, 0, MIN_STAKE));
        psc.registerOffering(ANOTHER, 0, 1, 0, SOURCE);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAmount.selector));
        psc.registerOffering(ANOTHER, MIN_STAKE, 0, 0, SOURCE);
    }

    function test_RegisterOffering_TwiceIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingExists.selector, AGENT, OFFERING));
        VM.prank(AGENT);
        psc.registerOffering(OFFERING, MIN_STAKE, 1, 0, SOURCE);
    }

    function test_RegisterOffering_AboveTheInternalBalanceIsRefused() public {
        uint256 needed = uint256(type(uint96).max) * type(uint32).max;
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.InsufficientBalance.selector, AGENT, FUNDS - STAKE, needed)
        );
        VM.prank(AGENT);
        psc.registerOffering(ANOTHER, type(uint96).max, type(uint32).max, 0, SOURCE);
    }

    function test_PopUpOffering_AnnouncesTheFreePlaces() public {
        _open(1);
        _pass(POP_UP);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingPoppedUp(AGENT, OFFERING, MIN_DEPOSIT, PLACES - 1, 0, 1, "elsewhere");
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 1, "elsewhere");
        VM.assertEq(psc.offerings(AGENT, OFFERING).updatedAt, _now(), "the announcement");
        _assertOffering(OFFERING, PLACES - 1, 1, IPSC.OfferingState.Live);
    }

    function test_PopUpOffering_BeforeItsPeriodIsRefused() public {
        uint256 allowed = _now() + POP_UP;
        _pass(POP_UP - 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, allowed - 1, allowed));
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
        _pass(1);
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
    }

    function test_PopUpOffering_OfAnotherAgentIsRefused() public {
        _pass(POP_UP);
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingNotLive.selector, STRANGER, OFFERING));
        VM.prank(STRANGER);
        psc.popUpOffering(OFFERING, 0, SOURCE);
    }

    function test_RemoveOffering_ReturnsTheStakeOfFreePlacesOnly() public {
        _open(1);
        _open(2);
        _pass(REMOVE);
        VM.expectEmit(address(psc));
        emit IPSC.OfferingRemoved(AGENT, OFFERING);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        VM.assertEq(psc.balanceOf(AGENT), FUNDS - 2 * MIN_DEPOSIT, "two stakes stay");
        _assertOffering(OFFERING, 0, 2, IPSC.OfferingState.Removed);
    }

    function test_RemoveOffering_ReturnsTheOtherStakesAsChannelsClose() public {
        (IPSC.Descriptor memory first,) = _open(1);
        (IPSC.Descriptor memory second,) = _open(2);
        _pass(REMOVE);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        _close(first, 0);
        VM.assertEq(psc.balanceOf(AGENT), FUNDS - MIN_DEPOSIT, "one stake stays");
        _requestClose(second, 0);
        _pass(CHALLENGE);
        _finalizeClose(second);
        VM.assertEq(psc.balanceOf(AGENT), FUNDS, "no stake stays");
        _assertOffering(OFFERING, 0, 0, IPSC.OfferingState.Removed);
    }

    function test_RemoveOffering_BeforeItsPeriodIsRefused() public {
        uint256 allowed = _now() + REMOVE;
        _pass(REMOVE - 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, allowed - 1, allowed));
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        _pass(1);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
    }

    function test_RemoveOffering_OfAnotherAgentOrTwiceIsRefused() public {
        _pass(REMOVE);
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingNotLive.selector, STRANGER, OFFERING));
        VM.prank(STRANGER);
        psc.removeOffering(OFFERING);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingNotLive.selector, AGENT, OFFERING));
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
    }

    function test_Supply_FollowsChannels() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _assertOffering(OFFERING, PLACES - 1, 1, IPSC.OfferingState.Live);
        _close(d, 0);
        _assertOffering(OFFERING, PLACES, 0, IPSC.OfferingState.Live);
    }

    // ---------------------------------------------------------------- bounds against griefing

    function test_RegisterOffering_BelowTheLeastStakeIsRefused() public {
        VM.startPrank(AGENT);
        VM.expectRevert(abi.encodeWithSelector(IPSC.StakeTooSmall.selector, MIN_STAKE - 1, MIN_STAKE));
        psc.registerOffering(ANOTHER, MIN_STAKE - 1, 1, 0, SOURCE);
        psc.registerOffering(ANOTHER, MIN_STAKE, 1, 0, SOURCE);
    }

    function test_Source_IsAtMostThreeHundredBytes() public {
        VM.startPrank(AGENT);
        VM.expectRevert(abi.encodeWithSelector(IPSC.SourceTooLong.selector, 301, 300));
        psc.registerOffering(ANOTHER, MIN_STAKE, 1, 0, string(new bytes(301)));
        psc.registerOffering(ANOTHER, MIN_STAKE, 1, 0, string(new bytes(300)));
        _pass(POP_UP);
        VM.expectRevert(abi.encodeWithSelector(IPSC.SourceTooLong.selector, 301, 300));
        psc.popUpOffering(ANOTHER, 0, string(new bytes(301)));
        psc.popUpOffering(ANOTHER, 0, string(new bytes(300)));
    }
}
