//! What a job does next about its channel.

use super::Request;

/// What is known when a job looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) asked: Option<Request>,
    /// Whether calls are under way that lead to the target, or to less.
    pub(super) is_under_way: bool,
    /// Whether the last calls to this target were in vain, a moment ago.
    pub(super) is_paused: bool,
    /// Whether a call that was dropped has not been followed by another one, after its time.
    pub(super) late: Option<Late>,
    /// Whether the job is in the lane for what is slow.
    pub(super) is_slow: bool,
}

/// A call was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// It may still take effect.
    Possible,
    /// Its time is over.
    Over,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Report that the plug-in has not answered.
    GiveUp { seq: u32 },
    /// Begin the calls that lead to the target: of a request, or to make sure.
    Begin { seq: Option<u32> },
    /// Wait for an answer, a change, or a time.
    Wait,
    /// Leave the rest to the lane for what is slow.
    HandOver,
    /// Nothing is left to be done.
    End,
}

/// What a job does next.
pub(super) const fn next(look: &Look) -> Next {
    match (look.asked, look.late) {
        (Some(Request { seq, left, .. }), _) if left.is_zero() => Next::GiveUp { seq },
        _ if look.is_under_way || look.is_paused => Next::Wait,
        (Some(Request { seq, .. }), _) => Next::Begin { seq: Some(seq) },
        (None, None) => Next::End,
        // It is waited for where that takes nobody's place.
        (None, Some(_)) if !look.is_slow => Next::HandOver,
        (None, Some(Late::Possible)) => Next::Wait,
        (None, Some(Late::Over)) => Next::Begin { seq: None },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_goes_first_and_what_is_late_is_waited_for_in_the_slow_lane() {
        let asked = |left| Some(Request { seq: 3, left: Duration::from_secs(left), afresh: false });
        let (possible, over) = (Some(Late::Possible), Some(Late::Over));
        for (asked, is_under_way, is_paused, late, is_slow, expected) in [
            (asked(1), false, false, None, false, Next::Begin { seq: Some(3) }),
            (asked(1), true, false, None, false, Next::Wait),
            (asked(1), false, true, possible, true, Next::Wait),
            // Whatever is under way.
            (asked(0), true, true, over, true, Next::GiveUp { seq: 3 }),
            (asked(1), false, false, over, false, Next::Begin { seq: Some(3) }),
            (None, false, false, None, true, Next::End),
            // A call of a request that was given up is waited for: the service may be found by it.
            (None, true, false, None, false, Next::Wait),
            (None, false, false, possible, false, Next::HandOver),
            (None, false, false, possible, true, Next::Wait),
            (None, false, false, over, true, Next::Begin { seq: None }),
            (None, false, true, over, true, Next::Wait),
        ] {
            let look = Look { asked, is_under_way, is_paused, late, is_slow };
            assert_eq!(next(&look), expected, "{look:?}");
        }
    }
}
