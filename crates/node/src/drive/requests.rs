//! What is decided about a service, on its way to the job that asks the plug-in: [`Requests`].

use async_trait::async_trait;
use privatix_channel::ChannelId;
use privatix_db::Conn;
use privatix_market::{Party, State, Target};

use super::{Bound, Bounds, Calls};
use crate::NodeError;

/// Asks the service adapter for what a channel's state wants.
#[async_trait]
pub trait Drives<P: Party>: Send + Sync {
    /// Stores that the channel's service is to be brought to this target, by the request of this number. An earlier request of the
    /// channel ends with it.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn drive(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        seq: u32,
        target: Target,
    ) -> Result<(), NodeError>;

    /// A state was committed, as of this revision: what it wants of the service, and how much may be used, counts from now on.
    /// By default nothing is done about it.
    fn committed(&self, state: &State<P>, revision: u64) {
        let _ = (state, revision);
    }
}

/// Carries what is decided to the job that asks the plug-in, and bounds to the task that sends them.
#[derive(Clone, Debug)]
pub struct Requests {
    calls: Calls,
    bounds: Bounds,
}

impl Requests {
    /// Requests on their way to a driver of these calls and bounds.
    pub const fn new(calls: Calls, bounds: Bounds) -> Self {
        Self { calls, bounds }
    }
}

#[async_trait]
impl<P: Party> Drives<P> for Requests {
    async fn drive(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        _: u32,
        target: Target,
    ) -> Result<(), NodeError> {
        self.calls.ask(conn, channel, target).await // the request of this number is stored with the state
    }

    fn committed(&self, state: &State<P>, revision: u64) {
        if let Some(up_to) = P::bound(state) {
            self.bounds.set(state.id, Bound { revision, up_to });
        }
        self.calls.changed(state.id);
    }
}
