//! When an outcome cannot be taken back any more.

use super::Inner;
use crate::ChainError;
use crate::rpc::{BlockHeader, Fault};

/// Which blocks count as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finality {
    /// Those with at least this many blocks on top.
    Depth(u64),
    /// Those that the endpoint calls `safe`; at most up to its head, and never fewer than before in the same run.
    Safe,
    /// Those that the endpoint calls `finalized`, with the same limits.
    Finalized,
}

impl Finality {
    /// The depth that counts where an endpoint does not serve a tag.
    const UNTAGGED: u64 = 64;

    /// What is usual on a chain: `finalized` where nodes are known to serve it, a depth on local chains.
    pub fn of_chain(chain_id: u64) -> Self {
        match chain_id {
            31_337 | 1_337 => Self::Depth(32),
            _ => Self::Finalized,
        }
    }
}

/// The newest block that a tag has named in this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tagged(u64);

/// The block that bears a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The lower one of those that two endpoints name, or that of the only endpoint that is configured.
    Surely(u64),
    /// That of one endpoint, while no other one names any.
    ByOne(u64),
    /// None, or the tag is not served.
    Nothing,
}

impl Named {
    /// What two endpoints name, or fewer of those that are configured; none where there is no such block yet.
    fn of(several: bool, named: &[Option<u64>]) -> Self {
        match *named {
            [Some(first), Some(second), ..] => Self::Surely(first.min(second)),
            [Some(only)] if !several => Self::Surely(only),
            [Some(one)] | [Some(one), None] | [None, Some(one)] => Self::ByOne(one),
            _ => Self::Nothing,
        }
    }
}

impl Tagged {
    /// Notes what is named while the head is `head`. Returns what counts: at most the head, because blocks that are not there
    /// yet are not final, and never less than before, because what was final stays final: an endpoint may lag. The word of one
    /// of several endpoints counts no further than without a tag.
    fn see(&mut self, named: Named, head: u64) -> u64 {
        let untagged = head.saturating_sub(Finality::UNTAGGED);
        match named {
            Named::Surely(number) => self.0 = self.0.max(number.min(head)),
            Named::ByOne(number) => return self.0.max(number.min(untagged)),
            Named::Nothing => return self.0.max(untagged),
        }
        self.0
    }
}

impl Inner {
    /// The newest final block. Never above the newest confirmed one: what is final is confirmed.
    pub(super) async fn final_block(
        &self,
        head: &BlockHeader,
        tagged: &mut Tagged,
    ) -> Result<u64, ChainError> {
        let confirmed = head.number.saturating_sub(self.options.confirmations);
        let tag = match self.options.finality {
            Finality::Depth(depth) => return Ok(confirmed.min(head.number.saturating_sub(depth))),
            Finality::Safe => "safe",
            Finality::Finalized => "finalized",
        };
        let named = match self.rpc.tagged_blocks(tag).await {
            Ok(named) => Named::of(self.rpc.are_several(), &named),
            Err(error) if matches!(error.fault, Fault::Refused { .. } | Fault::Garbage(_)) => {
                tracing::debug!(%error, tag, "endpoint does not serve the tag; counting blocks");
                Named::Nothing
            }
            Err(error) => return Err(error.into()),
        };
        Ok(confirmed.min(tagged.see(named, head.number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_counts_up_to_the_head_and_does_not_fall() {
        let mut tagged = Tagged::default();
        for (what, named, head, expected) in [
            ("as named", 60, 100, 60),
            ("lower: the endpoint lags or lies", 40, 101, 60),
            ("none of the chain's blocks", 0, 102, 60),
            ("higher", 70, 103, 70),
            ("the head", 104, 104, 104),
            ("above the head", 900, 105, 105),
            ("what was named above the head is forgotten", 0, 106, 105),
            ("a head that went back is limited by its confirmations", 0, 90, 105),
        ] {
            assert_eq!(tagged.see(Named::Surely(named), head), expected, "{what}");
        }
    }

    #[test]
    fn one_of_several_endpoints_makes_nothing_final_that_depth_does_not() {
        for (several, named, expected) in [
            (false, &[Some(900)][..], Named::Surely(900)),
            (false, &[None], Named::Nothing),
            (true, &[Some(900), Some(880)], Named::Surely(880)),
            (true, &[Some(880), Some(900)], Named::Surely(880)),
            (true, &[Some(900)], Named::ByOne(900)),
            (true, &[Some(900), None], Named::ByOne(900)),
            (true, &[None, Some(900)], Named::ByOne(900)),
            (true, &[None, None], Named::Nothing),
            (true, &[], Named::Nothing),
        ] {
            assert_eq!(Named::of(several, named), expected, "{several} {named:?}");
        }
        let mut tagged = Tagged::default();
        for (what, named, head, expected) in [
            ("a lie", Named::ByOne(1_000), 1_000, 936),
            ("the same as without a tag", Named::Nothing, 1_000, 936),
            ("two", Named::Surely(980), 1_001, 980),
            ("what two named stays", Named::ByOne(0), 1_002, 980),
        ] {
            assert_eq!(tagged.see(named, head), expected, "{what}");
        }
    }
}
