// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OfferingWord, OfferingWords} from "../libraries/OfferingWord.sol";
import {Accounts} from "./Accounts.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Offerings: announced by agents, each place backed by a stake as high as a client's least deposit.
///
/// Storage:
///   slot 4  offerings           agent => offering hash => OfferingWord
///
/// @dev Keyed by agent and hash: nobody can squat another agent's offering, alive or removed.
abstract contract Offerings is Accounts {
    /// @notice The longest source, in bytes: a DNS name (253), a port, and room. An event's reader must not choke on it.
    uint256 private constant MAX_SOURCE = 300;

    uint40 internal immutable POP_UP_PERIOD;
    uint40 internal immutable REMOVE_PERIOD;
    uint96 internal immutable MIN_STAKE;

    /// @dev A struct around the word, so that its place in storage is computed once for reading and writing.
    struct OfferingSlot {
        OfferingWord word;
    }

    mapping(address agent => mapping(bytes32 offering => OfferingSlot)) private _offerings;

    constructor(uint40 popUpPeriod_, uint40 removePeriod_, uint96 minStake_) {
        POP_UP_PERIOD = popUpPeriod_;
        REMOVE_PERIOD = removePeriod_;
        MIN_STAKE = minStake_;
    }

    // ---------------------------------------------------------------- register

    /// @inheritdoc IPSC
    function registerOffering(
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) external {
        _register(msg.sender, offering, minDeposit, supply, sourceType, source);
    }

    /// @inheritdoc IPSC
    function registerOfferingFor(
        address agent,
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) external {
        if (msg.sender != agent) _requireOperator(agent);
        _register(agent, offering, minDeposit, supply, sourceType, source);
    }

    function _register(
        address agent,
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) private {
        if (supply == 0) revert ZeroAmount();
        if (minDeposit < MIN_STAKE) revert StakeTooSmall(minDeposit, MIN_STAKE);
        _requireShort(source);
        OfferingSlot storage slot = _offerings[agent][offering];
        if (!slot.word.isNone()) revert OfferingExists(agent, offering);
        uint16 fee_ = _feeInForce();
        slot.word = OfferingWords.registered(minDeposit, supply, fee_);
        unchecked {
            _debit(agent, uint256(minDeposit) * supply); // 96 + 32 bits
        }
        emit OfferingRegistered(agent, offering, minDeposit, supply, fee_, sourceType, source);
    }

    // ---------------------------------------------------------------- pop up

    /// @inheritdoc IPSC
    function popUpOffering(bytes32 offering, uint8 sourceType, string calldata source) external {
        _popUp(msg.sender, offering, sourceType, source);
    }

    /// @inheritdoc IPSC
    function popUpOfferingFor(address agent, bytes32 offering, uint8 sourceType, string calldata source)
        external
    {
        if (msg.sender != agent) _requireOperator(agent);
        _popUp(agent, offering, sourceType, source);
    }

    function _popUp(address agent, bytes32 offering, uint8 sourceType, string calldata source) private {
        _requireShort(source);
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(agent, offering);
        _requireTime(uint256(word.updatedAt()) + POP_UP_PERIOD);
        uint16 fee_ = _feeInForce();
        slot.word = word.announced(fee_);
        emit OfferingPoppedUp(agent, offering, word.minDeposit(), word.supply(), fee_, sourceType, source);
    }

    // ---------------------------------------------------------------- remove

    /// @inheritdoc IPSC
    function removeOffering(bytes32 offering) external {
        _remove(msg.sender, offering);
    }

    /// @inheritdoc IPSC
    function removeOfferingFor(address agent, bytes32 offering) external {
        if (msg.sender != agent) _requireOperator(agent);
        _remove(agent, offering);
    }

    function _remove(address agent, bytes32 offering) private {
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(agent, offering);
        unchecked {
            uint256 allowedAt = uint256(word.updatedAt()) + REMOVE_PERIOD; // 40 bits each
            if (block.timestamp < allowedAt) revert TooEarly(block.timestamp, allowedAt);
            slot.word = word.removed();
            _credit(agent, uint256(word.minDeposit()) * word.supply()); // was taken from a balance
        }
        emit OfferingRemoved(agent, offering);
    }

    // ---------------------------------------------------------------- fee

    /// @inheritdoc IPSC
    function refreshOfferingFee(address agent, bytes32 offering) external {
        (OfferingSlot storage slot, OfferingWord word) = _liveOffering(agent, offering);
        uint16 current = _feeInForce();
        // Who announced lately cannot remove yet: a stranger may not raise its fee before.
        if (current > word.fee()) _requireTime(uint256(word.updatedAt()) + FEE_DELAY);
        slot.word = word.withFee(current);
        emit OfferingFeeRefreshed(agent, offering, current);
    }

    // ---------------------------------------------------------------- views

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

    /// @inheritdoc IPSC
    function minStake() external view returns (uint96) {
        return MIN_STAKE;
    }

    // ---------------------------------------------------------------- places

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

    function _requireShort(string calldata source) private pure {
        uint256 length = bytes(source).length;
        if (length > MAX_SOURCE) revert SourceTooLong(length, MAX_SOURCE);
    }
}
