//! Where a request's body ends (RFC 9112 §6). The body itself is passed on as it is: this only finds its last byte, so that a
//! further request of the program does not reach the destination of the first.

use super::head;
use super::request::{BadRequest, Request};

/// What is left of a request's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// This many bytes, maybe none.
    Length(u64),
    Chunked(Chunked),
    /// It is chunked, but not as it should be: it has no known end, and the destination will refuse it.
    Broken,
}

/// Where in a chunked body (RFC 9112 §7.1) the next byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunked {
    /// In a chunk's size, with its value up to here; no digit yet is `None`.
    Size(Option<u64>),
    /// After a chunk's size, before the end of its line.
    Extension {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Before the line end that follows a chunk's data.
    AfterData {
        carriage_return: bool,
    },
    /// In the lines after the last chunk, the last of which is empty.
    Trailer {
        is_empty: bool,
    },
    End,
}

impl Body {
    /// Of a request. `Transfer-Encoding` prevails over `Content-Length` (RFC 9112 §6.3).
    pub(super) fn of(request: &Request<'_>) -> Result<Self, BadRequest> {
        let coding =
            request.fields_of(b"transfer-encoding").flat_map(|field| head::members(field.value)).last();
        if let Some(coding) = coding {
            if request.version == b"HTTP/1.0" {
                return Err(BadRequest::CodingInHttp10);
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(BadRequest::Coding);
            }
            return Ok(Self::Chunked(Chunked::Size(None)));
        }
        if request.fields_of(b"transfer-encoding").next().is_some() {
            return Err(BadRequest::Coding);
        }
        let mut lengths = request.fields_of(b"content-length");
        let Some(length) = lengths.next() else { return Ok(Self::Length(0)) };
        if lengths.next().is_some() || length.value.is_empty() || !length.value.iter().all(u8::is_ascii_digit)
        {
            return Err(BadRequest::Length);
        }
        let length = std::str::from_utf8(length.value).map_err(|_| BadRequest::Length)?;
        length.parse().map(Self::Length).map_err(|_| BadRequest::Length)
    }

    pub(super) const fn is_chunked(&self) -> bool {
        matches!(self, Self::Chunked(_))
    }

    pub(super) const fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }

    /// Takes note of the bytes received, and gives how many of them belong to the body.
    pub(super) fn take(&mut self, received: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = received.get(at..).filter(|rest| !rest.is_empty()) {
            let taken = self.step(rest);
            if taken == 0 {
                break;
            }
            at += taken;
        }
        at
    }

    /// As [`take`](Self::take), up to the next change of state; 0 at the end.
    fn step(&mut self, received: &[u8]) -> usize {
        let Self::Chunked(state) = self else {
            return match self {
                Self::Length(left) => subtract(left, received.len()),
                _ => received.len(),
            };
        };
        if let Chunked::Data { left } = state {
            let taken = subtract(left, received.len());
            if *left == 0 {
                *state = Chunked::AfterData { carriage_return: false };
            }
            return taken;
        }
        if *state == Chunked::End {
            return 0;
        }
        let next = received.first().and_then(|&byte| state.after(byte));
        *self = next.map_or(Self::Broken, Self::Chunked);
        1
    }
}

impl Chunked {
    /// The state after a byte that is no data; `None` if it must not be there.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(value), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size(Some(value.unwrap_or(0).checked_mul(16)?.checked_add(digit.into())?))
            }
            (Self::Size(Some(0)) | Self::Extension { size: 0 }, b'\n') => Self::Trailer { is_empty: true },
            (Self::Size(Some(size)) | Self::Extension { size }, b'\n') => Self::Data { left: size },
            (Self::Size(Some(size)), b'\r' | b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Extension { size }, _) => Self::Extension { size },
            (Self::AfterData { carriage_return: false }, b'\r') => Self::AfterData { carriage_return: true },
            (Self::AfterData { .. }, b'\n') => Self::Size(None),
            (Self::Trailer { is_empty: true }, b'\n') => Self::End,
            (Self::Trailer { is_empty }, b'\r') => Self::Trailer { is_empty },
            (Self::Trailer { .. }, byte) => Self::Trailer { is_empty: byte == b'\n' },
            _ => return None,
        })
    }
}

