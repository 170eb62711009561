//! Whether this side is on the network itself: [`Network`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_channel::{ChannelDescriptor, SignedVoucher, Usage};
use privatix_node::NodeError;

use crate::answers::{Heard, Stands, Unheard};
use crate::asks::{Agents, GivenAccess};

/// Whether this side is on the network, as far as the last request to an agent has shown: an outage of its own counts against nobody.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    is_off: Arc<AtomicBool>,
}

impl Network {
    /// Whether nothing is known to the contrary.
    pub(crate) fn is_on(&self) -> bool {
        !self.is_off.load(Relaxed)
    }

    /// Notes what came of a request.
    fn note<T>(&self, answer: &Result<T, Unheard>) {
        match answer {
            Ok(_) | Err(Unheard::Refused(_) | Unheard::Silent(_) | Unheard::Unusable(_)) => {
                self.is_off.store(false, Relaxed);
            }
            Err(Unheard::Ours(NodeError::Offline { .. })) => self.is_off.store(true, Relaxed),
            // Nothing was sent.
            Err(Unheard::NotPermitted(_) | Unheard::Ours(_)) => {}
        }
    }
}

/// Agents, where each request shows whether this side is on the network.
pub(crate) struct Noted {
    pub(crate) agents: Arc<dyn Agents>,
    pub(crate) network: Network,
}

impl Noted {
    fn note<T>(&self, answer: Result<T, Unheard>) -> Result<T, Unheard> {
        self.network.note(&answer);
        answer
    }
}

#[async_trait]
impl Agents for Noted {
    async fn access(&self, channel: &ChannelDescriptor) -> Result<GivenAccess, Unheard> {
        self.note(self.agents.access(channel).await)
    }

    async fn terms(&self, channel: &ChannelDescriptor) -> Result<Arc<Terms>, Unheard> {
        self.note(self.agents.terms(channel).await)
    }

    async fn attach(&self, channel: &ChannelDescriptor) -> Result<Option<Stands>, Unheard> {
        self.note(self.agents.attach(channel).await)
    }

    async fn pay(
        &self,
        channel: &ChannelDescriptor,
        voucher: SignedVoucher,
        used: Usage,
    ) -> Result<Heard, Unheard> {
        self.note(self.agents.pay(channel, voucher, used).await)
    }

    async fn permits(&self, channel: &ChannelDescriptor) -> Result<(), Unheard> {
        self.agents.permits(channel).await // nothing is sent
    }

    async fn ping(&self, channel: &ChannelDescriptor) -> Result<(), Unheard> {
        self.note(self.agents.ping(channel).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_our_own_lasts_until_somebody_is_asked() {
        let network = Network::default();
        let offline = || Err::<(), _>(Unheard::Ours(NodeError::Offline { reason: "no uplink".to_owned() }));
        assert!(network.is_on());
        network.note(&offline());
        assert!(!network.is_on());
        for says_nothing in [Unheard::NotPermitted(String::new()), Unheard::Ours(NodeError::AdapterStarting)]
        {
            network.note(&Err::<(), _>(says_nothing));
            assert!(!network.is_on());
        }
        for says_something in [Ok(()), Err(Unheard::Silent(String::new()))] {
            network.note(&offline());
            network.note(&says_something);
            assert!(network.is_on());
        }
    }
}
