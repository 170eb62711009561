// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Batches} from "./psc/Batches.sol";
import {Channels} from "./psc/Channels.sol";
import {IPSC} from "./interfaces/IPSC.sol";
import {Ledger} from "./psc/Ledger.sol";
import {NetworkFee} from "./psc/NetworkFee.sol";
import {Offerings} from "./psc/Offerings.sol";

/// @title PSC, the service contract.
/// @notice Offerings and unidirectional payment channels for metered services; see `IPSC` for every call.
///
/// Storage (see each part for its own):
///
///   Ledger     slot 0   balances
///              slot 1   feeAddress | uncollectedFees
///   NetworkFee slot 2   proposedFeeAddress | fee | nextFee | nextFeeAt
///   Accounts   slot 3   accounts    operator | nonce
///   Offerings  slot 4   offerings   one word each (OfferingWord)
///   Channels   slot id  channels    one word each (ChannelWord), at the channel's id
///
/// @dev Nobody can pause, upgrade or seize: the fee address sets the fee of channels yet to be opened, and nothing else.
/// At every block the tokens held = internal balances + channel deposits left + agents' stakes.
///
/// All times are block timestamps, where the reference system counted blocks: block times change, and on a rollup the
/// block number may be another chain's. Whoever orders blocks can shift a timestamp, on some rollups by an hour: periods
/// that protect money are to be long against that.
contract PSC is Batches {
    /// @notice The longest period: a slip at deployment must not lock money for ever.
    uint40 private constant MAX_PERIOD = 90 days;

    /// @notice The shortest challenge: an agent needs time to see a close request and to have its answer mined.
    uint40 private constant MIN_CHALLENGE = 15 minutes;

    /// @param token_ the ERC-20 that everything is paid in
    /// @param feeAddress_ receives the network fee and sets it (0 at first)
    /// @param terms periods and the least stake, for ever
    constructor(address token_, address feeAddress_, Terms memory terms)
        Ledger(token_, feeAddress_)
        NetworkFee(terms.feeDelay)
        Offerings(terms.popUpPeriod, terms.removePeriod, terms.minStake)
        Channels(terms.challengePeriod)
    {
        _requirePeriod(terms.popUpPeriod, 1);
        _requirePeriod(terms.removePeriod, 1);
        _requirePeriod(terms.challengePeriod, MIN_CHALLENGE);
        _requirePeriod(terms.feeDelay, terms.removePeriod + 1);
        if (terms.minStake == 0) revert ZeroAmount();
    }

    /// @inheritdoc IPSC
    /// @dev Each is a call of this contract by the same caller; nothing here is payable, so nothing can be spent twice.
    function multicall(bytes[] calldata calls) external returns (bytes[] memory results) {
        results = new bytes[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            results[i] = Address.functionDelegateCall(address(this), calls[i]);
        }
    }

    function _requirePeriod(uint40 period, uint40 least) private pure {
        if (period < least || period > MAX_PERIOD) revert PeriodOutOfRange();
    }
}
