//! Which blocks no reorg takes back.

use privatix_chain::TxChange::{Final, Mined};
use privatix_chain::{Endpoints, Finality, Intent, TxRecord};
use privatix_testkit::Anvil;
use serde_json::json;

use crate::support::{
    FaultProxy, Outcomes, Running, Verdict, ended, fresh, http, submit, transactor, until, within,
};

fn gift(anvil: &Anvil, n: u8) -> Intent {
    let to = alloy::primitives::Address::repeat_byte(n);
    Intent::new(format!("gift {n}"), anvil.account(1), to, Vec::new()).value(1)
}

/// The endpoint names this block when it is asked for the newest final one.
fn name(proxy: &FaultProxy, number: u64) {
    proxy.rule(move |method, params| match method {
        "eth_getBlockByNumber" if params[0] == "finalized" => Verdict::Change(Box::new(move |mut block| {
            block["number"] = json!(format!("{number:#x}"));
            block
        })),
        _ => Verdict::Forward,
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finality_tag_counts_up_to_the_head_and_does_not_fall() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine(3).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let name = |number: u64| name(&proxy, number);
    let sink = Outcomes::default();
    let transactor = transactor(&db, http(&proxy.url()), &anvil)
        .confirmations(2)
        .finality(Finality::Finalized)
        .build(sink.clone());
    let mut status = transactor.status();
    let mut head_is = async |head| {
        within("the head", status.wait_for(|status| status.head == Some(head))).await.unwrap();
    };
    let running = Running::transactor(&transactor);
    name(1_000);
    let first = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, first, "its block", |record| record.inclusion.is_some()).await;
    head_is(4).await;
    anvil.mine(1).await.unwrap();
    head_is(5).await;
    assert_eq!(sink.changes(), [], "named final, but not confirmed");

    name(0);
    anvil.mine(1).await.unwrap();
    let over = |record: &TxRecord| !record.watched;
    until(&db, &transactor, first, "its finality", over).await;
    assert_eq!(sink.changes(), [(first, Mined), (first, Final)]);

    let second = submit(&db, &transactor, gift(&anvil, 2)).await;
    until(&db, &transactor, second, "its block", |record| record.inclusion.is_some()).await;
    anvil.mine(3).await.unwrap();
    let record = ended(&db, &transactor, second).await;
    assert!(record.watched, "what was named above the head is forgotten");
    name(record.inclusion.unwrap().block);
    anvil.mine(1).await.unwrap();
    until(&db, &transactor, second, "its finality", over).await;
    assert_eq!(sink.changes()[2..], [(second, Mined), (second, Final)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_counts_up_to_the_lower_of_two_endpoints() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine(3).await.unwrap();
    let (_dir, db) = fresh().await;
    let [liar, honest] =
        [FaultProxy::start(anvil.url()).await.unwrap(), FaultProxy::start(anvil.url()).await.unwrap()];
    name(&liar, 1_000);
    name(&honest, 1);
    let sink = Outcomes::default();
    let endpoints = Endpoints::new(http(&liar.url()), [http(&honest.url())]);
    let transactor =
        transactor(&db, endpoints, &anvil).finality(Finality::Finalized).confirmations(1).build(sink.clone());
    let running = Running::transactor(&transactor);
    let gift = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, gift, "its block", |record| record.inclusion.is_some()).await;
    anvil.mine(2).await.unwrap();
    let record = ended(&db, &transactor, gift).await;
    assert!(record.watched, "only the liar names its block");
    name(&honest, record.inclusion.unwrap().block);
    anvil.mine(1).await.unwrap();
    until(&db, &transactor, gift, "its finality", |record| !record.watched).await;
    assert_eq!(sink.changes(), [(gift, Mined), (gift, Final)]);
    running.stop().await.unwrap();
}
