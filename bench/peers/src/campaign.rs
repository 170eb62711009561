//! SIGKILL, again and again.
//!
//! A life pushes jobs in tens, prints the number of the last one of each push that is on disk, and runs them; the handler
//! writes a row: ours in the transaction in which the job ends, theirs in one of its own, as it offers no other. The
//! process is killed at a random moment, and the next one goes on with the same database. At the end, a life that pushes
//! nothing runs what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::Connection as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::load::{Contender, Load};
use crate::{ours, theirs};

const WORKERS: usize = 8;
const A_PUSH: i64 = 10;
/// Numbers of a life's jobs are below the next life's.
const LIFE: i64 = 1_000_000;
/// When nothing has ended for this long, what is left is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills each contender `kills` times and prints what is missing and what was done twice.
pub async fn run(dir: &Path, kills: u32) {
    println!(
        "| {kills} kills each | jobs acknowledged | lost | done more than once |\n| --- | --- | --- | --- |"
    );
    for contender in [Contender::Ours, Contender::Hooked] {
        let home = tempfile::tempdir_in(dir).unwrap();
        let mut acknowledged = BTreeSet::new();
        for life in 0..i64::from(kills) {
            let first = life * LIFE;
            let wait = Duration::from_millis(rand::rng().random_range(20..300));
            let last = lived(contender, home.path(), first, wait).await;
            acknowledged.extend(first..=last);
        }
        let mut rest = started(contender, home.path(), None);
        assert!(rest.wait().await.unwrap().success(), "the last life has failed");
        let rows = rows(home.path()).await;
        let lost = acknowledged.iter().filter(|number| !rows.contains_key(number)).count();
        let twice = rows.values().filter(|rows| **rows > 1).count();
        println!("| {} | {} | {lost} | {twice} |", contender.name(), acknowledged.len());
    }
}

/// Starts a life, kills it a while after its first push, and gives the number of the last job whose push it acknowledged.
async fn lived(contender: Contender, dir: &Path, first: i64, wait: Duration) -> i64 {
    let mut life = started(contender, dir, Some(first));
    let mut lines = BufReader::new(life.stdout.take().unwrap()).lines();
    let mut last = first - 1;
    let mut read = |line: Option<String>| line.map(|line| last = line.parse().unwrap()).is_some();
    assert!(read(lines.next_line().await.unwrap()), "a life ended before its first push");
    let killed = tokio::time::sleep(wait);
    tokio::pin!(killed);
    loop {
        tokio::select! {
            () = &mut killed => break,
            line = lines.next_line() => assert!(read(line.unwrap()), "a life ended by itself"),
        }
    }
    life.kill().await.unwrap();
    while read(lines.next_line().await.unwrap()) {} // what it wrote before it died
    last
}

fn started(contender: Contender, dir: &Path, first: Option<i64>) -> tokio::process::Child {
    let name = if contender == Contender::Ours { "ours" } else { "hooked" };
    Command::new(std::env::current_exe().unwrap())
        .args(["--dir".as_ref(), dir.as_os_str(), "life".as_ref(), name.as_ref()])
        .args(first.map(|first| first.to_string()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn rows(dir: &Path) -> BTreeMap<i64, i64> {
    let url = format!("sqlite://{}", dir.join("jobs.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let query = "SELECT number, count(*) FROM effect GROUP BY number";
    sqlx::query_as::<_, (i64, i64)>(query).fetch_all(&mut conn).await.unwrap().into_iter().collect()
}

/// One process of the campaign.
pub async fn life(contender: Contender, dir: &Path, first: Option<i64>) {
    let file = dir.join("jobs.db");
    if contender == Contender::Ours {
        let running = ours::Running::start(&file, WORKERS, true).await;
        let queue = running.queue.clone();
        match first {
            Some(first) => push(first, async |jobs| ours::Running::push(&queue, &jobs).await).await,
            None => drained(async || running.open().await).await,
        }
    } else {
        let running = theirs::Running::start(contender, &file, WORKERS, true).await;
        match first {
            Some(first) => push(first, async |jobs| theirs::Running::push(&running.pool, &jobs).await).await,
            None => drained(async || theirs::Running::open(&running.pool).await).await,
        }
    }
}

/// Pushes until the process is killed.
async fn push(first: i64, push: impl AsyncFn(Vec<Load>)) {
    for next in (first..).step_by(usize::try_from(A_PUSH).unwrap()) {
        push((next..next + A_PUSH).map(Load::new).collect()).await;
        println!("{}", next + A_PUSH - 1);
    }
}

/// Waits until nothing is open, or nothing ends any more.
async fn drained(open: impl AsyncFn() -> i64) {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    while least > 0 && since.elapsed() < PATIENCE {
        let now = open().await;
        if now < least {
            (least, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
