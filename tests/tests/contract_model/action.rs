//! Random actions: what any account might send to the contract, good and bad.
//!
//! An action is told relative to what there is ("the second open channel, a voucher over its deposit plus one"), so that
//! random ones hit something, and is made into a [`Call`] when its turn comes.

use alloy::{
    primitives::{Address, U256, keccak256, uint},
    signers::local::PrivateKeySigner,
};
use privatix_channel::{
    Amount, ChannelDescriptor, CloseAuthorization, Domain, OfferingHash, Voucher,
    model::{Call, Claim, Contract},
    sign_close, sign_voucher,
};
use proptest::prelude::*;

/// Whoever takes part.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) agents: [PrivateKeySigner; 2],
    pub(crate) clients: [PrivateKeySigner; 2],
    /// Signs vouchers for who names it, and owns nothing.
    pub(crate) hot_key: PrivateKeySigner,
    pub(crate) stranger: PrivateKeySigner,
    pub(crate) fee_address: PrivateKeySigner,
}

impl Cast {
    pub(crate) fn everybody(&self) -> Vec<&PrivateKeySigner> {
        let others = [&self.hot_key, &self.stranger, &self.fee_address];
        self.agents.iter().chain(&self.clients).chain(others).collect()
    }

    fn key_of(&self, account: Address) -> &PrivateKeySigner {
        let found = self.everybody().into_iter().find(|key| key.address() == account);
        found.unwrap_or(&self.stranger)
    }
}

/// The offerings that agents register.
pub(crate) fn offering(number: usize) -> OfferingHash {
    keccak256([b'o', u8::try_from(number).unwrap()]).into()
}

/// How many different ones there are.
pub(crate) const OFFERINGS: usize = 3;

/// What is needed to make an action into a call.
pub(crate) struct Scene<'a> {
    pub(crate) cast: &'a Cast,
    pub(crate) contract: &'a Contract,
    /// Every channel that was opened.
    pub(crate) descriptors: &'a [ChannelDescriptor],
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Empty blocks go by.
    Wait(u64),
    /// Somebody calls: who should, or this account.
    Call(Draft, Option<usize>),
}

#[derive(Clone, Debug)]
pub(crate) enum Draft {
    Deposit(usize, Sum),
    Withdraw(usize, Sum),
    Register { agent: usize, offering: usize, min_deposit: Sum, supply: u32 },
    PopUp { agent: usize, offering: usize },
    Remove { agent: usize, offering: usize },
    RefreshFee { agent: usize, offering: usize },
    Open(Opening),
    TopUp { channel: Pick, added: Sum, from_wallet: bool },
    Settle(Pick, Proof),
    SettleBatch(usize, Vec<(Pick, Proof)>),
    Close(Pick, Proof),
    CloseBatch(usize, Vec<(Pick, Proof)>),
    CloseWithBoth(Pick, Proof, Forgery),
    RequestClose(Pick, Cumulative),
    FinalizeClose(Pick),
    SetFee(u16),
    ProposeFeeAddress(usize),
    AcceptFeeAddress,
}

#[derive(Clone, Debug)]
pub(crate) struct Opening {
    client: usize,
    /// Among the offerings that were registered, or any agent's and hash.
    offering: Result<usize, (usize, usize)>,
    nonce: u64,
    signer: Signer,
    amount: Sum,
    from_wallet: bool,
}

#[derive(Clone, Copy, Debug)]
enum Signer {
    /// Nobody is named.
    Nobody,
    /// The client is named.
    Client,
    HotKey,
}

/// A channel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pick {
    /// One that is open, if any is.
    Open(usize),
    /// One that is or was open.
    Any(usize),
    /// One that never was.
    Unheard,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Sum {
    /// So many base units.
    Units(u128),
    /// More than anybody has.
    TooMuch,
    /// As much as a channel can hold.
    Maximum,
}

/// A cumulative amount, relative to its channel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cumulative {
    Percent(u8),
    Paid,
    AbovePaid,
    AboveDeposit,
    Maximum,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    cumulative: Cumulative,
    forgery: Forgery,
}

