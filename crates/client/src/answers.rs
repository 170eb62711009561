//! What an agent's answers mean for the channel: from the wire's words to those that are decided about.

use privatix_channel::{Amount, Reason, ServiceState, SignedVoucher};
use privatix_market::{Carried, ClientMessage, NotNow};
use privatix_node::NodeError;
use privatix_somc::{Refusal, Unready};

/// What an agent answered to a voucher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// In clear: what it acknowledges in all, in base units.
    Acknowledged(Amount),
    /// In a session in which the channel is proved: where the channel stands.
    Stands(Box<Stands>),
}

/// Where a channel stands by its agent's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    /// What it acknowledges in all, in base units.
    pub acknowledged: Amount,
    /// What is decided about besides.
    pub carried: Carried,
    /// The voucher that is carried, with its signature, which was checked.
    pub signed: Option<SignedVoucher>,
}

impl Stands {
    /// What is decided of it as the answer to a voucher over `sent`.
    fn answers(self, sent: Amount) -> ClientMessage {
        let Self { acknowledged, carried, .. } = self;
        let view = carried.view.map(|shown| shown.view);
        let ended = view.is_some_and(|view| view.service == ServiceState::Ended);
        let closing = view.and_then(|view| view.reason) == Some(Reason::CLOSING);
        if acknowledged >= sent {
            ClientMessage::Paid { acknowledged, ended, carried }
        } else if ended || closing {
            // It was kept, and is not certain to be paid.
            ClientMessage::Closing { carried }
        } else {
            // What the deposit does not cover counts once a top-up is confirmed.
            ClientMessage::Stale { acknowledged, carried }
        }
    }
}

impl Heard {
    /// What the agent acknowledges in all, in base units.
    pub fn acknowledged(&self) -> Amount {
        match self {
            Self::Acknowledged(acknowledged) => *acknowledged,
            Self::Stands(stands) => stands.acknowledged,
        }
    }

    /// The voucher that is carried, with its signature.
    pub(crate) fn signed(&self) -> Option<SignedVoucher> {
        match self {
            Self::Acknowledged(_) => None,
            Self::Stands(stands) => stands.signed,
        }
    }
}

/// Why a request was not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unheard {
    /// The agent answered that it does not do it.
    #[error("the agent refused: {0}")]
    Refused(Refusal),
    /// The user does not permit to contact the agent. Nothing was sent.
    #[error("{0}")]
    NotPermitted(String),
    /// The agent was not reached, or did not answer in time.
    #[error("{0}")]
    Silent(String),
    /// The agent answered, and that cannot be used.
    #[error("the agent's answer cannot be used: {0}")]
    Unusable(String),
    /// This side could not ask: it has no connection to the network, or its database failed. It shows nothing about the agent.
    #[error(transparent)]
    Ours(NodeError),
}

/// Of errors that are no answer of the agent.
impl From<NodeError> for Unheard {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::NotPermitted(refusal) => Self::NotPermitted(refusal.to_string()),
            NodeError::Peer { .. } | NodeError::Refused(_) => Self::Silent(error.to_string()),
            NodeError::Offering(error) => Self::Unusable(error.to_string()),
            error => Self::Ours(error),
        }
    }
}

/// What is decided of the answer to a voucher over `sent`, that the request of this number carried. `None` where this side did not
/// ask: the request's time ends it.
pub(crate) fn to_voucher(answer: &Result<Heard, Unheard>, sent: Amount, seq: u32) -> Option<ClientMessage> {
    Some(match answer {
        Ok(Heard::Acknowledged(acknowledged)) => {
            ClientMessage::Paid { acknowledged: *acknowledged, ended: false, carried: Carried::default() }
        }
        Ok(Heard::Stands(stands)) => stands.answers(sent),
        Err(Unheard::Refused(refusal)) => match refusal {
            Refusal::Stale { acknowledged } | Refusal::Equal { acknowledged } => {
                ClientMessage::Stale { acknowledged: *acknowledged, carried: Carried::default() }
            }
            // It was taken: it pays for what was used.
            Refusal::ServiceTerminated => {
                ClientMessage::Paid { acknowledged: sent, ended: true, carried: Carried::default() }
            }
            Refusal::ChannelClosing | Refusal::NoSigner => {
                ClientMessage::Closing { carried: Carried::default() }
            }
            // Its view of the chain does not show the channel as ours does.
            Refusal::NotReady { reason, .. } => ClientMessage::NotNow(reason.and_then(not_now)),
            Refusal::AboveDeposit { .. } => ClientMessage::NotNow(None),
            _ => ClientMessage::Unanswered { seq },
        },
        Err(error) => return unheard(error, seq),
    })
}

