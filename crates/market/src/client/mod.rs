//! The client's side: when it opens a channel, pays for it, adds to its deposit, and takes the rest back.
//!
//! A decision has the same three steps as the agent's: the input changes a fact ([`facts`]); total functions give what is wanted
//! in that state; the effects are what is wanted and not under way ([`difference`]).

mod billing;
mod difference;
mod facts;
mod opening;
mod own;
mod owners;
mod rules;
mod service;
mod top_up;
mod wants;

pub use self::{
    opening::Opening,
    own::{Access, ClientEnd, ClientOwn, ClientPurpose, Outcome, TopUp},
    rules::ClientRules,
};

use std::convert::Infallible;
use std::time::Duration;

use privatix_channel::Amount;

use crate::adapter::{Driven, Served};
use crate::{Decision, Env, Input, OrderId, Owner, Party, Refused, Service, Side, State, adapter};

/// The client's side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {}

/// The client's state of a channel.
pub type ClientState = State<Client>;

/// What a user can order about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientOrder {
    /// Add to the deposit.
    TopUp {
        /// The order's number: above those of all orders before.
        order: OrderId,
        /// How much, in base units.
        amount: Amount,
    },
    /// End the service, and leave it to the agent to close the channel for a while. An opening that is not mined is given up.
    End,
    /// End the service and ask to close the channel, also where an earlier try was cancelled.
    Close,
}

/// What an agent sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientMessage {
    /// Access to the service. It was stored.
    Access,
}

/// Effects that only the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEffect {
    /// Provide the money for a transaction: balances, and the wallet's turn.
    Fund {
        /// Its number.
        seq: u32,
        /// What it is for.
        purpose: ClientPurpose,
    },
    /// Store how an order ended, and release what was reserved for it.
    EndOrder {
        /// Its number.
        order: OrderId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// What a client's user is shown about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientNotice {
    /// The service ends, and the deposit will be taken back.
    Ends(ClientEnd),
    /// Alarm: the service adapter did not stop the service in time. It may go on.
    ServiceLost,
    /// Automatic top-ups fail. The service runs on, up to its deposit.
    TopUpsFail {
        /// How many failed in a row.
        tries: u8,
    },
    /// A close request, or its end, failed.
    Failing {
        /// How many times in a row.
        tries: u8,
        /// Whether it fails until somebody does something.
        lasting: bool,
    },
    /// The operator cancelled a close request; it waits for another order.
    Parked,
}

impl Party for Client {
    const SIDE: Side = Side::Client;
    type Own = ClientOwn;
    type Order = ClientOrder;
    type Message = ClientMessage;
    type Report = Infallible;
    type Purpose = ClientPurpose;
    type Effect = ClientEffect;
    type Notice = ClientNotice;
    type Policy = ClientRules;

    fn decide(
        state: &ClientState,
        input: &Input<Self>,
        env: &Env<'_, Self>,
    ) -> Result<Decision<Self>, Refused> {
        let mut next = state.clone();
        facts::apply(&mut next, input, env)?;
        facts::derive(&mut next, env);
        let mut effects = Vec::new();
        difference::money(state, &mut next, env, &mut effects);
        adapter::drive(&mut next, env, &mut effects);
        effects.extend(difference::notices(state, &next, env.policy).into_iter().map(crate::Effect::Notify));
        Ok(Decision { state: next, effects })
    }

    fn owners(state: &ClientState, env: &Env<'_, Self>) -> Vec<Owner> {
        owners::owners(state, env)
    }
}

impl Served for Client {
    fn service(own: &ClientOwn) -> &Service {
        &own.service
    }

    fn driven(own: &mut ClientOwn) -> Driven<'_> {
        let ClientOwn { seq, service, stuck, refused, .. } = own;
        Driven { seq, service, stuck, refused }
    }

    fn stop_within(rules: &ClientRules) -> Duration {
        rules.stop_within
    }

    fn not_suspended(state: &mut ClientState, _: bool, env: &Env<'_, Self>) {
        facts::end(state, ClientEnd::AdapterStuck, env);
    }
}
