//! What an agent and a client decide about their channels, as pure functions: no clock, no randomness, no I/O.
//!
//! A decision takes a [`State`] and an [`Input`] and gives a new state and [`Effect`]s: [`Party::decide`]. It has three steps:
//! the input changes a fact, one total function gives what is wanted in that state, and the effects are what is wanted and not
//! under way. [`Party::owners`] names what moves a state on. A state that is not final has an owner, and giving up on it is an
//! input that leads on.
//!
//! - [`Agent`], [`Client`]: the two sides.
//! - [`Book`]: what vouchers are worth, and how much of them may be acknowledged.
//! - [`batch`]: when closes and settlements of many channels are submitted together.
//! - [`Reserve`], [`AffordsNew`], [`Runway`]: whether an account's ether suffices.
//! - [`Concern`]: what endangers the money of a channel.
//! - [`offering`]: what a node does about offerings, own and foreign.
//! - [`Purpose`]: why a transaction exists, and [`Purpose::bid`]: how urgent it is and what is at stake.
//! - [`Turn`]: the loop around decisions, without I/O.
//! - [`Uptime`] and [`Stopwatch`]: time in which the node ran, by which patience is measured.
//! - [`ClockSkew`]: a wall clock that contradicts the chain's time, because of which no money is locked.
//!
//! # Example
//!
//! ```
//! use alloy::primitives::{Address, B256};
//! use privatix_channel::{
//!     Amount, ChannelEvent, ChainTime, ChannelDescriptor, ChannelId, Fee, LogPosition, OnChain,
//! };
//! use privatix_market::*;
//!
//! // A channel with a deposit of 100, for which a voucher over 60 is stored.
//! let descriptor = ChannelDescriptor {
//!     client: Address::repeat_byte(1),
//!     agent: Address::repeat_byte(2),
//!     offering: B256::repeat_byte(3).into(),
//!     nonce: 0,
//!     signer: Address::repeat_byte(1),
//! };
//! let mut state = AgentState::new(ChannelId::new([4; 32].into()), descriptor);
//! state.book.best = Amount::new(60);
//!
//! // The client asks to close, and admits 20 only.
//! let at = LogPosition::new;
//! let chain = OnChain::fold([
//!     (at(1, 0), ChannelEvent::Opened { deposit: Amount::new(100), fee: Fee::ZERO }),
//!     (at(9, 0), ChannelEvent::CloseRequested { paid: Amount::new(20), ends_at: ChainTime::new(90_000) }),
//! ]);
//! let policy = AgentPolicy::default();
//! let env = Env::new(Uptime::new(5_000), &policy);
//! let decision = Agent::decide(&state, &Input::Chain(chain), &env)?;
//!
//! // The agent closes with its voucher, urgently.
//! let Some(Effect::Submit { seq, purpose, bid }) = decision.effects.first() else { panic!("no answer") };
//! assert_eq!(*purpose, AgentPurpose::Close { cumulative: Amount::new(60) });
//! assert_eq!(bid.priority, Priority::Urgent);
//! assert!(Agent::owners(&decision.state, &env).contains(&Owner::Transaction(*seq)));
//!
//! // The same again has no effect.
//! assert_eq!(Agent::decide(&decision.state, &Input::Chain(chain), &env)?.effects, []);
//! # Ok::<(), Refused>(())
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod adapter;
mod again;
mod agent;
pub mod batch;
mod bid;
mod blocked;
mod book;
mod client;
mod clock;
mod concern;
mod effect;
mod ended;
mod env;
mod flight;
mod gas;
mod input;
pub mod offering;
mod order;
mod owner;
mod party;
mod patience;
mod purpose;
mod rate;
mod service;
mod skew;
mod skip;
mod turn;
mod usage;
mod want;

pub use self::{
    again::Again,
    agent::{
        Agent, AgentEffect, AgentEnd, AgentMessage, AgentNotice, AgentOrder, AgentOwn, AgentPolicy,
        AgentPurpose, AgentState, Entry, NotNow, Replaced, Reply, Taken, Unserved,
    },
    bid::{AtStake, Bid, Challenge, Deadline, Priority},
    blocked::Blocked,
    book::{Book, BookTotals, ceiling},
    client::{
        AccessStatus, Ask, Carried, Client, ClientEffect, ClientEnd, ClientMessage, ClientNotice,
        ClientOrder, ClientOwn, ClientPolicy, ClientPurpose, ClientReport, ClientState, Fetched, Floor,
        Opening, Outcome, Reach, Request, Restored, Shown, TopUp,
    },
    clock::{Stopwatch, Uptime},
    concern::{Concern, Danger},
    effect::{Effect, Refused},
    ended::Ended,
    env::{Budget, ChainView, Env, Gas, RecoveryId, Worth},
    flight::{BlockRef, Flight, Stage},
    gas::{AffordsNew, ENOUGH_DAYS, Reserve, Runway, Spending},
    input::{Answered, Fate, Input, Trouble, Verified, Verifier},
    order::OrderChange,
    owner::Owner,
    party::{Decision, Meter, Party, Side, State, Wake},
    purpose::{AfterRestore, Asset, EffectId, OrderId, Purpose, Subject},
    rate::{Rate, Wei},
    service::{Actual, Asked, Service, Target, Why},
    skew::ClockSkew,
    turn::Turn,
};
