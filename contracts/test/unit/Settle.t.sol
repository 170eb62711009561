// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice Vouchers cashed while the channel stays open, one by one.
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
        uint256 end = _now() + CHALLENGE;
        _pass(CHALLENGE + 5);
        _settle(d, 300); // even after it, as long as the client has not finalized
        _assertChannel(id, MIN_DEPOSIT, 300, end, IPSC.ChannelState.Open);
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
}
