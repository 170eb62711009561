//! What is stored, as the API shows it.

use alloy::primitives::U256;
use privatix_chain as chain;
use privatix_channel::Period;
use privatix_jobs::{JobId, JobRecord};
use privatix_market::{Outcome, Subject};
use privatix_node::{ChannelView, Node, Token};
use privatix_somc::{SomcAddress, SourceType};
use privatix_store::orders::{self, What};
use privatix_store::{offerings, sessions};
use serde_json::Value;

use crate::agent::{Offering, OfferingProgress};
use crate::node::{
    Attempt, Channel, Inclusion, Job, JobFailure, OrderState, Session, TokenUnit, Transaction,
};

pub(crate) fn channel(view: ChannelView) -> Channel {
    let ChannelView { channel, used, paid, acknowledged, vouchers, .. } = view;
    Channel {
        id: channel.id,
        offering: channel.descriptor.offering,
        agent: channel.descriptor.agent,
        client: channel.descriptor.client,
        status: channel.status,
        service: channel.service,
        service_since: channel.service_since,
        reason: channel.reason,
        paused: channel.held,
        deposit: channel.deposit,
        paid,
        acknowledged,
        settled: channel.paid,
        vouchers,
        used,
        fee: channel.fee,
        opened_at: channel.opened_at,
        challenge_ends_at: channel.challenge_ends_at,
        closure: channel.closure,
        top_up_pending: channel.top_up_pending,
        created_at: channel.created_at,
    }
}

/// An order, with the job that provides its tokens.
pub(crate) fn order(order: orders::Order, job: Option<JobId>) -> OrderState {
    let (what, amount) = match order.what {
        What::Open { deposit } => ("open", Some(deposit)),
        What::TopUp { amount, .. } => ("topUp", Some(amount)),
        What::Pause => ("pause", None),
        What::Resume => ("resume", None),
        What::AcceptClaim { claimed } => ("acceptClaim", Some(claimed)),
        What::SetBilling { .. } => ("setPolicy", None),
        What::End => ("terminate", None),
        What::Close => ("close", None),
        What::Abandon => ("abandon", None),
        What::Publish => ("publish", None),
        What::PopUp => ("popUp", None),
        What::PopUpEvery { .. } => ("schedule", None),
        What::Remove => ("remove", None),
        _ => ("unknown", None),
    };
    let (outcome, ended_at) = order.ended.unzip();
    OrderState {
        order: order.id.0,
        channel: match order.subject {
            Subject::Channel(channel) => Some(channel),
            _ => None,
        },
        offering: match order.subject {
            Subject::Offering(_, offering) => Some(offering),
            _ => None,
        },
        what: what.to_owned(),
        amount,
        by: order.by,
        key: order.key,
        at: order.at,
        job,
        is_done: outcome.map(Outcome::is_done),
        closure: match outcome {
            Some(Outcome::Closed(closure)) => Some(closure),
            _ => None,
        },
        transaction: order.tx.map(|tx| chain::TxId(tx.0)),
        ended_at,
        trouble: match outcome {
            Some(Outcome::Failed(trouble)) => Some(trouble.text().to_owned()),
            _ => None,
        },
    }
}

pub(crate) fn token_unit(token: &Token) -> TokenUnit {
    TokenUnit { symbol: token.symbol.clone(), decimals: token.decimals }
}

pub(crate) fn session(session: sessions::Session) -> Session {
    let sessions::Session { id, used, peer, started_at, last_usage, stopped_at, .. } = session;
    Session { id, used, peer, started_at, last_usage, stopped_at }
}

pub(crate) fn job(record: &JobRecord) -> Job {
    Job {
        id: record.id,
        kind: record.kind.clone(),
        subject: record.subject.clone(),
        status: record.status,
        created_by: record.created_by.clone(),
        created_at: record.created_at,
        not_before: record.not_before,
        ended_at: record.ended_at,
        tries: record.tries,
        crashes: record.crashes,
        failure: record
            .failure
            .as_ref()
            .map(|failure| JobFailure { cause: failure.cause, message: failure.message.clone() }),
    }
}

pub(crate) fn payload(record: &JobRecord) -> Value {
    serde_json::from_str(&record.payload).unwrap_or_else(|_| Value::String(record.payload.clone()))
}

pub(crate) fn transaction(record: chain::TxRecord) -> Transaction {
    Transaction {
        id: record.id,
        kind: record.intent.kind,
        subject: record.intent.subject,
        from: record.intent.from,
        to: record.intent.to,
        status: record.status,
        parent: record.parent,
        nonce: record.nonce,
        obstacle: record.obstacle.map(|obstacle| obstacle.to_string()),
        failure: record.failure,
        inclusion: record.inclusion.map(|mined| Inclusion {
            hash: mined.tx_hash,
            block: mined.block,
            success: mined.success,
            gas_used: mined.gas_used,
            gas_price: U256::from(mined.gas_price),
            cost: U256::from(mined.cost()),
        }),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

pub(crate) fn attempt(attempt: &chain::Attempt) -> Attempt {
    Attempt {
        hash: attempt.hash,
        max_fee: U256::from(attempt.fees.max_fee),
        priority_fee: U256::from(attempt.fees.priority_fee),
        signed_at: attempt.at,
    }
}

/// An offering with its message, where that is here and sound.
pub(crate) async fn offering(node: &Node, stored: offerings::Offering) -> Offering {
    let (mut message, mut problem) = (None, stored.problem);
    if stored.message.is_some() {
        match node.offering(stored.agent, stored.hash).await {
            Ok(signed) => message = Some(signed.message().clone()),
            Err(error) => problem = problem.or_else(|| Some(error.to_string())),
        }
    }
    Offering {
        agent: stored.agent,
        hash: stored.hash,
        status: stored.status,
        country: stored.country,
        min_deposit: stored.announcement.min_deposit,
        supply: stored.announcement.supply,
        free_supply: stored.free_supply,
        source: source(stored.announcement.source_type, &stored.announcement.source),
        announced_at: stored.announced_at,
        seen_at: None,
        problem,
        created_at: stored.created_at,
        message,
        order: None,
        progress: None,
    }
}

/// What is done about one of our offerings.
pub(crate) fn progress(progress: privatix_agent::OfferingProgress) -> OfferingProgress {
    let privatix_agent::OfferingProgress { pending, pop_up_every, waits_for, needs_operator, .. } = progress;
    let pop_up_every_seconds = pop_up_every.map(Period::seconds);
    OfferingProgress { pending, waits_for, needs_operator, pop_up_every_seconds }
}

/// The announced address; as announced where that is none.
fn source(kind: u8, source: &str) -> String {
    let address = SourceType::try_from(kind).and_then(|kind| SomcAddress::new(kind, source));
    address.map_or_else(|_| format!("{kind}:{source}"), |address| address.to_string())
}

pub(crate) fn recovery(node: &Node) -> Option<crate::node::Recovery> {
    let recovery = node.recovery()?;
    let until = match node.recovery_phase() {
        Some(privatix_node::RecoveryPhase::Grace { until }) => Some(until),
        _ => None,
    };
    let (backed_up_at, caught_up_at) = (recovery.backed_up_at, recovery.caught_up_at);
    Some(crate::node::Recovery { backed_up_at, caught_up_at, until })
}
