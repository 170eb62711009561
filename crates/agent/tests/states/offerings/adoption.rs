//! Own offerings of a database of a version that stored no states of them.

use std::collections::BTreeMap;

use alloy::primitives::{B256, hex};
use privatix_agent::{ChangeOffering, OfferingAction, OfferingAdoption};
use privatix_chain::Intent;
use privatix_channel::{ChainEvent, ChainTime, LogPosition, OfferingEvent, OfferingStatus};
use privatix_db::Conn;
use privatix_jobs::{Filter, Job as _, JobStatus};
use privatix_market::offering::{OfferingPurpose, Wanted};
use privatix_market::{Purpose, Stage, Subject};
use privatix_store::events::{self, Place};
use privatix_store::offerings;
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_testkit::temp_dir;

use super::{World, announcement, hash, published, row};
use crate::support::{AGENT, domain, key};

/// An offering as an earlier version had it.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    status: OfferingStatus,
    job: Option<OfferingAction>,
    /// Whether its transaction is open.
    sent: bool,
}

impl Earlier {
    fn all() -> Vec<Self> {
        use OfferingStatus::{Draft, PoppedUp, PoppingUp, Registered, Registering, Removed, Removing};
        let mut all = Vec::new();
        for status in [Draft, Registering, Registered, PoppingUp, PoppedUp, Removing, Removed] {
            for job in [
                None,
                Some(OfferingAction::Publish),
                Some(OfferingAction::PopUp),
                Some(OfferingAction::Remove),
            ] {
                all.push(Self { status, job, sent: false });
                if matches!(status, Registering | PoppingUp | Removing) {
                    all.push(Self { status, job, sent: true });
                }
            }
        }
        all
    }

    fn purpose(self) -> OfferingPurpose {
        match self.status {
            OfferingStatus::Registering => OfferingPurpose::Publish,
            OfferingStatus::PoppingUp => OfferingPurpose::PopUp,
            _ => OfferingPurpose::Remove,
        }
    }

    fn wanted(self) -> Wanted {
        use OfferingStatus::{Draft, Removed, Removing};
        match (self.job, self.status) {
            (Some(OfferingAction::Remove), _) => Wanted::Removed,
            (Some(OfferingAction::Publish), _) => Wanted::OnMarket,
            (_, Draft) => Wanted::AsShown,
            (_, Removing | Removed) => Wanted::Removed,
            _ => Wanted::OnMarket,
        }
    }

    async fn store(self, world: &World, conn: &mut Conn, n: u8) {
        use OfferingStatus::{Draft, PoppedUp, PoppingUp, Registered, Registering, Removed};
        offerings::insert_draft(conn, &row(n, Draft)).await.unwrap();
        let block = 100 + u64::from(n) * 10;
        let again = OfferingEvent::PoppedUp(announcement("here"));
        let events = match self.status {
            Draft | Registering => vec![],
            Registered | PoppingUp | OfferingStatus::Removing => vec![published()],
            PoppedUp => vec![published(), again],
            Removed => vec![published(), OfferingEvent::Removed],
        };
        for (block, event) in (block..).zip(events) {
            let (agent, offering, block_time) = (AGENT, hash(n), Some(ChainTime::new(block)));
            let event = ChainEvent::Offering { agent, offering, block_time, event };
            let place = Place { at: LogPosition::new(block, 0), tx: B256::repeat_byte(1) };
            events::record(conn, place, &event).await.unwrap();
            offerings::advance_all(conn, &[(place, event)]).await.unwrap();
        }
        set_status(conn, n, self.status).await;
        if self.sent {
            let subject = Subject::Offering(AGENT, hash(n));
            let effect = purposes::next_effect(conn, subject).await.unwrap();
            let intent = Intent::new(format!("change {n}"), key().address(), domain().contract(), Vec::new());
            let id = world.transacts.transactor.submit(conn, intent).await.unwrap();
            let purpose = self.purpose().into();
            let (tx, from_wallet, job, in_batch) = (TxNumber(id.0), false, None, false);
            let recorded = Recorded { tx, effect, purpose, from_wallet, job, in_batch };
            purposes::record(conn, &recorded).await.unwrap();
        }
        if let Some(action) = self.job {
            let job = ChangeOffering { offering: hash(n), action };
            privatix_node::push(conn, &job, "test").await.unwrap();
        }
    }
}

