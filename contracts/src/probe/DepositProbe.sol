// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IPSC} from "../interfaces/IPSC.sol";

/// @title A trial of a deposit that changes nothing.
/// @notice Never deployed: an `eth_call` runs this code in place of an account's own (a state override), so that a token that
/// takes a fee from transfers, or refuses them, is recognised before money is sent.
/// @dev The service contract credits what arrives, so nobody else loses by such a token; but whoever pays with it loses a part
/// of every transfer, and a withdrawal is not measured.
contract DepositProbe {
    /// @notice The token did not grant the allowance that it was asked for.
    error AllowanceNotGranted(uint256 allowance);

    /// @notice Deposits `amount` of the account's tokens and withdraws them again.
    /// @return arrived tokens that the service contract has more after the deposit
    /// @return returned tokens that the account has more after the withdrawal; 0 when less than `amount` arrived
    function tryDeposit(IERC20 token, IPSC service, uint256 amount)
        external
        returns (uint256 arrived, uint256 returned)
    {
        // Through zero: some tokens refuse to change an allowance that is not zero. What `approve` returns does not matter
        // here, and some return nothing: the allowance tells.
        _call(address(token), abi.encodeCall(IERC20.approve, (address(service), 0)));
        _call(address(token), abi.encodeCall(IERC20.approve, (address(service), amount)));
        uint256 allowance = token.allowance(address(this), address(service));
        if (allowance < amount) revert AllowanceNotGranted(allowance);

        uint256 held = token.balanceOf(address(service));
        service.deposit(amount);
        arrived = _gained(held, token.balanceOf(address(service)));
        // What did not arrive is not credited, and cannot be withdrawn.
        if (arrived < amount) return (arrived, 0);

        uint256 owned = token.balanceOf(address(this));
        service.withdraw(amount);
        returned = _gained(owned, token.balanceOf(address(this)));
    }

    function _call(address target, bytes memory data) private {
        (bool done,) = target.call(data);
        done; // see above
    }

    function _gained(uint256 before, uint256 now_) private pure returns (uint256) {
        return now_ > before ? now_ - before : 0;
    }
}
