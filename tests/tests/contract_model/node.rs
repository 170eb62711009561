//! The real contract on a real node, spoken to in the model's words.

use alloy::{
    primitives::{Address, B256, Bytes, LogData, U256},
    providers::{DynProvider, Provider as _},
    rpc::{
        client::BatchRequest,
        types::{TransactionReceipt, TransactionRequest},
    },
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, Fee, OfferingHash,
    model::{self, Call, Claim, Contract, Event, Revert},
};
use privatix_contracts::{
    ChannelInfo, ChannelState, IPSC, OfferingInfo, OfferingState, PSC, PTC, PscError, PscEvent, call,
    deploy::Periods,
};
use privatix_testkit::{Anvil, Contracts};
use serde_json::json;

use crate::action::{Cast, OFFERINGS, offering};

pub(crate) const PERIODS: Periods = Periods { pop_up: 8, remove: 5, challenge: 10 };
/// What everybody has in the contract at the beginning.
pub(crate) const BALANCE: Amount = Amount::new(1_000_000);
/// More than any call here takes.
const GAS: u64 = 5_000_000;
const SOURCE: (u8, &str) = (1, "127.0.0.1:7");

pub(crate) struct Node {
    anvil: Anvil,
    provider: DynProvider,
    pub(crate) contracts: Contracts,
    pub(crate) cast: Cast,
}

/// Everything that the contract tells when asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    balances: Vec<Amount>,
    wallets: Vec<Amount>,
    held: Amount,
    fee: Fee,
    fee_addresses: [Address; 2],
    offerings: Vec<OfferingInfo>,
    channels: Vec<ChannelInfo>,
}

impl Node {
    /// A node with the contracts, on which everybody has the same balance and has approved everything.
    pub(crate) async fn start() -> Self {
        let anvil = Anvil::start().await.unwrap();
        let contracts = anvil.deploy_with(PERIODS).await.unwrap();
        let cast = Cast {
            agents: [anvil.key(1), anvil.key(2)],
            clients: [anvil.key(3), anvil.key(4)],
            hot_key: anvil.key(5),
            stranger: anvil.key(6),
            fee_address: anvil.key(Contracts::FEE_ACCOUNT),
        };
        for index in [1, 2, 3, 4, 5, 6, Contracts::FEE_ACCOUNT] {
            let approval = call::approve(contracts.contract, Amount::MAX);
            anvil.send(index, contracts.token, &approval).await.unwrap();
            anvil.send(index, contracts.contract, &call::deposit(BALANCE)).await.unwrap();
        }
        let provider = anvil.provider();
        Self { anvil, provider, contracts, cast }
    }

    /// The model of what [`Self::start`] set up.
    pub(crate) fn model(&self) -> Contract {
        model_of(&self.cast, self.contracts.domain)
    }

    /// Runs a story on the set-up contract, and takes it back afterwards.
    pub(crate) async fn undone<T>(&self, story: impl AsyncFnOnce(&Self) -> T) -> T {
        let before = self.anvil.snapshot().await.unwrap();
        let outcome = story(self).await;
        assert!(self.anvil.revert(before).await.unwrap());
        outcome
    }

    pub(crate) async fn block(&self) -> u64 {
        self.anvil.block_number().await.unwrap()
    }

    pub(crate) async fn wait(&self, blocks: u64) {
        self.anvil.mine(blocks).await.unwrap();
    }

    /// Calls the contract in a block of its own, refused calls too.
    pub(crate) async fn call(&self, sender: Address, call: &Call) -> (u64, Result<Vec<Event>, PscError>) {
        let request = TransactionRequest::default()
            .from(sender)
            .to(self.contracts.contract)
            .input(encode(call).into())
            .gas_limit(GAS);
        // Receipts carry no reasons: the same call is tried in the block to come first.
        let tried = self.provider.call(request.clone()).pending().await;
        let receipt: TransactionReceipt =
            self.anvil.rpc("eth_sendTransactionSync", json!([request])).await.unwrap();
        let block = receipt.block_number.unwrap();
        assert_eq!(receipt.status(), tried.is_ok(), "the block to come was another: {tried:?}");
        match tried {
            Ok(_) => (block, Ok(self.events(&receipt))),
            Err(error) => (block, Err(PscError::of_transport(&error).unwrap_or_else(|| panic!("{error}")))),
        }
    }

