//! An adapter that sells numbers out of thin air, sound or broken in one way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Weak};
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::conformance::{Attempt, Driver, Flow};
use privatix_adapter::{
    About, Access, Adapter, AdapterRefusal, Allowance, Configuration, Credentials, Health, ProductId,
    Provision, Provisioned, Role, SessionId, SessionReport, UsageReporter,
};
use privatix_channel::{ChannelId, Usage};
use serde_json::json;

const PASSWORD: &str = "secret";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    AcceptsUnknownChannels,
    RefusesStopOfUnknown,
    NewEndpointEachTime,
    ProvisionResets,
    PassesBeforeStart,
    RefusesSecondStart,
    MetersTooLittle,
    MetersTooMuch,
    NeverReports,
    SuspendDoesNothing,
    MetersWhileSuspended,
    ResumeToggles,
    StartDoesNotResume,
    ReportsDeltas,
    StopOnlySuspends,
    SessionsNeverEnd,
    SuspendsAll,
    BooksToFirstChannel,
    ReusesSessionIds,
    ShutdownDoesNothing,
    RefusesSecondShutdown,
    TakesAnyRole,
    PanicsOnResume,
    IgnoresTheBoundOfAProvision,
    StartsWithItsSellerOnly,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Provisioned,
    Passing,
    Suspended,
}

struct Channel {
    state: State,
    endpoint: String,
    /// What may be used in all, and what was.
    bound: Usage,
    used: Usage,
    /// Whether a bought channel's seller takes its login.
    is_served: bool,
    report: Option<SessionReport>,
}

#[derive(Default)]
struct Inner {
    role: Option<Role>,
    reporter: Option<UsageReporter>,
    channels: BTreeMap<ChannelId, Channel>,
    shut_down: bool,
}

pub(crate) struct Toy {
    fault: Option<Fault>,
    inner: Arc<Mutex<Inner>>,
}

type Place = (Weak<Mutex<Inner>>, Option<Fault>);

/// Finds the toy that an endpoint belongs to, as an address finds a server.
static ENDPOINTS: LazyLock<Mutex<HashMap<String, Place>>> = LazyLock::new(Mutex::default);

impl Toy {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, inner: Arc::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn set(&self, id: ChannelId, state: State) -> Result<(), AdapterRefusal> {
        let mut inner = self.inner.lock();
        if inner.shut_down {
            return Err(AdapterRefusal::ShutDown);
        }
        match inner.channels.get_mut(&id) {
            Some(channel) => channel.state = state,
            None if self.is(Fault::AcceptsUnknownChannels) => {}
            None => return Err(AdapterRefusal::UnknownChannel { channel: id }),
        }
        Ok(())
    }

    fn state(&self, id: ChannelId) -> Option<State> {
        self.inner.lock().channels.get(&id).map(|channel| channel.state)
    }

    fn end(&self, inner: &Inner, channel: &Channel) {
        if self.is(Fault::SessionsNeverEnd) {
            return;
        }
        if let (Some(reporter), Some(report)) = (&inner.reporter, &channel.report) {
            reporter.report(SessionReport { ended_at: Some(SystemTime::now()), ..report.clone() });
        }
    }
}

#[async_trait]
impl Adapter for Toy {
    fn about(&self) -> About {
        About {
            product: ProductId(uuid::Uuid::from_u128(1)),
            name: "toy".into(),
            version: "1".into(),
            roles: vec![Role::Agent, Role::Client],
        }
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        let mut inner = self.inner.lock();
        inner.role = Some(configuration.role);
        inner.reporter = Some(reporter);
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        let mut inner = self.inner.lock();
        if inner.role != Some(provision.role()) && !self.is(Fault::TakesAnyRole) {
            return Err(AdapterRefusal::WrongRole { role: provision.role() });
        }
        let id = provision.channel();
        if self.is(Fault::ProvisionResets) {
            inner.channels.remove(&id);
        }
        let fresh_endpoint = format!("{id}@{}", uuid::Uuid::now_v7());
        let channel = inner.channels.entry(id).or_insert_with(|| Channel {
            state: State::Provisioned,
            endpoint: fresh_endpoint.clone(),
            bound: Usage::MAX,
            used: Usage::ZERO,
            is_served: true,
            report: None,
        });
        match &provision {
            Provision::Sell { up_to, .. } if !self.is(Fault::IgnoresTheBoundOfAProvision) => {
                channel.bound = *up_to;
            }
            Provision::Sell { .. } => {}
            Provision::Buy { access, .. } => {
                channel.is_served = access.credentials.password.matches(PASSWORD.as_bytes());
            }
        }
        if self.is(Fault::NewEndpointEachTime) {
            channel.endpoint = fresh_endpoint;
        }
        ENDPOINTS.lock().insert(channel.endpoint.clone(), (Arc::downgrade(&self.inner), self.fault));
        Ok(Provisioned { endpoint: json!(channel.endpoint) })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        if self.is(Fault::StartsWithItsSellerOnly)
            && self.inner.lock().channels.get(&channel).is_some_and(|channel| !channel.is_served)
        {
            std::future::pending::<()>().await;
        }
        match self.state(channel) {
            Some(State::Passing) if self.is(Fault::RefusesSecondStart) => {
                Err(AdapterRefusal::Unavailable { reason: "already started".into(), remedy: "do not".into() })
            }
            Some(State::Suspended) if self.is(Fault::StartDoesNotResume) => Ok(()),
            _ => self.set(channel, State::Passing),
        }
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        if self.is(Fault::SuspendDoesNothing) {
            return self.state(channel).map(drop).ok_or(AdapterRefusal::UnknownChannel { channel });
        }
        if self.is(Fault::SuspendsAll) {
            self.inner.lock().channels.values_mut().for_each(|channel| channel.state = State::Suspended);
        }
        self.set(channel, State::Suspended)
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        assert!(!self.is(Fault::PanicsOnResume), "resume is broken");
        match self.state(channel) {
            Some(State::Passing) if self.is(Fault::ResumeToggles) => self.set(channel, State::Suspended),
            _ => self.set(channel, State::Passing),
        }
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        if self.is(Fault::StopOnlySuspends) {
            return self.set(channel, State::Suspended);
        }
        let mut inner = self.inner.lock();
        match inner.channels.remove(&channel) {
            Some(gone) => self.end(&inner, &gone),
            None if self.is(Fault::RefusesStopOfUnknown) => {
                return Err(AdapterRefusal::UnknownChannel { channel });
            }
            None => {}
        }
        Ok(())
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        let mut inner = self.inner.lock();
        let channel = inner.channels.get_mut(&channel).ok_or(AdapterRefusal::UnknownChannel { channel })?;
        channel.bound = up_to;
        Ok(Allowance::Enforced)
    }

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        let mut inner = self.inner.lock();
        if self.is(Fault::ShutdownDoesNothing) {
            return Ok(());
        }
        if self.is(Fault::RefusesSecondShutdown) && inner.shut_down {
            return Err(AdapterRefusal::ShutDown);
        }
        inner.shut_down = true;
        let channels = std::mem::take(&mut inner.channels);
        for channel in channels.values() {
            self.end(&inner, channel);
        }
        Ok(())
    }
}

