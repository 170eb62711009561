//! What is proved on a connection: that this side may sign for the channel, and what it has signed.
//!
//! A database may have come back from a backup that nobody noted. So nothing higher is signed in a run of the process before the agent has
//! shown what it knows: its first answer on a connection on which the channel was proved carries its best voucher, if that is better
//! than the one that it was sent. It is this side's own signature, and counts from then on. After that this side knows all that it signed,
//! and a better voucher shows that somebody else uses its key.

use privatix_channel::Amount;

use super::{Client, ClientEnd, ClientMessage, ClientState, Floor, Shown, facts};
use crate::{Again, Env, Uptime, usage};

/// Whether the agent has shown in this run what it knows, or speaks version 1, in which nothing can be proved.
pub(super) fn is_proven(state: &ClientState, env: &Env<'_, Client>) -> bool {
    state.own.proven_in_run == Some(env.run)
}

/// Takes in what an answer carries. Returns whether it came on a connection on which the channel was proved.
pub(super) fn takes(state: &mut ClientState, message: ClientMessage, env: &Env<'_, Client>) -> bool {
    let Some(carried) = message.carried() else { return false };
    let Some(shown) = carried.view else { return false };
    shows(state, shown, env);
    let is_first = !is_proven(state, env);
    let damaged = env.damaged_voucher.filter(|damaged| state.book.best < *damaged);
    let known = state.book.best.max(damaged.unwrap_or(Amount::ZERO));
    if let Some(best) = carried.best.filter(|best| best.channel() == state.id) {
        let cumulative = best.cumulative();
        if cumulative > known || damaged == Some(cumulative) {
            adopt(state, cumulative, env);
        }
        if cumulative > known && !is_first {
            facts::end(state, ClientEnd::KeyUsedElsewhere, env);
        }
    }
    let explained = state.book.best.max(state.chain.paid);
    if !env.chain.is_good() && acknowledged(message) > explained {
        // The chain may have paid it, which is not seen yet.
        return true;
    }
    state.own.proven_in_run = Some(env.run);
    if is_first && state.chain.paid > state.book.best {
        // What was paid on chain was signed, too.
        let floor = state.own.floor.map_or(Amount::ZERO, |floor| floor.claimed);
        if state.chain.paid > floor {
            state.own.floor = Some(Floor { claimed: state.chain.paid, accepted: true });
        }
        usage::raise(state, state.chain.paid, env);
    }
    true
}

/// What an answer names as acknowledged in all.
const fn acknowledged(message: ClientMessage) -> Amount {
    match message {
        ClientMessage::Paid { acknowledged, .. }
        | ClientMessage::Stale { acknowledged, .. }
        | ClientMessage::Known { acknowledged, .. } => acknowledged,
        _ => Amount::ZERO,
    }
}

/// The agent's best voucher counts from now on, with the use that was signed for by it.
fn adopt(state: &mut ClientState, cumulative: Amount, env: &Env<'_, Client>) {
    state.book.best = cumulative;
    usage::raise(state, cumulative, env);
    state.own.floor = state.own.floor.filter(|floor| floor.claimed > cumulative);
}

/// The agent shows this of the channel. Before its first answer in a run nothing is known of the order: the node's uptime may have gone
/// back with a crash.
pub(super) fn shows(state: &mut ClientState, shown: Shown, env: &Env<'_, Client>) {
    let is_first = !is_proven(state, env);
    let known = state.own.theirs.filter(|_| !is_first);
    if known.is_none_or(|known| shown.is_newer(known)) {
        state.own.theirs = Some(shown);
    }
    if known.is_none_or(|known| shown.connected > known.connected) {
        state.own.disconnected = false;
    }
}

/// The connection has ended that was made at this time. If the agent was heard on it last, it is asked again on another one, so that what it
/// shows meanwhile is seen soon: at once, but ever less often where connections end soon after they were made.
pub(super) fn disconnected(state: &mut ClientState, connected: Uptime, env: &Env<'_, Client>) {
    let own = &mut state.own;
    if own.disconnected || own.theirs.is_none_or(|known| known.connected > connected) {
        return;
    }
    own.disconnected = true;
    let policy = env.policy;
    if env.uptime.since(connected) >= policy.ask_longest {
        own.reattach = Again::default();
    }
    let is_first = own.reattach.tries == 0;
    own.reattach.failed(policy.ask_first, policy.ask_longest, env.uptime);
    if is_first {
        own.reattach.at = env.uptime;
    }
}

/// The agent speaks version 1: there is no other proof than what it answers there.
pub(super) fn in_clear(state: &mut ClientState, env: &Env<'_, Client>) {
    (state.own.proven_in_run, state.own.theirs, state.own.disconnected) = (Some(env.run), None, false);
}
