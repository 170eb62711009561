//! What chain and daemons show in the end.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::Log;
use privatix_api::node::{self, Transaction};
use privatix_chain::TxStatus;
use privatix_channel::{Amount, ChannelId, ChannelStatus, ServiceStatus};
use privatix_contracts::PscEvent;
use privatix_demo::Result;
use privatix_demo::market::Chain;
use privatix_testkit::Contracts;
use serde_json::{Value, json};

use crate::load::{Order, Shared, Taken};
use crate::plan::Side;
use crate::verdict::{self, Account, Channel, Facts, Tokens, sum};
use crate::world::World;

/// The most that a list gives at once.
const PAGE: u32 = 1_000;

/// Ether and tokens before the first transaction of the daemons.
pub(crate) struct Before {
    ether: [U256; 2],
    tokens: [Amount; 2],
    fees: Amount,
}

impl Before {
    pub(crate) async fn take(world: &World) -> Result<Self> {
        let chain = &world.chain;
        let [agent, client] = Side::BOTH.map(|side| world.daemon(side).account);
        Ok(Self {
            ether: [chain.anvil.balance(agent).await?, chain.anvil.balance(client).await?],
            tokens: [tokens(chain, agent).await?, tokens(chain, client).await?],
            fees: tokens(chain, fee_account(chain)).await?,
        })
    }
}

fn fee_account(chain: &Chain) -> Address {
    chain.anvil.account(Contracts::FEE_ACCOUNT)
}

/// In the wallet and in the contract.
async fn tokens(chain: &Chain, account: Address) -> Result<Amount> {
    let wallet = chain.contracts.token_balance(&chain.anvil, account).await?;
    let internal = chain.contracts.internal_balance(&chain.anvil, account).await?;
    Ok(sum([wallet, internal]))
}

/// What the chain's events say.
#[derive(Default)]
pub(crate) struct OnChain {
    /// By channel: how often it was opened and closed, its deposit, and what was paid.
    channels: HashMap<ChannelId, Life>,
    /// By account and amount.
    deposited: HashMap<(Address, Amount), usize>,
    withdrawn: HashMap<(Address, Amount), usize>,
    /// By channel and by how much its deposit grew.
    topped_up: HashMap<(ChannelId, Amount), usize>,
}

#[derive(Default)]
struct Life {
    opened: usize,
    closed: usize,
    deposit: Amount,
    paid: Amount,
}

impl OnChain {
    pub(crate) async fn read(chain: &Chain) -> Result<Self> {
        let filter =
            json!([{ "address": chain.contracts.contract, "fromBlock": "0x0", "toBlock": "latest" }]);
        let logs: Vec<Log> = chain.anvil.rpc("eth_getLogs", filter).await?;
        let mut seen = Self::default();
        for log in logs {
            seen.take(&PscEvent::decode(log.data())?);
        }
        Ok(seen)
    }

    fn take(&mut self, event: &PscEvent) {
        match *event {
            PscEvent::ChannelOpened { channel, deposit, .. } => {
                let life = self.channels.entry(channel).or_default();
                life.opened += 1;
                life.deposit = deposit;
            }
            PscEvent::ChannelToppedUp { channel, deposit, .. } => {
                let life = self.channels.entry(channel.id).or_default();
                let grown = deposit.saturating_sub(life.deposit);
                life.deposit = deposit;
                *self.topped_up.entry((channel.id, grown)).or_default() += 1;
            }
            PscEvent::ChannelClosed { channel, paid, .. } => {
                let life = self.channels.entry(channel.id).or_default();
                life.closed += 1;
                life.paid = paid;
            }
            PscEvent::Deposited { account, amount } => {
                *self.deposited.entry((account, amount)).or_default() += 1;
            }
            PscEvent::Withdrawn { account, amount, .. } => {
                *self.withdrawn.entry((account, amount)).or_default() += 1;
            }
            _ => {}
        }
    }

    /// Whether a channel is open.
    pub(crate) fn is_open(&self, channel: ChannelId) -> bool {
        self.channels.get(&channel).is_some_and(|life| life.opened > life.closed)
    }
}

