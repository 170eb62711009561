// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

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
    uint256 private _time;
    uint256 private _chainId;
    uint256 private _salt;

    constructor(IPSC psc, IToken token, address feeAddress_) {
        PSC = psc;
        TOKEN = token;
        _feeAddress = feeAddress_;
        _time = VM.getBlockTimestamp();
        _chainId = VM.getChainId();
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

    /// @dev Time and chain id are put back before each action: forge rolls them back between calls.
    modifier inTime() {
        VM.warp(_time);
        VM.chainId(_chainId);
        _;
        _time = VM.getBlockTimestamp() + 12;
        VM.warp(_time);
    }

    function passTime(uint256 seconds_) external inTime {
        VM.warp(_time + seconds_ % (2 days));
    }

    /// @dev The chain forks, or another fork goes on: signatures are for the chain of the moment, channels stay.
    function fork(uint256 seed) external inTime {
        if (seed % 5 != 0) return; // rarely
        _chainId = 31_337 + (seed / 5) % 3;
        VM.chainId(_chainId);
    }

    // ---------------------------------------------------------------- balances

    function deposit(uint256 seed, uint256 amount) external inTime {
        address who = _person(seed);
        uint256 wallet = TOKEN.balanceOf(who);
        if (wallet == 0) return;
        _deposit(who, 1 + amount % wallet);
    }

    function _deposit(address who, uint256 amount) private watched(who) {
        uint256 before = PSC.balanceOf(who);
        if (amount % 2 == 0) {
            IPSC.Permit memory p = _permit(who, amount);
            VM.prank(who);
            PSC.depositWithPermit(amount, p);
        } else {
            VM.startPrank(who);
            TOKEN.approve(address(PSC), amount);
            if (amount % 4 == 1) PSC.deposit(amount);
            else PSC.depositFor(who, amount);
            VM.stopPrank();
        }
        VM.assertEq(PSC.balanceOf(who) - before, amount, "credited");
    }

    function withdraw(uint256 seed, uint256 amount) external inTime {
        address who = seed % 8 == 0 ? _feeAddress : _person(seed);
        uint256 balance = PSC.balanceOf(who);
        if (balance == 0) return;
        _withdraw(who, 1 + amount % balance);
    }

    function _withdraw(address who, uint256 amount) private watched(who) {
        VM.prank(who);
        if (amount % 3 == 0) PSC.withdraw(amount);
        else if (amount % 3 == 1) PSC.withdrawTo(who, amount);
        else PSC.withdrawAll(who);
    }

    // ---------------------------------------------------------------- operators

    function appoint(uint256 seed) external inTime {
        if (seed % 3 != 0) return; // not too often
        _appoint(_person(seed / 3), seed % 2 == 0 ? address(0) : _person(seed / 23));
    }

    function _appoint(address agent, address operator) private watched(agent) {
        VM.prank(agent);
        PSC.setOperator(operator);
    }

    /// @notice Who acts for an agent this time: itself, or its operator. Either may, and the agent's money moves alike.
    function _actor(address agent, uint256 seed) private view returns (address) {
        address operator = PSC.operatorOf(agent);
        return operator != address(0) && seed % 2 == 0 ? operator : agent;
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
        minDeposit = uint96(PSC.minStake() + minDeposit % 1_000_000);
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
        address actor = _actor(agent, minDeposit);
        if (used) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.OfferingExists.selector, agent, offering));
        }
        VM.prank(actor);
        PSC.registerOfferingFor(agent, offering, minDeposit, places, 0, "");
        if (!used) _shops.push(Shop(agent, offering, minDeposit, places));
    }

    function popUp(uint256 seed) external inTime {
        (bool found, Shop memory shop) = _liveShop(seed);
        if (!found) return;
        IPSC.Offering memory offering = PSC.offerings(shop.agent, shop.offering);
        if (_time < offering.updatedAt + PSC.popUpPeriod()) return;
        _popUp(shop);
    }

    function _popUp(Shop memory shop) private watched(shop.agent) {
        VM.prank(_actor(shop.agent, _time));
        PSC.popUpOfferingFor(shop.agent, shop.offering, 0, "");
    }

    function remove(uint256 seed) external inTime {
        if (seed % 3 != 0) return; // not too often
        (bool found, Shop memory shop) = _liveShop(seed / 3);
        if (!found) return;
        IPSC.Offering memory offering = PSC.offerings(shop.agent, shop.offering);
        if (_time < offering.updatedAt + PSC.removePeriod()) return;
        _remove(shop);
    }

    function _remove(Shop memory shop) private watched(shop.agent) {
        VM.prank(_actor(shop.agent, _time));
        PSC.removeOfferingFor(shop.agent, shop.offering);
    }

    function refreshFee(uint256 seed) external inTime {
        (bool found, Shop memory shop) = _liveShop(seed);
        if (!found) return;
        _refreshFee(shop);
    }

    /// @dev A stranger's refresh never raises the fee before the agent could have left.
    function _refreshFee(Shop memory shop) private watched(address(this)) {
        IPSC.Offering memory offering = PSC.offerings(shop.agent, shop.offering);
        uint256 allowed = uint256(offering.updatedAt) + PSC.feeDelay();
        if (PSC.fee() > offering.fee && _time < allowed) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, _time, allowed));
        }
        PSC.refreshOfferingFee(shop.agent, shop.offering);
    }

    // ---------------------------------------------------------------- channels

    function open(uint256 seed, uint256 amount, uint256 signerSeed) external inTime {
        if (_deals.length == MOST_DEALS) return;
        (bool found, Shop memory shop) = _liveShop(seed);
        if (!found || PSC.offerings(shop.agent, shop.offering).supply == 0) return;
        address client = _person(seed / 7);
        bool fromWallet = signerSeed % 3 != 0;
        uint256 balance = fromWallet ? TOKEN.balanceOf(client) : PSC.balanceOf(client);
        if (balance < shop.minDeposit) return;
        amount = shop.minDeposit + amount % 5_000_000;
        if (amount > balance) amount = balance;
        address signer = signerSeed % 2 == 0 ? address(0) : _person(signerSeed);
        IPSC.Descriptor memory d =
            IPSC.Descriptor(client, shop.agent, shop.offering, uint64(_deals.length), signer);
        bytes32 id = PSC.channelIdOf(d);
        if (signerSeed % 3 == 0) _open(d, uint96(amount));
        else if (signerSeed % 3 == 1) _openWithPermit(d, uint96(amount));
        else _openWithAuthorization(d, uint96(amount), id);
        _deals.push(Deal(d, id, keyOf(signer == address(0) ? client : signer), 0, 0, uint96(amount)));
    }

    function _open(IPSC.Descriptor memory d, uint96 amount) private watched(d.client) {
        VM.prank(d.client);
        PSC.open(d.agent, d.offering, d.nonce, d.signer, amount);
    }

    function _openWithPermit(IPSC.Descriptor memory d, uint96 amount) private watched(d.client) {
        IPSC.Permit memory p = _permit(d.client, amount);
        VM.prank(d.client);
        PSC.openWithPermit(d.agent, d.offering, d.nonce, d.signer, amount, p);
    }

    function _openWithAuthorization(IPSC.Descriptor memory d, uint96 amount, bytes32 id)
        private
        watched(d.client)
    {
        IPSC.Authorization memory a = _authorization(d.client, amount, id);
        PSC.openWithAuthorization(d.client, d.agent, d.offering, d.nonce, d.signer, amount, a);
    }

    function topUp(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        address client = _deals[index].descriptor.client;
        bool fromWallet = amount % 3 != 0;
        uint256 balance = fromWallet ? TOKEN.balanceOf(client) : PSC.balanceOf(client);
        if (balance == 0) return;
        uint96 added = uint96(1 + (amount / 3) % (balance < 5_000_000 ? balance : 5_000_000));
        if (amount % 3 == 2) _topUpWithAuthorization(_deals[index], added);
        else _topUp(_deals[index], added, fromWallet);
    }

    function _topUp(Deal storage deal, uint96 amount, bool fromWallet)
        private
        watched(deal.descriptor.client)
    {
        IPSC.Permit memory p = _permit(deal.descriptor.client, amount);
        VM.prank(deal.descriptor.client);
        if (fromWallet) PSC.topUpWithPermit(deal.descriptor, amount, p);
        else PSC.topUp(deal.descriptor, amount);
        deal.deposited += amount;
        VM.assertEq(PSC.channels(deal.id).challengeEndsAt, 0, "a top-up cancels the request");
    }

    /// @dev By anybody; and never against the client's close request.
    function _topUpWithAuthorization(Deal storage deal, uint96 amount)
        private
        watched(deal.descriptor.client)
    {
        bytes32 salt = bytes32(++_salt);
        IPSC.Authorization memory a =
            _authorization(deal.descriptor.client, amount, keccak256(abi.encode(deal.id, salt)));
        bool leaving = PSC.channels(deal.id).challengeEndsAt != 0;
        if (leaving) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.CloseAlreadyRequested.selector, deal.id));
        }
        PSC.topUpWithAuthorization(deal.descriptor, amount, salt, a);
        if (!leaving) deal.deposited += amount;
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
        uint256 deposit_ = PSC.channels(deal.id).deposit;
        VM.assertEq(PSC.channels(deal.id).paid, amount < deposit_ ? amount : deposit_, "settled");
    }

    /// @dev All channels of an agent at once, closed and settled ones among them.
    function settleBatch(uint256 seed, uint256 amounts) external inTime watched(address(this)) {
        address agent = _person(seed);
        IPSC.Claim[] memory claims = _claims(agent, amounts);
        VM.assertLe(PSC.settleBatch(agent, claims), claims.length, "rows settled");
    }

    function closeBatch(uint256 seed, uint256 amounts) external inTime {
        if (seed % 5 != 0) return; // not too often
        _closeBatch(_person(seed / 5), amounts);
    }

    function _closeBatch(address agent, uint256 amounts) private watched(agent) {
        IPSC.Claim[] memory claims = _claims(agent, amounts);
        VM.prank(_actor(agent, amounts));
        PSC.closeBatchFor(agent, claims);
    }

    function close(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found || seed % 2 == 0) return; // not too often
        _close(_deals[index], amount);
    }

    function _close(Deal storage deal, uint256 seed) private watched(deal.descriptor.agent) {
        (bool more, uint128 amount) = _more(deal, seed);
        bytes memory voucher = more ? _voucher(deal, amount) : bytes("");
        VM.prank(_actor(deal.descriptor.agent, seed));
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
        IPSC.Consent memory consent = _consent(deal, amount, _actor(deal.descriptor.agent, seed), 0);
        PSC.closeWithBoth(deal.descriptor, amount, _voucher(deal, amount), consent);
    }

    function requestClose(uint256 seed, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found || PSC.channels(_deals[index].id).challengeEndsAt != 0) return;
        _requestClose(_deals[index], amount);
    }

    function _requestClose(Deal storage deal, uint256 seed) private watched(deal.descriptor.client) {
        uint128 admitted = uint128(seed % (uint256(PSC.channels(deal.id).deposit) + 1));
        if (admitted > deal.admitted) deal.admitted = admitted;
        if (seed % 2 == 0) {
            VM.prank(deal.descriptor.client);
            PSC.requestClose(deal.descriptor, admitted);
        } else {
            uint64 nonce = PSC.nonceOf(deal.descriptor.client);
            bytes32 digest = PSC.requestCloseDigest(deal.id, admitted, nonce, uint64(_time));
            bytes memory signature = _sign(deal.signerKey, digest);
            PSC.requestCloseFor(deal.descriptor, admitted, nonce, uint64(_time), signature);
        }
    }

    function finalizeClose(uint256 seed) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        uint256 end = PSC.channels(_deals[index].id).challengeEndsAt;
        if (end == 0) return;
        _finalizeClose(_deals[index], _person(seed / 5), end);
    }

    /// @dev Anybody may.
    function _finalizeClose(Deal storage deal, address who, uint256 end) private watched(address(this)) {
        if (_time < end) {
            VM.expectRevert(abi.encodeWithSelector(IPSC.TooEarly.selector, _time, end));
        }
        VM.prank(who);
        PSC.finalizeClose(deal.descriptor);
    }

    function cancelClose(uint256 seed) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found || PSC.channels(_deals[index].id).challengeEndsAt == 0) return;
        _cancelClose(_deals[index]);
    }

    function _cancelClose(Deal storage deal) private watched(deal.descriptor.client) {
        VM.prank(deal.descriptor.client);
        PSC.cancelClose(deal.descriptor);
        VM.assertEq(PSC.channels(deal.id).challengeEndsAt, 0, "taken back");
    }

    // ---------------------------------------------------------------- the wrong people

    /// @dev Somebody tries what only others may, with what can be found in the pool: other channels' vouchers, other
    /// amounts, other keys. All of it must fail, and nothing may move.
    function attack(uint256 seed, uint256 kind, uint256 amount) external inTime {
        (bool found, uint256 index) = _openDeal(seed);
        if (!found) return;
        _attack(_deals[index], _person(seed / 11), kind % 12, amount);
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
            IPSC.Consent memory own = _consent(deal, amount, attacker, 0);
            return abi.encodeCall(IPSC.closeWithBoth, (d, amount, forged, own));
        }
        if (kind == 6) return attacker == _feeAddress ? bytes("") : abi.encodeCall(IPSC.setFee, (10_000));
        bool acts = attacker == d.agent || attacker == PSC.operatorOf(d.agent);
        if (kind == 7) return acts ? bytes("") : abi.encodeCall(IPSC.close, (d, 0, ""));
        if (kind == 8) {
            return acts ? bytes("") : abi.encodeCall(IPSC.removeOfferingFor, (d.agent, d.offering));
        }
        // Good vouchers with the attacker's consent, or with one that is stale.
        if (kind == 9 && !acts) {
            IPSC.Consent memory own = _consent(deal, amount, attacker, 0);
            return abi.encodeCall(IPSC.closeWithBoth, (d, amount, _voucher(deal, amount), own));
        }
        if (kind == 10) {
            IPSC.Consent memory stale = _consent(deal, amount, d.agent, 1);
            return abi.encodeCall(IPSC.closeWithBoth, (d, amount, _voucher(deal, amount), stale));
        }
        if (kind == 11) {
            uint64 nonce = PSC.nonceOf(d.client);
            bytes32 digest = PSC.requestCloseDigest(deal.id, amount, nonce, uint64(_time));
            bytes memory forged = _sign(keyOf(attacker), digest);
            return abi.encodeCall(IPSC.requestCloseFor, (d, amount, nonce, uint64(_time), forged));
        }
        if (attacker == d.client) return "";
        if (kind == 3) return abi.encodeCall(IPSC.requestClose, (d, 0));
        if (kind == 4) return abi.encodeCall(IPSC.cancelClose, (d));
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
        // Now and then more than the deposit: a voucher is a ceiling.
        return (true, uint128(channel.paid + 1 + seed % (seed % 7 == 0 ? 2 * left : left)));
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

    /// @param age seconds since the consent's deadline; 0 for a consent that counts
    function _consent(Deal storage deal, uint128 amount, address by, uint256 age)
        private
        view
        returns (IPSC.Consent memory)
    {
        uint64 nonce = PSC.nonceOf(deal.descriptor.agent);
        uint64 deadline = uint64(_time - age);
        return
            IPSC.Consent(nonce, deadline, _sign(keyOf(by), PSC.closeDigest(deal.id, amount, nonce, deadline)));
    }

    function _permit(address owner, uint256 value) private view returns (IPSC.Permit memory p) {
        (p.value, p.deadline) = (value, _time);
        bytes32 typeHash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 message =
            keccak256(abi.encode(typeHash, owner, address(PSC), value, TOKEN.nonces(owner), p.deadline));
        (p.v, p.r, p.s) = VM.sign(keyOf(owner), _tokenDigest(message));
    }

    function _authorization(address from, uint256 value, bytes32 nonce)
        private
        view
        returns (IPSC.Authorization memory a)
    {
        a.validBefore = _time + 1;
        bytes32 typeHash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 message =
            keccak256(abi.encode(typeHash, from, address(PSC), value, a.validAfter, a.validBefore, nonce));
        (a.v, a.r, a.s) = VM.sign(keyOf(from), _tokenDigest(message));
    }

    function _tokenDigest(bytes32 message) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", TOKEN.DOMAIN_SEPARATOR(), message));
    }

    function _voucher(Deal storage deal, uint128 amount) private view returns (bytes memory) {
        return _sign(deal.signerKey, PSC.voucherDigest(deal.id, amount));
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
