// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelWord, ChannelWords} from "../../src/libraries/ChannelWord.sol";
import {OfferingWord, OfferingWords} from "../../src/libraries/OfferingWord.sol";
import {World} from "../support/World.sol";

/// @notice The packed words: every field is its own, and the fee is exact.
contract WordsTest is World {
    function testFuzz_ChannelWord_FieldsAreIndependent(uint96 deposit, uint96 more, uint16 fee, uint40 end)
        public
    {
        fee %= 10_001;
        end = uint40(1 + end % (type(uint40).max - 1));
        ChannelWord word = ChannelWords.opened(deposit, fee);
        _assertChannel(word, deposit, 0, 0, fee, 1);
        word = word.closeRequested(end);
        _assertChannel(word, deposit, 0, end, fee, 1);
        VM.assertFalse(word.disputed(), "nothing was paid since the request");
        (word,,) = word.pay(deposit / 3);
        _assertChannel(word, deposit, deposit / 3, end, fee, 1);
        VM.assertEq(word.disputed() ? 1 : 0, 1, "paid since the request");
        _assertChannel(word.closeCancelled(), deposit, deposit / 3, 0, fee, 1);
        VM.assertFalse(word.closeCancelled().disputed(), "forgotten with the request");
        VM.assertFalse(word.toppedUp(deposit).disputed(), "and with a top-up");
        uint256 grown = uint256(deposit) + more > type(uint96).max ? type(uint96).max : deposit + more;
        _assertChannel(word.toppedUp(uint96(grown)), grown, deposit / 3, 0, fee, 1);
        _assertChannel(word.closed(), deposit, deposit / 3, end, fee, 2);
        VM.assertFalse(word.closed().isOpen(), "closed");
        VM.assertFalse(word.closed().isNone(), "closed for ever");
    }

    function testFuzz_ChannelWord_ComparesWithItsAmounts(uint96 deposit, uint96 paid, uint128 amount)
        public
        pure
    {
        paid = uint96(paid % (uint256(deposit) + 1));
        (ChannelWord word,,) = ChannelWords.opened(deposit, 0).pay(paid);
        VM.assertEq(word.due(amount), amount <= deposit ? amount : deposit, "due");
        VM.assertEq(word.hasPaid(amount) ? 1 : 0, amount <= paid ? 1 : 0, "has paid");
        VM.assertEq(word.unpaid(), deposit - paid, "unpaid");
    }

    /// @dev However a total is cut into settlements, the fees add up to the fee on the total, and nothing is lost.
    function testFuzz_ChannelWord_FeesOfPartsAddUpToTheFeeOfTheWhole(
        uint96 total,
        uint16 fee,
        uint96[8] memory cuts
    ) public pure {
        fee %= 10_001;
        ChannelWord word = ChannelWords.opened(total, fee);
        uint256 shares;
        uint256 fees;
        uint256 paid;
        for (uint256 i = 0; i <= cuts.length; ++i) {
            uint256 next = i == cuts.length ? total : paid + cuts[i] % (uint256(total) - paid + 1);
            uint256 share;
            uint256 part;
            (word, share, part) = word.pay(next);
            VM.assertEq(share + part, next - paid, "no unit is lost or made");
            paid = next;
            shares += share;
            fees += part;
        }
        VM.assertEq(fees, uint256(total) * fee / 100_000, "the fee of the whole");
        VM.assertEq(shares + fees, total, "the whole");
    }

    function testFuzz_OfferingWord_FieldsAreIndependent(
        uint96 minDeposit,
        uint32 supply,
        uint16 fee,
        uint40 at
    ) public {
        minDeposit = uint96(1 + minDeposit % (type(uint96).max - 1));
        supply = uint32(1 + supply % (type(uint32).max - 1));
        VM.warp(at);
        OfferingWord word = OfferingWords.registered(minDeposit, supply, fee);
        _assertOffering(word, minDeposit, supply, 0, at, fee, 1);
        _assertOffering(word.placeTaken(), minDeposit, supply - 1, 1, at, fee, 1);
        _assertOffering(word.placeTaken().placeFreed(), minDeposit, supply, 0, at, fee, 1);
        _assertOffering(word.withFee(~fee), minDeposit, supply, 0, at, ~fee, 1);
        _assertOffering(word.placeTaken().removed(), minDeposit, 0, 1, at, fee, 2);
        _assertOffering(word.placeTaken().removed().placeDropped(), minDeposit, 0, 0, at, fee, 2);
        VM.assertFalse(word.removed().isLive(), "removed");
        VM.assertFalse(word.removed().isNone(), "removed for ever");
        VM.warp(uint256(at) + 1);
        _assertOffering(word.announced(7), minDeposit, supply, 0, uint40(uint256(at) + 1), 7, 1);
    }

    function _assertChannel(
        ChannelWord word,
        uint256 deposit,
        uint256 paid,
        uint256 challengeEndsAt,
        uint256 fee,
        uint256 state
    ) private pure {
        VM.assertEq(word.deposit(), deposit, "deposit");
        VM.assertEq(word.paid(), paid, "paid");
        VM.assertEq(word.challengeEndsAt(), challengeEndsAt, "close request");
        VM.assertEq(word.fee(), fee, "fee");
        VM.assertEq(word.state(), state, "state");
    }

    function _assertOffering(
        OfferingWord word,
        uint256 minDeposit,
        uint256 supply,
        uint256 open,
        uint256 updatedAt,
        uint256 fee,
        uint256 state
    ) private pure {
        VM.assertEq(word.minDeposit(), minDeposit, "least deposit");
        VM.assertEq(word.supply(), supply, "supply");
        VM.assertEq(word.open(), open, "open");
        VM.assertEq(word.updatedAt(), updatedAt, "updated at");
        VM.assertEq(word.fee(), fee, "fee");
        VM.assertEq(word.state(), state, "state");
    }
}
