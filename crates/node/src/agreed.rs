//! What the answers of several endpoints to one question come to: [`Agreed`].

use privatix_chain::Standing;

/// What endpoints show of what never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed<T> {
    /// Two endpoints show it, or no other one is configured.
    Sure(T),
    /// By the word of a single endpoint, while the other ones are silent: use it until the next answer, and ask again.
    Alone(T),
}

impl<T: Copy> Agreed<T> {
    /// What is shown, certain or not: for decisions that are made again once it is known better.
    pub const fn for_now(self) -> T {
        match self {
            Self::Sure(shown) | Self::Alone(shown) => shown,
        }
    }

    /// Whether it need not be asked for again.
    pub const fn is_sure(self) -> bool {
        matches!(self, Self::Sure(_))
    }
}

/// Judges answers, those of the preferred endpoints first; none without any. What two of them show is believed, unless two others show
/// something else.
///
/// # Errors
/// The labels of two that differ.
pub(crate) fn judge<'a, T: Copy + PartialEq>(
    are_several: bool,
    answers: &[(&'a str, T)],
) -> Result<Option<Agreed<T>>, (&'a str, &'a str)> {
    let Some(&(first, shown)) = answers.first() else { return Ok(None) };
    let others = |value: T| answers.iter().filter(move |(_, other)| *other != value);
    let is_backed = |value: T| answers.iter().filter(|(_, other)| *other == value).count() > 1;
    match others(shown).next() {
        None if answers.len() == 1 && are_several => Ok(Some(Agreed::Alone(shown))),
        None => Ok(Some(Agreed::Sure(shown))),
        Some(&(second, _)) => {
            let backed = answers.iter().map(|(_, value)| *value).find(|value| is_backed(*value));
            let sure = backed.filter(|value| others(*value).all(|(_, other)| !is_backed(*other)));
            sure.map(|value| Some(Agreed::Sure(value))).ok_or((first, second))
        }
    }
}

/// Which endpoints are asked, those that are good first: none that is set aside as wrong.
pub(crate) fn believable(standings: &[Standing]) -> Vec<usize> {
    let is_wrong = |at: &usize| matches!(standings.get(*at), Some(Standing::Quarantined { .. }));
    let mut asked: Vec<usize> = (0..standings.len()).filter(|at| !is_wrong(at)).collect();
    asked.sort_by_key(|at| standings.get(*at) != Some(&Standing::Good));
    asked
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use privatix_chain::Evidence;

    use super::*;

    #[test]
    fn an_endpoint_that_is_set_aside_as_wrong_is_not_asked() {
        let until = Instant::now();
        let wrong =
            || Standing::Quarantined { until, evidence: Evidence::WrongChain { expected: 1, found: 2 } };
        let rests = || Standing::Resting { until };
        for (standings, asked) in [
            (vec![Standing::Good], vec![0]),
            (vec![wrong(), Standing::Good], vec![1]),
            (vec![rests(), Standing::Good, wrong()], vec![1, 0]),
            (vec![wrong()], vec![]),
        ] {
            assert_eq!(believable(&standings), asked, "{standings:?}");
        }
    }

    #[test]
    fn what_one_shows_alone_is_not_sure_and_two_overrule_one() {
        for (are_several, shown, expected) in [
            (false, vec![], Ok(None)),
            (false, vec![5], Ok(Some(Agreed::Sure(5)))),
            (true, vec![], Ok(None)),
            (true, vec![5], Ok(Some(Agreed::Alone(5)))),
            (true, vec![5, 5], Ok(Some(Agreed::Sure(5)))),
            (true, vec![5, 6], Err(("a", "b"))),
            (true, vec![5, 5, 6], Ok(Some(Agreed::Sure(5)))),
            (true, vec![6, 5, 5], Ok(Some(Agreed::Sure(5)))),
            (true, vec![5, 6, 7], Err(("a", "b"))),
            (true, vec![5, 6, 5, 6], Err(("a", "b"))),
        ] {
            let answers: Vec<_> = ["a", "b", "c", "d"].into_iter().zip(shown).collect();
            assert_eq!(judge(are_several, &answers), expected, "{are_several}, {answers:?}");
        }
    }
}
