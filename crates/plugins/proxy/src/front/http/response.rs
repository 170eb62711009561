//! What a destination's answer begins with.

use super::head::{self, Scan};

/// What is known of an answer by its bytes up to now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beginning {
    /// Too little.
    Unknown,
    /// An HTTP/1.x head of `length` bytes.
    Head { length: usize, status: u16 },
    /// Something else, which programs may understand nevertheless: an answer without a head (HTTP/0.9), or with an odd one.
    Other,
}

/// Looks at what was received of an answer, which only ever grows, with the same `scan` each time.
pub(super) fn beginning(scan: &mut Scan, received: &[u8]) -> Beginning {
    const HTTP: &[u8] = b"HTTP/1.";
    if !received.iter().zip(HTTP).all(|(byte, expected)| byte == expected) {
        return Beginning::Other;
    }
    let Some(head) = scan.find(received) else { return Beginning::Unknown };
    let line = head::lines(received).next().map(head::without_end).unwrap_or_default();
    match line.get(HTTP.len()..) {
        Some([minor, b' ', status @ ..]) if minor.is_ascii_digit() => {
            status_of(status).map_or(Beginning::Other, |status| Beginning::Head { length: head.end, status })
        }
        _ => Beginning::Other,
    }
}

/// Three digits, and maybe a blank and a reason.
fn status_of(text: &[u8]) -> Option<u16> {
    let (digits, rest) = text.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), None | Some(b' ')) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_http_or_something_else_as_soon_as_that_is_certain() {
        let head = |length, status| Beginning::Head { length, status };
        for (received, expected) in [
            (&b""[..], Beginning::Unknown),
            (b"HTT", Beginning::Unknown),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", Beginning::Unknown),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", head(25, 200)),
            (b"HTTP/1.0 999\n\n", head(14, 999)),
            (b"HTTP/1.1 103 \xff\r\n\r\n", head(18, 103)),
            (b"<html>", Beginning::Other),
            (b"HTTP/2 200\r\n\r\n", Beginning::Other),
            (b"HTTX", Beginning::Other),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Beginning::Other),
            (b"HTTP/1.1 20\r\n\r\n", Beginning::Other),
            (b"HTTP/1.1 2000\r\n\r\n", Beginning::Other),
            (b"HTTP/1.1 OK\r\n\r\n", Beginning::Other),
            (b"HTTP/1.1\r\n\r\n", Beginning::Other),
            (b"ICY 200 OK\r\n\r\n", Beginning::Other),
        ] {
            let found = beginning(&mut Scan::of_response(), received);
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(received));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(received in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = beginning(&mut Scan::of_response(), &received);
            let _ = beginning(&mut Scan::of_response(), &[b"HTTP/1.1 ", &received[..], b"\r\n\r\n"].concat());
        }
    }
}
