// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "./support/World.sol";

/// @notice The defects of the reference system's contract, each shown to be absent here.
contract ReferenceDefectsTest is World {
    /// @dev There, a proof lacks the chain id: it is good on every fork and every chain with a contract at that address.
    function test_Defect_ProofsWithoutChainId() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        IPSC.Consent memory consent = _consent(d, 100);
        uint256 home = block.chainid;
        VM.chainId(home + 1);
        // The channel is there too, after a fork; the signatures of here do not count.
        VM.assertEq(psc.channelIdOf(d), id, "the id");
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, voucher);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, voucher, consent);
        VM.chainId(home);
        psc.settle(d, 100, voucher);
    }

    /// @dev A digest signed for one chain is refused for the same channel id on another: the domain alone must see to it.
    function test_Defect_ProofsWithoutChainId_TheDomainDiffersToo() public {
        bytes32 id = keccak256("any channel");
        bytes32 here = psc.voucherDigest(id, 100);
        bytes32 closeHere = psc.closeDigest(id, 100, 0, 0);
        VM.chainId(block.chainid + 1);
        VM.assertNotEq(psc.voucherDigest(id, 100), here, "the voucher's digest");
        VM.assertNotEq(psc.closeDigest(id, 100, 0, 0), closeHere, "the close's digest");
    }

    /// @dev There, the mirror image (high s) of every signature is accepted.
    function test_Defect_MalleableSignatures() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(CLIENT_KEY, psc.voucherDigest(id, 100));
        bytes memory mirrored =
            abi.encodePacked(r, bytes32(SECP256K1_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, 100, mirrored);
        uint64 deadline = uint64(_now());
        (v, r, s) = VM.sign(AGENT_KEY, psc.closeDigest(id, 100, 0, deadline));
        mirrored = abi.encodePacked(r, bytes32(SECP256K1_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        bytes memory voucher = _voucher(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, voucher, IPSC.Consent(0, deadline, mirrored));
    }

    /// @dev There, anybody registers a removed offering's hash with a supply of one, and no channel under it can close any
    /// more, neither by both nor by the client: every deposit is frozen at the price of one unit.
    function test_Defect_AReRegisteredHashFreezesEveryChannelUnderIt() public {
        (IPSC.Descriptor memory first,) = _open(1);
        (IPSC.Descriptor memory second,) = _open(2);
        (IPSC.Descriptor memory third,) = _open(3);
        _pass(REMOVE);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        VM.prank(STRANGER);
        psc.registerOffering(OFFERING, MIN_STAKE, 1, 0, SOURCE);

        _close(first, 100);
        _closeWithBoth(second, 100);
        _requestClose(third, 100);
        _pass(CHALLENGE);
        _finalizeClose(third);

        VM.assertEq(psc.balanceOf(CLIENT), FUNDS - 300, "the client's");
        VM.assertEq(psc.balanceOf(AGENT), FUNDS + 300, "the agent's");
        VM.assertEq(psc.offerings(STRANGER, OFFERING).supply, 1, "the stranger's offering is its own");
    }

    /// @dev There, the honest agent itself cannot help: registered again, the offering is full and no channel fits in.
    function test_Defect_ReRegistrationByTheAgentItself() public {
        _open(1);
        _pass(REMOVE);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingExists.selector, AGENT, OFFERING));
        VM.prank(AGENT);
        psc.registerOffering(OFFERING, MIN_STAKE, 1, 0, SOURCE);
        _close(_descriptor(1), 100);
        VM.assertEq(psc.balanceOf(AGENT), FUNDS + 100, "the agent's");
    }

    /// @dev There, hashes are first come, first served: who sees an announcement in the pool takes its hash.
    function test_Defect_AHashCanBeSquatted() public {
        bytes32 planned = keccak256("a planned offering");
        VM.prank(STRANGER);
        psc.registerOffering(planned, MIN_STAKE, 1, 0, SOURCE);
        _register(planned, MIN_DEPOSIT, 2);
        IPSC.Descriptor memory d = _descriptor(1);
        d.offering = planned;
        _open(d, MIN_DEPOSIT);
        VM.assertEq(psc.offerings(AGENT, planned).supply, 1, "the agent's offering is its own");
    }

    /// @dev There, removal returns the whole stake while channels are open.
    function test_Defect_TheStakeLeavesBeforeTheChannels() public {
        _open(1);
        _pass(REMOVE);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        VM.assertEq(psc.balanceOf(AGENT), FUNDS - MIN_DEPOSIT, "one stake stays for one open channel");
        _close(_descriptor(1), 0);
        VM.assertEq(psc.balanceOf(AGENT), FUNDS, "and returns with its close");
    }

    /// @dev There, the fee is (balance / 100,000) x fee: balances below 100,000 pay none, and every one loses the remainder.
    function test_Defect_SmallBalancesPayNoFee() public {
        _setFee(10_000);
        (IPSC.Descriptor memory d,) = _open(1);
        _close(d, 99_999);
        VM.assertEq(psc.balanceOf(FEE_ADDRESS), 9999, "ten per cent, rounded down by less than a unit");
    }

    /// @dev There, an agent that wants its money has to close.
    function test_Defect_NoPartialSettlement() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _settle(d, 100);
        _settle(d, 200);
        _assertChannel(id, MIN_DEPOSIT, 200, 0, IPSC.ChannelState.Open);
    }

    /// @dev There, each channel takes a transaction of its own.
    function test_Defect_NoBatches() public {
        IPSC.Claim[] memory claims = new IPSC.Claim[](20);
        for (uint64 i = 0; i < claims.length; ++i) {
            (IPSC.Descriptor memory d,) = _open(i);
            claims[i] = _claim(d, 10, _voucher(d, 10));
        }
        uint256 before = psc.balanceOf(AGENT);
        psc.settleBatch(AGENT, claims);
        VM.assertEq(psc.balanceOf(AGENT) - before, 200, "all at once");
    }

    /// @dev There, a client's dispute pays the agent only at its end.
    function test_Defect_ADisputeLocksWhatIsUndisputed() public {
        (IPSC.Descriptor memory d,) = _open(1);
        uint256 before = psc.balanceOf(AGENT);
        _requestClose(d, 700);
        VM.assertEq(psc.balanceOf(AGENT) - before, 700, "what is admitted is paid at once");
    }

    /// @dev There, top-ups wait while a dispute runs; and no mistaken request can be taken back.
    function test_Defect_ADisputeCannotBeTakenBack() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _requestClose(d, 0);
        VM.prank(CLIENT);
        psc.topUp(d, 5);
        _assertChannel(id, MIN_DEPOSIT + 5, 0, 0, IPSC.ChannelState.Open);
    }
}
