//! Random actions: what any account might send to the contract, good and bad.
//!
//! An action is relative to what there is ("the second open channel, a voucher over its deposit plus one"), so that
//! random ones hit something, and is made into a [`Call`] when its turn comes.

use alloy::{
    primitives::{Address, keccak256},
    signers::local::PrivateKeySigner,
};
use privatix_channel::{
    Amount, ChannelDescriptor, CloseAuthorization, OfferingHash, RequestClose, TransferAuthorization,
    model::{Call, Code, Source},
};

use crate::scene::Scene;

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

    pub(crate) fn key_of(&self, account: Address) -> &PrivateKeySigner {
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
    pub(crate) client: usize,
    /// Among the offerings that were registered, or any agent's and hash.
    pub(crate) offering: Result<usize, (usize, usize)>,
    pub(crate) nonce: u64,
    pub(crate) signer: Signer,
    pub(crate) amount: Sum,
    pub(crate) from: Purse,
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
    pub(crate) forgery: Forgery,
    /// By the operator, where there is one.
    pub(crate) by_operator: bool,
    /// The nonce, relative to the account's.
    pub(crate) stale: bool,
    /// Seconds until the deadline; negative when it is over.
    pub(crate) deadline: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer {
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
    /// This many base units.
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
    pub(crate) cumulative: Cumulative,
    pub(crate) forgery: Forgery,
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
