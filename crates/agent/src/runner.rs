//! Carries out what is decided about the agent's channels: [`AgentRunner`].

use std::sync::Arc;

use alloy::primitives::Address;
use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use privatix_chain::Intent;
use privatix_channel::{ChannelId, SignedVoucher};
use privatix_contracts::call;
use privatix_db::Conn;
use privatix_market::{
    Agent, AgentEffect, AgentNotice, AgentPolicy, AgentPurpose, AgentState, Effect, EffectId, Env, Fate,
    Reply, Subject,
};
use privatix_node::drive::Drives;
use privatix_node::shell::{Applied, Ran, Runner, keep};
use privatix_node::{Node, NodeError};
use privatix_store::channels::{self, Shown};
use privatix_store::vouchers;

use crate::{orders, reasons};

/// Keeps what is not worth a transaction of its own until it goes out together with others.
#[async_trait]
pub trait Collects: Send + Sync {
    /// Stores an offer to the next batch, in place of an earlier one of this number.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn collect(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: AgentPurpose,
    ) -> Result<(), NodeError>;

    /// Takes an offer back. Without one, nothing happens.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError>;
}

/// No batches: an offer is stored in the state only, and the channel sends its transaction alone once its patience is over
/// ([`max_delay`](privatix_market::AgentPolicy::max_delay), [`free_after`](privatix_market::AgentPolicy::free_after)). What has none,
/// such as [`at_risk`](privatix_market::AgentPolicy::at_risk), is not sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBatches;

#[async_trait]
impl Collects for NoBatches {
    async fn collect(&self, _: &mut Conn, _: EffectId, _: AgentPurpose) -> Result<(), NodeError> {
        Ok(())
    }

    async fn take_back(&self, _: &mut Conn, _: EffectId) -> Result<(), NodeError> {
        Ok(())
    }
}

/// Receives each decision that was committed: for views in memory. It must not wait for anything.
pub type Views = dyn Fn(&Applied<Agent>) + Send + Sync;

/// What an [`AgentRunner`] is made of.
#[derive(Clone)]
pub struct AgentRunnerParts {
    /// Who sends transactions: the account, or its operator.
    pub sender: Address,
    /// The service contract.
    pub contract: Address,
    /// Asks the service adapter.
    pub drives: Arc<dyn Drives<Agent>>,
    /// Keeps offers to the next batch.
    pub collects: Arc<dyn Collects>,
    /// Receives each decision.
    pub views: Arc<Views>,
}

impl std::fmt::Debug for AgentRunnerParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentRunnerParts").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl AgentRunnerParts {
    /// Those of a node, without batches and views.
    pub fn of(node: &Node, drives: Arc<dyn Drives<Agent>>) -> Self {
        Self {
            sender: node.sender(),
            contract: node.domain().contract(),
            drives,
            collects: Arc::new(NoBatches),
            views: Arc::new(|_| {}),
        }
    }
}

/// Carries out what is decided about the agent's channels.
#[derive(Clone, Debug)]
pub struct AgentRunner {
    parts: AgentRunnerParts,
    /// What the input came with.
    voucher: Option<SignedVoucher>,
}

impl AgentRunner {
    /// A runner of these parts.
    pub const fn new(parts: AgentRunnerParts) -> Self {
        Self { parts, voucher: None }
    }

    /// The same, for the input that this voucher makes.
    #[must_use]
    pub fn paying(&self, voucher: SignedVoucher) -> Self {
        Self { voucher: Some(voucher), ..self.clone() }
    }

    /// The voucher that a transaction of this purpose cashes. `None` where none is needed, as it brings nothing beyond what is paid.
    async fn voucher(
        &self,
        conn: &mut Conn,
        state: &AgentState,
        purpose: AgentPurpose,
    ) -> Result<Option<SignedVoucher>, NodeError> {
        if purpose.cumulative() <= state.chain.paid {
            return Ok(None);
        }
        let stored = vouchers::get(conn, state.id).await?.map(|stored| stored.signed);
        match stored.filter(|signed| signed.cumulative() == purpose.cumulative()) {
            Some(signed) => Ok(Some(signed)),
            // The state was loaded with it in this transaction.
            None => Err(NodeError::DamagedVoucher {
                channel: state.id,
                reason: format!("it is not over {}", purpose.cumulative()),
            }),
        }
    }
}

/// The call of a close or a settlement with this voucher. While a challenge runs and something is claimable, anybody may settle the
/// voucher in its stead: a rescue account can save what the account itself cannot close in time. `None` for a settlement without a
/// voucher.
fn intent(
    state: &AgentState,
    purpose: AgentPurpose,
    voucher: Option<&SignedVoucher>,
    (sender, contract): (Address, Address),
) -> Option<Intent> {
    let settle = voucher.map(|voucher| call::settle(&state.descriptor, voucher).abi_encode());
    let calldata = match purpose {
        AgentPurpose::Close { .. } => call::close(&state.descriptor, voucher).abi_encode(),
        AgentPurpose::Settle { .. } => settle.clone()?,
    };
    let intent = Intent::new(String::new(), sender, contract, calldata);
    let would_be_lost =
        state.chain.challenge_ends_at().is_some() && !state.book.claimable(&state.chain).is_zero();
    Some(match settle.filter(|_| would_be_lost) {
        Some(settle) => intent.fallback(contract, settle),
        None => intent,
    })
}

