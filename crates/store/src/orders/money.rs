//! The tokens of orders: what is promised, what was spent, and what all of that comes to.

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::Amount;
use privatix_db::types::{Addr, Amount128};
use privatix_db::{Conn, on};
use privatix_market::OrderId;

use super::{address, get};
use crate::StoreError;
use crate::columns::{amount as column, narrow, signed, to_amount};
use crate::schema::{order_totals, orders};

/// A day, counted from the first of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// The day of an order that is given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// The day.
    pub day: Day,
    /// The last day that can have come. One after it that has orders was stored by a wrong clock, and uses up no other.
    pub latest: Day,
}

/// For whom the tokens of an order count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The agent.
    pub agent: Address,
    /// The day, or `None` for the newest that has orders. See [`counted_day`].
    pub day: Option<Today>,
}

/// The tokens of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// How many, in base units.
    pub amount: Amount,
    /// The agent for whom they count.
    pub agent: Address,
    /// The day for which they count.
    pub day: Day,
    /// What became of them.
    pub held: Held,
    /// What they are paid from, once that is known.
    pub pot: Option<Pot>,
}

/// What became of the tokens of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// They are still the account's, and promised to the order.
    Reserved,
    /// The order's transaction has taken them: it is in a block that counts.
    Spent,
    /// They are free again.
    Released,
}

impl Held {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Spent => "spent",
            Self::Released => "released",
        }
    }
}

/// What an order is paid from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pot {
    /// The account's balance in the service contract.
    Contract,
    /// The account's balance of the token.
    Wallet,
}

impl Pot {
    /// The pot's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Wallet => "wallet",
        }
    }
}

impl Money {
    pub(super) fn read(
        amount: Option<Amount128>,
        agent: Option<Addr>,
        day: Option<i64>,
        (held, pot): (Option<String>, Option<String>),
    ) -> Result<Option<Self>, StoreError> {
        let (Some(amount), Some(agent), Some(day), Some(held)) = (amount, agent, day, held) else {
            return Ok(None);
        };
        let held = named(&held, [Held::Reserved, Held::Spent, Held::Released], Held::name)?;
        let pot = pot.map(|pot| named(&pot, [Pot::Contract, Pot::Wallet], Pot::name)).transpose()?;
        let day = Day(narrow("day", day)?);
        Ok(Some(Self { amount: to_amount(amount), agent: address(agent), day, held, pot }))
    }

    /// The totals in which they count.
    fn scopes(self) -> impl Iterator<Item = Scope> {
        [Scope::All, Scope::Day(self.day), Scope::Agent(self.agent)]
            .into_iter()
            .chain(self.pot.map(Scope::Pot))
    }
}

fn named<T: Copy>(
    text: &str,
    all: impl IntoIterator<Item = T>,
    name: fn(T) -> &'static str,
) -> Result<T, StoreError> {
    let found = all.into_iter().find(|one| name(*one) == text);
    found.ok_or_else(|| StoreError::Corrupt {
        what: "tokens of an order",
        reason: format!("{text:?} is unknown"),
    })
}

/// Of which orders the tokens are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of all.
    All,
    /// Of those of a day.
    Day(Day),
    /// Of those for an agent.
    Agent(Address),
    /// Of those that are paid from a pot.
    Pot(Pot),
}

impl Scope {
    fn columns(self) -> (&'static str, Vec<u8>) {
        match self {
            Self::All => ("all", Vec::new()),
            Self::Day(Day(day)) => ("day", i64::from(day).to_be_bytes().to_vec()),
            Self::Agent(agent) => ("agent", agent.to_vec()),
            Self::Pot(pot) => ("pot", pot.name().as_bytes().to_vec()),
        }
    }
}

/// What orders come to, in base units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What is promised to orders, and is still the account's.
    pub reserved: Amount,
    /// What orders have spent. It falls where a reorganisation takes a transaction back.
    pub spent: Amount,
    /// What orders have ever spent: once more with each time that a transaction is in a block, so that it never falls. Whoever knows
    /// how it was when a balance was read knows how much of that balance is certain to be there still.
    pub ever: Amount,
}

impl Totals {
    /// Both together.
    pub const fn promised(self) -> Amount {
        self.reserved.saturating_add(self.spent)
    }

    /// The same, with an order's tokens in another state; `None` where that is impossible.
    fn moved(mut self, amount: Amount, from: Option<Held>, to: Option<Held>) -> Option<Self> {
        match from {
            Some(Held::Reserved) => self.reserved = self.reserved.checked_sub(amount)?,
            Some(Held::Spent) => self.spent = self.spent.checked_sub(amount)?,
            Some(Held::Released) | None => {}
        }
        match to {
            Some(Held::Reserved) => self.reserved = self.reserved.checked_add(amount)?,
            Some(Held::Spent) => self.spent = self.spent.checked_add(amount)?,
            Some(Held::Released) | None => {}
        }
        // An order that only moves between pots spends nothing.
        if from.is_some() && to == Some(Held::Spent) {
            self.ever = self.ever.checked_add(amount)?;
        }
        Some(self)
    }
}

