//! Which agents a bought service does not reach, from the plug-in to the decisions: [`follow_reach`].

use std::collections::BTreeSet;
use std::time::Duration;

use privatix_adapter::Host;
use privatix_channel::ChannelId;
use privatix_market::{Input, Party};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::Decider;
use crate::shell::NotApplied;

/// Asks the plug-in every so often which channels' agents it does not reach, and has each change decided, until `shutdown`. What cannot
/// be decided is decided at the next look.
pub async fn follow_reach<P: Party>(
    host: &Host,
    decider: &Decider<P>,
    every: Duration,
    shutdown: CancellationToken,
) {
    let mut life = None;
    // What was decided about in this life.
    let mut unreached = BTreeSet::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        // One that does not answer, or has no answer yet, is shown by its health.
        let Some(Ok(answer)) = shutdown.run_until_cancelled(host.unreached()).await else { continue };
        let instance = decider.outlook().instance();
        if life.replace(instance) != Some(instance) {
            unreached.clear(); // states forget it, too
        }
        let now: BTreeSet<ChannelId> = answer.into_iter().collect();
        let changed: Vec<ChannelId> = now.symmetric_difference(&unreached).copied().collect();
        for channel in changed {
            let is_reached = !now.contains(&channel);
            match decider.decide(channel, Input::Reached(is_reached)).await {
                Ok(_) => {}
                // Nothing can be decided about it: it is closed, or was not repaired yet.
                Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => {}
                Err(error) => {
                    tracing::warn!(%channel, %error, "whether the agent is reached could not be decided; trying again");
                    continue;
                }
            }
            if is_reached {
                unreached.remove(&channel);
            } else {
                tracing::info!(%channel, "the agent is not reached by the access that is here");
                unreached.insert(channel);
            }
        }
    }
}
