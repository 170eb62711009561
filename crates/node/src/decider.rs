//! Who decides about the channels of one side: [`Decider`].

mod agenda;
mod schedule;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::{ChannelId, Domain, Phase};
use privatix_db::{Conn, Database};
use privatix_jobs::Wake;
use privatix_market::{Concern, Decision, Env, Input, Party};
use privatix_store::states::{self, Due, Stored};
use tokio::sync::Notify;

use crate::inputs::{Decided, Inputs, Surroundings};
use crate::outlook::Outlook;
use crate::shell::{Applied, NotApplied, Runner, Shell, Transactions};
use crate::{Concerns, Damage, Node, NodeError};

use self::agenda::{Agenda, Now};

/// What a [`Decider`] is made of.
pub struct DeciderParts<P: Party> {
    /// The database.
    pub db: Database,
    /// Chain, contract, token.
    pub domain: Domain,
    /// Where transactions go.
    pub transactions: Arc<dyn Transactions>,
    /// Carries effects out.
    pub runner: Arc<dyn Runner<P>>,
    /// What is known beside the states.
    pub outlook: Arc<dyn Outlook>,
    /// What the operator set.
    pub policy: P::Policy,
    /// Wakes the job processor.
    pub jobs: Wake,
    /// Where channels are shown of which something cannot be read.
    pub damage: Damage,
    /// Where channels are kept whose money is endangered.
    pub concerns: Concerns,
}

impl<P: Party> std::fmt::Debug for DeciderParts<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeciderParts").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl<P: Party> DeciderParts<P> {
    /// Those of a node.
    pub fn of(
        node: &Arc<Node>,
        runner: Arc<dyn Runner<P>>,
        outlook: Arc<dyn Outlook>,
        policy: P::Policy,
    ) -> Self {
        Self {
            db: node.db().clone(),
            domain: *node.domain(),
            transactions: Arc::<Node>::clone(node),
            runner,
            outlook,
            policy,
            jobs: node.wake.clone(),
            damage: node.damage().clone(),
            concerns: node.concerns().clone(),
        }
    }
}

/// Decides about the channels of one side, each from its stored state, and looks at those whose time has come.
///
/// An input is decided in a transaction of its own by [`decide`](Self::decide), or in the caller's: [`load`](Self::load) before
/// anything of the channel is written, [`decide_in`](Self::decide_in), commit, and [`committed`](Self::committed).
pub struct Decider<P: Party> {
    db: Database,
    shell: Shell<Arc<dyn Transactions>>,
    runner: Arc<dyn Runner<P>>,
    outlook: Arc<dyn Outlook>,
    policy: P::Policy,
    jobs: Wake,
    damage: Damage,
    concerns: Concerns,
    /// The channels of which this has found that something cannot be read.
    damaged: Mutex<HashSet<ChannelId>>,
    agenda: Mutex<Agenda>,
    /// The agenda has something earlier.
    changed: Notify,
}

