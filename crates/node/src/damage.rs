//! Channels of which something stored cannot be read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::ChannelId;

use crate::{Notices, Part};

/// The part of the notices.
const NOTICE: Part = Part::Damage;

/// Channels of which something stored cannot be read, with what that is. Each is left alone, the others go on, and health warns of
/// them. Clones share it.
///
/// A channel with a voucher that cannot be read is still decided about, and its decisions name the [`Concern`](privatix_market::Concern).
/// Where something else cannot be read, no decision may name it: see [`unreadable`](Self::unreadable).
#[derive(Clone, Debug)]
pub struct Damage {
    found: Arc<Mutex<BTreeMap<ChannelId, Found>>>,
    notices: Notices,
}

/// What of a channel cannot be read, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Its state, its row, or anything else but its voucher.
    unreadable: Option<String>,
    /// Its voucher, which was not given up.
    voucher: Option<String>,
}

impl Damage {
    /// None yet; they are shown in these notices.
    pub fn new(notices: Notices) -> Self {
        Self { found: Arc::default(), notices }
    }

    /// Something of a channel cannot be read, beside its voucher.
    pub fn found(&self, channel: ChannelId, what: String) {
        self.set(channel, |found| found.unreadable = Some(what));
    }

    /// What was [found](Self::found) of a channel can be read, or does not matter any more.
    pub fn healed(&self, channel: ChannelId) {
        self.set(channel, |found| found.unreadable = None);
    }

    /// Whether a channel's voucher cannot be read, and why. One that was given up, or whose channel is closed, does not matter.
    pub fn set_voucher(&self, channel: ChannelId, what: Option<String>) {
        self.set(channel, |found| found.voucher = what);
    }

    /// The channels of which something else than the voucher cannot be read.
    pub fn unreadable(&self) -> Vec<ChannelId> {
        let found = self.found.lock();
        let unreadable = found.iter().filter(|(_, found)| found.unreadable.is_some());
        unreadable.map(|(channel, _)| *channel).collect()
    }

    fn set(&self, channel: ChannelId, change: impl FnOnce(&mut Found)) {
        let mut all = self.found.lock();
        let before = all.get(&channel).cloned().unwrap_or_default();
        let mut found = before.clone();
        change(&mut found);
        if found == before {
            return;
        }
        if found == Found::default() {
            tracing::info!(%channel, "nothing that cannot be read stands in the channel's way any more");
            all.remove(&channel);
        } else {
            tracing::error!(%channel, what = %found, "something stored of the channel cannot be read; it is left as it is");
            all.insert(channel, found);
        }
        self.show(&all);
    }

    fn show(&self, found: &BTreeMap<ChannelId, Found>) {
        let all: Vec<String> = found.iter().map(|(channel, found)| format!("{channel}: {found}")).collect();
        let message = format!(
            "something that is stored of these channels cannot be read, so they are kept as they are until a better voucher comes, the database is restored from a backup, or a voucher is given up (`abandon`): {}",
            all.join("; ")
        );
        self.notices.set(NOTICE, (!all.is_empty()).then_some(message));
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.unreadable.iter().chain(&self.voucher).map(String::as_str).collect();
        f.write_str(&all.join(", "))
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

    #[test]
    fn a_voucher_and_what_else_cannot_be_read_are_kept_apart() {
        let notices = Notices::default();
        let damage = Damage::new(notices.clone());
        let (channel, shown) = (ChannelId::new([1; 32].into()), || notices.all()[0].1.clone());
        damage.set_voucher(channel, Some("no signature".to_owned()));
        assert_eq!(damage.unreadable(), []);
        damage.healed(channel);
        assert!(shown().contains(&format!("{channel}: no signature")), "{}", shown());
        damage.found(channel, "no status".to_owned());
        assert!(shown().contains(&format!("{channel}: no status, no signature")), "{}", shown());
        assert_eq!(damage.unreadable(), [channel]);
        damage.set_voucher(channel, None);
        assert_eq!(damage.unreadable(), [channel]);
        damage.healed(channel);
        assert_eq!((damage.unreadable(), notices.all()), (vec![], vec![]));
    }
}
