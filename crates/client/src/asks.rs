//! What agents are asked on behalf of channels' states: jobs that wait for an answer until their time is over.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_channel::{ChannelDescriptor, ChannelId, SignedVoucher, Usage};
use privatix_db::{Conn, Database};
use privatix_jobs::{
    Backoff, Done, Handler, Job, JobContext, JobError, Lane, OrRetry as _, Policy, PushOptions,
};
use privatix_market::{Ask, Client, ClientMessage, ClientState, Fetched, Input, Uptime};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, NodeError, after, lanes};
use privatix_somc::Refusal;
use privatix_store::channels::{self, StoredAccess};
use privatix_store::states::Stored;
use serde::{Deserialize, Serialize};

use crate::answers::{Heard, Stands, Unheard, to_voucher, unheard, without_access};
use crate::deliveries::Outgoing;
use crate::peers::OFFLINE;
use crate::runner::{Asks, ClientRunner, Sending};

/// What a job asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The channel.
    pub channel: ChannelId,
    /// The number of the request.
    pub seq: u32,
    /// What for.
    pub what: Ask,
    /// Until when the answer is waited for.
    pub until: Uptime,
}

/// Job: ask the agent of a channel for access, or whether it is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AskPeer(pub Question);

/// Job: ask the agent of a channel for its offering's message. Anybody may have announced the address.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AskStranger(pub Question);

fn policy() -> Policy {
    Policy::default()
        // No number of tries: the channel's state gives the request up at its time, and a run after that only ends the job.
        .tries_without_end()
        .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_secs(15)))
}

macro_rules! question {
    ($job:ty, $kind:literal, $lane:expr) => {
        impl Job for $job {
            const KIND: &'static str = $kind;
            const LANE: Lane = $lane;

            /// Not the channel's: whoever waits for an answer must still be able to end the channel.
            fn subject(&self) -> String {
                format!("ask {}", self.0.channel)
            }

            fn policy() -> Policy {
                policy()
            }
        }

        #[async_trait]
        impl Handler<$job> for Asker {
            async fn run(&self, job: &$job, cx: JobContext) -> Result<Done, JobError> {
                self.ask(&job.0, cx).await
            }
        }
    };
}

question!(AskPeer, "ask_peer", lanes::PEERS);
question!(AskStranger, "ask_stranger", lanes::STRANGERS);

/// Access that an agent gave.
#[derive(Clone, Debug)]
pub struct GivenAccess {
    /// What it gave.
    pub access: StoredAccess,
    /// Its number; `None` by version 1 of the messages.
    pub number: Option<u32>,
}

/// The agents of channels.
#[async_trait]
pub trait Agents: Send + Sync {
    /// Asks for access to the channel's service.
    ///
    /// # Errors
    /// [`Unheard`].
    async fn access(&self, channel: &ChannelDescriptor) -> Result<GivenAccess, Unheard>;

    /// The terms of the channel's offering, whose message is stored, or asked for and then stored.
    ///
    /// # Errors
    /// [`Unheard`].
    async fn terms(&self, channel: &ChannelDescriptor) -> Result<Arc<Terms>, Unheard>;

    /// Proves the channel on the connection, and gives where it stands by the agent's books; `None` where nothing can be proved, because
    /// the agent talks in clear. By default it does.
    ///
    /// # Errors
    /// [`Unheard`].
    async fn attach(&self, channel: &ChannelDescriptor) -> Result<Option<Stands>, Unheard> {
        let _ = channel;
        Ok(None)
    }

    /// Sends a voucher, and this side's meter where the channel can be proved. Gives what the agent answers.
    ///
    /// # Errors
    /// [`Unheard`].
    async fn pay(
        &self,
        channel: &ChannelDescriptor,
        voucher: SignedVoucher,
        used: Usage,
    ) -> Result<Heard, Unheard>;

    /// Whether the user permits to contact the agent of a channel, as far as it is known. Nothing is sent. By default it is permitted.
    ///
    /// # Errors
    /// [`Unheard::NotPermitted`]; others show nothing about that.
    async fn permits(&self, channel: &ChannelDescriptor) -> Result<(), Unheard> {
        let _ = channel;
        Ok(())
    }