/// What is decided where no access came.
pub(crate) fn without_access(error: &Unheard, seq: u32) -> Option<ClientMessage> {
    Some(match error {
        Unheard::Refused(Refusal::ServiceTerminated | Refusal::NoSigner) => ClientMessage::AccessRefused,
        Unheard::Refused(Refusal::ChannelClosing) => ClientMessage::Closing { carried: Carried::default() },
        Unheard::Refused(Refusal::NotReady { reason, .. }) => {
            ClientMessage::AccessNotReady(reason.and_then(not_now))
        }
        // The agent has yet to see the channel confirmed; or one of the two clocks is wrong.
        Unheard::Refused(
            Refusal::UnknownChannel { .. }
            | Refusal::Expired { .. }
            | Refusal::Replayed
            | Refusal::WrongSigner,
        )
        | Unheard::Unusable(_) => ClientMessage::AccessNotReady(None),
        error => return unheard(error, seq),
    })
}

/// The reason that an agent gave, if it is one that is shown.
const fn not_now(reason: Unready) -> Option<NotNow> {
    match reason {
        Unready::StaleView => Some(NotNow::StaleView),
        Unready::Unexplained => Some(NotNow::Unexplained),
        _ => None,
    }
}

/// What is decided where an offering or a ping was not answered.
pub(crate) fn unheard(error: &Unheard, seq: u32) -> Option<ClientMessage> {
    match error {
        Unheard::NotPermitted(_) => Some(ClientMessage::NotPermitted),
        Unheard::Refused(_) | Unheard::Silent(_) | Unheard::Unusable(_) => {
            Some(ClientMessage::Unanswered { seq })
        }
        Unheard::Ours(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use privatix_channel::{AgentView, ChannelId, Usage};
    use privatix_market::{Shown, Uptime};
    use privatix_offering::ContactPolicy;

    use super::*;

    const SENT: Amount = Amount::new(70);
    const RETRY_AFTER: Duration = Duration::from_secs(1);

    const fn unready(reason: Unready) -> Refusal {
        Refusal::NotReady { retry_after: RETRY_AFTER, reason: Some(reason) }
    }

    fn refused(refusal: Refusal) -> Unheard {
        Unheard::Refused(refusal)
    }

    fn silent() -> Unheard {
        let (address, reason) = ("somewhere".to_owned(), "nobody there".to_owned());
        NodeError::Peer { address, reason }.into()
    }

    fn offline() -> Unheard {
        NodeError::Offline { reason: "no Tor".to_owned() }.into()
    }

    #[test]
    fn each_answer_to_a_voucher_has_one_meaning() {
        let channel = ChannelId::new([1; 32].into());
        let acknowledged = Amount::new(60);
        let unanswered = ClientMessage::Unanswered { seq: 7 };
        for (answer, expected) in [
            (
                Ok(Heard::Acknowledged(SENT)),
                Some(ClientMessage::Paid { acknowledged: SENT, ended: false, carried: Carried::default() }),
            ),
            // A lie, or a restored database: that is decided, and not guessed here.
            (
                Ok(Heard::Acknowledged(Amount::new(80))),
                Some(ClientMessage::Paid {
                    acknowledged: Amount::new(80),
                    ended: false,
                    carried: Carried::default(),
                }),
            ),
            (
                Err(refused(Refusal::Stale { acknowledged })),
                Some(ClientMessage::Stale { acknowledged, carried: Carried::default() }),
            ),
            (
                Err(refused(Refusal::Equal { acknowledged })),
                Some(ClientMessage::Stale { acknowledged, carried: Carried::default() }),
            ),
            (
                Err(refused(Refusal::ServiceTerminated)),
                Some(ClientMessage::Paid { acknowledged: SENT, ended: true, carried: Carried::default() }),
            ),
            (
                Err(refused(Refusal::ChannelClosing)),
                Some(ClientMessage::Closing { carried: Carried::default() }),
            ),
            (Err(refused(Refusal::NoSigner)), Some(ClientMessage::Closing { carried: Carried::default() })),
            (Err(refused(Refusal::not_ready(RETRY_AFTER))), Some(ClientMessage::NotNow(None))),
            (Err(refused(unready(Unready::StaleView))), Some(ClientMessage::NotNow(Some(NotNow::StaleView)))),
            (
                Err(refused(unready(Unready::Unexplained))),
                Some(ClientMessage::NotNow(Some(NotNow::Unexplained))),
            ),
            (
                Err(refused(Refusal::AboveDeposit { deposit: acknowledged })),
                Some(ClientMessage::NotNow(None)),
            ),
            (Err(refused(Refusal::UnknownChannel { channel })), Some(unanswered)),
            (Err(refused(Refusal::Busy { retry_after: RETRY_AFTER })), Some(unanswered)),
            (Err(refused(Refusal::Internal)), Some(unanswered)),
            (Err(silent()), Some(unanswered)),
            (Err(Unheard::NotPermitted(String::new())), Some(ClientMessage::NotPermitted)),
            (Err(offline()), None),
        ] {
            assert_eq!(to_voucher(&answer, SENT, 7), expected, "{answer:?}");
        }
    }

    #[test]
    fn where_a_channel_stands_answers_a_voucher_in_one_way() {
        let shown = |service, reason: &str| {
            let reason = reason.parse().ok();
            let view =
                AgentView { number: 1, used: Usage::ZERO, service, reason, resumes_at: None, access: 0 };
            let view = Some(Shown { connected: Uptime::default(), view });
            Carried { view, best: None }
        };
        let (all, less, more) = (SENT, Amount::new(60), Amount::new(80));
        let running = shown(ServiceState::Running, "");
        let unpaid = shown(ServiceState::Suspended, "unpaid");
        let closing = shown(ServiceState::Suspended, "closing");
        let ended = shown(ServiceState::Ended, "by_order");
        let paid = |acknowledged, ended, carried| ClientMessage::Paid { acknowledged, ended, carried };
        for (acknowledged, carried, expected) in [
            (all, running, paid(all, false, running)),
            (more, running, paid(more, false, running)),
            (all, unpaid, paid(all, false, unpaid)),
            (all, ended, paid(all, true, ended)),
            (less, running, ClientMessage::Stale { acknowledged: less, carried: running }),
            (less, unpaid, ClientMessage::Stale { acknowledged: less, carried: unpaid }),
            (less, closing, ClientMessage::Closing { carried: closing }),
            (less, ended, ClientMessage::Closing { carried: ended }),
        ] {
            let stands = Stands { acknowledged, carried, signed: None };
            let answer = Ok(Heard::Stands(Box::new(stands)));
            assert_eq!(to_voucher(&answer, SENT, 7), Some(expected), "{answer:?}");
        }
    }

    #[test]
    fn access_is_refused_for_good_by_those_alone_who_say_so() {
        let channel = ChannelId::new([1; 32].into());
        let unanswered = ClientMessage::Unanswered { seq: 7 };
        for (error, expected) in [
            (refused(Refusal::ServiceTerminated), Some(ClientMessage::AccessRefused)),
            (refused(Refusal::NoSigner), Some(ClientMessage::AccessRefused)),
            (refused(Refusal::ChannelClosing), Some(ClientMessage::Closing { carried: Carried::default() })),
            (refused(Refusal::not_ready(RETRY_AFTER)), Some(ClientMessage::AccessNotReady(None))),
            (
                refused(unready(Unready::StaleView)),
                Some(ClientMessage::AccessNotReady(Some(NotNow::StaleView))),
            ),
            (refused(Refusal::UnknownChannel { channel }), Some(ClientMessage::AccessNotReady(None))),
            (refused(Refusal::Expired { away: RETRY_AFTER }), Some(ClientMessage::AccessNotReady(None))),
            (
                Unheard::Unusable("sealed for another key".to_owned()),
                Some(ClientMessage::AccessNotReady(None)),
            ),
            (refused(Refusal::Timeout), Some(unanswered)),
            (silent(), Some(unanswered)),
            (Unheard::NotPermitted(String::new()), Some(ClientMessage::NotPermitted)),
            (offline(), None),
        ] {
            assert_eq!(without_access(&error, 7), expected, "{error:?}");
        }
    }

    #[test]
    fn an_address_that_the_user_does_not_permit_is_no_silence() {
        let policy = ContactPolicy::default();
        let address = privatix_somc::SomcAddress::new(privatix_somc::SourceType::Direct, "192.0.2.1:4000");
        let refusal = policy.candidates(&address.unwrap(), &[]).unwrap_err();
        assert!(matches!(Unheard::from(NodeError::from(refusal)), Unheard::NotPermitted(_)));
    }
}
