//! The client's side: when it opens a channel, pays for it, adds to its deposit, and takes the rest back.
//!
//! A decision has the same three steps as the agent's: the input changes a fact ([`facts`]); total functions give what is wanted
//! in that state; the effects are what is wanted and not under way ([`difference`]).

mod billing;
mod concerns;
mod difference;
mod facts;
mod opening;
mod own;
mod owners;
mod payment;
mod policy;
mod proof;
mod requests;
mod restored;
mod service;
mod shown;
mod top_up;
mod wants;

pub use self::{
    opening::Opening,
    own::{AccessStatus, ClientEnd, ClientOwn, ClientPurpose, Outcome, TopUp},
    payment::Floor,
    policy::ClientPolicy,
    requests::{Ask, Reach, Request},
    restored::Restored,
    shown::{Carried, Shown},
};

use std::time::Duration;

use privatix_channel::{Amount, OnChain, Phase, ServiceStatus, UnderWay, Usage};

use crate::adapter::{Driven, Served};
use crate::{
    Concern, Decision, Effect, Env, Flight, Input, NotNow, OrderId, Owner, Party, Purpose, Refused, Service,
    Side, State, Trouble, Uptime,
};
use crate::{Verified, adapter, usage};

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
    /// Pay and top up this channel by this policy from now on; `None`: again by [`ClientPolicy::billing`].
    SetBilling(Option<privatix_billing::ClientPolicy>),
    /// Suspend the service until [`Resume`](Self::Resume).
    Pause,
    /// Let a paused service run.
    Resume,
    /// Believe what the agent of a restored channel claims: the service goes on, and is paid for above that.
    AcceptClaim,
    /// End the service, and leave it to the agent to close the channel for a while. An opening that is not mined is given up.
    End,
    /// End the service and ask to close the channel, also where an earlier try was cancelled.
    Close,
    /// The same where the best voucher cannot be read: what it promised is given up, and what is known to be paid is admitted. The
    /// agent can still claim more.
    Abandon,
}

/// What an agent sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientMessage {
    /// Access to the service. It was stored.
    Access(Fetched),
    /// There is no access yet, for this reason if the agent gave one.
    AccessNotReady(Option<NotNow>),
    /// There never will be.
    AccessRefused,
    /// A voucher was taken.
    Paid {
        /// What is acknowledged in all, in base units.
        acknowledged: Amount,
        /// Whether the agent has ended the service.
        ended: bool,
        /// What else the answer carries.
        carried: Carried,
    },
    /// A voucher is below what the agent knows.
    Stale {
        /// What it knows, in base units.
        acknowledged: Amount,
        /// What else the answer carries.
        carried: Carried,
    },
    /// The channel was proved on the connection: the answer to [`Ask::Attach`].
    Known {
        /// What is acknowledged in all, in base units.
        acknowledged: Amount,
        /// What else the answer carries.
        carried: Carried,
    },
    /// The agent speaks version 1, in which nothing can be proved: the answer to [`Ask::Attach`]. It says nothing of whether the agent
    /// can be reached.
    InClear,
    /// What the agent shows of the channel has changed: a notice, that nobody asked for.
    View(Shown),
    /// The connection has ended that was made at this time. The channel was proved on it, and nobody hears of it any more.
    Disconnected {
        /// [`Shown::connected`] of what came on it.
        connected: Uptime,
    },
    /// No voucher is taken now, for this reason if the agent gave one.
    NotNow(Option<NotNow>),
    /// The agent closes the channel, or does not serve it.
    Closing {
        /// What else the answer carries.
        carried: Carried,
    },
    /// The agent is there, and has no voucher to answer about.
    Pong,
    /// The agent was asked, and did not answer in time.
    Unanswered {
        /// The number of the request.
        seq: u32,
    },
    /// The user does not permit to contact the agent: nothing was sent.
    NotPermitted,
}

/// Access that an agent gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Its number. Version 1 of the messages has none.
    pub number: Option<u32>,
    /// Whether it is the one that was here before.
    pub is_same: bool,
}

