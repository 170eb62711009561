//! A program's request, read as bytes. Only what cannot be passed on without guessing is refused, with the reason in words;
//! all else is the destination's to judge.

use super::answer::Status;
use super::head;

/// A request's head, in the bytes that the program sent.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// `HTTP/1.` and a digit.
    pub(super) version: &'a [u8],
    /// How the request's first line ends, for the lines that are added.
    pub(super) line_end: &'a [u8],
    pub(super) fields: Vec<Field<'a>>,
}

/// A line of a head after its first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    /// Without the blanks around it.
    pub(super) value: &'a [u8],
    /// All of it, with its end.
    pub(super) line: &'a [u8],
}

impl Field<'_> {
    pub(super) fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Why a request is not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("not an HTTP request: its first line is not of the form \"METHOD TARGET HTTP/1.1\"")]
    NotHttp,
    #[error("HTTP/{}.x is not spoken here: use HTTP/1.1 towards the proxy, and CONNECT for other versions", char::from(*.0))]
    Version(u8),
    #[error("the request's head contains a NUL byte or a carriage return within a line")]
    Control,
    #[error("a header line begins with a blank: write each header field on one line (RFC 9112, 5.2)")]
    Folded,
    #[error("a header field has no name, or a blank before its colon (RFC 9112, 5.1)")]
    Name,
    #[error("the request's head has more than {0} bytes: send less, or raise limits.header_bytes")]
    TooLong(usize),
    #[error("the request's head was not sent in time")]
    TooSlow,
    #[error("Content-Length is not one whole number (RFC 9112, 6.3)")]
    Length,
    #[error("Transfer-Encoding does not end in \"chunked\", so the request's end is unknown (RFC 9112, 6.3)")]
    Coding,
    #[error("Transfer-Encoding in an HTTP/1.0 request (RFC 9112, 6.1)")]
    CodingInHttp10,
    #[error("this is a proxy: send CONNECT host:port, or a request for a whole http:// address")]
    NoAddress,
    #[error("https and wss are not forwarded in the clear: send CONNECT host:port, and TLS through it")]
    NeedsTunnel,
    #[error("only http and ws addresses are forwarded: send CONNECT host:port for other protocols")]
    Scheme,
    #[error(
        "no host in the address, or not one that can be looked up (names are written in ASCII, IPv6 addresses in brackets)"
    )]
    Host,
    #[error("the port is not a number up to 65535")]
    Port,
    #[error("CONNECT needs a port: send CONNECT host:port")]
    NoPort,
}

impl BadRequest {
    pub(super) const fn status(self) -> Status {
        match self {
            Self::TooLong(_) => Status::HeadTooLarge,
            Self::TooSlow => Status::RequestTimeout,
            Self::Version(_) => Status::VersionNotSupported,
            _ => Status::BadRequest,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a whole head, which ends with its empty line.
    pub(super) fn parse(head: &'a [u8]) -> Result<Self, BadRequest> {
        let mut lines = head::lines(head);
        let first = lines.next().unwrap_or_default();
        let RequestLine { method, target, version } = RequestLine::parse(first)?;
        if has_control(head) {
            return Err(BadRequest::Control);
        }
        let fields = lines
            .filter(|line| !head::without_end(line).is_empty())
            .map(|line| {
                if line.starts_with(b" ") || line.starts_with(b"\t") {
                    return Err(BadRequest::Folded);
                }
                // A line without a colon is no field. It means nothing here, and may to the destination.
                let (name, value) = head::name_and_value(line).unwrap_or((head::without_end(line), b""));
                if name.is_empty() || name.trim_ascii_end() != name {
                    return Err(BadRequest::Name);
                }
                Ok(Field { name, value, line })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { method, target, version, line_end: head::end_of(first), fields })
    }

    /// The fields of a name.
    pub(super) fn fields_of(&self, name: &'static [u8]) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(move |field| field.is(name))
    }

    /// What the program wrote into `Connection`.
    pub(super) fn connection_options(&self) -> impl Iterator<Item = &'a [u8]> {
        self.fields_of(b"connection").flat_map(|field| head::members(field.value))
    }
}

/// A request's first line. The target is all between the first and the last blank, whatever it contains: quotes, blanks and
/// UTF-8 belong percent-encoded, but servers take them as they are.
pub(super) struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: &'a [u8],
}

impl<'a> RequestLine<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, BadRequest> {
        let line = head::without_end(line);
        let is_blank = |byte: &u8| *byte == b' ';
        let blanks = line.iter().position(is_blank).zip(line.iter().rposition(is_blank));
        let (first, last) = blanks.ok_or(BadRequest::NotHttp)?;
        let (method, version) = (line.get(..first), line.get(last + 1..));
        let target = line.get(first + 1..last);
        let (method, target, version) =
            (method.unwrap_or_default(), target.unwrap_or_default(), version.unwrap_or_default());
        if method.is_empty() || !method.iter().copied().all(is_token) || target.is_empty() {
            return Err(BadRequest::NotHttp);
        }
        match version {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
                Ok(Self { method, target, version })
            }
            [b'H', b'T', b'T', b'P', b'/', major, ..] if major.is_ascii_digit() && *major != b'1' => {
                Err(BadRequest::Version(*major))
            }
            _ => Err(BadRequest::NotHttp),
        }
    }
}

