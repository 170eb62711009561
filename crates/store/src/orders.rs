//! What the user ordered, and what the policy ordered in the user's stead, with the tokens that it takes.
//!
//! An order is stored in the transaction of the decision that takes it, and ends in that of the decision that ends it: so does what is
//! reserved for it. What all orders come to is kept beside them ([`totals`]) and changes in the same transaction: no query adds
//! orders up.

mod money;

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_billing::ClientPolicy;
use privatix_channel::{Amount, Period};
use privatix_db::types::{Addr, Amount128, Micros};
use privatix_db::{Conn, on};
use privatix_market::{OrderId, Outcome, Subject};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

pub use money::{
    Day, Held, Money, Pot, Reservation, Scope, Today, Totals, counted_day, fund_from, hold, totals,
};

use self::money::place_money;
use crate::StoreError;
use crate::columns::{from_json, signed, to_json, unsigned};
use crate::purposes::{TxNumber, columns, subject};
use crate::schema::orders;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A channel is opened.
    Open {
        /// What it locks, in base units.
        deposit: Amount,
    },
    /// A channel's deposit is raised.
    TopUp {
        /// What it adds, in base units.
        amount: Amount,
        /// Whether the policy ordered it, and not the user.
        automatic: bool,
    },
    /// A service is paused.
    Pause,
    /// A paused service goes on.
    Resume,
    /// What an agent claims of a restored channel is believed.
    AcceptClaim {
        /// What it claims in all, in base units.
        claimed: Amount,
    },
    /// A channel gets a policy of its own for how it is paid and topped up, or follows the configuration again.
    SetBilling {
        /// The policy; `None` for that of the configuration.
        policy: Option<ClientPolicy>,
    },
    /// A service is ended.
    End,
    /// A channel is closed.
    Close,
    /// A channel is closed although its best voucher cannot be read; an agent's is left to its client.
    Abandon,
    /// An offering is announced.
    Publish,
    /// An offering is announced again.
    PopUp,
    /// An offering is announced again whenever its announcement is this old; `None` for never.
    PopUpEvery {
        /// The age, by the chain's clock.
        every: Option<Period>,
    },
    /// An offering is taken off the market.
    Remove,
}

impl What {
    /// The tokens that it takes, in base units; `None` where it takes none.
    pub const fn takes(&self) -> Option<Amount> {
        match self {
            Self::Open { deposit } => Some(*deposit),
            Self::TopUp { amount, .. } => Some(*amount),
            Self::Pause
            | Self::Resume
            | Self::AcceptClaim { .. }
            | Self::SetBilling { .. }
            | Self::End
            | Self::Close
            | Self::Abandon
            | Self::Publish
            | Self::PopUp
            | Self::PopUpEvery { .. }
            | Self::Remove => None,
        }
    }
}

/// An order that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The caller's key: an order that is given again under its key is the same. `None` for what is ordered without one.
    pub key: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// What is ordered.
    pub what: What,
    /// By whom, for people.
    pub by: String,
    /// When.
    pub at: SystemTime,
    /// For whom its tokens count; without meaning where it takes none.
    pub reserves: Reservation,
}

/// A stored order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub id: OrderId,
    /// The caller's key.
    pub key: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// What is ordered.
    pub what: What,
    /// By whom, for people.
    pub by: String,
    /// When it was stored.
    pub at: SystemTime,
    /// Its tokens; `None` where it takes none.
    pub money: Option<Money>,
    /// The transaction that carried it out, where one did and it is known.
    pub tx: Option<TxNumber>,
    /// How it ended, and when; `None` while it is under way.
    pub ended: Option<(Outcome, SystemTime)>,
}

/// What became of [`place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is stored, and its tokens are reserved.
    New(OrderId),
    /// It was stored before, under this number. Nothing changed.
    Before(OrderId),
}

impl Placed {
    /// The order's number.
    pub const fn id(self) -> OrderId {
        match self {
            Self::New(id) | Self::Before(id) => id,
        }
    }
}

/// The number of the next order. The numbers of all orders rise.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn next(conn: &mut Conn) -> Result<OrderId, StoreError> {
    let highest = orders::table.select(diesel::dsl::max(orders::id));
    let highest: Option<i64> = on!(conn, |c| highest.first(c).await)?;
    let highest = unsigned("number of an order", highest.unwrap_or_default())?;
    Ok(OrderId(highest.saturating_add(1)))
}

