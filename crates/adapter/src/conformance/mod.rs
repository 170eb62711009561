//! The tests that every plug-in should pass (feature `conformance`).
//!
//! A plug-in's own test gives [`run`] a way to make adapters and a [`Driver`] that uses the real service as a client or a
//! user's program would; the kit makes the calls, tries to use the service in every state, and reads the usage reports:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use privatix_adapter::{Adapter, conformance::{self, Driver}};
//! # async fn test(new_adapter: impl Fn() -> Arc<dyn Adapter>, driver: impl Driver) {
//! conformance::run(new_adapter, &driver).await.unwrap();
//! # }
//! ```
//!
//! Each [`Check`] is made with a fresh adapter and fresh channels, so one that fails says nothing of the others.

mod checks;
mod rig;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_channel::{ChannelId, Usage};

use crate::{Adapter, Configuration, Provision, Provisioned};
use rig::Rig;

/// What became of an attempt to use the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// All of it passed; the service's meter should show this.
    Passed(Usage),
    /// None of it passed within the driver's patience; it may still pass when the channel is resumed.
    Blocked,
    /// None of it passed and it never will: the flow was cut.
    Broken,
}

/// One use of the service under way: a connection, a tunnel, a login.
#[async_trait]
pub trait Flow: Send {
    /// Tries to use about so much of the service (in its measure) and waits for the outcome, at most as long as a blocked use
    /// takes to be recognised. Once it answered [`Attempt::Blocked`], it is asked again only for whether it goes on: what it
    /// answers then is not compared with the meter.
    async fn pass(&mut self, amount: u64) -> Attempt;
}

/// Uses the service under test.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The configuration of every adapter under test. Several may live at once: take port 0.
    fn configuration(&self) -> Configuration;

    /// What to provision for `channel`; the same each time for the same channel. One for sale must have room for all that the
    /// checks use: [`Usage::MAX`] is the bound to name.
    async fn provision(&self, channel: ChannelId) -> Provision;

    /// What to provision for a bought channel that its seller serves nothing of. By default what is [bought](Self::provision) with
    /// another password, which the seller refuses.
    async fn provision_unserved(&self, channel: ChannelId) -> Provision {
        let mut provision = self.provision(channel).await;
        if let Provision::Buy { access, .. } = &mut provision {
            access.credentials.password = "not what the seller gave".into();
        }
        provision
    }

    /// Begins to use the service. `None` if it is refused: it does not answer, or the login fails.
    async fn open(&self, provision: &Provision, provisioned: &Provisioned) -> Option<Box<dyn Flow>>;

    /// How long after a use its report may arrive.
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// One rule of [`Adapter`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Check {
    /// `start`, `suspend` and `resume` of a channel that is not provisioned get [`UnknownChannel`](crate::AdapterRefusal::UnknownChannel); `stop` succeeds.
    UnknownChannelIsRefused,
    /// `configure` and `provision` with equal values succeed again, with the same answer.
    SetupIsIdempotent,
    /// A provisioned channel passes nothing before it is started.
    NothingPassesBeforeStart,
    /// A started channel, started once or twice, passes, and its meter shows exactly what passed.
    StartedChannelIsMetered,
    /// A suspended channel, suspended once or twice, passes and meters nothing, neither in flows under way nor in new ones.
    SuspendedChannelPassesNothing,
    /// A resumed channel, resumed once or twice, passes and is metered again.
    ResumedChannelPasses,
    /// Each report's total is at least the one before it, and its session stays the same.
    TotalsNeverDecrease,
    /// A stopped channel passes nothing and is not known; its sessions end; stopping it again succeeds.
    StopIsFinal,
    /// What is done to one channel leaves the others alone; usage is booked to the channel that used.
    ChannelsAreSeparate,
    /// After a restart (a new instance, configured and provisioned again) service goes on, in new sessions that begin at 0.
    RestartContinues,
    /// Shutting down ends all sessions and all service; it succeeds again; channels are refused from then on.
    ShutdownEndsAll,
    /// A sold channel that is provisioned with nothing left to use passes nothing after its start, and passes once it is allowed
    /// more. Not checked of an adapter that does not enforce allowances, nor of a buyer's.
    BoundHoldsFromProvision,
    /// A bought channel starts although its seller serves nothing. Not checked of a seller's adapter.
    BuyerStartsAlone,
    /// A provision for the other role than the configured one gets [`WrongRole`](crate::AdapterRefusal::WrongRole).
    WrongRoleIsRefused,
}

impl Check {
    /// All checks, in the order in which they are made.
    pub const ALL: [Self; 14] = [
        Self::UnknownChannelIsRefused,
        Self::SetupIsIdempotent,
        Self::NothingPassesBeforeStart,
        Self::StartedChannelIsMetered,
        Self::SuspendedChannelPassesNothing,
        Self::ResumedChannelPasses,
        Self::TotalsNeverDecrease,
        Self::StopIsFinal,
        Self::ChannelsAreSeparate,
        Self::RestartContinues,
        Self::ShutdownEndsAll,
        Self::BoundHoldsFromProvision,
        Self::BuyerStartsAlone,
        Self::WrongRoleIsRefused,
    ];
}

/// A check that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The rule.
    pub check: Check,
    /// What was seen instead.
    pub seen: String,
}

/// The checks that did not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct NotConforming(pub Vec<Failure>);

impl fmt::Display for NotConforming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the adapter breaks {} of {} rules:", self.0.len(), Check::ALL.len())?;
        self.0.iter().try_for_each(|failure| writeln!(f, "  {:?}: {}", failure.check, failure.seen))
    }
}

/// Makes all checks.
///
/// # Errors
/// Those that did not hold.
pub async fn run(
    new_adapter: impl Fn() -> Arc<dyn Adapter>,
    driver: &dyn Driver,
) -> Result<(), NotConforming> {
    let mut failures = Vec::new();
    for check in Check::ALL {
        let outcome = match Rig::new(&new_adapter, driver).await {
            Ok(mut rig) => {
                let outcome = checks::make(check, &mut rig).await;
                rig.dismantle().await;
                outcome
            }
            Err(seen) => Err(seen),
        };
        if let Err(seen) = outcome {
            failures.push(Failure { check, seen });
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(NotConforming(failures)) }
}
