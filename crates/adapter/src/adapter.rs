//! The trait that a plug-in implements.

use async_trait::async_trait;
use privatix_channel::{ChannelId, Usage};

use crate::{About, AdapterRefusal, Allowance, Configuration, Health, Provision, Provisioned, UsageReporter};

/// One service, sold or bought: what every plug-in implements, for either role or both.
///
/// A role makes an instance, configures it once, provisions each channel, and from then on names the state that it wants
/// a channel to be in:
///
/// ```mermaid
/// stateDiagram-v2
///     [*] --> Provisioned: provision
///     Provisioned --> Passing: start, resume
///     Provisioned --> Suspended: suspend
///     Passing --> Suspended: suspend
///     Suspended --> Passing: resume, start
///     Provisioned --> [*]: stop
///     Passing --> [*]: stop
///     Suspended --> [*]: stop
/// ```
///
/// Rules that each implementation keeps, and that the `conformance` kit checks:
///
/// - **Every call names a state, not a step**: made twice, it succeeds twice and has the effect of one. The last call wins.
///   A dropped (timed-out) call may have had its effect or not, and is repeated.
/// - **Only a passing channel passes and is metered**; a provisioned or suspended channel passes nothing. Suspending takes
///   effect before the call returns, but for what is already in a buffer.
/// - **Stop is final**: the channel's credentials are forgotten, its sessions end, the instance knows it no longer.
/// - **A sold channel is bounded from its provision on**, if the adapter enforces allowances at all. A bought one starts whatever
///   its seller does.
/// - A channel that is not known gets [`AdapterRefusal::UnknownChannel`], but for `stop`, which has nothing to do then.
/// - **Usage goes to the reporter** given in `configure`, as totals per session that never decrease. Sessions are the
///   adapter's notion (a tunnel, a login, a while of use); each has a fresh id, and a new instance begins with new ones. A
///   session of a service that is measured in seconds is reported at least every ten seconds while it runs: by the clock alone, a
///   client pays for half a minute.
/// - The instance keeps nothing on disk that it needs to go on: after a restart the role provisions its channels again.
#[async_trait]
pub trait Adapter: Send + Sync + 'static {
    /// What this adapter is. Constant for an instance.
    fn about(&self) -> About;

    /// Prepares to serve channels, e.g. listens on the service's port. Called before all else; once more with equal values
    /// it does nothing.
    ///
    /// # Errors
    /// [`AdapterRefusal::Settings`] for settings that cannot be used, [`AdapterRefusal::WrongRole`], [`AdapterRefusal::Unavailable`] when
    /// something that is needed is not there, e.g. a port in use.
    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal>;

    /// Makes a channel known. It passes nothing yet. Again with other values, the new ones count from then on; so does the bound
    /// of a sold channel, as if [`allow`](Self::allow) had named it.
    ///
    /// # Errors
    /// [`AdapterRefusal::Parameters`] for a counterparty's parameters that cannot be used.
    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal>;

    /// Lets a channel pass for the first time (in this instance). Names the same state as [`resume`](Self::resume).
    ///
    /// A buyer's returns once its own side accepts users, and does not wait for the seller: nothing may pass there before the first
    /// payment, which in turn comes only after this call.
    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal>;

    /// Cuts a channel off, at once, until it is resumed.
    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal>;

    /// Lets a channel pass again.
    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal>;

    /// Ends a channel's service for good and forgets it.
    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal>;

    /// Agent: holds a channel to `up_to` in all (counted from the `used` that it was provisioned with), as if it were
    /// suspended beyond. So unpaid service is bounded by the adapter itself, however fast the service and however slow the
    /// way of a report through billing and back. A later call moves the bound, up or down. Before the first one the bound of
    /// the [provision](Provision::Sell) counts; the role calls this before each start nevertheless, for adapters that do not read
    /// that one.
    ///
    /// An adapter that cannot do so keeps this default; the role then relies on [`suspend`](Self::suspend) alone.
    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        let _ = (channel, up_to);
        Ok(Allowance::NotEnforced)
    }

    /// Client: the channels whose seller cannot be reached by the access that they were provisioned with, as programs have tried for a
    /// while now without success. The role then asks the sellers whether they are elsewhere, and provisions the channels again with
    /// what is new. Asked every few seconds; must be quick.
    ///
    /// An adapter that cannot know it keeps this default.
    async fn unreached(&self) -> Vec<ChannelId> {
        Vec::new()
    }

    /// How the adapter is at present. Asked now and then; must be quick.
    async fn health(&self) -> Health;

    /// Ends all sessions (with their last report) and frees what the instance holds: ports, processes, tasks. Later calls
    /// get [`AdapterRefusal::ShutDown`], but for this one, which succeeds again.
    async fn shutdown(&self) -> Result<(), AdapterRefusal>;
}
