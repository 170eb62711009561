//! Looks at what is to be sent: whether the gas suffices for it, and whether what is urgent is in time.

use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::U256;
use privatix_chain::{Priority, TxRecord};
use privatix_channel::ChannelId;
use privatix_node::{Node, NodeError};
use privatix_store::channels;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(15);
/// How long the last known figures are shown while the endpoint does not answer.
const KEEP_KNOWN: Duration = Duration::from_mins(5);
/// Until the node runs.
const STARTING: Duration = Duration::from_millis(200);
/// What a call of the service contract uses at most, where it has not been estimated yet.
const GAS_OF_A_CALL: u64 = 300_000;

/// What is to be sent, at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// What the account has for gas, and what all open transactions need at the present price, in wei; or why that is not known.
    pub(crate) gas: Result<Gas, String>,
    /// The same of the rescue account, if there is one, with one call more.
    pub(crate) rescue: Option<Result<Gas, String>>,
    /// The urgent transaction with the smallest share of its time left.
    pub(crate) urgent: Option<Urgent>,
    /// When the oldest open transaction was submitted.
    pub(crate) oldest: Option<SystemTime>,
    /// Open transactions that do not advance.
    pub(crate) obstructed: usize,
    /// Channels of which something stored beside the voucher cannot be read, each with whether a challenge may run in it.
    pub(crate) damaged: Vec<(ChannelId, bool)>,
}

impl Outlook {
    /// Nothing but why the gas is not known, and which channels were damaged at the last look.
    fn unknown(reason: String, last: Option<&Self>) -> Self {
        Self {
            gas: Err(reason),
            rescue: None,
            urgent: None,
            oldest: None,
            obstructed: 0,
            damaged: last.map(|last| last.damaged.clone()).unwrap_or_default(),
        }
    }
}

/// Ether and what it must suffice for, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gas {
    pub(crate) balance: U256,
    pub(crate) needed: U256,
}

/// An urgent transaction that was not mined yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Urgent {
    pub(crate) id: String,
    pub(crate) kind: String,
    /// Seconds until its deadline, by the later of the chain's clock and ours.
    pub(crate) left: u64,
    /// Seconds that it had in all.
    pub(crate) window: u32,
}