    fn events(&self, receipt: &TransactionReceipt) -> Vec<Event> {
        let ours = receipt.inner.logs().iter().filter(|log| log.address() == self.contracts.contract);
        ours.map(|log| self.event(log.data())).collect()
    }

    fn event(&self, log: &LogData) -> Event {
        let event = PscEvent::decode(log).unwrap();
        if let (Some(parties), Some(chain_event)) = (event.channel(), event.chain_event()) {
            if let PscEvent::ChannelOpened { descriptor, .. } = &event {
                assert_eq!(
                    descriptor.id(&self.contracts.domain),
                    parties.id,
                    "the descriptor is the channel's"
                );
            }
            let (channel, client, agent) = (parties.id, parties.client, parties.agent);
            return Event::Channel { channel, client, agent, event: chain_event };
        }
        match event {
            PscEvent::Deposited { account, amount } => Event::Deposited { account, amount },
            PscEvent::Withdrawn { account, amount } => Event::Withdrawn { account, amount },
            PscEvent::OfferingRegistered(new) => {
                assert_eq!((new.source_type, new.source.as_str()), SOURCE);
                let (agent, offering) = (new.agent, new.offering);
                let (min_deposit, supply) = (new.min_deposit, new.supply);
                Event::OfferingRegistered { agent, offering, min_deposit, supply }
            }
            PscEvent::OfferingPoppedUp(new) => {
                assert_eq!((new.source_type, new.source.as_str()), SOURCE);
                let (agent, offering) = (new.agent, new.offering);
                let (min_deposit, supply) = (new.min_deposit, new.supply);
                Event::OfferingPoppedUp { agent, offering, min_deposit, supply }
            }
            PscEvent::OfferingRemoved { agent, offering } => Event::OfferingRemoved { agent, offering },
            PscEvent::OfferingFeeRefreshed { agent, offering, fee } => {
                Event::OfferingFeeRefreshed { agent, offering, fee: fee.get() }
            }
            PscEvent::FeeChanged { fee } => Event::FeeChanged { fee: fee.get() },
            PscEvent::FeeAddressProposed { current, proposed } => {
                Event::FeeAddressProposed { current, proposed }
            }
            PscEvent::FeeAddressChanged { previous, current } => {
                Event::FeeAddressChanged { previous, current }
            }
            other => panic!("the model knows no {other:?}"),
        }
    }

    /// What the contract answers now.
    pub(crate) async fn answers(&self, channels: impl IntoIterator<Item = ChannelId>) -> Answers {
        let (contract, token) = (self.contracts.contract, self.contracts.token);
        let mut batch = Batch::new(&self.provider);
        let mut balances = Vec::new();
        let mut wallets = Vec::new();
        for account in accounts(&self.cast) {
            balances.push(batch.ask(contract, &PSC::balanceOfCall { account }));
            wallets.push(batch.ask(token, &PTC::balanceOfCall { account }));
        }
        let held = batch.ask(token, &PTC::balanceOfCall { account: contract });
        let fee = batch.ask(contract, &PSC::feeCall {});
        let fee_address = batch.ask(contract, &PSC::feeAddressCall {});
        let proposed = batch.ask(contract, &PSC::proposedFeeAddressCall {});
        let offerings: Vec<_> = offerings(&self.cast)
            .map(|(agent, hash)| {
                batch.ask(contract, &PSC::offeringsCall { agent, offering: B256::from(hash) })
            })
            .collect();
        let channels: Vec<_> = channels
            .into_iter()
            .map(|id| batch.ask(contract, &PSC::channelsCall { channelId: id.into() }))
            .collect();

        let answers = batch.send().await;
        let amount = |place: usize| Amount::try_from(answers.get::<PSC::balanceOfCall>(place)).unwrap();
        Answers {
            balances: balances.into_iter().map(amount).collect(),
            wallets: wallets.into_iter().map(amount).collect(),
            held: amount(held),
            fee: Fee::new(answers.get::<PSC::feeCall>(fee)).unwrap(),
            fee_addresses: [
                answers.get::<PSC::feeAddressCall>(fee_address),
                answers.get::<PSC::proposedFeeAddressCall>(proposed),
            ],
            offerings: offerings
                .into_iter()
                .map(|place| answers.get::<PSC::offeringsCall>(place).into())
                .collect(),
            channels: channels
                .into_iter()
                .map(|place| answers.get::<PSC::channelsCall>(place).into())
                .collect(),
        }
    }

