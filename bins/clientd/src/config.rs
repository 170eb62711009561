//! Settings of `clientd`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use privatix_api::Address;
use privatix_billing::{ClientPolicy, Drift, PerMille, Percent, TopUpAmount, TopUpPolicy};
use privatix_channel::{Period, Usage};
use privatix_client::{ClientSettings, ContactPolicy, Limits, OfferingPolicy};
use privatix_daemon::config::{
    self, AccountSection, AdapterSection, ApiSection, ChainSection, JobsSection, LogSection, PrivacySection,
    TokenAmount, TorSection,
};
use privatix_daemon::{DaemonError, DaemonTor};
use privatix_somc::{
    AddressError, ClientLimits, DirectTransport, SocksTransport, SomcAddress, SourceType, Transport,
    Transports, VersionRange,
};
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
    offerings: OfferingsSection,
    #[serde(default)]
    billing: BillingSection,
    #[serde(default)]
    budget: BudgetSection,
    #[serde(default)]
    pub(crate) tor: TorSection,
    #[serde(default)]
    adapter: AdapterSection,
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    jobs: JobsSection,
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
    fn tor(&self) -> &TorSection {
        &self.tor
    }
    fn privacy(&self) -> PrivacySection {
        self.privacy
    }
    fn jobs(&self) -> JobsSection {
        self.jobs
    }
    fn log(&self) -> &LogSection {
        &self.log
    }
}

impl Settings {
    pub(crate) fn client_settings(&self) -> Result<ClientSettings, DaemonError> {
        let mut settings = ClientSettings::default();
        settings.policy = self.billing.policy()?;
        settings.budget = self.budget.limits();
        settings.allowed_agents = self.budget.allowed_agents()?;
        settings.request_close_after = self.billing.request_close_after();
        settings.access_within = self.billing.access_within;
        settings.offerings = self.offerings.policy()?;
        settings.limits = self.somc.limits();
        settings.contact = self.somc.contact();
        settings.least_version = self.somc.least_version()?;
        Ok(settings)
    }
}

/// What `init` takes besides.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Init {
    /// How agents are reached: tor-only, tor-preferred, or direct-allowed, which shows them this machine's address
    #[arg(long, value_name = "HOW", default_value_t)]
    messages: ContactPolicy,
}

impl Init {
    /// What a new configuration file says of the settings that only `clientd` has.
    pub(crate) fn sections(self) -> String {
        if self.messages == ContactPolicy::default() {
            return SECTIONS.to_owned();
        }
        SECTIONS.replace("# contact = \"tor-only\"", &format!("contact = \"{}\"", self.messages))
    }
}

/// `[somc]`: how agents are reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SomcSection {
    contact: ContactPolicy,
    least_version: u16,
    private_agents: Vec<OnionAddress>,
    allow_private: bool,
    #[serde(with = "humantime_serde")]
    connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    request_timeout: Duration,
}

/// The address of an onion service, as agents give it: `<56 characters>.onion:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OnionAddress(pub(crate) SomcAddress);

impl std::str::FromStr for OnionAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        SomcAddress::read_onion(text).map(Self)
    }
}

impl TryFrom<String> for OnionAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<OnionAddress> for String {
    fn from(address: OnionAddress) -> Self {
        address.0.source()
    }
}

impl Default for SomcSection {
    fn default() -> Self {
        let limits = ClientLimits::default();
        Self {
            contact: ContactPolicy::default(),
            least_version: VersionRange::SPOKEN.min(),
            private_agents: Vec::new(),
            allow_private: false,
            // Over Tor a descriptor and two circuits come before the first byte.
            connect_timeout: limits.connect_timeout.max(Duration::from_mins(1)),
            request_timeout: limits.request_timeout,
        }
    }
}

/// The ways to agents.
pub(crate) struct Ways {
    /// To those that this client deals with.
    pub(crate) agents: Arc<dyn Transport>,
    /// To strangers whose offerings are looked at.
    pub(crate) strangers: Arc<dyn Transport>,
}

impl Settings {
    /// Whether Tor in this process is asked for.
    pub(crate) fn uses_tor(&self) -> bool {
        self.tor.enabled && self.tor.socks.is_none()
    }

