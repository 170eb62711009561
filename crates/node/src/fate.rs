//! What outcomes of transactions mean for decisions: a table.

use privatix_chain::{Ending, Inclusion, TxChange, TxRecord};
use privatix_channel::ChannelId;
use privatix_db::Conn;
use privatix_market::{BlockRef, Fate, Input, Party};
use privatix_store::contract;
use privatix_store::purposes::Recorded;

use crate::{Node, NodeError};

/// Whether whoever sends our transactions can still do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nothing is known to the contrary.
    MaySend,
    /// Its key is not loaded.
    HasNoKey,
    /// It acts for the account, and the chain shows another operator, or none.
    IsNotOperator,
}

impl Sender {
    /// From what is known of it. `has_key`: whether its key is loaded; `acts_for_another`: whether it is the operator of an account, and
    /// not the account itself; `is_operator`: whether the chain shows it as that, `None` if it has shown no operator yet.
    pub fn of(has_key: bool, acts_for_another: bool, is_operator: Option<bool>) -> Self {
        match (has_key, acts_for_another, is_operator) {
            (false, ..) => Self::HasNoKey,
            (true, true, Some(false)) => Self::IsNotOperator,
            (true, ..) => Self::MaySend,
        }
    }
}

/// What a change in the outcome of a transaction means for the decisions about its channel. `included`: the block of its outcome;
/// `in_batch`: whether other channels are in it, too; `is_cancelled`: whether it was cancelled. `None` for a change that is no news of it.
///
/// | change | fate |
/// | --- | --- |
/// | mined | mined in that block: another one of its number has another hash |
/// | reverted | reverted |
/// | failed, dropped | failed: lasting if whoever sends cannot send any more, since the next one would fail, too |
/// | cancelled | cancelled |
/// | reinstated | reinstated; withdrawn if it was cancelled while it was in its block |
/// | final | final |
///
/// The record's status says nothing beyond the change: of a block that is final at once, two changes are reported with one status.
pub fn fate(
    change: TxChange,
    included: Option<BlockRef>,
    (in_batch, is_cancelled): (bool, bool),
    sender: Sender,
) -> Option<Fate> {
    Some(match change {
        TxChange::Mined => Fate::Mined(included?),
        TxChange::Reverted => Fate::Reverted,
        TxChange::Failed | TxChange::Dropped => Fate::Failed { lasting: sender != Sender::MaySend },
        TxChange::Cancelled => Fate::Cancelled,
        TxChange::Reinstated if is_cancelled => Fate::Withdrawn,
        TxChange::Reinstated => Fate::Reinstated { batch: in_batch },
        TxChange::Final => Fate::Final,
        _ => return None,
    })
}

/// The block of an outcome, as decisions know it.
pub fn block(included: &Inclusion) -> BlockRef {
    BlockRef { number: included.block, hash: included.block_hash }
}

/// What a change in the outcome of a recorded transaction means: see [`fate`].
pub fn fate_of(recorded: &Recorded, record: &TxRecord, change: TxChange, sender: Sender) -> Option<Fate> {
    let is_cancelled = record.ending == Some(Ending::Cancelled);
    fate(change, record.inclusion.as_ref().map(block), (recorded.in_batch, is_cancelled), sender)
}

/// The fate of a transaction as an input for the channel that it is about. `None` for one that is about no channel, and for one that
/// no decision of this side makes: an approval.
pub fn input<P: Party>(recorded: &Recorded, fate: Fate) -> Option<(ChannelId, Input<P>)> {
    let channel = recorded.effect.subject.channel()?;
    let purpose = P::purpose(recorded.purpose)?;
    Some((channel, Input::Tx { seq: recorded.effect.seq, purpose, fate }))
}

