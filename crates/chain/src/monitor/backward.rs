//! Interests of which only recent logs matter: followed from the head on, and searched for backwards from there.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::batch::ConfirmedBatch;
use super::cursor::{self, Cursor};
use super::fetch::{Judged, Wanted};
use super::follow::{Memory, Step};
use super::part;
use super::witness::Second;
use super::{Direction, Inner, Interest, RangePlanner, RecentInterests};
use crate::ChainError;
use crate::rpc::Rpc;

/// What is still to be searched: blocks `until` to `next`, from the newest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsearched {
    pub(super) next: u64,
    /// At least 1.
    pub(super) until: u64,
}

impl Unsearched {
    /// The search of a stream that has processed the blocks `start..next`: the newest `blocks` of them.
    pub(super) fn below(start: u64, next: u64, blocks: u64) -> Self {
        Self { next: next.saturating_sub(1), until: next.saturating_sub(blocks).max(start).max(1) }
    }

    /// A search that has ended, of a stream that follows everything from `start` on.
    pub(super) fn nothing(start: u64) -> Self {
        Self { next: start.saturating_sub(1), until: start.max(1) }
    }

    /// Blocks that are left.
    pub(super) fn left(self) -> u64 {
        self.next.saturating_add(1).saturating_sub(self.until)
    }

    /// The search after the blocks above `to` were undone: these are read again forward.
    pub(super) fn rewound(self, to: u64) -> Self {
        Self { next: self.next.min(to), ..self }
    }
}

/// What a run remembers of the search.
pub(super) struct PastMemory {
    /// What each endpoint was found to allow: other logs are asked for than forward, so the limits are others.
    planners: Vec<RangePlanner>,
    failures: u32,
    not_before: Option<Instant>,
}

impl PastMemory {
    pub(super) fn new(planners: Vec<RangePlanner>) -> Self {
        Self { planners, failures: 0, not_before: None }
    }
}

/// How long a batch of the past may take: what is new waits meanwhile.
const LONGEST: Duration = Duration::from_secs(30);

/// What a look at the past has come to.
enum Searched {
    /// Some of it is done, or a smaller range is to be asked for.
    Some,
    /// Nothing can be asked for now.
    Nothing,
    /// What was found cannot be used, for this reason.
    InVain(&'static str),
}

impl Inner {
    /// What a stream follows at present: the recent interests once their search has begun.
    pub(super) fn followed(&self, cursor: &Cursor) -> Vec<Interest> {
        if cursor.back.is_some() { self.all_interests() } else { self.interests.clone() }
    }

    pub(super) fn all_interests(&self) -> Vec<Interest> {
        let recent = self.recent.iter().flat_map(|recent| &recent.interests);
        self.interests.iter().chain(recent).cloned().collect()
    }

    /// When all confirmed blocks are processed: searches some blocks of the past, if there are any left.
    ///
    /// Nothing urgent depends on the past: a failure delays only this search and does not stall the monitor.
    pub(super) async fn search_past(
        &self,
        memory: &mut Memory,
        cursor: &Cursor,
        head: u64,
    ) -> Result<Step, ChainError> {
        let Some(recent) = &self.recent else { return Ok(Step::CaughtUp) };
        let Some(back) = cursor.back else {
            // Not in the middle of a block, of which the recent interests would miss a part.
            return if cursor.part.is_none() {
                self.begin_search(cursor, recent).await
            } else {
                Ok(Step::CaughtUp)
            };
        };
        if back.left() == 0 || memory.past.not_before.is_some_and(|time| Instant::now() < time) {
            return Ok(Step::CaughtUp);
        }
        // One that does not give the past may well give what is new: another one is tried for this alone.
        let order = self.endpoints.order();
        let good = order.iter().copied().filter(|&at| self.endpoints.is_good(at));
        let mut candidates: Vec<usize> = good.collect();
        if candidates.is_empty() {
            candidates.push(order[0]);
        }
        let at = candidates[memory.past.failures as usize % candidates.len()];
        let rpc = self.endpoints.rpc(at);
        let longest = LONGEST.min(self.options.range_limit);
        let searched = timeout(longest, self.search_some(memory, (at, &rpc), cursor, (back, head))).await;
        let mut retry_after = None;
        let trouble = match searched {
            Ok(Ok(Searched::Some)) => {
                memory.past.failures = 0;
                return Ok(Step::Progress);
            }
            Ok(Ok(Searched::Nothing)) => return Ok(Step::CaughtUp),
            Ok(Ok(Searched::InVain(reason))) => reason.to_owned(),
            Ok(Err(error)) => {
                retry_after = error.retry_after();
                error.to_string()
            }
            Err(_) => {
                if let Some(range) = memory.past.planners[at].plan_back(back.next, back.until) {
                    let asked = range.end().saturating_sub(*range.start()).saturating_add(1);
                    memory.past.planners[at].too_large(asked);
                }
                format!("it takes longer than {} s", longest.as_secs_f32())
            }
        };
        let failures = memory.past.failures.saturating_add(1);
        tracing::warn!(
            endpoint = self.endpoints.all()[at].label(),
            failures,
            left = back.left(),
            "cannot search the past; trying again: {trouble}"
        );
        memory.past.failures = failures;
        memory.past.not_before = Instant::now().checked_add(self.options.backoff.wait(failures, retry_after));
        Ok(Step::CaughtUp)
    }

