// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice Channels opened and topped up.
contract OpenTest is World {
    function test_Open_MovesTheDepositIntoTheChannel() public {
        IPSC.Descriptor memory d = _descriptor(7);
        bytes32 expected = psc.channelIdOf(d);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelOpened(expected, CLIENT, AGENT, OFFERING, 7, address(0), MIN_DEPOSIT + 5, 0);
        bytes32 id = _open(d, MIN_DEPOSIT + 5);
        VM.assertEq(id, expected, "the id");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT - 5, "the client's balance");
        _assertChannel(id, MIN_DEPOSIT + 5, 0, 0, IPSC.ChannelState.Open);
    }

    function test_Open_BelowTheLeastDepositIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.DepositTooSmall.selector, MIN_DEPOSIT - 1, MIN_DEPOSIT));
        _open(_descriptor(1), MIN_DEPOSIT - 1);
    }

    function test_Open_AboveTheInternalBalanceIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, CLIENT, FUNDS, FUNDS + 1));
        _open(_descriptor(1), uint96(FUNDS) + 1);
    }

    function test_Open_UnderADeadOfferingIsRefused() public {
        IPSC.Descriptor memory d = _descriptor(1);
        d.offering = keccak256("never registered");
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingNotLive.selector, AGENT, d.offering));
        _open(d, MIN_DEPOSIT);
        _pass(REMOVE);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingNotLive.selector, AGENT, OFFERING));
        _open(_descriptor(1), MIN_DEPOSIT);
    }

    function test_Open_WithoutAFreePlaceIsRefused() public {
        for (uint64 nonce = 0; nonce < PLACES; ++nonce) {
            _open(nonce);
        }
        VM.expectRevert(abi.encodeWithSelector(IPSC.NoSupply.selector, AGENT, OFFERING));
        _open(_descriptor(PLACES), MIN_DEPOSIT);
    }

    function test_Open_OfAnOpenChannelIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelExists.selector, id));
        _open(d, MIN_DEPOSIT);
    }

    function test_Open_OfAClosedChannelIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _close(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelExists.selector, id));
        _open(d, MIN_DEPOSIT);
    }

    function test_OpenWithPermit_TakesTheDepositFromTheWallet() public {
        IPSC.Permit memory permit = _permit(CLIENT_KEY, MIN_DEPOSIT);
        VM.prank(CLIENT);
        bytes32 id = psc.openWithPermit(AGENT, OFFERING, 1, SIGNER, MIN_DEPOSIT, permit);
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT, "the wallet");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "the internal balance");
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    function test_OpenWithPermit_WithoutAGoodPermitLeavesNothingBehind() public {
        IPSC.Permit memory permit = _permit(STRANGER_KEY, MIN_DEPOSIT);
        VM.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(psc), 0, MIN_DEPOSIT
            )
        );
        VM.prank(CLIENT);
        psc.openWithPermit(AGENT, OFFERING, 1, address(0), MIN_DEPOSIT, permit);
        _assertChannel(psc.channelIdOf(_descriptor(1)), 0, 0, 0, IPSC.ChannelState.None);
        _assertOffering(OFFERING, PLACES, 0, IPSC.OfferingState.Live);
    }

    function test_TopUp_AddsToTheDeposit() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelToppedUp(id, CLIENT, AGENT, MIN_DEPOSIT + 300, false);
        VM.prank(CLIENT);
        psc.topUp(d, 300);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT - 300, "the client's balance");
        _assertChannel(id, MIN_DEPOSIT + 300, 0, 0, IPSC.ChannelState.Open);
    }

    function test_TopUp_CancelsACloseRequest() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 10);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelToppedUp(id, CLIENT, AGENT, MIN_DEPOSIT + 1, true);
        VM.prank(CLIENT);
        psc.topUp(d, 1);
        _assertChannel(id, MIN_DEPOSIT + 1, 10, 0, IPSC.ChannelState.Open);
        _pass(CHALLENGE);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseNotRequested.selector, id));
        _finalizeClose(d);
    }

    function test_TopUp_IsTheClientAlone() public {
        (IPSC.Descriptor memory d,) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotClient.selector, STRANGER));
        VM.prank(STRANGER);
        psc.topUp(d, 300);
    }

    function test_TopUp_OfNothingIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAmount.selector));
        VM.prank(CLIENT);
        psc.topUp(d, 0);
    }

    function test_TopUp_Beyond96BitsIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        uint256 total = uint256(type(uint96).max) + MIN_DEPOSIT;
        VM.expectRevert(abi.encodeWithSelector(IPSC.AmountTooLarge.selector, total));
        VM.prank(CLIENT);
        psc.topUp(d, type(uint96).max);
    }

    function test_TopUp_OfAChannelThatIsNotOpenIsRefused() public {
        IPSC.Descriptor memory d = _descriptor(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, psc.channelIdOf(d)));
        VM.prank(CLIENT);
        psc.topUp(d, 1);
        bytes32 id = _open(d, MIN_DEPOSIT);
        _close(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        VM.prank(CLIENT);
        psc.topUp(d, 1);
    }

    function test_TopUp_AboveTheInternalBalanceIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        uint256 left = FUNDS - MIN_DEPOSIT;
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, CLIENT, left, left + 1));
        VM.prank(CLIENT);
        psc.topUp(d, uint96(left) + 1);
    }

    function test_TopUpWithPermit_TakesTheAmountFromTheWallet() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Permit memory permit = _permit(CLIENT_KEY, 300);
        VM.prank(CLIENT);
        psc.topUpWithPermit(d, 300, permit);
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - 300, "the wallet");
        _assertChannel(id, MIN_DEPOSIT + 300, 0, 0, IPSC.ChannelState.Open);
    }

    function test_TopUpWithPermit_IsTheClientAlone() public {
        (IPSC.Descriptor memory d,) = _open(1);
        IPSC.Permit memory permit = _permit(STRANGER_KEY, 300);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotClient.selector, STRANGER));
        VM.prank(STRANGER);
        psc.topUpWithPermit(d, 300, permit);
    }

    function test_TopUp_ToExactly96BitsIsAccepted() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.store(address(psc), keccak256(abi.encode(CLIENT, uint256(0))), bytes32(uint256(type(uint96).max)));
        VM.prank(CLIENT);
        psc.topUp(d, type(uint96).max - MIN_DEPOSIT);
        _assertChannel(id, type(uint96).max, 0, 0, IPSC.ChannelState.Open);
    }
}
