//! An agent's channels, as its payments see them.

use privatix_channel::{AgentChannel, Amount, ChannelId, Consents};
use privatix_db::Conn;
use privatix_node::{Node, NodeError};
use privatix_store::channels::{self, Channel};
use privatix_store::{StoreError, vouchers};

/// A channel and the agent's view of it.
pub(crate) struct Loaded {
    pub(crate) channel: Channel,
    /// Without a voucher where the stored one is damaged.
    pub(crate) view: AgentChannel,
    /// What answers have acknowledged.
    pub(crate) acknowledged: Amount,
    /// [`NodeError::DamagedVoucher`], if it is.
    pub(crate) damage: Option<NodeError>,
}

impl Loaded {
    /// For what must not be done without the best voucher.
    fn whole(self) -> Result<(Channel, AgentChannel), NodeError> {
        match self.damage {
            Some(damage) => Err(damage),
            None => Ok((self.channel, self.view)),
        }
    }
}

pub(crate) async fn load(conn: &mut Conn, node: &Node, id: ChannelId) -> Result<Loaded, NodeError> {
    let channel = channels::get(conn, id).await?;
    let on_chain = channels::on_chain(conn, id).await?;
    let acknowledged = vouchers::amounts(conn, id).await?.map_or(Amount::ZERO, |row| row.acknowledged);
    let restore =
        |best| AgentChannel::restore(*node.domain(), channel.descriptor, on_chain, best, Consents::default());
    let best = match vouchers::get(conn, id).await {
        Ok(stored) => restore(stored.map(|stored| stored.signed)).map_err(|error| error.to_string()),
        Err(error @ StoreError::Corrupt { .. }) => Err(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    let (view, damage) = match best {
        Ok(view) => {
            node.damage().healed(id);
            (view, None)
        }
        Err(reason) => {
            let damage = NodeError::DamagedVoucher { channel: id, reason };
            node.damage().found(id, damage.to_string());
            (restore(None)?, Some(damage))
        }
    };
    Ok(Loaded { channel, view, acknowledged, damage })
}

/// What the agent could still earn by closing, for the operator.
pub(crate) async fn claimable(conn: &mut Conn, node: &Node, id: ChannelId) -> Result<Amount, NodeError> {
    Ok(load(conn, node, id).await?.whole()?.1.claimable())
}

/// 256 random bits.
pub(crate) fn secret() -> String {
    let bytes: [u8; 32] = rand::random();
    alloy::primitives::hex::encode(bytes)
}