/// Takes as much of `left` as there is of `available`.
fn subtract(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= taken as u64;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(fields: &str) -> Result<Body, BadRequest> {
        let head = format!("POST / {fields}\r\n\r\n");
        Body::of(&Request::parse(head.as_bytes()).unwrap())
    }

    #[test]
    fn the_heads_fields_give_the_bodys_form() {
        let chunked = Ok(Body::Chunked(Chunked::Size(None)));
        for (fields, expected) in [
            ("HTTP/1.1", Ok(Body::Length(0))),
            ("HTTP/1.1\r\nContent-Length: 5", Ok(Body::Length(5))),
            ("HTTP/1.0\r\ncontent-length:\t005 ", Ok(Body::Length(5))),
            ("HTTP/1.1\r\nTransfer-Encoding: Chunked", chunked),
            ("HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: x, chunked", chunked),
            ("HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", chunked),
            ("HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5", Err(BadRequest::Length)),
            ("HTTP/1.1\r\nContent-Length: 5, 5", Err(BadRequest::Length)),
            ("HTTP/1.1\r\nContent-Length: +5", Err(BadRequest::Length)),
            ("HTTP/1.1\r\nContent-Length:", Err(BadRequest::Length)),
            ("HTTP/1.1\r\nContent-Length: 99999999999999999999", Err(BadRequest::Length)),
            ("HTTP/1.1\r\nTransfer-Encoding: chunked, gzip", Err(BadRequest::Coding)),
            ("HTTP/1.1\r\nTransfer-Encoding: ", Err(BadRequest::Coding)),
            ("HTTP/1.0\r\nTransfer-Encoding: chunked", Err(BadRequest::CodingInHttp10)),
        ] {
            assert_eq!(body(fields), expected, "{fields}");
        }
    }

    #[test]
    fn a_chunked_body_ends_with_the_empty_line_after_its_last_chunk() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\n0\n\n",
            "00B;x=\"y\"\r\n0\r\n\r\n\r\n\r\nab\r\n000\r\n\r\n",
            "5 \r\nhello\r\n0;last\r\nX: y\r\nZ: \r\n\r\n",
        ] {
            let mut state = Body::Chunked(Chunked::Size(None));
            let next = "GET http://other/ HTTP/1.1\r\n\r\n";
            assert_eq!(state.take(format!("{body}{next}").as_bytes()), body.len(), "{body:?}");
            assert!(state.is_complete(), "{body:?}");
        }
    }

    #[test]
    fn what_is_not_chunked_as_it_should_be_has_no_end() {
        for body in ["x\r\n", "\r\n", ";\r\n", "-1\r\n", "1\r\nab\r\n", "1\r\na\rb", "ffffffffffffffff0\r\n"]
        {
            let mut state = Body::Chunked(Chunked::Size(None));
            assert_eq!(state.take(body.as_bytes()), body.len(), "{body:?}");
            assert_eq!(state, Body::Broken, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_found_does_not_depend_on_the_pieces(
            chunks in prop::collection::vec("[a-z0\r\n]{1,20}", 0..4), trailer in "([A-Z]: [0a]{0,2}\r\n){0,2}",
            next in "[a-z0\r\n]{0,20}", piece in 1..7_usize,
        ) {
            let chunks: Vec<String> =
                chunks.iter().map(|chunk| format!("{:X}\r\n{chunk}\r\n", chunk.len())).collect();
            let mut sent = format!("{}0\r\n{trailer}\r\n", chunks.concat());
            let length = sent.len();
            sent.push_str(&next);
            let mut state = Body::Chunked(Chunked::Size(None));
            let taken: usize = sent.as_bytes().chunks(piece).map(|piece| state.take(piece)).sum();
            prop_assert_eq!(taken, length);
            prop_assert!(state.is_complete());
        }

        #[test]
        fn no_bytes_panic(received in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut state = Body::Chunked(Chunked::Size(None));
            prop_assert!(state.take(&received) <= received.len());
        }
    }
}
