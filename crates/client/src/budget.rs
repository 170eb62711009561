//! What a client may still spend on channels: [`Budgets`].
//!
//! Budgets count what orders have reserved and spent; gas is not counted. Of the account's balance they count what is not promised
//! to an order: the order is stored in the transaction in which that is judged, so no token is promised twice.

use std::time::SystemTime;

use alloy::primitives::Address;
use parking_lot::Mutex;
use privatix_channel::{Amount, ChainTime};
use privatix_db::Conn;
use privatix_market::Budget;
use privatix_node::{Balances, NodeError};
use privatix_store::StoreError;
use privatix_store::orders::{self, Day, Pot, Scope, Today, Totals};

/// What the user allows to spend on channels, in base units; `None` where nothing limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// In all.
    pub overall: Option<Amount>,
    /// On one day.
    pub daily: Option<Amount>,
    /// On channels with one agent.
    pub per_agent: Option<Amount>,
}

/// The budgets of an account. What its balance was when it was [read](Self::read) last is kept in memory.
#[derive(Debug, Default)]
pub struct Budgets {
    limits: Limits,
    balance: Mutex<Option<Balance>>,
}

impl Budgets {
    /// Budgets with these limits.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, balance: Mutex::new(None) }
    }

    /// Takes in what the account has. `before` is what all orders came to before the balances were asked for, in this order: what an
    /// order spends between the two counts twice then, and never not at all.
    pub fn read(&self, before: Promises, balances: &Balances) -> Balance {
        let balance = Balance { contract: balances.contract, wallet: balances.wallet, before };
        *self.balance.lock() = Some(balance);
        balance
    }

    /// What may be spent now on channels with this agent. Until the balance was [read](Self::read), that is nothing.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn left(
        &self,
        conn: &mut Conn,
        agent: Address,
        today: Option<Today>,
    ) -> Result<Budget, NodeError> {
        let balance = *self.balance.lock();
        let now = Promises::of(conn).await?;
        let today = orders::counted_day(conn, today).await?;
        let spending = Spending {
            overall: now.all,
            today: orders::totals(conn, Scope::Day(today)).await?,
            of_agent: orders::totals(conn, Scope::Agent(agent)).await?,
        };
        let free = balance.map_or(Amount::ZERO, |balance| balance.free(&now));
        let mut budget = self.limits.left(&spending, free);
        budget.is_unread = balance.is_none();
        Ok(budget)
    }
}

/// The day of an order that is given now: that of the chain's newest block, on which everybody agrees. `None` before a block is known: no
/// order takes money then. It is at most a day ahead of this machine's clock, or an endpoint that shows days that have not come would free
/// the limit of a day with each. A clock that is ahead changes nothing; with one that is more than a day behind, orders count for the last
/// day that had some, and health names the clock.
pub fn day(block: Option<ChainTime>, wall: SystemTime) -> Option<Today> {
    const SECONDS: u64 = 24 * 60 * 60;
    let day = |seconds: u64| Day(u32::try_from(seconds / SECONDS).unwrap_or(u32::MAX));
    let (block, wall) = (block?.seconds(), wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let ours = wall.as_secs().saturating_add(SECONDS);
    Some(Today { day: day(block.min(ours)), latest: day(block.saturating_add(SECONDS)) })
}

/// What was reserved and spent, for each limit.
struct Spending {
    overall: Totals,
    today: Totals,
    of_agent: Totals,
}

impl Limits {
    fn left(&self, spending: &Spending, free_balance: Amount) -> Budget {
        let left = |limit: Option<Amount>, totals: Totals| {
            limit.map(|limit| limit.saturating_sub(totals.promised()))
        };
        let mut budget = Budget::default();
        budget.overall = left(self.overall, spending.overall);
        budget.today = left(self.daily, spending.today);
        budget.of_agent = left(self.per_agent, spending.of_agent);
        budget.free_balance = Some(free_balance);
        budget
    }
}

/// What is promised to orders, and what they have spent: in all, and of each pot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    all: Totals,
    contract: Totals,
    wallet: Totals,
}

