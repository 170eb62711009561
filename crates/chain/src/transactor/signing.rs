//! Signing, without waiting for a signer that takes its time: what it gives later is stored and sent in a later pass, unless
//! the intent or the nonce has changed meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use alloy::consensus::{TxEip1559, TxLegacy, TypedTransaction};
use alloy::primitives::{B256, TxKind, U256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::changes::Signed;
use super::memory::{AccountMemory, Now};
use super::rescue::Counterpart;
use super::{Attempt, Fate, Fees, Inner, Obstacle, TxId, TxRecord};
use crate::ChainError;

/// How long a pass waits for signatures: keys at hand need no longer.
const GRACE: Duration = Duration::from_millis(250);
/// How long a nonce is kept free for a transaction that is being signed. Then whoever is signed first gets it, such as a
/// filler for what was signed above it.
const RESERVED: Duration = Duration::from_secs(2);
/// When a signature counts as lost: the keyring gives up before.
const LOST: Duration = Duration::from_secs(15);

/// A transaction that is decided on.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// The intent, as it was when that was decided.
    pub(super) seen: TxRecord,
    /// What may be paid for the same purpose, as it was then.
    pub(super) counterpart: Option<Counterpart>,
    pub(super) gas_limit: u64,
    pub(super) nonce: u64,
    pub(super) fees: Fees,
    /// The owner of the nonce, which loses it.
    pub(super) displaces: Option<TxId>,
    /// It was signed before.
    pub(super) signed: Option<Attempt>,
}

impl Draft {
    fn with(self, attempt: Attempt) -> Signed {
        let Self { seen, counterpart, gas_limit, displaces, .. } = self;
        Signed { seen, counterpart, gas_limit, attempt, displaces }
    }
}

/// An intent, and the nonce that it is being signed for.
type Key = (TxId, u64);
type Answer = Result<(Vec<u8>, B256), ChainError>;

/// Signatures that an account waits for. Dropped without harm: what was not stored was never sent.
pub(super) struct Signing {
    tasks: JoinSet<()>,
    sender: mpsc::UnboundedSender<(Draft, Answer)>,
    answers: mpsc::UnboundedReceiver<(Draft, Answer)>,
    under_way: BTreeMap<Key, Instant>,
    failed: HashMap<TxId, Instant>,
}

impl Default for Signing {
    fn default() -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        let (tasks, under_way, failed) = (JoinSet::new(), BTreeMap::new(), HashMap::new());
        Self { tasks, sender, answers, under_way, failed }
    }
}

impl Signing {
    /// Whether an intent may be signed now: it is not being signed, and was not refused just before.
    pub(super) fn may_begin(&self, id: TxId, pause: Duration) -> bool {
        let is_under_way = self.under_way.iter().any(|((of, _), at)| *of == id && at.elapsed() < LOST);
        !is_under_way && self.failed.get(&id).is_none_or(|at| at.elapsed() >= pause)
    }

    /// Whether an intent is being signed for a nonce.
    pub(super) fn is_under_way(&self, id: TxId, nonce: u64) -> bool {
        self.under_way.get(&(id, nonce)).is_some_and(|at| at.elapsed() < LOST)
    }

    /// Whether a nonce is not kept free any more for a signature that has not come: what waits above it goes on without it.
    pub(super) fn is_reservation_over(&self, nonce: u64) -> bool {
        self.under_way.iter().any(|((_, of), at)| *of == nonce && at.elapsed() >= RESERVED)
    }

    /// Nonces that are kept free for what is being signed.
    pub(super) fn reserved(&self) -> impl Iterator<Item = Key> + '_ {
        self.under_way.iter().filter(|(_, at)| at.elapsed() < RESERVED).map(|(key, _)| *key)
    }

    /// Answers that have come.
    fn arrived(&mut self) -> Vec<(Draft, Answer)> {
        while self.tasks.try_join_next().is_some() {}
        std::iter::from_fn(|| self.answers.try_recv().ok()).collect()
    }

    /// Forgets what concerns intents that are over.
    pub(super) fn forget_closed(&mut self, is_open: impl Fn(TxId) -> bool) {
        self.failed.retain(|id, _| is_open(*id));
        self.under_way.retain(|_, at| at.elapsed() < LOST);
    }
}

