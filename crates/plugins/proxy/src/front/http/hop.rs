//! What changes in a head on its way (RFC 9110 §7.6.1): the fields that are between a program and its proxy, and those that
//! keep a connection for further requests, as each of ours serves one. All other bytes stay as they are, in their order.
//!
//! Bodies are relayed as they are, so what concerns only their form on the wire stays, too: `Transfer-Encoding`, `TE` and
//! `Trailer`; and with a request to upgrade all that `Connection` names, as the two ends switch protocols with each other.

use super::body::Body;
use super::head;
use super::request::{Field, Request};

/// A request's head for its destination.
pub(super) fn request_head(request: &Request<'_>, origin_form: &[u8], host: &[u8], body: &Body) -> Vec<u8> {
    let connection = Connection::of(request);
    let mut head = Vec::with_capacity(1024);
    for part in [request.method, b" ", origin_form, b" ", request.version, request.line_end] {
        head.extend_from_slice(part);
    }
    // RFC 9112 §3.2.2: the target's host, whatever the program wrote.
    let mut host_field = Some(host);
    if request.fields_of(b"host").next().is_none() {
        write_field(&mut head, b"Host", host_field.take(), request.line_end);
    }
    let mut connection_field = Some(connection.value());
    for field in &request.fields {
        if field.is(b"host") {
            write_field(&mut head, field.name, host_field.take(), head::end_of(field.line));
        } else if field.is(b"connection") {
            write_field(&mut head, field.name, connection_field.take().as_deref(), head::end_of(field.line));
        } else if connection.drops(field) || (body.is_chunked() && field.is(b"content-length")) {
            // Not for the destination; a length beside chunks is void (RFC 9112 §6.3).
        } else {
            head.extend_from_slice(field.line);
        }
    }
    write_field(&mut head, b"Connection", connection_field.take().as_deref(), request.line_end);
    head.extend_from_slice(request.line_end);
    head
}

/// Whether the program asks to go on in another protocol (RFC 9110 §7.8).
pub(super) fn asks_for_upgrade(request: &Request<'_>) -> bool {
    request.fields_of(b"upgrade").next().is_some()
        && request.connection_options().any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

/// A field if there is a value for it.
fn write_field(head: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>, line_end: &[u8]) {
    let Some(value) = value else { return };
    for part in [name, b": ", value, line_end] {
        head.extend_from_slice(part);
    }
}

/// The connection to the destination, as the request asks for it.
struct Connection<'a> {
    named: Vec<&'a [u8]>,
    upgrades: bool,
    has_te: bool,
}

impl<'a> Connection<'a> {
    fn of(request: &Request<'a>) -> Self {
        Self {
            named: request.connection_options().collect(),
            upgrades: asks_for_upgrade(request),
            has_te: request.fields_of(b"te").next().is_some(),
        }
    }

    fn value(&self) -> Vec<u8> {
        if self.upgrades {
            // A server that does not switch may keep the connection; the program ends it then.
            let kept = self.named.iter().copied().filter(|option| !keeps_alive(option));
            return kept.collect::<Vec<_>>().join(&b", "[..]);
        }
        if self.has_te { b"TE, close".to_vec() } else { b"close".to_vec() }
    }

    fn drops(&self, field: &Field<'_>) -> bool {
        // Credentials for the proxy are a secret between it and the program.
        if [&b"proxy-authorization"[..], b"proxy-connection", b"keep-alive"].iter().any(|name| field.is(name))
        {
            return true;
        }
        // A body's form must stay whatever `Connection` names.
        let concerns_form = [&b"content-length"[..], b"transfer-encoding", b"trailer", b"te", b"upgrade"]
            .iter()
            .any(|name| field.is(name));
        !self.upgrades && !concerns_form && self.named.iter().any(|name| field.is(name))
    }
}

fn keeps_alive(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"proxy-connection")
}