/// How a signature is spoilt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forgery {
    Genuine,
    /// By a stranger.
    Stranger,
    /// By the other party: the client's where the agent should sign, or the client's where its hot key should.
    OtherParty,
    /// Over one more.
    OtherAmount,
    OtherChain,
    OtherContract,
    /// A voucher's where a close's is needed, and the other way round.
    OtherType,
    FlippedV,
    /// v of 0 or 1.
    SmallV,
    HighS,
    ZeroR,
    Garbage,
    Empty,
    /// 64 bytes (EIP-2098).
    Compact,
    TooLong,
}

impl Sum {
    fn amount(self) -> Amount {
        match self {
            Self::Units(units) => Amount::new(units),
            Self::TooMuch => Amount::new(10_u128.pow(20)),
            Self::Maximum => Amount::MAX_ON_CHAIN,
        }
    }
}

impl Draft {
    /// Who should call, and what.
    pub(crate) fn call(&self, scene: &Scene<'_>) -> (Address, Call) {
        let cast = scene.cast;
        let anybody = |index: usize| cast.everybody()[index % cast.everybody().len()].address();
        let agent_of = |index: usize| cast.agents[index].address();
        match *self {
            Self::Deposit(account, sum) => (anybody(account), Call::Deposit { amount: sum.amount() }),
            Self::Withdraw(account, sum) => (anybody(account), Call::Withdraw { amount: sum.amount() }),
            Self::Register { agent, offering: number, min_deposit, supply } => {
                let (offering, min_deposit) = (offering(number), min_deposit.amount());
                (agent_of(agent), Call::RegisterOffering { offering, min_deposit, supply })
            }
            Self::PopUp { agent, offering: number } => {
                (agent_of(agent), Call::PopUpOffering { offering: offering(number) })
            }
            Self::Remove { agent, offering: number } => {
                (agent_of(agent), Call::RemoveOffering { offering: offering(number) })
            }
            Self::RefreshFee { agent, offering: number } => {
                let (agent, offering) = (agent_of(agent), offering(number));
                (cast.stranger.address(), Call::RefreshOfferingFee { agent, offering })
            }
            Self::Open(ref opening) => opening.call(scene),
            Self::TopUp { channel, added, from_wallet } => {
                let (descriptor, amount) = (scene.channel(channel), added.amount());
                let call = if from_wallet {
                    Call::TopUpFromWallet { descriptor, amount }
                } else {
                    Call::TopUp { descriptor, amount }
                };
                (descriptor.client, call)
            }
            Self::Settle(channel, proof) => {
                let descriptor = scene.channel(channel);
                let (cumulative, signature) = scene.prove(&descriptor, proof);
                (cast.stranger.address(), Call::Settle { descriptor, cumulative, signature })
            }
            Self::SettleBatch(agent, ref claims) => {
                let agent = agent_of(agent);
                (cast.stranger.address(), Call::SettleBatch { agent, claims: scene.claims(agent, claims) })
            }
            Self::Close(channel, proof) => {
                let descriptor = scene.channel(channel);
                let (cumulative, signature) = scene.prove(&descriptor, proof);
                (descriptor.agent, Call::Close { descriptor, cumulative, signature })
            }
            Self::CloseBatch(agent, ref claims) => {
                let agent = agent_of(agent);
                (agent, Call::CloseBatch { claims: scene.claims(agent, claims) })
            }
            Self::CloseWithBoth(channel, proof, forgery) => {
                let descriptor = scene.channel(channel);
                let (cumulative, voucher) = scene.prove(&descriptor, proof);
                let close = scene.consent(&descriptor, cumulative, forgery);
                (cast.stranger.address(), Call::CloseWithBoth { descriptor, cumulative, voucher, close })
            }
            Self::RequestClose(channel, cumulative) => {
                let descriptor = scene.channel(channel);
                let admitted = scene.cumulative(&descriptor, cumulative);
                (descriptor.client, Call::RequestClose { descriptor, admitted })
            }
            Self::FinalizeClose(channel) => {
                let descriptor = scene.channel(channel);
                (descriptor.client, Call::FinalizeClose { descriptor })
            }
            Self::SetFee(fee) => (scene.contract.fee_address(), Call::SetFee { fee }),
            Self::ProposeFeeAddress(account) => {
                (scene.contract.fee_address(), Call::ProposeFeeAddress { proposed: anybody(account) })
            }
            Self::AcceptFeeAddress => {
                let proposed = scene.contract.proposed_fee_address();
                let sender = if proposed.is_zero() { cast.stranger.address() } else { proposed };
                (sender, Call::AcceptFeeAddress)
            }
        }
    }
}

