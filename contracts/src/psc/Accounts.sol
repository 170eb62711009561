// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC} from "../interfaces/IPSC.sol";
import {NetworkFee} from "./NetworkFee.sol";

/// @notice Who acts for an agent, and which signatures about closing still count.
///
/// Storage:
///   slot 3  accounts            account => operator (160 bits) | nonce (64 bits)
///
/// @dev An operator's key lies on a server. It can move no money but to the agent's own balance: every credit below goes to
/// the agent, whoever calls.
abstract contract Accounts is NetworkFee {
    struct Account {
        address operator;
        uint64 nonce;
    }

    mapping(address account => Account) private _accounts;

    /// @inheritdoc IPSC
    function setOperator(address operator) external {
        Account storage account = _accounts[msg.sender];
        account.operator = operator;
        emit OperatorChanged(msg.sender, operator, ++account.nonce);
    }

    /// @inheritdoc IPSC
    function revokeConsents(address account) external {
        if (msg.sender != account) _requireOperator(account);
        emit ConsentsRevoked(account, ++_accounts[account].nonce);
    }

    /// @inheritdoc IPSC
    function operatorOf(address agent) external view returns (address) {
        return _accounts[agent].operator;
    }

    /// @inheritdoc IPSC
    function nonceOf(address account) external view returns (uint64) {
        return _accounts[account].nonce;
    }

    /// @notice Refuses a caller that is not the agent's operator. Callers compare with the agent first: it pays for no read.
    function _requireOperator(address agent) internal view {
        if (msg.sender != _accounts[agent].operator) revert NotAgent(msg.sender);
    }

    /// @notice Whether a key's signature binds the agent: its own or its operator's. Zero, the key of a malformed signature,
    /// binds nobody.
    function _bindsAgent(address agent, address key) internal view returns (bool) {
        return key != address(0) && (key == agent || key == _accounts[agent].operator);
    }

    /// @notice Refuses a signature of another nonce than the account's, or after its deadline.
    function _requireCurrent(address account, uint64 nonce, uint64 deadline) internal view {
        if (block.timestamp > deadline) revert Expired(deadline);
        uint64 current = _accounts[account].nonce;
        if (nonce != current) revert WrongNonce(nonce, current);
    }
}
