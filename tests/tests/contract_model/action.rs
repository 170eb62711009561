//! Random actions: what any account might send to the contract, good and bad.
//!
//! An action is relative to what there is ("the second open channel, a voucher over its deposit plus one"), so that
//! random ones hit something, and is made into a [`Call`] when its turn comes.

use alloy::{
    primitives::{Address, B256, U256, keccak256, uint},
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, CloseAuthorization, Domain, OfferingHash, RequestClose,
    TransferAuthorization, Voucher,
    model::{Authorization, Call, Claim, Code, Consent, Contract, Source},
};
use proptest::prelude::*;

/// Whoever takes part.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) agents: [PrivateKeySigner; 2],
    pub(crate) clients: [PrivateKeySigner; 2],
    /// Signs vouchers for whoever names it, and may be an agent's operator.
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
    /// Seconds go by.
    Wait(u64),
    /// The chain's id changes, or changes back.
    Fork(bool),
    /// A client's account gets code, or loses it.
    Delegate(usize, Option<Code>),
    /// Somebody calls: who should, or this account.
    Call(Draft, Option<usize>),
}

#[derive(Clone, Debug)]
pub(crate) enum Draft {
    Deposit(usize, Sum),
    DepositFor(usize, Option<usize>, Sum),
    DepositWithPermit(usize, Sum),
    Withdraw(usize, Sum),
    WithdrawTo(usize, Recipient, Sum),
    WithdrawAll(usize, Recipient),
    Multicall(Vec<Self>),
    SetOperator(usize, Option<usize>),
    RevokeConsents(usize, Option<usize>),
    Register { by: By, agent: usize, offering: usize, min_deposit: Sum, supply: u32, source: usize },
    PopUp { by: By, agent: usize, offering: usize, source: usize },
    Remove { by: By, agent: usize, offering: usize },
    RefreshFee { agent: usize, offering: usize },
    Open(Opening),
    TopUp { channel: Pick, added: Sum, from: Purse },
    Settle(Pick, Proof),
    SettleBatch(usize, Vec<(Pick, Proof)>),
    Close(Pick, Proof),
    CloseBatch(By, usize, Vec<(Pick, Proof)>),
    CloseWithBoth(Pick, Proof, Approval),
    RequestClose(Pick, Cumulative),
    RequestCloseFor(Pick, Cumulative, Approval),
    CancelClose(Pick),
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
    from: Purse,
}

/// Where a deposit comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purse {
    Balance,
    Wallet,
    /// By an authorisation; the salt is one of a few, so that some come twice.
    Authorization {
        forgery: Forgery,
        validity: Validity,
        salt: u8,
    },
}

/// When an authorisation counts, relative to now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Validity {
    Always,
    NotYet,
    NoLonger,
}

/// Who acts for an agent: itself, by the calls that take the agent from the sender, or its operator or it, by the others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Agent,
    Operator,
    /// The agent, by the operator's call.
    AgentFor,
}

/// Where withdrawn tokens go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recipient {
    Somebody(usize),
    Nobody,
    Contract,
}

