//! The agent's side: when it serves a channel, when it closes it, and how it answers a close request.
//!
//! A decision has three steps. The input changes a fact ([`facts`]); one total function gives what is wanted in that state
//! ([`wants`]); the effects are what is wanted and not under way ([`difference`]). So an event, a reorganisation, a restart and
//! a repeated delivery need no rules of their own.

mod concerns;
mod difference;
mod facts;
mod order;
mod own;
mod owners;
mod payment;
mod policy;
mod service;
mod view;
mod wants;

pub use self::{
    own::{AgentEnd, AgentOwn, AgentPurpose, Replaced, Unserved},
    payment::{AgentMessage, Entry, NotNow, Reply, Taken},
    policy::AgentPolicy,
};

use std::convert::Infallible;
use std::time::Duration;

use privatix_channel::{Amount, ChainTime, OnChain, Phase, ServiceStatus, UnderWay, Usage};

use crate::adapter::{Driven, Served};
use crate::{
    Actual, Concern, Decision, Env, Flight, Input, Owner, Party, Purpose, Refused, Service, Side, State,
    Verified, Why, adapter, usage,
};

/// The agent's side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {}

/// The agent's state of a channel.
pub type AgentState = State<Agent>;

/// What an operator can order about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentOrder {
    /// End the service; the channel is closed as the policy says.
    End,
    /// End the service and close the channel, also with nothing to gain, and also where an earlier try was cancelled.
    Close,
    /// Suspend the service until [`Resume`](Self::Resume).
    Hold,
    /// Let a held service run as its payment allows.
    Resume,
    /// Leave what is claimable to the client: a close request is not answered.
    Abandon,
}

/// Effects that only the agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentEffect {
    /// Store this voucher: it is better than all before.
    Keep(Verified),
    /// Answer the client, once everything is stored.
    Answer(Reply),
}

/// What an agent's operator is shown about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentNotice {
    /// The service ends, and the channel will be closed.
    Ends(AgentEnd),
    /// The client asked to close for less than it has paid.
    Disputed {
        /// What is claimable beyond what it admitted, in base units.
        claimable: Amount,
        /// When the challenge ends.
        ends_at: ChainTime,
    },
    /// The client asked to close for less than it has paid, and the difference is not worth an answer.
    Conceded {
        /// The difference, in base units.
        claimable: Amount,
    },
    /// Alarm: the service adapter did not stop the service in time. It may go on.
    ServiceLost,
    /// A close or a settlement failed.
    Failing {
        /// How many times in a row.
        tries: u8,
        /// Whether it fails until somebody does something.
        lasting: bool,
    },
    /// A close succeeded, and the channel's events do not show it: an endpoint leaves events out, or reports false outcomes.
    Hidden,
    /// The operator cancelled a close; it waits for another order.
    Parked,
    /// By order, what is claimable is left to the client.
    Abandoned {
        /// How much that is now, in base units.
        claimable: Amount,
    },
}

impl Party for Agent {
    const SIDE: Side = Side::Agent;
    type Own = AgentOwn;
    type Order = AgentOrder;
    type Message = AgentMessage;
    type Report = Infallible;
    type Purpose = AgentPurpose;
    type Effect = AgentEffect;
    type Notice = AgentNotice;
    type Policy = AgentPolicy;

    fn decide(
        state: &AgentState,
        input: &Input<Self>,
        env: &Env<'_, Self>,
    ) -> Result<Decision<Self>, Refused> {
        let mut next = state.clone();
        let reply = facts::apply(&mut next, input, env)?;
        facts::derive(&mut next, env);
        let mut effects = Vec::new();
        if next.book.best != state.book.best
            && let Input::Peer(AgentMessage::Voucher { voucher, .. }) = input
        {
            effects.push(crate::Effect::Own(AgentEffect::Keep(*voucher)));
        }
        difference::money(&mut next, env, &mut effects);
        adapter::drive(&mut next, env, &mut effects);
        effects.extend(reply.map(|reply| crate::Effect::Own(AgentEffect::Answer(reply))));
        effects.extend(difference::notices(state, &next, env.policy).into_iter().map(crate::Effect::Notify));
        Ok(Decision { state: next, effects })
    }

    fn owners(state: &AgentState, env: &Env<'_, Self>) -> Vec<Owner> {
        owners::owners(state, env)
    }

