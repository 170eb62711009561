//! What all channels come to, kept up to date for whoever shows it.

use std::collections::BTreeSet;
use std::time::Duration;

use privatix_channel::ChannelId;
use privatix_store::purposes::{self, TxNumber};
use privatix_store::tally::{Tally, Totals};
use tokio_util::sync::CancellationToken;

use crate::{Node, NodeError};

const EVERY: Duration = Duration::from_secs(5);
/// All channels are read again at every 720th look (an hour), in case a change was missed.
const FULL_READ: u32 = 720;

/// What all channels come to, in base units of the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Money {
    /// Of all channels.
    pub totals: Totals,
    /// The part of [`enforceable`](Totals::enforceable) of channels with a transaction under way.
    pub in_flight: u128,
}

impl Node {
    /// What all channels come to; None until all have been read after the start.
    pub fn money(&self) -> Option<Money> {
        self.money.borrow().clone()
    }

    /// Wei paid for gas since the start of this process.
    pub fn gas_spent(&self) -> u128 {
        self.spent.total()
    }

    /// Keeps [`money`](Self::money) up to date until shutdown. Never reads all channels in one go.
    pub(crate) async fn keep_tally(&self, stop: &CancellationToken) {
        let (mut tally, mut looks) = (Tally::default(), 0_u32);
        loop {
            if let Err(error) = self.read_changes(&mut tally, looks.is_multiple_of(FULL_READ), stop).await {
                tracing::warn!(%error, "the totals of the channels are not up to date; trying again");
            } else {
                looks = looks.wrapping_add(1);
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    async fn read_changes(
        &self,
        tally: &mut Tally,
        all: bool,
        stop: &CancellationToken,
    ) -> Result<(), NodeError> {
        // Before the look, so that what changes meanwhile is read again.
        let changed = self.marks.take_changed();
        if all {
            let mut after = None;
            while !stop.is_cancelled() {
                after = tally.read_page(&mut *self.db.read().await?, after).await?;
                if after.is_none() {
                    break;
                }
            }
        } else {
            for (read, channel) in changed.iter().enumerate() {
                let refreshed =
                    async { Ok::<_, NodeError>(tally.refresh(&mut *self.db.read().await?, *channel).await?) };
                if let Err(error) = refreshed.await {
                    self.marks.give_back(changed.iter().skip(read).copied());
                    return Err(error);
                }
            }
        }
        let in_flight = self.under_way().await?.into_iter().map(|channel| tally.enforceable(channel));
        let in_flight = in_flight.fold(0, u128::saturating_add);
        self.money.send_replace(Some(Money { totals: tally.totals().clone(), in_flight }));
        Ok(())
    }

    /// Channels with a transaction that was not mined yet.
    async fn under_way(&self) -> Result<BTreeSet<ChannelId>, NodeError> {
        let transactor = self.transactor()?;
        let mut conn = self.db.read().await?;
        let open = transactor.open_intents(&mut conn).await?;
        let ours = open.iter().filter(|record| !record.is_internal());
        let ours: Vec<TxNumber> = ours.map(|record| TxNumber(record.id.0)).collect();
        let outlines = purposes::outlines(&mut conn, &ours).await?;
        Ok(outlines.into_iter().filter_map(|outline| outline.subject?.channel()).collect())
    }
}
