//! Access out: sealed to a key that the channel's client signed for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::B256;
use parking_lot::Mutex;
use privatix_channel::{ChannelDescriptor, ChannelId};
use privatix_market::{Agent, AgentEffect, AgentMessage, Effect, Input, Party as _, Reply, Why};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, Node, NodeError};
use privatix_offering::{
    AccessContext, AccessMessage, AccessRequest, DescribedAccessRequest, Endpoint, Password, RecipientKey,
    ReplayGuard, RequestError, SealedAccess, TemplateKind, Templates,
};
use privatix_somc::{CallerSession, NumberedAccess, Refusal};
use privatix_store::channels::{self, Channel};

use crate::messaging::unready;
use crate::runner::reply;
use crate::waiting::Waiting;

/// How far a request's time may be from ours, or from the chain's.
const MAX_AGE: Duration = Duration::from_mins(5);
/// When access may be asked for again that is not there yet.
const UNTIL_READY: Duration = Duration::from_secs(1);

pub(crate) struct AccessResponder {
    node: Arc<Node>,
    decider: Arc<Decider<Agent>>,
    guard: Mutex<ReplayGuard>,
    waiting: Arc<Waiting>,
}

impl AccessResponder {
    pub(crate) fn new(node: Arc<Node>, decider: Arc<Decider<Agent>>, waiting: Arc<Waiting>) -> Self {
        Self { node, decider, guard: Mutex::new(ReplayGuard::new(MAX_AGE)), waiting }
    }

    /// Waits until access that was refused as not ready may be, or will not be soon. `false` where nothing more can wait.
    pub(crate) async fn until_ready(&self, channel: ChannelId) -> bool {
        let is_seen = self.stored(channel).await.is_ok_and(|stored| stored.is_some());
        let Some(place) = self.waiting.enter(channel, is_seen) else { return false };
        loop {
            let mut changed = std::pin::pin!(place.changed());
            changed.as_mut().enable(); // before the look, so that no change falls between
            match self.readiness_of(channel).await {
                Ok(Readiness::Soon) => changed.await,
                Ok(Readiness::Ready | Readiness::Refused(_)) => return true,
                Err(_) => return false, // it is logged
            }
        }
    }

    pub(crate) async fn answer(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        let id = request.channel;
        let Some(channel) = self.stored(id).await? else {
            return Err(Refusal::UnknownChannel { channel: id });
        };
        let clocks = self.clocks();
        let check = |at| request.verify(&channel.descriptor, self.node.domain(), at, MAX_AGE);
        clocks.check(check).map_err(refusal(id))?;
        let AccessRequest { recipient, issued_at, .. } = request;
        let given = self.hand_over(id, channel.descriptor, Some(channel), (recipient, issued_at), clocks);
        given.await.map(|given| given.sealed)
    }

    /// The same in a session: the request shows whose channel it is, also before its opening was seen.
    pub(crate) async fn answer_described(
        &self,
        session: CallerSession,
        request: DescribedAccessRequest,
    ) -> Result<NumberedAccess, Refusal> {
        let id = self.described(&request);
        let descriptor = request.descriptor;
        if descriptor.agent != session.agent || descriptor.agent != self.node.account() {
            return Err(Refusal::UnknownChannel { channel: id });
        }
        let clocks = self.clocks();
        clocks.check(|at| request.verify(self.node.domain(), at, MAX_AGE)).map_err(refusal(id))?;
        let channel = self.stored(id).await?;
        let asked = (request.recipient, request.issued_at);
        self.hand_over(id, descriptor, channel, asked, clocks).await
    }

    /// The channel that a request describes.
    pub(crate) fn described(&self, request: &DescribedAccessRequest) -> ChannelId {
        request.channel(self.node.domain())
    }

    fn clocks(&self) -> Clocks {
        Clocks { ours: SystemTime::now(), chain: self.node.chain_now() }
    }

