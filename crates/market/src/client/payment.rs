//! Paying: what is signed, and what the agent's answers mean.

use privatix_channel::{Amount, Phase};
use serde::{Deserialize, Serialize};

use super::requests::{self, Ask, Reach};
use super::{AccessStatus, Client, ClientEffect, ClientEnd, ClientMessage, ClientPurpose, ClientState};
use super::{billing, facts, proof, wants};
use crate::{Effect, Env, Flight, Owner, Refused, Trouble, Verified, usage};

/// What an agent claims beyond what a restored database shows as signed. Below it every voucher would be in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Floor {
    /// What it claims in all, in base units.
    pub claimed: Amount,
    /// Whether that is beyond doubt, by the chain, or by the user's word.
    pub accepted: bool,
}

/// What is to be signed now: what is due by billing, never above the deposit.
pub(super) fn wanted(state: &ClientState, env: &Env<'_, Client>) -> Option<Amount> {
    let own = &state.own;
    // What is signed now would not be admitted.
    let is_asking = own
        .flights
        .iter()
        .any(|f: &Flight<ClientPurpose>| matches!(f.purpose, ClientPurpose::RequestClose { .. }));
    let is_served = state.chain.phase() == Phase::Open && own.access == AccessStatus::Here;
    let is_unproven = requests::is_unproven(state, env) || !proof::is_proven(state, env);
    if !is_served || is_asking || is_unproven {
        return None;
    }
    let due = billing::due(state, env)?;
    let is_above = due <= state.chain.deposit && due > state.book.best.max(state.chain.paid);
    (is_above && is_above_floor(state, due)).then_some(due)
}

/// Whether this much is worth more to the agent than what it claims already. Without the user's word by one interval: its claim is
/// not proven.
fn is_above_floor(state: &ClientState, due: Amount) -> bool {
    match (state.own.floor, state.terms.as_deref()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(Floor { claimed, accepted: true }), _) => due > claimed,
        (Some(Floor { claimed, accepted: false }), Some(terms)) => {
            let covered = |amount| privatix_billing::covered(terms, amount);
            due > claimed && covered(due) >= covered(claimed).saturating_add(terms.interval())
        }
    }
}

/// Whether the service is held back, because nothing that is used would be paid for with a voucher above the agent's claim.
pub(super) fn is_held_back(state: &ClientState) -> bool {
    if state.own.floor.is_none_or(|floor| floor.accepted) {
        return false;
    }
    let price = |terms| privatix_billing::due(terms, usage::counted(state), state.chain.deposit);
    !state.terms.as_deref().is_some_and(|terms| is_above_floor(state, price(terms)))
}

/// Signs what is due.
pub(super) fn difference(state: &mut ClientState, env: &Env<'_, Client>, effects: &mut Vec<Effect<Client>>) {
    let Some(due) = wanted(state, env) else { return };
    if state.own.signing.is_none() && state.own.signer.is_over(env.uptime) {
        state.own.signing = Some(due);
        effects.push(Effect::Own(ClientEffect::Sign(due)));
    }
}

/// Until when a close request waits for a signature, so that it admits it. A key that fails is not waited for without end.
pub(super) fn waits_for_signature(state: &ClientState, env: &Env<'_, Client>) -> Option<Owner> {
    let signer = state.own.signer;
    // What is being signed now is reported before anything else happens.
    let is_signing = state.own.signing.is_some();
    let waits = is_signing || (wanted(state, env).is_some() && signer.tries < env.policy.sign_tries);
    waits.then_some(Owner::Time(signer.at.max(env.uptime)))
}

/// What moves the payments on.
pub(super) fn owners(state: &ClientState, env: &Env<'_, Client>) -> Vec<Owner> {
    let mut owners = Vec::new();
    if wanted(state, env).is_some() {
        owners.push(Owner::Time(state.own.signer.at.max(env.uptime)));
    }
    owners.extend(billing::next_payment(state, env));
    owners
}

