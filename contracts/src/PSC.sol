// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Channels} from "./psc/Channels.sol";
import {Ledger} from "./psc/Ledger.sol";
import {Offerings} from "./psc/Offerings.sol";

/// @title PSC, the service contract.
/// @notice Offerings and unidirectional payment channels for metered services; see `IPSC` for every call.
///
/// Storage (see each part for its own):
///
///   Ledger     slot 0   balances
///              slot 1   feeAddress | uncollectedFees
///              slot 2   proposedFeeAddress | fee
///   Offerings  slot 3   offerings   one word each (OfferingWord)
///   Channels   slot id  channels    one word each (ChannelWord), at the channel's id
///
/// @dev Nobody can pause, upgrade or seize: the fee address sets the fee of channels yet to be opened, and nothing else.
/// At every block the tokens held = internal balances + channel deposits left + agents' stakes.
contract PSC is Channels {
    /// @notice The longest period, in blocks: a slip at deployment must not lock money for ever.
    uint40 private constant MAX_PERIOD = 10_000_000;

    /// @param token_ the ERC-20 that everything is paid in
    /// @param feeAddress_ receives the network fee and sets it (0 at first)
    /// @param popUpPeriod_ blocks between two announcements of an offering
    /// @param removePeriod_ blocks from the last announcement to an offering's removal
    /// @param challengePeriod_ blocks in which an agent can answer a client's close request
    constructor(
        address token_,
        address feeAddress_,
        uint40 popUpPeriod_,
        uint40 removePeriod_,
        uint40 challengePeriod_
    ) Ledger(token_, feeAddress_) Offerings(popUpPeriod_, removePeriod_) Channels(challengePeriod_) {
        _requirePeriod(popUpPeriod_);
        _requirePeriod(removePeriod_);
        _requirePeriod(challengePeriod_);
    }

    function _requirePeriod(uint40 period) private pure {
        if (period == 0 || period > MAX_PERIOD) revert PeriodOutOfRange();
    }
}
