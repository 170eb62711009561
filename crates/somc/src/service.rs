//! What an agent answers: the [`Service`] behind a server.

use std::sync::Arc;

use async_trait::async_trait;
use privatix_channel::{Amount, OfferingHash, SignedVoucher};
use privatix_offering::{AccessRequest, SealedAccess};
use serde::{Deserialize, Serialize};

use crate::Refusal;

/// The agent's answer to a payment: everything up to this amount is proven and stored.
///
/// It is the agent's word: above the highest voucher that the client signed it is a lie, and proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// The highest cumulative amount acknowledged, at least that of the voucher.
    pub cumulative: Amount,
}

/// What an agent answers to requests. Ping is answered by the server itself.
///
/// Calls come from many connections at once. A call is given up (its future dropped) when it takes longer than
/// [`request_timeout`](crate::ServerLimits::request_timeout) or when a shutdown's grace ends, so a half-done call must
/// leave nothing half applied: change state in one transaction at the end. A panic is answered with
/// [`Refusal::Internal`].
#[async_trait]
pub trait Service: Send + Sync {
    /// The signed offering message with this hash, as it was announced: at most
    /// [`MAX_OFFERING_SIZE`](privatix_offering::MAX_OFFERING_SIZE) bytes.
    async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, Refusal>;

    /// The access of a channel, sealed to the key in the request.
    ///
    /// Check the request first: anybody can send one. Use [`Refusal::NotReady`] while the service is being provisioned,
    /// [`Refusal::Expired`] and [`Refusal::Replayed`] for what a replay guard refuses. Only a request that is answered
    /// with access may use up its moment in the guard: a client repeats the same one after `NotReady`.
    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal>;

    /// Takes a voucher: verifies, stores durably, and only then returns.
    ///
    /// Verify the signature before anything else is looked at or disclosed, also of a voucher that is stale: an unverified
    /// shortcut has given away service elsewhere, and the acknowledged amount is nobody's business but the client's.
    /// Repeating the best voucher is no error: answer with what is acknowledged.
    ///
    /// Of the vouchers of one channel that one connection sends, one at a time gets here, in the order in which they
    /// came. Those that come while a call is under way wait together; then the highest is passed on, and its
    /// acknowledgement answers them all, because vouchers are cumulative. When it is refused for itself (a forged one, or
    /// one above the deposit), the next lower is passed on. Different connections never share this queue, so nobody
    /// can put a forged voucher before another's.
    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal>;
}

#[async_trait]
impl<S: Service + ?Sized> Service for Arc<S> {
    async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, Refusal> {
        (**self).offering(hash).await
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        (**self).access(request).await
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        (**self).pay(voucher).await
    }
}
