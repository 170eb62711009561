// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Internal balances, and the network fee.
///
/// Storage:
///   slot 0  balances            account => base units
///   slot 1  feeAddress (160 bits) | uncollectedFees (96 bits)
///   slot 2  proposedFeeAddress (160 bits) | fee (16 bits)
///
/// @dev Fees gather beside the fee address, in one slot, instead of in its balance: that saves every settlement a cold
/// storage access (2,100 gas). They are part of its balance all the same: `balanceOf` counts them and spending uses them.
abstract contract Ledger is IPSC {
    using SafeERC20 for IERC20;

    /// @notice The highest fee: 10 %, in units of 1/100,000.
    uint256 internal constant MAX_FEE = 10_000;

    uint256 private constant FEES_SHIFT = 160;

    IERC20 internal immutable TOKEN;

    mapping(address account => uint256) private _balances;
    /// @dev One word and not two fields, so that adding a fee needs no masks.
    uint256 private _feeSlot;
    address private _proposedFeeAddress;
    uint16 internal _fee;

    /// @dev The token is trusted to be a plain ERC-20 (no fee on transfer, no rebasing). Its whole supply fits the packed
    /// amounts, so no sum of them can overflow and veto a settlement.
    constructor(address token_, address feeAddress_) {
        if (token_ == address(0) || feeAddress_ == address(0)) revert ZeroAddress();
        uint256 supply = IERC20(token_).totalSupply();
        if (supply > type(uint96).max) revert AmountTooLarge(supply);
        TOKEN = IERC20(token_);
        _feeSlot = uint160(feeAddress_);
        emit FeeAddressChanged(address(0), feeAddress_);
    }

    // ---------------------------------------------------------------- balances

    /// @inheritdoc IPSC
    function deposit(uint256 amount) external {
        _deposit(amount);
        _pull(amount);
    }

    /// @inheritdoc IPSC
    function depositWithPermit(uint256 amount, Permit calldata permit) external {
        _deposit(amount);
        _permit(permit);
        _pull(amount);
    }

    /// @inheritdoc IPSC
    function withdraw(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        _debit(msg.sender, amount);
        emit Withdrawn(msg.sender, amount);
        TOKEN.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IPSC
    function balanceOf(address account) external view returns (uint256) {
        return _balances[account] + (account == _feeAddress() ? _feeSlot >> FEES_SHIFT : 0);
    }

    /// @inheritdoc IPSC
    function token() external view returns (address) {
        return address(TOKEN);
    }

    function _deposit(uint256 amount) private {
        if (amount == 0) revert ZeroAmount();
        _credit(msg.sender, amount);
        emit Deposited(msg.sender, amount);
    }

    /// @dev Cannot overflow: every credit is backed by tokens held, whose supply fits 96 bits.
    function _credit(address account, uint256 amount) internal {
        unchecked {
            _balances[account] += amount;
        }
    }

    function _debit(address account, uint256 amount) internal {
        uint256 available = _balances[account];
        if (available < amount) {
            // Only who is short pays for the question whether it is the fee address with fees to collect.
            if (account == _feeAddress()) available += _takeFees();
            if (available < amount) revert InsufficientBalance(account, available, amount);
        }
        unchecked {
            _balances[account] = available - amount;
        }
    }

    /// @notice Uses the caller's permit.
    /// @dev A permit is public once it is in the pool: anybody can use it first, and then this call must not fail. So its
    /// outcome is ignored; the allowance decides in `_pull`.
    function _permit(Permit calldata permit) internal {
        try IERC20Permit(address(TOKEN))
            .permit(msg.sender, address(this), permit.value, permit.deadline, permit.v, permit.r, permit.s) {}
            catch {}
    }

    /// @notice Takes `amount` from the caller's wallet; reverts with the token's own error when the allowance or the
    /// wallet's balance is short.
    function _pull(uint256 amount) internal {
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    // ---------------------------------------------------------------- network fee

    /// @inheritdoc IPSC
    function setFee(uint16 newFee) external {
        if (msg.sender != _feeAddress()) revert NotFeeAddress(msg.sender);
        if (newFee > MAX_FEE) revert FeeTooHigh(newFee, MAX_FEE);
        _fee = newFee;
        emit FeeChanged(newFee);
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
        address previous = _feeAddress();
        _credit(previous, _takeFees()); // what was earned until now stays with who was the fee address
        _feeSlot = uint160(msg.sender);
        _proposedFeeAddress = address(0);
        emit FeeAddressChanged(previous, msg.sender);
    }

    /// @inheritdoc IPSC
    function fee() external view returns (uint16) {
        return _fee;
    }

    /// @inheritdoc IPSC
    function feeAddress() external view returns (address) {
        return _feeAddress();
    }

    /// @inheritdoc IPSC
    function proposedFeeAddress() external view returns (address) {
        return _proposedFeeAddress;
    }

    /// @dev Cannot overflow: as `_credit`.
    function _creditFees(uint256 amount) internal {
        unchecked {
            _feeSlot += amount << FEES_SHIFT;
        }
    }

    function _takeFees() private returns (uint256 fees) {
        uint256 word = _feeSlot;
        fees = word >> FEES_SHIFT;
        _feeSlot = uint160(word);
    }

    function _feeAddress() private view returns (address) {
        return address(uint160(_feeSlot));
    }
}