/// Stores an order under this number, which no order had before, and reserves the tokens that it takes.
///
/// Where the key, or the number, is stored already for the same about the same subject, that is the order, and nothing changes.
///
/// # Errors
/// [`StoreError::OrderKeyUsed`] where the key is another order's; [`StoreError::OrderNumberUsed`] where the number is;
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn place(conn: &mut Conn, id: OrderId, order: &NewOrder) -> Result<Placed, StoreError> {
    let is_same = |before: &Order| (before.subject, before.what) == (order.subject, order.what);
    if let Some(key) = &order.key
        && let Some(before) = of_key(conn, key).await?
    {
        if is_same(&before) {
            return Ok(Placed::Before(before.id));
        }
        return Err(StoreError::OrderKeyUsed { key: key.clone(), order: before.id.0 });
    }
    let number = signed("number of an order", id.0)?;
    if let Some(before) = get(conn, id).await? {
        if !is_same(&before) || (order.key.is_some() && before.key != order.key) {
            return Err(StoreError::OrderNumberUsed(id.0));
        }
        return Ok(Placed::Before(id));
    }
    let (kind, about) = columns(&order.subject)?;
    let money = match order.what.takes() {
        Some(amount) => Some(place_money(conn, amount, order.reserves).await?),
        None => None,
    };
    let row = (
        orders::id.eq(number),
        orders::key.eq(&order.key),
        orders::subject_kind.eq(kind),
        orders::subject.eq(about),
        orders::what.eq(to_json("order", &order.what)?),
        orders::placed_by.eq(&order.by),
        orders::placed_at.eq(Micros::from(order.at)),
        orders::amount.eq(money.map(|money| crate::columns::amount(money.amount))),
        orders::agent.eq(money.map(|money| Addr::from(money.agent))),
        orders::day.eq(money.map(|money| i64::from(money.day.0))),
        orders::held.eq(money.map(|money| money.held.name())),
    );
    let insert = diesel::insert_into(orders::table).values(row);
    on!(conn, |c| insert.execute(c).await)?;
    Ok(Placed::New(id))
}

/// Stores under which key an order was given, and by whom: of one that a decision stored, which knows neither.
///
/// # Errors
/// [`StoreError::NoSuchOrder`]; [`StoreError::OrderKeyUsed`] where the key is another order's; [`StoreError::Db`],
/// [`StoreError::Corrupt`].
pub async fn name(conn: &mut Conn, id: OrderId, key: &str, by: &str) -> Result<(), StoreError> {
    if let Some(before) = of_key(conn, key).await?
        && before.id != id
    {
        return Err(StoreError::OrderKeyUsed { key: key.to_owned(), order: before.id.0 });
    }
    let update = diesel::update(orders::table.find(signed("number of an order", id.0)?));
    let given = (orders::key.eq(key), orders::placed_by.eq(by));
    if on!(conn, |c| update.set(given).execute(c).await)? == 0 {
        return Err(StoreError::NoSuchOrder(id.0));
    }
    Ok(())
}

/// Stores how an order ended, and settles its tokens: they are spent if it was carried out, and free again if not. Returns whether that
/// is new of it. A reorganisation below the final block may end it once more: the last outcome counts.
///
/// # Errors
/// [`StoreError::NoSuchOrder`], [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn end(conn: &mut Conn, id: OrderId, outcome: Outcome, at: SystemTime) -> Result<bool, StoreError> {
    let order = get(conn, id).await?.ok_or(StoreError::NoSuchOrder(id.0))?;
    let held = match outcome {
        Outcome::Done | Outcome::Closed(_) => Held::Spent,
        Outcome::Failed(_) => Held::Released,
    };
    hold(conn, id, held).await?;
    if order.ended.is_some_and(|(before, _)| before == outcome) {
        return Ok(false);
    }
    let ended = (
        orders::outcome.eq(to_json("outcome of an order", &outcome)?),
        orders::ended_at.eq(Micros::from(at)),
    );
    let update = diesel::update(orders::table.find(signed("number of an order", id.0)?)).set(ended);
    on!(conn, |c| update.execute(c).await)?;
    Ok(true)
}

/// Stores which transaction carried an order out.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] if the number of the order is none.
pub async fn carried_by(conn: &mut Conn, id: OrderId, tx: TxNumber) -> Result<(), StoreError> {
    let update = diesel::update(orders::table.find(signed("number of an order", id.0)?));
    on!(conn, |c| update.set(orders::tx.eq(tx.0)).execute(c).await)?;
    Ok(())
}

/// An order that had ended is under way again: a reorganisation took back what had carried it out. What its tokens are held for does not
/// change with it.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] if the number is none.
pub async fn resume(conn: &mut Conn, id: OrderId) -> Result<(), StoreError> {
    let under_way =
        (orders::outcome.eq(None::<String>), orders::ended_at.eq(None::<Micros>), orders::tx.eq(None::<i64>));
    let update = diesel::update(orders::table.find(signed("number of an order", id.0)?)).set(under_way);
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}

