use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::Address;
use privatix_chain::{Endpoint, EndpointUrl, FeePolicy, Finality, ProxyUrl, StartFrom, View};
use privatix_channel::{Amount, Fee};
use privatix_node::{
    ChainSettings, EtherPerToken, KEEP_CANCELLED, KEEP_DONE, KEEP_FAILED, PeerAddresses, Retention,
    UnknownContract,
};
use privatix_tor::{PluggableTransport, TorSettings};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ChainProxy;
use crate::DaemonError;

/// `[chain]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChainSection {
    /// JSON-RPC endpoint: `http`, `https`, `ws` or `wss`. The preferred one, if there are several.
    pub endpoint: EndpointUrl,
    /// Further ones of the same chain, in order of preference: used when those before them do not answer, and to check them.
    #[serde(default)]
    pub endpoints: Vec<EndpointUrl>,
    /// What the endpoints are reached through; directly when absent.
    #[serde(default)]
    pub proxy: Option<ChainProxy>,
    /// The service contract (PSC).
    pub contract: Address,
    /// What it means that the contract's code is not the one that this version was made for.
    #[serde(default)]
    pub unknown_contract: UnknownContract,
    /// The chain's id, so that no endpoint can pass off another chain; not checked when absent.
    #[serde(default)]
    pub chain_id: Option<u64>,
    /// Blocks on top of a block before its events count; what is usual on the chain unless set.
    #[serde(default)]
    pub confirmations: Option<u64>,
    /// Which blocks count as final; what is usual on the chain unless set.
    #[serde(default, rename = "final")]
    pub finality: Option<FinalBlocks>,
    /// How often the head is looked up.
    #[serde(default = "poll_interval", with = "humantime_serde")]
    pub poll_interval: Duration,
    /// The age from which on the view of the chain is stale, if the chain's own pace does not ask for more: then the daemon is
    /// not ready, an agent takes no vouchers and a client opens and tops up nothing. At most a third of the challenge period.
    /// With 0, only endpoints that contradict each other make it stale.
    #[serde(default = "max_view_age", alias = "max_head_age", with = "humantime_serde")]
    pub max_view_age: Duration,
    /// How far this machine's clock and the chain's time may be apart: beyond it a client opens and tops up nothing, and an agent
    /// publishes nothing. With 0, they are not compared.
    #[serde(default = "max_clock_skew", with = "humantime_serde")]
    pub max_clock_skew: Duration,
    /// The first block that a new database looks at.
    #[serde(default)]
    pub start_block: Option<u64>,
    /// Or this many blocks back from the head; as far back, too, a new client searches for offerings, the newest first, but
    /// not below `start_block`.
    #[serde(default = "recent_blocks")]
    pub recent_blocks: u64,
    /// For the endpoint to answer a request.
    #[serde(default = "request_timeout", with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The most that a transaction offers per gas on an ordinary day; dearer ones wait.
    #[serde(default = "max_fee_gwei")]
    pub max_fee_gwei: u64,
    /// What a token is worth in ether, roughly: up to what it defends, an answer to a dispute may cost. Without it, such answers
    /// wait with all others while gas is dearer than `max_fee_gwei`.
    #[serde(default)]
    pub ether_per_token: Option<EtherPerToken>,
    /// The highest network fee of a channel that an agent serves, or a client opens, such as `"2.5 %"`. None: any fee.
    #[serde(default, with = "super::percent")]
    pub accept_fee: Option<Fee>,
    /// The most gas that the chain lets a transaction have. Without it, what the endpoint reports, or 16,777,216.
    #[serde(default)]
    pub tx_gas_cap: Option<u64>,
    /// The encrypted key of the rescue account: another account with ether, which settles in a dispute what an agent's own account
    /// cannot answer. Relative to the data folder.
    #[serde(default)]
    pub rescue_keystore: Option<PathBuf>,
    /// A file whose first line is that keystore's password; relative to the data folder. Asked for in the terminal when absent.
    #[serde(default)]
    pub rescue_password_file: Option<PathBuf>,
}

