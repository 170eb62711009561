//! What billing answers about a channel: the amounts, shares and limits are its own.

use privatix_billing::{
    Account, Agreed, Billing, ClientAction, ClientAssessment, ClientPolicy, TerminateReason, TopUpAmount,
    agreed, assess_client,
};
use privatix_channel::{Amount, Phase, ServiceState, ServiceStatus, Usage};

use super::{AccessStatus, Client, ClientState, payment, top_up};
use crate::{Actual, Again, Env, Owner, Refused, usage};

/// Sets or clears the channel's own policy. A new one is followed at once, however long automatic top-ups that failed under the last one
/// would have waited; one that is under way goes on.
pub(super) fn set(
    state: &mut ClientState,
    policy: Option<ClientPolicy>,
    env: &Env<'_, Client>,
) -> Result<(), Refused> {
    if state.own.ending.is_some() {
        return Err(Refused::Ended);
    }
    if let Some(top_up) = policy.and_then(|policy| policy.top_up) {
        let deposit = state.chain.deposit;
        match (top_up.amount, top_up.max_deposit) {
            (TopUpAmount::Fixed(amount), _) if amount.is_zero() || !amount.fits_on_chain() => {
                return Err(Refused::TopUpAmount { amount });
            }
            (_, Some(most)) if most <= deposit => return Err(Refused::MaxDeposit { most, deposit }),
            _ => {}
        }
    }
    state.own.billing = policy;
    // What a restored database does not know was perhaps topped up already: that pause stays.
    if env.recovery.is_none() {
        state.own.auto = Again::default();
    }
    Ok(())
}

/// The service as billing knows it.
pub(super) fn status(state: &ClientState, env: &Env<'_, Client>) -> ServiceStatus {
    match state.own.service.actual(env.instance) {
        Actual::Running => ServiceStatus::Active,
        Actual::Unknown | Actual::Absent | Actual::Suspended | Actual::Lost => ServiceStatus::Suspended,
    }
}

/// The channel as billing sees it: what the agent shows counts for payments only.
fn account(state: &ClientState, status: ServiceStatus, env: &Env<'_, Client>) -> Account {
    let mut account = usage::account(state, status, env);
    let view = state.own.theirs.map(|shown| shown.view);
    account.theirs = view.map(|view| view.used);
    account.resumes_at =
        view.filter(|view| view.service == ServiceState::Suspended).and_then(|view| view.resumes_at);
    account
}

/// Both meters, where the agent has suspended the service and its own is so far above this side's that the difference is not paid for.
pub(super) fn apart(state: &ClientState, env: &Env<'_, Client>) -> Option<Apart> {
    let view = state.own.theirs?.view;
    let ours = usage::used(state, env);
    let Agreed { used: most, beyond, .. } =
        agreed(state.terms.as_deref()?, &state.billing(env).drift, ours, Some(view.used));
    let theirs = beyond.filter(|_| view.service == ServiceState::Suspended)?;
    Some(Apart { ours, theirs, most })
}

/// Two meters too far apart.
#[derive(Clone, Copy)]
pub(super) struct Apart {
    /// This side's total.
    pub(super) ours: Usage,
    /// The agent's.
    pub(super) theirs: Usage,
    /// The most that is paid for.
    pub(super) most: Usage,
}

/// What is to be done besides paying. Patience is not its question.
fn assess(state: &ClientState, env: &Env<'_, Client>, may_top_up: bool) -> Option<ClientAssessment> {
    let mut policy = *state.billing(env);
    policy.top_up = policy.top_up.filter(|_| may_top_up);
    let mut account = account(state, status(state, env), env);
    account.top_up_pending = may_top_up && top_up::is_pending(state);
    Some(assess_client(state.terms.as_deref()?, &account, &policy, usage::moment(env.uptime)))
}

/// Whether the policy may order a top-up now: not right after one that failed, nor on a stale view of the chain or without one of the
/// account's balance, as it would fail by that, nor while the clocks contradict each other.
fn may_top_up(state: &ClientState, env: &Env<'_, Client>) -> bool {
    env.chain.may_lock() && !env.budget.is_unread && state.own.auto.is_over(env.uptime)
}

/// How much an automatic top-up adds now, if the policy asks for one. Nothing right after one that failed, nor while the view of
/// the chain is stale, or the clocks contradict each other.
pub(super) fn top_up(state: &ClientState, env: &Env<'_, Client>) -> Option<Amount> {
    let may_top_up = may_top_up(state, env);
    match assess(state, env, may_top_up)?.action? {
        ClientAction::TopUp(amount) => Some(amount),
        _ => None,
    }
}

/// Whether the policy asks for a top-up now, however the last one ended.
pub(super) fn wants_top_up(state: &ClientState, env: &Env<'_, Client>) -> bool {
    let action = assess(state, env, true).and_then(|assessed| assessed.action);
    matches!(action, Some(ClientAction::TopUp(_)))
}

/// What billing ends, where the deposit does not grow.
pub(super) fn ends(state: &ClientState, env: &Env<'_, Client>) -> Option<TerminateReason> {
    match assess(state, env, false)?.action? {
        ClientAction::Terminate(reason) => Some(reason),
        _ => None,
    }
}

/// What a payment is to be: what was used and is agreed, as billing has it. Paid for the last time once the use is known.
fn payment(state: &ClientState, env: &Env<'_, Client>) -> Option<ClientAssessment> {
    let terms = state.terms.as_deref()?;
    let status = match state.own.ending {
        Some(_) if payment::is_last(state, env) => ServiceStatus::Terminating,
        Some(_) => return None,
        // The first interval is not paid for a service that may never start.
        None if terms.billing() == Billing::Prepaid && state.own.ran.is_none() => return None,
        None => status(state, env),
    };
    let mut account = account(state, status, env);
    (account.last_usage, account.status_since) =
        (usage::moment(state.meter.last), usage::moment(state.own.service.since));
    Some(assess_client(terms, &account, state.billing(env), usage::moment(env.uptime)))
}

/// What is due now, in all.
pub(super) fn due(state: &ClientState, env: &Env<'_, Client>) -> Option<Amount> {
    payment(state, env)?.pay_to
}

/// When something is due by time alone.
pub(super) fn next_payment(state: &ClientState, env: &Env<'_, Client>) -> Option<Owner> {
    let is_open = state.chain.phase() == Phase::Open && state.own.access == AccessStatus::Here;
    usage::owner(payment(state, env).filter(|_| is_open)?.next?)
}

/// When the clock alone changes an answer.
pub(super) fn next(state: &ClientState, env: &Env<'_, Client>) -> Option<Owner> {
    let may_top_up = may_top_up(state, env);
    usage::owner(assess(state, env, may_top_up)?.next?)
}
