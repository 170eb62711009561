//! The operator's orders: each is stored with the decision that takes it, and ends with the one that shows what became of it.

use std::time::SystemTime;

use alloy::primitives::Address;
use privatix_db::Conn;
use privatix_market::offering::{OfferingOrder, OfferingState};
use privatix_market::{Agent, AgentOrder, AgentState, EffectId, Env, OrderChange, OrderId, Outcome, Subject};
use privatix_node::{Given, NodeError};
use privatix_store::orders::{self, NewOrder, Reservation, What};
use privatix_store::purposes;

/// How many of a subject's last orders a reorganisation can set under way again.
const LOOKED_BACK: u32 = 100;

/// An order about a channel, as it is stored.
pub(crate) const fn about_channel(order: AgentOrder) -> Option<What> {
    match order {
        AgentOrder::End => Some(What::End),
        AgentOrder::Close => Some(What::Close),
        AgentOrder::Hold => Some(What::Pause),
        AgentOrder::Resume => Some(What::Resume),
        AgentOrder::Abandon => Some(What::Abandon),
        _ => None,
    }
}

/// An order about an offering, as it is stored.
pub(crate) const fn about_offering(order: OfferingOrder) -> Option<What> {
    match order {
        OfferingOrder::Publish => Some(What::Publish),
        OfferingOrder::PopUp => Some(What::PopUp),
        OfferingOrder::PopUpEvery(every) => Some(What::PopUpEvery { every }),
        OfferingOrder::Remove => Some(What::Remove),
        _ => None,
    }
}

const fn channel_order(what: What) -> Option<AgentOrder> {
    match what {
        What::End => Some(AgentOrder::End),
        What::Close => Some(AgentOrder::Close),
        What::Pause => Some(AgentOrder::Hold),
        What::Resume => Some(AgentOrder::Resume),
        What::Abandon => Some(AgentOrder::Abandon),
        _ => None,
    }
}

const fn offering_order(what: What) -> Option<OfferingOrder> {
    match what {
        What::Publish => Some(OfferingOrder::Publish),
        What::PopUp => Some(OfferingOrder::PopUp),
        What::PopUpEvery { every } => Some(OfferingOrder::PopUpEvery(every)),
        What::Remove => Some(OfferingOrder::Remove),
        _ => None,
    }
}

/// Stores an order that was decided in this transaction. What already became of it is stored by [`of_channel`] and [`of_offering`].
pub(crate) async fn place(
    conn: &mut Conn,
    subject: Subject,
    what: What,
    given: Given,
) -> Result<OrderId, NodeError> {
    let number = orders::next(conn).await?;
    let Given { key, by } = given;
    // No order of an agent takes tokens that are reserved for it.
    let reserves = Reservation { agent: Address::ZERO, day: None };
    let order = NewOrder { key, subject, what, by, at: SystemTime::now(), reserves };
    Ok(orders::place(conn, number, &order).await?.id())
}

/// Stores what became of an order that has led to this state of its channel.
pub(crate) async fn of_channel(
    conn: &mut Conn,
    (id, order): (OrderId, AgentOrder),
    state: &AgentState,
    env: &Env<'_, Agent>,
) -> Result<(), NodeError> {
    let tx = (order == AgentOrder::Close).then(|| state.closed_by()).flatten();
    apply(conn, id, order.change(None, state, env), effect(Subject::Channel(state.id), tx)).await
}

/// Stores what became of an order that has led to this state of its offering.
pub(crate) async fn of_offering(
    conn: &mut Conn,
    (id, order): (OrderId, OfferingOrder),
    state: &OfferingState,
) -> Result<(), NodeError> {
    apply(conn, id, order.change(None, state, state), None).await
}

/// Stores what becomes of a channel's orders by the step from one state to another.
pub(crate) async fn follow_channel(
    conn: &mut Conn,
    before: &AgentState,
    state: &AgentState,
    env: &Env<'_, Agent>,
) -> Result<(), NodeError> {
    if !state.moves_orders(before, env) {
        return Ok(());
    }
    let subject = Subject::Channel(state.id);
    for (id, what, was) in all(conn, subject, true).await? {
        let Some(order) = channel_order(what) else { continue };
        let tx = if order == AgentOrder::Close { state.closed_by() } else { None };
        apply(conn, id, order.change(was, state, env), effect(subject, tx)).await?;
    }
    Ok(())
}

/// Stores what becomes of an offering's orders by the step from one state to another.
pub(crate) async fn follow_offering(
    conn: &mut Conn,
    before: &OfferingState,
    state: &OfferingState,
) -> Result<(), NodeError> {
    // Also where nothing differs: of an offering that has no fold yet, the state before an event is made of all stored events, and
    // includes it.
    let subject = Subject::Offering(state.agent, state.hash);
    let resumes = OfferingOrder::may_resume(before, state);
    let all = all(conn, subject, resumes).await?.into_iter();
    let orders: Vec<_> = all.filter_map(|(id, what, was)| Some((id, offering_order(what)?, was))).collect();
    for (id, order, change) in OfferingOrder::changes(&orders, before, state) {
        // A final transaction may be gone from the state.
        let shown = &state.chain;
        let carried =
            |purpose| state.carried_by(purpose, shown).or_else(|| before.carried_by(purpose, shown));
        let tx = order.purpose().and_then(carried);
        apply(conn, id, Some(change), effect(subject, tx)).await?;
    }
    Ok(())
}

fn effect(subject: Subject, seq: Option<u32>) -> Option<EffectId> {
    seq.map(|seq| EffectId { subject, seq })
}

/// The orders under way about a subject, and its last ones where one that has ended may be under way again.
async fn all(
    conn: &mut Conn,
    subject: Subject,
    resumes: bool,
) -> Result<Vec<(OrderId, What, Option<Outcome>)>, NodeError> {
    let mut found = orders::unsettled(conn, subject).await?;
    if resumes {
        let last = orders::of_subject(conn, subject, None, LOOKED_BACK).await?;
        found.extend(last.into_iter().filter(|order| order.ended.is_some()));
    }
    Ok(found.into_iter().map(|order| (order.id, order.what, order.ended.map(|(how, _)| how))).collect())
}

/// Stores what is new of an order, with the transaction that carried it out.
async fn apply(
    conn: &mut Conn,
    id: OrderId,
    change: Option<OrderChange>,
    effect: Option<EffectId>,
) -> Result<(), NodeError> {
    match change {
        None => {}
        Some(OrderChange::UnderWay) => orders::resume(conn, id).await?,
        Some(OrderChange::Ended(outcome)) => {
            orders::end(conn, id, outcome, SystemTime::now()).await?;
            if let Some(effect) = effect.filter(|_| outcome.is_done())
                && let Some(recorded) = purposes::of_effect(conn, effect).await?
            {
                orders::carried_by(conn, id, recorded.tx).await?;
            }
        }
    }
    Ok(())
}
