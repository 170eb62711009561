// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {OfferingWord, OfferingWords} from "../libraries/OfferingWord.sol";
import {Ledger} from "./Ledger.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Offerings: announced by agents, each place backed by a stake as high as a client's least deposit.
///
/// Storage:
///   slot 3  offerings           agent => offering hash => OfferingWord
///
/// @dev Keyed by agent and hash: nobody can squat another agent's offering, alive or removed.
abstract contract Offerings is Ledger {
    uint40 internal immutable POP_UP_PERIOD;
    uint40 internal immutable REMOVE_PERIOD;

    /// @dev A struct around the word, so that its place in storage is computed once for reading and writing.
    struct OfferingSlot {
        OfferingWord word;
    }

    mapping(address agent => mapping(bytes32 offering => OfferingSlot)) private _offerings;

    constructor(uint40 popUpPeriod_, uint40 removePeriod_) {
        POP_UP_PERIOD = popUpPeriod_;
        REMOVE_PERIOD = removePeriod_;
    }

    /// @inheritdoc IPSC
    function registerOffering(
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) external {
        if (minDeposit == 0 || supply == 0) revert ZeroAmount();
        OfferingSlot storage slot = _offerings[msg.sender][offering];
        if (!slot.word.isNone()) revert OfferingExists(msg.sender, offering);
        slot.word = OfferingWords.registered(minDeposit, supply, _fee);
        unchecked {
            _debit(msg.sender, uint256(minDeposit) * supply); // 96 + 32 bits
        }
        emit OfferingRegistered(msg.sender, offering, minDeposit, supply, sourceType, source);
    }

    /// @inheritdoc IPSC
    function popUpOffering(bytes32 offering, uint8 sourceType, string calldata source) external {
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(msg.sender, offering);
        _requireBlock(uint256(word.updatedAt()) + POP_UP_PERIOD);
        slot.word = word.announced(_fee);
        emit OfferingPoppedUp(msg.sender, offering, word.minDeposit(), word.supply(), sourceType, source);
    }

    /// @inheritdoc IPSC
    function removeOffering(bytes32 offering) external {
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(msg.sender, offering);
        _requireBlock(uint256(word.updatedAt()) + REMOVE_PERIOD);
        slot.word = word.removed();
        unchecked {
            _credit(msg.sender, uint256(word.minDeposit()) * word.supply()); // was taken from a balance
        }
        emit OfferingRemoved(msg.sender, offering);
    }

    /// @inheritdoc IPSC
    function refreshOfferingFee(address agent, bytes32 offering) external {
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(agent, offering);
        uint16 current = _fee;
        slot.word = word.withFee(current);
        emit OfferingFeeRefreshed(agent, offering, current);
    }

    /// @inheritdoc IPSC
    function offerings(address agent, bytes32 offering) external view returns (Offering memory) {
        OfferingWord word = _offerings[agent][offering].word;
        return Offering({
            minDeposit: word.minDeposit(),
            supply: word.supply(),
            open: word.open(),
            updatedAt: word.updatedAt(),
            fee: word.fee(),
            state: OfferingState(word.state())
        });
    }

    /// @inheritdoc IPSC
    function popUpPeriod() external view returns (uint40) {
        return POP_UP_PERIOD;
    }

    /// @inheritdoc IPSC
    function removePeriod() external view returns (uint40) {
        return REMOVE_PERIOD;
    }

    /// @notice Takes a place for a channel of `amount`.
    /// @return the network fee that the channel will have
    function _takePlace(address agent, bytes32 offering, uint96 amount) internal returns (uint16) {
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(agent, offering);
        if (word.supply() == 0) revert NoSupply(agent, offering);
        if (amount < word.minDeposit()) revert DepositTooSmall(amount, word.minDeposit());
        slot.word = word.placeTaken();
        return word.fee();
    }

    /// @notice Gives a closed channel's place back: to the offering while it lives, else its stake to the agent.
    /// @dev Never reverts, whatever the offering's state: no offering can veto a close.
    function _freePlace(address agent, bytes32 offering) internal {
        OfferingSlot storage slot = _offerings[agent][offering];
        OfferingWord word = slot.word;
        if (word.isLive()) {
            slot.word = word.placeFreed();
        } else {
            slot.word = word.placeDropped();
            _credit(agent, word.minDeposit());
        }
    }

    function _liveOffering(address agent, bytes32 offering)
        private
        view
        returns (OfferingSlot storage slot, OfferingWord word)
    {
        slot = _offerings[agent][offering];
        word = slot.word;
        if (!word.isLive()) revert OfferingNotLive(agent, offering);
    }

    function _requireBlock(uint256 allowedAt) internal view {
        if (block.number < allowedAt) revert TooEarly(block.number, allowedAt);
    }
}
