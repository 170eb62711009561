//! What the client decides about the offerings that agents announce: [`OfferingDecisions`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256};
use parking_lot::Mutex;
use privatix_channel::ChainTime;
use privatix_db::{Conn, Database};
use privatix_jobs::PushOptions;
use privatix_market::offering::{
    Answer, OfferingEffect, OfferingEnv, OfferingInput, OfferingPolicy, OfferingState, Ownership, Presence,
    Shown, Source, Unlisted, decide, wake,
};
use privatix_market::{Uptime, Wake};
use privatix_node::{NodeError, Outlook, Stood};
use privatix_store::offering_states::{self, Key, Loaded, PAGE, Stored, Waits};
use privatix_store::offerings;
use privatix_store::states::Saved;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ask::AskOffering;
use crate::peers::OFFLINE;

/// How many agents are asked at once, at most: fewer than the lane for strangers has workers, so that whoever has opened a channel with
/// an agent whose offering is missing waits for none of them.
pub const AT_ONCE: u32 = 12;
/// How many offerings are looked at in one transaction: few, as payments wait for its end.
const TOGETHER: usize = 16;
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The pause while no jobs run, or after an error.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// What [`OfferingDecisions`] are made of.
#[derive(Clone)]
pub struct OfferingDecisionsParts {
    /// The database.
    pub db: Database,
    /// The clocks.
    pub outlook: Arc<dyn Outlook>,
    /// How often agents are asked, and what is shown.
    pub policy: OfferingPolicy,
    /// Wakes the job processor.
    pub jobs: privatix_jobs::Wake,
    /// Whether jobs run: in a recovery they wait for the chain.
    pub jobs_run: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for OfferingDecisionsParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferingDecisionsParts").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Decides about the offerings that agents announce, each from its stored state, and looks at those whose time has come.
///
/// The first [`AT_ONCE`] whose time has come are asked for; each answer makes room for the next one.
pub struct OfferingDecisions {
    parts: OfferingDecisionsParts,
    /// Until when nobody is asked, since this side was not on the network.
    offline: Mutex<Option<Uptime>>,
    /// The address of an agent, which a client has none of.
    source: Source,
    /// A state was stored.
    changed: Notify,
}

impl std::fmt::Debug for OfferingDecisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferingDecisions").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// How an offering stands, for lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visibility {
    /// When its agent last sent its message.
    pub seen_at: Option<SystemTime>,
    /// Why it is not shown to users, if it is not.
    pub unlisted: Option<Unlisted>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// When the message came, if it did.
    pub(super) at: Option<SystemTime>,
    /// Whether this side is on the network, if the request has shown it.
    pub(super) is_online: Option<bool>,
}

impl OfferingDecisions {
    /// Decisions of these parts.
    pub fn new(parts: OfferingDecisionsParts) -> Self {
        let source = Source { kind: 0, address: String::new() };
        Self { parts, offline: Mutex::default(), source, changed: Notify::new() }
    }

    /// The node's uptime.
    pub(super) fn uptime(&self) -> Uptime {
        self.parts.outlook.uptime()
    }

    /// For how long nobody is asked, since this side is not on the network.
    fn offline_for(&self, now: Uptime) -> Duration {
        let until = *self.offline.lock();
        until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// Surroundings in which nobody is asked.
    fn env(&self) -> OfferingEnv<'_> {
        let uptime = self.uptime();
        let mut env = OfferingEnv::new(uptime, &self.source, &self.parts.policy);
        let chain = self.parts.outlook.chain();
        (env.now, env.fresh) = (chain.now, chain.fresh);
        env.reachable = self.parts.outlook.is_reachable() && self.offline_for(uptime).is_zero();
        env.may_ask = false;
        env
    }

    /// How many more agents may be asked now.
    async fn room(&self, conn: &mut Conn) -> Result<u32, NodeError> {
        if !(self.parts.jobs_run)() {
            return Ok(0);
        }
        Ok(AT_ONCE.saturating_sub(offering_states::under_way(conn).await?))
    }