/// What came of signing.
pub(super) fn signed(
    state: &mut ClientState,
    signed: Result<Verified, Trouble>,
    env: &Env<'_, Client>,
) -> Result<(), Refused> {
    let policy = env.policy;
    match signed {
        Ok(voucher) if voucher.channel() != state.id => {
            return Err(Refused::WrongChannel { expected: state.id, found: voucher.channel() });
        }
        Ok(voucher) => {
            state.book.best = state.book.best.max(voucher.cumulative());
            state.own.signer = crate::Again::default();
        }
        Err(_) if state.own.signing.is_some() => {
            state.own.signer.failed(policy.retry_first, policy.retry_longest, env.uptime);
        }
        Err(_) => {}
    }
    state.own.signing = None;
    Ok(())
}

/// The agent's message.
pub(super) fn message(state: &mut ClientState, message: ClientMessage, env: &Env<'_, Client>) {
    let is_answer = !matches!(
        message,
        ClientMessage::Unanswered { .. }
            | ClientMessage::NotPermitted
            | ClientMessage::InClear
            | ClientMessage::View(_)
            | ClientMessage::Disconnected { .. }
    );
    if is_answer {
        (state.own.peer, state.own.unasked) = (Reach::Answers, false);
        state.own.not_now = match message {
            ClientMessage::NotNow(why) | ClientMessage::AccessNotReady(why) => why,
            _ => None,
        };
    }
    let is_proved = proof::takes(state, message, env);
    match message {
        ClientMessage::Access(fetched) => requests::fetched(state, fetched, env),
        ClientMessage::AccessNotReady(_) => requests::not_ready(state, env),
        ClientMessage::AccessRefused => {
            if state.own.access == AccessStatus::None {
                state.own.access = AccessStatus::Refused;
                facts::end(state, ClientEnd::NoAccess, env);
            } else {
                requests::pause(state, env, |request| request.what == Ask::Access);
            }
        }
        ClientMessage::Paid { acknowledged, ended, .. } => {
            knows(state, acknowledged, is_proved, env);
            answered_ping(state, env);
            if ended {
                facts::end(state, ClientEnd::AgentEnded, env);
            }
        }
        ClientMessage::Stale { acknowledged, .. } => {
            knows(state, acknowledged, is_proved, env);
            // Where there is a voucher, its repetition is the ping.
            if is_pinging(state) {
                answered_ping(state, env);
            }
        }
        ClientMessage::Known { acknowledged, .. } => {
            knows(state, acknowledged, is_proved, env);
            state.own.behind = acknowledged < state.book.best;
        }
        ClientMessage::InClear => proof::in_clear(state, env),
        ClientMessage::View(shown) => proof::shows(state, shown, env),
        ClientMessage::Disconnected { connected } => proof::disconnected(state, connected, env),
        ClientMessage::Pong => answered_ping(state, env),
        ClientMessage::NotNow(_) => {
            state.own.peer = Reach::NotNow;
            requests::pause(state, env, |request| request.what != Ask::Access);
        }
        ClientMessage::Closing { .. } => {
            requests::pause(state, env, |request| matches!(request.what, Ask::Voucher | Ask::Attach));
            state.own.behind = false;
            facts::end(state, ClientEnd::AgentEnded, env);
        }
        ClientMessage::Unanswered { seq } => requests::unanswered(state, seq, env),
        ClientMessage::NotPermitted => facts::end(state, ClientEnd::Excluded, env),
    }
}

/// Whether the agent is asked for any answer.
fn is_pinging(state: &ClientState) -> bool {
    state.own.requests.iter().any(|request| request.what == Ask::Ping)
}

/// A ping was answered: the agent can be reached, so the channel may be given up as idle.
fn answered_ping(state: &mut ClientState, env: &Env<'_, Client>) {
    if is_pinging(state) {
        state.own.requests.retain(|request| request.what != Ask::Ping);
        state.own.pinged = requests::is_idle(state, env);
    } else {
        state.own.idle.reset(env.uptime);
    }
}

