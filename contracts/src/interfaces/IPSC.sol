// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Privatix service contract: offerings and unidirectional payment channels for metered services.
/// @notice A client locks a deposit for one agent, pays by signed cumulative vouchers off chain, and either side closes.
/// Money in a channel can only go to its agent (with a voucher of the channel's signer) or back to its client.
/// @dev All amounts are base units of `token()`; all times and periods are seconds (block timestamps). A signed amount is a
/// ceiling: what is paid is the lesser of it and the channel's deposit.
interface IPSC {
    // ---------------------------------------------------------------- types

    /// @notice What identifies a channel. Never stored: passed in calldata and emitted in events.
    struct Descriptor {
        address client;
        address agent;
        bytes32 offering;
        uint64 nonce; // chosen by the client; together with the offering it is the channel's salt
        // Whose key signs vouchers, by ECDSA only. Zero leaves it to the client's account: its key while the account has no
        // code, else whatever its code accepts (ERC-1271), now and later.
        address signer;
    }

    /// @notice A channel's whole state on chain (one slot).
    struct Channel {
        uint96 deposit;
        uint96 paid; // cumulative amount already credited to the agent, fee included
        uint40 challengeEndsAt; // when the client's close can be finalized; 0 when no close request stands
        uint16 fee; // network fee in 1/100,000, fixed at opening
        ChannelState state;
        bool disputed; // while the close request stood, the agent was paid more than the client admitted
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
        uint40 updatedAt; // time of the registration or of the last pop-up
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

    /// @notice An EIP-3009 authorization of a token transfer to this contract; its nonce follows from the call.
    struct Authorization {
        uint256 validAfter;
        uint256 validBefore;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice An agent's agreement to close at an amount: EIP-712
    /// `Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)`, by the agent's key or its operator's.
    struct Consent {
        uint64 nonce; // `nonceOf(agent)`
        uint64 deadline; // the last second in which it counts
        bytes signature;
    }

    /// @notice How a channel ended. Disputed: while a close request stood, the agent was paid more than the client admitted.
    enum Closure {
        ByAgent,
        ByAgentDisputed,
        ByBoth,
        ByClient, // nobody claimed more than the client admitted: both agreed
        ByClientDisputed
    }

    /// @notice Why a row of a batch took no effect.
    enum SkipReason {
        NotOpened,
        Closed,
        NothingToSettle,
        InvalidSignature
    }

    /// @notice What a deployment fixes for ever, in seconds and base units.
    struct Terms {
        uint40 popUpPeriod; // the least time between two announcements of an offering
        uint40 removePeriod; // the least time from an offering's last announcement until it may be removed
        uint40 challengePeriod; // in which an agent can answer a client's close request
        uint40 feeDelay; // from the announcement of a higher fee until it counts; more than `removePeriod`
        uint96 minStake; // the least stake behind each place of an offering
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

    /// @notice Tokens arrived for `account`'s internal balance; `amount` is what this contract received.
    event Deposited(address indexed account, uint256 amount);
    /// @notice Tokens moved from `account`'s internal balance to the wallet `to`.
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    /// @notice An agent appointed an operator; zero for none. Consents signed until now are void.
    /// @param nonce the agent's nonce from now on
    event OperatorChanged(address indexed agent, address indexed operator, uint64 nonce);
    /// @notice Consents and relayed close requests of `account` that carry an older nonce are void.
    event ConsentsRevoked(address indexed account, uint64 nonce);

    /// @notice An agent announced an offering.
    /// @param offering hash of the offering message, which the agent serves at `source`
    /// @param minDeposit the least deposit of a channel, and the agent's stake behind each place
    /// @param supply free places
    /// @param fee the network fee of channels opened under it from now on
    /// @param sourceType how `source` is to be read: 0 an onion service, 1 a host and port
    event OfferingRegistered(
        address indexed agent,
        bytes32 indexed offering,
        uint96 minDeposit,
        uint32 supply,
        uint16 fee,
        uint8 sourceType,
        string source
    );
    /// @notice An agent announced a live offering again; `supply` are the places free now.
    event OfferingPoppedUp(
        address indexed agent,
        bytes32 indexed offering,
        uint96 minDeposit,
        uint32 supply,
        uint16 fee,
        uint8 sourceType,
        string source
    );
    /// @notice No channel can be opened under the offering any more; those open go on.
    event OfferingRemoved(address indexed agent, bytes32 indexed offering);
    /// @notice The offering's next channels will have this network fee.
    event OfferingFeeRefreshed(address indexed agent, bytes32 indexed offering, uint16 fee);

