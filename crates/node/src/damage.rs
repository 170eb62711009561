//! Channels of which something stored cannot be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::ChannelId;

use crate::{Notices, Part};

/// The part of the notices.
const NOTICE: Part = Part::Damage;

/// Channels of which something stored cannot be read, with what that is. Each is left alone, the others go on, and health warns of
/// them. Clones share it.
#[derive(Clone, Debug)]
pub struct Damage {
    found: Arc<Mutex<BTreeMap<ChannelId, String>>>,
    notices: Notices,
}

impl Damage {
    /// None yet; they are shown in these notices.
    pub fn new(notices: Notices) -> Self {
        Self { found: Arc::default(), notices }
    }

    /// Something of a channel cannot be read.
    pub fn found(&self, channel: ChannelId, what: String) {
        let mut found = self.found.lock();
        if found.get(&channel) != Some(&what) {
            tracing::error!(%channel, what, "something stored of the channel cannot be read; it is left as it is");
            found.insert(channel, what);
            self.show(&found);
        }
    }

    /// All of a channel could be read.
    pub fn healed(&self, channel: ChannelId) {
        let mut found = self.found.lock();
        if found.remove(&channel).is_some() {
            tracing::info!(%channel, "everything stored of the channel can be read again");
            self.show(&found);
        }
    }

    /// All there are, each with what cannot be read.
    pub fn all(&self) -> BTreeMap<ChannelId, String> {
        self.found.lock().clone()
    }

    fn show(&self, found: &BTreeMap<ChannelId, String>) {
        let all: Vec<String> = found.iter().map(|(channel, what)| format!("{channel}: {what}")).collect();
        let message = format!(
            "something that is stored of these channels cannot be read, so they are kept as they are until a better voucher comes, the database is restored from a backup, or a voucher is given up (`abandon`): {}",
            all.join("; ")
        );
        self.notices.set(NOTICE, (!all.is_empty()).then_some(message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_channel_is_shown_until_it_is_healed() {
        let notices = Notices::default();
        let damage = Damage::new(notices.clone());
        let channel = |n: u8| ChannelId::new([n; 32].into());
        damage.healed(channel(1));
        assert_eq!(notices.all(), []);
        damage.found(channel(1), "no signature".to_owned());
        damage.found(channel(2), "no status".to_owned());
        let shown = notices.all()[0].1.clone();
        assert!(shown.contains(&format!("{}: no signature", channel(1))), "{shown}");
        assert!(shown.contains(&format!("{}: no status", channel(2))), "{shown}");
        damage.healed(channel(1));
        assert!(!notices.all()[0].1.contains("no signature"));
        damage.healed(channel(2));
        assert_eq!(notices.all(), []);
    }
}
