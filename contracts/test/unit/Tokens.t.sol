// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {CallbackToken, FeeOnTransfer, GrowingToken, ReturnsFalse, UsdtLike} from "../tokens/Tokens.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice Calls back into the service contract while its tokens are on their way.
contract Reentrant {
    IPSC private immutable PSC;
    CallbackToken private immutable TOKEN;
    bytes private _call;
    bytes public answer;

    constructor(IPSC psc, CallbackToken token) {
        (PSC, TOKEN) = (psc, token);
        token.approve(address(psc), type(uint256).max);
    }

    function act(bytes calldata outer, bytes calldata inner) external {
        _call = inner;
        (bool done, bytes memory why) = address(PSC).call(outer);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(why, 32), mload(why))
            }
        }
    }

    function tokensMoving() external {
        bytes memory inner = _call;
        if (inner.length == 0) return;
        delete _call;
        (, answer) = address(PSC).call(inner);
    }
}

/// @notice Tokens that are no plain ERC-20: handled, or refused.
contract TokensTest is World {
    function test_Token_WithoutReturnValuesWorks() public {
        address token = address(new UsdtLike());
        IPSC service = _deployService(token, FEE_ADDRESS, _terms());
        UsdtLike(token).approve(address(service), 1000);
        service.deposit(1000);
        service.withdraw(400);
        VM.assertEq(service.balanceOf(address(this)), 600, "the internal balance");
        VM.assertEq(UsdtLike(token).balanceOf(address(service)), 600, "the tokens held");
    }

    /// @dev A fee on transfers would make the contract owe more than it holds: what arrives is credited.
    function test_Token_WithAFeeOnTransferCreditsWhatArrives() public {
        FeeOnTransfer token = new FeeOnTransfer();
        IPSC service = _deployService(address(token), FEE_ADDRESS, _terms());
        token.approve(address(service), type(uint256).max);
        VM.expectEmit(address(service));
        emit IPSC.Deposited(address(this), 990);
        service.deposit(1000);
        VM.expectEmit(address(service));
        emit IPSC.Deposited(CLIENT, 99);
        service.depositFor(CLIENT, 100);
        service.registerOffering(OFFERING, MIN_STAKE, 2, 0, SOURCE);
        IPSC.Permit memory none;
        bytes32 id = service.openWithPermit(address(this), OFFERING, 1, address(0), 200, none);
        VM.assertEq(service.channels(id).deposit, 198, "the channel's deposit");
        IPSC.Descriptor memory d = IPSC.Descriptor(address(this), address(this), OFFERING, 1, address(0));
        service.topUpWithPermit(d, 100, none);
        VM.assertEq(service.channels(id).deposit, 297, "after the top-up");
        VM.expectRevert(abi.encodeWithSelector(IPSC.DepositTooSmall.selector, MIN_STAKE - 1, MIN_STAKE));
        service.openWithPermit(address(this), OFFERING, 2, address(0), MIN_STAKE - 1, none);
        uint256 owed = service.balanceOf(address(this)) + service.balanceOf(CLIENT) + 297 + 2 * MIN_STAKE;
        VM.assertEq(token.balanceOf(address(service)), owed, "as much as it owes");
    }

    function test_Token_ThatReturnsFalseIsRefused() public {
        ReturnsFalse token = new ReturnsFalse();
        IPSC service = _deployService(address(token), FEE_ADDRESS, _terms());
        token.approve(address(service), 1000);
        VM.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        service.deposit(1000);
        VM.assertEq(service.balanceOf(address(this)), 0, "nothing is credited");
    }

    /// @dev A deposit inside of a deposit would be measured by both.
    function test_Token_WithCallbacksCannotCountADepositTwice() public {
        CallbackToken token = new CallbackToken();
        IPSC service = _deployService(address(token), FEE_ADDRESS, _terms());
        Reentrant caller = new Reentrant(service, token);
        require(token.transfer(address(caller), 1000));
        token.listen(address(caller));
        bytes[3] memory inner = [
            abi.encodeCall(IPSC.deposit, (100)),
            abi.encodeCall(IPSC.depositFor, (CLIENT, 100)),
            abi.encodeCall(IPSC.withdraw, (50))
        ];
        for (uint256 i = 0; i < inner.length; ++i) {
            caller.act(abi.encodeCall(IPSC.deposit, (100)), inner[i]);
            VM.assertEq(
                keccak256(caller.answer()),
                keccak256(abi.encodeWithSelector(IPSC.Reentered.selector)),
                "refused"
            );
            VM.assertEq(service.balanceOf(address(caller)), 100 * (i + 1), "counted once");
            VM.assertEq(token.balanceOf(address(service)), 100 * (i + 1), "as much as it owes");
        }
        // On the way out everything is booked already.
        caller.act(abi.encodeCall(IPSC.withdraw, (300)), abi.encodeCall(IPSC.withdraw, (300)));
        VM.assertEq(
            keccak256(caller.answer()),
            keccak256(abi.encodeWithSelector(IPSC.InsufficientBalance.selector, address(caller), 0, 300)),
            "nothing twice"
        );
        VM.assertEq(token.balanceOf(address(service)), 0, "as much as it owes");
    }

    /// @dev A supply that grows after the deployment: amounts have 96 bits, and more is not taken in.
    function test_Token_GrownBeyond96BitsIsRefusedAtTheDeposit() public {
        GrowingToken token = new GrowingToken();
        IPSC service = _deployService(address(token), FEE_ADDRESS, _terms());
        token.approve(address(service), type(uint256).max);
        token.mint(address(this), type(uint128).max);
        service.deposit(type(uint96).max);
        VM.expectRevert(abi.encodeWithSelector(IPSC.AmountTooLarge.selector, uint256(type(uint96).max) + 1));
        service.deposit(1);
        service.withdraw(type(uint96).max);
    }

    /// @dev Only a token that returns its balances can be measured.
    function test_Token_ThatDoesNotReturnItsBalancesIsRefused() public {
        VM.etch(address(ptc), hex"00"); // accepts every call and returns nothing
        VM.expectRevert(abi.encodeWithSelector(IPSC.TokenSilent.selector));
        VM.prank(CLIENT);
        psc.deposit(1);
    }

    function test_DepositFor_CreditsTheOther() public {
        VM.startPrank(CLIENT);
        ptc.approve(address(psc), 70);
        VM.expectEmit(address(psc));
        emit IPSC.Deposited(STRANGER, 70);
        psc.depositFor(STRANGER, 70);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAddress.selector));
        psc.depositFor(address(0), 70);
        VM.stopPrank();
        VM.assertEq(psc.balanceOf(STRANGER), FUNDS + 70, "the other's");
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - 70, "the wallet");
    }
}