impl ClientMessage {
    /// What an answer carries beside what it says; `None` for what is no answer to a voucher or to [`Ask::Attach`].
    pub const fn carried(&self) -> Option<&Carried> {
        match self {
            Self::Paid { carried, .. }
            | Self::Stale { carried, .. }
            | Self::Known { carried, .. }
            | Self::Closing { carried } => Some(carried),
            Self::Access(_)
            | Self::AccessNotReady(_)
            | Self::AccessRefused
            | Self::InClear
            | Self::View(_)
            | Self::Disconnected { .. }
            | Self::NotNow(_)
            | Self::Pong
            | Self::Unanswered { .. }
            | Self::NotPermitted => None,
        }
    }
}

/// What is reported in the transaction that stores the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientReport {
    /// What came of [`ClientEffect::Sign`].
    Signed(Result<Verified, Trouble>),
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
    /// Sign a voucher over this amount in all, and store it. Reported as [`ClientReport::Signed`].
    Sign(Amount),
    /// Store this signature, which the agent's answer carried, as the best voucher: in the transaction that stores the state. The channel
    /// is looked at once more then, since the surroundings that depend on the stored voucher are others.
    Adopt(Verified),
    /// Send the best voucher, in place of one that is being sent.
    Send {
        /// The number of the request.
        seq: u32,
        /// The voucher's amount, in base units.
        cumulative: Amount,
        /// Until when the answer is waited for.
        until: Uptime,
    },
    /// Ask the agent.
    Ask {
        /// The number of the request.
        seq: u32,
        /// What for.
        what: Ask,
        /// Until when the answer is waited for.
        until: Uptime,
    },
    /// Store an order to add to the deposit that was taken, and reserve what it takes.
    TakeOrder {
        /// Its number.
        order: OrderId,
        /// How much it adds, in base units.
        amount: Amount,
        /// Whether the policy gave it, and not the user.
        automatic: bool,
    },
    /// Store how an order ended, and release what was reserved for it. It was taken by this decision or an earlier one.
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
    /// Alarm: the key could not sign a payment.
    CannotSign,
    /// This database came back from a backup, and the agent claims more than it shows as signed. The user decides.
    Claimed {
        /// What the agent claims in all, in base units.
        claimed: Amount,
    },
    /// This database did not know all that was signed: its agent has shown a better voucher, which counts from now on.
    Adopted {
        /// What was known to be signed in all, in base units.
        known: Amount,
        /// What the voucher is over in all, in base units.
        adopted: Amount,
    },
    /// The agent's meter is so far above this side's that the difference is not paid for.
    MetersApart {
        /// This side's total.
        ours: Usage,
        /// The agent's.
        theirs: Usage,
        /// The most that is paid for.
        most: Usage,
    },
    /// Alarm: the service adapter did not stop the service in time. It may go on.
    ServiceLost,
    /// The agent does not answer, or takes no payment, for [`unreachable_notice`](ClientPolicy::unreachable_notice). It is given up
    /// after [`abandon_after`](ClientPolicy::abandon_after).
    Unreachable {
        /// Whether it answers.
        answers: bool,
    },
    /// The agent takes no voucher now, or gives no access yet, and gave this reason.
    NotNow(NotNow),
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
    /// A transaction succeeded, and the channel's events do not show it: an endpoint leaves events out, or reports false outcomes.
    Hidden,
    /// The operator cancelled a close request; it waits for another order.
    Parked,
}

impl Party for Client {
    const SIDE: Side = Side::Client;
    type Own = ClientOwn;
    type Order = ClientOrder;
    type Message = ClientMessage;
    type Report = ClientReport;
    type Purpose = ClientPurpose;
    type Effect = ClientEffect;
    type Notice = ClientNotice;
    type Policy = ClientPolicy;

    fn decide(
        state: &ClientState,
        input: &Input<Self>,
        env: &Env<'_, Self>,
    ) -> Result<Decision<Self>, Refused> {
        let mut next = state.clone();
        let mut effects = Vec::new();
        restored::give_up(&mut next, env, &mut effects);
        facts::apply(&mut next, input, env)?;
        facts::derive(&mut next, env);
        if let Some(adopted) = adopted(state, &next, input) {
            effects.push(Effect::Own(ClientEffect::Adopt(adopted)));
            if next.own.ending.map(|ending| ending.why) != Some(ClientEnd::KeyUsedElsewhere) {
                let (known, adopted) = (state.book.best, adopted.cumulative());
                effects.push(Effect::Notify(ClientNotice::Adopted { known, adopted }));
            }
        }
        payment::difference(&mut next, env, &mut effects);
        difference::money(state, &mut next, env, &mut effects);
        requests::difference(&mut next, env, &mut effects);
        adapter::drive(&mut next, env, &mut effects);
        effects.extend(difference::notices(state, &next, env).into_iter().map(Effect::Notify));
        Ok(Decision { state: next, effects })
    }

