//! The payment-channel protocol, sans-IO.
//!
//! A client locks a deposit on chain for one agent and pays it with signed vouchers off chain, each over everything paid so
//! far; either side closes. This crate owns the types of that protocol and both sides' rules, and does no I/O: it knows no
//! runtime, no database and no node. Of [`alloy`] it uses primitives and the signer trait only.
//!
//! - Values: [`Amount`], [`Fee`], [`Usage`], [`ChainTime`], [`Period`], [`ChannelId`], [`OfferingHash`], [`Domain`],
//!   [`ChannelDescriptor`], and the [`Terms`] of a deployment.
//! - Signatures (EIP-712): [`Voucher`], [`CloseAuthorization`] and [`RequestClose`], [`sign_voucher`], [`sign_close`] and
//!   [`sign_request_close`], strict [`VoucherSignature`]s, and the [`VoucherVerifier`], which keeps per channel what verifying
//!   needs; [`TransferAuthorization`]s (EIP-3009) for relayed openings and top-ups.
//! - The chain's side: [`ChainEvent`] of offerings, channels and the contract, and what they come to: [`OnChain`] of a channel's
//!   [`ChannelEvent`]s, [`OfferingFold`], [`FeeSchedule`], [`AccountState`]. A [`Fold`] is the state of a channel or an offering as it is stored.
//! - Both sides' views: [`AgentChannel`] and [`ClientChannel`], in which nothing is acknowledged or sent before it is stored;
//!   the agent's [`Consents`] to close, above which it takes no voucher.
//! - State machines: [`ChannelStatus`], [`OfferingStatus`] and [`ServiceStatus`]; what an agent shows its client of them,
//!   [`AgentView`].
//! - Disputes: [`answer_close_request`] and [`client_finalize`].
//!
//! The feature `model` adds a model of the service contract for tests.
//!
//! # A payment
//!
//! ```
//! use alloy::{primitives::{Address, B256}, signers::local::PrivateKeySigner};
//! use privatix_channel::{
//!     Accepted, AgentChannel, Amount, ChannelEvent, ChannelDescriptor, ClientChannel, Domain, Fee, LogPosition,
//! };
//!
//! let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1))?;
//! let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
//! let descriptor = ChannelDescriptor {
//!     client: key.address(),
//!     agent: Address::repeat_byte(0xa9),
//!     offering: B256::repeat_byte(0x0f).into(),
//!     nonce: 0,
//!     signer: key.address(), // the client signs, by its key alone
//! };
//!
//! // Both sides see the channel open on chain.
//! let (mut agent, mut client) =
//!     (AgentChannel::new(domain, descriptor), ClientChannel::new(domain, descriptor));
//! let opened = ChannelEvent::Opened { deposit: Amount::new(1_000), fee: Fee::ZERO };
//! agent.apply(LogPosition::new(1, 0), opened);
//! client.apply(LogPosition::new(1, 0), opened);
//!
//! // The client pays 10: sign, store, commit, send.
//! if let Some(proposal) = client.propose(Amount::new(10))? {
//!     let signed = proposal.sign(&key)?;
//!     // ... store `signed.voucher()` here ...
//!     let voucher = client.commit(signed)?;
//!
//!     // The agent: judge, store, commit, answer.
//!     if let Accepted::New(new) = agent.accept(&voucher)? {
//!         // ... store `new.voucher()` here ...
//!         let receipt = agent.commit(new)?;
//!         assert_eq!(receipt.cumulative(), Amount::new(10));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod agent;
mod amount;
mod authorization;
mod client;
mod closing;
mod closure;
mod consent;
mod contract;
mod descriptor;
mod dispute;
mod domain;
mod event;
mod fold;
mod held;
mod id;
#[cfg(feature = "model")]
pub mod model;
mod offering;
mod on_chain;
mod service;
mod sign;
mod signature;
mod status;
mod terms;
mod text;
mod time;
mod usage;
mod verify;
mod view;
mod voucher;

pub use self::{
    agent::{Accepted, AgentChannel, NewBest, Queued, Receipt},
    amount::{Amount, AmountError, Fee, FeeError, ParseFeeError},
    authorization::TransferAuthorization,
    client::{ClientChannel, Proposal, SignRefused, SignedProposal},
    closing::{CloseAuthorization, RequestClose, SignedClose, SignedRequestClose},
    closure::Closure,
    consent::{ConsentRefused, Consents, FinalView, LONGEST_CONSENT, NewConsent},
    contract::{AccountState, FeeSchedule},
    descriptor::ChannelDescriptor,
    dispute::{Answer, Finalize, answer_close_request, client_finalize, next_block_time},
    domain::Domain,
    event::{Announcement, ChainEvent, ChannelEvent, ContractEvent, OfferingEvent},
    fold::{FOLD_RULES, Fold},
    held::{Held, Life, Unexplained},
    id::{ChannelId, OfferingHash, ParseIdError},
    offering::{Joining, KeptOffering, OfferingFold, OfferingOnChain, OfferingStatus, OfferingUnderWay},
    on_chain::{CloseRequest, Ending, LogPosition, OnChain, Phase},
    service::ServiceStatus,
    sign::{SignError, sign_close, sign_request_close, sign_voucher},
    signature::{SignatureError, VoucherSignature},
    status::{ChannelStatus, UnderWay, UnknownStatus},
    terms::Terms,
    time::{ChainTime, Period},
    usage::Usage,
    verify::{VoucherError, VoucherVerifier},
    view::{AgentView, Reason, ReasonError, ServiceState},
    voucher::{SignedVoucher, Voucher},
};
