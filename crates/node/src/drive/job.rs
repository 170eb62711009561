//! The jobs that bring services to their targets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{self as adapter, Call as HostCall, Host, Provision};
use privatix_channel::{ChannelId, Usage};
use privatix_db::Database;
use privatix_jobs::{
    Backoff, Done, Duplicates, Effects, Failure, Handler, Job, JobContext, JobError, Lane, OrRetry as _,
    Policy,
};
use privatix_market::{Actual, Answered, Target};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::calls::{Call, Watch};
use super::meaning::{Meaning, meaning};
use super::next::{Late, Look, Next, next};
use super::steps::{Step, reached, steps, to};
use super::{Bounds, Calls, Driven, Wanted};
use crate::{NodeError, lanes};

/// Job: bring a channel's service to its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drive {
    /// The channel.
    pub channel: ChannelId,
}

/// Job: the rest of a [`Drive`] that takes long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveSlowly {
    /// The channel.
    pub channel: ChannelId,
}

/// Apart from the channel's other jobs: a top-up that waits for ether delays no suspension.
fn subject(channel: ChannelId) -> String {
    format!("service {channel}")
}

/// What may fail a try is the database.
fn policy() -> Policy {
    Policy::default()
        .tries(TRIES)
        .backoff(Backoff::exponential(Duration::from_millis(500), Duration::from_secs(20)))
        .timeout(LONGEST_RUN)
        .duplicates(Duplicates::RefusedWhilePending)
}

/// How many runs of a job may fail before its request is given up.
const TRIES: u32 = 10;
/// Longer than the time that any request has.
const LONGEST_RUN: Duration = Duration::from_mins(10);
/// How often the newest call is tried once more after one that was dropped, if it fails.
const TRIES_TO_MAKE_SURE: u32 = 3;

impl Job for Drive {
    const KIND: &'static str = "drive";
    const LANE: Lane = lanes::SERVICE;

    fn subject(&self) -> String {
        subject(self.channel)
    }

    fn policy() -> Policy {
        policy()
    }
}

impl Job for DriveSlowly {
    const KIND: &'static str = "drive_slowly";
    const LANE: Lane = lanes::SERVICE_SLOW;

    fn subject(&self) -> String {
        subject(self.channel)
    }

    fn policy() -> Policy {
        policy()
    }
}

/// Carries out [`Drive`] and [`DriveSlowly`]. Cheap to clone.
pub struct Driver<D>(Arc<Parts<D>>);

struct Parts<D> {
    db: Database,
    host: Arc<Host>,
    driven: Arc<D>,
    calls: Calls,
    bounds: Bounds,
    instance: watch::Receiver<u64>,
    /// Held from what a bought channel is provisioned with until where it is served is stored: each must see what the others got.
    buying: tokio::sync::Mutex<()>,
}

/// What came of the calls that lead to a target.
pub(super) enum Outcome {
    Did(Actual),
    /// The plug-in answered that it does not do this.
    Refused(NodeError),
    /// It did not answer, or could not be asked. `late`: until when the call may still take effect.
    NoAnswer {
        error: NodeError,
        late: Option<Instant>,
    },
}

/// An answer that is reported.
struct Answer {
    /// What was called for; `None` where only the request of this number is answered.
    target: Option<Target>,
    seq: Option<u32>,
    what: Answered,
}

impl Answer {
    const fn of(call: &Call, what: Answered) -> Self {
        Self { target: Some(call.target), seq: call.seq, what }
    }

    const fn given_up(seq: u32) -> Self {
        Self { target: None, seq: Some(seq), what: Answered::GaveUp }
    }
}

impl<D> Clone for Driver<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D> fmt::Debug for Driver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("host", &self.0.host).finish_non_exhaustive()
    }
}

#[async_trait]
impl<D: Driven> Handler<Drive> for Driver<D> {
    async fn run(&self, job: &Drive, cx: JobContext) -> Result<Done, JobError> {
        let hand_over_at = later(self.0.calls.times().slow_after);
        self.drive(job.channel, cx, Some(hand_over_at)).await
    }

