//! Channels of a database whose version stored no states: each gets one, from what was stored instead.
//!
//! | stored | state |
//! | --- | --- |
//! | a service that has ended or ends, or the order to end it, of a channel that is not on chain | [`ClientEnd::NotOpened`]: if it opens after all, its deposit is taken back at once |
//! | else a close that is ordered, or a close request on its way | [`ClientEnd::CloseByOrder`]: the agent is not waited for any more |
//! | else a service that has ended or ends, or the order to end it | [`ClientEnd::Adopted`]: why is not known, and not guessed |
//! | transactions that are open, or whose outcome may be taken back | flights, with the terms that they were submitted with |
//! | the last close cancelled by the user, and no order since | waits for an order |
//! | an opening whose money is being provided | the same, as a flight |
//! | a top-up whose money is being provided, or whose transaction is not over | an order, under its job's number |
//! | access | access; what the plug-in does is not known after a restart |
//! | an order to suspend that a person gave, or a service that is suspended on an open channel | paused, unless an order to resume came after it |
//! | orders to start, to suspend after an undone opening, to fetch access, to end a challenge | nothing: what is wanted follows from the state |
//!
//! An ended channel takes over no opening and no top-up. All stopwatches begin at nothing.

use std::sync::Arc;

use async_trait::async_trait;
use privatix_channel::{ChannelId, Phase, ServiceStatus};
use privatix_db::Conn;
use privatix_jobs::{Job, JobRecord};
use privatix_market::{
    AccessStatus, Actual, AtStake, Blocked, Client, ClientEnd, ClientOwn, ClientPurpose, ClientState,
    EffectId, Ended, Env, Flight, OrderId, Purpose, Stage, Subject, TopUp, Trouble,
};
use privatix_node::earlier::{self, Retired};
use privatix_node::{NodeError, ServiceAction, ServiceOrder};

use crate::earlier::{self as jobs, FetchAccess, FinalizeClose, OpenChannel, RequestClose};
use crate::runner::{Funds, is_topping_up};

pub use privatix_node::earlier::{Adopted, KnownTerms};

/// Adoption of the client's channels.
pub type Adoption<'a> = earlier::Adoption<'a, Jobs>;

/// The jobs with which versions without states opened, used and closed channels, and what these stored beside them.
#[derive(Clone)]
pub struct Jobs {
    funds: Arc<dyn Funds>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// What they had not paid for yet, `funds` provides the money for.
    pub fn new(funds: Arc<dyn Funds>) -> Self {
        Self { funds }
    }
}

/// What a pending job of an earlier version asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Orders {
    /// To open the channel.
    Open,
    /// To add to the deposit.
    TopUp(TopUp),
    /// To pause the service.
    Pause,
    /// To let it run.
    Run,
    /// To end it.
    End,
    /// To close the channel without waiting for the agent.
    Close,
    /// What follows from the state.
    Nothing,
}

#[async_trait]
impl Retired<Client> for Jobs {
    type Orders = Orders;