    fn owners(state: &ClientState, env: &Env<'_, Self>) -> Vec<Owner> {
        owners::owners(state, env)
    }

    fn concerns(state: &ClientState, env: &Env<'_, Self>) -> Vec<Concern> {
        concerns::concerns(state, env)
    }

    fn may_serve(own: &ClientOwn) -> bool {
        own.service.may_run()
    }

    fn used(state: &State<Self>, env: &Env<'_, Self>) -> Usage {
        usage::used(state, env)
    }

    fn service(own: &ClientOwn) -> &Service {
        &own.service
    }

    fn flights(own: &ClientOwn) -> &[Flight<ClientPurpose>] {
        &own.flights
    }

    fn flights_mut(own: &mut ClientOwn) -> &mut [Flight<ClientPurpose>] {
        &mut own.flights
    }

    fn shown(purpose: ClientPurpose) -> Option<UnderWay> {
        match purpose {
            ClientPurpose::RequestClose { .. } => Some(UnderWay::CloseRequest),
            ClientPurpose::FinalizeClose => Some(UnderWay::Finalization),
            ClientPurpose::Open { .. } | ClientPurpose::TopUp { .. } => None,
        }
    }

    fn is_under_way(flight: &Flight<ClientPurpose>, chain: &OnChain) -> bool {
        flight.is_under_way(chain)
    }

    fn last_effect(own: &mut ClientOwn) -> &mut u32 {
        &mut own.seq
    }

    fn purpose(stored: Purpose) -> Option<ClientPurpose> {
        ClientPurpose::of(stored)
    }
}

/// The voucher that the decision has taken from the agent's answer, if it has taken one.
fn adopted(before: &ClientState, after: &ClientState, input: &Input<Client>) -> Option<Verified> {
    let Input::Peer(message) = input else { return None };
    let best = message.carried()?.best?;
    (after.book.best != before.book.best).then_some(best)
}

impl ClientState {
    /// How the channel is paid and topped up: by its own policy, or by that of all channels.
    pub fn billing<'a>(&'a self, env: &Env<'a, Client>) -> &'a privatix_billing::ClientPolicy {
        self.own.billing.as_ref().unwrap_or(&env.policy.billing)
    }

    /// What was used, as far as this side's meter has reported it or this side has signed for it: what its agent is shown.
    pub fn counted(&self) -> Usage {
        usage::counted(self)
    }

    /// Where the service stands, in the words of lists: see [`Service::status`]. `instance` is the adapter's present life.
    pub fn service_status(&self, instance: u64) -> ServiceStatus {
        let is_over = self.own.ending.is_some() || matches!(self.chain.phase(), Phase::Closed { .. });
        self.own.service.status(self.own.access == AccessStatus::Here, is_over, instance)
    }
}

impl Served for Client {
    fn driven(own: &mut ClientOwn) -> Driven<'_> {
        let ClientOwn { seq, service, stuck, refused, unreported, .. } = own;
        Driven { seq, service, stuck, refused, unreported }
    }

    fn unreported(own: &ClientOwn) -> Usage {
        own.unreported
    }

    fn raised(own: &ClientOwn) -> Usage {
        own.raised
    }

    fn raised_mut(own: &mut ClientOwn) -> &mut Usage {
        &mut own.raised
    }

    fn report_within(policy: &ClientPolicy) -> Option<Duration> {
        Some(policy.report_within)
    }

    fn stop_within(policy: &ClientPolicy) -> Duration {
        policy.stop_within
    }

    fn not_suspended(state: &mut ClientState, _: bool, env: &Env<'_, Self>) {
        facts::end(state, ClientEnd::AdapterStuck, env);
    }
}