    /// From the next block on, the recent interests are followed, too.
    async fn begin_search(&self, cursor: &Cursor, recent: &RecentInterests) -> Result<Step, ChainError> {
        let back = Unsearched::below(cursor.start, cursor.next, recent.blocks);
        let stream = &self.options.stream;
        let at = (cursor.next, cursor.part);
        let mut tx = self.db.begin().await?;
        // Not if another one has moved on meanwhile, without the recent interests.
        cursor::advance(&mut tx, stream, at, at).await?;
        cursor::set_interests(&mut tx, stream, &Interest::stored(&self.all_interests())).await?;
        cursor::set_back(&mut tx, stream, None, Some(back)).await?;
        tx.commit().await?;
        tracing::info!(%stream, from = back.next, to = back.until, "searching for recent logs, the newest first");
        Ok(Step::Progress)
    }

    async fn search_some(
        &self,
        memory: &mut Memory,
        (at, rpc): (usize, &Rpc),
        cursor: &Cursor,
        (back, head): (Unsearched, u64),
    ) -> Result<Searched, ChainError> {
        if !memory.checked[at] {
            self.endpoints.check_one(at, self.chain_id, &self.contracts()).await?;
            memory.checked[at] = true;
        }
        let Some(mut range) = memory.past.planners[at].plan_back(back.next, back.until) else {
            return Ok(Searched::Nothing);
        };
        let witness = match self.second((&mut memory.checked, &mut memory.lags), at, back.next, head).await {
            Second::Checks(witness) => Some(witness),
            Second::Lags(_) => return Ok(Searched::Nothing),
            Second::None => None,
        };
        if let Some(witness) = &witness {
            let allowed = memory.past.planners[witness.at].plan_back(back.next, *range.start());
            range = allowed.unwrap_or(range);
        }
        let interests = self.recent.iter().flat_map(|recent| recent.interests.clone()).collect();
        let (direction, confirmed) = (Direction::Past, cursor.last());
        let wanted = Wanted { direction, range, parent: None, interests, confirmed };
        let fetched = self.fetch((at, rpc), wanted, witness).await;
        let (batch, is_checked) = match self.judge(&mut memory.past.planners, (at, rpc), fetched).await? {
            Judged::Apply { batch, is_checked, .. } => (batch, is_checked),
            Judged::Smaller => return Ok(Searched::Some),
            Judged::Again => {
                memory.suspicious = true;
                return Ok(Searched::InVain("endpoints do not agree on it"));
            }
        };
        // These blocks have no link to those that are kept; but what was asked for by number is of the branch of the newest.
        if rpc.header(cursor.last()).await?.hash != cursor.hash {
            memory.suspicious = true;
            return Ok(Searched::InVain("the endpoint is on another branch than what was processed"));
        }
        let blocks = (batch.from_block, batch.to_block);
        self.commit_past(back, batch).await?;
        self.note_check(&mut memory.unchecked, is_checked, blocks);
        Ok(Searched::Some)
    }

    /// Effects and what is left of the search in one transaction for each slice of the batch.
    async fn commit_past(&self, mut back: Unsearched, batch: ConfirmedBatch) -> Result<(), ChainError> {
        let stream = &self.options.stream;
        for slice in part::past_slices(batch, part::MOST) {
            let left = Unsearched { next: slice.from_block.saturating_sub(1), ..back };
            let mut tx = self.db.begin().await?;
            cursor::set_back(&mut tx, stream, Some(back), Some(left)).await?;
            let inform = self.sink.apply(&mut tx, &slice).await.map_err(|e| ChainError::Sink {
                from: slice.from_block,
                to: slice.to_block,
                source: e.into_inner(),
            })?;
            tx.commit().await?;
            back = left;
            self.clock.restart();
            inform();
        }
        self.status.send_modify(|status| status.unsearched = Some(back.left()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_goes_back_as_far_as_wished_but_not_below_the_start() {
        for (what, (start, next, blocks), expected, left) in [
            ("in the middle", (1, 1_000, 300), (999, 700), 300),
            ("down to the start", (900, 1_000, 300), (999, 900), 100),
            ("nothing wished", (1, 1_000, 0), (999, 1_000), 0),
            ("nothing processed", (500, 500, 300), (499, 500), 0),
            ("everything", (1, 1_000, u64::MAX), (999, 1), 999),
        ] {
            let back = Unsearched::below(start, next, blocks);
            assert_eq!((back.next, back.until), expected, "{what}");
            assert_eq!(back.left(), left, "{what}");
        }
        assert_eq!((Unsearched::nothing(7).left(), Unsearched::nothing(1).left()), (0, 0));
    }

    #[test]
    fn what_is_undone_is_not_searched_for() {
        let back = Unsearched { next: 800, until: 500 };
        assert_eq!(back.rewound(900), back, "above the search");
        assert_eq!(back.rewound(700), Unsearched { next: 700, until: 500 });
        assert_eq!(back.rewound(400).left(), 0);
    }
}