    async fn when_exhausted(&self, job: &Drive, _: &Failure, fx: &mut Effects<'_>) -> Result<(), JobError> {
        self.give_up(job.channel, fx).await
    }
}

#[async_trait]
impl<D: Driven> Handler<DriveSlowly> for Driver<D> {
    async fn run(&self, job: &DriveSlowly, cx: JobContext) -> Result<Done, JobError> {
        self.drive(job.channel, cx, None).await
    }

    async fn when_exhausted(
        &self,
        job: &DriveSlowly,
        _: &Failure,
        fx: &mut Effects<'_>,
    ) -> Result<(), JobError> {
        self.give_up(job.channel, fx).await
    }
}

impl<D: Driven> Driver<D> {
    /// Drives the services of `host`. `instance` counts the lives of the adapter, and is the same for `bounds`.
    pub fn new(
        db: Database,
        host: Arc<Host>,
        driven: Arc<D>,
        calls: Calls,
        bounds: Bounds,
        instance: watch::Receiver<u64>,
    ) -> Self {
        let buying = tokio::sync::Mutex::default();
        Self(Arc::new(Parts { db, host, driven, calls, bounds, instance, buying }))
    }

    /// Makes the calls that lead to what is wanted, and ends the job with their outcome.
    async fn drive(
        &self,
        channel: ChannelId,
        cx: JobContext,
        hand_over_at: Option<Instant>,
    ) -> Result<Done, JobError> {
        let parts = &*self.0;
        let mut watch = parts.calls.watch(channel);
        let mut instance = parts.instance.clone();
        let mut paused: Option<(Target, Instant)> = None;
        let mut tries_to_make_sure = 0;
        loop {
            let changed = Arc::clone(&watch.changed);
            let mut changed = std::pin::pin!(changed.notified());
            changed.as_mut().enable(); // before the look, so that no change falls between
            let life = *instance.borrow_and_update();
            let stored = {
                let mut conn = parts.db.read().await.or_retry()?;
                parts.driven.load(&mut conn, channel).await.or_retry()?
            };
            let Some(stored) = stored else {
                watch.call = None;
                return Ok(cx.done().await?);
            };
            let wanted = parts.driven.wanted(&stored);
            watch.drop_call_unless(&wanted, life);
            let now = Instant::now();
            // What is requested again has its first try at once.
            paused = paused.filter(|(target, until)| *target == wanted.target && *until > now);
            let late = watch.late();
            let look = Look {
                asked: wanted.asked,
                is_under_way: watch.call.is_some(),
                is_paused: paused.is_some(),
                late: late.map(|late| if late <= now { Late::Over } else { Late::Possible }),
                is_slow: hand_over_at.is_none(),
            };
            match next(&look) {
                Next::GiveUp { seq } => return self.end(cx, watch, Some(Answer::given_up(seq))).await,
                Next::Begin { seq } => watch.call = Some(self.begin(channel, &wanted, seq, life)),
                Next::Wait => {}
                Next::HandOver => return self.hand_over(cx, watch).await,
                Next::End => return self.end(cx, watch, None).await,
            }
            let give_up_at = wanted.asked.map(|request| later(request.left));
            // A look after a pause, and after the time of a dropped call.
            let look_at = paused.map(|(_, until)| until).or(late).filter(|_| watch.call.is_none());
            let outcome = tokio::select! {
                biased;
                () = cx.cancelled().cancelled() => {
                    watch.drop_call();
                    return Err(JobError::retry("the job was interrupted"));
                }
                outcome = outcome(&mut watch.call) => outcome,
                () = &mut changed => continue,
                Ok(()) = instance.changed() => continue,
                () = at(hand_over_at) => return self.hand_over(cx, watch).await,
                () = at(give_up_at) => continue,
                () = at(look_at) => continue,
            };
            let Some(call) = watch.call.take() else { continue };
            let is_for_another = wanted.asked.is_some() && wanted.target != call.target;
            let is_asked = wanted.asked.is_some() || call.seq.is_some();
            match outcome {
                Outcome::NoAnswer { error, late } => {
                    tracing::warn!(%channel, target = ?call.target, %error, "the plug-in has not answered");
                    if let Some(until) = late {
                        watch.dropped(until);
                    }
                    paused = Some((call.target, later(parts.calls.times().pause)));
                }
                Outcome::Did(_) | Outcome::Refused(_) if is_for_another => continue,
                Outcome::Did(actual) => {
                    watch.accepted();
                    if is_asked {
                        return self.end(cx, watch, Some(Answer::of(&call, Answered::Did(actual)))).await;
                    }
                    watch.made_sure();
                    continue;
                }
                Outcome::Refused(error) => {
                    tracing::warn!(%channel, target = ?call.target, %error, "the plug-in refused");
                    if is_asked {
                        watch.refused(call.target);
                        return self.end(cx, watch, Some(Answer::of(&call, Answered::Refused))).await;
                    }
                    paused = Some((call.target, later(parts.calls.times().pause)));
                }
            }
            if call.seq.is_none() {
                tries_to_make_sure = u32::saturating_add(tries_to_make_sure, 1);
                if tries_to_make_sure >= TRIES_TO_MAKE_SURE {
                    tracing::error!(%channel, target = ?call.target, "a call that was dropped may have taken effect late: look at what the plug-in serves");
                    watch.made_sure();
                }
            }
        }
    }

