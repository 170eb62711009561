// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// Tokens as they are found on public chains, each reduced to what makes it differ. The deployer holds the supply.

/// @notice Balances and allowances; how they are reached differs by token.
abstract contract Book {
    uint256 public constant totalSupply = 10 ** 16;

    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor() {
        balanceOf[msg.sender] = totalSupply;
    }

    function _approve(address owner, address spender, uint256 value) internal {
        allowance[owner][spender] = value;
        emit Approval(owner, spender, value);
    }

    /// @dev Plain arithmetic: what is not covered panics with code 17, without any message.
    function _take(address from, address to, uint256 value) internal {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) internal virtual {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// @notice ERC-20's functions as the standard has them.
abstract contract Standard is Book {
    function approve(address spender, uint256 value) external returns (bool) {
        _approve(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external virtual returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external virtual returns (bool) {
        _take(from, to, value);
        return true;
    }
}

/// @notice EIP-2612 under any EIP-712 domain.
abstract contract Permits is Standard {
    bytes32 private constant TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    mapping(address owner => uint256) public nonces;

    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        require(block.timestamp <= deadline, "permit is expired");
        bytes32 message = keccak256(abi.encode(TYPEHASH, owner, spender, value, nonces[owner]++, deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", _separator(), message));
        require(owner != address(0) && ecrecover(digest, v, r, s) == owner, "EIP2612: invalid signature");
        _approve(owner, spender, value);
    }

    function _separator() internal view virtual returns (bytes32);
}

/// @notice As USDC: domain version "2", no `eip712Domain()`.
contract UsdcLike is Permits {
    string public constant name = "USD Coin";
    string public constant symbol = "USDC";
    string public constant version = "2";
    uint8 public constant decimals = 6;

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _separator();
    }

    function _separator() internal view override returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                block.chainid,
                address(this)
            )
        );
    }
}

/// @notice As bridged tokens of Polygon: the chain's id is the domain's salt.
contract SaltedDomain is Permits {
    string public constant name = "USD Coin (PoS)";
    string public constant symbol = "USDC.e";
    uint8 public constant decimals = 6;

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _separator();
    }

    function _separator() internal view override returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,address verifyingContract,bytes32 salt)"),
                keccak256(bytes(name)),
                keccak256("1"),
                address(this),
                bytes32(block.chainid)
            )
        );
    }
}

/// @notice As UNI: a domain without a version.
contract NoVersion is Permits {
    string public constant name = "Uniswap";
    string public constant symbol = "UNI";
    uint8 public constant decimals = 18;

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _separator();
    }

    function _separator() internal view override returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                block.chainid,
                address(this)
            )
        );
    }
}

/// @notice Copied from another chain: the separator it shows is not the one that its permits are checked against.
contract WrongSeparator is Permits {
    string public constant name = "Copied Coin";
    string public constant symbol = "COPY";
    uint8 public constant decimals = 18;

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
    }

    function _separator() internal view override returns (bytes32) {
        return keccak256(abi.encode("of another chain", address(this)));
    }
}

/// @notice As USDT: no return values, no permits, and an allowance that is not zero can only be set to zero.
contract UsdtLike is Book {
    string public constant name = "Tether USD";
    string public constant symbol = "USDT";
    uint8 public constant decimals = 6;

    function approve(address spender, uint256 value) external {
        require(value == 0 || allowance[msg.sender][spender] == 0);
        _approve(msg.sender, spender, value);
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        _take(from, to, value);
    }
}

/// @notice As DAI: a permit of its own form, all or nothing, under the usual domain.
contract DaiLike is Standard {
    string public constant name = "Dai Stablecoin";
    string public constant symbol = "DAI";
    string public constant version = "1";
    uint8 public constant decimals = 18;
    bytes32 public constant PERMIT_TYPEHASH =
        keccak256("Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)");

    mapping(address holder => uint256) public nonces;

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                block.chainid,
                address(this)
            )
        );
    }

    function permit(
        address holder,
        address spender,
        uint256 nonce,
        uint256 expiry,
        bool allowed,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 message = keccak256(abi.encode(PERMIT_TYPEHASH, holder, spender, nonce, expiry, allowed));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), message));
        require(holder != address(0) && ecrecover(digest, v, r, s) == holder, "Dai/invalid-permit");
        require(expiry == 0 || block.timestamp <= expiry, "Dai/permit-expired");
        require(nonce == nonces[holder]++, "Dai/invalid-nonce");
        _approve(holder, spender, allowed ? type(uint256).max : 0);
    }
}

/// @notice As MKR: name and symbol are words, not strings.
contract MkrLike is Standard {
    bytes32 public constant name = "Maker";
    bytes32 public constant symbol = "MKR";
    uint256 public constant decimals = 18;
}

/// @notice Takes a hundredth of every transfer.
contract FeeOnTransfer is Standard {
    string public constant name = "Fee Coin";
    string public constant symbol = "FEE";
    uint8 public constant decimals = 9;

    function _move(address from, address to, uint256 value) internal override {
        uint256 fee = value / 100;
        super._move(from, to, value - fee);
        super._move(from, address(0xfee), fee);
    }
}

/// @notice As Tether Gold: moves the tokens and returns false.
contract ReturnsFalse is Standard {
    string public constant name = "False Gold";
    string public constant symbol = "XFT";
    uint8 public constant decimals = 6;

    function transfer(address to, uint256 value) external override returns (bool) {
        _move(msg.sender, to, value);
        return false;
    }

    function transferFrom(address from, address to, uint256 value) external override returns (bool) {
        _take(from, to, value);
        return false;
    }
}

/// @notice Accepts every permit without doing anything, and answers with what readers must bear.
contract AcceptsAnyPermit is Standard {
    uint256 public constant decimals = 255;

    mapping(address owner => uint256) public nonces;

    /// @dev With a character that turns a terminal's text around.
    function name() public pure returns (string memory) {
        return unicode"\u202eGood Coin";
    }

    /// @dev An offset far outside of the answer.
    function symbol() external pure returns (bytes32, bytes32) {
        return (bytes32(type(uint256).max), bytes32(type(uint256).max));
    }

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name())),
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
    }

    fallback() external {}
}

/// @notice As ERC-777: notifies an account that asked for it that its tokens move, before and after.
contract CallbackToken is Standard {
    string public constant name = "Callback Coin";
    string public constant symbol = "CALL";
    uint8 public constant decimals = 18;

    mapping(address account => bool) private _listens;

    function listen(address account) external {
        _listens[account] = true;
    }

    function _move(address from, address to, uint256 value) internal override {
        if (_listens[from]) ITokensMoving(from).tokensMoving();
        super._move(from, to, value);
        if (_listens[to]) ITokensMoving(to).tokensMoving();
    }
}

interface ITokensMoving {
    function tokensMoving() external;
}

/// @notice Somebody can mint: its supply grows after everything else was checked.
contract GrowingToken is Standard {
    string public constant name = "Growing Coin";
    string public constant symbol = "GROW";
    uint8 public constant decimals = 18;

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }
}