    /// @notice A client opened a channel; the offering has one free place less.
    /// @param signer whose key signs vouchers; zero leaves it to the client's account
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
    /// @param deposit the channel's deposit after the top-up
    /// @param requestCancelled whether a close request stood, which the top-up cancelled
    event ChannelToppedUp(
        bytes32 indexed channelId,
        address indexed client,
        address indexed agent,
        uint96 deposit,
        bool requestCancelled
    );
    /// @notice A voucher was cashed; the channel stays open.
    /// @param paid cumulative amount credited to the agent, fee included
    event ChannelSettled(
        bytes32 indexed channelId, address indexed client, address indexed agent, uint96 paid
    );
    /// @notice A client asked to close alone: the challenge starts.
    /// @param paid cumulative amount credited to the agent, what the client admitted included
    /// @param challengeEndsAt from then on the close can be finalized
    event ChannelCloseRequested(
        bytes32 indexed channelId,
        address indexed client,
        address indexed agent,
        uint96 paid,
        uint40 challengeEndsAt
    );
    /// @notice A client took its close request back.
    event ChannelCloseCancelled(bytes32 indexed channelId, address indexed client, address indexed agent);
    /// @notice A channel closed; if its offering is live, it has one free place more.
    /// @param paid cumulative amount credited to the agent over the channel's life, fee included
    /// @param refund what the client got back of the deposit
    /// @param closure who closed, and whether it was disputed
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed client,
        address indexed agent,
        bytes32 offering,
        uint96 paid,
        uint96 refund,
        Closure closure
    );
    /// @notice Row `index` of this transaction's batch took no effect.
    /// @dev Without a topic for the agent: anybody can cause it for any, so it is to be read in one's own receipts only.
    event ClaimSkipped(uint256 indexed index, bytes32 indexed channelId, SkipReason reason);

    /// @notice The network fee, in 1/100,000, of offerings announced or refreshed from `effectiveAt` on: now when it falls, after
    /// `feeDelay` when it rises. Withdraws an increase announced before that does not count yet.
    event FeeChanged(uint16 fee, uint40 effectiveAt);
    /// @notice `proposed` may become the fee address by accepting; zero withdraws an earlier proposal.
    event FeeAddressProposed(address indexed current, address indexed proposed);
    /// @notice The fee address changed hands; what was collected until now stays with `previous`.
    event FeeAddressChanged(address indexed previous, address indexed current);

    // ---------------------------------------------------------------- errors

