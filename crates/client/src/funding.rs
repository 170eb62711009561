//! The money of openings and top-ups, and the orders that they carry out: [`Funding`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use alloy::primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::{Amount, ChannelId, Phase};
use privatix_db::Conn;
use privatix_jobs::{Filter, JobStatus};
use privatix_market::{
    Budget, ClientPurpose, ClientState, EffectId, Flight, OrderId, Outcome, Stage, Subject,
};
use privatix_node::{NodeError, Outlook};
use privatix_store::StoreError;
use privatix_store::orders::{self, Held, NewOrder, Order, Reservation, What};

use crate::budget::{Budgets, Limits, day};
use crate::fund::{Fund, Source, fund_subject};
use crate::runner::{Funds, Payment, above_last};

/// Who has given an order that is known from the chain alone.
const FOUND: &str = "found on chain";
/// Orders of a channel that are read at a time.
const PAGE: u32 = 100;

/// Keeps the orders of a client's channels, and carries what its jobs have found from the account to the transactions that use it.
/// Clones share it.
#[derive(Clone)]
pub struct Funding(Arc<Parts>);

struct Parts {
    budgets: Budgets,
    outlook: Arc<dyn Outlook>,
    /// What running jobs have found, until their transactions are committed.
    found: Mutex<HashMap<(ChannelId, ClientPurpose), (u32, Source)>>,
}

impl std::fmt::Debug for Funding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Funding").field("budgets", &self.0.budgets).finish_non_exhaustive()
    }
}

impl Funding {
    /// Orders within these limits, whose days pass by the blocks that `outlook` shows.
    pub fn new(limits: Limits, outlook: Arc<dyn Outlook>) -> Self {
        Self(Arc::new(Parts { budgets: Budgets::new(limits), outlook, found: Mutex::default() }))
    }

    /// What may still be spent. Read the account's balance into it before a user's order is decided, at a start, and from time to
    /// time: until then it counts with the last one.
    pub fn budgets(&self) -> &Budgets {
        &self.0.budgets
    }

    /// Stores the order to open a channel, under the caller's key where there is one, and reserves its deposit: in the transaction
    /// that [begins](privatix_node::Decider::begin) the channel's state. The budget of that decision is read before this.
    ///
    /// # Errors
    /// [`StoreError`], as of [`orders::place`].
    pub async fn take_opening(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        deposit: Amount,
        (key, by): (Option<String>, &str),
    ) -> Result<orders::Placed, StoreError> {
        let id = orders::next(conn).await?;
        let order = self.order(state, What::Open { deposit }, (key, by));
        orders::place(conn, id, &order).await
    }

    /// Counts the deposit of a channel that was found on chain, and that no order of this database has opened, as spent: on the newest day
    /// that has orders, if there is one.
    ///
    /// # Errors
    /// [`StoreError`], as of [`orders::place`].
    pub async fn take_found(
        &self,
        conn: &mut Conn,
        (channel, agent): (ChannelId, Address),
        deposit: Amount,
    ) -> Result<(), StoreError> {
        match orders::first(conn, Subject::Channel(channel)).await? {
            Some(_) => Ok(()),
            None => self.count_found(conn, (channel, agent), What::Open { deposit }).await,
        }
    }

    async fn count_found(
        &self,
        conn: &mut Conn,
        (channel, agent): (ChannelId, Address),
        what: What,
    ) -> Result<(), StoreError> {
        let subject = Subject::Channel(channel);
        let (at, by) = (SystemTime::now(), FOUND.to_owned());
        let reserves = Reservation { agent, day: None };
        let order = NewOrder { key: None, subject, what, by, at, reserves };
        let id = orders::next(conn).await?;
        orders::place(conn, id, &order).await?;
        orders::end(conn, id, Outcome::Done, at).await.map(drop)
    }

