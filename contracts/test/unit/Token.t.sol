// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TransferAuthorizations} from "../../src/ptc/TransferAuthorizations.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice PTC: a plain token with permits, which nobody operates.
contract TokenTest is World {
    function test_Token_IsPtcWithEightDecimals() public view {
        VM.assertEq(ptc.name(), "Privatix Token", "the name");
        VM.assertEq(ptc.symbol(), "PTC", "the symbol");
        VM.assertEq(ptc.decimals(), 8, "the decimals");
        VM.assertEq(ptc.totalSupply(), SUPPLY, "the supply");
    }

    function test_Token_PermitGivesAnAllowanceOnce() public {
        VM.assertEq(ptc.nonces(CLIENT), 0, "no permit used");
        IPSC.Permit memory p = _permit(CLIENT_KEY, 77);
        ptc.permit(CLIENT, address(psc), p.value, p.deadline, p.v, p.r, p.s);
        VM.assertEq(ptc.allowance(CLIENT, address(psc)), 77, "the allowance");
        VM.expectRevert();
        ptc.permit(CLIENT, address(psc), p.value, p.deadline, p.v, p.r, p.s);
    }

    function test_Token_HasNoCallsOfAnOperator() public {
        string[6] memory calls = [
            "mint(address,uint256)",
            "burn(address,uint256)",
            "pause()",
            "owner()",
            "transferOwnership(address)",
            "upgradeTo(address)"
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool success,) = address(ptc).call(abi.encodeWithSignature(calls[i], CLIENT, 1));
            VM.assertFalse(success, calls[i]);
        }
        VM.assertEq(ptc.totalSupply(), SUPPLY, "the supply");
    }

    // ---------------------------------------------------------------- EIP-3009

    bytes32 private constant NONCE = keccak256("an authorization");
    string private constant TRANSFER =
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
    string private constant RECEIVE =
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";

    function test_TransferWithAuthorization_MovesTokensOnce() public {
        (uint8 v, bytes32 r, bytes32 s) = _signTransfer(TRANSFER, CLIENT_KEY, SIGNER, 77, NONCE);
        VM.assertFalse(ptc.authorizationState(CLIENT, NONCE), "not used");
        VM.prank(STRANGER);
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
        VM.assertEq(ptc.balanceOf(SIGNER), 77, "the receiver's");
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - 77, "the sender's");
        VM.assertEq(ptc.authorizationState(CLIENT, NONCE) ? 1 : 0, 1, "used");
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.AuthorizationAlreadyUsed.selector, CLIENT, NONCE)
        );
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
    }

    /// @dev A signature to receive is not one to transfer: else a front-runner parts the payment from its purpose.
    function test_ReceiveWithAuthorization_IsForItsReceiverAlone() public {
        (uint8 v, bytes32 r, bytes32 s) = _signTransfer(RECEIVE, CLIENT_KEY, SIGNER, 77, NONCE);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.CallerNotReceiver.selector, STRANGER, SIGNER)
        );
        VM.prank(STRANGER);
        ptc.receiveWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
        VM.expectRevert();
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
        VM.prank(SIGNER);
        ptc.receiveWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
        VM.assertEq(ptc.balanceOf(SIGNER), 77, "the receiver's");
    }

    function test_Authorization_CountsWithinItsTimeOnly() public {
        (uint8 v, bytes32 r, bytes32 s) = _signTransfer(TRANSFER, CLIENT_KEY, SIGNER, 77, NONCE);
        (uint256 validAfter, uint256 validBefore) = (_now() - 1, _now() + 1);
        VM.warp(validAfter);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.AuthorizationNotYetValid.selector, validAfter)
        );
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, validAfter, validBefore, NONCE, v, r, s);
        VM.warp(validBefore);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.AuthorizationExpired.selector, validBefore)
        );
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, validAfter, validBefore, NONCE, v, r, s);
        VM.warp(validBefore - 1);
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, validAfter, validBefore, NONCE, v, r, s);
    }

    function test_Authorization_OfAnotherKeyIsRefused() public {
        (uint8 v, bytes32 r, bytes32 s) = _signTransfer(TRANSFER, STRANGER_KEY, SIGNER, 77, NONCE);
        VM.expectRevert();
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
    }

    function test_CancelAuthorization_EndsItBeforeItsUse() public {
        (uint8 v, bytes32 r, bytes32 s) = _signTransfer(TRANSFER, CLIENT_KEY, SIGNER, 77, NONCE);
        bytes32 message = keccak256(
            abi.encode(keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), CLIENT, NONCE)
        );
        (uint8 cv, bytes32 cr, bytes32 cs) = VM.sign(CLIENT_KEY, _digest(message));
        VM.expectRevert();
        ptc.cancelAuthorization(STRANGER, NONCE, cv, cr, cs);
        ptc.cancelAuthorization(CLIENT, NONCE, cv, cr, cs);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.AuthorizationAlreadyUsed.selector, CLIENT, NONCE)
        );
        ptc.transferWithAuthorization(CLIENT, SIGNER, 77, _now() - 1, _now() + 1, NONCE, v, r, s);
    }

    /// @dev Valid in this second.
    function _signTransfer(string memory form, uint256 key, address to, uint256 value, bytes32 nonce)
        private
        view
        returns (uint8, bytes32, bytes32)
    {
        bytes32 message = keccak256(
            abi.encode(keccak256(bytes(form)), CLIENT, to, value, _now() - 1, _now() + 1, nonce)
        );
        return VM.sign(key, _digest(message));
    }

    function _digest(bytes32 message) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", ptc.DOMAIN_SEPARATOR(), message));
    }
}