    /// The ways to agents, over the Tor in this process if there is one.
    ///
    /// # Errors
    /// A setting that cannot be used, or does not fit the others.
    pub(crate) fn ways(&self, tor: Option<&DaemonTor>) -> Result<Ways, DaemonError> {
        let somc = &self.somc;
        let private: Vec<SomcAddress> = somc.private_agents.iter().map(|agent| agent.0.clone()).collect();
        let direct =
            if somc.allow_private { DirectTransport::anywhere() } else { DirectTransport::public_only() };
        let directly = |ways: Transports| match somc.contact {
            ContactPolicy::TorOnly => ways,
            _ => ways.with(SourceType::Direct, direct.clone()),
        };
        let both = |onion: Arc<dyn Transport>, exits: Arc<dyn Transport>| {
            let agents = directly(Transports::new().with(SourceType::Tor, onion));
            // Looking at offerings is to show nobody who looks. Exits reach no private network.
            let strangers = if somc.allow_private {
                agents.clone().with(SourceType::Tor, exits)
            } else {
                Transports::new().with(SourceType::Tor, Arc::clone(&exits)).with(SourceType::Direct, exits)
            };
            Ways { agents: Arc::new(agents), strangers: Arc::new(strangers) }
        };
        if let Some(tor) = tor.filter(|_| self.uses_tor()) {
            tor.prove_to(&private)?;
            // Not on the circuits that payments go over, so that an agent cannot know who looked at its offering.
            return Ok(both(Arc::new(tor.transport()), Arc::new(tor.transport().unlinked().with_exits())));
        }
        if let Some(socks) = self.tor.socks.filter(|_| self.tor.enabled) {
            let exits = SocksTransport::new(socks).with_exits();
            return Ok(both(Arc::new(SocksTransport::new(socks)), Arc::new(exits)));
        }
        let agents: Arc<dyn Transport> = Arc::new(directly(Transports::new()));
        if self.uses_tor() && !somc.allow_private {
            // Tor was asked for and cannot be used: that is no reason to show strangers who looks at their offerings.
            return Ok(Ways { agents, strangers: Arc::new(Transports::new()) });
        }
        Ok(Ways { strangers: Arc::clone(&agents), agents })
    }

    /// What can be wrong with how agents are reached.
    pub(crate) fn check_ways(&self) -> Result<(), DaemonError> {
        let wrong =
            |what: &str, reason: &str| Err(DaemonError::Usage { what: what.into(), reason: reason.into() });
        if !self.tor.enabled && self.somc.contact == ContactPolicy::TorOnly {
            return wrong(
                "somc.contact",
                "tor-only needs Tor, which tor.enabled = false switches off: allow one or the other",
            );
        }
        if !self.tor.enabled && self.tor.socks.is_some() {
            return wrong("tor.socks", "tor.enabled = false switches it off, too; leave one of them out");
        }
        if self.chain.rescue_keystore.is_some() {
            return wrong(
                "chain.rescue_keystore",
                "it is for agentd: nobody else can make a client's calls; leave it out",
            );
        }
        if !self.somc.private_agents.is_empty() && !self.uses_tor() {
            return wrong(
                "somc.private_agents",
                "only the Tor in this process proves itself to them; give the key to the tor daemon (ClientOnionAuthDir), or leave tor.socks out",
            );
        }
        Ok(())
    }
}

impl SomcSection {
    pub(crate) const fn contact(&self) -> ContactPolicy {
        self.contact
    }

    /// # Errors
    /// A version that this program does not speak.
    fn least_version(&self) -> Result<u16, DaemonError> {
        let spoken = VersionRange::SPOKEN;
        if spoken.contains(self.least_version) {
            return Ok(self.least_version);
        }
        Err(DaemonError::Usage {
            what: "somc.least_version".into(),
            reason: format!("this program speaks versions {spoken}; write one of them"),
        })
    }

    /// What this client still does when the Tor in this process cannot be used, if anything.
    pub(crate) const fn without_tor(&self) -> Option<&'static str> {
        match (self.contact, self.allow_private) {
            (ContactPolicy::TorOnly, _) => None,
            (_, true) => Some("agents are dialled directly only"),
            (_, false) => Some(
                "agents are dialled directly only, and no new offerings are fetched, as that would show their agents \
                 who looks",
            ),
        }
    }

    fn limits(&self) -> ClientLimits {
        let mut limits = ClientLimits::default();
        limits.connect_timeout = self.connect_timeout;
        limits.request_timeout = self.request_timeout;
        limits
    }
}

