//! The steps between the two daemons, each awaited until the daemons say that it is done.

use std::time::Duration;

use alloy::primitives::{Address, U256, utils::parse_ether};
use privatix_api::{agent, client, node};
use privatix_billing::{Drift, Terms, price};
use privatix_channel::{Amount, ChannelId, ChannelStatus, OfferingHash, ServiceStatus};
use privatix_testkit::{Anvil, Contracts, wait_for};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::{LIMIT, Result};

/// Tokens that each side begins with.
pub const PTC: u64 = 100;
/// Base units of one token.
const UNITS: u64 = 100_000_000;

/// A local chain with the contracts.
pub struct Chain {
    /// The node.
    pub anvil: Anvil,
    /// Token and service contract.
    pub contracts: Contracts,
}

impl Chain {
    /// Starts the node and deploys.
    pub async fn start() -> Result<Self> {
        let anvil = Anvil::start().await?;
        let contracts = anvil.deploy().await?;
        Ok(Self { anvil, contracts })
    }

    /// The node's endpoint.
    pub fn url(&self) -> &str {
        self.anvil.url()
    }

    /// The node's port on this machine.
    pub fn port(&self) -> Result<u16> {
        Ok(reqwest::Url::parse(self.url())?.port().ok_or("the node's URL has no port")?)
    }

    /// The chain's id.
    pub fn id(&self) -> u64 {
        self.anvil.chain_id()
    }

    /// Gives an account 1 ether and some tokens.
    pub async fn fund(&self, account: Address) -> Result<()> {
        let ether: U256 = parse_ether("1")?;
        self.anvil.set_balance(account, ether).await?;
        Ok(self.contracts.give(&self.anvil, account, Amount::from(PTC * UNITS)).await?)
    }

    /// From a block per transaction to a block per second, as a chain has it.
    pub async fn mine_every_second(&self) -> Result<()> {
        self.anvil.set_automine(false).await?;
        let _: Value = self.anvil.rpc("evm_setIntervalMining", json!([1])).await?;
        Ok(())
    }
}

/// A channel and where its service is.
pub struct Deal {
    /// The channel.
    pub channel: ChannelId,
    /// The client's local proxy port.
    pub port: u16,
}

/// An offering whose least deposit pays for this many MiB and a little more.
pub fn draft(mib: u64) -> Value {
    json!({
        "serviceName": "Demo proxy",
        "description": "SOCKS5 and HTTP, by the KiB",
        "country": "CH",
        "ipType": "datacenter",
        "supply": 3,
        "terms": {
            "unit": { "name": "KiB", "measure": "bytes", "size": 1024 },
            "billing": "postpaid",
            "setupPrice": "5000",
            "unitPrice": "10",
            "freeUnits": 64,
            // The file, and some more for HTTP and for the second channel of --keep.
            "minUnits": (mib + 8) * 1024,
            "billingInterval": 256,
            "maxBillingUnitLag": 1024,
            "maxSuspend": 600,
            "maxInactive": 600
        },
        // Slow enough to watch.
        "additional": { "protocols": ["socks5", "http"], "maxBandwidth": 8 << 20 }
    })
}

/// Signs an offering, deposits its stake and announces it.
pub async fn publish(agent: &Daemon, draft: Value) -> Result<OfferingHash> {
    let made = agent.call(&agent::CreateOffering { draft: serde_json::from_value(draft)? }).await?;
    let stake = made.min_deposit.checked_mul(made.supply.into()).ok_or("the stake is beyond all amounts")?;
    agent.call(&node::Deposit { amount: stake }).await?;
    wait_for("the deposit", LIMIT, async || {
        let has = agent.call(&node::GetBalances {}).await.map_err(|error| error.to_string())?;
        if has.contract >= stake { Ok(()) } else { Err(format!("{} of {stake}", has.contract)) }
    })
    .await?;
    agent.call(&agent::PublishOffering { offering: made.hash, key: None }).await?;
    wait_for("the offering", LIMIT, async || {
        let offering = agent.call(&agent::GetOffering { offering: made.hash }).await;
        let offering = offering.map_err(|error| error.to_string())?;
        if offering.status.is_on_market() { Ok(()) } else { Err(format!("{:?}", offering.status)) }
    })
    .await?;
    Ok(made.hash)
}

/// Waits until the client has the offering's message, checked.
pub async fn discover(client: &Daemon, offering: OfferingHash) -> Result<Terms> {
    let message = wait_for("the offering's message", LIMIT, async || {
        let browse = client::Browse { agent: None, country: None, all: true, limit: None };
        let found = client.call(&browse).await.map_err(|error| error.to_string())?;
        let found = found.into_iter().find(|found| found.hash == offering).ok_or("not seen yet")?;
        found.message.ok_or_else(|| found.problem.unwrap_or_else(|| "no message yet".into()))
    })
    .await?;
    Ok(message.terms()?)
}

