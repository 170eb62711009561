//! How one channel is paid and topped up.

use std::time::Duration;

use clap::{ArgGroup, Args};
use privatix_api::ApiClient;
use privatix_api::client::SetPolicy;
use privatix_api::node::{AutomaticTopUp, ChannelPolicy};
use privatix_billing::Percent;
use privatix_channel::{Amount, ChannelId};
use privatix_daemon::DaemonError;
use privatix_daemon::output::Output;

/// `policy`
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = ArgGroup::new("top-up").required(true))]
pub(crate) struct PolicyArgs {
    /// The channel
    channel: ChannelId,
    /// Raises the deposit by itself once this percentage of it is used, 1 to 100
    #[arg(long, value_name = "PERCENT", group = "top-up", value_parser = percent)]
    top_up_at: Option<Percent>,
    /// By how much, in base units; as much as is deposited when not given
    #[arg(long, value_name = "AMOUNT", requires = "top_up_at", conflicts_with_all = ["no_top_up", "as_configured"])]
    top_up_by: Option<Amount>,
    /// Never above this, in base units
    #[arg(long, value_name = "AMOUNT", requires = "top_up_at", conflicts_with_all = ["no_top_up", "as_configured"])]
    max_deposit: Option<Amount>,
    /// Never raises the deposit by itself
    #[arg(long, group = "top-up")]
    no_top_up: bool,
    /// As `[billing]` of the configuration says, as for channels without a policy of their own
    #[arg(long, group = "top-up", conflicts_with = "settle_after")]
    as_configured: bool,
    /// Pays what is due once nothing was used for this time; as configured when not given
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    settle_after: Option<Duration>,
}

fn percent(text: &str) -> Result<Percent, String> {
    let number: u8 = text.parse().map_err(|_| "it is not a whole number from 1 to 100".to_owned())?;
    Percent::try_from(number).map_err(|error| error.to_string())
}

impl PolicyArgs {
    fn policy(&self) -> Option<ChannelPolicy> {
        let (amount, max_deposit) = (self.top_up_by, self.max_deposit);
        let top_up = self.top_up_at.map(|percent| AutomaticTopUp { percent, amount, max_deposit });
        (!self.as_configured).then_some(ChannelPolicy { top_up, settle_after: self.settle_after })
    }

    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        let (channel, policy) = (self.channel, self.policy());
        let order = api.call(&SetPolicy { channel, policy }).await?;
        output.show(&order, |_| {
            let now = match policy {
                None => "follows the configuration",
                Some(ChannelPolicy { top_up: None, .. }) => "is not topped up by itself any more",
                Some(_) => "is topped up by itself",
            };
            format!("channel {channel} {now}; `channels show {channel}` shows how")
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn line(options: &str) -> Result<PolicyArgs, clap::Error> {
        let channel = ChannelId::default().to_string();
        let words = ["policy", &channel].into_iter().chain(options.split_whitespace());
        Line::try_parse_from(words).map(|line| line.policy)
    }

    #[test]
    fn a_policy_is_what_the_command_line_says() {
        let full = "--top-up-at 80 --top-up-by 5 --max-deposit 90 --settle-after 10s";
        for (options, expected) in [
            ("--as-configured", json!(null)),
            ("--no-top-up", json!({})),
            ("--top-up-at 100", json!({ "topUp": { "percent": 100 } })),
            (
                full,
                json!({ "topUp": { "percent": 80, "amount": "5", "maxDeposit": "90" }, "settleAfter": "10s" }),
            ),
        ] {
            let policy = line(options).unwrap().policy();
            assert_eq!(serde_json::to_value(policy).unwrap(), expected, "{options}");
        }
    }

    #[test]
    fn a_policy_that_says_nothing_or_contradicts_itself_is_none() {
        for options in [
            "",
            "--settle-after 3s",
            "--no-top-up --top-up-at 80",
            "--as-configured --no-top-up",
            "--as-configured --settle-after 3s",
            "--no-top-up --max-deposit 5",
            "--top-up-by 5",
            "--top-up-at 0",
            "--top-up-at 101",
        ] {
            assert!(line(options).is_err(), "{options}");
        }
        let said = line("--settle-after 3s").unwrap_err().to_string();
        assert!(
            said.contains("<--top-up-at <PERCENT>|--no-top-up|--as-configured>"),
            "each way is named: {said}"
        );
    }
}
