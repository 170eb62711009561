//! What roles and adapters exchange. All of it can be serialised, so that an adapter may live in another process.

use std::fmt;

use privatix_channel::{ChannelId, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Secret;

/// Which side of a channel an adapter serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The seller: lets paying channels use a service.
    Agent,
    /// The buyer: uses the service and lets the user's programs use it.
    Client,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Client => "client",
        })
    }
}

/// Identity of a product: the same for the seller's and the buyer's adapter of one plug-in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(pub Uuid);

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an adapter is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// The product that it serves.
    pub product: ProductId,
    /// Short name for logs and errors, e.g. `proxy-server`.
    pub name: String,
    /// Version of the plug-in.
    pub version: String,
    /// The roles that it can take.
    pub roles: Vec<Role>,
}

/// How an operator set an adapter up.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The role to take.
    pub role: Role,
    /// The plug-in's own settings, an object; the plug-in checks them and refuses what it does not know.
    #[serde(default)]
    pub settings: Value,
}

impl fmt::Debug for Configuration {
    /// Names the settings but hides their values: a plug-in may keep secrets there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.settings.as_object().map(|o| o.keys().collect()).unwrap_or_default();
        f.debug_struct("Configuration").field("role", &self.role).field("settings", &names).finish()
    }
}

/// What a client logs in with at the agent's service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Names the channel; usually the channel id as `0x` and 64 hex digits.
    pub username: String,
    /// Proves that the access message was received. `Debug` hides it.
    pub password: Secret,
}

/// What the agent's access message gives the client.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Where the service is and how to speak to it: what the agent's adapter gave as [`Provisioned::endpoint`].
    pub endpoint: Value,
    /// What to log in with.
    pub credentials: Credentials,
}

/// Makes a channel known to an adapter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "side", rename_all = "snake_case", deny_unknown_fields)]
pub enum Provision {
    /// Agent: a client opened this channel.
    Sell {
        /// The channel.
        channel: ChannelId,
        /// What the client will log in with.
        credentials: Credentials,
        /// The offering's additional parameters, an object or null.
        parameters: Value,
        /// What was metered for this channel in earlier sessions; the base of `up_to` and of
        /// [`Adapter::allow`](crate::Adapter::allow).
        used: Usage,
        /// The bound from the start on: what may be used in all, `used` included, until the first
        /// [`Adapter::allow`](crate::Adapter::allow) moves it. A role that does not name it allows nothing before that call.
        #[serde(default)]
        up_to: Usage,
    },
    /// Client: access to this channel's service was received.
    Buy {
        /// The channel.
        channel: ChannelId,
        /// The access message's content.
        access: Access,
        /// Where programs on this machine are used to finding services.
        #[serde(default)]
        local: LocalEndpoints,
    },
}

/// Where programs on a client's machine find, or found, the services of its channels: what the adapter gave as
/// [`Provisioned::endpoint`], in this run or an earlier one. A program that was set up for one channel's must not use
/// another's without a sign.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalEndpoints {
    /// This channel's own, which it keeps for its life: if it cannot be had, that is an error.
    pub own: Option<Value>,
    /// Those of other channels that are not over: not to be given to this one.
    pub in_use: Vec<Value>,
    /// Those of channels that are over, the last one to end first: not to be given to this one while there are others.
    pub freed: Vec<Value>,
}

impl Provision {
    /// A bought channel's, the first one on this machine.
    pub const fn buy(channel: ChannelId, access: Access) -> Self {
        let local = LocalEndpoints { own: None, in_use: Vec::new(), freed: Vec::new() };
        Self::Buy { channel, access, local }
    }

    /// The channel.
    pub const fn channel(&self) -> ChannelId {
        match self {
            Self::Sell { channel, .. } | Self::Buy { channel, .. } => *channel,
        }
    }

    /// The role that this is for.
    pub const fn role(&self) -> Role {
        match self {
            Self::Sell { .. } => Role::Agent,
            Self::Buy { .. } => Role::Client,
        }
    }
}

/// What an adapter answers to [`Provision`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Provisioned {
    /// Agent: the service's endpoint, for the access message (must fit the product's access template).
    /// Client: where the user's programs find the service, e.g. the address of a local port.
    pub endpoint: Value,
}

/// Whether an adapter holds a channel to an allowance; see [`Adapter::allow`](crate::Adapter::allow).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// The adapter stops the service by itself when the allowance is used up.
    Enforced,
    /// The adapter does not know allowances; only suspending the channel stops it.
    NotEnforced,
}

/// How an adapter is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    Well,
    /// The service works, with a restriction that the operator should know.
    Degraded {
        /// What is restricted, and what to do about it.
        reason: String,
    },
    /// The service does not work.
    Failed {
        /// What is wrong, and what to do about it.
        reason: String,
    },
}
