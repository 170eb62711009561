//! A running daemon, asked through its control API and its command line.

use privatix_testkit::{Anvil, Fault, FaultProxy, Rule, Script, wait_for};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::market;
use crate::support::{Home, LONG, read};

const UNKNOWN: &str = "0x0101010101010101010101010101010101010101010101010101010101010101";

fn http() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// Asks the API without our own client.
async fn post(home: &Home, body: Value) -> (StatusCode, Value) {
    let request = http().post(home.url()).header(CONTENT_TYPE, "application/json").body(body.to_string());
    let answer = request.bearer_auth(home.token()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn error(home: &Home, method: &str, params: Value) -> Value {
    let (status, answer) =
        post(home, json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await;
    assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!(7)), "{answer}");
    answer["error"].clone()
}

/// The first line of the answer to a request that declares a body of `bytes` and sends none of it. The server answers before it
/// reads a body that is too large and hangs up, which a program that goes on sending sees as a broken pipe.
async fn answer_to_declared(home: &Home, bytes: usize) -> String {
    let address = home.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {bytes}\r\n\r\n",
        home.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    tokio::io::BufReader::new(stream).read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_token_and_knows_the_host_is_answered() {
    let (_anvil, _, home) = market().await;
    let _daemon = home.start().await;
    let (url, http) = (home.url(), http());
    let call = || {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "node_status"}).to_string();
        http.post(&url).header(CONTENT_TYPE, "application/json").body(body)
    };

    let missing = call().send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(missing.headers()["www-authenticate"], "Bearer");
    assert!(missing.text().await.unwrap().contains("API token file"));
    for wrong in ["Bearer 0000", "Basic abc", "Bearer"] {
        let answer = call().header(AUTHORIZATION, wrong).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let rebound = call().bearer_auth(home.token()).header(HOST, "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), StatusCode::FORBIDDEN);
    let right = call().bearer_auth(home.token()).send().await.unwrap();
    assert_eq!(right.status(), StatusCode::OK);
    assert!(!right.headers().contains_key("access-control-allow-origin"));
    // What a web page can send without asking first.
    let form = http.post(&url).header(CONTENT_TYPE, "text/plain").body("{}").bearer_auth(home.token());
    assert!(form.send().await.unwrap().status().is_client_error());

    let health = http.get(format!("{url}/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    let metrics = http.get(format!("{url}/metrics"));
    assert_eq!(metrics.try_clone().unwrap().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let figures_only = read(&home.file("metrics.token"));
    let by_collector = metrics.try_clone().unwrap().bearer_auth(&figures_only).send().await.unwrap();
    assert_eq!(by_collector.status(), StatusCode::OK);
    assert_eq!(call().bearer_auth(figures_only).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let metrics = metrics.bearer_auth(home.token()).send().await.unwrap().text().await.unwrap();
    for line in ["privatix_ready 1", "privatix_chain_processed_block ", "privatix_jobs_failed 0"] {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }

    std::fs::write(home.file("other.token"), "not the token of this daemon").unwrap();
    let other = home.file("other.token");
    let refused = home.run(&["--api-token-file", other.to_str().unwrap(), "status"]);
    refused.fails(3, &["does not accept the API token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_stable_code_and_the_parameter_s_name() {
    let (_anvil, _, home) = market().await;
    let _daemon = home.start().await;

    for (method, params, code, says) in [
        ("node_teleport", json!({}), "", "Method not found"),
        ("node_deposit", json!({}), "invalid_params", "missing field `amount`"),
        ("node_deposit", json!({"amount": 5}), "invalid_params", "`amount`"),
        ("node_deposit", json!({"amount": "0"}), "invalid_params", "`amount`"),
        ("node_deposit", json!({"amount": "5", "account": "x"}), "invalid_params", "`account`"),
        ("node_deposit", json!(["5"]), "invalid_params", "by name"),
        ("channels_get", json!({"channel": "0x12"}), "invalid_params", "`channel`"),
        ("channels_get", json!({ "channel": UNKNOWN }), "not_found", UNKNOWN),
        ("channels_pause", json!({ "channel": UNKNOWN }), "not_found", UNKNOWN),
        ("channels_close", json!({ "channel": UNKNOWN }), "not_found", UNKNOWN),
        ("offerings_publish", json!({ "offering": UNKNOWN }), "not_found", UNKNOWN),
        ("offerings_create", json!({"draft": {"supply": 1}}), "invalid_params", "`draft`"),
        ("jobs_get", json!({"job": 99}), "not_found", "99"),
        ("jobs_cancel", json!({"job": 99}), "not_found", "99"),
        ("transactions_get", json!({"transaction": 99}), "not_found", "99"),
    ] {
        let error = error(&home, method, params.clone()).await;
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{method} {params}: {error}");
        if !code.is_empty() {
            assert_eq!(error["data"]["code"], code, "{method} {params}: {error}");
        }
    }
    for method in privatix_api::node::METHODS.iter().chain(privatix_api::agent::METHODS) {
        let error = error(&home, method, json!({"nonsense": 1})).await;
        assert_eq!(error["data"]["code"], "invalid_params", "{method}: {error}");
    }
    let (_, answer) = post(&home, json!({"id": 1, "method": "node_status"})).await;
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert_eq!(answer_to_declared(&home, 2 << 20).await, "HTTP/1.1 413 Payload Too Large");

    // The same through the command line.
    home.run(&["channels", "show", UNKNOWN]).fails(4, &["no channel", UNKNOWN, "channels"]);
    home.run(&["jobs", "show", "99"]).fails(4, &["no job 99"]);
    home.run(&["offerings", "show", UNKNOWN]).fails(4, &["no offering", UNKNOWN]);
    let draft = home.file("draft.json");
    std::fs::write(&draft, "{\"supply\": \"many\"}").unwrap();
    home.run(&["offerings", "create", draft.to_str().unwrap()])
        .fails(2, &["draft.json", "--template-example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_deposits_publishes_and_withdraws() {
    let (anvil, contracts, home) = market().await;
    let mut daemon = home.start().await;

    let status = home.ask(&["status"]);
    assert_eq!(status["role"], "agent");
    assert_eq!(status["contract"], json!(contracts.contract));
    assert_eq!(status["health"]["ready"], true);
    home.run(&["status"]).succeeds();
    home.run(&["health"]).succeeds();

    // Too little for the stake: the order waits, and nothing is sent.
    let example = home.plain(&["offerings", "create", "--template-example"], "");
    let draft = home.file("draft.json");
    std::fs::write(&draft, &example.succeeds().stdout).unwrap();
    let created = home.ask(&["offerings", "create", draft.to_str().unwrap()]);
    let offering = created["hash"].as_str().unwrap();
    assert_eq!((&created["status"], &created["minDeposit"]), (&json!("draft"), &json!("100000")));
    home.run(&["offerings", "publish", offering, "--wait"]).fails(1, &["1000000", "deposit"]);
    assert_eq!(home.ask(&["transactions", "list"]), json!([]));
    let waits = home.ask(&["offerings", "show", offering]);
    assert_eq!(
        (&waits["progress"]["pending"], &waits["progress"]["needsOperator"]),
        (&json!(true), &json!(true))
    );
    // The order is taken back: otherwise the deposit would be its stake at once.
    assert_eq!(home.ask(&["offerings", "remove", offering])["progress"]["pending"], false);

    let deposited = home.ask(&["deposit", "2500000", "--wait"]);
    assert_eq!(deposited["job"]["status"], "done");
    assert_eq!(deposited["transactions"][0]["status"], "mined");
    let balances = home.ask(&["balances"]);
    assert_eq!(balances["contract"], "2500000");
    let there = contracts.internal_balance(&anvil, anvil.account(1)).await.unwrap();
    assert_eq!(there, 2_500_000_u128.into());

    let published = home.ask(&["offerings", "publish", offering, "--wait"]);
    assert_eq!(published["status"], "registered");
    let again = home.run(&["offerings", "publish", offering, "--wait"]);
    again.succeeds(); // it is so already
    let scheduled = home.ask(&["offerings", "popup", offering, "--every", "24h"]);
    assert_eq!(scheduled["progress"]["popUpEverySeconds"], 86_400);
    let scheduled = home.ask(&["offerings", "popup", offering, "--every", "never"]);
    assert_eq!(scheduled["progress"]["popUpEverySeconds"], json!(null));
    assert_eq!(home.ask(&["balances"])["contract"], "1500000", "the stake is locked");
    let listed = home.ask(&["offerings", "list"]);
    assert_eq!(listed[0]["message"]["serviceName"], "Fast proxy");
    home.run(&["offerings", "list"]).succeeds();
    home.run(&["offerings", "show", offering]).succeeds();
    assert_eq!(home.ask(&["offerings", "templates"])[0]["name"], "Proxy");

    home.ask(&["withdraw", "500000", "--wait"]);
    assert_eq!(home.ask(&["balances"])["contract"], "1000000");
    home.run(&["withdraw", "999999999", "--wait"]).fails(1, &["withdrawal", "1000000"]);

    let jobs = home.ask(&["jobs", "list", "--status", "failed"]);
    let failed = jobs["jobs"][0]["id"].to_string();
    assert!(home.run(&["jobs", "show", &failed]).succeeds().stdout.contains("withdraw"));
    home.run(&["jobs", "cancel", &failed]).fails(4, &["cannot", &failed]);
    home.run(&["jobs", "list", "--limit", "1"]).succeeds();
    home.run(&["jobs", "reactivate", &failed]).succeeds();
    let transactions = home.ask(&["transactions", "list", "--kind", "register_offering"]);
    let id = transactions[0]["id"].to_string();
    assert_eq!(home.ask(&["transactions", "show", &id])["transaction"]["subject"], offering);
    home.run(&["transactions", "bump", &id]).fails(4, &["only a sent one"]);
    home.run(&["transactions", "list"]).succeeds();
    assert_eq!(home.ask(&["channels", "list"]), json!([]));

    // Without waiting, the order is a job.
    let order = home.ask(&["deposit", "1"]);
    let job = order["job"].to_string();
    wait_for("the job's end", LONG, async || {
        let status = home.ask(&["jobs", "show", &job])["job"]["status"].clone();
        if status == "done" { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();

    // What takes too long goes on without us.
    anvil.set_automine(false).await.unwrap();
    let waited = home.run(&["deposit", "1", "--wait", "--timeout", "1s"]);
    waited.fails(5, &["is not over after 1s", "jobs show"]);
    anvil.set_automine(true).await.unwrap();
    anvil.mine(1).await.unwrap();

    // A clean end, and everything is there afterwards.
    assert!(daemon.terminate(LONG).await.unwrap().success());
    assert!(daemon.log().contains("agentd has ended"), "{}", daemon.log());
    let _daemon = home.start().await;
    // It listens on another port now, so the offering is announced again.
    let status = home.ask(&["offerings", "show", offering])["status"].clone();
    assert!(["registered", "popping_up", "popped_up"].iter().any(|it| status == *it), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_outlives_its_endpoint_and_says_that_it_is_not_ready() {
    let (mut anvil, _, home) = market().await;
    let mut daemon = home.start().await;
    anvil.process().pause().unwrap();
    anvil.process().kill().unwrap();
    let said = wait_for("not ready", LONG, async || {
        let health = home.run(&["--json", "health"]);
        if health.code == Some(1) { Ok(health) } else { Err(health.stdout) }
    });
    let said = said.await.unwrap();
    let health: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(health["ready"], false);
    assert_eq!(health["reasons"][0]["part"], "chain_monitor");
    assert!(health["reasons"][0]["message"].as_str().unwrap().contains("unreachable"), "{health}");
    let answer = http().get(format!("{}/health", home.url())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    home.run(&["balances"]).fails(4, &["chain"]);
    assert!(daemon.try_exit().unwrap().is_none(), "{}", daemon.log());
    // Nothing that it logged is a secret.
    let log = daemon.log();
    let password = crate::support::read(&home.file("password"));
    assert!(!log.contains(&home.token()) && !log.contains(&password));
    assert!(daemon.terminate(LONG).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_without_an_endpoint_is_unavailable_until_one_answers() {
    let (anvil, _, mut home) = market().await;
    let proxy = FaultProxy::scripted(anvil.url(), Script(vec![Rule::new([], Fault::Cut)])).await.unwrap();
    home.set("CHAIN__ENDPOINT", &proxy.url());
    let mut daemon = home.builder().spawn().unwrap();
    wait_for("the answer of a daemon that starts", LONG, async || {
        let status = home.run(&["status"]);
        if status.stderr.contains("waits for a chain endpoint") { Ok(()) } else { Err(status.stderr) }
    })
    .await
    .unwrap();
    let live = http().get(format!("{}/health/live", home.url())).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
    proxy.honest();
    daemon.wait_healthy(&format!("{}/health", home.url()), LONG).await.unwrap();
    home.run(&["status"]).succeeds();
    assert!(daemon.terminate(LONG).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_when_wished_for() {
    let (_anvil, _, mut home) = market().await;
    home.set("LOG__FORMAT", "json");
    let mut daemon = home.start().await;
    assert!(daemon.terminate(LONG).await.unwrap().success());
    let log = daemon.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(
        lines.iter().any(|line| line["message"] == "agentd starts" && line["account"].is_string()),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_head_is_told_by_health_status_metrics_and_to_who_gives_orders() {
    // The node stopped a day ago, on a chain of a block a second.
    let day = 24 * 60 * 60;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let anvil = Anvil::builder().arg("--timestamp").arg((now - day).to_string()).start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    anvil.mine(40).await.unwrap();
    let home = crate::home();
    home.init(&anvil, &contracts, 1);
    let _daemon = home.start().await;

    let warned = wait_for("the warning", LONG, async || {
        let health = home.ask(&["health"]);
        let warnings = health["warnings"].as_array().unwrap();
        warnings.iter().find(|warning| warning["part"] == "chain_head").cloned().ok_or(health.to_string())
    });
    let warned = warned.await.unwrap()["message"].as_str().unwrap().to_owned();
    assert!(warned.contains("hours old") && warned.contains("clock"), "{warned}");
    let chain = home.ask(&["status"])["chain"].clone();
    assert_eq!(chain["freshness"], "late");
    assert!(chain["headAge"].as_u64().unwrap() > day - 600, "{chain}");
    let order = home.ask(&["deposit", "1"]);
    assert!(order["warning"].as_str().unwrap().contains("hours old"), "{order}");
    let metrics = http().get(format!("{}/metrics", home.url())).bearer_auth(home.token());
    let page = metrics.send().await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse::<u64>().unwrap()
    };
    assert!(value("privatix_chain_head_age_seconds") > day - 600);
    assert!(value("privatix_chain_head_timestamp_seconds") < now - day + 600);

    // Once the next block is overdue, nobody doubts any more.
    let stale = wait_for("not ready", LONG, async || {
        let health = home.run(&["--json", "health"]);
        if health.code == Some(1) { Ok(health) } else { Err(health.stdout) }
    });
    let stale: Value = serde_json::from_str(&stale.await.unwrap().stdout).unwrap();
    assert_eq!(stale["reasons"][0]["part"], "chain_head");
    assert!(stale["reasons"][0]["message"].as_str().unwrap().contains("use another endpoint"), "{stale}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_without_the_token_keeps_nobody_with_it_from_the_api() {
    let (_anvil, _, home) = market().await;
    let _daemon = home.start().await;
    let address = home.url().replace("http://", "");
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut stranger = tokio::net::TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            let question = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stranger.write_all(question.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stranger.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
        crowd.push(stranger); // and stays
    }
    home.run(&["status"]).succeeds();
    // Nor are those that have shown it closed for the crowd's sake.
    let client = http();
    let ask = || {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "node_status"}).to_string();
        client.post(home.url()).header(CONTENT_TYPE, "application/json").body(body).bearer_auth(home.token())
    };
    assert_eq!(ask().send().await.unwrap().status(), StatusCode::OK);
    for _ in 0..100 {
        crowd.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    assert_eq!(ask().send().await.unwrap().status(), StatusCode::OK);
}

/// Has the program run under a limit of open files.
fn limit_open_files(home: &mut Home, limit: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let script = home.folder.with_file_name("limited.sh");
    let program = home.program.display();
    std::fs::write(&script, format!("#!/bin/sh\nulimit {limit} && exec \"{program}\" \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.program = script;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_low_a_limit_of_open_files_ends_the_start() {
    let (_anvil, _, mut home) = market().await;
    limit_open_files(&mut home, "-n 512");
    home.run(&["run"]).fails(1, &["RLIMIT_NOFILE", "is 512", "ulimit -n", "LimitNOFILE="]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_open_files_is_raised_and_what_it_does_not_allow_is_told() {
    let (_anvil, _, mut home) = market().await;
    // The hard limit, then the soft one.
    limit_open_files(&mut home, "-n 2000 && ulimit -Sn 256");
    let daemon = home.start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("2000"), "{open_files}");
    let health: Value =
        http().get(format!("{}/health", home.url())).send().await.unwrap().json().await.unwrap();
    let warnings = health["warnings"].to_string();
    for text in ["open_files", "RLIMIT_NOFILE) is 2000", "somc.max_connections 308 instead of 4096"] {
        assert!(warnings.contains(text), "{text:?} is not in {health}");
    }
    assert!(daemon.log().contains("allows fewer connections than configured"), "{}", daemon.log());
}

/// The health page with this name: its status and its body.
async fn health_page(home: &Home, name: &str) -> (StatusCode, Value) {
    let page = http().get(format!("{}/health{name}", home.url())).bearer_auth(home.token());
    let answer = page.send().await.unwrap();
    let status = answer.status();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

fn check<'a>(health: &'a Value, name: &str) -> &'a Value {
    health["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_not_money_safe_and_is_named() {
    let (_anvil, _, home) = market().await;
    // A process that is refused to write a byte more, as on a full disk; the signal that comes with it is not its own.
    let wrapper = home.file("without-xfsz");
    std::fs::write(&wrapper, "#!/bin/sh\ntrap '' XFSZ\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let daemon = home.start_as(home.builder_in(wrapper.to_str().unwrap())).await;
    let money_is = |expected: StatusCode| {
        let home = &home;
        wait_for("the answer about money", LONG, async move || {
            let (status, health) = health_page(home, "/money").await;
            if status == expected { Ok(health) } else { Err(health.to_string()) }
        })
    };
    let good = money_is(StatusCode::OK).await.unwrap();
    assert_eq!(
        (&good["live"], &good["ready"], &good["moneySafe"]),
        (&json!(true), &json!(true), &json!(true))
    );
    home.run(&["health", "--of", "money"]).succeeds();

    let limit = |limit: &str| {
        let pid = format!("--pid={}", daemon.pid());
        let set = std::process::Command::new("prlimit")
            .args([&pid, &format!("--fsize={limit}:unlimited")])
            .status();
        assert!(set.unwrap().success());
    };
    limit("1");
    let full = money_is(StatusCode::SERVICE_UNAVAILABLE).await.unwrap();
    assert_eq!(check(&full, "disk")["state"], "bad");
    assert!(check(&full, "disk")["message"].as_str().unwrap().contains("takes no commits"), "{full}");
    assert_eq!(health_page(&home, "/live").await.0, StatusCode::OK);
    home.run(&["health", "--of", "money"]).fails(1, &["money is not safe", "takes no commits"]);
    let metrics = http().get(format!("{}/metrics", home.url())).bearer_auth(home.token());
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    for line in ["privatix_money_safe 0", "privatix_check{name=\"disk\",state=\"bad\"} 1", "privatix_live 1"]
    {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }

    limit("unlimited");
    money_is(StatusCode::OK).await.unwrap();
}