impl Opening {
    fn call(&self, scene: &Scene<'_>) -> (Address, Call) {
        let registered: Vec<_> = scene.contract.offerings().map(|(agent, hash, _)| (agent, hash)).collect();
        let (agent, offering) = match self.offering {
            Ok(index) if !registered.is_empty() => registered[index % registered.len()],
            Ok(_) => (scene.cast.agents[0].address(), offering(0)),
            Err((agent, number)) => (scene.cast.agents[agent].address(), offering(number)),
        };
        let client = scene.cast.clients[self.client].address();
        let signer = match self.signer {
            Signer::Nobody => Address::ZERO,
            Signer::Client => client,
            Signer::HotKey => scene.cast.hot_key.address(),
        };
        let (nonce, amount) = (self.nonce, self.amount.amount());
        let call = if self.from_wallet {
            Call::OpenFromWallet { agent, offering, nonce, signer, amount }
        } else {
            Call::Open { agent, offering, nonce, signer, amount }
        };
        (client, call)
    }
}

impl Scene<'_> {
    fn channel(&self, pick: Pick) -> ChannelDescriptor {
        self.channel_of(None, pick)
    }

    /// A channel; an open one is this agent's.
    fn channel_of(&self, agent: Option<Address>, pick: Pick) -> ChannelDescriptor {
        let unheard = ChannelDescriptor {
            client: self.cast.clients[0].address(),
            agent: self.cast.agents[0].address(),
            offering: offering(0),
            nonce: u64::MAX,
            signer: Address::ZERO,
        };
        let is_open = |descriptor: &ChannelDescriptor| {
            let channel = self.contract.channel(descriptor.id(self.contract.domain()));
            agent.is_none_or(|agent| descriptor.agent == agent) && channel.is_some_and(|channel| channel.open)
        };
        let (known, index): (Vec<_>, _) = match pick {
            Pick::Open(index) => (self.descriptors.iter().filter(|known| is_open(known)).collect(), index),
            Pick::Any(index) => (self.descriptors.iter().collect(), index),
            Pick::Unheard => (Vec::new(), 0),
        };
        index.checked_rem(known.len()).map_or(unheard, |index| *known[index])
    }

    fn cumulative(&self, descriptor: &ChannelDescriptor, cumulative: Cumulative) -> Amount {
        let channel = self.contract.channel(descriptor.id(self.contract.domain()));
        let (deposit, paid) = channel.map_or((100, 0), |channel| (channel.deposit.get(), channel.paid.get()));
        Amount::new(match cumulative {
            Cumulative::Percent(percent) => deposit * u128::from(percent) / 100,
            Cumulative::Paid => paid,
            Cumulative::AbovePaid => paid + 1,
            Cumulative::AboveDeposit => deposit + 1,
            Cumulative::Maximum => u128::MAX,
        })
    }

    fn prove(&self, descriptor: &ChannelDescriptor, proof: Proof) -> (Amount, Vec<u8>) {
        let cumulative = self.cumulative(descriptor, proof.cumulative);
        let (signer, other) = (descriptor.voucher_signer(), descriptor.agent);
        let other = if descriptor.signer == self.cast.hot_key.address() { descriptor.client } else { other };
        (cumulative, self.signature(descriptor, cumulative, proof.forgery, [signer, other], true))
    }

    fn consent(&self, descriptor: &ChannelDescriptor, cumulative: Amount, forgery: Forgery) -> Vec<u8> {
        self.signature(descriptor, cumulative, forgery, [descriptor.agent, descriptor.client], false)
    }

    fn signature(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        forgery: Forgery,
        [right, other]: [Address; 2],
        voucher: bool,
    ) -> Vec<u8> {
        let domain = *self.contract.domain();
        let (chain, contract, token) = (domain.chain_id(), domain.contract(), domain.token());
        let channel = descriptor.id(&domain);
        let sign = |account: Address, domain: Domain, cumulative: Amount, voucher: bool| {
            let key = self.cast.key_of(account);
            let signature = if voucher {
                sign_voucher(key, &domain, Voucher { channel, cumulative }).unwrap().signature
            } else {
                sign_close(key, &domain, CloseAuthorization { channel, cumulative }).unwrap().signature
            };
            signature.as_bytes().to_vec()
        };
        let mut genuine = sign(right, domain, cumulative, voucher);
        match forgery {
            Forgery::Genuine => {}
            Forgery::Stranger => return sign(self.cast.stranger.address(), domain, cumulative, voucher),
            Forgery::OtherParty => return sign(other, domain, cumulative, voucher),
            Forgery::OtherAmount => {
                return sign(right, domain, cumulative.saturating_sub(Amount::new(1)), voucher);
            }
            Forgery::OtherChain => {
                return sign(right, Domain::new(chain + 1, contract, token), cumulative, voucher);
            }
            Forgery::OtherContract => {
                return sign(right, Domain::new(chain, token, token), cumulative, voucher);
            }
            Forgery::OtherType => return sign(right, domain, cumulative, !voucher),
            Forgery::FlippedV => genuine[64] = 27 + 28 - genuine[64],
            Forgery::SmallV => genuine[64] -= 27,
            Forgery::HighS => {
                let s = U256::from_be_slice(&genuine[32..64]);
                genuine[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
                genuine[64] = 27 + 28 - genuine[64];
            }
            Forgery::ZeroR => genuine[..32].fill(0),
            Forgery::Garbage => genuine[..64].fill(0x11),
            Forgery::Empty => genuine.clear(),
            Forgery::Compact => {
                genuine[32] |= (genuine[64] - 27) << 7;
                genuine.truncate(64);
            }
            Forgery::TooLong => genuine.push(0),
        }
        genuine
    }

    fn claims(&self, agent: Address, picks: &[(Pick, Proof)]) -> Vec<Claim> {
        let claim = |&(pick, proof): &(Pick, Proof)| {
            let descriptor = self.channel_of(Some(agent), pick);
            let (cumulative, signature) = self.prove(&descriptor, proof);
            let ChannelDescriptor { client, offering, nonce, signer, .. } = descriptor;
            Claim { client, offering, nonce, signer, cumulative, signature }
        };
        picks.iter().map(claim).collect()
    }
}

