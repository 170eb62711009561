// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DeafWallet, Wallet} from "../support/Wallets.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice Many channels in one transaction: no row stops another, and each that took no effect is reported.
contract BatchesTest is World {
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
        emit IPSC.ChannelClosed(paidId, CLIENT, AGENT, OFFERING, 700, MIN_DEPOSIT - 700, IPSC.Closure.ByAgent);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(freeId, CLIENT, AGENT, OFFERING, 0, MIN_DEPOSIT, IPSC.Closure.ByAgent);
        VM.prank(AGENT);
        VM.assertEq(psc.closeBatch(claims), 2, "rows closed");
        VM.assertEq(psc.balanceOf(AGENT) - before, 700, "the agent's");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 705, "the client's");
        _assertChannel(goneId, MIN_DEPOSIT, 5, 0, IPSC.ChannelState.Closed);
        _assertOffering(OFFERING, PLACES, 0, IPSC.OfferingState.Live);
    }

    /// @dev Each row by its index and its reason; the number settled is what is left.
    function test_SettleBatch_ReportsEveryRowItSkips() public {
        (IPSC.Descriptor memory due, bytes32 dueId) = _open(1);
        (IPSC.Descriptor memory closed, bytes32 closedId) = _open(2);
        (IPSC.Descriptor memory paid, bytes32 paidId) = _open(3);
        (IPSC.Descriptor memory bad, bytes32 badId) = _open(4);
        IPSC.Descriptor memory undone = _descriptor(5);
        _close(closed, 7);
        _settle(paid, 100);
        IPSC.Claim[] memory claims = new IPSC.Claim[](6);
        claims[0] = _claim(undone, 100, _voucher(undone, 100));
        claims[1] = _claim(closed, 100, _voucher(closed, 100));
        claims[2] = _claim(paid, 100, _voucher(paid, 100));
        claims[3] = _claim(bad, 100, _voucher(bad, 100, STRANGER_KEY));
        claims[4] = _claim(due, 100, _voucher(due, 100));
        claims[5] = claims[4]; // named twice: paid once
        uint256 before = psc.balanceOf(AGENT);
        _expectSkipped(0, psc.channelIdOf(undone), IPSC.SkipReason.NotOpened);
        _expectSkipped(1, closedId, IPSC.SkipReason.Closed);
        _expectSkipped(2, paidId, IPSC.SkipReason.NothingToSettle);
        _expectSkipped(3, badId, IPSC.SkipReason.InvalidSignature);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelSettled(dueId, CLIENT, AGENT, 100);
        _expectSkipped(5, dueId, IPSC.SkipReason.NothingToSettle);
        VM.prank(STRANGER);
        VM.assertEq(psc.settleBatch(AGENT, claims), 1, "rows settled");
        VM.assertEq(psc.balanceOf(AGENT) - before, 100, "the agent's");
        _assertChannel(badId, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    function test_CloseBatch_ReportsEveryRowItSkips() public {
        (IPSC.Descriptor memory open,) = _open(1);
        (IPSC.Descriptor memory closed, bytes32 closedId) = _open(2);
        (IPSC.Descriptor memory bad, bytes32 badId) = _open(3);
        IPSC.Descriptor memory undone = _descriptor(4);
        _close(closed, 7);
        IPSC.Claim[] memory claims = new IPSC.Claim[](4);
        claims[0] = _claim(undone, 0, "");
        claims[1] = _claim(closed, 0, "");
        claims[2] = _claim(bad, 100, "");
        claims[3] = _claim(open, 0, "");
        _expectSkipped(0, psc.channelIdOf(undone), IPSC.SkipReason.NotOpened);
        _expectSkipped(1, closedId, IPSC.SkipReason.Closed);
        _expectSkipped(2, badId, IPSC.SkipReason.InvalidSignature);
        VM.prank(AGENT);
        VM.assertEq(psc.closeBatch(claims), 1, "rows closed");
        _assertChannel(badId, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    /// @dev A reorganisation undid one of a hundred openings.
    function test_Reorg_AnUndoneOpeningDoesNotStopABatchOfAHundred() public {
        bytes32 offering = keccak256("a large offering");
        _register(offering, MIN_DEPOSIT, 100);
        IPSC.Claim[] memory claims = new IPSC.Claim[](100);
        for (uint64 i = 0; i < 100; ++i) {
            IPSC.Descriptor memory d = _descriptor(i);
            d.offering = offering;
            if (i != 41) _open(d, MIN_DEPOSIT);
            claims[i] = _claim(d, 10, _voucher(d, 10));
        }
        uint256 before = psc.balanceOf(AGENT);
        VM.assertEq(psc.settleBatch(AGENT, claims), 99, "rows settled");
        VM.assertEq(psc.balanceOf(AGENT) - before, 990, "the agent's");
        VM.prank(AGENT);
        VM.assertEq(psc.closeBatch(claims), 99, "rows closed");
    }

    function test_CloseBatch_InAChallengeSaysWhetherTheAgentClaimedMore() public {
        (IPSC.Descriptor memory more, bytes32 moreId) = _open(1);
        (IPSC.Descriptor memory same, bytes32 sameId) = _open(2);
        _requestClose(more, 300);
        _requestClose(same, 300);
        IPSC.Claim[] memory claims = new IPSC.Claim[](2);
        claims[0] = _claim(more, 301, _voucher(more, 301));
        claims[1] = _claim(same, 300, _voucher(same, 300));
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(
            moreId, CLIENT, AGENT, OFFERING, 301, MIN_DEPOSIT - 301, IPSC.Closure.ByAgentDisputed
        );
        VM.expectEmit(address(psc));
        emit IPSC.ChannelClosed(sameId, CLIENT, AGENT, OFFERING, 300, MIN_DEPOSIT - 300, IPSC.Closure.ByAgent);
        VM.prank(AGENT);
        VM.assertEq(psc.closeBatch(claims), 2, "rows closed");
    }

    function test_SettleBatch_ForAnotherAgentFindsNoChannel() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, 100, _voucher(d, 100));
        VM.assertEq(psc.settleBatch(STRANGER, claims), 0, "rows settled");
        VM.prank(STRANGER);
        VM.assertEq(psc.closeBatch(claims), 0, "rows closed");
        VM.assertEq(psc.balanceOf(STRANGER), FUNDS, "the stranger's");
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    function test_Batches_OfNothingDoNothing() public {
        VM.assertEq(psc.settleBatch(AGENT, new IPSC.Claim[](0)), 0, "settled");
        VM.assertEq(psc.closeBatch(new IPSC.Claim[](0)), 0, "closed");
    }

    // ---------------------------------------------------------------- contract accounts among the rows

    /// @dev One row's account burns all the gas that it gets: the others are paid, and it got no more than its allowance.
    function test_Gas_ARowCannotConsumeTheGasOfTheOthers() public {
        DeafWallet.Answer[3] memory answers =
            [DeafWallet.Answer.Burning, DeafWallet.Answer.Mountain, DeafWallet.Answer.Reverting];
        for (uint64 i = 0; i < answers.length; ++i) {
            IPSC.Claim[] memory claims = new IPSC.Claim[](3);
            (IPSC.Descriptor memory first,) = _open(10 * i);
            (IPSC.Descriptor memory last,) = _open(10 * i + 1);
            IPSC.Descriptor memory bad = _openAs(address(new DeafWallet(answers[i])), 10 * i + 2);
            claims[0] = _claim(first, 100, _voucher(first, 100));
            claims[1] = _claim(bad, 100, "once accepted");
            claims[2] = _claim(last, 100, _voucher(last, 100));
            _expectSettled(first);
            _expectSkipped(1, psc.channelIdOf(bad), IPSC.SkipReason.InvalidSignature);
            _expectSettled(last);
            uint256 before = gasleft();
            VM.assertEq(psc.settleBatch{gas: 300_000}(AGENT, claims), 2, "rows settled");
            VM.assertLe(before - gasleft(), 230_000, "the account's allowance and two settlements");
        }
    }

    /// @dev Who sends a batch with little gas must not have a good row reported as a bad one.
    function test_Gas_TooLittleForAnAccountsAnswerRevertsTheBatch() public {
        Wallet wallet = new Wallet();
        IPSC.Descriptor memory d = _openAs(address(wallet), 1);
        wallet.approve(psc.voucherDigest(psc.channelIdOf(d), 100), "yes");
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, 100, "yes");
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientGas.selector));
        psc.settleBatch{gas: 100_000}(AGENT, claims);
        VM.assertEq(psc.settleBatch{gas: 250_000}(AGENT, claims), 1, "rows settled");
    }

    function _openAs(address wallet, uint64 nonce) private returns (IPSC.Descriptor memory d) {
        VM.prank(CLIENT);
        require(ptc.transfer(wallet, MIN_DEPOSIT));
        VM.startPrank(wallet);
        ptc.approve(address(psc), MIN_DEPOSIT);
        psc.deposit(MIN_DEPOSIT);
        VM.stopPrank();
        d = _descriptor(nonce);
        d.client = wallet;
        _open(d, MIN_DEPOSIT);
    }

    function _expectSettled(IPSC.Descriptor memory d) private {
        bytes32 id = psc.channelIdOf(d);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelSettled(id, d.client, AGENT, 100);
    }

    function _expectSkipped(uint256 index, bytes32 id, IPSC.SkipReason reason) private {
        VM.expectEmit(address(psc));
        emit IPSC.ClaimSkipped(index, id, reason);
    }
}
