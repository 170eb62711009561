//! What an agent answers: the [`Service`] behind a server.

use std::sync::Arc;

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_channel::{AgentView, Amount, ChannelId, OfferingHash, SignedVoucher, Usage, VoucherSignature};
use privatix_offering::{
    AccessRequest, ChannelProof, DescribedAccessRequest, SealedAccess, SessionId, SignedReceipt,
};
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

/// Where a channel stands by its agent's books: what it answers about a channel that is proved on the connection.
///
/// It is the agent's word, as [`Paid`] is; but a better voucher that comes with it is the client's own signature, and proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is acknowledged in all, in base units of the token. It may be less than a voucher that it answers: what the deposit does not
    /// cover, or what is not certain to be paid because the channel closes.
    pub cumulative: Amount,
    /// The agent's meter, and what its service does.
    pub view: AgentView,
    /// The best voucher that the agent holds, where that is better than the one it answers, or than nothing. Verify it.
    pub voucher: Option<(Amount, VoucherSignature)>,
}

/// A payment, as it comes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) voucher: SignedVoucher,
    pub(crate) used: Option<Usage>,
}

/// The session on which something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallerSession {
    /// The agent that the client wanted. What it asks about another agent's channels is unknown here.
    pub agent: Address,
    /// What names the session.
    pub id: SessionId,
}

impl CallerSession {
    pub(crate) const fn new(agent: Address, id: SessionId) -> Self {
        Self { agent, id }
    }
}

/// The access of a channel, and its number in the [view](AgentView::access).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedAccess {
    /// The access, sealed to the key in the request.
    pub sealed: SealedAccess,
    /// Which one it is.
    pub access: u32,
}

/// A change of a channel's view, which an agent sends unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The channel.
    pub channel: ChannelId,
    /// The view.
    pub view: AgentView,
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

    /// The same in a session, for a channel that the request describes: it can be checked before the channel's opening was seen, and is
    /// [`Refusal::NotReady`] then. Refuse with [`Refusal::UnknownChannel`] what is not a channel of the session's agent.
    ///
    /// By default there is no such method.
    async fn access_described(
        &self,
        session: CallerSession,
        request: DescribedAccessRequest,
    ) -> Result<NumberedAccess, Refusal> {
        let _ = (session, request);
        Err(Refusal::UnknownMethod { method: crate::Method::Access.name().to_owned() })
    }

    /// The channel that a request in a session is about: its id, as the descriptor gives it on the chain that is served. By default it is
    /// not known, and nothing is waited for.
    fn described(&self, request: &DescribedAccessRequest) -> Option<ChannelId> {
        let _ = request;
        None
    }

    /// Waits until access of this channel may be ready, after a request for it was checked and refused as [`Refusal::NotReady`] without a
    /// reason. Returns whether to call [`access`](Self::access) again.
    ///
    /// No place for calls is taken meanwhile, so bound how many wait. The future is dropped some seconds before
    /// [`request_timeout`](crate::ServerLimits::request_timeout), and when the connection ends; the refusal is the answer then.
    ///
    /// By default nothing is waited for.
    async fn until_ready(&self, channel: ChannelId) -> bool {
        let _ = channel;
        false
    }

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

    /// Checks a client's proof of a channel for this session. Refuse with [`Refusal::UnknownChannel`] what is not a channel of the
    /// session's agent, and with [`Refusal::WrongSigner`] what proves nothing.
    ///
    /// By default nothing is proved: then no channel has a [`standing`](Self::standing).
    async fn attach(&self, session: CallerSession, proof: ChannelProof) -> Result<(), Refusal> {
        let _ = (session, proof);
        Err(Refusal::UnknownMethod { method: crate::Method::Attach.name().to_owned() })
    }

    /// Where a channel stands that was [proved](Self::attach) on the connection. Its view must be newer than each one that was
    /// [sent](crate::Notifier::notify) before the call, and no older than what happened before it.
    async fn standing(&self, channel: ChannelId) -> Result<Standing, Refusal> {
        Err(Refusal::UnknownChannel { channel })
    }

    /// A receipt for a channel that was [proved](Self::attach) on the connection: where it stands, signed by the agent or its operator.
    async fn receipt(&self, channel: ChannelId) -> Result<SignedReceipt, Refusal> {
        Err(Refusal::UnknownChannel { channel })
    }

    /// The same as [`pay`](Self::pay) for a channel that was [proved](Self::attach) on the connection. `used` is the client's own meter,
    /// if it named one. What is no refusal for itself ([`Stale`](Refusal::Stale), [`Equal`](Refusal::Equal),
    /// [`AboveDeposit`](Refusal::AboveDeposit), the end of the service) is answered by the standing.
    async fn pay_attached(&self, voucher: SignedVoucher, used: Option<Usage>) -> Result<Standing, Refusal> {
        let _ = used;
        Err(Refusal::UnknownChannel { channel: voucher.channel() })
    }
}

#[async_trait]
impl<S: Service + ?Sized> Service for Arc<S> {
    async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, Refusal> {
        (**self).offering(hash).await
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        (**self).access(request).await
    }

    async fn access_described(
        &self,
        session: CallerSession,
        request: DescribedAccessRequest,
    ) -> Result<NumberedAccess, Refusal> {
        (**self).access_described(session, request).await
    }

    fn described(&self, request: &DescribedAccessRequest) -> Option<ChannelId> {
        (**self).described(request)
    }

    async fn until_ready(&self, channel: ChannelId) -> bool {
        (**self).until_ready(channel).await
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        (**self).pay(voucher).await
    }

    async fn attach(&self, session: CallerSession, proof: ChannelProof) -> Result<(), Refusal> {
        (**self).attach(session, proof).await
    }

    async fn standing(&self, channel: ChannelId) -> Result<Standing, Refusal> {
        (**self).standing(channel).await
    }

    async fn receipt(&self, channel: ChannelId) -> Result<SignedReceipt, Refusal> {
        (**self).receipt(channel).await
    }

    async fn pay_attached(&self, voucher: SignedVoucher, used: Option<Usage>) -> Result<Standing, Refusal> {
        (**self).pay_attached(voucher, used).await
    }
}
