//! The daemons as processes, killed like by a power cut while traffic flows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use privatix_api::node::GetChannel;
use privatix_channel::ChannelId;
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::statement::{Snapshot, Statement};
use privatix_demo::{LIMIT, download, market};
use privatix_testkit::{FileServer, wait_for};

/// Where cargo puts the daemons: beside the folder of this test.
fn bins() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).map(Path::to_owned).unwrap()
}

async fn vouchers(client: &Daemon, channel: ChannelId) -> u64 {
    client.call(&GetChannel { channel }).await.unwrap().channel.vouchers
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_are_killed_while_traffic_flows_lose_no_payment() {
    let chain = market::Chain::start().await.unwrap();
    let mut agent = Daemon::init(&bins(), "agentd", &chain, &Messages::Direct).await.unwrap();
    let mut client = Daemon::init(&bins(), "clientd", &chain, &Messages::Direct).await.unwrap();
    chain.fund(agent.account).await.unwrap();
    chain.fund(client.account).await.unwrap();
    chain.mine_every_second().await.unwrap();
    agent.start().await.unwrap();
    client.start().await.unwrap();
    let before = Snapshot::take(&chain, &agent, &client).await.unwrap();
    // A download that dies leaves bytes in the buffers between the two meters: the agent has counted them, the client never
    // will. The lag is what the agent bears of such things; this one outlasts all the crashes below.
    let mut draft = market::draft(512);
    draft["terms"]["maxBillingUnitLag"] = (64 * 1024).into();
    let offering = market::publish(&agent, draft).await.unwrap();
    let terms = market::discover(&client, offering).await.unwrap();
    let mut deal = market::buy(&agent, &client, offering).await.unwrap();
    let channel = deal.channel;
    // More than will ever come.
    let files = FileServer::start_mib(2048).await.unwrap();

    for kill_agent in [true, false, true, false] {
        let (url, proxy) = (files.url(), format!("socks5h://127.0.0.1:{}", deal.port));
        let traffic = tokio::spawn(async move { download::quietly(&url, &proxy).await });
        let seen = vouchers(&client, channel).await;
        wait_for("payments to flow", LIMIT, async || {
            let now = vouchers(&client, channel).await;
            if now > seen + 2 { Ok(()) } else { Err(format!("{now} vouchers, {seen} before")) }
        })
        .await
        .unwrap();
        let acknowledged = client.call(&GetChannel { channel }).await.unwrap().channel.acknowledged;
        let daemon = if kill_agent { &mut agent } else { &mut client };
        daemon.kill().unwrap();
        daemon.start().await.unwrap();
        assert!(traffic.await.unwrap().is_err(), "the whole file came before the crash");
        deal = market::served(&agent, &client, channel).await.unwrap();
        let held = agent.call(&GetChannel { channel }).await.unwrap().channel.paid;
        assert!(held >= acknowledged, "the agent acknowledged {acknowledged} and holds {held}");
    }

    let proxy = format!("http://127.0.0.1:{}", deal.port);
    assert_eq!(download::quietly(&files.bytes_url(1 << 20), &proxy).await.unwrap(), 1 << 20);
    // Each side forgot a little usage that it had not reported; every payment is there.
    let (sold, bought) = wait_for("the last payment", LIMIT, async || {
        let sold = agent.call(&GetChannel { channel }).await.unwrap().channel;
        let bought = client.call(&GetChannel { channel }).await.unwrap().channel;
        let settled = bought.paid == privatix_billing::price(&terms, bought.used);
        if settled && sold.paid == bought.paid && bought.acknowledged == bought.paid {
            Ok((sold, bought))
        } else {
            Err(format!("{sold:?}, {bought:?}"))
        }
    })
    .await
    .unwrap();
    market::close(&agent, &client, &deal).await.unwrap();
    let after = Snapshot::take(&chain, &agent, &client).await.unwrap();
    let statement = Statement { before, after, sold, bought, terms, downloaded: 0 };
    statement.check_chain().unwrap();
    client.stop().await.unwrap();
    agent.stop().await.unwrap();
}