/// Looks until shutdown.
pub(crate) async fn watch(node: &Node, seen: &watch::Sender<Option<Outlook>>, shutdown: &CancellationToken) {
    let mut known: Option<(Instant, Gas)> = None;
    let mut rescue = RescueFunds::default();
    loop {
        let pause = match shutdown.run_until_cancelled(look(node, &mut rescue)).await {
            None => return,
            Some(Ok(mut outlook)) => {
                match (&outlook.gas, known) {
                    (Ok(gas), _) => known = Some((Instant::now(), *gas)),
                    (Err(_), Some((at, gas))) if at.elapsed() < KEEP_KNOWN => outlook.gas = Ok(gas),
                    (Err(_), _) => {}
                }
                seen.send_replace(Some(outlook));
                EVERY
            }
            Some(Err(NodeError::NotRunning)) => STARTING,
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot look at the open transactions");
                seen.send_modify(|seen| *seen = Some(Outlook::unknown(error.to_string(), seen.as_ref())));
                EVERY
            }
        };
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn look(node: &Node, rescue: &mut RescueFunds) -> Result<Outlook, NodeError> {
    let transactor = node.transactor()?;
    let open = transactor.open_intents(&mut *node.db().read().await?).await?;
    let newest = node.monitor().and_then(|status| status.newest).map(|head| head.time);
    let now = newest.map_or_else(SystemTime::now, |time| time.max(SystemTime::now()));
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let rescuer = node.rescue_account();
    let (rescues, own): (Vec<_>, Vec<_>) =
        open.iter().partition(|record| rescuer.is_some_and(|rescuer| record.intent.from == rescuer));
    rescue.look(node, gas_needed(rescues)).await;
    let gas = gas_needed(own);
    let gas = if gas == 0 {
        Ok(Gas { balance: U256::ZERO, needed: U256::ZERO })
    } else {
        match node.gas_funds().await {
            Ok((balance, price)) => Ok(Gas { balance, needed: price.saturating_mul(U256::from(gas)) }),
            Err(error) => Err(error.to_string()),
        }
    };
    Ok(Outlook {
        gas,
        rescue: rescue.known.as_ref().map(|(_, funds)| funds.clone()),
        urgent: most_urgent(&open, now),
        oldest: open.iter().map(|record| record.created_at).min(),
        obstructed: open.iter().filter(|record| record.obstacle.is_some()).count(),
        damaged: damaged(node).await?,
    })
}

/// Looks at this many damaged channels. Of others a challenge may run.
const MOST_DAMAGED: usize = 100;

/// Which of the damaged channels are in a challenge, as far as that can be read.
async fn damaged(node: &Node) -> Result<Vec<(ChannelId, bool)>, NodeError> {
    let mut found = Vec::new();
    for (n, channel) in node.damage().unreadable().into_iter().enumerate() {
        let in_challenge = if n < MOST_DAMAGED {
            match channels::find(&mut *node.db().read().await?, channel).await {
                Ok(channel) => channel
                    .is_some_and(|channel| channel.challenge_ends_at.is_some() && channel.closure.is_none()),
                Err(error) if error.is_damage() => true,
                Err(error) => return Err(error.into()),
            }
        } else {
            true
        };
        found.push((channel, in_challenge));
    }
    Ok(found)
}

/// What the rescue account has, as it was last seen.
#[derive(Default)]
struct RescueFunds {
    known: Option<(Instant, Result<Gas, String>)>,
}

impl RescueFunds {
    /// Looks, if there is a rescue account: every time while it has something to send, or too little for it, else from time to
    /// time.
    async fn look(&mut self, node: &Node, open: u128) {
        let fresh = self.known.as_ref().filter(|(at, _)| at.elapsed() < KEEP_KNOWN);
        let fresh = fresh.and_then(|(_, funds)| funds.as_ref().ok());
        if open == 0 && fresh.is_some_and(|gas| gas.balance >= gas.needed) {
            return;
        }
        let is_known = fresh.is_some();
        let gas = U256::from(open.saturating_add(u128::from(GAS_OF_A_CALL)));
        let funds = match node.rescue_funds().await {
            Ok(None) => return,
            Ok(Some((balance, price))) => Ok(Gas { balance, needed: price.saturating_mul(gas) }),
            Err(_) if is_known => return,
            Err(error) => Err(error.to_string()),
        };
        self.known = Some((Instant::now(), funds));
    }
}

/// The gas that transactions use which are not mined yet.
fn gas_needed<'a>(open: impl IntoIterator<Item = &'a TxRecord>) -> u128 {
    let unmined = open.into_iter().filter(|record| record.inclusion.is_none());
    unmined.map(|record| u128::from(record.gas_limit.unwrap_or(GAS_OF_A_CALL))).sum()
}

fn most_urgent(open: &[TxRecord], now: u64) -> Option<Urgent> {
    let waiting = open.iter().filter(|record| record.is_to_be_mined());
    let urgent = waiting.filter(|record| record.intent.priority == Priority::Urgent);
    let urgent = urgent.filter_map(|record| {
        let deadline = record.intent.deadline?;
        let (id, kind) = (record.id.to_string(), record.intent.kind.clone());
        Some(Urgent { id, kind, left: deadline.left(now), window: deadline.window })
    });
    urgent.min_by_key(|urgent| u64::from(urgent.percent_left()))
}

impl Urgent {
    /// How much of its time is left.
    pub(crate) fn percent_left(&self) -> u8 {
        let percent = self.left.saturating_mul(100).checked_div(u64::from(self.window)).unwrap_or(0);
        u8::try_from(percent.min(100)).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_stays_known_while_no_look_succeeds() {
        let damaged = vec![(ChannelId::new([1; 32].into()), true)];
        let unknown = |last| Outlook::unknown("the disk".to_owned(), last);
        assert_eq!(unknown(None).damaged, []);
        let last = Outlook { damaged: damaged.clone(), ..unknown(None) };
        let once = unknown(Some(&last));
        assert_eq!(once.damaged, damaged);
        assert_eq!(unknown(Some(&once)).damaged, damaged);
    }
}