/// A character of a token, which methods are (RFC 9110 §5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// RFC 9112 §2.2, RFC 9110 §5.5: what recipients take for the end of a line, or of a text, at their own discretion.
fn has_control(head: &[u8]) -> bool {
    head.contains(&0) || head::lines(head).any(|line| head::without_end(line).contains(&b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_target_is_all_between_the_first_and_the_last_blank() {
        for target in [
            "/",
            "*",
            "http://h/?q=\"x\"",
            "http://h/?a=<b>",
            "http://h/`x`",
            "http://h/a b",
            "http://h/ü|^{}\\",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(Request::parse(head.as_bytes()).unwrap().target, target.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_passed_on_is_refused_for_its_reason() {
        for (head, expected) in [
            (&b"\r\n"[..], BadRequest::NotHttp),
            (b"GET\r\n\r\n", BadRequest::NotHttp),
            (b"GET http://h/\r\n\r\n", BadRequest::NotHttp),
            (b"GET  HTTP/1.1\r\n\r\n", BadRequest::NotHttp),
            (b" GET / HTTP/1.1\r\n\r\n", BadRequest::NotHttp),
            (b"G\xc3T / HTTP/1.1\r\n\r\n", BadRequest::NotHttp),
            (b"GET / http/1.1\r\n\r\n", BadRequest::NotHttp),
            (b"GET / HTTP/1.1 \r\n\r\n", BadRequest::NotHttp),
            (b"GET / HTTP/1.10\r\n\r\n", BadRequest::NotHttp),
            (b"PRI * HTTP/2.0\r\n\r\n", BadRequest::Version(b'2')),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", BadRequest::Control),
            (b"GET /\r HTTP/1.1\r\n\r\n", BadRequest::Control),
            (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", BadRequest::Control),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", BadRequest::Folded),
            (b"GET / HTTP/1.1\r\n\tc: d\r\n\r\n", BadRequest::Folded),
            (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", BadRequest::Name),
            (b"GET / HTTP/1.1\r\n: b\r\n\r\n", BadRequest::Name),
        ] {
            assert_eq!(Request::parse(head).unwrap_err(), expected, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn odd_fields_stay_as_they_are() {
        let head = b"M-SEARCH * HTTP/1.0\nno colon\nX(y): \xff\xfe \nEmpty:\n\n";
        let request = Request::parse(head).unwrap();
        let lines: Vec<&[u8]> = request.fields.iter().map(|field| field.line).collect();
        assert_eq!(lines, [&b"no colon\n"[..], b"X(y): \xff\xfe \n", b"Empty:\n"]);
        assert_eq!(request.line_end, b"\n");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b" \r\n:/HTTP1.".to_vec())], 0..200)) {
            let _ = Request::parse(&head);
        }
    }
}