    fn concerns(state: &AgentState, env: &Env<'_, Self>) -> Vec<Concern> {
        concerns::concerns(state, env)
    }

    fn may_serve(own: &AgentOwn) -> bool {
        own.service.may_run()
    }

    fn used(state: &State<Self>, env: &Env<'_, Self>) -> Usage {
        usage::used(state, env)
    }

    fn service(own: &AgentOwn) -> &Service {
        &own.service
    }

    fn bound(state: &AgentState) -> Option<Usage> {
        state.bound()
    }

    fn flights(own: &AgentOwn) -> &[Flight<AgentPurpose>] {
        &own.flights
    }

    fn flights_mut(own: &mut AgentOwn) -> &mut [Flight<AgentPurpose>] {
        &mut own.flights
    }

    fn shown(purpose: AgentPurpose) -> Option<UnderWay> {
        purpose.is_close().then_some(UnderWay::Close)
    }

    fn is_under_way(flight: &Flight<AgentPurpose>, chain: &OnChain) -> bool {
        flight.is_under_way(chain)
    }

    fn last_effect(own: &mut AgentOwn) -> &mut u32 {
        &mut own.seq
    }

    fn purpose(stored: Purpose) -> Option<AgentPurpose> {
        AgentPurpose::of(stored)
    }

    fn ceiling(state: &AgentState) -> Option<Amount> {
        state.ceiling()
    }
}

impl Served for Agent {
    fn driven(own: &mut AgentOwn) -> Driven<'_> {
        let AgentOwn { seq, service, stuck, refused, unreported, .. } = own;
        Driven { seq, service, stuck, refused, unreported }
    }

    fn unreported(own: &AgentOwn) -> Usage {
        own.unreported
    }

    fn raised(own: &AgentOwn) -> Usage {
        own.raised
    }

    fn raised_mut(own: &mut AgentOwn) -> &mut Usage {
        &mut own.raised
    }

    fn report_within(_: &AgentPolicy) -> Option<Duration> {
        None
    }

    fn stop_within(policy: &AgentPolicy) -> Duration {
        policy.stop_within
    }

    fn not_suspended(state: &mut AgentState, refused: bool, env: &Env<'_, Self>) {
        let service = &state.own.service;
        if refused || !service.why.is_some_and(Why::is_of_the_view) {
            return facts::end(state, AgentEnd::AdapterStuck, env);
        }
        // An adapter that is away while nothing is seen of the chain is nobody's fault. What it did is not known.
        if service.actual != Actual::Lost {
            adapter::becomes(state, Actual::Unknown, env);
        }
        state.own.unanswered = Some(env.uptime);
    }
}

impl AgentState {
    /// The [`ceiling`](crate::ceiling) of the channel.
    pub fn ceiling(&self) -> Option<Amount> {
        let closes = self.own.flights.iter().filter(|flight| flight.stage.may_be_mined());
        let closes = closes.filter(|flight| flight.purpose.is_close());
        crate::ceiling(&self.chain, closes.map(|flight| flight.purpose.cumulative()))
    }

    /// Where the service stands, in the words of lists: see [`Service::status`]. `instance` is the adapter's present life.
    pub fn service_status(&self, instance: u64) -> ServiceStatus {
        let is_over = self.own.ending.is_some() || matches!(self.chain.phase(), Phase::Closed { .. });
        self.own.service.status(self.own.ready.is_some(), is_over, instance)
    }

    /// How much may be used in all before the adapter stops the service by itself: what is paid for plus the agreed lag, at most
    /// what the deposit can pay, and one more, so that billing sees the bound reached. `None` without terms.
    ///
    /// The adapter receives it before it may run the service, and after each payment. It is stored nowhere.
    pub fn bound(&self) -> Option<Usage> {
        service::bound(self)
    }

    /// Whether the operator may cancel a transaction.
    ///
    /// # Errors
    /// [`Refused::AnswersDispute`] while it answers a close request: what it claims would be lost at the challenge's end.
    pub fn may_cancel(&self, seq: u32, policy: &AgentPolicy) -> Result<(), Refused> {
        let is_it = |flight: &Flight<AgentPurpose>| flight.seq == seq && flight.stage.is_under_way();
        if wants::is_disputed(self, policy) && self.own.flights.iter().any(is_it) {
            return Err(Refused::AnswersDispute { seq });
        }
        Ok(())
    }
}
