//! Endpoints that show transactions as mined which are in no block.

use alloy::primitives::B256;
use privatix_market::{BlockRef, Fate};

use super::{Calls, Intent, Known, Transactor, TxStage};
use crate::chain::Chain;
use crate::choice::Dice;

/// A success that the endpoints made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lie {
    number: usize,
    hash: B256,
    /// How often they have shown no receipt since.
    missing: u32,
    /// Whether no pool has it any more: it is sent again once it is known not to be mined.
    pub(super) is_dropped: bool,
}

/// Looks without a receipt after which a success is not believed any more, as of a nonce that the chain has not used.
const SURE: u32 = 3;

impl<X: Calls + std::fmt::Debug> Transactor<X> {
    /// While the endpoints lie, they show some of what waits in the pool as mined in the newest block. Later they do not know of it:
    /// what was believed is taken back, unless the chain has used its nonce and its outcome was final.
    pub(crate) fn hear(&mut self, chain: &Chain, head: usize, lies: bool, dice: &mut Dice) {
        let mined = self.mined();
        let works = self.intents.iter().any(|i| !i.is_forgotten && i.known != Known::Everything);
        for intent in self.intents.iter_mut().filter(|intent| !intent.is_forgotten) {
            let Some(lie) = &mut intent.lie else {
                if let (true, TxStage::Pool { nonce }) = (lies, intent.stage)
                    && nonce >= mined
                    && dice.chance(30)
                {
                    let hash = chain.hash(head).unwrap_or_default();
                    let is_dropped = dice.chance(50);
                    intent.lie = Some(Lie { number: head, hash, missing: 0, is_dropped });
                }
                continue;
            };
            let is_there = chain.hash(lie.number) == Some(lie.hash);
            let is_taken_back = match (intent.stage, intent.known) {
                _ if !is_there => true,
                _ if lies => false,
                (_, Known::Nothing) => true,
                // With nothing to do, the chain is not asked.
                (TxStage::Pool { nonce }, _) if nonce >= mined => {
                    lie.missing += u32::from(works);
                    lie.missing >= SURE
                }
                // Not looked at any more.
                (stage, Known::Everything) => {
                    intent.lie = None;
                    if matches!(stage, TxStage::Pool { .. }) {
                        intent.stage = TxStage::Over;
                    }
                    continue;
                }
                _ => head >= lie.number + self.final_depth,
            };
            if is_taken_back {
                if intent.known == Known::Everything {
                    (intent.known, intent.is_undone) = (Known::InBlock(lie.hash), true);
                }
                intent.lie = None;
            }
        }
    }

    /// What a success that was made up shows of an intent, if its channels do not know it yet. `lies`: whether the endpoints still lie.
    pub(super) fn fate_of_lie(&self, intent: &Intent<X>, lie: Lie, head: usize, lies: bool) -> Option<Fate> {
        let Lie { number, hash, .. } = lie;
        let depth = head.checked_sub(number)?;
        match intent.known {
            Known::Everything => None,
            Known::InBlock(of) if of == hash => (lies && depth >= self.final_depth).then_some(Fate::Final),
            Known::InBlock(_) => Some(intent.taken_back()),
            Known::Nothing => {
                (depth >= self.confirmations).then_some(Fate::Mined(BlockRef { number: number as u64, hash }))
            }
        }
    }
}