/// An order, by its number.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn get(conn: &mut Conn, id: OrderId) -> Result<Option<Order>, StoreError> {
    let query = orders::table.find(signed("number of an order", id.0)?).select(Row::as_select());
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(Row::read).transpose()
}

/// The order that was given under a key about this; `None` if there is none.
///
/// # Errors
/// [`StoreError::OrderKeyUsed`] where the key is another order's; [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn repeated(
    conn: &mut Conn,
    key: &str,
    about: Subject,
    what: What,
) -> Result<Option<Order>, StoreError> {
    match of_key(conn, key).await? {
        Some(before) if (before.subject, before.what) != (about, what) => {
            Err(StoreError::OrderKeyUsed { key: key.to_owned(), order: before.id.0 })
        }
        before => Ok(before),
    }
}

/// The order that was given under a key.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn of_key(conn: &mut Conn, key: &str) -> Result<Option<Order>, StoreError> {
    let query = orders::table.filter(orders::key.eq(key)).select(Row::as_select());
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(Row::read).transpose()
}

/// The orders about a subject, the newest first, at most `limit` of them: those before the order `before`, or the newest ones.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] if one of them cannot be read.
pub async fn of_subject(
    conn: &mut Conn,
    about: Subject,
    before: Option<OrderId>,
    limit: u32,
) -> Result<Vec<Order>, StoreError> {
    let (kind, about) = columns(&about)?;
    let before = before.map_or(Ok(i64::MAX), |before| signed("number of an order", before.0))?;
    let query = orders::table
        .filter(orders::subject_kind.eq(kind))
        .filter(orders::subject.eq(about))
        .filter(orders::id.lt(before))
        .order(orders::id.desc())
        .limit(limit.into())
        .select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(Row::read).collect()
}

/// All orders, the newest first, at most `limit` of them: those before the order `before`, or the newest ones.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] if one of them cannot be read.
pub async fn list(conn: &mut Conn, before: Option<OrderId>, limit: u32) -> Result<Vec<Order>, StoreError> {
    let before = before.map_or(Ok(i64::MAX), |before| signed("number of an order", before.0))?;
    let query = orders::table
        .filter(orders::id.lt(before))
        .order(orders::id.desc())
        .limit(limit.into())
        .select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(Row::read).collect()
}

/// The oldest order about a subject.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn first(conn: &mut Conn, about: Subject) -> Result<Option<Order>, StoreError> {
    let (kind, about) = columns(&about)?;
    let query = orders::table
        .filter(orders::subject_kind.eq(kind))
        .filter(orders::subject.eq(about))
        .order(orders::id)
        .select(Row::as_select());
    let row: Option<Row> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(Row::read).transpose()
}

/// The orders about a subject that are under way, or whose tokens are reserved, the oldest first.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] if one of them cannot be read.
pub async fn unsettled(conn: &mut Conn, about: Subject) -> Result<Vec<Order>, StoreError> {
    let (kind, about) = columns(&about)?;
    // A literal, or the partial index would not be used.
    let is_reserved = diesel::dsl::sql::<diesel::sql_types::Bool>("(outcome IS NULL OR held = 'reserved')");
    let query = orders::table
        .filter(orders::subject_kind.eq(kind))
        .filter(orders::subject.eq(about))
        .filter(is_reserved)
        .order(orders::id)
        .select(Row::as_select());
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(Row::read).collect()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
struct Row {
    id: i64,
    key: Option<String>,
    subject_kind: String,
    subject: Vec<u8>,
    what: String,
    placed_by: String,
    placed_at: Micros,
    amount: Option<Amount128>,
    agent: Option<Addr>,
    day: Option<i64>,
    held: Option<String>,
    pot: Option<String>,
    outcome: Option<String>,
    ended_at: Option<Micros>,
    tx: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Order, StoreError> {
        let outcome = self.outcome.map(|outcome| from_json("outcome of an order", &outcome)).transpose()?;
        Ok(Order {
            id: OrderId(unsigned("number of an order", self.id)?),
            key: self.key,
            subject: subject(&self.subject_kind, &self.subject)?,
            what: from_json("order", &self.what)?,
            by: self.placed_by,
            at: self.placed_at.into(),
            money: Money::read(self.amount, self.agent, self.day, (self.held, self.pot))?,
            tx: self.tx.map(TxNumber),
            ended: outcome.zip(self.ended_at.map(SystemTime::from)),
        })
    }
}

fn address(stored: Addr) -> Address {
    Address::from(stored.bytes())
}
