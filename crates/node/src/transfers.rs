//! Money between the wallet and the service contract.

use std::sync::Arc;
use std::time::Duration;

use alloy::signers::SignerSync;
use async_trait::async_trait;
use privatix_chain::{TxFilter, TxStatus};
use privatix_channel::Amount;
use privatix_contracts::{IPSC, PTC, PermitRequest, call};
use privatix_jobs::{Backoff, Done, Handler, Job, JobContext, JobError, Policy};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::node::unreadable;
use crate::{Node, NodeError};

/// Job: move tokens from the wallet to the internal balance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deposit {
    /// How much.
    pub amount: Amount,
}

/// Job: move tokens from the internal balance back to the wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Withdraw {
    /// How much.
    pub amount: Amount,
}

/// The subject of jobs about the account's own money.
pub const ACCOUNT: &str = "account";

/// How the kinds of transactions that carry a permit end.
pub const PERMIT: &str = "_with_permit";

/// A signed permit, and the turn to use it: keep the value until its transaction is stored and committed, so that nobody
/// else signs for the same nonce.
pub struct PermitTurn {
    /// The permit.
    pub permit: IPSC::Permit,
    _turn: OwnedMutexGuard<()>,
}

impl std::fmt::Debug for PermitTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PermitTurn").finish_non_exhaustive()
    }
}

fn policy() -> Policy {
    Policy::default().tries(10).backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_mins(1)))
}

impl Job for Deposit {
    const KIND: &'static str = "deposit";
    fn subject(&self) -> String {
        ACCOUNT.to_owned()
    }
    fn policy() -> Policy {
        policy()
    }
}

impl Job for Withdraw {
    const KIND: &'static str = "withdraw";
    fn subject(&self) -> String {
        ACCOUNT.to_owned()
    }
    fn policy() -> Policy {
        policy()
    }
}

impl Node {
    /// A permit for the service contract over our own tokens: deposits in one transaction, without an approval before it.
    /// The transaction is to be stored under a kind that ends in [`PERMIT`].
    ///
    /// It does not expire: it is good for one nonce, and only for a contract that takes tokens from its caller alone. A
    /// deadline would only break transactions that wait for cheaper gas.
    ///
    /// # Errors
    /// [`NodeError::PermitPending`] while a transaction with the next permit is on its way: it would take this one's nonce.
    pub async fn permit(&self, value: Amount) -> Result<PermitTurn, NodeError> {
        let turn = Arc::clone(&self.permits).lock_owned().await;
        if self.permit_pending().await? {
            return Err(NodeError::PermitPending);
        }
        let token = PTC::new(self.domain().token(), self.provider());
        let nonce = token.nonces(self.account()).call().await.map_err(unreadable("the permit nonce"))?;
        let request = PermitRequest {
            chain_id: self.domain().chain_id(),
            token: self.domain().token(),
            owner: self.account(),
            spender: self.domain().contract(),
            value,
            nonce: nonce.try_into().unwrap_or(u64::MAX),
            deadline: u64::MAX,
        };
        let signature = self
            .signer()
            .sign_hash_sync(&request.digest())
            .map_err(|e| NodeError::Signing { what: "a permit", reason: e.to_string() })?;
        Ok(PermitTurn { permit: request.signed(&signature), _turn: turn })
    }

    async fn permit_pending(&self) -> Result<bool, NodeError> {
        let transactor = self.transactor()?;
        let mut conn = self.db().read().await?;
        for status in [TxStatus::Unsent, TxStatus::Sent] {
            let filter = TxFilter { status: Some(status), from: Some(self.account()), ..TxFilter::default() };
            let open = transactor.list(&mut conn, &filter).await?;
            if open.iter().any(|record| record.intent.kind.ends_with(PERMIT)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn deposit(&self, job: &Deposit, cx: JobContext) -> Result<Done, NodeError> {
        let available = self.balances().await?.wallet;
        if available < job.amount {
            return Err(NodeError::Insufficient {
                what: "the deposit",
                needed: job.amount,
                available,
                remedy: "send tokens to the account, or deposit less",
            });
        }
        let turn = self.permit(job.amount).await?;
        let key = format!("deposit {}", cx.id());
        let kind = format!("{}{PERMIT}", Deposit::KIND);
        let call = call::deposit_with_permit(job.amount, turn.permit.clone());
        let mut completion = cx.finish().await?;
        self.submit(&mut completion, &kind, ACCOUNT, key, &call).await?;
        let done = completion.commit().await?;
        self.wake_transactor();
        Ok(done)
    }

    async fn withdraw(&self, job: &Withdraw, cx: JobContext) -> Result<Done, NodeError> {
        let available = self.balances().await?.contract;
        if available < job.amount {
            return Err(NodeError::Insufficient {
                what: "the withdrawal",
                needed: job.amount,
                available,
                remedy: "withdraw less, or close channels and remove offerings first",
            });
        }
        let key = format!("withdraw {}", cx.id());
        let mut completion = cx.finish().await?;
        self.submit(&mut completion, Withdraw::KIND, ACCOUNT, key, &call::withdraw(job.amount)).await?;
        let done = completion.commit().await?;
        self.wake_transactor();
        Ok(done)
    }
}

pub(crate) struct Transfers(pub(crate) Arc<Node>);

#[async_trait]
impl Handler<Deposit> for Transfers {
    async fn run(&self, job: &Deposit, cx: JobContext) -> Result<Done, JobError> {
        self.0.deposit(job, cx).await.map_err(NodeError::into_job_error)
    }
}

#[async_trait]
impl Handler<Withdraw> for Transfers {
    async fn run(&self, job: &Withdraw, cx: JobContext) -> Result<Done, JobError> {
        self.0.withdraw(job, cx).await.map_err(NodeError::into_job_error)
    }
}
