// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice Occupies places as cheaply as it goes: many openings in one transaction, by a contract.
contract Occupier {
    IPSC private immutable PSC;

    constructor(IPSC psc) {
        PSC = psc;
    }

    function occupy(address agent, bytes32 offering, uint64 count, uint96 amount) external {
        for (uint64 nonce = 0; nonce < count; ++nonce) {
            PSC.open(agent, offering, nonce, address(this), amount);
        }
    }
}

/// @notice What it costs to exhaust an offering's supply, and what it costs its agent to restore it.
/// @dev The figures stand in `contracts/README.md`.
/// forge-config: default.isolate = true
contract GriefingTest is World {
    uint64 private constant COUNT = 100;

    event Used(string call, uint256 gas);

    function test_Griefing_OccupyingAPlaceCostsMoreThanTwiceWhatRestoringItCosts() public {
        bytes32 offering = keccak256("a large offering");
        _register(offering, MIN_DEPOSIT, uint32(COUNT));
        Occupier occupier = new Occupier(psc);
        VM.startPrank(STRANGER);
        ptc.approve(address(psc), COUNT * MIN_DEPOSIT);
        psc.depositFor(address(occupier), COUNT * MIN_DEPOSIT);
        occupier.occupy(AGENT, offering, COUNT, MIN_DEPOSIT);
        VM.stopPrank();
        uint256 occupying = VM.lastCallGas().gasTotalUsed / COUNT;
        VM.assertEq(psc.offerings(AGENT, offering).supply, 0, "exhausted");
        VM.assertEq(psc.balanceOf(address(occupier)), 0, "and its deposits are locked");

        IPSC.Claim[] memory claims = new IPSC.Claim[](COUNT);
        for (uint64 nonce = 0; nonce < COUNT; ++nonce) {
            claims[nonce] = IPSC.Claim(address(occupier), offering, nonce, address(occupier), 0, "");
        }
        VM.prank(AGENT);
        VM.assertEq(psc.closeBatch(claims), COUNT, "rows closed");
        uint256 restoring = VM.lastCallGas().gasTotalUsed / COUNT;
        VM.assertEq(psc.offerings(AGENT, offering).supply, COUNT, "restored");

        VM.prank(CLIENT);
        psc.open(AGENT, OFFERING, type(uint64).max, CLIENT, MIN_DEPOSIT);
        emit Used("occupy a place by an account of its own", VM.lastCallGas().gasTotalUsed);
        emit Used("occupy a place, in bulk by a contract", occupying);
        emit Used("restore a place, 100 in a batch", restoring);
        VM.assertGe(occupying, 2 * restoring, "clearly dearer");
    }
}
