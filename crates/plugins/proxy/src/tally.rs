//! What one connection moved: a count of bytes that both of its ends agree on.

/// Counts the bytes of one TCP connection as both of its ends can know them: what this end wrote less what the other end's
/// system has not acknowledged, and what this end read plus what arrived and was not read.
///
/// Pure: whoever owns the socket says what its queues hold.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    written: u64,
    /// Whether the end of the stream was written, too, which the system counts like a byte.
    closed: bool,
    /// The part of `written` that was acknowledged, as far as was seen.
    delivered: u64,
    read: u64,
    /// `read`, and what arrived and was not read, as far as was seen.
    arrived: u64,
}

impl Tally {
    /// Notes bytes that were written to the socket. They count once they are [delivered](Self::delivered).
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
    }

    /// Notes that nothing more will be written, and that the other end is informed.
    pub(crate) const fn closed(&mut self) {
        self.closed = true;
    }

    /// Whether nothing more will be written.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Notes bytes that were read from the socket, and returns how many of them count now: those that did not count when
    /// they [arrived](Self::arrived).
    pub(crate) fn read(&mut self, bytes: u64) -> u64 {
        self.read = self.read.saturating_add(bytes);
        raise(&mut self.arrived, self.read)
    }

    /// Takes note of what the socket holds that is not acknowledged, and returns how many bytes were delivered since.
    pub(crate) fn delivered(&mut self, unacknowledged: u64) -> u64 {
        // What was written before the count began, e.g. the answer to a login, may still be among what is unacknowledged. So
        // this may be too low for a moment, but never too high.
        let queued = self.written.saturating_add(self.closed.into());
        raise(&mut self.delivered, queued.saturating_sub(unacknowledged).min(self.written))
    }

    /// Takes note of what arrived and was not read, and returns how many bytes came since.
    pub(crate) fn arrived(&mut self, unread: u64) -> u64 {
        raise(&mut self.arrived, self.read.saturating_add(unread))
    }

    /// Bytes written that were not delivered, as far as was seen.
    pub(crate) const fn outstanding(&self) -> u64 {
        self.written - self.delivered // `delivered` only rises to `written` at most
    }
}

/// Raises `mark` to `to`, never lowers it, and returns by how much.
fn raise(mark: &mut u64, to: u64) -> u64 {
    let by = to.saturating_sub(*mark);
    *mark += by;
    by
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_count_once_when_they_are_acknowledged_or_arrive() {
        let mut tally = Tally::default();
        tally.wrote(100);
        assert_eq!(tally.delivered(100), 0);
        assert_eq!(tally.delivered(40), 60);
        assert_eq!(tally.outstanding(), 40);
        assert_eq!(tally.delivered(0), 40);
        assert_eq!(tally.delivered(0), 0);
        assert_eq!(tally.arrived(30), 30);
        assert_eq!(tally.read(20), 0);
        assert_eq!(tally.read(20), 10);
        assert_eq!(tally.arrived(0), 0);
    }

    #[test]
    fn the_end_of_the_stream_is_no_byte_of_it() {
        let mut tally = Tally::default();
        tally.wrote(10);
        tally.closed();
        assert_eq!(tally.delivered(5), 6);
        assert_eq!(tally.delivered(1), 4);
        assert_eq!(tally.delivered(0), 0);
        assert_eq!(tally.outstanding(), 0);
    }

    #[test]
    fn what_was_queued_before_the_count_began_only_delays_it() {
        let mut tally = Tally::default();
        assert_eq!(tally.delivered(10), 0);
        tally.wrote(5);
        assert_eq!(tally.delivered(15), 0);
        assert_eq!(tally.delivered(3), 2);
        assert_eq!(tally.delivered(0), 3);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64),
        Acknowledge(u64),
        Arrive(u64),
        Read(u64),
        Look,
    }

    proptest! {
        /// Whatever happens and whenever it is looked at, the two ends of a connection that ends count the same.
        #[test]
        fn both_ends_agree_at_the_end(steps in proptest::collection::vec(prop_oneof![
            (0_u64..5_000).prop_map(Step::Write),
            (0_u64..5_000).prop_map(Step::Acknowledge),
            (0_u64..5_000).prop_map(Step::Arrive),
            (0_u64..5_000).prop_map(Step::Read),
            Just(Step::Look),
        ], 0..100)) {
            let (mut near, mut far) = (Tally::default(), Tally::default());
            // Written, arrived at the far end, acknowledged to the near one, read there.
            let (mut written, mut arrived, mut acknowledged, mut read) = (0, 0, 0, 0);
            let (mut sold, mut bought) = (0, 0);
            for step in steps {
                match step {
                    Step::Write(bytes) => {
                        written += bytes;
                        near.wrote(bytes);
                    }
                    Step::Arrive(bytes) => arrived = written.min(arrived + bytes),
                    Step::Acknowledge(bytes) => acknowledged = arrived.min(acknowledged + bytes),
                    Step::Read(bytes) => {
                        let bytes = bytes.min(arrived - read);
                        read += bytes;
                        bought += far.read(bytes);
                    }
                    Step::Look => {
                        sold += near.delivered(written - acknowledged);
                        bought += far.arrived(arrived - read);
                    }
                }
                prop_assert!(sold <= arrived && bought <= arrived);
            }
            // The last acknowledgement comes with the end of the connection.
            sold += near.delivered(written - arrived);
            bought += far.arrived(arrived - read);
            prop_assert_eq!((sold, bought), (arrived, arrived));
            prop_assert_eq!(near.outstanding(), written - arrived);
        }
    }
}
