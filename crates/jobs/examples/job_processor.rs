//! A bakery that survives being pulled the plug, on nothing but a job processor and a table of its own.
//!
//! An order is a job; baking it writes into the oven's book and pushes the job of delivering it, both in the transaction
//! in which the order is marked done. In the middle of the work the processor is dropped, which is to it as if the power
//! had failed, and another one goes on. In the end every order was baked once and delivered once, each customer's in the
//! order of their asking.
//!
//! Run it with `cargo run -p privatix-jobs --example job_processor`.
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use privatix_db::{Conn, Database, on};
use privatix_jobs::{
    Backoff, Done, Duplicates, Filter, Handler, Job, JobContext, JobError, JobStatus, OrRetry as _, Policy,
    Processor, PushOptions, Pushed,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// "Bake this for her."
#[derive(Serialize, Deserialize)]
struct BreadOrder {
    customer: String,
    number: u32,
    bread: String,
}

impl Job for BreadOrder {
    const KIND: &'static str = "order";

    /// One customer's orders are baked one after another; different customers' side by side.
    fn subject(&self) -> String {
        self.customer.clone()
    }

    /// The same order pushed twice while it waits is one order.
    fn key(&self) -> String {
        self.number.to_string()
    }

    fn policy() -> Policy {
        let backoff = Backoff::exponential(Duration::from_millis(5), Duration::from_millis(50));
        Policy::default().tries(5).backoff(backoff).duplicates(Duplicates::RefusedWhilePending)
    }
}

/// "Bring it to her."
#[derive(Serialize, Deserialize)]
struct Deliver {
    customer: String,
    number: u32,
}

impl Job for Deliver {
    const KIND: &'static str = "deliver";
    fn subject(&self) -> String {
        format!("cart of {}", self.customer)
    }
}

struct Bakery {
    /// Reports each delivery.
    delivered: mpsc::UnboundedSender<u32>,
}

#[async_trait]
impl Handler<BreadOrder> for Bakery {
    async fn run(&self, order: &BreadOrder, cx: JobContext) -> Result<Done, JobError> {
        if order.bread == "gold" {
            return Err(JobError::fail("nobody can bake gold")); // trying again would not help
        }
        if order.number.is_multiple_of(5) && cx.try_number() == 1 {
            return Err(JobError::retry("the oven went out")); // this may
        }
        let mut completion = cx.finish().await?; // from here on in the transaction in which the job is done
        write_down(&mut completion, "baked", &order.customer, order.number).await.or_retry()?;
        completion.push(&Deliver { customer: order.customer.clone(), number: order.number }).await?;
        Ok(completion.commit().await?)
    }
}

#[async_trait]
impl Handler<Deliver> for Bakery {
    async fn run(&self, delivery: &Deliver, cx: JobContext) -> Result<Done, JobError> {
        let mut completion = cx.finish().await?;
        write_down(&mut completion, "delivered", &delivery.customer, delivery.number).await.or_retry()?;
        let done = completion.commit().await?;
        let _ = self.delivered.send(delivery.number); // nobody listens after the power cut
        Ok(done)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let orders = 60;

    let db = open(&dir.path().join("bakery.db")).await?;
    take_orders(&db, orders).await?;

    // The first day ends with a power cut after a few deliveries.
    let (processor, mut delivered) = bakery(&db)?;
    let running = tokio::spawn(processor.run(CancellationToken::new()));
    for _ in 0..10 {
        delivered.recv().await.ok_or("the processor ended")?;
    }
    running.abort();
    let _ = running.await;
    println!("power cut!");

    // The second day goes on where the first ended.
    println!("{} jobs are still open", open_jobs(&db).await?);
    let (processor, mut delivered) = bakery(&db)?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(processor.run(shutdown.clone()));
    while open_jobs(&db).await? > 0 {
        tokio::select! {
            number = delivered.recv() => drop(number.ok_or("the processor ended")?),
            () = tokio::time::sleep(Duration::from_millis(20)) => {} // the order of gold is delivered to nobody
        }
    }
    shutdown.cancel();
    running.await??;

    check(&db, orders).await?;
    Ok(())
}

fn bakery(db: &Database) -> Result<(Processor, mpsc::UnboundedReceiver<u32>), Box<dyn Error>> {
    let (tell, delivered) = mpsc::unbounded_channel();
    let bakery = Arc::new(Bakery { delivered: tell });
    let processor = Processor::builder(db.clone())
        .register::<BreadOrder, _>(Arc::clone(&bakery))
        .register::<Deliver, _>(bakery)
        .workers(4)
        .build()?;
    Ok((processor, delivered))
}

async fn open(path: &Path) -> Result<Database, Box<dyn Error>> {
    let db = Database::open(path, &[privatix_jobs::MIGRATIONS]).await?;
    let mut tx = db.begin().await?;
    // No unique key: a loaf that was baked twice shall show.
    let book = "CREATE TABLE IF NOT EXISTS book (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
                what TEXT NOT NULL, customer TEXT NOT NULL, number INTEGER NOT NULL)";
    on!(&mut *tx, |c| c.batch_execute(book).await)?;
    tx.commit().await?;
    Ok(db)
}

async fn take_orders(db: &Database, orders: u32) -> Result<(), Box<dyn Error>> {
    let customers = ["Ada", "Grace", "Hedy"];
    let mut tx = db.begin().await?; // all of them or none
    for (number, customer) in (0..orders).zip(customers.into_iter().cycle()) {
        let bread = if number == 31 { "gold" } else { "rye" };
        let order = BreadOrder { customer: customer.into(), number, bread: bread.into() };
        let first = privatix_jobs::push(&mut tx, &order, PushOptions::by("counter")).await?;
        let again = privatix_jobs::push(&mut tx, &order, PushOptions::by("a nervous customer")).await?;
        if again != Pushed::Duplicate(first.id()) {
            return Err("an order was taken twice".into());
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn open_jobs(db: &Database) -> Result<usize, Box<dyn Error>> {
    let mut conn = db.read().await?;
    let mut open = 0;
    for status in [JobStatus::Waiting, JobStatus::Running] {
        open += privatix_jobs::list(&mut conn, &Filter::new().status(status).limit(1_000)).await?.jobs.len();
    }
    Ok(open)
}

/// Fails unless every order but that of gold was baked once and delivered once, each customer's in turn.
async fn check(db: &Database, orders: u32) -> Result<(), Box<dyn Error>> {
    let mut conn = db.read().await?;
    let failed = privatix_jobs::list(&mut conn, &Filter::new().status(JobStatus::Failed)).await?.jobs;
    let [gold] = &failed[..] else { return Err(format!("{} jobs failed", failed.len()).into()) };
    let failure = gold.failure.as_ref().ok_or("a failed job without a failure")?;
    println!("job {} of {} failed: {}", gold.id, gold.subject, failure.message);

    for customer in ["Ada", "Grace", "Hedy"] {
        for what in ["baked", "delivered"] {
            let found: Vec<i32> = on!(&mut *conn, |c| book::table
                .filter(book::what.eq(what))
                .filter(book::customer.eq(customer))
                .order(book::id)
                .select(book::number)
                .load(c)
                .await)?;
            let first = ["Ada", "Grace", "Hedy"].iter().position(|name| *name == customer).unwrap_or(0);
            let wanted: Vec<i32> =
                (0..i32::try_from(orders)?).skip(first).step_by(3).filter(|number| *number != 31).collect();
            if found != wanted {
                return Err(format!("{customer}: {what} {found:?} instead of {wanted:?}").into());
            }
        }
    }
    let mut tx = db.begin().await?;
    let pruned = privatix_jobs::prune(&mut tx, SystemTime::now(), 1_000).await?;
    tx.commit().await?;
    println!("everything else was baked once and delivered once, in order; {pruned} jobs tidied away");
    Ok(())
}

mod schema {
    diesel::table! {
        book (id) { id -> BigInt, what -> Text, customer -> Text, number -> Integer, }
    }
}
use schema::book;

async fn write_down(
    conn: &mut Conn,
    what: &str,
    customer: &str,
    number: u32,
) -> Result<(), diesel::result::Error> {
    let row = (
        book::what.eq(what),
        book::customer.eq(customer),
        book::number.eq(i32::try_from(number).unwrap_or(i32::MAX)),
    );
    on!(conn, |c| diesel::insert_into(book::table).values(row).execute(c).await)?;
    Ok(())
}