impl Promises {
    /// As the database has it.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn of(conn: &mut Conn) -> Result<Self, StoreError> {
        Ok(Self {
            all: orders::totals(conn, Scope::All).await?,
            contract: orders::totals(conn, Scope::Pot(Pot::Contract)).await?,
            wallet: orders::totals(conn, Scope::Pot(Pot::Wallet)).await?,
        })
    }

    const fn pot(&self, pot: Pot) -> Totals {
        match pot {
            Pot::Contract => self.contract,
            Pot::Wallet => self.wallet,
        }
    }

    /// Those of orders of which nobody knows yet which pot pays them.
    fn open(&self) -> Totals {
        let rest = |all: Amount, contract, wallet| all.saturating_sub(contract).saturating_sub(wallet);
        Totals {
            reserved: rest(self.all.reserved, self.contract.reserved, self.wallet.reserved),
            spent: rest(self.all.spent, self.contract.spent, self.wallet.spent),
            ever: rest(self.all.ever, self.contract.ever, self.wallet.ever),
        }
    }
}

/// What the account had in its two pots, and what orders had come to before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    contract: Amount,
    wallet: Amount,
    before: Promises,
}

impl Balance {
    /// What a pot is certain to have for an order that it is to pay now, with what orders come to `now`. What was promised to no
    /// certain pot does not count: of these orders, the first that is paid takes what it needs.
    pub fn has(&self, pot: Pot, now: &Promises) -> Amount {
        let balance = match pot {
            Pot::Contract => self.contract,
            Pot::Wallet => self.wallet,
        };
        // What was spent since the balance was read may be in it still.
        let since = |now: Totals, before: Totals| now.ever.saturating_sub(before.ever);
        balance
            .saturating_sub(now.pot(pot).reserved)
            .saturating_sub(since(now.pot(pot), self.before.pot(pot)))
            .saturating_sub(since(now.open(), self.before.open()))
    }

    /// What may be promised to one more order. It is paid by one pot alone, and so might be all those before it.
    pub fn free(&self, now: &Promises) -> Amount {
        let promised = now.open().reserved;
        self.has(Pot::Contract, now).max(self.has(Pot::Wallet, now)).saturating_sub(promised)
    }

    /// The pot that pays an order: what is in the contract is used first.
    pub fn pays(&self, amount: Amount, now: &Promises) -> Option<Pot> {
        [Pot::Contract, Pot::Wallet].into_iter().find(|pot| self.has(*pot, now) >= amount)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use privatix_store::orders::Held;
    use proptest::prelude::*;

    use super::*;

    fn a(base_units: u128) -> Amount {
        Amount::new(base_units)
    }

    fn totals(reserved: u128, spent: u128) -> Totals {
        Totals { reserved: a(reserved), spent: a(spent), ever: a(spent) }
    }

    #[test]
    fn each_limit_counts_what_is_reserved_and_what_was_spent() {
        let spending = |overall, today, of_agent| Spending { overall, today, of_agent };
        let none = totals(0, 0);
        for (overall, daily, per_agent, spending, left) in [
            (None, None, None, spending(totals(9, 9), none, none), 50),
            (Some(40), None, None, spending(totals(9, 10), none, none), 21),
            (Some(40), Some(10), None, spending(totals(9, 10), totals(1, 2), none), 7),
            (Some(40), Some(10), Some(5), spending(totals(9, 10), totals(1, 2), totals(0, 4)), 1),
            (None, Some(10), None, spending(none, totals(9, 2), none), 0),
            (Some(60), None, None, spending(none, none, none), 50),
        ] {
            let limits = Limits { overall: overall.map(a), daily: daily.map(a), per_agent: per_agent.map(a) };
            assert_eq!(limits.left(&spending, a(50)).left(), a(left), "{limits:?}");
        }
    }

    #[test]
    fn fault_80_a_day_is_the_chains_whatever_this_machines_clock_shows() {
        let wall =
            |days: u64, seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + seconds);
        let chain = |days: u64| Some(ChainTime::new(days * 86_400));
        let is = |day, latest| Some(Today { day: Day(day), latest: Day(latest) });
        assert_eq!(day(None, wall(20_000, 86_399)), None);
        assert_eq!(day(chain(20_000), wall(20_000, 86_399)), is(20_000, 20_001));
        assert_eq!(day(chain(20_001), wall(20_000, 0)), is(20_001, 20_002));
        assert_eq!(day(chain(20_000), wall(90_000, 0)), is(20_000, 20_001), "the clock is years ahead");
        assert_eq!(
            day(chain(20_030), wall(20_000, 0)),
            is(20_001, 20_031),
            "the endpoint lies, or the clock is behind"
        );
        assert_eq!(day(chain(20_030), SystemTime::UNIX_EPOCH - Duration::from_secs(1)), is(1, 20_031));
    }

