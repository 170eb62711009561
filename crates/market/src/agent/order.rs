//! How the operator's orders about a channel end: a function of the state that they led to.

use privatix_channel::{Closure, Ending, Phase};

use super::{Agent, AgentOrder, AgentState};
use crate::{Actual, Blocked, Env, OrderChange, Outcome, Stage, Trouble};

impl AgentOrder {
    /// Every order.
    pub const ALL: [Self; 5] = [Self::End, Self::Close, Self::Hold, Self::Resume, Self::Abandon];

    /// How an order that led to this state has ended; `None` while it is under way.
    ///
    /// A pause, its end and an abandonment hold with the decision. The service of an ended channel has stopped when the adapter
    /// has confirmed it. A close ends with the channel, whoever closes it; where there is nothing to close, or the operator has
    /// cancelled the transaction, it is not carried out.
    pub fn outcome(self, state: &AgentState, env: &Env<'_, Agent>) -> Option<Outcome> {
        match self {
            Self::Hold | Self::Resume | Self::Abandon => Some(Outcome::Done),
            Self::End => (state.own.service.actual == Actual::Absent).then_some(Outcome::Done),
            Self::Close => match state.chain.closed {
                Some(Ending { closure, .. }) => Some(Outcome::Closed(closure)),
                None if has_vanished(state, env) => Some(Outcome::Failed(Trouble::Vanished)),
                None if matches!(state.own.blocked, Some(Blocked::Parked { .. })) => {
                    Some(Outcome::Failed(Trouble::Cancelled))
                }
                None => None,
            },
        }
    }

    /// What is new of an order whose outcome was this, in this state. An order that failed stays so, whatever a later one brings.
    pub fn change(
        self,
        was: Option<Outcome>,
        state: &AgentState,
        env: &Env<'_, Agent>,
    ) -> Option<OrderChange> {
        match (was, self.outcome(state, env)) {
            (None, Some(outcome)) => Some(OrderChange::Ended(outcome)),
            (Some(Outcome::Closed(_)), None) => Some(OrderChange::UnderWay),
            (Some(before @ Outcome::Closed(_)), Some(now)) if now != before => Some(OrderChange::Ended(now)),
            _ => None,
        }
    }
}

impl AgentState {
    /// Whether the step from `before` to this state may have [changed](AgentOrder::change) what became of an order. Most steps do not,
    /// and no order is read then.
    pub fn moves_orders(&self, before: &Self, env: &Env<'_, Agent>) -> bool {
        let is_moved = |order: AgentOrder| order.outcome(before, env) != order.outcome(self, env);
        AgentOrder::ALL.into_iter().any(is_moved) || has_vanished(self, env)
    }

    /// The number of the transaction of ours that closed the channel; `None` while it is open, and where another closed it.
    pub fn closed_by(&self) -> Option<u32> {
        let ending = self.chain.closed?;
        if !matches!(ending.closure, Closure::ByAgent | Closure::ByAgentDisputed) {
            return None;
        }
        let closes = self.own.flights.iter().filter(|flight| flight.purpose.is_close());
        let is_there = |stage: &Stage| matches!(stage, Stage::Mined { block, .. } | Stage::Unseen { block, .. } if block.number == ending.block);
        // The event may be here before the outcome of the transaction.
        closes
            .filter(|flight| is_there(&flight.stage) || flight.stage.may_be_mined())
            .max_by_key(|flight| (is_there(&flight.stage), flight.seq))
            .map(|flight| flight.seq)
    }
}

/// Whether the opening was undone, and has not come again for so long that it is not waited for.
fn has_vanished(state: &AgentState, env: &Env<'_, Agent>) -> bool {
    state.chain.phase() == Phase::Unopened
        && state.own.unopened.elapsed(env.uptime) >= env.policy.vanish_after
}