impl Node {
    /// Whether whoever sends our transactions can still do so, by what the chain has shown of our account.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`] outside of [`run`](Self::run); [`NodeError::Store`].
    pub async fn sender_standing(&self, conn: &mut Conn) -> Result<Sender, NodeError> {
        let has_key = self.transactor()?.accounts().contains(&self.sender());
        let shown = contract::account(conn, self.account()).await?;
        // Before its first event, nothing is known: the appointment may be older than what is followed.
        let is_operator = (shown.nonce > 0).then(|| shown.operator == Some(self.sender()));
        Ok(Sender::of(has_key, self.is_operator(), is_operator))
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use privatix_channel::Amount;
    use privatix_market::{Agent, AgentPurpose, Client, ClientPurpose, EffectId, OrderId, Purpose, Subject};
    use privatix_store::purposes::TxNumber;

    use super::*;

    const BLOCK: BlockRef = BlockRef { number: 7, hash: B256::repeat_byte(7) };
    const CHANGES: [TxChange; 7] = [
        TxChange::Mined,
        TxChange::Reverted,
        TxChange::Failed,
        TxChange::Dropped,
        TxChange::Cancelled,
        TxChange::Reinstated,
        TxChange::Final,
    ];

    #[test]
    fn every_change_has_the_fate_of_the_table() {
        use Sender::{HasNoKey, IsNotOperator, MaySend};
        for change in CHANGES {
            let senders = [(MaySend, false), (HasNoKey, true), (IsNotOperator, true)];
            for (batch, (sender, lasting)) in
                [false, true].into_iter().flat_map(|batch| senders.map(|of| (batch, of)))
            {
                let expected = match change {
                    TxChange::Mined => Fate::Mined(BLOCK),
                    TxChange::Reverted => Fate::Reverted,
                    TxChange::Failed | TxChange::Dropped => Fate::Failed { lasting },
                    TxChange::Cancelled => Fate::Cancelled,
                    TxChange::Reinstated => Fate::Reinstated { batch },
                    TxChange::Final => Fate::Final,
                    change => panic!("{change:?} is not in the table"),
                };
                assert_eq!(
                    fate(change, Some(BLOCK), (batch, false), sender),
                    Some(expected),
                    "{change:?} {sender:?}"
                );
                // Only where it was mined does the block count; without one, the outcome's end follows.
                let without = (change != TxChange::Mined).then_some(expected);
                assert_eq!(fate(change, None, (batch, false), sender), without, "{change:?} {sender:?}");
            }
        }
    }

    #[test]
    fn what_was_cancelled_in_its_block_does_not_come_again_after_a_reorganisation() {
        for batch in [false, true] {
            let fate = fate(TxChange::Reinstated, Some(BLOCK), (batch, true), Sender::MaySend);
            assert_eq!(fate, Some(Fate::Withdrawn));
        }
    }

    #[test]
    fn only_what_is_known_of_the_sender_makes_a_failure_last() {
        for (has_key, acts_for_another, is_operator, expected) in [
            (true, false, None, Sender::MaySend),
            (true, false, Some(false), Sender::MaySend),
            (true, true, None, Sender::MaySend),
            (true, true, Some(true), Sender::MaySend),
            (true, true, Some(false), Sender::IsNotOperator),
            (false, false, None, Sender::HasNoKey),
            (false, true, Some(false), Sender::HasNoKey),
        ] {
            let found = Sender::of(has_key, acts_for_another, is_operator);
            assert_eq!(found, expected, "{has_key} {acts_for_another} {is_operator:?}");
        }
    }

    #[test]
    fn each_side_decides_about_its_own_transactions_only() {
        let id = ChannelId::new([9; 32].into());
        let account = Subject::Account(Address::repeat_byte(1));
        let effect = |subject| EffectId { subject, seq: 3 };
        let amount = Amount::new(5);
        let recorded = |subject, purpose| Recorded {
            tx: TxNumber(1),
            effect: effect(subject),
            purpose,
            from_wallet: false,
            job: None,
            in_batch: false,
        };
        let order = OrderId(2);
        let rows = [
            (Purpose::Close { cumulative: amount }, Some(AgentPurpose::Close { cumulative: amount }), None),
            (Purpose::Settle { cumulative: amount }, Some(AgentPurpose::Settle { cumulative: amount }), None),
            (Purpose::Open { deposit: amount }, None, Some(ClientPurpose::Open { deposit: amount })),
            (Purpose::TopUp { order, amount }, None, Some(ClientPurpose::TopUp { order, amount })),
            (
                Purpose::RequestClose { admitted: amount },
                None,
                Some(ClientPurpose::RequestClose { admitted: amount }),
            ),
            (Purpose::FinalizeClose, None, Some(ClientPurpose::FinalizeClose)),
            (Purpose::Approve { effect: effect(account) }, None, None),
            (Purpose::Deposit { amount }, None, None),
            (Purpose::Publish, None, None),
        ];
        let fate = Fate::Cancelled;
        for (purpose, of_agent, of_client) in rows {
            let of_channel = recorded(Subject::Channel(id), purpose);
            let agents = of_agent.map(|purpose| (id, Input::<Agent>::Tx { seq: 3, purpose, fate }));
            assert_eq!(input::<Agent>(&of_channel, fate), agents, "{purpose:?}");
            let clients = of_client.map(|purpose| (id, Input::<Client>::Tx { seq: 3, purpose, fate }));
            assert_eq!(input::<Client>(&of_channel, fate), clients, "{purpose:?}");
            assert_eq!(input::<Agent>(&recorded(account, purpose), fate), None, "{purpose:?}");
        }
    }
}