impl<P: Party> std::fmt::Debug for Decider<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decider").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl<P: Party> Decider<P> {
    /// A decider of these parts.
    pub fn new(parts: DeciderParts<P>) -> Self {
        let DeciderParts { db, domain, transactions, runner, outlook, policy, jobs, damage, concerns } =
            parts;
        let shell = Shell::new(transactions, domain);
        let (damaged, agenda, changed) = (Mutex::default(), Mutex::default(), Notify::new());
        Self { db, shell, runner, outlook, policy, jobs, damage, concerns, damaged, agenda, changed }
    }

    /// What the operator set.
    pub const fn policy(&self) -> &P::Policy {
        &self.policy
    }

    /// What is known beside the states.
    pub fn outlook(&self) -> &dyn Outlook {
        &*self.outlook
    }

    /// The state of a channel, for a decision in the caller's transaction.
    ///
    /// # Errors
    /// As [`Shell::load`].
    pub async fn load(&self, conn: &mut Conn, channel: ChannelId) -> Result<Stored<P>, NotApplied> {
        self.shell.load(conn, channel).await
    }

    /// Decides an input in a transaction of its own, and carries out what follows.
    ///
    /// Cancellation: dropped before its end, it may have been committed or not. What follows a commit is done in any case, by a look at
    /// the channel.
    ///
    /// # Errors
    /// [`NotApplied`]: nothing was stored.
    pub async fn decide(&self, channel: ChannelId, input: Input<P>) -> Result<Applied<P>, NotApplied> {
        self.decide_with(channel, input, &*self.runner).await
    }

    /// [`decide`](Self::decide) with a runner of this input, which has what the input came with.
    ///
    /// # Errors
    /// As [`decide`](Self::decide).
    pub async fn decide_with(
        &self,
        channel: ChannelId,
        input: Input<P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        let unsure = Unsure { decider: self, channels: &[channel] };
        let env = |stored: &Stored<P>| self.env_of(stored);
        let decided = self.shell.commit(&self.db, channel, input, &env, runner).await;
        unsure.settle();
        match &decided {
            Ok(applied) => self.committed(applied),
            Err(error) => self.note_damage(channel, error),
        }
        decided
    }

    /// Whether a channel is decided from a stored state.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn decides(&self, channel: ChannelId) -> Result<bool, NodeError> {
        Ok(states::is_stored(&mut *self.db.read().await?, channel).await?)
    }

    /// Decides an input in the caller's transaction, of a state that was [loaded](Self::load) before it wrote anything of the channel.
    /// After the commit, give what comes of it to [`committed`](Self::committed).
    ///
    /// # Errors
    /// [`NotApplied`].
    pub async fn decide_in(
        &self,
        conn: &mut Conn,
        before: &Stored<P>,
        input: Input<P>,
    ) -> Result<Applied<P>, NotApplied> {
        self.decide_in_with(conn, before, input, &*self.runner).await
    }

    /// [`decide_in`](Self::decide_in) with a runner of this input, which has what the input came with.
    ///
    /// # Errors
    /// As [`decide_in`](Self::decide_in).
    pub async fn decide_in_with(
        &self,
        conn: &mut Conn,
        before: &Stored<P>,
        input: Input<P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        self.shell.decide(conn, before, input, &self.env_of(before), runner).await
    }

    /// Stores the first state of a channel, which is in the database already, and carries out the effects with which it begins, in the
    /// caller's transaction. After the commit, give what comes of it to [`committed`](Self::committed).
    ///
    /// # Errors
    /// As [`Shell::begin`].
    pub async fn begin(&self, conn: &mut Conn, begins: Decision<P>) -> Result<Applied<P>, NotApplied> {
        self.shell.begin(conn, begins, &self.surroundings(), &*self.runner).await
    }

    /// The inputs that come with the chain's events and with the outcomes of transactions. Give what was decided to
    /// [`all_committed`](Self::all_committed) after the commit.
    pub fn inputs(&self) -> Inputs<'_, P, Arc<dyn Transactions>> {
        Inputs::new(&self.shell, self, &*self.runner)
    }

    /// Carries out what follows the decisions of a commit, and shows of which channels something cannot be read.
    pub fn all_committed(&self, decided: Decided<P>) {
        for applied in &decided.applied {
            self.committed(applied);
        }
        for (channel, what) in decided.damaged {
            self.found_damage(channel, what);
        }
    }

    /// Carries out what follows a decision that is committed. It waits for nothing.
    pub fn committed(&self, applied: &Applied<P>) {
        self.note(applied);
        if applied.wakes_transactor {
            self.shell.transactions().wake();
        }
        if applied.wakes_jobs {
            self.jobs.wake();
        }
        self.runner.committed(applied);
        let (now, serves) = (self.now(), P::may_serve(&applied.state.own));
        if self.agenda.lock().decided(applied.state.id, applied.due, serves, now) {
            self.changed.notify_one();
        }
    }

    /// Commits a decision of the caller's transaction, and carries out what follows. `commit` commits that transaction.
    ///
    /// Cancellation: dropped before its end, it may have been committed or not. What follows a commit is done in any case, by a look at
    /// the channel.
    ///
    /// # Errors
    /// Those of `commit`.
    pub async fn commit<T, E>(
        &self,
        applied: &Applied<P>,
        commit: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        self.commit_all(std::slice::from_ref(applied), commit).await
    }

    /// [`commit`](Self::commit) of several decisions of one transaction.
    ///
    /// # Errors
    /// Those of `commit`.
    pub async fn commit_all<T, E>(
        &self,
        all: &[Applied<P>],
        commit: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let channels: Vec<ChannelId> = all.iter().map(|applied| applied.state.id).collect();
        let unsure = Unsure { decider: self, channels: &channels };
        let done = commit.await?;
        unsure.settle();
        for applied in all {
            self.committed(applied);
        }
        Ok(done)
    }

    /// Has a channel looked at soon: something about it changed that is no input.
    pub fn mark(&self, channel: ChannelId) {
        self.agenda.lock().mark(channel);
        self.changed.notify_one();
    }

    fn now(&self) -> Now {
        Now { uptime: self.outlook.uptime(), chain: self.outlook.chain().now }
    }

    /// Shows what a decision found, unless a later one was here before it.
    fn note(&self, applied: &Applied<P>) {
        let channel = applied.state.id;
        let is_final = applied.due == Due::Final;
        // Until the end, so that two decisions about a channel show one after the other what they found.
        let mut damaged = self.damaged.lock();
        if !self.concerns.set(channel, applied.revision, is_final, &applied.concerns) {
            return;
        }
        let is_closed = matches!(applied.state.chain.phase(), Phase::Closed { .. });
        // Until the channel is closed, what others found of it stays shown.
        if damaged.remove(&channel) || is_closed {
            self.damage.healed(channel);
        }
        let voucher = applied.concerns.iter().any(|concern| matches!(concern, Concern::Damaged { .. }));
        let voucher = voucher.then(|| {
            let reason = "its signature is not one of the channel's signer".to_owned();
            NodeError::DamagedVoucher { channel, reason }.to_string()
        });
        self.damage.set_voucher(channel, voucher);
    }

    fn note_damage(&self, channel: ChannelId, error: &NotApplied) {
        if error.is_damage() {
            self.found_damage(channel, error.to_string());
        }
    }

    fn found_damage(&self, channel: ChannelId, what: String) {
        let mut damaged = self.damaged.lock();
        damaged.insert(channel);
        self.damage.found(channel, what);
    }

    /// The surroundings that all decisions share now: nothing about any channel is in them.
    pub fn surroundings(&self) -> Env<'_, P> {
        let mut env = Env::new(self.outlook.uptime(), &self.policy);
        env.chain = self.outlook.chain();
        env.gas = self.outlook.gas();
        env.run = self.outlook.run();
        env.instance = self.outlook.instance();
        env.adapter_starts = self.outlook.adapter_starts();
        env.reachable = self.outlook.is_reachable();
        env.recovery = self.outlook.recovery();
        env
    }

    /// What there is to know of a channel's surroundings without what is stored of its voucher: enough to show where it stands, and not to
    /// decide about it.
    pub fn env_about(&self, channel: ChannelId) -> Env<'_, P> {
        let mut env = self.surroundings();
        env.chain.explained = !self.outlook.unexplained().contains(&channel);
        env
    }

    /// The surroundings of a decision about this state, as of now.
    pub fn env_of(&self, stored: &Stored<P>) -> Env<'_, P> {
        let mut env = self.env_about(stored.state.id);
        env.kept_open = self.outlook.kept_open(stored.newest_voucher);
        env.damaged_voucher = stored.damaged_voucher;
        env
    }
}

#[async_trait]
impl<P: Party> Surroundings<P> for Decider<P> {
    async fn env<'a>(&'a self, _: &mut Conn, stored: &Stored<P>) -> Result<Env<'a, P>, NodeError> {
        Ok(self.env_of(stored))
    }
}

/// Decisions whose commit is not known. Dropped like that, they lead to a look at each channel, and wake all who may have work by them.
struct Unsure<'a, P: Party> {
    decider: &'a Decider<P>,
    channels: &'a [ChannelId],
}

impl<P: Party> Unsure<'_, P> {
    fn settle(mut self) {
        self.channels = &[];
    }
}

impl<P: Party> Drop for Unsure<'_, P> {
    fn drop(&mut self) {
        if !self.channels.is_empty() {
            self.decider.shell.transactions().wake();
            self.decider.jobs.wake();
            for channel in self.channels {
                self.decider.mark(*channel);
            }
        }
    }
}
