// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IPSC, World} from "../support/World.sol";

/// @notice Vouchers cashed while the channel stays open, one by one and in batches.
contract SettleTest is World {
    function test_Settle_PaysOnlyTheDifference() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        _settle(d, 100);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelSettled(id, CLIENT, AGENT, 250);
        _settle(d, 250);
        VM.assertEq(psc.balanceOf(AGENT) - before, 250, "the agent's");
        _assertChannel(id, MIN_DEPOSIT, 250, 0, IPSC.ChannelState.Open);
    }

    function test_Settle_OfTheWholeDepositLeavesTheChannelOpen() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _settle(d, MIN_DEPOSIT);
        _assertChannel(id, MIN_DEPOSIT, MIN_DEPOSIT, 0, IPSC.ChannelState.Open);
        _assertOffering(OFFERING, PLACES - 1, 1, IPSC.OfferingState.Live);
    }

    function test_Settle_DuringTheChallengeKeepsTheRequest() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 0);
        uint256 requested = VM.getBlockNumber();
        _pass(CHALLENGE + 5);
        _settle(d, 300); // even after it, as long as the client has not finalized
        _assertChannel(id, MIN_DEPOSIT, 300, requested, IPSC.ChannelState.Open);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 300, "the client's");
    }

    function test_Settle_OfNothingNewIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _settle(d, 100);
        bytes memory voucher = _voucher(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NothingToSettle.selector, id, 100));
        psc.settle(d, 100, voucher);
        voucher = _voucher(d, 99);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NothingToSettle.selector, id, 100));
        psc.settle(d, 99, voucher);
    }

    function test_Settle_AboveTheDepositIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        for (uint256 i = 0; i < 3; ++i) {
            uint128 amount = [uint128(MIN_DEPOSIT) + 1, uint128(type(uint96).max) + 1, type(uint128).max][i];
            bytes memory voucher = _voucher(d, amount);
            VM.expectRevert(abi.encodeWithSelector(IPSC.AmountAboveDeposit.selector, amount, MIN_DEPOSIT));
            psc.settle(d, amount, voucher);
        }
    }

    function test_Settle_OfAChannelThatIsNotOpenIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        _close(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelNotOpen.selector, id));
        psc.settle(d, 100, voucher);
    }

    function test_Settle_WithAnothersVoucherIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100, STRANGER_KEY);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, voucher);
    }

    function test_Settle_TakesTheNamedSignersVouchersOnly() public {
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = SIGNER;
        bytes32 id = _open(d, MIN_DEPOSIT);
        bytes memory voucher = _voucher(d, 100, CLIENT_KEY);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, voucher);
        psc.settle(d, 100, _voucher(d, 100, SIGNER_KEY));
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    function test_SettleBatch_PaysEachChannelsDifference() public {
        IPSC.Claim[] memory claims = new IPSC.Claim[](3);
        uint256 before = psc.balanceOf(AGENT);
        for (uint64 i = 0; i < 3; ++i) {
            (IPSC.Descriptor memory d,) = _open(i);
            claims[i] = _claim(d, 100 * (i + 1), _voucher(d, 100 * (i + 1)));
        }
        _settle(_descriptor(2), 50);
        for (uint64 i = 0; i < 3; ++i) {
            VM.expectEmit(address(psc));
            emit IPSC.ChannelSettled(psc.channelIdOf(_descriptor(i)), CLIENT, AGENT, uint96(100 * (i + 1)));
        }
        VM.prank(STRANGER);
        psc.settleBatch(AGENT, claims);
        VM.assertEq(psc.balanceOf(AGENT) - before, 600, "the agent's");
    }

    function test_SettleBatch_SkipsWhatIsClosedOrPaid() public {
        (IPSC.Descriptor memory closed, bytes32 closedId) = _open(1);
        (IPSC.Descriptor memory paid,) = _open(2);
        (IPSC.Descriptor memory due, bytes32 dueId) = _open(3);
        IPSC.Claim[] memory claims = new IPSC.Claim[](4);
        claims[0] = _claim(closed, 100, _voucher(closed, 100));
        claims[1] = _claim(paid, 100, _voucher(paid, 100));
        claims[2] = _claim(due, 100, _voucher(due, 100));
        claims[3] = claims[2]; // named twice: paid once
        _close(closed, 0);
        _settle(paid, 100);
        uint256 before = psc.balanceOf(AGENT);
        psc.settleBatch(AGENT, claims);
        VM.assertEq(psc.balanceOf(AGENT) - before, 100, "the agent's");
        _assertChannel(closedId, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Closed);
        _assertChannel(dueId, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    function test_SettleBatch_WithOneBadVoucherPaysNothing() public {
        (IPSC.Descriptor memory good,) = _open(1);
        (IPSC.Descriptor memory bad, bytes32 badId) = _open(2);
        IPSC.Claim[] memory claims = new IPSC.Claim[](2);
        claims[0] = _claim(good, 100, _voucher(good, 100));
        claims[1] = _claim(bad, 100, _voucher(bad, 100, STRANGER_KEY));
        uint256 before = psc.balanceOf(AGENT);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, badId));
        psc.settleBatch(AGENT, claims);
        claims[1] = _claim(bad, MIN_DEPOSIT + 1, _voucher(bad, MIN_DEPOSIT + 1));
        VM.expectRevert(
            abi.encodeWithSelector(IPSC.AmountAboveDeposit.selector, MIN_DEPOSIT + 1, MIN_DEPOSIT)
        );
        psc.settleBatch(AGENT, claims);
        VM.assertEq(psc.balanceOf(AGENT), before, "the agent's");
    }

    function test_SettleBatch_ForAnotherAgentFindsNoChannel() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, 100, _voucher(d, 100));
        psc.settleBatch(STRANGER, claims);
        VM.assertEq(psc.balanceOf(STRANGER), FUNDS, "the stranger's");
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    function test_SettleBatch_TakesFeesOfEachChannel() public {
        _setFee(10_000);
        IPSC.Claim[] memory claims = new IPSC.Claim[](2);
        uint256 before = psc.balanceOf(AGENT);
        for (uint64 i = 0; i < 2; ++i) {
            (IPSC.Descriptor memory d,) = _open(i);
            claims[i] = _claim(d, 1000, _voucher(d, 1000));
        }
        psc.settleBatch(AGENT, claims);
        VM.assertEq(psc.balanceOf(AGENT) - before, 1800, "the agent's");
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 200, "the fee address's");
    }

    function test_SettleBatch_OfNothingDoesNothing() public {
        psc.settleBatch(AGENT, new IPSC.Claim[](0));
    }
}
