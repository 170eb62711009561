//! Where clients reach an agent, and what accepts them there.

use std::fmt;
use std::time::Duration;

use privatix_channel::{Amount, ChannelId};
use privatix_market::{NotNow, Reply, Why};
use privatix_offering::Addresses;
use privatix_somc::{Listener, Paid, Refusal, SomcAddress, Unready};

/// The addresses of an agent's messaging server, and its listeners. The first address is announced on chain; offerings
/// list all of them.
pub struct Messaging {
    addresses: Addresses,
    listeners: Vec<Box<dyn Listener>>,
}

impl Messaging {
    /// A server that is reached at `address` and accepts connections from `listener`.
    pub fn new(address: SomcAddress, listener: impl Listener + 'static) -> Self {
        Self { addresses: address.into(), listeners: vec![Box::new(listener)] }
    }

    /// A server with several addresses or listeners. They need not belong together one by one: a tor daemon's onion
    /// service that is forwarded to a listener is an address without a listener of its own. `None` without any.
    pub fn of(addresses: Vec<SomcAddress>, listeners: Vec<Box<dyn Listener>>) -> Option<Self> {
        let addresses = Addresses::new(addresses)?;
        (!listeners.is_empty()).then_some(Self { addresses, listeners })
    }

    pub(crate) fn into_parts(self) -> (Addresses, Vec<Box<dyn Listener>>) {
        (self.addresses, self.listeners)
    }
}

impl fmt::Debug for Messaging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messaging")
            .field("addresses", &self.addresses)
            .field("listeners", &self.listeners.len())
            .finish()
    }
}

/// When a voucher may be taken again that came while the view of the chain was stale.
const UNTIL_SEEN: Duration = Duration::from_secs(30);

/// The answer to a voucher over `cumulative` in the words of protocol 1.
///
/// A client takes everything that it has signed as acknowledged by `service_terminated`, so that is the answer only where it is.
pub(crate) fn answer(channel: ChannelId, cumulative: Amount, reply: Reply) -> Result<Paid, Refusal> {
    match reply {
        Reply::Paid { acknowledged, ended } if acknowledged < cumulative => {
            // It is kept, and what the deposit covers is paid. The rest counts once a top-up is confirmed.
            Err(if ended { Refusal::ChannelClosing } else { Refusal::AboveDeposit { deposit: acknowledged } })
        }
        Reply::Paid { ended: true, .. } => Err(Refusal::ServiceTerminated),
        Reply::Paid { acknowledged, .. } => Ok(Paid { cumulative: acknowledged }),
        Reply::Kept { .. } | Reply::NotOpen { closed: true } => Err(Refusal::ChannelClosing),
        Reply::Stale { acknowledged } => Err(Refusal::Stale { acknowledged }),
        Reply::NotOpen { closed: false } => Err(Refusal::UnknownChannel { channel }),
        Reply::NoSigner => Err(Refusal::NoSigner),
        Reply::NotNow(why) => Err(Refusal::NotReady { retry_after: UNTIL_SEEN, reason: not_now(why) }),
        _ => Err(Refusal::Internal), // `Reply` may get more answers; none is given yet
    }
}

/// What is acknowledged to a client that has proved its channel: its view says the rest.
pub(crate) fn acknowledged(channel: ChannelId, reply: Reply) -> Result<Amount, Refusal> {
    match reply {
        Reply::Paid { acknowledged, .. }
        | Reply::Kept { acknowledged }
        | Reply::Stale { acknowledged }
        | Reply::Known { acknowledged } => Ok(acknowledged),
        reply => answer(channel, Amount::ZERO, reply).map(|paid| paid.cumulative),
    }
}

/// Why a voucher is not taken now, in the words of protocol 1.
const fn not_now(why: NotNow) -> Option<Unready> {
    match why {
        NotNow::StaleView => Some(Unready::StaleView),
        NotNow::Unexplained => Some(Unready::Unexplained),
        _ => None,
    }
}

/// Why access is not given yet, in the words of protocol 1.
///
/// Only what concerns this side's view of the chain: a client that learned that the account has no ether would know that its close
/// request could not be answered.
pub(crate) const fn unready(why: Why) -> Option<Unready> {
    match why {
        Why::StaleView => Some(Unready::StaleView),
        Why::Unexplained => Some(Unready::Unexplained),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_protocol_1_hears_of_no_payment_that_is_not_certain() {
        let channel = ChannelId::new([7; 32].into());
        let said = |reply| answer(channel, Amount::new(700), reply);
        let (all, less) = (Amount::new(700), Amount::new(600));
        let paid = |acknowledged, ended| said(Reply::Paid { acknowledged, ended });
        assert_eq!(paid(all, false), Ok(Paid { cumulative: all }));
        assert_eq!(paid(less, false), Err(Refusal::AboveDeposit { deposit: less }));
        assert_eq!(paid(all, true), Err(Refusal::ServiceTerminated));
        assert_eq!(paid(less, true), Err(Refusal::ChannelClosing));
        assert_eq!(said(Reply::Kept { acknowledged: less }), Err(Refusal::ChannelClosing));
        assert_eq!(said(Reply::NotOpen { closed: true }), Err(Refusal::ChannelClosing));
        assert_eq!(said(Reply::NotOpen { closed: false }), Err(Refusal::UnknownChannel { channel }));
        assert_eq!(said(Reply::Stale { acknowledged: less }), Err(Refusal::Stale { acknowledged: less }));
        assert_eq!(said(Reply::NoSigner), Err(Refusal::NoSigner));
        let not_now = |reason| Err(Refusal::NotReady { retry_after: UNTIL_SEEN, reason: Some(reason) });
        assert_eq!(said(Reply::NotNow(NotNow::StaleView)), not_now(Unready::StaleView));
        assert_eq!(said(Reply::NotNow(NotNow::Unexplained)), not_now(Unready::Unexplained));
    }

    #[test]
    fn a_client_does_not_learn_that_its_agent_could_answer_no_close_request() {
        assert_eq!(unready(Why::StaleView), Some(Unready::StaleView));
        assert_eq!(unready(Why::Unexplained), Some(Unready::Unexplained));
        for why in [Why::NoGas, Why::Opening, Why::NoTerms] {
            assert_eq!(unready(why), None, "{why:?}");
        }
    }
}
