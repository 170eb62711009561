//! Where a request goes (RFC 9112 §3.2): the authority of its target. What follows the authority stays as it is.

use std::borrow::Cow;

use super::request::{BadRequest, Request};
use crate::destination::Target;

/// What a program asks the proxy for.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Asked<'a> {
    /// A tunnel (RFC 9110 §9.3.6).
    Tunnel(Target),
    /// To forward a request in absolute form (RFC 9112 §3.2.2).
    Forward {
        to: Target,
        /// For the `Host` field: host and port as the program wrote them.
        host: &'a [u8],
        /// What the destination gets for a target (RFC 9112 §3.2.1, §3.2.4).
        origin_form: Cow<'a, [u8]>,
    },
}

impl<'a> Asked<'a> {
    pub(super) fn by(request: &Request<'a>) -> Result<Self, BadRequest> {
        if request.method == b"CONNECT" {
            let (host, port) = host_and_port(request.target)?;
            return Ok(Self::Tunnel(target(host, port.ok_or(BadRequest::NoPort)?)?));
        }
        let (scheme, rest) = scheme(request.target).ok_or(BadRequest::NoAddress)?;
        if [&b"https"[..], b"wss"].iter().any(|tls| scheme.eq_ignore_ascii_case(tls)) {
            return Err(BadRequest::NeedsTunnel);
        }
        // A WebSocket begins as an HTTP request (RFC 6455 §3).
        if ![&b"http"[..], b"ws"].iter().any(|plain| scheme.eq_ignore_ascii_case(plain)) {
            return Err(BadRequest::Scheme);
        }
        let (authority, path) = split_at(rest, |byte| matches!(byte, b'/' | b'?' | b'#'));
        // A name and a password are between the user and the program, which sends them in `Authorization`.
        let host = authority.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
        let (name, port) = host_and_port(host)?;
        let to = target(name, port.unwrap_or(80))?;
        let origin_form = match path.first() {
            Some(b'/') => Cow::Borrowed(path),
            None if request.method == b"OPTIONS" => Cow::Borrowed(&b"*"[..]),
            None => Cow::Borrowed(&b"/"[..]),
            Some(_) => Cow::Owned([b"/", path].concat()),
        };
        Ok(Self::Forward { to, host, origin_form })
    }
}

fn target(host: &[u8], port: u16) -> Result<Target, BadRequest> {
    let host = std::str::from_utf8(host).map_err(|_| BadRequest::Host)?;
    Some(Target::from_host(host, port)).filter(Target::is_sound).ok_or(BadRequest::Host)
}

fn scheme(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = target.windows(3).position(|window| window == b"://")?;
    let (scheme, rest) = (target.get(..at)?, target.get(at + 3..)?);
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (!scheme.is_empty() && scheme.iter().all(is_scheme)).then_some((scheme, rest))
}

/// Host and port of an authority. An empty port is none (RFC 3986 §3.2.3).
fn host_and_port(authority: &[u8]) -> Result<(&[u8], Option<u16>), BadRequest> {
    let (host, rest) = if authority.starts_with(b"[") {
        let (inside, rest) = split_at(authority, |byte| byte == b']');
        let rest = rest.strip_prefix(b"]").ok_or(BadRequest::Host)?;
        (authority.get(..=inside.len()).unwrap_or_default(), rest)
    } else {
        split_at(authority, |byte| byte == b':')
    };
    let port = match rest {
        b"" | b":" => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let digits = std::str::from_utf8(digits).map_err(|_| BadRequest::Port)?;
            Some(digits.parse().map_err(|_| BadRequest::Port)?)
        }
        // More colons are an IPv6 address without brackets.
        [b':', rest @ ..] if !rest.contains(&b':') => return Err(BadRequest::Port),
        _ => return Err(BadRequest::Host),
    };
    if host.is_empty() { Err(BadRequest::Host) } else { Ok((host, port)) }
}

