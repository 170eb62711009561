//! Channels of a database whose version stored no states: each gets one, from what was stored instead.
//!
//! | stored | state |
//! | --- | --- |
//! | a close that is ordered also with nothing to gain, or on its way with nothing to gain | [`AgentEnd::CloseByOrder`] |
//! | else a service that has ended or ends, or the order to end it | [`AgentEnd::Adopted`]: why is not known, and not guessed |
//! | transactions that are open, or whose outcome may be taken back | flights, with the terms that they were submitted with |
//! | the last close cancelled by the operator, and no order since | waits for an order, or for a close request |
//! | access | was ready; what the adapter does is not known after a restart |
//! | access, and usage or a voucher | access was handed out |
//! | held | held |
//! | orders to start, to suspend, to provision | nothing: what is wanted follows from the state |
//!
//! All stopwatches begin at nothing.

use privatix_channel::{Amount, ChannelId, Phase, ServiceStatus};
use privatix_jobs::{Job, JobRecord};
use privatix_market::{
    Actual, Agent, AgentEnd, AgentOwn, AgentPurpose, AgentState, Blocked, Ended, Env, Stage,
};
use privatix_node::earlier::{self, Retired};
use privatix_node::{ServiceAction, ServiceOrder};

use crate::{CloseChannel, ProvisionChannel};

pub use privatix_node::earlier::{Adopted, KnownTerms};

/// Adoption of the agent's channels.
pub type Adoption<'a> = earlier::Adoption<'a, Jobs>;

/// The jobs with which versions without states served and closed channels, and what these stored beside them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jobs;

/// What a pending job of an earlier version asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Orders {
    /// To end the service.
    End,
    /// To close the channel, also with nothing to gain.
    Close,
    /// To close the channel if that brings something.
    CloseForMoney,
    /// What follows from the state.
    Nothing,
}

impl Retired<Agent> for Jobs {
    type Orders = Orders;

    const KINDS: &'static [&'static str] = &[ServiceOrder::KIND, ProvisionChannel::KIND, CloseChannel::KIND];

    fn orders(&self, job: &JobRecord) -> Result<(ChannelId, Orders), serde_json::Error> {
        Ok(match job.kind.as_str() {
            ServiceOrder::KIND => {
                let ServiceOrder { channel, order, .. } = serde_json::from_str(&job.payload)?;
                (channel, if order == ServiceAction::Terminate { Orders::End } else { Orders::Nothing })
            }
            CloseChannel::KIND => {
                let CloseChannel { channel, even_unpaid } = serde_json::from_str(&job.payload)?;
                (channel, if even_unpaid { Orders::Close } else { Orders::CloseForMoney })
            }
            _ => {
                let ProvisionChannel { channel } = serde_json::from_str(&job.payload)?;
                (channel, Orders::Nothing)
            }
        })
    }

    fn own(&self, earlier: &Earlier, state: &AgentState, env: &Env<'_, Agent>) -> AgentOwn {
        own(earlier, state, env)
    }
}

/// What an earlier version stored of a channel.
type Earlier = earlier::Earlier<AgentPurpose, Orders>;

fn own(earlier: &Earlier, state: &AgentState, env: &Env<'_, Agent>) -> AgentOwn {
    let now = env.uptime;
    let has_access = earlier.channel.access.is_some();
    let mut own = AgentOwn::default();
    own.seq = earlier.last;
    own.held = earlier.channel.held;
    own.ready = has_access.then_some(now);
    // A service that was being stopped may have been known to the adapter without access.
    let is_gone = match earlier.channel.service {
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
    let is_parked = own.ending.is_some() && own.flights.is_empty() && is_withdrawn(earlier);
    own.blocked = is_parked.then_some(Blocked::Parked { since: now });
    own
}

fn ending(earlier: &Earlier, state: &AgentState) -> Option<AgentEnd> {
    let ends = earlier.channel.service.is_ending() || earlier.orders.contains(&Orders::End);
    if earlier.orders.contains(&Orders::Close) || is_closed_for_nothing(earlier, state) {
        return Some(AgentEnd::CloseByOrder);
    }
    ends.then_some(AgentEnd::Adopted { status: earlier.channel.status, service: earlier.channel.service })
}

/// Whether a close is on its way that brings nothing: only an order leads to one.
fn is_closed_for_nothing(earlier: &Earlier, state: &AgentState) -> bool {
    let chain = &state.chain;
    let brings_nothing = |cumulative: Amount| cumulative.min(chain.deposit) <= chain.paid;
    chain.phase() == Phase::Open
        && earlier.sent.iter().any(|sent| {
            let goes_on = matches!(sent.stage, Some(Stage::Sent { .. } | Stage::Mined { .. }));
            goes_on && sent.purpose.is_close() && brings_nothing(sent.purpose.cumulative())
        })
}

/// Whether the operator cancelled the last close, and none was ordered since.
fn is_withdrawn(earlier: &Earlier) -> bool {
    let is_ordered =
        earlier.orders.iter().any(|orders| matches!(orders, Orders::Close | Orders::CloseForMoney));
    let last = earlier.sent.iter().rfind(|sent| sent.purpose.is_close());
    !is_ordered && last.is_some_and(|sent| sent.is_withdrawn)
}
