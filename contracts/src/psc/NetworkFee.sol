// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC} from "../interfaces/IPSC.sol";
import {Ledger} from "./Ledger.sol";

/// @notice The network fee: who sets it, and from when it counts.
///
/// Storage:
///   slot 2  proposedFeeAddress (160 bits) | fee (16) | nextFee (16) | nextFeeAt (40, seconds)
///
/// @dev A fee that rises is announced `FEE_DELAY` ahead, which is longer than an agent needs to remove an offering: who
/// does not want to sell at the higher fee can leave before it counts.
abstract contract NetworkFee is Ledger {
    /// @notice The highest fee: 10 %, in units of 1/100,000.
    uint256 internal constant MAX_FEE = 10_000;

    uint40 internal immutable FEE_DELAY;

    address private _proposedFeeAddress;
    uint16 private _fee;
    uint16 private _nextFee;
    /// @dev 0 when nothing is announced; a time gone by when `_nextFee` is in force.
    uint40 private _nextFeeAt;

    constructor(uint40 feeDelay_) {
        FEE_DELAY = feeDelay_;
    }

    /// @inheritdoc IPSC
    function setFee(uint16 newFee) external {
        if (msg.sender != _feeAddress()) revert NotFeeAddress(msg.sender);
        if (newFee > MAX_FEE) revert FeeTooHigh(newFee, MAX_FEE);
        uint16 current = _feeInForce();
        uint40 effectiveAt = uint40(block.timestamp);
        if (newFee > current) {
            effectiveAt += FEE_DELAY;
            (_fee, _nextFee, _nextFeeAt) = (current, newFee, effectiveAt);
        } else {
            (_fee, _nextFee, _nextFeeAt) = (newFee, 0, 0);
        }
        emit FeeChanged(newFee, effectiveAt);
    }

    /// @inheritdoc IPSC
    function proposeFeeAddress(address proposed) external {
        if (msg.sender != _feeAddress()) revert NotFeeAddress(msg.sender);
        _proposedFeeAddress = proposed;
        emit FeeAddressProposed(msg.sender, proposed);
    }

    /// @inheritdoc IPSC
    function acceptFeeAddress() external {
        if (msg.sender != _proposedFeeAddress) revert NotProposedFeeAddress(msg.sender);
        _proposedFeeAddress = address(0);
        emit FeeAddressChanged(_setFeeAddress(msg.sender), msg.sender);
    }

    /// @inheritdoc IPSC
    function fee() external view returns (uint16) {
        return _feeInForce();
    }

    /// @inheritdoc IPSC
    function nextFee() external view returns (uint16, uint40) {
        return block.timestamp < _nextFeeAt ? (_nextFee, _nextFeeAt) : (0, 0);
    }

    /// @inheritdoc IPSC
    function feeDelay() external view returns (uint40) {
        return FEE_DELAY;
    }

    /// @inheritdoc IPSC
    function feeAddress() external view returns (address) {
        return _feeAddress();
    }

    /// @inheritdoc IPSC
    function proposedFeeAddress() external view returns (address) {
        return _proposedFeeAddress;
    }

    function _feeInForce() internal view returns (uint16) {
        return _nextFeeAt != 0 && block.timestamp >= _nextFeeAt ? _nextFee : _fee;
    }
}