    /// @notice An amount, a supply or a least stake of zero.
    error ZeroAmount();
    /// @notice An address of zero where somebody must be named.
    error ZeroAddress();
    /// @notice Tokens cannot be sent here: they would be nobody's.
    error InvalidRecipient(address recipient);
    /// @notice The token does not return its balances.
    error TokenSilent();
    /// @notice A call of this contract from inside of the token while tokens arrive.
    error Reentered();
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
    /// @notice A period too short for its purpose, or so long that a mistake at deployment would lock money for ever.
    error PeriodOutOfRange();
    /// @notice The agent has registered this hash before, be it live or removed.
    error OfferingExists(address agent, bytes32 offering);
    /// @notice Never registered, or removed.
    error OfferingNotLive(address agent, bytes32 offering);
    /// @notice Every place is taken.
    error NoSupply(address agent, bytes32 offering);
    /// @notice A stake for each place below the deployment's least.
    error StakeTooSmall(uint256 stake, uint256 minimum);
    /// @notice More bytes than an address to fetch an offering from can need.
    error SourceTooLong(uint256 length, uint256 maximum);
    /// @notice A period has not passed yet: try again at `allowedAt`.
    error TooEarly(uint256 currentTime, uint256 allowedAt);
    /// @notice The last second in which the signature counted was `deadline`.
    error Expired(uint256 deadline);
    /// @notice The signature was revoked, or is not for this account.
    error WrongNonce(uint256 given, uint256 current);
    /// @notice Below the offering's least deposit.
    error DepositTooSmall(uint256 deposit, uint256 minimum);
    /// @notice The client has opened this channel before: choose another nonce.
    error ChannelExists(bytes32 channelId);
    /// @notice Never opened, or closed.
    error ChannelNotOpen(bytes32 channelId);
    /// @notice Only the channel's client may.
    error NotClient(address caller);
    /// @notice Only the agent or its operator may.
    error NotAgent(address caller);
    /// @notice A close request stands already; asking again would prolong the challenge.
    error CloseAlreadyRequested(bytes32 channelId);
    /// @notice The client has not asked to close, or took it back.
    error CloseNotRequested(bytes32 channelId);
    /// @notice The voucher brings nothing new: `paid` is credited already.
    error NothingToSettle(bytes32 channelId, uint256 paid);
    /// @notice Both sides signed less than what is credited already.
    error BelowPaid(uint256 amount, uint256 paid);
    /// @notice Malformed, malleable, or not by who has to sign.
    error InvalidSignature(bytes32 channelId);
    /// @notice Too little gas to give a contract account all that its answer may take.
    error InsufficientGas();

    // ---------------------------------------------------------------- balances

    /// @notice Moves `amount` from the caller's wallet (allowance needed) to its internal balance. What arrives is credited: with a
    /// token that takes a fee from transfers, less.
    function deposit(uint256 amount) external;
    /// @notice The same for another account's internal balance.
    function depositFor(address account, uint256 amount) external;
    /// @notice `deposit` with a permit, in one transaction. A permit already used by somebody else is harmless: the allowance decides.
    function depositWithPermit(uint256 amount, Permit calldata permit) external;
    /// @notice Moves `amount` from the caller's internal balance back to its wallet.
    function withdraw(uint256 amount) external;
    /// @notice The same to another wallet.
    function withdrawTo(address to, uint256 amount) external;
    /// @notice Moves everything free, collected fees included, to the wallet `to`. When that is nothing, nothing happens.
    function withdrawAll(address to) external returns (uint256 amount);
    /// @notice The internal balance of `account`, in base units; of the fee address with the fees collected.
    function balanceOf(address account) external view returns (uint256);
    /// @notice Several calls of the caller in one transaction: all succeed, or none.
    function multicall(bytes[] calldata calls) external returns (bytes[] memory results);

    // ---------------------------------------------------------------- operators and consents

    /// @notice Appoints who may act for the caller as an agent; zero for nobody. Voids all consents signed so far.
    /// @dev An operator moves no money but to the agent's own balance. It can lock that balance in stakes, and close channels
    /// below vouchers that are not settled yet.
    function setOperator(address operator) external;
    /// @notice Who may act for `agent`; zero for nobody.
    function operatorOf(address agent) external view returns (address);
    /// @notice Voids all consents and relayed close requests of `account`; the account or its operator may.
    function revokeConsents(address account) external;
    /// @notice What a consent of the agent, or a relayed close request of the client, must carry.
    function nonceOf(address account) external view returns (uint64);

    // ---------------------------------------------------------------- offerings

