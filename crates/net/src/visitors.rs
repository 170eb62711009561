//! Who may stay when places are taken: those who have said who they are, and of the others the newest.

use std::collections::HashMap;
use std::hash::Hash;

/// How many may be there at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VisitorLimits {
    /// Those who have not said who they are.
    pub strangers: usize,
    /// Those of one group.
    pub strangers_per_group: usize,
    /// Those who have.
    pub known: usize,
    /// Those of one owner.
    pub known_per_owner: usize,
}

/// One who is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Visitor(u64);

/// A newcomer got a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// The newcomer.
    pub visitor: Visitor,
    /// Who has lost its place to it, and must go.
    pub dismissed: Option<Visitor>,
}

/// All places are taken by strangers that are being served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("all places for those who have not said who they are are taken")]
pub struct Full;

/// Why one who has said who they are has no place among those who have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotIdentified {
    /// All their places are taken.
    #[error("all places are taken")]
    Full,
    /// The owner has its number.
    #[error("all places of this owner are taken")]
    OwnerFull,
    /// It has lost its place meanwhile.
    #[error("its place was given to another")]
    Gone,
}

/// Connections to a server: strangers, of groups `G` (by network address; `None` where there is none), and those known to
/// belong to an owner `O` (by login or by payment).
///
/// The two have places of their own, so that no number of strangers keeps those out who are known. A newcomer for whom there
/// is no place takes that of the stranger who has been idle the longest: of its own group if the group has its number, else
/// of the group with most strangers. So an idle crowd keeps nobody out, behind one address or behind many. One who is being
/// served, and one who is known, never has to go.
///
/// Decisions only: the caller ends the connections. Looking for who has to go takes time in proportion to the number of
/// strangers, everything else is constant.
#[derive(Debug)]
pub struct Visitors<G, O> {
    limits: VisitorLimits,
    last: u64,
    strangers: HashMap<Visitor, Stranger<G>>,
    groups: HashMap<Option<G>, usize>,
    known: HashMap<Visitor, O>,
    owners: HashMap<O, usize>,
}

#[derive(Debug)]
struct Stranger<G> {
    group: Option<G>,
    /// The moment since which it has been idle; `None` while it is being served.
    idle_since: Option<u64>,
}

