//! What is wanted of services, by the stored states of their channels, and where the plug-in's answers go: [`Decided`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use privatix_adapter::{Provision, Provisioned, Role};
use privatix_channel::ChannelId;
use privatix_db::{Conn, Database};
use privatix_market::{Actual, Answered, Input, Party, Side, State};
use privatix_store::states::Stored;

use super::{Bound, Driven, Request, Wanted};
use crate::shell::{Applied, NotApplied};
use crate::{Decider, NodeError};

/// What one side makes the channels known with to its plug-in.
#[async_trait]
pub trait Provisions<P: Party>: Send + Sync + 'static {
    /// As [`Driven::provision`], with the channel's state.
    ///
    /// # Errors
    /// As of [`Driven::provision`].
    async fn provision(&self, state: &State<P>) -> Result<Provision, NodeError>;

    /// As [`Driven::provisioned`].
    ///
    /// # Errors
    /// As of [`Driven::provision`].
    async fn provisioned(&self, provision: &Provision, provisioned: &Provisioned) -> Result<(), NodeError>;

    /// An answer shows that the plug-in knows the channel: stores what was only prepared, in the transaction that decides the answer.
    /// Returns whether it takes the place of what the other side may have. By default there is no such thing.
    ///
    /// # Errors
    /// [`NodeError`] rolls it back, and the call is made again.
    async fn known(&self, conn: &mut Conn, state: &State<P>) -> Result<bool, NodeError> {
        let _ = (conn, state);
        Ok(false)
    }

    /// An answer was decided and committed, and the state is this one. By default nothing is done about it.
    fn committed(&self, state: &State<P>) {
        let _ = state;
    }
}

/// What is wanted of the services of one side, by the stored states of their channels, and where the plug-in's answers go.
pub struct Decided<P: Party, S> {
    db: Database,
    decider: Arc<Decider<P>>,
    provisions: S,
}

impl<P: Party, S> fmt::Debug for Decided<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decided").field("decider", &self.decider).finish_non_exhaustive()
    }
}

impl<P: Party, S: Provisions<P>> Decided<P, S> {
    /// The services of channels that this decider decides about.
    pub const fn new(db: Database, decider: Arc<Decider<P>>, provisions: S) -> Self {
        Self { db, decider, provisions }
    }

    /// What is wanted of the service by this state.
    fn wanted_by(&self, state: &State<P>, revision: u64) -> Wanted {
        let (service, outlook) = (P::service(&state.own), self.decider.outlook());
        let now = outlook.uptime();
        Wanted {
            target: service.target,
            actual: service.actual(outlook.instance()),
            asked: service.asked.map(|asked| Request {
                seq: asked.seq,
                left: asked.until.since(now),
                afresh: service.afresh,
            }),
            bound: P::bound(state).map(|up_to| Bound { revision, up_to }),
        }
    }

    /// Has decided whether the plug-in holds a service to its bound.
    async fn bound(&self, channel: ChannelId, holds: bool) {
        match self.decider.decide(channel, Input::Bounded(holds)).await {
            Ok(_) | Err(NotApplied::NoState(_)) => {}
            Err(error) => tracing::error!(%channel, %error, "a bound that is not held could not be decided"),
        }
    }
}

#[async_trait]
impl<P: Party, S: Provisions<P>> Driven for Decided<P, S> {
    type Stored = Stored<P>;
    type Applied = Option<Applied<P>>;

    fn side(&self) -> Role {
        match P::SIDE {
            Side::Agent => Role::Agent,
            Side::Client => Role::Client,
        }
    }

    /// Not a channel of which something cannot be read: its looks name it, and it asks again once it was repaired.
    async fn load(&self, conn: &mut Conn, channel: ChannelId) -> Result<Option<Stored<P>>, NodeError> {
        match self.decider.load(conn, channel).await {
            Ok(stored) => Ok(Some(stored)),
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn wanted(&self, stored: &Stored<P>) -> Wanted {
        self.wanted_by(&stored.state, stored.revision)
    }

    async fn provision(&self, channel: ChannelId) -> Result<Provision, NodeError> {
        let state = {
            let mut conn = self.db.read().await?;
            self.decider.load(&mut conn, channel).await?.state
        };
        self.provisions.provision(&state).await
    }

    async fn provisioned(&self, provision: &Provision, provisioned: &Provisioned) -> Result<(), NodeError> {
        self.provisions.provisioned(provision, provisioned).await
    }

    async fn report(
        &self,
        conn: &mut Conn,
        before: &Stored<P>,
        seq: u32,
        answer: Answered,
    ) -> Result<(Self::Applied, Wanted), NodeError> {
        let answer = match answer {
            Answered::Did(actual @ (Actual::Suspended | Actual::Running))
                if self.provisions.known(conn, &before.state).await? =>
            {
                Answered::Moved(actual)
            }
            answer => answer,
        };
        match self.decider.decide_in(conn, before, Input::Adapter { seq, answer }).await {
            Ok(applied) => {
                let wanted = self.wanted_by(&applied.state, applied.revision);
                Ok((Some(applied), wanted))
            }
            Err(NotApplied::Refused(refused)) => {
                tracing::error!(channel = %before.state.id, %refused, "an answer of the plug-in is refused; report this as an error of the program");
                Ok((None, self.wanted(before)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn committed(&self, applied: Self::Applied) {
        if let Some(applied) = applied {
            self.provisions.committed(&applied.state);
            self.decider.committed(&applied);
        }
    }

    fn exhausted(&self, channel: ChannelId) {
        self.decider.mark(channel); // a look writes, so it waits for that commit
    }

    async fn unbounded(&self, channel: ChannelId) {
        tracing::error!(%channel, "the plug-in does not take a lower bound: what it serves beyond is not paid");
        self.bound(channel, false).await;
    }

    async fn bounded(&self, channel: ChannelId) {
        tracing::info!(%channel, "the plug-in holds the service to its bound again");
        self.bound(channel, true).await;
    }
}
