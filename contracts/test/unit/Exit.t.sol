// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice How money leaves: to the wallet in one transaction, all of it, and to a successor.
contract ExitTest is World {
    function test_Exit_FinalizingReturnsTheRefundToTheWalletInOneTransaction() public {
        VM.prank(CLIENT);
        psc.withdraw(FUNDS);
        IPSC.Permit memory permit = _permit(CLIENT_KEY, MIN_DEPOSIT);
        VM.prank(CLIENT);
        psc.openWithPermit(AGENT, OFFERING, 1, address(0), MIN_DEPOSIT, permit);
        _requestClose(_descriptor(1), 300);
        _pass(CHALLENGE);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IPSC.finalizeClose, (_descriptor(1)));
        calls[1] = abi.encodeCall(IPSC.withdrawAll, (CLIENT));
        VM.prank(CLIENT);
        bytes[] memory results = psc.multicall(calls);
        VM.assertEq(abi.decode(results[1], (uint256)), MIN_DEPOSIT - 300, "what was free");
        VM.assertEq(ptc.balanceOf(CLIENT), 2 * FUNDS - 300, "the wallet");
        VM.assertEq(psc.balanceOf(CLIENT), 0, "the internal balance");
    }

    function test_Exit_ClosingByBothReturnsTheRefundToTheWalletInOneTransaction() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IPSC.closeWithBoth, (d, 300, _voucher(d, 300), _consent(d, 300)));
        calls[1] = abi.encodeCall(IPSC.withdrawTo, (SIGNER, MIN_DEPOSIT - 300));
        VM.prank(CLIENT);
        psc.multicall(calls);
        VM.assertEq(ptc.balanceOf(SIGNER), MIN_DEPOSIT - 300, "the wallet");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT, "the rest of the internal balance");
    }

    function test_Multicall_FailsAsAWholeWithTheInnerReason() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IPSC.withdraw, (1));
        calls[1] = abi.encodeCall(IPSC.withdraw, (FUNDS));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, CLIENT, FUNDS - 1, FUNDS));
        VM.prank(CLIENT);
        psc.multicall(calls);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "nothing moved");
    }

    /// @dev It lends nobody's rights: each call is the caller's own.
    function test_Multicall_IsTheCallersOwn() public {
        bytes[] memory calls = new bytes[](1);
        bytes[] memory inner = new bytes[](1);
        inner[0] = abi.encodeCall(IPSC.withdraw, (FUNDS + 1));
        calls[0] = abi.encodeCall(IPSC.multicall, (inner));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, STRANGER, FUNDS, FUNDS + 1));
        VM.prank(STRANGER);
        psc.multicall(calls);
    }

    function test_WithdrawAll_TakesEverythingFreeFeesIncluded() public {
        _setFee(10_000);
        (IPSC.Descriptor memory d,) = _open(1);
        _close(d, 1_000_000);
        VM.expectEmit(address(psc));
        emit IPSC.Withdrawn(FEE_ADDRESS, SIGNER, 100_000);
        VM.prank(FEE_ADDRESS);
        VM.assertEq(psc.withdrawAll(SIGNER), 100_000, "the fees");
        VM.assertEq(ptc.balanceOf(SIGNER), 100_000, "the wallet");
        VM.prank(CLIENT);
        VM.assertEq(psc.withdrawAll(CLIENT), FUNDS - 1_000_000, "the client's");
        VM.prank(CLIENT);
        VM.assertEq(psc.withdrawAll(CLIENT), 0, "nothing is left, and that is no error");
    }

    function test_WithdrawTo_GoesToAnotherWallet() public {
        VM.expectEmit(address(psc));
        emit IPSC.Withdrawn(CLIENT, SIGNER, 7);
        VM.prank(CLIENT);
        psc.withdrawTo(SIGNER, 7);
        VM.assertEq(ptc.balanceOf(SIGNER), 7, "the wallet");
    }

    function test_WithdrawTo_NobodyIsRefused() public {
        address[2] memory nobody = [address(0), address(psc)];
        for (uint256 i = 0; i < 2; ++i) {
            VM.startPrank(CLIENT);
            VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidRecipient.selector, nobody[i]));
            psc.withdrawTo(nobody[i], 1);
            VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidRecipient.selector, nobody[i]));
            psc.withdrawAll(nobody[i]);
            VM.stopPrank();
        }
    }

    /// @dev The documented path, with money in every place: balances, stakes, an open and a disputed channel.
    function test_Migration_MovesEverythingToTheSuccessor() public {
        (IPSC.Descriptor memory served,) = _open(1);
        (IPSC.Descriptor memory silent,) = _open(2);
        IPSC successor = _deployService(address(ptc), FEE_ADDRESS, _terms());
        // The agent stops selling, and cashes what it has vouchers for.
        _pass(REMOVE);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(served, 500, _voucher(served, 500));
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IPSC.removeOffering, (OFFERING));
        calls[1] = abi.encodeCall(IPSC.closeBatch, (claims));
        VM.prank(AGENT);
        psc.multicall(calls);
        // The client leaves the other channel alone.
        _requestClose(silent, 100);
        _pass(CHALLENGE);
        _finalizeClose(silent);
        // Both take everything out, and go on at the successor.
        VM.prank(AGENT);
        psc.withdrawAll(AGENT);
        VM.prank(CLIENT);
        psc.withdrawAll(CLIENT);
        VM.prank(STRANGER);
        psc.withdrawAll(STRANGER);
        VM.assertEq(ptc.balanceOf(AGENT), 2 * FUNDS + 600, "the agent's wallet");
        VM.assertEq(ptc.balanceOf(CLIENT), 2 * FUNDS - 600, "the client's wallet");
        VM.assertEq(ptc.balanceOf(address(psc)), 0, "nothing stays behind");
        psc = successor;
        IPSC.Permit memory permit = _permit(AGENT_KEY, MIN_DEPOSIT);
        VM.startPrank(AGENT);
        psc.depositWithPermit(MIN_DEPOSIT, permit);
        psc.registerOffering(OFFERING, MIN_DEPOSIT, 1, 0, SOURCE);
        VM.stopPrank();
        permit = _permit(CLIENT_KEY, MIN_DEPOSIT);
        VM.prank(CLIENT);
        bytes32 id = psc.openWithPermit(AGENT, OFFERING, 1, CLIENT, MIN_DEPOSIT, permit);
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }
}
