//! Typed bindings of the marketplace's contracts: the token (PTC) and the service contract (PSC).
//!
//! The bindings come from the artifacts committed in `artifacts/`, so a build needs no Solidity compiler; a test recompiles
//! the sources and compares. On top of them, in the types of [`privatix_channel`]:
//!
//! - [`call`]: typed calls, ready to be encoded and sent by any transactor;
//! - [`PscEvent`] and [`TokenEvent`]: every log as an enum, and [`topics`] for filters;
//! - [`PscError`]: revert data as an error that names the remedy;
//! - [`ChannelInfo`], [`OfferingInfo`]: the answers of the views;
//! - [`token`]: what a token says of itself, and how it can be deposited;
//! - [`PermitRequest`]: EIP-2612 permits, for purchases in one transaction;
//! - [`deploy`]: both contracts on any chain, through any alloy provider, at addresses known in advance;
//! - [`known_code`]: whether the code at an address is the contract that this version was made for.
//!
//! The crate knows no roles and stores nothing.
//!
//! # Settle a channel
//!
//! ```
//! use alloy::{primitives::Address, signers::local::PrivateKeySigner, sol_types::SolCall as _};
//! use privatix_channel::{Amount, ChannelDescriptor, Domain, OfferingHash, Voucher, sign_voucher};
//!
//! let client = PrivateKeySigner::random();
//! let domain = Domain::new(31_337, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
//! let descriptor = ChannelDescriptor {
//!     client: client.address(),
//!     agent: Address::repeat_byte(0xa9),
//!     offering: OfferingHash::default(),
//!     nonce: 1,
//!     signer: client.address(), // its key alone, whatever code the account gets
//! };
//! let voucher = Voucher { channel: descriptor.id(&domain), cumulative: Amount::new(500) };
//! let signed = sign_voucher(&client, &domain, voucher)?;
//!
//! // Send this to `domain.contract()` from any account: the money can only go to the agent.
//! let data = privatix_contracts::call::settle(&descriptor, &signed).abi_encode();
//! assert_eq!(data[..4], privatix_contracts::PSC::settleCall::SELECTOR);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod bindings;
pub mod call;
mod code;
mod convert;
pub mod deploy;
mod error;
mod event;
mod permit;
mod state;
pub mod token;
pub mod topics;

pub use self::{
    bindings::{DepositProbe, IPSC, PSC, PTC},
    code::{CodeMismatch, KnownCode, known_code},
    convert::AboveContractRange,
    error::PscError,
    event::{ChannelParties, EventError, PscEvent, SkipReason, TokenEvent},
    permit::PermitRequest,
    state::{ChannelInfo, ChannelState, OfferingInfo, OfferingState},
};