    const KINDS: &'static [&'static str] = &[
        ServiceOrder::KIND,
        OpenChannel::KIND,
        jobs::TopUp::KIND,
        RequestClose::KIND,
        FinalizeClose::KIND,
        FetchAccess::KIND,
    ];

    fn orders(&self, job: &JobRecord) -> Result<(ChannelId, Orders), serde_json::Error> {
        Ok(match job.kind.as_str() {
            ServiceOrder::KIND => {
                let ServiceOrder { channel, order, .. } = serde_json::from_str(&job.payload)?;
                let orders = match order {
                    ServiceAction::Activate => Orders::Run,
                    // The opening was undone. What the chain shows says as much.
                    ServiceAction::Suspend if job.created_by == "monitor" => Orders::Nothing,
                    ServiceAction::Suspend => Orders::Pause,
                    ServiceAction::Terminate => Orders::End,
                };
                (channel, orders)
            }
            OpenChannel::KIND => {
                let OpenChannel { channel } = serde_json::from_str(&job.payload)?;
                (channel, Orders::Open)
            }
            jobs::TopUp::KIND => {
                let jobs::TopUp { channel, amount } = serde_json::from_str(&job.payload)?;
                // As its transaction would name it.
                let order = OrderId(job.id.number().unsigned_abs());
                let automatic = job.created_by == "billing";
                (channel, Orders::TopUp(TopUp { order, amount, automatic, outcome: None }))
            }
            RequestClose::KIND => {
                let RequestClose { channel, unprompted } = serde_json::from_str(&job.payload)?;
                (channel, if unprompted { Orders::Nothing } else { Orders::Close })
            }
            FinalizeClose::KIND => {
                let FinalizeClose { channel } = serde_json::from_str(&job.payload)?;
                (channel, Orders::Nothing)
            }
            _ => {
                let FetchAccess { channel } = serde_json::from_str(&job.payload)?;
                (channel, Orders::Nothing)
            }
        })
    }

    fn own(&self, earlier: &Earlier, state: &ClientState, env: &Env<'_, Client>) -> ClientOwn {
        own(earlier, state, env)
    }

    async fn begins(&self, conn: &mut Conn, state: &mut ClientState) -> Result<(), NodeError> {
        self.funds.adopt(conn, state).await?;
        privatix_store::channels::set_top_up_pending(conn, state.id, is_topping_up(state)).await?;
        for flight in state.own.flights.iter().filter(|flight| flight.stage == Stage::Funding) {
            let effect = EffectId { subject: Subject::Channel(state.id), seq: flight.seq };
            self.funds.fund(conn, effect, flight.purpose).await?;
        }
        Ok(())
    }
}

/// What an earlier version stored of a channel.
type Earlier = earlier::Earlier<ClientPurpose, Orders>;

fn own(earlier: &Earlier, state: &ClientState, env: &Env<'_, Client>) -> ClientOwn {
    let now = env.uptime;
    let service = earlier.channel.service;
    let has_access = earlier.channel.access.is_some();
    let has_run = service == ServiceStatus::Active || !state.meter.used.is_zero();
    let mut own = ClientOwn::default();
    own.seq = earlier.last;
    own.access = if has_access { AccessStatus::Here } else { AccessStatus::None };
    own.ran = (has_access && (has_run || !state.book.best.is_zero())).then_some(now);
    own.paused = is_paused(earlier, state);
    // Without access the plug-in never knew the channel, unless it is being stopped.
    let is_gone = match service {
        ServiceStatus::Terminated => true,
        ServiceStatus::Terminating => false,
        ServiceStatus::Pending
        | ServiceStatus::Activating
        | ServiceStatus::Active
        | ServiceStatus::Suspending
        | ServiceStatus::Suspended => !has_access,
    };
    own.service.actual = if is_gone { Actual::Absent } else { Actual::Unknown };
    own.service.since = now;
    own.flights = earlier.flights();
    own.ending = ending(earlier, state).map(|why| Ended { why, since: now });
    own.top_ups = top_ups(earlier, state, own.ending.is_some());
    if own.ending.is_none() {
        own.flights.extend(opening(earlier, state, &mut own.seq));
    }
    own.last_order = last_order(earlier);
    let closes = own.flights.iter().any(|flight| flight.purpose.closes());
    let is_parked = own.ending.is_some() && !closes && is_withdrawn(earlier);
    own.blocked = is_parked.then_some(Blocked::Parked { since: now });
    own
}

fn ending(earlier: &Earlier, state: &ClientState) -> Option<ClientEnd> {
    let has = |orders| earlier.orders.contains(&orders);
    let (status, service) = (earlier.channel.status, earlier.channel.service);
    let ends = service.is_ending() || has(Orders::End);
    let closes = has(Orders::Close) || is_requested(earlier, state);
    match state.chain.phase() {
        Phase::Unopened if ends || closes => Some(ClientEnd::NotOpened(Trouble::Ended)),
        _ if closes => Some(ClientEnd::CloseByOrder),
        _ => ends.then_some(ClientEnd::Adopted { status, service }),
    }
}

