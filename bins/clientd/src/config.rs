//! Settings of `clientd`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use privatix_billing::{ClientPolicy, Percent, TopUpAmount, TopUpPolicy};
use privatix_client::{ClientSettings, ContactPolicy};
use privatix_daemon::DaemonError;
use privatix_daemon::config::{
    self, AccountSection, AdapterSection, ApiSection, ChainSection, LogSection, PrivacySection, TokenAmount,
};
use privatix_somc::{ClientLimits, DirectTransport};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default = "here")]
    data_dir: PathBuf,
    chain: ChainSection,
    #[serde(default)]
    account: AccountSection,
    api: ApiSection,
    #[serde(default)]
    pub(crate) somc: SomcSection,
    #[serde(default)]
    billing: BillingSection,
    #[serde(default)]
    adapter: AdapterSection,
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    log: LogSection,
}

fn here() -> PathBuf {
    ".".into()
}

impl config::Settings for Settings {
    fn data_dir(&self) -> &Path {
        &self.data_dir
    }
    fn chain(&self) -> &ChainSection {
        &self.chain
    }
    fn account(&self) -> &AccountSection {
        &self.account
    }
    fn api(&self) -> &ApiSection {
        &self.api
    }
    fn adapter(&self) -> &AdapterSection {
        &self.adapter
    }
    fn privacy(&self) -> PrivacySection {
        self.privacy
    }
    fn log(&self) -> &LogSection {
        &self.log
    }
}

impl Settings {
    pub(crate) fn client_settings(&self) -> Result<ClientSettings, DaemonError> {
        let mut settings = ClientSettings::default();
        settings.contact = ContactPolicy::DirectAllowed;
        settings.policy = self.billing.policy()?;
        settings.request_close_after = self.billing.request_close_after();
        settings.access_within = self.billing.access_within;
        settings.limits = self.somc.limits();
        Ok(settings)
    }
}

/// What `init` takes besides: nothing.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Init {}

/// `[somc]`: how agents are reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SomcSection {
    allow_private: bool,
    #[serde(with = "humantime_serde")]
    connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    request_timeout: Duration,
}

impl Default for SomcSection {
    fn default() -> Self {
        let limits = ClientLimits::default();
        Self {
            allow_private: false,
            connect_timeout: limits.connect_timeout,
            request_timeout: limits.request_timeout,
        }
    }
}

impl SomcSection {
    pub(crate) fn transport(&self) -> DirectTransport {
        if self.allow_private { DirectTransport::anywhere() } else { DirectTransport::public_only() }
    }

    fn limits(&self) -> ClientLimits {
        let mut limits = ClientLimits::default();
        limits.connect_timeout = self.connect_timeout;
        limits.request_timeout = self.request_timeout;
        limits
    }
}

/// `[billing]`: when to pay, to top up, to ask for a close.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BillingSection {
    #[serde(with = "humantime_serde")]
    settle_after: Duration,
    #[serde(with = "humantime_serde")]
    request_close_after: Duration,
    #[serde(with = "humantime_serde")]
    access_within: Duration,
    top_up: Option<TopUpSection>,
}

impl Default for BillingSection {
    fn default() -> Self {
        let settings = ClientSettings::default();
        Self {
            settle_after: settings.policy.settle_after,
            request_close_after: settings.request_close_after.unwrap_or_default(),
            access_within: settings.access_within,
            top_up: None,
        }
    }
}

/// `[billing.top_up]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUpSection {
    percent: u8,
    #[serde(default)]
    amount: Option<TokenAmount>,
    #[serde(default)]
    max_deposit: Option<TokenAmount>,
}

impl BillingSection {
    fn policy(&self) -> Result<ClientPolicy, DaemonError> {
        let top_up = self.top_up.as_ref().map(TopUpSection::policy).transpose()?;
        Ok(ClientPolicy { top_up, settle_after: self.settle_after })
    }

    /// None for never, which is written as `"0s"`.
    fn request_close_after(&self) -> Option<Duration> {
        Some(self.request_close_after).filter(|period| !period.is_zero())
    }
}

impl TopUpSection {
    fn policy(&self) -> Result<TopUpPolicy, DaemonError> {
        let percent = Percent::try_from(self.percent).map_err(|error| DaemonError::Usage {
            what: "billing.top_up.percent".into(),
            reason: format!("{error}; write e.g. 80"),
        })?;
        let amount =
            self.amount.map_or(TopUpAmount::Double, |TokenAmount(amount)| TopUpAmount::Fixed(amount));
        Ok(TopUpPolicy { percent, amount, max_deposit: self.max_deposit.map(|TokenAmount(amount)| amount) })
    }
}

/// What a new configuration file says of the settings that only `clientd` has.
pub(crate) const SECTIONS: &str = r#"[somc]
# Allows agents at private and loopback addresses. Without it no stranger's offering can make this machine knock on doors
# of its own network.
# allow_private = false
# connect_timeout = "1m"
# request_timeout = "1m"

[billing]
# Pay what is owed once nothing was used for so long.
# settle_after = "3s"
# Ask on chain for a channel's close when its service has ended and the agent did not close it for so long; "0s" for never.
# request_close_after = "1h"
# How long an agent may take to hand over access to an open channel, before its service is ended.
# access_within = "1h"

# Raise a channel's deposit by itself once so much of it is used up. Never without this section.
# [billing.top_up]
# percent = 80
# By how much, in base units; as much as is deposited when not given.
# amount = 100000
# Never above this.
# max_deposit = 10000000

[adapter]
# The service plug-in.
# kind = "proxy"

[adapter.settings]
# Local addresses for your programs: each new channel takes the next free port (SOCKS5 and HTTP), and keeps it for its life.
# listen = "127.0.0.1"
# port = 1080
# port_count = 100
# Allows agents' proxies at private and loopback addresses.
# allow_private_agents = false
"#;
