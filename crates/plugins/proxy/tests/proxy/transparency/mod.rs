//! What works without the proxy works through it, and what fails without it fails in the same way: a matrix of what origins
//! and programs do, and of the ways between them, each compared with what both sides see without the proxy.

mod stage;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::stage::Act::{Finish, Leave, Pause, Reset, UntilEnd};
use self::stage::{PROXIED, Row, Way, play, row, send, until, until_other_has};
use crate::support::origin::pattern;
use crate::support::{Pair, program, soon};

/// How often a row is played before a difference counts: where two ends act at the same moment, the kernel decides which
/// one is first, with and without the proxy.
const PLAYS: u32 = 3;

/// Plays each row in each way, and compares with the direct one.
async fn expect_the_same(rows: Vec<Row>) {
    let pair = Pair::new().await;
    let mut differ = Vec::new();
    for row in rows {
        let mut found = Vec::new();
        for _ in 0..PLAYS {
            found = differences(&row, &pair).await;
            if found.is_empty() {
                break;
            }
        }
        differ.extend(found);
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

/// What is not as it is without the proxy.
async fn differences(row: &Row, pair: &Pair) -> Vec<String> {
    let Some(direct) = play(row, Way::Direct, pair).await else {
        eprintln!("{}: skipped, this machine has no such address", row.name);
        return Vec::new();
    };
    let mut differ = Vec::new();
    for way in PROXIED {
        let seen = play(row, way, pair).await.unwrap();
        for (side, direct, seen) in
            [("program", &direct.program, &seen.program), ("origin", &direct.origin, &seen.origin)]
        {
            if direct != seen {
                differ.push(format!(
                    "{}, {way:?}, the {side}\n  direct {direct:?}\n  here   {seen:?}",
                    row.name
                ));
            }
        }
    }
    differ
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_response_arrives_as_it_was_sent() {
    let get = |name, response: &[u8]| row(name, "GET /", [], [send(response)]);
    expect_the_same(vec![
        get("200", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        get("204", b"HTTP/1.1 204 No Content\r\n\r\n"),
        get("205", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        get("206", b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab"),
        get("301", b"HTTP/1.1 301 Moved Permanently\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"),
        get("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: \"x\"\r\n\r\n"),
        get("401", b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\n\r\n"),
        get("404", b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"),
        get("407 of the origin", b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\n\r\n"),
        get("500", b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
        get("503", b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"),
        get("a status of its own", b"HTTP/1.1 799 Own\r\nContent-Length: 0\r\n\r\n"),
        row("HEAD", "HEAD /", [], [send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")]),
        get("without a reason", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        get("with an odd reason", b"HTTP/1.1 200  \xc3\xbc\xff\"odd\" \r\nContent-Length: 0\r\n\r\n"),
        get("odd fields", b"HTTP/1.1 200 OK\r\nx-\xe4(): \xff\x01\r\nno colon\r\nA : b\r\nC: d\r\n folded\r\nE:\r\nE:\r\nContent-Length: 0\r\n\r\n"),
        get("bare line ends", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab"),
        get("many fields", format!("HTTP/1.1 200 OK\r\n{}\r\nend", "X-Y: z\r\n".repeat(3_000)).as_bytes()),
        get("a head beyond all bounds", format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\nend", "y".repeat(200_000)).as_bytes()),
        get("set cookies", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n"),
        get("100", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
        get("102 and 103", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nab"),
        get("199 for ever", &b"HTTP/1.1 199 Wait\r\nX: y\r\n\r\n".repeat(5_000)),
        get("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\n\r\n"),
        get("trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n"),
        get("wrongly chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello"),
        get("length and chunks", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        get("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        get("more than its length", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"),
        get("unbounded", &[b"HTTP/1.1 200 OK\r\n\r\n", &pattern(500_000)[..]].concat()),
        get("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello"),
        get("HTTP/1.0 that keeps the connection", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na"),
        get("HTTP/0.9", b"<html>hello</html>"),
        get("of another protocol", b"220 mail.example ESMTP\r\n"),
        get("ICY", b"ICY 200 OK\r\nicy-name: radio\r\n\r\nnoise"),
        get("every byte", &(0..=255).collect::<Vec<u8>>()),
        get("a head that is none", b"HTTP/1.1 OK\r\n\r\nhello"),
        get("HTTP/2 by mistake", b"HTTP/2 200\r\n\r\n"),
        row("to an HTTP/1.0 program", "GET /", [], [send("HTTP/1.1 200 OK\r\n\r\nhello")]).version("HTTP/1.0"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_request_arrives_as_it_was_sent() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let get = |name, request| row(name, request, [], [send(OK)]);
    let post = |name, fields: &str, body: &[u8], end: &[u8]| {
        row(name, "POST /up", [send(body)], [until(end), send(OK)]).fields(fields)
    };
    let chunks = format!("{:x}\r\n{}\r\n", 100_000, "z".repeat(100_000)).repeat(20) + "0\r\nX: y\r\n\r\n";
    expect_the_same(vec![
        get("a quote in the target", "GET /?q=\"x\""),
        get("brackets in the target", "GET /?a=<b>{c}[d]"),
        get("backtick and bar", "GET /`x`?a|b^c\\d"),
        get("UTF-8 in the target", "GET /ü?q=ü"),
        get("blanks in the target", "GET /a b  c"),
        get("dots and slashes", "GET //a/../b/./?//#f"),
        get("percent signs", "GET /%zz%41?%"),
        get("an address in the target", "GET /http://other/"),
        get("a long target", Box::leak(format!("GET /{}", "a".repeat(30_000)).into_boxed_str())),
        get("OPTIONS for the server", "OPTIONS *"),
        get("a method of its own", "M-SEARCH /"),
        get("a method in small letters", "get /"),
        get("DELETE", "DELETE /x"),
        get("odd fields", "GET /").fields(
            "x-A(): \u{e4}\u{1}\r\nno colon\r\nX-a:b\r\nX-A:\t c \r\nE:\r\nCookie: a=1\r\nCookie: b=2\r\n",
        ),
        get("a field for each hop that stays", "GET /")
            .fields("TE: trailers\r\nTrailer: X\r\nVia: 1.0 a\r\nMax-Forwards: 0\r\nForwarded: for=x\r\n"),
        get("credentials for the origin", "GET /").fields("Authorization: Basic eDp5\r\n"),
        get("HTTP/1.0", "GET /").version("HTTP/1.0"),
        get("HTTP/1.2", "GET /").version("HTTP/1.2"),
        post("a body with a length", "Content-Length: 5\r\n", b"hello", b"hello"),
        post("an empty body", "Content-Length: 0\r\n", b"", b""),
        row("GET with a body", "GET /", [send("abc")], [until("abc"), send(OK)])
            .fields("Content-Length: 3\r\n"),
        post(
            "a big body",
            "Content-Length: 3000003\r\n",
            &[&pattern(3_000_000)[..], b"end"].concat(),
            b"end",
        ),
        post("a chunked body", "Transfer-Encoding: chunked\r\n", b"5;x\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n"),
        post(
            "a big chunked body with trailers",
            "Transfer-Encoding: chunked\r\nTrailer: X\r\n",
            chunks.as_bytes(),
            b"X: y\r\n\r\n",
        ),
        post("a coded body", "Transfer-Encoding: gzip, chunked\r\n", b"1\r\na\r\n0\r\n\r\n", b"0\r\n\r\n"),
        post(
            "a body that is not chunked as it should be",
            "Transfer-Encoding: chunked\r\n",
            b"zz\r\nhello",
            b"hello",
        ),
        row("a body in two pieces", "POST /", [send("ab"), Pause, send("cd")], [until("abcd"), send(OK)])
            .fields("Content-Length: 4\r\n"),
        get("to an IPv6 address", "GET /").host("[::1]"),
        get("to a name", "GET /").host("localhost"),
        get("to a name in capitals", "GET /").host("LocalHost"),
        get("with a user and a password in the address", "GET /").user("user:p@ss@"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_asks_before_it_uploads_gets_the_origins_own_answer() {
    const GO: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const BIG: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
    const NO: &str = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let ask = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    expect_the_same(vec![
        row("100", "PUT /", [until(GO), send("body")], [send(GO), until("body"), send(OK)]).fields(ask),
        row(
            "100 with fields",
            "PUT /",
            [until("\r\n\r\n"), send("body")],
            [send("HTTP/1.1 100 Go\r\nX: y\r\n\r\n"), until("body"), send(OK)],
        )
        .fields(ask),
        row("413", "PUT /", [until("\r\n\r\n"), Leave], [send(BIG), UntilEnd]).fields(ask),
        row("413 and the end", "PUT /", [until("\r\n\r\n")], [send(BIG), Finish]).fields(ask),
        row("417, then again without", "PUT /", [until("\r\n\r\n"), Leave], [send(NO), UntilEnd]).fields(ask),
        row(
            "a program that does not wait for ever",
            "PUT /",
            [Pause, send("body")],
            [until("body"), send(OK)],
        )
        .fields(ask),
        row(
            "413 in the middle of an upload",
            "PUT /",
            [send(pattern(100_000)), until("\r\n\r\n"), Leave],
            [until(&pattern(100_000)[99_000..]), send(BIG), UntilEnd],
        )
        .fields("Content-Length: 100000000\r\n"),
        row(
            "an answer before the end of an upload that goes on",
            "PUT /",
            [send("ab"), until("\r\n\r\n"), send("cd")],
            [until("ab"), send(OK), until("cd")],
        )
        .fields("Content-Length: 4\r\n"),
        row(
            "an answer and an end before the end of an upload that goes on",
            "PUT /",
            [until("\r\n\r\n"), send("abcd")],
            [send(OK), Finish, until("abcd")],
        )
        .fields("Content-Length: 4\r\n"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_opens_a_tunnel_and_a_refused_one_does_not() {
    const SWITCHED: &str =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain";
    let ask = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let h2c =
        "Upgrade: h2c\r\nConnection: keep-alive, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n";
    let talk = |fields: &str| {
        row(
            "101",
            "GET /chat",
            [until(SWITCHED), send("ping"), until("pong"), send("bye"), Finish],
            [send(SWITCHED), until("ping"), send("pong"), until("bye"), UntilEnd],
        )
        .fields(fields)
    };
    expect_the_same(vec![
        talk(ask),
        talk(h2c),
        talk(&format!("{ask}Content-Length: 0\r\n")),
        row("101 with the first frame", "GET /chat", [until("frame"), Leave], [
            send(SWITCHED),
            send("frame"),
            UntilEnd,
        ])
        .fields(ask),
        row("a program that does not wait for the 101", "GET /chat", [send("early"), until("late")], [
            send(SWITCHED),
            until("early"),
            send("late"),
        ])
        .fields(ask),
        row("after a body", "POST /chat", [send("body"), until(SWITCHED), send("ping")], [
            until("body"),
            send(SWITCHED),
            until("ping"),
        ])
        .fields(&format!("{ask}Content-Length: 4\r\n")),
        row("much in both directions", "GET /chat", [until(SWITCHED), send(pattern(300_000)), until("end"), Finish], [
            send(SWITCHED),
            until(&pattern(300_000)[299_000..]),
            send(pattern(300_000)),
            send("end"),
        ])
        .fields(ask),
        row("the origin ends", "GET /chat", [until(SWITCHED)], [send(SWITCHED), send("bye"), Finish]).fields(ask),
        row("a refusal that keeps the connection", "GET /chat", [until("plain"), Leave], [send(PLAIN), UntilEnd])
            .fields(ask),
        row("a refusal", "GET /chat", [], [send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")]).fields(ask),
        row("426", "GET /", [], [
            send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"),
        ]),
        row("a 101 that nobody asked for", "GET /", [], [send(SWITCHED), send("noise")]),
    ])
    .await;
}

/// Where an answer may end before its time: what was sent by then, and how to see that it arrived. (A part of a head arrives
/// with the end at the latest.)
const POINTS: [(&str, &str, &str); 6] = [
    ("before the head", "", ""),
    ("in the head", "HTTP/1.1 200 OK\r\nContent-Le", ""),
    ("after a 103", "HTTP/1.1 103 Early Hints\r\n\r\n", "\r\n\r\n"),
    ("after the head", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "\r\n\r\n"),
    ("in the body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello"),
    ("in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello", "hello"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_early_end_slowness_and_silence_are_passed_on() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let mut rows: Vec<Row> =
        POINTS.map(|(point, sent, _)| row(point, "GET /", [], [send(sent), Finish])).into();
    rows.extend([
        row(
            "a slow origin",
            "GET /",
            [],
            [
                Pause,
                send("HTTP/1.1 20"),
                Pause,
                send("0 OK\r\nContent-Length: 5\r\n"),
                Pause,
                send("\r\nhe"),
                Pause,
                send("llo"),
            ],
        ),
        row("a silent origin", "GET /", [Pause, Leave], [UntilEnd]),
        row(
            "silent after its head",
            "GET /",
            [until("\r\n\r\n"), Pause, Leave],
            [send(&OK[..OK.len() - 5]), UntilEnd],
        ),
        row("an origin that keeps the connection", "GET /", [until("hello"), Leave], [send(OK), UntilEnd]),
        row("that keeps it, asked to end it", "GET /", [until("hello"), Leave], [send(OK), UntilEnd])
            .fields("Connection: close\r\n"),
        row(
            "events",
            "GET /",
            [until("one"), until("two"), Leave],
            [
                send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"),
                send("data: one\n\n"),
                until_other_has("one"),
                send("data: two\n\n"),
                UntilEnd,
            ],
        ),
        row("a program that half closes", "GET /", [Finish], [UntilEnd, send(OK)]),
        row("a program that half closes in its body", "PUT /", [send("ab"), Finish], [UntilEnd, send(OK)])
            .fields("Content-Length: 4\r\n"),
        row(
            "a program that half closes in a chunk",
            "PUT /",
            [send("4\r\nab"), Finish],
            [UntilEnd, send(OK)],
        )
        .fields("Transfer-Encoding: chunked\r\n"),
        row("a program that leaves in a download", "GET /", [until("hello"), Leave], [send(OK), UntilEnd]),
        row("a program that leaves in an upload", "PUT /", [send("ab"), Leave], [until("ab"), UntilEnd])
            .fields("Content-Length: 4\r\n"),
    ]);
    expect_the_same(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_broken_off_breaks_for_the_other_side_too() {
    let mut rows: Vec<Row> = POINTS
        .map(|(point, sent, arrived)| row(point, "GET /", [], [send(sent), until_other_has(arrived), Reset]))
        .into();
    rows.extend([
        row("an upload that the origin breaks off", "PUT /", [send("ab")], [until("ab"), Reset])
            .fields("Content-Length: 4\r\n"),
        row(
            "a refused upload",
            "PUT /",
            [until("\r\n\r\n"), send(pattern(50_000))],
            [
                send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"),
                until_other_has("\r\n\r\n"),
                Reset,
            ],
        )
        .fields("Content-Length: 5000000\r\n"),
        row(
            "a program that breaks off while it waits",
            "GET /",
            [until_other_has("\r\n\r\n"), Reset],
            [UntilEnd],
        ),
        row(
            "a program that breaks off a download",
            "GET /",
            [until("hello"), Reset],
            [send("HTTP/1.1 200 OK\r\n\r\nhello"), UntilEnd],
        ),
        row(
            "a program that breaks off an upload",
            "PUT /",
            [send("ab"), until_other_has("ab"), Reset],
            [UntilEnd],
        )
        .fields("Content-Length: 4\r\n"),
    ]);
    expect_the_same(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_knows_that_its_connection_serves_one_request() {
    let pair = Pair::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let origin = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        while stage::find(&got, b"cd").is_none() {
            stream.read_buf(&mut got).await.unwrap();
        }
        let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let first = format!("PUT http://127.0.0.1:{port}/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd");
    let second = format!("GET http://127.0.0.1:{port}/2 HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = program::exchange(pair.local, (first + &second).as_bytes()).await;
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    );
    assert_eq!(
        String::from_utf8(soon("the origin's end", origin).await.unwrap()).unwrap(),
        format!(
            "PUT /1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd"
        )
    );
}
