//! Closes and settlements that go out together: [`Batches`].

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use privatix_chain::Intent;
use privatix_channel::SignedVoucher;
use privatix_contracts::call::{self, ACCOUNT_GAS};
use privatix_db::{Conn, Database, Savepoint};
use privatix_market::batch::{self, Batch, BatchEnv, BatchPolicy, Call, Row};
use privatix_market::{Agent, AgentPurpose, AgentState, EffectId, Fate, Flight, Input, Stage, Subject};
use privatix_node::shell::{Applied, NotApplied, Transactions, on_terms};
use privatix_node::{Decider, Node, NodeError, Outlook};
use privatix_store::states::Stored;
use privatix_store::{StoreError, collected, purposes, vouchers};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::runner::Collects;

/// How often the price of gas is looked at while something waits.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What is not worth a transaction of its own, as the database has it. Clones share it.
#[derive(Clone)]
pub struct Offers {
    outlook: Arc<dyn Outlook>,
    changed: Arc<Notify>,
}

impl std::fmt::Debug for Offers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offers").finish_non_exhaustive()
    }
}

impl Offers {
    /// Offers that wait by the clock of `outlook`.
    pub fn new(outlook: Arc<dyn Outlook>) -> Self {
        Self { outlook, changed: Arc::default() }
    }
}

#[async_trait]
impl Collects for Offers {
    async fn collect(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: AgentPurpose,
    ) -> Result<(), NodeError> {
        if let Subject::Channel(channel) = effect.subject {
            collected::offer(conn, channel, effect.seq, purpose, self.outlook.uptime()).await?;
            // Before the commit: the next look finds it at the latest, and nothing is urgent here.
            self.changed.notify_one();
        }
        Ok(())
    }

    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        if let Subject::Channel(channel) = effect.subject {
            collected::take_back(conn, channel, effect.seq).await?;
        }
        Ok(())
    }
}

/// What [`Batches`] are made of.
pub struct BatchesParts {
    /// The database.
    pub db: Database,
    /// Where transactions go.
    pub transactions: Arc<dyn Transactions>,
    /// Decides about the channels.
    pub decider: Arc<Decider<Agent>>,
    /// What waits.
    pub offers: Offers,
    /// The agent's account.
    pub account: Address,
    /// Who sends transactions: the account, or its operator.
    pub sender: Address,
    /// The service contract.
    pub contract: Address,
    /// What the operator set.
    pub policy: BatchPolicy,
}

impl std::fmt::Debug for BatchesParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchesParts").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl BatchesParts {
    /// Those of a node, with the default policy.
    pub fn of(node: &Arc<Node>, decider: Arc<Decider<Agent>>, offers: Offers) -> Self {
        Self {
            db: node.db().clone(),
            transactions: Arc::<Node>::clone(node),
            decider,
            offers,
            account: node.account(),
            sender: node.sender(),
            contract: node.domain().contract(),
            policy: BatchPolicy::default(),
        }
    }
}

/// Submits what was offered, as soon as one of the [reasons](batch::Reason) for it holds.
#[derive(Debug)]
pub struct Batches {
    parts: BatchesParts,
}

/// A row of a batch as it is submitted.
struct Claim {
    row: Row,
    before: Stored<Agent>,
    voucher: Option<SignedVoucher>,
}

impl Claim {
    fn effect(&self) -> EffectId {
        EffectId { subject: Subject::Channel(self.row.channel), seq: self.row.seq }
    }
}

impl Batches {
    /// Batches of these parts.
    pub const fn new(parts: BatchesParts) -> Self {
        Self { parts }
    }

    /// Sets when batches go out, before they [run](Self::run).
    pub(crate) fn set_policy(&mut self, policy: BatchPolicy) {
        self.parts.policy = policy;
    }

