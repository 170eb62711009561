//! The SOCKS5 handshake against proxies that say what a test writes, byte by byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use privatix_net::{SocksError, SocksLogin, SocksReply, socks_connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// One step of a proxy: bytes that it expects, then bytes that it sends.
type Step = (&'static [u8], &'static [u8]);

/// Asks without a login, and its acceptance.
const OPEN: Step = (&[5, 1, 0], &[5, 0]);
/// Connecting to `agent.example`, port 80.
const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0dagent.example\x00\x50";
const CONNECTED: &[u8] = &[5, 0, 0, 1, 192, 0, 2, 1, 0, 9];

/// A proxy for one connection. It ends the connection after its steps.
async fn proxy(steps: Vec<Step>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for (expected, answer) in steps {
            let mut asked = vec![0; expected.len()];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, expected);
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, task)
}

async fn ask(steps: Vec<Step>, login: Option<&SocksLogin>) -> Result<TcpStream, SocksError> {
    let (address, task) = proxy(steps).await;
    let asked = socks_connect(address, login, "agent.example", 80);
    let outcome = timeout(Duration::from_mins(1), asked).await.unwrap();
    task.await.unwrap();
    outcome
}

#[tokio::test]
async fn a_connection_is_made_and_nothing_of_what_follows_is_lost() {
    for answer in [
        b"\x05\x00\x00\x01\xc0\x00\x02\x01\x00\x09first bytes".as_slice(),
        b"\x05\x00\x00\x03\x04host\x00\x09first bytes",
        b"\x05\x00\x00\x03\x00\x00\x09first bytes",
        b"\x05\x00\x00\x040123456789abcdef\x00\x09first bytes",
    ] {
        let mut stream = ask(vec![OPEN, (REQUEST, answer)], None).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "first bytes");
    }
}

#[tokio::test]
async fn with_a_login_nothing_else_is_offered_or_taken() {
    let login = SocksLogin::new("user", "pass").unwrap();
    let logs_in: Step = (b"\x01\x04user\x04pass", &[1, 0]);
    ask(vec![(&[5, 1, 2], &[5, 2]), logs_in, (REQUEST, CONNECTED)], Some(&login)).await.unwrap();

    let wrong: Step = (b"\x01\x04user\x04pass", &[1, 1]);
    let error = ask(vec![(&[5, 1, 2], &[5, 2]), wrong], Some(&login)).await.unwrap_err();
    assert!(matches!(error, SocksError::Login), "{error}");
    // The second one would leave the login out, and with it the isolation that it stands for.
    for chosen in [&[5, 0xff], &[5, 0]] {
        let error = ask(vec![(&[5, 1, 2], chosen)], Some(&login)).await.unwrap_err();
        assert!(matches!(error, SocksError::Method { by_password: true }), "{error}");
    }
    let error = ask(vec![(&[5, 1, 0], &[5, 0xff])], None).await.unwrap_err();
    assert!(error.to_string().contains("asks for a user name and a password"), "{error}");
}

#[tokio::test]
async fn each_reply_of_a_proxy_has_its_own_meaning() {
    // RFC 1928 section 6, then tor's proposal 304. Some proxies send no address after a failure.
    let replies: [(&[u8], SocksReply); 17] = [
        (&[5, 1, 0, 1, 0, 0, 0, 0, 0, 0], SocksReply::GeneralFailure),
        (&[5, 2, 0, 1], SocksReply::NotAllowed),
        (&[5, 3, 0, 1], SocksReply::NetworkUnreachable),
        (&[5, 4, 0, 1], SocksReply::HostUnreachable),
        (&[5, 5, 0, 1], SocksReply::ConnectionRefused),
        (&[5, 6, 0, 1], SocksReply::TimedOut),
        (&[5, 7, 0, 1], SocksReply::CommandNotSupported),
        (&[5, 8, 0, 1], SocksReply::AddressNotSupported),
        (&[5, 0xf0, 0, 1], SocksReply::OnionNotFound),
        (&[5, 0xf1, 0, 1], SocksReply::OnionInvalid),
        (&[5, 0xf2, 0, 1], SocksReply::OnionIntroduction),
        (&[5, 0xf3, 0, 1], SocksReply::OnionRendezvous),
        (&[5, 0xf4, 0, 1], SocksReply::OnionNoKey),
        (&[5, 0xf5, 0, 1], SocksReply::OnionWrongKey),
        (&[5, 0xf6, 0, 1], SocksReply::OnionBadAddress),
        (&[5, 0xf7, 0, 1], SocksReply::OnionTimedOut),
        (&[5, 0x77, 0, 9], SocksReply::Other(0x77)),
    ];
    for (answer, expected) in replies {
        let error = ask(vec![OPEN, (REQUEST, answer)], None).await.unwrap_err();
        assert!(matches!(error, SocksError::Refused(reply) if reply == expected), "{expected:?}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_socks5_proxy_is_named() {
    let not_socks: [Vec<Step>; 4] = [
        vec![(&[5, 1, 0], b"HTTP/1.1 400 Bad Request\r\n\r\n")],
        vec![(&[5, 1, 0], &[4, 0])],
        vec![OPEN, (REQUEST, &[4, 0, 0, 1])],
        vec![OPEN, (REQUEST, &[5, 0, 0, 9])],
    ];
    for steps in not_socks {
        let error = ask(steps, None).await.unwrap_err();
        assert!(matches!(error, SocksError::NotSocks5 { .. }), "{error}");
        assert!(error.to_string().contains("9050"), "{error}");
    }
    for steps in [vec![], vec![OPEN], vec![OPEN, (REQUEST, &[5, 0, 0, 3, 255, b'a'])]] {
        let error = ask(steps, None).await.unwrap_err();
        assert!(matches!(error, SocksError::Broken(_)), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = socks_connect(address, None, "agent.example", 80).await.unwrap_err();
    assert!(error.to_string().contains("start it, or correct its address"), "{error}");
}
