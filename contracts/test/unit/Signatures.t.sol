// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DeafWallet, Wallet} from "../support/Wallets.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice One message and one key have one valid signature; contract accounts decide for themselves.
contract SignaturesTest is World {
    function test_Signature_OfAnyOtherLengthIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory good = _voucher(d, 100);
        bytes memory compact = new bytes(64); // EIP-2098
        for (uint256 i = 0; i < 64; ++i) {
            compact[i] = good[i];
        }
        if (good[64] == bytes1(uint8(28))) compact[32] |= 0x80;
        bytes[4] memory wrong = [bytes(""), compact, bytes.concat(good, hex"00"), bytes.concat(good, good)];
        for (uint256 i = 0; i < wrong.length; ++i) {
            _assertRefused(d, id, 100, wrong[i]);
        }
        psc.settle(d, 100, good);
    }

    function test_Signature_WithAHighSIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(CLIENT_KEY, psc.voucherDigest(id, 100));
        bytes32 mirrored = bytes32(SECP256K1_ORDER - uint256(s));
        _assertRefused(d, id, 100, abi.encodePacked(r, mirrored, v == 27 ? uint8(28) : uint8(27)));
    }

    function test_Signature_WithAnyOtherVIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(CLIENT_KEY, psc.voucherDigest(id, 100));
        uint8[5] memory wrong = [v - 27, v == 27 ? 28 : 27, 29, v + 8, 255];
        for (uint256 i = 0; i < wrong.length; ++i) {
            _assertRefused(d, id, 100, abi.encodePacked(r, s, wrong[i]));
        }
    }

    function test_Signature_OfZeroesOrGarbageIsRefused() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        _assertRefused(d, id, 100, new bytes(65));
        _assertRefused(d, id, 100, abi.encodePacked(bytes32(0), bytes32(0), uint8(27)));
        _assertRefused(d, id, 100, abi.encodePacked(bytes32(uint256(1)), bytes32(0), uint8(27)));
        _assertRefused(d, id, 100, abi.encodePacked(keccak256("r"), bytes32(uint256(1)), uint8(28)));
    }

    function testFuzz_Signature_IsGoodForItsAmountAlone(uint128 signed, uint128 claimed) public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        signed = uint128(1 + signed % MIN_DEPOSIT);
        claimed = uint128(1 + claimed % MIN_DEPOSIT);
        VM.assume(signed != claimed);
        _assertRefused(d, id, claimed, _voucher(d, signed));
    }

    function testFuzz_Signature_WithAnyBitChangedIsRefused(uint256 bit, uint128 amount) public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        amount = uint128(1 + amount % MIN_DEPOSIT);
        bytes memory signature = _voucher(d, amount);
        bit = bit % (65 * 8);
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        _assertRefused(d, id, amount, signature);
    }

    function testFuzz_Signature_OfAnyOtherKeyIsRefused(uint256 key, uint128 amount) public {
        key = 1 + key % (SECP256K1_ORDER - 1);
        VM.assume(key != CLIENT_KEY);
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        amount = uint128(1 + amount % MIN_DEPOSIT);
        _assertRefused(d, id, amount, _voucher(d, amount, key));
    }

    // ---------------------------------------------------------------- contract accounts (ERC-1271)

    function test_Wallet_SignsVouchersOfAnyLength() public {
        Wallet wallet = new Wallet();
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = address(wallet);
        bytes32 id = _open(d, MIN_DEPOSIT);
        bytes[3] memory signatures = [bytes("two of three signatures"), new bytes(65), new bytes(130)];
        for (uint128 i = 0; i < 3; ++i) {
            uint128 amount = 100 * (i + 1);
            _assertRefused(d, id, amount, signatures[i]);
            wallet.approve(psc.voucherDigest(id, amount), signatures[i]);
            psc.settle(d, amount, signatures[i]);
        }
        _assertChannel(id, MIN_DEPOSIT, 300, 0, IPSC.ChannelState.Open);
    }

    function test_Wallet_CanBeTheClient() public {
        Wallet wallet = new Wallet();
        VM.prank(CLIENT);
        require(ptc.transfer(address(wallet), MIN_DEPOSIT));
        VM.startPrank(address(wallet));
        ptc.approve(address(psc), MIN_DEPOSIT);
        psc.deposit(MIN_DEPOSIT);
        VM.stopPrank();
        IPSC.Descriptor memory d = _descriptor(1);
        d.client = address(wallet);
        bytes32 id = _open(d, MIN_DEPOSIT);
        wallet.approve(psc.voucherDigest(id, 100), "yes");
        psc.settle(d, 100, "yes");
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    function test_Wallet_CanBeTheAgent() public {
        Wallet wallet = new Wallet();
        VM.prank(AGENT);
        require(ptc.transfer(address(wallet), MIN_DEPOSIT));
        VM.startPrank(address(wallet));
        ptc.approve(address(psc), MIN_DEPOSIT);
        psc.deposit(MIN_DEPOSIT);
        psc.registerOffering(OFFERING, MIN_DEPOSIT, 1, 0, SOURCE);
        VM.stopPrank();
        IPSC.Descriptor memory d = _descriptor(1);
        d.agent = address(wallet);
        bytes32 id = _open(d, MIN_DEPOSIT);
        bytes memory voucher = _voucher(d, 100);
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.closeWithBoth(d, 100, voucher, "yes");
        wallet.approve(psc.closeDigest(id, 100), "yes");
        psc.closeWithBoth(d, 100, voucher, "yes");
        VM.assertEq(psc.balanceOf(address(wallet)), 100, "the wallet's");
    }

    function test_Wallet_ThatDoesNotSayYesSaysNo() public {
        for (uint256 i = 0; i <= uint256(DeafWallet.Answer.Writing); ++i) {
            IPSC.Descriptor memory d = _descriptor(uint64(i));
            d.signer = address(new DeafWallet(DeafWallet.Answer(i)));
            bytes32 id = _open(d, MIN_DEPOSIT);
            _assertRefused(d, id, 100, "signature");
            _assertRefused(d, id, 100, new bytes(65));
        }
    }

    /// @dev EIP-7702: a key's account can gain code.
    function test_Account_ThatGainsCodeKeepsTheVouchersOfItsKey() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        bytes memory voucher = _voucher(d, 100);
        VM.etch(CLIENT, address(new DeafWallet(DeafWallet.Answer.Reverting)).code);
        psc.settle(d, 100, voucher);
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    function _assertRefused(IPSC.Descriptor memory d, bytes32 id, uint128 amount, bytes memory signature)
        private
    {
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, amount, signature);
    }
}
