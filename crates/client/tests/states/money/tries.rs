//! What becomes of an order when the tries of its job are over.

use super::*;

/// The newest job that provides money, and what became of an order, as of one moment.
async fn job_and_outcome(buyer: &Buyer, order: u64) -> (JobRecord, Option<Outcome>) {
    let mut read = buyer.db.begin().await.unwrap();
    let mut jobs = privatix_jobs::list(&mut read, &Filter::new().kind(Fund::KIND)).await.unwrap().jobs;
    let order = orders::get(&mut read, OrderId(order)).await.unwrap().unwrap();
    (jobs.remove(0), order.ended.map(|(outcome, _)| outcome))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_given_up_once_with_the_last_of_its_jobs_tries_across_restarts() {
    const TRIES: u32 = 20;
    for trouble in [Trouble::Funds, Trouble::Unpaid] {
        let mut buyer = Buyer::rich(100, 0).await;
        buyer.accept(0, 60).await.unwrap();
        buyer.until_sent(0).await;
        // What is there is promised to the first channel; or nobody answers how much it is.
        match trouble {
            Trouble::Funds => buyer.account.contract.store(50, SeqCst),
            _ => buyer.account.is_away.store(true, SeqCst),
        }
        buyer.accept(1, 40).await.unwrap();
        for tried in 1..=TRIES {
            wait_for("the end of a try", LONG, async || {
                let (job, outcome) = job_and_outcome(&buyer, 2).await;
                // The job fails and its channel's transaction is given up in one commit.
                assert_eq!(outcome, (job.status == JobStatus::Failed).then_some(failed(trouble)));
                if job.tries == tried { Ok(()) } else { Err(format!("{job:?}")) }
            })
            .await
            .unwrap();
            assert_eq!(buyer.outcome(2).await.is_some(), tried == TRIES, "{tried} tries");
            if tried == 7 {
                buyer.kill().await; // what was tried before counts
                buyer.run();
            }
            buyer.ahead.fetch_add(1_000, SeqCst); // longer than any pause
            buyer.jobs.wake();
        }
        let state = buyer.state(1).await;
        assert!(state.own.ending.is_some() && state.own.flights.is_empty(), "{state:?}");
        assert_eq!((buyer.sums(Scope::All).await, buyer.calls().await), ((60, 0), vec![("open", 60)]));
        // Nothing is left that would report it again.
        let failed = job_and_outcome(&buyer, 2).await.0;
        let mut tx = buyer.db.begin().await.unwrap();
        privatix_jobs::reactivate(&mut tx, failed.id).await.unwrap();
        tx.commit().await.unwrap();
        buyer.jobs.wake();
        wait_for("the end of the job", LONG, async || match job_and_outcome(&buyer, 2).await.0 {
            job if job.status == JobStatus::Done => Ok(()),
            job => Err(format!("{job:?}")),
        })
        .await
        .unwrap();
        assert_eq!((buyer.state(1).await, buyer.sums(Scope::All).await), (state, (60, 0)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_top_up_goes_on_when_the_tries_of_one_are_over() {
    let buyer = Buyer::rich(100, 0).await;
    buyer.open(0).await;
    buyer.account.is_away.store(true, SeqCst);
    buyer.top_up(0, 30, "first").await.unwrap();
    buyer.top_up(0, 40, "second").await.unwrap();
    wait_for("the first one's end", LONG, async || {
        buyer.ahead.fetch_add(1_000, SeqCst);
        buyer.jobs.wake();
        buyer.outcome(1).await.ok_or_else(|| "it is tried".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(buyer.outcome(1).await, Some(failed(Trouble::Unpaid)));
    buyer.account.is_away.store(false, SeqCst);
    wait_for("the second one's transaction", LONG, async || {
        buyer.ahead.fetch_add(1_000, SeqCst);
        buyer.jobs.wake();
        match buyer.calls().await[..] {
            [("top_up", 40)] => Ok(()),
            ref calls => Err(format!("{calls:?}")),
        }
    })
    .await
    .unwrap();
}