#[async_trait]
impl Runner<Agent> for AgentRunner {
    async fn call(
        &self,
        conn: &mut Conn,
        state: &AgentState,
        purpose: AgentPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError> {
        let voucher = self.voucher(conn, state, purpose).await?;
        let accounts = (self.parts.sender, self.parts.contract);
        if let Some(intent) = intent(state, purpose, voucher.as_ref(), accounts) {
            return Ok(Ok(intent));
        }
        tracing::error!(channel = %state.id, ?purpose, "a settlement brings nothing, and is not sent; report this as an error of the program");
        // The same would fail again until somebody does something.
        Ok(Err(Fate::Failed { lasting: true }))
    }

    async fn run(
        &self,
        conn: &mut Conn,
        state: &AgentState,
        effect: &Effect<Agent>,
    ) -> Result<Ran<Agent>, NodeError> {
        match *effect {
            Effect::Own(AgentEffect::Keep(kept)) => {
                let Some(signed) = &self.voucher else {
                    let reason = "a voucher is to be kept, and none came".to_owned();
                    return Err(NodeError::DamagedVoucher { channel: state.id, reason });
                };
                keep(conn, signed, kept).await?;
                Ok(Ran::Done)
            }
            Effect::Drive { seq } => {
                self.parts.drives.drive(conn, state.id, seq, state.own.service.target).await?;
                Ok(Ran::Queued)
            }
            Effect::Collect { seq, purpose } => {
                let effect = EffectId { subject: Subject::Channel(state.id), seq };
                self.parts.collects.collect(conn, effect, purpose).await?;
                Ok(Ran::Done)
            }
            // The answer, which goes out once everything is stored.
            _ => Ok(Ran::AfterCommit),
        }
    }

    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        self.parts.collects.take_back(conn, effect).await
    }

    async fn show(
        &self,
        conn: &mut Conn,
        before: &AgentState,
        state: &AgentState,
        env: &Env<'_, Agent>,
    ) -> Result<(), NodeError> {
        orders::follow_channel(conn, before, state, env).await?;
        let shown = Shown {
            status: state.status(),
            service: state.service_status(env.instance),
            reason: reasons::reason(state),
            held: state.own.held,
        };
        channels::show(conn, state.id, shown).await?;
        Ok(())
    }

    fn committed(&self, applied: &Applied<Agent>) {
        self.parts.drives.committed(&applied.state, applied.revision);
        (self.parts.views)(applied);
        for effect in &applied.effects {
            if let Effect::Notify(notice) = effect {
                show(applied.state.id, notice);
            }
        }
    }
}

/// The answer that a decision gives the client, which was asked by its input.
pub fn reply(applied: &Applied<Agent>) -> Option<Reply> {
    applied.effects.iter().find_map(answer_of)
}

pub(crate) fn answer_of(effect: &Effect<Agent>) -> Option<Reply> {
    match effect {
        Effect::Own(AgentEffect::Answer(reply)) => Some(*reply),
        _ => None,
    }
}

/// What the operator of a node set about its channels: `policy`, with what the chain's settings say.
pub fn policy(node: &Node, mut policy: AgentPolicy) -> AgentPolicy {
    policy.accept_fee = node.accepted_fee().unwrap_or(policy.accept_fee);
    policy
}

/// The operator's story of a channel, in the log.
fn show(channel: ChannelId, notice: &AgentNotice) {
    match notice {
        AgentNotice::Ends(why) => {
            tracing::info!(%channel, ?why, "the service ends, and the channel will be closed");
        }
        AgentNotice::Disputed { claimable, ends_at } => {
            tracing::warn!(%channel, %claimable, challenge_ends_at = %ends_at, "the client asked to close below what is proven; answering");
        }
        AgentNotice::Conceded { claimable } => {
            tracing::info!(%channel, %claimable, "the client asked to close below what is proven; the difference is not worth an answer");
        }
        AgentNotice::ServiceLost => {
            tracing::error!(%channel, "the service adapter did not stop the service in time; it may go on");
        }
        AgentNotice::Failing { tries, lasting: true } => {
            tracing::error!(%channel, tries, "a close or a settlement failed, and will again until its cause is mended");
        }
        AgentNotice::Failing { tries, lasting: false } => {
            tracing::error!(%channel, tries, "a close or a settlement failed; it is tried again");
        }
        AgentNotice::Parked => {
            tracing::warn!(%channel, "the close was cancelled by the operator and is not sent again; `channels close` does");
        }
        AgentNotice::Hidden => {
            tracing::error!(%channel, "a close succeeded, and the channel's events do not show it; if that lasts, add an endpoint of another provider");
        }
        AgentNotice::Abandoned { claimable } => {
            tracing::warn!(%channel, %claimable, "what is claimable is left to the client, by order");
        }
        notice => tracing::info!(%channel, ?notice, "the channel changed"),
    }
}
