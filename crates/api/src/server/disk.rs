//! Looks at the data folder's disk, and whether the database takes commits.

use std::time::Duration;

use privatix_db::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::money::Disk;

const EVERY: Duration = Duration::from_secs(30);
/// The next look after trouble comes sooner, so that its end is noticed.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// A look that takes longer is reported while it goes on.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks until shutdown.
pub(crate) async fn watch(db: &Database, seen: &watch::Sender<Option<Disk>>, shutdown: &CancellationToken) {
    loop {
        let looking = look(db);
        tokio::pin!(looking);
        let mut first = true;
        let disk = loop {
            let limited = tokio::time::timeout(PATIENCE, &mut looking);
            match shutdown.run_until_cancelled(limited).await {
                None => return,
                Some(Ok(disk)) => break disk,
                // It goes on: what it waits for may come free.
                Some(Err(_)) if std::mem::take(&mut first) => {
                    let hangs = "a commit has not come to its end for a minute; look at the disk".to_owned();
                    tracing::error!("{hangs}");
                    seen.send_replace(Some(Disk { free: Err(hangs.clone()), commit: Err(hangs) }));
                }
                Some(Err(_)) => {}
            }
        };
        let pause = match &disk.commit {
            Ok(_) => EVERY,
            Err(error) => {
                tracing::error!(%error, "the database takes no commits");
                AFTER_TROUBLE
            }
        };
        seen.send_replace(Some(disk));
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn look(db: &Database) -> Disk {
    let path = db.path().to_owned();
    let free = tokio::task::spawn_blocking(move || privatix_db::free_space(&path)).await;
    let free = free.map_err(|error| error.to_string());
    Disk {
        free: free.and_then(|free| free.map_err(|error| error.to_string())),
        commit: db.probe().await.map_err(|error| error.to_string()),
    }
}
