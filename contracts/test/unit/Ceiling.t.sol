// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice A signed amount is a ceiling, and so is the deposit: the lesser of them is paid.
contract CeilingTest is World {
    /// @dev The only voucher is over a top-up that a reorganisation removed: it is worth the deposit that is left, in every call.
    function test_Reorg_ARemovedTopUpLeavesTheVoucherWorthTheDeposit() public {
        for (uint64 way = 0; way < 5; ++way) {
            (IPSC.Descriptor memory d, bytes32 id) = _open(way);
            uint256 before = psc.balanceOf(AGENT);
            _claimBy(way, d, MIN_DEPOSIT + 500);
            VM.assertEq(psc.balanceOf(AGENT) - before, MIN_DEPOSIT, "the whole deposit");
            VM.assertEq(psc.channels(id).paid, MIN_DEPOSIT, "paid");
        }
    }

    /// @dev Then the client tops up again: the same voucher brings the rest.
    function test_Reorg_TheSameVoucherPaysTheRestWhenTheTopUpReturns() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, MIN_DEPOSIT + 500);
        psc.settle(d, MIN_DEPOSIT + 500, voucher);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NothingToSettle.selector, id, MIN_DEPOSIT));
        psc.settle(d, MIN_DEPOSIT + 500, voucher);
        VM.prank(CLIENT);
        psc.topUp(d, 500);
        psc.settle(d, MIN_DEPOSIT + 500, voucher);
        _assertChannel(id, MIN_DEPOSIT + 500, MIN_DEPOSIT + 500, 0, IPSC.ChannelState.Open);
    }

    function testFuzz_Ceiling_PaysTheLesserOfVoucherAndDeposit(uint128 amount, uint8 way, uint16 fee) public {
        _setFee(fee % 10_001);
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        amount = amount == 0 ? 1 : amount;
        uint256 due = amount < MIN_DEPOSIT ? amount : MIN_DEPOSIT;
        uint256 agents = psc.balanceOf(AGENT);
        _claimBy(way % 5, d, amount);
        VM.assertEq(psc.channels(id).paid, due, "paid");
        uint256 fees = due * (fee % 10_001) / 100_000;
        VM.assertEq(psc.balanceOf(AGENT) - agents, due - fees, "the agent's share");
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), fees, "the network's");
    }

    /// @dev A ceiling is signed all the same: nobody raises it to the deposit.
    function test_Ceiling_OfAnotherAmountThanSignedIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, MIN_DEPOSIT + 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, MIN_DEPOSIT + 2, voucher);
        voucher = _voucher(d, 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, type(uint128).max, voucher);
    }

    function test_RequestClose_AboveTheDepositAdmitsAllOfIt() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        _requestClose(d, type(uint128).max);
        VM.assertEq(psc.balanceOf(AGENT) - before, MIN_DEPOSIT, "the agent's");
        _assertChannel(id, MIN_DEPOSIT, MIN_DEPOSIT, _now() + CHALLENGE, IPSC.ChannelState.Open);
    }

    function _claimBy(uint64 way, IPSC.Descriptor memory d, uint128 amount) private {
        if (way == 0) return _settle(d, amount);
        if (way == 1) return _close(d, amount);
        if (way == 2) return _closeWithBoth(d, amount);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, amount, _voucher(d, amount));
        VM.prank(AGENT);
        VM.assertEq(way == 3 ? psc.settleBatch(AGENT, claims) : psc.closeBatch(claims), 1, "rows");
    }
}
