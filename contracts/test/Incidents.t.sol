// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DeafWallet} from "./support/Wallets.sol";
import {Vm} from "./support/Vm.sol";
import {IPSC, World} from "./support/World.sol";

/// @notice What went wrong in the contracts of other payment systems, each case shown to be harmless here.
contract IncidentsTest is World {
    /// @dev mpp-rs#130: a voucher of amount zero was taken without a look at its signature.
    function test_Incident_AVoucherOfZeroSkipsTheCheck() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NothingToSettle.selector, id, 0));
        psc.settle(d, 0, "garbage");
        IPSC.Consent memory consent = _consent(d, 0);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 0, "garbage", consent);
    }

    /// @dev mpp-rs#131: an envelope that names its own signer was believed.
    function test_Incident_AnEnvelopeIsBelievedByItsClaimedSigner() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory envelope = abi.encodePacked(uint8(3), CLIENT, new bytes(44)); // 65 bytes
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, envelope);
        envelope = bytes.concat(envelope, _voucher(d, 100, STRANGER_KEY));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, envelope);
    }

    /// @dev mppx#628, HOPR's audit of 2023 (5.2): what is cashed was cashed again.
    function test_Incident_AVoucherIsCashedTwice() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        psc.settle(d, 100, voucher);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NothingToSettle.selector, id, 100));
        psc.settle(d, 100, voucher);
        uint256 before = psc.balanceOf(AGENT);
        VM.prank(AGENT);
        psc.close(d, 100, voucher);
        VM.assertEq(psc.balanceOf(AGENT), before, "nothing more");
    }

    /// @dev hoprnet#363, TIP-1034: after close and re-opening, old vouchers counted or new ones did not.
    function test_Incident_AChannelIsReopenedUnderOldVouchers() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _close(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.ChannelExists.selector, id));
        _open(d, MIN_DEPOSIT);
        // With another nonce it is another channel.
        (IPSC.Descriptor memory next, bytes32 nextId) = _open(2);
        bytes memory old = _voucher(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, nextId));
        psc.settle(next, 100, old);
    }

    /// @dev microraiden#134 and #198: the same bytes were payer's proof and payee's consent, for any contract.
    function test_Incident_AProofCountsInAnotherRole() public {
        // Both roles in one hand: only the message's type keeps them apart.
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = AGENT;
        bytes32 id = _open(d, MIN_DEPOSIT);
        bytes memory voucher = _voucher(d, 100, AGENT_KEY);
        IPSC.Consent memory consent = _consent(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, consent.signature);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, voucher, IPSC.Consent(consent.nonce, consent.deadline, voucher));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, consent.signature, consent);
        psc.closeWithBoth(d, 100, voucher, consent);
    }

    /// @dev The same class: a proof for one deployment was good for the next.
    function test_Incident_AProofCountsForAnotherContract() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC other = _deployService(address(ptc), FEE_ADDRESS, _terms());
        VM.startPrank(AGENT);
        ptc.approve(address(other), MIN_DEPOSIT);
        other.deposit(MIN_DEPOSIT);
        other.registerOffering(OFFERING, MIN_DEPOSIT, 1, 0, SOURCE);
        VM.stopPrank();
        VM.startPrank(CLIENT);
        ptc.approve(address(other), MIN_DEPOSIT);
        other.deposit(MIN_DEPOSIT);
        bytes32 id = other.open(AGENT, OFFERING, 1, address(0), MIN_DEPOSIT);
        VM.stopPrank();
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        other.settle(d, 100, voucher);
    }

    /// @dev mppx#142: a close request went unseen. Here it is in the channel's state and in an event, and never loses a
    /// voucher in time.
    function test_Incident_AForceCloseOverrunsTheAgent() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.expectEmit(address(psc));
        emit IPSC.ChannelCloseRequested(id, CLIENT, AGENT, 0, uint40(_now() + CHALLENGE));
        _requestClose(d, 0);
        VM.assertEq(psc.channels(id).challengeEndsAt, _now() + CHALLENGE, "seen in the state");
        _pass(CHALLENGE - 1);
        VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, _now(), _now() + 1));
        _finalizeClose(d);
        _settle(d, 900);
        _pass(1);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 900, "the voucher counted");
    }

    /// @dev raiden-contracts#127: an old proof and the order of clamping stole. Here an older voucher never lowers what is
    /// paid, whoever sends it in whatever order.
    function test_Incident_AnOldProofReplacesANewerOne() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory old = _voucher(d, 100);
        _settle(d, 900);
        VM.expectRevert(abi.encodeWithSelector(IPSC.NothingToSettle.selector, id, 900));
        psc.settle(d, 100, old);
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, 100, old);
        psc.settleBatch(AGENT, claims);
        _requestClose(d, 100);
        _assertChannel(id, MIN_DEPOSIT, 900, _now() + CHALLENGE, IPSC.ChannelState.Open);
        VM.prank(AGENT);
        psc.close(d, 100, old);
        _assertChannel(id, MIN_DEPOSIT, 900, _now() + CHALLENGE, IPSC.ChannelState.Closed);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 900, "the client's");
    }

    /// @dev raiden-contracts#1370: both sides lost their state, and the channel could never be settled. Here each side needs
    /// nothing but what the opening's event told.
    function test_Incident_BothSidesLoseTheirState() public {
        VM.recordLogs();
        _open(1);
        IPSC.Descriptor memory d = _descriptorFromLogs();
        VM.prank(AGENT);
        psc.close(d, 0, "");
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "everything is back");
        VM.recordLogs();
        _open(2);
        d = _descriptorFromLogs();
        _requestClose(d, 0);
        _pass(CHALLENGE);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS, "everything is back again");
    }

    /// @dev raiden#5818: the watchtower's answer came too late. Here anybody can answer, with the proof alone, and in time is
    /// every block until the close is finalized.
    function test_Incident_TheAnswerComesLate() public {
        (IPSC.Descriptor memory d,) = _open(1);
        _requestClose(d, 0);
        _pass(CHALLENGE + 47);
        _settle(d, 900);
        _finalizeClose(d);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 900, "the voucher counted");
    }

    /// @dev Griefing: a channel's slot taken with dust, or an offering's whole supply at no cost.
    function test_Incident_SupplyIsExhaustedWithDust() public {
        VM.expectRevert(abi.encodeWithSelector(IPSC.DepositTooSmall.selector, 1, MIN_DEPOSIT));
        _open(_descriptor(1), 1);
    }

    /// @dev Griefing: one bad channel among many stops a batch. Here the others are paid, and it is reported.
    function test_Incident_OneContractWalletStopsABatch() public {
        IPSC.Descriptor memory bad = _descriptor(1);
        bad.signer = address(new DeafWallet(DeafWallet.Answer.Reverting));
        bytes32 badId = _open(bad, MIN_DEPOSIT);
        (IPSC.Descriptor memory good, bytes32 goodId) = _open(2);
        IPSC.Claim[] memory both = new IPSC.Claim[](2);
        both[0] = _claim(bad, 100, "once accepted");
        both[1] = _claim(good, 100, _voucher(good, 100));
        VM.expectEmit(address(psc));
        emit IPSC.ClaimSkipped(0, badId, IPSC.SkipReason.InvalidSignature);
        VM.assertEq(psc.settleBatch(AGENT, both), 1, "rows settled");
        VM.assertEq(psc.channels(goodId).paid, 100, "the good one is paid");
        VM.prank(AGENT);
        psc.close(bad, 0, ""); // and the bad one does not hold the agent's stake
    }

    /// @dev A permit copied from the pool and used first made the purchase fail (the class of EIP-2612 front-running).
    function test_Incident_ACopiedPermitBlocksAPurchase() public {
        IPSC.Permit memory p = _permit(CLIENT_KEY, MIN_DEPOSIT);
        VM.prank(STRANGER);
        ptc.permit(CLIENT, address(psc), p.value, p.deadline, p.v, p.r, p.s);
        VM.prank(CLIENT);
        bytes32 id = psc.openWithPermit(AGENT, OFFERING, 1, address(0), MIN_DEPOSIT, p);
        _assertChannel(id, MIN_DEPOSIT, 0, 0, IPSC.ChannelState.Open);
    }

    /// @dev connext: tokens sent to the contract by mistake, or on purpose, must not upset its books.
    function test_Incident_TokensSentByMistakeUpsetTheBooks() public {
        (IPSC.Descriptor memory d,) = _open(1);
        VM.prank(STRANGER);
        require(ptc.transfer(address(psc), 12_345));
        _close(d, 500);
        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 500, "the client's");
        VM.assertEq(psc.balanceOf(STRANGER), FUNDS, "the stranger's");
    }

    /// @notice The descriptor that the last opening announced.
    function _descriptorFromLogs() private returns (IPSC.Descriptor memory d) {
        Vm.Log[] memory logs = VM.getRecordedLogs();
        Vm.Log memory opened = logs[logs.length - 1];
        VM.assertEq(opened.topics[0], IPSC.ChannelOpened.selector, "the opening's event");
        d.client = address(uint160(uint256(opened.topics[2])));
        d.agent = address(uint160(uint256(opened.topics[3])));
        (d.offering, d.nonce, d.signer,,) =
            abi.decode(opened.data, (bytes32, uint64, address, uint96, uint16));
    }
}
