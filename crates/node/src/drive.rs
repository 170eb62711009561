//! Brings services to their targets: the job [`Drive`], and the bounds that go to the plug-in beside it ([`Bounds`]).
//!
//! A decision of `market` names a target and a request with a number and a deadline. The job makes the calls to the plug-in that
//! lead there, reports what came of them, and ends in the transaction that finds nothing more to do. What is wanted is read afresh
//! at each change, which is notified and never polled:
//!
//! - **A stricter target drops the call that is under way**, and the stricter call is made at once. A plug-in in another process may
//!   finish a dropped call later, after the stricter one. So the newest call is made once more, when the time that the dropped one
//!   had is over.
//! - **A place of the lane is held for [some seconds](Times::slow_after) at most.** Then the rest of the work goes on in a lane for
//!   what is slow, with the call that is under way: one channel whose calls hang keeps no other waiting.
//! - **Every request gets an answer.** What the plug-in refuses is reported as refused, and asked again after a pause. What it has
//!   not answered at the deadline is given up. A job that is cancelled reports nothing: the deadline does.
//! - **Nothing is stored about the plug-in.** What it has received counts for its present life only (`instance`), and a service that
//!   an earlier life ran is made known again.

mod bounds;
mod calls;
mod decided;
mod job;
mod meaning;
mod next;
mod reach;
mod requests;
mod steps;

use std::time::Duration;

use async_trait::async_trait;
use privatix_adapter::{Provision, Provisioned, Role};
use privatix_channel::{ChannelId, Usage};
use privatix_db::Conn;
use privatix_market::{Actual, Answered, Target};

pub use bounds::Bounds;
pub use calls::Calls;
pub use decided::{Decided, Provisions};
pub use job::{Drive, DriveSlowly, Driver};
pub use reach::follow_reach;
pub use requests::{Drives, Requests};

use crate::NodeError;

/// What is wanted of services, and where answers go: implemented over the stored states of a role's channels.
#[async_trait]
pub trait Driven: Send + Sync + 'static {
    /// What is stored of a channel, as it was loaded for one decision.
    type Stored: Send + Sync;
    /// What a report leads to after its commit.
    type Applied: Send;

    /// Which side the services are of.
    fn side(&self) -> Role;

    /// What is stored of a channel. `None` if that is nothing from which something could be decided.
    ///
    /// # Errors
    /// [`NodeError`]: it is asked again.
    async fn load(&self, conn: &mut Conn, channel: ChannelId) -> Result<Option<Self::Stored>, NodeError>;

    /// What is wanted of the channel's service now.
    fn wanted(&self, stored: &Self::Stored) -> Wanted;

    /// What to make the channel known with. The same credentials each time, once the other side may have them.
    ///
    /// # Errors
    /// [`NodeError`]: no call is made. If it is [temporary](NodeError::is_temporary) it is tried again until the deadline; if not,
    /// the request counts as refused.
    async fn provision(&self, channel: ChannelId) -> Result<Provision, NodeError>;

    /// The plug-in knows the channel: where it serves it is to be stored, with what it was made known with. For bought channels,
    /// nothing else is provisioned between [`provision`](Self::provision) and this.
    ///
    /// # Errors
    /// [`NodeError`]: as of [`provision`](Self::provision).
    async fn provisioned(&self, provision: &Provision, provisioned: &Provisioned) -> Result<(), NodeError>;

    /// Decides the plug-in's answer to the request of this number, in the transaction in which the job ends and the channel was loaded.
    /// Returns what is wanted after it. An answer to an earlier request must do no harm.
    ///
    /// # Errors
    /// [`NodeError`] rolls it back, and the call is made again.
    async fn report(
        &self,
        conn: &mut Conn,
        stored: &Self::Stored,
        seq: u32,
        answer: Answered,
    ) -> Result<(Self::Applied, Wanted), NodeError>;

    /// A report was committed. Not called if the process dies at that moment, nor for the report of a job that has failed for good.
    async fn committed(&self, applied: Self::Applied);

    /// The report of a job that has failed for good is about to be committed: the channel is to be looked at after that.
    fn exhausted(&self, channel: ChannelId);

    /// The plug-in did not take a lower bound in time: the service is to be suspended.
    async fn unbounded(&self, channel: ChannelId);

    /// The plug-in holds the service to its bound again, or does not know the channel any more.
    async fn bounded(&self, channel: ChannelId);
}

/// What is wanted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it should do.
    pub target: Target,
    /// What it does, as far as it was reported in the present life of the plug-in.
    pub actual: Actual,
    /// The request that was not answered yet. Without one, nothing is to be done.
    pub asked: Option<Request>,
    /// The bound of a sold service; `None` for a bought one, which is bounded by what is signed.
    pub bound: Option<Bound>,
}

/// A request to the plug-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub seq: u32,
    /// How much of its time is left.
    pub left: Duration,
    /// Whether the plug-in is to be made to know the channel again first: by calls that are begun for this request, and no earlier ones.
    pub afresh: bool,
}

impl Request {
    /// Whether calls that were begun for the request of this number lead to this one, too.
    fn is_led_to_by(&self, seq: Option<u32>) -> bool {
        !self.afresh || seq == Some(self.seq)
    }
}

/// The bound of a sold service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The revision of the state that it comes from. Of two bounds the one of the higher revision counts.
    pub revision: u64,
    /// How much may be used in all.
    pub up_to: Usage,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// How long a job holds a place of its lane before the rest of its work goes to the lane for what is slow.
    pub slow_after: Duration,
    /// The pause after a call without an answer. After a refusal the pauses double from here on.
    pub pause: Duration,
    /// The longest pause after a refusal. Well below the time of a request, or it would end in the pause.
    pub longest_pause: Duration,
    /// How long the plug-in has to take a lower bound.
    pub stop_within: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            slow_after: Duration::from_secs(5),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            stop_within: Duration::from_mins(1),
        }
    }
}
