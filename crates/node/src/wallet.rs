//! Payments out of the wallet: by a permit where the token has them, else by an approval before the payment.

use std::sync::Arc;

use alloy::signers::SignerSync as _;
use alloy::sol_types::SolCall;
use privatix_chain::{Intent, TxId};
use privatix_channel::Amount;
use privatix_contracts::token::{Approvals, DepositWay, PermitDomain};
use privatix_contracts::{IPSC, PermitRequest, call};
use privatix_db::Conn;
use privatix_jobs::JobId;
use privatix_market::{EffectId, Purpose, Subject};
use privatix_store::purposes::{self, TxNumber};
use tokio::sync::OwnedMutexGuard;

use crate::cause::{Numbered, kind};
use crate::{Cause, Node, NodeError, token};

/// How the kinds of transactions that carry a permit end, for people.
const PERMIT: &str = "_with_permit";

/// The turn to pay a certain amount out of the wallet: keep the value until the payment is stored and committed, so that
/// nobody else signs for the same nonce or uses the same allowance.
pub struct WalletTurn {
    value: Amount,
    pay: Pay,
    _turn: OwnedMutexGuard<()>,
}

enum Pay {
    Permit(IPSC::Permit),
    Approvals(Approvals),
}

impl WalletTurn {
    /// The signed permit; `None` where an allowance pays.
    pub fn permit(&self) -> Option<&IPSC::Permit> {
        match &self.pay {
            Pay::Permit(permit) => Some(permit),
            Pay::Approvals(_) => None,
        }
    }

    /// The permit for calls that demand one: where an allowance pays, it is void, which the contract ignores.
    pub fn permit_or_void(&self) -> IPSC::Permit {
        self.permit().cloned().unwrap_or_default()
    }
}

impl std::fmt::Debug for WalletTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletTurn").field("value", &self.value).finish_non_exhaustive()
    }
}

impl Node {
    /// Prepares a payment of `value` out of the wallet, which holds that much, into the service contract.
    ///
    /// # Errors
    /// [`NodeError::WalletBusy`] while another such payment is on its way: the two would take each other's nonce or
    /// allowance. [`NodeError::Token`] for a token that the contract cannot hold. [`NodeError::NotForOperators`].
    pub async fn wallet_turn(&self, value: Amount) -> Result<WalletTurn, NodeError> {
        self.check_own_account("pay from the wallet of")?;
        let turn = Arc::clone(&self.payments).lock_owned().await;
        if self.is_wallet_busy().await? {
            return Err(NodeError::WalletBusy);
        }
        let provider = self.provider();
        token::try_deposit(provider, self.domain(), self.account(), value).await?;
        let pay = match token::way(provider, self.domain()).await? {
            DepositWay::Permit { domain } => Pay::Permit(self.permit(value, &domain).await?),
            _ => Pay::Approvals(token::approvals_for(provider, self.domain(), self.account(), value).await?),
        };
        Ok(WalletTurn { value, pay, _turn: turn })
    }

