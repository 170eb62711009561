//! What surrounds a daemon on real machines: foreign variables, other users, addresses of both families.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use crate::bad_input::offline;
use crate::market;
use crate::support::{LONG, read};

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_a_service_that_is_called_like_the_program_are_left_out() {
    let (_anvil, _, mut home) = market().await;
    // What Kubernetes and `docker --link` set for a Service called privatix-agent.
    for (name, value) in [
        ("SERVICE_HOST", "10.96.0.7"),
        ("SERVICE_PORT", "9500"),
        ("SERVICE_PORT_SOMC", "9500"),
        ("PORT", "tcp://10.96.0.7:9500"),
        ("PORT_9500_TCP", "tcp://10.96.0.7:9500"),
        ("PORT_9500_TCP_ADDR", "10.96.0.7"),
        ("PORT_9500_TCP_PORT", "9500"),
        ("PORT_9500_TCP_PROTO", "tcp"),
        ("NAME", "/web/privatix_agent"),
        ("ENV_CHAIN__ENDPOINT", "http://10.96.0.7"),
    ] {
        home.set(name, value);
    }
    let mut daemon = home.start().await;
    assert_eq!(home.ask(&["status"])["role"], "agent");
    assert!(daemon.log().contains("PRIVATIX_AGENT_SERVICE_HOST"), "{}", daemon.log());
    let checked = home.ask(&["config", "check"]);
    let checks = checked["checks"].as_array().unwrap();
    let about = checks.iter().find(|check| check["name"] == "environment").unwrap();
    assert_eq!((&about["ok"], &about["warning"]), (&true.into(), &true.into()));
    assert!(daemon.terminate(LONG).await.unwrap().success());

    home.set("CHAIN__SPEED", "1");
    home.run(&["status"]).fails(2, &["`chain.speed`", "PRIVATIX_AGENT_CHAIN__SPEED", "no setting"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_can_read_nothing_even_in_a_folder_that_they_can_enter() {
    let (_anvil, _, home) = market().await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&home.folder, 0o755);
    for start in ["new files", "files of an earlier version"] {
        let mut daemon = home.start().await;
        home.ask(&["status"]);
        let files: Vec<_> = fs::read_dir(&home.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        for name in ["agentd.db", "agentd.db-wal", "agentd.db-shm", "agentd.db.lock", "api.address"] {
            assert!(files.contains(&home.file(name)), "{name} is not in {files:?}");
        }
        for file in &files {
            assert_eq!(mode(file) & 0o077, 0, "{} of {start}", file.display());
        }
        assert!(daemon.log().contains("others can enter the data folder"), "{}", daemon.log());
        assert!(daemon.terminate(LONG).await.unwrap().success());
        set(&home.file("agentd.db"), 0o644);
        set(&home.file("agentd.db.lock"), 0o666);
    }
    assert!(home.run(&["config", "check"]).succeeds().stdout.contains("WARN  data folder"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_with_an_ipv6_address_is_reached_over_both_families() {
    let (_anvil, _, mut home) = market().await;
    home.env.retain(|(name, _)| !name.contains("LISTEN"));
    home.set("API__LISTEN", "127.0.0.1:0");
    home.set("SOMC__LISTEN", "[::]:0");
    home.set("SOMC__ANNOUNCE", "[::1]:9500");
    home.set("ADAPTER__SETTINGS__LISTEN", "[::]:0");
    home.set("ADAPTER__SETTINGS__PUBLIC_HOST", "[::1]");
    let daemon = home.start().await;
    let log = daemon.log();
    for server in ["messaging server listens", "proxy server listens"] {
        let line =
            log.lines().find(|line| line.contains(server)).unwrap_or_else(|| panic!("{server}: {log}"));
        let listen = line.split("listen=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        let port: u16 = listen.rsplit(':').next().unwrap().parse().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }
}

#[test]
fn an_ipv6_public_host_is_understood_with_and_without_brackets() {
    for host in ["[2001:db8::1]", "2001:db8::1"] {
        let mut home = crate::home();
        home.env.clear();
        let folder = home.folder.to_str().unwrap();
        let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
        let options = ["init", folder, "--contract", contract, "--generate-password", "--public-host", host];
        home.plain(&options, "").succeeds();
        let text = read(&home.config());
        for line in ["listen = \"[::]:9500\"", "listen = \"[::]:1080\"", "announce = \"[2001:db8::1]:9500\""]
        {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let settings = home.ask(&["config", "check", "--offline"]);
        assert_eq!(settings["settings"]["adapter"]["settings"]["public_host"], "2001:db8::1");
        assert!(!settings.to_string().contains("warning"), "{settings}");
    }
}

#[test]
fn families_that_cannot_meet_are_warned_of() {
    let mut home = offline();
    home.env.clear();
    let checked = home.run(&[
        "--set",
        "somc.announce=[2001:db8::1]:9500",
        "--set",
        "somc.listen=0.0.0.0:9500",
        "--set",
        "adapter.settings.public_host=192.0.2.1",
        "--set",
        "adapter.settings.listen=[2001:db8::1]:1080",
        "config",
        "check",
        "--offline",
    ]);
    let said = &checked.succeeds().stdout;
    for warning in [
        "WARN  reach: somc.announce: 2001:db8::1 has an IPv6",
        "adapter.settings.public_host: 192.0.2.1 has an IPv4",
    ] {
        assert!(said.contains(warning), "{said}");
    }
}
