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
        bytes signature; // may be empty in `closeBatch`, to close with what is already paid
    }

    // ---------------------------------------------------------------- events

    /// @notice Tokens moved from `account`'s wallet to its internal balance.
    event Deposited(address indexed account, uint256 amount);
    /// @notice Tokens moved from `account`'s internal balance to its wallet.
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice An agent announced an offering.
    /// @param offering hash of the offering message, which the agent serves at `source`
    /// @param minDeposit the least deposit of a channel, and the agent's stake behind each place
    /// @param supply free places
    /// @param sourceType how `source` is to be read: 0 an onion service, 1 a host and port
    event OfferingRegistered(
        address indexed agent,
        bytes32 indexed offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string source
    );
    /// @notice An agent announced a live offering anew; `supply` are the places free now.
    event OfferingPoppedUp(
        address indexed agent,
        bytes32 indexed offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string source
    );
    /// @notice No channel can be opened under the offering any more; those open go on.
    event OfferingRemoved(address indexed agent, bytes32 indexed offering);
    /// @notice The offering's next channels will have this network fee.
    event OfferingFeeRefreshed(address indexed agent, bytes32 indexed offering, uint16 fee);

    /// @notice A client opened a channel; the offering has one free place less.
    /// @param signer who signs vouchers; zero means the client itself
    /// @param fee the network fee of this channel for ever, in 1/100,000 of what is paid
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
    /// @notice A client added to a channel's deposit.
    /// @param deposit the channel's deposit after the top-up; a pending close request is cancelled
    event ChannelToppedUp(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 deposit
    );
    /// @notice A voucher was cashed; the channel stays open.
    /// @param paid cumulative amount credited to the agent, fee included
    event ChannelSettled(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 paid
    );
    /// @notice A client asked to close alone: the challenge starts in this block.
    /// @param paid cumulative amount credited to the agent, what the client admitted included
    event ChannelCloseRequested(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 paid
    );
    /// @notice A channel closed; if its offering is live, it has one free place more.
    /// @param paid cumulative amount credited to the agent over the channel's life, fee included
    /// @param refund what the client got back of the deposit
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

    /// @notice The network fee of offerings announced or refreshed from now on, in 1/100,000.
    event FeeChanged(uint16 fee);
    /// @notice `proposed` may become the fee address by accepting; zero withdraws an earlier proposal.
    event FeeAddressProposed(address indexed current, address indexed proposed);
    /// @notice The fee address changed hands; what was collected until now stays with `previous`.
    event FeeAddressChanged(address indexed previous, address indexed current);

    // ---------------------------------------------------------------- errors

    /// @notice An amount, a least deposit or a supply of zero.
    error ZeroAmount();
    /// @notice A token or fee address of zero at deployment.
    error ZeroAddress();
    /// @notice More than the 96 bits that amounts have here.
    error AmountTooLarge(uint256 amount);
    /// @notice The internal balance does not cover the call.
    error InsufficientBalance(address account, uint256 available, uint256 needed);
    /// @notice Only the fee address may.
    error NotFeeAddress(address caller);
    /// @notice Above the highest fee, both in 1/100,000.
    error FeeTooHigh(uint256 fee, uint256 maximum);
    /// @notice Only who was proposed as the fee address may.
    error NotProposedFeeAddress(address caller);
    /// @notice A period of zero, or so long that a slip at deployment would lock money for ever.
    error PeriodOutOfRange();
    /// @notice The agent has registered this hash before, be it live or removed.
    error OfferingExists(address agent, bytes32 offering);
    /// @notice Never registered, or removed.
    error OfferingNotLive(address agent, bytes32 offering);
    /// @notice Every place is taken.
    error NoSupply(address agent, bytes32 offering);
    /// @notice A period has not passed yet: try again at block `allowedAt`.
    error TooEarly(uint256 currentBlock, uint256 allowedAt);
    /// @notice Below the offering's least deposit.
    error DepositTooSmall(uint256 deposit, uint256 minimum);
    /// @notice The client has opened this channel before: choose another nonce.
    error ChannelExists(bytes32 channelId);
    /// @notice Never opened, or closed.
    error ChannelNotOpen(bytes32 channelId);
    /// @notice Only the channel's client may.
    error NotClient(address caller);
    /// @notice Only the channel's agent may.
    error NotAgent(address caller);
    /// @notice A close request stands already; asking again would prolong the challenge.
    error CloseAlreadyRequested(bytes32 channelId);
    /// @notice The client has not asked to close, or cancelled by a top-up.
    error CloseNotRequested(bytes32 channelId);
    /// @notice More than the channel holds.
    error AmountAboveDeposit(uint256 amount, uint256 deposit);
    /// @notice The voucher brings nothing new: `paid` is credited already.
    error NothingToSettle(bytes32 channelId, uint256 paid);
    /// @notice Both sides signed less than what is credited already.
    error BelowPaid(uint256 amount, uint256 paid);
    /// @notice Malformed, malleable, or not by who has to sign.
    error InvalidSignature(bytes32 channelId);

    // ---------------------------------------------------------------- balances

    /// @notice Moves `amount` from the caller's wallet (allowance needed) to its internal balance.
    function deposit(uint256 amount) external;
    /// @notice The same with a permit, in one transaction. A permit already used by somebody else is harmless: the allowance decides.
    function depositWithPermit(uint256 amount, Permit calldata permit) external;
    /// @notice Moves `amount` from the caller's internal balance back to its wallet.
    function withdraw(uint256 amount) external;
    /// @notice The internal balance of `account`, in base units; of the fee address with the fees collected.
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
    /// @notice What is stored of an offering; all zero when it was never registered.
    function offerings(address agent, bytes32 offering) external view returns (Offering memory);

    // ---------------------------------------------------------------- channels

    /// @notice Opens a channel from the caller's internal balance.
    /// @param agent who sells, and is paid
    /// @param offering hash of a live offering of the agent
    /// @param nonce any number that the caller has not used under this offering with this signer
    /// @param signer who will sign vouchers, for this channel only; zero for the caller itself
    /// @param amount the deposit, at least the offering's
    /// @return channelId see `channelIdOf`
    function open(address agent, bytes32 offering, uint64 nonce, address signer, uint96 amount)
        external
        returns (bytes32 channelId);
    /// @notice Opens a channel straight from the caller's wallet; the allowance may come from the permit or from before.
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
    /// @notice The same straight from the client's wallet.
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

    /// @notice What is stored of a channel; all zero when it was never opened.
    function channels(bytes32 channelId) external view returns (Channel memory);
    /// @notice `keccak256(abi.encode(client, agent, token, salt, signer, this contract, chain id))` with the salt
    /// `keccak256(abi.encode(offering, nonce))`. An id can be opened once.
    function channelIdOf(Descriptor calldata descriptor) external view returns (bytes32);
    /// @notice What a channel's signer signs: EIP-712 `Voucher(bytes32 channelId,uint128 cumulativeAmount)`.
    function voucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);
    /// @notice What an agent signs to let anybody close: EIP-712 `Close(bytes32 channelId,uint128 cumulativeAmount)`.
    function closeDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);
    /// @notice The EIP-712 domain: name "EVM Payment Channel", version "1", chain id and this contract.
    function domainSeparator() external view returns (bytes32);

    // ---------------------------------------------------------------- configuration

    /// @notice The ERC-20 that everything is paid in.
    function token() external view returns (address);
    /// @notice Blocks between two announcements of an offering.
    function popUpPeriod() external view returns (uint40);
    /// @notice Blocks from an offering's last announcement to its removal.
    function removePeriod() external view returns (uint40);
    /// @notice Blocks in which an agent can answer a client's close request.
    function challengePeriod() external view returns (uint40);
    /// @notice The network fee in 1/100,000 of what agents are paid; offerings take it over when announced or refreshed.
    function fee() external view returns (uint16);
    /// @notice Who receives the network fee and sets it.
    function feeAddress() external view returns (address);
    /// @notice Who may become the fee address; zero for nobody.
    function proposedFeeAddress() external view returns (address);
    /// @notice Sets the network fee, at most 10,000 (10 %); only the fee address may.
    function setFee(uint16 newFee) external;
    /// @notice The first step of handing the fee address over; only the fee address may.
    function proposeFeeAddress(address proposed) external;
    /// @notice The second step; only the proposed address may. So the right to the fee cannot be lost by a slip.
    function acceptFeeAddress() external;
}
