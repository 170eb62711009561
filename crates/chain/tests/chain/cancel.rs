//! What is cancelled is never mined, or is reported as mined.

use alloy::primitives::{Address, U256};
use privatix_chain::{Cancelled, ChainError, Fate, Finality, Intent, Transactor, TxChange, TxId, TxStatus};
use privatix_db::Database;
use privatix_testkit::{Anvil, wait_until};

use crate::support::{
    FaultProxy, Outcomes, PATIENCE, Running, Verdict, ended, fresh, http, submit, transactor, until,
};

fn target(n: usize) -> Address {
    Address::from_word(U256::from((n << 8) + 1).into())
}

fn gift(anvil: &Anvil, n: usize) -> Intent {
    Intent::new(format!("gift {n}"), anvil.account(1), target(n), Vec::new()).value(1)
}

async fn cancel(db: &Database, transactor: &Transactor, id: TxId) -> Result<Cancelled, ChainError> {
    let mut tx = db.begin().await.unwrap();
    let cancelled = transactor.cancel(&mut tx, id).await?;
    tx.commit().await.unwrap();
    transactor.wake();
    Ok(cancelled.committed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_signed_is_cancelled_at_once_and_what_is_over_not_at_all() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default());
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    assert_eq!(cancel(&db, &transactor, id).await.unwrap(), Cancelled::Done);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Cancelled, None)]);
    let refusal = cancel(&db, &transactor, id).await.unwrap_err();
    assert!(matches!(refusal, ChainError::NotOpen { status: TxStatus::Cancelled, .. }), "{refusal}");
    let running = Running::transactor(&transactor);
    let next = submit(&db, &transactor, gift(&anvil, 2)).await;
    assert_eq!(ended(&db, &transactor, next).await.nonce, Some(0));
    assert_eq!(anvil.balance(target(1)).await.unwrap(), U256::ZERO);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nonce_of_a_cancelled_intent_goes_to_the_next_one() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default());
    anvil.set_automine(false).await.unwrap();
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    running.stop().await.unwrap();
    assert_eq!(cancel(&db, &transactor, id).await.unwrap(), Cancelled::Requested);
    let next = submit(&db, &transactor, gift(&anvil, 2)).await;
    let running = Running::transactor(&transactor);
    until(&db, &transactor, next, "its signature", |record| record.nonce == Some(0)).await;
    wait_until("its broadcast", PATIENCE, async || {
        let attempts = transactor.attempts(&mut db.read().await.unwrap(), next).await.unwrap();
        attempts.iter().any(|attempt| attempt.fate == Fate::Held)
    })
    .await
    .unwrap();
    over(&anvil, &db, &transactor, id).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Cancelled);
    assert_eq!(ended(&db, &transactor, next).await.status, TxStatus::Mined);
    assert_eq!(anvil.balance(target(1)).await.unwrap(), U256::ZERO);
    assert_eq!(anvil.balance(target(2)).await.unwrap(), U256::from(1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_in_its_block_stays_there_or_is_never_mined_again() {
    use TxChange::{Cancelled as Withdrawn, Final, Mined, Reinstated};
    // Confirmations of a transaction; whether it has them when it is cancelled; whether its block stays.
    for (confirmations, stays, expected) in [
        (0, true, &[Mined, Final][..]),
        (0, false, &[Mined, Reinstated, Withdrawn][..]),
        (2, true, &[Mined, Final][..]),
        (2, false, &[Withdrawn][..]),
    ] {
        let anvil = Anvil::start().await.unwrap();
        let (_dir, db) = fresh().await;
        let sink = Outcomes::default();
        let transactor = transactor(&db, http(anvil.url()), &anvil)
            .confirmations(confirmations)
            .finality(Finality::Depth(4))
            .build(sink.clone());
        anvil.mine(3).await.unwrap();
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil, 1)).await;
        until(&db, &transactor, id, "its block", |record| record.inclusion.is_some()).await;
        if confirmations == 0 {
            ended(&db, &transactor, id).await;
        }
        anvil.set_automine(false).await.unwrap();
        assert_eq!(cancel(&db, &transactor, id).await.unwrap(), Cancelled::IfTakenBack);
        assert_eq!(cancel(&db, &transactor, id).await.unwrap(), Cancelled::IfTakenBack, "once more");
        if !stays {
            anvil.reorg(1).await.unwrap();
            until(&db, &transactor, id, "the loss of its block", |record| record.inclusion.is_none()).await;
        }
        wait_until("the end", PATIENCE, async || {
            anvil.mine(1).await.unwrap();
            sink.changes().len() == expected.len()
        })
        .await
        .unwrap();
        let changes: Vec<_> = sink.changes().into_iter().map(|(_, change)| change).collect();
        assert_eq!(changes, expected, "{confirmations} {stays}");
        let got = anvil.balance(target(1)).await.unwrap();
        assert_eq!(got, U256::from(u8::from(stays)), "{confirmations} {stays}");
        let refusal = cancel(&db, &transactor, id).await.unwrap_err();
        assert!(matches!(refusal, ChainError::NotOpen { .. }), "{refusal}");
        running.stop().await.unwrap();
    }
}

/// Mines until an intent is over.
async fn over(anvil: &Anvil, db: &Database, transactor: &Transactor, id: TxId) {
    wait_until("the end", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        !transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().status.is_open()
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_intent_is_never_mined_later_wherever_the_transactor_is_killed() {
    let anvil = Anvil::start().await.unwrap();
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let (mut kills, mut cancelled) = (0, 0);
    for at in 1.. {
        let (_dir, db) = fresh().await;
        proxy.honest();
        let first_life = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
        let running = Running::transactor(&first_life);
        let id = submit(&db, &first_life, gift(&anvil, at)).await;
        until(&db, &first_life, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
        running.stop().await.unwrap();
        assert_eq!(cancel(&db, &first_life, id).await.unwrap(), Cancelled::Requested);

        let silenced = proxy.silenced();
        let mut asked = 0;
        proxy.rule(move |_, _| {
            asked += 1;
            if asked < at { Verdict::Forward } else { Verdict::ForwardThenSilence }
        });
        let second_life = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
        let running = Running::transactor(&second_life);
        let is_open =
            async || second_life.get(&mut db.read().await.unwrap(), id).await.unwrap().status.is_open();
        let broadcasts = proxy.count("eth_sendRawTransaction");
        wait_until("a kill or the end", PATIENCE, async || {
            // The original is not mined before something is sent in its place.
            if proxy.count("eth_sendRawTransaction") > broadcasts {
                anvil.mine(1).await.unwrap();
            }
            proxy.silenced() > silenced || !is_open().await
        })
        .await
        .unwrap();
        let ended_by_itself = !is_open().await;
        running.kill().await;
        if !ended_by_itself {
            kills += 1;
            proxy.honest();
            let running = Running::transactor(&second_life);
            over(&anvil, &db, &second_life, id).await;
            running.stop().await.unwrap();
        }
        let record = ended(&db, &second_life, id).await;
        let got = anvil.balance(target(at)).await.unwrap();
        match record.status {
            TxStatus::Cancelled => {
                cancelled += 1;
                assert_eq!(got, U256::ZERO, "killed at request {at}");
            }
            // The block came before the replacement.
            TxStatus::Mined => assert_eq!(got, U256::from(1), "killed at request {at}"),
            status => panic!("{status}"),
        }
        assert_eq!(Outcomes::rows(&db).await, [(id, record.status, None)], "killed at request {at}");
        if ended_by_itself {
            break;
        }
    }
    assert!(kills > 12 && cancelled > 0, "only {kills} kills, {cancelled} cancelled");
}