    /// Seals a channel's access for whoever has signed for it at this moment.
    async fn hand_over(
        &self,
        id: ChannelId,
        descriptor: ChannelDescriptor,
        channel: Option<Channel>,
        (recipient, issued_at): (RecipientKey, u64),
        clocks: Clocks,
    ) -> Result<NumberedAccess, Refusal> {
        if !descriptor.names_signer() {
            return Err(Refusal::NoSigner);
        }
        // A request that was captured costs no more than this.
        self.guard.lock().check_moment(id, issued_at).map_err(refusal(id))?;
        let Some(channel) = channel else { return Err(not_ready(None)) }; // its opening is yet to be seen
        match self.readiness(&channel).await? {
            Readiness::Ready => {}
            Readiness::Soon => return Err(not_ready(None)),
            Readiness::Refused(refusal) => return Err(refusal),
        }
        let offering = self.node.offering(descriptor.agent, descriptor.offering).await;
        let offering = offering.map_err(|error| internal(id, &error))?;
        let templates = self.node.templates();
        let Some(template) = access_template(templates, offering.message().template) else {
            let why = NodeError::Refused("no access template for the offering's product; add one".into());
            return Err(internal(id, &why));
        };

        let number = self.decide(id).await?;
        let Some(access) = self.stored(id).await?.and_then(|channel| channel.access) else {
            return Err(Refusal::not_ready(UNTIL_READY));
        };
        self.guard.lock().accept_moment(id, issued_at, clocks.earliest()).map_err(refusal(id))?;
        let message = AccessMessage {
            template,
            channel: id,
            username: access.username,
            password: Password::new(access.password),
            endpoint: Endpoint::new(access.endpoint),
        };
        let offering_template = offering.message().template;
        let context = AccessContext {
            descriptor,
            domain: *self.node.domain(),
            offering_template,
            operator: self.node.as_operator(),
        };
        let sealed = SealedAccess::seal(&message, recipient, &context, templates, self.node.signer())
            .map_err(|error| internal(id, &NodeError::Refused(error.to_string())))?;
        tracing::info!(channel = %id, "access handed over");
        Ok(NumberedAccess { sealed, access: number })
    }
}

/// The clocks by which a request may be recent: one of them suffices. So a wrong clock of this machine, or of the client's, keeps nobody
/// from access, as both see the chain's time. A request that somebody repeats is answered with what only the client can open; its age bounds
/// how often that happens, and for how long answers are remembered.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    ours: SystemTime,
    chain: Option<SystemTime>,
}

impl Clocks {
    /// Checks a request by our clock, or, where it is too old or too new by that, by the chain's.
    fn check(self, verify: impl Fn(SystemTime) -> Result<(), RequestError>) -> Result<(), RequestError> {
        match (verify(self.ours), self.chain) {
            (Err(stale @ RequestError::Stale { .. }), Some(chain)) => match verify(chain) {
                Err(RequestError::Stale { .. }) => Err(stale),
                verified => verified,
            },
            (verified, _) => verified,
        }
    }

    /// What is remembered of requests up to their age counts from here.
    fn earliest(self) -> SystemTime {
        self.chain.map_or(self.ours, |chain| chain.min(self.ours))
    }
}

impl AccessResponder {
    async fn stored(&self, id: ChannelId) -> Result<Option<Channel>, Refusal> {
        let mut conn = self.node.db().read().await.map_err(|error| internal(id, &error.into()))?;
        channels::find(&mut conn, id).await.map_err(|error| internal(id, &error.into()))
    }

    async fn readiness_of(&self, channel: ChannelId) -> Result<Readiness, Refusal> {
        match self.stored(channel).await? {
            Some(channel) => self.readiness(&channel).await,
            None => Ok(Readiness::Soon), // only one that described it waits
        }
    }

    /// How far access is, of a channel that is stored.
    async fn readiness(&self, channel: &Channel) -> Result<Readiness, Refusal> {
        let id = channel.id;
        let terminated = Ok(Readiness::Refused(Refusal::ServiceTerminated));
        if channel.access.is_none() && channel.service.is_ending() {
            return terminated;
        }
        let loaded = {
            let mut conn = self.node.db().read().await.map_err(|error| internal(id, &error.into()))?;
            self.decider.load(&mut conn, id).await
        };
        let stored = match loaded {
            Ok(stored) => stored,
            Err(NotApplied::NoState(_)) => return Ok(Readiness::Soon), // it is adopted at the start
            Err(error) => return Err(internal(id, &error.into())),
        };
        let input = Input::Peer(AgentMessage::Access);
        let decided = Agent::decide(&stored.state, &input, &self.decider.env_of(&stored));
        let reply = decided.ok().and_then(|decision| {
            decision.effects.into_iter().find_map(|effect| match effect {
                Effect::Own(AgentEffect::Answer(reply)) => Some(reply),
                _ => None,
            })
        });
        match reply {
            Some(Reply::Access) if channel.access.is_some() => Ok(Readiness::Ready),
            Some(Reply::Access) => Ok(Readiness::Soon), // it is stored in a moment
            Some(Reply::NotReady(why)) if unready(why).is_some() => {
                Ok(Readiness::Refused(not_ready(Some(why))))
            }
            Some(Reply::NotReady(_)) => Ok(Readiness::Soon),
            Some(Reply::NotOpen { closed: false }) => {
                Ok(Readiness::Refused(Refusal::UnknownChannel { channel: id }))
            }
            _ => terminated,
        }
    }

