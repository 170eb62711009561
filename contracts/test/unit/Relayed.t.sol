// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TransferAuthorizations} from "../../src/ptc/TransferAuthorizations.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice Calls that anybody submits for a client: they do what the client signed, and nothing else.
contract RelayedTest is World {
    bytes32 private constant SALT = keccak256("first top-up");

    // ---------------------------------------------------------------- open

    function test_OpenWithAuthorization_NeedsNoEtherOfTheClient() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        bytes32 id = psc.channelIdOf(d);
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, MIN_DEPOSIT, id);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelOpened(id, CLIENT, AGENT, OFFERING, 1, SIGNER, MIN_DEPOSIT, 0);
        VM.assertEq(_relayOpen(STRANGER, d, MIN_DEPOSIT, a), id, "the id");
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT, "the wallet");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "the internal balance");
        VM.assertEq(psc.balanceOf(STRANGER), FUNDS, "the relayer's");
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    /// @dev Somebody takes the authorization from the pool and wants another agent, offering, nonce, signer or amount.
    function test_FrontRun_AnAuthorizationOpensTheSignedChannelOnly() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, MIN_DEPOSIT, psc.channelIdOf(d));
        bytes32 cheap = keccak256("the front-runner's own");
        VM.prank(STRANGER);
        psc.registerOffering(cheap, MIN_STAKE, 1, 0, SOURCE);
        _register(cheap, MIN_STAKE, 1);
        IPSC.Descriptor[5] memory wrong = [d, d, d, d, d];
        wrong[0] = IPSC.Descriptor(CLIENT, STRANGER, cheap, 1, SIGNER);
        wrong[1] = IPSC.Descriptor(CLIENT, AGENT, cheap, 1, SIGNER);
        wrong[2] = IPSC.Descriptor(CLIENT, AGENT, OFFERING, 2, SIGNER);
        wrong[3] = IPSC.Descriptor(CLIENT, AGENT, OFFERING, 1, STRANGER);
        wrong[4] = IPSC.Descriptor(STRANGER, AGENT, OFFERING, 1, SIGNER);
        for (uint256 i = 0; i < wrong.length; ++i) {
            _assertNotOpened(wrong[i], MIN_DEPOSIT, a);
        }
        _assertNotOpened(d, MIN_DEPOSIT - 1, a);
        _assertNotOpened(d, MIN_DEPOSIT + 1, a);
        _relayOpen(STRANGER, d, MIN_DEPOSIT, a); // the front-runner can only do what was signed
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - MIN_DEPOSIT, "the wallet");
    }

    /// @dev And not at the token either, where only the receiver may use it.
    function test_FrontRun_AnAuthorizationCannotBeUsedAtTheToken() public {
        bytes32 id = psc.channelIdOf(_signedBy(SIGNER, 1));
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, MIN_DEPOSIT, id);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.CallerNotReceiver.selector, STRANGER, address(psc))
        );
        VM.prank(STRANGER);
        ptc.receiveWithAuthorization(
            CLIENT, address(psc), MIN_DEPOSIT, a.validAfter, a.validBefore, id, a.v, a.r, a.s
        );
    }

    function test_OpenWithAuthorization_TwiceIsRefused() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        bytes32 id = psc.channelIdOf(d);
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, MIN_DEPOSIT, id);
        _relayOpen(STRANGER, d, MIN_DEPOSIT, a);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.AuthorizationAlreadyUsed.selector, CLIENT, id)
        );
        _relayOpen(STRANGER, d, MIN_DEPOSIT, a);
    }

    function test_OpenWithAuthorization_OutOfItsTimeIsRefused() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, MIN_DEPOSIT, psc.channelIdOf(d));
        _pass(1 hours);
        VM.expectRevert(
            abi.encodeWithSelector(TransferAuthorizations.AuthorizationExpired.selector, a.validBefore)
        );
        _relayOpen(STRANGER, d, MIN_DEPOSIT, a);
    }

    function test_OpenWithAuthorization_OfNobodyIsRefused() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        d.client = address(0);
        IPSC.Authorization memory a;
        a.validBefore = type(uint256).max;
        VM.expectRevert(abi.encodeWithSelector(IPSC.ZeroAddress.selector));
        _relayOpen(STRANGER, d, MIN_DEPOSIT, a);
    }

    // ---------------------------------------------------------------- top up

    function test_TopUpWithAuthorization_AddsWhatWasSigned() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, 300, keccak256(abi.encode(id, SALT)));
        (IPSC.Descriptor memory other,) = _open(2);
        VM.expectRevert();
        psc.topUpWithAuthorization(other, 300, SALT, a);
        VM.expectRevert();
        psc.topUpWithAuthorization(d, 301, SALT, a);
        VM.expectRevert();
        psc.topUpWithAuthorization(d, 300, 0, a);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelToppedUp(id, CLIENT, AGENT, MIN_DEPOSIT + 300, false);
        VM.prank(STRANGER);
        psc.topUpWithAuthorization(d, 300, SALT, a);
        VM.assertEq(ptc.balanceOf(CLIENT), FUNDS - 300, "the wallet");
        VM.expectRevert();
        psc.topUpWithAuthorization(d, 300, SALT, a);
    }

    /// @dev An agent keeps a signed top-up back, to cancel the client's close request with it.
    function test_Exit_IsNotStoppedByAKeptTopUp() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        IPSC.Authorization memory a = _authorization(CLIENT_KEY, 300, keccak256(abi.encode(id, SALT)));
        _requestClose(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.CloseAlreadyRequested.selector, id));
        VM.prank(AGENT);
        psc.topUpWithAuthorization(d, 300, SALT, a);
        _pass(CHALLENGE);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "the client is out");
    }

    // ---------------------------------------------------------------- request to close

    function test_RequestCloseFor_IsSubmittedByAnybody() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        bytes32 id = _open(d, MIN_DEPOSIT);
        uint64 deadline = uint64(_now() + 10 minutes);
        bytes memory signature = _request(d, 300, 0, deadline, SIGNER_KEY);
        uint256 before = psc.balanceOf(AGENT);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseRequested(id, CLIENT, AGENT, 300, uint40(_now() + CHALLENGE));
        VM.prank(STRANGER);
        psc.requestCloseFor(d, 300, 0, deadline, signature);
        VM.assertEq(psc.balanceOf(AGENT) - before, 300, "the agent's");
        _pass(CHALLENGE);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 300, "the client's");
    }

    function test_RequestCloseFor_AnythingElseThanSignedIsRefused() public {
        IPSC.Descriptor memory d = _signedBy(SIGNER, 1);
        bytes32 id = _open(d, MIN_DEPOSIT);
        uint64 deadline = uint64(_now() + 10 minutes);
        bytes memory signature = _request(d, 300, 0, deadline, SIGNER_KEY);
        bytes4 invalid = IPSC.InvalidSignature.selector;
        VM.expectRevert(abi.encodeWithSelector(invalid, id));
        psc.requestCloseFor(d, 301, 0, deadline, signature);
        VM.expectRevert(abi.encodeWithSelector(invalid, id));
        psc.requestCloseFor(d, 300, 0, deadline + 1, signature);
        bytes memory clients = _request(d, 300, 0, deadline, CLIENT_KEY);
        VM.expectRevert(abi.encodeWithSelector(invalid, id));
        psc.requestCloseFor(d, 300, 0, deadline, clients); // the named signer signs, and only it
        bytes memory voucher = _voucher(d, 300, SIGNER_KEY);
        VM.expectRevert(abi.encodeWithSelector(invalid, id));
        psc.requestCloseFor(d, 300, 0, deadline, voucher);
        IPSC.Consent memory consent = _consent(d, 300, SIGNER_KEY, 0, deadline);
        VM.expectRevert(abi.encodeWithSelector(invalid, id));
        psc.requestCloseFor(d, 300, 0, deadline, consent.signature);
        VM.expectRevert(abi.encodeWithSelector(IPSC.WrongNonce.selector, 1, 0));
        psc.requestCloseFor(d, 300, 1, deadline, signature);
        _pass(10 minutes + 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.Expired.selector, deadline));
        psc.requestCloseFor(d, 300, 0, deadline, signature);
    }

    /// @dev A client that took its request back revokes it, so that nobody submits it again.
    function test_RequestCloseFor_RevokedIsRefused() public {
        (IPSC.Descriptor memory d,) = _open(1);
        uint64 deadline = uint64(_now() + 10 minutes);
        bytes memory signature = _request(d, 0, 0, deadline, CLIENT_KEY);
        psc.requestCloseFor(d, 0, 0, deadline, signature);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IPSC.cancelClose, (d));
        calls[1] = abi.encodeCall(IPSC.revokeConsents, (CLIENT));
        VM.prank(CLIENT);
        psc.multicall(calls);
        VM.expectRevert(abi.encodeWithSelector(IPSC.WrongNonce.selector, 0, 1));
        psc.requestCloseFor(d, 0, 0, deadline, signature);
    }

    // ---------------------------------------------------------------- parts

    function _signedBy(address signer, uint64 nonce) private view returns (IPSC.Descriptor memory d) {
        d = _descriptor(nonce);
        d.signer = signer;
    }

    function _request(IPSC.Descriptor memory d, uint128 admitted, uint64 nonce, uint64 deadline, uint256 key)
        private
        view
        returns (bytes memory)
    {
        return _sign(key, psc.requestCloseDigest(psc.channelIdOf(d), admitted, nonce, deadline));
    }

    function _relayOpen(address relayer, IPSC.Descriptor memory d, uint96 amount, IPSC.Authorization memory a)
        private
        returns (bytes32)
    {
        VM.prank(relayer);
        return psc.openWithAuthorization(d.client, d.agent, d.offering, d.nonce, d.signer, amount, a);
    }

    function _assertNotOpened(IPSC.Descriptor memory d, uint96 amount, IPSC.Authorization memory a) private {
        VM.prank(STRANGER);
        (bool done, bytes memory why) = address(psc)
            .call(
                abi.encodeCall(
                    IPSC.openWithAuthorization, (d.client, d.agent, d.offering, d.nonce, d.signer, amount, a)
                )
            );
        VM.assertFalse(done, "not what was signed");
        VM.assertEq(
            bytes32(bytes4(why)),
            bytes32(TransferAuthorizations.AuthorizationNotSigned.selector),
            "because the token finds another signer"
        );
    }
}
