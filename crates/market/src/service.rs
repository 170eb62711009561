//! What a service should do, and what it does.

use privatix_channel::ServiceStatus;
use serde::{Deserialize, Serialize};

use crate::Uptime;

/// What the service should do and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Service {
    /// What is wanted.
    pub target: Target,
    /// Why nothing more is wanted; `None` while it should run.
    pub why: Option<Why>,
    /// What the adapter reported last.
    pub actual: Actual,
    /// Since when `actual` has its value.
    pub since: Uptime,
    /// The life of the adapter in which it reported that.
    pub instance: u64,
    /// What the adapter was asked for and has not answered.
    pub asked: Option<Asked>,
    /// The most that it may do while [`actual`](Self::actual) is [`Unknown`](Actual::Unknown): it did no more before, and was asked
    /// for no more in vain. `None`: it may run.
    pub at_most: Option<Target>,
    /// Whether the adapter is to be made to know the channel again, as what it knows it with has changed. A service that runs goes on
    /// meanwhile.
    pub afresh: bool,
}

impl Default for Service {
    fn default() -> Self {
        let (target, actual) = (Target::Absent, Actual::Absent);
        let why = Some(Why::NotOpen);
        let (since, instance) = (Uptime::default(), 0);
        Self { target, why, actual, since, instance, asked: None, at_most: None, afresh: false }
    }
}

impl Service {
    /// What the service does. A new life of the adapter knows nothing of what an earlier one ran; what is gone stays gone.
    pub fn actual(&self, instance: u64) -> Actual {
        match self.actual {
            Actual::Absent => Actual::Absent,
            _ if self.instance == instance => self.actual,
            _ => Actual::Unknown,
        }
    }

    /// Whether it may do more than a suspended service: it is not known that it does not run.
    pub(crate) fn may_serve(&self, instance: u64) -> bool {
        match self.actual(instance) {
            Actual::Absent | Actual::Suspended => false,
            Actual::Unknown => self.actual != Actual::Unknown || self.at_most.is_none(),
            Actual::Running | Actual::Lost => true,
        }
    }

    /// The most that it may do after a request for `target` that was not answered: that may have been done, and may still be. `None`:
    /// it may run.
    pub(crate) fn at_most_after(&self, target: Target) -> Option<Target> {
        let rests = match self.actual {
            Actual::Absent | Actual::Suspended => true,
            Actual::Unknown => self.at_most.is_some(),
            Actual::Running | Actual::Lost => false,
        };
        (rests && target < Target::Running).then_some(Target::Suspended)
    }

    /// Whether nothing is to be asked of the adapter. What has changed for it is only given to a service that is to run.
    pub(crate) fn is_as_wanted(&self, instance: u64) -> bool {
        let is_outdated = self.afresh && self.target == Target::Running;
        self.actual(instance).is(self.target) && !is_outdated
    }

    /// Whether it may run now, or is to.
    pub fn may_run(&self) -> bool {
        self.target == Target::Running || !matches!(self.actual, Actual::Absent | Actual::Suspended)
    }

    /// Where it stands, in the words of lists and of the API. `prepared`: the adapter has known it; `over`: nothing starts it again;
    /// `instance`: the adapter's present life.
    ///
    /// | | wanted | does | |
    /// | --- | --- | --- | --- |
    /// | over | anything | absent | terminated |
    /// | over | anything | anything else | terminating |
    /// | not prepared yet | anything | anything | pending |
    /// | prepared | to run | runs | active |
    /// | prepared | to run | anything else | activating |
    /// | prepared | anything else | suspended, absent | suspended |
    /// | prepared | anything else | anything else | suspending |
    pub fn status(&self, prepared: bool, over: bool, instance: u64) -> ServiceStatus {
        match (over, prepared, self.target, self.actual(instance)) {
            (true, _, _, Actual::Absent) => ServiceStatus::Terminated,
            (true, ..) => ServiceStatus::Terminating,
            (false, false, ..) => ServiceStatus::Pending,
            (false, true, Target::Running, Actual::Running) => ServiceStatus::Active,
            (false, true, Target::Running, _) => ServiceStatus::Activating,
            (false, true, Target::Absent | Target::Suspended, Actual::Absent | Actual::Suspended) => {
                ServiceStatus::Suspended
            }
            (false, true, Target::Absent | Target::Suspended, _) => ServiceStatus::Suspending,
        }
    }

    /// Since when nothing more is served: the service is absent, or the adapter was given up.
    pub fn gone_since(&self) -> Option<Uptime> {
        matches!(self.actual, Actual::Absent | Actual::Lost).then_some(self.since)
    }
}

/// What a service should do. A stricter target is a lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Unknown to the adapter.
    Absent,
    /// Known, and not served.
    Suspended,
    /// Served.
    Running,
}

/// Why a service is not to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// It has ended.
    Ended,
    /// The channel is not open on chain.
    NotOpen,
    /// The client asked to close the channel.
    Closing,
    /// The terms of its offering are not known here.
    NoTerms,
    /// The view of the chain is stale.
    StaleView,
    /// The contract holds something that the channel's events do not explain.
    Unexplained,
    /// The account could not pay for the channel's close.
    NoGas,
    /// It is being prepared: known to the adapter first.
    Opening,
    /// The operator holds it.
    Held,
    /// The adapter does not hold it to what is paid.
    Unbounded,
    /// The user paused it.
    Paused,
    /// The agent has not given access to it yet.
    NoAccess,
    /// This database came back from a backup, and the agent claims more than what it shows as signed.
    Claimed,
    /// More is unpaid than agreed.
    Unpaid,
    /// The deposit is used up, and not paid in full.
    DepositReached,
    /// The deposit is used and paid: a top-up is waited for.
    DepositSpent,
    /// The usage limit is reached.
    MaxUnitsReached,
}

impl Why {
    /// Whether the client is the reason: only then counts the suspension as too long.
    pub const fn is_clients(self) -> bool {
        matches!(self, Self::Unpaid | Self::DepositReached | Self::MaxUnitsReached)
    }

    /// Whether this side's view of the chain is the reason.
    pub const fn is_of_the_view(self) -> bool {
        matches!(self, Self::StaleView | Self::Unexplained)
    }
}

/// What a service does, as its adapter reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actual {
    /// Not asked since the adapter's start.
    Unknown,
    /// Unknown to the adapter.
    Absent,
    /// Known, and not served.
    Suspended,
    /// Served.
    Running,
    /// The adapter did not stop it in time. For the channel's money it counts as ended; it may go on, so the adapter is asked again
    /// until it has stopped it.
    Lost,
}

impl Actual {
    /// Whether this is what the target asks for.
    pub const fn is(self, target: Target) -> bool {
        matches!(
            (self, target),
            (Self::Absent, Target::Absent)
                | (Self::Suspended, Target::Suspended)
                | (Self::Running, Target::Running)
        )
    }
}

/// A request to the service adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Its number.
    pub seq: u32,
    /// What it asks for.
    pub target: Target,
    /// When the adapter is given up.
    pub until: Uptime,
}