/// The agent knows of this much, as it says on a connection on which the channel was proved, or on any other.
fn knows(state: &mut ClientState, acknowledged: Amount, is_proved: bool, env: &Env<'_, Client>) {
    let best = state.book.best;
    let floor = state.own.floor.map_or(Amount::ZERO, |floor| floor.claimed);
    if acknowledged > best.max(floor) {
        match claim(state, acknowledged, is_proved, env) {
            Claim::Explained => {}
            Claim::Open => {
                let asks = |request: &requests::Request| matches!(request.what, Ask::Voucher | Ask::Attach);
                return requests::pause(state, env, asks);
            }
            Claim::Lie => return facts::end(state, ClientEnd::AgentClaimsMore, env),
            Claim::Unproven => state.own.floor = Some(Floor { claimed: acknowledged, accepted: false }),
        }
    }
    state.own.proven_in = env.recovery.or(state.own.proven_in);
    let known = state.book.acknowledged.max(acknowledged.min(best));
    if known > state.book.acknowledged {
        state.book.acknowledged = known;
        state.own.unreachable.reset(env.uptime);
    }
    // What it was sent is more than it knows: again, but not at once.
    requests::pause(state, env, |request| request.what == Ask::Voucher && request.cumulative > acknowledged);
    state.own.behind &= acknowledged < best;
    // It knows what it was sent, and a better one may exist by now.
    state.own.requests.retain(|request| request.what != Ask::Voucher || request.until.is_none());
}

/// What a claim beyond all that this side knows as signed is.
enum Claim {
    /// Something that is known here explains it.
    Explained,
    /// What would explain it is not known yet.
    Open,
    /// Nobody can have signed that.
    Lie,
    /// A backup may not know all that was signed. The user decides.
    Unproven,
}

fn claim(state: &ClientState, acknowledged: Amount, is_proved: bool, env: &Env<'_, Client>) -> Claim {
    if is_proved {
        let is_explained = acknowledged <= state.chain.paid || env.damaged_voucher.is_some();
        return match is_explained {
            true => Claim::Explained,
            // The chain may have paid it.
            false if !env.chain.is_good() => Claim::Open,
            // Else it would have shown the voucher.
            false => Claim::Lie,
        };
    }
    if !proof::is_proven(state, env) {
        return Claim::Open;
    }
    match env.kept_open {
        // What was signed is not known.
        None if env.damaged_voucher.is_some() => Claim::Explained,
        None => Claim::Lie,
        // Nobody can have signed that much.
        Some(_) if acknowledged > state.chain.deposit => Claim::Open,
        Some(_) => Claim::Unproven,
    }
}

/// What the chain proves in a recovery was signed, though the backup does not know it.
pub(super) fn proven_by_chain(state: &mut ClientState, env: &Env<'_, Client>) {
    let paid = state.chain.paid;
    let floor = state.own.floor.map_or(Amount::ZERO, |floor| floor.claimed);
    if env.kept_open.is_some() && paid > state.book.best.max(floor) {
        state.own.floor = Some(Floor { claimed: paid, accepted: true });
    }
}

/// Whether the chain shows more as paid than what this side ever signed.
pub(super) fn is_overpaid(state: &ClientState, env: &Env<'_, Client>) -> bool {
    let floor = state.own.floor.map_or(Amount::ZERO, |floor| floor.claimed);
    let is_known = env.kept_open.is_none() && env.damaged_voucher.is_none() && proof::is_proven(state, env);
    is_known && state.chain.paid > state.book.best.max(floor)
}

/// Whether billing is asked about the end: once, when the last use is known.
pub(super) fn is_last(state: &ClientState, env: &Env<'_, Client>) -> bool {
    wants::last_payment(state, env).is_some_and(|at| at <= env.uptime)
}
