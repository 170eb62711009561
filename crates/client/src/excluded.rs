//! Channels that cannot be paid for, because the contact policy permits none of their agents' addresses.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use privatix_node::{Notices, Part};

/// The part of a node whose notice shows them.
const PART: Part = Part::Contact;

/// Channels opened under another policy than the present one, or whose agents have moved. Health shows them until they are
/// closed.
pub(crate) struct Excluded {
    notices: Notices,
    /// With the reason, which names the remedy.
    channels: Mutex<BTreeMap<ChannelId, String>>,
}

impl Excluded {
    pub(crate) fn new(notices: Notices) -> Self {
        Self { notices, channels: Mutex::default() }
    }

    /// Whether it was not among them before.
    pub(crate) fn add(&self, channel: ChannelId, reason: String) -> bool {
        let mut channels = self.channels.lock();
        let is_new = channels.insert(channel, reason).is_none();
        self.notices.set(PART, notice(&channels));
        is_new
    }

    pub(crate) fn remove(&self, channel: ChannelId) {
        let mut channels = self.channels.lock();
        if channels.remove(&channel).is_some() {
            self.notices.set(PART, notice(&channels));
        }
    }
}

fn notice(channels: &BTreeMap<ChannelId, String>) -> Option<String> {
    let (first, reason) = channels.first_key_value()?;
    let further = match channels.len().saturating_sub(1) {
        0 => String::new(),
        further => format!(" (and {further} more)"),
    };
    Some(format!(
        "the agent of channel {first}{further} cannot be contacted, so the service is ended, and the agent gets what is owed by \
         the close on chain: {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_shows_excluded_channels_with_the_remedy_until_they_are_closed() {
        let notices = Notices::default();
        let excluded = Excluded::new(notices.clone());
        let channel = |byte| ChannelId::new([byte; 32].into());
        assert!(excluded.add(channel(1), "set somc.contact".into()));
        assert!(!excluded.add(channel(1), "set somc.contact".into()));
        let shown = notices.all().pop().unwrap();
        assert_eq!(shown.0, "contact");
        assert!(
            shown.1.contains(&channel(1).to_string()) && shown.1.ends_with("set somc.contact"),
            "{shown:?}"
        );
        excluded.add(channel(2), "other".into());
        assert!(notices.all().pop().unwrap().1.contains("(and 1 more)"));
        excluded.remove(channel(1));
        let left: Vec<ChannelId> = excluded.channels.lock().keys().copied().collect();
        assert_eq!(left, [channel(2)]);
        excluded.remove(channel(2));
        assert_eq!(notices.all(), []);
    }
}
