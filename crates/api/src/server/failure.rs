//! What an error of the libraries is to a caller.

use jsonrpsee::types::{ErrorObject, ErrorObjectOwned};
use privatix_chain::ChainError;
use privatix_db::DbError;
use privatix_jobs::JobsError;
use privatix_node::NodeError;
use privatix_store::StoreError;
use serde::Serialize;

use crate::{ErrorCode, Failure};

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let message = error.to_string();
        let code = match &error {
            NodeError::Store(error) => of_store(error),
            NodeError::Jobs(error) => of_jobs(error),
            NodeError::Chain(error) => of_chain(error),
            NodeError::Contract { .. }
            | NodeError::StaleView(_)
            | NodeError::Clock(_)
            | NodeError::Unreconciled { .. } => ErrorCode::ChainUnavailable,
            NodeError::Peer { .. } | NodeError::Offline { .. } => ErrorCode::PeerUnavailable,
            NodeError::Insufficient { .. } => ErrorCode::InsufficientFunds,
            NodeError::Db(error) => of_db(error),
            NodeError::Refused(_)
            | NodeError::Limited(_)
            | NodeError::Token(_)
            | NodeError::NotForOperators { .. }
            | NodeError::Offering(_)
            | NodeError::NoAccess(_)
            | NodeError::NotPermitted(_)
            | NodeError::Adapter(_) => ErrorCode::Refused,
            _ => ErrorCode::Internal,
        };
        if code == ErrorCode::Internal {
            tracing::error!(%error, "a request of the control API failed");
        }
        Self { code, message }
    }
}

macro_rules! through_node_error {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                NodeError::from(error).into()
            }
        })+
    };
}

through_node_error!(StoreError, JobsError, ChainError, DbError);

const fn of_store(error: &StoreError) -> ErrorCode {
    match error {
        StoreError::NoSuchChannel(_) | StoreError::NoSuchOffering(_) | StoreError::NoSuchOrder(_) => {
            ErrorCode::NotFound
        }
        StoreError::OrderKeyUsed { .. } => ErrorCode::Refused,
        StoreError::Db(error) => of_db(error),
        _ => ErrorCode::Internal,
    }
}

const fn of_jobs(error: &JobsError) -> ErrorCode {
    match error {
        JobsError::NotFound(_) => ErrorCode::NotFound,
        JobsError::WrongStatus { .. } | JobsError::Duplicate { .. } => ErrorCode::Refused,
        JobsError::Db(error) => of_db(error),
        _ => ErrorCode::Internal,
    }
}

const fn of_chain(error: &ChainError) -> ErrorCode {
    match error {
        ChainError::UnknownTx { .. } => ErrorCode::NotFound,
        ChainError::NotSent { .. } | ChainError::NotOpen { .. } | ChainError::PriceTooLow { .. } => {
            ErrorCode::Refused
        }
        ChainError::Db(error) => of_db(error),
        _ => ErrorCode::ChainUnavailable,
    }
}

const fn of_db(error: &DbError) -> ErrorCode {
    match error {
        DbError::WriterBusy(_) | DbError::ShuttingDown => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    }
}

#[derive(Serialize)]
struct Data {
    code: ErrorCode,
}

impl From<Failure> for ErrorObjectOwned {
    fn from(failure: Failure) -> Self {
        ErrorObject::owned(failure.code.number(), failure.message, Some(Data { code: failure.code }))
    }
}