fn split_at(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|&byte| is_end(byte)).unwrap_or(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(line: &str) -> Result<(String, String, String), BadRequest> {
        let head = format!("{line} HTTP/1.1\r\n\r\n");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(match Asked::by(&Request::parse(head.as_bytes())?)? {
            Asked::Tunnel(to) => (to.to_string(), String::new(), String::new()),
            Asked::Forward { to, host, origin_form } => (to.to_string(), text(host), text(&origin_form)),
        })
    }

    #[test]
    fn a_request_goes_where_its_target_says_with_the_rest_of_the_target_as_it_is() {
        for (line, to, host, origin_form) in [
            ("GET http://h/", "h:80", "h", "/"),
            ("GET http://h", "h:80", "h", "/"),
            ("GET http://h:/", "h:80", "h:", "/"),
            ("GET HTTP://Example.ORG:8080/A", "Example.ORG:8080", "Example.ORG:8080", "/A"),
            ("GET ws://h/chat", "h:80", "h", "/chat"),
            ("GET http://user:p@ss@h:81/x", "h:81", "h:81", "/x"),
            ("GET http://[::1]:81/x", "[::1]:81", "[::1]:81", "/x"),
            ("GET http://[::1]/x", "[::1]:80", "[::1]", "/x"),
            ("GET http://127.0.0.1/x", "127.0.0.1:80", "127.0.0.1", "/x"),
            ("GET http://h?q=\"<`ü", "h:80", "h", "/?q=\"<`ü"),
            ("GET http://h/a b//c?d=http://e/#f", "h:80", "h", "/a b//c?d=http://e/#f"),
            ("GET http://h#f", "h:80", "h", "/#f"),
            ("OPTIONS http://h", "h:80", "h", "*"),
            ("OPTIONS http://h/", "h:80", "h", "/"),
            ("CONNECT h:443", "h:443", "", ""),
            ("CONNECT [::1]:443", "[::1]:443", "", ""),
        ] {
            assert_eq!(asked(line), Ok((to.into(), host.into(), origin_form.into())), "{line}");
        }
    }

    #[test]
    fn a_target_that_goes_nowhere_is_refused_for_its_reason() {
        for (line, expected) in [
            ("GET /", BadRequest::NoAddress),
            ("OPTIONS *", BadRequest::NoAddress),
            ("GET h:80", BadRequest::NoAddress),
            ("GET /?u=http://h/", BadRequest::NoAddress),
            ("GET https://h/", BadRequest::NeedsTunnel),
            ("GET WSS://h/", BadRequest::NeedsTunnel),
            ("GET ftp://h/", BadRequest::Scheme),
            ("GET http:///x", BadRequest::Host),
            ("GET http://:80/", BadRequest::Host),
            ("GET http://user@/", BadRequest::Host),
            ("GET http://::1/", BadRequest::Host),
            ("GET http://[::1/", BadRequest::Host),
            ("GET http://[::1]x/", BadRequest::Host),
            ("GET http://[fe80::1%25eth0]/", BadRequest::Host),
            ("GET http://bücher.example/", BadRequest::Host),
            ("GET http://a b/", BadRequest::Host),
            ("GET http://h:x/", BadRequest::Port),
            ("GET http://h:65536/", BadRequest::Port),
            ("GET http://h:+80/", BadRequest::Port),
            ("CONNECT h", BadRequest::NoPort),
            ("CONNECT h:", BadRequest::NoPort),
            ("CONNECT http://h:80/", BadRequest::Host),
            ("CONNECT h:80/", BadRequest::Port),
            ("CONNECT :80", BadRequest::Host),
        ] {
            assert_eq!(asked(line), Err(expected), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_target_panics(target in "[a-z:/@\\[\\]?#0-9. \u{0}-\u{ff}]{1,40}") {
            let _ = asked(&format!("GET {target}"));
            let _ = asked(&format!("GET http://{target}"));
            let _ = asked(&format!("CONNECT {target}"));
        }
    }
}