    /// Ends the job with an answer, in the transaction that shows whether something is left to be done.
    async fn end(&self, cx: JobContext, watch: Watch, answer: Option<Answer>) -> Result<Done, JobError> {
        let (parts, channel) = (&*self.0, watch.channel);
        let is_late = watch.late().is_some();
        drop(watch); // what it leaves is for the next job, which may begin as soon as this one is committed
        let mut completion = cx.finish().await?;
        let stored = parts.driven.load(&mut completion, channel).await.or_retry()?;
        let mut wanted = stored.as_ref().map(|stored| parts.driven.wanted(stored));
        let mut applied = None;
        if let (Some(Answer { target, seq, what }), Some(stored)) = (answer, &stored) {
            // All that is asked for goes through here, so that the call which leads to a target answers the newest request for it.
            let newest =
                wanted.filter(|wanted| target == Some(wanted.target)).and_then(|wanted| wanted.asked);
            let newest = newest.filter(|request| request.is_led_to_by(seq));
            if let Some(seq) = newest.map(|request| request.seq).or(seq) {
                let (reported, now) =
                    parts.driven.report(&mut completion, stored, seq, what).await.or_retry()?;
                (applied, wanted) = (Some(reported), Some(now));
            }
        }
        match wanted {
            Some(Wanted { asked: Some(_), target, .. }) => {
                parts.calls.ask(&mut completion, channel, target).await.or_retry()?;
            }
            _ if is_late => {
                completion.push(&DriveSlowly { channel }).await?;
            }
            _ => {}
        }
        let done = completion.commit().await?;
        if let Some(applied) = applied {
            parts.driven.committed(applied).await;
        }
        Ok(done)
    }

    /// Leaves the rest to the other lane, with the call that is under way.
    async fn hand_over(&self, cx: JobContext, watch: Watch) -> Result<Done, JobError> {
        let channel = watch.channel;
        drop(watch); // before the other job can begin
        let mut completion = cx.finish().await?;
        completion.push(&DriveSlowly { channel }).await?;
        Ok(completion.commit().await?)
    }

    /// The job has failed for good.
    async fn give_up(&self, channel: ChannelId, fx: &mut Effects<'_>) -> Result<(), JobError> {
        let driven = &self.0.driven;
        let stored = match driven.load(fx, channel).await {
            // Nothing is decided about the channel until it is repaired.
            Err(error) if error.is_damage() => return Ok(()),
            stored => stored.or_retry()?,
        };
        let Some(stored) = stored else { return Ok(()) };
        if let Some(request) = driven.wanted(&stored).asked {
            driven.report(fx, &stored, request.seq, Answered::GaveUp).await.or_retry()?;
            driven.exhausted(channel);
        }
        Ok(())
    }