    /// Submits batches until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let wait = match stop.run_until_cancelled(self.look()).await {
                Some(Ok(wait)) => wait,
                Some(Err(error)) => {
                    tracing::warn!(%error, "what waits for a batch cannot be read; trying again");
                    Some(LOOK_EVERY)
                }
                None => return,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.parts.offers.changed.notified() => {}
                // An offer notifies before its commit, so that a look may miss it.
                () = tokio::time::sleep(wait.unwrap_or(LOOK_EVERY)) => {}
            }
        }
    }

    /// Submits what is to be submitted now. Returns when to look again though nothing is offered; `None` where nothing waits.
    ///
    /// # Errors
    /// [`NotApplied`]: what was not submitted goes on waiting.
    pub async fn look(&self) -> Result<Option<Duration>, NotApplied> {
        let BatchesParts { db, decider, policy, .. } = &self.parts;
        let rows = collected::waiting(&mut *db.read().await?).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let (uptime, gas) = (decider.outlook().uptime(), decider.outlook().gas());
        let env = BatchEnv { uptime, gas_price: gas.price, rate: gas.rate, policy };
        for batch in batch::decide(&rows, &env) {
            if let Err(error) = self.submit(&batch).await {
                // What waits goes alone once the patience of its channel is over.
                tracing::warn!(%error, call = ?batch.call, "a batch could not be submitted; trying again");
            }
        }
        let next = batch::wake(&rows, policy).map(|at| at.since(uptime));
        Ok(Some(next.filter(|next| !next.is_zero()).map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY))))
    }

    /// Stores a batch with what it is for, takes its offers, and has each of its channels decided, in one transaction. A channel that
    /// cannot be decided about is left out: it keeps no other waiting.
    async fn submit(&self, batch: &Batch) -> Result<(), NotApplied> {
        let BatchesParts { db, transactions, decider, sender, contract, .. } = &self.parts;
        let mut tx = db.begin().await?;
        let (mut claims, mut applied) = (Vec::new(), Vec::new());
        for row in &batch.rows {
            let Some(claim) = self.claim(&mut tx, row).await? else { continue };
            if let Some(decided) = self.take(&mut tx, &claim).await? {
                claims.push(claim);
                applied.push(decided);
            }
        }
        if !claims.is_empty() {
            let effects: Vec<_> =
                claims.iter().map(|claim| (claim.effect(), claim.row.purpose.into())).collect();
            let call = Intent::new("", *sender, *contract, self.calldata(batch.call, &claims));
            let call = on_terms(call, &batch.bid()).extra_gas(extra_gas(&claims));
            transactions.submit_batch(&mut tx, &effects, call).await?;
        }
        decider.commit_all(&applied, tx.commit()).await?;
        if claims.is_empty() {
            return Ok(());
        }
        tracing::info!(call = ?batch.call, channels = claims.len(), reason = ?batch.reason, "submitting a batch");
        transactions.wake();
        Ok(())
    }

    /// Takes an offer, and decides that a batch has it. `None` where that fails for a reason of this channel.
    async fn take(&self, conn: &mut Conn, claim: &Claim) -> Result<Option<Applied<Agent>>, NotApplied> {
        let Claim { row, before, .. } = claim;
        let part = Savepoint::begin(conn).await?;
        collected::take_back(conn, row.channel, row.seq).await?;
        let input = Input::Tx { seq: row.seq, purpose: row.purpose, fate: Fate::Batched };
        match self.parts.decider.decide_in(conn, before, input).await {
            Ok(applied) if has_stage(&applied.state, row, Stage::Sent { batch: true }) => {
                part.keep(conn).await?;
                Ok(Some(applied))
            }
            // It is not wanted any more, or not now: vouchers may be missing. The decision's own look takes the offer back.
            Ok(_) => {
                part.undo(conn).await?;
                Ok(None)
            }
            Err(error @ NotApplied::Node(_)) if !error.is_damage() => Err(error),
            Err(error) => {
                tracing::error!(channel = %row.channel, %error, "the channel is left out of its batch");
                part.undo(conn).await?;
                Ok(None)
            }
        }
    }

    /// What a row claims now. `None` where its offer stands no more, which takes it back, or where the channel cannot be read.
    async fn claim(&self, conn: &mut Conn, row: &Row) -> Result<Option<Claim>, NotApplied> {
        let channel = row.channel;
        let before = match self.parts.decider.load(conn, channel).await {
            Ok(before) => before,
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let effect = EffectId { subject: Subject::Channel(channel), seq: row.seq };
        let has_transaction = purposes::of_effect(conn, effect).await?.is_some();
        if has_transaction || !has_stage(&before.state, row, Stage::Collected) {
            collected::take_back(conn, channel, row.seq).await?;
            return Ok(None);
        }
        let mut row = *row;
        if !row.purpose.is_close() {
            // Better vouchers of a settlement are not offered again: it takes the best one that was decided about.
            row.purpose = AgentPurpose::Settle { cumulative: before.state.book.best };
        }
        let cumulative = row.purpose.cumulative();
        if cumulative <= before.state.chain.paid {
            return Ok(row.purpose.is_close().then_some(Claim { row, before, voucher: None }));
        }
        match vouchers::get(conn, channel).await {
            Ok(Some(stored)) if stored.signed.cumulative() == cumulative => {
                Ok(Some(Claim { row, before, voucher: Some(stored.signed) }))
            }
            // A better one came, and is decided next.
            Ok(_) => Ok(None),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%channel, %error, "the channel is left out of its batch");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn calldata(&self, call: Call, claims: &[Claim]) -> Vec<u8> {
        let BatchesParts { account, sender, .. } = self.parts;
        let closes = claims.iter().map(|claim| (&claim.before.state.descriptor, claim.voucher.as_ref()));
        match call {
            Call::Close if sender == account => call::close_batch(closes).abi_encode(),
            Call::Close => call::close_batch_for(account, closes).abi_encode(),
            Call::Settle => {
                let vouchers = closes.filter_map(|(descriptor, voucher)| Some((descriptor, voucher?)));
                call::settle_batch(account, vouchers).abi_encode()
            }
        }
    }
}

/// Whether the state has the effect of a row at this stage.
fn has_stage(state: &AgentState, row: &Row, stage: Stage) -> bool {
    let is_it = |flight: &Flight<AgentPurpose>| {
        (flight.seq, flight.purpose, flight.stage) == (row.seq, row.purpose, stage)
    };
    state.own.flights.iter().any(is_it)
}

/// Gas for the rows whose signatures wallet contracts judge.
fn extra_gas(claims: &[Claim]) -> u64 {
    let without = claims.iter().filter(|claim| claim.voucher.is_some() && !claim.row.names_signer);
    without.fold(0, |gas, _| gas.saturating_add(ACCOUNT_GAS))
}