    /// Stores a payment in the caller's transaction: the approvals that it needs, and then the call, in this order. They
    /// become durable together, each under a key of its own made from `key`, so none is ever sent twice; the call waits until
    /// the approvals before it are confirmed.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_from_wallet(
        &self,
        conn: &mut Conn,
        turn: &WalletTurn,
        cause: &Cause,
        key: String,
        call: &impl SolCall,
    ) -> Result<TxId, NodeError> {
        let effect = purposes::next_effect(conn, cause.subject).await?;
        let payment = Numbered { cause, effect, from_wallet: true };
        let kind = kind(&cause.purpose);
        let approvals = match &turn.pay {
            Pay::Permit(_) => {
                let call = self.intent(key, call.abi_encode()).kind(format!("{kind}{PERMIT}"));
                return self.submit_numbered(conn, payment, call).await;
            }
            Pay::Approvals(approvals) => *approvals,
        };
        // The payment has its number before the approvals that name it.
        let next = EffectId { seq: effect.seq.saturating_add(1), ..effect };
        let approving = Approving { effect, next, job: cause.job, key: &key };
        let earlier = self.approve_with(conn, approvals, turn.value, approving).await?;
        let call = self.intent(key, call.abi_encode()).kind(kind);
        self.submit_numbered(conn, payment, follows(call, earlier)).await
    }

    /// Stores the approvals that a payment needs whose own transaction the caller stores in the same transaction of the database, under
    /// the number `effect`. They are numbered among the account's own effects. Returns the last of them, after which the payment must
    /// go out; `None` where a permit or an allowance pays.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn approve(
        &self,
        conn: &mut Conn,
        turn: &WalletTurn,
        effect: EffectId,
    ) -> Result<Option<TxId>, NodeError> {
        let Pay::Approvals(approvals) = turn.pay else { return Ok(None) };
        let next = purposes::next_effect(conn, Subject::Account(self.account())).await?;
        let key = effect.to_string();
        let approving = Approving { effect, next, job: None, key: &key };
        self.approve_with(conn, approvals, turn.value, approving).await
    }

    /// Stores approvals, one after the other, and returns the last of them.
    async fn approve_with(
        &self,
        conn: &mut Conn,
        approvals: Approvals,
        value: Amount,
        Approving { effect, mut next, job, key }: Approving<'_>,
    ) -> Result<Option<TxId>, NodeError> {
        let mut earlier = None;
        let cause = Cause { subject: next.subject, purpose: Purpose::Approve { effect }, job };
        for allowance in approvals.amounts(value) {
            let approve = call::approve(self.domain().contract(), allowance).abi_encode();
            let step = if allowance.is_zero() { "reset" } else { "approve" };
            let approve =
                Intent::new(format!("{step} for {key}"), self.account(), self.domain().token(), approve);
            let numbered = Numbered { cause: &cause, effect: next, from_wallet: true };
            let approve = follows(approve.kind(kind(&cause.purpose)), earlier);
            earlier = Some(self.submit_numbered(conn, numbered, approve).await?);
            next.seq = next.seq.saturating_add(1);
        }
        Ok(earlier)
    }

    /// A permit for the service contract over our own tokens.
    ///
    /// It does not expire: it is good for one nonce, and only for a contract that takes tokens from its caller alone. A
    /// deadline would only break transactions that wait for cheaper gas.
    async fn permit(&self, value: Amount, domain: &PermitDomain) -> Result<IPSC::Permit, NodeError> {
        let nonce = token::nonce(self.provider(), self.domain().token(), self.account()).await?;
        let Some(nonce) = nonce else {
            let reason = "the token did not answer".to_owned();
            return Err(NodeError::Contract { what: "the permit nonce", reason });
        };
        let request = PermitRequest {
            owner: self.account(),
            spender: self.domain().contract(),
            value,
            nonce,
            deadline: u64::MAX,
        };
        let signature = self
            .signer()
            .sign_hash_sync(&request.digest(domain))
            .map_err(|e| NodeError::Signing { what: "a permit", reason: e.to_string() })?;
        Ok(request.signed(&signature))
    }

    async fn is_wallet_busy(&self) -> Result<bool, NodeError> {
        let transactor = self.transactor()?;
        let mut conn = self.db().read().await?;
        let open = transactor.open_intents(&mut conn).await?;
        let ours = open.iter().filter(|record| record.intent.from == self.account());
        let ours: Vec<TxNumber> = ours.map(|record| TxNumber(record.id.0)).collect();
        let outlines = purposes::outlines(&mut conn, &ours).await?;
        Ok(outlines.iter().any(|outline| outline.from_wallet))
    }
}

/// What approvals are for.
struct Approving<'a> {
    /// The payment that waits for them.
    effect: EffectId,
    /// The number of the first of them.
    next: EffectId,
    /// The job that makes them.
    job: Option<JobId>,
    /// The payment's key.
    key: &'a str,
}

/// The intent, which goes out once an earlier one is mined.
fn follows(intent: Intent, earlier: Option<TxId>) -> Intent {
    match earlier {
        Some(earlier) => intent.after(earlier),
        None => intent,
    }
}
