// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @title Privatix service contract: offerings and unidirectional payment channels for metered services.
/// @notice A client locks a deposit for one agent, pays by signed cumulative vouchers off chain, and either side closes.
/// Money in a channel can only go to its agent (with a voucher of the channel's signer) or back to its client.
/// @dev All amounts are base units of `token()`. All periods are counted in blocks.
interface IPSC {
    // ---------------------------------------------------------------- types

    /// @notice What identifies a channel. Never stored: passed in calldata and emitted in events.
    struct Descriptor {
        address client;
        address agent;
        bytes32 offering;
        uint64 nonce; // chosen by the client; together with the offering it is the channel's salt
        address signer; // who signs vouchers; zero means the client itself
    }

    /// @notice A channel's whole state on chain (one slot).
    struct Channel {
        uint96 deposit;
        uint96 paid; // cumulative amount already credited to the agent, fee included
        uint40 closeRequestedAt; // block of the client's close request; 0 when there is none
        uint16 fee; // network fee in 1/100,000, fixed at opening
        ChannelState state;
    }

    enum ChannelState {
        None,
        Open,
        Closed
    }

    /// @notice An offering's whole state on chain (one slot).
    struct Offering {
        uint96 minDeposit; // also the agent's stake per unit of supply
        uint32 supply; // free places
        uint32 open; // channels open under the offering
        uint40 updatedAt; // block of the registration or of the last pop-up
        uint16 fee; // network fee of channels opened from now on: the one in force when it was last announced or refreshed
        OfferingState state;
    }

    enum OfferingState {
        None,
        Live,
        Removed
    }

    /// @notice An EIP-2612 permit for this contract.
    struct Permit {
        uint256 value;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice One channel of a batch; the agent is the batch's.
    struct Claim {
        address client;
        bytes32 offering;
        uint64 nonce;
        address signer;
        uint128 cumulativeAmount;
        bytes signature; // empty only in `closeBatch`, to close with what is already paid
    }

    // ---------------------------------------------------------------- events

    event Deposited(address indexed account, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);