/// What a signature about closing carries beside the amount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Approval {
    forgery: Forgery,
    /// By the operator, where there is one.
    by_operator: bool,
    /// The nonce, relative to the account's.
    stale: bool,
    /// Seconds until the deadline; negative when it is over.
    deadline: i64,
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
    /// One whose client asked to close, if any is.
    Closing(usize),
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
    /// Another message's where this one's is needed.
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
            Self::DepositFor(sender, account, sum) => {
                let account = account.map_or(Address::ZERO, anybody);
                (anybody(sender), Call::DepositFor { account, amount: sum.amount() })
            }
            Self::DepositWithPermit(account, sum) => {
                (anybody(account), Call::DepositWithPermit { amount: sum.amount() })
            }
            Self::Withdraw(account, sum) => (anybody(account), Call::Withdraw { amount: sum.amount() }),
            Self::WithdrawTo(account, to, sum) => {
                (anybody(account), Call::WithdrawTo { to: scene.recipient(to), amount: sum.amount() })
            }
            Self::WithdrawAll(account, to) => {
                (anybody(account), Call::WithdrawAll { to: scene.recipient(to) })
            }
            Self::Multicall(ref drafts) => {
                let calls: Vec<_> = drafts.iter().map(|draft| draft.call(scene)).collect();
                let sender = calls.first().map_or(cast.stranger.address(), |(sender, _)| *sender);
                (sender, Call::Multicall { calls: calls.into_iter().map(|(_, call)| call).collect() })
            }
            Self::SetOperator(agent, operator) => {
                let operator = operator.map_or(Address::ZERO, anybody);
                (agent_of(agent), Call::SetOperator { operator })
            }
            Self::RevokeConsents(account, sender) => {
                let account = anybody(account);
                (sender.map_or(account, anybody), Call::RevokeConsents { account })
            }
            Self::Register { by, agent, offering: number, min_deposit, supply, source } => {
                let (agent, source) = (agent_of(agent), source_of(source));
                let (offering, min_deposit) = (offering(number), min_deposit.amount());
                scene.by(
                    by,
                    agent,
                    match by {
                        By::Agent => Call::RegisterOffering { offering, min_deposit, supply, source },
                        _ => Call::RegisterOfferingFor { agent, offering, min_deposit, supply, source },
                    },
                )
            }
            Self::PopUp { by, agent, offering: number, source } => {
                let (agent, offering, source) = (agent_of(agent), offering(number), source_of(source));
                scene.by(
                    by,
                    agent,
                    match by {
                        By::Agent => Call::PopUpOffering { offering, source },
                        _ => Call::PopUpOfferingFor { agent, offering, source },
                    },
                )
            }
            Self::Remove { by, agent, offering: number } => {
                let (agent, offering) = (agent_of(agent), offering(number));
                scene.by(
                    by,
                    agent,
                    match by {
                        By::Agent => Call::RemoveOffering { offering },
                        _ => Call::RemoveOfferingFor { agent, offering },
                    },
                )
            }
            Self::RefreshFee { agent, offering: number } => {
                let (agent, offering) = (agent_of(agent), offering(number));
                (cast.stranger.address(), Call::RefreshOfferingFee { agent, offering })
            }
            Self::Open(ref opening) => opening.call(scene),
            Self::TopUp { channel, added, from } => {
                let (descriptor, amount) = (scene.channel(channel), added.amount());
                match from {
                    Purse::Balance => (descriptor.client, Call::TopUp { descriptor, amount }),
                    Purse::Wallet => (descriptor.client, Call::TopUpFromWallet { descriptor, amount }),
                    Purse::Authorization { forgery, validity, salt } => {
                        let salt = keccak256([salt]);
                        let authorization = scene.authorize(
                            &descriptor,
                            forgery,
                            validity,
                            |domain, amount, validity| {
                                TransferAuthorization::top_up(domain, &descriptor, amount, salt, validity)
                            },
                            amount,
                        );
                        let call = Call::TopUpWithAuthorization { descriptor, amount, salt, authorization };
                        (cast.stranger.address(), call)
                    }
                }
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
            Self::CloseBatch(by, agent, ref claims) => {
                let agent = agent_of(agent);
                let claims = scene.claims(agent, claims);
                scene.by(
                    by,
                    agent,
                    match by {
                        By::Agent => Call::CloseBatch { claims },
                        _ => Call::CloseBatchFor { agent, claims },
                    },
                )
            }
            Self::CloseWithBoth(channel, proof, approval) => {
                let descriptor = scene.channel(channel);
                let (cumulative, voucher) = scene.prove(&descriptor, proof);
                let consent = scene.consent(&descriptor, cumulative, approval);
                (cast.stranger.address(), Call::CloseWithBoth { descriptor, cumulative, voucher, consent })
            }
            Self::RequestClose(channel, cumulative) => {
                let descriptor = scene.channel(channel);
                let admitted = scene.cumulative(&descriptor, cumulative);
                (descriptor.client, Call::RequestClose { descriptor, admitted })
            }
            Self::RequestCloseFor(channel, cumulative, approval) => {
                let descriptor = scene.channel(channel);
                let admitted = scene.cumulative(&descriptor, cumulative);
                let (nonce, deadline) = scene.terms_of(descriptor.client, approval);
                let (signer, other) = (descriptor.voucher_signer(), descriptor.agent);
                let signature = scene.signature(
                    &descriptor,
                    admitted,
                    approval.forgery,
                    [signer, other],
                    &|channel, domain, admitted, right| {
                        if right {
                            RequestClose { channel, admitted, nonce, deadline }.digest(domain)
                        } else {
                            CloseAuthorization { channel, cumulative: admitted, nonce, deadline }
                                .digest(domain)
                        }
                    },
                );
                let call = Call::RequestCloseFor { descriptor, admitted, nonce, deadline, signature };
                (cast.stranger.address(), call)
            }
            Self::CancelClose(channel) => {
                let descriptor = scene.channel(channel);
                (descriptor.client, Call::CancelClose { descriptor })
            }
            Self::FinalizeClose(channel) => {
                let descriptor = scene.channel(channel);
                (cast.stranger.address(), Call::FinalizeClose { descriptor })
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
        match self.from {
            Purse::Balance => (client, Call::Open { agent, offering, nonce, signer, amount }),
            Purse::Wallet => (client, Call::OpenFromWallet { agent, offering, nonce, signer, amount }),
            Purse::Authorization { forgery, validity, salt } => {
                // Nobody, now and then: some tokens would take nobody's signature.
                let client = if salt == 0 { Address::ZERO } else { client };
                let descriptor = ChannelDescriptor { client, agent, offering, nonce, signer };
                let authorization = scene.authorize(
                    &descriptor,
                    forgery,
                    validity,
                    |domain, amount, validity| {
                        TransferAuthorization::opening(domain, &descriptor, amount, validity)
                    },
                    amount,
                );
                let call = Call::OpenWithAuthorization { descriptor, amount, authorization };
                (scene.cast.stranger.address(), call)
            }
        }
    }
}