/// As versions without states wrote it.
async fn set_status(conn: &mut Conn, n: u8, status: OfferingStatus) {
    use diesel_async::SimpleAsyncConnection as _;
    let sql = format!(
        "UPDATE offerings SET status = '{}' WHERE agent = x'{}' AND hash = x'{}'",
        status.as_str(),
        hex::encode(AGENT),
        hex::encode(hash(n).as_b256())
    );
    privatix_db::on!(conn, |c| c.batch_execute(&sql).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offering_of_each_status_and_pending_job_is_adopted_without_loss_or_a_second_effect() {
    let dir = temp_dir().unwrap();
    let world = World::new(&dir.path().join("agent.db")).await;
    let fixtures: BTreeMap<u8, Earlier> = (1..).zip(Earlier::all()).collect();
    let mut tx = world.db.begin().await.unwrap();
    for (n, fixture) in &fixtures {
        fixture.store(&world, &mut tx, *n).await;
    }
    // Nothing is known of the offering of this one.
    let lost = ChangeOffering { offering: hash(250), action: OfferingAction::Remove };
    privatix_node::push(&mut tx, &lost, "test").await.unwrap();
    tx.commit().await.unwrap();
    world.at_second(10_000);

    let transactor = &world.transacts.transactor;
    let adoption = OfferingAdoption { db: &world.db, transactor, agent: AGENT };
    assert_eq!(adoption.run().await.unwrap(), fixtures.len());
    assert_eq!(adoption.run().await.unwrap(), 0);
    let waiting = Filter::new().kind(ChangeOffering::KIND).status(JobStatus::Waiting);
    let pending = privatix_jobs::list(&mut world.db.read().await.unwrap(), &waiting).await.unwrap();
    assert_eq!(pending.jobs.len(), 0);

    for (n, fixture) in &fixtures {
        let own = world.own(*n).await;
        assert_eq!((own.wanted, own.pop_up_every), (fixture.wanted(), None), "{fixture:?}");
        let stages: Vec<_> =
            own.flights.iter().map(|flight| (flight.seq, flight.purpose, flight.stage)).collect();
        let open = (1, fixture.purpose(), Stage::Sent { batch: false });
        assert_eq!(stages, if fixture.sent { vec![open] } else { vec![] }, "{fixture:?}");
        world.look(*n).await;
        // What is under way for the same is not sent again, and what is wanted is under way.
        let sent = world.sent(*n).await;
        let is_removed = fixture.status == OfferingStatus::Removed;
        let on_market = !matches!(fixture.status, OfferingStatus::Draft | OfferingStatus::Registering);
        let pops_up = fixture.job == Some(OfferingAction::PopUp)
            || (fixture.sent && fixture.status == OfferingStatus::PoppingUp);
        let wanted = match (on_market, fixture.wanted()) {
            _ if is_removed => None,
            (false, Wanted::OnMarket) => Some(Purpose::Publish),
            (true, Wanted::Removed) => Some(Purpose::Remove),
            (true, Wanted::OnMarket) if pops_up => Some(Purpose::PopUp),
            _ => None,
        };
        let mut expected: Vec<Purpose> = fixture.sent.then(|| fixture.purpose().into()).into_iter().collect();
        expected.extend(wanted.filter(|wanted| !expected.contains(wanted)));
        assert_eq!(sent.iter().map(|(_, purpose)| *purpose).collect::<Vec<_>>(), expected, "{fixture:?}");
    }
}
