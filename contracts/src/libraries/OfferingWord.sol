// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice An offering's whole state in one storage slot.
///
///   bit  0            96       128      160         200      216     224
///        | minDeposit | supply | open   | updatedAt | fee    | state |
///        | uint96     | uint32 | uint32 | uint40 (s)| uint16 | uint8 |
///
/// @dev `supply + open` never changes while the offering lives: a channel moves one from `supply` to `open` and back.
/// A removed offering keeps its word: its hash can never be registered again by its agent.
type OfferingWord is uint256;

using OfferingWords for OfferingWord global;

library OfferingWords {
    uint256 private constant SUPPLY_SHIFT = 96;
    uint256 private constant OPEN_SHIFT = 128;
    uint256 private constant UPDATED_SHIFT = 160;
    uint256 private constant FEE_SHIFT = 200;
    uint256 private constant DEPOSIT_MASK = type(uint96).max;
    uint256 private constant COUNT_MASK = type(uint32).max;
    uint256 private constant TIME_MASK = type(uint40).max;
    uint256 private constant FEE_MASK = type(uint16).max;
    uint256 private constant ONE_FREE = 1 << SUPPLY_SHIFT;
    uint256 private constant ONE_OPEN = 1 << OPEN_SHIFT;
    uint256 private constant LIVE = 1 << 216;
    uint256 private constant REMOVED = 2 << 216;

    /// @notice A fresh offering with nothing sold.
    function registered(uint96 minDeposit_, uint32 supply_, uint16 fee_)
        internal
        view
        returns (OfferingWord)
    {
        return OfferingWord.wrap(LIVE | minDeposit_ | (uint256(supply_) << SUPPLY_SHIFT)).announced(fee_);
    }

    function isNone(OfferingWord word) internal pure returns (bool) {
        return OfferingWord.unwrap(word) == 0;
    }

    function isLive(OfferingWord word) internal pure returns (bool) {
        return OfferingWord.unwrap(word) & LIVE != 0;
    }

    /// @notice 0 never registered, 1 live, 2 removed.
    function state(OfferingWord word) internal pure returns (uint8) {
        return uint8(OfferingWord.unwrap(word) >> 216);
    }

    /// @notice The least deposit of a channel, and the agent's stake behind each place.
    function minDeposit(OfferingWord word) internal pure returns (uint96) {
        return uint96(OfferingWord.unwrap(word) & DEPOSIT_MASK);
    }

    /// @notice Places still free.
    function supply(OfferingWord word) internal pure returns (uint32) {
        return uint32((OfferingWord.unwrap(word) >> SUPPLY_SHIFT) & COUNT_MASK);
    }

    /// @notice Channels open under the offering.
    function open(OfferingWord word) internal pure returns (uint32) {
        return uint32((OfferingWord.unwrap(word) >> OPEN_SHIFT) & COUNT_MASK);
    }

    /// @notice Time of the registration or of the last pop-up.
    function updatedAt(OfferingWord word) internal pure returns (uint40) {
        return uint40((OfferingWord.unwrap(word) >> UPDATED_SHIFT) & TIME_MASK);
    }

    /// @notice The network fee that channels opened under the offering will have.
    function fee(OfferingWord word) internal pure returns (uint16) {
        return uint16((OfferingWord.unwrap(word) >> FEE_SHIFT) & FEE_MASK);
    }

    /// @notice The offering announced now.
    function announced(OfferingWord word, uint16 fee_) internal view returns (OfferingWord) {
        uint256 kept = OfferingWord.unwrap(word.withFee(fee_)) & ~(TIME_MASK << UPDATED_SHIFT);
        return OfferingWord.wrap(kept | ((block.timestamp & TIME_MASK) << UPDATED_SHIFT));
    }

    function withFee(OfferingWord word, uint16 fee_) internal pure returns (OfferingWord) {
        return OfferingWord.wrap(
            OfferingWord.unwrap(word) & ~(FEE_MASK << FEE_SHIFT) | (uint256(fee_) << FEE_SHIFT)
        );
    }

    /// @notice One free place becomes a channel. The caller has checked that one is free.
    function placeTaken(OfferingWord word) internal pure returns (OfferingWord) {
        unchecked {
            return OfferingWord.wrap(OfferingWord.unwrap(word) + (ONE_OPEN - ONE_FREE));
        }
    }

    /// @notice A channel closed under a live offering: its place is free again.
    /// @dev Never reverts: a close must not hang on the offering. Each channel took its place from `supply`, and gives it
    /// back once; so neither count can pass its bounds.
    function placeFreed(OfferingWord word) internal pure returns (OfferingWord) {
        unchecked {
            return OfferingWord.wrap(OfferingWord.unwrap(word) - (ONE_OPEN - ONE_FREE));
        }
    }

    /// @notice A channel closed under a removed offering: its place is gone, and its stake with it.
    function placeDropped(OfferingWord word) internal pure returns (OfferingWord) {
        unchecked {
            return OfferingWord.wrap(OfferingWord.unwrap(word) - ONE_OPEN);
        }
    }

    /// @notice The live offering, removed: no free place is left.
    function removed(OfferingWord word) internal pure returns (OfferingWord) {
        return
            OfferingWord.wrap((OfferingWord.unwrap(word) ^ (LIVE | REMOVED)) & ~(COUNT_MASK << SUPPLY_SHIFT));
    }
}
