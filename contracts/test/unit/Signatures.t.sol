// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Signatures} from "../../src/libraries/Signatures.sol";
import {DeafWallet, Wallet, YesWallet} from "../support/Wallets.sol";
import {IPSC, World} from "../support/World.sol";

/// @notice The library's own face.
contract Recovery {
    function recover(bytes32 digest, bytes calldata signature) external view returns (address) {
        return Signatures.recover(digest, signature);
    }
}

/// @notice One message and one key have one valid signature, and only a channel without a signer asks an account's code.
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

    /// @dev Every pair of a valid r and any s is some key's signature: the bound can be tested to the unit.
    function test_Signature_IsAcceptedUpToHalfOfTheOrderExactly() public {
        Recovery recovery = new Recovery();
        bytes32 digest = keccak256("any message");
        (, bytes32 r,) = VM.sign(CLIENT_KEY, digest);
        bytes32 half = bytes32(SECP256K1_ORDER / 2);
        VM.assertEq(
            recovery.recover(digest, abi.encodePacked(r, half, uint8(27))),
            ecrecover(digest, 27, r, half),
            "the highest s"
        );
        VM.assertNotEq(bytes32(bytes20(ecrecover(digest, 27, r, half))), 0, "which is somebody's");
        bytes32 above = bytes32(SECP256K1_ORDER / 2 + 1);
        VM.assertEq(recovery.recover(digest, abi.encodePacked(r, above, uint8(27))), address(0), "above");
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

    // ---------------------------------------------------------------- a named signer is a key

    /// @dev EIP-7702: the client's and the signer's accounts are made to run code that accepts everything.
    function test_Delegation_ToCodeThatAcceptsEverythingDoesNotLoseTheDeposit() public {
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = CLIENT; // its own key, as our client names it
        bytes32 id = _open(d, MIN_DEPOSIT);
        VM.etch(CLIENT, address(new YesWallet()).code);
        _assertRefused(d, id, MIN_DEPOSIT, "anything");
        _assertRefused(d, id, MIN_DEPOSIT, _voucher(d, MIN_DEPOSIT, STRANGER_KEY));
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.requestCloseFor(d, MIN_DEPOSIT, 0, uint64(_now()), "anything");
        psc.settle(d, 100, _voucher(d, 100, CLIENT_KEY)); // the key still pays
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    function test_Signer_ThatIsAContractSignsNothing() public {
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = address(new YesWallet());
        bytes32 id = _open(d, MIN_DEPOSIT);
        _assertRefused(d, id, 100, "anything");
        _assertRefused(d, id, 100, new bytes(65));
    }

    /// @dev And takes the vouchers' worth from nobody: code that accepts nothing does not stop its key's vouchers.
    function test_Delegation_OfTheSignerKeepsTheVouchersOfItsKey() public {
        IPSC.Descriptor memory d = _descriptor(1);
        d.signer = SIGNER;
        bytes32 id = _open(d, MIN_DEPOSIT);
        VM.etch(SIGNER, address(new DeafWallet(DeafWallet.Answer.Reverting)).code);
        VM.etch(CLIENT, address(new DeafWallet(DeafWallet.Answer.Reverting)).code);
        psc.settle(d, 100, _voucher(d, 100, SIGNER_KEY));
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    // ---------------------------------------------------------------- without a signer the client's account decides (ERC-1271)

    function test_Wallet_PaysBySignaturesOfAnyLength() public {
        Wallet wallet = new Wallet();
        (IPSC.Descriptor memory d, bytes32 id) = _openAs(address(wallet), 1);
        bytes[3] memory signatures = [bytes("two of three signatures"), new bytes(65), new bytes(130)];
        for (uint128 i = 0; i < 3; ++i) {
            uint128 amount = 100 * (i + 1);
            _assertRefused(d, id, amount, signatures[i]);
            wallet.approve(psc.voucherDigest(id, amount), signatures[i]);
            psc.settle(d, amount, signatures[i]);
        }
        _assertChannel(id, MIN_DEPOSIT, 300, 0, IPSC.ChannelState.Open);
    }

    function test_Wallet_ThatDoesNotSayYesSaysNo() public {
        for (uint256 i = 0; i <= uint256(DeafWallet.Answer.Burning); ++i) {
            address wallet = address(new DeafWallet(DeafWallet.Answer(i)));
            (IPSC.Descriptor memory d, bytes32 id) = _openAs(wallet, uint64(i));
            _assertRefused(d, id, 100, "signature");
            _assertRefused(d, id, 100, new bytes(65));
        }
    }

    /// @dev What opening without a signer means: the account's code decides, now and later, and its key does not.
    function test_Wallet_CodeThatComesLaterDecidesToo() public {
        (IPSC.Descriptor memory d, bytes32 id) = _open(1);
        VM.etch(CLIENT, address(new DeafWallet(DeafWallet.Answer.Reverting)).code);
        _assertRefused(d, id, 100, _voucher(d, 100));
        VM.etch(CLIENT, address(new YesWallet()).code);
        psc.settle(d, 100, "anything");
        _assertChannel(id, MIN_DEPOSIT, 100, 0, IPSC.ChannelState.Open);
    }

    function _openAs(address wallet, uint64 nonce) private returns (IPSC.Descriptor memory d, bytes32 id) {
        VM.prank(CLIENT);
        require(ptc.transfer(wallet, MIN_DEPOSIT));
        VM.startPrank(wallet);
        ptc.approve(address(psc), MIN_DEPOSIT);
        psc.deposit(MIN_DEPOSIT);
        VM.stopPrank();
        d = _descriptor(nonce);
        d.client = wallet;
        id = _open(d, MIN_DEPOSIT);
    }

    function _assertRefused(IPSC.Descriptor memory d, bytes32 id, uint128 amount, bytes memory signature)
        private
    {
        VM.expectRevert(abi.encodeWithSelector(IPSC.InvalidSignature.selector, id));
        psc.settle(d, amount, signature);
    }
}
