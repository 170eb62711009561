//! Who an agent is on the wire: the server's half, and what a client expects of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use alloy::primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::Domain;
use privatix_offering::{BindingError, ExpectedKey, KeyBinding, SessionKey};

use crate::{SessionSecret, VersionRange, session};

/// One agent for which a server speaks: the secret with which sessions begin, and the agent's word about it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) secret: SessionSecret,
    binding: KeyBinding,
}

impl Identity {
    /// A secret, and the agent's binding of its public half, with which a session ends.
    pub const fn new(secret: SessionSecret, binding: KeyBinding) -> Self {
        Self { secret, binding }
    }

    /// The agent.
    pub const fn agent(&self) -> Address {
        self.binding.agent
    }

    /// The agent's word, which everybody may see.
    pub const fn binding(&self) -> &KeyBinding {
        &self.binding
    }
}

/// The agents for which a server speaks. It is asked at each session that begins, so that words are renewed when they are needed.
pub trait Identities: Send + Sync {
    /// The present key and binding of this agent; `None` if the server does not speak for it. Called for each handshake.
    fn identity(&self, agent: &Address) -> Option<Arc<Identity>>;

    /// The time by which the words about keys expire.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Agents whose words never change: for programs that run for less than a day.
impl Identities for BTreeMap<Address, Arc<Identity>> {
    fn identity(&self, agent: &Address) -> Option<Arc<Identity>> {
        self.get(agent).cloned()
    }
}

impl From<Identity> for BTreeMap<Address, Arc<Identity>> {
    fn from(identity: Identity) -> Self {
        Self::from([(identity.agent(), Arc::new(identity))])
    }
}

/// Whom a client wants to reach, and by what it recognises it.
#[derive(Clone)]
pub struct Expected {
    /// The agent.
    pub agent: Address,
    /// What is known of it.
    pub recognition: Arc<dyn Recognition>,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// What a client knows of an agent, and by what it recognises it. It is asked at each connection.
#[async_trait]
pub trait Recognition: Send + Sync {
    /// The versions of the protocol that may be spoken with the agent. Version 1 among them means that whoever is on the way may
    /// choose it, and forge what is said then.
    async fn versions(&self) -> VersionRange;

    /// Checks the word about `key`, which the session has proved, and gives for how long the session may last.
    ///
    /// # Errors
    /// [`BindingError`]: the connection is left.
    async fn check(&self, key: &SessionKey, binding: &KeyBinding) -> Result<Duration, BindingError>;
}

/// A [`Recognition`] for programs that know the agent's operator and trust this machine's clock. It remembers the newest binding for
/// as long as it lives; keep [`newest`](Self::newest) to go on with it later.
#[derive(Debug)]
pub struct KnownAgent {
    agent: Address,
    operator: Option<Address>,
    domain: Domain,
    versions: VersionRange,
    newest: Mutex<Option<u64>>,
}

impl KnownAgent {
    /// The agent on this contract, with which version 2 is spoken and no other.
    pub fn new(agent: Address, domain: Domain) -> Self {
        let versions = session::VERSIONS;
        Self { agent, operator: None, domain, versions, newest: Mutex::default() }
    }

    /// Its operator, as the chain shows it.
    #[must_use]
    pub const fn operator(mut self, operator: Option<Address>) -> Self {
        self.operator = operator;
        self
    }

    /// The versions that may be spoken with it; see [`Recognition::versions`].
    #[must_use]
    pub const fn versions(mut self, versions: VersionRange) -> Self {
        self.versions = versions;
        self
    }

    /// [`KeyBinding::issued_at`] of the newest binding that was accepted before.
    #[must_use]
    pub fn seen(self, newest: Option<u64>) -> Self {
        Self { newest: Mutex::new(newest), ..self }
    }

    /// [`KeyBinding::issued_at`] of the newest binding accepted.
    pub fn newest(&self) -> Option<u64> {
        *self.newest.lock()
    }

    /// Whom to reach.
    pub fn expected(self) -> Expected {
        Expected { agent: self.agent, recognition: Arc::new(self) }
    }
}

#[async_trait]
impl Recognition for KnownAgent {
    async fn versions(&self) -> VersionRange {
        self.versions
    }

    async fn check(&self, key: &SessionKey, binding: &KeyBinding) -> Result<Duration, BindingError> {
        let now = SystemTime::now();
        let mut newest = self.newest.lock();
        let Self { agent, operator, domain, .. } = *self;
        binding.verify(key, &ExpectedKey { agent, operator, domain, now, newest: *newest })?;
        *newest = (*newest).max(Some(binding.remembered(now)));
        Ok(binding.expires().duration_since(now).unwrap_or_default())
    }
}
