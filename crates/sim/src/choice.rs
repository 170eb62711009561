//! Choices from a seed: each is a hash of the seed, of who chooses, and of how often it chose before.
//!
//! So a run can be repeated, and an actor that is left out changes no choice that another one makes from a sequence of its own.

/// A number that depends on all bits of the three.
pub(crate) fn hash(seed: u64, actor: u64, n: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(actor)).wrapping_add(n))
}

/// The finalizer of splitmix64.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The choices of one actor.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    seed: u64,
    actor: u64,
    n: u64,
}

impl Dice {
    pub(crate) const fn new(seed: u64, actor: u64) -> Self {
        Self { seed, actor, n: 0 }
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.n += 1;
        hash(self.seed, self.actor, self.n)
    }

    /// A number from 0 to `end - 1`; 0 if there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// A number from `first` to `last`.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of some values, of which there is at least one.
    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        let place = usize::try_from(self.below(values.len() as u64)).unwrap_or(0);
        values[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_repeated_by_their_seed_and_differ_between_actors() {
        let rolls = |seed, actor| {
            let mut dice = Dice::new(seed, actor);
            (0..50).map(|_| dice.roll()).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1, 2), rolls(1, 2));
        assert_ne!(rolls(1, 2), rolls(1, 3));
        assert_ne!(rolls(1, 2), rolls(2, 2));
    }
}
