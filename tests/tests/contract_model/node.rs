//! The real contract on a real node, behind the model's types.

use alloy::{
    primitives::{Address, B256, Bytes, hex},
    providers::{DynProvider, Provider as _},
    rpc::{
        client::BatchRequest,
        types::{TransactionReceipt, TransactionRequest},
    },
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, Domain, Fee, OfferingHash, Period, Terms,
    model::{self, Call, Code, Contract, Returned},
};
use privatix_contracts::{
    ChannelInfo, ChannelState, IPSC, OfferingInfo, OfferingState, PSC, PTC, PscError, PscEvent, call,
};
use privatix_testkit::{Anvil, Contracts};
use serde_json::json;

use crate::{
    action::{Cast, OFFERINGS, offering},
    translate::{encode, returned},
};

/// All but the challenge, which is the shortest that there can be, are a few calls long.
pub(crate) const TERMS: Terms = Terms {
    pop_up: Period::new(12),
    remove: Period::new(6),
    challenge: Terms::SHORTEST_CHALLENGE,
    fee_delay: Period::new(20),
    min_stake: Amount::new(100),
};
/// What everybody has in the contract at the beginning.
pub(crate) const BALANCE: Amount = Amount::new(1_000_000);
/// More than any call here takes.
const GAS: u64 = 5_000_000;
/// Code that answers every ERC-1271 question with the magic value.
const ACCEPTS_ALL: [u8; 14] = hex!("631626ba7e60e01b5f5260205ff3");
/// Code that returns nothing.
const REFUSES_ALL: [u8; 1] = hex!("00");

pub(crate) struct Node {
    anvil: Anvil,
    provider: DynProvider,
    pub(crate) contracts: Contracts,
    pub(crate) cast: Cast,
}

/// Everything that the contract's views answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    balances: Vec<Amount>,
    wallets: Vec<Amount>,
    held: Amount,
    fee: Fee,
    next_fee: Option<(Fee, ChainTime)>,
    fee_addresses: [Address; 2],
    operators: Vec<(Address, u64)>,
    offerings: Vec<OfferingInfo>,
    channels: Vec<ChannelInfo>,
}

/// What a call did that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) events: Vec<PscEvent>,
    pub(crate) returned: Returned,
}

impl Node {
    /// A node with the contracts, on which everybody has the same balance and has approved everything.
    pub(crate) async fn start() -> Self {
        let anvil = Anvil::start().await.unwrap();
        let contracts = anvil.deploy_with(TERMS).await.unwrap();
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
        // The node signs for its accounts with the chain's first id only, and stories change it.
        let _: serde_json::Value = anvil.rpc("anvil_autoImpersonateAccount", json!([true])).await.unwrap();
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
        // The chain's id is not part of a snapshot.
        self.anvil.set_chain_id(self.contracts.domain.chain_id()).await.unwrap();
        assert!(self.anvil.revert(before).await.unwrap());
        outcome
    }

    /// The time of the newest block.
    pub(crate) async fn time(&self) -> ChainTime {
        self.anvil.time().await.unwrap()
    }

    /// Gives the chain another id.
    pub(crate) async fn fork(&self, chain_id: u64) {
        self.anvil.set_chain_id(chain_id).await.unwrap();
    }

    /// Gives an account code, or takes it away.
    pub(crate) async fn set_code(&self, account: Address, code: Option<Code>) {
        let code: &[u8] = match code {
            Some(Code::AcceptsAll) => &ACCEPTS_ALL,
            Some(Code::RefusesAll) => &REFUSES_ALL,
            None => &[],
        };
        self.anvil.set_code(account, code).await.unwrap();
    }

    /// Calls the contract in a block of its own with this time, refused calls too.
    pub(crate) async fn call(&self, time: ChainTime, sender: Address, call: &Call) -> Result<Done, PscError> {
        self.anvil.set_next_block_time(time).await.unwrap();
        let request = TransactionRequest::default()
            .from(sender)
            .to(self.contracts.contract)
            .input(encode(call).into())
            .gas_limit(GAS);
        // Receipts carry no reasons and no returned values: the same call is tried in the block to come first.
        let tried = self.provider.call(request.clone()).pending().await;
        let receipt: TransactionReceipt =
            self.anvil.rpc("eth_sendTransactionSync", json!([request])).await.unwrap();
        assert_eq!(self.time().await, time);
        assert_eq!(receipt.status(), tried.is_ok(), "the block to come was another: {tried:?}");
        match tried {
            Ok(data) => Ok(Done { events: self.events(&receipt), returned: returned(call, &data) }),
            Err(error) => Err(PscError::of_transport(&error).unwrap_or_else(|| panic!("{error}"))),
        }
    }