const fn poll_interval() -> Duration {
    Duration::from_secs(4)
}

const fn max_view_age() -> Duration {
    View::MAX_AGE
}

const fn max_clock_skew() -> Duration {
    ChainSettings::MAX_CLOCK_SKEW
}

const fn recent_blocks() -> u64 {
    11_520
}

const fn request_timeout() -> Duration {
    Endpoint::TIMEOUT
}

const fn max_fee_gwei() -> u64 {
    500
}

/// Which blocks count as final, as it is written in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of blocks, \"safe\" or \"finalized\"")]
pub enum FinalBlocks {
    /// Those with at least this many blocks on top.
    Depth(u64),
    /// Those that the endpoint calls so.
    Tag(FinalTag),
}

/// A tag of the endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinalTag {
    /// `safe`.
    Safe,
    /// `finalized`.
    Finalized,
}

impl From<FinalBlocks> for Finality {
    fn from(blocks: FinalBlocks) -> Self {
        match blocks {
            FinalBlocks::Depth(depth) => Self::Depth(depth),
            FinalBlocks::Tag(FinalTag::Safe) => Self::Safe,
            FinalBlocks::Tag(FinalTag::Finalized) => Self::Finalized,
        }
    }
}

impl ChainSection {
    /// The preferred endpoint, as [`reach`](Self::reach) gives it.
    ///
    /// # Errors
    /// As there.
    pub fn endpoint(&self, tor: Option<&ProxyUrl>) -> Result<Endpoint, DaemonError> {
        self.reach(&self.endpoint, tor)
    }

    /// An endpoint, reached through `tor`, the SOCKS address of the Tor in this process, if that is what
    /// [`proxy`](Self::proxy) asks for. Does not connect.
    ///
    /// # Errors
    /// [`DaemonError::Chain`] for an address that cannot be used; [`DaemonError::Usage`] when Tor is asked for and there
    /// is none.
    pub fn reach(&self, url: &EndpointUrl, tor: Option<&ProxyUrl>) -> Result<Endpoint, DaemonError> {
        let proxy = match &self.proxy {
            None => None,
            Some(ChainProxy::Socks(address)) => Some(address),
            Some(ChainProxy::Tor) => Some(tor.ok_or_else(|| DaemonError::Usage {
                what: "chain.proxy".into(),
                reason: "it is \"tor\", but no Tor runs in this process: set tor.enabled, or write the address of a \
                         SOCKS proxy (socks5h://127.0.0.1:9050)"
                    .into(),
            })?),
        };
        let endpoint = match proxy {
            Some(proxy) => Endpoint::through(url, proxy)?,
            None => Endpoint::at(url)?,
        };
        Ok(endpoint.timeout(self.request_timeout))
    }

    /// What a node needs to know.
    pub fn settings(&self) -> ChainSettings {
        let mut settings = ChainSettings::new(self.contract);
        settings.unknown_contract = self.unknown_contract;
        settings.chain_id = self.chain_id;
        settings.confirmations = self.confirmations;
        settings.finality = self.finality.map(Into::into);
        settings.poll_interval = self.poll_interval;
        settings.max_view_age = self.max_view_age;
        settings.max_clock_skew = self.max_clock_skew;
        settings.start = self.start_block.map_or(StartFrom::Recent(self.recent_blocks), StartFrom::Block);
        settings.recent_blocks = self.recent_blocks;
        settings.fees = FeePolicy::default();
        settings.fees.max_fee_cap = u128::from(self.max_fee_gwei).saturating_mul(1_000_000_000);
        settings.fees.tx_gas_cap = self.tx_gas_cap;
        settings.ether_per_token = self.ether_per_token;
        settings.accept_fee = self.accept_fee;
        settings
    }
}

/// `[account]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AccountSection {
    /// The encrypted key; relative to the data folder.
    pub keystore: PathBuf,
    /// A file whose first line is the keystore's password; relative to the data folder. Asked for in the terminal when
    /// absent.
    pub password_file: Option<PathBuf>,
}

