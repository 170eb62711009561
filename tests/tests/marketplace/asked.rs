//! What the decisions of a client ask of a real agent.

use std::sync::Arc;

use diesel_async::SimpleAsyncConnection as _;
use privatix_channel::{Amount, ServiceState, Usage, Voucher, sign_voucher};
use privatix_client::{Agents as _, ClientSettings, Heard, NodeAgents, Unheard};
use privatix_db::on;
use privatix_somc::DirectTransport;
use privatix_store::offerings;

use crate::market::{Market, by_the_kib, direct};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gives_access_terms_and_receipts_for_a_channel() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (channel, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let node = client.handle.node().clone();
    client.stop().await; // it would send vouchers of its own

    let transport = Arc::new(DirectTransport::anywhere());
    let agents =
        |settings: &ClientSettings| NodeAgents::new(&node, transport.clone(), transport.clone(), settings);
    let reached = agents(&direct());
    let stored = node.channel(channel).await.unwrap().channel;
    let of = stored.descriptor;
    assert_eq!(Some(reached.access(&of).await.unwrap().access), stored.access);
    reached.ping(&of).await.unwrap();

    let known = reached.terms(&of).await.unwrap();
    let mut tx = node.db().begin().await.unwrap();
    let forget = format!("UPDATE offerings SET message = NULL WHERE hash = x'{:x}'", offering.as_b256());
    on!(&mut *tx, |c| c.batch_execute(&forget).await).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reached.terms(&of).await.unwrap(), known, "asked for again");
    let found = offerings::get(&mut node.db().read().await.unwrap(), of.agent, offering).await.unwrap();
    assert!(found.message.is_some());

    let voucher = |cumulative| {
        let voucher = Voucher { channel, cumulative: Amount::new(cumulative) };
        sign_voucher(node.signer(), node.domain(), voucher).unwrap()
    };
    let stands = async |voucher| match reached.pay(&of, voucher, Usage::new(7)).await.unwrap() {
        Heard::Stands(stands) => *stands,
        other @ Heard::Acknowledged(_) => panic!("not in a session: {other:?}"),
    };
    let best = voucher(5_000);
    for what in ["the first time", "again"] {
        let paid = stands(best).await;
        assert_eq!((paid.acknowledged, paid.signed), (best.cumulative(), None), "{what}");
        let view = paid.carried.view.unwrap().view;
        assert_eq!((view.service, view.reason), (ServiceState::Running, None), "{what}");
    }
    let stale = stands(voucher(4_000)).await;
    assert_eq!((stale.acknowledged, stale.signed), (best.cumulative(), Some(best)), "what this side signed");
    let known = reached.attach(&of).await.unwrap().unwrap();
    assert_eq!((known.acknowledged, known.signed), (best.cumulative(), Some(best)));
    assert_eq!(known.carried.best.map(|best| best.cumulative()), Some(best.cumulative()));
    assert_eq!(agent.handle.client_used(channel).await.unwrap(), Some(Usage::new(7)));

    // By default, only onion services are contacted.
    let strict = agents(&ClientSettings::default());
    for _ in 0..2 {
        let refused = strict.ping(&of).await.unwrap_err();
        assert!(matches!(&refused, Unheard::NotPermitted(_)), "{refused}");
        assert!(node.notices().all().iter().any(|(part, _)| *part == "contact"));
    }
    strict.closed(channel);
    assert!(!node.notices().all().iter().any(|(part, _)| *part == "contact"));

    agent.stop().await;
    let refused = reached.ping(&of).await.unwrap_err();
    assert!(matches!(&refused, Unheard::Silent(_)), "{refused}");
}
