// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC} from "../../src/interfaces/IPSC.sol";
import {IToken} from "./IToken.sol";
import {Vm} from "./Vm.sol";

/// @notice What every test starts from: both contracts, people with keys, an offering, and short words for what they do.
abstract contract World {
    /// @dev forge looks for this flag on test contracts.
    bool public constant IS_TEST = true;

    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant SUPPLY = 100_000_000 * 10 ** 8;
    /// @dev What the agent, the client and the stranger start with, in the wallet and in the internal balance each.
    uint256 internal constant FUNDS = 1_000_000 * 10 ** 8;

    uint40 internal constant POP_UP = 2 hours;
    uint40 internal constant REMOVE = 30 minutes;
    uint40 internal constant CHALLENGE = 1 days;
    uint40 internal constant FEE_DELAY = 7 days;
    uint96 internal constant MIN_STAKE = 40;

    bytes32 internal constant OFFERING = keccak256("an offering");
    uint96 internal constant MIN_DEPOSIT = 2_000_000;
    uint32 internal constant PLACES = 30;
    string internal constant SOURCE = "b4hs3wplhxhpmlsvkzqtqe7gzjy5kxrlxtcvqkqjvkkn4f5okrwblyad.onion";

    uint256 internal constant SECP256K1_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    uint256 internal constant AGENT_KEY = 0xA6E27;
    uint256 internal constant CLIENT_KEY = 0xC11E27;
    uint256 internal constant SIGNER_KEY = 0x516E2;
    uint256 internal constant STRANGER_KEY = 0x57A26E2;
    uint256 internal constant OPERATOR_KEY = 0x09E2A702;

    address internal immutable AGENT = VM.addr(AGENT_KEY);
    address internal immutable CLIENT = VM.addr(CLIENT_KEY);
    address internal immutable SIGNER = VM.addr(SIGNER_KEY);
    address internal immutable STRANGER = VM.addr(STRANGER_KEY);
    address internal immutable OPERATOR = VM.addr(OPERATOR_KEY);
    address internal immutable FEE_ADDRESS = address(0xFEE);

    IToken internal ptc;
    IPSC internal psc;

    function setUp() public virtual {
        _deploy();
        _fund(AGENT);
        _fund(CLIENT);
        _fund(STRANGER);
        _register(OFFERING, MIN_DEPOSIT, PLACES);
    }

    /// @notice Both contracts, and nothing on them.
    function _deploy() internal {
        VM.label(AGENT, "agent");
        VM.label(CLIENT, "client");
        VM.label(SIGNER, "signer");
        VM.label(STRANGER, "stranger");
        VM.label(OPERATOR, "operator");
        VM.label(FEE_ADDRESS, "fee address");
        VM.warp(1_700_000_000);
        ptc = IToken(VM.deployCode("PTC.sol:PTC", abi.encode(address(this), SUPPLY)));
        psc = _deployService(address(ptc), FEE_ADDRESS, _terms());
    }

    // ---------------------------------------------------------------- people

    /// @notice Deploys the compiled service contract itself: what is tested is what the artifacts hold.
    function _deployService(address token, address feeAddress, IPSC.Terms memory terms)
        internal
        returns (IPSC)
    {
        return IPSC(VM.deployCode("PSC.sol:PSC", abi.encode(token, feeAddress, terms)));
    }

    function _terms() internal pure returns (IPSC.Terms memory) {
        return IPSC.Terms(POP_UP, REMOVE, CHALLENGE, FEE_DELAY, MIN_STAKE);
    }

    function _fund(address who) internal {
        require(ptc.transfer(who, 2 * FUNDS));
        VM.startPrank(who);
        ptc.approve(address(psc), FUNDS);
        psc.deposit(FUNDS);
        VM.stopPrank();
    }

    function _register(bytes32 offering, uint96 minDeposit, uint32 places) internal {
        VM.prank(AGENT);
        psc.registerOffering(offering, minDeposit, places, 0, SOURCE);
    }

    /// @notice Sets the network fee, waits until it counts, and brings the offering's up to date.
    function _setFee(uint16 fee) internal {
        VM.prank(FEE_ADDRESS);
        psc.setFee(fee);
        _pass(FEE_DELAY);
        psc.refreshOfferingFee(AGENT, OFFERING);
    }

    function _appointOperator() internal {
        VM.prank(AGENT);
        psc.setOperator(OPERATOR);
    }

    // ---------------------------------------------------------------- channels

    /// @notice The client's channel number `nonce` with the agent; the client signs itself.
    function _descriptor(uint64 nonce) internal view returns (IPSC.Descriptor memory) {
        return IPSC.Descriptor(CLIENT, AGENT, OFFERING, nonce, address(0));
    }

    function _open(IPSC.Descriptor memory d, uint96 amount) internal returns (bytes32) {
        VM.prank(d.client);
        return psc.open(d.agent, d.offering, d.nonce, d.signer, amount);
    }

    /// @notice Opens the client's channel `nonce` with the least deposit.
    function _open(uint64 nonce) internal returns (IPSC.Descriptor memory d, bytes32 id) {
        d = _descriptor(nonce);
        id = _open(d, MIN_DEPOSIT);
    }

    function _claim(IPSC.Descriptor memory d, uint128 amount, bytes memory signature)
        internal
        pure
        returns (IPSC.Claim memory)
    {
        return IPSC.Claim(d.client, d.offering, d.nonce, d.signer, amount, signature);
    }

    /// @notice Anybody settles with the client's voucher.
    function _settle(IPSC.Descriptor memory d, uint128 amount) internal {
        bytes memory voucher = _voucher(d, amount);
        VM.prank(STRANGER);
        psc.settle(d, amount, voucher);
    }

    /// @notice The agent closes with the client's voucher.
    function _close(IPSC.Descriptor memory d, uint128 amount) internal {
        bytes memory voucher = _voucher(d, amount);
        VM.prank(d.agent);
        psc.close(d, amount, voucher);
    }

    function _closeWithBoth(IPSC.Descriptor memory d, uint128 amount) internal {
        bytes memory voucher = _voucher(d, amount);
        IPSC.Consent memory consent = _consent(d, amount);
        VM.prank(STRANGER);
        psc.closeWithBoth(d, amount, voucher, consent);
    }

    function _requestClose(IPSC.Descriptor memory d, uint128 admitted) internal {
        VM.prank(d.client);
        psc.requestClose(d, admitted);
    }

    function _finalizeClose(IPSC.Descriptor memory d) internal {
        VM.prank(STRANGER);
        psc.finalizeClose(d);
    }

    /// @notice `period` seconds pass.
    function _pass(uint256 period) internal {
        VM.warp(_now() + period);
    }

    /// @dev The compiler takes the time for constant within a call, and it is not in a test.
    function _now() internal view returns (uint256) {
        return VM.getBlockTimestamp();
    }

    // ---------------------------------------------------------------- signatures

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice The client's voucher.
    function _voucher(IPSC.Descriptor memory d, uint128 amount) internal view virtual returns (bytes memory) {
        return _voucher(d, amount, CLIENT_KEY);
    }

    function _voucher(IPSC.Descriptor memory d, uint128 amount, uint256 key)
        internal
        view
        returns (bytes memory)
    {
        return _sign(key, psc.voucherDigest(psc.channelIdOf(d), amount));
    }

    /// @notice The agent's consent to a close within a quarter of an hour.
    function _consent(IPSC.Descriptor memory d, uint128 amount) internal view returns (IPSC.Consent memory) {
        return _consent(d, amount, AGENT_KEY);
    }

    function _consent(IPSC.Descriptor memory d, uint128 amount, uint256 key)
        internal
        view
        returns (IPSC.Consent memory)
    {
        return _consent(d, amount, key, psc.nonceOf(d.agent), uint64(_now() + 15 minutes));
    }

    function _consent(IPSC.Descriptor memory d, uint128 amount, uint256 key, uint64 nonce, uint64 deadline)
        internal
        view
        returns (IPSC.Consent memory)
    {
        bytes32 digest = psc.closeDigest(psc.channelIdOf(d), amount, nonce, deadline);
        return IPSC.Consent(nonce, deadline, _sign(key, digest));
    }

    /// @notice The authorization of `key`'s owner to move `amount` to the service contract, for the next hour.
    function _authorization(uint256 key, uint256 amount, bytes32 nonce)
        internal
        view
        returns (IPSC.Authorization memory a)
    {
        a.validBefore = _now() + 1 hours;
        bytes32 message = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                VM.addr(key),
                address(psc),
                amount,
                a.validAfter,
                a.validBefore,
                nonce
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", ptc.DOMAIN_SEPARATOR(), message));
        (a.v, a.r, a.s) = VM.sign(key, digest);
    }

    /// @notice The permit of `key`'s owner over its next nonce.
    function _permit(uint256 key, uint256 value) internal view returns (IPSC.Permit memory) {
        return _permit(key, value, type(uint256).max);
    }

    function _permit(uint256 key, uint256 value, uint256 deadline)
        internal
        view
        returns (IPSC.Permit memory)
    {
        address owner = VM.addr(key);
        bytes32 permit = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                owner,
                address(psc),
                value,
                ptc.nonces(owner),
                deadline
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", ptc.DOMAIN_SEPARATOR(), permit));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return IPSC.Permit(value, deadline, v, r, s);
    }

    // ---------------------------------------------------------------- expectations

    function _assertChannel(
        bytes32 id,
        uint256 deposit,
        uint256 paid,
        uint256 challengeEndsAt,
        IPSC.ChannelState state
    ) internal view {
        IPSC.Channel memory channel = psc.channels(id);
        VM.assertEq(channel.deposit, deposit, "the channel's deposit");
        VM.assertEq(channel.paid, paid, "what the channel has paid");
        VM.assertEq(channel.challengeEndsAt, challengeEndsAt, "the challenge's end");
        VM.assertEq(uint256(channel.state), uint256(state), "the channel's state");
    }

    function _assertOffering(bytes32 offering, uint256 supply, uint256 open, IPSC.OfferingState state)
        internal
        view
    {
        IPSC.Offering memory stored = psc.offerings(AGENT, offering);
        VM.assertEq(stored.supply, supply, "the offering's free places");
        VM.assertEq(stored.open, open, "the offering's open channels");
        VM.assertEq(uint256(stored.state), uint256(state), "the offering's state");
    }
}