/// `[offerings]`: how long offerings are shown whose agents do not show that they are there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OfferingsSection {
    #[serde(with = "humantime_serde")]
    refresh_every: Duration,
    #[serde(with = "humantime_serde")]
    expires_after: Duration,
    #[serde(with = "humantime_serde")]
    unseen_for: Duration,
}

impl Default for OfferingsSection {
    fn default() -> Self {
        let policy = OfferingPolicy::default();
        Self {
            refresh_every: policy.refresh_every,
            expires_after: policy.expires_after.into(),
            unseen_for: policy.unseen_for,
        }
    }
}

impl OfferingsSection {
    fn policy(self) -> Result<OfferingPolicy, DaemonError> {
        let wrong =
            |what: &str, reason: String| DaemonError::Usage { what: format!("offerings.{what}"), reason };
        if self.refresh_every < SHORTEST_REFRESH {
            let reason = format!("agents would be asked all the time; write at least {SHORTEST_REFRESH:?}");
            return Err(wrong("refresh_every", reason));
        }
        if self.unseen_for <= self.refresh_every {
            let reason =
                "every offering would be hidden between two answers of its agent; write a longer time than \
                          offerings.refresh_every"
                    .to_owned();
            return Err(wrong("unseen_for", reason));
        }
        let seconds = u32::try_from(self.expires_after.as_secs()).unwrap_or(u32::MAX);
        let mut policy = OfferingPolicy::default();
        policy.refresh_every = self.refresh_every;
        policy.expires_after = Period::new(seconds);
        policy.unseen_for = self.unseen_for;
        // Whoever is asked often is asked often again when it did not answer.
        policy.ask_longest = policy.ask_longest.min(self.refresh_every);
        policy.ask_first = policy.ask_first.min(self.refresh_every);
        Ok(policy)
    }
}

/// The shortest time between two requests for an offering that is here.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

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
    drift_per_mille: PerMille,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift_at_most: Option<Usage>,
    top_up: Option<TopUpSection>,
}