    fn events(&self, receipt: &TransactionReceipt) -> Vec<PscEvent> {
        let ours = receipt.inner.logs().iter().filter(|log| log.address() == self.contracts.contract);
        let events: Vec<_> = ours.map(|log| PscEvent::decode(log.data()).unwrap()).collect();
        for event in &events {
            if let PscEvent::ChannelOpened { channel, descriptor, .. } = event {
                assert_eq!(
                    descriptor.id(&self.contracts.domain),
                    *channel,
                    "the descriptor is the channel's"
                );
            }
        }
        events
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
        let next_fee = batch.ask(contract, &PSC::nextFeeCall {});
        let operators: Vec<_> = accounts(&self.cast)
            .map(|account| {
                let operator = batch.ask(contract, &PSC::operatorOfCall { agent: account });
                (operator, batch.ask(contract, &PSC::nonceOfCall { account }))
            })
            .collect();
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
            next_fee: {
                let next = answers.get::<PSC::nextFeeCall>(next_fee);
                let at = ChainTime::new(next._1.to::<u64>());
                (at.seconds() != 0).then(|| (Fee::new(next._0).unwrap(), at))
            },
            operators: operators
                .into_iter()
                .map(|(operator, nonce)| {
                    let operator = answers.get::<PSC::operatorOfCall>(operator);
                    (operator, answers.get::<PSC::nonceOfCall>(nonce))
                })
                .collect(),
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

    /// The contract's own hashes: of a descriptor, of a voucher, a consent and a close request of its channel, and of the
    /// domain.
    pub(crate) async fn hashes(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        nonce: u64,
        deadline: ChainTime,
    ) -> [B256; 5] {
        let contract = self.contracts.contract;
        let channel = descriptor.id(&self.contracts.domain).into();
        let cumulative = cumulative.get();
        let mut batch = Batch::new(&self.provider);
        let id = batch.ask(contract, &PSC::channelIdOfCall { d: (*descriptor).into() });
        let voucher = PSC::voucherDigestCall { channelId: channel, cumulativeAmount: cumulative };
        let voucher = batch.ask(contract, &voucher);
        let deadline = deadline.seconds();
        let close =
            PSC::closeDigestCall { channelId: channel, cumulativeAmount: cumulative, nonce, deadline };
        let close = batch.ask(contract, &close);
        let request =
            PSC::requestCloseDigestCall { channelId: channel, admitted: cumulative, nonce, deadline };
        let request = batch.ask(contract, &request);
        let separator = batch.ask(contract, &PSC::domainSeparatorCall {});
        let answers = batch.send().await;
        [
            answers.get::<PSC::channelIdOfCall>(id),
            answers.get::<PSC::voucherDigestCall>(voucher),
            answers.get::<PSC::closeDigestCall>(close),
            answers.get::<PSC::requestCloseDigestCall>(request),
            answers.get::<PSC::domainSeparatorCall>(separator),
        ]
    }
}

/// The model at the beginning of every story.
pub(crate) fn model_of(cast: &Cast, domain: Domain) -> Contract {
    let mut contract = Contract::new(domain, cast.fee_address.address(), TERMS);
    for account in accounts(cast) {
        contract.fund(account, Contracts::FUNDS);
        contract.call(account, &Call::Deposit { amount: BALANCE }).unwrap();
    }
    contract
}

/// What the model answers to the same questions.
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
            challenge_ends_at: found.challenge_ends_at,
            fee: found.fee,
            state: if found.open { ChannelState::Open } else { ChannelState::Closed },
            disputed: found.disputed,
        },
        None => IPSC::Channel::default().into(),
    };
    Answers {
        balances: accounts(cast).map(|account| contract.balance_of(account)).collect(),
        wallets: accounts(cast).map(|account| contract.wallet_of(account)).collect(),
        held: contract.held(),
        fee: contract.fee(),
        next_fee: contract.next_fee(),
        operators: accounts(cast)
            .map(|account| (contract.operator_of(account), contract.nonce_of(account)))
            .collect(),
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
