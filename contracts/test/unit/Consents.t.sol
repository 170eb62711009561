// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {YesWallet} from "../support/Wallets.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice An agent's consent to a close: over one amount, for a while, and until it is revoked.
contract ConsentsTest is World {
    /// @dev The agent agreed to 100, the client went on to 900: when the consent's time is over, the old pair is worthless.
    function test_Consent_AfterItsDeadlineCannotUndercutALaterVoucher() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory consent = _consent(d, 100);
        _pass(15 minutes + 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.Expired.selector, consent.deadline));
        VM.prank(CLIENT);
        psc.closeWithBoth(d, 100, voucher, consent);
        _close(d, 900);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 900, "the client's");
    }

    function test_Consent_CountsInTheLastSecondOfItsTime() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory consent = _consent(d, 100);
        _pass(15 minutes);
        psc.closeWithBoth(d, 100, voucher, consent);
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Closed);
    }

    /// @dev Who does not want to wait revokes.
    function test_Consent_RevokedCannotUndercutALaterVoucher() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory consent = _consent(d, 100);
        uint64 nonce = psc.nonceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ConsentsRevoked(AGENT, nonce + 1);
        VM.prank(AGENT);
        psc.revokeConsents(AGENT);
        VM.expectRevert(abi.encodeWithSelector(IPSC.WrongNonce.selector, nonce, nonce + 1));
        psc.closeWithBoth(d, 100, voucher, consent);
        consent = _consent(d, 100);
        psc.closeWithBoth(d, 100, voucher, consent);
    }

    /// @dev Or settles the later voucher.
    function test_Consent_BelowWhatIsPaidCannotUndercut() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory consent = _consent(d, 100);
        _settle(d, 900);
        VM.expectRevert(abi.encodeWithSelector(IPSC.BelowPaid.selector, 100, 900));
        psc.closeWithBoth(d, 100, voucher, consent);
    }

    function test_Consent_IsForItsAmountNonceAndDeadlineAlone() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Consent memory consent = _consent(d, 500);
        bytes memory voucher = _voucher(d, 499);
        _assertRefused(d, id, 499, voucher, consent);
        voucher = _voucher(d, 500);
        consent.deadline += 1;
        _assertRefused(d, id, 500, voucher, consent);
        consent.deadline -= 1;
        (IPSC.Descriptor memory other, bytes32 otherId) = _open(2);
        _assertRefused(other, otherId, 500, _voucher(other, 500), consent);
        VM.expectRevert(abi.encodeWithSelector(IPSC.WrongNonce.selector, 1, 0));
        psc.closeWithBoth(d, 500, voucher, IPSC.Consent(1, consent.deadline, consent.signature));
        psc.closeWithBoth(d, 500, voucher, consent);
    }

    function test_CloseWithBoth_WithoutEitherSignatureIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 500);
        IPSC.Consent memory consent = _consent(d, 500);
        _assertRefused(d, id, 500, "", consent);
        _assertRefused(d, id, 500, _voucher(d, 500, AGENT_KEY), consent);
        _assertRefused(d, id, 500, voucher, _consent(d, 500, STRANGER_KEY));
        _assertRefused(d, id, 500, voucher, _consent(d, 500, CLIENT_KEY));
        // Malformed signatures are nobody's, and nobody is no operator.
        consent.signature = "";
        _assertRefused(d, id, 500, voucher, consent);
        consent.signature = new bytes(65);
        _assertRefused(d, id, 500, voucher, consent);
    }

    /// @dev A contract that sells consents by its operator's key: code that accepts everything agrees to nothing.
    function test_Consent_IsNeverGivenByCode() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 500);
        VM.etch(AGENT, address(new YesWallet()).code);
        IPSC.Consent memory consent = _consent(d, 500, STRANGER_KEY);
        _assertRefused(d, id, 500, voucher, consent);
        _appointOperator();
        consent = _consent(d, 500, OPERATOR_KEY);
        psc.closeWithBoth(d, 500, voucher, consent);
    }

    function test_RevokeConsents_IsForTheAccountAndItsOperator() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.NotAgent.selector, STRANGER));
        VM.prank(STRANGER);
        psc.revokeConsents(AGENT);
        _appointOperator();
        VM.prank(OPERATOR);
        psc.revokeConsents(AGENT);
        VM.assertEq(psc.nonceOf(AGENT), 2, "the nonce");
        VM.assertEq(psc.operatorOf(AGENT), OPERATOR, "the operator stays");
    }

    function _assertRefused(
        IPSC.Descriptor memory d,
        bytes32 id,
        uint128 amount,
        bytes memory voucher,
        IPSC.Consent memory consent
    ) private {
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, amount, voucher, consent);
    }
}
