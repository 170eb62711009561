//! Files that only their owner may read.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use alloy::primitives::hex;
use secrecy::SecretString;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::secret_text::{self, NotText};
use crate::{DaemonError, logging};

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DaemonError {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => DaemonError::Exists { path: path.to_owned() },
        _ => DaemonError::File { action, path: path.to_owned(), source },
    }
}

/// Makes every file and folder that this process creates its owner's alone, whoever creates it and whatever the umask was.
pub(crate) fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// What is wrong with a folder for secrets, if others can enter it.
pub(crate) fn folder_trouble(path: &Path) -> Option<String> {
    let shared = fs::metadata(path).is_ok_and(|metadata| is_shared(&metadata));
    shared.then(|| {
        format!(
            "others can enter the data folder {0}; its files are private, but `chmod 700 {0}` if you can",
            path.display()
        )
    })
}

/// Creates a folder, with those above it. A new one is its owner's alone.
pub(crate) fn create_folder(path: &Path) -> Result<(), DaemonError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed("create folder", path))
}

/// Writes a new file that only its owner may read: whole or not at all, and never over another.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> Result<(), DaemonError> {
    let mut file = temporary_beside(path)?;
    file.write_all(contents).map_err(failed("write", path))?;
    keep(file, path)
}

/// A file beside `path` that only its owner may read, gone unless it is [kept](keep).
pub(crate) fn temporary_beside(path: &Path) -> Result<NamedTempFile, DaemonError> {
    tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder_of(path)).map_err(failed("write", path))
}

/// What the names of temporary files begin with.
const TEMPORARY: &str = ".tmp";

/// Removes what processes that were killed left in a folder. No other process may write there meanwhile.
pub(crate) fn remove_temporary(folder: &Path) -> Result<(), DaemonError> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes names in a folder survive a power cut.
fn sync_folder_of(path: &Path) -> Result<(), DaemonError> {
    let folder = folder_of(path);
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems have no such thing; the name is there all the same.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced.map_err(failed("write", folder)),
    }
}

/// Gives a temporary file its name, unless something has that name.
pub(crate) fn keep(file: NamedTempFile, path: &Path) -> Result<(), DaemonError> {
    file.as_file().sync_all().map_err(failed("write", path))?;
    file.persist_noclobber(path).map_err(|error| failed("write", path)(error.error))?;
    sync_folder_of(path)
}

/// Replaces a file that is no secret.
pub(crate) fn replace(path: &Path, contents: &str) -> Result<(), DaemonError> {
    let mut file = temporary_beside(path)?;
    file.write_all(contents.as_bytes()).map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("write", path))?;
    file.persist(path).map_err(|error| failed("write", path)(error.error))?;
    sync_folder_of(path)
}

/// Gives a file of a folder another name there, in one step, unless something has that name.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), DaemonError> {
    match rename_noreplace(from, to) {
        // File systems that cannot refuse it by themselves.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            if to.symlink_metadata().is_ok() {
                return Err(DaemonError::Exists { path: to.to_owned() });
            }
            fs::rename(from, to).map_err(failed("rename", from))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(DaemonError::Exists { path: to.to_owned() });
        }
        renamed => renamed.map_err(failed("rename", from))?,
    }
    sync_folder_of(to)
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn rename_noreplace(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), DaemonError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed("remove", path)).and_then(|()| sync_folder_of(path)),
    }
}

/// Waits until no other process holds the lock of this file, and holds it until the file is dropped or the process ends.
pub(crate) fn lock(path: &Path) -> Result<File, DaemonError> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed("open", path))?;
    file.lock().map_err(failed("lock", path))?;
    Ok(file)
}

/// The files of a folder, in the order of their names; none if there is no such folder.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<OsString>, DaemonError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", folder))?,
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(failed("read", folder))?;
    names.sort();
    Ok(names)
}

pub(crate) fn read(path: &Path) -> Result<String, DaemonError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Most bytes of a file with a secret; keystores have under 1 KiB.
const MAX_SECRET: u64 = 64 * 1024;

/// The whole text of a file that is no secret in clear, such as a keystore; it may begin with a byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, DaemonError> {
    secret_text_from(File::open(path).map_err(failed("read", path))?, path)
}

/// A secret in a file: its first line.
pub(crate) fn read_secret(path: &Path) -> Result<SecretString, DaemonError> {
    let text = read_secret_text(path)?;
    secret_text::first_line(&text).map_err(not_text(path))
}

/// The whole text of a file with a secret.
pub(crate) fn read_secret_text(path: &Path) -> Result<Zeroizing<String>, DaemonError> {
    let file = File::open(path).map_err(failed("read", path))?;
    warn_if_shared(path, &file);
    secret_text_from(file, path)
}

/// The whole text of a file or stream with a secret. It is read once: it can be a pipe.
pub(crate) fn secret_text_from(from: impl Read, path: &Path) -> Result<Zeroizing<String>, DaemonError> {
    // Large enough from the start, as a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_SECRET + 1).unwrap_or_default()));
    from.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(DaemonError::Malformed {
            path: path.to_owned(),
            expected: SECRET,
            reason: format!("it is larger than {MAX_SECRET} bytes"),
        });
    }
    let text = secret_text::text(&bytes).map_err(not_text(path))?;
    if text.had_mark {
        logging::remark(&format!("{} begins with a byte order mark, which is left out", path.display()));
    }
    Ok(Zeroizing::new(text.text.to_owned()))
}

const SECRET: &str = "a file with a secret";

fn not_text(path: &Path) -> impl Fn(NotText) -> DaemonError {
    move |refusal| DaemonError::Malformed {
        path: path.to_owned(),
        expected: SECRET,
        reason: refusal.to_string(),
    }
}

/// 256 random bits in hexadecimal digits.
pub(crate) fn random_secret() -> Zeroizing<String> {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    Zeroizing::new(hex::encode(*bytes))
}

/// Whether others than the owner can do anything with a file or folder.
fn is_shared(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

fn warn_if_shared(path: &Path, file: &File) {
    // Pipes, such as those of a shell's `<(...)`, belong to whoever made them.
    if file.metadata().is_ok_and(|metadata| metadata.is_file() && is_shared(&metadata)) {
        logging::remark(&format!("others can read the secret in {0}; `chmod 600 {0}`", path.display()));
    }
}
