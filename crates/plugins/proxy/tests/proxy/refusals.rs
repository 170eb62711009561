//! Bad input and bounds: each refused in the protocol's own words, and nothing else harmed.

use std::net::SocketAddr;

use privatix_adapter::{Access, AdapterError, AdapterRefusal, Credentials, Health, Host, Provision, Role};
use privatix_channel::{ChannelId, Usage};
use privatix_plugin_proxy::ProxyServer;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::origin::Origin;
use crate::support::program::{self, Outcome};
use crate::support::{
    PASSWORD, Pair, Side, address, agent_settings, channel, client_settings, credentials, soon, with,
};

/// An agent with one channel for sale.
async fn agent(settings: Value) -> (Side, SocketAddr, String) {
    let side = Side::agent(settings).await;
    let sold_at = address(&side.sell(channel(1)).await);
    (side, sold_at, channel(1).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_channels_credentials_let_in() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let (_agent, sold_at, name) = agent(agent_settings()).await;
    let stranger = channel(2).to_string();
    for login in [
        None,
        Some((name.as_str(), "")),
        Some((name.as_str(), "wrong")),
        Some((name.as_str(), &PASSWORD[1..])),
        Some((stranger.as_str(), PASSWORD)),
        Some(("", PASSWORD)),
    ] {
        for outcome in [
            program::socks(sold_at, login, "127.0.0.1", port).await,
            program::connect(sold_at, login, "127.0.0.1", port).await,
        ] {
            assert!(matches!(outcome, Outcome::Denied), "{login:?}: {outcome:?}");
        }
    }
    // Nor does a request in absolute form, or a login of another scheme.
    for login in [
        "",
        "Proxy-Authorization: Bearer x\r\n",
        "Proxy-Authorization: Basic ???\r\n",
        "Proxy-Authorization: B\r\n",
    ] {
        let request =
            format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{login}\r\n", origin.url("/bytes/5"));
        let answer = String::from_utf8(program::exchange(sold_at, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("proxy-authenticate: basic realm="), "{answer}");
    }
    assert_eq!(origin.moved(), 0);
    program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
    program::connect(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.connected();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_not_listened_to_any_more() {
    let origin = Origin::start().await;
    let settings = with(agent_settings(), &json!({"limits": {"wrong_passwords_per_minute": 3}}));
    let (agent, sold_at, name) = agent(settings).await;
    let port = origin.address.port();
    for _ in 0..3 {
        program::socks(sold_at, Some((&name, "wrong")), "127.0.0.1", port).await;
    }
    let right = program::socks(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await;
    assert!(matches!(right, Outcome::Denied), "{right:?}");
    assert_eq!(program::connect(sold_at, Some((&name, PASSWORD)), "127.0.0.1", port).await.refused(), 429);
    // Other channels are not concerned.
    agent.sell(channel(2)).await;
    let other = channel(2).to_string();
    program::socks(sold_at, Some((&other, PASSWORD)), "127.0.0.1", port).await.connected();
}

#[tokio::test(flavor = "multi_thread")]
async fn private_destinations_are_refused_after_resolution_in_every_form() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let (mut agent, sold_at, name) = agent(json!({"listen": "127.0.0.1:0"})).await;
    let login = Some((name.as_str(), PASSWORD));
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "10.0.0.1",
        "172.16.5.5",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "fe80::1",
        "fd00::1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        assert_eq!(program::socks(sold_at, login, host, port).await.refused(), 2, "{host}");
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        assert_eq!(program::connect(sold_at, login, &host, port).await.refused(), 403, "{host}");
        let login = program::basic((&name, PASSWORD));
        let request = format!(
            "GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nProxy-Authorization: {login}\r\n\r\n"
        );
        let answer = String::from_utf8(program::exchange(sold_at, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
    }
    assert_eq!(program::socks(sold_at, login, "192.0.43.8", 25).await.refused(), 2);
    assert_eq!(origin.moved(), 0);
    assert_eq!(agent.stop(channel(1)).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_allow_a_private_network_and_deny_a_part_of_it() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let destinations = json!({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.2"], "deny_ports": [1]});
    let (_agent, sold_at, name) = agent(json!({"listen": "127.0.0.1:0", "destinations": destinations})).await;
    let login = Some((name.as_str(), PASSWORD));
    program::socks(sold_at, login, "127.0.0.1", port).await.connected();
    program::socks(sold_at, login, "::ffff:127.0.0.1", port).await.connected();
    assert_eq!(program::socks(sold_at, login, "127.0.0.2", port).await.refused(), 2);
    assert_eq!(program::socks(sold_at, login, "::ffff:127.0.0.2", port).await.refused(), 2);
    assert_eq!(program::socks(sold_at, login, "127.0.0.1", 1).await.refused(), 2);
    assert_eq!(program::socks(sold_at, login, "::1", port).await.refused(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_said_in_the_protocols_words_through_both_sides() {
    let pair = Pair::new().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let name = pair.channel.to_string();
    for (proxy, login) in [(pair.sold_at, Some((name.as_str(), PASSWORD))), (pair.local, None)] {
        assert_eq!(program::socks(proxy, login, "127.0.0.1", closed).await.refused(), 5);
        assert_eq!(program::connect(proxy, login, "127.0.0.1", closed).await.refused(), 502);
        let authorization = login
            .map_or_else(String::new, |login| format!("Proxy-Authorization: {}\r\n", program::basic(login)));
        for (host, reason) in [
            (format!("127.0.0.1:{closed}"), "connection refused"),
            ("name.invalid".to_owned(), "does not resolve"),
        ] {
            let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n");
            let answer = String::from_utf8(program::exchange(proxy, request.as_bytes()).await).unwrap();
            assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(reason), "{host}: {answer}");
        }
        for unsound in ["no host", "line\nbreak", "fe80::1%eth0"] {
            assert_eq!(program::socks(proxy, login, unsound, 80).await.refused(), 4, "{unsound:?}");
        }
    }
    assert_eq!(pair.client.host.health().await, Health::Well, "destinations are not the agent's fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_does_not_do_is_refused() {
    let (_agent, sold_at, name) = agent(agent_settings()).await;
    for command in [2, 3, 9] {
        // BIND, UDP ASSOCIATE, unknown
        let mut message = vec![5, 1, 2, 1, name.len() as u8];
        message.extend(name.as_bytes());
        message.push(PASSWORD.len() as u8);
        message.extend(PASSWORD.as_bytes());
        message.extend([5, command, 0, 1, 127, 0, 0, 1, 0, 80]);
        let answer = program::exchange(sold_at, &message).await;
        assert_eq!(answer[..6], [5, 2, 1, 0, 5, 7], "command {command}");
    }
    let login = program::basic((&name, PASSWORD));
    for request in [
        "GET / HTTP/1.1",
        "CONNECT no-port HTTP/1.1",
        "GET https://example.org/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ] {
        let request =
            format!("{request}\r\nHost: x\r\nConnection: close\r\nProxy-Authorization: {login}\r\n\r\n");
        let answer = String::from_utf8(program::exchange(sold_at, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_other_protocols_get_an_answer_that_they_understand() {
    let pair = Pair::new().await;
    let socks4_refusal = &[0, 0x5b, 0, 0, 0, 0, 0, 0][..];
    for (message, expected) in [
        (&b"\x04\x01\0\x50\x7f\0\0\x01user\0"[..], socks4_refusal),
        (b"\x04\x01\0\x50\0\0\0\x01user\0example.org\0", socks4_refusal), // SOCKS4a
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\0", &[21, 3, 1, 0, 2, 2, 40]),  // the beginning of TLS: an alert
        (b"\x05\x01\0\x05\x01\0\x09", &[5, 0, 5, 8, 0, 1]),               // no such type of address
        (b"SSH-2.0-client\r\n", b"HTTP/1.1 400 "),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505 "),
        (b"*1\r\n$4\r\nPING\r\n", b"HTTP/1.1 400 "),
    ] {
        for port in [pair.local, pair.sold_at] {
            let answer = program::exchange(port, message).await;
            let at_login = port == pair.sold_at && message[0] == 5; // where only a password opens
            assert!(
                answer.starts_with(expected) || at_login,
                "{}: {}",
                message.escape_ascii(),
                answer.escape_ascii()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_before_a_request_are_skipped() {
    let (origin, pair) = (Origin::start().await, Pair::new().await);
    for before in ["\r\n", "\n\r\n\r\n"] {
        let request = format!("{before}GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/bytes/5"));
        let answer = program::exchange(pair.local, request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_in_the_answer() {
    let pair = Pair::new().await;
    for (request, reason) in [
        ("GET /x HTTP/1.1\r\nHost: h\r\n", "this is a proxy"),
        ("GET https://h/ HTTP/1.1\r\n", "send CONNECT host:port"),
        ("GET wss://h/ HTTP/1.1\r\n", "send CONNECT host:port"),
        ("GET ftp://h/ HTTP/1.1\r\n", "only http and ws"),
        ("GET http:///x HTTP/1.1\r\n", "no host"),
        ("GET http://h:99999/ HTTP/1.1\r\n", "port"),
        ("CONNECT h HTTP/1.1\r\n", "needs a port"),
        ("GET http://h/ HTTP/1.1\r\nA: b\r\n c\r\n", "blank"),
        ("GET http://h/ HTTP/1.1\r\nA: b\rc\r\n", "carriage return"),
        ("GET http://h/ HTTP/1.1\r\nA: \0\r\n", "NUL"),
        ("PUT http://h/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "Content-Length"),
        ("PUT http://h/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\n", "Transfer-Encoding"),
    ] {
        let answer = program::exchange(pair.local, format!("{request}\r\n").as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        let text = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(answer.starts_with("HTTP/1.1 400 ") && text.contains(reason), "{request:?}: {answer}");
        assert!(answer.contains(&format!("Content-Length: {}\r\n", text.len())), "{answer}");
    }
    let answer = program::exchange(pair.local, b"HEAD /x HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400 ") && answer.ends_with(b"\r\n\r\n"), "no text after a HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_has_its_number_of_connections_and_no_more() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let settings = with(agent_settings(), &json!({"limits": {"connections_per_channel": 2}}));
    let agent = Side::agent(settings).await;
    for (number, parameters, most) in
        [(1, json!({}), 2), (2, json!({"maxConnections": 1}), 1), (3, json!({"maxConnections": 9}), 2)]
    {
        let sold_at = address(&agent.sell_with(channel(number), parameters).await);
        let name = channel(number).to_string();
        let login = Some((name.as_str(), PASSWORD));
        let mut open = Vec::new();
        for _ in 0..most {
            open.push(program::socks(sold_at, login, "127.0.0.1", port).await.connected());
        }
        assert_eq!(program::socks(sold_at, login, "127.0.0.1", port).await.refused(), 1);
        assert_eq!(program::connect(sold_at, login, "127.0.0.1", port).await.refused(), 429);
        open.pop();
        soon("a place that came free", async {
            while !matches!(program::socks(sold_at, login, "127.0.0.1", port).await, Outcome::Connected(_)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_all_places_logins_are_refused_and_health_says_so() {
    let origin = Origin::start().await;
    let settings = with(agent_settings(), &json!({"limits": {"connections": 2}}));
    let (agent, sold_at, name) = agent(settings).await;
    let login = Some((name.as_str(), PASSWORD));
    let port = origin.address.port();
    let first = program::socks(sold_at, login, "127.0.0.1", port).await.connected();
    let _second = program::socks(sold_at, login, "127.0.0.1", port).await.connected();
    let third = program::socks(sold_at, login, "127.0.0.1", port).await;
    assert!(matches!(third, Outcome::Denied), "{third:?}");
    assert_eq!(program::connect(sold_at, login, "127.0.0.1", port).await.refused(), 503);
    let health = agent.host.health().await;
    assert!(
        matches!(&health, Health::Degraded { reason } if reason.contains("limits.connections")),
        "{health:?}"
    );
    drop(first);
    soon("a place that came free", async {
        while !matches!(program::socks(sold_at, login, "127.0.0.1", port).await, Outcome::Connected(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(agent.host.health().await, Health::Well);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_what_it_wants_in_time_is_closed() {
    let settings = with(agent_settings(), &json!({"limits": {"handshake": "2s"}}));
    let (_agent, sold_at, name) = agent(settings).await;
    let mut login = vec![5, 1, 2, 1, name.len() as u8];
    login.extend(name.as_bytes());
    let beginnings: [(&[u8], &[u8]); 7] = [
        (b"", b""),
        (b"\x05", b""),
        (b"\x05\x01\x02", b"\x05\x02"),
        (&login, b"\x05\x02"),
        (b"G", b"HTTP/1.1 408 "),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost:", b"HTTP/1.1 408 "),
        // A refused one does not get another request.
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 407 "),
    ];
    let mut programs = tokio::task::JoinSet::new();
    for (beginning, expected) in beginnings {
        let (beginning, expected) = (beginning.to_vec(), expected.to_vec());
        programs.spawn(async move {
            let answer = program::exchange(sold_at, &beginning).await;
            let answered = answer.starts_with(&expected) && answer.is_empty() == expected.is_empty();
            assert!(answered, "{beginning:?}: {}", String::from_utf8_lossy(&answer));
        });
    }
    while let Some(done) = programs.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_too_long_a_head_is_refused() {
    let settings = with(agent_settings(), &json!({"limits": {"header_bytes": 8192}}));
    let (_agent, sold_at, _) = agent(settings).await;
    let many = "X: y\r\n".repeat(2_000);
    for head in [format!("X: {}\r\n", "y".repeat(20_000)), many] {
        let request = format!("CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        let answer = String::from_utf8(program::exchange(sold_at, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("limits.header_bytes"), "{answer}");
    }
}

fn refusal(answer: Result<impl std::fmt::Debug, AdapterError>) -> AdapterRefusal {
    match answer.unwrap_err() {
        AdapterError::Refused { refusal, .. } => refusal,
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();

    let host = Host::new(Arc::new(ProxyServer::new())).unwrap();
    let settings = with(agent_settings(), &json!({"listen": format!("127.0.0.1:{port}")}));
    let refused = refusal(Side::new(host, Role::Agent, settings).await.map(drop));
    assert!(matches!(refused, AdapterRefusal::Unavailable { .. }) && refused.is_temporary(), "{refused:?}");
    assert!(refused.to_string().contains(&format!("127.0.0.1:{port}")), "{refused}");

    let settings = with(client_settings(), &json!({"port": port, "port_count": 1}));
    let client = Side::client(settings).await;
    let access =
        Access { endpoint: json!({"host": "127.0.0.1", "port": 1}), credentials: credentials(channel(1)) };
    let provision = Provision::buy(channel(1), access);
    let refused = refusal(client.host.provision(provision.clone()).await);
    assert!(matches!(refused, AdapterRefusal::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&format!("127.0.0.1:{port}")), "{refused}");
    // Once it is free, the same call succeeds, at that port.
    drop(taken);
    let provisioned = client.host.provision(provision).await.unwrap();
    assert_eq!(provisioned.endpoint["port"], port);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_of_a_client_takes_the_next_free_port() {
    // A port that was free a moment ago, with another instance's channel on it.
    let other = Side::client(client_settings()).await;
    let endpoint = privatix_plugin_proxy::Endpoint::parse(&json!({"host": "127.0.0.1", "port": 1})).unwrap();
    let taken = other.buy(channel(9), &endpoint).await.port();
    let client = Side::client(with(client_settings(), &json!({"port": taken, "port_count": 1000}))).await;
    let (first, second) = (client.buy(channel(1), &endpoint).await, client.buy(channel(2), &endpoint).await);
    assert!(taken < first.port() && first.port() < second.port(), "{taken} {first} {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_cannot_be_used_are_refused_by_field() {
    let agent = Side::agent(agent_settings()).await;
    agent.sell(channel(7)).await;
    let sell = async |username: &str, password: &str, parameters: Value| {
        let credentials = Credentials { username: username.into(), password: password.into() };
        let provision = Provision::Sell {
            channel: channel(1),
            credentials,
            parameters,
            used: Usage::ZERO,
            up_to: Usage::MAX,
        };
        refusal(agent.host.provision(provision).await)
    };
    let long = "x".repeat(256);
    for (username, password, parameters, named) in [
        ("", "p", json!({}), "credentials.username"),
        ("a:b", "p", json!({}), "credentials.username"),
        (&long, "p", json!({}), "credentials.username"),
        (&channel(7).to_string(), "p", json!({}), "credentials.username"),
        ("u", "", json!({}), "credentials.password"),
        ("u", &long, json!({}), "credentials.password"),
        ("u", "p", json!({"maxConnections": 0}), "maxConnections"),
        ("u", "p", json!({"maxBandwidth": "fast"}), "maxBandwidth"),
        ("u", "p", json!({"maxBandwidth": 1.5}), "maxBandwidth"),
    ] {
        let refused = sell(username, password, parameters).await;
        assert!(
            matches!(&refused, AdapterRefusal::Parameters { field, .. } if field == named),
            "{named}: {refused}"
        );
        assert!(!refused.to_string().contains(&long), "{refused}");
    }
    let client = Side::client(client_settings()).await;
    for (endpoint, password, named) in [
        (json!({"host": "", "port": 1}), "p", "endpoint.host"),
        (json!({"host": "h", "port": 0}), "p", "endpoint.port"),
        (json!({"host": "h", "port": 1}), "", "credentials.password"),
    ] {
        let credentials = Credentials { username: "u".into(), password: password.into() };
        let provision = Provision::buy(channel(1), Access { endpoint, credentials });
        let refused = refusal(client.host.provision(provision).await);
        assert!(
            matches!(&refused, AdapterRefusal::Parameters { field, .. } if field == named),
            "{named}: {refused}"
        );
    }
    // Nothing was half done.
    let refused = refusal(agent.host.start(channel(1)).await);
    assert_eq!(refused, AdapterRefusal::UnknownChannel { channel: channel(1) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_let_an_agent_point_it_at_its_own_network() {
    let (_agent, sold_at, _) = agent(agent_settings()).await;
    let client = Side::client(json!({"port": 0})).await;
    let endpoint = json!({"host": sold_at.ip().to_string(), "port": sold_at.port()});
    let endpoint = privatix_plugin_proxy::Endpoint::parse(&endpoint).unwrap();
    let local = client.buy(channel(1), &endpoint).await;
    assert_eq!(program::socks(local, None, "127.0.0.1", 80).await.refused(), 1);
    let health = client.host.health().await;
    assert!(
        matches!(&health, Health::Degraded { reason } if reason.contains("private address")),
        "{health:?}"
    );
}

/// Where the agent's proxy is by the access, and whether the adapter asks for another one after some seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_names_the_channels_whose_agents_are_not_where_the_access_says() {
    let agent = Side::agent(agent_settings()).await;
    let client = Side::client(client_settings()).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let buy = async |id: ChannelId, endpoint: &Value, password: &str| {
        let credentials = Credentials { username: id.to_string(), password: password.into() };
        let provision = Provision::buy(id, Access { endpoint: endpoint.clone(), credentials });
        let provisioned = client.host.provision(provision).await.unwrap();
        client.host.start(id).await.unwrap();
        address(&privatix_plugin_proxy::Endpoint::parse(&provisioned.endpoint).unwrap())
    };
    let (moved, changed, fine) = (channel(1), channel(2), channel(3));
    let nowhere = json!({"host": "127.0.0.1", "port": gone});
    let sell = async |id| serde_json::to_value(agent.sell(id).await).unwrap();
    let (at_moved, at_changed, at_fine) = (sell(moved).await, sell(changed).await, sell(fine).await);
    // Nobody is there; the password is another one; all is well, but for the destination.
    let locals = [
        buy(moved, &nowhere, PASSWORD).await,
        buy(changed, &at_changed, "earlier").await,
        buy(fine, &at_fine, PASSWORD).await,
    ];
    let dial = async || {
        for local in locals {
            let _ = program::socks(local, None, "127.0.0.1", unused).await.refused();
        }
    };
    dial().await;
    assert_eq!(client.host.unreached().await.unwrap(), [], "it may only be restarted");
    let unreached = async || {
        let mut unreached = client.host.unreached().await.unwrap();
        unreached.sort();
        unreached
    };
    let found = async {
        while unreached().await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
    assert_eq!(unreached().await, [moved, changed]);
    // The same again changes nothing; what is new is tried afresh.
    buy(moved, &nowhere, PASSWORD).await;
    assert_eq!(unreached().await, [moved, changed]);
    buy(moved, &at_moved, PASSWORD).await;
    assert_eq!(unreached().await, [changed]);
    buy(changed, &at_changed, PASSWORD).await;
    dial().await;
    assert_eq!(unreached().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_tells_what_is_wrong_with_its_agent_until_it_is_right_again() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let (agent, client) = (Side::agent(agent_settings()).await, Side::client(client_settings()).await);
    let id: ChannelId = channel(1);
    let endpoint = serde_json::to_value(agent.sell(id).await).unwrap();
    let buy = async |endpoint: Value, password: &str| {
        let credentials = Credentials { username: id.to_string(), password: password.into() };
        let provision = Provision::buy(id, Access { endpoint, credentials });
        let provisioned = client.host.provision(provision).await.unwrap();
        client.host.start(id).await.unwrap();
        address(&privatix_plugin_proxy::Endpoint::parse(&provisioned.endpoint).unwrap())
    };
    let reason = async || match client.host.health().await {
        Health::Degraded { reason } => reason,
        other => panic!("{other:?}"),
    };

    let local = buy(endpoint.clone(), "wrong").await;
    assert_eq!(program::socks(local, None, "127.0.0.1", port).await.refused(), 2);
    assert_eq!(program::connect(local, None, "127.0.0.1", port).await.refused(), 502);
    assert!(reason().await.contains("refused the login"), "{}", reason().await);

    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(buy(json!({"host": "127.0.0.1", "port": gone}), PASSWORD).await, local, "the port stays");
    assert_eq!(program::socks(local, None, "127.0.0.1", port).await.refused(), 1);
    assert!(reason().await.contains("agent not reachable"), "{}", reason().await);

    // Something else where a proxy should be.
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    buy(json!({"host": "127.0.0.1", "port": web.local_addr().unwrap().port()}), PASSWORD).await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = web.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(program::socks(local, None, "127.0.0.1", port).await.refused(), 1);
    assert!(reason().await.contains("SOCKS5"), "{}", reason().await);
    serving.await.unwrap();

    buy(endpoint, PASSWORD).await;
    program::socks(local, None, "127.0.0.1", port).await.connected();
    assert_eq!(client.host.health().await, Health::Well);
}
