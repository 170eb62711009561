//! A Tor network of real processes. Needs Debian's package `tor`.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    path::Path,
};

use privatix_testkit::{TorNetwork, sockets, temp_dir};

async fn get(port: u16, path: &str) -> String {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("http://127.0.0.1:{port}{path}")).send().await.unwrap();
    answer.error_for_status().unwrap().text().await.unwrap()
}

/// The rest of the lines of a consensus that begin with `keyword`.
fn lines<'a>(consensus: &'a str, keyword: &str) -> Vec<&'a str> {
    consensus.lines().filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' ')).collect()
}

/// The seconds of a day of `2026-11-26 01:07:13`.
fn seconds(time: &str) -> u32 {
    let clock = time.split(' ').nth(1).unwrap();
    clock.split(':').fold(0, |sum, part| 60 * sum + part.parse::<u32>().unwrap())
}

fn listens(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

#[tokio::test]
async fn a_tor_network_comes_up_goes_down_and_comes_back() {
    let folder = temp_dir().unwrap();
    let mut network = TorNetwork::prepare(folder.path().join("tor")).await.unwrap();
    // What clients need is known before anything runs.
    let arti_toml = network.arti_toml().to_owned();
    let relays = network.relays().to_vec();
    assert_eq!(relays.len(), 7);
    for relay in &relays {
        assert!(arti_toml.contains(&format!("\"127.0.0.1:{}\"", relay.or_port)), "{arti_toml}");
        assert!(!listens(relay.or_port));
    }

    network.launch().await.unwrap();
    let mut consensuses = BTreeSet::new();
    for relay in &relays {
        let consensus = get(relay.dir_port, "/tor/status-vote/current/consensus-microdesc").await;
        let flags: BTreeMap<_, _> = lines(&consensus, "r").into_iter().zip(lines(&consensus, "s")).collect();
        for relay in &relays {
            let named = flags.iter().find(|(line, _)| line.split(' ').next() == Some(&relay.name));
            let flags: Vec<_> = named.unwrap().1.split(' ').collect();
            for flag in ["Exit", "Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"] {
                assert!(flags.contains(&flag), "{flag} of {}: {flags:?}", relay.name);
            }
        }
        assert_eq!(flags.len(), relays.len());
        let digests = lines(&consensus, "m").join("-");
        let descriptors = get(relay.dir_port, &format!("/tor/micro/d/{digests}")).await;
        assert_eq!(descriptors.lines().filter(|line| *line == "onion-key").count(), relays.len());
        assert!(lines(&consensus, "params")[0].contains("cbtdisabled=1"), "{consensus}");
        // The rounds are slow from the first one on.
        let time = |keyword| seconds(lines(&consensus, keyword)[0]);
        let day = 24 * 60 * 60;
        assert_eq!((day + time("fresh-until") - time("valid-after")) % day, 1800);
        consensuses.insert(lines(&consensus, "valid-after")[0].to_owned());
    }
    assert_eq!(consensuses.len(), 1, "all serve the same: {consensuses:?}");

    network.stop_all().unwrap();
    assert!(network.pids().is_empty());
    assert!(relays.iter().all(|relay| !listens(relay.or_port) && !listens(relay.dir_port)));

    network.launch().await.unwrap();
    assert_eq!(network.arti_toml(), arti_toml);
    let consensus = get(relays[0].dir_port, "/tor/status-vote/current/consensus-microdesc").await;
    assert!(consensuses.contains(lines(&consensus, "valid-after")[0]), "the network of before");

    // A relay talks to relays only.
    let ports: BTreeSet<_> = relays.iter().flat_map(|relay| [relay.or_port, relay.dir_port]).collect();
    let pids = network.pids();
    let of_relay = sockets::of_process(*pids.last().unwrap()).unwrap();
    assert!(of_relay.iter().any(|socket| socket.local.port() == relays[6].or_port), "{of_relay:?}");
    for socket in of_relay.iter().filter(|socket| socket.peer().is_some()) {
        let ends = [socket.local.port(), socket.remote.port()];
        assert!(ends.iter().any(|port| ports.contains(port)), "{socket:?}");
    }

    drop(network);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
    assert!(relays.iter().all(|relay| !listens(relay.or_port) && !listens(relay.dir_port)));
}
