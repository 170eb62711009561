//! What it all came to, and whether it adds up.

use alloy::primitives::{Address, U256, utils::format_ether};
use privatix_api::node::{self, Channel, Transaction};
use privatix_billing::{Terms, price};
use privatix_channel::{Amount, Fee};

use crate::Result;
use crate::daemon::Daemon;
use crate::market::Chain;

/// What an account has on chain.
#[derive(Clone, Copy)]
struct Account {
    ether: U256,
    wallet: Amount,
    contract: Amount,
}

impl Account {
    async fn of(chain: &Chain, account: Address) -> Result<Self> {
        Ok(Self {
            ether: chain.anvil.balance(account).await?,
            wallet: chain.contracts.token_balance(&chain.anvil, account).await?,
            contract: chain.contracts.internal_balance(&chain.anvil, account).await?,
        })
    }
}

/// One side at a moment: asked from the chain itself, not from the daemon.
struct Side {
    account: Account,
    transactions: Vec<Transaction>,
    staked: Amount,
}

impl Side {
    /// All that it has, whatever it is used for.
    fn tokens(&self) -> Result<Amount> {
        let Account { wallet, contract, .. } = self.account;
        let all = wallet.checked_add(contract).and_then(|free| free.checked_add(self.staked));
        all.ok_or_else(|| "more tokens than there are".into())
    }

    async fn take(chain: &Chain, daemon: &Daemon, staked: Amount) -> Result<Self> {
        let all = node::ListTransactions {
            subject: None,
            kind: None,
            status: None,
            before: None,
            limit: Some(1000),
        };
        let mut transactions = daemon.call(&all).await?;
        transactions.reverse();
        Ok(Self { account: Account::of(chain, daemon.account).await?, transactions, staked })
    }
}

/// Both sides at a moment.
pub struct Snapshot {
    agent: Side,
    client: Side,
}

impl Snapshot {
    /// Asks chain and daemons.
    pub async fn take(chain: &Chain, agent: &Daemon, client: &Daemon) -> Result<Self> {
        let list = privatix_api::agent::ListOfferings { limit: None };
        let mut staked = Amount::ZERO;
        for offering in agent.call(&list).await?.iter().filter(|offering| offering.status.is_on_market()) {
            let stake = offering.min_deposit.checked_mul(offering.supply.into());
            staked =
                stake.and_then(|stake| staked.checked_add(stake)).ok_or("the stake is beyond all amounts")?;
        }
        Ok(Self {
            agent: Side::take(chain, agent, staked).await?,
            client: Side::take(chain, client, Amount::ZERO).await?,
        })
    }
}

/// Everything that the end is judged by.
pub struct Statement {
    /// Before the first transaction.
    pub before: Snapshot,
    /// After the last.
    pub after: Snapshot,
    /// The channel as the agent saw it before the close.
    pub sold: Channel,
    /// The same as the client saw it.
    pub bought: Channel,
    /// What was agreed.
    pub terms: Terms,
    /// Bytes that came through the proxy.
    pub downloaded: u64,
}

impl Statement {
    /// Prints it, then fails if anything does not add up.
    pub fn print_and_check(&self) -> Result<()> {
        let Self { before, after, sold, bought, downloaded, .. } = self;
        let paid = bought.acknowledged;
        println!("\nStatement");
        println!("  downloaded           {downloaded} bytes");
        println!("  metered by the agent {} bytes, by the client {} bytes", sold.used, bought.used);
        println!("  vouchers             {} sent, {} accepted", bought.vouchers, sold.vouchers);
        println!("  paid                 {paid} base units of PTC, deposit {}", bought.deposit);
        for (name, before, after) in
            [("agent", &before.agent, &after.agent), ("client", &before.client, &after.client)]
        {
            println!(
                "\n  {name:<8}{:>24}{:>18}{:>18}{:>14}",
                "ether", "PTC wallet", "PTC contract", "PTC staked"
            );
            for (when, side) in [("before", before), ("after", after)] {
                let Account { ether, wallet, contract } = side.account;
                let staked = side.staked;
                println!("  {when:<8}{:>24}{wallet:>18}{contract:>18}{staked:>14}", format_ether(ether));
            }
            for transaction in &after.transactions {
                let gas = transaction.inclusion.as_ref().map_or(0, |inclusion| inclusion.gas_used);
                println!("    {:<28}{gas:>10} gas", transaction.kind);
            }
        }
        println!();
        self.check()?;
        println!("  It adds up: bytes, vouchers, tokens and ether.");
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let Self { sold, bought, terms, downloaded, .. } = self;
        let paid = bought.acknowledged;
        expect("both meters show the same", sold.used, bought.used)?;
        if bought.used.get() < *downloaded {
            return Err(format!("{} bytes were metered, {downloaded} downloaded", bought.used).into());
        }
        expect("the price of the metered bytes was paid", price(terms, bought.used), paid)?;
        expect("the agent holds what the client promised", sold.paid, paid)?;
        self.check_chain()
    }

    /// Whether the chain agrees: tokens and ether moved as paid, and not otherwise.
    pub fn check_chain(&self) -> Result<()> {
        let Self { before, after, sold, bought, .. } = self;
        let paid = bought.acknowledged;
        let fee = Fee::try_from(sold.fee)?.of(paid);
        let earned = paid.checked_sub(fee).ok_or("the fee is above the payment")?;
        let grown = before.agent.tokens()?.checked_add(earned).ok_or("too many tokens")?;
        expect("the agent's tokens grew by the payment", after.agent.tokens()?, grown)?;
        let shrunk = before.client.tokens()?.checked_sub(paid).ok_or("the client had fewer tokens")?;
        expect("the client's tokens shrank by the payment", after.client.tokens()?, shrunk)?;
        for (name, before, after) in
            [("agent", &before.agent, &after.agent), ("client", &before.client, &after.client)]
        {
            let costs = after.transactions.iter().map(|sent| sent.inclusion.as_ref().map(|mined| mined.cost));
            let spent: Option<U256> = costs.sum();
            let spent = spent.ok_or_else(|| format!("a transaction of the {name} was never mined"))?;
            let what = format!("the {name}'s ether shrank by the gas of its transactions");
            expect(&what, after.account.ether + spent, before.account.ether)?;
        }
        Ok(())
    }
}

fn expect<T: Copy + PartialEq + std::fmt::Display>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        println!("  ✓ {what}");
        return Ok(());
    }
    Err(format!("it does not add up: {what}: found {found}, expected {expected}").into())
}
