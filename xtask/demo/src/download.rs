//! Downloads through the bought proxy, every byte checked.

use std::time::Duration;

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use privatix_api::node;
use privatix_testkit::{FileServer, PatternCheck};

use crate::Result;
use crate::daemon::Daemon;
use crate::market::Deal;

/// Downloads the file with a progress bar that shows the payments too.
pub async fn watch(files: &FileServer, client: &Daemon, deal: &Deal) -> Result<()> {
    let bar = ProgressBar::new(files.size());
    bar.set_style(ProgressStyle::with_template(
        "    {bar:32} {bytes:>11} of {total_bytes}  {bytes_per_sec:>12}  {msg}",
    )?);
    let get = node::GetChannel { channel: deal.channel };
    let payments = async {
        loop {
            if let Ok(seen) = client.call(&get).await {
                bar.set_message(format!("{} vouchers, {} paid", seen.channel.vouchers, seen.channel.paid));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (url, proxy) = (files.url(), format!("socks5h://127.0.0.1:{}", deal.port));
    let got = tokio::select! {
        got = fetch(&url, &proxy, |bytes| bar.set_position(bytes)) => got?,
        () = payments => 0,
    };
    bar.finish();
    if got != files.size() {
        return Err(format!("{got} of {} bytes came", files.size()).into());
    }
    println!("    {got} bytes over SOCKS5, every one right");
    Ok(())
}

/// Downloads without a word; gives the bytes.
pub async fn quietly(url: &str, proxy: &str) -> Result<u64> {
    fetch(url, proxy, |_| ()).await
}

async fn fetch(url: &str, proxy: &str, progress: impl Fn(u64)) -> Result<u64> {
    let client = reqwest::Client::builder().proxy(reqwest::Proxy::all(proxy)?).build()?;
    let mut body = client.get(url).send().await?.error_for_status()?.bytes_stream();
    let mut check = PatternCheck::default();
    while let Some(piece) = body.next().await {
        check.update(&piece?)?;
        progress(check.len());
    }
    Ok(check.len())
}
