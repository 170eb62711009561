// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A channel's whole state in one storage slot.
///
///   bit  0        96        192              232      248     250        251
///        | paid   | deposit | challengeEndsAt | fee    | state | disputed |
///        | uint96 | uint96  | uint40 (s)      | uint16 | 2 bits| 1 bit    |
///
/// @dev A word of zero is a channel that never existed. A closed channel keeps its word: its id can never be opened again,
/// so vouchers signed for it are worthless for ever.
type ChannelWord is uint256;

using ChannelWords for ChannelWord global;

library ChannelWords {
    uint256 private constant DEPOSIT_SHIFT = 96;
    uint256 private constant CHALLENGE_SHIFT = 192;
    uint256 private constant FEE_SHIFT = 232;
    uint256 private constant AMOUNT_MASK = type(uint96).max;
    uint256 private constant TIME_MASK = type(uint40).max;
    uint256 private constant FEE_MASK = type(uint16).max;
    uint256 private constant OPEN = 1 << 248;
    uint256 private constant CLOSED = 2 << 248;
    uint256 private constant DISPUTED = 4 << 248;
    uint256 private constant CHALLENGE_BITS = TIME_MASK << CHALLENGE_SHIFT;

    /// @notice The fee's unit: 1/100,000 of the amount paid.
    uint256 internal constant FEE_UNIT = 100_000;

    /// @notice A fresh channel: nothing paid, no close request.
    function opened(uint96 deposit_, uint16 fee_) internal pure returns (ChannelWord) {
        return ChannelWord.wrap(OPEN | (uint256(fee_) << FEE_SHIFT) | (uint256(deposit_) << DEPOSIT_SHIFT));
    }

    function isNone(ChannelWord word) internal pure returns (bool) {
        return ChannelWord.unwrap(word) == 0;
    }

    function isOpen(ChannelWord word) internal pure returns (bool) {
        return ChannelWord.unwrap(word) & OPEN != 0;
    }

    /// @notice 0 never opened, 1 open, 2 closed.
    function state(ChannelWord word) internal pure returns (uint8) {
        return uint8(ChannelWord.unwrap(word) >> 248) & 3;
    }

    /// @notice Cumulative amount credited to the agent, fee included.
    function paid(ChannelWord word) internal pure returns (uint256 amount) {
        amount = ChannelWord.unwrap(word) & AMOUNT_MASK;
    }

    function deposit(ChannelWord word) internal pure returns (uint256 amount) {
        amount = (ChannelWord.unwrap(word) >> DEPOSIT_SHIFT) & AMOUNT_MASK;
    }

    /// @notice What a signed cumulative amount brings the agent in all: it is a ceiling, and so is the deposit.
    /// @dev A reorganisation can remove a top-up under a voucher; the voucher is then worth the deposit that is left.
    function due(ChannelWord word, uint256 cumulative) internal pure returns (uint256 amount) {
        amount = (ChannelWord.unwrap(word) >> DEPOSIT_SHIFT) & AMOUNT_MASK;
        if (cumulative < amount) amount = cumulative;
    }

    /// @notice Whether this cumulative amount, or more, is paid already.
    function hasPaid(ChannelWord word, uint256 cumulative) internal pure returns (bool) {
        return ChannelWord.unwrap(word) & AMOUNT_MASK >= cumulative;
    }

    /// @notice What the deposit exceeds the payments by; it never falls below them.
    function unpaid(ChannelWord word) internal pure returns (uint256) {
        unchecked {
            uint256 bits = ChannelWord.unwrap(word);
            return ((bits >> DEPOSIT_SHIFT) & AMOUNT_MASK) - (bits & AMOUNT_MASK);
        }
    }

    /// @notice When the client's close can be finalized; 0 when no close request stands.
    function challengeEndsAt(ChannelWord word) internal pure returns (uint40) {
        return uint40((ChannelWord.unwrap(word) >> CHALLENGE_SHIFT) & TIME_MASK);
    }

    /// @notice Whether the agent was paid more than the client admitted while its close request stood.
    function disputed(ChannelWord word) internal pure returns (bool) {
        return ChannelWord.unwrap(word) & DISPUTED != 0;
    }

    function fee(ChannelWord word) internal pure returns (uint16) {
        return uint16((ChannelWord.unwrap(word) >> FEE_SHIFT) & FEE_MASK);
    }

    /// @notice The channel with `cumulative` paid, and what this payment brings to the agent and to the network. A payment while
    /// a close request stands is one that the client did not admit: the channel is disputed.
    /// @dev The caller has checked paid < cumulative <= deposit. The fee on the cumulative amount, rounded down, is always
    /// taken of the whole and never of a part: however often a channel is settled, the fees taken add up to exactly it, and
    /// no unit is lost or taken twice. Since the fee is at most one in ten, agent's and network's shares both grow with the
    /// cumulative amount: no subtraction can underflow. Products have 96 + 16 bits.
    function pay(ChannelWord word, uint256 cumulative)
        internal
        pure
        returns (ChannelWord next, uint256 share, uint256 fees)
    {
        unchecked {
            uint256 bits = ChannelWord.unwrap(word);
            uint256 before = bits & AMOUNT_MASK;
            uint256 rate = (bits >> FEE_SHIFT) & FEE_MASK;
            fees = cumulative * rate / FEE_UNIT - before * rate / FEE_UNIT;
            share = cumulative - before - fees;
            bits = bits - before + cumulative;
            if (bits & CHALLENGE_BITS != 0) bits |= DISPUTED;
            next = ChannelWord.wrap(bits);
        }
    }

    /// @notice The channel with a new deposit and without a close request: who tops up wants to go on.
    function toppedUp(ChannelWord word, uint96 deposit_) internal pure returns (ChannelWord) {
        uint256 kept = ChannelWord.unwrap(word.closeCancelled()) & ~(AMOUNT_MASK << DEPOSIT_SHIFT);
        return ChannelWord.wrap(kept | (uint256(deposit_) << DEPOSIT_SHIFT));
    }

    /// @notice The channel with a close request whose challenge ends at `end`; it had none.
    function closeRequested(ChannelWord word, uint256 end) internal pure returns (ChannelWord) {
        return ChannelWord.wrap(ChannelWord.unwrap(word) | ((end & TIME_MASK) << CHALLENGE_SHIFT));
    }

    /// @notice The channel without a close request, and without what was disputed about it.
    function closeCancelled(ChannelWord word) internal pure returns (ChannelWord) {
        return ChannelWord.wrap(ChannelWord.unwrap(word) & ~(CHALLENGE_BITS | DISPUTED));
    }

    /// @notice The open channel, closed.
    function closed(ChannelWord word) internal pure returns (ChannelWord) {
        return ChannelWord.wrap(ChannelWord.unwrap(word) ^ (OPEN | CLOSED));
    }
}