    #[test]
    fn an_order_is_paid_by_one_pot_and_the_contract_first() {
        let balance = Balance { contract: a(5), wallet: a(8), before: Promises::default() };
        let now = Promises::default();
        assert_eq!(balance.pays(a(5), &now), Some(Pot::Contract));
        assert_eq!(balance.pays(a(6), &now), Some(Pot::Wallet));
        assert_eq!(balance.pays(a(9), &now), None, "the two are not added up");
        assert_eq!(balance.free(&now), a(8));
        let contract = Promises { all: totals(4, 0), contract: totals(4, 0), ..now };
        assert_eq!(balance.pays(a(5), &contract), Some(Pot::Wallet));
        let unknown = Promises { all: totals(4, 0), ..now };
        assert_eq!(balance.free(&unknown), a(4), "it may be the wallet that pays them");
    }

    #[test]
    fn what_was_spent_since_the_balance_was_read_is_not_there() {
        // The balance shows an order of 5 as undone already, which the database learns after that; then one of 4 is in a block.
        let before = Promises { all: totals(0, 5), contract: totals(0, 5), wallet: totals(0, 0) };
        let balance = Balance { contract: a(10), wallet: a(0), before };
        let sums = Totals { reserved: a(5), spent: a(4), ever: a(9) };
        let now = Promises { all: sums, contract: sums, wallet: totals(0, 0) };
        assert_eq!(balance.free(&now), a(1));
        // Nobody knows which pot paid it: neither is certain to have it still.
        let now = Promises { all: totals(0, 8), ..before };
        assert_eq!((balance.has(Pot::Contract, &now), balance.free(&now)), (a(7), a(7)));
    }

    /// An order, as the chain and the database have it.
    #[derive(Clone, Copy, Debug)]
    struct Promise {
        amount: u128,
        held: Held,
        pot: Option<Pot>,
        is_mined: bool,
    }

    /// An account, its orders, and what is known of it.
    struct World {
        contract: u128,
        wallet: u128,
        promises: Vec<Promise>,
        /// What each was ever counted as spent.
        ever: Vec<u128>,
        reading: Promises,
        seen: Balance,
    }

    #[derive(Clone, Copy, Debug)]
    enum Move {
        Place(u128),
        Fund(usize),
        Mine(usize),
        Report(usize),
        Undo(usize),
        Fail(usize),
        BeginToRead,
        Read,
        Receive(u128),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let which = || 0..6_usize;
        let one = prop_oneof![
            6 => (1..40_u128).prop_map(Move::Place),
            4 => which().prop_map(Move::Fund),
            4 => which().prop_map(Move::Mine),
            4 => which().prop_map(Move::Report),
            1 => which().prop_map(Move::Undo),
            1 => which().prop_map(Move::Fail),
            2 => Just(Move::BeginToRead),
            3 => Just(Move::Read),
            1 => (1..20_u128).prop_map(Move::Receive),
        ];
        proptest::collection::vec(one, 0..80)
    }

    impl World {
        fn new(contract: u128, wallet: u128) -> Self {
            let before = Promises::default();
            let seen = Balance { contract: a(contract), wallet: a(wallet), before };
            Self { contract, wallet, promises: Vec::new(), ever: Vec::new(), reading: before, seen }
        }

