// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC3009} from "../interfaces/IERC3009.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @notice Internal balances, and how tokens come in and go out.
///
/// Storage:
///   slot 0  balances            account => base units
///   slot 1  feeAddress (160 bits) | uncollectedFees (96 bits)
///
/// @dev Fees gather beside the fee address, in one slot, instead of in its balance: that saves every settlement a cold
/// storage access (2,100 gas). They are part of its balance all the same: `balanceOf` counts them and spending uses them.
abstract contract Ledger is IPSC {
    using SafeERC20 for IERC20;

    uint256 private constant FEES_SHIFT = 160;

    IERC20 internal immutable TOKEN;

    mapping(address account => uint256) private _balances;
    /// @dev One word and not two fields, so that adding a fee needs no masks.
    uint256 private _feeSlot;

    /// @dev Set while tokens arrive: what arrives is measured, and a deposit inside of a deposit would be measured twice.
    uint256 private transient _pulling;

    /// @dev What the token takes is measured; that it gives what it is asked for, and neither changes balances by itself nor
    /// takes more from the sender than the amount, is trusted. Neither its supply nor what is held here exceeds the packed
    /// amounts, so no sum of them can overflow and veto a settlement.
    constructor(address token_, address feeAddress_) {
        if (token_ == address(0) || feeAddress_ == address(0)) revert ZeroAddress();
        uint256 supply = IERC20(token_).totalSupply();
        if (supply > type(uint96).max) revert AmountTooLarge(supply);
        TOKEN = IERC20(token_);
        _feeSlot = uint160(feeAddress_);
        emit FeeAddressChanged(address(0), feeAddress_);
    }

    // ---------------------------------------------------------------- in

    /// @inheritdoc IPSC
    function deposit(uint256 amount) external {
        _deposit(msg.sender, amount);
    }

    /// @inheritdoc IPSC
    function depositFor(address account, uint256 amount) external {
        if (account == address(0)) revert ZeroAddress();
        _deposit(account, amount);
    }

    /// @inheritdoc IPSC
    function depositWithPermit(uint256 amount, Permit calldata permit) external {
        _permit(permit);
        _deposit(msg.sender, amount);
    }

    function _deposit(address account, uint256 amount) private {
        uint256 received = _pull(amount);
        if (received == 0) revert ZeroAmount();
        _credit(account, received);
        emit Deposited(account, received);
    }

    /// @notice Uses the caller's permit.
    /// @dev A permit is public once it is in the pool: anybody can use it first, and then this call must not fail. So its
    /// outcome is ignored; the allowance decides in `_pull`. In assembly, because the permit's words stand in calldata as the
    /// token takes them: it saves 388 to 484 gas.
    function _permit(Permit calldata permit) internal {
        address token_ = address(TOKEN);
        bytes4 selector = IERC20Permit.permit.selector;
        assembly ("memory-safe") {
            let words := mload(0x40) // beyond the free memory pointer: nothing is allocated
            mstore(words, selector)
            mstore(add(words, 0x04), caller())
            mstore(add(words, 0x24), address())
            calldatacopy(add(words, 0x44), permit, 0xa0) // value, deadline, v, r, s
            pop(call(gas(), token_, 0, words, 0xe4, 0, 0))
        }
    }

    /// @notice Takes `amount` from the caller's wallet; reverts with the token's own error when the allowance or the
    /// wallet's balance is short.
    /// @return received what arrived
    function _pull(uint256 amount) internal returns (uint96 received) {
        uint256 held = _beforePull();
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        received = _afterPull(held);
    }

    /// @notice Takes `amount` from the wallet of `from` by its authorization with this nonce.
    /// @return received what arrived
    function _pullAuthorized(
        address from,
        uint256 amount,
        bytes32 nonce,
        Authorization calldata authorization
    ) internal returns (uint96 received) {
        uint256 held = _beforePull();
        IERC3009(address(TOKEN))
            .receiveWithAuthorization(
                from,
                address(this),
                amount,
                authorization.validAfter,
                authorization.validBefore,
                nonce,
                authorization.v,
                authorization.r,
                authorization.s
            );
        received = _afterPull(held);
    }

    function _beforePull() private returns (uint256 held) {
        if (_pulling != 0) revert Reentered();
        _pulling = 1;
        held = _held();
    }

    function _afterPull(uint256 before) private returns (uint96) {
        _pulling = 0;
        uint256 held = _held();
        if (held > type(uint96).max) revert AmountTooLarge(held);
        return uint96(held - before);
    }

    /// @notice The tokens held here.
    /// @dev In assembly: it saves each pull 380 gas.
    function _held() private view returns (uint256 held) {
        address token_ = address(TOKEN);
        bytes4 selector = IERC20.balanceOf.selector;
        bool answered;
        assembly ("memory-safe") {
            mstore(0x00, selector)
            mstore(0x04, address())
            answered := staticcall(gas(), token_, 0x00, 0x24, 0x00, 0x20)
            answered := and(answered, gt(returndatasize(), 0x1f))
            held := mload(0x00)
        }
        if (!answered) revert TokenSilent();
    }

    // ---------------------------------------------------------------- out

    /// @inheritdoc IPSC
    function withdraw(uint256 amount) external {
        _withdraw(msg.sender, amount);
    }

    /// @inheritdoc IPSC
    function withdrawTo(address to, uint256 amount) external {
        _withdraw(to, amount);
    }

    /// @inheritdoc IPSC
    function withdrawAll(address to) external returns (uint256 amount) {
        amount = _balanceOf(msg.sender);
        if (amount != 0) _withdraw(to, amount);
    }

    /// @inheritdoc IPSC
    function balanceOf(address account) external view returns (uint256) {
        return _balanceOf(account);
    }

    /// @inheritdoc IPSC
    function token() external view returns (address) {
        return address(TOKEN);
    }

    function _withdraw(address to, uint256 amount) private {
        if (_pulling != 0) revert Reentered();
        if (amount == 0) revert ZeroAmount();
        if (to == address(0) || to == address(this)) revert InvalidRecipient(to);
        _debit(msg.sender, amount);
        emit Withdrawn(msg.sender, to, amount);
        TOKEN.safeTransfer(to, amount);
    }

    // ---------------------------------------------------------------- common parts

    /// @dev Cannot overflow: every credit is backed by tokens held, which fit 96 bits.
    function _credit(address account, uint256 amount) internal {
        unchecked {
            _balances[account] += amount;
        }
    }

    function _debit(address account, uint256 amount) internal {
        uint256 available = _balances[account];
        if (available < amount) {
            // Only accounts without enough balance pay for the extra read: is it the fee address, with fees to collect?
            if (account == _feeAddress()) available += _takeFees();
            if (available < amount) revert InsufficientBalance(account, available, amount);
        }
        unchecked {
            _balances[account] = available - amount;
        }
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

    function _balanceOf(address account) private view returns (uint256) {
        return _balances[account] + (account == _feeAddress() ? _feeSlot >> FEES_SHIFT : 0);
    }

    function _feeAddress() internal view returns (address) {
        return address(uint160(_feeSlot));
    }

    /// @notice Hands the fee address over; what was earned until now stays with who it was.
    function _setFeeAddress(address next) internal returns (address previous) {
        previous = _feeAddress();
        _credit(previous, _takeFees());
        _feeSlot = uint160(next);
    }

    function _requireTime(uint256 allowedAt) internal view {
        if (block.timestamp < allowedAt) revert TooEarly(block.timestamp, allowedAt);
    }
}