impl Inner {
    /// Has transactions signed. Those that are signed at once, and those of earlier passes that are signed by now.
    pub(super) async fn sign_all(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
        drafts: Vec<Draft>,
    ) -> Result<Vec<Signed>, ChainError> {
        let (mut signed, mut new) = (Vec::new(), BTreeSet::new());
        for mut draft in drafts {
            if let Some(attempt) = draft.signed.take() {
                signed.push(draft.with(attempt));
            } else {
                new.insert((draft.seen.id, draft.nonce));
                self.begin(&mut memory.signing, now, draft);
            }
        }
        let until = tokio::time::Instant::now() + GRACE;
        let mut arrived = Vec::new();
        while !new.is_empty() {
            let answer = tokio::time::timeout_at(until, memory.signing.answers.recv()).await;
            let Ok(Some((draft, answer))) = answer else { break };
            new.remove(&(draft.seen.id, draft.nonce));
            arrived.push((draft, answer));
        }
        signed.extend(self.accept(memory, now, latest, arrived).await?);
        Ok(signed)
    }

    /// Signatures that have come since the last pass.
    pub(super) async fn signed_late(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
    ) -> Result<Vec<Signed>, ChainError> {
        let arrived = memory.signing.arrived();
        self.accept(memory, now, latest, arrived).await
    }

    fn begin(&self, signing: &mut Signing, now: Now, draft: Draft) {
        let tx = self.transaction(now, &draft);
        let (keys, wake, sender) = (self.keys.clone(), self.wake.clone(), signing.sender.clone());
        let began = Instant::now();
        signing.under_way.insert((draft.seen.id, draft.nonce), began);
        signing.tasks.spawn(async move {
            let answer = keys.sign(draft.seen.intent.from, tx).await;
            // Without a receiver nobody wants it any more.
            let _ = sender.send((draft, answer));
            // The pass that began it may not wait any more.
            if began.elapsed() >= GRACE / 2 {
                wake.notify_one();
            }
        });
    }

    async fn accept(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
        arrived: Vec<(Draft, Answer)>,
    ) -> Result<Vec<Signed>, ChainError> {
        let mut signed = Vec::new();
        for (draft, answer) in arrived {
            let (id, nonce, fees) = (draft.seen.id, draft.nonce, draft.fees);
            memory.signing.under_way.remove(&(id, nonce));
            match answer {
                Ok((raw, hash)) if nonce >= latest => {
                    let (fate, at, head) = (Fate::Unknown, SystemTime::now(), now.head);
                    signed.push(draft.with(Attempt { hash, nonce, fees, fate, at, raw, head }));
                }
                // Its nonce was used meanwhile.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(tx = %id, kind = %draft.seen.intent.kind, %error, "transaction is not signed");
                    memory.signing.failed.insert(id, Instant::now());
                    if !draft.seen.filler {
                        let reason = error.to_string();
                        let obstacle = Obstacle::NotSigned { reason };
                        self.obstruct(&self.reload(id).await?, Some(obstacle)).await?;
                    }
                }
            }
        }
        Ok(signed)
    }

    /// The transaction of a draft.
    pub(super) fn transaction(&self, now: Now, draft: &Draft) -> TypedTransaction {
        let Draft { gas_limit, nonce, fees, .. } = *draft;
        let intent = &draft.seen.intent;
        let (to, value, input) = (TxKind::Call(intent.to), U256::from(intent.value), intent.input.clone());
        if now.market.base_fee.is_some() {
            let (chain_id, access_list) = (self.chain_id, alloy::eips::eip2930::AccessList::default());
            let (max_fee_per_gas, max_priority_fee_per_gas) = (fees.max_fee, fees.priority_fee);
            TypedTransaction::Eip1559(TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                input,
            })
        } else {
            // A chain without base fees does not know the transactions that offer to pay them (EIP-1559).
            let (chain_id, gas_price) = (Some(self.chain_id), fees.max_fee);
            TypedTransaction::Legacy(TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input })
        }
    }
}