impl<G: Clone + Eq + Hash, O: Copy + Eq + Hash> Visitors<G, O> {
    /// Nobody is there yet.
    pub fn new(limits: VisitorLimits) -> Self {
        Self {
            limits,
            last: 0,
            strangers: HashMap::new(),
            groups: HashMap::new(),
            known: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// Strangers at present.
    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// Those known at present.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// Whether this one is known.
    pub fn is_known(&self, visitor: Visitor) -> bool {
        self.known.contains_key(&visitor)
    }

    /// A newcomer, idle until it is served.
    ///
    /// # Errors
    /// [`Full`] when all who would have to go are being served.
    pub fn admit(&mut self, group: Option<G>) -> Result<Admitted, Full> {
        let of_group = self.groups.get(&group).copied().unwrap_or_default();
        let dismissed = if group.is_some() && of_group >= self.limits.strangers_per_group {
            Some(self.longest_idle(Some(&group)).ok_or(Full)?)
        } else if self.strangers.len() >= self.limits.strangers {
            let crowd = self.groups.iter().max_by_key(|(_, count)| **count).map(|(group, _)| group.clone());
            let of_crowd = crowd.and_then(|crowd| self.longest_idle(Some(&crowd)));
            Some(of_crowd.or_else(|| self.longest_idle(None)).ok_or(Full)?)
        } else {
            None
        };
        if let Some(dismissed) = dismissed {
            self.leave(dismissed);
        }
        let now = self.moment();
        let visitor = Visitor(now);
        *self.groups.entry(group.clone()).or_default() += 1;
        self.strangers.insert(visitor, Stranger { group, idle_since: Some(now) });
        Ok(Admitted { visitor, dismissed })
    }

    /// It is being served, or no longer.
    pub fn set_served(&mut self, visitor: Visitor, served: bool) {
        let now = self.moment();
        if let Some(stranger) = self.strangers.get_mut(&visitor) {
            stranger.idle_since = (!served).then_some(now);
        }
    }

    /// It has proved to belong to `owner`. Again it does nothing.
    ///
    /// # Errors
    /// [`NotIdentified`]; it stays a stranger then.
    pub fn identify(&mut self, visitor: Visitor, owner: O) -> Result<(), NotIdentified> {
        if self.is_known(visitor) {
            return Ok(());
        }
        if self.owners.get(&owner).copied().unwrap_or_default() >= self.limits.known_per_owner {
            return Err(NotIdentified::OwnerFull);
        }
        if self.known.len() >= self.limits.known {
            return Err(NotIdentified::Full);
        }
        if !self.forget_stranger(visitor) {
            return Err(NotIdentified::Gone);
        }
        *self.owners.entry(owner).or_default() += 1;
        self.known.insert(visitor, owner);
        Ok(())
    }

    /// It has gone.
    pub fn leave(&mut self, visitor: Visitor) {
        self.forget_stranger(visitor);
        if let Some(owner) = self.known.remove(&visitor) {
            decrease(&mut self.owners, &owner);
        }
    }

    fn forget_stranger(&mut self, visitor: Visitor) -> bool {
        let Some(stranger) = self.strangers.remove(&visitor) else { return false };
        decrease(&mut self.groups, &stranger.group);
        true
    }

    fn longest_idle(&self, group: Option<&Option<G>>) -> Option<Visitor> {
        let of_group =
            self.strangers.iter().filter(|(_, stranger)| group.is_none_or(|group| stranger.group == *group));
        let idle = of_group.filter_map(|(visitor, stranger)| Some((stranger.idle_since?, *visitor)));
        idle.min().map(|(_, visitor)| visitor)
    }

    fn moment(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

fn decrease<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: VisitorLimits =
        VisitorLimits { strangers: 4, strangers_per_group: 2, known: 2, known_per_owner: 1 };

    fn visitors() -> Visitors<&'static str, u8> {
        Visitors::new(LIMITS)
    }

    #[test]
    fn a_newcomer_takes_the_place_of_who_has_been_idle_the_longest_in_its_group() {
        let mut there = visitors();
        let first = there.admit(Some("a")).unwrap().visitor;
        let second = there.admit(Some("a")).unwrap().visitor;
        let elsewhere = there.admit(Some("b")).unwrap();
        assert_eq!(elsewhere.dismissed, None);
        there.set_served(first, true);
        there.set_served(first, false);
        assert_eq!(
            there.admit(Some("a")).unwrap().dismissed,
            Some(second),
            "the first asked for something since"
        );
        assert_eq!(there.admit(Some("a")).unwrap().dismissed, Some(first));
        assert_eq!(there.strangers(), 3);
    }

    #[test]
    fn where_all_places_are_taken_the_largest_crowd_makes_room() {
        let mut there = visitors();
        let alone = there.admit(Some("a")).unwrap().visitor;
        let crowd = there.admit(Some("b")).unwrap().visitor;
        there.admit(Some("b")).unwrap();
        there.admit(Some("c")).unwrap();
        assert_eq!(there.admit(Some("d")).unwrap().dismissed, Some(crowd));
        there.set_served(alone, true);
        assert_eq!(there.strangers(), 4);
    }

    #[test]
    fn those_without_a_group_are_bounded_in_all_only() {
        let mut there = visitors();
        for _ in 0..LIMITS.strangers {
            assert_eq!(there.admit(None).unwrap().dismissed, None);
        }
        assert!(there.admit(None).unwrap().dismissed.is_some());
    }

    #[test]
    fn who_is_served_or_known_never_has_to_go() {
        let mut there = visitors();
        let known = there.admit(Some("a")).unwrap().visitor;
        there.identify(known, 1).unwrap();
        there.identify(known, 1).unwrap();
        for _ in 0..2 {
            let served = there.admit(Some("a")).unwrap().visitor;
            there.set_served(served, true);
        }
        assert_eq!(there.admit(Some("a")), Err(Full));
        assert!(there.is_known(known));
        assert_eq!((there.strangers(), there.known()), (2, 1));
    }

    #[test]
    fn one_owner_takes_no_more_than_its_places_among_the_known() {
        let mut there = visitors();
        let all: Vec<Visitor> =
            ["a", "b", "c", "d"].map(|group| there.admit(Some(group)).unwrap().visitor).into();
        there.identify(all[0], 1).unwrap();
        assert_eq!(there.identify(all[1], 1), Err(NotIdentified::OwnerFull));
        there.identify(all[1], 2).unwrap();
        assert_eq!(there.identify(all[2], 3), Err(NotIdentified::Full));
        assert_eq!((there.strangers(), there.known()), (2, 2));
        there.leave(all[0]);
        there.identify(all[2], 3).unwrap();
        there.leave(all[1]);
        there.leave(all[3]);
        assert_eq!(there.identify(all[3], 4), Err(NotIdentified::Gone));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(Option<u8>),
        Served(usize, bool),
        Identify(usize, u8),
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let who = 0_usize..40;
        prop::collection::vec(
            prop_oneof![
                4 => prop::option::of(0_u8..5).prop_map(Step::Admit),
                2 => (who.clone(), any::<bool>()).prop_map(|(who, served)| Step::Served(who, served)),
                1 => (who.clone(), 0_u8..4).prop_map(|(who, owner)| Step::Identify(who, owner)),
                1 => who.prop_map(Step::Leave),
            ],
            1..200,
        )
    }

    proptest! {
        #[test]
        fn bounds_hold_and_only_idle_strangers_have_to_go(
            steps in steps(),
            strangers in 1_usize..12,
            strangers_per_group in 1_usize..6,
            known in 0_usize..6,
            known_per_owner in 1_usize..4,
        ) {
            let limits = VisitorLimits { strangers, strangers_per_group, known, known_per_owner };
            let mut there: Visitors<u8, u8> = Visitors::new(limits);
            let mut present: Vec<Visitor> = Vec::new();
            let mut served: Vec<Visitor> = Vec::new();
            for step in steps {
                match step {
                    Step::Admit(group) => {
                        let is_full = there.strangers() >= strangers;
                        match there.admit(group) {
                            Ok(Admitted { visitor, dismissed }) => {
                                if let Some(dismissed) = dismissed {
                                    prop_assert!(present.contains(&dismissed) && !served.contains(&dismissed));
                                    prop_assert!(!there.is_known(dismissed));
                                    present.retain(|one| *one != dismissed);
                                } else {
                                    prop_assert!(!is_full);
                                }
                                present.push(visitor);
                            }
                            Err(Full) => prop_assert!(!served.is_empty(), "nobody is kept out by an idle crowd"),
                        }
                    }
                    Step::Served(who, is_served) => if let Some(one) = present.get(who % present.len().max(1)) {
                        there.set_served(*one, is_served);
                        served.retain(|other| other != one);
                        if is_served { served.push(*one); }
                    },
                    Step::Identify(who, owner) => if let Some(one) = present.get(who % present.len().max(1)) {
                        prop_assert_eq!(there.identify(*one, owner).is_ok(), there.is_known(*one));
                    },
                    Step::Leave(who) => if !present.is_empty() {
                        let one = present.remove(who % present.len());
                        there.leave(one);
                        served.retain(|other| *other != one);
                    },
                }
                prop_assert!(there.strangers() <= strangers && there.known() <= known);
                prop_assert!(there.owners.values().all(|count| (1..=known_per_owner).contains(count)));
                for (group, count) in &there.groups {
                    prop_assert!(*count > 0 && (group.is_none() || *count <= strangers_per_group));
                }
                prop_assert_eq!(there.groups.values().sum::<usize>(), there.strangers());
                prop_assert_eq!(there.owners.values().sum::<usize>(), there.known());
                prop_assert_eq!(there.strangers() + there.known(), present.len());
            }
        }
    }
}