/// Order of secp256k1.
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

// ---------------------------------------------------------------- strategies

fn sum(usual: std::ops::Range<u128>) -> impl Strategy<Value = Sum> {
    prop_oneof![
        20 => usual.prop_map(Sum::Units),
        1 => Just(Sum::Units(0)),
        1 => Just(Sum::TooMuch),
        1 => Just(Sum::Maximum),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        12 => any::<usize>().prop_map(Pick::Open),
        2 => any::<usize>().prop_map(Pick::Any),
        1 => Just(Pick::Unheard),
    ]
}

fn cumulative() -> impl Strategy<Value = Cumulative> {
    prop_oneof![
        10 => (0..=100_u8).prop_map(Cumulative::Percent),
        1 => Just(Cumulative::Paid),
        2 => Just(Cumulative::AbovePaid),
        1 => Just(Cumulative::AboveDeposit),
        1 => Just(Cumulative::Maximum),
    ]
}

fn forgery() -> impl Strategy<Value = Forgery> {
    use Forgery as F;
    prop_oneof![
        14 => Just(F::Genuine),
        2 => prop::sample::select(vec![F::Stranger, F::OtherParty, F::OtherAmount, F::OtherChain]),
        1 => prop::sample::select(vec![F::OtherContract, F::OtherType, F::FlippedV, F::SmallV, F::HighS]),
        1 => prop::sample::select(vec![F::ZeroR, F::Garbage, F::Empty, F::Compact, F::TooLong]),
    ]
}

fn proof() -> impl Strategy<Value = Proof> {
    (cumulative(), forgery()).prop_map(|(cumulative, forgery)| Proof { cumulative, forgery })
}

