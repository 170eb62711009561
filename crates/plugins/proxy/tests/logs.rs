//! What the log says: no password, at no level, of no crate; and why a program of another protocol is turned away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are its own"
)]

#[path = "proxy/support/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::origin::Origin;
use support::{PASSWORD, Pair, agent_settings, client_settings, program, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// On one thread, so that the log is this test's alone.
#[tokio::test]
async fn a_program_of_another_protocol_leaves_one_line_at_info() {
    let captured = Captured::default();
    let info = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(captured.clone())
        .finish();
    let _capturing = tracing::subscriber::set_default(info);
    let mut pair = Pair::new().await;
    let log = || String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    for (message, named) in [
        (&b"\x16\x03\x01\0\x05\x01\0\0\x01\0"[..], "TLS"),
        (b"\x04\x01", "SOCKS4"),
        (b"\x80\x2e\x01", "neither"),
    ] {
        for _ in 0..3 {
            program::exchange(pair.local, message).await;
        }
        assert_eq!(log().lines().filter(|line| line.contains(named)).count(), 1, "{named}: {}", log());
    }
    pair.stop().await;
}

/// The address of a user, which nothing else here has.
const USER: &str = "127.0.0.5";

/// Sends bytes from the user's address, says that no more come, and waits for the end.
async fn user(proxy: SocketAddr, message: &[u8]) {
    support::soon("a user", async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(USER.parse().unwrap(), 0)).unwrap();
        let mut stream = socket.connect(proxy).await.unwrap();
        let _ = stream.write_all(message).await; // may be cut short by a refusal
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_addresses_of_users_are_never_logged() {
    const GUESS: &str = "battery-staple-guess";
    let captured = Captured::default();
    // Events of the crates that use `log`, too.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(captured.clone())
        .init();

    let origin = Origin::start().await;
    let port = origin.address.port();
    let limits = json!({"limits": {"wrong_passwords_per_minute": 2}});
    let mut pair = Pair::with(with(agent_settings(), &limits), client_settings()).await;
    let name = pair.channel.to_string();
    for password in [PASSWORD, GUESS, GUESS, GUESS] {
        let login = Some((name.as_str(), password));
        program::socks(pair.sold_at, login, "127.0.0.1", port).await;
        program::connect(pair.sold_at, login, "127.0.0.1", port).await;
    }
    // A user with an address of its own: logged in and reaching something and nothing, refused, lost, and never heard of.
    let name_length = u8::try_from(name.len()).unwrap();
    let login = |password: &str| {
        let length = [u8::try_from(password.len()).unwrap()];
        [&[5, 1, 2, 1, name_length], name.as_bytes(), &length, password.as_bytes()].concat()
    };
    let to = |port: u16| [&[5, 1, 0, 1, 127, 0, 0, 1][..], &port.to_be_bytes()].concat();
    let basic = program::basic((&name, PASSWORD));
    let connect = |port: u16| {
        format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: {basic}\r\n\r\n")
            .into_bytes()
    };
    for message in [
        [login(PASSWORD), to(port)].concat(),
        [login(PASSWORD), to(1)].concat(),
        [login(PASSWORD), b"\x05\x01\x00\x03\x01/\x00\x50".to_vec()].concat(),
        login(PASSWORD),
        login(GUESS),
        connect(port),
        connect(1),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET / HTTP".to_vec(),
        b"\x16\x03\x01\0\x05".to_vec(),
        Vec::new(),
    ] {
        user(pair.sold_at, &message).await;
    }
    program::socks(pair.local, Some((GUESS, GUESS)), "127.0.0.1", port).await;
    program::connect(pair.local, Some((GUESS, GUESS)), "127.0.0.1", port).await;
    pair.stop().await;

    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    let encoded = program::basic((&name, PASSWORD));
    let bytes = format!("{:?}", PASSWORD.as_bytes());
    for secret in
        [USER, PASSWORD, GUESS, encoded.strip_prefix("Basic ").unwrap(), bytes.trim_matches(['[', ']'])]
    {
        assert!(
            !log.contains(secret),
            "{}",
            log.lines().find(|line| line.contains(secret)).unwrap_or_default()
        );
    }
    for told in [
        "login refused",
        "session started",
        "destination not reached",
        "SOCKS5 request refused",
        "HTTP request refused",
        "no host name",
        "nothing was asked for",
        "speaks TLS",
        "fast_socks5",
    ] {
        assert!(log.contains(told), "nothing was captured of `{told}`");
    }
}
