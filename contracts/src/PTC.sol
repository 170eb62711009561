// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {TransferAuthorizations} from "./ptc/TransferAuthorizations.sol";

/// @title PTC, the marketplace's token.
/// @notice An ERC-20 token of fixed supply with EIP-2612 permits, so that a first purchase is one transaction, and with EIP-3009
/// authorizations, so that somebody else can submit it.
/// @dev Nobody can mint, pause or upgrade: the service contract's guarantees must not hang on an operator of the token.
contract PTC is ERC20, ERC20Permit, TransferAuthorizations {
    /// @param holder receives the whole supply
    /// @param supply in base units (10**8 of them are one token)
    constructor(address holder, uint256 supply) ERC20("Privatix Token", "PTC") ERC20Permit("Privatix Token") {
        _mint(holder, supply);
    }

    /// @notice One token has 10**8 base units, as in the reference system.
    function decimals() public pure override returns (uint8) {
        return 8;
    }
}