fn claims() -> impl Strategy<Value = Vec<(Pick, Proof)>> {
    let claim = prop_oneof![
        6 => (pick(), cumulative())
            .prop_map(|(pick, cumulative)| (pick, Proof { cumulative, forgery: Forgery::Genuine })),
        1 => (pick(), proof()),
        // Closes with what is paid, and with no more than that.
        1 => (pick(), cumulative())
            .prop_map(|(pick, cumulative)| (pick, Proof { cumulative, forgery: Forgery::Empty })),
    ];
    prop::collection::vec(claim, 0..5)
}

fn opening() -> impl Strategy<Value = Opening> {
    let offering =
        prop_oneof![9 => any::<usize>().prop_map(Ok), 1 => (0..2_usize, 0..OFFERINGS).prop_map(Err)];
    let signer = prop::sample::select(vec![Signer::Nobody, Signer::Client, Signer::HotKey]);
    (0..2_usize, offering, 0..4_u64, signer, sum(1..300_000), any::<bool>()).prop_map(
        |(client, offering, nonce, signer, amount, from_wallet)| Opening {
            client,
            offering,
            nonce,
            signer,
            amount,
            from_wallet,
        },
    )
}

fn registration() -> impl Strategy<Value = Draft> {
    let supply = prop_oneof![1 => Just(0), 9 => 1..4_u32];
    (0..2_usize, 0..OFFERINGS, sum(1..50_000), supply).prop_map(|(agent, offering, min_deposit, supply)| {
        Draft::Register { agent, offering, min_deposit, supply }
    })
}

fn draft() -> impl Strategy<Value = Draft> {
    let offerings = (0..2_usize, 0..OFFERINGS);
    prop_oneof![
        2 => (any::<usize>(), sum(1..2_000_000)).prop_map(|(account, sum)| Draft::Deposit(account, sum)),
        2 => (any::<usize>(), sum(1..2_000_000)).prop_map(|(account, sum)| Draft::Withdraw(account, sum)),
        5 => registration(),
        1 => offerings.clone().prop_map(|(agent, offering)| Draft::PopUp { agent, offering }),
        1 => offerings.clone().prop_map(|(agent, offering)| Draft::Remove { agent, offering }),
        1 => offerings.prop_map(|(agent, offering)| Draft::RefreshFee { agent, offering }),
        10 => opening().prop_map(Draft::Open),
        4 => (pick(), sum(1..100_000), any::<bool>())
            .prop_map(|(channel, added, from_wallet)| Draft::TopUp { channel, added, from_wallet }),
        6 => (pick(), proof()).prop_map(|(channel, proof)| Draft::Settle(channel, proof)),
        4 => (0..2_usize, claims()).prop_map(|(agent, claims)| Draft::SettleBatch(agent, claims)),
        3 => (pick(), proof()).prop_map(|(channel, proof)| Draft::Close(channel, proof)),
        2 => (0..2_usize, claims()).prop_map(|(agent, claims)| Draft::CloseBatch(agent, claims)),
        2 => (pick(), proof(), forgery())
            .prop_map(|(channel, proof, forgery)| Draft::CloseWithBoth(channel, proof, forgery)),
        5 => (pick(), cumulative()).prop_map(|(channel, admitted)| Draft::RequestClose(channel, admitted)),
        5 => pick().prop_map(Draft::FinalizeClose),
        2 => prop_oneof![4 => 0..=10_000_u16, 1 => 10_001..=u16::MAX].prop_map(Draft::SetFee),
        1 => any::<usize>().prop_map(Draft::ProposeFeeAddress),
        1 => Just(Draft::AcceptFeeAddress),
    ]
}

/// One action.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        9 => (draft(), prop::option::weighted(0.1, any::<usize>()))
            .prop_map(|(draft, sender)| Action::Call(draft, sender)),
        1 => (1..12_u64).prop_map(Action::Wait),
    ]
}

/// What happens to one contract: it begins with a few offerings and channels.
pub(crate) fn story() -> impl Strategy<Value = Vec<Action>> {
    let by_the_rightful = |draft| Action::Call(draft, None);
    let registrations = prop::collection::vec(registration().prop_map(by_the_rightful), 1..4);
    let openings = prop::collection::vec(opening().prop_map(Draft::Open).prop_map(by_the_rightful), 1..6);
    let rest = prop::collection::vec(action(), 1..60);
    (registrations, openings, rest).prop_map(|parts| [parts.0, parts.1, parts.2].concat())
}
