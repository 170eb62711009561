// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPSC, World} from "../support/World.sol";

/// @notice No call costs more than its limit: whole transactions, as `contracts/GAS.md` measures them on a node.
/// @dev Channels name a signer, as our client's always do; their nonces fill all eight bytes.
/// forge-config: default.isolate = true
contract LimitsTest is World {
    uint64 private constant FIRST = 0x1111111111111100;
    uint64 private constant BATCH = 100;

    event Used(string call, uint256 gas);

    /// @dev With a fee of 1 %, and balances that all have had before.
    function setUp() public override {
        super.setUp();
        _setFee(1000);
        IPSC.Descriptor memory d = _signed(0xff);
        _openSigned(d);
        _close(d, 1_000_000);
    }

    function test_Gas_OpenAndClose() public {
        IPSC.Descriptor memory d = _signed(1);
        _openSigned(d);
        _used("open", 60_000);
        _close(d, 1_000_000);
        _used("close by the agent, 1 % fee", 58_500);
    }

    function test_Gas_CloseWithBoth() public {
        IPSC.Descriptor memory d = _signed(1);
        _openSigned(d);
        _closeWithBoth(d, 1_000_000);
        _used("closeWithBoth, 1 % fee", 70_033);
        VM.prank(FEE_ADDRESS);
        psc.setFee(0);
        psc.refreshOfferingFee(AGENT, OFFERING);
        d = _signed(2);
        _openSigned(d);
        _closeWithBoth(d, 1_000_000);
        _used("closeWithBoth, no fee", 62_185);
    }

    function test_Gas_Dispute() public {
        IPSC.Descriptor memory d = _signed(1);
        _openSigned(d);
        VM.prank(CLIENT);
        psc.topUp(d, MIN_DEPOSIT);
        _used("topUp", 38_777);
        _settle(d, 500_000);
        _used("settle, 1 % fee", 58_500);
        _requestClose(d, 1_000_000);
        _used("requestClose, 1 % fee", 52_781);
        _pass(CHALLENGE);
        VM.prank(CLIENT);
        psc.finalizeClose(d);
        _used("finalizeClose", 56_098);
    }

    function test_Gas_FirstPurchase() public {
        VM.prank(CLIENT);
        require(ptc.transfer(SIGNER, 10 * MIN_DEPOSIT));
        IPSC.Permit memory permit = _permit(SIGNER_KEY, MIN_DEPOSIT);
        VM.prank(SIGNER);
        psc.openWithPermit(AGENT, OFFERING, FIRST + 1, CLIENT, MIN_DEPOSIT, permit);
        _used("openWithPermit, first purchase from a wallet", 106_000);
        permit = _permit(SIGNER_KEY, MIN_DEPOSIT);
        VM.prank(SIGNER);
        psc.topUpWithPermit(IPSC.Descriptor(SIGNER, AGENT, OFFERING, FIRST + 1, CLIENT), MIN_DEPOSIT, permit);
        _used("topUpWithPermit", 137_174);
        IPSC.Descriptor memory d = IPSC.Descriptor(SIGNER, AGENT, OFFERING, FIRST + 2, CLIENT);
        IPSC.Authorization memory a = _authorization(SIGNER_KEY, MIN_DEPOSIT, psc.channelIdOf(d));
        VM.prank(STRANGER);
        psc.openWithAuthorization(d.client, d.agent, d.offering, d.nonce, d.signer, MIN_DEPOSIT, a);
        _used("openWithAuthorization", 125_000);
    }

    function test_Gas_Ledger() public {
        VM.startPrank(CLIENT);
        ptc.approve(address(psc), 500);
        psc.deposit(100);
        _used("deposit, later", 52_254);
        psc.withdraw(100);
        _used("withdraw", 44_830);
        VM.stopPrank();
    }

    function test_Gas_Offerings() public {
        _register(keccak256("another offering"), MIN_DEPOSIT, PLACES);
        _used("registerOffering", 79_995);
        _pass(POP_UP);
        VM.prank(AGENT);
        psc.popUpOffering(OFFERING, 0, SOURCE);
        _used("popUpOffering", 39_162);
        _pass(REMOVE);
        VM.prank(AGENT);
        psc.removeOffering(OFFERING);
        _used("removeOffering", 34_010);
    }

    function test_Gas_Batches() public {
        bytes32 offering = keccak256("a large offering");
        _register(offering, MIN_DEPOSIT, uint32(BATCH));
        IPSC.Claim[] memory claims = new IPSC.Claim[](BATCH);
        for (uint64 i = 0; i < BATCH; ++i) {
            IPSC.Descriptor memory d = _signed(i);
            d.offering = offering;
            _openSigned(d);
            claims[i] = _claim(d, 500_000, _voucher(d, 500_000, SIGNER_KEY));
        }
        VM.prank(AGENT);
        psc.settleBatch(AGENT, claims);
        _usedEach("settleBatch of 100, per channel, 1 % fee", 16_800);
        for (uint64 i = 0; i < BATCH; ++i) {
            IPSC.Descriptor memory d = _signed(i);
            d.offering = offering;
            claims[i] = _claim(d, 1_000_000, _voucher(d, 1_000_000, SIGNER_KEY));
        }
        VM.prank(AGENT);
        psc.closeBatch(claims);
        _usedEach("closeBatch of 100, per channel, 1 % fee", 18_600);
    }

    function _signed(uint64 index) private view returns (IPSC.Descriptor memory d) {
        d = _descriptor(FIRST + index);
        d.signer = SIGNER;
    }

    function _openSigned(IPSC.Descriptor memory d) private {
        VM.prank(d.client);
        psc.open(d.agent, d.offering, d.nonce, d.signer, MIN_DEPOSIT);
    }

    function _voucher(IPSC.Descriptor memory d, uint128 amount)
        internal
        view
        override
        returns (bytes memory)
    {
        return _voucher(d, amount, d.signer == SIGNER ? SIGNER_KEY : CLIENT_KEY);
    }

    function _used(string memory call, uint256 limit) private {
        _check(call, VM.lastCallGas().gasTotalUsed, limit);
    }

    function _usedEach(string memory call, uint256 limit) private {
        _check(call, VM.lastCallGas().gasTotalUsed / BATCH, limit);
    }

    function _check(string memory call, uint256 gas, uint256 limit) private {
        emit Used(call, gas);
        VM.assertLe(gas, limit, call);
    }
}