impl Default for AccountSection {
    fn default() -> Self {
        Self { keystore: "keystore.json".into(), password_file: None }
    }
}

/// `[api]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiSection {
    /// Where the control API listens.
    pub listen: SocketAddr,
    /// The file with its token; relative to the data folder.
    #[serde(default = "token_file")]
    pub token_file: PathBuf,
    /// The file with a token that opens `GET /metrics` only; relative to the data folder.
    #[serde(default = "metrics_token_file")]
    pub metrics_token_file: PathBuf,
    /// Names under which it may be reached, beside `localhost` and every address.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
}

fn token_file() -> PathBuf {
    "api.token".into()
}

fn metrics_token_file() -> PathBuf {
    "metrics.token".into()
}

/// `[adapter]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdapterSection {
    /// Which plug-in.
    pub kind: AdapterKind,
    /// Its settings, as the plug-in documents them.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// The plug-ins that are built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AdapterKind {
    /// SOCKS5 and HTTP proxy.
    #[default]
    Proxy,
}

/// `[tor]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TorSection {
    /// Whether this process may use Tor at all.
    pub enabled: bool,
    /// The SOCKS port of a tor daemon that a client uses in place of the Tor in this process.
    pub socks: Option<SocketAddr>,
    /// Bridge lines, for networks that block Tor.
    pub bridges: Vec<String>,
    /// Programs that disguise the connections to bridges.
    pub transports: Vec<PluggableTransport>,
    /// Arti's own settings, as its documentation names them.
    pub arti: toml::Table,
}

impl Default for TorSection {
    fn default() -> Self {
        Self {
            enabled: true,
            socks: None,
            bridges: Vec::new(),
            transports: Vec::new(),
            arti: toml::Table::new(),
        }
    }
}

impl TorSection {
    /// The settings of the Tor in this process.
    pub fn settings(&self) -> TorSettings {
        let mut settings = TorSettings::default();
        settings.bridges.clone_from(&self.bridges);
        settings.transports.clone_from(&self.transports);
        settings.arti.clone_from(&self.arti);
        settings
    }
}

/// `[privacy]`
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PrivacySection {
    /// Keeps the network addresses of users: in the database with the sessions of their channels, and in the log.
    pub keep_peer_addresses: bool,
}

impl PrivacySection {
    /// What becomes of addresses in the database.
    pub const fn peer_addresses(self) -> PeerAddresses {
        if self.keep_peer_addresses { PeerAddresses::Kept } else { PeerAddresses::Dropped }
    }
}

/// `[jobs]`: how long ended jobs can be looked up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct JobsSection {
    /// Those that are done.
    #[serde(with = "humantime_serde")]
    pub keep_done: Duration,
    /// Those that failed for good.
    #[serde(with = "humantime_serde")]
    pub keep_failed: Duration,
    /// Those that were cancelled.
    #[serde(with = "humantime_serde")]
    pub keep_cancelled: Duration,
}

impl Default for JobsSection {
    fn default() -> Self {
        Self { keep_done: KEEP_DONE, keep_failed: KEEP_FAILED, keep_cancelled: KEEP_CANCELLED }
    }
}

impl JobsSection {
    /// What becomes of ended jobs.
    pub const fn retention(self) -> Retention {
        Retention {
            done: Some(self.keep_done),
            failed: Some(self.keep_failed),
            cancelled: Some(self.keep_cancelled),
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,privatix_chain=debug`.
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// An amount of base units in a configuration: a number, or its digits in quotes where the number is too large for TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenAmount(pub Amount);

impl Serialize for TokenAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TokenAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl Visitor<'_> for AmountVisitor {
            type Value = TokenAmount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of base units")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<TokenAmount, E> {
                Ok(TokenAmount(value.into()))
            }

            fn visit_u128<E: de::Error>(self, value: u128) -> Result<TokenAmount, E> {
                Ok(TokenAmount(value.into()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<TokenAmount, E> {
                let value = u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                self.visit_u64(value)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<TokenAmount, E> {
                value.parse().map(TokenAmount).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(AmountVisitor)
    }
}