    /// @notice Announces an offering and locks `minDeposit * supply` of the caller's internal balance.
    /// @param minDeposit at least the deployment's `minStake`
    /// @param source at most 300 bytes
    function registerOffering(
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) external;
    /// @notice The same for `agent`, by itself or its operator, from the agent's internal balance.
    function registerOfferingFor(
        address agent,
        bytes32 offering,
        uint96 minDeposit,
        uint32 supply,
        uint8 sourceType,
        string calldata source
    ) external;
    /// @notice Announces it again, at least `popUpPeriod` after its last announcement; it takes over the network fee in force.
    function popUpOffering(bytes32 offering, uint8 sourceType, string calldata source) external;
    /// @notice The same for `agent`, by itself or its operator.
    function popUpOfferingFor(address agent, bytes32 offering, uint8 sourceType, string calldata source)
        external;
    /// @notice Removes it, at least `removePeriod` after its last announcement. Returns the stake of unused supply now, the stake
    /// behind each open channel when that channel closes.
    function removeOffering(bytes32 offering) external;
    /// @notice The same for `agent`, by itself or its operator; the stake returns to the agent.
    function removeOfferingFor(address agent, bytes32 offering) external;
    /// @notice Brings the network fee that the offering's next channels will have up to date; anybody may. Lowers it at once,
    /// raises it only `feeDelay` after the offering's last announcement, so that the agent could leave first.
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
    /// @param signer whose key will sign vouchers, for this channel only; zero leaves it to the caller's account
    /// @param amount the deposit, at least the offering's
    /// @return channelId see `channelIdOf`
    function open(address agent, bytes32 offering, uint64 nonce, address signer, uint96 amount)
        external
        returns (bytes32 channelId);
    /// @notice Opens a channel straight from the caller's wallet; the allowance may come from the permit or from before. The
    /// deposit is what arrives.
    function openWithPermit(
        address agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 amount,
        Permit calldata permit
    ) external returns (bytes32 channelId);
    /// @notice Opens a channel from `client`'s wallet by its EIP-3009 authorization over `amount`; anybody may submit it.
    /// @dev The authorization's nonce is the channel's id: so the client has signed agent, offering, nonce, signer and contract.
    function openWithAuthorization(
        address client,
        address agent,
        bytes32 offering,
        uint64 nonce,
        address signer,
        uint96 amount,
        Authorization calldata authorization
    ) external returns (bytes32 channelId);
    /// @notice Adds to the deposit from the client's internal balance; cancels its pending close request.
    function topUp(Descriptor calldata descriptor, uint96 amount) external;
    /// @notice The same straight from the client's wallet.
    function topUpWithPermit(Descriptor calldata descriptor, uint96 amount, Permit calldata permit) external;
    /// @notice Adds to the deposit from the client's wallet by its EIP-3009 authorization; anybody may submit it. Refused while a
    /// close request stands: nobody but the client may stop its exit.
    /// @param salt chosen by the client; the authorization's nonce is `keccak256(abi.encode(channelId, salt))`
    function topUpWithAuthorization(
        Descriptor calldata descriptor,
        uint96 amount,
        bytes32 salt,
        Authorization calldata authorization
    ) external;