    /// Asks whether the agent is there.
    ///
    /// # Errors
    /// [`Unheard`].
    async fn ping(&self, channel: &ChannelDescriptor) -> Result<(), Unheard>;
}

/// Carries requests to the jobs that ask agents, and vouchers to the task that sends them.
#[derive(Clone, Debug)]
pub struct Asking {
    outgoing: Outgoing,
}

impl Asking {
    /// Requests whose vouchers go to the task behind `outgoing`.
    pub const fn new(outgoing: Outgoing) -> Self {
        Self { outgoing }
    }
}

#[async_trait]
impl Asks for Asking {
    async fn ask(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        seq: u32,
        what: Ask,
        until: Uptime,
    ) -> Result<(), NodeError> {
        let question = Question { channel: state.id, seq, what, until };
        let options = PushOptions::by("decision");
        match what {
            Ask::Offering => privatix_jobs::push(conn, &AskStranger(question), options).await?,
            _ => privatix_jobs::push(conn, &AskPeer(question), options).await?,
        };
        Ok(())
    }

    fn send(&self, channel: ChannelId, sending: Sending) {
        self.outgoing.send(channel, sending);
    }
}

/// Carries out the jobs that ask agents.
pub struct Asker {
    db: Database,
    decider: Arc<Decider<Client>>,
    runner: ClientRunner,
    agents: Arc<dyn Agents>,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("decider", &self.decider).finish_non_exhaustive()
    }
}

/// What came of a question.
enum Answer {
    Access(GivenAccess),
    Terms(Arc<Terms>),
    Message(ClientMessage),
    /// With the voucher that came with it.
    Carrying(ClientMessage, SignedVoucher),
}

impl Answer {
    fn of(message: ClientMessage, signed: Option<SignedVoucher>) -> Self {
        signed.map_or(Self::Message(message), |signed| Self::Carrying(message, signed))
    }
}

impl Asker {
    /// Asks for what this decider decides. `runner` carries out what follows from an answer that carries a voucher.
    pub fn new(
        db: Database,
        decider: Arc<Decider<Client>>,
        runner: ClientRunner,
        agents: Arc<dyn Agents>,
    ) -> Self {
        Self { db, decider, runner, agents }
    }