pub(crate) struct ToyDriver {
    pub(crate) role: Role,
}

struct ToyFlow {
    endpoint: String,
}

#[async_trait]
impl Driver for ToyDriver {
    fn configuration(&self) -> Configuration {
        Configuration { role: self.role, settings: json!({}) }
    }

    async fn provision(&self, channel: ChannelId) -> Provision {
        let credentials = Credentials { username: channel.to_string(), password: PASSWORD.into() };
        match self.role {
            Role::Agent => {
                let (parameters, used, up_to) = (json!({}), Usage::ZERO, Usage::MAX);
                Provision::Sell { channel, credentials, parameters, used, up_to }
            }
            Role::Client => Provision::buy(channel, Access { endpoint: json!({}), credentials }),
        }
    }

    async fn open(&self, _: &Provision, provisioned: &Provisioned) -> Option<Box<dyn Flow>> {
        Some(Box::new(ToyFlow { endpoint: provisioned.endpoint.as_str()?.to_owned() }))
    }
}

#[async_trait]
impl Flow for ToyFlow {
    async fn pass(&mut self, amount: u64) -> Attempt {
        let Some((inner, fault)) = ENDPOINTS.lock().get(&self.endpoint).cloned() else {
            return Attempt::Broken;
        };
        let Some(inner) = inner.upgrade() else { return Attempt::Broken };
        let mut inner = inner.lock();
        let Some(reporter) = inner.reporter.clone() else { return Attempt::Broken };
        let first = inner.channels.keys().next().copied();
        let Some((&id, channel)) =
            inner.channels.iter_mut().find(|(_, channel)| channel.endpoint == self.endpoint)
        else {
            return Attempt::Broken;
        };
        let passes = match channel.state {
            State::Provisioned => fault == Some(Fault::PassesBeforeStart),
            State::Passing => channel.used < channel.bound,
            State::Suspended => false,
        };
        if !passes && fault != Some(Fault::MetersWhileSuspended) {
            return Attempt::Blocked;
        }
        let now = SystemTime::now();
        let session = if fault == Some(Fault::ReusesSessionIds) {
            SessionId(uuid::Uuid::from_u128(7))
        } else {
            SessionId::fresh()
        };
        let booked = if fault == Some(Fault::BooksToFirstChannel) { first.unwrap_or(id) } else { id };
        let report = channel.report.get_or_insert(SessionReport {
            channel: booked,
            session,
            peer: None,
            started_at: now,
            total: Usage::ZERO,
            last_usage: now,
            ended_at: None,
        });
        let metered = match fault {
            Some(Fault::MetersTooLittle) => amount / 2,
            Some(Fault::MetersTooMuch) => amount + 1,
            _ => amount,
        };
        report.total = report.total.saturating_add(Usage::new(metered));
        report.last_usage = now;
        let mut told = report.clone();
        if fault == Some(Fault::ReportsDeltas) {
            told.total = Usage::new(metered);
        }
        if fault != Some(Fault::NeverReports) {
            reporter.report(told);
        }
        if passes {
            channel.used = channel.used.saturating_add(Usage::new(amount));
        }
        if passes { Attempt::Passed(Usage::new(amount)) } else { Attempt::Blocked }
    }
}