    /// @notice Credits the agent up to `cumulativeAmount`; anybody with a valid voucher may call; the channel stays open.
    function settle(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external;
    /// @notice `settle` for many channels of one agent. A row that cannot be settled is skipped and reported by `ClaimSkipped`.
    /// @dev Add 100,000 gas to an estimate for each channel without a signer: a contract account may take more than it took then.
    /// @return settled the rows that took effect
    function settleBatch(address agent, Claim[] calldata claims) external returns (uint256 settled);
    /// @notice The agent or its operator closes at once: the agent is credited up to `cumulativeAmount` (with the voucher; none is
    /// needed for an amount that is already paid), the client gets the rest.
    function close(Descriptor calldata descriptor, uint128 cumulativeAmount, bytes calldata signature)
        external;
    /// @notice `close` for many channels of the caller. A row that cannot be closed is skipped and reported by `ClaimSkipped`.
    /// @return closed the rows that took effect
    function closeBatch(Claim[] calldata claims) external returns (uint256 closed);
    /// @notice The same for `agent`, by itself or its operator.
    function closeBatchFor(address agent, Claim[] calldata claims) external returns (uint256 closed);
    /// @notice Anybody closes at once with both signatures: the voucher and the agent's consent over the same amount.
    /// @dev A consent ends with its deadline, when its nonce is revoked, and when more than its amount is paid. An agent that has
    /// signed one takes no voucher above it until then: the contract cannot know a voucher that nobody shows.
    function closeWithBoth(
        Descriptor calldata descriptor,
        uint128 cumulativeAmount,
        bytes calldata voucherSignature,
        Consent calldata consent
    ) external;
    /// @notice The client asks to close alone: what it admits (cumulative, at least what is paid) is credited at once, the challenge
    /// for the rest starts.
    function requestClose(Descriptor calldata descriptor, uint128 admitted) external;
    /// @notice The same by a signature of whoever signs the channel's vouchers; anybody may submit it.
    /// @param nonce `nonceOf(client)`
    /// @param deadline the last second in which it counts
    function requestCloseFor(
        Descriptor calldata descriptor,
        uint128 admitted,
        uint64 nonce,
        uint64 deadline,
        bytes calldata signature
    ) external;
    /// @notice The client takes its close request back.
    function cancelClose(Descriptor calldata descriptor) external;
    /// @notice After the challenge anybody may close for the client, whose internal balance gets the rest.
    function finalizeClose(Descriptor calldata descriptor) external;

    /// @notice What is stored of a channel; all zero when the id is not one's.
    function channels(bytes32 channelId) external view returns (Channel memory);
    /// @notice `keccak256(abi.encode(client, agent, token, salt, signer, this contract, chain id of the deployment))` with the salt
    /// `keccak256(abi.encode(offering, nonce))`. An id can be opened once. A fork with another chain id keeps all ids.
    function channelIdOf(Descriptor calldata descriptor) external view returns (bytes32);
    /// @notice What a channel's signer signs: EIP-712 `Voucher(bytes32 channelId,uint128 cumulativeAmount)`.
    function voucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);
    /// @notice What an agent signs to let anybody close: EIP-712
    /// `Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)`.
    function closeDigest(bytes32 channelId, uint128 cumulativeAmount, uint64 nonce, uint64 deadline)
        external
        view
        returns (bytes32);
    /// @notice What a channel's signer signs to let anybody request its close: EIP-712
    /// `RequestClose(bytes32 channelId,uint128 admitted,uint64 nonce,uint64 deadline)`.
    function requestCloseDigest(bytes32 channelId, uint128 admitted, uint64 nonce, uint64 deadline)
        external
        view
        returns (bytes32);
    /// @notice The EIP-712 domain: name "EVM Payment Channel", version "1", the chain's id now and this contract.
    function domainSeparator() external view returns (bytes32);
    /// @notice The same as fields (ERC-5267).
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        );

    // ---------------------------------------------------------------- configuration

    /// @notice The ERC-20 that everything is paid in.
    function token() external view returns (address);
    /// @notice The chain's id at the deployment, which every channel's id contains.
    function deploymentChainId() external view returns (uint256);
    /// @notice Seconds between two announcements of an offering.
    function popUpPeriod() external view returns (uint40);
    /// @notice Seconds from an offering's last announcement to its removal.
    function removePeriod() external view returns (uint40);
    /// @notice Seconds in which an agent can answer a client's close request.
    function challengePeriod() external view returns (uint40);
    /// @notice Seconds from the announcement of a higher fee until it counts; more than `removePeriod`.
    function feeDelay() external view returns (uint40);
    /// @notice The least stake behind each place of an offering.
    function minStake() external view returns (uint96);
    /// @notice The network fee in force, in 1/100,000 of what agents are paid; offerings take it over when announced or refreshed.
    function fee() external view returns (uint16);
    /// @notice A higher fee that is announced and since when it counts; zeros when there is none.
    function nextFee() external view returns (uint16 fee, uint40 effectiveAt);
    /// @notice Who receives the network fee and sets it.
    function feeAddress() external view returns (address);
    /// @notice Who may become the fee address; zero for nobody.
    function proposedFeeAddress() external view returns (address);
    /// @notice Sets the network fee, at most 10,000 (10 %); only the fee address may. A higher fee counts after `feeDelay`, another
    /// at once. The fee in force, set again, withdraws an announced increase.
    function setFee(uint16 newFee) external;
    /// @notice The first step of handing the fee address over; only the fee address may.
    function proposeFeeAddress(address proposed) external;
    /// @notice The second step; only the proposed address may. So the right to the fee cannot be lost by a mistake.
    function acceptFeeAddress() external;
}