impl Default for BillingSection {
    fn default() -> Self {
        let settings = ClientSettings::default();
        Self {
            settle_after: settings.policy.settle_after,
            request_close_after: settings.request_close_after.unwrap_or_default(),
            access_within: settings.access_within,
            drift_per_mille: settings.policy.drift.share,
            drift_at_most: settings.policy.drift.absolute,
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
        let drift = Drift { share: self.drift_per_mille, absolute: self.drift_at_most };
        Ok(ClientPolicy { top_up, settle_after: self.settle_after, drift })
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

/// `[budget]`: what may be spent on channels, and with whom.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BudgetSection {
    overall: Option<TokenAmount>,
    daily: Option<TokenAmount>,
    per_agent: Option<TokenAmount>,
    allowed_agents: Option<Vec<Address>>,
}

impl BudgetSection {
    fn limits(&self) -> Limits {
        let amount = |limit: Option<TokenAmount>| limit.map(|TokenAmount(amount)| amount);
        let mut limits = Limits::default();
        limits.overall = amount(self.overall);
        limits.daily = amount(self.daily);
        limits.per_agent = amount(self.per_agent);
        limits
    }

    /// None for all.
    fn allowed_agents(&self) -> Result<Option<Vec<Address>>, DaemonError> {
        match &self.allowed_agents {
            Some(agents) if agents.is_empty() => Err(DaemonError::Usage {
                what: "budget.allowed_agents".into(),
                reason: "it allows nobody; name an agent, or leave it out to allow all".into(),
            }),
            agents => Ok(agents.clone()),
        }
    }
}

/// What a new configuration file says of the settings that only `clientd` has.
const SECTIONS: &str = r#"[somc]
# How agents are reached: "tor-only" dials onion services alone, so that no agent sees this machine's address before it sells
# its service; "tor-preferred" dials an agent directly that has no onion service or cannot be reached there;
# "direct-allowed" dials directly where it can.
# contact = "tor-only"
# 2 talks to agents only that prove their key, so that nobody on the way can read or forge what is said. 1 talks in clear with those,
# too, that never did so here: agents from before version 2.
# least_version = 1
# Onion services that let only known clients find them: this client proves itself to these by the key that `clientd onion-key`
# prints.
# private_agents = []
# Allows agents at private and loopback addresses. Without it no stranger's offering can make this machine knock on doors
# of its own network.
# allow_private = false
# connect_timeout = "1m"
# request_timeout = "1m"

[offerings]
# How often an agent whose offering is known is asked for it again, to see that it is still there.
# refresh_every = "1d"
# `browse` does not show an offering that was not announced for this time, by the chain's clock, or whose agent has not sent it for
# this time in which this client ran. `browse --all` does, with the reason, and `accept` takes it by its hash.
# expires_after = "30d"
# unseen_for = "3d"

[billing]
# Pay what is owed once nothing was used for this time.
# settle_after = "3s"
# Ask on chain for a channel's close when its service has ended and the agent has not closed it within this time; "0s" for never.
# request_close_after = "1h"
# How long an agent may take to hand over access to an open channel, before its service is ended.
# access_within = "1h"
# What the agent's meter shows above the own one is paid for up to this share of the own one, in thousandths, or up to the least part
# that the offering permits: half of its lag, an interval, and 1 % of its least units, and never more than `drift_at_most`, in bytes,
# seconds or requests. It is what an agent that lies can gain on a channel, once.
# drift_per_mille = 10
# drift_at_most = 1000000

# Raise a channel's deposit by itself once this percentage of it is used up. Never without this section.
# [billing.top_up]
# percent = 80
# By how much, in base units; as much as is deposited when not given.
# amount = 100000
# Never above this.
# max_deposit = 10000000

[budget]
# What `accept`, `topup` and automatic top-ups may lock in channels, in base units: in all, on one day (UTC), and with each agent. A
# deposit counts in full, also once a part of it came back; gas does not count. No limit where none is set.
# overall = 100000000
# daily = 10000000
# per_agent = 20000000
# The only agents with which channels are opened; all when not set.
# allowed_agents = ["0x..."]

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use privatix_somc::TransportError;
    use serde_json::json;

    use super::*;

    fn settings(somc: &serde_json::Value) -> Settings {
        let chain = json!({
            "endpoint": "http://127.0.0.1:8545",
            "contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        });
        let all = json!({ "chain": chain, "api": { "listen": "127.0.0.1:0" }, "somc": somc });
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn offerings_are_shown_for_the_times_that_are_set_and_no_others() {
        let policy = |section: serde_json::Value| {
            serde_json::from_value::<OfferingsSection>(section).unwrap().policy()
        };
        let by_default = policy(json!({})).unwrap();
        assert_eq!(by_default, OfferingPolicy::default());
        let set = json!({ "refresh_every": "30s", "expires_after": "2d", "unseen_for": "1h" });
        let set = policy(set).unwrap();
        assert_eq!((set.refresh_every, set.unseen_for), (Duration::from_secs(30), Duration::from_hours(1)));
        assert_eq!(set.expires_after, Period::days(2));
        assert_eq!((set.ask_first, set.ask_longest), (set.refresh_every, set.refresh_every));
        for (wrong, setting) in [
            (json!({ "refresh_every": "100ms" }), "offerings.refresh_every"),
            (json!({ "unseen_for": "1d" }), "offerings.unseen_for"),
            (json!({ "refresh_every": "4d" }), "offerings.unseen_for"),
        ] {
            let refusal = policy(wrong).unwrap_err().to_string();
            assert!(refusal.contains(setting), "{refusal}");
        }
    }

    #[tokio::test]
    async fn without_the_tor_that_was_asked_for_agents_are_dialled_directly_and_strangers_not_at_all() {
        let address = SomcAddress::direct("127.0.0.1", 9).unwrap();
        let unsupported = async |ways: &Arc<dyn Transport>| {
            matches!(ways.connect(&address).await, Err(TransportError::Unsupported { .. }))
        };
        for contact in ["tor-preferred", "direct-allowed"] {
            let settings = settings(&json!({ "contact": contact }));
            assert!(settings.somc.without_tor().unwrap().contains("no new offerings"));
            let ways = settings.ways(None).unwrap();
            assert!(unsupported(&ways.strangers).await, "{contact}");
            assert!(!unsupported(&ways.agents).await, "{contact}");
        }
        let local =
            settings(&json!({ "contact": "direct-allowed", "allow_private": true })).ways(None).unwrap();
        assert!(!unsupported(&local.strangers).await, "on a local network nobody else looks");
        assert_eq!(
            settings(&json!({ "contact": "tor-only" })).somc.without_tor(),
            None,
            "it does nothing then"
        );
    }
}
