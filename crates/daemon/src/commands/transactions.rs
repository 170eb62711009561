use std::str::FromStr;

use alloy::primitives::utils::parse_units;
use clap::Subcommand;
use privatix_api::ApiClient;
use privatix_api::node::{
    BumpTransaction, CancelTransaction, GetTransaction, ListTransactions, Transaction, TransactionDetails,
};
use privatix_chain::{TxId, TxStatus, Wei};

use crate::DaemonError;
use crate::output::{Output, ago, or_dash, pairs, table, time};

/// `transactions`
#[derive(Subcommand, Debug)]
pub(crate) enum TransactionsCommand {
    /// Lists transactions, newest first
    List {
        /// In this status: unsent, sent, mined, failed, dropped, cancelled
        #[arg(long)]
        status: Option<TxStatus>,
        /// Of this kind
        #[arg(long)]
        kind: Option<String>,
        /// About this
        #[arg(long)]
        subject: Option<String>,
        /// Older than this one
        #[arg(long, value_name = "TRANSACTION")]
        before: Option<TxId>,
        /// At most this many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
    },
    /// Shows a transaction with all that was signed for it
    Show {
        /// The transaction
        transaction: TxId,
    },
    /// Raises the fee of a sent transaction now
    Bump {
        /// The transaction
        transaction: TxId,
        /// The most to pay in all, in gwei per gas, whatever the configured cap is
        #[arg(long, value_name = "GWEI", requires = "tip")]
        max_fee: Option<Gwei>,
        /// The most to pay above the base fee, in gwei per gas
        #[arg(long, value_name = "GWEI", requires = "max_fee")]
        tip: Option<Gwei>,
    },
    /// Cancels a transaction; one that was signed already may still be mined instead
    Cancel {
        /// The transaction
        transaction: TxId,
    },
}

impl TransactionsCommand {
    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        match self {
            Self::List { status, kind, subject, before, limit } => {
                let ask = ListTransactions { subject, kind, status, before, limit };
                output.show(&api.call(&ask).await?, |all| list(all));
            }
            Self::Show { transaction } => {
                output.show(&api.call(&GetTransaction { transaction }).await?, details);
            }
            Self::Bump { transaction, max_fee, tip } => {
                let (max_fee, priority_fee) = (max_fee.map(|gwei| gwei.0), tip.map(|gwei| gwei.0));
                let bumped = api.call(&BumpTransaction { transaction, max_fee, priority_fee }).await?;
                output.show(&bumped, |_| {
                    format!("the fee of transaction {transaction} is raised with the next block")
                });
            }
            Self::Cancel { transaction } => {
                let cancelled = api.call(&CancelTransaction { transaction }).await?;
                output.show(&cancelled, |cancelled| {
                    if cancelled.done {
                        format!("transaction {transaction} is cancelled")
                    } else if cancelled.mined {
                        format!(
                            "transaction {transaction} is in a block, where it stays; if a reorganisation takes that back, it is not \
                             sent again"
                        )
                    } else {
                        format!(
                            "transaction {transaction} was signed already: another one takes its place, and the chain decides; \
                             see `transactions show {transaction}`"
                        )
                    }
                });
            }
        }
        Ok(())
    }
}

/// A price of gas, given in gwei.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gwei(Wei);

impl FromStr for Gwei {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let price = parse_units(text, "gwei").map_err(|e| e.to_string())?.get_absolute();
        u128::try_from(price).map(|wei| Self(Wei(wei))).map_err(|_| format!("{text} gwei is too much"))
    }
}

pub(super) fn list(transactions: &[Transaction]) -> String {
    let rows = transactions.iter().map(|transaction| {
        let mined = transaction.inclusion.as_ref();
        [
            transaction.id.to_string(),
            match transaction.parent {
                Some(parent) => format!("{} of {parent}", transaction.kind),
                None => transaction.kind.clone(),
            },
            transaction.subject.clone(),
            transaction.status.to_string(),
            or_dash(mined.map(|mined| mined.block)),
            or_dash(mined.map(|mined| mined.gas_used)),
            ago(transaction.created_at),
            or_dash(transaction.failure.as_ref().or(transaction.obstacle.as_ref())),
        ]
    });
    table(["transaction", "kind", "subject", "status", "block", "gas", "submitted", "trouble"], rows)
}

fn details(details: &TransactionDetails) -> String {
    let transaction = &details.transaction;
    let mut rows = vec![
        ("transaction", transaction.id.to_string()),
        ("kind", transaction.kind.clone()),
        ("subject", transaction.subject.clone()),
        ("from", transaction.from.to_string()),
        ("to", transaction.to.to_string()),
        ("status", transaction.status.to_string()),
        ("rescue of", or_dash(transaction.parent)),
        ("its rescue", or_dash(details.rescue)),
        ("nonce", or_dash(transaction.nonce)),
        ("obstacle", or_dash(transaction.obstacle.as_ref())),
        ("failure", or_dash(transaction.failure.as_ref())),
        ("submitted", time(transaction.created_at)),
    ];
    if let Some(mined) = &transaction.inclusion {
        rows.extend([
            ("hash", mined.hash.to_string()),
            ("block", mined.block.to_string()),
            ("gas", format!("{} at {} wei", mined.gas_used, mined.gas_price)),
            ("cost (wei)", mined.cost.to_string()),
        ]);
    }
    let attempts = details.attempts.iter().map(|attempt| {
        [
            attempt.hash.to_string(),
            attempt.max_fee.to_string(),
            attempt.priority_fee.to_string(),
            time(attempt.signed_at),
        ]
    });
    let attempts = table(["signed as", "most wei per gas", "tip", "at"], attempts);
    format!("{}\n\n{attempts}", pairs(rows))
}
