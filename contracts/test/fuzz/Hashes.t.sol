// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice The hashing by hand against the plain forms, for every path that hashes.
contract HashesTest is World {
    bytes32 private constant CLOSE =
        keccak256("Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)");
    bytes32 private constant REQUEST_CLOSE =
        keccak256("RequestClose(bytes32 channelId,uint128 admitted,uint64 nonce,uint64 deadline)");

    function testFuzz_ChannelIdOf_IsThePlainForm(IPSC.Descriptor calldata d) public view {
        VM.assertEq(psc.channelIdOf(d), _plainId(d), "the id");
    }

    function testFuzz_Digests_AreThePlainForms(bytes32 id, uint128 amount, uint64 nonce, uint64 deadline)
        public
        view
    {
        VM.assertEq(psc.voucherDigest(id, amount), _plainVoucher(id, amount), "the voucher's");
        VM.assertEq(
            psc.closeDigest(id, amount, nonce, deadline),
            _plainClosing(CLOSE, id, amount, nonce, deadline),
            "the close's"
        );
        VM.assertEq(
            psc.requestCloseDigest(id, amount, nonce, deadline),
            _plainClosing(REQUEST_CLOSE, id, amount, nonce, deadline),
            "the request's"
        );
    }

    function testFuzz_DomainSeparator_IsThePlainFormOnEveryChain(uint64 chainId) public {
        VM.chainId(1 + uint256(chainId) % (type(uint64).max - 1));
        VM.assertEq(psc.domainSeparator(), _plainSeparator(), "the separator");
    }

    /// @dev Opens by the client itself; the id comes from the call's own hashing.
    function testFuzz_Open_UsesThePlainId(uint64 nonce, address signer) public {
        IPSC.Descriptor memory d = _descriptor(nonce);
        d.signer = signer;
        VM.assertEq(_open(d, MIN_DEPOSIT), _plainId(d), "the id");
    }

    /// @dev Puts an open channel at the plain id of any descriptor: the calls that take descriptors must find it there.
    function testFuzz_Calls_FindAnyDescriptorsChannelAtThePlainId(
        IPSC.Descriptor memory d,
        uint256 key,
        uint96 amount
    ) public {
        key = 1 + key % (SECP256K1_ORDER - 1);
        d.signer = VM.addr(key);
        amount = uint96(1 + amount % (type(uint96).max - 1));
        bytes32 id = _plainId(d);
        VM.store(address(psc), id, bytes32((uint256(1) << 248) | (uint256(type(uint96).max) << 96)));
        bytes memory signature = _sign(key, _plainVoucher(id, amount));
        psc.settle(d, amount, signature);
        VM.assertEq(psc.channels(id).paid, amount, "settled");
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, amount + 1, _sign(key, _plainVoucher(id, amount + 1)));
        psc.settleBatch(d.agent, claims);
        VM.assertEq(psc.channels(id).paid, amount + 1, "settled in a batch");
        VM.prank(d.agent);
        psc.closeBatch(claims);
        VM.assertEq(uint256(psc.channels(id).state), uint256(IPSC.ChannelState.Closed), "closed");
    }

    /// @dev Ids of the chain of the deployment, digests of the chain that the call is made on, in every call that hashes.
    function testFuzz_Calls_OnAForkUseItsDomain(uint64 chainId, uint96 amount) public {
        VM.chainId(1 + uint256(chainId) % (type(uint64).max - 1));
        amount = 1 + amount % (MIN_DEPOSIT - 3);
        IPSC.Descriptor memory d = _descriptor(1);
        bytes32 id = _open(d, MIN_DEPOSIT);
        VM.assertEq(id, _plainId(d), "the id");
        psc.settle(d, amount, _sign(CLIENT_KEY, _plainVoucher(id, amount)));
        IPSC.Claim[] memory claims = new IPSC.Claim[](1);
        claims[0] = _claim(d, amount + 1, _sign(CLIENT_KEY, _plainVoucher(id, amount + 1)));
        psc.settleBatch(AGENT, claims);
        psc.closeWithBoth(
            d,
            amount + 2,
            _sign(CLIENT_KEY, _plainVoucher(id, amount + 2)),
            IPSC.Consent(0, uint64(_now()), _plainConsent(id, amount + 2))
        );
        _assertChannel(id, MIN_DEPOSIT, amount + 2, 0, IPSC.ChannelState.Closed);
    }

    /// @dev Words with dirty upper bits name a channel that nobody opened.
    function test_DirtyDescriptors_NameNoChannel() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        uint256[5] memory words = [
            uint256(uint160(d.client)),
            uint256(uint160(d.agent)),
            uint256(d.offering),
            uint256(d.nonce),
            uint256(uint160(d.signer))
        ];
        _assertFound(true, _settleWith(words, voucher));
        for (uint256 i = 0; i < 5; ++i) {
            if (i == 2) continue; // the offering has no bits to spare
            uint256 clean = words[i];
            words[i] = clean | (1 << (i == 3 ? 64 : 160));
            _assertFound(false, _settleWith(words, voucher));
            VM.prank(AGENT);
            _assertFound(false, abi.encodeWithSelector(IPSC.close.selector, words, 0, uint256(0xe0), 0));
            VM.prank(CLIENT);
            _assertFound(false, abi.encodeWithSelector(IPSC.requestClose.selector, words, 0));
            VM.prank(CLIENT);
            _assertFound(false, abi.encodeWithSelector(IPSC.topUp.selector, words, 1));
            words[i] = clean;
        }
    }

    /// @dev The same for the rows of a batch.
    function test_DirtyClaims_NameNoChannel() public {
        (IPSC.Descriptor memory d,) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        uint256[4] memory words =
            [uint256(uint160(d.client)), uint256(d.offering), uint256(d.nonce), uint256(uint160(d.signer))];
        for (uint256 i = 0; i < 4; ++i) {
            if (i == 1) continue; // the offering has no bits to spare
            uint256 clean = words[i];
            words[i] = clean | (1 << (i == 2 ? 64 : 160));
            VM.assertEq(_settleRowWith(words, voucher), 0, "rows settled");
            words[i] = clean;
        }
        VM.assertEq(_settleRowWith(words, voucher), 1, "rows settled");
    }

    function _settleRowWith(uint256[4] memory words, bytes memory voucher) private returns (uint256) {
        (bool done, bytes memory answer) = address(psc)
            .call(
                bytes.concat(
                    abi.encodeWithSelector(
                        IPSC.settleBatch.selector, AGENT, 0x40, 1, 0x20, words, 100, 0xc0, 65
                    ),
                    voucher,
                    bytes31(0)
                )
            );
        require(done);
        return abi.decode(answer, (uint256));
    }

    function _settleWith(uint256[5] memory words, bytes memory voucher) private pure returns (bytes memory) {
        return
            bytes.concat(
                abi.encodeWithSelector(IPSC.settle.selector, words, 100, 0xe0, 65), voucher, bytes31(0)
            );
    }

    function _assertFound(bool expected, bytes memory data) private {
        (bool success, bytes memory why) = address(psc).call(data);
        VM.assertEq(success ? 1 : 0, expected ? 1 : 0, "found");
        if (success) return;
        VM.assertEq(bytes32(bytes4(why)), bytes32(IPSC.ChannelNotOpen.selector), "because nobody opened it");
    }

    // ---------------------------------------------------------------- the plain forms

    function _plainId(IPSC.Descriptor memory d) private view returns (bytes32) {
        bytes32 salt = keccak256(abi.encode(d.offering, d.nonce));
        return
            keccak256(
                abi.encode(d.client, d.agent, address(ptc), salt, d.signer, address(psc), uint256(31_337))
            );
    }

    function _plainSeparator() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("EVM Payment Channel"),
                keccak256("1"),
                VM.getChainId(),
                address(psc)
            )
        );
    }

    function _plainVoucher(bytes32 id, uint128 amount) private view returns (bytes32) {
        bytes32 typeHash = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
        return _plainDigest(keccak256(abi.encode(typeHash, id, amount)));
    }

    function _plainClosing(bytes32 typeHash, bytes32 id, uint128 amount, uint64 nonce, uint64 deadline)
        private
        view
        returns (bytes32)
    {
        return _plainDigest(keccak256(abi.encode(typeHash, id, amount, nonce, deadline)));
    }

    function _plainConsent(bytes32 id, uint128 amount) private view returns (bytes memory) {
        return _sign(AGENT_KEY, _plainClosing(CLOSE, id, amount, 0, uint64(_now())));
    }

    function _plainDigest(bytes32 message) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", _plainSeparator(), message));
    }
}
