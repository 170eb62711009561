//! What an agent shows of a channel on a connection on which the channel was proved.

use privatix_channel::AgentView;
use serde::{Deserialize, Serialize};

use crate::{Uptime, Verified};

/// What the agent showed, and on which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// When the connection was made on which it came.
    pub connected: Uptime,
    /// What it showed.
    pub view: AgentView,
}

impl Shown {
    /// Whether it is newer than another one. The agent's numbers begin again with its process, so that the newer connection counts
    /// first.
    pub(super) fn is_newer(self, than: Self) -> bool {
        (self.connected, self.view.number) > (than.connected, than.view.number)
    }
}

/// What an answer carries on a connection on which the channel was proved; nothing on any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// What the agent shows of the channel. Each answer on a proved connection has it.
    pub view: Option<Shown>,
    /// The best voucher that the agent holds, where that is above what it was sent.
    pub best: Option<Verified>,
}
