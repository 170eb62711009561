//! Money between the wallet and the service contract.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_channel::Amount;
use privatix_contracts::call;
use privatix_jobs::{Backoff, Done, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_market::{Purpose, Subject};
use serde::{Deserialize, Serialize};

use crate::{Cause, Node, NodeError, lanes};

/// Job: move tokens from the wallet to the internal balance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deposit {
    /// How much.
    pub amount: Amount,
}

/// Job: move tokens from the internal balance back to a wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Withdraw {
    /// How much.
    pub amount: Amount,
    /// To whom; to the account's own wallet when nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Address>,
}

/// The subject of jobs about the account's own money.
pub const ACCOUNT: &str = "account";

fn policy() -> Policy {
    Policy::default().tries(10).backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_mins(1)))
}

impl Job for Deposit {
    const KIND: &'static str = "deposit";
    const LANE: Lane = lanes::MONEY;
    fn subject(&self) -> String {
        ACCOUNT.to_owned()
    }
    fn policy() -> Policy {
        policy()
    }
}

impl Job for Withdraw {
    const KIND: &'static str = "withdraw";
    const LANE: Lane = lanes::MONEY;
    fn subject(&self) -> String {
        ACCOUNT.to_owned()
    }
    fn policy() -> Policy {
        policy()
    }
}

impl Node {
    /// That the account's money is ours to move.
    ///
    /// # Errors
    /// [`NodeError::NotForOperators`] for an operator.
    pub fn check_own_account(&self, what: &'static str) -> Result<(), NodeError> {
        if self.is_operator() {
            return Err(NodeError::NotForOperators { what, account: self.account() });
        }
        Ok(())
    }

    async fn deposit(&self, job: &Deposit, cx: JobContext) -> Result<Done, NodeError> {
        self.check_own_account("deposit from the wallet of")?;
        let available = self.balances().await?.wallet;
        if available < job.amount {
            return Err(NodeError::Insufficient {
                what: "the deposit",
                needed: job.amount,
                available,
                remedy: "send tokens to the account, or deposit less",
            });
        }
        let turn = self.wallet_turn(job.amount).await?;
        let purpose = Purpose::Deposit { amount: job.amount };
        let cause = Cause::new(Subject::Account(self.account()), purpose).by(cx.id());
        let key = format!("deposit {}", cx.id());
        let mut completion = cx.finish().await?;
        if let Some(permit) = turn.permit() {
            let call = call::deposit_with_permit(job.amount, permit.clone());
            self.submit_from_wallet(&mut completion, &turn, &cause, key, &call).await?;
        } else {
            let call = call::deposit(job.amount);
            self.submit_from_wallet(&mut completion, &turn, &cause, key, &call).await?;
        }
        let done = completion.commit().await?;
        self.wake_transactor();
        Ok(done)
    }

    async fn withdraw(&self, job: &Withdraw, cx: JobContext) -> Result<Done, NodeError> {
        self.check_own_account("withdraw from")?;
        let available = self.balances().await?.contract;
        if available < job.amount {
            return Err(NodeError::Insufficient {
                what: "the withdrawal",
                needed: job.amount,
                available,
                remedy: "withdraw less, or close channels and remove offerings first",
            });
        }
        let purpose = Purpose::Withdraw { amount: job.amount, to: job.to.unwrap_or(self.account()) };
        let cause = Cause::new(Subject::Account(self.account()), purpose).by(cx.id());
        let key = format!("withdraw {}", cx.id());
        let mut completion = cx.finish().await?;
        match job.to {
            None => {
                let call = call::withdraw(job.amount);
                self.submit(&mut completion, &cause, key, &call).await?;
            }
            Some(to) => {
                let call = call::withdraw_to(to, job.amount);
                self.submit(&mut completion, &cause, key, &call).await?;
            }
        }
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
