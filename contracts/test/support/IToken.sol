// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IERC3009} from "../../src/interfaces/IERC3009.sol";

/// @notice What PTC offers. Tests use this face of it: to import its source would have them compiled as it is.
interface IToken is IERC20Metadata, IERC20Permit, IERC3009 {}
