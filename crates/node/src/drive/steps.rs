//! Which calls lead to a target.

use privatix_market::{Actual, Target};

/// A call to the plug-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the channel known, with its bound.
    Provision,
    /// Send the newest bound, for a plug-in that does not read that of a provision, and because it may have moved since.
    Allow,
    Start,
    Suspend,
    Stop,
}

use Step::{Allow, Provision, Start, Stop, Suspend};

/// The calls that lead to `target`, from what is known of the service. `is_known`: whether the plug-in was given the channel in its
/// present life.
///
/// Nothing starts without its bound. What may be running is suspended before anything else is asked of it.
pub(super) const fn steps(target: Target, actual: Actual, is_known: bool) -> &'static [Step] {
    match (target, actual) {
        (Target::Absent, _) => &[Stop],
        (Target::Suspended, Actual::Absent) if !is_known => to(Target::Suspended),
        (Target::Suspended, _) => &[Suspend],
        (Target::Running, Actual::Absent) => to(Target::Running),
        (Target::Running, _) if is_known => &[Allow, Start],
        (Target::Running, _) => to(Target::Running),
    }
}

/// The calls that lead to `target` if the plug-in does not know the channel.
pub(super) const fn to(target: Target) -> &'static [Step] {
    match target {
        Target::Absent => &[Stop],
        Target::Suspended => &[Provision, Suspend],
        Target::Running => &[Provision, Allow, Start],
    }
}

/// What a service does once it was brought to `target`.
pub(super) const fn reached(target: Target) -> Actual {
    match target {
        Target::Absent => Actual::Absent,
        Target::Suspended => Actual::Suspended,
        Target::Running => Actual::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTUALS: [Actual; 5] =
        [Actual::Unknown, Actual::Absent, Actual::Suspended, Actual::Running, Actual::Lost];

    #[test]
    fn the_calls_are_those_of_the_table() {
        for (target, actual, is_known, expected) in [
            (Target::Absent, Actual::Lost, true, &[Stop][..]),
            (Target::Suspended, Actual::Absent, false, &[Provision, Suspend]),
            (Target::Suspended, Actual::Absent, true, &[Suspend]),
            (Target::Suspended, Actual::Unknown, false, &[Suspend]),
            (Target::Suspended, Actual::Running, true, &[Suspend]),
            (Target::Running, Actual::Suspended, true, &[Allow, Start]),
            // As after a restart of the plug-in, or of the node beside it.
            (Target::Running, Actual::Unknown, false, &[Provision, Allow, Start]),
            (Target::Running, Actual::Suspended, false, &[Provision, Allow, Start]),
            (Target::Running, Actual::Absent, true, &[Provision, Allow, Start]),
        ] {
            assert_eq!(steps(target, actual, is_known), expected, "{target:?} {actual:?} {is_known}");
        }
    }

    #[test]
    fn nothing_starts_without_its_bound_nor_unknown_and_each_target_ends_with_its_own_call() {
        for (target, last) in [(Target::Absent, Stop), (Target::Suspended, Suspend), (Target::Running, Start)]
        {
            assert!(reached(target).is(target));
            for actual in ACTUALS {
                for is_known in [false, true] {
                    let steps = steps(target, actual, is_known);
                    assert_eq!(steps.last(), Some(&last));
                    let is_started = steps.contains(&Start);
                    assert!(!is_started || steps.contains(&Allow));
                    assert!(!is_started || is_known || steps.first() == Some(&Provision));
                }
            }
        }
    }
}