/// What a daemon says of a channel that it does not take for over; nothing otherwise.
pub(crate) fn unfinished(side: Side, channel: &node::Channel, on_chain: &OnChain) -> Option<String> {
    let node::Channel { status, service, .. } = channel;
    let was_opened = on_chain.channels.get(&channel.id).is_some_and(|life| life.opened > 0);
    let is_over = match status {
        ChannelStatus::ClosedCoop | ChannelStatus::ClosedUncoop => true,
        ChannelStatus::Pending => !was_opened,
        _ => false,
    };
    let is_finished = is_over && *service == ServiceStatus::Terminated;
    let reason = channel.reason.as_deref().unwrap_or("no reason");
    (!is_finished).then(|| format!("{}: {status}, service {service} ({reason})", side.daemon()))
}

/// All channels of a daemon.
pub(crate) async fn channels(world: &World, side: Side) -> Result<Vec<node::Channel>> {
    world.daemon(side).call(&node::ListChannels { limit: Some(PAGE) }).await
}

async fn transactions(world: &World, side: Side) -> Result<Vec<Transaction>> {
    let mut all: Vec<Transaction> = Vec::new();
    loop {
        let before = all.last().map(|last| last.id);
        let list =
            node::ListTransactions { subject: None, kind: None, status: None, before, limit: Some(PAGE) };
        let page = world.daemon(side).call(&list).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Transactions of both accounts that are on chain, each with what its gas cost.
async fn mined(chain: &Chain, accounts: [Address; 2]) -> Result<[HashMap<B256, U256>; 2]> {
    let mut mined = [HashMap::new(), HashMap::new()];
    for block in 0..=chain.anvil.block_number().await? {
        let block: Value =
            chain.anvil.rpc("eth_getBlockByNumber", json!([format!("{block:#x}"), true])).await?;
        for transaction in block["transactions"].as_array().into_iter().flatten() {
            let from: Address = serde_json::from_value(transaction["from"].clone())?;
            let Some(place) = accounts.iter().position(|account| *account == from) else { continue };
            let hash: B256 = serde_json::from_value(transaction["hash"].clone())?;
            let receipt: Value = chain.anvil.rpc("eth_getTransactionReceipt", json!([hash])).await?;
            let gas: U256 = serde_json::from_value(receipt["gasUsed"].clone())?;
            let price: U256 = serde_json::from_value(receipt["effectiveGasPrice"].clone())?;
            mined[place].insert(hash, gas * price);
        }
    }
    Ok(mined)
}

impl Facts {
    /// Asks the chain and both daemons.
    pub(crate) async fn collect(
        world: &World,
        shared: &Shared,
        before: &Before,
        stake: Amount,
    ) -> Result<Self> {
        let on_chain = OnChain::read(&world.chain).await?;
        let channels = channel_facts(world, shared, &on_chain).await?;
        let (orders, unanswered) = order_facts(world, shared, &on_chain).await?;
        let ordered: BTreeSet<ChannelId> = shared
            .orders()
            .iter()
            .filter_map(|ordered| match ordered.order {
                Order::Accept { channel } => channel,
                _ => None,
            })
            .collect();
        let unordered = channels.iter().filter(|channel| !ordered.contains(&channel.id)).count();
        Ok(Self {
            unordered: unordered.saturating_sub(unanswered),
            channels,
            orders,
            accounts: account_facts(world, before).await?,
            tokens: token_facts(world, before, stake).await?,
        })
    }
}

async fn channel_facts(world: &World, shared: &Shared, on_chain: &OnChain) -> Result<Vec<Channel>> {
    let sold = channels(world, Side::Agent).await?;
    let bought = channels(world, Side::Client).await?;
    shared.see(&bought);
    let mut ids: BTreeSet<ChannelId> = on_chain.channels.keys().copied().collect();
    ids.extend(sold.iter().chain(&bought).map(|channel| channel.id));
    let facts = ids.into_iter().map(|id| {
        let life = on_chain.channels.get(&id);
        let of = |list: &[node::Channel]| list.iter().find(|channel| channel.id == id).cloned();
        let (sold, bought) = (of(&sold), of(&bought));
        let sides = [(Side::Agent, &sold), (Side::Client, &bought)];
        Channel {
            id,
            opened: life.map_or(0, |life| life.opened),
            closed: life.map_or(0, |life| life.closed),
            paid: life.map_or(Amount::ZERO, |life| life.paid),
            acknowledged: shared.acknowledged(id),
            signed: bought.as_ref().map(|channel| channel.paid),
            unfinished: sides
                .into_iter()
                .filter_map(|(side, channel)| unfinished(side, channel.as_ref()?, on_chain))
                .collect(),
        }
    });
    Ok(facts.collect())
}

/// The orders with effects that can be counted, and how many orders to open a channel were not answered.
async fn order_facts(
    world: &World,
    shared: &Shared,
    on_chain: &OnChain,
) -> Result<(Vec<verdict::OrderEffects>, usize)> {
    let mut facts = Vec::new();
    let mut unanswered = 0;
    for ordered in shared.orders() {
        let account = |side| world.daemon(side).account;
        let (side, effects) = match ordered.order {
            Order::Accept { channel: Some(channel) } => {
                (Side::Client, on_chain.channels.get(&channel).map(|life| life.opened))
            }
            Order::Accept { channel: None } => {
                unanswered += 1;
                continue;
            }
            Order::TopUp { channel, amount } => {
                (Side::Client, on_chain.topped_up.get(&(channel, amount)).copied())
            }
            Order::Deposit { side, amount } => {
                (side, on_chain.deposited.get(&(account(side), amount)).copied())
            }
            Order::Withdraw { side, amount } => {
                (side, on_chain.withdrawn.get(&(account(side), amount)).copied())
            }
            Order::Close { .. } => continue,
        };
        let carried_out = match ordered.taken {
            Some(Taken::Job(job)) => {
                let details = world.daemon(side).call(&node::GetJob { job }).await?;
                // An approval that a payment needs is not the payment.
                let mut own = details.transactions.iter().filter(|sent| sent.kind != "approve");
                Some(own.any(|sent| sent.status == TxStatus::Mined))
            }
            // One that is still under way when all channels are closed was not.
            Some(Taken::Order(order)) => {
                let order = world.daemon(side).call(&node::GetOrder { order }).await?;
                Some(order.is_done == Some(true))
            }
            Some(Taken::Channel) | None => None,
        };
        let what = format!("{:?}", ordered.order);
        facts.push(verdict::OrderEffects { what, effects: effects.unwrap_or(0), carried_out });
    }
    Ok((facts, unanswered))
}

async fn account_facts(world: &World, before: &Before) -> Result<Vec<Account>> {
    let chain = &world.chain;
    let mined = mined(chain, Side::BOTH.map(|side| world.daemon(side).account)).await?;
    let mut facts = Vec::new();
    for ((side, mined), before) in Side::BOTH.into_iter().zip(mined).zip(before.ether) {
        let daemon = world.daemon(side);
        let known = transactions(world, side).await?;
        let known: BTreeSet<B256> =
            known.iter().filter_map(|sent| sent.inclusion.as_ref().map(|inclusion| inclusion.hash)).collect();
        facts.push(Account {
            name: side.daemon(),
            before,
            after: chain.anvil.balance(daemon.account).await?,
            gas: mined.values().fold(U256::ZERO, |all, cost| all + cost),
            unknown: mined.keys().filter(|hash| !known.contains(*hash)).copied().collect(),
            imagined: known.iter().filter(|hash| !mined.contains_key(*hash)).copied().collect(),
            open_transactions: daemon.call(&node::GetStatus {}).await?.chain.open_transactions,
        });
    }
    Ok(facts)
}

async fn token_facts(world: &World, before: &Before, stake: Amount) -> Result<Tokens> {
    let chain = &world.chain;
    let [agent, client] = Side::BOTH.map(|side| world.daemon(side).account);
    let fees = fee_account(chain);
    let mut owed = stake;
    for account in [agent, client, fees] {
        owed = sum([owed, chain.contracts.internal_balance(&chain.anvil, account).await?]);
    }
    Ok(Tokens {
        agent: (before.tokens[0], sum([tokens(chain, agent).await?, stake])),
        client: (before.tokens[1], tokens(chain, client).await?),
        fees: (before.fees, tokens(chain, fees).await?),
        held: chain.contracts.token_balance(&chain.anvil, chain.contracts.contract).await?,
        owed,
    })
}
