// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelWord} from "./ChannelWord.sol";

/// @notice Where channels are stored: each at its own id.
/// @dev The id is a hash already. Hashing it again for a mapping would cost every access 80 gas, up to 160 a call, and buy nothing: an id is the
/// hash of 224 bytes, places in mappings are hashes of 64, so none meets another; and nobody finds a descriptor whose id is
/// as small as the numbers of plain slots. Balances, accounts and offerings leave the highest byte zero, where a channel has its state: to
/// look one of them up as a channel finds none.
library ChannelStorage {
    struct Slot {
        ChannelWord word;
    }

    /// @notice The storage slot of a channel.
    function slot(bytes32 channelId) internal pure returns (Slot storage place) {
        assembly ("memory-safe") {
            place.slot := channelId
        }
    }
}