    /// Begins the calls that lead to what is wanted.
    fn begin(&self, channel: ChannelId, wanted: &Wanted, seq: Option<u32>, instance: u64) -> Call {
        let Wanted { target, actual, bound, asked } = *wanted;
        if asked.is_some_and(|request| request.afresh) {
            self.0.bounds.forget(channel);
        }
        if let Some(bound) = bound {
            self.0.bounds.set(channel, bound);
        }
        let until = Arc::new(Mutex::new(Instant::now()));
        let path = Path { parts: Arc::clone(&self.0), channel, instance, until: Arc::clone(&until) };
        let made = async move {
            let Err(error) = path.to(target, actual, seq.is_none()).await else {
                return Outcome::Did(reached(target));
            };
            match meaning(target, &error) {
                Meaning::Reached => Outcome::Did(reached(target)),
                Meaning::Refused => Outcome::Refused(error),
                Meaning::NoAnswer { late } => Outcome::NoAnswer { error, late: late.map(later) },
                // It knew the channel a moment ago: it was restarted.
                Meaning::Unknown => Outcome::NoAnswer { error, late: None },
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(made.in_current_span()));
        Call { target, seq, instance, until, task }
    }
}

/// Calls to the plug-in about a channel.
struct Path<D> {
    parts: Arc<Parts<D>>,
    channel: ChannelId,
    instance: u64,
    /// Until when the call under way may be answered.
    until: Arc<Mutex<Instant>>,
}

impl<D: Driven> Path<D> {
    /// Makes the calls that lead to a target. To make sure, the last of them is enough.
    async fn to(&self, target: Target, actual: Actual, makes_sure: bool) -> Result<(), NodeError> {
        let is_known = self.parts.bounds.is_given(self.channel, self.instance);
        match self.take(steps(target, actual, is_known)).await {
            // A plug-in that was restarted, or never knew the channel.
            Err(error) if meaning(target, &error) == Meaning::Unknown => match target {
                Target::Absent => {
                    self.parts.bounds.forget(self.channel);
                    Ok(())
                }
                Target::Suspended | Target::Running if makes_sure => Ok(()), // it is not served
                Target::Suspended | Target::Running => self.take(to(target)).await,
            },
            done => done,
        }
    }

    async fn take(&self, steps: &[Step]) -> Result<(), NodeError> {
        for step in steps {
            self.step(*step).await?;
        }
        Ok(())
    }

    /// Sets the time of the next call.
    fn limit(&self, call: HostCall) {
        *self.until.lock() = later(self.parts.host.timeouts().of(call));
    }

    async fn step(&self, step: Step) -> Result<(), NodeError> {
        let Parts { host, bounds, .. } = &*self.parts;
        let channel = self.channel;
        match step {
            Step::Provision => return self.provision().await,
            Step::Allow => {
                self.limit(HostCall::Allow);
                bounds.send(channel).await?;
            }
            Step::Start => {
                self.limit(HostCall::Start);
                host.start(channel).await?;
            }
            Step::Suspend => {
                self.limit(HostCall::Suspend);
                host.suspend(channel).await?;
            }
            Step::Stop => {
                self.limit(HostCall::Stop);
                host.stop(channel).await?;
                bounds.forget(channel);
            }
        }
        Ok(())
    }

    async fn provision(&self) -> Result<(), NodeError> {
        let Parts { host, bounds, driven, buying, .. } = &*self.parts;
        let _turn = match driven.side() {
            adapter::Role::Client => Some(buying.lock().await),
            adapter::Role::Agent => None,
        };
        let provision = driven.provision(self.channel).await?;
        let up_to = match &provision {
            Provision::Sell { up_to, .. } => *up_to,
            Provision::Buy { .. } => Usage::MAX,
        };
        self.limit(HostCall::Provision);
        let provisioned = host.provision(provision.clone()).await?;
        driven.provisioned(&provision, &provisioned).await?;
        bounds.given(self.channel, self.instance, up_to);
        Ok(())
    }
}

/// The outcome of the call under way; never without one.
async fn outcome(call: &mut Option<Call>) -> Outcome {
    let Some(call) = call else { return std::future::pending().await };
    (&mut call.task).await.unwrap_or_else(|failed| {
        let reason = failed.to_string();
        Outcome::NoAnswer { error: NodeError::TaskEnded { task: "call to the plug-in", reason }, late: None }
    })
}

fn later(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// Completes at that time; never without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