    /// Counts what a deposit has grown by without an order: the backup from which this database came back does not know of it.
    async fn count_unknown(&self, conn: &mut Conn, state: &ClientState) -> Result<(), StoreError> {
        let subject = Subject::Channel(state.id);
        let first = orders::first(conn, subject).await?;
        let is_found = first.is_none_or(|first| first.by == FOUND);
        if state.own.restored.is_none() && !is_found {
            return Ok(());
        }
        let (mut known, mut before) = (Amount::ZERO, None);
        loop {
            let page = orders::of_subject(conn, subject, before, PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            for money in page.iter().filter_map(|order| order.money) {
                if money.held != Held::Released {
                    known = known.saturating_add(money.amount);
                }
            }
        }
        let amount = state.chain.deposit.saturating_sub(known);
        if amount.is_zero() {
            return Ok(());
        }
        let what = What::TopUp { amount, automatic: false };
        self.count_found(conn, (state.id, state.descriptor.agent), what).await
    }

    /// An order about a channel that is given now.
    pub(crate) fn order(
        &self,
        state: &ClientState,
        what: What,
        (key, by): (Option<String>, &str),
    ) -> NewOrder {
        let at = SystemTime::now();
        let day = day(self.0.outlook.block_time(), at);
        let reserves = Reservation { agent: state.descriptor.agent, day };
        NewOrder { key, subject: Subject::Channel(state.id), what, by: by.to_owned(), at, reserves }
    }

    /// Keeps what a job has found until the value is dropped.
    pub(crate) fn keep(&self, job: &Fund, source: Source) -> Kept {
        self.0.found.lock().insert((job.channel, job.purpose), (job.seq, source));
        Kept { funding: self.clone(), of: (job.channel, job.purpose) }
    }
}

/// What a job has found, kept for the transaction that uses it.
pub(crate) struct Kept {
    funding: Funding,
    of: (ChannelId, ClientPurpose),
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.funding.0.found.lock().remove(&self.of);
    }
}

/// The order that a transaction carries out; `None` for one of an earlier version.
pub(crate) async fn order_of(
    conn: &mut Conn,
    channel: ChannelId,
    purpose: ClientPurpose,
) -> Result<Option<Order>, StoreError> {
    match purpose {
        ClientPurpose::TopUp { order, .. } => {
            // Earlier versions numbered top-ups by their jobs: another order may have the number by now.
            let order = orders::get(conn, order).await?;
            Ok(order.filter(|order| order.subject == Subject::Channel(channel)))
        }
        ClientPurpose::Open { .. } => {
            // Nothing is ordered about a channel before it.
            let first = orders::first(conn, Subject::Channel(channel)).await?;
            Ok(first.filter(|order| matches!(order.what, What::Open { .. })))
        }
        ClientPurpose::RequestClose { .. } | ClientPurpose::FinalizeClose => Ok(None),
    }
}

/// Whether the tokens of a transaction are still the account's.
const fn held(stage: Stage) -> Held {
    match stage {
        Stage::Mined { .. } | Stage::Unseen { .. } => Held::Spent,
        _ => Held::Reserved,
    }
}

/// The transactions whose tokens changed: each with what became of these, `None` where the transaction is over.
fn changes(before: &ClientState, after: &ClientState) -> Vec<(ClientPurpose, Option<Held>)> {
    let takes = |flight: &&Flight<ClientPurpose>| {
        matches!(flight.purpose, ClientPurpose::Open { .. } | ClientPurpose::TopUp { .. })
    };
    let of = |state: &ClientState, seq| {
        state.own.flights.iter().find(|flight| flight.seq == seq).map(|flight| held(flight.stage))
    };
    let new = after.own.flights.iter().filter(|flight| of(before, flight.seq).is_none());
    let all = before.own.flights.iter().chain(new).filter(takes);
    let changed = all.filter(|flight| of(before, flight.seq) != of(after, flight.seq));
    changed.map(|flight| (flight.purpose, of(after, flight.seq))).collect()
}

#[async_trait]
impl Funds for Funding {
    async fn budget(&self, conn: &mut Conn, agent: Address) -> Result<Budget, NodeError> {
        let today = day(self.0.outlook.block_time(), SystemTime::now());
        self.0.budgets.left(conn, agent, today).await
    }

    async fn next_order(&self, conn: &mut Conn) -> Result<OrderId, NodeError> {
        Ok(orders::next(conn).await?)
    }

    async fn take_order(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        order: OrderId,
        (amount, automatic): (Amount, bool),
    ) -> Result<(), NodeError> {
        let by = if automatic { "policy" } else { "user" };
        let new = self.order(state, What::TopUp { amount, automatic }, (None, by));
        orders::place(conn, order, &new).await?;
        Ok(())
    }

