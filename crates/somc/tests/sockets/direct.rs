//! The direct transport: where it dials and where it listens.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use futures::FutureExt as _;
use privatix_somc::{
    AddressError, Client, ClientError, DirectListener, DirectTransport, Listener as _, SomcAddress,
    SourceType, Transport as _, TransportError, Transports,
};
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use crate::common::{Running, Script, generous, patient, soon};

fn direct(source: &str) -> SomcAddress {
    SomcAddress::new(SourceType::Direct, source).unwrap()
}

async fn failure(transport: DirectTransport, address: &SomcAddress) -> TransportError {
    soon(transport.connect(address)).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn the_public_transport_knocks_on_no_private_door() {
    let mut listener = DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let port = listener.local_addr().port();
    // By number, by name, in disguise.
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1.2.3",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "127.1",
    ] {
        let address = direct(&format!("{host}:{port}"));
        let error = failure(DirectTransport::public_only(), &address).await;
        match &error {
            TransportError::NotPublic { address: named, .. } => assert_eq!(*named, address),
            // Not every resolver knows the old spellings, nor every machine IPv6.
            TransportError::Resolve { .. } => assert!(["2130706433", "127.1"].contains(&host), "{error}"),
            _ => panic!("{host}: {error}"),
        }
    }
    for host in ["10.0.0.1", "192.168.1.1", "172.31.0.1", "169.254.169.254", "[fe80::1]", "[fd00::1]"] {
        let error = failure(DirectTransport::public_only(), &direct(&format!("{host}:{port}"))).await;
        assert!(
            error.to_string().contains("which is not a public address; allow private addresses"),
            "{error}"
        );
    }
    tokio::task::yield_now().await;
    assert!(listener.accept().now_or_never().is_none(), "somebody knocked");
}

#[tokio::test]
async fn an_offering_that_points_into_the_readers_network_is_refused_by_the_client_too() {
    let running = Running::start(Script::new(), generous()).await;
    let (transport, address) = (DirectTransport::public_only(), running.address());
    let error = soon(Client::connect(&transport, &address, patient())).await.map(drop).unwrap_err();
    let ClientError::Transport(cause) = &error else { panic!("{error}") };
    assert!(matches!(**cause, TransportError::NotPublic { .. }), "{error}");
    assert_eq!(running.server.stats().accepted, 0);
    running.still_serves().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let listener = DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = SomcAddress::from(listener.local_addr());
    drop(listener);
    let error = failure(DirectTransport::anywhere(), &address).await;
    let TransportError::Unreachable { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("cannot reach {address}: ")), "{error}");

    let address = direct("no-such-agent.invalid:9000");
    let error = failure(DirectTransport::anywhere(), &address).await;
    assert!(matches!(error, TransportError::Resolve { .. }), "{error}");
    assert!(
        error.to_string().starts_with(&format!("cannot reach {address}: no-such-agent.invalid ")),
        "{error}"
    );
}

#[tokio::test]
async fn each_kind_of_address_needs_its_transport() {
    let onion = SomcAddress::onion(&[7; 32], 80).unwrap();
    let error = failure(DirectTransport::anywhere(), &onion).await;
    assert!(matches!(error, TransportError::Unsupported { kind: SourceType::Tor }), "{error}");

    let running = Running::start(Script::new(), generous()).await;
    let transports = Transports::new().with(SourceType::Direct, DirectTransport::anywhere());
    let client = soon(Client::connect(&transports, &running.address(), patient())).await.unwrap();
    soon(client.ping()).await.unwrap();
    let error = soon(transports.connect(&onion)).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("no transport for tor addresses is enabled"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_and_an_address_of_another_machine_are_told() {
    let taken = DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap().local_addr();
    let _holder = DirectListener::bind(taken).await.unwrap();
    for (address, kind) in
        [(taken, io::ErrorKind::AddrInUse), ("192.0.2.1:0".parse().unwrap(), io::ErrorKind::AddrNotAvailable)]
    {
        let error = DirectListener::bind(address).await.unwrap_err();
        let TransportError::Listen { address: named, source } = &error else { panic!("{error}") };
        assert_eq!((named, source.kind()), (&address.to_string(), kind));
        assert!(
            error.to_string().ends_with("choose another port or stop the program that has it"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_stranger_that_leaves_before_it_is_accepted_stops_nobody() {
    let mut listener = DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let socket = listener.local_addr();
    for _ in 0..20 {
        let stream = std::net::TcpStream::connect(socket).unwrap();
        // Closing with unread input, or at once with this, resets the connection.
        tokio::net::TcpStream::from_std({
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .unwrap()
        .set_zero_linger()
        .unwrap();
    }
    let mut honest = std::net::TcpStream::connect(socket).unwrap();
    honest.write_all(b"!").unwrap();
    soon(async { while listener.accept().await.unwrap().0.read_u8().await.ok() != Some(b'!') {} }).await;
}

#[test]
fn addresses_that_are_none_name_what_is_wrong() {
    for (text, problem) in [
        (
            "agent.example:9000",
            "an endpoint address starts with direct: or tor:, as in direct:agent.example:9000",
        ),
        ("direct:agent.example", "malformed direct endpoint address: the port is missing: write host:port"),
        (
            "direct:agent.example:0",
            "malformed direct endpoint address: the port is not a number from 1 to 65535",
        ),
        (
            "tor:abc.onion",
            "malformed tor endpoint address: an onion address is 56 characters of base32 followed by .onion",
        ),
    ] {
        assert_eq!(text.parse::<SomcAddress>().unwrap_err().to_string(), problem);
    }
    assert_eq!(SourceType::try_from(7), Err(AddressError::UnknownSourceType { number: 7 }));
}

proptest! {
    #[test]
    fn any_text_is_an_address_that_reads_back_or_an_error(text in ".{0,80}", host in "[a-zA-Z0-9.:\\[\\]-]{0,30}", port: u16) {
        for text in [text, format!("direct:{host}:{port}"), format!("tor:{host}.onion:{port}")] {
            if let Ok(address) = text.parse::<SomcAddress>() {
                prop_assert_eq!(address.to_string().parse::<SomcAddress>(), Ok(address.clone()));
                prop_assert_eq!(SomcAddress::new(address.kind(), &address.source()), Ok(address));
            }
        }
    }
}

#[tokio::test]
async fn a_dial_can_be_dropped_at_any_point() {
    let running = Running::start(Script::new(), generous()).await;
    for micros in (0..2_000).step_by(50) {
        let address = running.address();
        let transport = DirectTransport::anywhere();
        let dial = Client::connect(&transport, &address, patient());
        let _ = tokio::time::timeout(Duration::from_micros(micros), dial).await;
    }
    running.still_serves().await;
}
