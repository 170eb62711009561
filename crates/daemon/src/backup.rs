//! `backup` and `restore`: copies of the database, made while the daemon runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use privatix_adapter::Role;
use privatix_db::backup::{self, Restoring};
use privatix_node::NodeError;
use privatix_store::{identity, recovery};
use serde::Serialize;

use crate::app::App;
use crate::config::{Loaded, Settings};
use crate::keystore::directory::KeyDirectory;
use crate::output::{Output, time};
use crate::{DaemonError, files};

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Where a copy goes.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The new file
    file: PathBuf,
}

/// Which copy comes back.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// A file that `backup` has made
    file: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copied {
    file: PathBuf,
    bytes: u64,
    not_in_it: Vec<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Restored {
    database: PathBuf,
    #[serde(with = "humantime_serde")]
    backed_up_at: SystemTime,
    former: Option<PathBuf>,
}

/// The daemon's database.
pub(crate) fn database<A: App>(loaded: &Loaded<A::Settings>) -> PathBuf {
    loaded.path(Path::new(&format!("{}.db", A::NAME)))
}

/// Copies the database, whether the daemon runs or not.
pub(crate) async fn back_up<A: App>(
    loaded: &Loaded<A::Settings>,
    arguments: BackupArgs,
    output: Output,
) -> Result<(), DaemonError> {
    let database = database::<A>(loaded);
    let file = arguments.file;
    let (sets, mark) = (privatix_node::migrations(), || recovery::mark(SystemTime::now()));
    let mut progress = output.progress();
    let bytes = {
        let copying = backup::back_up(&database, &file, &sets, mark);
        tokio::pin!(copying);
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                done = &mut copying => break done?,
                _ = ticks.tick() => {
                    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len()) >> 20;
                    let mut part = file.as_os_str().to_owned();
                    part.push(".part");
                    progress.say(format!("copied {} of about {} MiB", size(part.as_ref()), size(&database)));
                }
            }
        }
    };
    drop(progress);
    let account = loaded.settings.account();
    let mut not_in_it = vec![loaded.file.clone(), loaded.path(&account.keystore)];
    not_in_it.extend(Some(KeyDirectory::of(loaded).folder().to_owned()).filter(|folder| folder.is_dir()));
    let chain = loaded.settings.chain();
    let others = [&account.password_file, &chain.rescue_keystore, &chain.rescue_password_file];
    not_in_it.extend(others.into_iter().flatten().map(|file| loaded.path(file)));
    output.show(&Copied { file, bytes, not_in_it }, |copied| {
        let others: Vec<String> =
            copied.not_in_it.iter().map(|path| path.display().to_string()).collect();
        format!(
            "wrote {} ({} bytes), checked\nIt holds what was stored when this began, and nothing later. Keep beside it, as they are not in it: {}",
            copied.file.display(),
            copied.bytes,
            others.join(", ")
        )
    });
    Ok(())
}

/// Puts a copy in the place of the database. The daemon must not run.
pub(crate) async fn restore<A: App>(
    loaded: &Loaded<A::Settings>,
    arguments: RestoreArgs,
    output: Output,
) -> Result<(), DaemonError> {
    let database = database::<A>(loaded);
    files::create_folder(&loaded.data_dir)?;
    // Of use for a file that was copied by other means, and carries no mark of its own.
    let written = arguments.file.metadata().and_then(|metadata| metadata.modified());
    let mark = recovery::mark_if_unmarked(written.unwrap_or(SystemTime::UNIX_EPOCH));
    let restoring = Restoring::begin(&arguments.file, &database, &privatix_node::migrations(), &mark).await?;
    let backed_up_at = {
        let mut conn = restoring.conn()?;
        let found = identity::get(&mut conn).await.map_err(NodeError::from)?;
        if let Some(found) = found {
            check_identity::<A>(loaded, &found)?;
        }
        let mark = recovery::get(&mut conn).await.map_err(NodeError::from)?;
        mark.map_or(SystemTime::UNIX_EPOCH, |mark| mark.backed_up_at)
    };
    let former = restoring.replace().await?;
    output.show(&Restored { database, backed_up_at, former }, |restored| {
        let former = restored.former.as_ref().map_or_else(String::new, |former| {
            format!("\nThe former database is kept as {}", former.display())
        });
        format!(
            "{} is the copy of {}{former}\nWhat happened since is unknown to it: see docs/operations.md, \"After a restore\", before you start the daemon",
            restored.database.display(),
            time(restored.backed_up_at)
        )
    });
    Ok(())
}

/// The start would refuse a copy that belongs to another daemon, but only once it is in its place.
fn check_identity<A: App>(
    loaded: &Loaded<A::Settings>,
    found: &identity::Identity,
) -> Result<(), DaemonError> {
    let settings = &loaded.settings;
    let role = if A::ROLE == Role::Agent { identity::Role::Agent } else { identity::Role::Client };
    let fits = found.role == role
        && found.domain.contract() == settings.chain().contract
        && settings.chain().chain_id.is_none_or(|id| id == found.domain.chain_id());
    if fits {
        return Ok(());
    }
    Err(DaemonError::Usage {
        what: "the backup".into(),
        reason: format!(
            "it belongs to {found}, which is not what {} is configured for; give the backup of this daemon",
            loaded.file.display()
        ),
    })
}