    event OfferingRegistered(
        address indexed agent,
        bytes32 indexed offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string source
    );
    event OfferingPoppedUp(
        address indexed agent,
        bytes32 indexed offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string source
    );
    event OfferingRemoved(address indexed agent, bytes32 indexed offering);
    event OfferingFeeRefreshed(address indexed agent, bytes32 indexed offering, uint16 fee);

    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed client,
        address indexed agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 deposit,
        uint16 fee
    );
    /// @param deposit the channel's deposit after the top-up; a pending close request is cancelled
    event ChannelToppedUp(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 deposit
    );
    /// @param paid cumulative amount credited to the agent, fee included
    event ChannelSettled(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 paid
    );
    /// @param paid cumulative amount credited to the agent, what the client admitted included
    event ChannelCloseRequested(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 paid
    );
    /// @param cooperative true when the agent or both sides closed, false when the client did alone after the challenge
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed client,
        address indexed agent,
        bytes32 offering,
        uint96 paid,
        uint96 refund,
        bool cooperative
    );

    event FeeChanged(uint16 fee);
    event FeeAddressProposed(address indexed current, address indexed proposed);
    event FeeAddressChanged(address indexed previous, address indexed current);

    // ---------------------------------------------------------------- errors

    error ZeroAmount();
    error ZeroAddress();
    error AmountTooLarge(uint256 amount);
    error InsufficientBalance(address account, uint256 available, uint256 needed);
    error NotFeeAddress(address caller);
    error FeeTooHigh(uint256 fee, uint256 maximum);
    error NotProposedFeeAddress(address caller);
    error PeriodOutOfRange();
    error OfferingExists(address agent, bytes32 offering);
    error OfferingNotLive(address agent, bytes32 offering);
    error NoSupply(address agent, bytes32 offering);
    error TooEarly(uint256 currentBlock, uint256 allowedAt);
    error DepositTooSmall(uint256 deposit, uint256 minimum);
    error ChannelExists(bytes32 channelId);
    error ChannelNotOpen(bytes32 channelId);
    error NotClient(address caller);
    error NotAgent(address caller);
    error CloseAlreadyRequested(bytes32 channelId);
    error CloseNotRequested(bytes32 channelId);
    error AmountAboveDeposit(uint256 amount, uint256 deposit);
    error NothingToSettle(bytes32 channelId, uint256 paid);
    error BelowPaid(uint256 amount, uint256 paid);
    error InvalidSignature(bytes32 channelId);

    // ---------------------------------------------------------------- balances

    /// @notice Moves `amount` from the caller's wallet (allowance needed) to its internal balance.
    function deposit(uint256 amount) external;
    /// @notice The same with a permit, in one transaction. A permit already used by somebody else is harmless: the allowance decides.
    function depositWithPermit(uint256 amount, Permit calldata permit) external;
    /// @notice Moves `amount` from the caller's internal balance back to its wallet.
    function withdraw(uint256 amount) external;
    function balanceOf(address account) external view returns (uint256);

    // ---------------------------------------------------------------- offerings

    /// @notice Announces an offering and locks `minDeposit * supply` of the caller's internal balance.
    function registerOffering(
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) external;
    /// @notice Announces it anew, at least `popUpPeriod` blocks after its last announcement.
    function popUpOffering(bytes32 offering, uint8 sourceType, string calldata source) external;
    /// @notice Removes it, at least `removePeriod` blocks after its last announcement. Returns the stake of unused supply now,
    /// the stake behind each open channel when that channel closes.
    function removeOffering(bytes32 offering) external;
    /// @notice Brings the network fee that the offering's next channels will have up to date; anybody may.
    /// @dev An offering carries the fee of its last announcement, so that opening a channel need not read it elsewhere (2,100
    /// gas of every opening). Pop-ups refresh it too; this call is for a fee that has changed in between.
    function refreshOfferingFee(address agent, bytes32 offering) external;
    function offerings(address agent, bytes32 offering) external view returns (Offering memory);

    // ---------------------------------------------------------------- channels

    /// @notice Opens a channel from the caller's internal balance.
    function open(address agent, bytes32 offering, uint64 nonce, address signer, uint96 amount)
        external
        returns (bytes32 channelId);
    /// @notice Opens a channel straight from the caller's wallet.
    function openWithPermit(
        address agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 amount,
        Permit calldata permit
    ) external returns (bytes32 channelId);
    /// @notice Adds to the deposit from the client's internal balance; cancels its pending close request.
    function topUp(Descriptor calldata descriptor, uint96 amount) external;
    function topUpWithPermit(Descriptor calldata descriptor, uint96 amount, Permit calldata permit) external;

    /// @notice Credits the agent up to `cumulativeAmount`; anybody with a valid voucher may call; the channel stays open.
    function settle(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external;
    /// @notice `settle` for many channels of one agent. Channels that are closed, or already paid as much, are skipped;
    /// a bad signature reverts the whole batch.
    function settleBatch(address agent, Claim[] calldata claims) external;
    /// @notice The agent closes at once: is credited up to `cumulativeAmount` (with the voucher; none is needed for an amount
    /// that is already paid), the client gets the rest.
    function close(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external;
    /// @notice `close` for many channels of the caller. Closed channels are skipped.
    function closeBatch(Claim[] calldata claims) external;
    /// @notice Anybody closes at once with both signatures: the voucher and the agent's `Close` over the same amount.
    function closeWithBoth(
        Descriptor calldata descriptor,
        uint128 cumulativeAmount,
        bytes calldata voucherSignature,
        bytes calldata closeSignature
    ) external;
    /// @notice The client asks to close alone: what it admits (cumulative, at least what is paid) is credited at once, the challenge for the rest starts.
    function requestClose(Descriptor calldata descriptor, uint128 admitted) external;
    /// @notice After the challenge the client takes the rest back alone.
    function finalizeClose(Descriptor calldata descriptor) external;

    function channels(bytes32 channelId) external view returns (Channel memory);
    function channelIdOf(Descriptor calldata descriptor) external view returns (bytes32);
    function voucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);
    function closeDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);
    function domainSeparator() external view returns (bytes32);

    // ---------------------------------------------------------------- configuration

    function token() external view returns (address);
    function popUpPeriod() external view returns (uint40);
    function removePeriod() external view returns (uint40);
    function challengePeriod() external view returns (uint40);
    function fee() external view returns (uint16);
    function feeAddress() external view returns (address);
    function proposedFeeAddress() external view returns (address);
    function setFee(uint16 newFee) external;
    function proposeFeeAddress(address proposed) external;
    function acceptFeeAddress() external;
}
