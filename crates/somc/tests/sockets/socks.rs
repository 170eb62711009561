//! The transport through a SOCKS5 proxy: what the proxy is asked for, and what its refusals mean.

use std::net::SocketAddr;

use privatix_net::{SocksError, SocksReply};
use privatix_somc::{Client, SocksTransport, SomcAddress, SourceType, Transport as _, TransportError};
use privatix_testkit::SocksServer;

use crate::common::{Running, Script, generous, patient, soon};

const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
const OTHER: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

fn onion(host: &str) -> SomcAddress {
    SomcAddress::new(SourceType::Tor, host).unwrap()
}

fn direct(source: &str) -> SomcAddress {
    SomcAddress::new(SourceType::Direct, source).unwrap()
}

async fn failure(transport: &SocksTransport, address: &SomcAddress) -> TransportError {
    soon(transport.connect(address)).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn each_agent_has_a_login_of_its_own_and_its_name_reaches_the_proxy_unresolved() {
    let agent = Running::start(Script::new(), generous()).await;
    let to = agent.socket;
    let proxy = SocksServer::start(move |_| Ok(to)).await.unwrap();
    let transport = SocksTransport::new(proxy.address()).with_exits();
    let agents = [onion(ONION), onion(OTHER), direct("agent.invalid:9500"), onion(&format!("{ONION}:81"))];
    for address in agents.iter().chain(&agents) {
        let client = soon(Client::connect(&transport, address, patient())).await.unwrap();
        soon(client.ping()).await.unwrap();
    }
    let asked = proxy.asked();
    let hosts: Vec<_> = asked.iter().map(|asked| (&*asked.host, asked.port, asked.is_name)).collect();
    let expected = [(ONION, 80, true), (OTHER, 80, true), ("agent.invalid", 9500, true), (ONION, 81, true)];
    assert_eq!(hosts, [expected, expected].concat());

    let login = |n: usize| asked[n].login.clone().unwrap();
    for one in 0..4 {
        assert_eq!(login(one), login(one + 4), "one agent, one login");
        assert_eq!(login(one).0, login(0).0);
        for other in 0..one {
            assert_ne!(login(one).1, login(other).1, "{one} and {other} would share a circuit");
        }
    }
    let another = SocksTransport::new(proxy.address());
    drop(soon(another.connect(&onion(ONION))).await.unwrap());
    assert_ne!(proxy.asked().last().unwrap().login.clone().unwrap().0, login(0).0, "nobody can guess it");
    assert!(!format!("{transport:?}").contains(&login(0).0));
}

#[tokio::test]
async fn a_refusal_of_the_proxy_is_typed_and_names_agent_proxy_and_remedy() {
    let replies: [(u8, SocksReply, &str); 8] = [
        (1, SocksReply::GeneralFailure, "its own log may"),
        (4, SocksReply::HostUnreachable, "may be offline, try again later"),
        (5, SocksReply::ConnectionRefused, "may be down, try again later"),
        (6, SocksReply::TimedOut, "try again later"),
        (0xf0, SocksReply::OnionNotFound, "descriptor is not found"),
        (0xf4, SocksReply::OnionNoKey, "asks for client authorisation"),
        (0xf6, SocksReply::OnionBadAddress, "checksum is wrong"),
        (0xf7, SocksReply::OnionTimedOut, "introduction took too long"),
    ];
    for (code, expected, remedy) in replies {
        let proxy = SocksServer::start(move |_| Err(code)).await.unwrap();
        let error = failure(&SocksTransport::new(proxy.address()), &onion(ONION)).await;
        let TransportError::Socks { source: SocksError::Refused(reply), .. } = &error else {
            panic!("{code}: {error}")
        };
        assert_eq!(*reply, expected);
        let text = error.to_string();
        for part in [remedy, ONION, &proxy.address().to_string()] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }
}

#[tokio::test]
async fn direct_addresses_are_dialled_only_where_exits_are_wished_for_and_never_private_ones() {
    let proxy = SocksServer::start(|_| Err(5)).await.unwrap();
    let onions = SocksTransport::new(proxy.address());
    let error = failure(&onions, &direct("192.0.43.10:9500")).await;
    assert!(matches!(error, TransportError::Unsupported { kind: SourceType::Direct }), "{error}");
    let exits = onions.with_exits();
    for private in ["127.0.0.1:22", "10.0.0.1:80", "[::1]:22", "169.254.169.254:80"] {
        let error = failure(&exits, &direct(private)).await;
        assert!(matches!(error, TransportError::NotPublic { .. }), "{error}");
    }
    assert_eq!(proxy.asked(), []);
    let reached = failure(&exits, &direct("192.0.43.10:9500")).await;
    assert!(matches!(reached, TransportError::Socks { .. }), "{reached}");
    let hosts: Vec<_> = proxy.asked().into_iter().map(|asked| (asked.host, asked.is_name)).collect();
    assert_eq!(hosts, [("192.0.43.10".to_owned(), false)]);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_with_what_to_do() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], privatix_testkit::free_port().unwrap()));
    let error = failure(&SocksTransport::new(nowhere), &onion(ONION)).await;
    let text = error.to_string();
    assert!(text.contains(&nowhere.to_string()) && text.contains("start it"), "{text}");
}