    /// How each of these offerings stands. One that has no state yet is shown.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn visibility(
        &self,
        conn: &mut Conn,
        keys: &[Key],
    ) -> Result<BTreeMap<Key, Visibility>, NodeError> {
        let env = self.env();
        let states = offering_states::load_all(conn, keys).await?;
        Ok(states
            .into_iter()
            .filter_map(|(key, loaded)| {
                let stored = whole(key, loaded)?;
                let unlisted = stored.state.unlisted(&env);
                Some((key, Visibility { seen_at: stored.seen_at, unlisted }))
            })
            .collect())
    }

    /// Decides about offerings that the chain shows otherwise than before, in the transaction that stores the news. After the commit,
    /// call [`committed`](Self::committed).
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn on_chain(&self, conn: &mut Conn, stood: Stood) -> Result<(), NodeError> {
        let keys: Vec<Key> = stood.offerings.keys().copied().collect();
        let mut shown = offerings::shown_of(conn, &keys).await?;
        let mut room = self.room(conn).await?;
        for (key, before) in stood.offerings {
            let shown = shown.remove(&key).unwrap_or_default();
            match before {
                Some(loaded) if shown.presence != Presence::Draft => {
                    let Some(before) = whole(key, loaded) else { continue };
                    self.decide(conn, &before, OfferingInput::Chain(shown), None, &mut room).await?;
                }
                None if shown.presence == Presence::OnMarket => {
                    self.begin(conn, key, shown, &mut room).await?;
                }
                // With its events, a reorganisation took its state.
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    async fn begin(&self, conn: &mut Conn, key: Key, shown: Shown, room: &mut u32) -> Result<(), NodeError> {
        let state = OfferingState::foreign(key.0, key.1);
        if offering_states::create(conn, &state, Wake::default(), None).await?
            && let Some(mut before) = find(conn, key).await?
        {
            // It is loaded with what the chain shows now, which is news.
            before.state = state;
            self.decide(conn, &before, OfferingInput::Chain(shown), None, room).await?;
        }
        Ok(())
    }

    /// Whether the answer to this request is waited for.
    pub(super) async fn waits(&self, conn: &mut Conn, key: Key, seq: u32) -> Result<bool, NodeError> {
        let stored = find(conn, key).await?;
        Ok(stored.is_some_and(|stored| match &stored.state.ownership {
            Ownership::Foreign(foreign) => foreign.asked.is_some_and(|asked| asked.seq == seq),
            Ownership::Own(_) => false,
        }))
    }

    /// Decides about an answer, in the transaction in which its job ends. After the commit, call [`committed`](Self::committed).
    pub(super) async fn answered(
        &self,
        conn: &mut Conn,
        key: Key,
        seq: u32,
        Answered { answer, at, is_online }: Answered,
    ) -> Result<(), NodeError> {
        if let Some(is_online) = is_online {
            *self.offline.lock() = (!is_online).then(|| self.uptime().plus(OFFLINE));
        }
        let Some(before) = find(conn, key).await? else { return Ok(()) };
        // Whoever waits longer is next.
        self.decide(conn, &before, OfferingInput::Peer { seq, answer }, at, &mut 0).await
    }

    /// Informs those who wait of a commit.
    pub fn committed(&self) {
        self.parts.jobs.wake();
        self.changed.notify_one();
    }

    /// Decides an input and stores what follows. A request takes from the room.
    async fn decide(
        &self,
        conn: &mut Conn,
        before: &Stored,
        input: OfferingInput,
        seen_at: Option<SystemTime>,
        room: &mut u32,
    ) -> Result<(), NodeError> {
        let mut env = self.env();
        env.may_ask = *room > 0;
        let decision = decide(&before.state, &input, &env)
            .map_err(|refused| NodeError::Refused(format!("offering {}: {refused}", before.state.hash)))?;
        let after = decision.state;
        let due = wake(&after, &env);
        let seen_at = seen_at.or(before.seen_at);
        if offering_states::save(conn, before, &after, due, seen_at).await? == Saved::Moved {
            // It was loaded in this transaction.
            let reason = format!("offering {} changed while it was decided about", after.hash);
            return Err(NodeError::TaskEnded { task: "decisions about offerings", reason });
        }
        for effect in decision.effects {
            if let OfferingEffect::Ask { seq, until } = effect {
                *room = room.saturating_sub(1);
                let job = AskOffering { agent: after.agent, offering: after.hash, seq, until };
                privatix_jobs::push(conn, &job, PushOptions::by("decision")).await?;
            }
        }
        Ok(())
    }

    /// Looks at offerings whose time has come, until `stop`. At its start, those are asked for again whose message could not be had: the
    /// settings, or what kept this node from their agents, may have changed.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut is_begun = false;
        while !stop.is_cancelled() {
            let round = async {
                if !is_begun {
                    self.ask_again(stop).await?;
                }
                self.round(stop).await
            };
            let pause = match round.await {
                Ok(pause) => {
                    is_begun = true;
                    pause
                }
                Err(error) => {
                    tracing::error!(%error, "offerings whose time has come are not asked for yet; trying again");
                    SHORT_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round of looks. Returns the time until the next one.
    async fn round(&self, stop: &CancellationToken) -> Result<Duration, NodeError> {
        let now = self.uptime();
        // Requests whose time is over make room.
        self.look_at_due(Waits::ForAnswer, now, stop).await?;
        let offline = self.offline_for(now);
        let (runs, is_reachable) = ((self.parts.jobs_run)(), self.parts.outlook.is_reachable());
        let asks = runs && is_reachable && offline.is_zero();
        let is_full = !asks || self.look_at_due(Waits::ForTime, now, stop).await?;
        let over = Wake { uptime: Some(now), chain: Some(ChainTime::new(u64::MAX)) };
        let db = &self.parts.db;
        let mut next = offering_states::next(&mut *db.read().await?, Waits::ForAnswer, over).await?.uptime;
        if !is_full {
            let idle = offering_states::next(&mut *db.read().await?, Waits::ForTime, over).await?.uptime;
            next = next.into_iter().chain(idle).min();
        }
        let mut pause = next.map_or(LONGEST_PAUSE, |at| at.since(self.uptime()));
        if !offline.is_zero() {
            pause = pause.min(offline);
        }
        if !(runs && is_reachable) {
            pause = pause.min(SHORT_PAUSE);
        }
        Ok(pause.min(LONGEST_PAUSE))
    }

    /// Looks at the offerings whose time has come, the longest due first; of those that wait for a time, as long as there is room to ask.
    /// Returns whether there is no room left.
    async fn look_at_due(
        &self,
        waits: Waits,
        now: Uptime,
        stop: &CancellationToken,
    ) -> Result<bool, NodeError> {
        let mut after = None;
        while !stop.is_cancelled() {
            let page = {
                let mut conn = self.parts.db.read().await?;
                offering_states::due_by_uptime(&mut conn, waits, now, after).await?
            };
            for some in page.chunks(TOGETHER) {
                if self.look_at(some, waits).await? {
                    return Ok(true);
                }
            }
            after = page.last().copied();
            if page.len() < PAGE {
                break;
            }
        }
        Ok(false)
    }

    /// Looks at offerings in one transaction. Returns whether there is no room to ask for one of them.
    async fn look_at(&self, due: &[(Uptime, Key)], waits: Waits) -> Result<bool, NodeError> {
        let mut tx = self.parts.db.begin().await?;
        let mut room = self.room(&mut tx).await?;
        let mut is_full = false;
        for (_, key) in due {
            if waits == Waits::ForTime && room == 0 {
                is_full = true;
                break;
            }
            if let Some(before) = find(&mut tx, *key).await? {
                self.decide(&mut tx, &before, OfferingInput::Look, None, &mut room).await?;
            }
        }
        tx.commit().await?;
        self.parts.jobs.wake();
        Ok(is_full)
    }

    /// Has those asked for again whose message could not be had before this start.
    async fn ask_again(&self, stop: &CancellationToken) -> Result<(), NodeError> {
        // Those whose time has come are asked for anyway.
        let mut after = Some((self.uptime(), (Address::repeat_byte(0xff), B256::repeat_byte(0xff).into())));
        while !stop.is_cancelled() {
            let page = {
                let mut conn = self.parts.db.read().await?;
                offering_states::due_by_uptime(&mut conn, Waits::ForTime, Uptime::MAX, after).await?
            };
            for some in page.chunks(TOGETHER) {
                let mut tx = self.parts.db.begin().await?;
                for (_, key) in some {
                    if let Some(before) = find(&mut tx, *key).await? {
                        self.decide(&mut tx, &before, OfferingInput::Started, None, &mut 0).await?;
                    }
                }
                tx.commit().await?;
            }
            after = page.last().copied();
            if page.len() < PAGE {
                break;
            }
        }
        Ok(())
    }
}

async fn find(conn: &mut Conn, key: Key) -> Result<Option<Stored>, NodeError> {
    Ok(offering_states::load(conn, key).await?.and_then(|loaded| whole(key, loaded)))
}

/// The state, if it can be read. Nothing is decided about one that cannot, and it keeps no other from it.
fn whole((agent, offering): Key, loaded: Loaded) -> Option<Stored> {
    match loaded {
        Loaded::Whole(stored) => Some(*stored),
        Loaded::Damaged(unreadable) => {
            let remedy = unreadable.remedy();
            tracing::error!(%offering, %agent, %unreadable, remedy, "nothing is decided about the offering");
            None
        }
    }
}
