// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC} from "../../src/interfaces/IPSC.sol";

/// @notice A contract account: it accepts (ERC-1271) signatures that its owner approved, of any length, and opens channels.
contract Wallet {
    mapping(bytes32 question => bool) private _approved;

    function approve(bytes32 digest, bytes calldata signature) external {
        _approved[keccak256(abi.encode(digest, signature))] = true;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return _approved[keccak256(abi.encode(digest, signature))]
            ? this.isValidSignature.selector
            : bytes4(0xffffffff);
    }
}

/// @notice Code that accepts every signature: what an account may be tricked into delegating to (EIP-7702).
contract YesWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}

/// @notice An account that answers nothing of use.
contract DeafWallet {
    enum Answer {
        Nothing,
        Short,
        Wrong,
        Reverting,
        ReturningTheMagicAsARevert,
        Mountain,
        Writing,
        Burning
    }

    Answer private immutable ANSWER;
    uint256 private _written;

    constructor(Answer answer) {
        ANSWER = answer;
    }

    fallback() external {
        bytes32 magic = bytes32(bytes4(0x1626ba7e));
        Answer answer = ANSWER;
        if (answer == Answer.Nothing) {
            return;
        } else if (answer == Answer.Short) {
            assembly {
                mstore(0, magic)
                return(0, 4)
            }
        } else if (answer == Answer.Wrong) {
            assembly {
                mstore(0, or(magic, 1))
                return(0, 32)
            }
        } else if (answer == Answer.Reverting) {
            revert("no");
        } else if (answer == Answer.ReturningTheMagicAsARevert) {
            assembly {
                mstore(0, magic)
                revert(0, 32)
            }
        } else if (answer == Answer.Mountain) {
            assembly {
                return(0, 100000)
            }
        } else if (answer == Answer.Burning) {
            assembly {
                invalid()
            }
        }
        _written = 1; // a static call forbids it
        assembly {
            mstore(0, magic)
            return(0, 32)
        }
    }
}
