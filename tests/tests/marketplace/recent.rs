//! What a new client sees of the market first.

use std::sync::Arc;

use privatix_client::Filter;
use privatix_contracts::topics;
use privatix_testkit::{FaultProxy, Verdict};
use tokio::sync::Notify;

use crate::market::{Market, available, by_the_kib, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offerings_of_today_are_listed_before_those_of_yesterday() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let of_yesterday = publish(&market, &agent.handle, by_the_kib()).await;
    let announced = market.anvil.block_number().await.unwrap();
    market.anvil.mine(1_200).await.unwrap();
    let of_today = publish(&market, &agent.handle, by_the_kib()).await;

    let proxy = FaultProxy::start(market.anvil.url()).await.unwrap();
    let released = Arc::new(Notify::new());
    let registered = topics::OFFERING[0].to_string();
    let wait = Arc::clone(&released);
    proxy.rule(move |method, params| {
        let from = params[0]["fromBlock"].as_str().unwrap_or_default();
        let from = u64::from_str_radix(from.trim_start_matches("0x"), 16);
        let is_old = from.is_ok_and(|from| from <= announced) && params.to_string().contains(&registered);
        if method == "eth_getLogs" && is_old {
            Verdict::ForwardAfter(Arc::clone(&wait))
        } else {
            Verdict::Forward
        }
    });
    let client = market.client_at(&proxy.url()).await;
    available(&client.handle, of_today).await;
    let found = client.handle.browse(&Filter::default(), 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|listing| listing.offering.hash).collect();
    assert_eq!(found, [of_today], "blocks of yesterday are still being searched");

    released.notify_one();
    available(&client.handle, of_yesterday).await;
    let found = client.handle.browse(&Filter::default(), 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|listing| listing.offering.hash).collect();
    assert_eq!(found, [of_today, of_yesterday]);
    client.stop().await;
    agent.stop().await;
}