    /// The contract's own hashes: of a descriptor, of a voucher and of a close of its channel, and of the domain.
    pub(crate) async fn hashes(&self, descriptor: &ChannelDescriptor, cumulative: Amount) -> [B256; 4] {
        let contract = self.contracts.contract;
        let channel = descriptor.id(&self.contracts.domain).into();
        let cumulative = cumulative.get();
        let mut batch = Batch::new(&self.provider);
        let id = batch.ask(contract, &PSC::channelIdOfCall { descriptor: (*descriptor).into() });
        let voucher = PSC::voucherDigestCall { channelId: channel, cumulativeAmount: cumulative };
        let voucher = batch.ask(contract, &voucher);
        let close = PSC::closeDigestCall { channelId: channel, cumulativeAmount: cumulative };
        let close = batch.ask(contract, &close);
        let separator = batch.ask(contract, &PSC::domainSeparatorCall {});
        let answers = batch.send().await;
        [
            answers.get::<PSC::channelIdOfCall>(id),
            answers.get::<PSC::voucherDigestCall>(voucher),
            answers.get::<PSC::closeDigestCall>(close),
            answers.get::<PSC::domainSeparatorCall>(separator),
        ]
    }
}

/// The model at the beginning of every story.
pub(crate) fn model_of(cast: &Cast, domain: privatix_channel::Domain) -> Contract {
    let Periods { pop_up, remove, challenge } = PERIODS;
    let [pop_up, remove, challenge] = [pop_up, remove, challenge].map(u64::from);
    let periods = model::Periods { pop_up, remove, challenge };
    let mut contract = Contract::new(domain, cast.fee_address.address(), periods);
    for account in accounts(cast) {
        contract.fund(account, Contracts::FUNDS);
        contract.call(account, &Call::Deposit { amount: BALANCE }).unwrap();
    }
    contract
}

/// What the model says to the same questions.
pub(crate) fn expected(
    cast: &Cast,
    contract: &Contract,
    channels: impl IntoIterator<Item = ChannelId>,
) -> Answers {
    let offering = |(agent, hash)| match contract.offering(agent, hash) {
        Some(found) => OfferingInfo {
            min_deposit: found.min_deposit,
            supply: found.supply,
            open: found.open,
            updated_at: found.updated_at,
            fee: found.fee,
            state: match found.state {
                model::OfferingState::Live => OfferingState::Live,
                model::OfferingState::Removed => OfferingState::Removed,
            },
        },
        None => IPSC::Offering::default().into(),
    };
    let channel = |id| match contract.channel(id) {
        Some(found) => ChannelInfo {
            deposit: found.deposit,
            paid: found.paid,
            close_requested_at: found.close_requested_at,
            fee: found.fee,
            state: if found.open { ChannelState::Open } else { ChannelState::Closed },
        },
        None => IPSC::Channel::default().into(),
    };
    Answers {
        balances: accounts(cast).map(|account| contract.balance_of(account)).collect(),
        wallets: accounts(cast).map(|account| contract.wallet_of(account)).collect(),
        held: contract.held(),
        fee: contract.fee(),
        fee_addresses: [contract.fee_address(), contract.proposed_fee_address()],
        offerings: offerings(cast).map(offering).collect(),
        channels: channels.into_iter().map(channel).collect(),
    }
}

fn accounts(cast: &Cast) -> impl Iterator<Item = Address> {
    cast.everybody().into_iter().map(PrivateKeySigner::address)
}

fn offerings(cast: &Cast) -> impl Iterator<Item = (Address, OfferingHash)> {
    let agents = cast.agents.each_ref().map(PrivateKeySigner::address);
    agents.into_iter().flat_map(|agent| (0..OFFERINGS).map(move |number| (agent, offering(number))))
}

