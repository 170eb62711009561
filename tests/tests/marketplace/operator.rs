//! An agent whose daemon holds the operator's key only: it sells, and cannot touch the agent's money.

use privatix_agent::{AgentHandle, OfferingOrder};
use privatix_channel::{Amount, ChannelStatus, OfferingHash, Terms};
use privatix_contracts::call;
use privatix_jobs::{Filter, Job as _, JobStatus};
use privatix_node::{Deposit, Node, NodeError, Withdraw};
use privatix_testkit::wait_for;

use crate::market::{
    AGENT, CLIENT, LIMIT, Market, Running, available, by_the_kib, channel, publish, service,
};

const OPERATOR: usize = 4;
const SUCCESSOR: usize = 5;

async fn appoint(market: &Market, operator: Option<usize>) {
    let operator = operator.map(|index| market.anvil.account(index));
    market.anvil.send(AGENT, market.contracts.contract, &call::set_operator(operator)).await.unwrap();
}

/// Why the newest job of a kind failed.
async fn failure(node: &Node, kind: &str) -> String {
    wait_for(format!("a {kind} that fails"), LIMIT, async || {
        let filter = Filter::new().kind(kind).limit(1);
        let page = privatix_jobs::list(&mut node.db().read().await.unwrap(), &filter).await.unwrap();
        match page.jobs.first() {
            Some(job) if job.status == JobStatus::Failed => {
                Ok(job.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default())
            }
            job => Err(format!("{job:?}")),
        }
    })
    .await
    .unwrap()
}

/// What keeps an offering from being as it was ordered.
async fn problem(agent: &AgentHandle, offering: OfferingHash) -> String {
    wait_for("the problem of the offering", LIMIT, async || {
        let ours = agent.offerings(100).await.unwrap();
        let ours = ours.into_iter().find(|ours| ours.hash == offering).unwrap();
        ours.problem.clone().ok_or(format!("{ours:?}"))
    })
    .await
    .unwrap()
}

fn notice(agent: &Running<AgentHandle>) -> Option<String> {
    let notices = agent.handle.node().notices().all();
    notices.into_iter().find(|(part, _)| *part == "operator").map(|(_, said)| said)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sells_for_an_agent_whose_money_it_cannot_move() {
    let market = Market::new().await;
    let (agent_account, operator_account) = (market.anvil.account(AGENT), market.anvil.account(OPERATOR));
    let agent = market.operator(OPERATOR).await;
    let client = market.client().await;
    let node = agent.handle.node();
    assert_eq!((node.account(), node.sender()), (agent_account, operator_account));

    // Nobody has appointed it: clients would refuse what it signs, so nothing is announced.
    let said = wait_for("the notice", LIMIT, async || notice(&agent).ok_or("none")).await.unwrap();
    assert!(said.contains(&format!("operator appoint {operator_account}")), "{said}");
    let early = agent.handle.create_offering(by_the_kib()).await.unwrap().hash();
    agent.handle.change_offering(early, OfferingOrder::Publish).await.unwrap();
    let why = problem(&agent.handle, early).await;
    assert!(why.contains("have that operator appointed"), "{why}");
    agent.handle.change_offering(early, OfferingOrder::Remove).await.unwrap();

    appoint(&market, Some(OPERATOR)).await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    available(&client.handle, offering).await;
    let stake = market.contracts.internal_balance(&market.anvil, agent_account).await.unwrap();

    // The client asks the chain who may sign for the agent, for the offering and for the access.
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let paid = channel(node, "the set-up price to be paid", id, |view| !view.paid.is_zero()).await.paid;
    agent.handle.close(id).await.unwrap();
    channel(node, "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop).await;
    let earned = market.contracts.internal_balance(&market.anvil, agent_account).await.unwrap();
    assert!(earned >= stake.saturating_add(paid), "{earned} after {stake} and {paid}");
    let of_operator = market.contracts.internal_balance(&market.anvil, operator_account).await.unwrap();
    assert_eq!(of_operator, Amount::ZERO);

    // Whatever it is ordered to do, the agent's money stays.
    let own_wallet = Some(operator_account);
    node.enqueue(&Withdraw { amount: Amount::new(1), to: own_wallet }, "test").await.unwrap();
    node.enqueue(&Deposit { amount: Amount::new(1) }, "test").await.unwrap();
    for kind in [Withdraw::KIND, Deposit::KIND] {
        let why = failure(node, kind).await;
        assert!(why.contains("with the key of that account"), "{kind}: {why}");
    }
    let refused = agent.handle.appoint_operator(own_wallet).await;
    assert!(matches!(refused, Err(NodeError::NotForOperators { .. })), "{refused:?}");

    // It frees the place, too.
    market.anvil.warp(Terms::TEST.remove).await.unwrap();
    agent.handle.change_offering(offering, OfferingOrder::Remove).await.unwrap();
    removed(&agent.handle, offering).await;
    agent.stop().await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_replaced_can_do_nothing_and_its_successor_goes_on() {
    let market = Market::new().await;
    appoint(&market, Some(OPERATOR)).await;
    let first = market.operator(OPERATOR).await;
    let client = market.client().await;
    let offering = market.offer(&first.handle, &client.handle, by_the_kib()).await;
    assert_eq!(notice(&first), None);
    let draft = first.handle.create_offering(by_the_kib()).await.unwrap().hash();
    let (id, _) = market.buy(&first.handle, &client.handle, offering, None).await;

    appoint(&market, Some(SUCCESSOR)).await;
    first.handle.change_offering(draft, OfferingOrder::Publish).await.unwrap();
    let why = problem(&first.handle, draft).await;
    assert!(why.contains("does not show who signed it"), "{why}");
    first.stop().await;

    // The same database under the new key: the channel goes on, and the successor closes it.
    let second = market.operator(SUCCESSOR).await;
    service(second.handle.node(), id, "active").await;
    second.handle.close(id).await.unwrap();
    channel(second.handle.node(), "closed", id, |view| view.channel.status == ChannelStatus::ClosedCoop)
        .await;
    // What the client verified and kept stays good; what it fetches now needs the successor's signature.
    assert!(client.handle.node().offering(market.anvil.account(AGENT), offering).await.is_ok());
    let renewed = publish(&market, &second.handle, by_the_kib()).await;
    available(&client.handle, renewed).await;
    second.stop().await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_no_operator() {
    let market = Market::new().await;
    let refused = market.client_as_operator_of(CLIENT, OPERATOR).await.unwrap_err();
    assert!(refused.to_string().contains("only an agent can have an operator"), "{refused}");
}

async fn removed(agent: &AgentHandle, offering: OfferingHash) {
    wait_for("the removal", LIMIT, async || {
        let ours = agent.offerings(100).await.unwrap();
        let ours = ours.into_iter().find(|ours| ours.hash == offering).unwrap();
        if ours.status.as_str() == "removed" { Ok(()) } else { Err(ours.status.as_str()) }
    })
    .await
    .unwrap();
}