    async fn load(&self, conn: &mut Conn, channel: ChannelId) -> Result<Option<Stored<Client>>, NodeError> {
        match self.decider.load(conn, channel).await {
            Ok(stored) => Ok(Some(stored)),
            // One that is damaged asks again once it was repaired.
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask(&self, question: &Question, cx: JobContext) -> Result<Done, JobError> {
        let stored = {
            let mut conn = self.db.read().await.or_retry()?;
            self.load(&mut conn, question.channel).await.or_retry()?
        };
        let now = self.decider.outlook().uptime();
        let left = question.until.since(now);
        // What is asked too late is not asked: it shows nothing about the agent.
        let patience = left.saturating_sub(MARGIN);
        let Some(stored) = stored.filter(|stored| !patience.is_zero() && waits(&stored.state, question))
        else {
            return Ok(cx.done().await?);
        };
        let asked = tokio::time::timeout(patience, self.answer(question, &stored)).await;
        let answer = match asked.unwrap_or_else(|_| Err(too_late())) {
            Ok(answer) => answer,
            // It says when to ask again, and the request's time is not over then.
            Err(error) if early(&error).is_some_and(|wait| wait.saturating_add(MARGIN) < left) => {
                let wait = early(&error).unwrap_or_default();
                return Err(JobError::postpone(after(SystemTime::now(), wait), error));
            }
            Err(error) => {
                let refused = match question.what {
                    Ask::Access => without_access(&error, question.seq),
                    _ => unheard(&error, question.seq),
                };
                tracing::warn!(channel = %question.channel, what = ?question.what, %error, "the agent does not do what it was asked for");
                match (refused, error) {
                    (Some(message), _) => Answer::Message(message),
                    // It shows nothing about the agent, and the request's time is not over yet.
                    (None, Unheard::Ours(error @ NodeError::Offline { .. })) => {
                        let again = after(SystemTime::now(), OFFLINE.min(left));
                        return Err(JobError::postpone(again, error));
                    }
                    (None, error) => return Err(JobError::retry(error)),
                }
            }
        };
        self.report(question, answer, cx).await
    }

    async fn answer(&self, question: &Question, stored: &Stored<Client>) -> Result<Answer, Unheard> {
        let channel = &stored.state.descriptor;
        Ok(match (question.what, stored.voucher) {
            (Ask::Access, _) => Answer::Access(self.agents.access(channel).await?),
            (Ask::Offering, _) => Answer::Terms(self.agents.terms(channel).await?),
            (Ask::Attach, _) => match self.agents.attach(channel).await? {
                Some(Stands { acknowledged, carried, signed }) => {
                    Answer::of(ClientMessage::Known { acknowledged, carried }, signed)
                }
                None => Answer::Message(ClientMessage::InClear),
            },
            // Its repetition is what the agent answers by its books.
            (_, Some(voucher)) => {
                let sent = voucher.cumulative();
                let answer = self.agents.pay(channel, voucher, stored.state.counted()).await;
                match to_voucher(&answer, sent, question.seq) {
                    Some(message) => Answer::of(message, answer.ok().and_then(|heard| heard.signed())),
                    None => return Err(answer.err().unwrap_or_else(too_late)),
                }
            }
            (_, None) => {
                self.agents.ping(channel).await?;
                Answer::Message(ClientMessage::Pong)
            }
        })
    }

    /// Decides what was answered, in the transaction in which the job ends.
    async fn report(&self, question: &Question, answer: Answer, cx: JobContext) -> Result<Done, JobError> {
        let mut completion = cx.finish().await?;
        let before = self.load(&mut completion, question.channel).await.or_retry()?;
        // That an agent is silent is heard after the request's time, too.
        let is_silence = matches!(answer, Answer::Message(ClientMessage::Unanswered { .. }));
        let Some(before) = before.filter(|stored| is_silence || waits(&stored.state, question)) else {
            return Ok(completion.commit().await?); // it is not asked for any more
        };
        let mut runner = None;
        let input = match answer {
            Answer::Message(message) => Input::Peer(message),
            Answer::Carrying(message, signed) => {
                runner = Some(self.runner.adopting(signed));
                Input::Peer(message)
            }
            Answer::Terms(terms) => Input::Terms(terms),
            Answer::Access(GivenAccess { access, number }) => {
                let channel = question.channel;
                let stored = channels::get(&mut completion, channel).await.or_retry()?.access;
                let is_same = stored.as_ref() == Some(&access);
                if !is_same {
                    channels::set_access(&mut completion, channel, &access).await.or_retry()?;
                    let agent = before.state.descriptor.agent;
                    tracing::info!(%channel, %agent, is_first = stored.is_none(), "access received");
                }
                Input::Peer(ClientMessage::Access(Fetched { number, is_same }))
            }
        };
        let decided = match &runner {
            Some(runner) => self.decider.decide_in_with(&mut completion, &before, input, runner).await,
            None => self.decider.decide_in(&mut completion, &before, input).await,
        };
        let applied = decided.map_err(NodeError::from).or_retry()?;
        let done = self.decider.commit(&applied, completion.commit()).await?;
        if runner.is_some() {
            self.decider.mark(question.channel); // what depends on the stored voucher may be another
        }
        Ok(done)
    }
}

/// The time that an agent needs to prepare access, or to see the channel; `None` for any other answer.
fn early(error: &Unheard) -> Option<Duration> {
    let wait = match error {
        Unheard::Refused(Refusal::NotReady { retry_after, .. }) => *retry_after,
        Unheard::Refused(Refusal::UnknownChannel { .. }) => UNTIL_SEEN,
        _ => return None,
    };
    Some(wait.max(SHORTEST_WAIT))
}

/// When an agent is asked again that has yet to see the channel, which this side sees.
const UNTIL_SEEN: Duration = Duration::from_millis(300);
/// The shortest pause that an agent may ask for.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
/// How long before the end of its time a request is given up, so that what came of it is decided within it.
pub(crate) const MARGIN: Duration = Duration::from_secs(2);

/// Whether a question still waits for its answer.
fn waits(state: &ClientState, question: &Question) -> bool {
    state.own.requests.iter().any(|request| {
        (request.what, request.seq) == (question.what, question.seq) && request.until.is_some()
    })
}

pub(crate) fn too_late() -> Unheard {
    Unheard::Silent("it did not answer in time".to_owned())
}