    async fn adopt(&self, conn: &mut Conn, state: &mut ClientState) -> Result<(), NodeError> {
        let by = "an earlier version";
        let (channel, about) = (state.id, Subject::Channel(state.id));
        let opening = state.own.flights.iter().find_map(|flight| match flight.purpose {
            ClientPurpose::Open { deposit } => Some(deposit),
            _ => None,
        });
        // The order of an opening that is under way is the first about its channel, and would come after those of top-ups.
        if let Some(deposit) = opening.filter(|_| state.own.top_ups.is_empty())
            && state.chain.phase() == Phase::Unopened
        {
            self.take_opening(conn, state, deposit, (None, by)).await?;
        }
        let has_transaction = |state: &ClientState, number: OrderId| {
            let mut flights = state.own.flights.iter();
            flights.any(|f| matches!(f.purpose, ClientPurpose::TopUp { order, .. } if order == number))
        };
        let mut kept = Vec::new();
        for mut top_up in std::mem::take(&mut state.own.top_ups) {
            let is_taken = orders::get(conn, top_up.order).await?.is_some_and(|order| order.subject != about);
            if is_taken && has_transaction(state, top_up.order) {
                tracing::warn!(%channel, order = top_up.order.0, "a top-up of an earlier version has a number that another order has, and goes on without one");
                continue;
            }
            if is_taken {
                top_up.order = above_last(orders::next(conn).await?, state);
                state.own.last_order = Some(top_up.order);
            }
            let what = What::TopUp { amount: top_up.amount, automatic: top_up.automatic };
            orders::place(conn, top_up.order, &self.order(state, what, (None, by))).await?;
            kept.push(top_up);
        }
        state.own.top_ups = kept;
        // Last, as numbers of earlier top-ups may be any. One that is mined already counts once more in the deposit: rather twice than
        // not at all.
        if matches!(state.chain.phase(), Phase::Open | Phase::Closing { .. }) {
            let what = What::Open { deposit: state.chain.deposit };
            self.count_found(conn, (channel, state.descriptor.agent), what).await?;
        }
        let mut before = state.clone();
        before.own.flights.clear();
        self.follow(conn, &before, state).await
    }

    async fn fund(&self, conn: &mut Conn, effect: EffectId, purpose: ClientPurpose) -> Result<(), NodeError> {
        let Subject::Channel(channel) = effect.subject else { return Ok(()) };
        privatix_node::push(conn, &Fund { channel, seq: effect.seq, purpose }, "decision").await
    }

    async fn payment(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        purpose: ClientPurpose,
    ) -> Result<Payment, NodeError> {
        let found = self.0.found.lock().get(&(state.id, purpose)).cloned();
        match found {
            Some((seq, Source::Wallet(turn))) => {
                turn.payment(conn, EffectId { subject: Subject::Channel(state.id), seq }).await
            }
            Some((_, Source::Contract)) | None => Ok(Payment::Contract),
        }
    }

    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        let Subject::Channel(channel) = effect.subject else { return Ok(()) };
        let waiting = Filter::new().subject(fund_subject(channel)).status(JobStatus::Waiting);
        for job in privatix_jobs::list(conn, &waiting).await?.jobs {
            if serde_json::from_str::<Fund>(&job.payload).is_ok_and(|fund| fund.seq == effect.seq) {
                privatix_jobs::cancel(conn, job.id).await?;
            }
        }
        Ok(())
    }

    async fn end_order(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        order: OrderId,
        outcome: Outcome,
    ) -> Result<(), NodeError> {
        let stored = orders::get(conn, order).await?;
        match stored.filter(|stored| stored.subject == Subject::Channel(channel)) {
            Some(stored) => {
                orders::end(conn, stored.id, outcome, SystemTime::now()).await?;
            }
            None => {
                tracing::warn!(%channel, order = order.0, ?outcome, "an order that an earlier version took has ended");
            }
        }
        Ok(())
    }

    async fn opened(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        outcome: Option<Outcome>,
    ) -> Result<(), NodeError> {
        let opening = ClientPurpose::Open { deposit: Amount::ZERO };
        match (order_of(conn, channel, opening).await?, outcome) {
            (None, _) => {}
            (Some(order), None) => {
                orders::resume(conn, order.id).await?;
                orders::hold(conn, order.id, Held::Reserved).await?;
            }
            (Some(order), Some(outcome)) => {
                orders::end(conn, order.id, outcome, SystemTime::now()).await?;
            }
        }
        Ok(())
    }

    async fn follow(
        &self,
        conn: &mut Conn,
        before: &ClientState,
        after: &ClientState,
    ) -> Result<(), NodeError> {
        for (purpose, held) in changes(before, after) {
            let Some(order) = order_of(conn, after.id, purpose).await? else { continue };
            match held {
                Some(held) => orders::hold(conn, order.id, held).await?,
                // A reorganisation brought it back after the order had ended, and now it is over without success. What has just ended
                // is settled by its end.
                None if order.ended.is_some() && order.money.is_some_and(|m| m.held == Held::Reserved) => {
                    orders::hold(conn, order.id, Held::Released).await?;
                }
                None => {}
            }
        }
        // Its opening counts where its event is taken in.
        let was_open = before.chain.phase() != Phase::Unopened;
        if was_open && after.chain.deposit > before.chain.deposit {
            self.count_unknown(conn, after).await?;
        }
        Ok(())
    }
}
