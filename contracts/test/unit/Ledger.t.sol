// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice Internal balances: in, out, and by permit.
contract LedgerTest is World {
    function test_Deposit_MovesTokensToTheInternalBalance() public {
        VM.prank(CLIENT);
        ptc.approve(address(psc), 700);
        uint256 held = ptc.balanceOf(address(psc));
        VM.expectEmit(address(psc));
        emit IPSC.Deposited(CLIENT, 700);
        VM.prank(CLIENT);
        psc.deposit(700);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS + 700, "the internal balance");
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - 700, "the wallet");
        VM.assertEq(ptc.balanceOf(address(psc)), held + 700, "the tokens held");
    }

    function test_Deposit_OfNothingIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAmount.selector));
        psc.deposit(0);
    }

    function test_Deposit_WithoutAllowanceIsRefusedByTheToken() public {
        VM.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(psc), 0, 1)
        );
        VM.prank(CLIENT);
        psc.deposit(1);
    }

    function test_Deposit_AboveTheWalletIsRefusedByTheToken() public {
        VM.prank(CLIENT);
        ptc.approve(address(psc), type(uint256).max);
        VM.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, CLIENT, FUNDS, FUNDS + 1)
        );
        VM.prank(CLIENT);
        psc.deposit(FUNDS + 1);
    }

    function test_DepositWithPermit_NeedsNoApproval() public {
        IPSC.Permit memory permit = _permit(CLIENT_KEY, 900);
        VM.expectEmit(address(psc));
        emit IPSC.Deposited(CLIENT, 900);
        VM.prank(CLIENT);
        psc.depositWithPermit(900, permit);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS + 900, "the internal balance");
    }

    function test_DepositWithPermit_OfNothingIsRefused() public {
        IPSC.Permit memory permit = _permit(CLIENT_KEY, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAmount.selector));
        VM.prank(CLIENT);
        psc.depositWithPermit(0, permit);
    }

    function test_DepositWithPermit_WorksWhenSomebodyUsedThePermitFirst() public {
        IPSC.Permit memory p = _permit(CLIENT_KEY, 900);
        VM.prank(STRANGER);
        ptc.permit(CLIENT, address(psc), p.value, p.deadline, p.v, p.r, p.s);
        VM.prank(CLIENT);
        psc.depositWithPermit(900, p);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS + 900, "the internal balance");
    }

    function test_DepositWithPermit_ExpiredGivesNoAllowance() public {
        IPSC.Permit memory permit = _permit(CLIENT_KEY, 900, 1000);
        VM.warp(1001);
        VM.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(psc), 0, 900)
        );
        VM.prank(CLIENT);
        psc.depositWithPermit(900, permit);
    }

    function test_Withdraw_MovesTheInternalBalanceToTheWallet() public {
        VM.expectEmit(address(psc));
        emit IPSC.Withdrawn(CLIENT, CLIENT, FUNDS);
        VM.prank(CLIENT);
        psc.withdraw(FUNDS);
        VM.assertEq(psc.balanceOf(CLIENT), 0, "the internal balance");
        VM.assertEq(ptc.balanceOf(CLIENT), 2 * FUNDS, "the wallet");
    }

    function test_Withdraw_OfNothingIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAmount.selector));
        psc.withdraw(0);
    }

    function test_Withdraw_AboveTheInternalBalanceIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, CLIENT, FUNDS, FUNDS + 1));
        VM.prank(CLIENT);
        psc.withdraw(FUNDS + 1);
    }
}
