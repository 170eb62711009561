//! Channels as an operator sees them.

use privatix_adapter::Role;
use privatix_channel::{Amount, ChannelId, Usage};
use privatix_db::Conn;
use privatix_market::{Book, Side};
use privatix_store::channels::{self, Channel};
use privatix_store::{StoreError, meters, sessions, vouchers};

use crate::{Node, NodeError};

/// A channel with what was used and paid.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelView {
    /// What is stored of it.
    pub channel: Channel,
    /// Metered on this side, in the finest measure of its unit.
    pub used: Usage,
    /// Paid in all: the best voucher as far as the deposit covers it, or more where the chain shows more.
    pub paid: Amount,
    /// What the agent acknowledged, for a client; the same as `paid` for an agent.
    pub acknowledged: Amount,
    /// Vouchers signed or accepted.
    pub vouchers: u64,
}

async fn view(conn: &mut Conn, side: Role, channel: Channel) -> Result<ChannelView, StoreError> {
    let (used, _) = meters::used(conn, channel.id).await?;
    let voucher = vouchers::amounts(conn, channel.id).await?;
    let amounts = voucher.as_ref().map(|stored| (stored.cumulative, stored.acknowledged));
    let book = amounts.map_or_else(Book::default, |(best, acknowledged)| Book { best, acknowledged });
    let (deposit, settled) = (channel.deposit, channel.paid);
    let side = match side {
        Role::Agent => Side::Agent,
        Role::Client => Side::Client,
    };
    Ok(ChannelView {
        used,
        paid: book.totals(deposit, settled, false).proven,
        acknowledged: book.acknowledged_to(side, deposit, settled),
        vouchers: voucher.map_or(0, |stored| stored.count),
        channel,
    })
}

impl Node {
    /// A channel with what was used and paid.
    ///
    /// # Errors
    /// [`StoreError::NoSuchChannel`] within [`NodeError::Store`].
    pub async fn channel(&self, channel: ChannelId) -> Result<ChannelView, NodeError> {
        let mut conn = self.db().read().await?;
        let channel = channels::get(&mut conn, channel).await?;
        Ok(view(&mut conn, self.side(), channel).await?)
    }

    /// The channels, the newest first, at most `limit`.
    pub async fn channels(&self, limit: u32) -> Result<Vec<ChannelView>, NodeError> {
        let mut conn = self.db().read().await?;
        let mut views = Vec::new();
        for channel in channels::list(&mut conn, limit).await? {
            views.push(view(&mut conn, self.side(), channel).await?);
        }
        Ok(views)
    }

    /// A channel's sessions, the newest first.
    pub async fn sessions(&self, channel: ChannelId) -> Result<Vec<sessions::Session>, NodeError> {
        let mut conn = self.db().read().await?;
        channels::get(&mut conn, channel).await?;
        Ok(sessions::list(&mut conn, channel).await?)
    }
}