/// Most are fine; one is too long.
fn source_of(index: usize) -> Source {
    let address = match index {
        0 => "x".repeat(301),
        1 => "y".repeat(300),
        2 => String::new(),
        _ => format!("127.0.0.1:{index}"),
    };
    Source { kind: u8::try_from(index % 256).unwrap(), address }
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
        let is_closing = |descriptor: &ChannelDescriptor| {
            let channel = self.contract.channel(descriptor.id(self.contract.domain()));
            channel.is_some_and(|channel| channel.challenge_ends_at.is_some())
        };
        let (known, index): (Vec<_>, _) = match pick {
            Pick::Open(index) => (self.descriptors.iter().filter(|known| is_open(known)).collect(), index),
            Pick::Closing(index) => {
                (self.descriptors.iter().filter(|known| is_open(known) && is_closing(known)).collect(), index)
            }
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
        let signature = self.signature(
            descriptor,
            cumulative,
            proof.forgery,
            [signer, other],
            &|channel, domain, cumulative, right| {
                if right {
                    Voucher { channel, cumulative }.digest(domain)
                } else {
                    let (nonce, deadline) = (0, ChainTime::MAX);
                    CloseAuthorization { channel, cumulative, nonce, deadline }.digest(domain)
                }
            },
        );
        (cumulative, signature)
    }

    /// Nonce and deadline of a message about closing.
    fn terms_of(&self, account: Address, approval: Approval) -> (u64, ChainTime) {
        let nonce = self.contract.nonce_of(account);
        let nonce = if approval.stale { nonce.wrapping_sub(1) } else { nonce };
        let now = self.contract.time().seconds();
        (nonce, ChainTime::new(now.saturating_add_signed(approval.deadline)))
    }

    fn consent(&self, descriptor: &ChannelDescriptor, cumulative: Amount, approval: Approval) -> Consent {
        let (nonce, deadline) = self.terms_of(descriptor.agent, approval);
        let operator = self.contract.operator_of(descriptor.agent);
        let right = if approval.by_operator && !operator.is_zero() { operator } else { descriptor.agent };
        let signature = self.signature(
            descriptor,
            cumulative,
            approval.forgery,
            [right, descriptor.client],
            &|channel, domain, cumulative, right| {
                if right {
                    CloseAuthorization { channel, cumulative, nonce, deadline }.digest(domain)
                } else {
                    RequestClose { channel, admitted: cumulative, nonce, deadline }.digest(domain)
                }
            },
        );
        Consent { nonce, deadline, signature }
    }

    /// An authorisation of the channel's client, made by `make` over the amount.
    fn authorize(
        &self,
        descriptor: &ChannelDescriptor,
        forgery: Forgery,
        validity: Validity,
        make: impl Fn(&Domain, Amount, (ChainTime, ChainTime)) -> TransferAuthorization,
        amount: Amount,
    ) -> Authorization {
        let now = self.contract.time();
        let (valid_after, valid_before) = match validity {
            Validity::Always => (ChainTime::new(now.seconds() - 1), ChainTime::new(now.seconds() + 1)),
            Validity::NotYet => (now, ChainTime::MAX),
            Validity::NoLonger => (ChainTime::new(0), now),
        };
        let separator = self.contract.token_separator();
        let signature = self.signature(
            descriptor,
            amount,
            forgery,
            [descriptor.client, descriptor.agent],
            &|_, domain, amount, right| {
                let made = make(domain, amount, (valid_after, valid_before));
                made.digest(if right { separator } else { domain.separator() })
            },
        );
        // The call takes three words: whatever is missing is zero, whatever is too long is cut.
        let mut words = [0; 65];
        let length = signature.len().min(65);
        words[..length].copy_from_slice(&signature[..length]);
        Authorization { valid_after, valid_before, signature: words }
    }

    fn recipient(&self, recipient: Recipient) -> Address {
        let everybody = self.cast.everybody();
        match recipient {
            Recipient::Somebody(index) => everybody[index % everybody.len()].address(),
            Recipient::Nobody => Address::ZERO,
            Recipient::Contract => self.contract.domain().contract(),
        }
    }

    /// The call with whoever should make it: the agent's operator, if it has one.
    fn by(&self, by: By, agent: Address, call: Call) -> (Address, Call) {
        let operator = self.contract.operator_of(agent);
        match by {
            By::Operator if operator.is_zero() => (self.cast.hot_key.address(), call),
            By::Operator => (operator, call),
            By::Agent | By::AgentFor => (agent, call),
        }
    }

    fn signature(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        forgery: Forgery,
        [right, other]: [Address; 2],
        digest: &dyn Fn(ChannelId, &Domain, Amount, bool) -> B256,
    ) -> Vec<u8> {
        let domain = *self.contract.domain();
        let (chain, token) = (domain.chain_id(), domain.token());
        let channel = descriptor.id(&domain);
        let sign = |account: Address, domain: Domain, cumulative: Amount, right: bool| {
            let key = self.cast.key_of(account);
            let signed = key.sign_hash_sync(&digest(channel, &domain, cumulative, right)).unwrap();
            signed.as_bytes().to_vec()
        };
        let mut genuine = sign(right, domain, cumulative, true);
        match forgery {
            Forgery::Genuine => {}
            Forgery::Stranger => return sign(self.cast.stranger.address(), domain, cumulative, true),
            Forgery::OtherParty => return sign(other, domain, cumulative, true),
            Forgery::OtherAmount => {
                return sign(right, domain, cumulative.saturating_sub(Amount::new(1)), true);
            }
            Forgery::OtherChain => {
                return sign(right, domain.on_chain(chain + 1), cumulative, true);
            }
            Forgery::OtherContract => {
                return sign(right, Domain::new(chain, contract_of(&domain), token), cumulative, true);
            }
            Forgery::OtherType => return sign(right, domain, cumulative, false),
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

/// Another contract's address.
fn contract_of(domain: &Domain) -> Address {
    domain.token()
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
        9 => any::<usize>().prop_map(Pick::Open),
        4 => any::<usize>().prop_map(Pick::Closing),
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
    (0..2_usize, offering, 0..4_u64, signer, sum(1..300_000), purse()).prop_map(
        |(client, offering, nonce, signer, amount, from)| Opening {
            client,
            offering,
            nonce,
            signer,
            amount,
            from,
        },
    )
}

fn purse() -> impl Strategy<Value = Purse> {
    let validity = prop_oneof![
        8 => Just(Validity::Always),
        1 => Just(Validity::NotYet),
        1 => Just(Validity::NoLonger),
    ];
    prop_oneof![
        2 => Just(Purse::Balance),
        2 => Just(Purse::Wallet),
        2 => (forgery(), validity, 0..8_u8)
            .prop_map(|(forgery, validity, salt)| Purse::Authorization { forgery, validity, salt }),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![3 => Just(By::Agent), 2 => Just(By::Operator), 1 => Just(By::AgentFor)]
}

fn recipient() -> impl Strategy<Value = Recipient> {
    prop_oneof![
        8 => any::<usize>().prop_map(Recipient::Somebody),
        1 => Just(Recipient::Nobody),
        1 => Just(Recipient::Contract),
    ]
}

fn approval() -> impl Strategy<Value = Approval> {
    let deadline = prop_oneof![8 => 0..1_000_i64, 3 => -2..2_i64, 1 => Just(i64::MAX)];
    (forgery(), any::<bool>(), prop::bool::weighted(0.1), deadline).prop_map(
        |(forgery, by_operator, stale, deadline)| Approval { forgery, by_operator, stale, deadline },
    )
}

fn registration() -> impl Strategy<Value = Draft> {
    // Below the least stake, now and then.
    let min_deposit = prop_oneof![14 => sum(100..50_000), 1 => sum(1..100)];
    let supply = prop_oneof![1 => Just(0), 9 => 1..4_u32];
    (by(), 0..2_usize, 0..OFFERINGS, min_deposit, supply, 0..20_usize).prop_map(
        |(by, agent, offering, min_deposit, supply, source)| Draft::Register {
            by,
            agent,
            offering,
            min_deposit,
            supply,
            source,
        },
    )
}

fn moving_money() -> impl Strategy<Value = Draft> {
    let account = any::<usize>;
    let amount = || sum(1..2_000_000);
    prop_oneof![
        2 => (account(), amount()).prop_map(|(account, sum)| Draft::Deposit(account, sum)),
        1 => (account(), prop::option::weighted(0.9, account()), amount())
            .prop_map(|(sender, account, sum)| Draft::DepositFor(sender, account, sum)),
        1 => (account(), amount()).prop_map(|(account, sum)| Draft::DepositWithPermit(account, sum)),
        1 => (account(), amount()).prop_map(|(account, sum)| Draft::Withdraw(account, sum)),
        1 => (account(), recipient(), amount())
            .prop_map(|(account, to, sum)| Draft::WithdrawTo(account, to, sum)),
        1 => (account(), recipient()).prop_map(|(account, to)| Draft::WithdrawAll(account, to)),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        40 => simple_draft(),
        // Of whatever one account might do: often the same channel's, and now and then calls inside of calls.
        2 => prop::collection::vec(simple_draft(), 0..4).prop_map(Draft::Multicall),
        1 => (pick(), any::<usize>()).prop_map(|(channel, wallet)| {
            Draft::Multicall(vec![
                Draft::CancelClose(channel),
                Draft::Multicall(vec![Draft::WithdrawAll(wallet, Recipient::Somebody(wallet))]),
            ])
        }),
    ]
}

fn simple_draft() -> impl Strategy<Value = Draft> {
    let offerings = || (0..2_usize, 0..OFFERINGS);
    prop_oneof![
        5 => moving_money(),
        2 => (0..2_usize, prop::option::weighted(0.8, any::<usize>()))
            .prop_map(|(agent, operator)| Draft::SetOperator(agent, operator)),
        1 => (any::<usize>(), prop::option::weighted(0.3, any::<usize>()))
            .prop_map(|(account, sender)| Draft::RevokeConsents(account, sender)),
        5 => registration(),
        2 => (by(), offerings(), 0..20_usize)
            .prop_map(|(by, (agent, offering), source)| Draft::PopUp { by, agent, offering, source }),
        1 => (by(), offerings()).prop_map(|(by, (agent, offering))| Draft::Remove { by, agent, offering }),
        2 => offerings().prop_map(|(agent, offering)| Draft::RefreshFee { agent, offering }),
        10 => opening().prop_map(Draft::Open),
        4 => (pick(), sum(1..100_000), purse())
            .prop_map(|(channel, added, from)| Draft::TopUp { channel, added, from }),
        6 => (pick(), proof()).prop_map(|(channel, proof)| Draft::Settle(channel, proof)),
        4 => (0..2_usize, claims()).prop_map(|(agent, claims)| Draft::SettleBatch(agent, claims)),
        3 => (pick(), proof()).prop_map(|(channel, proof)| Draft::Close(channel, proof)),
        2 => (by(), 0..2_usize, claims()).prop_map(|(by, agent, claims)| Draft::CloseBatch(by, agent, claims)),
        3 => (pick(), proof(), approval())
            .prop_map(|(channel, proof, approval)| Draft::CloseWithBoth(channel, proof, approval)),
        5 => (pick(), cumulative()).prop_map(|(channel, admitted)| Draft::RequestClose(channel, admitted)),
        3 => (pick(), cumulative(), approval())
            .prop_map(|(channel, admitted, approval)| Draft::RequestCloseFor(channel, admitted, approval)),
        2 => pick().prop_map(Draft::CancelClose),
        5 => pick().prop_map(Draft::FinalizeClose),
        2 => prop_oneof![
            2 => 0..=10_000_u16,
            // The same again, now and then.
            3 => prop::sample::select(vec![0, 700, 10_000]),
            1 => 10_001..=u16::MAX,
        ]
        .prop_map(Draft::SetFee),
        1 => any::<usize>().prop_map(Draft::ProposeFeeAddress),
        1 => Just(Draft::AcceptFeeAddress),
    ]
}

/// One action.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        36 => (draft(), prop::option::weighted(0.1, any::<usize>()))
            .prop_map(|(draft, sender)| Action::Call(draft, sender)),
        // Some periods are seconds, the challenge is 15 minutes.
        3 => prop_oneof![1..30_u64, 800..1_000_u64].prop_map(Action::Wait),
        1 => any::<bool>().prop_map(Action::Fork),
        1 => (0..2_usize, prop::sample::select(vec![Some(Code::AcceptsAll), Some(Code::RefusesAll), None]))
            .prop_map(|(client, code)| Action::Delegate(client, code)),
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
