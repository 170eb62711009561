// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice A chain that forks, and a fork that takes another chain id: channels stay, signatures are for one chain.
contract ForksTest is World {
    function test_Fork_WithAnotherChainIdFreezesNothing() public {
        (IPSC.Descriptor memory closed,) = _open(1);
        (IPSC.Descriptor memory left, bytes32 leftId) = _open(2);
        (IPSC.Descriptor memory paying, bytes32 payingId) = _open(3);
        bytes memory before = _voucher(paying, 100);
        VM.chainId(4242);
        VM.assertEq(psc.channelIdOf(left), leftId, "the id stays");
        VM.prank(AGENT);
        psc.close(closed, 0, "");
        VM.prank(CLIENT);
        psc.topUp(left, 5);
        _requestClose(left, 300);
        _pass(CHALLENGE);
        _finalizeClose(left);
        // What was signed before the fork counts on the chain that kept its id; here the client signs again.
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, payingId));
        psc.settle(paying, 100, before);
        _settle(paying, 100);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(paying, 200, _voucher(paying, 200));
        VM.assertEq(psc.settleBatch(AGENT, claims), 1, "rows settled");
        _closeWithBoth(paying, 300);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 600, "everything else is back");
        VM.assertEq(psc.deploymentChainId(), 31_337, "where it was deployed");
    }

    /// @dev And nothing signed on the fork counts at home.
    function test_Fork_SignaturesCountOnOneChain() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.chainId(4242);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory consent = _consent(d, 100);
        VM.chainId(31_337);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, voucher);
        voucher = _voucher(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, voucher, consent);
        psc.settle(d, 100, voucher);
    }
}