/// Several views in one request, so that a story of dozens of steps takes a second.
struct Batch<'a> {
    batch: BatchRequest<'a>,
    waiters: Vec<alloy::rpc::client::Waiter<Bytes>>,
}

struct BatchAnswers(Vec<Bytes>);

impl<'a> Batch<'a> {
    fn new(provider: &'a DynProvider) -> Self {
        Self { batch: BatchRequest::new(provider.client()), waiters: Vec::new() }
    }

    /// The place of the answer.
    fn ask(&mut self, to: Address, view: &impl SolCall) -> usize {
        let request = TransactionRequest::default().to(to).input(view.abi_encode().into());
        self.waiters.push(self.batch.add_call("eth_call", &(request, "latest")).unwrap());
        self.waiters.len() - 1
    }

    async fn send(self) -> BatchAnswers {
        self.batch.send().await.unwrap();
        let mut answers = Vec::new();
        for waiter in self.waiters {
            answers.push(waiter.await.unwrap());
        }
        BatchAnswers(answers)
    }
}

impl BatchAnswers {
    fn get<C: SolCall>(&self, place: usize) -> C::Return {
        C::abi_decode_returns(&self.0[place]).unwrap()
    }
}

fn encode(call: &Call) -> Vec<u8> {
    // Nobody signed this permit: the contract ignores it, as it must, and the allowance decides.
    let permit = IPSC::Permit::default();
    let wide = |amount: Amount| U256::from(amount.get());
    let narrow = |amount: Amount| amount.get().try_into().unwrap();
    let (source_type, source) = (SOURCE.0, SOURCE.1.to_owned());
    match *call {
        Call::Deposit { amount } => PSC::depositCall { amount: wide(amount) }.abi_encode(),
        Call::Withdraw { amount } => PSC::withdrawCall { amount: wide(amount) }.abi_encode(),
        Call::RegisterOffering { offering, min_deposit, supply } => {
            call::register_offering(offering, min_deposit, supply, source_type, source).unwrap().abi_encode()
        }
        Call::PopUpOffering { offering } => call::pop_up_offering(offering, source_type, source).abi_encode(),
        Call::RemoveOffering { offering } => call::remove_offering(offering).abi_encode(),
        Call::RefreshOfferingFee { agent, offering } => {
            PSC::refreshOfferingFeeCall { agent, offering: offering.into() }.abi_encode()
        }
        Call::Open { agent, offering, nonce, signer, amount } => {
            PSC::openCall { agent, offering: offering.into(), nonce, signer, amount: narrow(amount) }
                .abi_encode()
        }
        Call::OpenFromWallet { agent, offering, nonce, signer, amount } => {
            let (offering, amount) = (offering.into(), narrow(amount));
            PSC::openWithPermitCall { agent, offering, nonce, signer, amount, permit }.abi_encode()
        }
        Call::TopUp { descriptor, amount } => {
            PSC::topUpCall { descriptor: descriptor.into(), amount: narrow(amount) }.abi_encode()
        }
        Call::TopUpFromWallet { descriptor, amount } => {
            let (descriptor, amount) = (descriptor.into(), narrow(amount));
            PSC::topUpWithPermitCall { descriptor, amount, permit }.abi_encode()
        }
        Call::Settle { descriptor, cumulative, ref signature } => PSC::settleCall {
            descriptor: descriptor.into(),
            cumulativeAmount: cumulative.get(),
            signature: Bytes::copy_from_slice(signature),
        }
        .abi_encode(),
        Call::SettleBatch { agent, ref claims } => {
            PSC::settleBatchCall { agent, claims: claims.iter().map(claim).collect() }.abi_encode()
        }
        Call::Close { descriptor, cumulative, ref signature } => PSC::closeCall {
            descriptor: descriptor.into(),
            cumulativeAmount: cumulative.get(),
            signature: Bytes::copy_from_slice(signature),
        }
        .abi_encode(),
        Call::CloseBatch { ref claims } => {
            PSC::closeBatchCall { claims: claims.iter().map(claim).collect() }.abi_encode()
        }
        Call::CloseWithBoth { descriptor, cumulative, ref voucher, ref close } => PSC::closeWithBothCall {
            descriptor: descriptor.into(),
            cumulativeAmount: cumulative.get(),
            voucherSignature: Bytes::copy_from_slice(voucher),
            closeSignature: Bytes::copy_from_slice(close),
        }
        .abi_encode(),
        Call::RequestClose { descriptor, admitted } => {
            PSC::requestCloseCall { descriptor: descriptor.into(), admitted: admitted.get() }.abi_encode()
        }
        Call::FinalizeClose { descriptor } => {
            PSC::finalizeCloseCall { descriptor: descriptor.into() }.abi_encode()
        }
        Call::SetFee { fee } => PSC::setFeeCall { newFee: fee }.abi_encode(),
        Call::ProposeFeeAddress { proposed } => PSC::proposeFeeAddressCall { proposed }.abi_encode(),
        Call::AcceptFeeAddress => PSC::acceptFeeAddressCall {}.abi_encode(),
    }
}

