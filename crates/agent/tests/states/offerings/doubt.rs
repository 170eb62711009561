//! What is relied on of the contract where endpoints contradict each other.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_endpoint_shows_alone_is_given_up_once_another_one_contradicts() {
    let contradicted = || NodeError::EndpointsDisagree {
        contract: domain().contract(),
        what: "periods of offerings",
        first: "liar".into(),
        second: "other".into(),
    };
    let sure = view(100);
    let alone = ContractView { periods: Agreed::Alone(sure.periods.for_now()), ..sure };
    for (shown, sent) in [(sure, 1), (alone, 0)] {
        let dir = temp_dir().unwrap();
        let world = World::new(&dir.path().join("agent.db")).await;
        world.draft(1).await;
        world.own.learn(shown);
        world.own.doubt(&contradicted());
        world.order(1, OfferingOrder::Publish).await.unwrap();
        assert_eq!(world.sent(1).await.len(), sent, "{shown:?}");
        // They agree again.
        world.own.learn(sure);
        world.look(1).await;
        assert_eq!(world.sent(1).await, [(1, Purpose::Publish)], "{shown:?}");
    }
}
