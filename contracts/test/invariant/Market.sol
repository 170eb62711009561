// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IPSC} from "../../src/interfaces/IPSC.sol";
import {IToken} from "../support/IToken.sol";
import {Vm} from "../support/Vm.sol";

/// @notice Plays a market at random: every call of the service contract, by the right people and by the wrong ones.
/// @dev Each action that can succeed must succeed (`fail_on_revert`), each that must fail must fail. Every action is
/// watched: nobody's money shrinks by what somebody else does.
contract Market {
    /// @notice A channel, what was signed for it and what its client admitted.
    struct Deal {
        IPSC.Descriptor descriptor;
        bytes32 id;
        uint256 signerKey;
        uint128 signed;
        uint128 admitted;
        uint96 deposited;
    }

    /// @notice An offering and how many places it was announced with.
    struct Shop {
        address agent;
        bytes32 offering;
        uint96 minDeposit;
        uint32 places;
    }

    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant PEOPLE = 6;
    uint256 private constant MOST_DEALS = 24;
    uint256 private constant MOST_SHOPS = 6;

    IPSC private immutable PSC;
    IToken private immutable TOKEN;

    /// @dev People's private keys; anybody may be agent, client, signer or fee address.
    uint256[] private _keys;
    address[] private _people;
    Deal[] private _deals;
    Shop[] private _shops;
    address private _feeAddress;
    uint256 private _block;

    constructor(IPSC psc, IToken token, address feeAddress_) {
        PSC = psc;
        TOKEN = token;
        _feeAddress = feeAddress_;
        _block = VM.getBlockNumber();
        for (uint256 i = 0; i < PEOPLE; ++i) {
            uint256 key = uint256(keccak256(abi.encode("person", i)));
            _keys.push(key);
            _people.push(VM.addr(key));
        }
        _people.push(feeAddress_);
    }

    // ---------------------------------------------------------------- what the invariants read

    function people() external view returns (address[] memory) {
        return _people;
    }

    function deals() external view returns (Deal[] memory) {
        return _deals;
    }

    function shops() external view returns (Shop[] memory) {
        return _shops;
    }

    function feeAddress() external view returns (address) {
        return _feeAddress;
    }

    function keyOf(address person) public view returns (uint256) {
        for (uint256 i = 0; i < PEOPLE; ++i) {
            if (_people[i] == person) return _keys[i];
        }
        revert("no such person");
    }

    // ---------------------------------------------------------------- watching

    /// @dev By an action of `actor`, nobody else's wallet or internal balance shrinks; nor does any channel's deposit or
    /// payment.
    modifier watched(address actor) {
        uint256[] memory wallets = new uint256[](_people.length);
        uint256[] memory balances = new uint256[](_people.length);
        for (uint256 i = 0; i < _people.length; ++i) {
            wallets[i] = TOKEN.balanceOf(_people[i]);
            balances[i] = PSC.balanceOf(_people[i]);
        }
        IPSC.Channel[] memory channels = new IPSC.Channel[](_deals.length);
        for (uint256 i = 0; i < channels.length; ++i) {
            channels[i] = PSC.channels(_deals[i].id);
        }
        _;
        for (uint256 i = 0; i < _people.length; ++i) {
            if (_people[i] == actor) continue;
            VM.assertEq(TOKEN.balanceOf(_people[i]), wallets[i], "a wallet moves by its owner's act only");
            VM.assertGe(PSC.balanceOf(_people[i]), balances[i], "a balance shrinks by its owner's act only");
        }
        for (uint256 i = 0; i < channels.length; ++i) {
            IPSC.Channel memory channel = PSC.channels(_deals[i].id);
            VM.assertGe(channel.deposit, channels[i].deposit, "a deposit never shrinks");
            VM.assertGe(channel.paid, channels[i].paid, "a payment is never taken back");
            VM.assertGe(uint256(channel.state), uint256(channels[i].state), "a closed channel stays closed");
            VM.assertEq(channel.fee, channels[i].fee, "a channel's fee stays");
        }
    }

    // ---------------------------------------------------------------- time

    /// @dev The block number is put back before each action: forge rolls it back between calls.
    modifier inTime() {
        VM.roll(_block);
        _;
        _block = VM.getBlockNumber() + 1;
        VM.roll(_block);
    }

    function passBlocks(uint256 count) external inTime {
        VM.roll(_block + count % 30);
    }

    // ---------------------------------------------------------------- balances

    function deposit(uint256 seed, uint256 amount) external inTime {
        address who = _person(seed);
        uint256 wallet = TOKEN.balanceOf(who);
        if (wallet == 0) return;
        _deposit(who, 1 + amount % wallet);
    }

    function _deposit(address who, uint256 amount) private watched(who) {
        VM.startPrank(who);
        TOKEN.approve(address(PSC), amount);
        PSC.deposit(amount);
        VM.stopPrank();
    }

    function withdraw(uint256 seed, uint256 amount) external inTime {
        address who = seed % 8 == 0 ? _feeAddress : _person(seed);
        uint256 balance = PSC.balanceOf(who);
        if (balance == 0) return;
        _withdraw(who, 1 + amount % balance);
    }

    function _withdraw(address who, uint256 amount) private watched(who) {
        VM.prank(who);
        PSC.withdraw(amount);
    }

    // ---------------------------------------------------------------- the fee

    function setFee(uint256 fee) external inTime watched(_feeAddress) {
        VM.prank(_feeAddress);
        PSC.setFee(uint16(fee % 10_001));
    }

    function handOverTheFee(uint256 seed) external inTime {
        if (seed % 4 != 0) return; // rarely
        _handOver(_person(seed));
    }

    function _handOver(address next) private watched(next) {
        VM.prank(_feeAddress);
        PSC.proposeFeeAddress(next);
        VM.prank(next);
        PSC.acceptFeeAddress();
        _feeAddress = next;
    }

    // ---------------------------------------------------------------- offerings

    function register(uint256 seed, uint96 minDeposit, uint32 places) external inTime {
        if (_shops.length == MOST_SHOPS) return;
        address agent = _person(seed);
        minDeposit = uint96(1 + minDeposit % 1_000_000);
        places = 1 + places % 6;
        if (PSC.balanceOf(agent) < uint256(minDeposit) * places) return;
        // Few hashes, so that agents often choose the same.
        bytes32 offering = keccak256(abi.encode("offering", seed % 3));
        bool used = PSC.offerings(agent, offering).state != IPSC.OfferingState.None;
        _register(agent, offering, minDeposit, places, used);
    }

    function _register(address agent, bytes32 offering, uint96 minDeposit, uint32 places, bool used)
        private
        watched(agent)
    {
        if (used) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingExists.selector, agent, offering));
        }
        VM.prank(agent);
        PSC.registerOffering(offering, minDeposit, places, 0, "");
        if (!used) _shops.push(Shop(agent, offering, minDeposit, places));
    }

    function popUp(uint256 seed) external inTime {
        (bool found, Shop memory shop) = _liveShop(seed);
        if (!found) return;
        IPSC.Offering memory offering = PSC.offerings(shop.agent, shop.offering);
        if (_block < offering.updatedAt + PSC.popUpPeriod()) return;
        _popUp(shop);
    }

    function _popUp(Shop memory shop) private watched(shop.agent) {
        VM.prank(shop.agent);
        PSC.popUpOffering(shop.offering, 0, "");
    }

    function remove(uint256 seed) external inTime {
        if (seed % 3 != 0) return; // not too often
        (bool found, Shop memory shop) = _liveShop(seed / 3);
        if (!found) return;
        IPSC.Offering memory offering = PSC.offerings(shop.agent, shop.offering);
        if (_block < offering.updatedAt + PSC.removePeriod()) return;
        _remove(shop);
    }

    function _remove(Shop memory shop) private watched(shop.agent) {
        VM.prank(shop.agent);
        PSC.removeOffering(shop.offering);
    }

    function refreshFee(uint256 seed) external inTime {
        (bool found, Shop memory shop) = _liveShop(seed);
        if (!found) return;
        _refreshFee(shop);
    }

    function _refreshFee(Shop memory shop) private watched(address(this)) {
        PSC.refreshOfferingFee(shop.agent, shop.offering);
    }

    // ---------------------------------------------------------------- channels

    function open(uint256 seed, uint256 amount, uint256 signerSeed) external inTime {
        if (_deals.length == MOST_DEALS) return;
        (bool found, Shop memory shop) = _liveShop(seed);
        if (!found || PSC.offerings(shop.agent, shop.offering).supply == 0) return;
        address client = _person(seed / 7);
        uint256 balance = PSC.balanceOf(client);
        if (balance < shop.minDeposit) return;
        amount = shop.minDeposit + amount % 5_000_000;
        if (amount > balance) amount = balance;
        address signer = signerSeed % 2 == 0 ? address(0) : _person(signerSeed);
        _open(client, shop, signer, uint96(amount));
    }

    function _open(address client, Shop memory shop, address signer, uint96 amount) private watched(client) {
        uint64 nonce = uint64(_deals.length);
        VM.prank(client);
        bytes32 id = PSC.open(shop.agent, shop.offering, nonce, signer, amount);
        uint256 key = keyOf(signer == address(0) ? client : signer);
        IPSC.Descriptor memory d = IPSC.Descriptor(client, shop.agent, shop.offering, nonce, signer);
        _deals.push(Deal(d, id, key, 0, 0, amount));
    }

    function topUp(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        uint256 balance = PSC.balanceOf(_deals[index].descriptor.client);
        if (balance == 0) return;
        amount = 1 + amount % (balance < 5_000_000 ? balance : 5_000_000);
        _topUp(_deals[index], uint96(amount));
    }

    function _topUp(Deal storage deal, uint96 amount) private watched(deal.descriptor.client) {
        VM.prank(deal.descriptor.client);
        PSC.topUp(deal.descriptor, amount);
        deal.deposited += amount;
        VM.assertEq(PSC.channels(deal.id).closeRequestedAt, 0, "a top-up cancels the request");
    }

    /// @dev Anybody may send it: watched as a stranger's act.
    function settle(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        _settle(_deals[index], amount);
    }

    function _settle(Deal storage deal, uint256 seed) private watched(address(this)) {
        (bool more, uint128 amount) = _more(deal, seed);
        if (!more) return;
        PSC.settle(deal.descriptor, amount, _voucher(deal, amount));
        VM.assertEq(PSC.channels(deal.id).paid, amount, "settled");
    }

    /// @dev All channels of an agent at once, closed and settled ones among them.
    function settleBatch(uint256 seed, uint256 amounts) external inTime watched(address(this)) {
        address agent = _person(seed);
        IPSC.Claim[] memory claims = _claims(agent, amounts);
        PSC.settleBatch(agent, claims);
    }

    function closeBatch(uint256 seed, uint256 amounts) external inTime {
        if (seed % 5 != 0) return; // not too often
        _closeBatch(_person(seed / 5), amounts);
    }

    function _closeBatch(address agent, uint256 amounts) private watched(agent) {
        IPSC.Claim[] memory claims = _claims(agent, amounts);
        VM.prank(agent);
        PSC.closeBatch(claims);
    }

    function close(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found || seed % 2 == 0) return; // not too often
        _close(_deals[index], amount);
    }

    function _close(Deal storage deal, uint256 seed) private watched(deal.descriptor.agent) {
        (bool more, uint128 amount) = _more(deal, seed);
        bytes memory voucher = more ? _voucher(deal, amount) : bytes("");
        VM.prank(deal.descriptor.agent);
        PSC.close(deal.descriptor, more ? amount : 0, voucher);
    }

    /// @dev Anybody may send it: watched as a stranger's act.
    function closeWithBoth(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found || seed % 3 != 0) return; // not too often
        _closeWithBoth(_deals[index], amount);
    }

    function _closeWithBoth(Deal storage deal, uint256 seed) private watched(address(this)) {
        (bool more, uint128 amount) = _more(deal, seed);
        if (!more) amount = PSC.channels(deal.id).paid;
        bytes memory consent = _sign(keyOf(deal.descriptor.agent), PSC.closeDigest(deal.id, amount));
        PSC.closeWithBoth(deal.descriptor, amount, _voucher(deal, amount), consent);
    }

    function requestClose(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found || PSC.channels(_deals[index].id).closeRequestedAt != 0) return;
        _requestClose(_deals[index], amount);
    }

    function _requestClose(Deal storage deal, uint256 seed) private watched(deal.descriptor.client) {
        uint128 admitted = uint128(seed % (uint256(PSC.channels(deal.id).deposit) + 1));
        if (admitted > deal.admitted) deal.admitted = admitted;
        VM.prank(deal.descriptor.client);
        PSC.requestClose(deal.descriptor, admitted);
    }

    function finalizeClose(uint256 seed) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        uint256 requestedAt = PSC.channels(_deals[index].id).closeRequestedAt;
        if (requestedAt == 0) return;
        bool early = _block < requestedAt + PSC.challengePeriod();
        _finalizeClose(_deals[index], early, requestedAt);
    }

    function _finalizeClose(Deal storage deal, bool early, uint256 requestedAt)
        private
        watched(deal.descriptor.client)
    {
        bytes4 reason = IPSC.TooEarly.selector;
        if (early) {
            VM.expectRevert(abi.encodeWithSelector(reason, _block, requestedAt + PSC.challengePeriod()));
        }
        VM.prank(deal.descriptor.client);
        PSC.finalizeClose(deal.descriptor);
    }

    // ---------------------------------------------------------------- the wrong people

    /// @dev Somebody tries what only others may, with what can be found in the pool: other channels' vouchers, other
    /// amounts, other keys. All of it must fail, and nothing may move.
    function attack(uint256 seed, uint256 kind, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        _attack(_deals[index], _person(seed / 11), kind % 8, amount);
    }

    function _attack(Deal storage deal, address attacker, uint256 kind, uint256 seed)
        private
        watched(address(0))
    {
        (bool more, uint128 amount) = _moreUnsigned(deal, seed);
        if (!more || keyOf(attacker) == deal.signerKey) return;
        bytes memory data = _attackData(deal, attacker, kind, amount);
        if (data.length == 0) return;
        VM.prank(attacker);
        (bool success,) = address(PSC).call(data);
        VM.assertFalse(success, "an attack fails");
    }

    /// @return the call, or nothing when it would be the attacker's right
    function _attackData(Deal storage deal, address attacker, uint256 kind, uint128 amount)
        private
        view
        returns (bytes memory)
    {
        IPSC.Descriptor memory d = deal.descriptor;
        if (kind < 3) {
            bytes memory forged = _sign(keyOf(attacker), PSC.voucherDigest(deal.id, amount));
            if (kind == 0) return abi.encodeCall(IPSC.settle, (d, amount, forged));
            if (kind == 1) return abi.encodeCall(IPSC.close, (d, amount, forged)); // by its agent, too
            bytes memory consent = _sign(keyOf(attacker), PSC.closeDigest(deal.id, amount));
            return abi.encodeCall(IPSC.closeWithBoth, (d, amount, forged, consent));
        }
        if (kind == 6) return attacker == _feeAddress ? bytes("") : abi.encodeCall(IPSC.setFee, (10_000));
        if (kind == 7) return attacker == d.agent ? bytes("") : abi.encodeCall(IPSC.close, (d, 0, ""));
        if (attacker == d.client) return "";
        if (kind == 3) return abi.encodeCall(IPSC.requestClose, (d, 0));
        if (kind == 4) return abi.encodeCall(IPSC.finalizeClose, (d));
        return abi.encodeCall(IPSC.topUp, (d, 1));
    }

    // ---------------------------------------------------------------- parts

    function _person(uint256 seed) private view returns (address) {
        return _people[seed % PEOPLE];
    }

    function _liveShop(uint256 seed) private view returns (bool, Shop memory shop) {
        for (uint256 i = 0; i < _shops.length; ++i) {
            shop = _shops[(seed % _shops.length + i) % _shops.length];
            if (PSC.offerings(shop.agent, shop.offering).state == IPSC.OfferingState.Live) {
                return (true, shop);
            }
        }
        return (false, shop);
    }

    function _openDeal(uint256 seed) private view returns (bool, uint256 index) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            index = (seed % _deals.length + i) % _deals.length;
            if (PSC.channels(_deals[index].id).state == IPSC.ChannelState.Open) return (true, index);
        }
        return (false, 0);
    }

    /// @notice An amount above what is paid, within the deposit, that the signer now signs.
    function _more(Deal storage deal, uint256 seed) private returns (bool more, uint128 amount) {
        (more, amount) = _moreUnsigned(deal, seed);
        if (more && amount > deal.signed) deal.signed = amount;
    }

    function _moreUnsigned(Deal storage deal, uint256 seed) private view returns (bool, uint128) {
        IPSC.Channel memory channel = PSC.channels(deal.id);
        uint256 left = channel.deposit - channel.paid;
        if (left == 0) return (false, 0);
        return (true, uint128(channel.paid + 1 + seed % left));
    }

    function _claims(address agent, uint256 seed) private returns (IPSC.Claim[] memory claims) {
        uint256 count;
        for (uint256 i = 0; i < _deals.length; ++i) {
            if (_deals[i].descriptor.agent == agent) ++count;
        }
        claims = new IPSC.Claim[](count);
        for (uint256 i = 0; i < _deals.length; ++i) {
            Deal storage deal = _deals[i];
            if (deal.descriptor.agent != agent) continue;
            (bool more, uint128 amount) = _more(deal, uint256(keccak256(abi.encode(seed, i))));
            IPSC.Descriptor memory d = deal.descriptor;
            claims[--count] = IPSC.Claim(
                d.client,
                d.offering,
                d.nonce,
                d.signer,
                more ? amount : 0,
                more ? _voucher(deal, amount) : bytes("")
            );
        }
    }

    function _voucher(Deal storage deal, uint128 amount) private view returns (bytes memory) {
        return _sign(deal.signerKey, PSC.voucherDigest(deal.id, amount));
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
