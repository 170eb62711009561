//! Where a message's head begins and ends in what was received, and its lines (RFC 9112 §2). Everything is bytes: a proxy
//! passes on what it need not understand.

use std::ops::Range;

/// Finds the end of a head while its bytes arrive, looking at each of them once.
#[derive(Debug)]
pub(super) struct Scan {
    skip_empty: bool,
    begin: usize,
    line: usize,
    seen: usize,
    first_line: Option<Range<usize>>,
}

impl Scan {
    /// Of a request: empty lines before it are skipped, as robust servers do (RFC 9112 §2.2).
    pub(super) const fn of_request() -> Self {
        Self { skip_empty: true, begin: 0, line: 0, seen: 0, first_line: None }
    }

    /// Of a response.
    pub(super) const fn of_response() -> Self {
        Self { skip_empty: false, begin: 0, line: 0, seen: 0, first_line: None }
    }

    /// Looks at what was received up to now, which only ever grows. Gives the head once it is whole: from its first line to the
    /// end of the empty line that ends it.
    pub(super) fn find(&mut self, received: &[u8]) -> Option<Range<usize>> {
        while let Some(length) =
            received.get(self.seen..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'))
        {
            let line = self.line..self.seen + length + 1;
            (self.line, self.seen) = (line.end, line.end);
            let is_empty = without_end(received.get(line.clone()).unwrap_or_default()).is_empty();
            match (self.first_line.is_some(), is_empty) {
                (false, true) if self.skip_empty => self.begin = line.end,
                (false, _) => self.first_line = Some(line),
                (true, true) => return Some(self.begin..line.end),
                (true, false) => {}
            }
        }
        self.seen = received.len();
        None
    }

    /// The first line, once it is whole.
    pub(super) const fn first_line(&self) -> Option<&Range<usize>> {
        self.first_line.as_ref()
    }
}

/// The lines of a head, each with its end.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|&byte| byte == b'\n')
}

/// A line without its end. A single LF ends a line, too (RFC 9112 §2.2).
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How a line ends.
pub(super) fn end_of(line: &[u8]) -> &[u8] {
    line.get(without_end(line).len()..).unwrap_or_default()
}

/// Name and value of a field's line: the value without the blanks around it. `None` for a line without a colon.
pub(super) fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = without_end(line);
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
}

/// The members of a list such as `Connection` has (RFC 9110 §5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        for (received, request, response) in [
            (&b""[..], None, None),
            (b"GET / HTTP/1.1\r\n", None, None),
            (b"GET / HTTP/1.1\r\n\r\nbody", Some(0..18), Some(0..18)),
            (b"GET / HTTP/1.1\n\nbody", Some(0..16), Some(0..16)),
            (b"GET / HTTP/1.1\nA: b\r\n\n", Some(0..22), Some(0..22)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\r", None, None),
            (b"\r\n\n\r\nA\r\n\r\n", Some(5..10), Some(0..3)),
            (b"\r\n\r\n", None, Some(0..4)),
        ] {
            assert_eq!(Scan::of_request().find(received), request, "{received:?}");
            assert_eq!(Scan::of_response().find(received), response, "{received:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_found_does_not_depend_on_the_pieces(received in "[a\r\n]{0,40}", cuts in prop::collection::vec(0..40_usize, 0..6)) {
            let received = received.as_bytes();
            let mut scan = Scan::of_request();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(received.len())).collect();
            cuts.sort_unstable();
            cuts.push(received.len());
            let found = cuts.into_iter().find_map(|cut| scan.find(&received[..cut]));
            prop_assert_eq!(found, Scan::of_request().find(received));
        }
    }
}
