//! Commands that only a buyer has.

use clap::Subcommand;
use privatix_api::agent::Offering;
use privatix_api::client::{
    AcceptClaim, AcceptOffering, Browse, ChannelReceipt, ForgetAgent, GetReceipt, Opening, TopUpChannel,
};
use privatix_api::node::{
    AbandonChannel, ChannelDetails, GetChannel, GetOrder, JobDetails, OrderState, TokenUnit,
};
use privatix_api::{Address, JobId};
use privatix_channel::{Amount, ChannelId, OfferingHash, ServiceState, ServiceStatus};
use privatix_daemon::output::{ago, or_dash, pairs, table};
use privatix_daemon::{Context, DaemonError, Follow, WaitArgs, endpoint_text, token_unit};

use serde::Serialize;

use crate::Clientd;
use crate::config::OnionAddress;
use crate::policy::PolicyArgs;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Lists offerings on the market, the most recently announced first
    Browse {
        /// In this country (ISO 3166-1 alpha-2)
        #[arg(long)]
        country: Option<String>,
        /// Of this agent
        #[arg(long, value_name = "ADDRESS")]
        agent: Option<privatix_api::Address>,
        /// Those too that are full, off the market, without their message here, announced too long ago, whose agent has not answered
        /// for too long, or whose agent `somc.contact` excludes
        #[arg(long)]
        all: bool,
        /// At most this many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
    },
    /// Opens a channel under an offering
    Accept {
        /// The offering
        offering: OfferingHash,
        /// How much to deposit, in base units; the least that the offering takes when not given
        #[arg(long)]
        deposit: Option<Amount>,
        /// Whose offering, if several agents announce it
        #[arg(long, value_name = "ADDRESS")]
        agent: Option<privatix_api::Address>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Prints the key by which this client proves itself to a private onion service; its agent lists the key in
    /// somc.authorized_clients. Asks no daemon
    OnionKey {
        /// The service's address
        agent: OnionAddress,
    },
    /// Raises a channel's deposit
    Topup {
        /// The channel
        channel: ChannelId,
        /// By how much, in base units
        amount: Amount,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Sets how a channel is paid and topped up by itself
    Policy(PolicyArgs),
    /// Closes a channel whose best voucher cannot be read: what is known to be paid is admitted, and the agent can still claim more
    Abandon {
        /// The channel
        channel: ChannelId,
    },
    /// Shows what a channel's agent has signed of where the channel stands, as proof to others: the amount that it acknowledges, its meter,
    /// and whether the service goes on. The agent is asked for a new one first
    Receipt {
        /// The channel
        channel: ChannelId,
    },
    /// What this client remembers of agents
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// Accepts what a channel's agent claims to have been paid beyond what the restored database shows as signed. The service goes on,
    /// and each further payment is above that amount
    AcceptClaim {
        /// The channel
        channel: ChannelId,
        /// What the agent claims in all, in base units, as `channels show` shows it
        amount: Amount,
    },
}

/// What is remembered of agents.
#[derive(clap::Subcommand, Clone, Debug)]
pub(crate) enum AgentsCommand {
    /// Forgets that an agent has proved its key here, so that it may be talked to in clear again. Ask it first, by another way: somebody
    /// between you and it may pretend that it uses earlier software
    Forget {
        /// The agent
        agent: Address,
    },
}

/// A receipt, for people: `--json` has it with its signature, to be handed on.
fn receipt(newest: &ChannelReceipt, unit: &TokenUnit) -> String {
    let said = newest.receipt.unverified();
    let service = match said.service {
        ServiceState::Preparing => "is being prepared",
        ServiceState::Running => "runs",
        ServiceState::Suspended => "is suspended",
        ServiceState::Ended => "has ended",
    };
    let because = said.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut rows = vec![
        ("channel", said.channel.to_string()),
        ("signed for", said.agent.to_string()),
        ("acknowledged", unit.show(said.cumulative)),
        ("used, by its meter", said.used.to_string()),
        ("the service", format!("{service}{because}")),
        ("after block", said.block.to_string()),
    ];
    if let Some(problem) = &newest.problem {
        rows.push(("no newer one", problem.clone()));
    }
    pairs(rows)
}

/// The answer to [`Command::OnionKey`].
#[derive(Serialize)]
struct DiscoveryKey {
    key: String,
}

impl Command {
    pub(crate) async fn carry_out(self, context: &Context<'_, Clientd>) -> Result<(), DaemonError> {
        let output = context.output;
        if let Self::OnionKey { agent } = self {
            let key = context.onion_keys().await?.discovery_key(&agent.0);
            output.show(&DiscoveryKey { key }, |shown| shown.key.clone());
            return Ok(());
        }
        let api = context.api()?;
        match self {
            Self::OnionKey { .. } => {}
            Self::Browse { country, agent, all, limit } => {
                let found = api.call(&Browse { agent, country: country.clone(), all, limit }).await?;
                let unit = token_unit(&api, output).await;
                output.show(&found, |found| offerings(found, &unit));
                if !all && !output.json {
                    // In all countries: that of an offering is known with its message only.
                    let every = Browse { agent, country: None, all: true, limit: Some(LOOKED_THROUGH) };
                    if let Some(hidden) = unavailable(&api.call(&every).await?, country.as_deref()) {
                        output.note(hidden);
                    }
                }
            }
            Self::Accept { offering, deposit, agent, wait } => {
                let opening = api.call(&AcceptOffering { offering, agent, deposit, key: None }).await?;
                if let Some(warning) = &opening.warning {
                    context.output.note(format!("the opening of the channel: {warning}"));
                }
                if wait.wait {
                    let details = opened(context, &wait, opening).await?;
                    output.show(&details, ready);
                } else {
                    output.show(&opening, |opening| {
                        format!(
                            "channel {0} is being opened; follow it with `channels show {0}` or `orders show {1}`",
                            opening.channel, opening.order
                        )
                    });
                }
            }
            Self::Policy(policy) => policy.carry_out(&api, output).await?,
            Self::Agents(AgentsCommand::Forget { agent }) => {
                let forgotten = api.call(&ForgetAgent { agent }).await?;
                output.show(&forgotten, |forgotten| {
                    if forgotten.was_known {
                        format!("agent {agent} may be talked to in clear until it proves a key again")
                    } else {
                        format!("agent {agent} has not proved a key here; nothing was to be forgotten")
                    }
                });
            }
            Self::Abandon { channel } => {
                let order = api.call(&AbandonChannel { channel, key: None }).await?;
                output.show(&order, |_| {
                    format!(
                        "the voucher of channel {channel} is given up, and its close is under way; follow it with `channels show {channel}`"
                    )
                });
            }
            Self::AcceptClaim { channel, amount } => {
                let order = api.call(&AcceptClaim { channel, claimed: amount }).await?;
                output.show(&order, |_| {
                    format!(
                        "the claim is accepted: each further payment on channel {channel} is above {amount} base units"
                    )
                });
            }
            Self::Receipt { channel } => {
                let newest = api.call(&GetReceipt { channel }).await?;
                let unit = token_unit(&api, output).await;
                output.show(&newest, |newest| receipt(newest, &unit));
            }
            Self::Topup { channel, amount, wait } => {
                let ordered = api.call(&TopUpChannel { channel, amount, key: None }).await?;
                let what = format!("top-up by {}", token_unit(&api, output).await.show(amount));
                if let Some(warning) = &ordered.warning {
                    output.note(format!("{what}: {warning}"));
                }
                if wait.wait {
                    let details = topped_up(context, &wait, (&what, channel), ordered.order).await?;
                    output.show(&details, |_| format!("{what} is done"));
                } else {
                    output.show(&ordered, |ordered| {
                        format!("{what} is under way; follow it with `orders show {}`", ordered.order)
                    });
                }
            }
        }
        Ok(())
    }
}

/// The offerings that are looked through for those that a list leaves out.
const LOOKED_THROUGH: u32 = 1_000;

/// What a list of available offerings leaves out, although the market has it: in `country`, or in one that is not known yet.
fn unavailable(every: &[Offering], country: Option<&str>) -> Option<String> {
    let elsewhere = |offering: &&Offering| match (country, &offering.country) {
        (Some(asked), Some(known)) => !known.eq_ignore_ascii_case(asked),
        _ => false,
    };
    let hidden: Vec<&String> = every
        .iter()
        .filter(|offering| offering.status.is_on_market() && !elsewhere(offering))
        .filter_map(|offering| offering.problem.as_ref())
        .collect();
    let first = hidden.first()?;
    Some(format!("{} more cannot be accepted (`browse --all` shows why), e.g.: {first}", hidden.len()))
}

fn offerings(found: &[Offering], unit: &TokenUnit) -> String {
    let rows = found.iter().map(|offering| {
        let message = offering.message.as_ref();
        [
            offering.hash.to_string(),
            or_dash(message.map(|message| &message.service_name)),
            or_dash(offering.country.as_ref()),
            or_dash(message.map(|message| {
                format!("{} / {}", unit.show(message.terms.unit_price), message.terms.unit.name)
            })),
            unit.show(offering.min_deposit),
            format!("{} of {}", offering.free_supply, offering.supply),
            or_dash(offering.seen_at.map(ago)),
            or_dash(offering.problem.as_ref()),
        ]
    });
    table(["offering", "service", "country", "price", "least deposit", "free", "last seen", "problem"], rows)
}

/// Waits until a top-up is on chain. While another one of the channel is under way, it has no job yet.
async fn topped_up(
    context: &Context<'_, Clientd>,
    wait: &WaitArgs,
    (what, channel): (&str, ChannelId),
    order: u64,
) -> Result<JobDetails, DaemonError> {
    let api = context.api()?;
    let mut follow = Follow::new(&api, context.output, wait, what, format!("channels show {channel}"));
    let job = follow
        .until(async |api| {
            let state = api.call(&GetOrder { order }).await?;
            job_of(&state, channel).map_err(|reason| failed(what, reason))
        })
        .await?;
    let details = follow.job(job).await?;
    let state = api.call(&GetOrder { order }).await?;
    ended(&state, details).map_err(|reason| failed(what, reason))
}

/// What its job came to. A job that found no money is done, too: what became of the order was stored with the job's end.
fn ended<T>(state: &OrderState, details: T) -> Result<T, String> {
    state.trouble.clone().map_or(Ok(details), Err)
}

fn failed(what: &str, reason: String) -> DaemonError {
    DaemonError::OrderFailed { what: what.to_owned(), reason }
}

/// The job that carries an order out, or what it waits for. `Err`: why it will not be done, or cannot be followed.
fn job_of(state: &OrderState, channel: ChannelId) -> Result<Result<JobId, String>, String> {
    match (&state.trouble, state.job, state.is_done) {
        (Some(reason), _, _) => Err(reason.clone()),
        (None, Some(job), _) => Ok(Ok(job)),
        (None, None, Some(_)) => {
            Err(format!("its job is not kept any more; look at `channels show {channel}`"))
        }
        (None, None, None) => Ok(Err("it waits for another top-up of the channel".to_owned())),
    }
}

/// Waits until a channel's service runs.
async fn opened(
    context: &Context<'_, Clientd>,
    wait: &WaitArgs,
    opening: Opening,
) -> Result<ChannelDetails, DaemonError> {
    let Opening { channel, job, .. } = opening;
    let job = job.ok_or_else(|| DaemonError::OrderFailed {
        what: "the opening of the channel".to_owned(),
        reason: format!("nothing provides its deposit; look at `channels show {channel}`"),
    })?;
    let api = context.api()?;
    let what = "the opening of the channel";
    let mut follow = Follow::new(&api, context.output, wait, what, format!("channels show {channel}"));
    follow.job(job).await?;
    follow
        .until(async |api| {
            let details = api.call(&GetChannel { channel }).await?;
            let known = &details.channel;
            match known.service {
                ServiceStatus::Active => Ok(Ok(details)),
                ServiceStatus::Terminating | ServiceStatus::Terminated => Err(DaemonError::OrderFailed {
                    what: what.to_owned(),
                    reason: or_dash(known.reason.as_ref()),
                }),
                service => Ok(Err(format!("the channel is {}, its service {service}", known.status))),
            }
        })
        .await
}

fn ready(details: &ChannelDetails) -> String {
    let id = details.channel.id;
    match &details.endpoint {
        Some(endpoint) => format!("channel {id} is ready at {}", endpoint_text(endpoint)),
        None => format!("channel {id} is ready"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(country: Option<&str>, problem: Option<&str>) -> Offering {
        let offering = serde_json::json!({
            "agent": privatix_api::Address::ZERO,
            "hash": OfferingHash::default(),
            "status": "registered",
            "country": country,
            "minDeposit": "1",
            "supply": 1,
            "freeSupply": 1,
            "source": "direct:agent.example:9500",
            "announcedAt": 1,
            "problem": problem,
            "createdAt": "2026-01-01T00:00:00Z",
            "message": null,
        });
        serde_json::from_value(offering).unwrap()
    }

    #[test]
    fn an_order_whose_job_found_no_money_is_no_success() {
        let channel = ChannelId::new([1; 32].into());
        let order = |rest: serde_json::Value| {
            let mut order = serde_json::json!({
                "order": 3, "what": "topUp", "by": "user", "at": "2026-01-01T00:00:00Z",
            });
            order.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            let order: OrderState = serde_json::from_value(order).unwrap();
            assert_eq!(ended(&order, ()).err(), order.trouble);
            job_of(&order, channel)
        };
        let (job, trouble) = (serde_json::json!(5), "the account has not enough tokens");
        assert_eq!(order(serde_json::json!({ "job": job })), Ok(Ok("5".parse().unwrap())));
        assert_eq!(order(serde_json::json!({ "job": job, "isDone": true })), Ok(Ok("5".parse().unwrap())));
        // Its job is done: it has stored what became of the order.
        let given_up = serde_json::json!({ "job": job, "isDone": false, "trouble": trouble });
        assert_eq!(order(given_up), Err(trouble.to_owned()));
        assert!(order(serde_json::json!({})).unwrap().unwrap_err().contains("another top-up"));
        assert!(order(serde_json::json!({ "isDone": true })).unwrap_err().contains("not kept any more"));
    }

    #[test]
    fn what_a_list_leaves_out_is_counted_for_the_country_asked_for_and_where_none_is_known() {
        let every = [
            offering(Some("DE"), Some("no onion service")),
            offering(Some("FR"), Some("no onion service")),
            offering(None, Some("not fetched")),
            offering(Some("DE"), None),
        ];
        let count = |country| unavailable(&every, country).unwrap();
        assert!(count(None).starts_with("3 more"), "{}", count(None));
        assert!(count(Some("de")).starts_with("2 more"), "{}", count(Some("de")));
        assert!(count(Some("AT")).ends_with("e.g.: not fetched"), "{}", count(Some("AT")));
        assert_eq!(unavailable(&every[3..], None), None);
    }
}
