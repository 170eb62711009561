use alloy::primitives::B256;

/// Where a search for the common ancestor of the processed chain and the endpoint's chain stands.
///
/// The kept hashes are probed by bisection: below the ancestor all match, above it none does.
#[derive(Debug, Clone)]
pub(super) struct AncestorSearch<'a> {
    /// Kept (number, hash), ascending.
    kept: &'a [(u64, B256)],
    // Everything before `low` matches, everything from `high` does not.
    low: usize,
    high: usize,
}

impl<'a> AncestorSearch<'a> {
    pub(super) fn new(kept: &'a [(u64, B256)]) -> Self {
        Self { kept, low: 0, high: kept.len() }
    }

    /// The block to ask the endpoint for next; none when the search is over.
    pub(super) fn probe(&self) -> Option<u64> {
        (self.low < self.high).then(|| self.kept[self.middle()].0)
    }

    /// The endpoint's hash at the probed block; none if it has no such block.
    pub(super) fn answer(&mut self, hash: Option<B256>) {
        let middle = self.middle();
        if hash == Some(self.kept[middle].1) {
            self.low = middle + 1;
        } else {
            self.high = middle;
        }
    }

    /// The newest kept block that both chains share, once the search is over; none if no kept block is shared.
    pub(super) fn ancestor(&self) -> Option<(u64, B256)> {
        self.low.checked_sub(1).map(|last| self.kept[last])
    }

    fn middle(&self) -> usize {
        // The top first: most searches are for a reorg of a block or two, or none at all.
        if self.high == self.kept.len() { self.high - 1 } else { self.low + (self.high - self.low) / 2 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn branch(seed: u8, number: u64) -> B256 {
        alloy::primitives::keccak256([&[seed][..], &number.to_be_bytes()].concat())
    }

    proptest! {
        #[test]
        fn finds_the_newest_shared_block_in_few_probes(
            numbers in proptest::collection::btree_set(0u64..100_000, 0..600),
            forked_at in 0u64..110_000,
            head in 0u64..110_000,
        ) {
            let kept: Vec<_> = numbers.iter().map(|&number| (number, branch(0, number))).collect();
            let theirs = |number: u64| {
                (number <= head).then(|| branch(u8::from(number >= forked_at), number))
            };
            let mut search = AncestorSearch::new(&kept);
            let mut probes = 0;
            while let Some(number) = search.probe() {
                probes += 1;
                search.answer(theirs(number));
            }
            let expected = kept.iter().rfind(|(number, hash)| theirs(*number) == Some(*hash)).copied();
            prop_assert_eq!(search.ancestor(), expected);
            prop_assert!(probes <= 12, "{} probes", probes);
        }
    }
}