fn claim(claim: &Claim) -> IPSC::Claim {
    IPSC::Claim {
        client: claim.client,
        offering: claim.offering.into(),
        nonce: claim.nonce,
        signer: claim.signer,
        cumulativeAmount: claim.cumulative.get(),
        signature: Bytes::copy_from_slice(&claim.signature),
    }
}

/// The model's error as the bindings tell the contract's, with every value.
pub(crate) fn error_of(revert: Revert) -> PscError {
    let wide = |amount: Amount| U256::from(amount.get());
    let block = U256::from::<u64>;
    match revert {
        Revert::ZeroAmount => PscError::ZeroAmount,
        Revert::AmountTooLarge { amount } => PscError::AmountTooLarge { amount: wide(amount) },
        Revert::InsufficientBalance { account, available, needed } => {
            PscError::InsufficientBalance { account, available: wide(available), needed: wide(needed) }
        }
        Revert::InsufficientWallet { account, available, needed } => {
            PscError::InsufficientTokens { owner: account, available: wide(available), needed: wide(needed) }
        }
        Revert::NotFeeAddress { caller } => PscError::NotFeeAddress { caller },
        Revert::FeeTooHigh { fee } => {
            PscError::FeeTooHigh { fee: U256::from(fee), maximum: U256::from(Fee::MAX.get()) }
        }
        Revert::NotProposedFeeAddress { caller } => PscError::NotProposedFeeAddress { caller },
        Revert::OfferingExists { agent, offering } => PscError::OfferingExists { agent, offering },
        Revert::OfferingNotLive { agent, offering } => PscError::OfferingNotLive { agent, offering },
        Revert::NoSupply { agent, offering } => PscError::NoSupply { agent, offering },
        Revert::TooEarly { current_block, allowed_at } => {
            PscError::TooEarly { current: block(current_block), allowed_at: block(allowed_at) }
        }
        Revert::DepositTooSmall { deposit, minimum } => {
            PscError::DepositTooSmall { deposit: wide(deposit), minimum: wide(minimum) }
        }
        Revert::ChannelExists { channel } => PscError::ChannelExists { channel },
        Revert::ChannelNotOpen { channel } => PscError::ChannelNotOpen { channel },
        Revert::NotClient { caller } => PscError::NotClient { caller },
        Revert::NotAgent { caller } => PscError::NotAgent { caller },
        Revert::CloseAlreadyRequested { channel } => PscError::CloseAlreadyRequested { channel },
        Revert::CloseNotRequested { channel } => PscError::CloseNotRequested { channel },
        Revert::AmountAboveDeposit { amount, deposit } => {
            PscError::AmountAboveDeposit { amount: wide(amount), deposit: wide(deposit) }
        }
        Revert::NothingToSettle { channel, paid } => PscError::NothingToSettle { channel, paid: wide(paid) },
        Revert::BelowPaid { amount, paid } => PscError::BelowPaid { amount: wide(amount), paid: wide(paid) },
        Revert::InvalidSignature { channel } => PscError::InvalidSignature { channel },
    }
}