/// The head of a final response for the program: as it is, but that the connection ends with it.
pub(super) fn response_head(received: &[u8]) -> Vec<u8> {
    let mut options: Vec<&[u8]> = head::lines(received)
        .skip(1)
        .filter_map(head::name_and_value)
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, value)| head::members(value))
        .filter(|option| !keeps_alive(option))
        .collect();
    if !options.iter().any(|option| option.eq_ignore_ascii_case(b"close")) {
        options.push(b"close");
    }
    let mut connection_field = Some(options.join(&b", "[..]));
    let mut head = Vec::with_capacity(received.len() + 32);
    let mut lines = head::lines(received);
    let first = lines.next().unwrap_or_default();
    head.extend_from_slice(first);
    let mut is_dropped = false;
    for line in lines {
        if head::without_end(line).is_empty() {
            let end = head::end_of(first);
            write_field(&mut head, b"Connection", connection_field.take().as_deref(), end);
            head.extend_from_slice(line);
            continue;
        }
        // A folded line belongs to the one before it.
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if !is_dropped {
                head.extend_from_slice(line);
            }
            continue;
        }
        let name = head::name_and_value(line).map_or(&b""[..], |(name, _)| name);
        let is_connection = name.eq_ignore_ascii_case(b"connection");
        is_dropped = is_connection || keeps_alive(name);
        if is_connection {
            write_field(&mut head, name, connection_field.take().as_deref(), head::end_of(line));
        } else if !is_dropped {
            head.extend_from_slice(line);
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forwarded(head: &str) -> String {
        let request = Request::parse(head.as_bytes()).unwrap();
        let body = Body::of(&request).unwrap();
        String::from_utf8(request_head(&request, b"/p", b"h:81", &body)).unwrap()
    }

    #[test]
    fn a_request_keeps_its_fields_but_those_for_the_proxy() {
        for (received, expected) in [
            (
                "GET http://h:81/p HTTP/1.1\r\nhOST: other\r\nX-One:1\r\nx-two:  2 \r\nX-One: 3\r\n\r\n",
                "GET /p HTTP/1.1\r\nhOST: h:81\r\nX-One:1\r\nx-two:  2 \r\nX-One: 3\r\nConnection: close\r\n\r\n",
            ),
            (
                "GET http://h:81/p HTTP/1.0\n\n", // without Host, and in bare lines
                "GET /p HTTP/1.0\nHost: h:81\nConnection: close\n\n",
            ),
            (
                "GET http://h:81/p HTTP/1.1\r\nHost: a\r\nHost: b\r\nProxy-Authorization: Basic eA==\r\n\
                 Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop, keep-alive\r\n\
                 X-Hop: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
                "GET /p HTTP/1.1\r\nHost: h:81\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
            ),
            (
                "POST http://h:81/p HTTP/1.1\r\nHost: h:81\r\nTE: trailers\r\nConnection: TE\r\n\
                 Transfer-Encoding: chunked\r\nContent-Length: 5\r\nTrailer: X\r\n\r\n",
                "POST /p HTTP/1.1\r\nHost: h:81\r\nTE: trailers\r\nConnection: TE, close\r\n\
                 Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
            ),
            (
                "POST http://h:81/p HTTP/1.1\r\nHost: h:81\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\n",
                "POST /p HTTP/1.1\r\nHost: h:81\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            ),
            (
                "GET http://h:81/p HTTP/1.1\r\nHost: h:81\r\nUpgrade: h2c\r\n\
                 Connection: keep-alive, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
                "GET /p HTTP/1.1\r\nHost: h:81\r\nUpgrade: h2c\r\n\
                 Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            ),
        ] {
            assert_eq!(forwarded(received), expected);
        }
    }

    #[test]
    fn a_response_stays_as_it_is_but_that_its_connection_ends() {
        for (received, expected) in [
            ("HTTP/1.1 200 OK\r\nX:y\r\n\r\n", "HTTP/1.1 200 OK\r\nX:y\r\nConnection: close\r\n\r\n"),
            ("HTTP/1.1 299\n\n", "HTTP/1.1 299\nConnection: close\n\n"),
            (
                "HTTP/1.0 200  Odd \r\nconnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n\tmax=3\r\nno colon\r\n\r\n",
                "HTTP/1.0 200  Odd \r\nconnection: close\r\nno colon\r\n\r\n",
            ),
            (
                "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nA: b\r\n c\r\n\r\n",
                "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nA: b\r\n c\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: Close\r\nConnection: x\r\n\r\n",
                "HTTP/1.1 200 OK\r\nConnection: Close, x\r\n\r\n",
            ),
        ] {
            assert_eq!(String::from_utf8(response_head(received.as_bytes())).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn all_other_lines_of_a_response_stay(lines in prop::collection::vec("[A-JL-Za-jl-z]{1,3}[:\\PC]{0,8}", 0..6)) {
            let lines: Vec<String> = lines.iter().map(|line| format!("X{line}\r\n")).collect();
            let received = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines.concat());
            let expected = format!("HTTP/1.1 200 OK\r\n{}Connection: close\r\n\r\n", lines.concat());
            prop_assert_eq!(response_head(received.as_bytes()), expected.into_bytes());
        }
    }
}
