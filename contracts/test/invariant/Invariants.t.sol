// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "../support/Vm.sol";
import {IPSC, World} from "../support/World.sol";
import {Market} from "./Market.sol";

/// @notice What holds after every action of a random market, and what everybody can do at its end.
contract InvariantsTest is World {
    Market private _market;

    function setUp() public override {
        _deploy();
        _market = new Market(psc, ptc, FEE_ADDRESS);
        address[] memory people = _market.people();
        for (uint256 i = 0; i + 1 < people.length; ++i) {
            // Enough to trade, little enough that balances run short.
            require(ptc.transfer(people[i], 20_000_000));
        }
    }

    /// @dev forge calls these at random.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_market);
    }

    /// @dev All in one: forge plays a market of its own for each invariant.
    function invariant_Market() external view {
        _checkConservation();
        _checkSupply();
        _checkChannels();
        _checkFee();
    }

    /// @dev Tokens held = internal balances + channel deposits left + agents' stakes.
    function _checkConservation() private view {
        uint256 sum;
        address[] memory people = _market.people();
        for (uint256 i = 0; i < people.length; ++i) {
            sum += psc.balanceOf(people[i]);
        }
        Market.Deal[] memory deals = _market.deals();
        for (uint256 i = 0; i < deals.length; ++i) {
            IPSC.Channel memory channel = psc.channels(deals[i].id);
            if (channel.state == IPSC.ChannelState.Open) sum += channel.deposit - channel.paid;
        }
        Market.Shop[] memory shops = _market.shops();
        for (uint256 i = 0; i < shops.length; ++i) {
            IPSC.Offering memory offering = psc.offerings(shops[i].agent, shops[i].offering);
            sum += uint256(offering.minDeposit) * (uint256(offering.supply) + offering.open);
        }
        VM.assertEq(ptc.balanceOf(address(psc)), sum, "every token held is somebody's");
    }

    /// @dev Supply between zero and what was announced; open places are open channels.
    function _checkSupply() private view {
        Market.Shop[] memory shops = _market.shops();
        Market.Deal[] memory deals = _market.deals();
        for (uint256 i = 0; i < shops.length; ++i) {
            IPSC.Offering memory offering = psc.offerings(shops[i].agent, shops[i].offering);
            uint256 open;
            for (uint256 j = 0; j < deals.length; ++j) {
                IPSC.Descriptor memory d = deals[j].descriptor;
                if (d.agent != shops[i].agent || d.offering != shops[i].offering) continue;
                if (psc.channels(deals[j].id).state == IPSC.ChannelState.Open) ++open;
            }
            VM.assertEq(offering.open, open, "open places are open channels");
            bool live = offering.state == IPSC.OfferingState.Live;
            VM.assertEq(offering.supply, live ? shops[i].places - open : 0, "the others are free");
            VM.assertEq(offering.minDeposit, shops[i].minDeposit, "the least deposit stays");
        }
    }

    /// @dev What a channel pays, its signer signed for or its client admitted; and its deposit is what the client put in.
    function _checkChannels() private view {
        Market.Deal[] memory deals = _market.deals();
        for (uint256 i = 0; i < deals.length; ++i) {
            IPSC.Channel memory channel = psc.channels(deals[i].id);
            uint256 allowed = deals[i].signed > deals[i].admitted ? deals[i].signed : deals[i].admitted;
            VM.assertLe(channel.paid, allowed, "paid is signed or admitted");
            VM.assertLe(channel.paid, channel.deposit, "paid is within the deposit");
            VM.assertEq(channel.deposit, deals[i].deposited, "the deposit is what the client put in");
        }
    }

    function _checkFee() private view {
        VM.assertEq(psc.feeAddress(), _market.feeAddress(), "only the fee address hands itself over");
        VM.assertLe(psc.fee(), 10_000, "at most ten per cent");
    }

    /// @dev At the end of every run: each side of each open channel can leave it alone, and then everybody takes everything
    /// home, to the last unit.
    function afterInvariant() external {
        _pass(365 days);
        Market.Deal[] memory deals = _market.deals();
        for (uint256 i = 0; i < deals.length; ++i) {
            if (psc.channels(deals[i].id).state != IPSC.ChannelState.Open) continue;
            uint256 here = VM.snapshotState();
            _clientLeaves(deals[i]);
            VM.revertToState(here);
            _agentLeaves(deals[i]);
        }
        _agentsRemoveTheirOfferings();
        address[] memory people = _market.people();
        for (uint256 i = 0; i < people.length; ++i) {
            uint256 balance = psc.balanceOf(people[i]);
            if (balance == 0) continue;
            VM.prank(people[i]);
            psc.withdraw(balance);
        }
        VM.assertEq(ptc.balanceOf(address(psc)), 0, "nothing is left behind");
    }

    /// @dev The invariants mean something only if the market really trades: a fixed random run reaches every outcome.
    function test_Market_ReachesEveryOutcome() external {
        VM.recordLogs();
        for (uint256 step = 0; step < 900; ++step) {
            uint256 a = uint256(keccak256(abi.encode("market", step)));
            _act(a % 21, a >> 8, uint256(keccak256(abi.encode(a))));
        }
        Vm.Log[] memory logs = VM.getRecordedLogs();
        bytes32[17] memory outcomes = [
            IPSC.Deposited.selector,
            IPSC.Withdrawn.selector,
            IPSC.OfferingRegistered.selector,
            IPSC.OfferingPoppedUp.selector,
            IPSC.OfferingRemoved.selector,
            IPSC.OfferingFeeRefreshed.selector,
            IPSC.ChannelOpened.selector,
            IPSC.ChannelToppedUp.selector,
            IPSC.ChannelSettled.selector,
            IPSC.ChannelCloseRequested.selector,
            IPSC.ChannelCloseCancelled.selector,
            IPSC.ChannelClosed.selector,
            IPSC.ClaimSkipped.selector,
            IPSC.OperatorChanged.selector,
            IPSC.FeeChanged.selector,
            IPSC.FeeAddressProposed.selector,
            IPSC.FeeAddressChanged.selector
        ];
        for (uint256 i = 0; i < outcomes.length; ++i) {
            uint256 count;
            for (uint256 j = 0; j < logs.length; ++j) {
                if (logs[j].topics[0] == outcomes[i]) ++count;
            }
            VM.assertGe(count, 3, "an outcome is too rare");
        }
        _assertClosedInEveryWay(logs);
    }

    function _act(uint256 action, uint256 a, uint256 b) private {
        if (action == 0) _market.deposit(a, b);
        if (action == 1) _market.withdraw(a, b);
        if (action == 2) _market.setFee(a);
        if (action == 3) _market.handOverTheFee(a);
        if (action == 4) _market.register(a, uint96(b), uint32(b >> 96));
        if (action == 5) _market.popUp(a);
        if (action == 6) _market.remove(a);
        if (action == 7) _market.refreshFee(a);
        if (action == 8) _market.open(a, b, b >> 128);
        if (action == 9) _market.topUp(a, b);
        if (action == 10) _market.settle(a, b);
        if (action == 11) _market.settleBatch(a, b);
        if (action == 12) _market.closeBatch(a, b);
        if (action == 13) _market.close(a, b);
        if (action == 14) _market.closeWithBoth(a, b);
        if (action == 15) _market.requestClose(a, b);
        if (action == 16) _market.finalizeClose(a);
        if (action == 17) _market.passTime(a);
        if (action == 18) _market.fork(a);
        if (action == 19) _market.appoint(a);
        if (action == 20) _market.cancelClose(a);
    }

    function _assertClosedInEveryWay(Vm.Log[] memory logs) private pure {
        uint256[5] memory ways;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IPSC.ChannelClosed.selector) continue;
            (,,, IPSC.Closure closure) = abi.decode(logs[i].data, (bytes32, uint96, uint96, IPSC.Closure));
            ++ways[uint256(closure)];
        }
        for (uint256 i = 0; i < ways.length; ++i) {
            VM.assertGe(ways[i], 1, "each way to close");
        }
    }

    function _clientLeaves(Market.Deal memory deal) private {
        IPSC.Descriptor memory d = deal.descriptor;
        IPSC.Channel memory channel = psc.channels(deal.id);
        uint256 before = psc.balanceOf(d.client);
        if (channel.challengeEndsAt == 0) _requestClose(d, 0);
        _pass(CHALLENGE);
        _finalizeClose(d);
        uint256 gained = psc.balanceOf(d.client) - before;
        VM.assertGe(gained, channel.deposit - channel.paid, "the client gets its rest alone");
    }

    function _agentLeaves(Market.Deal memory deal) private {
        IPSC.Descriptor memory d = deal.descriptor;
        IPSC.Channel memory channel = psc.channels(deal.id);
        uint256 before = psc.balanceOf(d.agent);
        bytes memory voucher = _sign(deal.signerKey, psc.voucherDigest(deal.id, channel.deposit));
        VM.prank(d.agent);
        psc.close(d, channel.deposit, voucher);
        uint256 share = uint256(channel.deposit) - channel.paid;
        uint256 fees =
            uint256(channel.deposit) * channel.fee / 100_000 - uint256(channel.paid) * channel.fee / 100_000;
        VM.assertGe(psc.balanceOf(d.agent) - before, share - fees, "the agent gets its voucher's worth alone");
    }

    function _agentsRemoveTheirOfferings() private {
        Market.Shop[] memory shops = _market.shops();
        for (uint256 i = 0; i < shops.length; ++i) {
            if (psc.offerings(shops[i].agent, shops[i].offering).state != IPSC.OfferingState.Live) continue;
            VM.prank(shops[i].agent);
            psc.removeOffering(shops[i].offering);
        }
    }
}
