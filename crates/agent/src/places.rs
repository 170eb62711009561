//! Whether the messaging server's places suffice.

use std::time::Duration;

use privatix_node::{Notices, Part};
use privatix_somc::ServerStats;
use tokio_util::sync::CancellationToken;

const PART: Part = Part::Messaging;
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is taken of the messaging server's places.
pub(crate) struct Places {
    pub(crate) stats: ServerStats,
    /// Connections that have proved a channel, at the most.
    pub(crate) most: usize,
}

impl Places {
    /// What an operator should know of what happened since `before`.
    fn trouble_since(&self, before: &ServerStats) -> Option<String> {
        let now = &self.stats;
        let known = usize::try_from(now.connections.saturating_sub(now.strangers)).unwrap_or(usize::MAX);
        if known >= self.most {
            return Some(format!(
                "all {} connections of paying clients are taken: raise somc.max_connections",
                self.most
            ));
        }
        let turned_away = now.turned_away.saturating_sub(before.turned_away);
        if turned_away > 0 {
            return Some(format!(
                "{turned_away} new connections were turned away lately: raise somc.max_strangers, and \
                 somc.max_connections_per_peer where many clients share an address"
            ));
        }
        let dismissed = now.dismissed.saturating_sub(before.dismissed);
        (dismissed > 0).then(|| {
            format!(
                "{dismissed} idle connections without a payment were ended lately to make room: raise \
                 somc.max_connections_per_peer if many clients share an address"
            )
        })
    }
}

/// Says so in the node's notices until `stop`.
pub(crate) async fn watch_places(places: impl Fn() -> Places, notices: Notices, stop: CancellationToken) {
    let mut before = places().stats;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = places();
        notices.set(PART, now.trouble_since(&before));
        before = now.stats;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(change: impl FnOnce(&mut ServerStats)) -> ServerStats {
        let mut stats = ServerStats::default();
        change(&mut stats);
        stats
    }

    #[test]
    fn what_happened_since_the_last_look_is_named_with_the_setting_that_helps() {
        let before = stats(|stats| (stats.turned_away, stats.dismissed) = (5, 5));
        for (now, setting) in [
            (stats(|stats| (stats.turned_away, stats.dismissed) = (5, 5)), None),
            (
                stats(|stats| (stats.turned_away, stats.dismissed) = (5, 7)),
                Some("max_connections_per_peer if"),
            ),
            (stats(|stats| (stats.turned_away, stats.dismissed) = (6, 7)), Some("somc.max_strangers")),
            (stats(|stats| (stats.turned_away, stats.connections) = (9, 3)), Some("somc.max_connections")),
            (stats(|stats| (stats.connections, stats.strangers, stats.dismissed) = (3, 1, 5)), None),
        ] {
            let said = Places { stats: now, most: 3 }.trouble_since(&before);
            assert_eq!(said.is_some(), setting.is_some(), "{now:?}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(setting.unwrap_or_default())), "{now:?}");
        }
    }
}