/// Opens a channel and waits until its service runs on both sides.
pub async fn buy(agent: &Daemon, client: &Daemon, offering: OfferingHash) -> Result<Deal> {
    let accept = client::AcceptOffering { offering, agent: None, deposit: None, key: None };
    let channel = client.call(&accept).await?.channel;
    served(agent, client, channel).await
}

/// Waits until a channel's service runs on both sides.
pub async fn served(agent: &Daemon, client: &Daemon, channel: ChannelId) -> Result<Deal> {
    for daemon in [client, agent] {
        wait_for("the service", LIMIT, async || {
            let seen = daemon.call(&node::GetChannel { channel }).await.map_err(|error| error.to_string())?;
            let service = seen.channel.service;
            if service == ServiceStatus::Active { Ok(()) } else { Err(service.to_string()) }
        })
        .await?;
    }
    let endpoint = client.call(&node::GetChannel { channel }).await?.endpoint;
    let port = endpoint.and_then(|endpoint| u16::try_from(endpoint["port"].as_u64()?).ok());
    Ok(Deal { channel, port: port.ok_or("the client reported no local port")? })
}

/// Waits until both meters show the same, at least the bytes that were `downloaded`, and the client has paid exactly the price of it.
/// Without that bound it would hold before the last use is reported, too.
pub async fn settled(
    agent: &Daemon,
    client: &Daemon,
    deal: &Deal,
    terms: &Terms,
    downloaded: u64,
) -> Result<(node::Channel, node::Channel)> {
    let get = node::GetChannel { channel: deal.channel };
    let settled = wait_for("the last payment", LIMIT, async || {
        let sold = agent.call(&get).await.map_err(|error| error.to_string())?.channel;
        let bought = client.call(&get).await.map_err(|error| error.to_string())?.channel;
        let due = price(terms, bought.used);
        let is_all = bought.used.get() >= downloaded && sold.used == bought.used;
        if is_all && sold.paid == due && bought.acknowledged == due {
            Ok((sold, bought))
        } else {
            let (sold, bought) = ((sold.used, sold.paid), (bought.used, bought.acknowledged));
            Err(format!("agent {sold:?}, client {bought:?}, due {due}"))
        }
    });
    Ok(settled.await?)
}

/// Waits until the client's meter shows at least `used`, and the price of all of it is paid and held by the agent. What a side that was
/// killed has forgotten keeps both meters apart for ever: the client pays for the agent's total within the tolerance, and for what it has
/// signed for before, at most an interval.
pub async fn paid(
    agent: &Daemon,
    client: &Daemon,
    channel: ChannelId,
    terms: &Terms,
    used: u64,
) -> Result<(node::Channel, node::Channel)> {
    let get = node::GetChannel { channel };
    let paid = wait_for("the last payment", LIMIT, async || {
        let sold = agent.call(&get).await.map_err(|error| error.to_string())?.channel;
        let bought = client.call(&get).await.map_err(|error| error.to_string())?.channel;
        let greater = bought.used.max(sold.used);
        let tolerance = Drift::default().tolerance(terms, greater);
        let most = price(terms, greater.saturating_add(terms.interval()).saturating_add(tolerance));
        let is_due = (price(terms, bought.used)..=most).contains(&bought.paid);
        let is_held = bought.acknowledged == bought.paid && sold.paid == bought.paid;
        if bought.used.get() >= used && is_due && is_held {
            Ok((sold, bought))
        } else {
            Err(format!("{sold:?}, {bought:?}"))
        }
    });
    Ok(paid.await?)
}

/// What the client's meter shows.
pub async fn used(client: &Daemon, channel: ChannelId) -> Result<u64> {
    Ok(client.call(&node::GetChannel { channel }).await?.channel.used.get())
}

/// Has the agent close the channel, and waits until both have seen it and all transactions are final.
pub async fn close(agent: &Daemon, client: &Daemon, deal: &Deal) -> Result<()> {
    let channel = deal.channel;
    agent.call(&node::CloseChannel { channel, key: None }).await?;
    for daemon in [agent, client] {
        wait_for("the close", LIMIT, async || {
            let seen = daemon.call(&node::GetChannel { channel }).await.map_err(|error| error.to_string())?;
            let (status, service) = (seen.channel.status, seen.channel.service);
            let over = status == ChannelStatus::ClosedCoop && service == ServiceStatus::Terminated;
            if over { Ok(()) } else { Err(format!("{status}, {service}")) }
        })
        .await?;
        wait_for("the last confirmations", Duration::from_mins(1), async || {
            let status = daemon.call(&node::GetStatus {}).await.map_err(|error| error.to_string())?;
            let open = status.chain.open_transactions;
            if open == 0 { Ok(()) } else { Err(format!("{open} transactions")) }
        })
        .await?;
    }
    Ok(())
}