        fn now(&self) -> Promises {
            let of = |such: &dyn Fn(&Promise) -> bool| {
                let mut sums = Totals::default();
                for (one, ever) in self.promises.iter().zip(&self.ever).filter(|(one, _)| such(one)) {
                    match one.held {
                        Held::Reserved => sums.reserved = sums.reserved.saturating_add(a(one.amount)),
                        Held::Spent => sums.spent = sums.spent.saturating_add(a(one.amount)),
                        Held::Released => {}
                    }
                    sums.ever = sums.ever.saturating_add(a(*ever));
                }
                sums
            };
            Promises {
                all: of(&|_| true),
                contract: of(&|one| one.pot == Some(Pot::Contract)),
                wallet: of(&|one| one.pot == Some(Pot::Wallet)),
            }
        }

        fn balance(&mut self, pot: Option<Pot>) -> &mut u128 {
            match pot {
                Some(Pot::Contract) => &mut self.contract,
                _ => &mut self.wallet,
            }
        }

        fn make(&mut self, one: Move) {
            match one {
                Move::Place(amount) => {
                    if a(amount) <= self.seen.free(&self.now()) {
                        self.promises.push(Promise {
                            amount,
                            held: Held::Reserved,
                            pot: None,
                            is_mined: false,
                        });
                        self.ever.push(0);
                    }
                }
                Move::BeginToRead => self.reading = self.now(),
                Move::Read => {
                    let (contract, wallet) = (a(self.contract), a(self.wallet));
                    self.seen = Balance { contract, wallet, before: self.reading };
                }
                Move::Receive(amount) => self.wallet += amount,
                Move::Fund(n) | Move::Mine(n) | Move::Report(n) | Move::Undo(n) | Move::Fail(n) => {
                    if let Some(mut promise) = self.promises.get(n).copied() {
                        self.change(one, n, &mut promise);
                        self.promises[n] = promise;
                    }
                }
            }
        }

        fn change(&mut self, what: Move, n: usize, promise: &mut Promise) {
            let (amount, is_reserved) = (promise.amount, promise.held == Held::Reserved);
            match what {
                Move::Fund(_) if is_reserved && promise.pot.is_none() => {
                    promise.pot = self.seen.pays(a(amount), &self.now());
                }
                Move::Mine(_) if is_reserved && promise.pot.is_some() && !promise.is_mined => {
                    let balance = self.balance(promise.pot);
                    *balance = balance.checked_sub(amount).expect("the transaction has its money");
                    promise.is_mined = true;
                }
                Move::Report(_) if is_reserved && promise.is_mined => {
                    promise.held = Held::Spent;
                    self.ever[n] += amount;
                }
                // What the node does not know yet, no balance shows either.
                Move::Undo(_) if promise.is_mined => {
                    *self.balance(promise.pot) += amount;
                    (promise.is_mined, promise.held) = (false, Held::Reserved);
                }
                Move::Fail(_) if is_reserved && !promise.is_mined => promise.held = Held::Released,
                _ => {}
            }
        }

        /// Each promise can be kept, in whichever order.
        fn check(&self) {
            let waits = |one: &&Promise| one.held == Held::Reserved && !one.is_mined;
            let of = |pot| -> u128 {
                let such = self.promises.iter().filter(waits).filter(|one| one.pot == pot);
                such.map(|one| one.amount).sum()
            };
            let left =
                |has: u128, promised: u128| has.checked_sub(promised).expect("a pot keeps its promises");
            let contract = left(self.contract, of(Some(Pot::Contract)));
            let wallet = left(self.wallet, of(Some(Pot::Wallet)));
            let mut open: Vec<u128> = self
                .promises
                .iter()
                .filter(waits)
                .filter(|one| one.pot.is_none())
                .map(|one| one.amount)
                .collect();
            for _ in 0..2 {
                let (mut contract, mut wallet) = (contract, wallet);
                for amount in &open {
                    if contract >= *amount {
                        contract -= amount;
                    } else {
                        wallet = wallet.checked_sub(*amount).expect("a promise without a pot can be kept");
                    }
                }
                open.reverse();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_balance_is_not_promised_twice(
            (contract, wallet) in (0..100_u128, 0..100_u128), moves in moves(),
        ) {
            let mut world = World::new(contract, wallet);
            for one in moves {
                world.make(one);
                world.check();
            }
        }
    }
}