/// Whether a close request is on its way: the agent was waited for long enough, or is not waited for.
fn is_requested(earlier: &Earlier, state: &ClientState) -> bool {
    state.chain.phase() == Phase::Open
        && earlier.sent.iter().any(|sent| {
            let goes_on = matches!(sent.stage, Some(Stage::Sent { .. } | Stage::Mined { .. }));
            goes_on && matches!(sent.purpose, ClientPurpose::RequestClose { .. })
        })
}

/// Whether the service is paused: by the last order of those that wait, else by what it does. Where the channel is not on chain, its
/// service was suspended for that.
fn is_paused(earlier: &Earlier, state: &ClientState) -> bool {
    let last = earlier.orders.iter().rfind(|orders| matches!(orders, Orders::Pause | Orders::Run));
    let is_suspended =
        matches!(earlier.channel.service, ServiceStatus::Suspending | ServiceStatus::Suspended);
    match last {
        Some(orders) => *orders == Orders::Pause,
        None => is_suspended && state.chain.phase() != Phase::Unopened,
    }
}

/// The top-ups that are not over: those whose money is being provided, if they can still help, and those with a transaction.
fn top_ups(earlier: &Earlier, state: &ClientState, ends: bool) -> Vec<TopUp> {
    let sent = earlier.sent.iter().filter(|sent| sent.stage.is_some());
    let sent = sent.filter_map(|sent| match sent.purpose {
        ClientPurpose::TopUp { order, amount } => {
            Some(TopUp { order, amount, automatic: false, outcome: None })
        }
        _ => None,
    });
    // It would take a close request back.
    let is_over = ends || matches!(state.chain.phase(), Phase::Closing { .. } | Phase::Closed { .. });
    let ordered = earlier.orders.iter().filter_map(|orders| match orders {
        Orders::TopUp(top_up) => Some(*top_up),
        _ => None,
    });
    let mut top_ups: Vec<TopUp> = sent.collect();
    top_ups.extend(ordered.filter(|_| !is_over));
    top_ups
}

/// The opening whose money is being provided.
fn opening(earlier: &Earlier, state: &ClientState, seq: &mut u32) -> Option<Flight<ClientPurpose>> {
    let opens = |purpose: ClientPurpose| matches!(purpose, ClientPurpose::Open { .. });
    let is_sent = earlier.sent.iter().any(|sent| opens(sent.purpose));
    let is_ordered = earlier.orders.contains(&Orders::Open) && state.chain.phase() == Phase::Unopened;
    if is_sent || !is_ordered {
        return None;
    }
    *seq = seq.saturating_add(1);
    let purpose = ClientPurpose::Open { deposit: earlier.channel.deposit };
    let bid = Purpose::from(purpose).bid(&AtStake::default());
    Some(Flight { seq: *seq, purpose, bid, stage: Stage::Funding })
}

/// The last order of a top-up: the numbers of later ones are above it.
fn last_order(earlier: &Earlier) -> Option<OrderId> {
    let ordered = earlier.orders.iter().filter_map(|orders| match orders {
        Orders::TopUp(top_up) => Some(top_up.order),
        _ => None,
    });
    let sent = earlier.sent.iter().filter_map(|sent| match sent.purpose {
        ClientPurpose::TopUp { order, .. } => Some(order),
        _ => None,
    });
    ordered.chain(sent).max()
}

/// Whether the user cancelled the last transaction that closes the channel, and ordered none since.
fn is_withdrawn(earlier: &Earlier) -> bool {
    let last = earlier.sent.iter().rfind(|sent| sent.purpose.closes());
    !earlier.orders.contains(&Orders::Close) && last.is_some_and(|sent| sent.is_withdrawn)
}
