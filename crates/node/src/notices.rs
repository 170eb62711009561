//! What an operator should know although everything works.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

macro_rules! parts {
    ($($part:ident = $name:literal, $doc:literal;)*) => {
        /// A part of a node that health names. docs/operations.md has a section for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Part {
            $(#[doc = $doc] $part,)*
        }

        impl Part {
            /// Every part.
            pub const ALL: &'static [Self] = &[$(Self::$part),*];

            /// Its name, in health and in docs/operations.md.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$part => $name,)*
                }
            }
        }
    };
}

parts! {
    Adapter = "adapter", "The plug-in, as it reports itself.";
    ChainEndpoint = "chain_endpoint", "A chain endpoint.";
    ChainHead = "chain_head", "The newest block.";
    ChainMonitor = "chain_monitor", "What follows the chain.";
    Clock = "clock", "This machine's clock.";
    Contact = "contact", "Agents that may not be contacted.";
    Contract = "contract", "The service contract.";
    Damage = "damaged channels", "Channels of which something stored cannot be read.";
    Jobs = "jobs", "The job processor.";
    Messaging = "messaging", "An agent's server for messages.";
    Offerings = "offerings", "An agent's own offerings.";
    OpenFiles = "open_files", "The limit of open files.";
    Operator = "operator", "The key that acts for an account.";
    Reconciliation = "reconciliation", "The comparison with the contract's storage.";
    Recovery = "recovery", "The recovery after a restore.";
    Reserve = "reserve", "The ether for the closes of channels.";
    SessionKey = "session key", "An agent's word about the key of its messaging sessions.";
    ServiceAdapter = "service adapter", "The start of the plug-in.";
    Tor = "tor", "Tor in this process.";
    Transactor = "transactor", "What sends transactions.";
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Restrictions under which a node works, by the part that has them: health shows them as warnings. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct Notices(Arc<RwLock<BTreeMap<&'static str, String>>>);

impl Notices {
    /// What there is to say of `part` from now on; `None` takes back what was said.
    pub fn set(&self, part: Part, message: Option<String>) {
        let mut notices = self.0.write();
        match message {
            Some(message) => notices.insert(part.as_str(), message),
            None => notices.remove(part.as_str()),
        };
    }

    /// All there is to say, by part.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        self.0.read().iter().map(|(part, message)| (*part, message.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_a_part_stays_until_it_is_taken_back() {
        let notices = Notices::default();
        let shared = notices.clone();
        shared.set(Part::Tor, Some("one".into()));
        shared.set(Part::Clock, Some("two".into()));
        shared.set(Part::Tor, Some("three".into()));
        assert_eq!(notices.all(), [("clock", "two".to_owned()), ("tor", "three".to_owned())]);
        notices.set(Part::Tor, None);
        notices.set(Part::Jobs, None);
        assert_eq!(shared.all(), [("clock", "two".to_owned())]);
    }
}
