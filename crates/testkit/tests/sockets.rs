//! The sockets of this very process, and of children.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use privatix_testkit::sockets::{Protocol, Sampler, SocketState, of_process};
use privatix_testkit::{Process, TestkitError, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

fn own(wanted: SocketAddr) -> Vec<(Protocol, SocketState, Option<SocketAddr>)> {
    let sockets = of_process(std::process::id()).unwrap();
    let mut found: Vec<_> = sockets
        .iter()
        .filter(|socket| socket.local == wanted)
        .map(|socket| (socket.protocol, socket.state, socket.peer()))
        .collect();
    found.sort();
    found
}

#[test]
fn both_ends_of_a_connection_are_listed_until_they_are_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let near = TcpStream::connect(server).unwrap();
    let client = near.local_addr().unwrap();
    let (far, _) = listener.accept().unwrap();

    let connected = |peer| (Protocol::Tcp, SocketState::Connected, Some(peer));
    let listening = (Protocol::Tcp, SocketState::Listening, None);
    assert_eq!(own(client), [connected(server)]);
    assert_eq!(own(server), [listening, connected(client)]);

    drop((near, far));
    assert_eq!(own(client), []);
    assert_eq!(own(server), [listening]);
}

#[test]
fn udp_shows_whether_it_may_send_to_anyone() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let fixed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (free_address, fixed_address) = (free.local_addr().unwrap(), fixed.local_addr().unwrap());
    fixed.connect(free_address).unwrap();
    assert_eq!(own(free_address), [(Protocol::Udp, SocketState::Unconnected, None)]);
    assert_eq!(own(fixed_address), [(Protocol::Udp, SocketState::Connected, Some(free_address))]);
}

#[test]
fn ipv6_is_listed_too() {
    // A machine may be without it.
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
    let address = listener.local_addr().unwrap();
    assert_eq!(own(address), [(Protocol::Tcp, SocketState::Listening, None)]);
}

#[test]
fn a_sampler_keeps_what_has_been_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let first = TcpStream::connect(server).unwrap();
    let sampler = Sampler::start(std::process::id()).unwrap();
    let first_address = first.local_addr().unwrap();
    drop(first);
    let seen = sampler.stop().unwrap();
    assert!(
        seen.iter().any(|socket| socket.local == first_address && socket.peer() == Some(server)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_sampler_sees_what_a_process_connects_to_later_and_survives_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("read -r go < go; exec 3<>/dev/tcp/127.0.0.1/{port}; read -r end <&3");
    let folder = privatix_testkit::temp_dir().unwrap();
    let go = folder.path().join("go");
    assert!(std::process::Command::new("mkfifo").arg(&go).status().unwrap().success());
    let mut process =
        Process::builder("bash", "/bin/bash").args(["-c", &script]).dir(folder.path()).spawn().unwrap();

    let sampler = Sampler::start(process.pid()).unwrap();
    assert!(of_process(process.pid()).unwrap().is_empty());
    std::fs::write(&go, "go\n").unwrap();
    let (connection, _) = listener.accept().unwrap();
    wait_until("the connection", LIMIT, async || !of_process(process.pid()).unwrap().is_empty())
        .await
        .unwrap();
    // Two looks of the sampler at the least.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(connection);
    process.wait_exit(LIMIT).await.unwrap();

    let seen = sampler.stop().unwrap();
    assert!(seen.iter().any(|socket| socket.peer().is_some_and(|peer| peer.port() == port)), "{seen:?}");
    let error = of_process(process.pid()).unwrap_err();
    assert!(matches!(error, TestkitError::Sockets { .. }), "{error}");
}