    /// Has the hand-over decided. Gives the number of the access.
    async fn decide(&self, id: ChannelId) -> Result<u32, Refusal> {
        let decided = self.decider.decide(id, Input::Peer(AgentMessage::Access)).await;
        let applied = decided.map_err(|error| internal(id, &error.into()))?;
        match reply(&applied) {
            Some(Reply::Access) => Ok(applied.state.own.access),
            Some(Reply::NotReady(why)) => Err(not_ready(Some(why))),
            Some(Reply::Ended(_) | Reply::NotOpen { closed: true }) => Err(Refusal::ServiceTerminated),
            Some(Reply::NotOpen { closed: false }) => Err(Refusal::UnknownChannel { channel: id }),
            other => {
                let why = format!("a request for access was answered by {other:?}");
                Err(internal(id, &NodeError::Refused(why)))
            }
        }
    }
}

/// How far access to a channel is.
#[derive(Debug)]
enum Readiness {
    Ready,
    /// For a reason that the client is not given: mostly it is being prepared.
    Soon,
    Refused(Refusal),
}

fn not_ready(why: Option<Why>) -> Refusal {
    Refusal::NotReady { retry_after: UNTIL_READY, reason: why.and_then(unready) }
}

/// The access template of the product that an offering template belongs to.
pub(crate) fn access_template(templates: &Templates, offering: B256) -> Option<B256> {
    let product = templates.get(&offering)?.product();
    templates
        .iter()
        .find(|template| template.kind() == TemplateKind::Access && template.product() == product)
        .map(|template| template.hash())
}

fn refusal(channel: ChannelId) -> impl Fn(RequestError) -> Refusal {
    move |error| {
        tracing::debug!(%channel, %error, "access refused");
        match error {
            RequestError::Stale { away, .. } => Refusal::Expired { away },
            RequestError::Replayed { .. } => Refusal::Replayed,
            RequestError::Data { .. } => Refusal::Malformed { reason: error.to_string() },
            _ => Refusal::WrongSigner,
        }
    }
}

fn internal(channel: ChannelId, error: &NodeError) -> Refusal {
    tracing::error!(%channel, %error, "access could not be handed over");
    Refusal::Internal
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What our clock and the chain's show, in minutes from the request's time; whether it is recent.
    #[test]
    fn fault_58_a_request_is_recent_by_either_clock() {
        let issued = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let verify = |at: SystemTime| {
            let away = at.duration_since(issued).unwrap_or_else(|error| error.duration());
            if away > MAX_AGE { Err(RequestError::Stale { away, max_age: MAX_AGE }) } else { Ok(()) }
        };
        let at = |minutes: i64| {
            let away = Duration::from_mins(minutes.unsigned_abs());
            if minutes < 0 { issued - away } else { issued + away }
        };
        for (ours, chain, is_recent) in [
            (0, None, true),
            (5, None, true),
            (6, None, false),
            (-6, None, false),
            (6, Some(6), false),
            (6, Some(5), true),
            (-600, Some(-5), true),
            (600, Some(0), true),
            (0, Some(600), true),
            (-6, Some(6), false),
        ] {
            let clocks = Clocks { ours: at(ours), chain: chain.map(at) };
            let checked = clocks.check(verify);
            assert_eq!(checked.is_ok(), is_recent, "{ours}, {chain:?}");
            if let Err(error) = checked {
                let away = Duration::from_mins(ours.unsigned_abs());
                assert_eq!(error, RequestError::Stale { away, max_age: MAX_AGE }, "by our clock");
            }
        }
        let clocks = Clocks { ours: at(0), chain: Some(at(-3)) };
        assert_eq!(clocks.earliest(), at(-3));
        let wrong = clocks.check(|_| Err(RequestError::WrongSigner { found: None }));
        assert_eq!(wrong, Err(RequestError::WrongSigner { found: None }));
    }
}