/// What the orders of this scope come to.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn totals(conn: &mut Conn, scope: Scope) -> Result<Totals, StoreError> {
    let sums = (order_totals::reserved, order_totals::spent, order_totals::ever);
    let query = order_totals::table.find(scope.columns()).select(sums);
    let row: Option<(Amount128, Amount128, Amount128)> = on!(conn, |c| query.first(c).await.optional())?;
    let totals = |(reserved, spent, ever)| Totals {
        reserved: to_amount(reserved),
        spent: to_amount(spent),
        ever: to_amount(ever),
    };
    Ok(row.map(totals).unwrap_or_default())
}

/// The day for which an order counts that is given now: never an earlier one than those before it, so that a clock that goes back takes no
/// spending back, but for days that [cannot have come](Today::latest). `None`: the newest day that has orders, the first of all if there
/// is none.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn counted_day(conn: &mut Conn, today: Option<Today>) -> Result<Day, StoreError> {
    let latest = today.map_or(Day(u32::MAX), |today| today.latest);
    let newest = newest_day(conn, latest).await?;
    Ok(newest.max(today.map(|today| today.day)).unwrap_or(Day(0)))
}

/// The newest day that has orders, up to this one.
async fn newest_day(conn: &mut Conn, latest: Day) -> Result<Option<Day>, StoreError> {
    let (kind, latest) = Scope::Day(latest).columns();
    let days = order_totals::table.filter(order_totals::scope.eq(kind)).filter(order_totals::id.le(latest));
    let query = days.order(order_totals::id.desc()).select(order_totals::id);
    let newest: Option<Vec<u8>> = on!(conn, |c| query.first(c).await.optional())?;
    let Some(newest) = newest else { return Ok(None) };
    let corrupt = || StoreError::Corrupt { what: "day", reason: format!("{} bytes", newest.len()) };
    let day = i64::from_be_bytes(newest.as_slice().try_into().map_err(|_| corrupt())?);
    Ok(Some(Day(narrow("day", day)?)))
}

/// Reserves the tokens of an order that is about to be stored.
pub(super) async fn place_money(
    conn: &mut Conn,
    amount: Amount,
    Reservation { agent, day }: Reservation,
) -> Result<Money, StoreError> {
    let day = counted_day(conn, day).await?;
    let money = Money { amount, agent, day, held: Held::Reserved, pot: None };
    for scope in money.scopes() {
        count(conn, scope, amount, (None, Some(Held::Reserved))).await?;
    }
    Ok(money)
}

/// Stores what became of an order's tokens. The same again changes nothing; for an order that takes none, nothing happens.
///
/// # Errors
/// [`StoreError::NoSuchOrder`], [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn hold(conn: &mut Conn, id: OrderId, held: Held) -> Result<(), StoreError> {
    let Some(money) = money(conn, id).await?.filter(|money| money.held != held) else { return Ok(()) };
    for scope in money.scopes() {
        count(conn, scope, money.amount, (Some(money.held), Some(held))).await?;
    }
    let update = diesel::update(orders::table.find(signed("number of an order", id.0)?));
    on!(conn, |c| update.set(orders::held.eq(held.name())).execute(c).await)?;
    Ok(())
}

/// Stores what an order is paid from. The same again changes nothing; for an order that takes nothing, nothing happens.
///
/// # Errors
/// [`StoreError::NoSuchOrder`], [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn fund_from(conn: &mut Conn, id: OrderId, pot: Pot) -> Result<(), StoreError> {
    let Some(money) = money(conn, id).await?.filter(|money| money.pot != Some(pot)) else { return Ok(()) };
    if let Some(before) = money.pot {
        count(conn, Scope::Pot(before), money.amount, (Some(money.held), None)).await?;
    }
    count(conn, Scope::Pot(pot), money.amount, (None, Some(money.held))).await?;
    let update = diesel::update(orders::table.find(signed("number of an order", id.0)?));
    on!(conn, |c| update.set(orders::pot.eq(pot.name())).execute(c).await)?;
    Ok(())
}

async fn money(conn: &mut Conn, id: OrderId) -> Result<Option<Money>, StoreError> {
    Ok(get(conn, id).await?.ok_or(StoreError::NoSuchOrder(id.0))?.money)
}

/// Has an order's tokens count in another state in this scope, or not at all.
async fn count(
    conn: &mut Conn,
    scope: Scope,
    amount: Amount,
    (from, to): (Option<Held>, Option<Held>),
) -> Result<(), StoreError> {
    let after = totals(conn, scope).await?.moved(amount, from, to).ok_or_else(|| StoreError::Corrupt {
        what: "total of orders",
        reason: format!("{scope:?} does not hold {amount}"),
    })?;
    let (kind, id) = scope.columns();
    let sums = (
        order_totals::reserved.eq(column(after.reserved)),
        order_totals::spent.eq(column(after.spent)),
        order_totals::ever.eq(column(after.ever)),
    );
    let insert = diesel::insert_into(order_totals::table)
        .values((order_totals::scope.eq(kind), order_totals::id.eq(id), sums))
        .on_conflict((order_totals::scope, order_totals::id))
        .do_update()
        .set(sums);
    on!(conn, |c| insert.execute(c).await)?;
    Ok(())
}
