//! Agent and client over real parts: a node, databases on disk, sockets, the proxy plug-in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod adopted;
mod asked;
mod away;
mod batched;
mod better;
mod clocks;
mod contact;
mod damaged;
mod decided;
mod fork;
mod gas;
mod hostile;
mod market;
mod money;
mod omitted;
mod operator;
mod ordered;
mod prepaid;
mod privacy;
mod purposes;
mod python;
mod recent;
mod rescue;
mod restored;
mod stuck;
mod tokens;
mod underfunded;
mod undone;
mod unseen;
mod unused;
mod vouchers;
mod whole;
mod wire;

use futures::StreamExt;
use privatix_testkit::PatternCheck;

/// Downloads through a proxy, checks every byte, and tells how many came before the end or an error.
async fn download_some(url: &str, proxy: &str) -> Result<u64, u64> {
    let client = reqwest::Client::builder().proxy(reqwest::Proxy::all(proxy).unwrap()).build().unwrap();
    let mut check = PatternCheck::default();
    let Ok(response) = client.get(url).send().await else { return Err(0) };
    let mut body = response.error_for_status().unwrap().bytes_stream();
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else { return Err(check.len()) };
        check.update(&piece).unwrap();
    }
    Ok(check.len())
}

async fn download(url: &str, proxy: &str) -> u64 {
    download_some(url, proxy).await.unwrap()
}
