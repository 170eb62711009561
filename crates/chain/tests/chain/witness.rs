//! Endpoints that lie, found out by others.

use alloy::primitives::{Address, B256};
use privatix_chain::{Endpoints, Evidence, MonitorState, Standing};
use privatix_testkit::{Anvil, Fault, FaultProxy, Rule, Script};

use crate::support::{
    POLL, Running, Seen, Verdict, emit, emitter, fresh, http, monitor, settled, synced, within,
};

fn of(proxies: &[&FaultProxy]) -> Endpoints {
    let all: Vec<_> = proxies.iter().map(|proxy| http(&proxy.url())).collect();
    Endpoints::new(all[0].clone(), all[1..].iter().cloned())
}

/// Leaves out all logs from block `from` on, consistently.
fn omitting(from: u64) -> Script {
    let fault = Fault::OmitLogs { from, to: None, topic: None, receipts: true, bloom: true };
    Script(vec![Rule::new([], fault)])
}

async fn proxies<const N: usize>(anvil: &Anvil) -> [FaultProxy; N] {
    let all = futures::future::join_all((0..N).map(|_| FaultProxy::start(anvil.url()))).await;
    let all: Vec<FaultProxy> = all.into_iter().map(Result::unwrap).collect();
    all.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_omitted_log_is_found_and_its_endpoint_quarantined() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    for liar in 0..2 {
        let (_dir, db) = fresh().await;
        let proxies = proxies::<3>(&anvil).await;
        let endpoints = of(&[&proxies[0], &proxies[1], &proxies[2]]);
        let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        let before = Seen::rows(&db).await.len();
        let block = anvil.block_number().await.unwrap() + 1;
        proxies[liar].script(omitting(block));
        assert_eq!(emit(&anvil, contract, b"hidden").await, block);
        synced(&monitor, &anvil, 0).await;
        assert_eq!(Seen::payloads(&db).await[before..], ["hidden"], "liar {liar}");
        let standings = endpoints.status();
        let Standing::Quarantined { evidence, .. } = &standings[liar].standing else {
            panic!("{standings:?}");
        };
        assert!(
            matches!(evidence, Evidence::OtherLogs { block: found, .. } if *found == block),
            "{evidence}"
        );
        let others = standings.iter().enumerate().filter(|(at, _)| *at != liar);
        assert!(others.into_iter().all(|(_, other)| other.standing == Standing::Good), "{standings:?}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_omission_far_below_the_head_is_found_too() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"long ago").await;
    anvil.mine(300).await.unwrap();
    let (_dir, db) = fresh().await;
    let [liar, second, third] = proxies(&anvil).await;
    liar.script(omitting(0));
    let monitor = monitor(&db, of(&[&liar, &second, &third]), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["long ago"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_disagree_make_the_view_stale() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [liar, honest] = proxies(&anvil).await;
    let monitor = monitor(&db, of(&[&liar, &honest]), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    emit(&anvil, contract, b"seen by both").await;
    synced(&monitor, &anvil, 0).await;
    let block = anvil.block_number().await.unwrap() + 1;
    liar.script(omitting(block));
    emit(&anvil, contract, b"hidden").await;
    let status = settled(&monitor, "the disagreement", |status| status.disagreement).await;
    let MonitorState::Stalled { reason, .. } = status.state else { panic!("{status:?}") };
    assert!(reason.contains(&format!("disagree about block {block}")), "{reason}");
    assert_eq!(status.processed, Some(block - 1), "nothing is guessed");

    liar.honest();
    synced(&monitor, &anvil, 0).await;
    settled(&monitor, "agreement", |status| !status.disagreement).await;
    assert_eq!(Seen::payloads(&db).await, ["seen by both", "hidden"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invented_log_convicts_its_endpoint_by_the_blocks_own_filter() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [liar, honest] = proxies(&anvil).await;
    let endpoints = of(&[&liar, &honest]);
    let block = anvil.block_number().await.unwrap() + 1;
    let invented = Fault::InventLog {
        block,
        address: Address::to_string(&contract).to_lowercase(),
        topics: vec![B256::repeat_byte(0x5a).to_string()],
        data: "0x7061796d656e74".to_owned(),
    };
    liar.script(Script(vec![Rule::new([], invented)]));
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    emit(&anvil, contract, b"real").await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["real"]);
    assert!(matches!(endpoints.status()[0].standing, Standing::Quarantined { .. }), "{endpoints:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_on_a_branch_of_its_own_undoes_nothing() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [liar, honest] = proxies(&anvil).await;
    let sink = Seen::default();
    let monitor = monitor(&db, of(&[&liar, &honest]), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    let first = emit(&anvil, contract, b"1").await;
    synced(&monitor, &anvil, 0).await;
    liar.script(Script(vec![Rule::new([], Fault::OtherFork { from: first })]));
    for payload in ["2", "3"] {
        emit(&anvil, contract, payload.as_bytes()).await;
        let head = anvil.block_number().await.unwrap();
        settled(&monitor, "the event", |status| status.processed == Some(head)).await;
    }
    assert!(sink.rollbacks().is_empty());
    assert_eq!(Seen::payloads(&db).await, ["1", "2", "3"]);
    running.stop().await.unwrap();
}

/// The endpoint claims this head, whatever it has.
fn claiming(head: u64) -> Rule {
    Rule::new(["eth_blockNumber"], Fault::Result(format!("{head:#x}").into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_claimed_too_high_switches_no_check_off() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    for far in [4, 1_000_000] {
        let (_dir, db) = fresh().await;
        let [liar, honest, third] = proxies(&anvil).await;
        let endpoints = of(&[&liar, &honest, &third]);
        let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        let before = Seen::rows(&db).await.len();
        let block = anvil.block_number().await.unwrap() + 1;
        let Script(mut rules) = omitting(block);
        rules.push(claiming(block + far));
        liar.script(Script(rules));
        assert_eq!(emit(&anvil, contract, b"hidden").await, block);
        settled(&monitor, "the event", |status| status.processed == Some(block)).await;
        assert_eq!(Seen::payloads(&db).await[before..], ["hidden"], "{far} ahead");
        let standings = endpoints.status();
        assert!(matches!(standings[0].standing, Standing::Quarantined { .. }), "{standings:?}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_claimed_too_high_does_not_make_others_seem_behind() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [honest, liar] = proxies(&anvil).await;
    let head = anvil.block_number().await.unwrap();
    liar.script(Script(vec![claiming(head + 1_000_000)]));
    let endpoints = of(&[&honest, &liar]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    for payload in ["1", "2", "3"] {
        emit(&anvil, contract, payload.as_bytes()).await;
        synced(&monitor, &anvil, 0).await;
    }
    // Heads are looked at again whenever all is processed.
    let looks = liar.count("eth_blockNumber");
    let looked = async {
        while liar.count("eth_blockNumber") < looks + 5 {
            tokio::time::sleep(POLL).await;
        }
    };
    within("five looks at heads", looked).await;
    // A claim that is not believed costs it nothing: it goes on checking what the other one gives.
    assert!(endpoints.status().iter().all(|one| one.standing == Standing::Good), "{endpoints:?}");
    assert_eq!(monitor.status().borrow().head, anvil.block_number().await.ok());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_endpoint_that_is_far_behind_still_checks_what_it_has() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"long ago").await;
    anvil.mine(50).await.unwrap();
    let (_dir, db) = fresh().await;
    let [liar, behind, third] = proxies(&anvil).await;
    liar.script(omitting(0));
    for proxy in [&behind, &third] {
        proxy.script(Script(vec![Rule::new([], Fault::Lag { blocks: 20 })]));
    }
    let endpoints = of(&[&liar, &behind, &third]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    settled(&monitor, "the event", |status| status.processed >= Some(30)).await;
    assert_eq!(Seen::payloads(&db).await, ["long ago"]);
    assert!(matches!(endpoints.status()[0].standing, Standing::Quarantined { .. }), "{endpoints:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_endpoint_that_calls_one_block_too_large_rests_and_holds_nothing_up() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [first, second] = proxies(&anvil).await;
    let limit = Fault::Error { code: -32_005, message: "limit exceeded".to_owned(), data: None };
    let methods = ["eth_getLogs", "eth_getBlockReceipts", "eth_getBlockByHash", "eth_getTransactionReceipt"];
    second.script(Script(vec![Rule::new(methods, limit)]));
    let endpoints = of(&[&first, &second]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    for payload in ["1", "2", "3"] {
        emit(&anvil, contract, payload.as_bytes()).await;
        synced(&monitor, &anvil, 0).await;
    }
    assert_eq!(Seen::payloads(&db).await, ["1", "2", "3"]);
    let asked = second.count("eth_getLogs");
    assert!(asked < 60, "it was asked {asked} times");
    assert_eq!(endpoints.status()[0].standing, Standing::Good);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_of_one_endpoint_with_a_lower_head_undoes_nothing_either() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [liar, honest] = proxies(&anvil).await;
    let sink = Seen::default();
    let monitor = monitor(&db, of(&[&liar, &honest]), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    let first = emit(&anvil, contract, b"1").await;
    anvil.mine(5).await.unwrap();
    synced(&monitor, &anvil, 0).await;
    let lower = claiming(first + 3);
    liar.script(Script(vec![lower, Rule::new([], Fault::OtherFork { from: first })]));
    for payload in ["2", "3"] {
        let block = emit(&anvil, contract, payload.as_bytes()).await;
        settled(&monitor, "the event", |status| status.processed == Some(block)).await;
    }
    assert!(sink.rollbacks().is_empty(), "{:?}", sink.rollbacks());
    assert_eq!(Seen::payloads(&db).await, ["1", "2", "3"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_by_one_endpoints_word_alone_count_once_another_one_checks_again() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [first, second] = proxies(&anvil).await;
    let monitor = monitor(&db, of(&[&first, &second]), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    let unchecked = || monitor.status().borrow().unchecked;
    assert_eq!(unchecked(), 0);
    second.script(Script(vec![Rule::new([], Fault::Cut)]));
    for payload in ["1", "2", "3"] {
        emit(&anvil, contract, payload.as_bytes()).await;
        synced(&monitor, &anvil, 0).await;
    }
    assert_eq!(unchecked(), 0, "nobody could say more yet");

    second.honest();
    let returned = async {
        while unchecked() == 0 {
            emit(&anvil, contract, b"then").await;
            synced(&monitor, &anvil, 0).await;
        }
    };
    within("its return", returned).await;
    assert!(unchecked() >= 3);
    let after = unchecked();
    emit(&anvil, contract, b"checked").await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(unchecked(), after);
    running.stop().await.unwrap();
}

/// The endpoint changes each log that it gives.
fn each_log(proxy: &FaultProxy, change: fn(&mut serde_json::Value)) {
    proxy.rule(move |method, _| match method {
        "eth_getLogs" => Verdict::Change(Box::new(move |mut logs| {
            logs.as_array_mut().unwrap().iter_mut().for_each(change);
            logs
        })),
        _ => Verdict::Forward,
    });
}

/// A log that is a second younger than its block.
fn shifted(log: &mut serde_json::Value) {
    let time = log["blockTimestamp"].as_str().unwrap().trim_start_matches("0x").to_owned();
    let later = u64::from_str_radix(&time, 16).unwrap() + 1;
    log["blockTimestamp"] = format!("{later:#x}").into();
}

/// A log as nodes give it that do not put the time into it.
fn undated(log: &mut serde_json::Value) {
    log.as_object_mut().unwrap().remove("blockTimestamp");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shifted_time_is_found_by_an_endpoint_that_puts_no_times_into_logs() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"long ago").await;
    anvil.mine(200).await.unwrap();
    for liar in 0..2 {
        let (_dir, db) = fresh().await;
        let proxies = proxies::<2>(&anvil).await;
        each_log(&proxies[liar], shifted);
        each_log(&proxies[1 - liar], undated);
        let endpoints = of(&[&proxies[0], &proxies[1]]);
        let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        assert_eq!(Seen::payloads(&db).await, ["long ago"]);
        let standings = endpoints.status();
        assert!(matches!(standings[liar].standing, Standing::Quarantined { .. }), "{standings:?}");
        assert_eq!(standings[1 - liar].standing, Standing::Good);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_endpoints_of_one_software_that_shifts_the_times_of_logs_are_both_believed() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"before").await;
    emit(&anvil, contract, b"last").await;
    let (_dir, db) = fresh().await;
    let proxies = proxies::<2>(&anvil).await;
    for proxy in &proxies {
        each_log(proxy, shifted);
    }
    let endpoints = of(&[&proxies[0], &proxies[1]]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["before", "last"]);
    let standings = endpoints.status();
    assert!(standings.iter().all(|one| one.standing == Standing::Good), "{standings:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_shifts_the_times_of_headers_is_left_out_although_its_logs_bear_the_right_ones() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [liar, honest] = proxies(&anvil).await;
    liar.rule(|method, _| match method {
        "eth_getBlockByNumber" => Verdict::Change(Box::new(|mut block| {
            let time = block["timestamp"].as_str().unwrap().trim_start_matches("0x").to_owned();
            let later = u64::from_str_radix(&time, 16).unwrap() + 1;
            block["timestamp"] = format!("{later:#x}").into();
            block
        })),
        _ => Verdict::Forward,
    });
    let endpoints = of(&[&liar, &honest]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    emit(&anvil, contract, b"just now").await;
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["just now"]);
    assert!(matches!(endpoints.status()[0].standing, Standing::Quarantined { .. }), "{endpoints:?}");
    assert_eq!(endpoints.status()[1].standing, Standing::Good);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_shifts_the_time_of_an_old_log_is_left_out() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"long ago").await;
    // So far below the head that no header is asked for.
    anvil.mine(200).await.unwrap();
    let (_dir, db) = fresh().await;
    let [liar, honest] = proxies(&anvil).await;
    each_log(&liar, shifted);
    let endpoints = of(&[&liar, &honest]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["long ago"]);
    assert!(matches!(endpoints.status()[0].standing, Standing::Quarantined { .. }), "{endpoints:?}");
    assert_eq!(endpoints.status()[1].standing, Standing::Good);
    running.stop().await.unwrap();
}
