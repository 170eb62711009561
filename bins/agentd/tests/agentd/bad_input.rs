//! What is wrong is named with its cause and its remedy, and nothing is half done.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use privatix_testkit::Anvil;
use privatix_tor::OnionKeys;

use crate::support::{Home, read};
use crate::{home, market};

const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const CONTRACT: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

/// A folder that needs no chain.
pub(crate) fn offline() -> Home {
    let home = home();
    let folder = home.folder.to_str().unwrap();
    let made = home
        .plain(&["init", folder, "--contract", CONTRACT, "--import-key", "-", "--generate-password"], KEY);
    made.succeeds();
    home
}

#[test]
fn init_makes_what_a_daemon_needs_and_shows_no_secret() {
    let home = home();
    let folder = home.folder.to_str().unwrap();
    let arguments =
        ["init", folder, "--contract", CONTRACT, "--import-key", "-", "--generate-password", "--json"];
    let made = home.plain(&arguments, &format!("0x{KEY}\n"));

    assert_eq!(made.json()["account"], "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    for name in ["agentd.toml", "keystore.json", "api.token", "metrics.token", "password"] {
        let mode = fs::metadata(home.file(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    let said = format!("{}{}", made.stdout, made.stderr);
    for secret in [KEY.to_owned(), home.token(), read(&home.file("password"))] {
        assert!(secret.len() >= 64 && !said.contains(&secret));
    }
    assert!(!read(&home.file("keystore.json")).contains(KEY));
    // The commented defaults are the defaults: with every comment taken off, the file still reads.
    let bare = read(&home.config()).lines().map(uncommented).collect::<Vec<_>>().join("\n");
    let spare = home.file("bare.toml");
    fs::write(&spare, bare).unwrap();
    // Its rescue account has a keystore.
    for (file, copy) in [("keystore.json", "rescue.json"), ("password", "rescue.password")] {
        fs::copy(home.file(file), home.file(copy)).unwrap();
    }
    // Its chain.proxy = "tor" needs Tor.
    let bare = ["--config", spare.to_str().unwrap(), "--set", "tor.enabled=true"];
    let checked = home.plain(&[&bare[..], &["config", "check", "--offline", "--json"]].concat(), "");
    let settings = &checked.json()["settings"];
    assert_eq!(settings["chain"]["recent_blocks"], 11_520);
    assert_eq!(settings["somc"]["announce"], "agent.example.org:9500");
}

/// A line that shows a default, made to set it.
fn uncommented(line: &str) -> String {
    match line.strip_prefix("# ") {
        Some(setting)
            if setting.split(" = ").next().is_some_and(|key| !key.contains(' '))
                && setting.contains(" = ") =>
        {
            setting.to_owned()
        }
        _ => line.to_owned(),
    }
}

#[test]
fn a_seller_s_public_host_is_all_that_a_real_configuration_lacks() {
    let mut home = home();
    home.env.clear();
    let init = |host: &str, folder: &str| {
        home.plain(
            &["init", folder, "--contract", CONTRACT, "--generate-password", "--public-host", host],
            "",
        )
    };
    let folder = home.folder.to_str().unwrap();
    assert_eq!(init("no/host", folder).code, Some(2));
    init("proxy.example.org", folder).succeeds();
    let settings = home.ask(&["config", "check", "--offline"])["settings"].clone();
    assert_eq!(settings["somc"]["announce"], "proxy.example.org:9500");
    assert_eq!(settings["adapter"]["settings"]["public_host"], "proxy.example.org");
}

#[test]
fn a_seller_has_an_onion_service_by_default_whose_address_belongs_to_its_account() {
    let mut home = home();
    home.env.clear();
    let folder = home.folder.to_str().unwrap().to_owned();
    let init = ["init", &folder, "--contract", CONTRACT, "--generate-password", "--import-key", "-"];
    let host = ["--public-host", "proxy.example.org", "--messages", "onion"];
    home.plain(&[&init[..], &host].concat(), KEY).succeeds();
    let checked = home.ask(&["config", "check", "--offline"]);
    assert!(checked["settings"]["somc"]["announce"].is_null(), "only clients learn the host");
    assert_eq!(checked["settings"]["adapter"]["settings"]["public_host"], "proxy.example.org");
    let checks = checked["checks"].as_array().unwrap();
    let keystore = checks.iter().find(|check| check["name"] == "keystore").unwrap();
    assert!(keystore["message"].as_str().unwrap().contains("onion service tor:"), "{keystore}");

    let with = |setting: &str| home.run(&["--set", setting, "config", "check", "--offline"]);
    with("somc.listen=127.0.0.1:9500").fails(2, &["somc.listen", "somc.announce"]);
    with("tor.arti.channel.no_such=1").fails(2, &["tor.arti.channel.no_such"]);
    with("tor.bridges=[\"nonsense\"]").fails(2, &["tor.bridges", "line 1", "ridge"]);
    with("somc.authorized_clients=[\"nonsense\"]")
        .fails(2, &["somc.authorized_clients", "number 1", "clientd onion-key"]);
    let buyers = OnionKeys::of_account([7; 32]);
    let key = buyers.discovery_key(&buyers.address(80).unwrap());
    let listed = format!("somc.authorized_clients=[{key:?}]");
    let open = ["--set", &listed, "--set", "somc.announce=127.0.0.1:9500", "config", "check", "--offline"];
    let doubted = home.run(&open);
    assert!(doubted.succeeds().stdout.contains("WARN  settings: somc.authorized_clients"), "{doubted:?}");
    let elsewhere = keystore["message"].as_str().unwrap().rsplit("tor:").next().unwrap();
    with(&format!("somc.onion={elsewhere}")).succeeds();
}

#[test]
fn messages_that_have_no_way_are_refused_by_init() {
    let home = home();
    let folder = home.folder.to_str().unwrap();
    let refused = home.plain(&["init", folder, "--generate-password", "--messages", "both"], "");
    refused.fails(2, &["--messages both", "--public-host"]);
    assert!(!home.folder.exists());
}

#[test]
fn settings_of_tor_are_checked_wherever_tor_is_used() {
    let mut home = offline();
    let with = |home: &Home, settings: &[&str]| {
        let mut arguments: Vec<&str> = settings.iter().flat_map(|&setting| ["--set", setting]).collect();
        arguments.extend(["config", "check", "--offline", "--json"]);
        home.run(&arguments)
    };
    let disabled = with(&home, &["chain.proxy=tor"]);
    assert_eq!(disabled.code, Some(2), "{disabled:?}");
    for named in ["chain.proxy", "tor.enabled"] {
        assert!(disabled.stderr.contains(named), "{disabled:?}");
    }
    // An onion service that is configured, and cannot be there.
    let silent = with(&home, &["somc.onion=own", "somc.announce=127.0.0.1:9500"]).json();
    let checks = silent["checks"].as_array().unwrap();
    let warning = checks.iter().find(|check| check["warning"] == true).unwrap();
    for named in ["somc.onion", "tor.enabled"] {
        assert!(warning["message"].as_str().unwrap().contains(named), "{warning}");
    }

    home.env.retain(|(key, _)| !key.ends_with("TOR__ENABLED"));
    let for_chain_alone = with(&home, &["chain.proxy=tor", "tor.bridges=[\"nonsense\"]"]);
    assert_eq!(for_chain_alone.code, Some(2), "{for_chain_alone:?}");
    assert!(for_chain_alone.stderr.contains("tor.bridges"), "{for_chain_alone:?}");
}

#[test]
fn init_overwrites_nothing() {
    let home = offline();
    let before: Vec<String> =
        ["agentd.toml", "keystore.json", "api.token"].map(|name| read(&home.file(name))).to_vec();
    for left in ["keystore.json", "api.token", "agentd.toml"] {
        let again = home.plain(&["init", home.folder.to_str().unwrap(), "--generate-password"], "");
        again.fails(2, &["is there already", "nothing was changed"]);
        let after = read(&home.file(left));
        assert!(before.contains(&after), "{left} was changed");
    }
}

#[test]
fn init_refuses_a_key_that_is_none_and_leaves_nothing_behind() {
    let home = home();
    let folder = home.folder.to_str().unwrap();
    let bad = home.plain(&["init", folder, "--import-key", "-", "--generate-password"], &KEY[..60]);
    bad.fails(2, &["standard input", "64 hexadecimal digits"]);
    assert!(!bad.stderr.contains(&KEY[..60]));
    let missing = home.plain(&["init", folder, "--import-key", "/nowhere/key", "--generate-password"], "");
    missing.fails(1, &["/nowhere/key"]);
    // Nobody to type one.
    home.plain(&["init", folder], "").fails(2, &["no password", "account.password_file"]);
    assert!(!home.folder.exists());
}

#[test]
fn a_missing_configuration_says_how_to_make_one() {
    let home = home();
    home.run(&["status"]).fails(2, &["there is no configuration", "agentd.toml", "agentd init"]);
}

#[test]
fn wrong_settings_are_named_with_their_place_and_what_was_expected() {
    let mut home = offline();
    home.env.clear(); // the environment would win
    let sound = read(&home.config());
    let sound = sound.replace("# listen = \"[::]:1080\"", "listen = \"127.0.0.1:0\"");
    let sound = sound.replace("# announce", "announce");
    let file = home.config().display().to_string();
    let check = |text: &str, says: &[&str]| {
        fs::write(home.config(), text).unwrap();
        let mut says = says.to_vec();
        says.push(&file);
        home.run(&["config", "check", "--offline"]).fails(2, &says);
    };
    let with = |line: &str| sound.replace("[account]", &format!("{line}\n[account]"));
    check(&with("confirmatoins = 3"), &["`chain.confirmatoins`", "no setting", "confirmations"]);
    check(&with("confirmations = \"two\""), &["`chain.confirmations`", "is a text", "u64"]);
    check(&with("final = \"soon\""), &["`chain.final`", "a number of blocks"]);
    check(&with("poll_interval = 4"), &["`chain.poll_interval`", "expected a duration"]);
    check(&with("poll_interval = \"soon\""), &["`chain.poll_interval`"]);
    check(&sound.replace("[log]", "[logs]"), &["`logs`", "no setting", "log"]);
    check(&sound.replace("[log]", "[log]\nformat = \"xml\""), &["`log.format`", "`xml`", "text", "json"]);
    check(&sound.replace(&format!("contract = \"{CONTRACT}\""), ""), &["`chain.contract` is missing"]);
    check(&sound.replace(CONTRACT, "0x12"), &["`chain.contract`"]);
    check(&sound.replace("[chain]", "[chain"), &["TOML"]);
}

#[test]
fn the_environment_and_the_command_line_are_checked_like_the_file() {
    let mut home = offline();
    let wrong = home.run(&["--set", "chain.confirmations=many", "config", "check", "--offline"]);
    wrong.fails(2, &["`chain.confirmations`", "the command line", "u64"]);
    let unknown = home.run(&["--set", "chain.speed=1", "config", "check", "--offline"]);
    unknown.fails(2, &["`chain.speed`", "the command line"]);
    assert_eq!(home.run(&["--set", "nonsense", "status"]).code, Some(2));

    home.set("CHAIN__MAX_FEE_GWEI", "lots");
    let wrong = home.run(&["config", "check", "--offline"]);
    wrong.fails(2, &["`chain.max_fee_gwei`", "PRIVATIX_AGENT_CHAIN__MAX_FEE_GWEI", "u64"]);
}

#[test]
fn layers_go_from_file_to_environment_to_command_line() {
    let mut home = offline();
    let confirmations = |home: &Home, more: &[&str]| {
        let mut arguments = vec!["config", "check", "--offline"];
        arguments.extend(more);
        home.ask(&arguments)["settings"]["chain"]["confirmations"].clone()
    };
    home.env.retain(|(key, _)| !key.ends_with("CONFIRMATIONS"));
    assert!(confirmations(&home, &[]).is_null(), "what is usual on the chain");
    fs::write(home.config(), read(&home.config()).replace("[account]", "confirmations = 3\n[account]"))
        .unwrap();
    assert_eq!(confirmations(&home, &[]), 3);
    home.set("CHAIN__CONFIRMATIONS", "4");
    assert_eq!(confirmations(&home, &[]), 4);
    assert_eq!(confirmations(&home, &["--set", "chain.confirmations=5"]), 5);
}

#[test]
fn settings_of_the_plug_in_and_of_the_messaging_server_are_checked_too() {
    let home = offline();
    let with = |setting: &str| home.run(&["--set", setting, "config", "check", "--offline"]);
    with("adapter.settings.lisen=1").fails(2, &["adapter.settings", "lisen"]);
    with("adapter.settings.listen=0.0.0.0:1080").fails(2, &["adapter.settings", "public_host"]);
    with("adapter.kind=teleport").fails(2, &["`adapter.kind`", "`teleport`", "proxy"]);
    with("somc.listen=0.0.0.0:9500").fails(2, &["somc.announce"]);
    with("somc.announce=here").fails(2, &["somc.announce", "port"]);
    with("somc.onion=perhaps").fails(2, &["`somc.onion`", "\"own\"", "onion"]);
    with("somc.onion=own").fails(2, &["tor.enabled", "somc.announce"]); // with Tor disabled
    with("somc.authorized_clients=[\"x\"]").fails(2, &["somc.authorized_clients", "own"]);
    with("tor.socks=127.0.0.1:9050").fails(2, &["tor.socks", "clientd"]);
    with("log.level=a=b=c").fails(2, &["log.level"]);
    with("chain.endpoint=ftp://x").fails(2, &["ftp"]);
}

#[test]
fn rules_about_closes_that_contradict_each_other_are_refused_at_the_start_and_by_config_check() {
    let home = offline();
    let with = |settings: &[&str], command: &[&str]| {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        home.run(&set.chain(command.iter().copied()).collect::<Vec<_>>())
    };
    let check = ["config", "check", "--offline"];
    for command in [&check[..], &["run"]] {
        with(&["closing.min_gain=5"], command).fails(2, &["closing.min_gain", "chain.ether_per_token"]);
        with(&["closing.batch_within=2h"], command)
            .fails(2, &["closing.batch_within", "closing.close_within"]);
        with(&["service.outage_for=0s"], command).fails(2, &["service.outage_for"]);
    }
    with(&["closing.free_within=soon"], &check).fails(2, &["`closing.free_within`", "never"]);
    with(&["closing.batch_below_gwei=cheap"], &check).fails(2, &["`closing.batch_below_gwei`", "gwei"]);
    with(&["closing.settle_above=-1"], &check).fails(2, &["`closing.settle_above`"]);
    let sound = ["closing.min_gain=5", "chain.ether_per_token=\"0.0005\"", "closing.close_within=2h"];
    let doubted = with(&sound, &check);
    assert!(doubted.succeeds().stdout.contains("WARN  settings: closing.close_within"), "{doubted:?}");
}

#[test]
fn the_settings_in_effect_are_shown_without_secrets() {
    let home = offline();
    let secret = "chain.endpoint=https://user:hunter2@node.example/v3/s3cretkey?k=s3cretkey";
    let shown = home.run(&["--set", secret, "config", "check", "--offline"]);
    shown.succeeds();
    assert!(shown.stdout.contains("https://node.example/..."), "{shown:?}");
    assert!(shown.stdout.contains("opens, account 0xf39F"), "{shown:?}");
    for secret in ["hunter2", "s3cretkey", KEY, &home.token(), &read(&home.file("password"))] {
        assert!(!shown.stdout.contains(secret) && !shown.stderr.contains(secret));
    }
}

#[test]
fn a_keystore_that_does_not_open_is_told_from_one_that_is_none() {
    let home = offline();
    for command in [&["config", "check", "--offline"][..], &["run"]] {
        fs::write(home.file("password"), "wrong").unwrap();
        home.run(command).fails(2, &["the password does not open keystore", "keystore.json"]);
    }
    let unattended = home.run(&["--set", "account.password_file=nowhere", "run"]);
    unattended.fails(1, &["cannot read", "nowhere"]);
    let sound = read(&home.config());
    fs::write(home.config(), sound.replace("password_file = ", "# password_file = ")).unwrap();
    home.run(&["run"]).fails(2, &["no password", "account.password_file", "terminal"]);
    fs::write(home.config(), sound).unwrap();

    fs::write(home.file("keystore.json"), "{}").unwrap();
    home.run(&["run"]).fails(2, &["no usable keystore", "version"]);
    fs::remove_file(home.file("keystore.json")).unwrap();
    home.run(&["run"]).fails(2, &["there is no keystore", "init"]);
    fs::remove_file(home.file("password")).unwrap();
    home.run(&["config", "check", "--offline"]).fails(1, &["password"]);
    // Nothing but the lock-free beginnings of a daemon is there.
    assert!(!home.file("agentd.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_or_contract_that_is_not_the_configured_one_stops_the_start() {
    let (mut anvil, contracts, home) = market().await;
    for command in [&["config", "check"][..], &["run"]] {
        let with = |setting: &str| {
            let mut all = vec!["--set", setting];
            all.extend(command);
            home.run(&all)
        };
        with("chain.chain_id=5").fails(1, &["serves chain 31337", "chain 5 is configured"]);
        let no_code = anvil.account(7).to_string();
        with(&format!("chain.contract={no_code}")).fails(1, &["there is no contract at", &no_code]);
        with(&format!("chain.contract={}", contracts.token))
            .fails(1, &["is not a service contract of this version", "bytes of code", "chain.contract"]);
    }
    home.run(&["config", "check"]).succeeds();
    anvil.process().kill().unwrap();
    home.run(&["config", "check"]).fails(1, &["unreachable", "check that it runs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_of_other_code_is_refused_unless_the_operator_accepts_it() {
    let (anvil, contracts, mut home) = market().await;
    let check = home.run(&["config", "check"]);
    assert!(check.succeeds().stdout.contains("known code, challenge 15m, least stake 1"), "{check:?}");

    let code = anvil.code(contracts.contract).await.unwrap();
    anvil.set_code(contracts.contract, &[&code[..], &[0]].concat()).await.unwrap();
    for command in [&["config", "check"][..], &["run"]] {
        let says = ["is not a service contract of this version", "bytes of code", "chain.unknown_contract"];
        home.run(command).fails(1, &says);
    }

    home.set("CHAIN__UNKNOWN_CONTRACT", "warn");
    let check = home.run(&["config", "check"]);
    assert!(check.succeeds().stdout.contains("WARN  contract"), "{check:?}");
    let daemon = home.start().await;
    let warned = |line: &str| line.contains("WARN") && line.contains("is not a service contract");
    assert!(daemon.log().lines().any(warned), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let (_anvil, _, home) = market().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let with = |setting: &str| home.run(&["--set", &format!("{setting}={address}"), "run"]);
    with("api.listen").fails(1, &["cannot listen on", &address, "api.listen", "in use"]);
    with("somc.listen").fails(1, &[&address, "in use"]);
    with("adapter.settings.listen").fails(1, &[&address, "in use"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_account_or_chain_is_refused() {
    let (anvil, contracts, home) = market().await;
    let mut daemon = home.start().await;
    // A second daemon on the same files.
    home.run(&["run"]).fails(1, &["agentd.db", "in use by another process"]);
    assert!(daemon.terminate(crate::support::LONG).await.unwrap().success());

    let other = crate::home();
    other.init(&anvil, &contracts, 2);
    fs::copy(home.file("agentd.db"), other.file("agentd.db")).unwrap();
    other.run(&["run"]).fails(1, &["belongs to", "database"]);
    drop(anvil);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_commands_say_so() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let home = home();
    home.init(&anvil, &contracts, 1);
    let port = privatix_testkit::free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let ask = |arguments: &[&str]| home.run(&[&["--api-url", &url], arguments].concat());
    for command in [&["status"][..], &["health"], &["jobs", "list"], &["deposit", "5"]] {
        ask(command).fails(3, &["no daemon answers at", &url, "refused"]);
    }
    home.run(&["--api-url", "nonsense", "status"]).fails(2, &["no address of a control API"]);
    assert_eq!(home.run(&["deposit", "1.5"]).code, Some(2), "amounts are base units");
    assert_eq!(home.run(&["channels", "show", "0x12"]).code, Some(2));
}
