use std::time::{Duration, SystemTime};

use clap::Subcommand;
use privatix_api::ApiClient;
use privatix_api::node::{
    Channel, ChannelDetails, ChannelPolicy, CloseChannel, GetChannel, ListChannels, PauseChannel,
    ResumeChannel, TerminateChannel, TokenUnit,
};
use privatix_billing::{Measure, Unit};
use privatix_channel::{AgentView, ChainTime, ChannelId, Closure, ServiceState, Usage};

use super::token_unit;
use crate::DaemonError;
use crate::follow::{self, Goal, WaitArgs};
use crate::output::{Output, ago, or_dash, pairs, table, time};

/// `channels`
#[derive(Subcommand, Debug)]
pub(crate) enum ChannelsCommand {
    /// Lists the channels, newest first
    List {
        /// At most this many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
    },
    /// Shows a channel: where its service is, what was used and paid
    Show {
        /// The channel
        channel: ChannelId,
    },
    /// Pauses a channel's service
    Pause {
        /// The channel
        channel: ChannelId,
    },
    /// Ends a pause
    Resume {
        /// The channel
        channel: ChannelId,
    },
    /// Ends a channel's service for good
    Terminate {
        /// The channel
        channel: ChannelId,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Ends a channel's service and closes it on chain; a client asks for it and gets the rest after the challenge period
    Close {
        /// The channel
        channel: ChannelId,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

impl ChannelsCommand {
    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        match self {
            Self::List { limit } => {
                let unit = token_unit(api, output).await;
                output.show(&api.call(&ListChannels { limit }).await?, |all| list(all, &unit));
            }
            Self::Show { channel } => {
                let unit = token_unit(api, output).await;
                output.show(&api.call(&GetChannel { channel }).await?, |channel| details(channel, &unit));
            }
            Self::Pause { channel } => {
                output.show(&api.call(&PauseChannel { channel, key: None }).await?, |_| {
                    format!("channel {channel} is paused")
                });
            }
            Self::Resume { channel } => {
                let resumed = api.call(&ResumeChannel { channel, key: None }).await?;
                output.show(&resumed, |_| format!("the pause of channel {channel} has ended; `channels show` shows whether its service runs"));
            }
            Self::Terminate { channel, wait } => {
                let order = api.call(&TerminateChannel { channel, key: None }).await?;
                let goal = Goal::ServiceEnded;
                follow::channel(api, output, &wait, (goal, channel), order).await?;
            }
            Self::Close { channel, wait } => {
                let order = api.call(&CloseChannel { channel, key: None }).await?;
                follow::channel(api, output, &wait, (Goal::Closed, channel), order).await?;
            }
        }
        Ok(())
    }
}

fn list(channels: &[Channel], unit: &TokenUnit) -> String {
    let rows = channels.iter().map(|channel| {
        [
            channel.id.to_string(),
            channel.status.to_string(),
            channel.service.to_string(),
            channel.used.to_string(),
            unit.show(channel.paid),
            unit.show(channel.deposit),
            ago(channel.created_at),
        ]
    });
    table(["channel", "status", "service", "used", "paid", "deposit", "since"], rows)
}

fn details(details: &ChannelDetails, unit: &TokenUnit) -> String {
    let channel = &details.channel;
    let mut rows = vec![
        ("channel", channel.id.to_string()),
        ("offering", channel.offering.to_string()),
        ("agent", channel.agent.to_string()),
        ("client", channel.client.to_string()),
        ("status", channel.status.to_string()),
        ("service", format!("{}, {}", channel.service, ago(channel.service_since))),
        ("because", or_dash(channel.reason.as_ref())),
        ("paused", if channel.paused { "yes" } else { "no" }.to_owned()),
        ("deposit", unit.show(channel.deposit)),
        ("opened in block", or_dash(channel.opened_at)),
    ];
    if let Some(ends_at) = channel.challenge_ends_at {
        rows.push(("challenge ends", chain_time(ends_at)));
    }
    if let Some(policy) = &details.policy {
        rows.push(("automatic top-up", top_up(policy, details.has_own_policy, unit)));
    }
    if let Some(closes_at) = details.closes_at {
        rows.push(("to be closed", closes(closes_at, SystemTime::now())));
    }
    if let Some(closure) = channel.closure {
        rows.push(("closed", closed(closure).to_owned()));
    }
    if let Some(endpoint) = &details.endpoint {
        rows.push(("endpoint", endpoint_text(endpoint)));
    }
    format!("{}\n\n{}", pairs(rows), usage(details, unit))
}

/// How a channel is topped up by itself, for people.
fn top_up(policy: &ChannelPolicy, is_own: bool, unit: &TokenUnit) -> String {
    let whose = if is_own { "by this channel's own policy" } else { "as configured" };
    let Some(top_up) = policy.top_up else { return format!("never, {whose}") };
    let added = top_up.amount.map_or_else(|| "as much again".to_owned(), |amount| unit.show(amount));
    let most = top_up.max_deposit.map(|most| format!(", up to {} in all", unit.show(most)));
    let percent = u8::from(top_up.percent);
    format!("{added} once {percent} % of the deposit is used{}, {whose}", most.unwrap_or_default())
}

/// When a channel whose service has ended is closed, for people.
fn closes(at: SystemTime, now: SystemTime) -> String {
    if at <= now { "now".to_owned() } else { format!("{} at the latest", time(at)) }
}

/// The first second that RFC 3339 cannot write.
const YEAR_10_000: ChainTime = ChainTime::new(253_402_300_800);

/// A moment of the chain's clock, for people.
fn chain_time(at: ChainTime) -> String {
    if at < YEAR_10_000 {
        time(SystemTime::UNIX_EPOCH + Duration::from_secs(at.seconds()))
    } else {
        format!("second {at}")
    }
}

/// How a channel ended, for people.
pub(super) const fn closed(closure: Closure) -> &'static str {
    match closure {
        Closure::ByAgent => "by the agent",
        Closure::ByAgentDisputed => "by the agent, for more than the client admitted",
        Closure::ByBoth => "by both",
        Closure::ByClient => "by the client, after its challenge",
        Closure::ByClientDisputed => "by the client, after the agent claimed more than was admitted",
    }
}

/// Where a service is, for people: what plug-ins call host and port, or all they say.
pub fn endpoint_text(endpoint: &serde_json::Value) -> String {
    match (endpoint["host"].as_str(), endpoint["port"].as_u64()) {
        (Some(host), Some(port)) => {
            let protocols = endpoint["protocols"].as_array().into_iter().flatten();
            let protocols: Vec<&str> = protocols.filter_map(|protocol| protocol.as_str()).collect();
            let spoken =
                if protocols.is_empty() { String::new() } else { format!(" ({})", protocols.join(", ")) };
            format!("{host}:{port}{spoken}")
        }
        _ => endpoint.to_string(),
    }
}

pub(super) fn usage(details: &ChannelDetails, token: &TokenUnit) -> String {
    let channel = &details.channel;
    let unit = details.unit.as_ref();
    let mut rows = vec![
        ("used", used(channel.used, unit)),
        ("paid", format!("{} with {}", token.show(channel.paid), vouchers(channel.vouchers))),
        ("acknowledged", token.show(channel.acknowledged)),
        ("cashed on chain", token.show(channel.settled)),
        ("deposit", token.show(channel.deposit)),
    ];
    if let Some(view) = &details.agent_view {
        rows.push(("the agent shows", shown(view, unit, token)));
    }
    if let Some(theirs) = details.client_used {
        rows.push(("the client's meter", used(theirs, unit)));
    }
    if let Some(claimable) = details.claimable {
        rows.push(("to be cashed", token.show(claimable)));
    }
    if let Some(claimed) = details.claimed {
        let remedy = format!("if it can be right, `accept-claim {} {claimed}` accepts it", channel.id);
        rows.push(("claimed by the agent", format!("{}; {remedy}", token.show(claimed))));
    }
    let sessions = details.sessions.iter().map(|session| {
        [
            time(session.started_at),
            session.stopped_at.map_or_else(|| "goes on".to_owned(), time),
            used(session.used, unit),
            or_dash(session.peer.as_ref()),
        ]
    });
    format!("{}\n\n{}", pairs(rows), table(["session began", "ended", "used", "from"], sessions))
}

/// What an agent shows of its side, for people.
fn shown(view: &AgentView, unit: Option<&Unit>, token: &TokenUnit) -> String {
    let service = match view.service {
        ServiceState::Preparing => "the service is being prepared",
        ServiceState::Running => "the service runs",
        ServiceState::Suspended => "the service is suspended",
        ServiceState::Ended => "the service has ended",
    };
    let because = view.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let goes_on = view.resumes_at.map(|due| format!(", and goes on once {} is paid", token.show(due)));
    format!("{service}{because}{}; its meter: {}", goes_on.unwrap_or_default(), used(view.used, unit))
}

/// How many vouchers, in words.
fn vouchers(count: u64) -> String {
    if count == 1 { "1 voucher".to_owned() } else { format!("{count} vouchers") }
}

/// A measured use in units too, with two places, cut off.
fn used(used: Usage, unit: Option<&Unit>) -> String {
    let Some(unit) = unit else { return used.to_string() };
    let measure = match unit.measure {
        Measure::Bytes => "bytes",
        Measure::Seconds => "seconds",
        Measure::Requests => "requests",
    };
    let hundredths = u128::from(used.get()) * 100 / u128::from(unit.size.max(1));
    format!("{used} {measure} ({}.{:02} {})", hundredths / 100, hundredths % 100, unit.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_shows_says_what_is_missing() {
        let show = |view: serde_json::Value| {
            shown(&serde_json::from_value(view).unwrap(), None, &TokenUnit::default())
        };
        let running = serde_json::json!({ "number": 1, "used": 70, "service": "running" });
        assert_eq!(show(running), "the service runs; its meter: 70");
        let suspended = serde_json::json!({
            "number": 2, "used": 90, "service": "suspended", "reason": "unpaid", "resumesAt": "250",
        });
        let expected = "the service is suspended (unpaid), and goes on once 250 is paid; its meter: 90";
        assert_eq!(show(suspended), expected);
    }

    #[test]
    fn one_voucher_is_no_vouchers() {
        assert_eq!([0, 1, 2].map(vouchers), ["0 vouchers", "1 voucher", "2 vouchers"]);
    }

    #[test]
    fn how_a_channel_is_topped_up_is_shown_with_whose_policy_it_is() {
        let shown = |policy: serde_json::Value, is_own| {
            top_up(&serde_json::from_value(policy).unwrap(), is_own, &TokenUnit::default())
        };
        assert_eq!(shown(serde_json::json!({ "settleAfter": "3s" }), false), "never, as configured");
        let double = serde_json::json!({ "topUp": { "percent": 80 } });
        let expected = "as much again once 80 % of the deposit is used, by this channel's own policy";
        assert_eq!(shown(double, true), expected);
        let fixed = serde_json::json!({ "topUp": { "percent": 5, "amount": "40", "maxDeposit": "90" } });
        let expected = "40 once 5 % of the deposit is used, up to 90 in all, as configured";
        assert_eq!(shown(fixed, false), expected);
    }

    #[test]
    fn a_close_that_is_due_is_due_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        assert_eq!(closes(now, now), "now");
        let later = closes(now + Duration::from_mins(1), now);
        assert_eq!(later, "1970-01-01T00:01:10Z at the latest");
    }
}
